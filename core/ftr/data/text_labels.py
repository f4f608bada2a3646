"""One text a line, its labels in a file beside it, and the names of the labels in a third (TweetEval's form)."""

import re
from pathlib import Path

from ftr.data.files import decode, read_bytes
from ftr.data.options import FileOptions
from ftr.data.rows import SourceFile, Table
from ftr.data.schema import RowSchema
from ftr.errors import DataError
from ftr.paths import expanded

_MAPPING = "mapping.txt"


def labels_beside(path: Path) -> Path | None:
    """Return `x_labels.txt` for `x_text.txt` when it stands in the same folder."""
    name = re.sub(r"(^|[_.-])texts?(?=\.)", r"\1labels", path.name, count=1)
    beside = path.with_name(name)
    return beside if name != path.name and beside.is_file() else None


def is_labels_file(path: Path) -> bool:
    """Whether this is the labels file of a text file beside it, or names the labels."""
    texts = (re.sub(r"(^|[_.-])labels(?=\.)", rf"\1{word}", path.name, count=1) for word in ("text", "texts"))
    return path.name == _MAPPING or any(name != path.name and path.with_name(name).is_file() for name in texts)


def labelled_text(text: str, path: Path, options: FileOptions, schema: RowSchema) -> tuple[Table, list[SourceFile]]:
    """Return texts and labels as a table, and the records of the files beside. Raises `DataError` naming both line counts."""
    texts = [column for column in schema.columns if column.type in ("text", "tokens") and column.required]
    if len(texts) != 1:
        names = ", ".join(f"`{column.name}`" for column in texts)
        raise DataError(f"file `{path}` is plain text, but a row needs {names}. Give CSV, JSON or JSONL")
    table = text_table(text, path.name, texts[0].name)
    if options.labels_file and options.labels_file.lower() == "none":
        return table, []
    labels = expanded(options.labels_file, "`dataset.labels_file`:") if options.labels_file else labels_beside(path)
    if labels is None or schema.label is None:
        return table, []
    return table, _add_labels(table, path, labels, schema.label, options.encoding)


def text_table(text: str, name: str, column: str) -> Table:
    """Return one record per line; a last line end begins no row."""
    lines = text.removesuffix("\n").split("\n")
    places = [f"{name}:{number}" for number in range(1, len(lines) + 1)]
    return Table([column], [[line.removesuffix("\r")] for line in lines], places)


def _add_labels(table: Table, path: Path, labels: Path, column: str, encoding: str) -> list[SourceFile]:
    values, source = _read_lines(labels, encoding)
    if len(values) != len(table.records):
        raise DataError(f"`{path}` has {len(table.records)} lines and its labels file `{labels}` has {len(values)}: they must agree")
    sources = [source]
    names: dict[str, str] = {}
    mapping = labels.with_name(_MAPPING)
    if mapping.is_file():
        lines, mapping_source = _read_lines(mapping, encoding)
        pairs = [line.partition("\t") for line in lines]
        names = {key.strip(): name.strip() for key, _, name in pairs if name.strip()}
    if names and {value.strip() for value in values} <= set(names):
        sources.append(mapping_source)
        table.notes.append(f"{path.name}: labels named by {mapping.name}")
        values = [names[value.strip()] for value in values]
    table.columns.append(column)
    for record, value in zip(table.records, values, strict=True):
        record.append(value)
    table.notes.append(f"{path.name}: labels from {labels.name}")
    return sources


def _read_lines(path: Path, encoding: str) -> tuple[list[str], SourceFile]:
    content, source = read_bytes(path)
    return decode(content, path, encoding).removesuffix("\n").split("\n"), source
