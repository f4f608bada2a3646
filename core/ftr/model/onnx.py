"""A model exported to ONNX: its files checked, opened in ONNX Runtime and called like a model of
torch.

`ftr.export.onnx` writes the files. Those of other people may be any graph, but read no file outside
of their directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn
from transformers.utils import ModelOutput

from ftr.atomic import read_json, sha256
from ftr.errors import ModelError, RequestError, in_one_line
from ftr.model.folder import check_file, weights_of

if TYPE_CHECKING:
    from google.protobuf.message import Message

ONNX = "onnx"
"""The directory of an export, in that of its model."""
EXPORT_JSON = "export.json"
FORMAT = 1
DATA = ".data"
"""What the name of a file with the weights of a graph ends in, where they are not in the graph."""
INT8 = "int8"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
SLOW_ON_CPU = ("SkipLayerNormFusion",)
"""Optimizations of ONNX Runtime that are left out on a CPU: its fused addition and normalization
take longer than the two, so that graphs of 8 bits were 1.06 to 1.3 times as fast without it (1.32).
"""
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.]*$")]
GraphName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.]*\.onnx$")]
"""ONNX Runtime reads a file of another ending (`.ort`) in another format, which nothing checks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What `export.json` holds that the graphs are used by; the file has more, for people.

    `graphs` are the files of the members in their order, `inputs` the arguments the model was
    traced with. `files` has the sha256 of every file, `weights` those of the checkpoint. With
    `full_range` weights have all 8 bits: see `saturates`.
    """

    format: Literal[1]
    graphs: Annotated[tuple[GraphName, ...], Field(min_length=1)]
    inputs: tuple[str, ...]
    files: dict[FileName, str]
    weights: dict[str, str]
    quantization: Literal["int8"] | None
    full_range: bool


def check_installed() -> None:
    """Raise `RequestError` with the line to install where a package is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise RequestError(
            f"ONNX needs {', '.join(f'`{name}`' for name in missing)}: `pip install 'ftr[onnx]'`."
        )


def read_export(model: Path) -> Export:
    """Return the record of the export in a model directory, whose files are those it names and
    belong to the weights beside them.

    Raises `ModelError`.
    """
    folder = model / ONNX
    path = folder / EXPORT_JSON
    if not path.is_file():
        raise ModelError(
            f"`{model}` has no ONNX model: make one with `ftr export {_run(model)} onnx`."
        )
    for file in folder.iterdir():
        check_file(file, folder)
    try:
        found = read_json(path)
        known = {key: found[key] for key in Export.__dataclass_fields__ if key in found}
        export = TypeAdapter(Export).validate_python(known)
    except (OSError, ValueError, TypeError, ValidationError) as error:
        place = error.errors()[0]["loc"][:1] if isinstance(error, ValidationError) else ()
        cause = f"`{place[0]}` has no value that it can have" if place else in_one_line(error)
        raise ModelError(f"`{path}` is damaged ({cause}): {_again(model)}.") from None
    for name in export.graphs:
        if name not in export.files:
            raise ModelError(f"`{path}` has no hash of `{name}`: {_again(model)}.")
    for name, known_hash in export.files.items():
        if not (folder / name).is_file() or sha256(folder / name) != known_hash:
            raise ModelError(
                f"`{folder / name}` is not the file that was exported: it is missing, or its "
                f"sha256 differs. Restore it, or {_again(model)}."
            )
    now = weights_of(model)
    changed = sorted(
        name for name in {*now, *export.weights} if now.get(name) != export.weights.get(name)
    )
    if changed:
        raise ModelError(
            f"the weights `{model / changed[0]}` are not those that `{folder}` was exported from: "
            f"{_again(model)}."
        )
    if export.full_range and saturates():
        raise ModelError(
            f"`{folder}` was quantized for processors with 8-bit dot products (VNNI), which this "
            f"one does not have: its sums would overflow. On this machine, {_again(model)}."
        )
    return export


def open_export(model: Path, members: int) -> list[nn.Module]:
    """Open the graphs of a model directory, one for each of its members.

    Raises `ModelError`, `RequestError` for packages that are not installed.
    """
    check_installed()
    export = read_export(model)
    if len(export.graphs) != members:
        raise ModelError(
            f"`{model / ONNX}` has {len(export.graphs)} graphs for {members} models: "
            f"{_again(model)}."
        )
    return [OnnxModel(model / ONNX / name, export.inputs) for name in export.graphs]


