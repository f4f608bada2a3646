"""Training one member: an ordinary run in a directory below that of the run it belongs to."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.jobs.baselines import with_baselines
from ftr.jobs.failed import note_beginning, traceback_kept, write_ending
from ftr.jobs.prepare import Prepared, prepare
from ftr.jobs.run import Say, check_same_data, close, found, train
from ftr.jobs.several.plan import MEMBERS, Member
from ftr.runs.directory import RunDirectory
from ftr.runs.lock import hold
from ftr.runs.record import beginning
from ftr.runs.rejected import REJECTED, write_rejected
from ftr.train.history import attempts

if TYPE_CHECKING:
    from ftr.config.models import RunConfig
    from ftr.registry import Registry

FROM_RUN = ("ftr", "command", "origins", "components", "packages")
"""What the record of a member has from that of the run."""
UNREAD = ("seed", "init_seed", "learning_rate", "batch_size", "epochs", "trainer", "compute", "output", "baselines", "plugins")
"""Keys that do not decide what the encoded rows are."""
WEIGHTS = "weights.npy"


@dataclass(slots=True)
class Data:
    """The encoded rows of the members: each distinct content is read and encoded once."""

    registry: Registry
    known: dict[str, Prepared] = field(default_factory=dict)

    def put(self, config: RunConfig, prepared: Prepared) -> None:
        """Take what was prepared for a configuration already."""
        self.known[_content(config)] = prepared

    def of(self, config: RunConfig) -> Prepared:
        """Return the rows of a configuration. Raises what `prepare` raises."""
        key = _content(config)
        if key not in self.known:
            self.known[key] = prepare(config, self.registry)
        return self.known[key]


@dataclass(frozen=True, slots=True)
class Opened:
    """A member under way: its directory, which this process holds, the record it began with, its rows, and the rows' weights."""

    member: Member
    directory: RunDirectory
    record: dict[str, Any]
    prepared: Prepared
    weights: Path | None


def member_directory(run: RunDirectory, member: Member) -> RunDirectory:
    """Return the run directory of a member, which may not be there yet."""
    return RunDirectory(run.path / MEMBERS / str(member.number))


def done_record(run: RunDirectory, member: Member) -> dict[str, Any] | None:
    """Return the record of a member that is done, or None. Raises `ModelError` when its weights were changed."""
    directory = member_directory(run, member)
    record = directory.read() if directory.record.is_file() else None
    if record is None or record["status"] != "done":
        return None
    directory.check_weights()
    return record


@contextmanager
def opened(run: RunDirectory, opening: Mapping[str, Any], member: Member, data: Data, say: Say) -> Iterator[Opened]:
    """Make the directory of a member, or take up the one of an attempt before, hold it, and close its record if it fails within.

    Raises `DataError` when the rows are not those the attempt before had.
    """
    directory = member_directory(run, member)
    directory.path.mkdir(parents=True, exist_ok=True)
    with hold(directory.path):
        known = directory.read() if directory.record.is_file() else None
        prepared = data.of(member.config)
        if known is not None:
            check_same_data(known, prepared)
            note_beginning(directory, known)
        record = {**(known or {}), **_beginning(run, opening, member, known), **found(prepared)}
        record.pop("finished", None)
        record.pop("error", None)
        record = with_baselines(record, member.config, prepared, say)
        directory.write(record)
        if prepared.rejected:
            write_rejected(directory.path / REJECTED, prepared.rejected)
        weights = directory.path / WEIGHTS
        try:
            with traceback_kept(directory, say):
                yield Opened(member, directory, record, prepared, weights if weights.is_file() else None)
        except BaseException as error:
            write_ending(directory, {**record, "resumed": attempts(directory.path)[1:]}, error, say)
            raise


def finish(open_member: Opened, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Close the record of a member that was trained, write its card, and return the record."""
    return close(open_member.directory, {**open_member.record, **outcome}).record


def train_here(run: RunDirectory, opening: Mapping[str, Any], member: Member, data: Data, say: Say) -> dict[str, Any]:
    """Train a member in this process (or, as its configuration says, on workers), and return its record."""
    with opened(run, opening, member, data, say) as begun:
        return finish(begun, train(begun.directory, member.config, begun.prepared, begun.weights))


def _beginning(run: RunDirectory, opening: Mapping[str, Any], member: Member, known: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        **beginning(),
        **{key: opening[key] for key in FROM_RUN if key in opening},
        "created": known["created"] if known else time.time(),
        "process": os.getpid(),
        "config": member.config.model_dump(mode="json"),
        "member": {"of": run.path.name, "number": member.number, **member.apart},
    }


def _content(config: RunConfig) -> str:
    dumped = config.model_dump(mode="json", exclude=set(UNREAD))
    return json.dumps(dumped, sort_keys=True)
