"""`ftr.sweep`: from settings to a sweep directory with a winner."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.cluster.ray_private import tune_inherits
from ftr.cluster.storage import Storage, checked_storage
from ftr.cluster.worker import imports_ahead
from ftr.config.found import with_found
from ftr.config.parse import registry_for
from ftr.config.schema import RunConfig
from ftr.config.space import grid_size
from ftr.config.sweep import PBT_KEYS, ResolvedSweep, ranked_by, resolve_sweep, trial_config
from ftr.data.infer import settings_with_task
from ftr.errors import ConfigError, DataError, RunError, ScoreError, counted
from ftr.progress import STAGES, clock
from ftr.registry.isolation import one_training
from ftr.registry.registry import Registry
from ftr.runs.directory import RunDirectory
from ftr.runs.launch import connected
from ftr.runs.prepare import Prepared, split_lines, to_stderr
from ftr.runs.record import from_parent, remember
from ftr.runs.run import Job, Say, Settings, finish_run, merged, tell_found
from ftr.runs.trackers import check_asked
from ftr.study.analysis import importance, write_expected, write_importance
from ftr.study.directory import SweepDirectory, trial_folder
from ftr.study.ensemble import add_ensemble, check_ensemble
from ftr.study.remote import RemoteSweep, prepare_all, shared_data
from ftr.study.retention import Retention
from ftr.study.search import (
    TUNE_SETTINGS,
    Budget,
    Ending,
    Trials,
    credentials,
    make_proposer,
    room,
)
from ftr.study.table import LiveTable
from ftr.study.trials import Entry, SweepState, Trial, rank, replay, winner, write_leaderboard
from ftr.terminal import known_secrets, masked, unmasked
from ftr.train.costs import disk_free, size
from ftr.train.progress import INTERRUPT

if TYPE_CHECKING:
    from ftr.study.trial import Shared
    from ftr.study.tune import Board

IMPORTED = ("ftr.study.trial", "ftr.train.session")
"""What the first process of a trial imports while the driver reads the data."""
MOST_AHEAD = 100
"""Trials that wait in a bracket where no number of them is given."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep that ended: its directory, why it ended, its trials, and its record
    (`sweep.json`).
    """

    path: Path
    ending: Ending
    state: SweepState
    record: dict[str, Any]

    @property
    def best(self) -> Path | None:
        """The winner as an ordinary run directory; None where no trial has a score."""
        return self.path / "best" if self.record.get("winner") is not None else None


def sweep(
    settings: Settings = None,
    *,
    registry: Registry | None = None,
    say: Say | None = None,
    **keys: object,
) -> SweepResult:
    """Search a space of configurations and return the result.

    Settings are those of `ftr sweep`: as for `ftr.run`, with expressions such as
    `loguniform(1e-5,1e-4)` for what is searched. Raises `RequestError` when something asked for is
    wrong, before any trial, and `RunError` when it failed.
    """
    asked = with_found(merged(settings, keys), sweep=True)
    with one_training(), INTERRUPT.listening():
        known = registry or registry_for(asked)
        speak = say or to_stderr
        tell_found(asked, speak)
        check_asked(asked, known)
        resolved = resolve_sweep(settings_with_task(asked, known, speak, sweep=True), known)
        check_kept(resolved)
        check_ensemble(resolved.sweep.ensemble, resolved.base.config, known)
        remember(resolved.base.config, known, searched_values(resolved))
        return Sweep(resolved, known, speak).start(resolved.origins)


def check_kept(resolved: ResolvedSweep) -> None:
    """Raise `ConfigError` where trials would keep other weights than those they are ranked by."""
    kept = resolved.space.get("train.keep")
    if resolved.base.config.train.keep == "last" or (kept is not None and "last" in kept.values):
        raise ConfigError(
            "`train.keep=last` in a sweep: trials are ranked by their best evaluation, and the "
            "winner is the model of that one. Leave `train.keep` at `best`."
        )


def searched_values(resolved: ResolvedSweep) -> dict[str, list[object]]:
    """Return for each key that is searched its expression, and the values it names."""
    return {key: [dimension.text, *dimension.values] for key, dimension in resolved.space.items()}


class Sweep(Job[SweepResult]):
    """Trials of configurations that a searcher proposes; Ray Tune runs them in processes of Ray."""

    directory: SweepDirectory
    trials: Trials
    several: int
    """Trials at a time."""
    imported: Callable[[], bool]
    """Waits for the process that imports ahead, and returns whether there is one."""

    def __init__(self, resolved: ResolvedSweep, registry: Registry, say: Say) -> None:
        super().__init__(resolved.base.config, registry, say)
        self.resolved, self.sweep = resolved, resolved.sweep
        self.storage = checked_storage(self.config.compute.storage)
        self.encoded: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        """The journal of earlier attempts."""
        self.board: Board | None = None
        self.remote: RemoteSweep | None = None

    def __getstate__(self) -> None:
        """Keep nothing: Tune writes its scheduler, on which this hangs, into a file, and the
        settings have secrets.
        """

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Connect to Ray. Raises `ConfigError` for what no machine of the cluster has room for."""
        compute, most = self.config.compute, self.sweep.max_concurrent
        # Of the processes that Ray starts, one for each core, a single trial may get any.
        alone = most == 1 or (compute.cpus or 1) > 1 or compute.workers > 0
        with (
            imports_ahead(() if alone else IMPORTED) as self.imported,
            connected(compute, self.registry, self.say, TUNE_SETTINGS),
        ):
            resources, several = room(compute, most, "trial", self.say)
            self.several = several
            nested = compute.workers > 0
            self.trials = Trials(
                # The workers of a trial reserve their own resources; a byte stands for the trial.
                resources={"memory": 1.0} if nested else resources,
                at_once=several if nested or most else None,
                retries=compute.retries,
            )
            yield

    def create(self, label: str) -> SweepDirectory:
        """Make the directory and its journal."""
        return SweepDirectory.create(self.config.output, label)

    def opening(self, origins: Mapping[str, str]) -> dict[str, Any]:
        """Return what the record has before anything was read."""
        primary, mode = ranked_by(self.resolved, self.registry)
        own = {**self.resolved.record(), "primary": primary, "mode": mode}
        return {**super().opening(origins), **own}

    def read_data(self) -> Prepared:
        """Encode all that trials may ask for, and return the data of the base."""
        prepared, self.encoded = prepare_all(
            self.config, self.resolved.space, self._configured, self.registry
        )
        for line in [*prepared.notes, *split_lines(prepared)]:
            self.say(line)
        if "validation" not in prepared.splits:
            raise ConfigError(
                "a sweep ranks trials on validation rows, and this data has none: set "
                "`data.validation_size` above 0."
            )
        return prepared

    def data_facts(self) -> dict[str, Any]:
        """Return the hash of each split."""
        return {"data": {name: split.sha256 for name, split in self.prepared.splits.items()}}

    def check_data(self) -> None:
        """Raise `DataError` naming a split whose rows are not those the sweep began with."""
        for name, sha256 in self.data_facts()["data"].items():
            if self.record["data"].get(name) != sha256:
                raise DataError(
                    f"the {name} rows are not those this sweep began with: restore the data, or "
                    "start another sweep."
                )

    def resume(self, directory: RunDirectory, record: dict[str, Any]) -> SweepResult:
        """Resume from the journal."""
        sweep = SweepDirectory(directory.path)
        self.events = sweep.events()
        if sweep.journal.torn:
            self.say(
                f"{sweep.journal.path.name} ended in half a line, which is left out: "
                f"{sweep.journal.torn[:60]}"
            )
        return super().resume(sweep, {**record, **self.resolved.record()})

    def work(self) -> SweepResult:
        """Run trials until the source or the budget ends it, rank them, and export the winner."""
        from ftr.study.schedulers import NEEDS_CHECKPOINTS
        from ftr.study.tune import drive

        self.directory.write(self.record)
        board, scheduler = self._board()
        self.board = board
        if self.storage:
            self.remote = RemoteSweep(Storage.of(self.storage), self.directory)
            board.keep = self.remote.keep_journal
        board.retention = Retention(
            self.directory,
            board.state,
            self.sweep.models_kept,
            self.sweep.repeats,
            board.write,
            board.table.event,
            self.remote,
        )
        brackets = self.sweep.scheduler in NEEDS_CHECKPOINTS
        most = (self.resolved.trial_limit or MOST_AHEAD) * self.sweep.repeats
        shared = self._shared(checkpoint_always=brackets)
        ahead = most if brackets else None
        # Where a process imported ahead, this process started Ray, with the variables of Tune.
        inherits = tune_inherits() if self.imported() else contextlib.nullcontext()
        try:
            with inherits, STAGES.within("trials"):
                ending = drive(board, scheduler, shared, self.trials, self.storage, ahead)
            ending = ending or Ending("trials", "nothing is left to try")
            if board.refused:
                raise ScoreError(board.refused)
            self._stop_running(board, ending)
            board.retention.remove(last=True)
            board.write("stop", reason=ending.reason, detail=ending.detail)
            if self.remote:
                self._fetch_best(self.remote, board.state)
            board.table.close()  # what follows prints, and a live table would write over it
            return SweepResult(
                self.directory.path, ending, board.state, self._close(board.state, ending)
            )
        finally:
            board.table.close()

    def fail(self, error: BaseException) -> None:
        """Write how the sweep ended into its journal, and the ranking so far, too."""
        if self.board is not None:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            try:
                self.board.write("stop", reason=status, detail=str(error) or type(error).__name__)
                self._rank(self.board.state)
            except RunError as unwritable:
                self.say(str(unwritable))
        super().fail(error)

    def is_resumable(self) -> bool:
        """Whether a trial was begun; not where the score to rank by is none."""
        return bool(self.board and self.board.state.trials and not self.board.refused)

    def progress(self) -> str:
        """Return how many trials ended."""
        trials = self.board.state.trials.values() if self.board else ()
        return f": {counted(sum(trial.ended for trial in trials), 'trial')} ended"

    def mirror(self) -> None:
        """Send everything but the trials, which sent themselves."""
        if self.remote:
            self.remote.keep_all()

    def _configured(self, values: Mapping[str, object], seed: int | None = None) -> RunConfig:
        return trial_config(self.resolved.base, values, self.registry, seed).config

    def _spec(self, values: Mapping[str, object], seed: int) -> dict[str, Any]:
        config = self._configured(values, seed).model_dump(mode="json")
        hidden = masked(config)
        # The trial process knows the secrets of the settings (`Shared.secrets`), not those that are
        # searched.
        return {
            "values": dict(values),
            "config": hidden if unmasked(hidden)[0] == config else config,
        }

    def _board(self) -> tuple[Board, Any]:
        """Return the board and the scheduler, with all that the journal has."""
        from ftr.study.schedulers import make_scheduler, tell_scheduler
        from ftr.study.tune import Board, TrialSource

        mode, sweep, space = self.record["mode"], self.sweep, self.resolved.space
        seed, limit, size = self.config.seed, self.resolved.trial_limit, grid_size(space)
        if limit and size and limit > size:
            self.say(
                f"the space has {size} configurations, fewer than `trials={limit}`: the sweep ends "
                "when all of them were tried"
            )
        state = replay(self.events, mode)
        epochs = {number: trial.epoch for number, trial in state.trials.items()}
        budget = Budget(sweep, limit, mode, state.seconds, epochs)
        table = LiveTable(self.record["primary"], mode)
        board = Board(state, self.directory.journal, budget, table, self._close_trial)
        board.source = source = TrialSource(
            make_proposer(sweep.searcher, space, mode, seed),
            budget,
            board.write,
            self._spec,
            seed=seed,
            repeats=sweep.repeats,
            space=space,
        )
        scheduler = make_scheduler(sweep, space, self._longest(), mode, seed)
        scheduler.adopted = self._adoption(board)
        if self.events:
            board.write("resume", process=os.getpid())
            for note in source.recall(self.events, state):
                self.say(note)
            ended = [trial for trial in state.trials.values() if trial.ended]
            tell_scheduler(scheduler, sweep.scheduler, ended)
            self.say(f"trials that ended: {len(ended)}; begun and not ended: {len(source.waiting)}")
        return board, scheduler

    def _longest(self) -> float:
        """Return the most epochs a trial may train."""
        dimension = self.resolved.space.get("epochs")
        if dimension is None:
            return self.config.epochs
        return max(float(str(value)) for value in dimension.corners())

    def _adoption(self, board: Board) -> Callable[[int, int, Mapping[str, object]], dict[str, Any]]:
        """Return what is done when a trial adopts another's checkpoint: it is written down,
        with its new values.
        """

        def adopted(number: int, donor: int, values: Mapping[str, object]) -> dict[str, Any]:
            board.write("adopt", trial=number, donor=donor, values=dict(values))
            board.table.event(f"trial {number}: resumes from the weights of trial {donor}")
            return self._spec(values, self.config.seed + board.state.trials[number].repeat)

        return adopted

    def _shared(self, *, checkpoint_always: bool) -> Shared:
        from ftr.study.trial import Shared

        return Shared(
            folder=str((self.directory.path / "trials").resolve()),
            storage=self.storage,
            prepared=shared_data(self.storage, self.encoded) if self.storage else self.encoded,
            record={**from_parent(self.record), "sweep": self.directory.path.name},
            primary=self.record["primary"],
            mode=self.record["mode"],
            checkpoint_always=checkpoint_always,
            free=PBT_KEYS if self.sweep.scheduler == "pbt" else (),
            threads=max(int(self.config.compute.cpus or 1), 1),
            secrets=known_secrets(),
            environment=credentials() if self.storage else {},
        )

    def _close_trial(self, trial: Trial) -> None:
        """Leave no optimizer state of a trial that ended, whoever stopped it."""
        run = RunDirectory(self.directory.trial_path(trial.number))
        shutil.rmtree(run.path / "checkpoints", ignore_errors=True)
        if run.record.is_file() and (record := run.read())["status"] == "running":
            ending = {"status": trial.status, "finished": time.time(), "cause": trial.cause}
            run.write({**record, **ending})
        if trial.status == "done" and self.board is not None and not self.board.table.note:
            self._forecast(run, trial, self.board.table)

    def _forecast(self, run: RunDirectory, trial: Trial, table: LiveTable) -> None:
        """Print, once the first trial is done, what the sweep will take if all are like it."""
        record = run.read() if run.record.is_file() else {}
        if "peak_memory_bytes" not in record:  # it ran on a node that shares no folder
            return
        limit, each = self.resolved.trial_limit, trial.worked(time.time())
        budget, grid = self.sweep.time_budget, grid_size(self.resolved.space)
        most = min(limit, grid or limit) if limit else None
        model = sum(one.stat().st_size for one in run.model.glob("*"))
        parts = [f"a trial took {clock(each)} and {self.several} run at a time"]
        trials = most * self.sweep.repeats if most else None
        table.trials, table.at_once = trials, self.several
        if trials is not None:
            seconds = -(-trials // self.several) * each
            parts.append(f"{trials} such trials take {clock(min(seconds, budget or seconds))}")
        kept = self.sweep.models_kept
        models = [one for one in (trials, kept and kept + self.several) if one]
        if models:  # and a copy of the best
            parts.append(f"their models {size((min(models) + 1) * model)} of disk")
        else:
            parts.append(f"each leaves a model of {size(model)}")
        parts.append(f"{size(disk_free(self.directory.path))} are free")
        workers = max(self.config.compute.workers, 1) * self.several
        memory = size(workers * record["peak_memory_bytes"])
        table.note = f"time and disk, at most: {', '.join(parts)}; memory of trials: {memory}"
        table.event(table.note)

    def _stop_running(self, board: Board, ending: Ending) -> None:
        """Close trials that were under way when the budget ended the sweep."""
        for trial in list(board.state.trials.values()):
            if not trial.ended and ending.at_once:
                board.write(
                    "end", trial=trial.number, status="stopped", cause=ending.reason, log=None
                )
                board.closed(board.state.trials[trial.number])
                board.table.event(f"trial {trial.number}: stopped ({ending.reason})")

    def _fetch_best(self, remote: RemoteSweep, state: SweepState) -> None:
        """Bring the runs here that the end of the sweep needs."""
        several = max(self.sweep.ensemble_size, 1)
        entries = rank(state.trials.values(), self.record["mode"])
        usable = [entry for entry in entries if entry.finished and entry.value is not None]
        for entry in usable[:several]:
            remote.fetch_trial(entry.trial)

    def _rank(self, state: SweepState) -> list[Entry]:
        """Write leaderboard, importance and expected best, numbers and pictures, and return the
        ranking.
        """
        folder, primary, mode = self.directory.path, self.record["primary"], self.record["mode"]
        entries = rank(state.trials.values(), mode)
        write_leaderboard(folder, entries, primary)
        shares = importance(state, self.resolved.space, mode)
        if shares is not None:
            write_importance(folder, shares, primary)
        in_order = sorted(entries, key=lambda entry: entry.group)
        values = [entry.value for entry in in_order if entry.value is not None]
        write_expected(folder, values, primary, mode)
        return entries

    def _close(self, state: SweepState, ending: Ending) -> dict[str, Any]:
        """Rank, export the winner, and close the record; returns it.

        The sweep can be resumed again to try more.
        """
        entries, ranked = self._rank(state), (self.record["primary"], self.record["mode"])
        first, statuses = winner(entries), [trial.status for trial in state.trials.values()]
        closed = {
            **self.record,
            "status": "done",
            "seconds": state.seconds,
            "timings": self.record.get("prepared_seconds", {}),
            "stopped_by": ending.reason,
            "stopped_because": ending.detail,
            "winner": None,
            "best": None,
            "counts": {name: statuses.count(name) for name in ("done", "stopped", "failed")},
        }
        if first is not None:
            self.say(f"trial {first.trial} is the best: its model is scored on the held-out rows")
            self._export(first, ranked)
            place = trial_folder(first.trial)
            best = {"value": first.value, "values": dict(first.values), "run": place}
            closed |= {"winner": first.trial, "best": best}
        if (asked := self.sweep.ensemble) is not None:
            closed["ensemble"] = add_ensemble(
                self.directory, entries, asked, ranked, self.registry, self.say
            )
        closed.pop("prepared_seconds", None)
        closed["finished"] = time.time()
        self.directory.write(closed)
        return closed

    def _export(self, entry: Entry, ranked: tuple[str, str]) -> None:
        """Copy the winner's run to `best/` and complete it as an ordinary run: baselines,
        predictions, scores on test rows, model card.
        """
        best = RunDirectory(self.directory.best)
        if best.record.is_file() and best.read().get("trial") == entry.trial and best.is_whole():
            return
        passing = shutil.ignore_patterns("checkpoints", ".lock", "*.new-*", "*.old-*")
        with atomic.new_folder(best.path) as fresh:
            shutil.copytree(
                self.directory.trial_path(entry.trial), fresh, ignore=passing, dirs_exist_ok=True
            )
            finish_run(RunDirectory(fresh), self.registry, self.say, ranked)
