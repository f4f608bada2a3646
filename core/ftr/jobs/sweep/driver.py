"""One driving process of a sweep: what is checked before trial 0, what is written down, and what is handed over at the end."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.config.dimension import grid_size
from ftr.config.sweep import PBT_KEYS, ResolvedSweep, trial_config
from ftr.errors import ConfigError, RunError, ScoreError
from ftr.isolation import one_training
from ftr.jobs.prepare import split_lines
from ftr.jobs.say import shown_path
from ftr.jobs.sweep.budget import Budget, Ending
from ftr.jobs.sweep.drive import Trials, connected, drive
from ftr.jobs.sweep.encoded import data_key, prepare_all
from ftr.jobs.sweep.finish import finish, write_rankings
from ftr.jobs.sweep.proposers import make_proposer
from ftr.jobs.sweep.remote import RemoteSweep, shared_data
from ftr.jobs.sweep.setup import check_same_data, longest_training, opening, room
from ftr.runs.directory import RunDirectory
from ftr.runs.leaderboard import rank
from ftr.runs.storage import Storage, checked_storage
from ftr.runs.sweep import SweepDirectory
from ftr.runs.trial_table import LiveTable
from ftr.runs.trials import SweepState, Trial, replay
from ftr.train.stop import STOP

if TYPE_CHECKING:
    from ftr.config.models import RunConfig
    from ftr.jobs.prepare import Prepared
    from ftr.jobs.sweep.observer import Board
    from ftr.jobs.sweep.trial import Shared
    from ftr.registry import Registry

MOST_AHEAD = 100
"""Trials that wait in a bracket where no number of them is given."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep that ended: where it lies, why it ended, its trials, and its record (`sweep.json`)."""

    path: Path
    ending: Ending
    state: SweepState
    record: dict[str, Any]

    @property
    def best(self) -> Path | None:
        """The winner as an ordinary run directory; None where no trial has a score."""
        return self.path / "best" if self.record.get("winner") is not None else None


