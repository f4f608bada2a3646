"""`ftr resume`: continue a run or a sweep that was interrupted, killed or failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.config.keys import check_keys
from ftr.config.parse import Layer, read_settings, shown, validated
from ftr.config.resolve import check_renamed, differences, flat, recorded_config, resolve
from ftr.config.schema import RunConfig, SweepConfig
from ftr.config.space import read_dimension
from ftr.config.sweep import ResolvedSweep, recorded_sweep
from ftr.errors import ConfigError, FtrError, RequestError
from ftr.paths import shown_path
from ftr.registry import trust
from ftr.registry.isolation import one_training
from ftr.registry.registry import Registry
from ftr.runs.card import has_cards, write_cards
from ftr.runs.directory import RunDirectory, hold
from ftr.runs.prepare import to_stderr
from ftr.runs.record import check_reach, package_versions, recorded_registry, remember
from ftr.runs.run import Job, RunResult, Say, Settings, merged, result_of
from ftr.study.directory import SweepDirectory, open_directory
from ftr.study.study import run_job
from ftr.study.sweep import Sweep, SweepResult, searched_values
from ftr.train.checkpoint import CHECKPOINTS, check_format, remove_checkpoints
from ftr.train.progress import INTERRUPT

CHANGEABLE = (
    "trials",
    "time_budget",
    "max_total_epochs",
    "min_gain",
    "max_concurrent",
    "keep_models",
)
"""Keys that may change when a sweep is resumed: its budget, not what it searches."""


def resume(
    run: str | Path,
    settings: Settings = None,
    *,
    registry: Registry | None = None,
    say: Say | None = None,
    **keys: object,
) -> RunResult | SweepResult:
    """Resume the run or sweep in a directory, or a sweep in a storage (`s3://bucket/folder/NAME`);
    the result is that of one that nothing disturbed.

    A run resumes from its last checkpoint, and one that is done is returned as it is. Of a sweep,
    trials that ended are never run again. `settings`, if given, must be those it began with; a
    sweep may be given another budget (`trials=40`, `time_budget=3h`). Raises `ConfigError` naming
    each setting that differs, `DataError` when the data changed since, and `RequestError` when
    another process works on it or there is none.

        ftr.resume("runs/ID")
        ftr.resume("runs/SWEEP", trials=40)
    """
    speak, given = say or to_stderr, merged(settings, keys)
    directory = open_directory(_fetched(str(run)) if "://" in str(run) else run)
    directory.check_links()
    check_format(directory.path / CHECKPOINTS)
    with one_training(), INTERRUPT.listening(), hold(directory.path):
        atomic.clear_leftovers(directory.path, held=True)
        record = directory.read()
        known = registry or recorded_registry(record)
        asked = read_settings(given)
        job: Job[RunResult] | Job[SweepResult]
        if isinstance(directory, SweepDirectory):
            job = _sweep(directory, record, asked, known, speak)
        else:
            check_renamed(record, directory.record)
            config = _run_config(directory, record, asked, known)
            if config is None:
                return _finished(directory, record, known, speak)
            job = run_job(config, known, speak)
        for line in _other_versions(record):
            speak(line)
        return job.resume(directory, record)


def _fetched(uri: str) -> Path:
    """Fetch a sweep from its storage into `runs`. The storage is named by the caller, so it need
    not be named a second time.
    """
    from ftr.study.remote import fetch_sweep

    trust.remember([trust.setting("compute.storage", uri.rstrip("/").rpartition("/")[0])])
    return fetch_sweep(uri, Path("runs"))


def _run_config(
    directory: RunDirectory, record: dict[str, Any], asked: Layer, registry: Registry
) -> RunConfig | None:
    """Return the configuration of a run that is not done; None: there is nothing to do."""
    done = record["status"] == "done"
    if "member" in record and not done:
        whole = shown_path(directory.path.parent.parent)
        raise RequestError(
            f"`{directory.path}` is a member of a run, which is resumed as a whole: "
            f"`ftr resume {whole}`."
        )
    if done and not asked:
        return None
    config = recorded_config(record, directory.record)
    check_settings(asked, config, registry)
    if done:
        return None
    check_reach(flat(config), asked, directory.record)
    remember(config, registry)
    return config


def _sweep(
    directory: SweepDirectory, record: dict[str, Any], asked: Layer, registry: Registry, say: Say
) -> Sweep:
    resolved = _with_budget(recorded_sweep(record, registry, directory.record), record, asked)
    reaching = {**flat(resolved.base.config), **record["space"]}
    check_reach(reaching, asked, directory.record)
    remember(resolved.base.config, registry, searched_values(resolved))
    return Sweep(resolved, registry, say)


def check_settings(given: Layer, config: RunConfig, registry: Registry) -> None:
    """Refuse settings that differ from the run's; they are compared as the run would have read
    them.
    """
    known = flat(config)
    asked = {key: setting.value for key, setting in given.items()}
    try:
        # `metrics=a,b`, `dataset=reviews.csv` and `epochs=3` are not spelled as a record spells
        # them.
        read = flat(resolve({**known, **asked}, registry).config)
    except FtrError:
        if asked.keys() - known.keys():
            raise
        read = known | asked
    other = differences(
        {key: known.get(key) for key in asked},
        {key: read.get(key, value) for key, value in asked.items()},
    )
    if other:
        raise ConfigError(
            f"this run has other settings: {'; '.join(other)}. A run is resumed as it began; start "
            "another one for that."
        )


def _with_budget(resolved: ResolvedSweep, record: dict[str, Any], asked: Layer) -> ResolvedSweep:
    """Return a sweep with what `asked` changes of its budget; refuse what else differs."""
    check_keys(asked, sweep=True)
    own = resolved.sweep.model_dump(mode="json")
    known = {**flat(resolved.base.config), **own, **record["space"]}
    for key, setting in asked.items():
        searched = resolved.space.get(key)
        same = (
            known.get(key) == setting.value
            if searched is None
            else read_dimension(key, setting.value, setting.origin) == searched
        )
        if key not in CHANGEABLE and not same:
            may = ", ".join(f"`{name}`" for name in CHANGEABLE)
            raise ConfigError(
                f"`{key}` is {shown(known.get(key))} in this sweep, not {shown(setting.value)}: a "
                f"sweep is resumed as it began. Only {may} may change; start another sweep for the "
                "rest."
            )
    changed = {key: setting.value for key, setting in asked.items() if key in CHANGEABLE}
    return replace(resolved, sweep=validated(SweepConfig, {**own, **changed}, asked))


def _finished(
    directory: RunDirectory, record: dict[str, Any], registry: Registry, say: Say
) -> RunResult:
    """Return the result of a run that is done, complete."""
    directory.check_weights()
    say(f"`{directory.path}` is done: there is nothing to resume")
    # A crash may have come between the record and these.
    if not has_cards(directory.path):
        write_cards(directory.path, record, registry)
    remove_checkpoints(directory.path)
    return result_of(directory, record)


def _other_versions(record: dict[str, Any]) -> list[str]:
    """Return a line on each package whose version changed: results may then differ in their last
    digits.
    """
    now, then = package_versions(), record.get("packages", {})
    return [
        f"{name} was {then[name]} when it began, is {now[name]}"
        for name in now
        if name in then and then[name] != now[name]
    ]
