"""The metric of `token-classification`: an entity counts when type and both ends are right."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftr.plugin import additive
from ftr_plugins.classification.metrics import ratio
from ftr_plugins.token_classification.entities import entities, is_tag

CITATION = "Tjong Kim Sang, De Meulder: Introduction to the CoNLL-2003 Shared Task (2003)"


Tags = Sequence[Sequence[str]]


def _per_sentence(predictions: Tags, references: Tags) -> dict[str, NDArray[Any]]:
    """Return the tags that are right, the words, and by type (`found PER`) the entities of each
    sentence: found, true, and both (`right`).

    Raises `ValueError` for what is no tag.
    """
    rows = len(references)
    columns = {name: np.zeros(rows, dtype=np.int64) for name in ("same", "words")}
    for row, (predicted, gold) in enumerate(zip(predictions, references, strict=True)):
        for tag in {*predicted, *gold}:
            if not is_tag(tag):
                raise ValueError(f"row {row}: `{tag}` is no tag: `O`, or `B-` or `I-` and a type")
        given, wanted = set(entities(predicted)), set(entities(gold))
        for name, some in (("found", given), ("true", wanted), ("right", given & wanted)):
            for entity in some:
                key = f"{name} {entity.type}"
                columns.setdefault(key, np.zeros(rows, dtype=np.int64))[row] += 1
        columns["same"][row] = sum(
            one == other for one, other in zip(predicted, gold, strict=False)
        )
        columns["words"][row] = max(len(predicted), len(gold))
    return columns


def _from_sums(sums: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    types = sorted({name.partition(" ")[2] for name in sums if " " in name})
    none = np.zeros_like(sums["words"])
    found, true, right = (
        {kind: sums.get(f"{name} {kind}", none) for kind in types}
        for name in ("found", "true", "right")
    )
    found_all, true_all, right_all = (sum(one.values(), none) for one in (found, true, right))
    return {
        "entity_f1": ratio(2 * right_all, found_all + true_all),
        "entity_precision": ratio(right_all, found_all),
        "entity_recall": ratio(right_all, true_all),
        "tag_accuracy": ratio(sums["same"], sums["words"]),
        "entity_f1_per_type": {
            kind: ratio(2 * right[kind], found[kind] + true[kind]) for kind in types
        },
        "entity_precision_per_type": {kind: ratio(right[kind], found[kind]) for kind in types},
        "entity_recall_per_type": {kind: ratio(right[kind], true[kind]) for kind in types},
    }


@additive(_per_sentence, _from_sums, perfect=1.0)
def entity_f1(predictions: Tags, references: Tags) -> dict[str, float | dict[str, float]]:
    """Return `entity_f1`, `entity_precision` and `entity_recall` over all entities (micro), each
    also `_per_type`, and `tag_accuracy`, 0 to 1.

    Predictions and references are lists of tags, one for each word. An entity counts when its type
    and both its ends are right. Equal to `seqeval` in its default mode, see `entities`; a ratio of
    0/0 is 0.0. A word without its counterpart is a wrong tag. Raises `ValueError` for what is no
    tag.
    """
    columns = _per_sentence(predictions, references)
    scores = _from_sums({name: np.asarray(column.sum()) for name, column in columns.items()})
    return {
        name: {kind: float(one) for kind, one in value.items()}
        if isinstance(value, dict)
        else float(value)
        for name, value in scores.items()
    }
