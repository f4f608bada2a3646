"""A few timed steps of a real training, over batches of all lengths: seconds and memory."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ftr import atomic
from ftr.config.schema import RunConfig
from ftr.registry.registry import Registry
from ftr.results.plan.fit import Fit, fit, spread
from ftr.runs.directory import RunDirectory
from ftr.runs.prepare import Prepared
from ftr.runs.run import session_spec
from ftr.train.batches import BatchPlan, Indices, Shard
from ftr.train.checkpoint import Evaluation
from ftr.train.costs import Tensors, memory_now, peak_since, tensors_of
from ftr.train.hardware import Shape
from ftr.train.inference import EncodedSplit, Engine, evaluation_batches
from ftr.train.loader import Steps
from ftr.train.progress import Meter
from ftr.train.session import Session, SessionSpec

STEPS = 7
"""Steps that are timed, after one to warm up."""
MOST_SECONDS = 20.0
"""No further step is timed after this."""
ROWS = 48
"""Held-out rows that are predicted, decoded and scored."""


class EnoughError(Exception):
    """The steps that were timed suffice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a few steps of a training showed: seconds, and bytes.

    `step`, `predict` (while training) and `final` (at the end, in fp32) give seconds by shape;
    `decode` and `score` are the seconds of a row after its prediction. `held` is the memory before
    the model was built, `peak` the most there was after.
    """

    step: Fit
    predict: Fit
    final: Fit
    decode: float
    score: float
    warm: float
    build: float
    save: float
    restore: float
    held: int
    peak: int
    tensors: Tensors
    model_bytes: int
    parameters: dict[str, Any]
    trains: str
    numerics: dict[str, Any]
    timed: int
    gpu: int | None = None


@dataclass(frozen=True, slots=True)
class ChosenPlan(BatchPlan):
    """An epoch of a few batches of another plan."""

    chosen: tuple[Indices, ...] = ()

    def __len__(self) -> int:
        """Steps in the epoch."""
        return len(self.chosen)

    def epoch(self, epoch: int) -> list[Indices]:
        """Return the batches."""
        return list(self.chosen)


class TimedMeter(Meter):
    """Keeps the seconds of each step, and ends the training when it has taken long enough."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps=steps, epochs=1.0)
        self.each: list[float] = []

    def add(self, examples: int, *losses: float) -> None:
        """Count a finished step."""
        before = self.seconds
        super().add(examples, *losses)
        self.each.append(self.seconds - before)
        if len(self.each) == self.steps or (self.seconds > MOST_SECONDS and len(self.each) > 2):
            raise EnoughError


class ProbeSession(Session):
    """A training of a few chosen steps, without evaluations in between."""

    world_asked = 1
    steps: Steps

    def _steps(self) -> Steps:
        steps = super()._steps()
        steps.share = Shard(0, self.world_asked)
        steps.set_epoch(0)
        shapes = map(steps.shapes, steps.batches)
        costs = [sum(rows * longest for rows, longest in one) for one in shapes]
        order = spread(costs, STEPS)
        # One is trained on twice: the first step warms up, and is not counted.
        chosen = tuple(steps.batches[index] for index in [order[-1], *order])
        plan = steps.plan
        steps.plan = ChosenPlan(
            plan.lengths, plan.batch_size, plan.seed, plan.probabilities, chosen
        )
        steps.set_epoch(0)
        self.steps = steps
        self.meter = TimedMeter(len(chosen))
        return steps

    def evaluate_validation(self) -> dict[str, float]:
        """Evaluate nothing."""
        return {self.scorer.primary: 0.0}


def probe(
    config: RunConfig,
    prepared: Prepared,
    registry: Registry,
    *,
    world: int = 1,
    threads: int | None = None,
) -> Probe:
    """Train a few steps of `config` and return what they cost; the model is thrown away.

    `world` is the number of workers, of which this is one, with as many `threads`. Raises what the
    training would.
    """
    before = torch.get_num_threads()
    try:
        with atomic.scratch("plan") as scratch:
            return _Probing(config, prepared, registry, world, threads, Path(scratch)).all()
    finally:
        torch.set_num_threads(before)


def probed_config(config: RunConfig) -> RunConfig:
    """Return the configuration of the timed steps: all that ever trains does so at once, and
    nothing is saved.
    """
    train = config.train.model_copy(update={"save_steps": 0})
    if train.unfreeze is not None:
        train = train.model_copy(update={"freeze": None, "unfreeze": None, "frozen_epochs": 1.0})
    compute = config.compute.model_copy(update={"workers": 0})
    trainer = {key: value for key, value in config.trainer.items() if key != "max_steps"}
    return config.model_copy(
        update={"train": train, "compute": compute, "trainer": trainer, "epochs": 1.0}
    )


