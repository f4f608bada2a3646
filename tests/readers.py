"""The smallest heads that have a schema, and the calls every test of the reader makes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftr.config.schema import DataConfig
from ftr.data.columns import check_row
from ftr.data.prepare import PreparedRows, prepare_rows
from ftr.data.read import load_rows
from ftr.data.rows import Loaded
from ftr.data.stream import Reader, Source
from ftr.registry.protocols import Head, Row
from ftr.registry.registry import Registry
from ftr.registry.schema import RowSchema
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.extractive_qa.head import ExtractiveQAHead

TEXT: RowSchema = SequenceClassificationHead().schema
QA: RowSchema = ExtractiveQAHead().schema
ALL = DataConfig(validation_size=0, test_size=0, max_invalid=1.0)


def load(path: Path | str, schema: RowSchema = TEXT, **options: object) -> Loaded:
    """Read a file or folder with no plugin about."""
    return load_rows(str(path), options, Registry([]), schema)


def head_of(schema: RowSchema) -> Head:
    """Return the head that has the schema."""
    if schema is TEXT or schema is QA:
        return ExtractiveQAHead() if schema is QA else SequenceClassificationHead()

    class Other(SequenceClassificationHead):
        def check(self, row: Row) -> str | None:
            return None

    other = Other()
    other.schema = schema
    return other


def prepare(
    path: Path | str, schema: RowSchema = TEXT, data: DataConfig = ALL, **options: object
) -> PreparedRows:
    """Read and prepare, by default without limits and made splits."""
    return prepare_rows(load(path, schema, **options), head_of(schema), data)


def texts(prepared: PreparedRows, split: str = "train") -> list[Any]:
    """Return the texts of a split."""
    return [row["text"] for row in prepared.splits[split]]


def causes(prepared: PreparedRows) -> Mapping[str, str]:
    """Return place -> cause of the rejected rows."""
    return {item.place: item.cause for item in prepared.rejected}


@dataclass
class Unlabelled:
    """Rows to predict: the usable ones, and of each other its place, cause and what precedes it."""

    rows: list[Row] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str, int]] = field(default_factory=list)
    ids: list[object] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def unlabelled(
    path: Path | str,
    schema: RowSchema = TEXT,
    check: Callable[[Row], str | None] | None = None,
    stdin: Any = None,
    **options: object,
) -> Unlabelled:
    """Read rows to predict, and check them."""
    return unlabelled_of(Source.open(path, stdin), schema, check, **options)


def unlabelled_of(
    source: Source,
    schema: RowSchema = TEXT,
    check: Callable[[Row], str | None] | None = None,
    **options: object,
) -> Unlabelled:
    """Read and check the rows of a source, and close it."""
    reader = Reader.of(source, schema, options)
    found = Unlabelled(notes=reader.notes)
    for line in reader.rows():
        row, cause = check_row(line.row, schema, "", labelled=False)
        cause = line.cause or cause or (check(row) if check else None)
        found.ids.append(line.row["id"] if line.cause else row["id"])
        if cause is None:
            found.rows.append(row)
            found.places.append(line.place)
        else:
            found.rejected.append((line.place, cause, len(found.rows)))
    source.close()
    return found
