"""Sweep directories: found again, moved, and refused where they are of another version."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ftr
from ftr.errors import DataError, RequestError, RunError
from ftr.runs.directory import RunDirectory, hold
from ftr.study.directory import FORMAT, SweepDirectory, all_sweeps, open_directory

RECORD: dict[str, Any] = {
    "ftr": "0.1.0",
    "status": "running",
    "created": 1.0,
    "config": {},
    "sweep": {},
    "space": {"epochs": "choice(1,2)"},
    "primary": "accuracy",
    "mode": "max",
}


def made(path: Path) -> SweepDirectory:
    sweep = SweepDirectory.create(str(path), "sentiment")
    sweep.write(RECORD)
    return sweep


def test_a_new_sweep_has_a_journal_and_room_for_trials(tmp_path: Path) -> None:
    sweep = made(tmp_path / "runs")
    assert sweep.path.parent == tmp_path / "runs"
    assert re.fullmatch(r"\d{8}-\d{6}-sweep-sentiment-[0-9a-f]{4}", sweep.path.name)
    assert [(event["event"], event["format"]) for event in sweep.journal.read()] == [("open", 1)]
    assert (
        sweep.trial_path(7) == sweep.path / "trials" / "0007"
        and sweep.trial_path(7).parent.is_dir()
    )
    assert sweep.trial_path(12345).name == "12345" and sweep.best == sweep.path / "best"
    assert sweep.read() == {"format": FORMAT, **RECORD}
    assert SweepDirectory.create(str(tmp_path), "../../x y").path.parent == tmp_path


def test_a_sweep_is_found_by_its_path_and_by_the_start_of_its_name(tmp_path: Path) -> None:
    for name in ("2026-a-1", "2026-b-2"):
        SweepDirectory(tmp_path / name).write(RECORD)
    first, second = all_sweeps(tmp_path)
    assert open_directory(first.path) == first and open_directory("2026-b", str(tmp_path)) == second
    with pytest.raises(
        RequestError,
        match=r"`2026-` is the start of several sweeps. Sweeps under `.*`: .*2026-a-1`, "
        r"`.*2026-b-2`",
    ):
        open_directory("2026-", str(tmp_path))
    with pytest.raises(RequestError, match=r"`2025` is no run directory"):
        open_directory("2025", str(tmp_path))
    with pytest.raises(RequestError, match=r"under `.*nowhere`: none"):
        open_directory("x", str(tmp_path / "nowhere"))


def test_a_sweep_can_be_moved(tmp_path: Path) -> None:
    sweep = made(tmp_path / "here")
    sweep.journal.append("trial", trial=0, values={}, group=0, repeat=0)
    assert str(tmp_path) not in "".join(
        path.read_text() for path in sweep.path.rglob("*") if path.is_file()
    )
    (tmp_path / "there").mkdir()
    moved = open_directory(sweep.path.rename(tmp_path / "there" / "renamed"))
    assert isinstance(moved, SweepDirectory)
    assert moved.read()["space"] == RECORD["space"]
    moved.journal.append("resume")
    assert [event["event"] for event in moved.journal.read()] == ["open", "trial", "resume"]


def test_a_sweep_of_another_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    sweep = made(tmp_path)
    sweep.record.write_text(json.dumps({**RECORD, "format": 2, "ftr": "9.9.0"}))
    with pytest.raises(
        RequestError,
        match=r"sweep.json` has format 2, written by ftr 9.9.0; this is ftr .*, which reads format "
        r"1. ",
    ) as caught:
        sweep.read()
    assert f"ftr {ftr.__version__}" in str(caught.value) and "`pip install ftr==9.9.0`" in str(
        caught.value
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"format": 1', "cannot be read"),
        ("[]", "it has no `format`"),
        ('{"status": "done"}', "it has no `format`"),
        (
            '{"format": 1, "status": "done", "created": 1, "config": {}, "primary": "f1"}',
            "it has no `mode`, `space`, `sweep`",
        ),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str, named: str) -> None:
    sweep = SweepDirectory(tmp_path)
    sweep.record.write_text(text)
    with pytest.raises(RequestError, match=rf"`.*sweep.json` .*{named}"):
        sweep.read()


def test_a_second_process_that_would_drive_the_sweep_is_refused(tmp_path: Path) -> None:
    sweep = made(tmp_path)
    code = (
        "from pathlib import Path; from ftr.runs.directory import hold\n"
        f"with hold(Path({str(sweep.path)!r})): print('held')"
    )
    with hold(sweep.path):
        second = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert (
        "held" not in second.stdout
        and f"RequestError: `{sweep.path}` is being worked on by process" in second.stderr
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "held\n"
    )


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RunError, match=r"cannot make the run directory .*Give another place with `output=`"
    ):
        SweepDirectory.create(str(tmp_path / "file"), "qa")


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"rubbish",
        b"rubbish\n",
        b"\x00" * 4096,
        b'{"event": "trial", "trial": 0}\n',
        b'{"event": "op',
    ],
)
def test_a_journal_that_is_none_is_refused_and_not_begun_anew(
    rubbish: bytes, tmp_path: Path
) -> None:
    sweep = SweepDirectory.create(str(tmp_path), "x")
    sweep.journal.path.write_bytes(rubbish)
    with pytest.raises(
        DataError,
        match=r"journal.jsonl` is not the journal of this sweep: it does not begin .*Restore the "
        r"file",
    ):
        sweep.events()
    assert sweep.journal.path.read_bytes() == rubbish


def test_a_journal_that_lost_trials_is_refused(tmp_path: Path) -> None:
    sweep = SweepDirectory.create(str(tmp_path), "x")
    for number in (0, 1):
        sweep.journal.append("trial", trial=number, values={}, group=number, repeat=0)
        RunDirectory(sweep.trial_path(number)).write({})
    assert len(sweep.events()) == 3
    RunDirectory(sweep.trial_path(2)).write({})
    with pytest.raises(DataError, match="no event of trial 2"):
        sweep.events()
