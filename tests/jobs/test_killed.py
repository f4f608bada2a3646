"""Real processes that are killed and signalled, and Ray workers that die: nothing is lost, and the weights are the same."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftr.train.checkpoint import last_step
from interruptions import command, outcome, resumed, wait_for
from trainings import REVIEWS, Settings, lines, train

LONG: Settings = {**REVIEWS, "batch_size": 1, "learning_rate": 1e-3, "epochs": 6, "train.checkpoint_steps": 7, "train.log_steps": 4}
EPOCH = 36
"""Steps of an epoch: long enough to hit one in its middle."""


def words(settings: Settings, **keys: object) -> list[str]:
    """Return settings as a command takes them."""
    return [f"{key}={value}" for key, value in {**settings, **keys}.items()]


def logged(output: Path) -> int:
    """Return the last step that a run under `output` logged."""
    found = [line for path in output.glob("*/metrics.jsonl") for line in path.read_text().splitlines() if line.endswith("}")]
    return max((json.loads(line)["step"] for line in found), default=-1)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start commands; those that a failed test leaves are ended."""
    started: list[subprocess.Popen[str]] = []

    def begin(*given: object, **where: Any) -> subprocess.Popen[str]:
        started.append(command(*given, **where))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate()


@pytest.fixture(scope="module")
def undisturbed(tiny_bert: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the long training comes to."""
    return outcome(train(LONG, dataset=reviews, model=tiny_bert, output=tmp_path_factory.mktemp("undisturbed")).path)


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again_loses_nothing(
    start: Start, undisturbed: dict[str, Any], tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    rng = random.Random(0)
    process = start("run", *words(LONG, dataset=reviews, model=tiny_bert, output=tmp_path))
    for part in range(3):
        moment = rng.randrange(60 * part + 10, 60 * part + 60)
        wait_for(lambda: logged(tmp_path) >= moment, process)  # noqa: B023
        time.sleep(rng.random() / 20)
        process.kill()
        process.communicate()
        (run,) = tmp_path.iterdir()
        listing = start("runs", tmp_path, "--json").communicate()[0]
        assert [entry["status"] for entry in json.loads(listing)] == ["stopped"]
        process = start("resume", run)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "going on from step" in err and "model:  " in out
    assert outcome(run) == undisturbed
    record = json.loads((run / "run.json").read_text())
    steps = [part["step"] for part in record["resumed"]]
    assert len(steps) == 3 and steps == sorted(steps) and steps[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_of_that_step_and_the_command_that_resumes(
    number: signal.Signals, start: Start, undisturbed: dict[str, Any], tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    asked = words(LONG, dataset=reviews, model=tiny_bert, output="runs")
    process = start("run", *[word.replace("steps=7", "steps=100000") for word in asked], cwd=tmp_path)
    wait_for(lambda: logged(tmp_path / "runs") > EPOCH, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    (run,) = (tmp_path / "runs").iterdir()
    assert process.returncode == 130 and "Traceback" not in err
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    step = last_step(run)
    assert step is not None and step > EPOCH and f"interrupted: it will go on from step {step} with" in err
    resuming = next(line.strip() for line in err.splitlines() if line.startswith("  ftr resume "))
    assert shlex.split(resuming) == ["ftr", "resume", f"runs/{run.name}"]
    resumed(run)
    assert outcome(run) == undisturbed


def _workers_of(process: subprocess.Popen[str]) -> list[int]:
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


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, to find the workers")
def test_a_worker_that_dies_is_replaced_and_the_training_goes_on(start: Start, tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    settings = {**LONG, "batch_size": 2, "epochs": 12, "compute.workers": 2}
    whole = train(settings, dataset=reviews, model=tiny_bert, output=tmp_path / "whole")
    process = start("run", *words(settings, dataset=reviews, model=tiny_bert, output=tmp_path / "cut"))
    wait_for(lambda: logged(tmp_path / "cut") >= 30, process)
    os.kill(_workers_of(process)[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0 and "going on from step" in err
    (run,) = (tmp_path / "cut").iterdir()
    assert outcome(run) == outcome(whole.path)
    (part,) = json.loads((run / "run.json").read_text())["resumed"]
    assert part["step"] > 0 and lines(run / "metrics.jsonl")


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")
def test_a_signal_stops_a_training_with_workers_and_leaves_its_last_checkpoint(
    start: Start, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    settings = {**LONG, "epochs": 100, "compute.workers": 2}
    process = start("run", *words(settings, dataset=reviews, model=tiny_bert, output=tmp_path))
    wait_for(lambda: logged(tmp_path) >= 30, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    (run,) = tmp_path.iterdir()
    assert process.returncode == 130 and f"interrupted: it will go on from step {last_step(run)} with\n  ftr resume " in err
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
