"""Seeded splits and folds, stratified or grouped, without duplicates between splits."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftr.data.clean import CONTEXT
from ftr.data.labels import counted
from ftr.data.rows import SPLITS, Rejected, Row, Rows, has_answer
from ftr.errors import DataError
from ftr.registry.schema import Column, RowSchema

if TYPE_CHECKING:
    from ftr.config.schema import CvConfig, DataConfig


Key = tuple[str, ...]


def text_key(row: Mapping[str, object], schema: RowSchema) -> Key:
    """Return what makes two rows duplicates: their texts in NFKC, without case, with single
    spaces.
    """
    return tuple(
        _normal(row.get(column.name))
        for column in schema.columns
        if _input(column.type) and not column.target
    )


def input_names(schema: RowSchema) -> list[str]:
    """Return the columns that are compared and that every row has."""
    return [column.name for column in schema.columns if _input(column.type) and column.required]


def find(splits: Mapping[str, Rows], schema: RowSchema) -> dict[str, dict[str, int]]:
    """Return, for each split, counts of rows by what they duplicate; a count of 0 is left out.

    `repeated`: rows whose texts stand in an earlier row of the split; `contradicting`: rows whose
    texts stand in the split with another target too; `in_train`, `in_validation`, `in_test`: rows
    whose texts stand in that other split.
    """
    if not input_names(schema):
        return {}
    keys = {
        split: [text_key(row, schema) for row in splits[split].rows]
        for split in SPLITS
        if split in splits
    }
    sets = {split: set(found) for split, found in keys.items()}
    report: dict[str, dict[str, int]] = {}
    for split, found in keys.items():
        counts = {
            "repeated": len(found) - len(sets[split]),
            "contradicting": _contradicting(splits[split].rows, found, schema),
        }
        counts |= {
            f"in_{other}": sum(key in sets[other] for key in found)
            for other in sets
            if other != split
        }
        report[split] = {name: count for name, count in counts.items() if count}
    return report


def unique(splits: Mapping[str, Rows], schema: RowSchema) -> list[int]:
    """Return the training rows to keep: the first of each text, where it stands in no held-out
    split.
    """
    heldout = {
        text_key(row, schema)
        for split in SPLITS
        if split != "train" and split in splits
        for row in splits[split].rows
    }
    kept: list[int] = []
    for index, row in enumerate(splits["train"].rows):
        key = text_key(row, schema)
        if key not in heldout:
            heldout.add(key)
            kept.append(index)
    return kept


def notes(
    report: Mapping[str, Mapping[str, int]], sizes: Mapping[str, int], schema: RowSchema
) -> list[str]:
    """Return what to tell a person of `find`'s counts."""
    what = f"the same {' and '.join(input_names(schema))}"
    lines: list[str] = []
    for split, counts in report.items():
        of = f"of {sizes[split]} rows"
        if counts.get("repeated"):
            several = (
                f", {counts['contradicting']} stand there with different targets"
                if counts.get("contradicting")
                else ""
            )
            lines.append(
                f"{split}: {counts['repeated']} {of} repeat an earlier one ({what}){several}"
            )
        if split != "train" and counts.get("in_train"):
            lines.append(f"{split}: {counts['in_train']} {of} have {what} as a training row")
    return lines


def _contradicting(rows: Sequence[Row], keys: Sequence[Key], schema: RowSchema) -> int:
    targets = [column.name for column in schema.columns if column.target]
    if not targets:
        return 0
    found: dict[Key, set[str]] = {}
    counts = Counter(keys)
    for row, key in zip(rows, keys, strict=True):
        if counts[key] > 1:
            found.setdefault(key, set()).add("\n".join(_target(row.get(name)) for name in targets))
    return sum(counts[key] for key, several in found.items() if len(several) > 1)


def _target(value: object) -> str:
    """Return a target for comparison: of answers their texts, whatever their order and place."""
    return (
        str(sorted(map(str, value["text"])))
        if isinstance(value, Mapping) and isinstance(value.get("text"), list)
        else str(value)
    )


def _input(kind: str) -> bool:
    return kind in ("text", "tokens")


