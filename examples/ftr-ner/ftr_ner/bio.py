"""Entities of a tagged sentence, by the rules of the CoNLL evaluation script."""

from collections.abc import Sequence
from typing import NamedTuple

from ftr.errors import DataError

OUTSIDE = "O"
MARKS = ("B", "I", "E", "S")


class Entity(NamedTuple):
    """An entity: its type, its first word, and the word behind its last."""

    type: str
    start: int
    end: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a sentence in order; tags are `O`, `B-X`, `I-X`, and `E-X`, `S-X`
    where ends are marked.

    As in `conlleval` an entity also begins at an `I` that continues nothing: after `O`, after an
    end, or where the type changes.
    """
    found: list[Entity] = []
    start, kind, before = -1, "", OUTSIDE
    for index, tag in enumerate([*tags, OUTSIDE]):
        mark, _, name = tag.partition("-")
        goes_on = mark in ("I", "E") and before in ("B", "I") and name == kind
        if not goes_on:
            if before != OUTSIDE:
                found.append(Entity(kind, start, index))
            start, kind = index, name
        before = mark
    return found


def is_tag(tag: str) -> bool:
    """Whether a class name is a tag: `O`, or a mark and a type."""
    mark, dash, name = tag.partition("-")
    return tag == OUTSIDE or (mark in MARKS and bool(dash) and bool(name))


def check_tags(labels: Sequence[str]) -> None:
    """Raise `DataError` for classes that are no tags."""
    strange = [label for label in labels if not is_tag(label)]
    if strange:
        raise DataError(
            f"the column `tags` holds `{strange[0]}`, which is no BIO tag: write `O`, or `B-` and "
            "`I-` before the type, such as `B-PER`. Numbers must be replaced by the names they "
            "stand for."
        )
