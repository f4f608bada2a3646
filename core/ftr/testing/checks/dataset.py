"""Checks of a dataset."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from ftr.data.rows import SPLITS, Loaded
from ftr.errors import FtrError
from ftr.testing.contract import Conformance, broken, require
from ftr.testing.subjects import DatasetSubject
from ftr.testing.subjects.elsewhere import hashes, hashes_elsewhere

LEAKED = 0.05
"""Share of the held-out rows that may be training rows as well: public data have some."""
STEADY = (
    "let {} read files in sorted order, keep sets out of it, and shuffle with a generator of its "
    "own, `random.Random(0)`, if at all"
)


class DatasetChecks(Conformance):
    """What must hold of the splits that a dataset gives."""

    def test_its_splits_have_the_names_ftr_knows(self, ftr_dataset: DatasetSubject) -> None:
        found = list(ftr_dataset.splits)
        odd = [name for name in found if name not in SPLITS]
        require(
            "train" in found and not odd,
            f"{ftr_dataset} gives `train`, and `validation` and `test` where it has them",
            f"it gave {_listed(found)}",
            f"rename the splits that {ftr_dataset.reader} returns; those that are missing are made "
            "from `train`",
        )

    def test_no_split_is_empty(self, ftr_dataset: DatasetSubject) -> None:
        empty = [name for name, rows in ftr_dataset.splits.items() if not len(rows)]
        require(
            not empty,
            f"every split of {ftr_dataset} has rows",
            f"{_listed(empty)} has none",
            f"let {ftr_dataset.reader} leave a split out rather than return it empty",
        )

    def test_its_columns_are_those_declared(self, ftr_dataset: DatasetSubject) -> None:
        declared = ftr_dataset.columns
        if not declared:
            pytest.skip("its spec declares no columns")
        promise = (
            f"`columns` in the spec of {ftr_dataset} are the columns of its splits (`id` may be "
            "missing from rows)"
        )
        for name, rows in ftr_dataset.splits.items():
            found = rows.column_names
            undeclared = [column for column in found if column not in declared]
            missing = [column for column in declared if column not in found and column != "id"]
            if undeclared or missing:
                parts = [f"{name} has {_listed(undeclared)}, not declared"] if undeclared else []
                parts += [f"{name} lacks {_listed(missing)}"] if missing else []
                broken(
                    promise,
                    f"{' and '.join(parts)}; declared are {_listed(declared)}",
                    "set `columns` of the spec to what the rows have, or let "
                    f"{ftr_dataset.reader} drop and rename columns",
                )

    def test_its_ids_are_unique(self, ftr_dataset: DatasetSubject) -> None:
        for name, rows in ftr_dataset.splits.items():
            if "id" not in rows.column_names:
                continue
            (first, count), *_ = Counter(rows["id"]).most_common(1)
            require(
                count == 1 and None not in rows["id"],
                f"no two rows of a split of {ftr_dataset} have one id",
                f"{name} has the id {first!r} {count} times"
                if count > 1
                else f"{name} has rows without an id",
                f"let {ftr_dataset.reader} number the rows, or leave the column `id` out: ftr then "
                "numbers them",
            )

    def test_its_rows_are_the_same_each_time(self, ftr_dataset: DatasetSubject) -> None:
        _ = ftr_dataset.splits
        with _other_random_numbers(1):
            first = _plain(ftr_dataset.load())
        with _other_random_numbers(2):
            second = _plain(ftr_dataset.load())
        _same_rows(ftr_dataset, first, second, "two loads in one process")

    def test_its_rows_are_the_same_in_another_process(self, ftr_dataset: DatasetSubject) -> None:
        here = hashes(ftr_dataset.splits)
        there = hashes_elsewhere(ftr_dataset)
        differ = [name for name in {**here, **there} if here.get(name) != there.get(name)]
        require(
            not differ,
            f"{ftr_dataset} gives the same rows in the same order in every process: a resumed run "
            "loads it anew",
            f"the rows of {_listed(differ)} are others in another process",
            STEADY.format(ftr_dataset.reader),
        )

    def test_no_held_out_row_is_a_training_row(self, ftr_dataset: DatasetSubject) -> None:
        rows = {
            name: [_content(row) for row in ftr_dataset.rows(name)] for name in ftr_dataset.splits
        }
        known = set(rows.get("train", []))
        for name, contents in rows.items():
            both = sum(content in known for content in contents)
            require(
                name == "train" or both <= LEAKED * len(contents),
                f"the held-out rows of {ftr_dataset} are not those it is trained on",
                f"{both} of {len(contents)} rows of {name} are in train too",
                f"let {ftr_dataset.reader} divide the rows before it copies or augments them",
            )

    def test_every_row_can_be_used(self, ftr_dataset: DatasetSubject) -> None:
        from ftr.data.columns import check_rows
        from ftr.data.read import from_splits

        head = ftr_dataset.head
        if head is None:
            _no_cell_is_empty(ftr_dataset)
            return
        promise = f"every row of {ftr_dataset} can be used by the head"
        change = (
            f"let {ftr_dataset.reader} leave such rows out, or mend them; `columns` of the head "
            "say what they hold"
        )
        try:
            loaded: Loaded = from_splits(ftr_dataset.splits, head.schema, {}, str(ftr_dataset))
        except FtrError as error:
            broken(promise, str(error), change)
        for split, rows in loaded.splits.items():
            size = len(rows)
            _, rejected = check_rows(rows, split, head)
            causes = ", ".join(
                f"{cause}: {count}"
                for cause, count in Counter(item.cause for item in rejected).most_common()
            )
            first = rejected[0].place if rejected else ""
            require(
                not rejected,
                promise,
                f"{len(rejected)} of {size} rows of {split} cannot ({causes}), the first is "
                f"`{first}`",
                change,
            )


def _no_cell_is_empty(subject: DatasetSubject) -> None:
    for split in subject.splits:
        for number, row in enumerate(subject.rows(split)):
            empty = [
                name
                for name in subject.columns or row
                if name != "id" and row.get(name) in (None, "")
            ]
            require(
                not empty,
                f"every column of {subject} has a value in every row",
                f"{split}[{number}] has an empty {_listed(empty)}",
                f"let {subject.reader} leave such rows out; where they are meant, set `head` in "
                "this class, and the head decides",
            )


def _same_rows(
    subject: DatasetSubject,
    first: Mapping[str, list[Any]],
    second: Mapping[str, list[Any]],
    between: str,
) -> None:
    promise = (
        f"{subject} gives the same rows in the same order each time: runs are compared, resumed "
        "and cached by them"
    )
    require(
        list(first) == list(second),
        promise,
        f"{_listed(first)} and then {_listed(second)}",
        f"let {subject.reader} return the same splits each time",
    )
    for name, rows in first.items():
        others = second[name]
        if rows != others:
            number = next(
                (
                    number
                    for number, pair in enumerate(zip(rows, others, strict=False))
                    if pair[0] != pair[1]
                ),
                min(len(rows), len(others)),
            )
            shown = [
                repr(given[number])[:80] if number < len(given) else "no row"
                for given in (rows, others)
            ]
            broken(
                promise,
                f"{name}[{number}] differs between {between}: {shown[0]}, then {shown[1]}",
                STEADY.format(subject.reader),
            )


@contextmanager
def _other_random_numbers(seed: int) -> Iterator[None]:
    """Seed the generators that are shared by all code; what was before is put back."""
    import numpy as np

    state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)


def _plain(splits: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: list(rows.with_format(None)) for name, rows in splits.items()}


def _content(row: Mapping[str, Any]) -> str:
    return json.dumps(
        {key: value for key, value in row.items() if key != "id"}, sort_keys=True, default=str
    )


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)
