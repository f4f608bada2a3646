"""Duplicate rows; seeded samples, splits and folds, stratified or grouped."""

from __future__ import annotations

import random
import sys
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias

from ftr.data.answers import answers_column, passage_column, texts_and_starts
from ftr.data.rows import HELD_OUT, SPLITS, Rows
from ftr.data.store import Indices, Row
from ftr.errors import DataError
from ftr.registry.schema import Column, RowSchema

if TYPE_CHECKING:
    import numpy as np

Groups = list[str]
Keys: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bytes_]]"
Split = dict[str, Indices]

_FEW_GROUPS = 5
_SHARED = 0.7
_DIGEST = 16


def compared(schema: RowSchema) -> list[str]:
    """Return the columns whose texts tell duplicates, and that every row has."""
    return [column.name for column in _inputs(schema) if column.required]


def _inputs(schema: RowSchema) -> list[Column]:
    return [
        column
        for column in schema.columns
        if column.type in ("text", "tokens") and not column.target
    ]


def _keys(rows: Rows, columns: Sequence[Column]) -> Keys:
    """Return a digest of the normalized texts of each row: equal for duplicates, and 16 bytes
    (BLAKE2b) however long and many they are.
    """
    import numpy as np

    last: dict[int, tuple[object, bytes]] = {}

    def digest(number: int, value: object) -> bytes:
        text, found = last.get(number, (last, b""))
        if text is not value and text != value:  # rows in turn often share a passage
            content = _normal(value).encode("utf-8", "surrogatepass")
            found = blake2b(content, digest_size=_DIGEST).digest()
            last[number] = value, found
        return found

    content = bytearray()
    blank = [blake2b(digest_size=_DIGEST).digest()] * (len(columns) - 1)
    for cells in zip(*(rows.column(column.name) for column in columns), strict=True):
        first, *others = [digest(number, cell) for number, cell in enumerate(cells)]
        content += first if others == blank else _one([first, *others])
    return np.frombuffer(content, dtype=f"S{_DIGEST}")


def _one(digests: Iterable[bytes]) -> bytes:
    return blake2b(b"".join(digests), digest_size=_DIGEST).digest()


def _normal(value: object) -> str:
    """Return a text, or the texts of a list, without what two copies may differ in: the form of
    characters (NFKC), case and white space.
    """
    if isinstance(value, list):
        return "\x1f".join(map(_normal, value))
    text = "" if value is None else str(value)
    nfkc = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(nfkc.casefold().split())


def count_duplicates(splits: Mapping[str, Rows], schema: RowSchema) -> dict[str, dict[str, int]]:
    """Return, for each split, counts of rows by what they duplicate, without counts of 0.

    `repeated`: rows whose texts are in an earlier row of the split; `contradicting`: rows whose
    texts are in the split with another target too; `in_train`, `in_validation`, `in_test`: rows
    whose texts are in that other split.
    """
    import numpy as np

    if not compared(schema):
        return {}
    keys = {split: _keys(splits[split], _inputs(schema)) for split in SPLITS if split in splits}
    report: dict[str, dict[str, int]] = {}
    for split, found in keys.items():
        several = _several(found)
        counts = {"repeated": len(found) - several.distinct, "contradicting": 0}
        if counts["repeated"]:
            counts["contradicting"] = _contradicting(splits[split], several, schema)
        for other, others in keys.items():
            if other != split:
                counts[f"in_{other}"] = int(np.isin(found, others).sum())
        report[split] = {name: count for name, count in counts.items() if count}
    return report


@dataclass(frozen=True, slots=True)
class _Several:
    """How many `distinct` keys there are, and the `indices`, in order, of the rows whose key others
    have too, each with the `key` of those, a number.
    """

    distinct: int
    indices: Indices
    keys: Indices


def _several(keys: Keys) -> _Several:
    import numpy as np

    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    first = np.concatenate([np.ones(min(len(keys), 1), bool), in_order[1:] != in_order[:-1]])
    number = np.cumsum(first) - 1
    alone = first & np.concatenate([first[1:], np.ones(min(len(keys), 1), bool)])
    indices, numbers = order[~alone], number[~alone]
    by_row = np.argsort(indices)
    return _Several(int(first.sum()), indices[by_row], numbers[by_row])


def _contradicting(rows: Rows, several: _Several, schema: RowSchema) -> int:
    columns = [column for column in schema.columns if column.target]
    counts: Counter[int] = Counter()
    targets: defaultdict[int, set[tuple[str, ...]]] = defaultdict(set)
    for row, key in zip(rows.take(several.indices).rows, several.keys.tolist(), strict=True):
        counts[key] += 1
        targets[key].add(tuple(_target(row, column) for column in columns))
    return sum(counts[key] for key, found in targets.items() if len(found) > 1)