def _normal(value: object) -> str:
    if isinstance(value, list):
        return "\x1f".join(map(_normal, value))
    text = "" if value is None else str(value)
    return " ".join(
        (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold().split()
    )


Split = dict[str, list[int]]


def sample(count: int, limit: int | None, seed: int, how: str) -> list[int]:
    """Return up to `limit` of the indices below `count`, in order: a seeded sample (`random`) or
    the first ones (`first`).
    """
    if limit is None or limit >= count:
        return list(range(count))
    return (
        list(range(limit))
        if how == "first"
        else sorted(random.Random(seed).sample(range(count), limit))
    )


def stratified(classes: Sequence[Hashable], shares: Mapping[str, float], seed: int) -> Split:
    """Divide rows so that each split has every class in the same share; `train` gets the rest.

    Raises `DataError` for a class with too few rows to be in every split.
    """
    by_class: dict[Hashable, list[int]] = {}
    for index, value in enumerate(classes):
        by_class.setdefault(value, []).append(index)
    split: Split = {name: [] for name in ("train", *shares)}
    generator = random.Random(seed)
    for value in sorted(by_class, key=str):
        indices = by_class[value]
        if len(indices) <= len(shares):
            raise DataError(_too_rare(value, len(indices), len(shares) + 1, classes))
        generator.shuffle(indices)
        size = len(indices)
        for name, share in shares.items():
            count = min(max(1, round(share * size)), len(indices) - 1)
            split[name] += indices[:count]
            indices = indices[count:]
        split["train"] += indices
    return _sorted(split)


def grouped(
    groups: Sequence[Hashable], shares: Mapping[str, float], seed: int, by: str = "group"
) -> Split:
    """Divide rows so that no group is in two splits; shares are met as nearly as the sizes of the
    groups allow.

    Raises `DataError` when there are fewer groups than splits; it calls them `by`.
    """
    sizes = Counter(groups)
    order = sorted(sizes, key=str)
    if len(order) <= len(shares):
        raise DataError(
            f"the {len(groups)} training rows have {len(order)} different `{by}`, too few to "
            f"divide over {len(shares) + 1} splits: rows of one `{by}` stay together. Set "
            f"{' and '.join(f'`data.{name}_size=0`' for name in shares)}, give the splits as "
            "files, or raise `data.limit` if it is set"
        )
    random.Random(seed).shuffle(order)
    owner: dict[Hashable, str] = {}
    for left, (name, share) in enumerate(shares.items(), start=1):
        chosen = _nearest(
            [group for group in order if group not in owner],
            sizes,
            share * len(groups),
            keep=len(shares) - left + 1,
        )
        owner.update(dict.fromkeys(chosen, name))
    split: Split = {name: [] for name in ("train", *shares)}
    for index, group in enumerate(groups):
        split[owner.get(group, "train")].append(index)
    return split


def _nearest(
    order: Sequence[Hashable], sizes: Mapping[Hashable, int], target: float, keep: int
) -> list[Hashable]:
    chosen: list[Hashable] = []
    total = 0
    for group in order[: len(order) - keep]:
        if abs(total + sizes[group] - target) < abs(total - target):
            chosen.append(group)
            total += sizes[group]
    return chosen or [min(order[: len(order) - keep], key=lambda group: sizes[group])]


def _sorted(split: Split) -> Split:
    return {name: sorted(indices) for name, indices in split.items()}


def _too_rare(value: Hashable, count: int, splits: int, classes: Sequence[Hashable]) -> str:
    if len(set(classes)) == 1:
        return (
            f"{count} rows cannot be divided over {splits} splits; give more rows, or set "
            "`data.test_size=0` or `data.validation_size=0`"
        )
    return (
        f"the class `{value}` has {count} of {len(classes)} rows: too few to be in each of "
        f"{splits} splits. Add rows of it, take it out, raise `data.limit`, or give the splits as "
        "files"
    )


def folds(
    classes: Sequence[Hashable], groups: Sequence[Hashable] | None, count: int, seed: int
) -> list[list[int]]:
    """Divide rows into `count` folds and return the indices of each, in order; every row is in
    exactly one of them.

    With `groups`, one value a row, rows of one group stay together and the folds are as even as the
    groups' sizes allow: the largest group left goes to the smallest fold. Otherwise each class of
    `classes`, one value a row (all alike where there are none), is dealt out evenly: its rows in
    two folds differ by one at most, and so do the sizes of the folds.

    Raises `DataError` naming `cv.folds` for fewer groups, or fewer rows of a class, than folds.
    """
    return (
        _grouped(groups, count, seed) if groups is not None else _stratified(classes, count, seed)
    )


def fold(
    classes: Sequence[Hashable],
    groups: Sequence[Hashable] | None,
    count: int,
    number: int,
    seed: int,
) -> tuple[list[int], list[int]]:
    """Return the indices of the rows to train on and of those to validate on, which are fold
    `number`, counted from 0, of `folds`.
    """
    held_out = folds(classes, groups, count, seed)[number]
    apart = set(held_out)
    return [index for index in range(len(classes)) if index not in apart], held_out


def _stratified(classes: Sequence[Hashable], count: int, seed: int) -> list[list[int]]:
    by_class: dict[Hashable, list[int]] = {}
    for index, value in enumerate(classes):
        by_class.setdefault(value, []).append(index)
    rarest = min(by_class, key=lambda value: (len(by_class[value]), str(value)))
    if len(by_class[rarest]) < count:
        rows = len(by_class[rarest])
        whose = (
            f"the class `{rarest}` has {rows} training rows"
            if len(by_class) > 1
            else f"there are {rows} training rows"
        )
        raise DataError(
            f"`cv.folds` is {count}, but {whose}: lower `cv.folds`, give more rows, or raise "
            "`data.limit`"
        )
    generator = random.Random(seed)
    parts: list[list[int]] = [[] for _ in range(count)]
    dealt = 0
    for value in sorted(by_class, key=str):
        indices = by_class[value]
        generator.shuffle(indices)
        for index in indices:
            # Where one class ended the next goes on, or the first folds would get the odd rows of
            # all of them.
            parts[dealt % count].append(index)
            dealt += 1
    return [sorted(part) for part in parts]


def _grouped(groups: Sequence[Hashable], count: int, seed: int) -> list[list[int]]:
    sizes = Counter(groups)
    if len(sizes) < count:
        raise DataError(
            f"`cv.folds` is {count}, but the training rows are of {len(sizes)} groups, each of "
            "which stays together: lower `cv.folds`, give more rows, or raise `data.limit`"
        )
    order = sorted(sizes, key=str)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -sizes[group])
    loads = [0] * count
    owner: dict[Hashable, int] = {}
    for group in order:
        owner[group] = loads.index(min(loads))
        loads[owner[group]] += sizes[group]
    parts: list[list[int]] = [[] for _ in range(count)]
    for index, group in enumerate(groups):
        parts[owner[group]].append(index)
    return parts


