"""A training that is cut off and resumed ends as one that never was: the same weights to the bit,
the same curves and files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftr.errors import ConfigError, DataError, ModelError, RequestError, RunError
from ftr.runs.directory import LOCK, hold
from ftr.study.resume import resume
from ftr.train.checkpoint import BestCheckpoint
from ftr.train.checkpoint_manager import CheckpointManager
from ftr.train.session import Session
from ftr.train.trainer import StepTrainer
from interruptions import command, cut_off, interrupted, outcome, resumed
from tiers import slow_but
from trainings import QUESTIONS, REVIEWS, Settings, train, write_reviews

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

KILLED = """
import os, signal, sys
from pathlib import Path
from ftr import atomic
run = Path(sys.argv[1])
with atomic.workroom(run / "model"), atomic.workroom(run / "predictions" / "test.jsonl"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
EVERY_TWO: Settings = {"epochs": 3, "train.save_steps": 2}
Place = tuple[type, str, int]
STEP: Place = (StepTrainer, "training_step", 9)
PLACES: dict[str, Place] = {
    "before the first checkpoint": (StepTrainer, "training_step", 2),
    "in the middle of an epoch": STEP,
    "at an epoch's end, before its evaluation": (StepTrainer, "evaluate", 2),
    "in an evaluation": (Session, "predict", 3),
    "after an evaluation, before its checkpoint": (CheckpointManager, "save", 5),
    "before the best weights are saved": (BestCheckpoint, "save", 1),
    "after the last step": (Session, "finish", 1),
    "in the final predictions": (BestCheckpoint, "write_state", 1),
}
EVERY_EPOCH: Settings = {"epochs": 3, "train.save_steps": 5}
"""The last of these is of the last step: nothing is left to train."""


def paced(place: str) -> Settings:
    """Return the settings for a place."""
    return {
        **REVIEWS,
        **(
            EVERY_EPOCH
            if place in ("after the last step", "in the final predictions")
            else EVERY_TWO
        ),
    }


def test_the_places_are_where_they_should_be(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    for name, last in (
        ("before the first checkpoint", None),
        ("in the middle of an epoch", 8),
        ("in the final predictions", 15),
    ):
        run = interrupted(
            paced(name), *PLACES[name], dataset=reviews, model=tiny_bert, output=tmp_path
        )
        steps = sorted(
            int(folder.name.removeprefix("step-")) for folder in run.glob("checkpoints/step-*")
        )
        assert (steps[-1] if steps else None) == last and len(steps) <= 2
        assert json.loads((run / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize(
    "place", slow_but(["in the middle of an epoch", "after the last step"], PLACES)
)
def test_a_classifier_ends_the_same_wherever_it_is_cut_off(
    place: str, undisturbed: dict[str, Any], tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    run = interrupted(
        paced(place), *PLACES[place], dataset=reviews, model=tiny_bert, output=tmp_path
    )
    result = resumed(run)
    assert outcome(run) == undisturbed
    assert len(result.record["resumed"]) == 1 and result.path == run
    assert not (run / "checkpoints").exists() and not (run / LOCK).exists()


@pytest.fixture(scope="module")
def undisturbed(
    tiny_bert: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the classifier comes to when nothing happens."""
    return outcome(
        train(
            {**REVIEWS, **EVERY_TWO},
            dataset=reviews,
            model=tiny_bert,
            output=tmp_path_factory.mktemp("undisturbed"),
        ).path
    )


SETTINGS: dict[str, Settings] = {
    "qa": {**QUESTIONS, "train.save_steps": 4},
    "a fraction of an epoch": {"epochs": 2.5},
    "forward passes of three": {"train.micro_batch_size": 3},
    "cosine": {"train.lr_scheduler": "cosine"},
    "plateau": {
        "train.lr_scheduler": "reduce_lr_on_plateau",
        "trainer.lr_scheduler_kwargs": {"patience": 0},
        "epochs": 5,
    },
    "the last weights": {"train.keep": "last"},
    "no validation": {"data.validation_size": 0.0},
    "evaluation by steps": {"train.evaluate_every": 3},
    "bf16": {"train.precision": "bf16"},
    "another optimizer": {"train.optimizer": "adafactor"},
    "sgd with momentum": {"train.optimizer": "sgd", "trainer.optim_args": "momentum=0.9"},
    "log lines every four steps": {"train.logging_steps": 4},
}


@pytest.mark.parametrize("name", slow_but(["qa", "evaluation by steps"], SETTINGS))
def test_any_settings_end_the_same(
    name: str, tiny_bert: Path, reviews: Path, questions: Path, tmp_path: Path
) -> None:
    qa = name == "qa"
    settings: Settings = SETTINGS[name] if qa else {**REVIEWS, **EVERY_TWO, **SETTINGS[name]}
    data = questions if qa else reviews
    whole = train(settings, dataset=data, model=tiny_bert, output=tmp_path / "whole")
    run = interrupted(
        settings,
        StepTrainer,
        "training_step",
        8,
        dataset=data,
        model=tiny_bert,
        output=tmp_path / "cut",
    )
    resumed(run)
    assert outcome(run) == outcome(whole.path)


def test_a_training_may_be_cut_off_again_and_again(
    undisturbed: dict[str, Any], tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    run = interrupted(
        {**REVIEWS, **EVERY_TWO}, *STEP, dataset=reviews, model=tiny_bert, output=tmp_path
    )
    for owner, name, call in (
        (StepTrainer, "training_step", 3),
        (Session, "predict", 1),
        (Session, "finish", 1),
    ):
        with pytest.MonkeyPatch.context() as patch:
            cut_off(patch, owner, name, call)
            with pytest.raises(KeyboardInterrupt):
                resumed(run)
    result = resumed(run)
    assert outcome(run) == undisturbed
    assert [part["step"] for part in result.record["resumed"]] == [8, 10, 14, 14]
    assert result.record["timings"]["total"] >= result.record["timings"]["train"] > 0


def test_damaged_checkpoints_are_named_and_the_one_before_is_taken(
    undisturbed: dict[str, Any],
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = interrupted(
        {**REVIEWS, **EVERY_TWO}, *STEP, dataset=reviews, model=tiny_bert, output=tmp_path
    )
    weights = run / "checkpoints" / "step-00000008" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    result = resumed(run)
    assert (
        "step-00000008` is damaged, and was removed: `model.safetensors` is not the file that was written"
        in capfd.readouterr().err
    )
    assert [part["step"] for part in result.record["resumed"]] == [6] and outcome(
        run
    ) == undisturbed


def test_best_weights_that_were_lost_come_back_from_the_checkpoint(
    undisturbed: dict[str, Any], tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    run = interrupted(
        paced("after the last step"),
        *PLACES["after the last step"],
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path,
    )
    # A process that dies between the two renames of a save leaves this.
    (run / "model").rename(run / "model.old-123")
    resumed(run)
    assert outcome(run) == undisturbed


def test_weights_that_were_changed_while_training_are_not_passed_off_as_the_best(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Session.finish

    def spoiled(self: Session, restore: bool = True) -> Any:
        path = self.folder / "model" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
        return inner(self, restore)

    monkeypatch.setattr(Session, "finish", spoiled)
    with pytest.raises(
        RunError, match=r"model.safetensors` is not the file this run saved at step"
    ):
        train(
            REVIEWS, dataset=reviews, model=tiny_bert, output=tmp_path, learning_rate=3e-2, epochs=3
        )


def test_a_run_that_is_done_trains_nothing(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    done = train(REVIEWS, dataset=reviews, model=tiny_bert, output=tmp_path, epochs=1)
    before = outcome(done.path)
    (done.path / "README.md").unlink()
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        cut_off(patch, Session, "__init__", 1)
        again = resume(done.path, say=said.append)
    assert said == [f"`{done.path}` is done: there is nothing to resume"]
    assert again.record == done.record and outcome(done.path) == before


def test_settings_must_be_those_of_the_run(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(
        {**REVIEWS, **EVERY_TWO}, *STEP, dataset=reviews, model=tiny_bert, output=tmp_path
    )
    with pytest.raises(
        ConfigError,
        match=r"other settings: `epochs` was 3\.0, is 4\.0; `seed` was 0, is 7\. A run is resumed "
        r"as it began",
    ):
        resume(run, ["epochs=4", "seed=7", "batch_size=8"])
    with pytest.raises(ConfigError, match=r"`learning_rat`.*Did you mean `learning_rate`"):
        resume(run, ["learning_rat=4"])
    (tmp_path / "own.yaml").write_text("train: {warmup: 0.3}\n")
    with pytest.raises(ConfigError, match=r"`train.warmup` was 0.1, is 0.3"):
        resume(run, [f"config={tmp_path / 'own.yaml'}"])
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(
        json.dumps({**record, "config": {**record["config"], "learning_rate": 1e-3}})
    )
    with pytest.raises(
        ConfigError,
        match=r"checkpoint `.*step-00000008` is of another configuration: `learning_rate` was "
        r"0.005, is 0.001",
    ):
        resumed(run)
    (run / "run.json").write_text(
        json.dumps({**record, "config": {**record["config"], "epochs": -1}})
    )
    with pytest.raises(
        RequestError,
        match=r"run.json`: `epochs` cannot be used: it should be greater than 0.*restore the file",
    ):
        resumed(run)
    (run / "run.json").write_text(json.dumps(record))
    monkeypatch.chdir(reviews.parent)
    same = ["dataset=reviews.csv", f"metrics={','.join(record['config']['metrics'])}", "epochs=3"]
    assert resume(run, same, say=lambda line: None).record["status"] == "done"


def test_the_data_must_be_that_of_the_run(tiny_bert: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.csv")
    run = interrupted(
        {**REVIEWS, **EVERY_TWO}, *STEP, dataset=data, model=tiny_bert, output=tmp_path / "runs"
    )
    whole = data.read_bytes()
    data.write_bytes(whole + b"\n")
    with pytest.raises(
        DataError,
        match=r"`.*reviews.csv` changed since this run began \(sha256 .*, was .*\): restore the "
        r"file",
    ):
        resumed(run)
    data.write_bytes(whole)
    record = json.loads((run / "run.json").read_text())
    record["data"]["splits"]["test"]["sha256"] = "0" * 64
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"the test rows are not those this run began with"):
        resumed(run)
    assert (run / "checkpoints" / "step-00000008").is_dir()


def test_a_run_that_another_process_holds_is_refused(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    run = interrupted(
        {**REVIEWS, **EVERY_TWO}, *STEP, dataset=reviews, model=tiny_bert, output=tmp_path
    )
    with hold(run):
        other = command("resume", run, fresh=True)
        out, err = other.communicate(timeout=60)
    assert other.returncode == 2 and "is being worked on by process" in err and not out
    assert "Traceback" not in err


def test_a_run_can_be_moved_and_resumed_from_elsewhere(
    undisturbed: dict[str, Any],
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = interrupted(
        {**REVIEWS, **EVERY_TWO}, *STEP, dataset=reviews, model=tiny_bert, output=tmp_path / "here"
    )
    (tmp_path / "there").mkdir()
    moved = Path(shutil.move(run, tmp_path / "there" / "run"))
    monkeypatch.chdir(tmp_path / "there")
    resumed(Path("run"))
    assert outcome(moved) == undisturbed


def test_a_run_that_failed_is_resumed_and_one_that_never_began_starts_over(
    undisturbed: dict[str, Any],
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        cut_off(patch, StepTrainer, "training_step", 9, RunError)
        with pytest.raises(RunError, match="cut off"):
            train({**REVIEWS, **EVERY_TWO}, dataset=reviews, model=tiny_bert, output=tmp_path)
    (run,) = tmp_path.iterdir()
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    result = resumed(run)
    assert outcome(run) == undisturbed and "error" not in result.record
    capfd.readouterr()
    early = interrupted(
        {**REVIEWS, **EVERY_TWO},
        Session,
        "__init__",
        1,
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path,
    )
    assert sorted(path.name for path in early.iterdir()) == ["invalid_rows.jsonl", "run.json"]
    resume(early, say=said.append)
    assert "no checkpoint was written: starting over" in capfd.readouterr().err
    assert outcome(early) == undisturbed


LINKED = (
    "metrics.jsonl",
    "run.json",
    "model",
    "checkpoints",
    "predictions",
    "README.md",
    "error.log",
    ".lock",
    "model/ftr.json",
)


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("status", ["done", "interrupted"])
def test_a_received_run_with_a_link_to_elsewhere_is_refused_and_nothing_is_written_there(
    status: str, name: str, classifier: RunResult, tmp_path: Path
) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(classifier.path, run)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": status}))
    if (run / name).exists():
        (run / name).rename(outside)
    else:
        outside.mkdir() if name == "checkpoints" else outside.write_text("theirs")
    (run / name).symlink_to(outside)
    before = {path: path.stat() for path in (outside, *outside.rglob("*"))}
    with pytest.raises(
        RequestError,
        match=rf"`.*{name}` is a link to `{outside}`, and files in this directory are written\. "
        r"Replace it",
    ):
        resume(run, say=lambda line: None)
    assert {path: path.stat().st_mtime_ns for path in before} == {
        path: known.st_mtime_ns for path, known in before.items()
    }


def test_a_pipe_in_a_received_run_is_refused(classifier: RunResult, tmp_path: Path) -> None:
    run = shutil.copytree(classifier.path, tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    os.mkfifo(run / "metrics.jsonl")
    with pytest.raises(
        RequestError, match=r"metrics.jsonl` is a pipe or a device, not a file of a run"
    ):
        resume(run)


def test_resume_removes_what_a_killed_process_left(classifier: RunResult, tmp_path: Path) -> None:
    run = shutil.copytree(classifier.path, tmp_path / "run")
    dead = subprocess.Popen([sys.executable, "-c", KILLED, str(run)])
    dead.wait()
    assert len(list(run.rglob("*.new-*"))) == 2
    resumed(run)
    assert not list(run.rglob("*.new-*"))


def test_a_checkpoint_of_a_newer_version_is_refused_before_anything_is_written(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    run = interrupted(
        {**REVIEWS, **EVERY_TWO}, *STEP, dataset=reviews, model=tiny_bert, output=tmp_path
    )
    manifest = sorted(run.glob("checkpoints/step-*/manifest.json"))[-1]
    manifest.write_text(
        json.dumps({**json.loads(manifest.read_text()), "format": 99, "ftr": "9.1"})
    )
    before = (run / "run.json").read_bytes()
    with pytest.raises(
        RequestError,
        match=r"has format 99, written by ftr 9\.1; this is ftr .*, which reads format 1",
    ):
        resumed(run)
    assert manifest.is_file() and (run / "run.json").read_bytes() == before


def test_changed_weights_of_a_run_that_is_done_are_noticed(
    classifier: RunResult, tmp_path: Path
) -> None:
    run = shutil.copytree(classifier.path, tmp_path / "run")
    weights = run / "model" / "model.safetensors"
    assert json.loads((run / "run.json").read_text())["weights"] == {
        weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()
    }
    weights.write_bytes(b"")
    with pytest.raises(ModelError, match=r"model.safetensors` is not the file that this run saved"):
        resumed(run)
