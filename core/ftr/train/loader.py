"""Loads the optimizer steps of a training: which rows make up each, cut into passes and padded."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from ftr.registry.protocols import Head
from ftr.train.batches import BatchPlan, Indices, MicroBatch, Shard, micro_batches
from ftr.train.hardware import Shape, rng_state


def feature_rows(features: datasets.Dataset, batch: Indices) -> list[dict[str, Any]]:
    """Return the features of `batch`, in its order, as dicts of Python values."""
    columns = features[batch.tolist()]
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


class Steps(Dataset[list[MicroBatch]]):
    """Map-style dataset of optimizer steps, in the order of the current epoch."""

    def __init__(
        self,
        features: datasets.Dataset,
        plan: BatchPlan,
        share: Shard,
        head: Head,
        tokenizer: PreTrainedTokenizerBase,
        limit: int,
        token_limit: int | None,
        weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Cut steps of `plan` into passes of at most `limit` examples and `token_limit` padded
        tokens.

        `weights` are the weights of the examples in the loss.
        """
        self.features, self.plan, self.share = features, plan, share
        self.head, self.tokenizer = head, tokenizer
        self.limit, self.token_limit, self.weights = limit, token_limit, weights
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Order the steps for `epoch`."""
        self.batches = self.plan.epoch(epoch)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> list[MicroBatch]:
        batch = self.batches[step]
        rows = self.share.of(batch)
        return self.cut(rows) if len(rows) else [self._micro(batch[:1], 0)]

    def shapes_of_all(self, batch: Indices) -> list[Shape]:
        """Return the shapes of the passes of all workers over a batch."""
        world = self.share.world
        shares = (Shard(rank, world) for rank in range(world))
        return [shape for share in shares for shape in self.shapes(batch, share)]

    def shapes(self, batch: Indices, share: Shard | None = None) -> list[Shape]:
        """Return the shapes of a worker's passes over a batch, by default this one's, without
        reading its rows.
        """
        rows, lengths = (share or self.share).of(batch), self.plan.lengths
        rows = rows if len(rows) else batch[:1]
        parts = micro_batches(rows, lengths, self.limit, self.token_limit)
        return [(len(part), int(lengths[part].max())) for part in parts]

    def cut(self, rows: Indices) -> list[MicroBatch]:
        """Return the passes for `rows` within the present limits."""
        return [
            self._micro(part, len(part))
            for part in micro_batches(rows, self.plan.lengths, self.limit, self.token_limit)
        ]

    def cut_again(self, passes: list[MicroBatch]) -> list[MicroBatch]:
        """Return the passes for the rows of `passes` within the present limits."""
        if not passes[0].examples:
            return passes
        return self.cut(np.concatenate([micro.rows for micro in passes if micro.rows is not None]))

    def _micro(self, rows: Indices, examples: int) -> MicroBatch:
        inputs = self.head.collate(feature_rows(self.features, rows), self.tokenizer)
        weights = None if self.weights is None else torch.from_numpy(self.weights[rows])
        return MicroBatch(inputs, examples, rows, int(self.plan.lengths[rows].max()), weights)


class StepLoader(DataLoader[list[MicroBatch]]):
    """Returns one step at a time, in the order that `Steps` has.

    Each is a batch of one item to torch, so that `accelerate.skip_first_batches` can leave out the
    steps before a checkpoint without reading them.
    """

    def __init__(self, steps: Steps) -> None:
        super().__init__(steps, batch_size=1, shuffle=False, collate_fn=itemgetter(0))


def read_ahead(steps: Iterator[list[MicroBatch]]) -> Iterator[list[MicroBatch]]:
    """Yield what `steps` yields; a thread reads the next one while the caller works on the last.

    A `collate` that draws random numbers is not read ahead: they would be drawn before those of
    the step under way, and a checkpoint between both would repeat them.
    """
    before = rng_state("cpu")
    found = next(steps, None)
    if any(not torch.equal(state, before[name]) for name, state in rng_state("cpu").items()):
        while found is not None:
            yield found
            found = next(steps, None)
        return
    with ThreadPoolExecutor(1) as pool:
        while found is not None:
            coming = pool.submit(next, steps, None)
            yield found
            found = coming.result()
