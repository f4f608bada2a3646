"""`ftr export RUN onnx`: a trained model as graphs for ONNX Runtime, kept only where they answer as
torch does.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.atomic import sha256
from ftr.errors import ModelError, RequestError, RunError, in_one_line
from ftr.export.parity import (
    ROWS,
    Answers,
    Labelled,
    answer,
    changed,
    logit_difference,
    output_difference,
    rows_to_compare,
    scores,
)
from ftr.model.adapters import settings_of
from ftr.model.folder import weights_of
from ftr.registry.discovery import own_version
from ftr.registry.isolation import captured_prints, loading
from ftr.registry.registry import Registry, registry_for_record
from ftr.runs.directory import RunDirectory
from ftr.runs.predictor import Predictor, load, model_folder

if TYPE_CHECKING:
    import onnx_ir
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers.utils import ModelOutput

    from ftr.model.onnx import OnnxModel

TOLERANCE = 1e-3
"""How far a logit of an fp32 graph may be from torch's, in shares of the largest logit, at least 1.

Rounding in another order gives 1e-7 to 1e-5, over all families in `docs/export.md`; a mask or a
position that is lost gives more than 1e-2.
"""
MAX_CHANGED = 0.05
"""Largest share of answers that an export may change."""
IN_GRAPH = 3 * 2**29
"""Bytes of weights that are kept in the graph: a file of protobuf has at most 2 GiB."""
LINEAR = ("MatMul", "Gemm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An export: its directory, and what `export.json` in it holds."""

    folder: Path
    record: dict[str, Any]


def export_onnx(
    run: str | Path,
    settings: Sequence[str] = (),
    *,
    quantize: str | None = None,
    max_changed: float = MAX_CHANGED,
    rows: int = ROWS,
    registry: Registry | None = None,
) -> Exported:
    """Export the model of `run`, a run directory or a model directory, to `model/onnx/`.

    The graphs answer `rows` held-out rows, or rows of the data that `settings` name, as torch does;
    else nothing is kept: an fp32 graph differs by at most `TOLERANCE`, and no export changes more
    than the share `max_changed` of the answers. `quantize` is None or `int8`: 8-bit weights, with
    inputs of matrix products rounded batch by batch. Raises `ModelError`, `RequestError`,
    `DataError`, `ConfigError`.
    """
    from ftr.model.onnx import EXPORT_JSON, INT8, ONNX, check_installed

    check_installed()
    if quantize not in (None, INT8):
        raise RequestError(f"`--quantize {quantize}`: only `{INT8}` is known.")
    if not 0 <= max_changed <= 1 or rows < 1:
        raise RequestError(
            "`--max-changed` is a share of the answers, 0 to 1, and `--rows` at least 1."
        )
    folder = model_folder(run)
    directory = _checked_run(folder)
    predictor = load(folder, registry=registry)
    known = registry or registry_for_record(predictor.card.plugins)
    labelled = rows_to_compare(predictor, directory, settings, rows, known)
    theirs = answer(predictor, labelled.rows)
    try:
        with atomic.new_folder(folder / ONNX) as fresh:
            record = _write(fresh, predictor, theirs, quantize)
            mine = _answer_with(fresh, record, predictor, labelled)
            record["parity"] = _parity(predictor, labelled, theirs, mine)
            atomic.write_json(fresh / EXPORT_JSON, record)
            _check_parity(record, max_changed)
    except OSError as error:
        raise RunError(
            f"cannot write `{folder / ONNX}`: {error.strerror or error}. Free space."
        ) from error
    return Exported(folder=folder / ONNX, record=record)


def _checked_run(folder: Path) -> RunDirectory | None:
    """Return the run of a model directory, None where it has none; refuse one that did not end, and
    code that came with a checkpoint.
    """
    from transformers import CONFIG_MAPPING

    from ftr.train.ensemble import member_folders

    directory = RunDirectory(folder.parent) if folder.name == "model" else None
    if directory is None or not directory.record.is_file():
        directory = None
    own_code = False
    if directory is not None:
        record = directory.read()
        if record["status"] != "done":
            raise RequestError(
                f"run `{directory.path}` is `{record['status']}`, so its model is not the one it "
                f"was to become: `ftr resume {directory.path}` completes it."
            )
        options = record["config"].get("model", {}).get("options", {})
        own_code = bool(options.get("trust_remote_code"))
    for member in member_folders(folder):
        settings = settings_of(member)
        kind = settings.get("model_type")
        own_code |= "auto_map" in settings and kind is not None and kind not in CONFIG_MAPPING
    if own_code:
        raise ModelError(
            f"`{folder}` is a model with code of its own (`model.trust_remote_code`), which "
            "cannot be exported: only models of transformers and of installed plugins can."
        )
    return directory