def _target(row: Row, column: Column) -> str:
    """Return a target for comparison: of answers their texts, whatever their order and place."""
    cell = row.get(column.name)
    if column.type == "answers":
        return str(sorted(text for text, _ in texts_and_starts(cell)))
    return str(cell)


def duplicate_notes(
    report: Mapping[str, Mapping[str, int]], splits: Mapping[str, Rows], schema: RowSchema
) -> list[str]:
    """Return the counts of `count_duplicates` as notes."""
    what = f"the same {' and '.join(compared(schema))}"
    notes: list[str] = []
    for split, counts in report.items():
        of = f"of {len(splits[split])} rows"
        if "repeated" in counts:
            more = ""
            if "contradicting" in counts:
                more = f", {counts['contradicting']} contradict each other (different targets)"
            notes.append(f"{split}: {counts['repeated']} {of} repeat an earlier one ({what}){more}")
        if "in_train" in counts:
            notes.append(f"{split}: {counts['in_train']} {of} have {what} as a training row")
    return notes


def without_duplicates(splits: Mapping[str, Rows], schema: RowSchema) -> Rows:
    """Return the training rows that repeat no earlier one and no held-out row."""
    import numpy as np

    columns = _inputs(schema)
    keys = _keys(splits["train"], columns)
    _, first = np.unique(keys, return_index=True)  # of equal keys the first, whatever their order
    for split in HELD_OUT:
        first = first[np.isin(keys[first], _keys(splits.get(split, Rows()), columns), invert=True)]
    return splits["train"].take(np.sort(first))


def shared_passages(splits: Mapping[str, Rows], schema: RowSchema) -> dict[str, tuple[int, str]]:
    """Return, by held-out split, how many rows share the passage of their answers with a training
    row, and the places of the first two such rows.
    """
    import numpy as np

    column = passage_column(schema)
    if column is None or "train" not in splits:
        return {}
    keys, first = np.unique(_keys(splits["train"], [column]), return_index=True)
    found: dict[str, tuple[int, str]] = {}
    for split in HELD_OUT:
        rows = splits.get(split, Rows())
        own = _keys(rows, [column])
        shared = np.flatnonzero(np.isin(own, keys))
        if len(shared):
            index = first[np.searchsorted(keys, own[shared[0]])]
            where = f"`{rows.places[shared[0]]}`, in train `{splits['train'].places[index]}`"
            found[split] = len(shared), where
    return found


def sample(count: int, limit: int | None, seed: int, how: str) -> list[int]:
    """Return the first `limit` indices below `count`, or a seeded `random` sample in order."""
    if limit is None or limit >= count:
        return list(range(count))
    if how == "first":
        return list(range(limit))
    return sorted(random.Random(seed).sample(range(count), limit))


def bootstrap(rows: Rows, seed: int) -> tuple[Rows, int]:
    """Return a bootstrap sample (Efron 1979) in the order of the rows, and how many different rows
    are in it.

    A row that was drawn before gets the id `<id>#2`, `<id>#3`, ...
    """
    rng = random.Random(seed)
    drawn = sorted(rng.randrange(len(rows)) for _ in range(len(rows)))
    taken = set(rows.column("id"))
    times: Counter[int] = Counter()

    def named() -> Iterator[tuple[Row, str]]:
        for (row, place), index in zip(rows.take(drawn).placed(), drawn, strict=True):
            times[index] += 1
            if times[index] == 1:
                yield row, place
                continue
            name = f"{row['id']}#{times[index]}"
            while name in taken:
                name += "#"
            taken.add(name)
            yield {**row, "id": name}, place

    return Rows.of(named()), len(times)


def split_rows(
    rows: Rows, schema: RowSchema, shares: Mapping[str, float], seed: int, labels: Sequence[str]
) -> tuple[dict[str, Rows], str]:
    """Divide training rows into `train` and the splits of `shares`, and return how it was done.

    Raises `DataError` when there are too few rows.
    """
    if sum(shares.values()) >= 1:
        raise DataError(
            "`data.validation_size` and `data.test_size` leave no rows to train on: their sum "
            "must be below 1"
        )
    groups, by = groups_of(rows, schema)
    split = (
        _grouped(groups, shares, seed, by)
        if groups is not None
        else _stratified(classes_of(rows, schema, labels), shares, seed)
    )
    return {name: rows.take(indices) for name, indices in split.items()}, _how(by, schema)


