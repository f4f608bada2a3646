"""The span search is exact, and windows of one question are merged as in the published script."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from ftr_plugins.extractive_qa.spans import WindowRecord, merge, search


def window(first: int, count: int, null: int = 0) -> dict[str, Any]:
    """Make a window whose context tokens are three characters each."""
    return {
        "context_start": first,
        "null_position": null,
        "offset_start": [3 * n for n in range(count)],
        "offset_end": [3 * n + 3 for n in range(count)],
    }


def record(null: float, *spans: tuple[float, int, int]) -> WindowRecord:
    """Make a record of spans (score, start, end)."""
    score, start, end = (
        (list(column) for column in zip(*spans, strict=True)) if spans else ([], [], [])
    )
    return {
        "null": null,
        "score": np.array(score, dtype=np.float32),
        "start": np.array(start, dtype=np.int32),
        "end": np.array(end, dtype=np.int32),
    }


def by_hand(
    start: Sequence[float], end: Sequence[float], feature: dict[str, Any], longest: int
) -> list[tuple[float, int, int]]:
    """Score every pair of tokens in turn."""
    first, count = feature["context_start"], len(feature["offset_start"])
    pairs = [(a, b) for a, b in product(range(count), range(count)) if a <= b < a + longest]
    scored = [
        (start[first + a] + end[first + b], feature["offset_start"][a], feature["offset_end"][b])
        for a, b in pairs
    ]
    return sorted(scored, key=lambda span: -span[0])


@pytest.mark.parametrize("longest", [1, 4, 30, 500])
def test_the_search_finds_the_best_spans_of_every_window(longest: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(longest)
    features = [
        window(5, 20),
        window(1, 6, null=29),
        window(12, 18, null=3),
        window(29, 1),
        window(0, 0),
    ]
    start, end = torch.randn(5, 30, generator=generator), torch.randn(5, 30, generator=generator)
    found = search(start, end, features, 10, longest)
    for index, (feature, one) in enumerate(zip(features, found, strict=True)):
        expected = by_hand(start[index].tolist(), end[index].tolist(), feature, longest)[:10]
        assert one["null"] == pytest.approx((start + end)[index, feature["null_position"]].item())
        assert one["score"].tolist() == pytest.approx([score for score, _, _ in expected], abs=1e-6)
        spans = list(zip(one["start"].tolist(), one["end"].tolist(), strict=True))
        assert spans == [(begin, stop) for _, begin, stop in expected]


def test_half_precision_logits_are_scored_in_single_precision() -> None:
    import torch

    start = torch.tensor([[0.0, 200.0, 0.0]], dtype=torch.bfloat16)
    end = torch.tensor([[0.0, 0.5, 0.25]], dtype=torch.bfloat16)
    found = search(start, end, [window(1, 2)], 2, 30)[0]
    assert found["score"].tolist() == [200.5, 200.25]


def test_records_hold_copies_not_the_logits_of_the_batch() -> None:
    import torch

    found = search(torch.zeros(2, 64), torch.zeros(2, 64), [window(1, 40), window(1, 40)], 20, 30)
    assert all(one["score"].base is None and len(one["score"]) == 20 for one in found)


def test_the_best_span_and_the_least_null_score_come_from_any_window() -> None:
    best = merge(
        "0123456789", [record(4.0, (1.0, 0, 2)), record(3.0, (7.0, 4, 6), (2.0, 5, 6))], 20
    )
    assert (best["text"], best["start"], best["end"], best["diff"]) == ("45", 4, 6, -4.0)


def test_a_span_in_two_windows_counts_once() -> None:
    best = merge("0123456789", [record(0.0, (2.0, 4, 6)), record(0.0, (1.0, 4, 6))], 20)
    assert best["probability"] == pytest.approx(np.exp(2) / (np.exp(2) + 1))
    assert best["probability"] + best["null_probability"] == pytest.approx(1)


def test_white_space_at_the_ends_is_left_out_and_a_blank_span_is_no_answer() -> None:
    best = merge("in  the mill ", [record(0.0, (9.0, 2, 4), (5.0, 3, 13))], 20)
    assert (best["text"], best["start"], best["end"]) == ("the mill", 4, 12)


def test_a_row_without_any_span_has_no_answer() -> None:
    best = merge("\u200b", [record(0.5)], 20)
    assert (best["text"], best["start"], best["diff"], best["null_probability"]) == (
        "",
        None,
        None,
        1.0,
    )
