"""What the data of a run is like: rows, faults, tokens, labels and duplicates of each split."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ftr.config.schema import RunConfig
from ftr.data.encode import TOKENS, UNKNOWN, StoredSplit, unknown_note
from ftr.data.rows import HELD_OUT
from ftr.model.components import make_head
from ftr.registry.protocols import provides
from ftr.registry.registry import Registry, plugin_errors
from ftr.runs.prepare import Prepared, to_stderr, with_baselines

DUPLICATES = "duplicates"
SOME = 400
"""Rows of a split whose baselines are timed."""


def data_facts(prepared: Prepared) -> dict[str, dict[str, Any]]:
    """Return by split: `read`, `rows`, `rejected` (cause -> count), `features`, `tokens` (`mean`,
    `p95`, `max` of a feature), `cut` (what the head notes -> share of features), `unknown` (share
    of tokens; None: not counted), `labels` (name -> share) and `duplicates` (what -> rows).
    """
    report: Mapping[str, Mapping[str, Any]] = prepared.report["splits"]
    return {
        name: {**_counts(report.get(name, {}), split.row_count), **_encoded(split)}
        for name, split in prepared.splits.items()
    }


def _counts(report: Mapping[str, Any], rows: int) -> dict[str, Any]:
    labels = report.get("labels", {})
    total = sum(labels.values()) or 1
    return {
        "read": report.get("read"),
        "rows": rows,
        "rejected": report.get("rejected", {}),
        "labels": {name: count / total for name, count in labels.items()},
        DUPLICATES: report.get(DUPLICATES, {}),
    }


def _encoded(split: StoredSplit) -> dict[str, Any]:
    _, features = split.open()
    lengths = np.asarray(features.data.column("length"), dtype=np.int64)
    notes = {
        note: count / split.feature_count
        for note, count in split.notes.items()
        if note not in (TOKENS, UNKNOWN)
    }
    tokens, unknown = split.notes.get(TOKENS), split.notes.get(UNKNOWN, 0)
    return {
        "features": split.feature_count,
        "tokens": {
            "mean": float(lengths.mean()),
            "p95": float(np.percentile(lengths, 95)),
            "max": int(lengths.max()),
        },
        "cut": notes,
        "unknown": unknown / tokens if tokens else 0.0,
    }


def warnings_of(prepared: Prepared) -> list[str]:
    """Return what speaks against this training: a model that does not know the language, and rows
    that training and held-out splits share.
    """
    found = [
        note
        for name, split in prepared.splits.items()
        if (note := unknown_note(name, Counter(split.notes)))
    ]
    for name in HELD_OUT:
        duplicates = prepared.report["splits"].get(name, {}).get(DUPLICATES, {})
        if shared := duplicates.get("in_train"):
            rows = prepared.splits[name].row_count
            found.append(
                f"{name}: {shared} of {rows} rows are in the training rows too: its scores will "
                "be too high"
            )
    return found


def baseline_scores(config: RunConfig, prepared: Prepared) -> dict[str, Any]:
    """Return `baselines` (name -> split -> scores) and their `baseline_seconds`, as a run has them;
    `{}` where the head has none.
    """
    asked = config.model_copy(update={"baselines": True})
    return with_baselines({}, asked, prepared, to_stderr)


def baseline_seconds(config: RunConfig, prepared: Prepared, registry: Registry) -> float:
    """Return how long the baselines of a run will take, by those of a few of its rows; 0.0 where
    it computes none.
    """
    held_out = [name for name in HELD_OUT if name in prepared.splits]
    head = make_head(registry, config.head)
    if not config.baselines or not held_out or not provides(head, "baselines"):
        return 0.0
    rows = {name: prepared.splits[name].open()[0] for name in ("train", *held_out)}
    some = {name: one.select(range(min(len(one), SOME))).to_list() for name, one in rows.items()}
    seconds = []
    with plugin_errors(registry):
        for _ in range(2):  # the first imports what they need
            began = time.monotonic()
            try:
                head.baselines(
                    some["train"], {name: some[name] for name in held_out}, prepared.labels
                )
            except Exception:  # a few rows may be of one class
                return 0.0
            seconds.append(time.monotonic() - began)
    share = sum(map(len, rows.values())) / sum(map(len, some.values()))
    return max(seconds[0] - seconds[1], 0.0) + seconds[1] * share
