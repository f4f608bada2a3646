"""Checks of the model that a head builds, and of what it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ftr.testing.contract import Conformance, broken, require
from ftr.testing.subjects import HeadSubject
from ftr.testing.subjects.head import told

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

RATE = 1e-3
LEARNED = 0.5
"""Share of its first value that the loss must fall below when a few rows are learned by heart."""
RIGHT = 0.6
"""Share of the rows learned by heart that must be answered right: a label off by one gets none,
chance about one in a few.
"""


class LearningChecks(Conformance):
    """What must hold of `build`, and of training what it built."""

    def test_the_body_keeps_its_pretrained_weights(self, ftr_head: HeadSubject) -> None:
        import torch
        from transformers import AutoModel

        body = dict(ftr_head.source.load(AutoModel).named_parameters())
        built = dict(ftr_head.model.base_model.named_parameters())
        shared = [name for name in body if name in built]
        promise = (
            f"`build` of {ftr_head} returns a model with the pretrained weights of the one it is "
            "given"
        )
        if not shared:
            pytest.skip("its body has other names than those of the pretrained model")
        changed = [
            name
            for name in shared
            if body[name].shape != built[name].shape or not torch.equal(body[name], built[name])
        ]
        odd = [name for name in changed if "pooler" not in name]
        change = ftr_head.advice(
            "build",
            "build it with `model.load(AutoModelFor...)`, and initialise nothing but new weights",
        )
        require(
            not odd,
            promise,
            f"{len(odd)} of {len(shared)} weights are others, the first `{odd[0] if odd else ''}`",
            change,
        )

    def test_the_new_weights_follow_the_seed(self, ftr_head: HeadSubject) -> None:
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(11)
            one = _new_weights(ftr_head.build(1))
            torch.manual_seed(12)
            again = _new_weights(ftr_head.build(1))
            torch.manual_seed(11)
            other = _new_weights(ftr_head.build(2))
        if not one:
            pytest.skip("its model has no new weights")
        promise = (
            f"the new weights that `build` of {ftr_head} draws follow from `seed`, and from "
            "nothing else"
        )
        change = ftr_head.advice(
            "build", "call `transformers.set_seed(seed)` before the weights are drawn"
        )
        moved = [name for name in one if not torch.equal(one[name], again[name])]
        require(
            not moved,
            promise,
            f"`{moved[0] if moved else ''}` differs between two builds with one seed",
            change,
        )
        drawn = [
            name for name in one if one[name].numel() > 1 and float(one[name].float().std()) > 0
        ]
        if not drawn:
            pytest.skip("its new weights are constants")
        require(
            any(not torch.equal(one[name], other[name]) for name in drawn),
            promise,
            f"`{drawn[0]}` is the same with seeds 1 and 2",
            change,
        )

    def test_gradients_reach_the_head_and_the_body(self, ftr_head: HeadSubject) -> None:
        import torch

        model = ftr_head.build()
        loss = ftr_head.loss(model, ftr_head.batch(ftr_head.features()))
        promise = (
            f"the gradient of the loss of {ftr_head} reaches its new weights and the pretrained "
            "ones"
        )
        change = ftr_head.advice(
            "loss",
            "compute the loss from the outputs as they are: no `detach`, `argmax`, `.item()` or "
            "`no_grad` on the way",
        )
        if not loss.requires_grad:
            broken(promise, "the loss has no gradient", change)
        torch.autograd.backward(loss)
        new = set(_new_weights(model))
        dead = [
            name
            for name, weight in model.named_parameters()
            if name in new and weight.requires_grad and not _has_gradient(weight)
        ]
        require(
            not dead,
            promise,
            f"`{dead[0] if dead else ''}` gets none",
            f"{change}; leave out weights that take no part",
        )
        trained = [
            weight
            for name, weight in model.named_parameters()
            if name not in new and weight.requires_grad
        ]
        require(
            not trained or any(map(_has_gradient, trained)),
            promise,
            "no weight of the body gets one",
            change,
        )

    def test_two_steps_reduce_the_loss(self, ftr_head: HeadSubject) -> None:
        import torch

        model = ftr_head.build()
        inputs = ftr_head.batch(ftr_head.features())
        optimizer = torch.optim.AdamW(
            [weight for weight in model.parameters() if weight.requires_grad],
            lr=RATE,
            weight_decay=0.0,
        )
        losses = []
        for _ in range(3):
            loss = ftr_head.loss(model, inputs)
            losses.append(float(loss.detach()))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        require(
            losses[2] < losses[0],
            f"two steps on one batch reduce the loss of {ftr_head}",
            f"it went from {losses[0]:.5g} to {losses[2]:.5g} (learning rate {RATE})",
            ftr_head.advice(
                "loss",
                "look at the sign of the loss, and whether its targets are those of the batch",
            ),
        )

    def test_what_it_learned_it_tells(self, ftr_head: HeadSubject) -> None:
        """A few rows are learned by heart; `encode`, `loss`, `reduce` and `decode` must then agree
        on what is what.
        """
        columns = [column for column in ftr_head.head.schema.columns if column.target]
        learned = ftr_head.learned
        require(
            learned.after < LEARNED * learned.before,
            f"{ftr_head} can learn {len(ftr_head.rows)} rows by heart",
            f"the loss went from {learned.before:.4g} to {learned.after:.4g} only",
            ftr_head.advice(
                "encode",
                "look at whether the columns for the loss belong to the rows they stand at; give "
                "rows that are all different",
            ),
        )
        pairs = list(zip(ftr_head.rows, learned.predictions, strict=True))
        for column in columns:
            right = told(pairs, column, ftr_head.labels)
            if right is None:
                continue
            row, prediction = pairs[right.index(False) if False in right else 0]
            require(
                sum(right) >= RIGHT * len(right),
                f"what {ftr_head} predicts is what it learned: `encode`, `loss`, `reduce` and "
                "`decode` mean the same by an index",
                f"of {len(right)} rows learned by heart (loss {learned.after:.3g}) {sum(right)} "
                f"are answered right; where `{column.name}` is "
                f"{_shown(row[column.name], ftr_head.labels, column.type)} it predicted "
                f"{_short(prediction)}",
                ftr_head.advice(
                    ftr_head.answers,
                    "look for an index that is off by one, or in another order than `labels`; "
                    "`encode` and `reduce` must mean the same by it",
                ),
            )


def _new_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    body = f"{model.base_model_prefix}."
    return {
        name: weight.detach().clone()
        for name, weight in model.named_parameters()
        if not name.startswith(body)
    }


def _has_gradient(weight: Tensor) -> bool:
    return weight.grad is not None and bool(weight.grad.abs().sum() > 0)


def _shown(cell: object, labels: tuple[str, ...], kind: str) -> str:
    if kind == "label" and isinstance(cell, int):
        return repr(labels[cell])
    if kind == "labels" and isinstance(cell, list):
        return repr([labels[number] for number in cell])
    return repr(cell)


def _short(prediction: object) -> str:
    text = repr(prediction)
    return text if len(text) <= 200 else f"{text[:199]}…"
