"""The loss, the combination and the baseline of a number."""

from __future__ import annotations

import pytest

from ftr.registry.protocols import provides
from ftr_plugins.regression.head import RegressionHead


def test_the_loss_is_computed_in_single_precision_also_of_one_row() -> None:
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput

    outputs = SequenceClassifierOutput(logits=torch.tensor([[1.0]], dtype=torch.bfloat16))
    loss = RegressionHead().loss(outputs, {"labels": torch.tensor([1.001])})
    assert loss.dtype == torch.float32 and float(loss) == pytest.approx(1e-6, rel=1e-3)


def test_several_models_give_the_mean_of_their_numbers() -> None:
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput

    head = RegressionHead()
    outputs = [
        SequenceClassifierOutput(logits=torch.tensor([[a], [b]]))
        for a, b in [(1.0, 2.0), (2.0, 5.0)]
    ]
    assert head.reduce(head.combine(outputs), []) == [1.5, 3.5]


def test_what_makes_no_sense_for_numbers_is_not_there() -> None:
    head = RegressionHead()
    assert not provides(head, "vote") and not provides(head, "row_losses")


def test_the_outcome_of_a_number_is_its_distance_without_a_confidence() -> None:
    rows = [{"id": "a", "text": "x", "score": 2.0}]
    (outcome,) = RegressionHead().outcomes(rows, [{"id": "a", "score": 2.75}], ())
    assert (outcome.predicted, outcome.expected) == ("2.75", "2")
    assert outcome.error == 0.75 and not outcome.right and outcome.confidence is None


def test_the_baseline_is_the_mean_of_the_training_rows() -> None:
    train = [{"id": str(n), "text": "x", "score": float(n)} for n in range(4)]
    found = RegressionHead().baselines(
        train, {"test": [{"id": "a", "text": "y", "score": 9.0}]}, ()
    )
    assert found == {"mean": {"test": [{"id": "a", "score": 1.5}]}}
