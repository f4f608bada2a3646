"""`ftr plan`: from the words of a run or a sweep to what it will cost, and whether that fits."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ftr.config.found import with_found
from ftr.config.parse import Layer, registry_for
from ftr.config.resolve import resolve
from ftr.config.schema import ENSEMBLE, SWEEP_KEYS, RunConfig
from ftr.config.space import split_space
from ftr.config.sweep import resolve_sweep
from ftr.data.encode import cache_folder
from ftr.data.infer import settings_with_task
from ftr.errors import RequestError
from ftr.registry.isolation import one_training
from ftr.registry.registry import Registry
from ftr.results.plan.facts import (
    baseline_scores,
    baseline_seconds,
    data_facts,
    warnings_of,
)
from ftr.results.plan.large import check_readable, check_sizes
from ftr.results.plan.training import (
    RAY_BYTES,
    RAY_SECONDS,
    Clock,
    Start,
    Training,
    cost_key,
    encoded_bytes,
)
from ftr.results.plan.trials import Room, sweep_costs
from ftr.runs.prepare import Prepared, prepare, to_stderr
from ftr.runs.run import Say, Settings, merged
from ftr.terminal import quiet_libraries
from ftr.train.costs import (
    disk_free,
    memory_free,
    memory_here,
    memory_now,
    memory_shared,
    peak_since,
    size,
)

Kind = Literal["run", "sweep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How to plan: `steps` are timed, `baselines` scored; `memory` and `disk` are the bytes of
    another machine, None: those of this one. `began` is when (`time.monotonic`) the command began
    to import what it needs.
    """

    steps: bool = True
    baselines: bool = False
    memory: int | None = None
    disk: int | None = None
    began: float | None = None


class DoesNotFitError(RequestError):
    """What is planned needs more than there is; `plan` is all that was found."""

    def __init__(self, message: str, plan: dict[str, Any]) -> None:
        super().__init__(message)
        self.plan = plan


def kind_of(
    settings: Sequence[str] | Mapping[str, object],
) -> tuple[Kind, Sequence[str] | Mapping[str, object]]:
    """Return what settings ask for, and words without `run` or `sweep` at their head.

    Without either it is a sweep where a value is an expression, or a key is one of a sweep alone.
    """
    if isinstance(settings, Sequence) and settings and settings[0] in ("run", "sweep"):
        return ("run" if settings[0] == "run" else "sweep"), list(settings[1:])
    return ("sweep" if _is_sweep(with_found(settings)) else "run"), settings


def _is_sweep(given: Layer) -> bool:
    own = [key for key in given if key in SWEEP_KEYS and key != "ensemble"]
    joined = given["ensemble"].value if "ensemble" in given else None
    space, _ = split_space({key: one for key, one in given.items() if key not in SWEEP_KEYS})
    return bool(own or space or (isinstance(joined, str) and re.match(ENSEMBLE, joined)))


def plan(
    settings: Settings = None,
    *,
    kind: Kind | None = None,
    steps: bool = True,
    baselines: bool = False,
    memory: float | None = None,
    disk: float | None = None,
    began: float | None = None,
    registry: Registry | None = None,
    say: Say | None = None,
    **keys: object,
) -> dict[str, Any]:
    """Return what a run or a sweep will cost, as plain values: those of `ftr plan --json`.

    Settings are given as to `ftr.run`; `kind` (`run` or `sweep`) is found from them. With `steps`
    some are timed, else all is arithmetic; `baselines` are scored on the data (the setting of a run
    of that name is given as `{"baselines": False}`). `memory` and `disk` are those of another
    machine, in GB; `began` is when (`time.monotonic`) the program began to import what it needs.
    Raises `DoesNotFitError`, whose `plan` has all that was found, where memory or disk do not
    suffice, and what the run or sweep would for a wrong request.

        ftr.plan(task="sentiment", dataset="reviews.csv")["seconds"]["total"]
    """
    asked = Asked(
        steps=steps,
        baselines=baselines,
        memory=_bytes("memory", memory),
        disk=_bytes("disk", disk),
        began=began,
    )
    speak = say or to_stderr
    found, given = kind_of(merged(settings, keys))
    kind = kind or found
    given = with_found(given, sweep=kind == "sweep")
    return _plan(kind, given, asked, registry, speak)


def _bytes(name: str, gigabytes: float | None) -> int | None:
    if gigabytes is not None and not 0 < gigabytes < math.inf:
        raise RequestError(f"`{name}` (`--{name}`) is {gigabytes}: give GB, a number above 0.")
    return None if gigabytes is None else int(gigabytes * 1e9)