def fold_rows(
    rows: Rows, schema: RowSchema, count: int, number: int, seed: int, labels: Sequence[str]
) -> tuple[Rows, Rows, str]:
    """Return the rows to train on, those of fold `number` of `count`, and how they were divided."""
    groups, by = groups_of(rows, schema)
    training, held_out = fold(classes_of(rows, schema, labels), groups, count, number, seed)
    return rows.take(training), rows.take(held_out), _how(by, schema)


def _how(by: str, schema: RowSchema) -> str:
    if by:
        return f"rows of one `{by}` together"
    return f"with the class shares of `{schema.stratify}`" if schema.stratify else "at random"


def _by_class(classes: Sequence[Hashable]) -> dict[Hashable, array[int]]:
    indices: defaultdict[Hashable, array[int]] = defaultdict(lambda: array("q"))
    for index, value in enumerate(classes):
        indices[value].append(index)
    return {value: indices[value] for value in sorted(indices, key=str)}


def _stratified(classes: Sequence[Hashable], shares: Mapping[str, float], seed: int) -> Split:
    """Divide rows so that each split has the same share of every class; `train` gets the rest."""
    by_class = _by_class(classes)
    splits = len(shares) + 1
    split = {name: array("q") for name in ("train", *shares)}
    generator = random.Random(seed)
    for value, indices in by_class.items():
        size = len(indices)
        if size < splits:
            if len(by_class) == 1:
                raise DataError(
                    f"{size} rows cannot be divided over {splits} splits; give more rows, or set "
                    "`data.test_size=0` or `data.validation_size=0`"
                )
            raise DataError(
                f"the class `{value}` has {size} of {len(classes)} rows: too few to be in each of "
                f"{splits} splits. Add rows of it, remove it, raise `data.limit`, or give the "
                "splits as files"
            )
        generator.shuffle(indices)
        at = 0
        for name, share in shares.items():
            count = min(max(1, round(share * size)), size - at - 1)
            split[name] += indices[at : at + count]
            at += count
        split["train"] += indices[at:]
    return {name: _in_order(indices) for name, indices in split.items()}


def _in_order(indices: array[int]) -> Indices:
    import numpy as np

    return np.sort(np.frombuffer(indices, dtype=np.int64))


def _grouped(groups: Groups, shares: Mapping[str, float], seed: int, by: str) -> Split:
    """Divide rows so that no group is in two splits, as near to the shares as groups allow."""
    sizes = Counter(groups)
    order = sorted(sizes)
    if len(order) <= len(shares):
        raise DataError(
            f"the {len(groups)} training rows have {len(order)} different `{by}`, too few to "
            f"divide over {len(shares) + 1} splits: rows of one `{by}` stay together. Set "
            f"{' and '.join(f'`data.{name}_size=0`' for name in shares)}, give the splits as "
            "files, or raise `data.limit` if it is set"
        )
    random.Random(seed).shuffle(order)
    owner: dict[str, str] = {}
    for left, (name, share) in enumerate(shares.items()):
        free = [group for group in order if group not in owner]
        # Each split that follows, and `train`, needs a group too.
        free = free[: len(free) - len(shares) + left]
        chosen, total = [], 0
        for group in free:
            wanted = share * len(groups)
            if abs(total + sizes[group] - wanted) < abs(total - wanted):
                chosen.append(group)
                total += sizes[group]
        owner |= dict.fromkeys(chosen or [min(free, key=sizes.__getitem__)], name)
    split = {name: array("q") for name in ("train", *shares)}
    for index, group in enumerate(groups):
        split[owner.get(group, "train")].append(index)
    return {name: _in_order(indices) for name, indices in split.items()}


def folds(
    classes: Sequence[Hashable], groups: Groups | None, count: int, seed: int
) -> list[list[int]]:
    """Divide rows into `count` folds and return the indices of each, in order.

    With `groups`, one value a row, rows of one group stay together and the folds are as even as the
    groups' sizes allow: the largest group left goes to the smallest fold. Otherwise each class of
    `classes`, one value a row (all alike if there are none), is dealt out evenly: its rows in
    two folds differ by one at most, and so do the sizes of the folds.

    Raises `DataError` naming `cv.folds` for fewer groups, or fewer rows of a class, than folds.
    """
    if groups is not None:
        return _grouped_folds(groups, count, seed)
    return _stratified_folds(classes, count, seed)


