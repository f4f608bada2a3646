"""`ftr.run`: one training, from settings to a run directory."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.cluster.storage import Storage, checked_storage
from ftr.config.resolve import Resolved, flat, recorded_config
from ftr.config.schema import RunConfig
from ftr.errors import ConfigError, DataError, FtrError, PluginError, RequestError, RunError
from ftr.paths import expanded
from ftr.registry.registry import Registry
from ftr.runs.directory import ERROR_LOG, LOCK, REJECTED, RunDirectory, hold, write_rejected
from ftr.runs.launch import Outcome, launch
from ftr.runs.prepare import (
    Prepared,
    card_fields,
    prepare,
    shown_path,
    split_lines,
    to_stderr,
    with_baselines,
)
from ftr.runs.record import beginning, check_reach, package_versions, provenance
from ftr.runs.report import model_card
from ftr.terminal import quiet_libraries
from ftr.train.checkpoint import ATTEMPTS, CHECKPOINTS, attempts, last_step, remove_checkpoints
from ftr.train.progress import INTERRUPT

Say = Callable[[str], None]
KEPT = "ftr_traceback_kept"
MEMBERS = "members"
"""Folder of the runs that a run of several trains."""


def merged(
    settings: Mapping[str, object] | Sequence[str] | None, keys: Mapping[str, object]
) -> Mapping[str, object] | Sequence[str]:
    """Return the settings of a call, of which keywords may be a part.

    Raises `RequestError` for `key=value` strings beside keywords.
    """
    if keys and not isinstance(settings, Mapping | None):
        raise RequestError("give settings as `key=value` strings or as keywords, not both")
    return {**settings, **keys} if isinstance(settings, Mapping) else settings or keys


@contextlib.contextmanager
def traceback_kept(directory: RunDirectory, say: Say) -> Iterator[None]:
    """Keep in `error.log` where an error within came from, unless it was raised on purpose; the
    message says where that is.
    """
    try:
        yield
    except Exception as error:
        _keep_traceback(directory, error, say)
        raise


def _keep_traceback(directory: RunDirectory, error: Exception, say: Say) -> None:
    if (isinstance(error, FtrError) and not isinstance(error, PluginError)) or hasattr(error, KEPT):
        return
    log = directory.keep_traceback(error)
    # A run of several keeps what a member within it has kept already only once.
    setattr(error, KEPT, log)
    if isinstance(error, PluginError):
        error.log = shown_path(log) if log else ""
    elif log:
        say(f"the traceback is in {shown_path(log)}")


def close_failed(
    directory: RunDirectory, record: dict[str, Any], error: BaseException, say: Say
) -> None:
    """Write how a training ended into its record, and print how to resume it where that is of
    use.
    """
    step = last_step(directory.path)
    status = write_ending(
        directory, {**record, "resumed": attempts(directory.path)[1:]}, error, say
    )
    if status == "interrupted" or step is not None:
        place = "before the first checkpoint" if step is None else f"at step {step}"
        say_how_to_resume(directory, f"{status} {place}", say)


def write_ending(
    directory: RunDirectory, record: dict[str, Any], error: BaseException, say: Say
) -> str:
    """Write how a training ended into its record, and return the status: `interrupted` or
    `failed`.
    """
    status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    ending = {
        "status": status,
        "finished": time.time(),
        "error": f"{type(error).__name__}: {error}".removesuffix(": "),
    }
    try:
        directory.write({**record, **ending})
    except RunError as unwritable:
        say(str(unwritable))
    return status


def say_how_to_resume(directory: RunDirectory, what: str, say: Say) -> None:
    """Print `what` became of a run, and the command that resumes it."""
    say(f"{what}; resume with")
    say(f"  ftr resume {shlex.quote(shown_path(directory.path))}")


def note_beginning(directory: RunDirectory, record: dict[str, Any]) -> None:
    """Note the first attempt of a run that ended before it began to train."""
    path = directory.path / CHECKPOINTS / ATTEMPTS
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        atomic.append_line(
            path,
            {
                "time": record.get("created", time.time()),
                "process": record.get("process"),
                "step": 0,
            },
        )


def leave_failed(
    directory: RunDirectory, record: dict[str, Any], error: Exception, say: Say
) -> None:
    """Leave what can be resumed of a run that failed before there was data to train on: its record,
    and the traceback.
    """
    with hold(directory.path):
        _keep_traceback(directory, error, say)
        close_failed(directory, record, error, say)


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run: where it lies, what it scored, and its whole record (`run.json`)."""

    path: Path
    scores: dict[str, Any]
    record: dict[str, Any]

    @property
    def model(self) -> Path:
        """The plain Hugging Face checkpoint."""
        return self.path / "model"


def execute(resolved: Resolved, registry: Registry, say: Say) -> RunResult:
    """Carry out a resolved configuration: prepare the data, train, and leave the run directory."""
    config = resolved.config

    def train_and_close(
        directory: RunDirectory, record: dict[str, Any], prepared: Prepared
    ) -> RunResult:
        directory.write(record)
        if prepared.rejected:
            write_rejected(directory.path / REJECTED, prepared.rejected)
        return carry_out(directory, record, config, prepared, say)

    return begin(
        resolved, registry, say, lambda: prepared_aloud(config, registry, say), train_and_close
    )


