"""Seeded splits: class shares kept, groups whole, the same rows on every machine."""

import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from ftr.errors import DataError

Split = dict[str, list[int]]


def sample(count: int, limit: int | None, seed: int, how: str) -> list[int]:
    """Return up to `limit` of the indices below `count`, in order: a seeded sample (`random`) or the first ones (`first`)."""
    if limit is None or limit >= count:
        return list(range(count))
    return list(range(limit)) if how == "first" else sorted(random.Random(seed).sample(range(count), limit))


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


def grouped(groups: Sequence[Hashable], shares: Mapping[str, float], seed: int, by: str = "group") -> Split:
    """Divide rows so that no group is in two splits; shares are met as nearly as the sizes of the groups allow.

    Raises `DataError` when there are fewer groups than splits; it calls them `by`.
    """
    sizes = Counter(groups)
    order = sorted(sizes, key=str)
    if len(order) <= len(shares):
        raise DataError(
            f"the {len(groups)} training rows have {len(order)} different `{by}`, too few to divide over {len(shares) + 1} splits: "
            f"rows of one `{by}` stay together. Set {' and '.join(f'`data.{name}_share=0`' for name in shares)}, give the splits as "
            "files, or raise `data.limit` if it is set"
        )
    random.Random(seed).shuffle(order)
    owner: dict[Hashable, str] = {}
    for left, (name, share) in enumerate(shares.items(), start=1):
        chosen = _nearest([group for group in order if group not in owner], sizes, share * len(groups), keep=len(shares) - left + 1)
        owner.update(dict.fromkeys(chosen, name))
    split: Split = {name: [] for name in ("train", *shares)}
    for index, group in enumerate(groups):
        split[owner.get(group, "train")].append(index)
    return split


def _nearest(order: Sequence[Hashable], sizes: Mapping[Hashable, int], target: float, keep: int) -> list[Hashable]:
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
            f"{count} rows cannot be divided over {splits} splits; give more rows, or set `data.test_share=0` or `data.validation_share=0`"
        )
    return (
        f"the class `{value}` has {count} of {len(classes)} rows: too few to be in each of {splits} splits. Add rows of it, take it out, "
        "raise `data.limit`, or give the splits as files"
    )
