"""What the members of a run scored: each of them, and their mean and standard deviation."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftr.runs.table import decimals, number

if TYPE_CHECKING:
    from ftr.jobs.several.plan import Member

Record = Mapping[str, Any]
Summary = dict[str, dict[str, dict[str, float | None]]]


def entry(member: Member, record: Record | None) -> dict[str, Any]:
    """Return what the record of the run says of a member; without `record`, of one that is not done."""
    known: dict[str, Any] = {"path": member.path, **member.apart, "status": "waiting"}
    if record is None:
        return known
    told = {key: record[key] for key in ("status", "scores", "best", "seconds", "boosted", "note") if key in record}
    return {**known, **told}


def summary(records: Sequence[Record]) -> Summary:
    """Return by split and score the `mean` of the members, their standard deviation `sd`, and how many (`n`) have the score.

    The deviation is that of a sample (divided by n - 1), and None for one member; scores that are no single numbers are left out.
    """
    splits = dict.fromkeys(split for record in records for split in record["scores"])
    return {split: _of([record["scores"].get(split, {}) for record in records]) for split in splits}


def _of(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    names = dict.fromkeys(name for one in scores for name, value in one.items() if _is_number(value))
    found: dict[str, dict[str, float | None]] = {}
    for name in names:
        values = [float(one[name]) for one in scores if _is_number(one.get(name))]
        spread = statistics.stdev(values) if len(values) > 1 else None
        found[name] = {"mean": statistics.fmean(values), "sd": spread, "n": len(values)}
    return found


def in_words(record: Record) -> str:
    """Return how a member that is done scored, and its seconds: `validation accuracy 0.8712, test accuracy 0.8650, 34 s`."""
    primary = record["primary"]
    shown = [
        f"{split} {primary} {number(scores[primary], decimals(scores.values()))}"
        for split, scores in record["scores"].items()
        if primary in scores
    ]
    return ", ".join([*shown, f"{record['seconds']:.0f} s"])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
