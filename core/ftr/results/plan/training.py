"""Seconds, memory and disk of one training, from its probe."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ftr.config.schema import RunConfig
from ftr.data.rows import HELD_OUT
from ftr.registry.registry import Registry
from ftr.results.plan.arithmetic import estimate, steps_of
from ftr.results.plan.fit import Fit
from ftr.results.plan.probe import Probe, probe
from ftr.runs.prepare import Prepared
from ftr.train.batches import Shard
from ftr.train.costs import checkpoints_at_once, validations
from ftr.train.hardware import Shape
from ftr.train.optim import step_count

ALL_REDUCE = 4e8
"""Bytes of gradients a second that workers on one machine sum by gloo."""
RAY_BYTES = 600_000_000
"""Memory of Ray's own processes on one machine: raylet, GCS, agents, idle workers (ray 2.60)."""
RAY_SECONDS = 5.0
"""Seconds to start and stop Ray on this machine."""
PREDICTION_BYTES = 300
"""Of a line of `predictions/`."""
Seconds = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the process that plans learned before the model.

    Seconds of its imports, of reading the data, and of the baselines; the memory it held after the
    imports (`base`, of which `shared` are pages of libraries), at most while it read (`reading`),
    and after that (`read`).
    """

    imports: float
    seconds: float
    base: int
    shared: int
    reading: int
    read: int
    baselines: float = 0.0


@dataclass(kw_only=True)
class Training:
    """One training that is planned: a run, or one of the trials of a sweep."""

    config: RunConfig
    prepared: Prepared
    registry: Registry
    probe: Probe
    epoch: list[list[Shape]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        config: RunConfig,
        prepared: Prepared,
        registry: Registry,
        *,
        steps: bool,
        threads: int | None = None,
    ) -> Training:
        """Time a few steps, or compute what they cost."""
        world = max(config.compute.workers, 1)
        make = probe if steps else estimate
        found = make(config, prepared, registry, world=world, threads=threads)
        return cls(config=config, prepared=prepared, registry=registry, probe=found).planned()

    def planned(self) -> Training:
        """Return it with the shapes of its first epoch."""
        from ftr.train.steps import micro_limits

        device = self.probe.numerics["device"]
        limits = micro_limits(self.config.train.micro_batch_size, device)
        shard = Shard(0, max(self.config.compute.workers, 1))
        steps = steps_of(self.config, self.prepared, self.registry, shard, *limits)
        self.epoch = [steps.shapes(one) for one in steps.batches]
        return self

    def like(self, config: RunConfig) -> Training:
        """Return the training of a configuration that differs in its steps alone: their number and
        size.
        """
        return Training(
            config=config, prepared=self.prepared, registry=self.registry, probe=self.probe
        ).planned()

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return step_count(self.config, len(self.epoch))

    @property
    def validations(self) -> int:
        """Evaluations on validation rows within the training."""
        return validations(self.config, self.steps) if "validation" in self.prepared.splits else 0

    @cached_property
    def step_seconds(self) -> float:
        """The mean seconds of a step, with the sum over workers."""
        mean = float(np.mean([self.probe.step.seconds(one) for one in self.epoch]))
        several = self.config.compute.workers > 1
        return mean + several * self.probe.tensors.gradients / ALL_REDUCE

    @property
    def training(self) -> Seconds:
        """The seconds of `build`, `train`, `validate` and `save`, as every trial has them."""
        train = self.probe.warm + self.steps * self.step_seconds
        each = self.evaluation("validation", self.probe.predict) if self.validations else 0.0
        saves = max(self.validations, 1) * self.probe.save
        validate = self.validations * each
        return {
            "build": self.probe.build,
            "train": train,
            "validate": validate,
            "save": saves + self._checkpoint_seconds(train + validate),
        }

    @property
    def scoring(self) -> Seconds:
        """The seconds of what comes before and after a run's training: the untrained model's
        scores, and the last ones.
        """
        held_out = [name for name in HELD_OUT if name in self.prepared.splits]
        asked = self.config.train.eval_on_start and held_out
        untrained = self.evaluation(held_out[-1], self.probe.predict) if asked else 0.0
        last = sum(self.evaluation(name, self.probe.final) for name in held_out)
        return {"untrained": untrained, "predict": last + self.probe.restore}

    def evaluation(self, split: str, by: Fit) -> float:
        """Return the seconds to predict, decode and score a split."""
        from ftr.train.inference import evaluation_batches, open_split

        encoded = open_split(self.prepared.splits[split], keep=False)
        lengths, device = encoded.lengths, self.probe.numerics["device"]
        batches = evaluation_batches(lengths, self.config.train.eval_batch_size, device)
        forward = sum(by.seconds([(len(one), int(lengths[one].max()))]) for one in batches)
        rows = len(encoded.rows) * (self.probe.decode + self.probe.score)
        return forward / max(self.config.compute.workers, 1) + rows

    def _checkpoint_seconds(self, training: float) -> float:
        from ftr.train.checkpoint_manager import SECONDS_BETWEEN, SHARE

        if not checkpoints_at_once(self.config, training, self.steps):
            return 0.0
        tensors, every = self.probe.tensors, self.config.train.save_steps
        each = self.probe.save * tensors.checkpoint / max(tensors.saved, 1)
        if every == "auto":
            return min(SHARE * training, training / SECONDS_BETWEEN * each)
        return self.steps // every * each

    @property
    def memory(self) -> int:
        """The bytes that the model, its training and its batches add to a process; of one of
        several workers, with the buckets of `DistributedDataParallel`.
        """
        several = self.config.compute.workers > 1
        return self.probe.peak - self.probe.held + several * self.probe.tensors.gradients

    @property
    def disk(self) -> tuple[int, int]:
        """The most bytes its directory has, and those that stay."""
        parts = self.training
        seconds = parts["train"] + parts["validate"]
        checkpoints = checkpoints_at_once(self.config, seconds, self.steps)
        most = self.probe.tensors.disk(checkpoints, self.validations)
        more = self.probe.model_bytes - self.probe.tensors.saved
        rows = sum(self.prepared.splits[one].row_count for one in self.prepared.splits)
        predictions = PREDICTION_BYTES * (rows - self.prepared.splits["train"].row_count)
        return most + more + predictions, self.probe.model_bytes + predictions


def encoded_bytes(prepared: Prepared) -> int:
    """Return the bytes of the encoded rows in the cache."""
    from pathlib import Path

    return sum(
        Path(path).stat().st_size
        for split in prepared.splits.values()
        for path in (split.rows, split.features)
    )


STEP_KEYS = ("epochs", "batch_size", "learning_rate", "seed", "init_seed", "output", "baselines")
FREE_KEYS = (
    *("lr_scheduler", "warmup", "weight_decay", "max_grad_norm", "layerwise_decay"),
    *("evaluate_every", "early_stopping_patience", "logging_steps", "save_steps", "keep"),
    *("save_total_limit", "eval_on_start", "label_smoothing", "dropout", "attention_dropout"),
)


def cost_key(config: RunConfig) -> dict[str, Any]:
    """Return the part of a configuration that decides what a step of a given shape costs."""
    dumped = config.model_dump(mode="json", exclude=set(STEP_KEYS))
    dumped["train"] = {key: value for key, value in dumped["train"].items() if key not in FREE_KEYS}
    return dumped


class Clock:
    """Seconds since it began (None: now), or since the last lap."""

    def __init__(self, began: float | None = None) -> None:
        self.began = time.monotonic() if began is None else began

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = time.monotonic()
        found, self.began = now - self.began, now
        return found
