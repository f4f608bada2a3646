"""Members side by side through Ray: the same to the bit as in turn, whoever dies on the way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ftr
from ftr.config.schema import ComputeConfig
from ftr.errors import RequestError
from ftr.runs.directory import hold
from ftr.study.study import at_once
from trainings import REVIEWS, Settings, lines, train

SEEDS: Settings = {
    **REVIEWS,
    "epochs": 24,
    "ensemble": "seeds",
    "ensemble_size": 3,
    "train.eval_on_start": False,
    "train.save_steps": 5,
    "baselines": False,
}


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """One Ray for these tests, started as a run starts it."""
    from ftr.registry.registry import get_registry
    from ftr.runs.launch import connected

    with connected(ComputeConfig(), get_registry(), lambda line: None):
        yield


def test_there_is_room_for_as_many_as_the_cores_hold() -> None:
    cores = len(os.sched_getaffinity(0))
    assert at_once(ComputeConfig(gpus=0), 3) == 1
    assert at_once(ComputeConfig(cpus=cores, gpus=0), 3) == 1
    assert at_once(ComputeConfig(cpus=cores / 2, gpus=0), 3) == 2
    assert at_once(ComputeConfig(cpus=cores / 8, gpus=0), 3) == 3
    assert at_once(ComputeConfig(workers=2, cpus=cores / 8), 3) == 1
    assert at_once(ComputeConfig(address="auto"), 3) == 3


def _kill_when_it_has_a_checkpoint(output: Path, member: int, killed: list[int]) -> None:
    """Kill the process of a member as soon as it has a checkpoint."""
    deadline = time.monotonic() + 120
    while not killed and time.monotonic() < deadline:
        for folder in output.glob(f"*/members/{member}/checkpoints"):
            if any(".new-" not in path.name for path in folder.glob("step-*")):
                with contextlib.suppress(FileNotFoundError):
                    killed.append(lines(folder / "attempts.jsonl")[-1]["process"])
                    os.kill(killed[0], signal.SIGKILL)
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_members_side_by_side_are_those_in_turn_though_a_process_is_killed(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    killed: list[int] = []
    killer = threading.Thread(
        target=_kill_when_it_has_a_checkpoint, args=(tmp_path / "together", 1, killed)
    )
    killer.start()
    together = train(
        SEEDS,
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path / "together",
        **{"compute.cpus": len(os.sched_getaffinity(0)) / 2},
    )
    killer.join()
    in_turn = train(SEEDS, dataset=reviews, model=tiny_bert, output=tmp_path / "in turn")
    assert killed and killed[0] != os.getpid()
    attempts = [
        json.loads((together.path / f"members/{number}/run.json").read_text())["resumed"]
        for number in range(3)
    ]
    assert [len(each) for each in attempts] == [0, 1, 0] and attempts[1][0]["step"] > 0
    for number in range(3):
        one, other = (
            run.path / f"members/{number}/model/model.safetensors" for run in (together, in_turn)
        )
        assert one.read_bytes() == other.read_bytes()
    assert (
        together.record["scores"] == in_turn.record["scores"]
        and together.record["summary"] == in_turn.record["summary"]
    )


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_member_that_fails_lets_those_under_way_end_and_no_other_begin(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    with contextlib.ExitStack() as held:

        def say(line: str) -> None:
            said.append(line)
            if "at a time" in line:
                (run,) = tmp_path.iterdir()
                (run / "members/1").mkdir(parents=True)
                held.enter_context(hold(run / "members/1"))

        settings = {
            **SEEDS,
            "epochs": 2,
            "dataset": str(reviews),
            "model": str(tiny_bert),
            "output": str(tmp_path),
        }
        with pytest.raises(RequestError, match="is being worked on"):
            ftr.run({**settings, "compute.cpus": len(os.sched_getaffinity(0)) / 2}, say=say)
    (run,) = tmp_path.iterdir()
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "failed" and [one["status"] for one in record["members"]] == [
        "done",
        "waiting",
        "waiting",
    ]
    assert said[-2:] == [
        "failed: 1 of 3 members are done; resume with",
        f"  ftr resume {run}",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_an_interrupt_while_a_member_is_being_opened_stops_it_before_an_epoch_ends(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    heard: list[str] = []

    def say(line: str) -> None:
        if line.startswith("member 0 (") and not heard:
            # The member is being opened: its task has not begun.
            heard.append(line)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.0)

    settings = {
        **SEEDS,
        "ensemble_size": 2,
        "epochs": 300,
        "dataset": str(reviews),
        "model": str(tiny_bert),
        "output": str(tmp_path),
    }
    with pytest.raises(KeyboardInterrupt):
        ftr.run({**settings, "compute.cpus": len(os.sched_getaffinity(0)) / 2}, say=say)
    assert heard
    (run,) = tmp_path.iterdir()
    records = [
        json.loads(path.read_text()) for path in [run / "run.json", *run.glob("members/*/run.json")]
    ]
    assert {record["status"] for record in records} == {"interrupted"}
    assert not list(run.glob("members/*/model"))
