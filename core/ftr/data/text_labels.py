"""Plain text: one text a line, its label on the line too, or in a file beside it, and the names of the labels in a third (TweetEval)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ftr.data.conll import WAY_OUT, looks_conll
from ftr.data.files import decode, read_bytes
from ftr.data.options import FileOptions
from ftr.data.rows import PREDICT, Rejected, SourceFile, Table
from ftr.data.schema import RowSchema
from ftr.data.tables import few_values
from ftr.errors import DataError
from ftr.paths import expanded

MAPPING = "mapping.txt"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_FASTTEXT = "__label__"
_MARKED = re.compile(_FASTTEXT + r"\S+|[A-Za-z][\w-]*:[\w-]+")
_WORDS = {"pos", "neg", "neu", "positive", "negative", "neutral", "ham", "spam", "true", "false", "fake", "real", "yes", "no"}
_SEPARATORS = ("\t", "@", "|", ";", ",", "#")
_MOST_MARKED = 200
_MATCHING = 0.95
"""Share of the lines that must have a label for it to be one."""

Cut = Callable[[str], tuple[str, str]]
"""From a line to its text and its label; both are empty where the line has none."""


def labels_beside(path: Path) -> Path | None:
    """Return `x_labels.txt` for `x_text.txt` when it stands in the same folder."""
    name = re.sub(r"(^|[_.-])texts?(?=\.)", r"\1labels", path.name, count=1)
    beside = path.with_name(name)
    return beside if name != path.name and beside.is_file() else None


def is_labels_file(path: Path) -> bool:
    """Whether this is the labels file of a text file beside it, or names the labels."""
    texts = (re.sub(r"(^|[_.-])labels(?=\.)", rf"\1{word}", path.name, count=1) for word in ("text", "texts"))
    return path.name == MAPPING or any(name != path.name and path.with_name(name).is_file() for name in texts)


def labelled_text(text: str, path: Path, split: str, options: FileOptions, schema: RowSchema) -> tuple[Table, list[SourceFile]]:
    """Return texts and labels as a table, and the records of the files beside. Raises `DataError` naming both line counts."""
    texts = [column for column in schema.columns if column.type in ("text", "tokens") and column.required]
    if len(texts) != 1:
        names = ", ".join(f"`{column.name}`" for column in texts)
        raise DataError(f"file `{path}` is plain text, but a row needs {names}. Give CSV, JSON or JSONL")
    table = text_table(text, path.name, texts[0].name)
    if split == PREDICT or schema.label is None or (options.labels_file or "").lower() == "none":
        return table, []
    labels = expanded(options.labels_file, "`dataset.labels_file`:") if options.labels_file else labels_beside(path)
    if labels is None:
        single = schema.classes is not None and schema.classes.type == "label"
        return (_with_labels(table, path.name, split, options, schema.label) if single else table), []
    return table, _add_labels(table, path, labels, schema.label, options.encoding)


def text_table(text: str, name: str, column: str) -> Table:
    """Return one record per line; a last line end begins no row."""
    lines = text.removesuffix("\n").split("\n")
    places = [f"{name}:{number}" for number in range(1, len(lines) + 1)]
    return Table([column], [[line.removesuffix("\r")] for line in lines], places)


def named_classes(path: Path, encoding: str) -> tuple[dict[str, str], SourceFile] | None:
    """Return key -> name of the classes, in id order, that `mapping.txt` beside a file gives (`0<TAB>negative`), and its record."""
    mapping = path.with_name(MAPPING)
    if not mapping.is_file():
        return None
    lines, source = _read_lines(mapping, encoding)
    pairs = [line.strip().split(None, 1) for line in lines]
    names = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
    if all(_NUMBER.fullmatch(key) for key in names):
        names = dict(sorted(names.items(), key=lambda item: float(item[0])))
    return (names, source) if names else None


def _add_labels(table: Table, path: Path, labels: Path, column: str, encoding: str) -> list[SourceFile]:
    values, source = _read_lines(labels, encoding)
    if len(values) != len(table.records):
        raise DataError(f"`{path}` has {len(table.records)} lines and its labels file `{labels}` has {len(values)}: they must agree")
    table.columns.append(column)
    for record, value in zip(table.records, values, strict=True):
        record.append(value.removesuffix("\r"))
    table.notes.append(f"{path.name}: labels from {labels.name} (others: `dataset.labels_file=FILE`)")
    return [source]


def _with_labels(table: Table, name: str, split: str, options: FileOptions, column: str) -> Table:
    """Return texts and the labels on their lines, where it is clear which part of a line the label is. Raises `DataError` where not."""
    lines = [str(record[0]) for record in table.records]
    full = [line for line in lines if line.strip()]
    if looks_conll("\n".join(lines)):
        raise DataError(f"file `{name}` has {WAY_OUT}")
    chosen = _clear_cut(full, options.delimiter)
    if chosen is None:
        raise DataError(
            f"file `{name}` has one text a line, and no label on each line that is clear. Give a file with one label a line as "
            "`dataset.labels_file=FILE`, or what stands between text and label as `dataset.delimiter=` (`tab`, `space` or a character); "
            "a table with named columns is read with `dataset.format=csv` or `tsv`"
        )
    what, cut = chosen
    found = Table([*table.columns, column], header=True, notes=list(table.notes))
    for line, place in zip(lines, table.places, strict=True):
        text, label = cut(line)
        if label and text:
            found.records.append([text, label.removeprefix(_FASTTEXT)])
            found.places.append(place)
        else:
            found.rejected.append(
                Rejected(place, split, "no label on the line" if line.strip() else "empty text", {"line": line}, len(found.records))
            )
    found.notes.append(f"{name}: {what} is taken as its label (otherwise: `dataset.labels_file=FILE`, or `dataset.delimiter=`)")
    return found


def _clear_cut(lines: Sequence[str], delimiter: str | None) -> tuple[str, Cut] | None:
    """Return the one way to cut the lines into text and label that gives few labels, each of them often."""
    cuts: list[tuple[str, Cut]] = []
    if delimiter is None:
        cuts += [("the first word of a line", _first_word), ("the last word of a line", _last_word)]
    for mark in _SEPARATORS if delimiter is None else (delimiter,):
        shown = {"\t": "tab", " ": "blank"}.get(mark, f"`{mark}`")
        cuts += [(f"the text after the last {shown}", _after(mark)), (f"the text before the first {shown}", _before(mark))]
    words = (_first_word, _last_word)
    clear = [(what, cut) for what, cut in cuts if _is_clear([cut(line) for line in lines], word=cut in words)]
    return clear[0] if len(clear) == 1 else None


def _is_clear(parts: Sequence[tuple[str, str]], *, word: bool) -> bool:
    """Whether labels look like labels: nearly every line has one, each is there often, and a word among others looks like no word."""
    found = [label for text, label in parts if label and text]
    if not found or len(found) < _MATCHING * len(parts):
        return False
    counts = Counter(found)
    if len(counts) < 2 or len(found) < 2 * len(counts):
        return False
    if word:
        if all(_MARKED.fullmatch(label) for label in counts):
            return len(counts) <= _MOST_MARKED and not any(text.startswith(_FASTTEXT) for text, _ in parts)
        plain = all(_NUMBER.fullmatch(label) for label in counts) or all(label.lower() in _WORDS for label in counts)
        return plain and few_values(found)
    return few_values(found) and all(len(label.split()) <= 3 for label in counts)


def _first_word(line: str) -> tuple[str, str]:
    label, _, text = line.strip().partition(" ")
    return ("", "") if "\t" in label else (text.strip(), label.strip())


def _last_word(line: str) -> tuple[str, str]:
    text, _, label = line.strip().rpartition(" ")
    return ("", "") if "\t" in label else (text.strip(), label.strip())


def _after(mark: str) -> Cut:
    def cut(line: str) -> tuple[str, str]:
        text, _, label = line.strip("\r\n").rpartition(mark)
        return text.strip(), label.strip()

    return cut


def _before(mark: str) -> Cut:
    def cut(line: str) -> tuple[str, str]:
        label, _, text = line.strip("\r\n").partition(mark)
        return text.strip(), label.strip()

    return cut


def _read_lines(path: Path, encoding: str) -> tuple[list[str], SourceFile]:
    content, source, _ = read_bytes(path)
    return decode(content, path, encoding).removesuffix("\n").split("\n"), source
