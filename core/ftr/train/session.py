"""One training in one process, from a spec of plain values to its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ftr import atomic
from ftr.config.schema import RunConfig
from ftr.data.clean import as_given
from ftr.data.encode import StoredSplit
from ftr.data.rows import HELD_OUT
from ftr.model.adapters import is_adapted, local_base, merge_adapters
from ftr.model.components import encode_targets
from ftr.model.folder import ModelCard
from ftr.model.parameters import TrainableParts
from ftr.progress import ProgressLine
from ftr.registry.protocols import Prediction, State
from ftr.registry.registry import Registry, get_registry, plugin_errors
from ftr.system import peak_memory
from ftr.terminal import quiet_libraries
from ftr.train.batches import BatchPlan, Shard, Weighting, weight_examples
from ftr.train.calibration import before_and_after, calibration_line
from ftr.train.checkpoint import (
    METRICS,
    BestCheckpoint,
    Checkpoint,
    EarlyStopping,
    Evaluation,
    begin_history,
    evaluations,
)
from ftr.train.checkpoint_manager import CheckpointManager
from ftr.train.costs import tensors_of
from ftr.train.forecast import Forecast, Pace
from ftr.train.frozen import check_applies, store_outputs
from ftr.train.hardware import (
    Memory,
    Numerics,
    checkpoint_activations,
    choose_numerics,
    describe_hardware,
    device_name,
    numerics_for,
    numerics_lines,
)
from ftr.train.inference import EncodedSplit, build_engine, freeze_garbage_collector, open_split
from ftr.train.intervals import Intervals, Losses, interval_facts
from ftr.train.loader import Steps
from ftr.train.optim import (
    SCHEDULE_FREE,
    ExponentialMovingAverage,
    check_requests,
    layerwise_rates,
    step_count,
    training_arguments,
)
from ftr.train.progress import Meter, current_interrupt
from ftr.train.scoring import Scorer, Scores, headline
from ftr.train.steps import Objective, top_of_ladder
from ftr.train.stored import CannotStoreError
from ftr.train.trainer import StepTrainer


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """What the processes of a training receive: plain values, no model, no trainer.

    `splits` locates the encoded rows, `folder` is the run directory, `card` the content of
    `ftr.json`. With `final` false nothing is scored before and after the training: it writes only
    `model/` and the evaluations. `after` trainings like this one follow, for the time that is left.
    `keep_model` keeps the new model in memory for the next training of this process;
    `checkpoint_always` writes one after every evaluation. `weights` is a `.npy` file with the
    weight of each training row in the loss, where they differ.
    """

    config: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    folder: str
    card: dict[str, Any]
    threads: int | None = None
    progress: bool = True
    final: bool = True
    after: int = 0
    keep_model: bool = False
    ranked: tuple[str, str] | None = None
    checkpoint_always: bool = False
    report_everywhere: bool = False
    free: tuple[str, ...] = ()
    weights: str | None = None


@dataclass(frozen=True, slots=True)
class SplitOutputs:
    """What the model gave for a split after `step`: the records of each row, and the losses where
    their mean is the primary score.
    """

    step: int
    records: list[list[Any]]
    losses: Losses | None


Report = Callable[[dict[str, Any]], None]
Outcome = dict[str, Any]


class Session:
    """The model, data and state of one process of a training, new or resumed."""

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
        order. A session that does not train does not touch checkpoints and `metrics.jsonl`.
        """
        self.began = time.monotonic()
        self.spec, self.report = spec, report
        self.config = RunConfig.model_validate(spec.config)
        self.folder = Path(spec.folder)
        self.registry = registry or get_registry()
        self.rank, self.world = _process_group()
        self.card = ModelCard(**spec.card)
        self.splits = {
            name: open_split(StoredSplit(**stored), keep=spec.keep_model)
            for name, stored in spec.splits.items()
        }
        self.targets: dict[str, EncodedSplit] = {}
        self.scorer = Scorer.of(self.registry, self.config.metrics, spec.ranked)
        self.line = ProgressLine(enabled=spec.progress and self.rank == 0)
        self.meter = Meter(steps=0, epochs=self.config.epochs)
        self.pace = Pace()
        self.timings: dict[str, float] = {}
        self.untrained: Scores | None = None
        self.validated: SplitOutputs | None = None
        self.calibration: dict[str, Any] = {}
        self.stored_outputs: dict[str, Any] = {}
        self.intervals: dict[str, Intervals] = {}
        self.weighting = Weighting()
        self.interrupt = current_interrupt()
        self.stopping = EarlyStopping(self.config.train.early_stopping_patience)
        self.best_checkpoint = BestCheckpoint(
            self.folder, self.card, self.rank, self.world, merge=self.config.train.lora.merge
        )
        self.checkpoints = CheckpointManager(
            folder=self.folder,
            config=self.config,
            data={name: str(stored["sha256"]) for name, stored in spec.splits.items()},
            rank=self.rank,
            world=self.world,
            log=self.line.log,
            session_state=self._state_dict,
            add_files=self.best_checkpoint.link,
            every_evaluation=spec.checkpoint_always,
            changeable=spec.free,
        )
        with self.line.stage("model"):
            self._build(trains)

    def _build(self, trains: bool) -> None:
        """Build the model, as the checkpoint to resume from had it."""
        spec, config = self.spec, self.config
        if spec.threads:
            torch.set_num_threads(spec.threads)
        if trains:
            check_requests(config)
        numerics = self._resume() if trains else choose_numerics(config.train)
        found = self.checkpoints.found
        self.engine = build_engine(
            self.registry, config, self.card.labels, numerics, keep_model=spec.keep_model
        )
        self.numerics = numerics_for(self.engine.model, numerics)
        for line in numerics_lines(self.numerics) if trains else ():
            self.line.log(line, level=1)
        self.head_note: str | None = getattr(self.engine.model, "head_note", None)
        if trains and self.head_note and found is None:
            self.line.log(self.head_note)
        self.trains = TrainableParts(self.engine.model, config)
        self.memory = Memory(top_of_ladder(config.train, numerics.device), self.engine.limit)
        if found is not None:
            self.memory.load_state_dict(found.state["session"].get("memory"))
        if trains and self.memory.training.checkpointing:
            checkpoint_activations(self.engine.model)
        if spec.keep_model:
            freeze_garbage_collector()
        self.timings["build"] = self.timings.get("build", 0.0) + time.monotonic() - self.began

    def _resume(self) -> Numerics:
        """Restore the last checkpoint, if there is one, and the run directory of that step; return
        the numerics.
        """
        found = self.checkpoints.find()
        if self.rank == 0:  # a process that was killed while it saved `model/`
            atomic.clear_leftovers(self.folder, held=True)
        if self.rank == 0 and begin_history(self.folder, found):
            self.line.log(
                f"resuming from step {found.step}"
                if found
                else "no checkpoint was written: starting over"
            )
        if found is None:
            numerics = [choose_numerics(self.config.train)]
            if self.world > 1:  # `auto` is measured, and may come out differently
                torch.distributed.broadcast_object_list(numerics, src=0)
            return numerics[0]
        with self.checkpoints.readable():
            return self._restore(found)

    def _restore(self, found: Checkpoint) -> Numerics:
        known = found.state["session"]
        self.best_checkpoint.load_state_dict(known["kept"], found.path)
        self.meter.load_state_dict(known["meter"])
        self.stopping.load_state_dict(known["stopping"])
        self.timings, self.untrained = dict(known["timings"]), known["untrained"]
        self.best_checkpoint.seconds = self.timings.pop("save")
        self.began -= known["seconds"]
        # Another number of threads sums in another order.
        torch.set_num_threads(known["threads"])
        if known["numerics"]["device"] != device_name():
            return choose_numerics(self.config.train)
        return Numerics(**known["numerics"])

    def _state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint stores of this session."""
        if (self.folder / METRICS).is_file():
            atomic.sync(self.folder / METRICS)  # the checkpoint relies on its lines
        return {
            "session": {
                "kept": self.best_checkpoint.state_dict(),
                "meter": self.meter.state_dict(),
                "timings": {**self.timings, "save": self.best_checkpoint.seconds},
                "untrained": self.untrained,
                "seconds": self.seconds,
                "threads": torch.get_num_threads(),
                "memory": self.memory.state_dict(),
                "stopping": self.stopping.state_dict(),
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

    def predict(
        self,
        split: str,
        state: State | None,
        *,
        final: bool = False,
        outputs: SplitOutputs | None = None,
    ) -> tuple[list[Prediction], Scores, State]:
        """Predict a split and score it; returns predictions, scores and the state used.

        With `state` None the head tunes it on this split. The primary score gets an interval; with
        `final` all scores do, and the measures of its `calibration` are noted. The model runs,
        unless its `outputs` are known.
        """
        outputs = outputs or self._run_model(split, 0)
        began = time.monotonic()
        self.line.update(f"{split}: scores{' and intervals' if final else ''}")
        head, labels, losses = self.engine.head, self.card.labels, outputs.losses
        rows, records, predictions, used = self.engine.answers(
            self.splits[split], outputs.records, state
        )
        scores = self.scorer.score(head, rows, predictions, labels, losses)
        if self.rank == 0:
            self.intervals[split] = self.scorer.intervals(
                head, rows, predictions, labels, scores, losses, quick=not final
            )
        if final:
            found = before_and_after(head, rows, records, predictions, used, labels)
            if found is not None:
                self.calibration[split] = found
                self.line.log(calibration_line(split, found))
        seconds = time.monotonic() - began
        self.pace.scores = seconds / max(len(rows), 1)
        self._add_evaluation(seconds)
        return as_given(head, rows, predictions, self.card.cleaner), scores, used

    def _run_model(self, split: str, step: int) -> SplitOutputs:
        """Run the model, as it is after `step`, over a split."""
        began, data = time.monotonic(), self.splits[split]
        total = len(data.features)
        records = self.engine.records(
            data,
            self.rank,
            self.world,
            lambda done: self.line.update(
                f"{split} {min(done * self.world, total)}/{total}", done * self.world / total
            ),
        )
        losses = self._losses(split)
        seconds = time.monotonic() - began
        self.pace.model = seconds / max(total, 1)
        self._add_evaluation(seconds)
        return SplitOutputs(step, records, losses)

    def _add_evaluation(self, seconds: float) -> None:
        self.timings["evaluate"] = self.timings.get("evaluate", 0.0) + seconds

    def _losses(self, split: str) -> Losses | None:
        """Return the losses of a split where their mean is the primary score."""
        if not self.scorer.loss:
            return None
        if split not in self.targets:
            engine, rows = self.engine, self.splits[split].rows.to_list()
            stored = encode_targets(
                self.registry, self.config, engine.head, engine.tokenizer, self.card, rows
            )
            self.targets[split] = open_split(stored, keep=False)
        return self.engine.losses(self.targets[split], self.rank, self.world)

    def score_untrained(self) -> None:
        """Score the model as it is before training on the held-out split."""
        if self.heldout is not None and self.config.train.eval_on_start and self.untrained is None:
            with self.line.stage("evaluation"):
                _, self.untrained, _ = self.predict(self.heldout, {})
            place = {"split": self.heldout, "step": 0, "epoch": 0.0}
            self.record({"kind": "untrained", **place, **self.untrained})

    def train(self) -> None:
        """Train for the configured epochs, evaluating on validation and saving the best weights."""
        with atomic.scratch("train") as scratch:
            self.trainer = self._make_trainer(Path(scratch))
            # Workers draw different dropout masks; which rows they see does not depend on this
            # generator.
            torch.manual_seed(self.config.seed + self.rank)
            own = vars(self.engine.model).get("forward")
            if self.trainer.forecast is not None and self._scored_alike():
                self.trainer.forecast.known = ("validation",)
            with self.line.stage("training"):
                self.trainer.run()
            # accelerate replaces `forward` by one in the precision of the training. Its
            # `unwrap_model` would take the decorators of transformers away as well.
            vars(self.engine.model).pop("forward", None)
            if own is not None:
                vars(self.engine.model)["forward"] = own

    def _make_trainer(self, scratch: Path) -> StepTrainer:
        config, options, engine = self.config, self.config.train, self.engine
        steps = self._steps()
        self.meter.steps = step_count(config, len(steps))
        scorer = self.scorer if "validation" in self.splits else None
        averages = None
        if options.ema is not None:
            averages = ExponentialMovingAverage(engine.model, options.ema)
        self._log_plan()
        self._store_outputs()
        forecast = self._forecast(len(steps)) if self.line.enabled else None
        trainer = StepTrainer(
            model=engine.model,
            args=training_arguments(
                config, self.numerics, scratch, scorer, self.world > 1, self.meter.steps
            ),
            steps=steps,
            evaluate=self.evaluate_validation,
            meter=self.meter,
            checkpoints=self.checkpoints,
            interrupt=self.interrupt,
            line=self.line,
            record=self.record,
            report=self.report if self.rank == 0 or self.spec.report_everywhere else None,
            trains=self.trains,
            objective=Objective(engine.head, options.label_smoothing),
            ladder=self.memory.training,
            # `DistributedDataParallel` would not sum what is unfrozen after it wrapped the model.
            manual_sync=options.unfreeze is not None,
            averages=averages,
            rates=layerwise_rates(self.trains.parts, config),
            forecast=forecast,
            stored=self.engine.stored,
        )
        if self.spec.free and self.stopping.stopped:
            # A trial that resumes with other settings starts to count again.
            self.stopping.stopped, self.stopping.since = None, 0
        trainer.stopped = self.stopping.stopped is not None
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            self.checkpoints.disable(
                "FSDP and DeepSpeed shard the optimizer's state, which ftr does not restore yet"
            )
        return trainer

    def _forecast(self, steps_per_epoch: int) -> Forecast:
        """Return what tells how long the training takes; prints what the disk needs."""
        forecast = Forecast(
            config=self.config,
            tensors=tensors_of(self.engine.model, self.config),
            meter=self.meter,
            pace=self.pace,
            examples={
                name: (len(split.features), len(split.rows)) for name, split in self.splits.items()
            },
            log=self.line.log,
            elapsed=lambda: self.seconds,
            steps_per_epoch=steps_per_epoch,
            final=self.spec.final,
            in_fp32=self.engine.precision == "fp32",
            after=self.spec.after,
        )
        forecast.begin(self.folder)
        return forecast

    def _steps(self) -> Steps:
        """Return the optimizer steps of the training rows; sets the `weighting`."""
        config, train, ladder = self.config, self.splits["train"], self.memory.training
        head, labels = self.engine.head, self.card.labels
        self.weighting = weight_examples(
            config.train, head, labels, train.rows, train.owners, self.spec.weights
        )
        return Steps(
            train.features,
            BatchPlan(train.lengths, config.batch_size, config.seed, self.weighting.probabilities),
            Shard(self.rank, self.world),
            head,
            self.engine.tokenizer,
            ladder.rows,
            ladder.tokens,
            self.weighting.weights,
        )

    def _store_outputs(self) -> None:
        """Let stored outputs stand in for a backbone that gives an example the same each time."""
        if self.config.train.freeze != "backbone":
            return
        began = time.monotonic()
        splits = {
            name: (str(self.spec.splits[name]["features"]), split)
            for name, split in self.splits.items()
        }
        try:
            check_applies(self.config, self.world)
            stored = store_outputs(self.engine, self.config, self.registry, self.numerics, splits)
        except (CannotStoreError, OSError) as error:
            self.stored_outputs = {"used": False, "reason": str(error)}
            self.line.log(f"the frozen backbone runs in every pass: {error}")
            return
        seconds = time.monotonic() - began
        self.timings["store"] = self.timings.get("store", 0.0) + seconds
        self.stored_outputs = {"used": True, "read": stored.kind}
        stored.install()
        self.engine = replace(self.engine, stored=stored)
        self.line.log(
            "the frozen backbone runs once: training and validation read its outputs "
            f"({stored.kind}; {seconds:.1f} s)"
        )

    def _log_plan(self) -> None:
        """Log what trains, and settings that may not have the intended effect."""
        log, options, steps = self.line.log, self.config.train, self.meter.steps
        log(f"training {self.trains.line(self.trains.first)}")
        if options.warmup >= max(steps, 2):
            log(
                f"`train.warmup={options.warmup:g}` is no shorter than the training of {steps} "
                "steps: the learning rate reaches its peak only at the end"
            )
        base = local_base(self.engine.model)
        if base and not options.lora.merge:
            log(
                f"the adapters in `model/` refer to their base model by a path on this machine, "
                f"`{base}`, which must exist wherever they are loaded; "
                "`train.lora.merge=true` writes a checkpoint that needs no other"
            )

    def record(self, entry: dict[str, Any]) -> None:
        """Append a line to `metrics.jsonl`; only the first process does."""
        if self.rank == 0:
            atomic.append_line(self.folder / METRICS, {"time": time.time(), **entry})

    def evaluate_validation(self) -> dict[str, float]:
        """Score the validation rows, save the weights if they are the best so far, and return the
        scores that are numbers.
        """
        began = time.monotonic()
        with self.line.stage("validation"):
            scores = self._validated()
        self.pace.validated(time.monotonic() - began)
        return scores

    def _validated(self) -> dict[str, float]:
        step, epoch = self.trainer.state.global_step, self.trainer.state.epoch or 0.0
        outputs = self._run_model("validation", step)
        _, scores, state = self.predict("validation", None, outputs=outputs)
        value = float(scores[self.scorer.primary])
        place: dict[str, Any] = {
            "step": step,
            "epoch": epoch,
            "value": value,
            "seconds": self.meter.seconds,
        }
        tuned = {"state": state} if state else {}
        found = self.intervals["validation"].found if self.rank == 0 else {}
        place["interval"] = found.get((self.scorer.primary,))
        self.record({"kind": "validation", **place, **scores, **tuned})
        best = self.best_checkpoint
        best.last = Evaluation(value, step, epoch, state)
        improved = self.config.train.keep == "best" and self.scorer.better(value, best.best.value)
        if improved:
            with self.line.stage("saving"):
                best.save(self.engine, best.last)
        if (improved or self.config.train.keep == "last") and self._scored_alike():
            self.validated = outputs
        shown = " · ".join(
            f"{key} {number:#.4g}" for key, number in headline(scores, self.scorer.primary).items()
        )
        self.line.log(
            f"epoch {epoch:.2f} · validation {shown}{' · best so far, saved' if improved else ''}"
        )
        self.trainer.pending_report = {**place, "scores": scores, "best": improved}
        if self.stopping.update(improved, place, last=step >= self.meter.steps):
            self.trainer.stopped = True
            self.line.log(self.stopping.message(self.scorer.primary, best.best.record))
        return _numbers(scores)

    def _scored_alike(self) -> bool:
        """Whether the weights of this evaluation, once they are kept, would give the same outputs
        at the end.

        There the model runs in fp32, with its backbone and merged adapters. A schedule-free
        optimizer rounds the weights each time it switches them.
        """
        trainer = self.trainer
        return (
            self.spec.final
            and self.engine.precision == "fp32"
            and self.engine.stored is None
            and not is_adapted(self.engine.model)
            and trainer.args.optim not in SCHEDULE_FREE
            and not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
        )

    def finish(self, restore: bool = True) -> Evaluation:
        """Leave the best weights in `model/`, with `restore` in the model too, and return their
        evaluation.

        From here on predictions are made in fp32, whatever the training used: a run reports what
        plain transformers computes from its checkpoint.
        """
        if self.engine.stored is not None:
            self.engine.stored.remove()
        self.engine = replace(self.engine, precision="fp32", stored=None)
        found, state = self.best_checkpoint, self.trainer.state
        if found.best.value is None:
            found.last.step, found.last.epoch = state.global_step, state.epoch or 0.0
            found.save(self.engine, found.last)
        elif restore and found.best.step != state.global_step:
            self.engine = found.restore(self.engine)
        if restore:
            self.engine = replace(self.engine, model=merge_adapters(self.engine.model, keep=False))
        return found.best

    def load_best_checkpoint(self) -> Evaluation:
        """Load `model/`, to predict in fp32, and the evaluations in `metrics.jsonl`; return the
        best.
        """
        found = self.best_checkpoint
        engine = found.restore(replace(self.engine, precision="fp32"))
        self.engine = replace(engine, model=merge_adapters(engine.model, keep=False))
        for entry in evaluations(self.folder):
            found.last = Evaluation(entry["value"], entry["step"], entry["epoch"])
            if self.config.train.keep == "last" or self.scorer.better(
                entry["value"], found.best.value
            ):
                found.best = found.last
        step = found.last.step
        self.meter.load_state_dict(
            {"step": step, "examples": step * self.config.batch_size, "seconds": 0.0, "loss": 0.0}
        )
        return found.best

    def outcome(self, best: Evaluation, *, final: bool) -> Outcome:
        """Return the outcome of a training; with `final` score the best model and write its
        predictions.
        """
        scores: dict[str, Any] = {}
        if final:
            with self.line.stage("evaluation"):
                scores = self._predict_all(best)
        timings = {
            **self.timings,
            "save": self.best_checkpoint.seconds,
            "train": self.meter.seconds,
            "total": self.seconds,
        }
        return {
            "heldout": self.heldout,
            "primary": self.scorer.primary,
            "mode": self.scorer.mode,
            "untrained": self.untrained,
            "scores": scores,
            **(interval_facts(self.intervals) if final else {}),
            "best": best.record,
            "last": self.best_checkpoint.last.record,
            "state": best.state,
            **({"calibration": self.calibration} if self.calibration else {}),
            "weights": best.files,
            "steps": self.meter.step,
            "examples_per_second": self.meter.rate,
            "timings": timings,
            "peak_memory_bytes": peak_memory(),
            "numerics": asdict(self.numerics),
            "hardware": describe_hardware(),
            **self.trains.record(self.trains.last),
            "stopped_early": self.stopping.stopped,
            "head_note": self.head_note,
            "workers": self.world,
            **({"stored_outputs": self.stored_outputs} if self.stored_outputs else {}),
            "memory": self.memory.record,
            **({"weighting": self.weighting.record} if self.weighting.record else {}),
        }

    def _predict_all(self, best: Evaluation) -> dict[str, Any]:
        """Score the best model and write its predictions: validation first, which sets the state
        that test is scored with.
        """
        scores: dict[str, Any] = {}
        for split in HELD_OUT:
            if split in self.splits:
                tunes = split == "validation"
                state, known = (None, self.validated) if tunes else (best.state, None)
                if known is not None and known.step != best.step:
                    known = None
                predictions, scores[split], best.state = self.predict(
                    split, state, final=True, outputs=known
                )
                place = {"split": split, "step": best.step, "epoch": best.epoch}
                self.record({"kind": "final", **place, **scores[split]})
                if self.rank == 0:
                    path = self.folder / "predictions" / f"{split}.jsonl"
                    atomic.write_lines(path, predictions)
        self.best_checkpoint.write_state(best.state)
        return scores


def _process_group() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def train_loop(spec: dict[str, Any], report: Report | None = None) -> Outcome:
    """Train as `spec` (the fields of `SessionSpec`) says and return the outcome; the same in every
    process.

    Resumes from the last checkpoint in the run directory, if there is one. Leaves `model/`,
    `metrics.jsonl` and, with `spec["final"]`, `predictions/`. The outcome has the scores of the
    untrained and of the best model, timings in seconds, throughput in examples a second, and facts
    of the machine.

    `report` is called in the first process after every validation with `epoch`, `step`, `value`
    (the primary score), `scores`, `seconds` of training so far, and `best`: whether `model/` now
    holds these weights. Whatever it raises ends the training there, with the run directory in
    order. Errors of a plugin's code are raised as `PluginError`.
    """
    quiet_libraries()
    settings = SessionSpec(**spec)
    with plugin_errors(get_registry()):
        session = Session(settings, report=report)
        if settings.final:
            session.score_untrained()
        session.train()
        return session.outcome(session.finish(restore=settings.final), final=settings.final)


def reporting_loop(spec: dict[str, Any]) -> Outcome:
    """Train as `train_loop` does, as one of several workers, and report every evaluation through
    Ray Train.
    """
    from ray import train

    def report(evaluation: dict[str, Any]) -> None:
        shown = {key: evaluation[key] for key in ("epoch", "step", "value", "seconds")}
        train.report(
            {
                **shown,
                "scores": _numbers(evaluation["scores"]),
                "interval": evaluation["interval"],
            }
        )

    # Ray Train waits for the report of every worker, and uses the first's.
    return train_loop({**spec, "report_everywhere": True}, report=report)


def score_loop(spec: dict[str, Any]) -> Outcome:
    """Score the model that a training with `final` false saved, as `train_loop` would have at its
    end; leaves `predictions/`.

    The outcome is that of `train_loop`, as far as it is known of a training that may have been
    stopped before its end.
    """
    quiet_libraries()
    with plugin_errors(get_registry()):
        session = Session(SessionSpec(**spec), trains=False)
        session.score_untrained()
        return session.outcome(session.load_best_checkpoint(), final=True)


def _numbers(scores: Scores) -> dict[str, float]:
    return {key: value for key, value in scores.items() if isinstance(value, int | float)}
