"""A finished sweep on disk, made of one run whose weights were changed, and its ensemble."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.model.folder import weights_of
from ftr.registry.registry import get_registry
from ftr.study.directory import SweepDirectory
from ftr.study.ensemble import add_ensemble
from ftr.study.trials import Entry, Result, Trial, rank

if TYPE_CHECKING:
    from torch import Tensor

    from ftr.runs.run import RunResult

Weights = dict[str, "Tensor"]
Change = Callable[[Weights], Weights]


def noise(amount: float, seed: int) -> Change:
    """Return a change of weights that is the same every time."""
    import torch

    def add(weights: Weights) -> Weights:
        generator = torch.Generator().manual_seed(seed)
        return {
            name: tensor + amount * torch.randn(tensor.shape, generator=generator)
            for name, tensor in weights.items()
        }

    return add


def opposite(weights: Weights) -> Weights:
    """Turn the last layer round, and strongly: what was most probable is least."""
    return {
        name: tensor * (-9.0 if name.startswith("classifier") else 1.0)
        for name, tensor in weights.items()
    }


def same(weights: Weights) -> Weights:
    """Change nothing."""
    return weights


def sweep_of(
    run: RunResult, folder: Path, changes: Sequence[Change]
) -> tuple[SweepDirectory, list[Entry]]:
    """Lay out a finished sweep whose trials are the run with its weights changed, ranked in that
    order.
    """
    from safetensors.torch import load_file, save_file

    directory = SweepDirectory(folder)
    trials = []
    for number, change in enumerate(changes):
        path = directory.trial_path(number)
        shutil.copytree(run.path, path)
        weights = path / "model" / "model.safetensors"
        save_file(change(load_file(weights)), weights, metadata={"format": "pt"})
        alter(path / "run.json", trial=number, weights=weights_of(path / "model"))
        trials.append(Trial(number, {"learning_rate": number / 100}, number, 0, status="done"))
        trials[-1].add(Result(1.0, 1, 0.9 - number / 100, 1.0, {}), "max")
    shutil.copytree(directory.trial_path(0), directory.best)
    return directory, rank(trials, "max")


def alter(path: Path, **values: object) -> None:
    """Change values of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def join(
    made: tuple[SweepDirectory, list[Entry]], asked: str, said: list[str] | None = None
) -> dict[str, Any]:
    """Build the ensemble and return the summary."""
    directory, entries = made
    primary = json.loads((directory.best / "run.json").read_text())["primary"]
    return add_ensemble(
        directory,
        entries,
        asked,
        (primary, "max"),
        get_registry(),
        (said if said is not None else []).append,
    )
