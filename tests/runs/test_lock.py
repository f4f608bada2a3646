"""One process at a time; a dead one holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftr.errors import RequestError, RunError
from ftr.runs.directory import LOCK, hold, is_held

HOLDER = """
import sys, time
from pathlib import Path
from ftr.runs.directory import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_refused_and_told_who_it_is(tmp_path: Path) -> None:
    with hold(tmp_path):
        assert is_held(tmp_path)
        with (
            pytest.raises(RequestError, match=rf"is being worked on by process {os.getpid()} on `"),
            hold(tmp_path),
        ):
            pass
    assert not is_held(tmp_path) and list(tmp_path.iterdir()) == []


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RequestError, match=f"process {holder.pid} on"), hold(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert (tmp_path / LOCK).exists() and not is_held(tmp_path)
    with hold(tmp_path):
        assert is_held(tmp_path)
    assert not (tmp_path / LOCK).exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match=r"cannot write `.*nowhere/.lock`: No such file"),
        hold(tmp_path / "nowhere"),
    ):
        pass
    assert not is_held(tmp_path / "nowhere")
