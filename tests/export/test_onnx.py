"""Runs exported to ONNX: the answers of torch, or nothing is kept."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from ftr.cli.main import main
from ftr.config.resolve import resolve
from ftr.errors import ModelError, RequestError
from ftr.export import onnx as exporting
from ftr.export.onnx import export_onnx
from ftr.model.components import make_head
from ftr.model.folder import ModelCard, save_model
from ftr.model.onnx import OnnxModel, saturates
from ftr.model.pretrained import Pretrained
from ftr.registry.registry import get_registry
from ftr.runs.evaluate import evaluate
from ftr.testing.alike import difference
from ftr.testing.tiny import Family, tiny_checkpoint
from trainings import REVIEWS, lines, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult


pytest.importorskip("onnxruntime", reason="needs ftr[onnx]")
pytest.importorskip("onnxscript", reason="needs ftr[onnx]")


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


@pytest.fixture(scope="module")
def texts(classifier: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with its export in fp32; not to be changed."""
    run = copied(classifier.path, tmp_path_factory.mktemp("texts") / "run")
    export_onnx(run)
    return run


@pytest.fixture(scope="module")
def answers(reader: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for questions with its export; not to be changed."""
    run = copied(reader.path, tmp_path_factory.mktemp("answers") / "run")
    export_onnx(run)
    return run


ROWS = ["good", "the film was good and funny " * 6, "bad", "a boring movie, and long"]


@pytest.mark.parametrize("count", [1, 4])
def test_a_classifier_answers_as_torch_does_for_one_row_and_for_several(
    texts: Path, count: int
) -> None:
    mine = ftr.load(texts, backend="onnx").predict(ROWS[:count])
    assert difference(mine, ftr.load(texts).predict(ROWS[:count])) is None


@pytest.mark.slow
def test_questions_are_answered_with_the_windows_and_the_threshold_of_the_run(
    answers: Path,
) -> None:
    torch, onnx = (evaluate(answers, backend=backend) for backend in ("torch", "onnx"))
    assert onnx.state == torch.state
    assert difference(onnx.predictions, torch.predictions) is None
    assert difference(onnx.scores, torch.scores) is None
    engine = ftr.load(answers, backend="onnx").engine
    assert isinstance(engine.model, OnnxModel)


def test_the_record_says_what_was_compared_and_with_which_versions(texts: Path) -> None:
    record = json.loads((texts / "model" / "onnx" / "export.json").read_text("utf-8"))
    run = json.loads((texts / "run.json").read_text("utf-8"))
    assert record["weights"] == run["weights"]
    assert record["files"].keys() == {"model.onnx"}
    assert record["quantization"] is None
    assert record["versions"].keys() >= {"onnx", "onnxruntime", "onnxscript", "torch"}
    found = record["parity"]
    assert found["split"] == "test"
    assert found["changed"] == 0
    assert 0 < found["logit_difference"] < 1e-4
    assert found["torch"]["scores"]["accuracy"] == run["scores"]["test"]["accuracy"]
    assert found["onnx"]["intervals"]["accuracy"] == found["torch"]["intervals"]["accuracy"]


def test_the_graph_has_no_path_of_this_machine(texts: Path) -> None:
    content = (texts / "model" / "onnx" / "model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert str(Path.home()).encode() not in content


def test_the_commands_score_and_predict_with_the_export(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(texts), "--backend", "onnx", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores == json.loads((texts / "run.json").read_text("utf-8"))["scores"]["test"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in ROWS), encoding="utf-8")
    found = {}
    for backend in ("torch", "onnx"):
        output = tmp_path / f"{backend}.jsonl"
        words = ["predict", str(texts), str(rows), "--output", str(output), "--backend", backend]
        assert main(words) == 0
        found[backend] = lines(output)
    assert len(found["onnx"]) == len(ROWS)
    assert difference(found["onnx"], found["torch"]) is None


@pytest.mark.slow
def test_an_export_that_computes_something_else_is_not_kept(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(texts, tmp_path / "run")
    before = (run / "model" / "onnx" / "export.json").read_bytes()
    trace = exporting._trace

    def without_mask(model: Any, inputs: Any, head: str) -> Any:
        forward = model.forward

        def everything(**given: Any) -> Any:
            return forward(**{**given, "attention_mask": given["attention_mask"] * 0 + 1})

        model.forward = everything
        try:
            return trace(model, inputs, head)
        finally:
            model.forward = forward

    monkeypatch.setattr(exporting, "_trace", without_mask)
    with pytest.raises(ModelError, match="does not compute what torch does"):
        export_onnx(run)
    assert (run / "model" / "onnx" / "export.json").read_bytes() == before


def test_a_run_without_export_names_the_command(classifier: RunResult) -> None:
    with pytest.raises(ModelError, match=rf"ftr export {classifier.path} onnx"):
        ftr.load(classifier.path, backend="onnx")


def test_the_export_of_other_weights_is_refused(texts: Path, tmp_path: Path) -> None:
    model = copied(texts / "model", tmp_path / "alone")
    assert ftr.load(model, backend="onnx").predict(["good"])
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"not those that .* was exported from"):
        ftr.load(model, backend="onnx")


@pytest.mark.parametrize("damage", ["changed", "missing", "link", "record", "ending", "version"])
def test_damaged_exports_are_refused(texts: Path, tmp_path: Path, damage: str) -> None:
    model = copied(texts / "model", tmp_path / "alone")
    graph, record = model / "onnx" / "model.onnx", model / "onnx" / "export.json"
    if damage == "changed":
        graph.write_bytes(graph.read_bytes() + b"\0")
    elif damage == "missing":
        graph.unlink()
    elif damage == "link":
        graph.rename(tmp_path / "elsewhere.onnx")
        graph.symlink_to(tmp_path / "elsewhere.onnx")
    elif damage == "record":
        record.write_text("{}", encoding="utf-8")
    elif damage == "ending":  # that of a format that ONNX Runtime reads and nothing checks
        graph.rename(graph.with_suffix(".ort"))
        record.write_text(record.read_text("utf-8").replace("model.onnx", "model.ort"), "utf-8")
    else:
        known = json.loads(record.read_text("utf-8"))
        record.write_text(json.dumps({**known, "graphs": ["../model.onnx"]}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"onnx"):
        ftr.load(model, backend="onnx")


def test_weights_with_full_range_are_refused_where_they_overflow(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copied(texts / "model", tmp_path / "alone")
    record = model / "onnx" / "export.json"
    known = json.loads(record.read_text("utf-8"))
    record.write_text(json.dumps({**known, "full_range": True}), encoding="utf-8")
    monkeypatch.setattr("ftr.model.onnx.saturates", lambda: True)
    with pytest.raises(ModelError, match="VNNI"):
        ftr.load(model, backend="onnx")


def test_what_cannot_be_exported_is_refused_by_name(classifier: RunResult, tmp_path: Path) -> None:
    run = copied(classifier.path, tmp_path / "run")
    known = json.loads((run / "run.json").read_text("utf-8"))

    def refused(record: dict[str, Any]) -> str:
        (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
        with pytest.raises(RequestError) as raised:
            export_onnx(run)
        return str(raised.value)

    assert "`failed`" in refused({**known, "status": "failed"})
    model = known["config"]["model"]
    own = {**model, "options": {**model["options"], "trust_remote_code": True}}
    assert "code of its own" in refused({**known, "config": {**known["config"], "model": own}})
    alone = copied(run / "model", tmp_path / "alone")
    with pytest.raises(RequestError, match="dataset=FILE"):
        export_onnx(alone)
    assert not (alone / "onnx").exists()


def test_a_model_with_outputs_that_are_no_tensors_is_refused_by_name() -> None:
    import torch
    from transformers.utils import ModelOutput

    outputs = ModelOutput(logits=torch.zeros(2, 3), layers=(torch.zeros(2),))
    with pytest.raises(ModelError, match=r"`own-head`: its model gives `layers` as a `tuple`"):
        exporting._check_outputs(outputs, "own-head")


def test_wrong_requests_have_exit_code_2(
    texts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (["--max-changed", "2"], ["--rows", "0"], ["epochs=3"], ["nothing"]):
        assert main(["export", str(texts), "onnx", *words]) == 2, words
    with pytest.raises(RequestError, match="precision"):
        ftr.load(texts, backend="onnx", precision="bf16")
    with pytest.raises(RequestError, match="torch, onnx"):
        ftr.load(texts, backend="tensorflow")
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", str(texts), "onnx"]) == 2
    assert "pip install 'ftr[onnx]'" in capsys.readouterr().err
    assert main(["evaluate", str(texts), "--backend", "onnx"]) == 2
    assert "pip install 'ftr[onnx]'" in capsys.readouterr().err


@pytest.mark.slow
def test_int8_is_smaller_and_says_how_far_it_is_from_torch(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(answers, tmp_path / "run")
    # The fp32 graph is too large for one file, the 8-bit one is not.
    monkeypatch.setattr(exporting, "IN_GRAPH", 70_000)
    found = export_onnx(run, quantize="int8", max_changed=1)
    folder = run / "model" / "onnx"
    assert {path.name for path in folder.iterdir()} == {"model.int8.onnx", "export.json"}
    before = (answers / "model" / "onnx" / "model.onnx").stat().st_size
    assert (folder / "model.int8.onnx").stat().st_size < before
    assert found.record["full_range"] is not saturates()
    assert found.record["parity"]["logit_difference"] > 1e-4
    assert evaluate(run, backend="onnx").rows == evaluate(run).rows
    parity = {**found.record["parity"], "changed": 1}
    with pytest.raises(ModelError, match="--max-changed 0`"):
        exporting._check_parity({**found.record, "parity": parity}, 0)


@pytest.mark.slow
def test_the_members_of_an_ensemble_are_exported_one_by_one_with_their_adapters_merged(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    keys = {"dataset": reviews, "model": tiny_bert, "output": tmp_path, "epochs": 1}
    adapters = {"train.lora.rank": 4, "train.lora.merge": False}
    run = train({**REVIEWS, **adapters}, **keys, ensemble="seeds", ensemble_size=2)
    assert (run.path / "model" / "members" / "1" / "adapter_config.json").is_file()
    export_onnx(run.path)
    folder = run.path / "model" / "onnx"
    assert {path.name for path in folder.glob("*.onnx")} == {"model.0.onnx", "model.1.onnx"}
    mine, theirs = (ftr.load(run.path, backend=name).predict(ROWS) for name in ("onnx", "torch"))
    assert difference(mine, theirs) is None


TASKS: dict[str, tuple[Family, dict[str, object]]] = {
    "similarity": ("gpt2", {"data.max_length": 64}),
    "ner": ("deberta-v2", {"data.max_length": 64}),
}
"""Families whose masks, positions and last tokens differ from BERT's."""


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_numbers_of_pairs_and_tags_of_other_families_are_those_of_torch(
    task: str, tmp_path: Path
) -> None:
    family, keys = TASKS[task]
    run = train(
        {"task": task, "model": tiny_checkpoint(family, tmp_path / "model"), **keys},
        output=tmp_path / "runs",
        epochs=1,
        learning_rate=5e-3,
        baselines=False,
        **{"data.limit": 32, "train.precision": "fp32"},
    )
    parity = export_onnx(run.path).record["parity"]
    assert parity["changed"] == 0
    assert 0 < parity["logit_difference"] < 1e-4 * max(1, parity["largest_logit"])
    torch, onnx = (evaluate(run.path, backend=backend) for backend in ("torch", "onnx"))
    assert difference(onnx.predictions, torch.predictions) is None


@pytest.mark.slow
def test_a_model_directory_alone_is_exported_with_rows_of_a_file(
    questions: Path, tmp_path: Path
) -> None:
    registry = get_registry()
    pretrained = tiny_checkpoint("modernbert", tmp_path / "pretrained")
    config = resolve({"task": "qa", "model": str(pretrained)}, registry).config
    source = Pretrained(str(pretrained))
    model = make_head(registry, config.head).build(source, (), 0)
    for weights in model.parameters():
        weights.data.mul_(4)  # so that masks and positions show in the outputs
    card = ModelCard(
        head=config.head.name,
        head_options=config.head.options,
        metrics=tuple(config.metrics),
        labels=(),
        max_length=128,
        stride=12,
    )
    folder = tmp_path / "saved"
    save_model(folder, model, source.tokenizer(), card)
    parity = export_onnx(folder, [f"dataset={questions}"], rows=32).record["parity"]
    assert parity["rows"] == 32
    assert parity["logit_difference"] < 1e-4 * parity["largest_logit"]