def begin(
    resolved: Resolved,
    registry: Registry,
    say: Say,
    first_rows: Callable[[], Prepared],
    carry_out: Callable[[RunDirectory, dict[str, Any], Prepared], RunResult],
) -> RunResult:
    """Open a new run directory and its record, and carry the run out in it.

    A plugin that fails in `first_rows` leaves a run that can be resumed. A refused request leaves
    nothing, unless there is a model or a checkpoint already.
    """
    config = resolved.config
    label = config.task or config.head.name
    with INTERRUPT.listening():
        check_writable(expanded(config.output, "`output`:"))
        checked_storage(config.compute.storage)
        record = opening(resolved, registry)
        try:
            prepared = first_rows()
        except PluginError as error:
            leave_failed(RunDirectory.create(config.output, label), record, error, say)
            raise
        directory = RunDirectory.create(config.output, label)
        with hold(directory.path):
            try:
                return carry_out(directory, {**record, **found(prepared)}, prepared)
            except RequestError:
                if not is_resumable(directory):
                    directory.discard()
                raise


def is_resumable(directory: RunDirectory) -> bool:
    """Whether the run or one of its members has a model or a checkpoint to resume from."""
    members = [path for path in (directory.path / MEMBERS).glob("*") if path.is_dir()]
    return any(
        RunDirectory(path).model.exists() or last_step(path) for path in (directory.path, *members)
    )


def prepared_aloud(config: RunConfig, registry: Registry, say: Say) -> Prepared:
    """Prepare the data of a run and say what became of it."""
    quiet_libraries()
    prepared = prepare(config, registry)
    for line in (*prepared.notes, *split_lines(prepared)):
        say(line)
    return prepared


def carry_out(
    directory: RunDirectory, record: dict[str, Any], config: RunConfig, prepared: Prepared, say: Say
) -> RunResult:
    """Train in `directory`, which this process holds, or resume there, and close the record
    whatever happens.

    Ctrl-C raises `KeyboardInterrupt` after the command that resumes was printed.
    """
    with attempt(directory, config, say, lambda error: close_failed(directory, record, error, say)):
        record = with_baselines(record, config, prepared, say)
        directory.write(record)
        return close(directory, {**record, **train(directory, config, prepared)})


@contextlib.contextmanager
def attempt(
    directory: RunDirectory, config: RunConfig, say: Say, failed: Callable[[BaseException], None]
) -> Iterator[None]:
    """Keep the traceback of what fails within, call `failed` with it, and mirror the directory in
    any case.
    """
    try:
        with traceback_kept(directory, say):
            yield
    except BaseException as error:
        failed(error)
        raise
    finally:
        mirror(directory, config)


def mirror(directory: RunDirectory, config: RunConfig) -> None:
    """Bring the mirror of the run in `compute.storage`, if it has one, up to date."""
    if config.compute.storage:
        Storage.of(config.compute.storage).mirror(
            directory.path, directory.path.name, exclude=(LOCK, f"{MEMBERS}/*/{LOCK}")
        )


def finish_run(
    directory: RunDirectory,
    registry: Registry,
    say: Say = to_stderr,
    ranked: tuple[str, str] | None = None,
) -> RunResult:
    """Complete a run that was trained with `SessionSpec.final` false: baselines, predictions,
    scores on held-out rows, record and card.

    What its record says already, of timings for instance, stays. `ranked` names another score, and
    its mode, than the main one of the first metric. Raises `DataError` when the data changed since.
    """
    record = directory.read()
    directory.check_weights()
    config = recorded_config(record, directory.record)
    check_reach(flat(config), (), directory.record)
    quiet_libraries()
    prepared = prepare(config, registry)
    check_same_data(record, prepared)
    from ftr.train.session import score_loop

    with traceback_kept(directory, say):
        record = with_baselines(record, config, prepared, say)
        outcome = score_loop({**session_spec(directory, config, prepared), "ranked": ranked})
    scored = {key: outcome[key] for key in ("scores", "untrained", "state", "heldout")}
    return close(directory, {**outcome, **record, **scored})


