"""The capacity of a cluster: how many trials run at once, and why not even one can."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftr.cluster import ray_private
from ftr.errors import ConfigError, counted

Resources = Mapping[str, float]

GB = 1e9
MANY = 1000
"""The number of nodes assumed where an autoscaler has no maximum."""
_KEYS = {"CPU": "compute.cpus", "GPU": "compute.gpus", "memory": "compute.memory"}


@dataclass(frozen=True, slots=True)
class Kind:
    """Equal nodes: the resources of one, how many there are, and how many there may be."""

    name: str
    resources: Resources
    count: int
    most: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a cluster offers.

    `most` limits the nodes of all kinds together; `open_ended` means that more may exist.
    """

    kinds: Sequence[Kind]
    most: float = math.inf
    open_ended: bool = False
    limits: Resources = field(default_factory=dict)


def check_capacity(
    workers: int, cpus: float, gpus: float, memory_gb: float | None, resources: Mapping[str, float]
) -> int:
    """Return how many trials the connected cluster can run at once, with the nodes that its
    autoscaler may add.

    A trial is one process with these resources, or `workers` of them. Raises `ConfigError` with the
    arithmetic when not even one fits. Returns 1 where an autoscaler may add nodes of unknown size.
    """
    need = {"CPU": cpus, "GPU": gpus, "memory": (memory_gb or 0.0) * GB, **resources}
    return trials_at_once(
        max(workers, 1), {name: amount for name, amount in need.items() if amount > 0}, capacity()
    )


