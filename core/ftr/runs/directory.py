"""A run directory: its name, its lock, its record `run.json` and the files beside it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ftr import atomic
from ftr.atomic import read_json
from ftr.data.rows import Rejected, RejectedRowsError
from ftr.errors import ModelError, RequestError, RunError, did_you_mean
from ftr.model.folder import weights_of
from ftr.paths import expanded
from ftr.terminal import mask

RECORD = "run.json"
SWEEP = "sweep.json"
BEST = "best"
"""The directory of a sweep's best run."""
LOCK = ".lock"
LOCK_SECONDS = 0.5
"""How long to try: `is_held` holds the lock for a moment too."""
REJECTED = "invalid_rows.jsonl"
REFUSED = "refused_rows.jsonl"
"""In the output directory: the rows that made the last run or evaluation stop."""
ERROR_LOG = "error.log"
MODEL_REMOVED = "model_removed"
"""In the record of a trial: the setting that removed its model."""


@contextlib.contextmanager
def hold(folder: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Lock a directory, by a file in it that is removed at the end; wait `seconds` for another
    holder.

    Raises `RequestError` naming process and host when another living process holds it, `RunError`
    when it cannot be written.
    """
    path = folder / LOCK
    holder = json.dumps({"process": os.getpid(), "host": socket.gethostname()})
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(atomic.locked(path, seconds=seconds, holder=holder.encode()))
        except TimeoutError:
            raise RequestError(
                f"`{folder}` is being worked on by {_holder(path)}: wait for it to end, or stop it."
            ) from None
        except OSError as error:
            raise RunError(f"cannot write `{path}`: {error.strerror or error}.") from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def is_held(folder: Path) -> bool:
    """Whether a living process holds a directory."""
    return bool(atomic.is_locked(folder / LOCK))


def _holder(lock: Path) -> str:
    try:
        known = json.loads(lock.read_text(encoding="utf-8"))
        return f"process {known['process']} on `{known['host']}`"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def write_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    """Write one JSON object per row: `place`, `split`, `cause`, and the `row` as it was read."""
    atomic.write_lines(path, [item.record() for item in rejected])


@contextlib.contextmanager
def refused_rows_kept(folder: Path) -> Iterator[None]:
    """Write the rows of a `RejectedRowsError` raised within to `folder`, and raise it again with
    the name of the file.
    """
    try:
        yield
    except RejectedRowsError as error:
        try:
            write_rejected(folder / REFUSED, error.rejected)
        except RunError:
            raise error from None  # its message has the causes
        message = f"{error}. All {len(error.rejected)} rows are in `{folder / REFUSED}`"
        raise RejectedRowsError(message, error.rejected) from None


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """One run on disk.

    `run.json` is replaced as a whole at each change, so a crash leaves a readable one.
    """

    path: Path

    @property
    def record(self) -> Path:
        """The file `run.json`."""
        return self.path / RECORD

    @property
    def model(self) -> Path:
        """The checkpoint directory."""
        return self.path / "model"

    @classmethod
    def create(cls, output: str, label: str) -> Self:
        """Make `<output>/<time>-<label>-<random>`.

        Raises `RunError` when `output` cannot be written to.
        """
        safe = "".join(c if c.isalnum() or c in "._" else "-" for c in label).strip("-.")[:40]
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{safe or 'run'}-{secrets.token_hex(2)}"
        path = expanded(output, "`output`:") / name
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise RunError(
                f"cannot make the run directory `{path}`: {error.strerror or error}. Give another "
                "place with `output=`."
            ) from error
        for above in path.absolute().parents[:2]:
            atomic.sync(above)
        return cls(path)

    @classmethod
    def open(cls, given: str | Path, output: str = "runs") -> RunDirectory:
        """Find a run by its directory, or by its name, or the start of its name, under `output`.

        Raises `RequestError` naming the known ones when there is none, or more than one.
        """
        found = named(given, output)
        if found is None:
            known = ", ".join(f"`{run.path}`" for run in all_runs(expanded(output))[-5:]) or "none"
            raise RequestError(
                f"`{given}` is not a run directory: it has no `{RECORD}`.{near_run(given, output)} "
                f"Runs under `{output}`: {known}."
            )
        if not (found / RECORD).is_file():
            raise RequestError(
                f"`{given}` is the sweep `{found}`, not a run: its trials are in "
                f"`{found / 'trials'}`."
            )
        return cls(found)

    def read(self) -> dict[str, Any]:
        """Return the record. Raises `RequestError` when it is damaged."""
        try:
            record = read_json(self.record)
        except (OSError, ValueError) as error:
            raise RequestError(
                f"`{self.record}` cannot be read: {error}. Restore the file, or train again."
            ) from error
        if not isinstance(record, dict) or not {"status", "created", "config"} <= record.keys():
            raise RequestError(
                f"`{self.record}` is not the record of a run: it has no `status`, `created` and "
                "`config`."
            )
        types = {"status": str, "created": (int, float), "config": dict}
        check_types(self.record, record, {**types, "components": dict, "data": dict})
        return record

    def write(self, record: dict[str, Any]) -> None:
        """Replace the record."""
        atomic.write_json(self.record, record)

    def sync(self) -> None:
        """Return when all files of the run would survive a power cut. Raises `RunError`."""
        with atomic.writing(self.path, "Free space, then resume."):
            atomic.to_disk(self.path)

    def check_weights(self, *, missing: bool = True) -> None:
        """Raise `ModelError` naming the first weight file in `model/` whose sha256 is not that in
        the record.

        With `missing` false, a missing file is no error here.
        """
        try:
            known = read_json(self.record)["weights"]
        except (OSError, ValueError, KeyError, TypeError):
            return  # of an older version, of an unfinished run, or of no run
        now = weights_of(self.model)
        for name in sorted({*now, *known}) if isinstance(known, dict) else ():
            if name in now and now[name] != known.get(name):
                raise ModelError(
                    f"`{self.model / name}` is not the file that this run saved: its sha256 "
                    "differs. Restore it, or train again."
                )
            if missing and name not in now:
                self.check_removed()
                raise ModelError(
                    f"`{self.model}` has no weights `{name}`, which this run saved. Restore the "
                    "file, or train again."
                )

    def mark_removed(self, setting: str) -> None:
        """Note in the record that `setting` removes the model. Raises `RequestError`."""
        self.write({**self.read(), MODEL_REMOVED: setting})

    def removed_by(self) -> str | None:
        """Return the setting that removed the model; None where it is there, or never was."""
        with contextlib.suppress(RequestError):
            if not self.model.exists():
                setting: str | None = self.read().get(MODEL_REMOVED)
                return setting
        return None

    def check_removed(self) -> None:
        """Raise `ModelError` where the model is missing because a sweep removed it."""
        if setting := self.removed_by():
            raise ModelError(
                f"the model of trial `{self.path}` was removed: `{setting}` keeps those of the "
                "best trials. Train it again with `ftr reproduce`, or sweep with "
                "`keep_models=all`."
            )

    def is_whole(self) -> bool:
        """Whether the weights are those in the record."""
        try:
            self.check_weights()
        except ModelError:
            return False
        return True

    def check_links(self) -> None:
        """Raise `RequestError` for a link that leads out of the directory: ftr would write through
        it.
        """
        top = os.path.realpath(self.path)
        for where, folders, files in os.walk(self.path):
            for path in (Path(where, name) for name in (*folders, *files)):
                target = os.path.realpath(path)
                if path.is_symlink() and os.path.commonpath((top, target)) != top:
                    raise RequestError(
                        f"`{path}` is a link to `{target}`, and files in this directory are "
                        "written. Replace it by the file itself."
                    )
                if path.exists() and not (path.is_file() or path.is_dir()):
                    raise RequestError(
                        f"`{path}` is a pipe or a device, not a file of a run. Remove it."
                    )

    def keep_traceback(self, error: BaseException) -> Path | None:
        """Write the traceback of an error to `error.log` and return that file; None where the disk
        refuses, which may be the error.
        """
        if not self.path.is_dir():
            return None
        text = getattr(error, "trace", "") or "".join(traceback.format_exception(error))
        with contextlib.suppress(RunError):
            atomic.write_text(self.path / ERROR_LOG, mask(text))
            return self.path / ERROR_LOG
        return None

    def discard(self) -> None:
        """Remove the directory of a run that never began to train."""
        shutil.rmtree(self.path, ignore_errors=True)


def all_runs(output: Path) -> list[RunDirectory]:
    """Return the runs under `output`, oldest first."""
    return [RunDirectory(record.parent) for record in sorted(output.glob(f"*/{RECORD}"))]


def near_run(given: str | Path, output: str = "runs") -> str:
    """Return a hint at the run or sweep under `output`, or beside `given`, of the nearest name."""
    path = expanded(given, "run")
    folders = [expanded(output), *([path.parent] if len(path.parts) > 1 else [])]
    found = (one.parent for folder in folders for one in folder.glob("*/[rs]*.json"))
    return did_you_mean(path.name, dict.fromkeys(one.name for one in found))


def named(given: str | Path, output: str = "runs") -> Path | None:
    """Return the directory of a run or sweep, given that directory or its name, or the start of its
    name, under `output` or behind another folder (`elsewhere/2026`); None when there is none.

    Raises `RequestError` naming the matches when there is more than one.
    """
    if not str(given).strip():
        raise RequestError(
            "the name is empty: give the directory of a run or sweep, or the start of its name "
            f"under `{output}`."
        )
    path, folder = expanded(given, "run"), expanded(output)
    if any((path / record).is_file() for record in (RECORD, SWEEP)):
        return path
    start = str(given)
    if path.name != start and not path.exists():
        folder, start = path.parent, path.name
    found = sorted(file for record in (RECORD, SWEEP) for file in folder.glob(f"*/{record}"))
    matches = [file for file in found if file.parent.name == start]
    matches = matches or [file for file in found if file.parent.name.startswith(start)]
    if len(matches) < 2:
        return expanded(matches[0].parent, "run") if matches else None
    kinds = " and ".join(sorted({"runs" if file.name == RECORD else "sweeps" for file in matches}))
    known = ", ".join(f"`{file.parent}`" for file in matches[-5:])
    raise RequestError(
        f"`{given}` is the start of several {kinds}. {kinds.capitalize()} under `{folder}`: "
        f"{known}. Give more of the name."
    )


def run_or_winner(given: str | Path, output: str = "runs") -> RunDirectory:
    """Find a run as `RunDirectory.open` does; a sweep stands for its best run.

    Raises `RequestError`.
    """
    found = named(given, output)
    if found is None or not (found / SWEEP).is_file():
        return RunDirectory.open(given, output)
    best = RunDirectory(found / BEST)
    if not best.record.is_file():
        raise RequestError(
            f"the sweep `{found}` has no best run yet: resume it with `ftr resume {found}`, or "
            "name one of its `trials`."
        )
    return best


def check_types(path: Path, record: dict[str, Any], types: dict[str, Any]) -> None:
    """Raise `RequestError` naming the first key of a record whose value has another type; keys may
    be missing.
    """
    for key, wanted in types.items():
        if key in record and (not isinstance(record[key], wanted) or isinstance(record[key], bool)):
            raise RequestError(
                f"`{path}` is damaged: `{key}` is {str(record[key])[:60]!r}. Restore the file."
            )
