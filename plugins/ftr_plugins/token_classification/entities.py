"""Entities of a tagged sentence, and their scores."""

from collections import Counter
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


def entity_scores(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float | dict[str, float]]:
    """Return `entity_f1`, `entity_precision` and `entity_recall` over all entities (micro), each
    also `_per_type`, and `tag_accuracy`, 0 to 1.

    Predictions and references are lists of tags, one for each word. An entity counts when its type
    and both its ends are right. Equal to `seqeval` in its default mode, see `entities`; a ratio of
    0/0 is 0.0. Raises `ValueError` for tags and words of different number, and for what is no tag.
    """
    found, true, right = Counter[str](), Counter[str](), Counter[str]()
    same = words = 0
    for number, (predicted, gold) in enumerate(zip(predictions, references, strict=True)):
        if len(predicted) != len(gold):
            raise ValueError(
                f"row {number}: {len(predicted)} predicted tags for {len(gold)} true ones"
            )
        for tag in {*predicted, *gold}:
            if not is_tag(tag):
                raise ValueError(
                    f"row {number}: `{tag}` is no tag: `O`, or `B-` or `I-` and a type"
                )
        given, wanted = set(entities(predicted)), set(entities(gold))
        found.update(entity.type for entity in given)
        true.update(entity.type for entity in wanted)
        right.update(entity.type for entity in given & wanted)
        same += sum(one == other for one, other in zip(predicted, gold, strict=True))
        words += len(gold)
    scores: dict[str, float | dict[str, float]] = {
        "entity_f1": _ratio(2 * right.total(), found.total() + true.total()),
        "entity_precision": _ratio(right.total(), found.total()),
        "entity_recall": _ratio(right.total(), true.total()),
        "tag_accuracy": _ratio(same, words),
    }
    types = sorted({*found, *true})
    return scores | {
        "entity_f1_per_type": {
            name: _ratio(2 * right[name], found[name] + true[name]) for name in types
        },
        "entity_precision_per_type": {name: _ratio(right[name], found[name]) for name in types},
        "entity_recall_per_type": {name: _ratio(right[name], true[name]) for name in types},
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def check_tags(labels: Sequence[str]) -> None:
    """Raise `DataError` for classes that are no tags."""
    strange = [label for label in labels if not is_tag(label)]
    if strange:
        raise DataError(
            f"the column `tags` holds `{strange[0]}`, which is no BIO tag: write `O`, or `B-` and "
            "`I-` before the type, such as `B-PER`. Numbers must be replaced by the names they "
            "stand for."
        )
