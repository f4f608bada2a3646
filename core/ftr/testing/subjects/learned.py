"""A model that knows a few rows by heart: what a head that is right in every part can be brought to
in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ftr.registry.protocols import Prediction, Row, State
    from ftr.registry.schema import Column
    from ftr.testing.subjects.head import HeadSubject

STEPS = 200
SMALL = 1_000_000
"""Parameters of a model that takes a high learning rate."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained model, its loss before and after, and what it answers to the rows it was trained
    on.
    """

    model: PreTrainedModel
    before: float
    after: float
    state: State
    predictions: list[Prediction]


def learn(subject: HeadSubject) -> Learned:
    """Train on all rows of a subject, as one batch without dropout, until the loss is a hundredth
    or `STEPS` are done.
    """
    import torch

    model = subject.build()
    features = subject.features()
    size = sum(parameter.numel() for parameter in model.parameters())
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=5e-3 if size < SMALL else 3e-4, weight_decay=0.0
    )
    losses: list[float] = []
    for _ in range(STEPS):
        loss = subject.loss(model, subject.batch(features))
        losses.append(float(loss.detach()))
        if losses[-1] <= losses[0] / 100 or losses[-1] != losses[-1]:
            break
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    records = subject.grouped(model)
    state = subject.tune(records)
    return Learned(model, losses[0], losses[-1], state, subject.decode(records, state))


def told(
    pairs: Sequence[tuple[Row, Prediction]], column: Column, labels: tuple[str, ...]
) -> list[bool] | None:
    """Return of each row and its prediction whether that says what stands in the column; None: its
    form does not show it.

    Looked for are class names (or ids, where there are no names), lists of them, an answer's text,
    and a number no farther off than a fifth of the distance between the smallest and the largest
    that is to be learned.
    """
    cells = [row[column.name] for row, _ in pairs]
    spread = max(cells) - min(cells) if column.type == "number" else 0.0
    found = [
        _tells(
            [value for key, value in prediction.items() if key != "id"],
            cell,
            column,
            labels,
            spread,
        )
        for (_, prediction), cell in zip(pairs, cells, strict=True)
    ]
    return None if None in found else [bool(one) for one in found]


def _tells(
    values: list[Any], cell: Any, column: Column, labels: tuple[str, ...], spread: float
) -> bool | None:
    if column.type == "label":
        return _one_of(values, cell, labels)
    if column.type == "labels":
        names = [labels[number] for number in cell]
        lists = [
            list(value)
            for value in values
            if isinstance(value, list | tuple) and all(item in labels for item in value)
        ]
        # A set has no order, and names nothing twice; the classes of tokens have one.
        return (
            any(
                one == names or (len(set(names)) == len(names) and set(one) == set(names))
                for one in lists
            )
            if lists
            else None
        )
    if column.type == "number":
        numbers = [
            value
            for value in values
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        return any(abs(number - cell) <= spread / 5 for number in numbers) if numbers else None
    if column.type == "answers":
        strings = [value for value in values if isinstance(value, str)]
        return any(text in strings for text in cell["text"] or [""]) if strings else None
    return None


def _one_of(values: list[Any], number: int, labels: tuple[str, ...]) -> bool | None:
    names = [value for value in values if isinstance(value, str) and value in labels]
    if names:
        return names[0] == labels[number]
    numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    return number in numbers if numbers else None
