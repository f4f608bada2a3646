"""The metric of `token-classification`: an entity counts when type and both ends are right."""

from collections import Counter
from collections.abc import Sequence

from ftr_plugins.token_classification.entities import entities, is_tag

CITATION = "Tjong Kim Sang, De Meulder: Introduction to the CoNLL-2003 Shared Task (2003)"


def entity_f1(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float | dict[str, float]]:
    """Return `entity_f1`, `entity_precision` and `entity_recall` over all entities (micro), each
    also `_per_type`, and `tag_accuracy`, 0 to 1.

    Predictions and references are lists of tags, one for each word. An entity counts when its type
    and both its ends are right. Equal to `seqeval` in its default mode, see `entities`; a ratio of
    0/0 is 0.0. A word without its counterpart is a wrong tag. Raises `ValueError` for what is no
    tag.
    """
    found, true, right = Counter[str](), Counter[str](), Counter[str]()
    same = words = 0
    for number, (predicted, gold) in enumerate(zip(predictions, references, strict=True)):
        for tag in {*predicted, *gold}:
            if not is_tag(tag):
                raise ValueError(
                    f"row {number}: `{tag}` is no tag: `O`, or `B-` or `I-` and a type"
                )
        given, wanted = set(entities(predicted)), set(entities(gold))
        found.update(entity.type for entity in given)
        true.update(entity.type for entity in wanted)
        right.update(entity.type for entity in given & wanted)
        same += sum(one == other for one, other in zip(predicted, gold, strict=False))
        words += max(len(predicted), len(gold))
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