class Driver:
    """Runs a sweep, or the rest of one, in this process; the trials run in processes of Ray."""

    def __init__(self, resolved: ResolvedSweep, registry: Registry, say: Callable[[str], None]) -> None:
        self.resolved, self.registry, self.say = resolved, registry, say
        self.config, self.sweep = resolved.base.config, resolved.sweep
        self.storage = checked_storage(self.config.compute.storage)

    def begin(self) -> SweepResult:
        """Start a new sweep."""
        with one_training(), connected(self.config.compute, self.registry, self.say), STOP.listening():
            trials = room(self.config.compute, self.sweep, self.say)
            prepared, encoded = self._encoded()
            directory = SweepDirectory.create(self.config.output, self.config.task or self.config.head.name)
            with directory.lock():
                record = opening(self.resolved, self.registry, prepared)
                directory.write(record)
                try:
                    return self._drive(directory, record, [], encoded, trials)
                except ScoreError:
                    # Nothing was ranked, and going on would end the same way.
                    shutil.rmtree(directory.path, ignore_errors=True)
                    raise

    def go_on(self, directory: SweepDirectory, record: dict[str, Any], events: list[dict[str, Any]]) -> SweepResult:
        """Run the rest of a sweep whose lock is held."""
        with one_training(), connected(self.config.compute, self.registry, self.say), STOP.listening():
            trials = room(self.config.compute, self.sweep, self.say)
            _, encoded = self._encoded()
            check_same_data(record, encoded[data_key(self.config)])
            record = {**record, **self.resolved.record(), "status": "running", "process": os.getpid()}
            directory.write(record)
            return self._drive(directory, record, events, encoded, trials)

    def _encoded(self) -> tuple[Prepared, dict[str, dict[str, Any]]]:
        prepared, encoded = prepare_all(self.config, self.resolved.space, self._configured, self.registry)
        for line in [*prepared.notes, *split_lines(prepared)]:
            self.say(line)
        if "validation" not in prepared.splits:
            raise ConfigError("a sweep ranks trials on validation rows, and this data has none: set `data.validation_share` above 0.")
        return prepared, encoded

    def _configured(self, values: Mapping[str, object], seed: int | None = None) -> RunConfig:
        return trial_config(self.resolved.base, values, self.registry, seed).config

    def _spec(self, values: Mapping[str, object], seed: int) -> dict[str, Any]:
        return {"values": dict(values), "config": self._configured(values, seed).model_dump(mode="json")}

    def _adoption(self, board: Board) -> Callable[[int, int, Mapping[str, object]], dict[str, Any]]:
        """Return what is done when a trial goes on from another's checkpoint: it is written down, with its new values."""

        def adopted(number: int, donor: int, values: Mapping[str, object]) -> dict[str, Any]:
            board.write("adopt", trial=number, donor=donor, values=dict(values))
            board.table.event(f"trial {number}: goes on from the weights of trial {donor}")
            return self._spec(values, self.config.seed + board.state.trials[number].repeat)

        return adopted

    def _drive(
        self,
        directory: SweepDirectory,
        record: dict[str, Any],
        events: list[dict[str, Any]],
        encoded: dict[str, dict[str, Any]],
        trials: Trials,
    ) -> SweepResult:
        board, scheduler = self._board(directory, record, events)
        remote = RemoteSweep(Storage.of(self.storage), directory) if self.storage else None
        if remote:
            board.keep = remote.keep_journal
        try:
            shared = self._shared(directory, record, encoded)
            ending = drive(board, scheduler, shared, trials, self.storage, self._ahead()) or Ending("trials", "nothing is left to try")
            if board.refused:
                raise ScoreError(board.refused)
            self._stop_running(board, ending)
            board.write("stop", reason=ending.reason, detail=ending.detail)
            if remote:
                self._fetch_best(remote, board.state, record["mode"])
            record = finish(directory, record, board.state, self.resolved, ending, self.registry, self.say)
        except BaseException as error:
            self._close(board, directory, record, error)
            raise
        finally:
            board.table.close()
            if remote:
                remote.keep_all()
        return SweepResult(directory.path, ending, board.state, record)

    def _board(self, directory: SweepDirectory, record: dict[str, Any], events: list[dict[str, Any]]) -> tuple[Board, Any]:
        """Return the board and the scheduler, both knowing all that the journal tells."""
        from ftr.jobs.sweep.observer import Board
        from ftr.jobs.sweep.schedulers import make_scheduler, tell_scheduler
        from ftr.jobs.sweep.source import TrialSource

        mode, sweep, space = record["mode"], self.sweep, self.resolved.space
        limit, size = self.resolved.trial_limit, grid_size(space)
        if limit and size and limit > size:
            self.say(f"the space has {size} configurations, fewer than `trials={limit}`: the sweep ends when all of them were tried")
        state = replay(events, mode)
        proposer = make_proposer(sweep.searcher, space, mode, self.config.seed)
        budget = Budget(
            sweep, self.resolved.trial_limit, mode, state.seconds, {number: trial.epoch for number, trial in state.trials.items()}
        )
        board = Board(state, directory.journal, budget, LiveTable(record["primary"], mode), self._closed(directory))
        board.source = TrialSource(proposer, budget, board.write, self._spec, seed=self.config.seed, repeats=sweep.repeats, space=space)
        scheduler = make_scheduler(sweep, space, longest_training(self.resolved), mode, self.config.seed)
        scheduler.adopted = self._adoption(board)
        if events:
            board.write("resume", process=os.getpid())
            for note in board.source.recall(events, state):
                self.say(note)
            ended = [trial for trial in state.trials.values() if trial.ended]
            tell_scheduler(scheduler, sweep.scheduler, ended)
            self.say(f"trials that ended: {len(ended)}; begun and not ended: {len(board.source.waiting)}")
        return board, scheduler

    def _ahead(self) -> int | None:
        from ftr.jobs.sweep.schedulers import NEEDS_CHECKPOINTS

        return (self.resolved.trial_limit or MOST_AHEAD) * self.sweep.repeats if self.sweep.scheduler in NEEDS_CHECKPOINTS else None

    def _shared(self, directory: SweepDirectory, record: dict[str, Any], encoded: dict[str, dict[str, Any]]) -> Shared:
        from ftr.jobs.sweep.schedulers import NEEDS_CHECKPOINTS
        from ftr.jobs.sweep.trial import Shared

        return Shared(
            folder=str((directory.path / "trials").resolve()),
            storage=self.storage,
            prepared=shared_data(self.storage, encoded) if self.storage else encoded,
            record={key: record[key] for key in ("ftr", "command", "origins", "components", "packages")} | {"sweep": directory.path.name},
            primary=record["primary"],
            mode=record["mode"],
            checkpoint_always=self.sweep.scheduler in NEEDS_CHECKPOINTS,
            free=PBT_KEYS if self.sweep.scheduler == "pbt" else (),
            threads=max(int(self.config.compute.cpus or 1), 1),
        )

    def _closed(self, directory: SweepDirectory) -> Callable[[Trial], None]:
        """Return what is done on disk when a trial ends: no optimizer state stays, whoever stopped it."""

        def close(trial: Trial) -> None:
            run = RunDirectory(directory.trial_path(trial.number))
            shutil.rmtree(run.path / "checkpoints", ignore_errors=True)
            if run.record.is_file() and run.read()["status"] == "running":
                run.write({**run.read(), "status": trial.status, "finished": time.time(), "cause": trial.cause})

        return close

    def _fetch_best(self, remote: RemoteSweep, state: SweepState, mode: str) -> None:
        """Bring the runs here that the end of the sweep needs."""
        several = int(re.sub(r"\D", "", self.sweep.ensemble)) if self.sweep.ensemble else 1
        for entry in [entry for entry in rank(state.trials.values(), mode) if entry.finished and entry.value is not None][:several]:
            remote.fetch_trial(entry.trial)

    def _stop_running(self, board: Board, ending: Ending) -> None:
        """Close trials that were under way when the budget ended the sweep."""
        for trial in list(board.state.trials.values()):
            if not trial.ended and ending.at_once:
                board.write("end", trial=trial.number, status="stopped", cause=ending.reason, log=None)
                board.closed(board.state.trials[trial.number])
                board.table.event(f"trial {trial.number}: stopped ({ending.reason})")

    def _close(self, board: Board, directory: SweepDirectory, record: dict[str, Any], error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        status = "interrupted" if interrupted else "failed"
        try:
            board.write("stop", reason=status, detail=str(error) or type(error).__name__)
            write_rankings(directory, record, board.state, self.resolved)
            directory.write({**record, "status": status, "finished": time.time(), "error": f"{type(error).__name__}: {error}"})
        except RunError as unwritable:
            self.say(str(unwritable))
        if not isinstance(error, ScoreError):
            self.say(f"the sweep can go on: ftr resume {shlex.quote(shown_path(directory.path))}")
