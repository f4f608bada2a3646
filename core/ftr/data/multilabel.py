"""Sets of labels: from several columns of 0/1, or from a list in each cell of one column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from ftr.config.components import flag_choices
from ftr.data.columns import ID, check_names, column_index, listed_columns, not_found
from ftr.data.labels import label_key, shown
from ftr.data.rows import Table, blank_as_none
from ftr.data.squad import parse_list
from ftr.data.tables import reject
from ftr.data.text_files import MAPPING
from ftr.errors import DataError

if TYPE_CHECKING:
    from ftr.config.schema import FileOptions, HubOptions
    from ftr.registry.schema import Column, RowSchema

_FLAGS = {"0": False, "1": True, "false": False, "true": True}
_SEPARATORS = ("|", ";", "\t", ",")
_WORDS = {"\t": "tab", " ": "space", "": "none"}
_OTHERS = 0.1
"""Share of the cells of a column of 0/1 that may hold something else: such rows are rejected."""
_FIRST = 100
IDS = re.compile(r"(.*[_ ])?(q|u|g|t|p|doc|user|item|text)?id[12]?|index|unnamed: 0|")
"""Names, in lower case, of columns that tell rows apart."""
_SHOWN = 12


def set_column(schema: RowSchema) -> Column | None:
    """Return the column that holds a set of labels; beside `tokens` it holds one for each token."""
    if any(column.type == "tokens" for column in schema.columns):
        return None
    return next((column for column in schema.columns if column.type == "labels"), None)


def flag(value: object) -> bool | None:
    """Return whether a cell is 1 or true, in any spelling; None: it is neither 0 nor 1."""
    if isinstance(value, (list, dict)) or value is None:
        return None
    return _flag_of(str(value))


@lru_cache(maxsize=4096)
def _flag_of(text: str) -> bool | None:
    return _FLAGS.get(label_key(text))


def is_flag_column(cells: Sequence[object], *, strict: bool = False) -> bool:
    """Whether nearly all cells are 0 or 1 (one may differ, or a tenth); `strict`: all are."""
    first = cells[:_FIRST]
    if sum(flag(cell) is not None for cell in first) * 2 < len(first):
        return False
    if any(isinstance(cell, (list, dict)) for cell in cells):
        return False
    counts = Counter(cells)
    others = sum(count for value, count in counts.items() if flag(value) is None)
    if any(_is_count(value) for value in counts):
        return False
    allowed = 0 if strict else max(1, int(_OTHERS * len(cells)))
    return others <= allowed and others * 2 <= len(cells) - others


def _is_count(value: object) -> bool:
    """Whether a cell is a whole number from 3 up: a column that has one counts something."""
    if value is None or not (key := label_key(value)).isdecimal():
        return False
    digits = key.lstrip("0")  # Python refuses to read thousands of them
    return len(digits) > 1 or int(digits or 0) > 2


def flag_columns(table: Table, schema: RowSchema) -> list[int]:
    """Return the columns of 0/1 that no other column of the schema has the name of."""
    names = {
        name.lower()
        for column in (*schema.columns, ID)
        if column.type != "labels"
        for name in (column.name, *column.aliases)
    }
    free = [
        index
        for index, name in enumerate(table.columns)
        if name.lower() not in names and not IDS.fullmatch(name.lower())
    ]
    if not table.records:
        return []
    return [index for index in free if is_flag_column([record[index] for record in table.records])]


class LabelSets:
    """Reads the sets of labels of a dataset; files of other splits are read as those of train.

    `classes` are those of a trained model, whose labels the files have.
    """

    def __init__(
        self,
        schema: RowSchema,
        options: FileOptions | HubOptions | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self.schema, self.classes = schema, classes
        self.column = set_column(schema)
        self.asked = flag_choices(options, schema) if options else []
        chosen = None if self.column is None else getattr(options, self.column.name, None)
        self.named = chosen is not None and not self.asked
        self.columns: list[str] = []
        """The columns of 0/1 of the training file."""
        separator: str | None = getattr(options, "separator", None)
        self.given = "" if separator == "none" else separator
        self.separator = self.given
        if self.given is None and self.column is not None and self.column.separator != " ":
            self.separator = self.column.separator

    def join(self, table: Table, split: str, source: str) -> bool:
        """Replace columns of 0/1 by one of lists of their names; reject rows with other cells.

        Returns False for a held-out split without labels: it lacks the columns of train, or has -1
        or nothing in all of them. Raises `DataError` for columns that are not there, and for rows
        to score that have no labels.
        """
        if self.column is None or self.named:
            return True
        labelled = self._join(table, self.column, split, source)
        if not labelled and split == "train":
            raise DataError(
                f"{source} has no labels to score: no column of the labels, or only -1 and nothing "
                f"in them. Name it with `dataset.{self.column.name}=...`; `ftr predict RUN FILE` "
                "labels the rows"
            )
        return labelled

    def _join(self, table: Table, column: Column, split: str, source: str) -> bool:
        held_out = split != "train" or bool(self.classes)
        indices = self._indices(table, column, source, held_out=held_out)
        if not indices:
            return indices is not None
        names = [table.columns[index] for index in indices]
        check_names(names, source)
        unlabelled = (
            [n for n, row in enumerate(table.records) if _is_unlabelled([row[i] for i in indices])]
            if held_out
            else []
        )
        if table.records and len(unlabelled) == len(table.records):
            return False
        if unlabelled:
            table.notes.append(
                f"{split}: {len(unlabelled)} of {len(table.records)} rows of {source} have -1 or "
                f"nothing in all columns of labels, so they are set aside"
            )
            self._remove(table, unlabelled)
        _merge(table, indices, names, column.name, split)
        self.columns = self.columns or names
        return True

    def _indices(
        self, table: Table, column: Column, source: str, *, held_out: bool
    ) -> list[int] | None:
        """Return the columns of 0/1; none: labels are in one column; None: there are no labels."""
        wanted: Sequence[str | int] = self.columns or self.asked
        by_name = {name.lower() for name in (column.name, *column.aliases)}
        has_own = any(name.lower() in by_name for name in table.columns)
        present = [name for name in self.classes if name in table.columns]
        if not wanted and not has_own and len(present) * 2 > len(self.classes):
            wanted = self.classes
        if wanted:
            found = [column_index(choice, table) for choice in wanted]
            if held_out and all(index is None for index in found):
                return [] if has_own else None
            missing = next((c for c, i in zip(wanted, found, strict=True) if i is None), None)
            if missing is not None:
                why = f"`dataset.{column.name}` names it"
                if self.columns or not self.asked:
                    why = "train has it" if self.columns else "it is a class of the model"
                raise DataError(
                    f"{source} has no column `{missing}` of 0/1, but {why}. "
                    f"{listed_columns(table, missing)}"
                )
            return [index for index in found if index is not None]
        if has_own or not table.header or (held_out and not self.classes):
            return []
        # Rows to score without a label column would count as rows to which no label applies.
        return self._recognised(table, column, source) or (None if self.classes else [])

    def _recognised(self, table: Table, column: Column, source: str) -> list[int]:
        found = flag_columns(table, self.schema)
        if len(found) < 2:
            return []
        names = [f"`{shown(table.columns[index])}`" for index in found]
        more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        table.notes.append(
            f"{source}: {column.name} from {len(found)} columns of 0/1: "
            f"{', '.join(names[:_SHOWN])}{more} (others: `dataset.{column.name}=[…]`)"
        )
        return found

    def require(self, table: Table, mapping: Mapping[str, int], source: str) -> None:
        """Raise `DataError` where training rows have no column of sets, which a schema may call
        optional because a set may be empty.
        """
        if self.column is not None and self.column.name not in mapping:
            raise DataError(
                f"{not_found(self.column, table, source)}; several columns of 0/1 with "
                f"`dataset.{self.column.name}=[…]`"
            )

    def _remove(self, table: Table, numbers: Sequence[int]) -> None:
        left_out = set(numbers)
        kept = [number for number in range(len(table.records)) if number not in left_out]
        table.records = [table.records[number] for number in kept]
        table.places = [table.places[number] for number in kept]

    def divide(self, table: Table, mapping: dict[str, int], source: str) -> None:
        """Replace the text in cells of lists by the list: JSON, Python, or divided at the
        separator, which the cells of the first file tell.

        Texts of tokens, and of the label of each, are left to the check of rows, which divides them
        at blanks, unless a separator is given.
        """
        names = [column.name for column in self.schema.columns if column.type == "tokens"]
        if self.column is not None:
            names = [self.column.name]
        elif self.given is None:
            return
        else:
            names += [column.name for column in self.schema.columns if column.type == "labels"]
        for name in names:
            if (index := mapping.get(name)) is not None:
                cells = [record[index] for record in table.records]
                if self.separator is None:
                    self._find_separator(name, cells, table, source)
                for record in table.records:
                    if isinstance(cell := record[index], str):
                        record[index] = divided(cell, self.separator or "")
                if self.column is not None:
                    _check_names([record[index] for record in table.records], name, source)

    def _find_separator(
        self, name: str, cells: Sequence[object], table: Table, source: str
    ) -> None:
        """Find the separator, and note it; cells that are all lists tell none."""
        texts = [cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()]
        texts = [text for text in texts if parse_list(text) is None]
        if not texts:
            return
        self.separator = separator_of(texts, self.classes)
        if self.separator:
            word = _WORDS.get(self.separator, self.separator)
            table.notes.append(
                f"{source}: {name} divided at `{word}` (others: `dataset.separator=`, `none`: a "
                "cell is one label)"
            )
        elif any("," in text for text in texts):
            table.notes.append(
                f"{source}: each cell of {name} is one label (otherwise: `dataset.separator=,`)"
            )


def _check_names(cells: Sequence[object], name: str, source: str) -> None:
    """Raise `DataError` for lists of equal length that hold 0 and 1 alone: they name no label."""
    lists = [cell for cell in cells if isinstance(cell, list)]
    items = [item for cell in lists for item in cell]
    lengths = {len(cell) for cell in lists}
    alike = len(lists) > 1 and len(lengths) == 1 and max(lengths) > 1
    if alike and all(flag(item) is not None for item in items):
        raise DataError(
            f"{source}: `{name}` holds a 0 or 1 for each label, such as `{shown(lists[0])}`, "
            "without their names: give a list of the names of the labels that apply, or a column "
            "of 0/1 for each label"
        )


def divided(cell: str, separator: str) -> object:
    """Return the items of a cell: of a JSON or Python list, else what is between separators."""
    found = parse_list(cell)
    if found is not None:
        return found
    text = cell.strip()
    if text.startswith("[") and text.endswith("]") and "," in text:  # a list without quotes
        text, separator = text[1:-1], ","
    if not text or not separator:
        return [text] if text else []
    if separator == " ":
        return text.split()
    return [item.strip() for item in text.removesuffix(separator).split(separator)]


def separator_of(texts: Sequence[str], classes: Sequence[str] = ()) -> str:
    """Return what divides the labels in cells, or "" if each cell is one label.

    Of `|`, `;` and a tab the most frequent one divides. A comma may be part of a label: it divides
    where it is more frequent, and most labels beside one occur in other cells too, or are
    `classes`.
    """
    distinct = set(texts)
    counted = {one: sum(one in text for text in distinct) for one in _SEPARATORS}
    best = max(_SEPARATORS[:-1], key=counted.__getitem__)
    if counted[best] and counted[best] >= counted[","]:
        return best
    distinct = {text for text in distinct if not any(one in text for one in _SEPARATORS[:-1])}
    cells = [{item.strip() for item in text.split(",")} for text in distinct]
    several = [items for items in cells if len(items) > 1]
    counts = Counter(item for items in cells for item in items)
    known = {label_key(name) for name in classes}
    beside = {item for items in several for item in items}
    repeated = [item for item in beside if counts[item] > 1 or label_key(item) in known]
    if beside and len(repeated) > len(beside) / 2:
        return ","
    return best if counted[best] else ""


def check_tags(table: Table, mapping: Mapping[str, int], schema: RowSchema, source: str) -> None:
    """Raise `DataError` where labels of tokens are numbers without names."""
    column = schema.classes
    tokens = any(one.type == "tokens" for one in schema.columns)
    index = mapping.get(column.name) if column is not None and tokens else None
    if column is None or index is None or table.columns[index] in table.classes:
        return
    lists = [record[index] for record in table.records if isinstance(record[index], list)]
    tags = [tag for cell in lists if isinstance(cell, list) for tag in cell]
    if tags and all(isinstance(tag, int) and not isinstance(tag, bool) for tag in tags):
        raise DataError(
            f"{source}: `{table.columns[index]}` holds numbers without names, such as `{tags[0]}`. "
            f"Write the names, or put a file `{MAPPING}` beside it, with a line such as `0<TAB>O` "
            "for each number"
        )


def _is_unlabelled(cells: Sequence[object]) -> bool:
    return all(blank_as_none(cell) is None or label_key(cell) == "-1" for cell in cells)


def _merge(
    table: Table, indices: Sequence[int], names: Sequence[str], name: str, split: str
) -> None:
    """Replace the columns by one called `name`; reject rows with another cell than 0 or 1."""
    old, records, places = table.columns, table.records, table.places
    left_out = {*indices, *(n for n, other in enumerate(old) if other.lower() == name.lower())}
    kept = [index for index in range(len(old)) if index not in left_out]
    table.columns = [*(old[index] for index in kept), name]
    table.records, table.places = [], []
    table.classes = {**table.classes, name: list(names)}
    table.classes_from = "the columns of the file"
    for record, place in zip(records, places, strict=True):
        flags = [flag(record[index]) for index in indices]
        if None in flags:
            number = flags.index(None)
            value = blank_as_none(record[indices[number]])
            cell = "blank" if value is None else f"`{shown(value, 30)}`"
            cause = f"`{shown(names[number])}` is {cell}, not 0 or 1"
            reject(table, place, split, cause, dict(zip(old, record, strict=True)))
            continue
        labels = [label for label, applies in zip(names, flags, strict=True) if applies]
        table.records.append([*(record[index] for index in kept), labels])
        table.places.append(place)
