"""Checks of how a head reads and encodes rows."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ftr.errors import FtrError
from ftr.registry.protocols import EncodeSettings
from ftr.registry.schema import RowSchema
from ftr.testing.contract import Conformance, broken, must_work, require
from ftr.testing.subjects import HeadSubject
from ftr.testing.subjects.head import SHARED
from ftr.testing.subjects.rows import NO_COLUMNS


class EncodingChecks(Conformance):
    """What must hold of `schema`, `check` and `encode`."""

    def test_its_schema_names_its_columns(self, ftr_head: HeadSubject) -> None:
        promise = f"`schema` of {ftr_head} is an `ftr.plugin.RowSchema` of the columns it reads"
        with must_work(promise, NO_COLUMNS):
            schema = ftr_head.head.schema
        if not isinstance(schema, RowSchema):
            broken(
                promise,
                f"a `{type(schema).__name__}`",
                "set `schema = RowSchema(columns=(Column(name=...), ...))`",
            )
        names = [column.name for column in schema.columns]
        odd = [
            name
            for name in (schema.stratify, schema.group)
            if name is not None and name not in names
        ]
        require(
            names and len(set(names)) == len(names) and not odd,
            promise,
            f"columns {', '.join(names) or 'none'}; `stratify` or `group` "
            f"{', '.join(odd) or 'none'} besides",
            "name each column once in `columns`, and only these in `stratify` and `group` of "
            "`schema`",
        )

    def test_a_row_that_lacks_a_column_is_refused_in_words(self, ftr_head: HeadSubject) -> None:
        needed = [
            column
            for column in ftr_head.head.schema.columns
            if column.required and column.type in ("text", "tokens")
        ]
        for column in needed:
            row = {name: value for name, value in ftr_head.rows[0].items() if name != column.name}
            with must_work(
                f"`check` of {ftr_head} takes any row",
                ftr_head.advice("check", "use `row.get(...)`: the column may be missing"),
            ):
                cause = ftr_head.head.check(row)
            require(
                isinstance(cause, str) and cause,
                f"`check` of {ftr_head} says why a row cannot be used: rows to predict pass no "
                "other check",
                f"it returned {cause!r} for a row without `{column.name}`",
                ftr_head.advice("check", f'return a few words, such as "empty {column.name}"'),
            )

    def test_every_row_becomes_features_in_order(self, ftr_head: HeadSubject) -> None:
        for targets in (True, False):
            owners = ftr_head.encode(targets=targets)["row"]
            count = len(ftr_head.rows)
            absent = sorted(set(range(count)) - set(owners))
            require(
                sorted(set(owners)) == list(range(count)) and sorted(owners) == list(owners),
                f"`encode` of {ftr_head} gives every row one feature or more, in the order of the "
                "rows",
                f"row {absent[0]} of {count} has none" if absent else f"`row` is {list(owners)}",
                ftr_head.advice(
                    "encode",
                    "let `row` be the index, into the rows given, of the row that each feature "
                    "came from",
                ),
            )

    def test_encoding_does_not_depend_on_the_batch(self, ftr_head: HeadSubject) -> None:
        promise = (
            f"`encode` of {ftr_head} gives a row the same features whatever rows it is encoded "
            "with: it is called with any number"
        )
        for targets in (True, False):
            together = _by_row(ftr_head.encode(targets=targets))
            backwards = _by_row(ftr_head.encode(list(reversed(ftr_head.rows)), targets=targets))[
                ::-1
            ]
            for number, row in enumerate(ftr_head.rows):
                alone = _by_row(ftr_head.encode([row], targets=targets))[0]
                for other, how in ((alone, "alone"), (backwards[number], "in another order")):
                    differs = _difference(together[number], other)
                    change = (
                        "do not pad in `encode`, and decide nothing by the other rows, or by their "
                        "number"
                    )
                    require(
                        differs is None,
                        promise,
                        f"row {number} encoded {how} differs: {differs}",
                        ftr_head.advice("encode", change),
                    )

    def test_encoding_is_the_same_each_time(self, ftr_head: HeadSubject) -> None:
        first, second = _by_row(ftr_head.encode()), _by_row(ftr_head.encode())
        differs = next(
            (
                text
                for one, two in zip(first, second, strict=True)
                if (text := _difference(one, two))
            ),
            None,
        )
        require(
            differs is None,
            f"`encode` of {ftr_head} gives the same features each time: encoded rows are kept and "
            "used again",
            f"a second call differs: {differs}",
            ftr_head.advice("encode", "draw random numbers in `collate`, if at all"),
        )

    def test_encoding_leaves_the_rows_alone(self, ftr_head: HeadSubject) -> None:
        before = copy.deepcopy(ftr_head.rows)
        columns = {name: [row.get(name) for row in ftr_head.rows] for name in ftr_head.rows[0]}
        kept = copy.deepcopy(columns)
        with must_work(
            f"`encode` of {ftr_head} takes columns of rows",
            ftr_head.advice("encode", "let it take rows that have passed `check`"),
        ):
            ftr_head.head.encode(
                columns, ftr_head.tokenizer, _settings(ftr_head, ftr_head.max_length)
            )
        require(
            columns == kept and ftr_head.rows == before,
            f"`encode` of {ftr_head} does not change the rows it is given: they are decoded and "
            "scored later",
            "the columns that were given are not what they were",
            ftr_head.advice("encode", "copy what is to be changed"),
        )

    def test_no_feature_is_longer_than_asked(self, ftr_head: HeadSubject) -> None:
        longest = max(len(ids) for ids in ftr_head.encode()["input_ids"])
        require(
            longest <= ftr_head.max_length,
            f"no feature of {ftr_head} has more than `settings.max_length` tokens",
            f"one has {longest}, asked were {ftr_head.max_length}",
            ftr_head.advice(
                "encode", "cut the row, and count it in `notes`, or give several features"
            ),
        )

    def test_encoded_rows_can_be_kept_in_files(self, ftr_head: HeadSubject) -> None:
        for targets in (True, False):
            ftr_head.features(targets=targets)

    def test_rows_to_predict_need_no_targets(self, ftr_head: HeadSubject) -> None:
        targets = {column.name for column in ftr_head.head.schema.columns if column.target}
        bare = [
            {name: value for name, value in row.items() if name not in targets}
            for row in ftr_head.rows
        ]
        for row in bare:
            change = ftr_head.advice("check", f"let {_listed(targets)} be missing")
            with must_work(f"`check` of {ftr_head} takes rows to predict", change):
                cause = ftr_head.head.check(row)
            require(
                cause is None,
                f"`check` of {ftr_head} passes rows to predict",
                f"it returned {cause!r}",
                change,
            )
        whole, without = (
            _by_row(ftr_head.encode(rows, targets=False)) for rows in (ftr_head.rows, bare)
        )
        differs = next(
            (
                text
                for one, two in zip(whole, without, strict=True)
                if (text := _difference(one, two))
            ),
            None,
        )
        require(
            differs is None,
            f"`encode` of {ftr_head} without `settings.targets` reads nothing of what is to be "
            "predicted",
            f"the features differ with and without {_listed(targets)}: {differs}",
            ftr_head.advice("encode", "read these columns only where `settings.targets` is true"),
        )

    def test_a_row_of_several_features_loses_and_doubles_nothing(
        self, ftr_head: HeadSubject
    ) -> None:
        short = _shorter(ftr_head)
        whole = _by_row(ftr_head.encode(targets=False))
        parts = _by_row(ftr_head.encode(targets=False, max_length=short))
        if all(len(features) == 1 for features in parts):
            pytest.skip(f"it gives every row one feature, also with `max_length` {short}")
        for number, (long, features) in enumerate(zip(whole, parts, strict=True)):
            if len(features) == 1:
                continue
            lost = {token for feature in long for token in feature["input_ids"]} - {
                t for feature in features for t in feature["input_ids"]
            }
            words = ", ".join(
                repr(ftr_head.tokenizer.decode([token])) for token in sorted(lost)[:5]
            )
            promise = f"the features of a row of {ftr_head} together hold all of it, each part once"
            require(
                not lost,
                promise,
                f"the {len(features)} features of row {number} lack {words}",
                ftr_head.advice("encode", "give a feature for the last part of a row too"),
            )
            seen = [
                {key: value for key, value in feature.items() if key != "notes"}
                for feature in features
            ]
            doubled = next(
                (place for place, feature in enumerate(seen) if feature in seen[:place]), None
            )
            require(
                doubled is None,
                promise,
                f"feature {doubled} of row {number} is there twice",
                ftr_head.advice("encode", "give each part of a row once"),
            )


def _settings(subject: HeadSubject, length: int) -> EncodeSettings:
    return EncodeSettings(
        max_length=length, stride=length // SHARED, labels=subject.labels, targets=False
    )


def _shorter(subject: HeadSubject) -> int:
    """Return a `max_length` that long rows do not fit into, and that the head takes."""
    longest = max(len(ids) for ids in subject.encode(targets=False)["input_ids"])
    columns = {name: [row.get(name) for row in subject.rows] for name in subject.rows[0]}
    refused = ""
    for length in (longest // 2, longest * 3 // 4):
        try:
            subject.head.encode(dict(columns), subject.tokenizer, _settings(subject, length))
        except FtrError as error:
            refused = f"a shorter `max_length` is refused: {error}"
        else:
            return length
    pytest.skip(refused)


def _by_row(columns: dict[str, list[Any]]) -> list[list[dict[str, Any]]]:
    """Return the features of each row, without their place."""
    groups: dict[int, list[dict[str, Any]]] = {}
    names = [name for name in columns if name != "row"]
    for place, owner in enumerate(columns["row"]):
        groups.setdefault(owner, []).append({name: columns[name][place] for name in names})
    return [groups[owner] for owner in sorted(groups)]


def _difference(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> str | None:
    if len(one) != len(other):
        return f"{len(one)} features, then {len(other)}"
    for first, second in zip(one, other, strict=True):
        for name in {**first, **second}:
            if name not in first or name not in second:
                return f"the column `{name}` is there only once"
            if first[name] != second[name]:
                return f"`{name}` is {first[name]!r}, then {second[name]!r}"
    return None


def _listed(names: Any) -> str:
    return " and ".join(f"`{name}`" for name in sorted(names)) or "nothing"
