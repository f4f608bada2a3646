"""The cost of a sweep: trials at a time, hours by its budget, and disk; and where trials run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ftr import system
from ftr.cluster.capacity import Capacity, Kind, capacity, trials_at_once
from ftr.config.schema import ComputeConfig, RunConfig
from ftr.config.space import grid_points, grid_size
from ftr.config.sweep import ResolvedSweep, trial_config
from ftr.data.encode import data_key
from ftr.errors import FtrError
from ftr.registry.registry import Registry
from ftr.results.plan.training import RAY_BYTES, RAY_SECONDS, Start, Training, cost_key
from ftr.runs.launch import connected, worker_resources
from ftr.runs.prepare import Prepared, prepare
from ftr.train.inference import MAX_CACHED

DRAWS = 64
"""Configurations that are drawn to know what a trial costs on average."""
MOST_PROBES = 4
"""Kinds of trials that are timed: of other models, lengths, or parts that train."""
REPORTING = 0.5
"""Seconds between two trials of a process."""
Make = Callable[[RunConfig, Prepared, int | None], Training]


@dataclass(frozen=True, slots=True)
class Room:
    """Where trials and workers run: a cluster that exists, or this machine."""

    compute: ComputeConfig
    have: Capacity
    total: dict[str, float]

    @classmethod
    def of(
        cls,
        compute: ComputeConfig,
        registry: Registry,
        memory: int,
        say: Callable[[str], None],
    ) -> Room:
        """Ask the cluster at `compute.address`, or look at this machine; nothing is started.

        Raises `ConfigError` where the cluster does not answer.
        """
        if compute.address is not None:
            import ray

            with connected(compute, registry, say):
                return cls(compute, capacity(), dict(ray.cluster_resources()))
        import torch

        # Ray offers what is not set aside for its object store.
        here = {"CPU": float(system.cores()), "memory": 0.7 * memory}
        if gpus := torch.cuda.device_count():
            here["GPU"] = float(gpus)
        return cls(compute, Capacity([Kind("node", here, 1, 1)]), here)

    @property
    def largest(self) -> float:
        """The memory of the largest node, in bytes."""
        return max((kind.resources.get("memory", 0.0) for kind in self.have.kinds), default=0.0)

    def each(self, cpus: float | None) -> dict[str, float]:
        """Return the resources of one process."""
        return worker_resources(self.compute, cpus, self.total)

    def threads(self, cpus: float | None) -> int:
        """Return the threads of one process."""
        return max(int(self.each(cpus)["CPU"]), 1)

    def at_once(self, most: int | None) -> int:
        """Return how many trials run at a time. Raises `ConfigError` where not even one can."""
        need = {name: amount for name, amount in self.each(1.0).items() if amount > 0}
        fits = trials_at_once(max(self.compute.workers, 1), need, self.have)
        return min(fits, most or fits)


def sweep_costs(
    resolved: ResolvedSweep, make: Make, room: Room, start: Start, registry: Registry
) -> dict[str, Any]:
    """Return the cost of a sweep: at most, as if no trial were stopped early."""
    sweep, config = resolved.sweep, resolved.base.config
    at_once, threads = room.at_once(sweep.max_concurrent), room.threads(1.0)
    trainings, notes = _trainings(resolved, make, threads, registry)
    seconds = [sum(one.training.values()) - one.probe.build for one in trainings]
    epochs = float(np.mean([one.config.epochs for one in trainings]))
    mean = float(np.mean(seconds)) + REPORTING
    trials, budget, why = _number(resolved, mean, epochs, at_once)
    rounds = -(-trials // at_once)
    searching = min(rounds * mean, budget) if budget else rounds * mean
    worker = RAY_SECONDS + 1.5 * start.imports + trainings[0].probe.build
    full = max(trainings, key=lambda one: one.memory)
    last = trainings[0]
    # The winner is scored by the driver, which has all cores.
    faster = (
        max(1.0, (room.total.get("CPU", 1.0) / threads) ** 0.8) if not config.compute.address else 1
    )
    scoring = {name: value / faster for name, value in last.scoring.items()}
    cached = min(MAX_CACHED, sweep.repeats)
    workers = max(config.compute.workers, 1)
    most = max(one.disk[0] for one in trainings)
    left = int(np.mean([one.disk[1] for one in trainings]))
    kept = min(sweep.models_kept or trials, trials)
    return {
        "training": last,
        "seconds": {
            "start": start.imports,
            "ray": worker,
            "read": 2 * start.seconds,  # again, for the winner
            "trials": searching,
            "baselines": start.baselines,
            **scoring,
        },
        "memory": {
            "processes": min(at_once, trials) * workers,
            "each": start.base + full.memory + cached * full.probe.tensors.weights,
            "driver": max(start.reading, start.read + full.probe.tensors.weights),
            "ray": RAY_BYTES,
        },
        "disk": {
            "peak": (min(kept + at_once, trials) + 1) * left + at_once * max(most - left, 0),
            "left": (kept + 1) * left,  # and a copy of the best
        },
        "sweep": {
            "trials": trials,
            "trials_by": why,
            "at_once": at_once,
            "each": room.each(1.0),
            "trial_seconds": {"mean": mean, "least": min(seconds), "most": max(seconds)},
            "scheduler": sweep.scheduler,
            "notes": notes,
        },
    }


def _number(
    resolved: ResolvedSweep, mean: float, epochs: float, at_once: int
) -> tuple[int, float | None, str]:
    """Return how many trials there may be, the seconds they may take, and what limits them."""
    sweep, limit = resolved.sweep, resolved.trial_limit
    sizes = [grid_size(resolved.space), limit]
    counts: list[tuple[int, str]] = []
    if limit is not None:
        known = [one for one in sizes if one is not None]
        counts.append((min(known) * sweep.repeats, "trials"))
    if sweep.time_budget is not None:
        most = max(int(sweep.time_budget / mean) + 1, 1) * at_once
        counts.append((most, "time_budget"))
    if sweep.max_total_epochs is not None:
        # Running trials are stopped too.
        counts.append((max(int(np.ceil(sweep.max_total_epochs / epochs)), 1), "max_total_epochs"))
    if not counts:  # `min_gain` alone
        counts.append((20, "min_gain, which may end it earlier or later: 20 are assumed"))
    number, why = min(counts)
    return number, sweep.time_budget, why


def _trainings(
    resolved: ResolvedSweep, make: Make, threads: int, registry: Registry
) -> tuple[list[Training], list[str]]:
    """Return the trainings of configurations drawn from the space (all of a small grid), each kind
    of which was probed.
    """
    prepared: dict[str, Prepared] = {}
    found: list[Training] = []
    kinds: set[str] = set()
    left_out = 0
    for config in _configs(resolved, registry):
        key = data_key(config)
        kind = _kind(config)
        if kind not in kinds and len(kinds) >= MOST_PROBES:
            left_out += 1
            continue
        kinds.add(kind)
        if key not in prepared:
            prepared[key] = prepare(config, registry)
        found.append(make(config, prepared[key], threads))
    notes = []
    if left_out:
        notes.append(
            f"{left_out} of {left_out + len(found)} drawn configurations are of other kinds than "
            f"the {MOST_PROBES} that were looked at, and are taken to cost as much as those"
        )
    return found, notes


def _kind(config: RunConfig) -> str:
    return json.dumps(cost_key(config), sort_keys=True)


def _configs(resolved: ResolvedSweep, registry: Registry) -> list[RunConfig]:
    space = resolved.space
    count = grid_size(space)
    if count is not None and count <= DRAWS:
        drawn = list(islice(grid_points(space), DRAWS))
    else:
        generator = np.random.default_rng(resolved.base.config.seed)
        drawn = [{key: one.sample(generator) for key, one in space.items()} for _ in range(DRAWS)]
    found = []
    for values in drawn:
        try:
            found.append(trial_config(resolved.base, values, registry).config)
        except FtrError:  # a combination that no run can have; the sweep reports it
            continue
    return found or [resolved.base.config]
