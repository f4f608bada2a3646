"""Run directories: names, records, and finding one again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ftr.errors import RequestError, RunError
from ftr.runs.directory import RunDirectory, all_runs


def test_a_name_of_the_user_never_leaves_the_output_folder(tmp_path: Path) -> None:
    for label, shown in (
        ("qa", "qa"),
        ("../../x y", "x-y"),
        ("acme:qa", "acme-qa"),
        ("//", "run"),
        ("é" * 90, "é" * 40),
    ):
        made = RunDirectory.create(str(tmp_path / "runs"), label)
        assert made.path.parent == tmp_path / "runs"
        assert re.fullmatch(rf"\d{{8}}-\d{{6}}-{shown}-[0-9a-f]{{4}}", made.path.name)


def test_a_run_is_found_by_its_path_and_by_the_start_of_its_name(tmp_path: Path) -> None:
    made = [RunDirectory(tmp_path / name) for name in ("2026-a-1", "2026-b-2")]
    for run in made:
        run.path.mkdir()
        run.write({"status": "done"})
    (tmp_path / "no run").mkdir()
    assert all_runs(tmp_path) == made
    assert RunDirectory.open(made[0].path) == made[0]
    assert RunDirectory.open("2026-b", str(tmp_path)) == made[1]
    with pytest.raises(
        RequestError,
        match=r"`2026-` is the start of several runs. Runs under `.*`: .*2026-a-1`, `.*2026-b-2`",
    ):
        RunDirectory.open("2026-", str(tmp_path))
    with pytest.raises(
        RequestError, match=r"`2025` is not a run directory: it has no `run.json`. Runs under"
    ):
        RunDirectory.open("2025", str(tmp_path))
    with pytest.raises(RequestError, match=r"Runs under `.*nowhere`: none"):
        RunDirectory.open("x", str(tmp_path / "nowhere"))


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.record.write_text('{"status": ')
    with pytest.raises(RequestError, match=r"`.*run.json` cannot be read"):
        run.read()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RunError, match=r"cannot make the run directory .*Give another place with `output=`"
    ):
        RunDirectory.create(str(tmp_path / "file"), "qa")
