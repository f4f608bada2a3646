"""What a trial's process does around its training: reports, locks, and what is kept of a
failure.
"""

from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ftr import atomic
from ftr.errors import RequestError, ScoreError
from ftr.runs.directory import RunDirectory, hold
from ftr.study.trial import ORPHAN_SECONDS, Reports, Shared, _failed, evaluations
from trainings import lines

EVALUATION: dict[str, Any] = {"epoch": 1.0, "step": 5, "value": 0.5, "seconds": 2.0, "best": True}

SHARED = Shared(
    folder="",
    storage=None,
    prepared={},
    record={},
    primary="accuracy",
    mode="max",
    checkpoint_always=False,
    free=(),
    threads=1,
)


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def test_reports_hold_numbers_alone_and_the_last_is_remembered() -> None:
    sent: list[dict[str, Any]] = []
    kept: list[int] = []
    reports = Reports(sent.append, lambda: kept.append(len(sent)))
    assert reports.last["step"] == 0 and math.isnan(reports.last["value"])
    reports(
        {
            **EVALUATION,
            "scores": {
                "accuracy": 0.5,
                "confusion_matrix": [[1, 0], [0, 1]],
                "f1_per_class": {"good": 1.0},
            },
        }
    )
    assert (
        sent
        == [reports.last]
        == [
            {
                "epoch": 1.0,
                "step": 5,
                "value": 0.5,
                "seconds": 2.0,
                "scores": {"accuracy": 0.5},
                "interval": None,
            }
        ]
    )
    assert kept == [0], "what must outlive the process is kept before Tune may stop the trial"


def test_an_evaluation_at_which_tune_stops_the_trial_is_remembered() -> None:
    def stop(report: dict[str, Any]) -> None:
        raise SystemExit

    reports = Reports(stop)
    with pytest.raises(SystemExit):
        reports({**EVALUATION, "scores": {}})
    assert reports.last["step"] == 5


def test_evaluations_on_disk_are_those_that_are_reported(classifier: Any) -> None:
    found = evaluations(RunDirectory(classifier.path), "f1_macro")
    written = [
        line for line in lines(classifier.path / "metrics.jsonl") if line["kind"] == "validation"
    ]
    assert [entry["value"] for entry in found] == [line["f1_macro"] for line in written]
    assert [(entry["epoch"], entry["step"], entry["seconds"]) for entry in found] == [
        (line["epoch"], line["step"], line["seconds"]) for line in written
    ]
    assert all(type(score) in (int, float) for entry in found for score in entry["scores"].values())
    assert {"accuracy", "f1_macro"} <= found[0]["scores"].keys() and not {
        "value",
        "seconds",
        "step",
        "epoch",
    } & found[0]["scores"].keys()
    assert all(
        math.isnan(entry["value"])
        for entry in evaluations(RunDirectory(classifier.path), "unheard")
    )


def test_a_torn_line_hides_no_other_evaluation(directory: RunDirectory) -> None:
    assert evaluations(directory, "accuracy") == []
    atomic.append_line(
        directory.path / "metrics.jsonl", {"kind": "validation", **EVALUATION, "accuracy": 0.5}
    )
    with (directory.path / "metrics.jsonl").open("a") as stream:
        stream.write('{"kind": "validation", "epoch": 2.0, "st')
    assert [entry["value"] for entry in evaluations(directory, "accuracy")] == [0.5]


def test_a_trial_waits_for_the_process_that_still_works_on_it(directory: RunDirectory) -> None:
    taken, order = threading.Event(), list[str]()

    def earlier() -> None:
        with hold(directory.path):
            taken.set()
            time.sleep(0.8)
            order.append("earlier")

    thread = threading.Thread(target=earlier)
    thread.start()
    assert taken.wait(10)
    with hold(directory.path, seconds=ORPHAN_SECONDS):
        order.append("later")
    thread.join()
    assert order == ["earlier", "later"]


def test_a_process_that_never_lets_go_is_named(directory: RunDirectory) -> None:
    with (
        hold(directory.path),
        pytest.raises(RequestError, match=r"is being worked on by process"),
        hold(directory.path, seconds=0.1),
    ):
        pass


def test_what_fails_within_a_held_directory_is_raised_once(directory: RunDirectory) -> None:
    calls = []
    with pytest.raises(RequestError, match="of its own"), hold(directory.path):  # noqa: PT012
        calls.append(1)
        raise RequestError("of its own")
    assert calls == [1]


def test_a_failure_is_kept_beside_the_run_and_told(directory: RunDirectory) -> None:
    directory.write({"status": "running", "created": 1.0, "config": {}})
    final = _failed(directory, SHARED, ValueError("too steep"))
    assert final == {
        "status": "failed",
        "cause": "ValueError: too steep",
        "log": f"trials/{directory.path.name}/error.log",
        "refused": False,
        "evaluations": [],
    }
    record = json.loads(directory.record.read_text())
    assert (record["status"], record["error"]) == ("failed", "ValueError: too steep") and record[
        "finished"
    ] > 1.0
    assert "ValueError: too steep" in (directory.path / "error.log").read_text()
    assert _failed(directory, SHARED, ScoreError("no such score"))["refused"]


def test_a_failure_that_cannot_be_written_is_told_all_the_same(tmp_path: Path) -> None:
    final = _failed(RunDirectory(tmp_path / "gone"), SHARED, OSError(28, "No space left on device"))
    assert (final["status"], final["log"]) == ("failed", None)
    assert "No space left on device" in final["cause"]
