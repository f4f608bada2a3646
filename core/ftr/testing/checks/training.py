"""Checks of whole trainings of a task: through the runner, on workers, inside a trial, interrupted
and resumed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftr.atomic import sha256
from ftr.errors import FtrError
from ftr.testing.alike import difference
from ftr.testing.contract import Conformance, broken, must_work, require
from ftr.testing.subjects import TaskSubject

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

CUT_AT = 5
"""The step that is never done: in the second epoch of three steps each."""
TIMES = ("time", "seconds")


class TrainingChecks(Conformance):
    """What must hold of a task as a whole."""

    def test_its_components_are_registered(self, ftr_task: TaskSubject) -> None:
        for part in ftr_task.parts:
            _ = part.entry

    def test_it_resolves_without_further_settings(self, ftr_task: TaskSubject) -> None:
        from ftr.config.resolve import resolve

        with must_work(
            f"`ftr run task={ftr_task.name}` needs no further setting",
            "mend `defaults` of the spec",
        ):
            resolve({"task": ftr_task.entry.qualified}, ftr_task.registry)

    def test_its_search_space_can_be_swept(self, ftr_task: TaskSubject) -> None:
        from ftr.config.sweep import resolve_sweep

        if not ftr_task.task_spec.search_space:
            pytest.skip("it has no search space of its own")
        with must_work(
            f"`ftr sweep task={ftr_task.name}` searches the task's own space",
            "mend `search_space` of the spec",
        ):
            resolve_sweep({"task": ftr_task.entry.qualified, "trials": 2}, ftr_task.registry)

    def test_a_run_goes_from_data_to_predictions(self, ftr_task: TaskSubject) -> None:
        run = ftr_task.trained
        promise = f"a run of {ftr_task} leaves one prediction for each held-out row, and scores"
        heldout = run.record["heldout"]
        require(
            heldout and run.record["status"] == "done" and run.record["steps"] >= 2,
            promise,
            _status(run),
            "give it more rows",
        )
        ids = [
            json.loads(line)["id"]
            for line in (run.path / "predictions" / f"{heldout}.jsonl")
            .read_text(encoding="utf-8")
            .splitlines()
        ]
        rows = run.record["data"]["splits"][heldout]["row_count"]
        found = f"{rows} rows, {len(ids)} predictions with {len(set(ids))} ids"
        require(
            len(ids) == len(set(ids)) == rows,
            promise,
            found,
            "let `decode` of the head keep the `id` of its row",
        )
        primary = run.record["primary"]
        require(
            isinstance(run.scores.get(primary), int | float),
            promise,
            f"scores {sorted(run.scores)}",
            f"let the first of `metrics` return `{primary}`",
        )

    def test_a_run_loads_and_predicts_what_it_did(self, ftr_task: TaskSubject) -> None:
        from datasets import Dataset

        from ftr.runs.predictor import load

        run = ftr_task.trained
        heldout = run.record["heldout"]
        rows = Dataset.from_file(run.record["data"]["splits"][heldout]["rows"]).to_list()
        lines = (
            (run.path / "predictions" / f"{heldout}.jsonl").read_text(encoding="utf-8").splitlines()
        )
        with must_work(
            f"`ftr.load` of a run of {ftr_task} predicts rows",
            "override `build` of the head so that it takes a trained checkpoint",
        ):
            again = load(run.path, registry=ftr_task.registry).predict(rows)
        differs = difference([json.loads(line) for line in lines], again)
        require(
            differs is None,
            f"a run of {ftr_task} that is loaded predicts what it did when it was made",
            f"predictions differ: {differs}",
            "keep all that a prediction needs in the model's config (`build`), in what `calibrate` "
            "returns, or in the options of the head",
        )

    def test_an_interrupted_run_goes_on_to_the_same_result(self, ftr_task: TaskSubject) -> None:
        from ftr.study.resume import resume

        whole = ftr_task.trained
        left = _cut_off(ftr_task, whole)
        with must_work(
            f"an interrupted run of {ftr_task} is resumed",
            "mend what the error names; `ftr resume` fails alike",
        ):
            again = resume(left, registry=ftr_task.registry, say=_unheard)
        one, other = _outcome(whole.path), _outcome(again.path)
        differs = next(
            (name for name in {**one, **other} if one.get(name) != other.get(name)), None
        )
        require(
            differs is None,
            f"a run of {ftr_task} that was interrupted and resumed comes to the result of one that "
            "was not",
            f"`{differs}` differs",
            "draw random numbers from the shared generators of Python, numpy and torch only, and "
            "keep no state in the head between calls of `encode`, `collate` and `loss`",
        )

    def test_two_workers_train_it(self, ftr_task: TaskSubject, ftr_ray: None) -> None:
        alone = ftr_task.trained
        shared = ftr_task.run("workers", **{"compute.workers": 2, "compute.cpus": 0.5})
        promise = f"two workers train {ftr_task} as one process does"
        require(
            shared.record["workers"] == 2 and shared.record["steps"] == alone.record["steps"],
            promise,
            _status(shared),
            "look at its log",
        )
        differs = difference(alone.record["untrained"], shared.record["untrained"])
        require(
            differs is None,
            promise,
            f"before the first step their scores differ: {differs}",
            "let `reduce` and `decode` look at nothing but the feature and the row they are given",
        )

    def test_trials_of_a_sweep_train_it(self, ftr_task: TaskSubject, ftr_ray: None) -> None:
        from ftr.study.sweep import sweep

        asked = {
            "learning_rate": "choice(5e-4,1e-3)",
            "trials": 2,
            "searcher": "random",
            "scheduler": "fifo",
            "epochs": 1,
        }
        promise = (
            f"{ftr_task} trains inside the trials of a sweep, one after the other in one process"
        )
        change = (
            "mend what the error names; trials share head, tokenizer and model, so let none of "
            "them keep state"
        )
        with must_work(promise, change):
            words = ftr_task.words("sweep", **asked)
            found = sweep(
                {key: value for key, value in words.items() if key != "train.save_steps"},
                registry=ftr_task.registry,
                say=_unheard,
            )
        causes = [
            str(trial.cause) for trial in found.state.trials.values() if trial.status != "done"
        ]
        require(
            not causes and len(found.state.trials) == 2,
            promise,
            "; ".join(causes) or "there were no two trials",
            change,
        )
        require(
            found.best is not None and (found.best / "model" / "ftr.json").is_file(),
            promise,
            "no trial has a score",
            change,
        )


def _cut_off(task: TaskSubject, whole: RunResult) -> Path:
    """Train until a step is interrupted and return the run directory that is left."""
    from ftr.study.study import run
    from ftr.train.trainer import StepTrainer

    steps = min(CUT_AT, whole.record["steps"])
    if steps < 2:
        pytest.skip("a run has one step only: nothing can be resumed")
    inner, calls = StepTrainer.training_step, 0

    def cut(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == steps:
            raise KeyboardInterrupt
        return inner(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepTrainer, "training_step", cut)
        try:
            run(task.words("cut"), registry=task.registry, say=_unheard)
        except KeyboardInterrupt:
            pass
        except FtrError as error:
            broken(
                f"{task} trains",
                str(error),
                "mend what the error names; `ftr run` with the same settings fails alike",
            )
    (left,) = (task.runs / "cut").iterdir()
    return left


def _outcome(run: Path) -> dict[str, object]:
    """Return what must not depend on interruptions: every loss and score on the way, the model's
    files, the predictions.
    """
    lines = [
        json.loads(line)
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    curve = {
        f"{line['kind']} at step {line['step']}": [
            line[key] for key in sorted(line) if key not in TIMES
        ]
        for line in lines
    }
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    folders = {folder: sorted((run / folder).iterdir()) for folder in ("model", "predictions")}
    files = {
        f"{folder}/{path.name}": sha256(path) for folder, paths in folders.items() for path in paths
    }
    return {
        **curve,
        **files,
        **{key: record[key] for key in ("scores", "untrained", "steps", "state")},
    }


def _status(run: RunResult) -> str:
    return (
        f"status {run.record['status']}, {run.record['steps']} steps, held out: "
        f"{run.record['heldout'] or 'nothing'}"
    )


def _unheard(line: str) -> None:
    """Say nothing."""
