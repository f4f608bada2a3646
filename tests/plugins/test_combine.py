"""What the built-in heads make of the outputs of several models."""

from __future__ import annotations

import numpy as np
import pytest

from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from ftr_plugins.extractive_qa.spans import search


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_classes_get_the_mean_of_the_probabilities(scale: float) -> None:
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput

    head, generator = SequenceClassificationHead(), torch.Generator().manual_seed(1)
    logits = [scale * torch.randn(4, 3, generator=generator) for _ in range(3)]
    combined = head.combine([SequenceClassifierOutput(logits=one) for one in logits])
    expected = torch.stack([one.double().softmax(dim=-1) for one in logits]).mean(dim=0)
    assert np.allclose(np.stack(head.reduce(combined, [])), expected, atol=1e-6)


def test_half_precision_probabilities_are_averaged_in_single_precision() -> None:
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput

    head = SequenceClassificationHead()
    outputs = [
        SequenceClassifierOutput(logits=torch.tensor([[one, 0.0]], dtype=torch.bfloat16))
        for one in (0.5, 3.0)
    ]
    expected = (torch.tensor([0.5, 0.0]).softmax(0) + torch.tensor([3.0, 0.0]).softmax(0)) / 2
    assert np.allclose(head.reduce(head.combine(outputs), [])[0], expected, atol=1e-6)


def test_every_span_scores_the_mean_of_its_scores_also_where_one_model_would_not_keep_it() -> None:
    import torch
    from transformers.modeling_outputs import QuestionAnsweringModelOutput

    head = ExtractiveQAHead()
    feature = {
        "context_start": 1,
        "null_position": 0,
        "offset_start": [0, 2, 4],
        "offset_end": [2, 4, 6],
    }
    start = [torch.tensor([[1.0, 9.0, 0.0, 5.0]]), torch.tensor([[3.0, -9.0, 1.0, 4.0]])]
    end = [torch.tensor([[1.0, 9.0, 0.0, 0.5]]), torch.tensor([[5.0, -9.0, 2.0, 1.0]])]
    given = [
        QuestionAnsweringModelOutput(start_logits=a, end_logits=b)
        for a, b in zip(start, end, strict=True)
    ]
    combined = head.combine(given)
    (found,) = search(combined["start_logits"], combined["end_logits"], [feature], 20, 30)
    alone = [search(one["start_logits"], one["end_logits"], [feature], 20, 30)[0] for one in given]
    assert found["null"] == 5.0 == (alone[0]["null"] + alone[1]["null"]) / 2
    scores = [
        {
            (int(a), int(b)): float(score)
            for a, b, score in zip(one["start"], one["end"], one["score"], strict=True)
        }
        for one in (found, *alone)
    ]
    assert (
        scores[0] == {span: (scores[1][span] + scores[2][span]) / 2 for span in scores[0]}
        and len(scores[0]) == 6
    )
    # The best of the first alone is another: with its n-best only, the span below would have had no
    # score there.
    assert max(scores[1], key=scores[1].__getitem__) == (0, 2) and max(
        scores[0], key=scores[0].__getitem__
    ) == (4, 6)