class OnnxModel(nn.Module):
    """A graph in ONNX Runtime that takes and returns tensors of torch, like the model it is of."""

    device = torch.device("cpu")
    """Where inputs and outputs are; ONNX Runtime moves them to a GPU itself."""

    def __init__(self, path: Path, inputs: Sequence[str]) -> None:
        """Open the graph at `path`, with as many threads as torch has.

        `inputs` are the arguments it was traced with; the graph may need fewer. Raises
        `ModelError`.
        """
        import onnxruntime

        super().__init__()
        check_graph(path)
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        # It would keep a plan for each shape, of which texts have thousands.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        available = onnxruntime.get_available_providers()
        providers = [one for one in PROVIDERS if one in available]
        if not torch.cuda.is_available():
            providers = ["CPUExecutionProvider"]
        skipped = SLOW_ON_CPU if providers == ["CPUExecutionProvider"] else ()
        try:
            self.session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=providers, disabled_optimizers=list(skipped)
            )
        except Exception as error:  # its errors have no common class
            raise ModelError(
                f"`{path}` cannot be opened by ONNX Runtime: {in_one_line(error)[:300]}"
            ) from None
        self.path, self.inputs = path, tuple(inputs)
        self.reads = [one.name for one in self.session.get_inputs()]
        self.gives = [one.name for one in self.session.get_outputs()]

    def forward(self, **inputs: Tensor) -> ModelOutput:
        """Return the outputs of a batch by their names.

        Raises `ModelError` for arguments other than those the graph was traced with.
        """
        if inputs.keys() != set(self.inputs):
            raise ModelError(
                f"`{self.path}` was exported with {', '.join(self.inputs)}, and the head gives "
                f"{', '.join(inputs)}: export it again."
            )
        feed = {name: inputs[name].cpu().numpy() for name in self.reads}
        try:
            found = self.session.run(self.gives, feed)
        except Exception as error:
            if re.search("bad_alloc|Failed to allocate", str(error)):
                raise MemoryError(str(error)) from None
            raise
        return ModelOutput(
            {name: torch.from_numpy(value) for name, value in zip(self.gives, found, strict=True)}
        )


def check_graph(path: Path) -> None:
    """Refuse a graph that is none, or that reads another file than the one with its weights.

    Raises `ModelError`.
    """
    import onnx

    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except Exception as error:  # whatever its reader met
        raise ModelError(f"`{path}` is no ONNX model: {in_one_line(error)[:200]}") from None
    for one in _messages(model):
        if not isinstance(one, onnx.TensorProto) or one.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((item.value for item in one.external_data if item.key == "location"), "")
        if location != path.name + DATA:
            raise ModelError(
                f"`{path}` reads weights from `{location[:100]}`: they may only be in "
                f"`{path.name}{DATA}` beside it. Export the model again."
            )


def _messages(top: Message) -> Iterator[Message]:
    """Yield a message of protobuf and all within it."""
    from google.protobuf.message import Message

    waiting = [top]
    while waiting:
        one = waiting.pop()
        yield one
        for _, value in one.ListFields():
            if isinstance(value, Message):
                waiting.append(value)
            elif not isinstance(value, str | bytes | int | float) and len(value):
                waiting += [item for item in value if isinstance(item, Message)]


@cache
def saturates() -> bool:
    """Whether ONNX Runtime adds pairs of products of 8-bit numbers in 16 bits on this processor,
    so that they overflow.

    x86 without VNNI does (`vpmaddubsw`); weights of 7 bits fit. See "When and why do I need to try
    U8U8?" in ONNX Runtime's documentation of quantization.
    """
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    size = 64
    weights = np.full((size, size), 127, np.int8)
    given = helper.make_tensor_value_info("given", TensorProto.UINT8, [size, size])
    sums = helper.make_tensor_value_info("sums", TensorProto.INT32, [size, size])
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["given", "weights"], ["sums"])],
        "saturates",
        [given],
        [sums],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"given": np.full((size, size), 255, np.uint8)})
    return bool((found != size * 255 * 127).any())


def _run(model: Path) -> Path:
    return model.parent if model.name == "model" else model


def _again(model: Path) -> str:
    return f"export it again with `ftr export {_run(model)} onnx`"
