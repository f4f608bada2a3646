"""The power goes: what was done keeps its model, what was not resumes to the same bytes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import powercut
from interruptions import Start, logged, outcome, wait_for, words
from trainings import REVIEWS, Settings, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        powercut.missing() is not None, reason=f"no power cuts here: {powercut.missing()}"
    ),
]
LONG: Settings = {
    **REVIEWS,
    "batch_size": 1,
    "learning_rate": 1e-3,
    "epochs": 3,
    "train.save_steps": 7,
    "train.logging_steps": 4,
}


def test_a_power_cut_right_after_the_exit_and_later_leaves_the_finished_model(
    start: Start, tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with powercut.Disk(tmp_path / "disk") as disk:
        monkeypatch.setenv("FTR_CACHE", str(disk.path / "cache"))
        out, err = start(
            "run", *words(REVIEWS, dataset=reviews, model=tiny_bert, output=disk.path / "runs")
        ).communicate()
        assert "model:  " in out, err
        (run,) = (disk.path / "runs").iterdir()
        whole = outcome(run)
        images = [disk.cut()]
        time.sleep(2)
        images.append(disk.cut())
    for image in images:
        with powercut.powered_again(image, tmp_path / "disk") as again:
            # The removal of the lock and the checkpoints may not be on the disk yet.
            assert {**outcome(again / "runs" / run.name), "names": whole["names"]} == whole
            assert (
                sorted(path.stat().st_size > 0 for path in (again / "cache").rglob("*.arrow"))
                == [True] * 6
            )


def test_a_power_cut_during_a_training_is_resumed_to_the_same_bytes(
    start: Start, tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = outcome(
        train(LONG, dataset=reviews, model=tiny_bert, output=tmp_path / "undisturbed").path
    )
    with powercut.Disk(tmp_path / "disk") as disk:
        monkeypatch.setenv("FTR_CACHE", str(disk.path / "cache"))
        process = start(
            "run", *words(LONG, dataset=reviews, model=tiny_bert, output=disk.path / "runs")
        )
        wait_for(lambda: logged(disk.path / "runs") >= 60, process)
        image = disk.cut()
        process.kill()
        process.communicate()
    with powercut.powered_again(image, tmp_path / "disk") as again:
        (run,) = (again / "runs").iterdir()
        out, err = start("resume", run).communicate()
        assert "model:  " in out and "resuming from step" in err, err
        assert outcome(run) == undisturbed