def fold(
    classes: Sequence[Hashable], groups: Groups | None, count: int, number: int, seed: int
) -> tuple[list[int], list[int]]:
    """Return the indices of the rows to train on, and those of fold `number`, counted from 0."""
    parts = folds(classes, groups, count, seed)
    held_out = parts.pop(number)
    return sorted(index for part in parts for index in part), held_out


def _stratified_folds(classes: Sequence[Hashable], count: int, seed: int) -> list[list[int]]:
    by_class = _by_class(classes)
    rarest = min(by_class, key=lambda value: len(by_class[value]))
    rows = len(by_class[rarest])
    if rows < count:
        whose = f"there are {rows} training rows"
        if len(by_class) > 1:
            whose = f"the class `{rarest}` has {rows} training rows"
        raise DataError(
            f"`cv.folds` is {count}, but {whose}: lower `cv.folds`, give more rows, or raise "
            "`data.limit`"
        )
    generator = random.Random(seed)
    dealt = array("q")
    for indices in by_class.values():
        generator.shuffle(indices)
        dealt += indices
    # One deal through all classes: the first folds would get the odd rows of each class otherwise.
    return [_in_order(dealt[start::count]).tolist() for start in range(count)]


def _grouped_folds(groups: Groups, count: int, seed: int) -> list[list[int]]:
    sizes = Counter(groups)
    if len(sizes) < count:
        raise DataError(
            f"`cv.folds` is {count}, but the training rows are of {len(sizes)} groups, each of "
            "which stays together: lower `cv.folds`, give more rows, or raise `data.limit`"
        )
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -sizes[group])
    loads = [0] * count
    owner: dict[str, int] = {}
    for group in order:
        owner[group] = loads.index(min(loads))
        loads[owner[group]] += sizes[group]
    parts: list[list[int]] = [[] for _ in range(count)]
    for index, group in enumerate(groups):
        parts[owner[group]].append(index)
    return parts


def classes_of(rows: Rows, schema: RowSchema, labels: Sequence[str]) -> list[str]:
    """Return the value of each row whose shares a split keeps; all alike if there is none."""
    if schema.stratify is None:
        return [""] * len(rows)
    cells = rows.column(schema.stratify)
    if schema.stratify != schema.label or (schema.classes and schema.classes.type == "labels"):
        return [sys.intern(str(cell)) for cell in cells]
    return [labels[number] for number in cells if isinstance(number, int)]


def groups_of(rows: Rows, schema: RowSchema) -> tuple[Groups | None, str]:
    """Return the group of each row and the column it is of.

    Rows of one value of the schema's group column (a title) are one group, and so are rows that
    share the passage of their answers, under whatever title. If there are too few titles, or shared
    passages link nearly all of them, the groups are those of the passages alone, or of the titles
    if there are more titles than passages.
    """
    if schema.group is None:
        return None, ""
    passage = _passage(rows, schema)
    titles = ["" if cell is None else sys.intern(str(cell)) for cell in rows.column(schema.group)]
    passages = titles
    if passage is not None:
        # Equal but for case and white space: the same passage.
        first: dict[bytes, str] = {}
        cells = map(str, rows.column(passage.name))
        keys = _keys(rows, [passage]).tolist()
        passages = [first.setdefault(key, cell) for key, cell in zip(keys, cells, strict=True)]
    if len(set(titles) - {""}) >= _FEW_GROUPS:
        groups = _linked(titles, passages)
        if len(set(groups)) >= _FEW_GROUPS:
            return groups, schema.group
        if len(set(titles)) > len(set(passages)) >= 1:
            return titles, schema.group
    return (passages, passage.name) if passage else (None, "")


def _passage(rows: Rows, schema: RowSchema) -> Column | None:
    """Return the passage of answers, or without answers the first text that many rows share."""
    if answers_column(schema) is not None:
        return passage_column(schema)
    for column in schema.columns:
        if column.type == "text":
            texts = set(map(str, rows.column(column.name)))
            if _FEW_GROUPS <= len(texts) <= _SHARED * len(rows):
                return column
    return None


def _linked(titles: Groups, passages: Groups) -> Groups:
    """Return a group for each row: the same for rows that a title or a passage links, also through
    other rows. `""` is no title.
    """
    leader: dict[tuple[str, str], tuple[str, str]] = {}

    def find(node: tuple[str, str]) -> tuple[str, str]:
        while leader.setdefault(node, node) != node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for title, passage in zip(titles, passages, strict=True):
        if title:
            one, other = find(("title", title)), find(("text", passage))
            # A title leads, so that groups are named, and so divided, by titles.
            leader[one if other[0] == "title" else other] = other if other[0] == "title" else one
    return [find(("text", passage))[1] for passage in passages]
