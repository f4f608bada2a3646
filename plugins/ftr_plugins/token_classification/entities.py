"""Entities of a tagged sentence."""

from collections.abc import Sequence
from typing import NamedTuple

from ftr.plugin import DataError

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

    Those of `seqeval` in its default mode, which follows the CoNLL script `conlleval`: an entity
    also begins at an `I` or `E` that continues nothing, which is one after `O`, after an `E` or
    `S`, or of another type than the tag before. The strict mode of `seqeval` would drop such an
    entity, and one whose last tag is no end in a scheme with ends.
    """
    found: list[Entity] = []
    start, kind, before = -1, "", OUTSIDE
    for index, tag in enumerate([*tags, OUTSIDE]):
        mark, _, name = tag.partition("-")
        continues = mark in ("I", "E") and before in ("B", "I") and name == kind
        if not continues:
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
