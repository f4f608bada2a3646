"""Trainings on Ray Train workers: real processes, a real process group, and what becomes of it when
one fails, dies or is told to stop.
"""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.errors import RunError
from ftr.train.checkpoint import last_step
from interruptions import Start, logged, outcome, wait_for, words, workers_of
from trainings import REVIEWS, Settings, lines, losses, train, write_reviews

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

ALONE: Settings = {
    **REVIEWS,
    "batch_size": 4,
    "epochs": 6,
    "baselines": False,
    "data.validation_size": 0.1,
    "data.test_size": 0.0,
    "train.dropout": 0.0,
    "train.attention_dropout": 0.0,
    "train.freeze": "backbone",
    "train.unfreeze": 1,
    "train.layerwise_decay": 0.7,
    "train.ema": 0.7,
    "train.early_stopping_patience": 2,
    "train.save_steps": 7,
}
"""A training whose parts thaw one after the other, whose weights are averaged, and which stops
early.
"""
SHARED: Settings = {**ALONE, "compute.workers": 2}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores"),
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews of which an odd number is trained on."""
    return write_reviews(tmp_path_factory.mktemp("odd") / "reviews.csv", 42, broken=0)


@pytest.fixture(scope="module")
def shared(odd: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A training on two workers that nothing came in the way of."""
    return train(SHARED, dataset=odd, model=tiny_bert, output=tmp_path_factory.mktemp("shared"))


def test_two_workers_train_thaw_average_and_stop_as_this_process_does(
    shared: RunResult, odd: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    alone = train(ALONE, dataset=odd, model=tiny_bert, output=tmp_path)
    rows = alone.record["data"]["splits"]["train"]["used"]
    # The last batch of an epoch leaves an uneven share for the second worker.
    assert rows % 4 % 2 == 1
    assert (alone.record["workers"], shared.record["workers"]) == (1, 2)
    epochs, rest = divmod(len(losses(alone)), math.ceil(rows / 4))
    assert rest == 0 and 3 <= epochs < 6 and alone.record["stopped_early"]["epoch"] == epochs
    assert losses(shared) == pytest.approx(losses(alone), abs=1e-4)
    assert max(losses(alone)) - min(losses(alone)) > 0.01
    for key in ("scores", "steps", "stopped_early", "trains"):
        assert shared.record[key] == alone.record[key], key


def test_an_error_in_a_worker_comes_back_as_itself_and_the_run_is_failed(
    tmp_path: Path, tiny_bert: Path, reviews: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        RunError, match=r"^the loss is nan at step \d+: lower `learning_rate`, raise `train.warmup`"
    ):
        train(
            REVIEWS,
            dataset=reviews,
            model=tiny_bert,
            output=tmp_path / "runs",
            learning_rate=1e30,
            **{"compute.workers": 2},
        )
    (record,) = (tmp_path / "runs").glob("*/run.json")
    known = json.loads(record.read_text(encoding="utf-8"))
    assert known["status"] == "failed" and known["error"].startswith("RunError: the loss is nan")
    # Only a process that died is worth another attempt.
    assert known["resumed"] == []
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, to find the workers")
def test_a_worker_that_dies_is_replaced_and_the_training_goes_on(
    start: Start, shared: RunResult, odd: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    process = start("run", *words(SHARED, dataset=odd, model=tiny_bert, output=tmp_path))
    wait_for(lambda: logged(tmp_path) >= 8, process)
    os.kill(workers_of(process)[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0 and "resuming from step" in err
    (run,) = tmp_path.iterdir()
    assert outcome(run) == outcome(shared.path)
    (part,) = json.loads((run / "run.json").read_text())["resumed"]
    assert part["step"] > 0 and lines(run / "metrics.jsonl")


def test_a_signal_stops_a_training_with_workers_and_leaves_its_last_checkpoint(
    start: Start, odd: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    settings = {
        **REVIEWS,
        "batch_size": 1,
        "epochs": 100,
        "train.save_steps": 7,
        "compute.workers": 2,
    }
    process = start("run", *words(settings, dataset=odd, model=tiny_bert, output=tmp_path))
    wait_for(lambda: logged(tmp_path) >= 12, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    (run,) = tmp_path.iterdir()
    assert (
        process.returncode == 130
        and f"interrupted at step {last_step(run)}; resume with\n  ftr resume " in err
    )
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