Report = dict[str, object]


@dataclass(slots=True)
class Work:
    """Splits on their way; `done` has, by split, what the record says of each step besides rows
    read, used and rejected.
    """

    splits: dict[str, Rows]
    rejected: list[Rejected]
    origins: dict[str, str]
    notes: list[str] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    done: dict[str, Report] = field(default_factory=dict)
    limited: set[str] = field(default_factory=set)
    """Splits of which a limit left rows out."""

    def record(self, split: str, step: str, what: object) -> None:
        """Keep what a step did to a split, if it did anything."""
        if what:
            self.done.setdefault(split, {})[step] = what

    def check_used(self, schema: RowSchema, labels: Sequence[str], *, training: bool) -> None:
        """Raise `DataError` where a split has no rows left, or the training rows are of one class;
        note classes that are gone.
        """
        for split, rows in self.splits.items():
            if not rows.rows:
                raise DataError(
                    f"`{self.origins.get(split, split)}`: no usable rows are left for "
                    f"{split}{self._why(split)}"
                )
        name = next(
            (
                column.name
                for column in schema.columns
                if column.type == "answers" and column.target and column.required
            ),
            None,
        )
        if training and name and not has_answer(self.splits["train"], name):
            advice = (
                ": raise `data.limit`, or set `data.sample=random`"
                if "train" in self.limited
                else ": add questions that have answers"
            )
            raise DataError(
                "no training row that is left has an answer in "
                f"`{name}`{advice}{self._why('train')}"
            )
        if training and schema.classes:
            present = set(counted(self.splits["train"].rows, schema.classes))
            absent = [name for number, name in enumerate(labels) if number not in present]
            limited = "train" in self.limited
            if len(present) == 1 and schema.classes.required:
                advice = (
                    ": raise `data.limit`, or set `data.sample=random`"
                    if limited
                    else ", so there is nothing to learn"
                )
                whose = " that `data.limit` leaves" if limited else " that are left"
                raise DataError(
                    f"all training rows{whose} have the same class{advice}{self._why('train')}"
                )
            if absent:
                names = ", ".join(f"`{name}`" for name in absent)
                self.notes.append(
                    f"train: no row{' that `data.limit` leaves' if limited else ''} has the class "
                    f"{names}"
                )

    def _why(self, split: str) -> str:
        removed = split == "train" and "removed" in self.done.get(split, {})
        return (
            "; `data.duplicates=remove` took those away that stand there twice, or in a held-out "
            "split too"
            if removed
            else ""
        )

    def report(self, schema: RowSchema, labels: Sequence[str]) -> Report:
        """Return what became of the rows of each split, as plain data."""
        splits: Report = {}
        for split in SPLITS:
            if split in self.splits:
                rows = self.splits[split].rows
                causes = Counter(item.cause for item in self.rejected if item.split == split)
                entry: Report = {
                    "read": self.read.get(split, 0),
                    "used": len(rows),
                    "rejected": dict(causes),
                    "from": self.origins.get(split, ""),
                    **self.done.get(split, {}),
                }
                if schema.classes:
                    counts = counted(rows, schema.classes)
                    entry["labels"] = {
                        name: counts.get(number, 0) for number, name in enumerate(labels)
                    }
                splits[split] = entry
        return {"splits": splits}


