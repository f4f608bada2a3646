"""Trainings that are cut off at a chosen call, and what a resumed one must share with an
undisturbed one.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from forks import Fork
from trainings import Settings, lines, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

TIMES = ("time", "seconds")
Process = subprocess.Popen[str] | Fork
Start = Callable[..., Process]
"""What starts a command as `command` does, and ends it where the test fails."""


def cut_off(
    patch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    call: int,
    error: type[BaseException] = KeyboardInterrupt,
) -> None:
    """Let the `call`-th call of `owner.name` from now on raise instead."""
    inner: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error("cut off")
        return inner(*args, **kwargs)

    patch.setattr(owner, name, counted)


def interrupted(settings: Settings, owner: type, name: str, call: int, **keys: object) -> Path:
    """Train until the `call`-th call of `owner.name` and return the run directory that is left."""
    before = set(Path(str(keys["output"])).glob("*"))
    with pytest.MonkeyPatch.context() as patch:
        cut_off(patch, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            train(settings, **keys)
    (left,) = set(Path(str(keys["output"])).glob("*")) - before
    return left


def outcome(run: Path) -> dict[str, Any]:
    """Return all of a finished run that must not depend on interruptions: weights, curves,
    predictions, scores.
    """
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {
        "files": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((run / "model").iterdir())
        },
        "metrics": [
            {key: value for key, value in line.items() if key not in TIMES}
            for line in lines(run / "metrics.jsonl")
        ],
        "predictions": {
            path.name: path.read_text(encoding="utf-8")
            for path in sorted((run / "predictions").glob("*"))
        },
        "record": {
            key: record[key]
            for key in (
                "status",
                "scores",
                "untrained",
                "best",
                "last",
                "state",
                "steps",
                "heldout",
                "numerics",
            )
        },
        "names": sorted(path.name for path in run.iterdir()),
    }


def resumed(run: Path, **keys: object) -> RunResult:
    """Resume without a word."""
    from ftr.runs.run import RunResult
    from ftr.study.resume import resume

    result = resume(
        run,
        {key: str(value) if isinstance(value, Path) else value for key, value in keys.items()},
        say=lambda line: None,
    )
    assert isinstance(result, RunResult)
    return result


def command(*words: object, cwd: Path | None = None, fresh: bool = False) -> Process:
    """Start `ftr` with these words as a process of its own; a `fresh` one has imported nothing."""
    if not fresh:
        return Fork([*map(str, words)], cwd)
    return subprocess.Popen(
        [sys.executable, "-m", "ftr", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(ready: Callable[[], bool], process: Process, seconds: float = 280) -> None:
    """Wait until `ready`, or fail when the process ends or time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.02)


def words(settings: Settings, **keys: object) -> list[str]:
    """Return settings as a command takes them."""
    return [f"{key}={value}" for key, value in {**settings, **keys}.items()]


def logged(output: Path) -> int:
    """Return the last step that a run under `output` logged."""
    found = [
        line
        for path in output.glob("*/metrics.jsonl")
        for line in path.read_text().splitlines()
        if line.endswith("}")
    ]
    return max((json.loads(line)["step"] for line in found), default=-1)


def workers_of(process: Process) -> list[int]:
    """Return the process ids of the Ray Train workers below a process."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid in pids if _is_worker(pid, process.pid)]


def _is_worker(pid: int, driver: int) -> bool:
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
        if not title.startswith(b"ray::RayTrainWorker"):
            return False
        while pid > 1 and pid != driver:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return False
    return pid == driver
