"""Graphs in a received model directory: they read no file outside of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ftr.errors import ModelError
from ftr.model.onnx import OnnxModel, saturates

onnx = pytest.importorskip("onnx", reason="needs ftr[onnx]")
pytest.importorskip("onnxruntime", reason="needs ftr[onnx]")

NUMBERS = np.arange(4, dtype=np.float32)


def graph(path: Path, location: str, *, inside: str = "initializer") -> Path:
    """Write a graph that adds four numbers from the file `location` to its input."""
    helper = onnx.helper
    tensor = onnx.numpy_helper.from_array(NUMBERS, "numbers")
    onnx.external_data_helper.set_external_data(tensor, location, 0, NUMBERS.nbytes)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    nodes = [helper.make_node("Add", ["given", "numbers"], ["logits"])]
    if inside == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["numbers"], value=tensor))
    elif inside == "branch":
        branch = helper.make_graph(
            [helper.make_node("Identity", ["numbers"], ["chosen"])],
            "branch",
            [],
            [helper.make_tensor_value_info("chosen", onnx.TensorProto.FLOAT, [4])],
            [tensor],
        )
        yes = onnx.numpy_helper.from_array(np.array(True), "yes")
        nodes = [
            helper.make_node("Constant", [], ["yes"], value=yes),
            helper.make_node("If", ["yes"], ["numbers"], then_branch=branch, else_branch=branch),
            *nodes,
        ]
    shape = {"elem_type": onnx.TensorProto.FLOAT, "shape": ["batch", 4]}
    made = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("given", **shape)],
        [helper.make_tensor_value_info("logits", **shape)],
        [tensor] if inside == "initializer" else [],
    )
    opset = [helper.make_opsetid("", 20)]
    path.write_bytes(helper.make_model(made, opset_imports=opset, ir_version=9).SerializeToString())
    return path


@pytest.mark.parametrize("inside", ["initializer", "constant", "branch"])
@pytest.mark.parametrize(
    "place", ["../secret", "{}/secret", "secret", "folder/../../secret", "./model.onnx.data", ""]
)
def test_weights_in_any_other_file_are_refused(tmp_path: Path, place: str, inside: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for secret in (tmp_path / "secret", folder / "secret", folder / "model.onnx.data"):
        secret.write_bytes(NUMBERS.tobytes())
    path = graph(folder / "model.onnx", place.format(tmp_path), inside=inside)
    with pytest.raises(ModelError, match="they may only be in"):
        OnnxModel(path, ["given"])


def test_weights_beside_the_graph_are_read_and_arguments_are_checked(tmp_path: Path) -> None:
    (tmp_path / "model.onnx.data").write_bytes(NUMBERS.tobytes())
    model = OnnxModel(graph(tmp_path / "model.onnx", "model.onnx.data"), ["given"])
    given = torch.ones(2, 4)
    assert torch.equal(model(given=given)["logits"], given + torch.from_numpy(NUMBERS))
    with pytest.raises(ModelError, match="given, token_type_ids: export it again"):
        model(given=given, token_type_ids=given)


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x09" * 50])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        OnnxModel(tmp_path / "model.onnx", ["given"])


def test_processors_with_8_bit_dot_products_do_not_saturate() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.is_file() or "vnni" not in flags.read_text("utf-8"):
        pytest.skip("this processor has no VNNI, or does not say so")
    assert not saturates()
