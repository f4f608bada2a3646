"""The parts of a report on the data: what became of the rows, faults, and duplicates."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from ftr.data.encode import TOKENS, UNKNOWN
from ftr.results.report.blocks import Block, Example, Examples, Note, Section, Table, readable
from ftr.results.report.source import MissingError, Source, first_of

EACH = 2
"""Rows shown for each cause of rejection."""
CAUSES = 8
DUPLICATES = {
    "repeated": "repeat an earlier row of the split",
    "contradicting": "have another target than a row with the same text",
    "in_train": "are in train",
    "in_validation": "are in validation",
    "in_test": "are in test",
}


def rows(source: Source) -> Section:
    """Return the rows of each split, those left out with causes and examples, and the notes of the
    run.
    """
    splits = source.record.get("data", {}).get("splits")
    if not splits:
        raise MissingError("the run ended before its data was read")
    table = Table(
        header=(
            "split",
            "read",
            "used",
            "left out",
            "examples",
            "tokens",
            "unknown tokens",
            "from",
        ),
        rows=[
            (
                name,
                f"{one.get('read', 0):,}",
                f"{one.get('used', one.get('row_count', 0)):,}",
                f"{sum(one.get('rejected', {}).values()):,}",
                f"{one.get('feature_count', 0):,}",
                f"{one.get('notes', {}).get(TOKENS, 0):,}",
                _share(one.get("notes", {}).get(UNKNOWN, 0), one.get("notes", {}).get(TOKENS, 0)),
                str(one.get("from", "")),
            )
            for name, one in splits.items()
        ],
    )
    blocks: list[Block] = [table, *_labels(splits), *_faults(source, splits)]
    if notes := source.record.get("notes"):
        shown, more = first_of(notes, 30)
        blocks.append(
            Table(
                header=("note on reading the data",),
                rows=[(str(note),) for note in [*shown, *([f"and {more} more"] if more else [])]],
                folded=True,
                caption=f"Notes ({len(notes)})",
            )
        )
    return Section(title="Data", blocks=blocks)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "-"


def _labels(splits: Any) -> list[Block]:
    counts = {name: one["labels"] for name, one in splits.items() if one.get("labels")}
    labels, more = first_of(dict.fromkeys(key for one in counts.values() for key in one), 50)
    if not labels:
        return []
    whole = {name: sum(one.values()) for name, one in counts.items()}
    rows = [
        (
            str(label),
            *(
                f"{one.get(label, 0):,} ({_share(one.get(label, 0), whole[name])})"
                for name, one in counts.items()
            ),
        )
        for label in labels
    ]
    caption = "Rows of each class" + (f"; {more} more classes are not shown" if more else "")
    return [Table(header=("class", *counts), rows=rows, caption=caption, folded=len(rows) > 8)]


def _faults(source: Source, splits: Any) -> list[Block]:
    causes = Counter(
        {
            (name, cause): count
            for name, one in splits.items()
            for cause, count in one.get("rejected", {}).items()
        }
    )
    if not causes:
        return [Note(text="No row was left out: every row that was read could be used.")]
    blocks: list[Block] = [
        Table(
            header=("cause", "split", "rows"),
            rows=[(cause, name, f"{count:,}") for (name, cause), count in causes.most_common()],
            names=2,
            caption="Rows left out",
        )
    ]
    examples: list[Example] = []
    for name, cause in [key for key, _ in causes.most_common(CAUSES)]:
        found = [
            one for one in source.rejected if one.get("split") == name and one.get("cause") == cause
        ]
        examples += [
            Example(title=f"{cause}: {one.get('place')}", cells=_cells(one.get("row")))
            for one in found[:EACH]
        ]
    if examples:
        blocks.append(Examples(examples=examples))
    else:
        blocks.append(Note(text="`invalid_rows.jsonl`, which has these rows, is not there."))
    return blocks


def _cells(row: Any) -> dict[str, str]:
    if not isinstance(row, dict):
        return {"row": readable(row)}
    return {
        readable(name, 60): readable(
            cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str),
            300,
        )
        for name, cell in row.items()
    }


def duplicates(source: Source) -> Section:
    """Return how many rows are there twice, in a split or in two."""
    splits = source.record.get("data", {}).get("splits")
    if not splits:
        raise MissingError("the run ended before its data was read")
    rows = [
        (
            name,
            DUPLICATES.get(what, what),
            f"{count:,}",
            _share(count, one.get("used") or one.get("row_count", 0)),
        )
        for name, one in splits.items()
        for what, count in {
            **one.get("duplicates", {}),
            **(
                {"ask about a passage that train has too": one["passages_in_train"]}
                if one.get("passages_in_train")
                else {}
            ),
        }.items()
    ]
    if not rows:
        return Section(
            title="Duplicates",
            blocks=[
                Note(
                    text="No text is there twice, in a split or in two (case, spaces and Unicode "
                    "forms folded)."
                )
            ],
        )
    leaked = any(what == DUPLICATES["in_train"] for _, what, *_ in rows)
    blocks: list[Block] = [
        Table(header=("split", "rows that", "rows", "share"), rows=rows, names=2)
    ]
    if leaked:
        blocks.append(
            Note(
                text="Held-out rows that are in train make the scores too high. "
                "`data.duplicates=remove` leaves them out of train.",
                warning=True,
            )
        )
    return Section(title="Duplicates", blocks=blocks)
