"""The parts of a report on single predictions: confusion, classes, confidence, and errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ftr.data.answers import answers_column, texts_and_starts
from ftr.registry.protocols import Outcome, Row
from ftr.results.report import pictures
from ftr.results.report.blocks import (
    Beside,
    Block,
    Example,
    Examples,
    Note,
    Pictures,
    Section,
    Simple,
    Table,
    one_line,
    readable,
)
from ftr.results.report.scores import with_interval
from ftr.results.report.source import MissingError, Source
from ftr.runs.report import decimals, number

MOST_CLASSES = 24
"""Classes in the confusion picture; with more it shows those most often confused."""
ERRORS = 12
TEXT = 700
"""Characters of a text beside an error."""


def classes(source: Source) -> Section:
    """Return which class is taken for which, and the scores of each."""
    blocks: list[Block] = []
    table = _per_class(source)
    try:
        blocks += _confusion(source)
    except MissingError as missing:
        if table is None:
            raise
        blocks.append(Note(text=f"No confusion picture: {missing}."))
    if table is not None:
        blocks.append(table)
    return Section(title="Classes", blocks=blocks)


def _confusion(source: Source) -> list[Block]:
    split, matrix = _split(source), _recorded_matrix(source)
    if source.held is not None or not matrix:
        if source.target == "answers":
            return [_answerable(source)]
        if source.target != "label":
            raise MissingError("a row has not one class")
        pairs = Counter((one.expected, one.predicted) for one in source.outcomes)
        labels = [label for label in source.rows.labels if any(label in pair for pair in pairs)]
    else:
        pairs = Counter(
            {(true, found): count for true, row in matrix.items() for found, count in row.items()}
        )
        labels = list(matrix)
    wrong = Counter({pair: count for pair, count in pairs.items() if pair[0] != pair[1]})
    shown = _most_confused(labels, wrong)
    counts = [[pairs[true, found] for found in shown] for true in shown]
    title = f"Confusion of the {split} rows, true classes in rows"
    beside: list[Simple] = [Pictures(pictures=[pictures.confusion(title, counts, shown)])]
    if wrong:
        total = Counter(true for true, _ in pairs.elements())
        rows = [
            (true, found, f"{count:,}", f"{count / total[true]:.1%}")
            for (true, found), count in wrong.most_common(10)
        ]
        header = ("true", "predicted", "rows", "of the true class")
        beside.append(Table(header=header, rows=rows, names=2, caption="Most frequent mistakes"))
    blocks: list[Block] = [Beside(blocks=beside)]
    if len(shown) < len(labels):
        text = f"The {len(shown)} of {len(labels)} classes that are most often confused."
        blocks.append(Note(text=text))
    return blocks


def _split(source: Source) -> str:
    return source.held.split if source.held else str(source.record.get("heldout"))


def _recorded_matrix(source: Source) -> Mapping[str, Mapping[str, int]]:
    scores = (source.record.get("scores") or {}).get(_split(source)) or {}
    found = scores.get("confusion_matrix")
    return found if isinstance(found, Mapping) else {}


def _answerable(source: Source) -> Table:
    """Return what was predicted of questions with and without an answer."""
    column = answers_column(source.rows.head.schema)
    if column is None:
        raise MissingError("there is no column of answers")
    counts: Counter[tuple[bool, str]] = Counter()
    triples = zip(source.rows.rows, source.rows.predictions, source.outcomes, strict=True)
    for row, prediction, outcome in triples:
        found = "right" if outcome.right else "partly right" if outcome.error < 1 else "wrong"
        if prediction.get("answer") == "":
            found = "no answer"
        counts[bool(list(texts_and_starts(row.get(column.name)))), found] += 1
    columns = ("right", "partly right", "wrong", "no answer")
    names = {True: "has an answer", False: "has no answer"}
    rows = [
        (name, *(f"{counts[answerable, found]:,}" for found in columns))
        for answerable, name in names.items()
    ]
    header = ("the question", *(f"predicted: {found}" for found in columns))
    return Table(header=header, rows=rows, caption="Questions with and without an answer")


def _most_confused(labels: Sequence[str], wrong: Counter[tuple[str, str]]) -> list[str]:
    if len(labels) <= MOST_CLASSES:
        return list(labels)
    counts = Counter[str]()
    for (true, found), count in wrong.items():
        counts[true] += count
        counts[found] += count
    chosen = {label for label, _ in counts.most_common(MOST_CLASSES)}
    return [label for label in labels if label in chosen]


def _per_class(source: Source) -> Table | None:
    """Return the scores that have a value for each class, with the rows of each."""
    record = source.record
    split = _split(source)
    scores = (record.get("scores") or {}).get(split) or {}
    around = (record.get("intervals") or {}).get(split) or {}
    found = {
        name: value
        for name, value in scores.items()
        if isinstance(value, Mapping)
        and value
        and all(isinstance(one, int | float) for one in value.values())
    }
    labels = dict.fromkeys(label for value in found.values() for label in value)
    if not labels:
        return None
    digits = decimals(value for one in found.values() for value in one.values())
    counts = record.get("data", {}).get("splits", {}).get(split, {}).get("labels", {})
    rows = [
        (
            str(label),
            f"{counts[label]:,}" if label in counts else "-",
            *(
                with_interval(one.get(label), (around.get(name) or {}).get(label), digits)
                for name, one in found.items()
            ),
        )
        for label in labels
    ]
    header = ("class", "rows", *(name.removesuffix("_per_class") for name in found))
    return Table(header=header, rows=rows, caption=f"Each class of {split}")


def errors(source: Source) -> Section:
    """Return the wrong predictions the model was surest of, with their texts."""
    outcomes, rows = source.outcomes, source.rows.rows
    wrong = [number for number, one in enumerate(outcomes) if not one.right]
    if not wrong:
        return Section(
            title="Most confident errors",
            blocks=[Note(text=f"All {len(outcomes)} predictions are right.")],
        )
    confident = any(outcomes[number].confidence is not None for number in wrong)
    order = sorted(
        wrong,
        key=lambda number: (
            -(outcomes[number].confidence or 0.0) if confident else -outcomes[number].error,
            -outcomes[number].error,
            number,
        ),
    )
    count = f"{len(wrong):,} of {len(outcomes):,} predictions are not right"
    by = "the model was surest of" if confident else "with the largest error"
    first = order[:ERRORS]
    return Section(
        title="Most confident errors" if confident else "Largest errors",
        blocks=[
            Note(text=f"{count}; these are the {len(first)} {by}."),
            Examples(examples=[_example(source, rows[n], outcomes[n]) for n in first]),
        ],
    )


def _example(source: Source, row: Row, outcome: Outcome) -> Example:
    schema = source.rows.head.schema
    cells = {}
    for column in schema.columns:
        if not column.target and row.get(column.name) not in (None, ""):
            value = row[column.name]
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            cells[column.name] = readable(excerpt(text, outcome), TEXT + 60)
    cells["predicted"] = readable(outcome.predicted, TEXT) or "(none)"
    cells["true"] = readable(outcome.expected, TEXT) or "(none)"
    how = "" if outcome.confidence is None else f"confidence {outcome.confidence:.3f} · "
    if source.target in ("answers", "number", "labels"):
        how += f"error {number(outcome.error)} · "
    return Example(title=f"{how}{one_line(row['id'], 80)}", cells=cells)


def excerpt(text: str, outcome: Outcome) -> str:
    """Return a text, of a long one the part around the answer that is true or was predicted."""
    if len(text) <= TEXT:
        return text
    found = [text.find(one) for one in (*outcome.expected.split(" | "), outcome.predicted)]
    place = next((one for one in found if one >= 0), 0)
    start = max(min(place - TEXT // 3, len(text) - TEXT), 0)
    end = start + TEXT
    cut = f"{text[start:end]}{'…' if end < len(text) else ''} ({len(text):,} characters)"
    return f"…{cut}" if start else cut
