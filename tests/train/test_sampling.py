"""Batches: every example once an epoch, in an order that follows from lengths, seed and epoch
alone.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ftr.train.batches import POOL_BATCHES, BatchPlan, Indices, Shard, by_length, micro_batches


def lengths_of(count: int, seed: int = 0) -> Indices:
    """Return lengths from 1 to 199."""
    return np.random.default_rng(seed).integers(1, 200, count, dtype=np.int64)


@pytest.mark.parametrize(
    ("count", "batch"), [(1, 4), (8, 4), (1001, 8), (1001, 1), (5, 5), (3, 2000)]
)
def test_every_example_is_in_one_batch_of_an_epoch_and_only_the_last_is_short(
    count: int, batch: int
) -> None:
    plan = BatchPlan(lengths_of(count), batch, seed=0)
    for epoch in (0, 1, 7):
        batches = plan.epoch(epoch)
        assert sorted(np.concatenate(batches).tolist()) == list(range(count))
        assert len(batches) == len(plan) and {len(part) for part in batches[:-1]} <= {batch}


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    plan, same, other = (BatchPlan(lengths_of(100), 8, seed) for seed in (0, 0, 1))
    flat = {
        (name, epoch): tuple(np.concatenate(p.epoch(epoch)).tolist())
        for name, p in zip("pso", (plan, same, other), strict=True)
        for epoch in (0, 1)
    }
    assert flat["p", 0] == flat["s", 0] and flat["p", 1] == flat["s", 1]
    assert len({flat["p", 0], flat["p", 1], flat["o", 0], flat["o", 1]}) == 4


def test_the_order_is_the_same_in_another_process() -> None:
    code = (
        "import numpy as np; np.random.seed(5); from ftr.train.batches import BatchPlan;"
        "print(np.concatenate(BatchPlan(np.arange(1, 101) % 17, 8, 3).epoch(2)).tolist())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert told == str(np.concatenate(BatchPlan(np.arange(1, 101) % 17, 8, 3).epoch(2)).tolist())


def test_batches_hold_examples_of_like_length_and_come_in_no_order_of_length() -> None:
    lengths = lengths_of(8 * POOL_BATCHES)
    batches = BatchPlan(lengths, 8, seed=0).epoch(0)
    assert np.mean([np.ptp(lengths[batch]) for batch in batches]) < 8
    means = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_the_shares_of_the_workers_partition_every_batch(world: int) -> None:
    for batch in BatchPlan(lengths_of(30), 4, seed=0).epoch(0):
        shares = [Shard(rank, world).of(batch).tolist() for rank in range(world)]
        assert sorted(row for part in shares for row in part) == sorted(batch.tolist())
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("limit", "tokens"), [(1, None), (3, None), (1000, 256), (2, 256), (1000, 10)]
)
def test_micro_batches_stay_within_their_limits(limit: int, tokens: int | None) -> None:
    lengths = lengths_of(60)
    rows = np.arange(10, 60, dtype=np.int64)
    parts = micro_batches(rows, lengths, limit, tokens)
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()
    for part in parts:
        assert len(part) <= limit
        assert tokens is None or len(part) == 1 or len(part) * lengths[part].max() <= tokens


def test_an_empty_example_and_no_examples_make_no_trouble() -> None:
    assert [
        part.tolist() for part in micro_batches(np.arange(2), np.zeros(2, dtype=np.int64), 8, 16)
    ] == [[0, 1]]
    assert micro_batches(np.arange(0), np.zeros(0, dtype=np.int64), 8, 16) == []


def test_evaluation_takes_every_example_once_longest_first() -> None:
    lengths = lengths_of(77)
    parts = by_length(lengths, 10, 500)
    order = np.concatenate(parts)
    assert sorted(order.tolist()) == list(range(77))
    assert np.all(np.diff(lengths[order]) <= 0)
    assert all(
        len(part) <= 10 and (len(part) == 1 or len(part) * lengths[part].max() <= 500)
        for part in parts
    )