def _write(
    fresh: Path, predictor: Predictor, theirs: Answers, quantize: str | None
) -> dict[str, Any]:
    """Write a graph for each member, and return the record of the export."""
    import torch

    from ftr.model.onnx import FORMAT, INT8, PACKAGES, OnnxModel, saturates
    from ftr.model.pretrained import Pretrained
    from ftr.train.ensemble import built_models, member_folders
    from ftr.train.hardware import describe_hardware

    sources = [Pretrained(str(path), complete=True) for path in member_folders(predictor.folder)]
    suffix = f".{quantize}.onnx" if quantize else ".onnx"
    names = [f"model{suffix}"]
    if len(sources) > 1:
        names = [f"model.{number}{suffix}" for number in range(len(sources))]
    reduced = quantize == INT8 and saturates()
    inputs: dict[str, Tensor] = {}
    for source, name, seen in zip(sources, names, theirs.members, strict=True):
        with loading():
            (model,) = built_models([source], predictor.head, predictor.card)
        inputs = _sample([one for one, _ in seen])
        program = _trace(model, inputs, predictor.card.head)
        opset = program.opset_imports[""]
        _save(program, fresh / name)
        _check_shapes(model, OnnxModel(fresh / name, sorted(inputs)), inputs)
        if quantize == INT8:
            _save(_quantized(program, inputs, reduced), fresh / name)
    return {
        "format": FORMAT,
        "graphs": names,
        "inputs": sorted(inputs),
        "files": {path.name: sha256(path) for path in sorted(fresh.iterdir())},
        "weights": weights_of(predictor.folder),
        "quantization": quantize,
        "full_range": quantize == INT8 and not reduced,
        "opset": opset,
        "versions": {name: version(name) for name in (*PACKAGES, "transformers")}
        | {"torch": torch.__version__, "ftr": own_version()},
        "hardware": describe_hardware(),
        "created": time.time(),
    }


