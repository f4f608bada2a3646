"""Work in one directory, from opening its record to closing it: a run of one training here, in
`ftr.study` the runs of many.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ftr import atomic
from ftr.cluster.storage import Storage, checked_storage
from ftr.config.found import found_line
from ftr.config.parse import Layer, Setting, parse_words
from ftr.config.resolve import flat, recorded_config
from ftr.config.schema import RunConfig
from ftr.errors import ConfigError, DataError, FtrError, PluginError, RequestError, RunError
from ftr.model.folder import weights_of
from ftr.paths import expanded, folder_of, is_denied, nearest, shown_path, writable
from ftr.registry.registry import Registry
from ftr.runs.card import write_cards
from ftr.runs.directory import (
    ERROR_LOG,
    LOCK,
    REJECTED,
    RunDirectory,
    hold,
    write_rejected,
)
from ftr.runs.environment import environment
from ftr.runs.launch import Outcome, launch
from ftr.runs.prepare import (
    Prepared,
    card_fields,
    prepare,
    split_lines,
    to_stderr,
    with_baselines,
)
from ftr.runs.record import (
    beginning,
    check_reach,
    package_versions,
    plugins_of,
    provenance,
    resumed_with,
)
from ftr.runs.trackers import check_trackers, followed
from ftr.runs.tracking import HELD
from ftr.terminal import quiet_libraries, show
from ftr.train.checkpoint import ATTEMPTS, CHECKPOINTS, attempts, last_step, remove_checkpoints

Say = Callable[[str], None]
Settings = Mapping[str, object] | Sequence[str] | str | os.PathLike[str] | None
"""What a call from Python takes: a mapping, `key=value` strings, or the path of a dataset."""
LOGGED = "ftr_traceback_logged"
MEMBERS = "members"
"""Folder of the runs that a run of several trains."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run: its directory, its scores on held-out rows, and its record (`run.json`)."""

    path: Path
    scores: dict[str, Any]
    record: dict[str, Any]

    @property
    def model(self) -> Path:
        """The plain Hugging Face checkpoint."""
        return self.path / "model"


