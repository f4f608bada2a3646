"""What a sweep settles before trial 0: room for its trials, the record it opens with, and that data are still the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ftr.config.sweep import ResolvedSweep, ranked_by
from ftr.errors import DataError
from ftr.jobs.fit import check_fit
from ftr.jobs.launch import worker_resources
from ftr.jobs.sweep.drive import Trials
from ftr.runs.record import beginning, package_versions, provenance

if TYPE_CHECKING:
    from ftr.config.models import ComputeConfig
    from ftr.config.sweep import SweepConfig
    from ftr.jobs.prepare import Prepared
    from ftr.registry import Registry

NAMES = {"CPU": "CPU", "GPU": "GPU", "memory": "GB of memory"}


def room(compute: ComputeConfig, sweep: SweepConfig, say: Callable[[str], None]) -> Trials:
    """Refuse what no machine of the cluster has room for, and say how many trials run at once. Raises `ConfigError`."""
    resources = worker_resources(compute, 1.0)
    fits = check_fit(compute.workers, resources["CPU"], resources.get("GPU", 0.0), compute.memory, compute.resources)
    several = min(fits, sweep.concurrent or fits)
    say(f"{several} trial{'' if several == 1 else 's'} at a time, each with {described(resources, compute.workers)}")
    nested = compute.workers > 0
    return Trials(
        # The workers of a trial set their own resources aside; a byte stands for what the trial itself needs.
        resources={"memory": 1.0} if nested else resources,
        at_once=several if nested or sweep.concurrent else None,
        retries=compute.retries,
    )


def described(resources: Mapping[str, float], workers: int) -> str:
    """Return resources as people say them: `1 CPU, 0.5 GPU`."""
    amounts = {name: amount / 1e9 if name == "memory" else amount for name, amount in resources.items()}
    each = ", ".join(f"{amount:g} {NAMES.get(name, name)}" for name, amount in amounts.items())
    return f"{workers} workers of {each}" if workers > 1 else each


def longest_training(resolved: ResolvedSweep) -> float:
    """Return the most epochs a trial may train."""
    dimension = resolved.space.get("epochs")
    return max(float(str(value)) for value in dimension.corners()) if dimension else resolved.base.config.epochs


def opening(resolved: ResolvedSweep, registry: Registry, prepared: Prepared) -> dict[str, Any]:
    """Return the record a sweep begins with."""
    primary, mode = ranked_by(resolved, registry)
    return {
        **beginning(),
        **resolved.record(),
        "primary": primary,
        "mode": mode,
        "components": provenance(resolved.base.config, registry),
        "packages": package_versions(),
        "data": {name: split.sha256 for name, split in prepared.splits.items()},
    }


def check_same_data(record: Mapping[str, Any], encoded: Mapping[str, Any]) -> None:
    """Raise `DataError` naming a split whose rows are not those a sweep began with."""
    for name, split in encoded["splits"].items():
        if record["data"].get(name) != split["sha256"]:
            raise DataError(f"the {name} rows are not those this sweep began with: restore the data, or start another sweep.")