def _sample(batches: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return inputs to trace with: the batch with most padding, of two rows at least."""
    import torch

    def padding(inputs: dict[str, Tensor]) -> float:
        mask = inputs.get("attention_mask")
        return 0.0 if mask is None else 1 - mask.float().mean().item()

    chosen = max(batches, key=lambda one: (min(2, len(next(iter(one.values())))), padding(one)))
    rows = len(next(iter(chosen.values())))
    return {
        name: (tensor if rows > 1 else torch.cat([tensor, tensor])).cpu()
        for name, tensor in chosen.items()
    }


def _trace(model: PreTrainedModel, inputs: dict[str, Tensor], head: str) -> onnx_ir.Model:
    """Return the graph of a model, for every batch size and length, with the check that it is.

    Raises `ModelError` where the model has outputs that are no tensors, or cannot be traced.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    from torch.export import Dim
    from transformers.exporters import OnnxConfig, OnnxExporter

    from ftr.model.transformers_private import default_attention

    if getattr(model.config, "use_cache", False):
        model.config.use_cache = False  # it is for writing texts, and a graph has tensors alone
    model.set_attn_implementation(default_attention(model))
    _check_outputs(_outputs(model, inputs), head)
    shapes = {name: dict.fromkeys((0, *_length_axes(inputs, name)), Dim.DYNAMIC) for name in inputs}
    try:
        with _quiet():
            exported = OnnxExporter().export(model, dict(inputs), OnnxConfig(dynamic_shapes=shapes))
    except Exception as error:  # whatever the model's code, torch or onnxscript met
        cause: BaseException = error
        while cause.__cause__ is not None:  # those above say which step of torch's failed
            cause = cause.__cause__
        raise ModelError(
            f"a `{model.config.model_type}` cannot be exported to ONNX with any batch size and "
            f"length: {in_one_line(cause)[:300]}"
        ) from error
    program: onnx_ir.Model = exported.program
    # Where each node comes from, with paths of this machine.
    ClearMetadataAndDocStringPass()(program)
    return program


def _length_axes(inputs: dict[str, Tensor], name: str) -> list[int]:
    """Return the axes of an input, the first left out, that are as long as the tokens of a row."""
    if "input_ids" not in inputs:
        return []
    length = inputs["input_ids"].shape[1]
    return [axis for axis, size in enumerate(inputs[name].shape) if axis and size == length]


def _check_shapes(model: PreTrainedModel, graph: OnnxModel, inputs: dict[str, Tensor]) -> None:
    """Refuse a graph that is not what was traced, with padding, or not for one row, whole or two
    tokens of it. Raises `ModelError`.
    """
    row = 0
    if "attention_mask" in inputs:
        row = int(inputs["attention_mask"].flatten(1).sum(1).argmax())
    one = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
    short = dict(one)
    for name in one:
        for axis in _length_axes(inputs, name):
            short[name] = short[name].narrow(axis, 0, min(2, short[name].shape[axis]))
    for batch in (inputs, one, short):
        apart, largest = output_difference(batch, _outputs(model, batch), graph(**batch))
        _check_difference(apart, largest, f"{len(batch[next(iter(batch))])} rows")


def _check_difference(apart: float, largest: float, where: str) -> None:
    limit = TOLERANCE * max(1.0, largest)
    if not apart <= limit:
        raise ModelError(
            f"the ONNX model does not compute what torch does: on {where} a logit differs by "
            f"{apart:.3g}, and rounding explains {limit:.3g}. Nothing is kept."
        )


def _outputs(model: Any, inputs: dict[str, Tensor]) -> ModelOutput:
    import torch

    with torch.inference_mode():
        found: ModelOutput = model(**inputs)
    return found


def _check_outputs(outputs: ModelOutput, head: str) -> None:
    import torch

    for name, value in outputs.items():
        if not torch.is_tensor(value):
            raise ModelError(
                f"head `{head}`: its model gives `{name}` as a `{type(value).__name__}`, and a "
                "graph gives tensors alone, so it cannot be exported to ONNX."
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch and onnxscript from telling their progress."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with captured_prints("stdout", "stderr"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _quantized(program: onnx_ir.Model, inputs: dict[str, Tensor], reduced: bool) -> onnx_ir.Model:
    """Return a graph with 8-bit weights: of embeddings, and one scale for each column of a matrix;
    7 bits where `reduced`. The last layer, which has few weights, stays as it is.
    """
    from transformers.exporters import (
        ExportFormat,
        OnnxRuntimeDynamicConfig,
        OnnxRuntimeQuantizer,
    )

    settings = OnnxRuntimeDynamicConfig(
        per_channel=True, reduce_range=reduced, nodes_to_exclude=_last_layers(program)
    )
    with _quiet():
        quantized: onnx_ir.Model = OnnxRuntimeQuantizer(settings).quantize(
            program, inputs, ExportFormat.ONNX
        )
    return quantized


def _last_layers(program: onnx_ir.Model) -> list[str]:
    """Return the names of the last matrix products before the outputs."""
    waiting = [value.producer() for value in program.graph.outputs]
    found, seen = set(), set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type in LINEAR:
            found.add(node.name)
        else:
            waiting += [value.producer() for value in node.inputs if value is not None]
    return sorted(found)


def _save(program: onnx_ir.Model, path: Path) -> None:
    import onnx_ir

    from ftr.model.onnx import DATA

    # Of a graph with larger weights that was saved under this name.
    path.with_name(path.name + DATA).unlink(missing_ok=True)
    weights = [value.const_value for value in program.graph.initializers.values()]
    large = sum(one.nbytes for one in weights if one is not None) > IN_GRAPH
    onnx_ir.save(program, str(path), external_data=path.name + DATA if large else None)


def _answer_with(
    fresh: Path, record: dict[str, Any], predictor: Predictor, labelled: Labelled
) -> Answers:
    from ftr.model.onnx import OnnxModel

    models = [OnnxModel(fresh / name, record["inputs"]) for name in record["graphs"]]
    engine = predictor.engine
    try:
        predictor.engine = replace(engine, model=models[0], others=tuple(models[1:]))
        return answer(predictor, labelled.rows)
    finally:
        predictor.engine = engine


def _parity(
    predictor: Predictor, labelled: Labelled, theirs: Answers, mine: Answers
) -> dict[str, Any]:
    difference, largest = logit_difference(theirs, mine)
    head, labels = predictor.head, predictor.card.labels
    return {
        "split": labelled.split,
        "rows": len(labelled.rows),
        "logit_difference": difference,
        "largest_logit": largest,
        "changed": changed(head, labelled.rows, labels, theirs.predictions, mine.predictions),
        "torch": scores(head, labelled, labels, theirs.predictions),
        "onnx": scores(head, labelled, labels, mine.predictions),
    }


def _check_parity(record: dict[str, Any], max_changed: float) -> None:
    """Refuse an export that does not answer as torch does. Raises `ModelError`."""
    found = record["parity"]
    if record["quantization"] is None:
        _check_difference(
            found["logit_difference"], found["largest_logit"], f"{found['rows']} rows"
        )
    if found["changed"] > max_changed * found["rows"]:
        raise ModelError(
            f"the ONNX model changes {found['changed']} of {found['rows']} answers, more than "
            f"`--max-changed {max_changed:g}` allows: nothing is kept. Allow more, or export "
            "without `--quantize`."
        )