class _Probing:
    def __init__(
        self,
        config: RunConfig,
        prepared: Prepared,
        registry: Registry,
        world: int,
        threads: int | None,
        folder: Path,
    ) -> None:
        peak_since(reset=True)
        self.held = memory_now()
        probed = probed_config(config)
        spec = session_spec(RunDirectory(folder), probed, prepared, progress=False)
        self.session = ProbeSession(SessionSpec(**{**spec, "threads": threads or spec["threads"]}))
        self.session.world_asked = world
        self.registry, self.config, self.folder = registry, config, folder
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def all(self) -> Probe:
        session, engine = self.session, self.session.engine
        frozen = tensors_of(engine.model, self.config)
        times, shapes = self._train()
        optimizer = sum(
            value.numel() * value.element_size()
            for state in session.trainer.optimizer.state.values()
            for value in state.values()
            if isinstance(value, torch.Tensor)
        )
        held_out = {name: one for name, one in session.splits.items() if name != "train"}
        predict = final = Fit()
        decode = score = 0.0
        if held_out:
            split = max(held_out.values(), key=lambda one: len(one.features))
            predict, decode, score = _evaluated(session, engine, split)
            final = predict
            if engine.precision != "fp32":
                final, *_ = _evaluated(session, replace(engine, precision="fp32"), split)
        began = time.monotonic()
        session.best_checkpoint.save(engine, Evaluation(0.0))
        saved = time.monotonic()
        session.best_checkpoint.restore(engine)
        model = sum(one.stat().st_size for one in session.best_checkpoint.model.iterdir())
        return Probe(
            step=fit(times[1:], shapes[1:]),
            predict=predict,
            final=final,
            decode=decode,
            score=score,
            warm=max(times[0] - float(np.median(times[1:] or times)), 0.0),
            build=session.timings["build"],
            save=saved - began,
            restore=time.monotonic() - saved,
            held=self.held,
            peak=peak_since(),
            tensors=replace(frozen, optimizer=optimizer),
            model_bytes=model,
            parameters=session.trains.record(session.trains.last),
            trains=session.trains.line(session.trains.last),
            numerics={
                "device": session.numerics.device,
                "precision": session.numerics.precision,
                "attention": session.numerics.attention,
                "threads": torch.get_num_threads(),
            },
            timed=len(times) - 1,
            gpu=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        )

    def _train(self) -> tuple[list[float], list[list[Shape]]]:
        with contextlib.suppress(EnoughError):
            self.session.train()
        steps, meter = self.session.steps, self.session.meter
        assert isinstance(meter, TimedMeter)  # `_steps` sets it
        return meter.each, [steps.shapes(one) for one in steps.batches[: len(meter.each)]]


def _evaluated(session: Session, engine: Engine, split: EncodedSplit) -> tuple[Fit, float, float]:
    """Return the seconds of a batch by shape, and those of a row to decode and to score it."""
    lengths, owners = split.lengths, split.owners
    longest = np.zeros(len(split.rows), dtype=np.int64)
    np.maximum.at(longest, owners, lengths)
    chosen = sorted(spread(longest.tolist(), ROWS))
    members = np.flatnonzero(np.isin(owners, chosen)).astype(np.int64)
    size, device = engine.eval_batch_size, engine.model.device.type
    whole = evaluation_batches(lengths, size, device)
    sizes = [len(batch) * int(lengths[batch].max()) for batch in whole]
    batches = [whole[index] for index in spread(sizes, 3)]
    own = [members[batch] for batch in evaluation_batches(lengths[members], size, device)]
    found: dict[int, Any] = {}
    engine.reduce_batch(split.features, own[-1])  # warms up
    times: list[float] = []
    for batch in [*batches, *own]:
        began = time.monotonic()
        records = engine.reduce_batch(split.features, batch)
        times.append(time.monotonic() - began)
        found.update(zip(batch.tolist(), records, strict=True))
    shapes = [[(len(batch), int(lengths[batch].max()))] for batch in [*batches, *own]]
    rows = split.rows.select(chosen).to_list()
    grouped = [[found[index] for index in np.flatnonzero(owners == row).tolist()] for row in chosen]
    state = engine.head.calibrate(rows, grouped, engine.labels)
    began = time.monotonic()
    predictions = engine.decode(rows, grouped, state)
    decoded = time.monotonic()
    half = len(rows) // 2
    seconds = []
    for count in (half, half, len(rows)):  # the first imports what the metrics need
        start = time.monotonic()
        with contextlib.suppress(Exception):  # some metrics need two classes
            session.scorer.score(engine.head, rows[:count], predictions[:count], engine.labels)
        seconds.append(time.monotonic() - start)
    each = max(seconds[2] - seconds[1], 0.0) / max(len(rows) - half, 1)
    return fit(times, shapes), (decoded - began) / len(rows), each
