"""The held-out rows of a run beside its predictions, and files that do not belong together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.errors import DataError, RequestError
from ftr.runs.heldout import held_out
from trainings import lines

if TYPE_CHECKING:
    from ftr.runs.run import RunResult


@pytest.mark.parametrize("task", ["classifier", "reader"])
def test_rows_and_predictions_give_the_scores_of_the_record(
    task: str, request: pytest.FixtureRequest
) -> None:
    run: RunResult = request.getfixturevalue(task)
    for split in ("test", "validation"):
        found = held_out(run.path, split)
        assert found.scores == run.record["scores"][split]
        assert [row["id"] for row in found.rows] == [one["id"] for one in found.predictions]
    assert held_out(run.path).split == "test"


def test_outcomes_of_a_classifier_name_its_classes(classifier: RunResult) -> None:
    found = held_out(classifier.path)
    assert found.outcomes is not None
    right = sum(one.right for one in found.outcomes) / len(found.outcomes)
    assert right == pytest.approx(classifier.record["scores"]["test"]["accuracy"])
    for outcome, row, prediction in zip(found.outcomes, found.rows, found.predictions, strict=True):
        assert outcome.predicted == prediction["label"]
        assert outcome.expected == found.labels[int(str(row["label"]))]
        assert outcome.confidence == prediction["score"]


def test_predictions_that_were_changed_or_lost_are_refused(
    classifier: RunResult, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(classifier.path, copy)
    path = copy / "predictions" / "test.jsonl"
    known = lines(path)

    def write(records: list[dict[str, object]]) -> None:
        path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")

    other = {"negative": 1, "positive": 0}
    write([{**one, "label_id": other.get(one["label"], 0)} for one in known])
    with pytest.raises(RequestError, match=r"test\.jsonl.*accuracy"):
        held_out(copy)
    write(known[1:])
    with pytest.raises(RequestError, match=f"{len(known) - 1} predictions for {len(known)} rows"):
        held_out(copy)
    path.write_text("no JSON\n", encoding="utf-8")
    with pytest.raises(RequestError, match="is damaged"):
        held_out(copy)
    path.unlink()
    with pytest.raises(RequestError, match="does not exist"):
        held_out(copy)


def test_a_run_that_is_not_done_and_rows_that_changed_are_refused(
    classifier: RunResult, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(classifier.path, copy)
    record = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    for change, error, words in (
        ({"status": "failed"}, RequestError, "is `failed`"),
        ({"scores": {}}, RequestError, "held out no rows"),
    ):
        (copy / "run.json").write_text(json.dumps({**record, **change}), encoding="utf-8")
        with pytest.raises(error, match=words):
            held_out(copy)
    record["data"]["splits"]["test"]["sha256"] = "0" * 64
    (copy / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError, match="test rows of run"):
        held_out(copy)
