"""A file against the schema of a head: its columns are matched, its cells and rows checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from ftr.data import answers
from ftr.data.labels import MULTI_LABEL, shown
from ftr.data.rows import (
    Rejected,
    RejectedRowsError,
    Rows,
    Table,
    blank_as_none,
)
from ftr.data.squad import parse_list
from ftr.data.store import Row
from ftr.data.tables import are_texts, few_values
from ftr.errors import DataError, counted, did_you_mean
from ftr.registry.protocols import Head
from ftr.registry.schema import Column, RowSchema

ID = Column(
    name="id",
    type="value",
    aliases=("textid", "text_id", "question_id", "qid", "guid", "uid", "idx"),
    required=False,
)

_SAMPLE = 1000
_PARTS = {"question", "context", "text_pair"}
"""Texts beside which another must have its name."""
_SHOWN = 50


def map_columns(
    table: Table,
    schema: RowSchema,
    given: Mapping[str, str | int],
    source: str,
    *,
    labelled: bool = True,
    like: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Return canonical name -> index of the file's column, and note the guesses in the table.

    Without `labelled` the columns to be learned may be absent. `like` has the names of the columns
    in a file of another split; they precede other names. Raises `DataError` that lists the file's
    columns and the option to set.
    """
    extra = answers.EXTRA_COLUMNS if answers.answers_column(schema) else ()
    columns = [*schema.columns, *extra, ID]
    if str(given.get(ID.name, "")).lower() == "none":
        given = {name: choice for name, choice in given.items() if name != ID.name}
        columns.remove(ID)
    found = {name: _given(name, choice, table, source) for name, choice in given.items()}
    for name, other in (like or {}).items():
        if name not in found and table.columns.count(other) == 1:
            index = table.columns.index(other)
            if index not in found.values():
                found[name] = index
    for column in columns:
        if column.name not in found:
            _by_name(column, table, found, source)
    missing = [
        column
        for column in columns
        if column.name not in found and column.required and (labelled or not column.target)
    ]
    _by_content(missing, table, found)
    for column in missing:
        if column.name not in found:
            raise DataError(not_found(column, table, source))
    found = {column.name: found[column.name] for column in columns if column.name in found}
    guessed = {
        name: table.columns[index]
        for name, index in found.items()
        if name not in given and table.columns[index].lower() != name
    }
    if guessed:
        names = ", ".join(f"{name}=`{column}`" for name, column in guessed.items())
        options = ", ".join(f"`dataset.{name}=`" for name in guessed)
        table.notes.append(f"{source}: columns guessed: {names} (others: {options})")
    return found


def rename(table: Table, mapping: Mapping[str, int]) -> list[Row]:
    """Take the records out of the table; returns them as rows under canonical names."""
    items = list(mapping.items())
    taken: list[Any] = table.records
    table.records = []
    # In place: a large file is in memory once.
    for number, record in enumerate(taken):
        taken[number] = {name: record[index] for name, index in items}
    return taken


def has_column(table: Table, choice: str | int) -> bool:
    """Whether the table has the column that an option names."""
    return str(choice).lower() in {column.lower() for column in table.columns} or (
        str(choice).isdigit() and int(choice) < len(table.columns)
    )


def set_aside(split: str, origin: str, rows: int) -> str:
    """Return the note on a held-out split without labels."""
    return (
        f"{split}: no labels in {counted(rows, 'row')} of {origin}, set aside; `ftr predict "
        f"RUN FILE` labels them. Others: `dataset.{split}=FILE`"
    )


def column_index(choice: str | int, table: Table) -> int | None:
    """Return the column that is named, in any case, or numbered from 0; None: there is none."""
    if str(choice) in table.columns:
        return table.columns.index(str(choice))
    folded = [column.lower() for column in table.columns]
    if folded.count(str(choice).lower()) == 1:
        return folded.index(str(choice).lower())
    if str(choice).isdigit() and int(choice) < len(table.columns):
        return int(choice)
    return None


def _given(name: str, choice: str | int, table: Table, source: str) -> int:
    index = column_index(choice, table)
    if index is not None:
        return index
    parts = str(choice).split(",")
    several = ""
    if len(parts) > 1 and all(column_index(part.strip(), table) is not None for part in parts):
        several = f" For several columns of 0/1 write `dataset.{name}=[{choice}]`."
    raise DataError(
        f"`dataset.{name}={choice}`: {source} has no such column.{several} "
        f"{listed_columns(table, choice)}"
    )


