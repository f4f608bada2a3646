"""Which examples make up each optimizer step: a function of lengths, seed and epoch alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
POOL_BATCHES = 50
"""Batches a length-sorted pool holds: as in the `group_by_length` sampler of transformers (its `mega_batch_mult`)."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The batches of a training set whose examples have `lengths` tokens, `batch_size` examples a step.

    Every epoch shuffles the examples, cuts them into pools, sorts each pool by length so that a batch holds
    examples of like length, and shuffles the batches. Every example is in exactly one batch of an epoch, unless
    `chances` says with which probability each is drawn: then an epoch is as many draws, with replacement.
    """

    lengths: Indices
    batch_size: int
    seed: int
    chances: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Steps in an epoch."""
        return math.ceil(len(self.lengths) / self.batch_size)

    def epoch(self, epoch: int) -> list[Indices]:
        """Return the batches of an epoch: arrays of row numbers, the only short one last."""
        rng = np.random.default_rng([self.seed, epoch])
        count = len(self.lengths)
        order = rng.permutation(count) if self.chances is None else rng.choice(count, count, p=self.chances)
        pool = self.batch_size * POOL_BATCHES
        batches: list[Indices] = []
        for start in range(0, len(order), pool):
            members = order[start : start + pool]
            members = members[np.argsort(-self.lengths[members], kind="stable")]
            batches += [members[i : i + self.batch_size] for i in range(0, len(members), self.batch_size)]
        short = [batch for batch in batches if len(batch) < self.batch_size]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        return [full[i] for i in rng.permutation(len(full))] + short


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's part of every batch: rows `rank`, `rank + world`, ... of it, longest first."""

    rank: int = 0
    world: int = 1

    def of(self, batch: Indices) -> Indices:
        """Return this worker's rows; may be empty in a short last batch."""
        return batch[self.rank :: self.world]


def micro_batches(rows: Indices, lengths: Indices, limit: int, token_limit: int | None) -> list[Indices]:
    """Cut `rows` into runs of like length.

    Each run has at most `limit` rows and, when `token_limit` is given, at most that many tokens once padded to its
    longest (a single longer row stands alone). Equal cuts for equal lengths: the result depends on nothing else.
    """
    ordered = rows[np.argsort(-lengths[rows], kind="stable")]
    return list(_runs(ordered, lengths, limit, token_limit))


def _runs(rows: Indices, lengths: Indices, limit: int, token_limit: int | None) -> Iterator[Indices]:
    start = 0
    while start < len(rows):
        longest = max(int(lengths[rows[start]]), 1)
        room = limit if token_limit is None else min(limit, max(token_limit // longest, 1))
        yield rows[start : start + room]
        start += room


def by_length(lengths: Sequence[int] | Indices, limit: int, token_limit: int) -> list[Indices]:
    """Return all examples once, longest first, in runs for evaluation: the first run shows at once whether memory holds."""
    known = np.asarray(lengths, dtype=np.int64)
    return micro_batches(np.arange(len(known), dtype=np.int64), known, limit, token_limit)