def _plan(
    kind: Kind,
    settings: Layer,
    asked: Asked,
    registry: Registry | None,
    speak: Say,
) -> dict[str, Any]:
    available = asked.memory or memory_here()
    check_sizes(settings, available)
    with one_training():
        known = registry or registry_for(settings)
        given = settings_with_task(settings, known, speak, sweep=kind == "sweep")
        if kind == "sweep":
            resolved = resolve_sweep(given, known)
            config = resolved.base.config
        else:
            resolved, config = None, resolve(given, known).config
        planning = Planning(config, known, asked, available, speak)
        costs = (
            sweep_costs(resolved, planning.training, planning.room(), planning.start, known)
            if resolved is not None
            else planning.run_costs()
        )
        return planning.close(kind, costs)


class Planning:
    """The data and the cost of a configuration, and whether there is room for it."""

    def __init__(
        self,
        config: RunConfig,
        registry: Registry,
        asked: Asked,
        available: int,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.registry, self.asked = config, registry, asked
        self.available, self.say = available, say
        clock = Clock(asked.began)
        quiet_libraries()
        # What a training imports, which takes seconds and memory.
        import ray.train.torch

        import ftr.train.session  # noqa: F401

        del ray
        imports, base, shared = clock.lap(), memory_now(), memory_shared()
        check_readable(config, registry, available - base)
        clock.lap()
        peak_since(reset=True)
        self.prepared = prepare(config, registry)
        seconds = clock.lap() - self.prepared.seconds["encoding"]
        self.baselines = (
            baseline_scores(config, self.prepared)
            if asked.baselines
            else {"baseline_seconds": baseline_seconds(config, self.prepared, registry)}
        )
        self.start = Start(
            imports=imports,
            seconds=seconds,
            base=base,
            shared=shared,
            reading=peak_since(),
            read=memory_now(),
            baselines=float(self.baselines.get("baseline_seconds", 0.0)),
        )
        self._trainings: dict[str, Training] = {}
        self._room: Room | None = None

    def training(self, config: RunConfig, prepared: Prepared, threads: int | None) -> Training:
        """Return the training of a configuration; those that differ in their steps alone, or in
        their rates, share a probe.
        """
        key = json.dumps([cost_key(config), threads])
        if key not in self._trainings:
            self._trainings[key] = Training.of(
                config, prepared, self.registry, steps=self.asked.steps, threads=threads
            )
        return self._trainings[key].like(config)

    def room(self) -> Room:
        """Return where trials and workers run, which is looked at once."""
        if self._room is None:
            self._room = Room.of(self.config.compute, self.registry, self.available, self.say)
        return self._room

    def run_costs(self) -> dict[str, Any]:
        """Return the cost of a run, or of one of several members."""
        from ftr.study.members import plan_of
        from ftr.study.study import at_once

        config, compute, start = self.config, self.config.compute, self.start
        members = len(plan_of(config).members) if config.several else 1
        side_by_side = at_once(compute, members) if members > 1 else 1
        room = self.room() if compute.workers or side_by_side > 1 else None
        threads = room.threads(None) if room and compute.workers else None
        if side_by_side > 1 and not compute.workers:
            threads = max(int(compute.cpus or 1), 1)
        training = self.training(config, self.prepared, threads)
        parts = training.training
        rounds = -(-members // side_by_side)
        apart = bool(compute.workers) or side_by_side > 1
        seconds = {
            "start": start.imports,
            "read": start.seconds,
            "baselines": start.baselines * members,
            "ray": (RAY_SECONDS + 1.5 * start.imports) if apart else 0.0,
            **{name: rounds * one for name, one in {**parts, **training.scoring}.items()},
        }
        most, left = training.disk
        return {
            "training": training,
            "seconds": seconds,
            "memory": self._memory(training, side_by_side if apart else 0),
            "disk": {"peak": members * left + (most - left) * side_by_side, "left": members * left},
            "members": members,
            "at_once": side_by_side,
        }

    def _memory(self, training: Training, trainings: int) -> dict[str, Any]:
        """Return processes and bytes: of a training in this process, or of several in others."""
        start, workers = self.start, max(self.config.compute.workers, 1)
        if not trainings:
            return {
                "processes": 1,
                "each": max(start.reading, start.read + training.memory),
                "driver": 0,
                "ray": 0,
            }
        return {
            "processes": trainings * workers,
            "each": start.base + training.memory,
            "driver": max(start.reading, start.read),
            "ray": RAY_BYTES,
        }

    def close(self, kind: Kind, costs: Mapping[str, Any]) -> dict[str, Any]:
        """Return all that was found; raises `DoesNotFitError`."""
        training: Training = costs["training"]
        memory, disk = dict(costs["memory"]), dict(costs["disk"])
        cluster = self.config.compute.address is not None
        memory["shared"] = self.start.shared if memory["driver"] else 0
        memory["total"] = (
            memory["processes"] * (memory["each"] - memory["shared"])
            + memory["driver"]
            + memory["ray"]
        )
        largest = int(self.room().largest) if cluster else self.available
        memory |= {"available": largest, "free": memory_free()}
        memory["parts"] = {"process": self.start.base, **asdict(training.probe.tensors)}
        memory["gpu"] = training.probe.gpu
        disk["cache"] = encoded_bytes(self.prepared)
        disk["free"] = self.asked.disk or disk_free(self.config.output)
        seconds = {name: value for name, value in costs["seconds"].items() if value}
        found = {
            "kind": kind,
            "data": data_facts(self.prepared),
            "notes": self.prepared.notes,
            "warnings": warnings_of(self.prepared),
            "baselines": self.baselines.get("baselines", {}),
            "model": {**training.probe.parameters, "trains_line": training.probe.trains},
            "training": {
                "steps": training.steps,
                "epochs": training.config.epochs,
                "validations": training.validations,
                "members": costs.get("members", 1),
                "numerics": training.probe.numerics,
            },
            "basis": "steps" if self.asked.steps else "arithmetic",
            "timed_steps": training.probe.timed,
            "encoding_seconds": self.prepared.seconds["encoding"],
            "cache": str(cache_folder(self.config.data.cache, self.config.output)),
            "seconds": {"total": sum(seconds.values()), "parts": seconds},
            "memory": memory,
            "disk": disk,
            "sweep": costs.get("sweep"),
            "address": self.config.compute.address,
        }
        self._check_fits(found, cluster)
        return found

    def _check_fits(self, found: dict[str, Any], cluster: bool) -> None:
        memory, disk = found["memory"], found["disk"]
        problems = []
        arithmetic = memory_arithmetic(memory)
        if cluster and memory["each"] > memory["available"]:
            problems.append(
                f"memory: a process of the training needs about {size(memory['each'])}, and the "
                f"largest node offers {size(memory['available'])} (in all {arithmetic})"
            )
        elif not cluster and memory["total"] > memory["available"]:
            problems.append(
                f"memory: it needs about {arithmetic}, and there is {size(memory['available'])}"
            )
        gpu = _gpu_memory()
        if memory["gpu"] and gpu and memory["gpu"] > gpu:
            problems.append(f"memory: the GPU has {size(gpu)}, it needs {size(memory['gpu'])}")
        if disk["peak"] > disk["free"]:
            problems.append(
                f"disk: `output={self.config.output}` needs up to {size(disk['peak'])} "
                f"({size(disk['left'])} stay), and {size(disk['free'])} are free"
            )
        found["fits"] = not problems
        if problems:
            raise DoesNotFitError(f"it does not fit. {'; '.join(problems)}. {ADVICE}", found)


ADVICE = (
    "Less memory: `train.micro_batch_size`, `data.max_length`, `train.lora.rank`, a smaller "
    "`model`, a lower `max_concurrent`; less disk: fewer trials, `train.save_steps=0`."
)


def memory_arithmetic(memory: Mapping[str, Any]) -> str:
    """Return the sum behind the memory in words."""
    parts, each = memory["parts"], memory["each"]
    fixed = sum(parts[name] for name in ("weights", "gradients", "optimizer", "averages"))
    sums = (
        f"process {size(parts['process'])}, weights {size(parts['weights'])}, gradients "
        f"{size(parts['gradients'])}, optimizer {size(parts['optimizer'])}, activations and rows "
        f"{size(max(each - fixed - parts['process'], 0))}"
    )
    if not memory["driver"]:
        return f"{size(each)} ({sums})"
    return (
        f"{size(memory['total'])} ({memory['processes']} processes of {size(each)}: {sums}; less "
        f"{size(memory['shared'])} of libraries that each shares with the others; driver "
        f"{size(memory['driver'])}, Ray {size(memory['ray'])})"
    )


def _gpu_memory() -> int | None:
    import torch

    return int(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else None
