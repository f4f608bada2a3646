"""When checkpoints are due."""

from __future__ import annotations

import time

import pytest

from ftr.train.checkpoint_manager import SaveInterval


def test_by_steps_also_where_a_multiple_was_passed() -> None:
    pace = SaveInterval(4)
    pace.start(2)
    due = []
    for step in (3, 4, 5, 7, 9, 10):
        if pace.due(step):
            due.append(step)
            pace.saved(step, 0.1)
    assert due == [4, 9] and not pace.due(9)
    assert not SaveInterval(0).due(100)


def test_by_time_and_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = SaveInterval("auto")
    pace.start(0)
    now[0] += 29
    assert not pace.due(1)
    now[0] += 1
    assert pace.due(2)
    # Writing took three seconds: the next one would make six, a twentieth of two minutes.
    now[0] += 3
    pace.saved(2, 3.0)
    now[0] += 60
    assert not pace.due(3)
    now[0] = 1000 + 120
    assert pace.due(3)
    pace.saved(3, 3.0)
    assert (pace.writing, pace.longest) == (6.0, 3.0)
