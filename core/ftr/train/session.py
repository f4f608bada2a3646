"""One training in one process: from a spec of plain values to its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback

from ftr import atomic
from ftr.config.schema import RunConfig
from ftr.data.clean import as_given
from ftr.data.encode import StoredSplit
from ftr.model.adapters import local_base, merged
from ftr.model.components import encode_targets
from ftr.model.export import ModelCard
from ftr.model.parameters import Trains
from ftr.registry.registry import Registry, get_registry
from ftr.train.batches import BatchPlan, Share, Weighting, weigh
from ftr.train.best import Best, Kept, Stopping
from ftr.train.checkpoint import METRICS, begin_history, evaluations, keep_history
from ftr.train.hardware import (
    Numerics,
    choose_numerics,
    describe_hardware,
    device_name,
    numerics_for,
)
from ftr.train.inference import build_engine, open_split, settle_memory
from ftr.train.losses import Objective
from ftr.train.memory import Memory, checkpoint_activations
from ftr.train.optim import Averages, check_requests, rates_of, step_count, training_arguments
from ftr.train.progress import Meter, ProgressLine, stop_of_this_thread
from ftr.train.scoring import Scorer, Scores, headline
from ftr.train.snapshot import Snapshots
from ftr.train.steps import Steps, top_of_ladder
from ftr.train.trainer import Averaging, StepTrainer, Unfreezing, Watch

if TYPE_CHECKING:
    from ftr.registry.protocols import Prediction, State
    from ftr.train.checkpoint import Checkpoint
    from ftr.train.inference import EncodedSplit


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """All that crosses to the processes of a training: plain values, no model, no trainer.

    `splits` says where the encoded rows lie, `folder` is the run directory, `card` what `ftr.json`
    will hold. With `final` false nothing is scored before and after the training: only `model/` and
    the evaluations are left. `warm` keeps the model as it was built in memory for the next training
    of this process; `checkpoint_always` writes one after every evaluation. `weights` is a `.npy`
    file with the weight of each training row in the loss, where they differ.
    """

    config: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    folder: str
    card: dict[str, Any]
    threads: int | None = None
    progress: bool = True
    final: bool = True
    warm: bool = False
    ranked: tuple[str, str] | None = None
    checkpoint_always: bool = False
    report_everywhere: bool = False
    free: tuple[str, ...] = ()
    weights: str | None = None


def make_trainer(session: Session, scratch: Path) -> StepTrainer:
    """Return the trainer of a session, and say what it will train; `scratch` is a folder for files
    that nobody needs later.

    Sets the session's `weighting`, and the number of steps on its `meter`.
    """
    config, engine, say = session.config, session.engine, session.line.say
    options, head, ladder, train = (
        config.train,
        engine.head,
        session.memory.training,
        session.splits["train"],
    )
    session.weighting = weigh(
        options, head, session.card.labels, train.rows, train.owners, session.row_weights
    )
    plan = BatchPlan(train.lengths, config.batch_size, config.seed, session.weighting.chances)
    share = Share(session.rank, session.world)
    steps = Steps(
        train.features,
        plan,
        share,
        head,
        engine.tokenizer,
        ladder.rows,
        ladder.tokens,
        session.weighting.weights,
    )
    session.meter.steps = step_count(config, len(plan))
    scorer = session.scorer if "validation" in session.splits else None
    averages = Averages(engine.model, options.ema) if options.ema is not None else None
    _say_plan(session)
    trainer = StepTrainer(
        model=engine.model,
        args=training_arguments(
            config, session.numerics, scratch, scorer, session.world > 1, session.meter.steps
        ),
        steps=steps,
        tokenizer=engine.tokenizer,
        evaluate=session.evaluate_and_keep,
        meter=session.meter,
        snapshots=session.snapshots,
        stop=session.stop,
        report=session.report if session.rank == 0 or session.report_everywhere else None,
        callbacks=[
            Watch(session.line, session.meter, session.record),
            Unfreezing(session.trains, len(plan), say, session.record),
            *([Averaging(averages)] if averages is not None else []),
        ],
        objective=Objective(head, options.label_smoothing),
        ladder=ladder,
        say=say,
        # What thaws after the model was wrapped, `DistributedDataParallel` would not sum.
        apart=options.unfreeze is not None,
        averages=averages,
        rates=rates_of(session.trains.parts, config),
    )
    if session.snapshots.free and session.stopping.stopped:
        # A trial that goes on with other settings has its patience before it again.
        session.stopping.stopped, session.stopping.since = None, 0
    trainer.over = session.stopping.stopped is not None
    trainer.remove_callback(PrinterCallback)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        session.snapshots.give_up(
            "FSDP and DeepSpeed cut the optimizer's state into parts that are not read back yet"
        )
    return trainer


def _say_plan(session: Session) -> None:
    """Say what trains, and what of the request will not come out as it may have been meant."""
    say, options, steps = session.line.say, session.config.train, session.meter.steps
    say(f"training {session.trains.line(session.trains.first)}")
    if options.warmup >= max(steps, 2):
        say(
            f"`train.warmup={options.warmup:g}` is no shorter than the training of {steps} steps: "
            "the learning rate comes to its peak only at the end"
        )
    base = local_base(session.engine.model)
    if base and not options.lora.merge:
        say(
            f"the adapters in `model/` name their base by its place on this machine, `{base}`: "
            "elsewhere it must be there too; `train.lora.merge=true` writes a checkpoint that "
            "needs no other"
        )


Report = Callable[[dict[str, Any]], None]


class Session:
    """The model, data and numbers of one process of a training, new or gone on with from its last
    checkpoint.
    """

    def __init__(
        self,
        spec: SessionSpec,
        registry: Registry | None = None,
        report: Report | None = None,
        *,
        trains: bool = True,
    ) -> None:
        """Build head, model and scorer, and choose the numerics. Raises what the components raise.

        `report` is called in the first process after every evaluation, when the run directory is in
        order. A session that does not train leaves checkpoints and `metrics.jsonl` alone.
        """
        self.began = time.monotonic()
        self.config, self.report = RunConfig.model_validate(spec.config), report
        self.report_everywhere = spec.report_everywhere
        self.folder = Path(spec.folder)
        self.registry = registry or get_registry()
        self.rank, self.world = _process_group()
        if spec.threads:
            torch.set_num_threads(spec.threads)
        self.card = ModelCard(
            **{
                **spec.card,
                "labels": tuple(spec.card["labels"]),
                "metrics": tuple(spec.card["metrics"]),
            }
        )
        self.splits = {
            name: open_split(StoredSplit(**place), keep=spec.warm)
            for name, place in spec.splits.items()
        }
        self.line = ProgressLine(enabled=spec.progress and self.rank == 0)
        self.scorer = Scorer.of(self.registry, self.config.metrics, spec.ranked)
        self.kept = Kept(
            self.folder, self.card, self.rank, self.world, merge=self.config.train.lora.merge
        )
        self.timings: dict[str, float] = {}
        self.untrained: Scores | None = None
        self.targets: dict[str, EncodedSplit] = {}
        self.meter = Meter(steps=0, epochs=self.config.epochs)
        data = {name: str(place["sha256"]) for name, place in spec.splits.items()}
        self.snapshots = Snapshots(
            self.folder,
            self.config,
            data,
            self.rank,
            self.world,
            self.line.say,
            self._facts,
            self.kept.link,
        )
        self.snapshots.always, self.snapshots.free = spec.checkpoint_always, spec.free
        self.stop = stop_of_this_thread()
        self.stopping = Stopping(self.config.train.early_stopping_patience)
        if trains:
            check_requests(self.config)
        self.numerics = self._go_on() if trains else choose_numerics(self.config.train)
        self.engine = build_engine(
            self.registry, self.config, self.card.labels, self.numerics, warm=spec.warm
        )
        self.numerics = numerics_for(self.engine.model, self.numerics)
        self.head_note: str | None = getattr(self.engine.model, "head_note", None)
        if trains and self.head_note and self.snapshots.found is None:
            self.line.say(self.head_note)
        self.trains = Trains(self.engine.model, self.config)
        self.memory = Memory(
            top_of_ladder(self.config.train, self.numerics.device), self.engine.fitting
        )
        if trains and self.snapshots.found is not None:
            self.memory.go_on(self.snapshots.found.state["session"].get("memory"))
        if trains and self.memory.training.checkpointing:
            checkpoint_activations(self.engine.model)
        self.row_weights, self.weighting = spec.weights, Weighting()
        if spec.warm:
            settle_memory()
        self.timings["build"] = self.timings.get("build", 0.0) + time.monotonic() - self.began

    def _go_on(self) -> Numerics:
        """Take over the last checkpoint, if there is one, put the run directory in its state, and
        return the numerics.
        """
        found = self.snapshots.find()
        self.kept.clean()
        again = self.rank == 0 and begin_history(self.folder, found)
        if again:
            self.line.say(
                f"going on from step {found.step}"
                if found
                else "no checkpoint was written: starting over"
            )
        if found is None:
            numerics = [choose_numerics(self.config.train)]
            if self.world > 1:  # `auto` is measured, and may come out differently
                torch.distributed.broadcast_object_list(numerics, src=0)
            return numerics[0]
        with self.snapshots.readable():
            return self._take_over(found)

    def _take_over(self, found: Checkpoint) -> Numerics:
        known = found.state["session"]
        self.kept.go_on(known["kept"], found.path)
        self.meter.go_on(known["meter"])
        self.timings, self.untrained = dict(known["timings"]), known["untrained"]
        self.stopping.go_on(known["stopping"])
        self.kept.seconds = self.timings.pop("save")
        self.began -= known["seconds"]
        # Another number of threads sums in another order.
        torch.set_num_threads(known["threads"])
        return (
            Numerics(**known["numerics"])
            if known["numerics"]["device"] == device_name()
            else choose_numerics(self.config.train)
        )

    def _facts(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of this session."""
        keep_history(self.folder)
        return {
            "session": {
                "kept": self.kept.state(),
                "meter": self.meter.state(),
                "timings": {**self.timings, "save": self.kept.seconds},
                "untrained": self.untrained,
                "seconds": self.seconds,
                "threads": torch.get_num_threads(),
                "memory": self.memory.state(),
                "stopping": self.stopping.state(),
                "numerics": asdict(self.numerics),
            }
        }

    @property
    def seconds(self) -> float:
        """Seconds spent so far, those before the checkpoint included."""
        return time.monotonic() - self.began

    @property
    def heldout(self) -> str | None:
        """The split that results are reported on: test, else validation."""
        return next((name for name in ("test", "validation") if name in self.splits), None)

    def predict(self, split: str, state: State | None) -> tuple[list[Prediction], Scores, State]:
        """Run the model over a split; returns predictions, scores and the state used.

        `state` None means: let the head tune it on this split.
        """
        began = time.monotonic()
        data = self.splits[split]
        rows = data.rows.to_list()
        total = len(data.features)
        records = self.engine.records(
            data,
            self.rank,
            self.world,
            lambda done: self.line.update(f"evaluating {split}: {done * self.world}/{total}"),
        )
        used = self.engine.head.tune(rows, records) if state is None else state
        predictions = self.engine.decode(rows, records, used)
        scores = self.scorer.score(
            self.engine.head, rows, predictions, self.card.labels, self._loss(split)
        )
        self.line.clear()
        self.timings["evaluate"] = self.timings.get("evaluate", 0.0) + time.monotonic() - began
        return as_given(self.engine.head, rows, predictions, self.card.cleaner), scores, used

    def _loss(self, split: str) -> float | None:
        """Return the mean loss of a split where it is the score that is asked for."""
        if not self.scorer.loss:
            return None
        if split not in self.targets:
            engine, rows = self.engine, self.splits[split].rows.to_list()
            stored = encode_targets(
                self.registry, self.config, engine.head, engine.tokenizer, self.card, rows
            )
            self.targets[split] = open_split(stored, keep=False)
        return self.engine.loss(self.targets[split], self.rank, self.world)

    def score_untrained(self) -> None:
        """Score the model as it is before training on the held-out split."""
        if self.heldout is not None and self.config.train.eval_on_start and self.untrained is None:
            _, self.untrained, _ = self.predict(self.heldout, {})
            self.record(
                {
                    "kind": "untrained",
                    "split": self.heldout,
                    "step": 0,
                    "epoch": 0.0,
                    **self.untrained,
                }
            )

    def train(self) -> None:
        """Train for the configured epochs, evaluating on validation and saving the best weights."""
        with atomic.scratch("train") as scratch:
            self.trainer = make_trainer(self, Path(scratch))
            # Workers draw different dropout masks; which rows they see does not depend on this
            # generator.
            torch.manual_seed(self.config.seed + self.rank)
            self.trainer.go()
        self.line.clear()

    def record(self, entry: dict[str, Any]) -> None:
        """Append a line to `metrics.jsonl`; only the first process does."""
        if self.rank == 0:
            atomic.append_line(self.folder / METRICS, {"time": time.time(), **entry})

    def evaluate_and_keep(self) -> dict[str, float]:
        """Score the validation rows, keep the weights if they are the best so far, and return the
        scores that are numbers.
        """
        _, scores, state = self.predict("validation", None)
        step, epoch = self.trainer.state.global_step, self.trainer.state.epoch or 0.0
        value = float(scores[self.scorer.primary])
        place = {"step": step, "epoch": epoch, "value": value, "seconds": self.meter.seconds}
        self.record(
            {"kind": "validation", **place, **scores, **({"state": state} if state else {})}
        )
        self.kept.last = Best(value, step, epoch, state)
        kept = self.config.train.keep == "best" and self.scorer.better(value, self.kept.best.value)
        if kept:
            self.kept.save(self.engine, self.kept.last)
        shown = " · ".join(f"{key} {number:.4g}" for key, number in headline(scores).items())
        self.line.say(
            f"epoch {epoch:.2f} · validation {shown}{' · best so far, saved' if kept else ''}"
        )
        self.trainer.pending_report = {**place, "scores": scores, "best": kept}
        if self.stopping.count(kept, place, last=step >= self.meter.steps):
            self.trainer.over = True
            self.line.say(self.stopping.line(self.scorer.primary, self.kept.best.place))
        return {key: number for key, number in scores.items() if isinstance(number, int | float)}

    def settle(self, restore: bool = True) -> Best:
        """Leave the kept weights in `model/`, with `restore` in the model too, and return the
        evaluation they had.

        From here on predictions are made in fp32, whatever the training used: what a run reports is
        what plain transformers computes from its checkpoint.
        """
        self.engine = replace(self.engine, precision="fp32")
        kept, state = self.kept, self.trainer.state
        if kept.best.value is None:
            kept.last.step, kept.last.epoch = state.global_step, state.epoch or 0.0
            kept.save(self.engine, kept.last)
        elif restore and kept.best.step != state.global_step:
            self.engine = kept.restore(self.engine)
        if restore:
            self.engine = replace(self.engine, model=merged(self.engine.model, keep=False))
        return kept.best

    def take_kept(self) -> None:
        """Load `model/` into the model, to predict in fp32, and see from `metrics.jsonl` how the
        training went that kept it.
        """
        self.engine = replace(self.engine, precision="fp32")
        self.engine = self.kept.restore(self.engine)
        self.engine = replace(self.engine, model=merged(self.engine.model, keep=False))
        for entry in evaluations(self.folder):
            self.kept.last = Best(entry["value"], entry["step"], entry["epoch"])
            if self.config.train.keep == "last" or self.scorer.better(
                entry["value"], self.kept.best.value
            ):
                self.kept.best = self.kept.last
        last = self.kept.last.step
        self.meter.go_on(
            {"step": last, "examples": last * self.config.batch_size, "seconds": 0.0, "loss": 0.0}
        )

    def facts(self) -> dict[str, Any]:
        """Return what a run record says of the machine and the model."""
        return {
            "numerics": asdict(self.numerics),
            "hardware": describe_hardware(),
            **self.trains.record(self.trains.last),
            "stopped_early": self.stopping.stopped,
            "head_note": self.head_note,
            "workers": self.world,
            "memory": self.memory.record,
            **({"weighting": self.weighting.record} if self.weighting.record else {}),
        }


def _process_group() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
