"""Checks of how a head makes batches, and of what the model makes of them."""

from __future__ import annotations

import inspect
import math

import pytest

from ftr.registry.protocols import provides
from ftr.testing.contract import Conformance, broken, must_work, require
from ftr.testing.subjects import HeadSubject

CLOSE = 1e-5
"""Farthest apart that outputs may be, and ten times that for each unit of their size: single
precision summed in another order.
"""


class BatchChecks(Conformance):
    """What must hold of `collate`, of the model's outputs and of `loss`."""

    def test_a_batch_is_what_the_model_takes(self, ftr_head: HeadSubject) -> None:
        for targets in (True, False):
            batch = ftr_head.batch(ftr_head.features(targets=targets))
            taken = inspect.signature(ftr_head.model.forward).parameters
            # Models of transformers take any other keyword too, and do nothing with it.
            odd = [name for name in batch if name not in taken] if "input_ids" in taken else []
            require(
                not odd,
                f"`collate` of {ftr_head} returns exactly keyword arguments of the model's "
                "`forward`",
                f"`{type(ftr_head.model).__name__}.forward` has no "
                f"{', '.join(f'`{name}`' for name in odd)}",
                ftr_head.advice(
                    "collate",
                    "leave out of the batch what only `reduce` needs: it gets the features "
                    "themselves",
                ),
            )
            ftr_head.ask(ftr_head.model, batch)

    def test_the_mask_covers_the_tokens_and_no_padding(self, ftr_head: HeadSubject) -> None:
        if "attention_mask" not in inspect.signature(ftr_head.model.forward).parameters:
            pytest.skip("its model takes no attention mask")
        features = ftr_head.features()
        batch = ftr_head.batch(features)
        promise = (
            f"`attention_mask` of {ftr_head} is 1 at the tokens of each feature and 0 at its "
            "padding"
        )
        change = ftr_head.advice(
            "collate",
            "let `ftr.plugin.pad` make it: the pad token of a decoder is a real one as well",
        )
        if (
            "attention_mask" not in batch
            or batch["attention_mask"].shape != batch["input_ids"].shape
        ):
            broken(promise, "there is no mask of the shape of `input_ids`", change)
        for number, feature in enumerate(features):
            length, mask = len(feature["input_ids"]), batch["attention_mask"][number]
            covered = batch["input_ids"][number][mask.bool()].tolist()
            found = f"feature {number} has {length} tokens, its mask {int(mask.sum())} ones"
            require(
                int(mask.sum()) == length and covered == list(feature["input_ids"]),
                promise,
                found,
                change,
            )

    def test_a_row_is_answered_alike_alone_and_in_a_batch(self, ftr_head: HeadSubject) -> None:
        import torch

        features = ftr_head.features(targets=False)
        if len({len(feature["input_ids"]) for feature in features}) == 1:
            pytest.skip("all its features have one length: there is no padding")
        together = ftr_head.ask(ftr_head.model, ftr_head.batch(features))
        for number, feature in enumerate(features):
            alone = ftr_head.ask(ftr_head.model, ftr_head.batch([feature]))
            for name, value in alone.items():
                if (
                    not isinstance(value, torch.Tensor)
                    or not value.is_floating_point()
                    or value.dim() == 0
                ):
                    continue
                part = together[name][number][tuple(slice(size) for size in value.shape[1:])]
                apart = float((part - value[0]).abs().max())
                require(
                    apart <= CLOSE + 10 * CLOSE * float(value.abs().max()),
                    f"the model of {ftr_head} answers a feature alike alone and in a padded batch",
                    f"`{name}` of feature {number} is {apart:.3g} apart",
                    ftr_head.advice(
                        "build",
                        "hand the attention mask to every layer, and read no output at padding (a "
                        "decoder's last token is not column -1)",
                    ),
                )

    def test_the_loss_is_finite(self, ftr_head: HeadSubject) -> None:
        import torch

        with torch.no_grad():
            loss = float(ftr_head.loss(ftr_head.model, ftr_head.batch(ftr_head.features())))
        require(
            math.isfinite(loss),
            f"the loss of {ftr_head} is a finite number",
            f"it is {loss} on the first batch",
            ftr_head.advice(
                "loss",
                "look for a logarithm of 0, a division by a count of 0, or targets outside the "
                "classes",
            ),
        )

    def test_the_loss_is_a_mean_that_knows_no_padding(self, ftr_head: HeadSubject) -> None:
        """A batch is cut into parts that fit into memory, or for several workers; each weighs by
        its terms.
        """
        import torch

        from ftr.train.batches import MicroBatch
        from ftr.train.steps import loss_terms

        features = ftr_head.features()
        total, weights = 0.0, 0
        with torch.no_grad():
            whole = float(ftr_head.loss(ftr_head.model, ftr_head.batch(features)))
            for feature in features:
                inputs = ftr_head.batch([feature])
                weight = loss_terms(MicroBatch(inputs, 1))
                total += weight * float(ftr_head.loss(ftr_head.model, inputs)) if weight else 0.0
                weights += weight
        parts = total / max(weights, 1)
        require(
            abs(whole - parts) <= CLOSE + 10 * CLOSE * abs(whole),
            f"the loss of {ftr_head} is the mean over a batch, however the batch is cut: padding "
            "is no part of it",
            f"it is {whole:.5g} for {len(features)} features together, {parts:.5g} as the mean of "
            "each alone",
            ftr_head.advice(
                "loss",
                "mask padding out of sums, softmaxes and counts, and divide by the examples, or by "
                "the `labels` that are not -100",
            ),
        )

    def test_row_losses_are_the_parts_of_the_loss(self, ftr_head: HeadSubject) -> None:
        import torch

        head = ftr_head.head
        if not provides(head, "row_losses"):
            pytest.skip(
                "it has no `row_losses`, which the default is only for cross entropy: override "
                "`row_losses` for `train.class_weights` and `train.label_smoothing`"
            )
        promise = (
            f"the mean of `row_losses` of {ftr_head} without smoothing is its loss, and the loss "
            "of an example knows no other"
        )
        features = ftr_head.features()
        with torch.no_grad():
            inputs = ftr_head.batch(features)
            change = ftr_head.advice("row_losses", "return a tensor of shape (batch,)")
            with must_work(promise, change):
                losses = head.row_losses(ftr_head.forward(ftr_head.model, inputs), inputs, 0.0)
                shape = tuple(losses.shape)
            require(
                shape == (len(features),),
                promise,
                f"the shape is {shape} for {len(features)} examples",
                ftr_head.advice("row_losses", "return one loss for each"),
            )
            whole = float(ftr_head.loss(ftr_head.model, inputs))
            first = ftr_head.batch(features[:1])
            alone = float(head.row_losses(ftr_head.forward(ftr_head.model, first), first, 0.0)[0])
        pairs = {
            "their mean": (float(losses.mean()), whole),
            "the first, alone,": (alone, float(losses[0])),
        }
        for name, (found, wanted) in pairs.items():
            require(
                abs(found - wanted) <= CLOSE + 10 * CLOSE * abs(wanted),
                promise,
                f"{name} is {found:.5g}, not {wanted:.5g}",
                ftr_head.advice(
                    "row_losses",
                    "compute it and `loss` from the same formula, and mask padding out of it",
                ),
            )
