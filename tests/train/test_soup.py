"""ExponentialMovingAverage of weights: exact, and of those only that do not make the score worse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ftr.train.ensemble import Weights, architecture_difference, greedy_soup
from ftr.train.scoring import Scorer


def scorer(mode: str = "max") -> Scorer:
    """Return a scorer that only compares."""
    return Scorer(modules={}, owners={}, primary="x", mode=mode)


def weights(*values: float) -> Weights:
    """Return weights, with a counter that is no weight."""
    return {"w": torch.tensor(values), "seen": torch.tensor(len(values) * 10)}


def near(target: Sequence[float], sign: float = -1.0) -> Any:
    """Return a score that is best where the weights are `target`."""
    return lambda given: sign * float((given["w"] - torch.tensor(target)).abs().sum())


def test_the_soup_keeps_what_brings_it_nearer_and_leaves_out_what_takes_it_away() -> None:
    candidates = [
        weights(0.0, 4.0),
        weights(9.0, 9.0),
        weights(4.0, 0.0),
        weights(-8.0, -8.0),
        weights(2.0, 2.0),
    ]
    soup = greedy_soup(candidates, near((2.0, 2.0)), scorer())
    assert (
        soup.kept == (0, 2, 4)
        and torch.equal(soup.weights["w"], torch.tensor([2.0, 2.0]))
        and soup.value == 0
    )
    assert soup.tried == pytest.approx((-4.0, -7.0, 0.0, -20 / 3, 0.0))
    assert int(soup.weights["seen"]) == 20
    assert torch.equal(candidates[0]["w"], torch.tensor([0.0, 4.0]))


def test_less_is_better_where_the_metric_says_so() -> None:
    candidates = [weights(0.0), weights(3.0), weights(4.0)]
    assert greedy_soup(candidates, near((2.0,), 1.0), scorer("min")).kept == (0, 1, 2)
    assert greedy_soup(candidates, near((0.0,), 1.0), scorer("min")).kept == (0,)


def test_an_equal_score_is_kept_and_none_at_all_is_not() -> None:
    given = [weights(1.0), weights(2.0), weights(6.0)]
    assert greedy_soup(given, lambda tried: 0.5, scorer()).kept == (0, 1, 2)
    assert greedy_soup(
        given, lambda tried: float("nan") if float(tried["w"]) == 1.5 else 0.5, scorer()
    ).kept == (0, 2)


def test_the_mean_is_of_the_members_and_not_of_means() -> None:
    torch.manual_seed(0)
    given = [{"w": torch.randn(50)} for _ in range(5)]
    soup = greedy_soup(given, lambda tried: 0.0, scorer())
    assert torch.allclose(
        soup.weights["w"], torch.stack([one["w"] for one in given]).mean(dim=0), atol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"hidden_dropout_prob": 0.3, "transformers_version": "1"}, None),
        ({"num_attention_heads": 4}, "its `num_attention_heads` is 4, not 2"),
        ({"model_type": "roberta"}, "its `model_type` is 'roberta', not 'bert'"),
    ],
)
def test_what_the_config_says_decides_whether_weights_mean_the_same(
    change: dict[str, Any], cause: str | None, tiny_bert: Path, tmp_path: Path
) -> None:
    config = json.loads((tiny_bert / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    assert architecture_difference(tiny_bert, tmp_path) == cause