class Job(ABC, Generic[Result]):
    """Work in one directory, which this process holds: a run, a run of several, or a sweep.

    It is opened, interrupted, closed and resumed in one way; a kind of job says what it reads and
    what it does. `record` is the content of the JSON file in the directory, `prepared` the data of
    the first training.
    """

    directory: RunDirectory
    record: dict[str, Any]
    prepared: Prepared

    def __init__(self, config: RunConfig, registry: Registry, say: Say) -> None:
        self.config, self.registry, self.say = config, registry, say

    def start(self, origins: Mapping[str, str]) -> Result:
        """Do the work in a new directory; `origins` says where each setting came from.

        A plugin that fails while data is read leaves a directory that can be resumed. A refused
        request leaves nothing, unless there is a model or a checkpoint already.
        """
        check_writable(expanded(self.config.output, "`output`:"))
        checked_storage(self.config.compute.storage)
        check_trackers(self.config.tracker, self.registry)
        self.record = self.opening(origins)
        with self.session():
            failure: PluginError | None = None
            try:
                self.prepared = self.read_data()
                self.record |= {**self.data_facts(), "prepared_seconds": self.prepared.seconds}
            except PluginError as error:
                failure = error
            self.directory = self.create(self.config.task or self.config.head.name)
            show(f"output directory: {self.directory.path}", level=1)
            with hold(self.directory.path):
                try:
                    with self.attempt():
                        if failure is not None:
                            raise failure
                        return self.work()
                except RequestError:
                    if not self.is_resumable():
                        self.directory.discard()
                    raise

    def resume(self, directory: RunDirectory, record: dict[str, Any]) -> Result:
        """Do the rest of the work in the directory of an earlier attempt, which this process holds.

        Raises `DataError` when the data changed since.
        """
        self.directory = directory
        check_trackers(self.config.tracker, self.registry)
        with self.session():
            with traceback_logged(directory, self.say):
                self.prepared = self.read_data()
            self.record = {
                **self.data_facts(),
                "prepared_seconds": self.prepared.seconds,
                **reopened(record),
                **resumed_with(record, self.opening({})),
            }
            self.check_data()
            with self.attempt():
                return self.work()

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Keep the traceback of what fails within, write how it ended, and mirror the directory in
        any case; trackers follow it from here to its end.
        """
        try:
            with followed(self.directory.path, self.config, self.say):
                try:
                    with traceback_logged(self.directory, self.say):
                        yield
                except BaseException as error:
                    self.fail(error)
                    raise
        finally:
            self.mirror()

    def fail(self, error: BaseException) -> None:
        """Write into the record how the work ended, and print how to resume it where that is of
        use.
        """
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        ending = {
            "status": status,
            "finished": time.time(),
            "error": f"{type(error).__name__}: {error}".removesuffix(": "),
        }
        try:
            self.directory.write({**self.record, **self.progress_facts(), **ending})
        except RunError as unwritable:
            self.say(str(unwritable))
        progress = self.progress()
        if progress is not None and (status == "interrupted" or self.is_resumable()):
            self.say(f"{status}{progress}; resume with")
            self.say(f"  ftr resume {shlex.quote(shown_path(self.directory.path))}")

    def create(self, label: str) -> RunDirectory:
        """Make the directory."""
        return RunDirectory.create(self.config.output, label)

    def opening(self, origins: Mapping[str, str]) -> dict[str, Any]:
        """Return what the record has before anything was read."""
        return {
            **beginning(),
            "config": self.config.model_dump(mode="json"),
            "origins": dict(origins),
            "components": provenance(self.config, self.registry),
            "packages": package_versions(),
            "environment": environment(plugins_of(self.config, self.registry)),
        }

    def session(self) -> contextlib.AbstractContextManager[object]:
        """Return what has to be up from before data is read to the end."""
        return contextlib.nullcontext()

    def data_facts(self) -> dict[str, Any]:
        """Return what the record says of the data."""
        return found(self.prepared)

    def check_data(self) -> None:
        """Raise `DataError` where the data is not that of the record."""
        check_same_data(self.record, self.prepared)

    def is_resumable(self) -> bool:
        """Whether there is something to resume from."""
        return is_resumable(self.directory)

    def mirror(self) -> None:
        """Bring the mirror of the directory in `compute.storage`, if it has one, up to date."""
        if self.config.compute.storage:
            Storage.of(self.config.compute.storage).mirror(
                self.directory.path,
                self.directory.path.name,
                exclude=(LOCK, HELD, f"{MEMBERS}/*/{LOCK}"),
            )

    @abstractmethod
    def read_data(self) -> Prepared:
        """Return the data of the first training, and print what became of it."""

    @abstractmethod
    def work(self) -> Result:
        """Do what is not done yet, and close the record."""

    @abstractmethod
    def progress(self) -> str | None:
        """Return how far it came, to be printed after the status; None: nothing is printed."""

    def progress_facts(self) -> dict[str, Any]:
        """Return what the record says of work that did not come to its end."""
        return {}


class Run(Job[RunResult]):
    """One training."""

    weights: str | None = None
    """A file with the weight of each training row in the loss."""
    after = 0
    """How many trainings of the same command follow."""

    def read_data(self) -> Prepared:
        """Return the data, and print what became of it."""
        return prepare_and_report(self.config, self.registry, self.say)

    def resume(self, directory: RunDirectory, record: dict[str, Any]) -> RunResult:
        """Resume from the last checkpoint."""
        note_beginning(directory, record)
        return super().resume(directory, record)

    def work(self) -> RunResult:
        """Train, score and close."""
        self.open()
        with atomic.scratch("ray") as scratch:
            return self.close(launch(self.spec(), self.config.compute, scratch))

    def open(self) -> None:
        """Write the record, the rows that were left out, and the baselines."""
        self.directory.write(self.record)
        if self.prepared.rejected:
            write_rejected(self.directory.path / REJECTED, self.prepared.rejected)
        self.record = with_baselines(self.record, self.config, self.prepared, self.say)
        self.directory.write(self.record)

    def spec(self, **fields: Any) -> dict[str, Any]:
        """Return what crosses to the processes of the training; see `session_spec`."""
        return session_spec(
            self.directory,
            self.config,
            self.prepared,
            weights=self.weights,
            after=self.after,
            **fields,
        )

    def close(self, outcome: Outcome) -> RunResult:
        """Take the outcome of the training into the record."""
        return close(self.directory, {**self.record, **outcome}, self.registry)

    def progress(self) -> str | None:
        """Return the step of the last checkpoint."""
        step = last_step(self.directory.path)
        return " before the first checkpoint" if step is None else f" at step {step}"

    def progress_facts(self) -> dict[str, Any]:
        """Return the attempts so far."""
        return {"resumed": attempts(self.directory.path)[1:]}


def merged(settings: Settings, keys: Mapping[str, object]) -> Mapping[str, object] | Sequence[str]:
    """Return the settings of a call, of which keywords may be a part.

    Raises `RequestError` for `key=value` strings beside keywords, and for two datasets.
    """
    if isinstance(settings, str | os.PathLike):
        path = os.fspath(settings)
        named: Mapping[str, object] = {"dataset": Setting(path, "argument", path)}
        first = parse_words([path], "argument") if isinstance(settings, str) else named
        if twice := next((key for key in first if key in keys), None):
            raise RequestError(f"`{twice}` is given twice, by `{path}` and as a keyword: keep one")
        return {**first, **keys}
    if keys and not isinstance(settings, Mapping | None):
        raise RequestError("give settings as `key=value` strings or as keywords, not both")
    return {**settings, **keys} if isinstance(settings, Mapping) else settings or keys


def tell_found(settings: Layer, say: Say) -> None:
    """Print which settings were found where, if any were."""
    line = found_line(settings)
    if line is not None:
        say(line)


@contextlib.contextmanager
def traceback_logged(directory: RunDirectory, say: Say) -> Iterator[None]:
    """Keep in `error.log` where an error within came from, unless it was raised on purpose; the
    message says where that is.
    """
    try:
        yield
    except Exception as error:
        known = isinstance(error, FtrError) and not isinstance(error, PluginError)
        # A run of several keeps what a member within it has kept already only once.
        if not known and not hasattr(error, LOGGED):
            log = directory.keep_traceback(error)
            setattr(error, LOGGED, log)
            if isinstance(error, PluginError):
                error.log = shown_path(log) if log else ""
            elif log:
                say(f"the traceback is in {shown_path(log)}")
        raise


def note_beginning(directory: RunDirectory, record: dict[str, Any]) -> None:
    """Note the first attempt of a run that ended before it began to train."""
    path = directory.path / CHECKPOINTS / ATTEMPTS
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        first = {"time": record.get("created", time.time()), "process": record.get("process")}
        atomic.append_line(path, {**first, "step": 0})


def is_resumable(directory: RunDirectory) -> bool:
    """Whether the run or one of its members has a model or a checkpoint to resume from."""
    members = [path for path in (directory.path / MEMBERS).glob("*") if path.is_dir()]
    return any(
        RunDirectory(path).model.exists() or last_step(path) for path in (directory.path, *members)
    )


def prepare_and_report(config: RunConfig, registry: Registry, say: Say) -> Prepared:
    """Prepare the data of a run, and print its notes and a line for each split."""
    quiet_libraries()
    prepared = prepare(config, registry)
    source = prepared.model.describe().get("source", config.model.name)
    show(f"model source: {source}", level=1)
    for line in (*prepared.notes, *split_lines(prepared)):
        say(line)
    return prepared


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

    with traceback_logged(directory, say):
        record = with_baselines(record, config, prepared, say)
        outcome = score_loop({**session_spec(directory, config, prepared), "ranked": ranked})
    new = ("scores", "intervals", "interval", "untrained", "state", "heldout")
    scored = {key: outcome[key] for key in new}
    return close(directory, {**outcome, **record, **scored}, registry)


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


def reopened(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as a new attempt in this process opens it."""
    known = {key: value for key, value in record.items() if key not in ("finished", "error")}
    return {**known, "status": "running", "process": os.getpid()}


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