def bootstrap(rows: Rows, seed: int) -> tuple[Rows, int]:
    """Return a bootstrap sample (Efron 1979) in the order of the rows, and how many different rows
    are in it.

    A row that was drawn before gets the id `<id>#2`, `<id>#3`, ...
    """
    rng = random.Random(seed)
    drawn = sorted(rng.randrange(len(rows)) for _ in range(len(rows)))
    sample = rows.take(drawn)
    taken = {row["id"] for row in rows.rows}
    times: Counter[int] = Counter()
    for position, index in enumerate(drawn):
        times[index] += 1
        if times[index] > 1:
            name = f"{rows.rows[index]['id']}#{times[index]}"
            while name in taken:
                name += "#"
            taken.add(name)
            sample.rows[position] = {**sample.rows[position], "id": name}
    return sample, len(times)


_FEW_GROUPS = 5
_SHARED = 0.7


def make_splits(
    work: Work, schema: RowSchema, data: DataConfig, cv: CvConfig | None, labels: Sequence[str]
) -> None:
    """Take the splits that are missing from the training rows; validation is never taken from test.

    With `cv.folds` validation is fold `cv.fold` of what is left for training (the first, where
    `cv.fold` is not set).
    """
    folds = cv.folds if cv is not None else None
    if folds is not None and "validation" in work.splits:
        given = work.splits.pop("validation")
        work.notes.append(
            f"validation: the {len(given)} rows given are not used: `cv.folds` validates on parts "
            "of the training rows in their place"
        )
    wanted = {
        "validation": data.validation_size if folds is None else 0.0,
        "test": data.test_size,
    }
    shares = {
        name: share for name, share in wanted.items() if share > 0 and name not in work.splits
    }
    if shares:
        _take(work, schema, data, shares, labels)
    if folds is not None and cv is not None:
        _take_fold(work, schema, data, folds, cv.fold or 0, labels)


def _take(
    work: Work, schema: RowSchema, data: DataConfig, shares: dict[str, float], labels: Sequence[str]
) -> None:
    if sum(shares.values()) >= 1:
        raise DataError(
            "`data.validation_size` and `data.test_size` leave no rows to train on: their sum "
            "must be below 1"
        )
    rows = work.splits["train"]
    groups, by = groups_of(rows, schema)
    split = (
        grouped(groups, shares, data.seed, by)
        if groups is not None
        else stratified(classes_of(rows, schema, labels), shares, data.seed)
    )
    for name, indices in split.items():
        work.splits[name] = rows.take(indices)
    for name, share in shares.items():
        origin = work.origins.get("train", "train")
        work.origins[name] = f"{origin} ({share:.0%} of the training rows)"
        work.notes.append(
            f"{name}: {len(work.splits[name])} rows taken from {origin}, {_how(by, schema)}, seed "
            f"{data.seed}"
        )


