"""Trainings on Ray Train workers: real processes, a real process group."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from ftr.errors import RunError
from trainings import REVIEWS, losses, train, write_reviews

STILL = {"train.dropout": 0.0, "train.attention_dropout": 0.0, "data.validation_share": 0.1, "data.test_share": 0.0, "epochs": 2}

pytestmark = [pytest.mark.slow, pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")]


def test_two_workers_train_as_this_process_does(tmp_path: Path, tiny_bert: Path) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 42, broken=0)
    alone, shared = (
        train(REVIEWS, dataset=data, model=tiny_bert, output=tmp_path / "runs", **STILL, **{"compute.workers": workers})
        for workers in (0, 2)
    )
    rows = alone.record["data"]["splits"]["train"]["used"]
    # The last batch of an epoch leaves an uneven share for the second worker.
    assert rows % 8 % 2 == 1
    assert (alone.record["workers"], shared.record["workers"]) == (1, 2)
    assert len(losses(alone)) == math.ceil(rows / 8) * 2
    assert losses(shared) == pytest.approx(losses(alone), abs=1e-4)
    assert max(losses(alone)) - min(losses(alone)) > 0.01
    assert shared.record["scores"]["validation"] == alone.record["scores"]["validation"]
    assert shared.record["steps"] == alone.record["steps"]


def test_an_error_in_a_worker_comes_back_as_itself_and_the_run_is_failed(
    tmp_path: Path, tiny_bert: Path, reviews: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match=r"^the loss is nan at step \d+: lower `learning_rate`, raise `train.warmup`"):
        train(REVIEWS, dataset=reviews, model=tiny_bert, output=tmp_path / "runs", learning_rate=1e30, **{"compute.workers": 2})
    (record,) = (tmp_path / "runs").glob("*/run.json")
    known = json.loads(record.read_text(encoding="utf-8"))
    assert known["status"] == "failed" and known["error"].startswith("RunError: the loss is nan")
    # Only a process that died is worth another attempt.
    assert known["resumed"] == []
    assert "Traceback" not in capfd.readouterr().err