def close(directory: RunDirectory, record: dict[str, Any], registry: Registry) -> RunResult:
    """Write the record of a run that is done, its cards, and remove what only a resume would
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
    closed = with_base(closed)
    before = closed.pop("prepared_seconds", {})
    if "baseline_seconds" in closed:
        before |= {"baselines": closed.pop("baseline_seconds")}
    closed["timings"] = {**before, **closed["timings"]}
    write_cards(directory.path, closed, registry)
    # All before `done`, and before the checkpoints go: a power cut must not leave a run that is
    # done and has no model.
    directory.sync()
    directory.write(closed)
    remove_checkpoints(directory.path)
    # Of an attempt that failed before.
    (directory.path / ERROR_LOG).unlink(missing_ok=True)
    return result_of(directory, closed)


def with_base(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record whose `model_source` has the sha256 of the weights that the training began
    with, where those are files of a folder.

    Called after a training: a large model takes seconds.
    """
    known = record.get("model_source") or {}
    folder = Path(str(known.get("source", "")))
    if "sha256" in known or "weights" in known or not folder.is_dir():
        return record
    with contextlib.suppress(OSError):
        return {**record, "model_source": {**known, "weights": weights_of(folder)}}
    return record


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
    scores = record["scores"].get(record["heldout"], {}) if record["heldout"] else {}
    return RunResult(directory.path, dict(scores), record)


def check_writable(output: Path) -> None:
    """Raise `ConfigError` now rather than after an hour when no run directory may be made under
    `output`, or no file in `TMPDIR`, and `RunError` when making one fails.
    """
    folder = folder_of("TMPDIR")
    if folder is not None and not (folder.is_dir() and writable(folder)):
        fault = "where this user may not write" if folder.exists() else "which does not exist"
        raise ConfigError(
            f"`TMPDIR` is `{folder}` (environment), {fault}: name another folder, or unset it."
        )
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise RunError(
            f"no folder for temporary files can be written: {error.strerror}. Name one with "
            "`TMPDIR`."
        ) from error
    present = nearest(expanded(output.absolute(), "`output`:"))
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
        raise (ConfigError if is_denied(error) else RunError)(
            f"`output={output}` cannot be written to: {error.strerror or error}. Give another "
            "place with `output=`."
        ) from error
