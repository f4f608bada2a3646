"""A sweep prints what it will take once its first trial is done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeps import search
from trainings import REVIEWS


@pytest.mark.slow
def test_time_and_disk_are_printed_after_the_first_trial(
    tiny_bert: Path, reviews: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = search(
        REVIEWS,
        model=tiny_bert,
        dataset=reviews,
        output=tmp_path,
        learning_rate="loguniform(1e-4,1e-2)",
        epochs=1,
        trials=3,
    )

    err = capfd.readouterr().err
    (line,) = [line for line in err.splitlines() if line.startswith("time and disk, at most: ")]
    assert re.search(r"a trial took \d+:\d\d and \d+ run at a time", line)
    assert re.search(r"3 such trials take \d+:\d\d, their models \d+ (kB|MB) of disk", line)
    assert "memory of trials: " in line
    assert result.best is not None
