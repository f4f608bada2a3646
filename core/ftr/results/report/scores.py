"""The parts of a report on scores: with intervals and baselines, and the spread of members."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from ftr.registry.specs import OTHER_AVERAGES
from ftr.results.report import pictures
from ftr.results.report.blocks import (
    Beside,
    Block,
    Headline,
    Note,
    Picture,
    Pictures,
    Section,
    Simple,
    Table,
)
from ftr.results.report.source import MissingError, Record, Source, duration
from ftr.runs.report import (
    INTERVAL,
    JOINED,
    KINDS,
    decimals,
    number,
)

Column = tuple[str, Record, Record]
"""A name, scores, and their intervals (`{}` where there are none)."""


def scores(source: Source) -> Section:
    """Return every score that is one number: of the model, of baselines, of the untrained model."""
    record = source.record
    columns = _columns(record)
    if not columns:
        raise MissingError(_no_scores(record))
    names = dict.fromkeys(
        name
        for _, found, _ in columns
        for name, value in found.items()
        if isinstance(value, int | float) and not name.endswith(OTHER_AVERAGES)
    )
    digits = decimals(
        value
        for _, found, _ in columns
        for name, value in found.items()
        if name != "loss" and isinstance(value, int | float)
    )
    rows = [
        (
            name,
            *(
                with_interval(found.get(name), around.get(name), digits)
                for _, found, around in columns
            ),
        )
        for name in names
    ]
    blocks: list[Block] = [Table(header=("", *(name for name, *_ in columns)), rows=rows)]
    drawn = _drawn(record, columns, digits)
    if drawn is not None:
        blocks.insert(0, Pictures(pictures=[drawn]))
    blocks += _interval_notes(record)
    return Section(title="Scores", blocks=blocks)


def _no_scores(record: Record) -> str:
    if record.get("status") != "done":
        return "the run did not come to its end, and only then are held-out rows scored"
    return "the data has no validation or test rows, so nothing was scored"


def _columns(record: Record) -> list[Column]:
    heldout, found = record.get("heldout"), record.get("scores") or {}
    around = record.get("intervals") or {}
    columns: list[Column] = []
    if heldout in found:
        columns.append((f"{heldout}, trained", found[heldout], around.get(heldout, {})))
    for name, by_split in (record.get("baselines") or {}).items():
        if heldout in by_split:
            beside = (record.get("baseline_intervals") or {}).get(name, {}).get(heldout, {})
            columns.append((f"{heldout}, {name}", by_split[heldout], beside))
    if record.get("untrained"):
        columns.append((f"{heldout}, untrained", record["untrained"], {}))
    columns += [
        (f"{split}, trained", one, around.get(split, {}))
        for split, one in found.items()
        if split != heldout
    ]
    return columns


def with_interval(value: Any, around: Any, digits: int) -> str:
    """Return a score with the ends of its interval, where it has one: a digit less for those."""
    if not isinstance(around, Mapping) or not {"low", "high"} <= around.keys():
        return number(value, digits)
    return f"{number(value, digits)} ({number(around, digits - 1)})"


def _drawn(record: Record, columns: Sequence[Column], digits: int) -> Picture | None:
    """Return the score that ranks, of the model and of what it is compared to."""
    primary, heldout = str(record.get("primary")), record.get("heldout")
    rows = list[tuple[str, float, float | None, float | None]]()
    for name, found, around in columns:
        value, between = found.get(primary), around.get(primary) or {}
        if name.startswith(f"{heldout}, ") and _finite(value):
            rows.append((name.partition(", ")[2], value, between.get("low"), between.get("high")))
    if not rows:
        return None
    title = f"{heldout} {primary}, beside what is compared to it"
    return pictures.dots(title, rows, f"{heldout} {primary}", digits=digits)


def _finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _interval_notes(record: Record) -> list[Block]:
    """Return how the intervals were found, and what to know about them."""
    about = record.get("interval")
    if not about:
        return [
            Note(
                text="This run has no intervals of its scores: it was made by an ftr that did not "
                "compute them. `ftr evaluate` prints them.",
                warning=True,
            )
        ]
    unit = "rows" if about["unit"] == "rows" else f"groups of rows ({about['unit']})"
    drawn = ", ".join(f"{count:,} of {split}" for split, count in about["units"].items())
    return [
        Note(
            text=f"In brackets: {INTERVAL}s, {about['method']}, {about['resamples']:,} resamples "
            f"of {unit} ({drawn}). They say how far a score would move with other held-out rows of "
            "the same kind; not how far with another seed."
        ),
        *(Note(text=str(line)) for line in about["notes"]),
    ]


def headlines(source: Source) -> list[Headline]:
    """Return the figures to begin with: the score that ranks, its best baseline, rows, time."""
    record = source.record
    found: list[Headline] = []
    columns, primary = _columns(record), str(record.get("primary"))
    if columns and _finite(columns[0][1].get(primary)):
        name, first, around = columns[0]
        digits = decimals(first.values())
        between = around.get(primary) or {}
        detail = (
            f"{INTERVAL} {number(between, digits)}"
            if {"low", "high"} <= between.keys()
            else "no interval"
        )
        value = number(first[primary], digits)
        found.append(
            Headline(name=f"{name.partition(', ')[0]} {primary}", value=value, detail=detail)
        )
        found += _best_baseline(record, columns, digits)
    splits = record.get("data", {}).get("splits", {})
    if splits:
        counts = {name: one.get("row_count", 0) for name, one in splits.items()}
        beside = ", ".join(f"{count:,} {name}" for name, count in counts.items() if name != "train")
        found.append(
            Headline(name="training rows", value=f"{counts.get('train', 0):,}", detail=beside)
        )
    if timings := record.get("timings"):
        whole = duration(timings.get("total", 0))
        found.append(
            Headline(
                name="training time", value=duration(timings["train"]), detail=f"{whole} in all"
            )
        )
    return found


def _best_baseline(record: Record, columns: Sequence[Column], digits: int) -> list[Headline]:
    primary = str(record.get("primary"))
    known = [
        (name.partition(", ")[2], one[primary])
        for name, one, _ in columns
        if name.partition(", ")[2] in record.get("baselines", {}) and _finite(one.get(primary))
    ]
    if not known:
        return []
    choose = max if record.get("mode") == "max" else min
    name, value = choose(known, key=lambda pair: pair[1])
    return [Headline(name="best baseline", value=number(value, digits), detail=name)]


def members(source: Source) -> Section:
    """Return each member of a run of several, and how far their scores are apart."""
    record = source.record
    if "several" not in record:
        raise MissingError("it is one training; `seeds=3` or `cv.folds=5` trains several")
    if "summary" not in record:
        raise MissingError("not all members are done")
    primary, summary = record["primary"], record["summary"]
    beside: list[Simple] = []
    for split, by_score in reversed(summary.items()):
        digits = decimals(one["mean"] for name, one in by_score.items() if name != "loss")
        joined = record["scores"].get(split, {}) if record.get("joined") else {}
        header = ["", "mean", "sd", *([JOINED[record["joined"]]] if joined else [])]
        rows = [
            (
                name,
                number(one["mean"], digits),
                number(one["sd"], digits),
                *([number(joined.get(name), digits)] if joined else []),
            )
            for name, one in by_score.items()
            if not name.endswith(OTHER_AVERAGES)
        ]
        beside.append(Table(header=header, rows=rows, caption=f"{split}: over all members"))
    blocks: list[Block] = [Beside(blocks=beside)]
    split = next(reversed(summary))
    digits = decimals(one["mean"] for one in summary[split].values())
    drawn: list[tuple[str, float, float | None, float | None]] = [
        (_member_name(one), one["scores"][split][primary], None, None)
        for one in record["members"]
        if _finite(one["scores"].get(split, {}).get(primary))
    ]
    mean, sd = summary[split][primary]["mean"], summary[split][primary]["sd"]
    drawn.insert(0, ("mean ± sd", mean, mean - (sd or 0), mean + (sd or 0)))
    title = f"{split} {primary} of each member"
    if len(drawn) <= 30:
        x = f"{split} {primary}"
        blocks.insert(0, Pictures(pictures=[pictures.dots(title, drawn, x, digits=digits)]))
    blocks.append(_each_member(record))
    blocks.append(
        Note(
            text=f"The spread is between {KINDS[record['several']]} of the same configuration: "
            "another thing than the interval of one score, which is over held-out rows."
        )
    )
    return Section(title="Members and spread", blocks=blocks)


def _member_name(one: Record) -> str:
    varied = [f"{key} {one[key]}" for key in ("seed", "fold", "bootstrap") if key in one]
    return ", ".join(varied) or str(one["path"])


def _each_member(record: Record) -> Table:
    splits, primary = list(record["summary"]), record["primary"]
    values = [
        [one["scores"].get(split, {}).get(primary) for split in splits] for one in record["members"]
    ]
    digits = decimals(value for row in values for value in row)
    return Table(
        header=("run", "varied", *(f"{split} {primary}" for split in splits), "time"),
        rows=[
            (
                one["path"],
                _member_name(one),
                *(number(value, digits) for value in row),
                duration(one.get("seconds") or 0),
            )
            for one, row in zip(record["members"], values, strict=True)
        ],
        names=2,
        caption="Members",
    )
