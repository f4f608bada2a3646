"""The training set as optimizer steps: each item is this worker's micro-batches of one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ftr.train.inference import feature_rows
from ftr.train.sampling import BatchPlan, Indices, Share, micro_batches

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

    from ftr.protocols import Head

TOKENS_PER_MICRO_BATCH = {"cpu": 4096, "cuda": 16384, "mps": 4096}
ROWS_PER_MICRO_BATCH = 1024


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One forward pass: the model's inputs and how many examples in them are this worker's (0: only to keep step)."""

    inputs: dict[str, Tensor]
    examples: int


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
    ) -> None:
        """Cut steps of `plan` into passes of at most `limit` examples and `token_limit` padded tokens."""
        self.features, self.plan, self.share = features, plan, share
        self.head, self.tokenizer = head, tokenizer
        self.limit, self.token_limit = limit, token_limit
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Order the steps for `epoch`."""
        self.batches = self.plan.epoch(epoch)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> list[MicroBatch]:
        batch = self.batches[step]
        rows = self.share.of(batch)
        if not len(rows):
            return [MicroBatch(self._inputs(batch[:1]), 0)]
        return [MicroBatch(self._inputs(part), len(part)) for part in micro_batches(rows, self.plan.lengths, self.limit, self.token_limit)]

    def _inputs(self, rows: Indices) -> dict[str, Tensor]:
        return self.head.collate(feature_rows(self.features, rows), self.tokenizer)


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


def micro_limits(asked: int | str, device: str) -> tuple[int, int | None]:
    """Return (examples, padded tokens) of one forward pass for `train.micro_batch`."""
    if isinstance(asked, int):
        return asked, None
    return ROWS_PER_MICRO_BATCH, TOKENS_PER_MICRO_BATCH[device]
