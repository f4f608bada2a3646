"""One training in one process, from a spec of plain values to its outcome."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback

from ftr import atomic
from ftr.config.schema import RunConfig
from ftr.data.clean import as_given
from ftr.data.encode import StoredSplit
from ftr.data.rows import HELD_OUT
from ftr.model.adapters import local_base, merge_adapters
from ftr.model.components import encode_targets
from ftr.model.folder import ModelCard
from ftr.model.parameters import TrainableParts
from ftr.registry.protocols import Prediction, State
from ftr.registry.registry import Registry, get_registry, plugin_errors
from ftr.terminal import quiet_libraries
from ftr.train.batches import BatchPlan, Shard, Weighting, weight_examples
from ftr.train.checkpoint import (
    METRICS,
    BestCheckpoint,
    Checkpoint,
    EarlyStopping,
    Evaluation,
    begin_history,
    evaluations,
    keep_history,
)
from ftr.train.checkpoint_manager import CheckpointManager
from ftr.train.hardware import (
    Numerics,
    choose_numerics,
    describe_hardware,
    device_name,
    numerics_for,
)
from ftr.train.inference import EncodedSplit, build_engine, freeze_garbage_collector, open_split
from ftr.train.memory import Memory, checkpoint_activations
from ftr.train.optim import (
    ExponentialMovingAverage,
    check_requests,
    layerwise_rates,
    step_count,
    training_arguments,
)
from ftr.train.progress import Meter, ProgressLine, current_interrupt
from ftr.train.scoring import Scorer, Scores, headline
from ftr.train.steps import Objective, Steps, top_of_ladder
from ftr.train.trainer import (
    AveragingCallback,
    LoggingCallback,
    StepTrainer,
    UnfreezingCallback,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """All that crosses to the processes of a training: plain values, no model, no trainer.

    `splits` says where the encoded rows lie, `folder` is the run directory, `card` what `ftr.json`
    will hold. With `final` false nothing is scored before and after the training: only `model/` and
    the evaluations are left. `keep_model` keeps the new model in memory for the next training of
    this process; `checkpoint_always` writes one after every evaluation. `weights` is a `.npy`
    file with the weight of each training row in the loss, where they differ.
    """

    config: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    folder: str
    card: dict[str, Any]
    threads: int | None = None
    progress: bool = True
    final: bool = True
    keep_model: bool = False
    ranked: tuple[str, str] | None = None
    checkpoint_always: bool = False
    report_everywhere: bool = False
    free: tuple[str, ...] = ()
    weights: str | None = None


def make_trainer(session: Session, scratch: Path) -> StepTrainer:
    """Return the trainer of a session, and log what it will train; `scratch` is a temporary folder.

    Sets the session's `weighting`, and the number of steps on its `meter`.
    """
    config, engine, log = session.config, session.engine, session.line.log
    options, head, ladder, train = (
        config.train,
        engine.head,
        session.memory.training,
        session.splits["train"],
    )
    session.weighting = weight_examples(
        options, head, session.card.labels, train.rows, train.owners, session.row_weights
    )
    plan = BatchPlan(train.lengths, config.batch_size, config.seed, session.weighting.probabilities)
    steps = Steps(
        train.features,
        plan,
        Shard(session.rank, session.world),
        head,
        engine.tokenizer,
        ladder.rows,
        ladder.tokens,
        session.weighting.weights,
    )
    session.meter.steps = step_count(config, len(plan))
    scorer = session.scorer if "validation" in session.splits else None
    averages = (
        ExponentialMovingAverage(engine.model, options.ema) if options.ema is not None else None
    )
    _log_plan(session)
    trainer = StepTrainer(
        model=engine.model,
        args=training_arguments(
            config, session.numerics, scratch, scorer, session.world > 1, session.meter.steps
        ),
        steps=steps,
        tokenizer=engine.tokenizer,
        evaluate=session.evaluate_validation,
        meter=session.meter,
        checkpoints=session.checkpoints,
        interrupt=session.interrupt,
        report=session.report if session.rank == 0 or session.report_everywhere else None,
        callbacks=[
            LoggingCallback(session.line, session.meter, session.record),
            UnfreezingCallback(session.trains, len(plan), log, session.record),
            *([AveragingCallback(averages)] if averages is not None else []),
        ],
        objective=Objective(head, options.label_smoothing),
        ladder=ladder,
        log=log,
        # `DistributedDataParallel` would not sum what is unfrozen after it wrapped the model.
        apart=options.unfreeze is not None,
        averages=averages,
        rates=layerwise_rates(session.trains.parts, config),
    )
    if session.checkpoints.changeable and session.stopping.stopped:
        # A trial that resumes with other settings starts to count again.
        session.stopping.stopped, session.stopping.since = None, 0
    trainer.over = session.stopping.stopped is not None
    trainer.remove_callback(PrinterCallback)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        session.checkpoints.disable(
            "FSDP and DeepSpeed shard the optimizer's state, which ftr does not restore yet"
        )
    return trainer


def _log_plan(session: Session) -> None:
    """Log what trains, and settings that may not do what was meant."""
    log, options, steps = session.line.log, session.config.train, session.meter.steps
    log(f"training {session.trains.line(session.trains.first)}")
    if options.warmup >= max(steps, 2):
        log(
            f"`train.warmup={options.warmup:g}` is no shorter than the training of {steps} steps: "
            "the learning rate reaches its peak only at the end"
        )
    base = local_base(session.engine.model)
    if base and not options.lora.merge:
        log(
            f"the adapters in `model/` name their base by its place on this machine, `{base}`: "
            "elsewhere it must be there too; `train.lora.merge=true` writes a checkpoint that "
            "needs no other"
        )


Report = Callable[[dict[str, Any]], None]


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
            name: open_split(StoredSplit(**place), keep=spec.keep_model)
            for name, place in spec.splits.items()
        }
        self.line = ProgressLine(enabled=spec.progress and self.rank == 0)
        self.scorer = Scorer.of(self.registry, self.config.metrics, spec.ranked)
        self.best_checkpoint = BestCheckpoint(
            self.folder, self.card, self.rank, self.world, merge=self.config.train.lora.merge
        )
        self.timings: dict[str, float] = {}
        self.untrained: Scores | None = None
        self.targets: dict[str, EncodedSplit] = {}
        self.meter = Meter(steps=0, epochs=self.config.epochs)
        data = {name: str(place["sha256"]) for name, place in spec.splits.items()}
        self.checkpoints = CheckpointManager(
            self.folder,
            self.config,
            data,
            self.rank,
            self.world,
            self.line.log,
            self._state_dict,
            self.best_checkpoint.link,
            every_evaluation=spec.checkpoint_always,
            changeable=spec.free,
        )
        self.checkpoints.every_evaluation, self.checkpoints.changeable = (
            spec.checkpoint_always,
            spec.free,
        )
        self.interrupt = current_interrupt()
        self.stopping = EarlyStopping(self.config.train.early_stopping_patience)
        if trains:
            check_requests(self.config)
        self.numerics = self._resume() if trains else choose_numerics(self.config.train)
        self.engine = build_engine(
            self.registry, self.config, self.card.labels, self.numerics, keep_model=spec.keep_model
        )
        self.numerics = numerics_for(self.engine.model, self.numerics)
        self.head_note: str | None = getattr(self.engine.model, "head_note", None)
        if trains and self.head_note and self.checkpoints.found is None:
            self.line.log(self.head_note)
        self.trains = TrainableParts(self.engine.model, self.config)
        self.memory = Memory(
            top_of_ladder(self.config.train, self.numerics.device), self.engine.fitting
        )
        if trains and self.checkpoints.found is not None:
            self.memory.load_state_dict(self.checkpoints.found.state["session"].get("memory"))
        if trains and self.memory.training.checkpointing:
            checkpoint_activations(self.engine.model)
        self.row_weights, self.weighting = spec.weights, Weighting()
        if spec.keep_model:
            freeze_garbage_collector()
        self.timings["build"] = self.timings.get("build", 0.0) + time.monotonic() - self.began

    def _resume(self) -> Numerics:
        """Restore the last checkpoint, if there is one, and the run directory of that step; return
        the numerics.
        """
        found = self.checkpoints.find()
        self.best_checkpoint.clean()
        again = self.rank == 0 and begin_history(self.folder, found)
        if again:
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
        self.timings, self.untrained = dict(known["timings"]), known["untrained"]
        self.stopping.load_state_dict(known["stopping"])
        self.best_checkpoint.seconds = self.timings.pop("save")
        self.began -= known["seconds"]
        # Another number of threads sums in another order.
        torch.set_num_threads(known["threads"])
        return (
            Numerics(**known["numerics"])
            if known["numerics"]["device"] == device_name()
            else choose_numerics(self.config.train)
        )

    def _state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of this session."""
        keep_history(self.folder)
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
            self.trainer.run()
        self.line.clear()

    def record(self, entry: dict[str, Any]) -> None:
        """Append a line to `metrics.jsonl`; only the first process does."""
        if self.rank == 0:
            atomic.append_line(self.folder / METRICS, {"time": time.time(), **entry})

    def evaluate_validation(self) -> dict[str, float]:
        """Score the validation rows, save the weights if they are the best so far, and return the
        scores that are numbers.
        """
        _, scores, state = self.predict("validation", None)
        step, epoch = self.trainer.state.global_step, self.trainer.state.epoch or 0.0
        value = float(scores[self.scorer.primary])
        place = {"step": step, "epoch": epoch, "value": value, "seconds": self.meter.seconds}
        self.record(
            {"kind": "validation", **place, **scores, **({"state": state} if state else {})}
        )
        best_checkpoint = self.best_checkpoint
        best_checkpoint.last = Evaluation(value, step, epoch, state)
        improved = self.config.train.keep == "best" and self.scorer.better(
            value, best_checkpoint.best.value
        )
        if improved:
            best_checkpoint.save(self.engine, best_checkpoint.last)
        shown = " · ".join(f"{key} {number:.4g}" for key, number in headline(scores).items())
        self.line.log(
            f"epoch {epoch:.2f} · validation {shown}{' · best so far, saved' if improved else ''}"
        )
        self.trainer.pending_report = {**place, "scores": scores, "best": improved}
        if self.stopping.update(improved, place, last=step >= self.meter.steps):
            self.trainer.over = True
            self.line.log(self.stopping.message(self.scorer.primary, best_checkpoint.best.place))
        return {key: number for key, number in scores.items() if isinstance(number, int | float)}

    def finish(self, restore: bool = True) -> Evaluation:
        """Leave the best weights in `model/`, with `restore` in the model too, and return their
        evaluation.

        From here on predictions are made in fp32, whatever the training used: a run reports what
        plain transformers computes from its checkpoint.
        """
        self.engine = replace(self.engine, precision="fp32")
        kept, state = self.best_checkpoint, self.trainer.state
        if kept.best.value is None:
            kept.last.step, kept.last.epoch = state.global_step, state.epoch or 0.0
            kept.save(self.engine, kept.last)
        elif restore and kept.best.step != state.global_step:
            self.engine = kept.restore(self.engine)
        if restore:
            self.engine = replace(self.engine, model=merge_adapters(self.engine.model, keep=False))
        return kept.best

    def load_best_checkpoint(self) -> None:
        """Load `model/`, to predict in fp32, and the evaluations in `metrics.jsonl`."""
        self.engine = replace(self.engine, precision="fp32")
        self.engine = self.best_checkpoint.restore(self.engine)
        self.engine = replace(self.engine, model=merge_adapters(self.engine.model, keep=False))
        for entry in evaluations(self.folder):
            self.best_checkpoint.last = Evaluation(entry["value"], entry["step"], entry["epoch"])
            if self.config.train.keep == "last" or self.scorer.better(
                entry["value"], self.best_checkpoint.best.value
            ):
                self.best_checkpoint.best = self.best_checkpoint.last
        last = self.best_checkpoint.last.step
        self.meter.load_state_dict(
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


Outcome = dict[str, Any]


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
    order. What the code of a plugin raises comes out as a `PluginError`.
    """
    quiet_libraries()
    settings = SessionSpec(**spec)
    with plugin_errors(get_registry()):
        session = Session(settings, report=report)
        if settings.final:
            session.score_untrained()
        session.train()
        best = session.finish(restore=settings.final)
        return _outcome(session, best, _predictions(session, best) if settings.final else {})


def reporting_loop(spec: dict[str, Any]) -> Outcome:
    """Train as `train_loop` does, as one of several workers, and report every evaluation through
    Ray Train.
    """
    from ray import train

    def report(evaluation: dict[str, Any]) -> None:
        scores = {
            key: value
            for key, value in evaluation["scores"].items()
            if isinstance(value, int | float)
        }
        train.report(
            {
                **{key: evaluation[key] for key in ("epoch", "step", "value", "seconds")},
                "scores": scores,
            }
        )

    # Ray Train waits for the report of every worker, and takes the first's.
    return train_loop({**spec, "report_everywhere": True}, report=report)


def score_loop(spec: dict[str, Any]) -> Outcome:
    """Score the model that a training with `final` false saved, as `train_loop` would have at its
    end; leaves `predictions/`.

    The outcome is that of `train_loop`, with what is known of a training that may have been stopped
    before its end.
    """
    quiet_libraries()
    with plugin_errors(get_registry()):
        session = Session(SessionSpec(**spec), trains=False)
        session.score_untrained()
        session.load_best_checkpoint()
        return _outcome(
            session,
            session.best_checkpoint.best,
            _predictions(session, session.best_checkpoint.best),
        )


def _outcome(session: Session, best: Evaluation, scores: dict[str, Any]) -> Outcome:
    return {
        "heldout": session.heldout,
        "primary": session.scorer.primary,
        "mode": session.scorer.mode,
        "untrained": session.untrained,
        "scores": scores,
        "best": best.place,
        "last": session.best_checkpoint.last.place,
        "state": best.state,
        "weights": best.files,
        "steps": session.meter.step,
        "examples_per_second": session.meter.rate,
        "timings": {
            **session.timings,
            "save": session.best_checkpoint.seconds,
            "train": session.meter.seconds,
            "total": session.seconds,
        },
        "peak_memory_bytes": peak_memory(),
        **session.facts(),
    }


def _predictions(session: Session, best: Evaluation) -> dict[str, Any]:
    """Score the best model and write its predictions: validation first, which sets the state that
    test is scored with.
    """
    scores: dict[str, Any] = {}
    for split in HELD_OUT:
        if split in session.splits:
            predictions, scores[split], best.state = session.predict(
                split, None if split == "validation" else best.state
            )
            session.record(
                {
                    "kind": "final",
                    "split": split,
                    "step": best.step,
                    "epoch": best.epoch,
                    **scores[split],
                }
            )
            if session.rank == 0:
                atomic.write_lines(session.folder / "predictions" / f"{split}.jsonl", predictions)
    session.best_checkpoint.write_state(best.state)
    return scores


def peak_memory() -> int:
    """Return the most memory this process held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
