"""A training that only leaves a model and evaluations, reports them as they come, and is completed
later.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftr.config.resolve import resolve
from ftr.errors import RunError
from ftr.registry.registry import get_registry
from ftr.runs.directory import RunDirectory
from ftr.runs.prepare import prepare
from ftr.runs.run import finish_run, session_spec
from ftr.train.checkpoint import folders, last_step
from ftr.train.inference import Engine
from ftr.train.session import score_loop, train_loop
from ftr.train.trainer import StepTrainer
from interruptions import outcome
from trainings import ALL_OF_REVIEWS, lines

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

Made = tuple[RunDirectory, dict[str, Any]]


@pytest.fixture
def made(tiny_bert: Path, reviews: Path, tmp_path: Path) -> Made:
    """A run directory with its record, and the spec of the training whose whole run is
    `classifier`.
    """
    asked = {
        **ALL_OF_REVIEWS,
        "dataset": str(reviews),
        "model": str(tiny_bert),
        "output": str(tmp_path),
    }
    config = resolve(asked, get_registry()).config
    prepared = prepare(config, get_registry())
    directory = RunDirectory.create(str(tmp_path), "trial")
    spec = session_spec(directory, config, prepared)
    splits = {
        name: {"sha256": split["sha256"], "row_count": 1, "feature_count": 1}
        for name, split in spec["splits"].items()
    }
    directory.write(
        {
            "status": "running",
            "created": 0.0,
            "ftr": "0",
            "config": spec["config"],
            "data": {"sources": [], "splits": splits},
        }
    )
    return directory, {**spec, "final": False, "progress": False}


def test_every_evaluation_is_reported_when_its_model_is_saved(
    made: Made, classifier: RunResult
) -> None:
    directory, spec = made
    reports: list[dict[str, Any]] = []

    def report(evaluation: dict[str, Any]) -> None:
        assert (directory.model / "model.safetensors").is_file() and last_step(
            directory.path
        ) == evaluation["step"]
        reports.append(evaluation)

    result = train_loop({**spec, "checkpoint_always": True}, report)
    known = [
        entry for entry in lines(classifier.path / "metrics.jsonl") if entry["kind"] == "validation"
    ]
    assert [(one["step"], one["epoch"], one["value"]) for one in reports] == [
        (e["step"], e["epoch"], e["accuracy"]) for e in known
    ]
    assert [one["seconds"] for one in reports] == sorted(
        one["seconds"] for one in reports
    ) and reports[0]["seconds"] > 0
    best = max(one["value"] for one in reports)
    assert (
        [one["step"] for one in reports if one["best"]][-1]
        == result["best"]["step"]
        == classifier.record["best"]["step"]
    )
    assert result["best"]["value"] == best and result["last"]["step"] == reports[-1]["step"]
    assert (result["scores"], result["untrained"]) == ({}, None) and not (
        directory.path / "predictions"
    ).exists()


@pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt])
def test_a_report_may_end_the_training_which_goes_on_from_there(
    made: Made, classifier: RunResult, stop: type[BaseException]
) -> None:
    directory, spec = made

    def report(evaluation: dict[str, Any]) -> None:
        if evaluation["step"] == 10:
            raise stop

    with pytest.raises(stop):
        train_loop({**spec, "checkpoint_always": True}, report)
    assert last_step(directory.path) == 10 and len(folders(directory.path / "checkpoints")) <= 2
    reports: list[dict[str, Any]] = []
    train_loop(spec, reports.append)
    assert [one["step"] for one in reports] == [15, 20, 25]
    weights = (directory.model / "model.safetensors").read_bytes()
    assert weights == (classifier.model / "model.safetensors").read_bytes()


def test_a_finished_run_is_that_of_a_whole_training(made: Made, classifier: RunResult) -> None:
    directory, spec = made
    result = train_loop(spec)
    directory.write({**directory.read(), "status": "done", **result})
    finished = finish_run(directory, get_registry())
    seconds = dict(finished.record["timings"])
    assert (
        finished.scores == classifier.scores
        and finished.record["baselines"] == classifier.record["baselines"]
    )
    assert seconds.pop("baselines") > 0 and seconds == result["timings"]
    ours, whole = outcome(directory.path), outcome(classifier.path)
    # The record above is not that of a run, and the card tells of it.
    assert ours["files"].pop("README.md") != whole["files"].pop("README.md")
    for part in ("files", "predictions", "record"):
        assert ours[part] == whole[part]
    assert {key: ours["record"][key] for key in ("status", "best")} == {
        "status": "done",
        "best": classifier.record["best"],
    }
    assert "| test, untrained | test, trained |" in (directory.path / "README.md").read_text()


@pytest.mark.parametrize(
    ("keep", "precision", "passes"),
    [("best", "fp32", 4), ("last", "fp32", 4), ("best", "bf16", 5)],
)
def test_the_model_runs_over_validation_rows_once_for_the_weights_it_keeps(
    made: Made, monkeypatch: pytest.MonkeyPatch, keep: str, precision: str, passes: int
) -> None:
    """Two epochs: the untrained and the final scores of the test rows, two validations, and a
    third where training had another precision; the results are those of scoring anew.
    """
    directory, spec = made
    config = spec["config"]
    train = {**config["train"], "keep": keep, "precision": precision}
    spec = {**spec, "config": {**config, "epochs": 2, "train": train}, "final": True}
    split_sizes: list[int] = []
    records = Engine.records

    def counted(self: Engine, split: Any, *rest: Any) -> list[list[Any]]:
        split_sizes.append(len(split.rows))
        return records(self, split, *rest)

    monkeypatch.setattr(Engine, "records", counted)
    found = train_loop(spec)
    assert len(split_sizes) == passes
    written = {path.name: lines(path) for path in (directory.path / "predictions").iterdir()}
    again = score_loop(spec)
    assert len(split_sizes) == passes + 3
    for key in ("scores", "intervals", "state"):
        assert again[key] == found[key]
    for name, answers in written.items():
        assert lines(directory.path / "predictions" / name) == answers


@pytest.mark.parametrize("save_steps", [3, 1000])
def test_losses_that_are_read_later_make_the_same_run_and_a_nan_is_never_saved(
    made: Made, classifier: RunResult, monkeypatch: pytest.MonkeyPatch, save_steps: int
) -> None:
    directory, spec = made
    monkeypatch.setattr("ftr.train.trainer.SYNCHRONOUS", ())
    reads: list[int] = []
    read = StepTrainer.read_losses

    def counted(self: StepTrainer) -> list[float]:
        reads.append(len(self.unread))
        return read(self)

    monkeypatch.setattr(StepTrainer, "read_losses", counted)
    train = {**spec["config"]["train"], "logging_steps": 100, "save_steps": save_steps}
    spec = {**spec, "config": {**spec["config"], "train": train}}
    bad = {**spec, "config": {**spec["config"], "learning_rate": 1e30}}
    with pytest.raises(RunError, match=r"^the loss is nan at step \d+: lower `learning_rate`"):
        train_loop({**bad, "checkpoint_always": True})
    assert max(reads) == 3 or save_steps > 3
    assert max(reads) > 1
    assert not directory.model.exists() and last_step(directory.path) is None
    reads.clear()
    train_loop(spec)
    assert sum(reads) == classifier.record["steps"] > len([one for one in reads if one])
    ours, known = (
        [
            {**one, "time": 0, "seconds": 0}
            for one in lines(path / "metrics.jsonl")
            if one["kind"] == "validation"
        ]
        for path in (directory.path, classifier.path)
    )
    assert ours == known
    weights = "model.safetensors"
    assert (directory.model / weights).read_bytes() == (classifier.model / weights).read_bytes()


def test_a_training_that_was_ended_early_can_be_finished_too(made: Made) -> None:
    directory, spec = made

    def report(evaluation: dict[str, Any]) -> None:
        if evaluation["step"] == 15:
            raise SystemExit

    with pytest.raises(SystemExit):
        train_loop(spec, report)
    best = max(
        (
            entry
            for entry in lines(directory.path / "metrics.jsonl")
            if entry["kind"] == "validation"
        ),
        key=lambda e: e["value"],
    )
    record = finish_run(directory, get_registry()).record
    assert record["best"] == {"epoch": best["epoch"], "step": best["step"], "value": best["value"]}
    assert record["steps"] == 15 and record["scores"]["validation"]["accuracy"] == best["value"]
    assert [
        entry["split"]
        for entry in lines(directory.path / "metrics.jsonl")
        if entry["kind"] == "final"
    ] == ["validation", "test"]
