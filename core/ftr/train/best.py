"""The best checkpoint of a run, and early stopping."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.atomic import sha256
from ftr.errors import RunError
from ftr.model.adapters import is_adapted, load_adapters, merged
from ftr.model.export import ModelCard, read_card, save_model, write_card
from ftr.model.folder import check_folder
from ftr.train.checkpoint import link_files

if TYPE_CHECKING:
    from ftr.registry.protocols import State
    from ftr.train.inference import Engine


@dataclass(slots=True)
class Stopping:
    """Counts evaluations since the best one.

    `patience` None never stops; `stopped` is the place where it did.
    """

    patience: int | None
    since: int = 0
    stopped: dict[str, Any] | None = None

    def count(self, better: bool, place: dict[str, Any], *, last: bool = False) -> bool:
        """Count an evaluation at `place` (`epoch` and `step`); returns whether the training ends
        here, before its `last` step.
        """
        self.since = 0 if better else self.since + 1
        if self.patience is not None and self.since >= self.patience and not last:
            self.stopped = {"epoch": place["epoch"], "step": place["step"]}
        return self.stopped is not None

    def line(self, primary: str, best: dict[str, Any]) -> str:
        """Return what to say where it stopped; `best` is the place of the best evaluation."""
        evaluations = "1 evaluation" if self.since == 1 else f"{self.since} evaluations"
        return (
            f"stopped early: {evaluations} without a better {primary} than {best['value']:.4g} of "
            f"epoch {best['epoch']:.2f}, whose weights are kept"
        )

    def state(self) -> dict[str, Any]:
        """Return the count, for a checkpoint."""
        return {"since": self.since, "stopped": self.stopped}

    def go_on(self, state: dict[str, Any]) -> None:
        """Take over the count of a checkpoint."""
        self.since, self.stopped = state["since"], state["stopped"]


MODEL = "model"
BEST = "best"
"""Where a checkpoint keeps `model/` as it was then."""


@dataclass(slots=True)
class Best:
    """The evaluation whose weights the run keeps so far; `files` has the sha256 of each weight
    file, by name.
    """

    value: float | None = None
    step: int = 0
    epoch: float = 0.0
    state: State = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"epoch": self.epoch, "step": self.step, "value": self.value}


class Kept:
    """The best and the last evaluation of a training, and `model/`, which the first process alone
    writes.
    """

    def __init__(
        self, folder: Path, card: ModelCard, rank: int, world: int, *, merge: bool = False
    ) -> None:
        """Keep nothing yet in `folder`, the run directory; adapters are kept apart unless they are
        to `merge`.
        """
        self.model = folder / MODEL
        self.card, self.rank, self.world, self.merge = card, rank, world, merge
        self.best = Best()
        self.last = self.best
        self.seconds = 0.0

    def save(self, engine: Engine, which: Best) -> None:
        """Write the present weights to `model/`: those that `which` was measured with."""
        self.best = which
        if self.rank == 0:
            began = time.monotonic()
            model = merged(engine.model) if self.merge else engine.model
            save_model(self.model, model, engine.tokenizer, replace(self.card, state=which.state))
            which.files = weight_files(self.model)
            self.seconds += time.monotonic() - began

    def put_state(self, state: State) -> None:
        """Put the state that was tuned last into `model/ftr.json`."""
        if self.rank == 0:
            write_card(self.model, replace(read_card(self.model), state=state))

    def restore(self, engine: Engine) -> Engine:
        """Return the engine with the weights in `model/`.

        Raises `RunError` when they are not those that were saved.
        """
        import torch

        model = merged(engine.model, keep=False) if self.merge else engine.model
        if self.rank == 0:
            self._check()
            if is_adapted(model):
                load_adapters(model, self.model)
            else:
                # Of a run that is resumed, somebody else may have written the folder: its config is
                # not the one to follow.
                check_folder(self.model)
                saved = type(model).from_pretrained(
                    self.model, config=model.config, use_safetensors=True, dtype="float32"
                )
                model.load_state_dict(saved.state_dict())
        if self.world > 1:
            for tensor in model.state_dict().values():
                torch.distributed.broadcast(tensor, 0)
        return replace(engine, model=model)

    def _check(self) -> None:
        for name, digest in self.best.files.items():
            path = self.model / name
            if not path.is_file() or sha256(path) != digest:
                raise RunError(
                    f"`{path}` is not the file this run saved at step {self.best.step}: "
                    "it was changed or removed. Restore it, or train again."
                )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must know to go on."""
        return {"best": asdict(self.best), "last": asdict(self.last)}

    def link(self, checkpoint: Path) -> dict[str, str]:
        """Keep the best weights in a checkpoint folder too, and return their sha256 by name
        there.
        """
        if self.best.value is None:
            return {}
        link_files(self.model, checkpoint / BEST)
        return {f"{BEST}/{name}": digest for name, digest in self.best.files.items()}

    def go_on(self, state: dict[str, Any], checkpoint: Path) -> None:
        """Take over what `state` returned, and bring `model/` back to what it was in the
        checkpoint.
        """
        self.best, self.last = Best(**state["best"]), Best(**state["last"])
        if self.rank == 0 and self.best.value is not None:
            # Always: after a power cut the weights may be there and the tokenizer beside them torn.
            with atomic.new_folder(self.model) as fresh:
                link_files(checkpoint / BEST, fresh)

    def clean(self) -> None:
        """Remove what a process that was killed in the middle of `save` left beside `model/`."""
        if self.rank == 0:
            atomic.clear_leftovers(self.model.parent, held=True)


def weight_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of each weight file of a model directory, by name."""
    return {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