def _take_fold(
    work: Work, schema: RowSchema, data: DataConfig, count: int, number: int, labels: Sequence[str]
) -> None:
    rows = work.splits["train"]
    groups, by = groups_of(rows, schema)
    training, held_out = fold(classes_of(rows, schema, labels), groups, count, number, data.seed)
    work.splits["train"], work.splits["validation"] = rows.take(training), rows.take(held_out)
    origin = work.origins.get("train", "train")
    work.origins["validation"] = f"{origin} (fold {number} of {count})"
    work.notes.append(
        f"validation: {len(held_out)} rows, fold {number} of {count} of {origin}, "
        f"{_how(by, schema)}, seed {data.seed}"
    )


def _how(by: str, schema: RowSchema) -> str:
    if by:
        return f"rows of one `{by}` together"
    return f"with the class shares of `{schema.stratify}`" if schema.stratify else "at random"


def classes_of(rows: Rows, schema: RowSchema, labels: Sequence[str]) -> list[str]:
    """Return the value of each row whose shares a split keeps; all alike where the schema names
    none.
    """
    if schema.stratify is None:
        return [""] * len(rows)
    if schema.stratify != schema.label or (schema.classes and schema.classes.type == "labels"):
        return [str(row.get(schema.stratify)) for row in rows.rows]
    return [labels[number] for row in rows.rows if isinstance(number := row[schema.stratify], int)]


def groups_of(rows: Rows, schema: RowSchema) -> tuple[list[str] | None, str]:
    """Return the group of each row and the column it is of.

    Rows of one value of the schema's group column (a title) are one group, and so are rows that
    share the passage their answers stand in, under whatever title. Where there are too few titles,
    or shared passages link nearly all of them, the groups are those of the passages alone, or of
    the titles if there are more titles than passages.
    """
    if schema.group is None:
        return None, ""
    passage = _passage(rows, schema)
    titles = ["" if row.get(schema.group) is None else str(row[schema.group]) for row in rows.rows]
    texts = _texts(rows, passage) if passage else titles
    if len(set(titles) - {""}) >= _FEW_GROUPS:
        groups = _together(titles, texts)
        if len(set(groups)) >= _FEW_GROUPS:
            return groups, schema.group
        if len(set(titles)) > len(set(texts)) >= 1:
            return titles, schema.group
    return (texts, passage.name) if passage else (None, "")


def _passage(rows: Rows, schema: RowSchema) -> Column | None:
    """Return the column that answers stand in, or else the first text that many rows share."""
    answers = any(column.type == "answers" for column in schema.columns)
    for column in schema.columns:
        if answers and column.name == CONTEXT:
            return column
        texts = (
            {str(row.get(column.name)) for row in rows.rows}
            if column.type == "text" and not answers
            else set()
        )
        if _FEW_GROUPS <= len(texts) <= _SHARED * len(rows):
            return column
    return None


def _texts(rows: Rows, column: Column) -> list[str]:
    """Return the text of each row in `column`, that of the first row where texts are equal but for
    case and white space.
    """
    schema = RowSchema(columns=(column,))
    same: dict[str, str] = {}
    first: dict[object, str] = {}
    for row in rows.rows:
        text = str(row.get(column.name))
        if text not in same:
            same[text] = first.setdefault(text_key(row, schema), text)
    return [same[str(row.get(column.name))] for row in rows.rows]


def _together(titles: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return a group for each row, the same for rows of one title or text, also where other rows
    link them; `""` is no title.
    """
    leader: dict[tuple[str, str], tuple[str, str]] = {}

    def find(node: tuple[str, str]) -> tuple[str, str]:
        while leader.setdefault(node, node) != node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for title, text in zip(titles, texts, strict=True):
        if title:
            one, other = find(("title", title)), find(("text", text))
            # A title leads, so that groups are named, and so divided, by titles.
            leader[one if other[0] == "title" else other] = other if other[0] == "title" else one
    return [find(("text", text))[1] for text in texts]