def _by_name(column: Column, table: Table, found: dict[str, int], source: str) -> None:
    free = {
        index: name.lower()
        for index, name in enumerate(table.columns)
        if index not in found.values()
    }
    for names in ((column.name,), column.aliases):
        known = {name.lower() for name in names}
        matches = [index for index, name in free.items() if name in known]
        if len(matches) == 1:
            found[column.name] = matches[0]
            return
        if matches and column.required:
            several = " and ".join(f"`{table.columns[index]}`" for index in matches)
            raise DataError(
                f"{source} has several columns that may be `{column.name}`: {several}. Choose with "
                f"`dataset.{column.name}=...`"
            )


def _by_content(missing: Sequence[Column], table: Table, found: dict[str, int]) -> None:
    """Tell a text from a label by content if only they are left: labels have few short values.

    If only a text is missing, the one column that looks like texts is taken.
    """
    free = [index for index in range(len(table.columns)) if index not in found.values()]
    if [column.type for column in missing] == ["text"] and len(free) > 1:
        likely = [
            index for index in free if are_texts([row[index] for row in table.records[:_SAMPLE]])
        ]
        if len(likely) == 1 and not found.keys() & _PARTS:
            found[missing[0].name] = likely[0]
    if len(free) != len(missing) or not {column.type for column in missing} <= {"text", "label"}:
        return
    labels = [
        index for index in free if few_values([record[index] for record in table.records[:_SAMPLE]])
    ]
    texts = [index for index in free if index not in labels]
    for kind, indices in (("label", labels), ("text", texts)):
        wanted = [column for column in missing if column.type == kind]
        if len(wanted) == len(indices) == 1:
            found[wanted[0].name] = indices[0]


def not_found(column: Column, table: Table, source: str) -> str:
    """Return that a table lacks a column, with the columns it has and what may help."""
    known = ", ".join(f"`{name}`" for name in (column.name, *column.aliases))
    hint = ""
    if not table.header:
        hint += (
            " (the first row was taken for data; if it is the header give `dataset.header=true`)"
        )
    if table.guessed_header:
        hint += (
            " (the first row was taken for the header: if it is data, give `dataset.header=false`)"
        )
    if len(table.columns) == 1 and hint:
        hint += " (cells are divided by `dataset.delimiter=`: a character, `tab` or `space`)"
    return (
        f"{source} has no column `{column.name}` (looked for {known}). "
        f"{listed_columns(table)}{hint}. "
        f"Name it with `dataset.{column.name}=...`"
    )


def check_names(names: Sequence[str], source: str) -> None:
    """Raise `DataError` for a name that two columns have."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{source} has two columns `{shown(twice)}`: rename one of them")


def check_choices(given: Mapping[str, str | int], table: Table, source: str) -> None:
    """Raise `DataError` for an option that names a column that the table does not have."""
    for name, choice in given.items():
        if not (name == ID.name and str(choice).lower() == "none"):
            _given(name, choice, table, source)


def listed_columns(table: Table, wanted: str | int = "") -> str:
    """Return the columns of a table, for a message, the one like `wanted` first."""
    if table.header:
        return f"{did_you_mean(str(wanted), table.columns)} Its columns: ".lstrip() + _ticks(
            table.columns
        )
    first = [str(cell)[:30] for cell in table.records[0]] if table.records else []
    return (
        f"It has {len(table.columns)} columns without names, numbered from 0; the first row holds "
        + _ticks(first)
    )


def _ticks(names: Iterable[str]) -> str:
    several = [f"`{shown(name)}`" for name in names]
    more = f", and {len(several) - _SHOWN} more" if len(several) > _SHOWN else ""
    return ", ".join(several[:_SHOWN]) + more


Checked = tuple[object, str | None]
"""A cell as its column's type wants it, and why it cannot be used, or None."""


def check_cell(value: object, column: Column, row: Mapping[str, object]) -> Checked:
    """Return a cell as its column's type wants it; `row` has the other cells."""
    value = blank_as_none(value)
    if column.type == "answers":
        return answers.check_answers(value, row)
    if column.type == "value":
        return value, None
    if column.type in ("tokens", "labels"):
        return _list(value, column)
    if value is None:
        needed = column.required or column.type in ("label", "number")
        return "", f"empty {column.name}" if needed else None
    if column.type == "number":
        return _number(value, column)
    if column.type == "label":
        return _label(value, column)
    if isinstance(value, (list, dict, bool)):
        return "", f"{column.name} is not a text"
    return str(value), None


