"""The lines of `metrics.jsonl` that a resumed training keeps, and the list of attempts."""

from __future__ import annotations

import json
from pathlib import Path

from ftr.train.checkpoint import Checkpoint, attempts, begin_history, evaluations
from trainings import lines

ENTRIES = [
    {"kind": "untrained", "step": 0},
    {"kind": "train", "step": 1},
    {"kind": "validation", "step": 2, "value": 0.5},
    {"kind": "train", "step": 3},
    {"kind": "final", "step": 2},
]


def test_later_and_torn_lines_and_final_scores_go(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert not begin_history(tmp_path, None)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in ENTRIES) + '{"kind": "tra')
    assert begin_history(tmp_path, Checkpoint(tmp_path, 2, {}))
    assert lines(path) == ENTRIES[:3] and evaluations(tmp_path) == [ENTRIES[2]]
    assert begin_history(tmp_path, None)
    assert lines(path) == []
    assert [attempt["step"] for attempt in attempts(tmp_path)] == [0, 2, 0]
