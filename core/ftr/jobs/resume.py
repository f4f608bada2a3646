"""`ftr resume RUN`: going on with a training that was interrupted, was killed, or failed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.config.difference import differences
from ftr.config.models import RunConfig
from ftr.config.overrides import Layer
from ftr.config.recorded import recorded_config
from ftr.config.resolve import flat, resolve
from ftr.config.settings import read_settings
from ftr.errors import ConfigError, FtrError, RequestError
from ftr.isolation import one_training
from ftr.jobs.failed import note_beginning, traceback_kept
from ftr.jobs.run import RunResult, Say, carry_out, check_same_data, found, prepared_aloud, result_of
from ftr.jobs.say import shown_path, to_stderr
from ftr.registry import Registry
from ftr.runs.card import model_card
from ftr.runs.directory import RunDirectory
from ftr.runs.lock import hold
from ftr.runs.record import check_reach, package_versions, recorded_registry, remember
from ftr.runs.several_card import several_card
from ftr.train.checkpoint import CHECKPOINTS, check_format, remove_checkpoints
from ftr.train.stop import STOP


def resume(
    run: str | Path,
    settings: Mapping[str, object] | Sequence[str] = (),
    *,
    registry: Registry | None = None,
    say: Say | None = None,
) -> RunResult:
    """Go on with the run in a directory from its last checkpoint, to what it would have come to undisturbed.

    A run that is done is returned as it is. `settings`, if given, must be those of the run. Raises `ConfigError` naming each
    that differs, `DataError` when the data changed since, and `RequestError` when another process works on the run or there
    is none.
    """
    speak = say or to_stderr
    directory = RunDirectory.open(run)
    directory.check_links()
    check_format(directory.path / CHECKPOINTS)
    with one_training(), STOP.listening(), hold(directory.path):
        atomic.clear_leftovers(directory.path, held=True)
        record = directory.read()
        if "member" in record and record["status"] != "done":
            whole = shown_path(directory.path.parent.parent)
            raise RequestError(f"`{directory.path}` is a member of a run of several, which goes on as a whole: `ftr resume {whole}`.")
        known = registry or recorded_registry(record)
        given = read_settings(settings)
        if record["status"] == "done" and not given:
            return _done(directory, record, speak)
        config = recorded_config(record, directory.record)
        _check_settings(given, config, known)
        if record["status"] == "done":
            return _done(directory, record, speak)
        check_reach(flat(config), given, directory.record)
        remember(config, known)
        if config.several:
            from ftr.jobs.several.drive import go_on

            return go_on(directory, record, config, known, speak)
        with traceback_kept(directory, speak):
            prepared = prepared_aloud(config, known, speak)
        check_same_data(record, prepared)
        for line in _other_versions(record):
            speak(line)
        note_beginning(directory, record)
        opened = {key: value for key, value in record.items() if key not in ("finished", "error")}
        # A run that failed while its data was read knows nothing of them yet.
        opened |= {"status": "running", "process": os.getpid()} | ({} if "data" in record else found(prepared))
        directory.write(opened)
        return carry_out(directory, opened, config, prepared, speak)


def _check_settings(given: Layer, config: RunConfig, registry: Registry) -> None:
    """Refuse settings that differ from the run's; they are compared as the run would have read them."""
    known = flat(config)
    asked = {key: setting.value for key, setting in given.items()}
    try:
        # `metrics=a,b`, `dataset=reviews.csv` and `epochs=3` are not spelled as a record spells them.
        read = flat(resolve({**known, **asked}, registry).config)
    except FtrError:
        if asked.keys() - known.keys():
            raise
        read = known | asked
    other = differences({key: known.get(key) for key in asked}, {key: read.get(key, value) for key, value in asked.items()})
    if other:
        raise ConfigError(f"this run has other settings: {'; '.join(other)}. A run is resumed as it began; start another one for that.")


def _done(directory: RunDirectory, record: dict[str, Any], say: Say) -> RunResult:
    directory.check_weights()
    say(f"`{directory.path}` is done: there is nothing to resume")
    # A crash may have come between the record and these.
    if not (directory.path / "README.md").is_file():
        atomic.write_text(directory.path / "README.md", several_card(record) if "several" in record else model_card(record))
    remove_checkpoints(directory.path)
    return result_of(directory, record)


def _other_versions(record: dict[str, Any]) -> list[str]:
    """Return a line on each package whose version changed: results may then differ in their last digits."""
    now, then = package_versions(), record.get("packages", {})
    return [f"{name} was {then[name]} when this run began, is {now[name]}" for name in now if name in then and then[name] != now[name]]
