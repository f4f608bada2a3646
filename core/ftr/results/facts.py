"""Two records of one training compared: what they were made from, and what came out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ftr.config.resolve import flat

Record = Mapping[str, Any]
RESULTS = ("scores", "untrained", "baselines", "summary", "best", "steps")
"""Keys of a record that a training computes and that are compared, number by number."""
MACHINE = ("machine", "processor", "instructions", "gpus")
"""What makes machines of one type: torch computes with the same kernels on them."""
PLACES = ("dataset", "model", "output", "data.cache", "plugins", "tracker")
"""Settings, or groups of them, that say where things are. Data and weights have hashes."""
ABSENT = "not there"


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a training depended on, as recorded and as it is now.

    `equal` is None where the record does not say. `explains`: a difference can change weights and
    scores.
    """

    name: str
    recorded: Any
    now: Any
    equal: bool | None
    explains: bool = True

    def line(self) -> str:
        """Return it in one line."""
        return f"{self.name}: {shown(self.recorded)}, now {shown(self.now)}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of the results that is not what was recorded; `what` is its dotted key."""

    what: str
    recorded: Any
    now: Any

    def line(self) -> str:
        """Return it in one line."""
        return f"{self.what}: {shown(self.recorded)}, now {shown(self.now)}"


def shown(value: object) -> str:
    """Return a value for a person: hashes short, mappings as words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "none"
    text = " ".join(str(value).split())
    hashed = len(text) in (40, 64) and set(text) <= set("0123456789abcdef")
    return f"{text[:12]}…" if hashed else text


def facts(recorded: Record, now: Record) -> list[Fact]:
    """Return what two trainings depended on, from `run.json` of the first and of the second.

    The second may be a record before its training. Facts that matter most come first.
    """
    found = [
        *_data(recorded, now),
        *_settings(flat(recorded["config"]), flat(now["config"])),
        *_base(recorded.get("model_source") or {}, now.get("model_source") or {}),
        _fact("ftr", recorded.get("ftr"), now.get("ftr")),
        *_source(recorded, now),
        *_plugins(recorded, now),
        *_each("package", recorded.get("packages"), now.get("packages")),
        *_machine(recorded, now),
        *_resumed(recorded),
        *_environment(recorded.get("environment") or {}, now.get("environment") or {}),
    ]
    return sorted(found, key=lambda fact: not fact.explains)


def _fact(name: str, recorded: Any, now: Any, explains: bool = True) -> Fact:
    equal = None if recorded is None else recorded == now
    return Fact(name, recorded, now, equal, explains)


def _each(
    group: str, recorded: Record | None, now: Record | None, explains: bool = True
) -> Iterator[Fact]:
    """Yield a fact for each key of two mappings; with one mapping missing, one fact in all."""
    if recorded is None or now is None:
        yield Fact(group, recorded, now, None, explains)
        return
    for key in dict.fromkeys([*recorded, *now]):
        known, found = recorded.get(key, ABSENT), now.get(key, ABSENT)
        yield Fact(f"{group} {key}", known, found, known == found, explains)


def _data(recorded: Record, now: Record) -> Iterator[Fact]:
    known, found = recorded.get("data") or {}, now.get("data") or {}
    for before, after in zip(known.get("sources", ()), found.get("sources", ()), strict=False):
        yield _fact(f"file `{before['path']}`", before["sha256"], after["sha256"])
    splits = found.get("splits") or {}
    for name in dict.fromkeys([*(known.get("splits") or {}), *splits]):
        before, after = known["splits"].get(name, {}), splits.get(name, {})
        yield Fact(
            f"rows of {name}",
            before.get("sha256", ABSENT),
            after.get("sha256", ABSENT),
            before.get("sha256") == after.get("sha256"),
        )
    labels = recorded.get("labels"), now.get("labels")
    if labels[0] != labels[1]:
        yield _fact("labels", *labels)


def _settings(recorded: Record, now: Record) -> Iterator[Fact]:
    """Yield settings that differ, and in one fact those that the record does not have."""
    unsaid = {}
    for key in dict.fromkeys([*recorded, *now]):
        if key in PLACES or key.startswith("compute."):
            continue
        if key not in recorded:
            unsaid[key] = now[key]
        elif recorded[key] != now.get(key, ABSENT):
            # A choice of `auto` that was recorded is repeated as it came out.
            chosen = key == "train.precision" and recorded[key] == "auto"
            yield Fact(f"`{key}`", recorded[key], now.get(key, ABSENT), chosen, not chosen)
    if unsaid:
        yield Fact("settings that the record does not have", None, unsaid, None)


def _base(recorded: Record, now: Record) -> Iterator[Fact]:
    """Yield what tells the weights that a training began with: hashes, else where they were."""
    certain = [key for key in ("sha256", "commit", "weights") if recorded.get(key)]
    if not certain:
        yield Fact("hash of the weights to begin with", None, None, None)
        certain = ["hub_id", "source", "revision"]
    for key in (*certain, "trust_remote_code"):
        if key in recorded:
            yield _fact(f"model {key}", recorded[key], now.get(key, ABSENT))


def _source(recorded: Record, now: Record) -> Iterator[Fact]:
    known = (recorded.get("environment") or {}).get("source")
    found = (now.get("environment") or {}).get("source")
    if known is None:
        yield Fact("source code of ftr and its plugins", None, found, None)
    else:
        yield from _each("source code of", known, found)


def _plugins(recorded: Record, now: Record) -> Iterator[Fact]:
    """Yield a fact for each plugin that components came from: distribution, version, hash."""

    def each(record: Record) -> dict[str, Any]:
        return {
            str(entry["plugin"]): [
                entry[key] for key in ("distribution", "version", "sha256") if entry.get(key)
            ]
            for entry in (record.get("components") or {}).values()
            if entry.get("plugin")
        }

    yield from _each("plugin", each(recorded), each(now))


def _machine(recorded: Record, now: Record) -> Iterator[Fact]:
    known, found = recorded.get("hardware") or {}, now.get("hardware") or {}
    for key in (*MACHINE, "threads"):
        yield _fact(key, known.get(key), found.get(key))
    yield _fact("workers", recorded.get("workers"), now.get("workers", recorded.get("workers")))
    for key in ("cores", "memory_bytes"):
        yield _fact(key, known.get(key), found.get(key), explains=False)
    before, after = recorded.get("numerics") or {}, now.get("numerics") or {}
    for key in ("device", "precision", "attention"):
        yield _fact(key, before.get(key), after.get(key, before.get(key)))
    then, later = ((one.get("memory") or {}).get("micro_batch") for one in (recorded, now))
    if then and later:
        yield _fact("passes", then, later)


def _resumed(recorded: Record) -> Iterator[Fact]:
    """Yield what an attempt of the recorded training had that the first one had not."""
    for attempt in recorded.get("resumed_with", ()):
        yield Fact("code or packages when it was resumed", attempt, "one attempt", False)


def _environment(recorded: Record, now: Record) -> Iterator[Fact]:
    if not recorded:
        for name in ("git commit of the working folder", "container", "all installed packages"):
            yield Fact(name, None, None, None, explains=False)
        return
    yield from _each("variable", recorded.get("variables"), now.get("variables"))
    outside = {"commit": "no repository"}
    git = recorded.get("git") or outside, now.get("git") or outside
    yield from _each("git", git[0], git[1], explains=False)
    inside = recorded.get("container") or "none", now.get("container") or "none"
    yield _fact("container", inside[0], inside[1], explains=False)
    known, found = _versions(recorded), _versions(now)
    other = [name for name in dict.fromkeys([*known, *found]) if known.get(name) != found.get(name)]
    yield Fact(
        "other installed packages",
        {name: known.get(name, ABSENT) for name in other},
        {name: found.get(name, ABSENT) for name in other},
        not other,
        explains=False,
    )


def _versions(environment: Record) -> dict[str, str]:
    words = str(environment.get("installed", "")).split()
    return {name: version for name, _, version in (word.partition("==") for word in words)}


def same_machine(recorded: Record, now: Record) -> bool:
    """Whether both were trained on machines of one type, as far as the records say."""
    known, found = recorded.get("hardware") or {}, now.get("hardware") or {}
    kinds = [key for key in MACHINE if key in known]
    return bool(kinds) and all(known[key] == found.get(key) for key in kinds)


def differences(recorded: Record, now: Record) -> tuple[list[Difference], int]:
    """Return each number of the results that is not what was recorded, and how many are compared.

    Results that only the second record has, such as those of newer versions, are not compared.
    """
    found, count = [], 0
    for key in RESULTS:
        known, after = (_numbers(one.get(key), key) for one in (recorded, now))
        count += len(known)
        found += [
            Difference(name, value, after.get(name, ABSENT))
            for name, value in known.items()
            if not _same(value, after.get(name, ABSENT))
        ]
    return found, count


def _numbers(value: Any, name: str) -> dict[str, Any]:
    """Return the numbers in nested results by dotted key."""
    if isinstance(value, Mapping):
        return {
            key: number
            for inner, item in value.items()
            for key, number in _numbers(item, f"{name}.{inner}").items()
        }
    return {} if value is None else {name: value}


def _same(first: Any, second: Any) -> bool:
    both_nan = all(isinstance(one, float) and math.isnan(one) for one in (first, second))
    return both_nan or first == second


def plain(items: list[Fact] | list[Difference]) -> list[dict[str, Any]]:
    """Return facts or differences as plain data."""
    return [asdict(item) for item in items]
