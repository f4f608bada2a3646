"""Cross-validation: the training rows in parts of the same class shares, or of whole groups; the same ones on every machine."""

import random
from collections import Counter
from collections.abc import Hashable, Sequence

from ftr.errors import DataError


def folds(classes: Sequence[Hashable], groups: Sequence[Hashable] | None, count: int, seed: int) -> list[list[int]]:
    """Divide rows into `count` folds and return the indices of each, in order; every row is in exactly one of them.

    With `groups`, one value a row, rows of one group stay together and the folds are as even as the groups' sizes allow: the
    largest group left goes to the smallest fold. Otherwise each class of `classes`, one value a row (all alike where there
    are none), is dealt out evenly: its rows in two folds differ by one at most, and so do the sizes of the folds.

    Raises `DataError` naming `cv.folds` for fewer groups, or fewer rows of a class, than folds.
    """
    return _grouped(groups, count, seed) if groups is not None else _stratified(classes, count, seed)


def fold(classes: Sequence[Hashable], groups: Sequence[Hashable] | None, count: int, number: int, seed: int) -> tuple[list[int], list[int]]:
    """Return the indices of the rows to train on and of those to validate on, which are fold `number`, counted from 0, of `folds`."""
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
        whose = f"the class `{rarest}` has {rows} training rows" if len(by_class) > 1 else f"there are {rows} training rows"
        raise DataError(f"`cv.folds` is {count}, but {whose}: lower `cv.folds`, give more rows, or raise `data.limit`")
    generator = random.Random(seed)
    parts: list[list[int]] = [[] for _ in range(count)]
    dealt = 0
    for value in sorted(by_class, key=str):
        indices = by_class[value]
        generator.shuffle(indices)
        for index in indices:
            # Where one class ended the next goes on, or the first folds would get the odd rows of all of them.
            parts[dealt % count].append(index)
            dealt += 1
    return [sorted(part) for part in parts]


def _grouped(groups: Sequence[Hashable], count: int, seed: int) -> list[list[int]]:
    sizes = Counter(groups)
    if len(sizes) < count:
        raise DataError(
            f"`cv.folds` is {count}, but the training rows are of {len(sizes)} groups, each of which stays together: lower `cv.folds`, "
            "give more rows, or raise `data.limit`"
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
