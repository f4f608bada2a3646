"""`ftr.sweep`, and going on with one: from settings to a sweep directory with a winner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.config.keys import check_keys
from ftr.config.plugins import registry_for
from ftr.config.resolve import flat
from ftr.config.settings import read_settings
from ftr.config.space import read_dimension
from ftr.config.sweep import ResolvedSweep, SweepConfig, recorded_sweep, resolve_sweep
from ftr.config.validate import shown, validated
from ftr.errors import ConfigError, RequestError
from ftr.jobs.run import check_writable
from ftr.jobs.say import to_stderr
from ftr.jobs.sweep.driver import Driver, SweepResult
from ftr.jobs.sweep.members import check_ensemble
from ftr.paths import expanded
from ftr.registry import Registry
from ftr.runs.directory import RunDirectory
from ftr.runs.record import check_reach, recorded_registry, remember
from ftr.runs.sweep import SweepDirectory

Say = Callable[[str], None]
BUDGET = ("trials", "time", "epochs_total", "patience", "concurrent")
"""Keys that may change when a sweep is resumed: how long it goes on, not what it searches."""


def sweep(
    settings: Mapping[str, object] | Sequence[str] | None = None,
    *,
    registry: Registry | None = None,
    say: Say | None = None,
    **keys: object,
) -> SweepResult:
    """Search a space of configurations and return the result.

    Settings are those of `ftr sweep`: as for `ftr.run`, with expressions such as `loguniform(1e-5,1e-4)` for what is
    searched. Raises `RequestError` when something asked for is wrong, before any trial, and `RunError` when it failed.
    """
    asked: Mapping[str, object] | Sequence[str] = {**settings, **keys} if isinstance(settings, Mapping) else settings or keys
    if keys and not isinstance(settings, Mapping | None):
        raise RequestError("give settings as `key=value` strings or as keywords, not both")
    known = registry or registry_for(asked)
    resolved = resolve_sweep(asked, known)
    check_kept(resolved)
    check_ensemble(resolved.sweep.ensemble, resolved.base.config, known)
    check_writable(expanded(resolved.base.config.output, "`output`:"))
    remember(resolved.base.config, known, _searched(resolved))
    return Driver(resolved, known, say or to_stderr).begin()


def check_kept(resolved: ResolvedSweep) -> None:
    """Raise `ConfigError` where trials would keep other weights than those they are ranked by."""
    kept = resolved.space.get("train.keep")
    if resolved.base.config.train.keep == "last" or (kept is not None and "last" in kept.values):
        raise ConfigError(
            "`train.keep=last` in a sweep: trials are ranked by their best evaluation, and the winner is the model of that one. "
            "Leave `train.keep` at `best`."
        )


def resume_sweep(
    given: str | Path, settings: Sequence[str] = (), *, registry: Registry | None = None, say: Say | None = None
) -> SweepResult:
    """Go on with a sweep that was stopped; trials that ended are never run again.

    `settings` may change how long it goes on (`trials=40`, `time=3h`); anything else that differs is refused by name.
    Raises `RequestError` when another process drives it, or it cannot be read.
    """
    speak = say or to_stderr
    directory = SweepDirectory.open(given)
    RunDirectory(directory.path).check_links()
    with directory.lock():
        atomic.clear_leftovers(directory.path, held=True)
        record = directory.read()
        known = registry or recorded_registry(record)
        resolved = _resolved_again(record, settings, known, directory.record)
        check_reach({**flat(resolved.base.config), **record["space"]}, read_settings(settings).keys(), directory.record)
        remember(resolved.base.config, known, _searched(resolved))
        events = directory.events()
        if directory.journal.torn:
            speak(f"{directory.journal.path.name} ended in half a line, which is left out: {directory.journal.torn[:60]}")
        return Driver(resolved, known, speak).go_on(directory, record, events)


def _searched(resolved: ResolvedSweep) -> dict[str, list[object]]:
    """Return for each key that is searched its expression, and the values it names."""
    return {key: [dimension.text, *dimension.values] for key, dimension in resolved.space.items()}


def _resolved_again(record: dict[str, Any], settings: Sequence[str], registry: Registry, file: Path) -> ResolvedSweep:
    """Return the sweep of a record, with what `settings` change of its budget."""
    asked = read_settings(settings)
    resolved = recorded_sweep(record, registry, file)
    check_keys(asked, sweep=True)
    known = {**flat(resolved.base.config), **record["sweep"], **record["space"]}
    for key, setting in asked.items():
        searched = resolved.space.get(key)
        same = known.get(key) == setting.value if searched is None else read_dimension(key, setting.value, setting.origin) == searched
        if key not in BUDGET and not same:
            raise ConfigError(
                f"`{key}` is {shown(known.get(key))} in this sweep, not {shown(setting.value)}: a sweep goes on as it was begun. "
                f"Only {', '.join(f'`{name}`' for name in BUDGET)} may change; start another sweep for the rest."
            )
    changed = {key: setting.value for key, setting in asked.items() if key in BUDGET}
    return replace(resolved, sweep=validated(SweepConfig, {**record["sweep"], **changed}, asked))