def trials_at_once(workers: int, need: Resources, have: Capacity) -> int:
    """Return how many trials fit, of `workers` processes that need `need` each: at least one.

    Raises `ConfigError`.
    """
    places = [(kind, _times(need, kind.resources)) for kind in have.kinds]
    processes = _limited(sum(times * kind.most for kind, times in places), need, have)
    if processes >= workers:
        return int(processes // workers)
    if have.open_ended:
        return 1
    if all(times == 0 for _, times in places):
        raise ConfigError(
            _too_much(need, have.kinds, "one trial" if workers == 1 else "each worker of a trial")
        )
    room = "; ".join(
        f"{times * kind.most} on {_counted(kind, need)}" for kind, times in places if times
    )
    raise ConfigError(
        f"`compute.workers={workers}` with {_asked(need)}: one trial needs {workers} times "
        f"{_amounts(need)}, the cluster has room for {processes:g} such workers ({room}). Lower "
        "`compute.workers` or what each of them gets."
    )


def capacity() -> Capacity:
    """Return what the connected cluster offers and, where known, what its autoscaler may add."""
    import ray

    reported = ray_private.autoscaler_limits()
    if reported is not None and reported.node_group_configs:
        # The figures of a managed autoscaler, which Ray Train uses too.
        kinds = [
            Kind(
                group.name or "node",
                dict(group.resources),
                0,
                group.max_count if group.max_count >= 0 else MANY,
            )
            for group in reported.node_group_configs
        ]
        return Capacity(kinds, limits=dict(reported.max_resources))
    now = _alike(node["Resources"] for node in ray.nodes() if node["Alive"])
    settings = _settings_of_autoscaler()
    if settings is not None:
        return from_settings(settings, now)
    # On Kubernetes the autoscaler's maximum is in a resource that pods cannot read.
    return Capacity(now, open_ended="RAY_USAGE_STATS_KUBERAY_IN_USE" in os.environ)


def from_settings(settings: Mapping[str, Any], now: Sequence[Kind]) -> Capacity:
    """Return the capacity that the configuration file of `ray up` allows.

    The size of node types without `resources` is known only when the provider starts a node.
    """
    ceiling = int(settings.get("max_workers", 0))
    kinds, open_ended, seen = [], False, list(now)
    for name, described in (settings.get("available_node_types") or {}).items():
        amounts = described.get("resources") or {}
        most = int(described.get("max_workers", ceiling))
        if name == settings.get("head_node_type") or most == 0:
            continue
        if not amounts:
            open_ended = True
            continue
        like = next((kind for kind in seen if amounts.items() <= kind.resources.items()), None)
        if like:
            seen.remove(like)
            kinds.append(Kind(name, like.resources, like.count, most))
        else:
            # Only a running node shows the memory that its type does not name.
            kinds.append(Kind(name, {"memory": math.inf, **amounts}, 0, most))
    return Capacity([*kinds, *seen], most=ceiling + 1, open_ended=open_ended)


def _settings_of_autoscaler() -> Mapping[str, Any] | None:
    """Return the configuration file with which the autoscaler on this machine (the head) was
    started.
    """
    import yaml

    option = "--autoscaling-config="
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        files = [Path(word.removeprefix(option)) for word in words if word.startswith(option)]
        if any(word.endswith("/monitor.py") for word in words) and files:
            file = files[0].expanduser()
            loaded = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
            return loaded if isinstance(loaded, dict) else None
    return None


def _alike(nodes: Iterable[Resources]) -> list[Kind]:
    # Every node has a resource of its own name, which tells it from its twins.
    offers = Counter(
        tuple(
            sorted(
                (name, round(amount / GB, 1) * GB if name == "memory" else amount)
                for name, amount in node.items()
                if ":" not in name and name != "object_store_memory"
            )
        )
        for node in nodes
    )
    return [Kind("node", dict(offer), count, count) for offer, count in offers.items()]


def _times(need: Resources, offered: Resources) -> int:
    """Return how often `need` fits into one node."""
    if not need:
        return MANY
    # 0.1 goes ten times into 1, not nine.
    return min(math.floor(offered.get(name, 0.0) / amount + 1e-6) for name, amount in need.items())


def _limited(processes: float, need: Resources, have: Capacity) -> float:
    if have.most is not math.inf:
        best = max((_times(need, kind.resources) for kind in have.kinds), default=0)
        processes = min(processes, best * have.most)
    for name, amount in need.items():
        if name in have.limits:
            processes = min(processes, math.floor(have.limits[name] / amount + 1e-6))
    return processes


def _asked(need: Resources) -> str:
    return ", ".join(f"`{_key(name)}={_plain(name, amount):g}`" for name, amount in need.items())


def _amounts(need: Resources) -> str:
    return ", ".join(_amount(name, amount) for name, amount in need.items())


def _amount(name: str, amount: float) -> str:
    plain = _plain(name, amount)
    if name == "memory":
        return f"{plain:g} GB of memory"
    return counted(plain, name, "g") if name in _KEYS else f"{plain:g} `{name}`"


def _plain(name: str, amount: float) -> float:
    return amount / GB if name == "memory" else amount


def _key(name: str) -> str:
    return _KEYS.get(name, f"compute.resources.{name}")


def _too_much(need: Resources, kinds: Sequence[Kind], who: str) -> str:
    """Return the message for a request that exceeds every single node."""
    best = {
        name: max((kind.resources.get(name, 0.0) for kind in kinds), default=0.0) for name in need
    }
    short = {name: amount for name, amount in need.items() if best[name] < amount - 1e-9} or need
    nodes = "; ".join(_counted(kind, short) for kind in kinds) or "there are no nodes"
    name = next(iter(short))
    found = f"the largest node has {_amount(name, best[name])}" if best[name] else "no node has any"
    if len(short) > 1:
        found = "no node has all of that"
    keys = " or ".join(f"`{_key(name)}`" for name in short)
    return (
        f"{_asked(short)}: {who} needs {_amounts(short)}, {found} ({nodes}). Lower {keys}, or add "
        "a node that has enough."
    )


def _counted(kind: Kind, asked: Resources) -> str:
    """Describe equal nodes by their CPUs, GPUs and the resources asked for."""
    offered = {
        name: amount
        for name in dict.fromkeys(("CPU", "GPU", *asked))
        if (amount := kind.resources.get(name, 0.0 if name in asked else math.inf)) < math.inf
    }
    count = f"up to {kind.most}" if kind.most > kind.count else str(kind.most)
    name = "" if kind.name == "node" else f"`{kind.name}` "
    nodes = "node" if kind.most == 1 else "nodes"
    return f"{count} {name}{nodes} with {_amounts(offered) or 'nothing'}"
