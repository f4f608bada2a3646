"""`ftr resume RUN`: continue a training that was interrupted, killed or failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftr import atomic
from ftr.config.parse import Layer
from ftr.config.resolve import differences, flat, resolve
from ftr.config.schema import RunConfig
from ftr.errors import ConfigError, FtrError
from ftr.registry.registry import Registry
from ftr.runs.directory import RunDirectory
from ftr.runs.prepare import Prepared
from ftr.runs.record import package_versions
from ftr.runs.report import model_card
from ftr.runs.run import (
    RunResult,
    Say,
    carry_out,
    check_same_data,
    note_beginning,
    prepared_aloud,
    reopened,
    result_of,
    traceback_kept,
)
from ftr.train.checkpoint import remove_checkpoints


def resume_one(
    directory: RunDirectory, record: dict[str, Any], config: RunConfig, registry: Registry, say: Say
) -> RunResult:
    """Resume a run of one training, which this process holds."""
    opened, prepared = reopen(directory, record, say, lambda: prepared_aloud(config, registry, say))
    note_beginning(directory, record)
    directory.write(opened)
    return carry_out(directory, opened, config, prepared, say)


def reopen(
    directory: RunDirectory,
    record: dict[str, Any],
    say: Say,
    first_rows: Callable[[], Prepared],
) -> tuple[dict[str, Any], Prepared]:
    """Read the data of a run again, and return the record that a new attempt opens, and the data.

    Raises `DataError` when the data changed since.
    """
    with traceback_kept(directory, say):
        prepared = first_rows()
    check_same_data(record, prepared)
    for line in _other_versions(record):
        say(line)
    return reopened(record, prepared), prepared


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


def finished(directory: RunDirectory, record: dict[str, Any], say: Say) -> RunResult:
    """Return the result of a run that is done, complete."""
    directory.check_weights()
    say(f"`{directory.path}` is done: there is nothing to resume")
    # A crash may have come between the record and these.
    if not (directory.path / "README.md").is_file():
        atomic.write_text(
            directory.path / "README.md",
            model_card(record),
        )
    remove_checkpoints(directory.path)
    return result_of(directory, record)


def _other_versions(record: dict[str, Any]) -> list[str]:
    """Return a line on each package whose version changed: results may then differ in their last
    digits.
    """
    now, then = package_versions(), record.get("packages", {})
    return [
        f"{name} was {then[name]} when this run began, is {now[name]}"
        for name in now
        if name in then and then[name] != now[name]
    ]
