"""One training in one of its processes: what is built once and what every phase of the training asks of it."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, set_seed

from ftr import atomic
from ftr.config.models import RunConfig
from ftr.data.encode import StoredSplit
from ftr.registry import Registry, get_registry
from ftr.train.arguments import training_arguments
from ftr.train.components import make_head, make_model
from ftr.train.dropout import register_cpu_attention, use_cheap_dropout
from ftr.train.export import ModelCard, save_model, write_card
from ftr.train.hardware import Numerics, choose_numerics, describe_hardware
from ftr.train.inference import EncodedSplit, Engine
from ftr.train.progress import Meter, ProgressLine
from ftr.train.sampling import BatchPlan, Share
from ftr.train.scoring import Scorer, Scores
from ftr.train.steps import Steps, micro_limits
from ftr.train.trainer import StepTrainer, Watch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ftr.protocols import Prediction, State


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """All that crosses to the processes of a training: plain values, no model, no trainer.

    `splits` says where the encoded rows lie, `folder` is the run directory, `card` what `ftr.json` will hold.
    """

    config: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    folder: str
    card: dict[str, Any]
    threads: int | None = None
    progress: bool = True


@dataclass(slots=True)
class Best:
    """The evaluation whose weights the run keeps so far."""

    value: float | None = None
    step: int = 0
    epoch: float = 0.0
    state: State = field(default_factory=dict)


class Session:
    """The model, data and numbers of one process of a training."""

    def __init__(self, spec: SessionSpec, registry: Registry | None = None) -> None:
        """Build head, model and scorer, and choose the numerics. Raises what the components raise."""
        self.config = RunConfig.model_validate(spec.config)
        self.folder = Path(spec.folder)
        self.registry = registry or get_registry()
        self.rank, self.world = _process_group()
        if spec.threads:
            torch.set_num_threads(spec.threads)
        self.card = ModelCard(**{**spec.card, "labels": tuple(spec.card["labels"]), "metrics": tuple(spec.card["metrics"])})
        self.splits = {name: EncodedSplit(*StoredSplit(**place).open()) for name, place in spec.splits.items()}
        self.line = ProgressLine(enabled=spec.progress and self.rank == 0)
        self.scorer = Scorer.of(self.registry, self.config.metrics)
        self.numerics = choose_numerics(self.config.train)
        self.engine = self._engine()
        self.best = Best()
        self.last: Best = self.best
        self.timings: dict[str, float] = {}

    def _engine(self) -> Engine:
        head = make_head(self.registry, self.config.head)
        source = make_model(self.registry, self.config.model, self.config.train)
        set_seed(self.config.seed)
        model = ready(head.build(source, self.card.labels, self.config.seed), self.numerics)
        return Engine(
            model=model,
            head=head,
            tokenizer=source.tokenizer(),
            labels=self.card.labels,
            precision=self.numerics.precision,
            eval_batch=self.config.train.eval_batch,
        )

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
            data, self.rank, self.world, lambda done: self.line.update(f"evaluating {split}: {done * self.world}/{total}")
        )
        used = self.engine.head.tune(rows, records) if state is None else state
        predictions = self.engine.decode(rows, records, used)
        scores = self.scorer.score(self.engine.head, rows, predictions, self.card.labels)
        self.line.clear()
        self.timings["evaluate"] = self.timings.get("evaluate", 0.0) + time.monotonic() - began
        return predictions, scores, used

    def train(self) -> Meter:
        """Train for the configured epochs, evaluating on validation and saving the best weights; returns the meter."""
        train = self.splits["train"]
        plan = BatchPlan(train.lengths, self.config.batch_size, self.config.seed)
        limit, tokens = micro_limits(self.config.train.micro_batch, self.numerics.device)
        steps = Steps(train.features, plan, Share(self.rank, self.world), self.engine.head, self.engine.tokenizer, limit, tokens)
        meter = Meter(steps=math.ceil(len(plan) * self.config.epochs), epochs=self.config.epochs)
        with tempfile.TemporaryDirectory(prefix="ftr-") as scratch:
            self.trainer = StepTrainer(
                model=self.engine.model,
                args=training_arguments(self.config, self.numerics, Path(scratch), "validation" in self.splits, self.world > 1),
                steps=steps,
                tokenizer=self.engine.tokenizer,
                evaluate=self._evaluate_and_keep,
                meter=meter,
                callbacks=[Watch(self.line, meter, self.record)],
            )
            self.trainer.remove_callback(PrinterCallback)
            # Workers draw different dropout masks; which rows they see does not depend on this generator.
            torch.manual_seed(self.config.seed + self.rank)
            self.trainer.train()
        self.line.clear()
        return meter

    def record(self, entry: dict[str, Any]) -> None:
        """Append a line to `metrics.jsonl`; only the first process does."""
        if self.rank == 0:
            atomic.append_line(self.folder / "metrics.jsonl", {"time": time.time(), **entry})

    def _evaluate_and_keep(self) -> dict[str, float]:
        _, scores, state = self.predict("validation", None)
        step, epoch = self.trainer.state.global_step, self.trainer.state.epoch or 0.0
        value = float(scores[self.scorer.primary])
        self.record({"kind": "validation", "step": step, "epoch": epoch, **scores, **({"state": state} if state else {})})
        self.last = Best(value, step, epoch, state)
        kept = self.config.train.keep == "best" and self.scorer.better(value, self.best.value)
        if kept:
            self.best = self.last
            self.save(state)
        shown = " · ".join(f"{key} {number:.4g}" for key, number in headline(scores).items())
        self.line.say(f"epoch {epoch:.2f} · validation {shown}{' · best so far, saved' if kept else ''}")
        return {key: number for key, number in scores.items() if isinstance(number, int | float)}

    def save(self, state: State) -> None:
        """Write `model/` with the present weights; only the first process does."""
        if self.rank == 0:
            began = time.monotonic()
            save_model(self.folder / "model", self.engine.model, self.engine.tokenizer, replace(self.card, state=state))
            self.timings["save"] = self.timings.get("save", 0.0) + time.monotonic() - began

    def settle(self) -> Best:
        """Leave the kept weights in the model and in `model/`, and return the evaluation they had.

        From here on predictions are made in fp32, whatever the training used: what a run reports is what plain
        transformers computes from its checkpoint.
        """
        self.engine = replace(self.engine, precision="fp32")
        if self.best.value is None:
            self.last.step, self.last.epoch = self.trainer.state.global_step, self.trainer.state.epoch or 0.0
            self.best = self.last
            self.save(self.last.state)
        elif self.best.step != self.trainer.state.global_step:
            self._restore_best()
        return self.best

    def keep_state(self, state: State) -> None:
        """Put the state that was tuned last into `model/ftr.json`; only the first process does."""
        if self.rank == 0:
            write_card(self.folder / "model", replace(self.card, state=state))

    def _restore_best(self) -> None:
        model = self.engine.model
        if self.rank == 0:
            saved = type(model).from_pretrained(self.folder / "model", use_safetensors=True, dtype="float32")
            model.load_state_dict(saved.state_dict())
        if self.world > 1:
            for tensor in model.state_dict().values():
                torch.distributed.broadcast(tensor, 0)

    def facts(self) -> dict[str, Any]:
        """Return what a run record says of the machine and the model."""
        parameters = list(self.engine.model.parameters())
        return {
            "numerics": asdict(self.numerics),
            "hardware": describe_hardware(),
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "workers": self.world,
        }


def ready(model: PreTrainedModel, numerics: Numerics) -> PreTrainedModel:
    """Set attention and dropout of a model for this machine and move it to its device."""
    attention = numerics.attention
    if attention == "cpu":
        attention = register_cpu_attention()
    model.set_attn_implementation(attention)
    if numerics.device == "cpu":
        use_cheap_dropout(model)
    return model.to(numerics.device)


def headline(scores: Scores) -> dict[str, float]:
    """Return the scores that are single numbers and few enough to read in one line."""
    numbers = {key: value for key, value in scores.items() if isinstance(value, float)}
    return dict(list(numbers.items())[:4])


def _process_group() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
