"""What a run's scores are set beside: predictions that need no model, by the head, scored with the run's own metrics."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftr.blame import plugin_errors
from ftr.data.rows import HELD_OUT
from ftr.errors import in_one_line
from ftr.protocols import Baselines
from ftr.registry import get_registry
from ftr.runs.table import decimals, number
from ftr.train.components import make_head
from ftr.train.scoring import Scorer

if TYPE_CHECKING:
    from ftr.config.models import RunConfig
    from ftr.jobs.prepare import Prepared


def with_baselines(record: dict[str, Any], config: RunConfig, prepared: Prepared, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the record of a run with `baselines` (name -> split -> scores) and `baseline_seconds`, and say what they are.

    As it is where it has them, with `baselines=false`, where the head gives none, or no split is held out. Where they fail that is
    said, and fails nothing else.
    """
    splits = [split for split in HELD_OUT if split in prepared.splits]
    if not config.baselines or not splits or "baselines" in record:
        return record
    registry = get_registry()
    began = time.monotonic()
    try:
        with plugin_errors(registry):
            head = make_head(registry, config.head)
            if not isinstance(head, Baselines):
                return record
            scorer = Scorer.of(registry, config.metrics)
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                scores = _scored(head, scorer, prepared, splits)
    except Exception as error:
        note = f"no baselines: {in_one_line(error)}"
        say(note)
        return {**record, "notes": [*record.get("notes", ()), note]}
    notes = [str(one.message) for one in warned if one.category is UserWarning]
    for note in notes:
        say(note)
    record = {**record, "notes": [*record.get("notes", ()), *notes]}
    seconds = time.monotonic() - began
    digits = decimals([one for by_split in scores.values() for found in by_split.values() for one in found.values()])
    shown = splits[-1]
    told = ", ".join(f"{name} {number(by_split[shown].get(scorer.primary), digits)}" for name, by_split in scores.items())
    say(f"baselines on {shown}, {scorer.primary}: {told} ({seconds:.1f} s)")
    return {**record, "baselines": scores, "baseline_seconds": seconds}


def _scored(head: Any, scorer: Scorer, prepared: Prepared, splits: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    rows = {split: prepared.splits[split].open()[0].to_list() for split in ("train", *splits)}
    found = head.baselines(rows["train"], {split: rows[split] for split in splits}, prepared.labels)
    return {
        name: {split: scorer.score(head, rows[split], predictions, prepared.labels) for split, predictions in by_split.items()}
        for name, by_split in found.items()
    }
