"""Match the columns of a file to the columns of the schema: by option, by name, or by a printed
guess.
"""

from collections.abc import Iterable, Mapping, Sequence

from ftr.data.labels import shown
from ftr.data.rows import Row, Table
from ftr.data.tables import few_values
from ftr.errors import DataError
from ftr.registry.schema import Column, RowSchema

ID = Column(
    name="id",
    type="value",
    aliases=("textid", "text_id", "question_id", "qid", "guid", "uid", "idx"),
    required=False,
)
START = Column(
    name="answer_start",
    type="value",
    aliases=(
        "answer_offset",
        "start_char",
        "answers.answer_start",
        "answer.answer_start",
        "answers_answer_start",
        "answer_starts",
    ),
    required=False,
)
IMPOSSIBLE = Column(name="is_impossible", type="value", required=False)

_SAMPLE = 1000
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
    """Return canonical name -> index of the file's column, and add what was guessed to the table's
    notes.

    Without `labelled` the columns that are to be learned may be absent. `like` has the names of the
    columns in a file of another split, which come before other names. Raises `DataError` that lists
    the file's columns and the option to give.
    """
    columns = _wanted(schema)
    found = {
        name: _given(name, choice, table, source)
        for name, choice in given.items()
        if not _is_none(name, choice)
    }
    for name, other in (like or {}).items():
        if (
            name not in found
            and table.columns.count(other) == 1
            and table.columns.index(other) not in found.values()
        ):
            found[name] = table.columns.index(other)
    for column in columns:
        if column.name not in found and not _is_none(column.name, given.get(column.name)):
            _by_name(column, table, found, source)
    missing = [
        column
        for column in columns
        if column.name not in found and is_needed(column, labelled=labelled)
    ]
    if missing:
        _by_content(missing, table, found)
    missing = [column for column in missing if column.name not in found]
    if missing:
        raise DataError(_not_found(missing[0], table, source))
    found = {column.name: found[column.name] for column in columns if column.name in found}
    guessed = [
        f"{name}=`{table.columns[index]}`"
        for name, index in found.items()
        if name not in given and not _same(name, table, index)
    ]
    if guessed:
        names = ", ".join(
            f"`dataset.{name}=`" for name in dict.fromkeys(one.partition("=")[0] for one in guessed)
        )
        table.notes.append(f"{source}: columns guessed: {', '.join(guessed)} (others: {names})")
    return found


def rename(table: Table, mapping: Mapping[str, int]) -> list[Row]:
    """Return the table's records as rows under canonical names."""
    items = list(mapping.items())
    return [{name: record[index] for name, index in items} for record in table.records]


def is_needed(column: Column, *, labelled: bool) -> bool:
    """Whether every row must have the column."""
    return column.required and (labelled or not column.target)


def _wanted(schema: RowSchema) -> list[Column]:
    beside = (
        [START, IMPOSSIBLE] if any(column.type == "answers" for column in schema.columns) else []
    )
    return [*schema.columns, *beside, ID]


def _is_none(name: str, choice: str | int | None) -> bool:
    return name == ID.name and isinstance(choice, str) and choice.lower() == "none"


def _same(name: str, table: Table, index: int) -> bool:
    return table.columns[index].lower() == name


def _given(name: str, choice: str | int, table: Table, source: str) -> int:
    if str(choice) in table.columns:
        return table.columns.index(str(choice))
    folded = [column.lower() for column in table.columns]
    if folded.count(str(choice).lower()) == 1:
        return folded.index(str(choice).lower())
    if str(choice).isdigit() and int(choice) < len(table.columns):
        return int(choice)
    raise DataError(f"`dataset.{name}={choice}`: {source} has no such column. {_listed(table)}")


def _by_name(column: Column, table: Table, found: dict[str, int], source: str) -> None:
    free = {
        index: name.lower()
        for index, name in enumerate(table.columns)
        if index not in found.values()
    }
    for names in ((column.name,), column.aliases):
        matches = [
            index for index, name in free.items() if name in {alias.lower() for alias in names}
        ]
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
    """Tell a text from a label where just those columns are left: the label has few short
    values.
    """
    free = [index for index in range(len(table.columns)) if index not in found.values()]
    if len(free) != len(missing) or not {column.type for column in missing} <= {"text", "label"}:
        return
    labels = [index for index in free if few_values(_sample(table, index))]
    texts = [index for index in free if index not in labels]
    for kind, indices in (("label", labels), ("text", texts)):
        wanted = [column for column in missing if column.type == kind]
        if len(wanted) == len(indices) == 1:
            found[wanted[0].name] = indices[0]


def _sample(table: Table, index: int) -> list[object]:
    return [record[index] for record in table.records[:_SAMPLE]]


def _not_found(column: Column, table: Table, source: str) -> str:
    known = ", ".join(f"`{name}`" for name in (column.name, *column.aliases))
    hint = (
        ""
        if table.header
        else " (the first row was taken for data; if it is the header give `dataset.header=true`)"
    )
    if table.guessed_header:
        hint += (
            " (the first row was taken for the header: if it is data, give `dataset.header=false`)"
        )
    if len(table.columns) == 1 and (table.guessed_header or not table.header):
        hint += " (cells are divided by `dataset.delimiter=`: a character, `tab` or `space`)"
    return (
        f"{source} has no column `{column.name}` (looked for {known}). {_listed(table)}{hint}. "
        f"Name it with `dataset.{column.name}=...`"
    )


def _listed(table: Table) -> str:
    if table.header:
        return "Its columns: " + _ticks(table.columns)
    first = [str(cell)[:30] for cell in table.records[0]] if table.records else []
    return (
        f"It has {len(table.columns)} columns without names, numbered from 0; the first row holds "
        + _ticks(first)
    )


def set_aside(split: str, origin: str, rows: int) -> str:
    """Return the note on a held-out split without labels."""
    return (
        f"{split}: the {rows} rows of {origin} have no labels, so they are set aside; `ftr predict "
        f"RUN FILE` labels them. Others: `dataset.{split}=FILE`"
    )


def has_column(table: Table, choice: str | int) -> bool:
    """Whether the table has the column that an option names."""
    return str(choice).lower() in {column.lower() for column in table.columns} or (
        str(choice).isdigit() and int(choice) < len(table.columns)
    )


def _ticks(names: Iterable[str]) -> str:
    several = [f"`{shown(name)}`" for name in names]
    more = f", and {len(several) - _SHOWN} more" if len(several) > _SHOWN else ""
    return ", ".join(several[:_SHOWN]) + more