def _label(value: object, column: Column) -> Checked:
    """Return a class, or the one in a list of one class or in a mapping of classes to shares."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        parsed = parse_list(value)
        value = parsed if parsed is not None and len(parsed) == 1 else value
    if (
        isinstance(value, dict)
        and value
        and all(isinstance(share, (bool, int, float, type(None))) for share in value.values())
    ):
        value = [name for name, share in value.items() if share is not None and share > 0.5]
    if isinstance(value, (list, tuple)):
        if len(value) > 1:
            return "", f"{column.name} is a list of several classes"
        value = blank_as_none(value[0]) if value else None
        if value is None:
            return "", f"empty {column.name}"
    if isinstance(value, (list, dict)):
        return "", f"{column.name} is not a class"
    return value.strip() if isinstance(value, str) else value, None


def _list(value: object, column: Column) -> Checked:
    items = _split(value, column.separator) if isinstance(value, str) else value
    items = [] if items is None else list(items) if isinstance(items, tuple) else items
    if not isinstance(items, list) or any(isinstance(item, (list, dict)) for item in items):
        what = "texts" if column.type == "tokens" else "classes"
        return [], f"{column.name} is not a list of {what}"
    found = [blank_as_none(item) for item in items]
    if None in found:
        return [], f"{column.name} has an empty item"
    if not found and (column.required or column.type == "tokens"):
        return [], f"empty {column.name}"
    if column.type == "tokens":
        return [str(item) for item in found], None
    return [item.strip() if isinstance(item, str) else item for item in found], None


def _split(cell: str, separator: str) -> object:
    """Return the items of a flat cell: of a JSON or Python list, else what is between
    separators.
    """
    found = parse_list(cell)
    if found is not None:
        return found
    return cell.split() if separator == " " else [item.strip() for item in cell.split(separator)]


def _number(value: object, column: Column) -> Checked:
    number = math.nan
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            number = float(str(value))
        except ValueError:
            number = math.nan
    if not math.isfinite(number):
        return 0.0, f"{column.name} is not a finite number"
    return number, None


def _as_utf8(value: object) -> object:
    """Return a cell with its bytes as text. Raises `UnicodeError` for text that is not UTF-8."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict):
        return {_as_utf8(key): _as_utf8(item) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        return [_as_utf8(item) for item in value]
    return value


def _broken(error: UnicodeError) -> str:
    # `surrogateescape` decodes a single byte that is not UTF-8 to one of these characters.
    escaped = range(0xDC80, 0xDD00)
    byte = not isinstance(error, UnicodeEncodeError) or ord(error.object[error.start]) in escaped
    return "a broken byte" if byte else "half a surrogate pair"


def check_row(
    raw: Mapping[str, object], schema: RowSchema, made_id: str, *, labelled: bool = True
) -> tuple[Row, str | None]:
    """Return the row with its cells as the schema's types, and why it cannot be used, or None.

    Without `labelled` the cells that are to be learned are left out.
    """
    ignored = () if labelled else {column.name for column in schema.columns if column.target}
    cells: Row = {}
    cause: str | None = None
    for name, cell in raw.items():
        if name in ignored:
            continue
        if isinstance(cell, str) and cell.isascii():
            cells[name] = cell
            continue
        try:
            cells[name] = _as_utf8(cell)
        except UnicodeError as error:
            cause = cause or f"{name} is not UTF-8 text: it has {_broken(error)}"
    given = blank_as_none(cells.get(ID.name))
    row: Row = {ID.name: made_id if given is None else str(given)}
    for column in schema.columns:
        if cause:
            break
        if column.name in cells:
            value, cause = check_cell(cells[column.name], column, cells)
            if cause is None:
                row[column.name] = value
    return row, cause or _unequal(row, schema)


def _unequal(row: Row, schema: RowSchema) -> str | None:
    """Return that a row has another number of tokens than of their labels, or None."""
    if not any(column.type == "tokens" for column in schema.columns):
        return None
    lists = [
        (len(cell), column.name)
        for column in schema.columns
        if column.type in ("tokens", "labels") and isinstance(cell := row.get(column.name), list)
    ]
    if len(lists) != 2:
        return None
    (first, one), (second, other) = lists
    return None if first == second else f"{one} has {first} items, {other} has {second}"


class _PlainRows:
    """Checks rows as `check_row` does, at a third of its time, if all their cells are plain: texts
    and classes that need no change but for blanks around a class.
    """

    def __init__(self, schema: RowSchema) -> None:
        self._kinds = {column.name: column.type for column in schema.columns}
        self._none = bool(set(self._kinds.values()) - {"text", "label"})

    def row(self, raw: Mapping[str, object], made_id: str) -> Row | None:
        """Return the row as it is used, or None: `check_row` has to tell."""
        if self._none:
            return None
        row: Row = {ID.name: made_id}
        given = raw.get(ID.name)
        if given is not None:
            if not _is_plain(given):
                return None
            row[ID.name] = given
        for name, kind in self._kinds.items():
            if name not in raw:
                continue
            cell = raw[name]
            if kind == "text":
                if not _is_plain(cell):
                    return None
            elif type(cell) is not int:
                if not _is_plain(cell):
                    return None
                cell = cell.strip()
                if cell[0] == "[":
                    return None
            row[name] = cell
        return row if len(row) - 1 == len(raw) - (ID.name in raw) else None


def _is_plain(cell: object) -> TypeGuard[str]:
    """Whether a cell is a text in ASCII that is not blank."""
    return type(cell) is str and cell.isascii() and not cell.isspace() and cell != ""


class _Seen:
    """The ids of the rows so far, of those that may come twice: by their hashes, 8 bytes a row."""

    def __init__(self, rows: Rows, split: str) -> None:
        import numpy as np

        self._ids: set[object] = set()
        self._several: set[int] = set()
        if all(cell is None for cell in rows.column(ID.name)):
            return
        given = enumerate(rows.column(ID.name), start=1)
        ids = (hash(_given_id(cell) or f"{split}-{number}") for number, cell in given)
        found = np.fromiter(ids, dtype=np.int64, count=len(rows))
        found.sort()
        self._several |= set(found[1:][found[1:] == found[:-1]].tolist())

    def __contains__(self, name: object) -> bool:
        return name in self._ids

    def add(self, name: object) -> None:
        """Add the id of a row."""
        if hash(name) in self._several:
            self._ids.add(name)


def _given_id(cell: object) -> str | None:
    """Return an id as `check_row` does; None: the row gets one."""
    if type(cell) is not str:
        try:
            cell = _as_utf8(cell)
        except UnicodeError:  # the row is rejected
            return None
    given = blank_as_none(cell)
    return None if given is None else str(given)


def check_rows(rows: Rows, split: str, head: Head) -> tuple[Rows, list[Rejected]]:
    """Return the usable rows, and the others with their causes.

    Rows without an id get `<split>-<n>`, n from 1.
    """
    rejected: list[Rejected] = []
    plain, seen = _PlainRows(head.schema), _Seen(rows, split)

    def usable() -> Iterator[tuple[Row, str]]:
        for number, (raw, place) in enumerate(rows.placed(), start=1):
            made_id, cause = f"{split}-{number}", None
            row = plain.row(raw, made_id)
            if row is None:
                row, cause = check_row(raw, head.schema, made_id)
            cause = cause or ("duplicate id" if row[ID.name] in seen else head.check(row))
            if cause:
                rejected.append(Rejected(place, split, cause, raw))
            else:
                seen.add(row[ID.name])
                yield row, place

    return Rows.of(usable()), rejected


_FIXES = {
    "wrong number of cells": "set `dataset.delimiter=`, or `dataset.quoting=none`",
    "empty ": "`dataset.{}=COLUMN` names another column",
    "duplicate id": "`dataset.id=none` numbers the rows",
    " is not UTF-8 text": "`dataset.encoding=` names the encoding of a text file",
    ", not 0 or 1": "`dataset.labels=[…]` names other columns",
    "label not in train": "`dataset.label=COLUMN` names another column",
    "list of several classes": MULTI_LABEL,
    **answers.FIXES,
}
"""Part of a cause of rejection -> the option that helps if the rows are right."""


def check_share(
    rejected: Sequence[Rejected], read: int, limit: float, origin: str, detail: str = ""
) -> None:
    """Raise `RejectedRowsError` when more than `limit` of the `read` rows of a file were rejected,
    or all of them.

    It names the three commonest causes, each with its first place and the option that helps;
    `detail` is added to it.
    """
    if not rejected or (len(rejected) <= limit * read and len(rejected) < read):
        return
    causes = Counter(item.cause for item in rejected).most_common()
    listed = []
    for cause, count in causes[:3]:
        first = next(item.place for item in rejected if item.cause == cause)
        fix = next((fix for part, fix in _FIXES.items() if part in cause), None)
        way = f" ({fix.format(cause.removeprefix('empty '))})" if fix else ""
        listed.append(f"{cause}: {count}, first `{first}`{way}")
    more = f"; and {len(causes) - 3} more" if len(causes) > 3 else ""
    raise RejectedRowsError(
        f"`{origin}`: {len(rejected)} of {read} rows cannot be used, more than "
        f"`data.max_invalid={limit:g}` allows ({'; '.join(listed)}{more}). "
        f"{detail}{'. ' if detail else ''}Correct the rows, or allow more with "
        "`data.max_invalid=`",
        rejected,
    )
