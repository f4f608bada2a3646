"""A training loop written by hand, of the same arithmetic as `ftr run`: what a step costs without
anything around it.

The same order of rows, padding, precision, attention, dropout masks, optimizer, schedule and
clipping; no checkpoints, no log, no loss read, no validation, one pass a step.
"""

import argparse
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch  # noqa: TID253 (a process that only trains)
from datasets import Dataset  # noqa: TID253
from transformers import (  # noqa: TID253
    DataCollatorWithPadding,
    get_linear_schedule_with_warmup,
)

from ftr.config.schema import TrainConfig
from ftr.train.batches import BatchPlan, by_length
from ftr.train.hardware import choose_numerics, moved
from ftr.train.inference import autocast, prepare_model

INPUTS = (
    *("input_ids", "token_type_ids", "attention_mask"),
    *("label", "start_positions", "end_positions"),
)
WARMUP = 0.1
EVALUATED = 64
"""Rows of a batch of predictions."""


class Loop:
    """Has what `plain.py` uses of a `Trainer`: `train`, `predict`, `state` and `add_callback`."""

    def __init__(
        self, args: argparse.Namespace, model: Any, tokenizer: Any, training: Dataset
    ) -> None:
        self.args, self.clock = args, SimpleNamespace()
        self.numerics = choose_numerics(TrainConfig(precision=args.precision))
        self.model = prepare_model(model, self.numerics)
        self.run = torch.compile(self.model, dynamic=True) if args.compile else self.model
        self.pad = DataCollatorWithPadding(tokenizer)
        self.rows = self._rows(training)
        self.state = SimpleNamespace(global_step=0)

    def add_callback(self, clock: Any) -> None:
        """Take the clock of the training."""
        self.clock = clock

    def train(self) -> None:
        """Train for the epochs asked for."""
        args, model = self.args, self.model.train()
        lengths = np.array([len(row["input_ids"]) for row in self.rows], dtype=np.int64)
        plan = BatchPlan(lengths, args.batch_size, args.seed)
        optimizer = torch.optim.AdamW(self._groups(), lr=args.learning_rate, fused=True)
        steps = int(len(plan) * args.epochs)
        schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP * steps), steps)
        self.clock.on_train_begin()
        for step in range(steps):
            epoch, place = divmod(step, len(plan))
            if place == 0:
                batches = plan.epoch(epoch)
            with autocast(self.numerics.device, args.precision):
                loss = self.run(**self._inputs([self.rows[row] for row in batches[place]])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        float(loss)  # a GPU has finished its steps
        self.clock.on_train_end()
        self.state.global_step = steps

    def predict(self, split: Dataset) -> Any:
        """Return the outputs for all rows, those of a row padded with -100."""
        self.model.eval()
        rows = self._rows(split)
        lengths = [len(row["input_ids"]) for row in rows]
        found: list[Any] = [None] * len(rows)
        for batch in by_length(lengths, EVALUATED, 1 << 62):
            with torch.inference_mode():
                outputs = self.model(**self._inputs([rows[row] for row in batch])).to_tuple()
            for place, row in enumerate(batch):
                found[row] = [one[place].float().cpu().numpy() for one in outputs if one.dim() > 1]
        width = max(len(one) for each in found for one in each)
        columns = [
            np.stack([np.pad(one, (0, width - len(one)), constant_values=-100.0) for one in column])
            for column in zip(*found, strict=True)
        ]
        return SimpleNamespace(predictions=columns[0] if len(columns) == 1 else tuple(columns))

    def _rows(self, split: Dataset) -> list[dict[str, Any]]:
        names = [name for name in INPUTS if name in split.column_names]
        return list(split.select_columns(names))

    def _inputs(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        device = torch.device(self.numerics.device)
        return {name: moved(tensor, device) for name, tensor in self.pad(rows).items()}

    def _groups(self) -> list[dict[str, Any]]:
        named = list(self.model.named_parameters())
        decayed = [one for name, one in named if one.dim() > 1]
        rest = [one for name, one in named if one.dim() <= 1]
        return [
            {"params": decayed, "weight_decay": TrainConfig().weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
