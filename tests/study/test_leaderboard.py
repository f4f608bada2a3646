"""The ranking: best evaluations, cheaper ones first among equals, repeats by their mean."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from ftr.cli.sweep import noise_lines
from ftr.errors import RunError
from ftr.study.trials import Result, Status, Trial, rank, runner_up, winner, write_leaderboard


def trial(
    number: int,
    *values: float,
    status: Status = "done",
    mode: str = "max",
    group: int | None = None,
    **more: Any,
) -> Trial:
    """Return a trial with one evaluation an epoch."""
    made = Trial(
        number,
        {"learning_rate": number / 10},
        number if group is None else group,
        0,
        status=status,
        **more,
    )
    for epoch, value in enumerate(values, start=1):
        made.add(
            Result(epoch=epoch, step=epoch * 10, value=value, seconds=1.0, scores={"f1": value}),
            mode,
        )
    return made


def order(*trials: Trial, mode: str = "max") -> list[int]:
    """Return the trials by rank, the same for every order they are given in."""
    found = [entry.trial for entry in rank(trials, mode)]
    for seed in range(5):
        shuffled = random.Random(seed).sample(trials, len(trials))
        assert [entry.trial for entry in rank(shuffled, mode)] == found
    return found


@pytest.mark.parametrize(("second", "mode", "noise"), [(0.88, "max", True), (0.80, "max", False)])
def test_a_runner_up_within_the_interval_of_the_winner_is_within_noise(
    second: float, mode: str, noise: bool
) -> None:
    entries = rank([trial(0, second), trial(1, 0.9), trial(2, 0.5)], mode)
    record = {
        "scores": {"validation": {"f1": 0.9}},
        "intervals": {"validation": {"f1": {"low": 0.85, "high": 0.93}}},
    }
    found = runner_up(entries, "f1", mode, record)
    assert found is not None
    assert (found["trial"], found["within_noise"], found["paired"]) == (0, noise, False)
    assert found["behind"] == pytest.approx(0.9 - second)
    assert (noise_lines(found, "f1") == []) is not noise
    assert max(map(len, ["", *noise_lines(found, "f1")])) <= 80
    # One trial, and a record of an earlier release.
    assert runner_up(entries[:1], "f1", mode, record) is None
    assert runner_up(entries, "f1", mode, {}) is None


def test_the_best_evaluation_counts_and_not_the_last() -> None:
    assert order(trial(0, 0.6, 0.7), trial(1, 0.9, 0.1), trial(2, 0.8, 0.8)) == [1, 2, 0]
    assert order(
        *(trial(n, *v, mode="min") for n, v in enumerate([(0.6, 0.7), (0.9, 0.1), (0.2, 0.3)])),
        mode="min",
    ) == [1, 2, 0]
    entry = rank([trial(1, 0.9, 0.1, seconds=12.0)], "max")[0]
    assert (entry.rank, entry.value, entry.best_epoch, entry.trained_epochs, entry.seconds) == (
        1,
        0.9,
        1,
        2,
        12.0,
    )
    assert (entry.scores, entry.std, entry.counted, entry.repeats, entry.trials) == (
        {"f1": 0.9},
        None,
        1,
        1,
        (1,),
    )


def test_of_equals_the_cheaper_comes_first_and_then_the_lower_number() -> None:
    long, slow, twin, same = (
        trial(0, 0.5, 0.9, 0.5),
        trial(1, 0.9, 0.5),
        trial(2, 0.5, 0.9),
        trial(3, 0.9, 0.1),
    )
    slow.results[-1] = Result(epoch=2, step=99, value=0.5, seconds=1.0, scores={})
    assert order(long, slow, twin, same) == [2, 3, 1, 0]


def test_measured_times_do_not_rank() -> None:
    assert order(trial(0, 0.9, seconds=100.0), trial(1, 0.9, seconds=1.0)) == [0, 1]


def test_running_trials_rank_by_what_they_have_and_those_without_come_last() -> None:
    none, failed, nan = (
        trial(0, status="pending"),
        trial(1, status="failed", cause="out of memory"),
        trial(2, float("nan")),
    )
    running, done = trial(3, 0.95, status="running"), trial(4, 0.5)
    assert order(none, failed, nan, running, done) == [3, 4, 0, 1, 2]
    entries = rank([none, failed, nan, running, done], "max")
    assert [entry.rank for entry in entries] == [1, 2, None, None, None]
    assert entries[3].cause == "out of memory" and entries[3].value is None
    first = winner(entries)
    assert first is not None and first.trial == 4, "a running trial has no model to hand over"
    assert winner(entries[2:]) is None


def test_a_trial_that_failed_after_good_evaluations_comes_after_all_that_did_not() -> None:
    assert order(
        trial(0, 0.99, status="failed"), trial(1, 0.1), trial(2, 0.2, status="stopped"), trial(3)
    ) == [2, 1, 0, 3]


def test_repeats_rank_by_their_mean() -> None:
    lucky = [trial(0, 0.99, group=0), trial(1, 0.5, group=0), trial(2, 0.7, group=0)]
    steady = [trial(3, 0.8, group=3), trial(4, 0.82, group=3), trial(5, 0.84, group=3)]
    assert order(*lucky, *steady) == [5, 0]
    first, second = rank([*lucky, *steady], "max")
    assert (first.counted, first.repeats, first.trials, first.trained_epochs) == (
        3,
        3,
        (3, 4, 5),
        3,
    )
    assert first.value == pytest.approx(0.82) and first.std == pytest.approx(0.02)
    assert second.value == pytest.approx(0.73) and second.scores == {"f1": 0.99}


def test_a_configuration_counts_its_finished_repeats_or_else_those_under_way() -> None:
    some = [
        trial(0, 0.8, group=0),
        trial(1, 0.2, group=0, status="failed"),
        trial(2, 0.3, group=0, status="running"),
    ]
    entry = rank(some, "max")[0]
    assert (entry.value, entry.std, entry.counted, entry.repeats, entry.trial) == (
        0.8,
        None,
        1,
        3,
        0,
    )
    under_way = rank([*some[1:], trial(3, group=0, status="pending")], "max")[0]
    assert (under_way.value, under_way.counted, under_way.trial, under_way.finished) == (
        0.3,
        1,
        2,
        False,
    )
    lost = rank(
        [
            trial(4, group=4, status="pending"),
            trial(5, group=4, status="failed", cause="disk full"),
        ],
        "max",
    )[0]
    assert (lost.trial, lost.cause, lost.rank, lost.counted) == (5, "disk full", None, 0)


def test_the_files_hold_every_entry_and_every_swept_value(tmp_path: Path) -> None:
    odd = trial(1, 0.9)
    odd.values = {
        "learning_rate": 3.123456789e-05,
        "model": 'a "b",\r\nc é',
        "head.layers": [1, 2],
        "data.lowercase": True,
        "epochs": None,
    }
    failed = trial(0, status="failed", cause="line one\nline two", log="trials/0000/error.log")
    entries = rank([failed, odd], "max")
    write_leaderboard(tmp_path, entries, "f1")
    raw = (tmp_path / "leaderboard.csv").read_bytes()
    with (tmp_path / "leaderboard.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert raw.split(b"\r\n")[0].startswith(
        b"rank,trial,f1,std,low,high,learning_rate,model,head.layers,data.lowercase,epochs,best_epoch,trained_epochs"
    )
    assert (
        len(rows) == 2
        and rows[0]["model"] == 'a "b",\r\nc é'
        and rows[0]["head.layers"] == "[1, 2]"
    )
    assert (
        float(rows[0]["learning_rate"]) == 3.123456789e-05
        and rows[0]["data.lowercase"] == "true"
        and rows[0]["epochs"] == ""
    )
    assert (
        rows[0]["rank"],
        rows[0]["trial"],
        rows[0]["f1"],
        rows[0]["std"],
        rows[0]["status"],
    ) == ("1", "1", "0.9", "", "done")
    assert (rows[1]["rank"], rows[1]["f1"], rows[1]["cause"], rows[1]["log"]) == (
        "",
        "",
        "line one\nline two",
        "trials/0000/error.log",
    )
    saved = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    assert saved["primary"] == "f1" and [entry["trial"] for entry in saved["entries"]] == [1, 0]
    assert (
        saved["entries"][0]["values"] == odd.values
        and saved["entries"][1]["cause"] == "line one\nline two"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "leaderboard.csv",
        "leaderboard.json",
    ]


def test_a_sweep_without_trials_has_an_empty_ranking(tmp_path: Path) -> None:
    write_leaderboard(tmp_path, rank([], "max"), "f1")
    assert json.loads((tmp_path / "leaderboard.json").read_text())["entries"] == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write `.*leaderboard.csv`"):
        write_leaderboard(tmp_path / "file", [], "f1")
