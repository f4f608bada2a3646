"""The training set as optimizer steps: each item is this worker's micro-batches of one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ftr.train.inference import feature_rows
from ftr.train.memory import Ladder
from ftr.train.sampling import BatchPlan, Indices, Share, micro_batches

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

    from ftr.config.training import TrainConfig
    from ftr.protocols import Head

TOKENS_PER_MICRO_BATCH = {"cpu": 4096, "cuda": 16384, "mps": 4096}
ROWS_PER_MICRO_BATCH = 1024


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One forward pass: the model's inputs and how many examples in them are this worker's (0: only to keep step).

    `rows` are the numbers of the examples, `longest` the tokens of the longest of them; `weights`, of shape (examples,), says
    how much each weighs in the loss, None that all weigh the same.
    """

    inputs: dict[str, Tensor]
    examples: int
    rows: Indices | None = None
    longest: int = 0
    weights: Tensor | None = None


class Steps(Dataset[list[MicroBatch]]):
    """Map-style dataset of optimizer steps, in the order of the current epoch."""

    def __init__(
        self,
        features: datasets.Dataset,
        plan: BatchPlan,
        share: Share,
        head: Head,
        tokenizer: PreTrainedTokenizerBase,
        limit: int,
        token_limit: int | None,
        weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Cut steps of `plan` into passes of at most `limit` examples and `token_limit` padded tokens.

        `weights` says how much each example weighs in the loss.
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

    def cut(self, rows: Indices) -> list[MicroBatch]:
        """Return the passes for `rows` within the present limits."""
        return [self._micro(part, len(part)) for part in micro_batches(rows, self.plan.lengths, self.limit, self.token_limit)]

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
    """Hands out one step at a time, in the order that `Steps` has.

    Each is a batch of one item to torch, so that `accelerate.skip_first_batches` can leave out the steps before a checkpoint
    without reading them.
    """

    def __init__(self, steps: Steps) -> None:
        """Read `steps` in order."""
        super().__init__(steps, batch_size=1, shuffle=False, collate_fn=_only)


def _only(batch: list[list[MicroBatch]]) -> list[MicroBatch]:
    (step,) = batch
    return step


def top_of_ladder(train: TrainConfig, device: str) -> Ladder:
    """Return the sizes of passes that a training on `device` begins with."""
    rows, tokens = micro_limits(train.micro_batch, device)
    return Ladder(rows, tokens, auto=train.micro_batch == "auto", top=tokens, checkpointing=train.activation_checkpointing)


def micro_limits(asked: int | str, device: str) -> tuple[int, int | None]:
    """Return (examples, padded tokens) of one forward pass for `train.micro_batch`."""
    if isinstance(asked, int):
        return asked, None
    return ROWS_PER_MICRO_BATCH, TOKENS_PER_MICRO_BATCH[device]
