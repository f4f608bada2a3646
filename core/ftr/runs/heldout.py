"""The held-out rows of a finished run, read again, beside the predictions it left."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.config.resolve import recorded_config
from ftr.data.arrow import rows_sha256
from ftr.errors import DataError, RequestError
from ftr.model.components import make_head
from ftr.registry.protocols import Head, Outcome, Prediction, Row, provides
from ftr.registry.registry import Registry
from ftr.runs.directory import RunDirectory, run_or_winner
from ftr.runs.evaluate import rows_of
from ftr.runs.record import recorded_registry
from ftr.runs.run import MEMBERS
from ftr.train.scoring import LOSS, Scorer, Scores

if TYPE_CHECKING:
    from ftr.data.prepare import PreparedRows

PREDICTIONS = "predictions"
ALIKE = 1e-6
"""How far, relative to a score, that of the predictions on file may be from the record's."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The rows of a split in order, and the prediction of each.

    `labels` names the class ids in `rows`. `prepared` has the other splits too, and what became of
    rows that were left out; of a cross-validation it is that of the first fold.
    """

    run: RunDirectory
    record: Mapping[str, Any]
    split: str
    rows: Sequence[Row]
    predictions: Sequence[Prediction]
    labels: tuple[str, ...]
    head: Head
    scorer: Scorer
    prepared: PreparedRows

    @cached_property
    def outcomes(self) -> list[Outcome] | None:
        """Each prediction beside what is true; None: the head does not say."""
        if not provides(self.head, "outcomes"):
            return None
        return self.head.outcomes(self.rows, self.predictions, self.labels)

    @cached_property
    def scores(self) -> Scores:
        """The scores of all predictions, without the loss."""
        return self.scorer.score(self.head, self.rows, self.predictions, self.labels)


def held_out(
    run: str | Path, split: str | None = None, *, registry: Registry | None = None
) -> HeldOut:
    """Return the rows of a finished run, or of a sweep's best, with the predictions on file.

    `split` is `test`, else `validation`, where it is not given. The validation rows of a
    cross-validation are those of all its folds, each predicted by the member that was not trained
    on it; a run of several without an ensemble stands for its best member. Raises `RequestError`
    for a run that is not done or has no such predictions, `DataError` where the data is not what
    the run was scored on.
    """
    directory = run_or_winner(run)
    record = directory.read()
    if record["status"] != "done":
        raise RequestError(
            f"run `{directory.path}` is `{record['status']}`: it has no scores of a finished run "
            f"yet. `ftr resume {directory.path}` completes it."
        )
    member = best_member(directory, record)
    if member is not None:
        return held_out(member, split, registry=registry)
    name = split or _scored_split(directory, record)
    if record.get("several") == "folds" and name == "validation":
        return _out_of_fold(directory, record, registry)
    known = registry or recorded_registry(record)
    config = recorded_config(dict(record), directory.record, unused=("model", "compute", "trainer"))
    head, labels = make_head(known, config.head), tuple(record["labels"])
    prepared, _ = rows_of(directory, (), known, head, labels)
    if name not in prepared.splits:
        raise RequestError(
            f"run `{directory.path}` has no {name} rows: "
            f"it has {', '.join(f'`{part}`' for part in prepared.splits)}."
        )
    rows = prepared.splits[name]
    _check_rows(directory, record, name, rows)
    found = HeldOut(
        run=directory,
        record=record,
        split=name,
        rows=rows,
        predictions=read_predictions(directory, name, rows),
        labels=labels,
        head=head,
        scorer=Scorer.of(known, config.metrics),
        prepared=prepared,
    )
    _check_scores(found, config.data.clean)
    return found


def best_member(directory: RunDirectory, record: Mapping[str, Any]) -> Path | None:
    """Return the directory of the member whose model a run of several has; None: it is one
    training, has an ensemble, or is a cross-validation.
    """
    best = record.get("best_member")
    if best is None or record.get("joined") or record.get("several") == "folds":
        return None
    return directory.path / MEMBERS / str(best)


def read_predictions(directory: RunDirectory, split: str, rows: Sequence[Row]) -> list[Prediction]:
    """Return the predictions that a run left for `rows`, in their order.

    Raises `RequestError` for a file that is missing, damaged or of other rows.
    """
    path = directory.path / PREDICTIONS / f"{split}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found: list[Prediction] = [json.loads(line) for line in lines if line]
        ids = [str(one["id"]) for one in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        directory.check_removed()
        problem = "does not exist" if isinstance(error, FileNotFoundError) else "is damaged"
        raise RequestError(
            f"`{path}` {problem}: restore it, or score the model again with `ftr evaluate "
            f"{directory.path} --split {split} --predictions {path}`."
        ) from error
    if ids != [str(row["id"]) for row in rows]:
        given, same = {str(row["id"]) for row in rows}, set(ids)
        raise RequestError(
            f"`{path}` is not of the {split} rows of its run: it has {len(ids)} predictions for "
            f"{len(rows)} rows, and {len(given & same)} ids in common. Restore the file."
        )
    return found


def _scored_split(directory: RunDirectory, record: Mapping[str, Any]) -> str:
    scored: Mapping[str, object] = record.get("scores", {})
    for name in ("test", "validation"):
        if name in scored:
            return name
    directory.check_removed()
    raise RequestError(
        f"run `{directory.path}` held out no rows, so it has no predictions and no scores: score "
        f"it on other data with `ftr evaluate {directory.path} dataset=FILE`."
    )


def _check_rows(
    directory: RunDirectory, record: Mapping[str, Any], split: str, rows: Sequence[Row]
) -> None:
    known = record.get("data", {}).get("splits", {}).get(split, {}).get("sha256")
    if known is not None and known != rows_sha256(rows):
        raise DataError(
            f"the {split} rows of run `{directory.path}` are not those it was scored on: the data "
            f"in `{record['config']['dataset']['name']}` changed. Restore it, or score the model "
            "again with `ftr evaluate`."
        )


def _check_scores(found: HeldOut, clean: Sequence[str]) -> None:
    """Refuse predictions that do not give the scores of the record.

    Answers in a cleaned context are on file as in the given one, and may score otherwise.
    """
    if clean and provides(found.head, "as_given"):
        return
    known = found.record["scores"].get(found.split, {})
    for key, value in found.scores.items():
        before = known.get(key)
        if key == LOSS or not isinstance(value, float) or not isinstance(before, int | float):
            continue
        if not math.isclose(value, before, rel_tol=ALIKE, abs_tol=ALIKE) and not (
            math.isnan(value) and math.isnan(before)
        ):
            raise RequestError(
                f"`{found.run.path / PREDICTIONS / found.split}.jsonl` gives {key} {value:.6g}, "
                f"and `{found.run.record}` has {before:.6g}: one of the files was changed, or a "
                "metric. Score the model again with `ftr evaluate`."
            )


def _out_of_fold(
    directory: RunDirectory, record: Mapping[str, Any], registry: Registry | None
) -> HeldOut:
    parts = [
        held_out(directory.path / member["path"], "validation", registry=registry)
        for member in record["members"]
    ]
    first = parts[0]
    return HeldOut(
        run=directory,
        record=record,
        split="validation",
        rows=[row for part in parts for row in part.rows],
        predictions=[one for part in parts for one in part.predictions],
        labels=first.labels,
        head=first.head,
        scorer=first.scorer,
        prepared=first.prepared,
    )