def plain(prepared: Prepared | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return prepared data as plain values: what records and the processes of a training need."""
    if not isinstance(prepared, Prepared):
        return prepared
    return {
        "splits": {name: asdict(split) for name, split in prepared.splits.items()},
        "labels": list(prepared.labels),
        "max_length": prepared.settings.max_length,
        "stride": prepared.settings.stride,
        "model_source": prepared.model.describe(),
        "report": prepared.report,
        "sources": prepared.sources,
        "notes": prepared.notes,
    }


def session_spec(
    directory: RunDirectory,
    config: RunConfig,
    prepared: Prepared | Mapping[str, Any],
    **fields: Any,
) -> dict[str, Any]:
    """Return what crosses to the processes of a training: the fields of
    `ftr.train.session.SessionSpec`, with those given as `fields`.
    """
    data, compute = plain(prepared), config.compute
    return {
        "config": config.model_dump(mode="json"),
        "splits": data["splits"],
        "folder": str(directory.path.resolve()),
        "threads": int(compute.cpus) if compute.cpus and compute.workers == 0 else None,
        "card": card_fields(config, data["labels"], data["max_length"], data["stride"]),
        **fields,
    }


def train(
    directory: RunDirectory, config: RunConfig, prepared: Prepared, weights: str | None = None
) -> Outcome:
    """Train in `directory` and return the outcome; `weights` is a file with the weight of each
    training row.
    """
    with atomic.scratch("ray") as scratch:
        spec = session_spec(directory, config, prepared, weights=weights)
        return launch(spec, config.compute, scratch)


def opening(resolved: Resolved, registry: Registry) -> dict[str, Any]:
    """Return what the record of a run or sweep has before anything was read."""
    return {
        **beginning(),
        "config": resolved.config.model_dump(mode="json"),
        "origins": dict(resolved.origins),
        "components": provenance(resolved.config, registry),
        "packages": package_versions(),
    }


def reopened(record: Mapping[str, Any], prepared: Prepared) -> dict[str, Any]:
    """Return the record of a run as a new attempt in this process opens it.

    A run that failed while its data was read has nothing of it yet.
    """
    return {
        **{key: value for key, value in record.items() if key not in ("finished", "error")},
        "status": "running",
        "process": os.getpid(),
        **({} if "data" in record else found(prepared)),
    }


def found(prepared: Prepared | Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of the data and of the model that was found."""
    data = plain(prepared)
    return {
        "model_source": data["model_source"],
        "labels": data["labels"],
        "data": {
            "sources": data["sources"],
            "splits": {
                name: {**data["report"]["splits"].get(name, {}), **split}
                for name, split in data["splits"].items()
            },
        },
        "notes": data["notes"],
    }


def close(directory: RunDirectory, record: dict[str, Any]) -> RunResult:
    """Write the record of a run that is done, its card, and remove what only a resume would
    need.
    """
    seconds = record["timings"]["total"]
    closed = {
        **record,
        "status": "done",
        "finished": time.time(),
        "seconds": seconds,
    }
    if "several" not in record:
        closed["resumed"] = attempts(directory.path)[1:]
    closed.pop("error", None)
    if "baseline_seconds" in closed:
        closed["timings"] = {**closed["timings"], "baselines": closed.pop("baseline_seconds")}
    # All before `done`, and before the checkpoints go: a power cut must not leave a run that is
    # done and has no model.
    directory.sync()
    directory.write(closed)
    atomic.write_text(directory.path / "README.md", model_card(closed))
    remove_checkpoints(directory.path)
    # Of an attempt that failed before.
    (directory.path / ERROR_LOG).unlink(missing_ok=True)
    return result_of(directory, closed)


def check_same_data(record: dict[str, Any], prepared: Prepared) -> None:
    """Raise `DataError` naming the file or split that is not what the run in `record` was begun
    with, if it came so far.
    """
    if "data" not in record:
        return
    known = record["data"]
    for before, now in zip(known["sources"], prepared.sources, strict=False):
        if before["sha256"] != now["sha256"]:
            raise DataError(
                f"`{now['path']}` changed since this run began (sha256 {now['sha256'][:12]}…, was "
                f"{before['sha256'][:12]}…): restore the file, or start another run."
            )
    hashes = {name: split.sha256 for name, split in prepared.splits.items()}
    for name in dict.fromkeys([*known["splits"], *hashes]):
        if known["splits"].get(name, {}).get("sha256") != hashes.get(name):
            raise DataError(
                f"the {name} rows are not those this run began with: restore the data, or start "
                "another run."
            )


def result_of(directory: RunDirectory, record: dict[str, Any]) -> RunResult:
    """Return the result of a run that is done."""
    return RunResult(directory.path, _reported(record), record)


def _reported(record: dict[str, Any]) -> dict[str, Any]:
    return dict(record["scores"].get(record["heldout"], {})) if record["heldout"] else {}


def check_writable(output: Path) -> None:
    """Raise `RunError` now rather than after an hour when no run directory can be made under
    `output`, `ConfigError` under a file.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise RunError(
            f"no folder for temporary files can be written: {error.strerror}. Name one with "
            "`TMPDIR`."
        ) from error
    present = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    try:
        if not present.is_dir():
            raise ConfigError(
                f"`output={output}` cannot be written to: `{present}` is a file. Give another "
                "place with `output=`."
            )
        # In /proc and its like a file cannot be made, a folder neither.
        with atomic.workroom(present / "ftr"):
            atomic.clear_leftovers(present, deep=False)
    except OSError as error:
        raise RunError(
            f"`output={output}` cannot be written to: {error.strerror or error}. Give another "
            "place with `output=`."
        ) from error
