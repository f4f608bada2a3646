"""`ftr.sweep`: from settings to a sweep directory with a winner; resume one."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.cluster.storage import Storage, checked_storage
from ftr.config.components import check_keys
from ftr.config.parse import read_settings, registry_for, shown, validated
from ftr.config.resolve import flat
from ftr.config.space import grid_size, read_dimension
from ftr.config.sweep import (
    PBT_KEYS,
    ResolvedSweep,
    SweepConfig,
    ranked_by,
    recorded_sweep,
    resolve_sweep,
    trial_config,
)
from ftr.data.encode import data_key
from ftr.errors import ConfigError, DataError, RunError, ScoreError
from ftr.paths import expanded
from ftr.registry.isolation import one_training
from ftr.registry.registry import Registry
from ftr.runs.directory import RunDirectory
from ftr.runs.prepare import shown_path, split_lines, to_stderr
from ftr.runs.record import check_reach, from_parent, recorded_registry, remember
from ftr.runs.run import Say, check_writable, finish_run, merged
from ftr.runs.run import opening as run_opening
from ftr.study.analysis import importance, write_expected, write_importance
from ftr.study.directory import SweepDirectory
from ftr.study.ensemble import add_ensemble, check_ensemble
from ftr.study.remote import RemoteSweep, prepare_all, shared_data
from ftr.study.search import (
    TUNE_SETTINGS,
    Budget,
    Ending,
    Trials,
    connected,
    credentials,
    make_proposer,
    room,
)
from ftr.study.table import LiveTable
from ftr.study.trials import Entry, SweepState, Trial, rank, replay, winner, write_leaderboard
from ftr.terminal import known_secrets, masked, unmasked
from ftr.train.progress import INTERRUPT

if TYPE_CHECKING:
    from ftr.config.schema import ComputeConfig, RunConfig
    from ftr.runs.prepare import Prepared
    from ftr.study.trial import Shared
    from ftr.study.tune import Board


def trials_at_once(compute: ComputeConfig, sweep: SweepConfig, say: Say) -> Trials:
    """Return how trials run. Raises `ConfigError` for what no machine of the cluster has room
    for.
    """
    resources, several = room(compute, sweep.max_concurrent, "trial", say)
    nested = compute.workers > 0
    return Trials(
        # The workers of a trial set their own resources aside; a byte stands for what the trial
        # itself needs.
        resources={"memory": 1.0} if nested else resources,
        at_once=several if nested or sweep.max_concurrent else None,
        retries=compute.retries,
    )


def longest_training(resolved: ResolvedSweep) -> float:
    """Return the most epochs a trial may train."""
    dimension = resolved.space.get("epochs")
    return (
        max(float(str(value)) for value in dimension.corners())
        if dimension
        else resolved.base.config.epochs
    )


def opening(resolved: ResolvedSweep, registry: Registry, prepared: Prepared) -> dict[str, Any]:
    """Return the record a sweep begins with."""
    primary, mode = ranked_by(resolved, registry)
    return {
        **run_opening(resolved.base, registry),
        **resolved.record(),
        "primary": primary,
        "mode": mode,
        "data": {name: split.sha256 for name, split in prepared.splits.items()},
    }


def check_same_data(record: Mapping[str, Any], encoded: Mapping[str, Any]) -> None:
    """Raise `DataError` naming a split whose rows are not those a sweep began with."""
    for name, split in encoded["splits"].items():
        if record["data"].get(name) != split["sha256"]:
            raise DataError(
                f"the {name} rows are not those this sweep began with: restore the data, or start "
                "another sweep."
            )


def write_rankings(
    directory: SweepDirectory, record: dict[str, Any], state: SweepState, resolved: ResolvedSweep
) -> list[Entry]:
    """Write leaderboard, importance and expected best, numbers and pictures, and return the
    ranking.
    """
    primary, mode = record["primary"], record["mode"]
    entries = rank(state.trials.values(), mode)
    write_leaderboard(directory.path, entries, primary)
    shares = importance(state, resolved.space, mode)
    if shares is not None:
        write_importance(directory.path, shares, primary)
    in_order = sorted(
        (entry for entry in entries if entry.value is not None), key=lambda entry: entry.group
    )
    write_expected(
        directory.path,
        [entry.value for entry in in_order if entry.value is not None],
        primary,
        mode,
    )
    return entries


def finish(
    directory: SweepDirectory,
    record: dict[str, Any],
    state: SweepState,
    resolved: ResolvedSweep,
    ending: Ending,
    registry: Registry,
    say: Say,
) -> dict[str, Any]:
    """Rank, export the winner, and close the record; returns it.

    The sweep can be resumed again to try more.
    """
    entries = write_rankings(directory, record, state, resolved)
    first = winner(entries)
    if first is not None:
        say(f"trial {first.trial} is the best: its model is scored on the held-out rows")
        export_winner(directory, first, registry, say, (record["primary"], record["mode"]))
    ensemble = None
    if resolved.sweep.ensemble is not None:
        ensemble = add_ensemble(
            directory,
            entries,
            resolved.sweep.ensemble,
            (record["primary"], record["mode"]),
            registry,
            say,
        )
    closed = {
        **record,
        "status": "done",
        "finished": time.time(),
        "seconds": state.seconds,
        "stopped_by": ending.reason,
        "stopped_because": ending.detail,
        "winner": None if first is None else first.trial,
        "best": None
        if first is None
        else {
            "value": first.value,
            "values": dict(first.values),
            "run": f"trials/{first.trial:04d}",
        },
        **({} if ensemble is None else {"ensemble": ensemble}),
        "counts": {
            status: sum(t.status == status for t in state.trials.values())
            for status in ("done", "stopped", "failed")
        },
    }
    directory.write(closed)
    return closed


def export_winner(
    directory: SweepDirectory,
    entry: Entry,
    registry: Registry,
    say: Say,
    ranked: tuple[str, str],
) -> None:
    """Copy the winner's run to `best/` and complete it as an ordinary run: baselines, predictions,
    scores on test rows, model card.
    """
    best = directory.best
    done = RunDirectory(best)
    if (
        best.is_dir()
        and done.record.is_file()
        and done.read().get("trial") == entry.trial
        and done.is_whole()
    ):
        return
    source = directory.trial_path(entry.trial)
    with atomic.new_folder(best) as fresh:
        shutil.copytree(
            source,
            fresh,
            ignore=shutil.ignore_patterns("checkpoints", ".lock", "*.new-*", "*.old-*"),
            dirs_exist_ok=True,
        )
        finish_run(RunDirectory(fresh), registry, say, ranked)


MOST_AHEAD = 100
"""Trials that wait in a bracket where no number of them is given."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep that ended: where it lies, why it ended, its trials, and its record
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


class Driver:
    """Runs a sweep, or the rest of one, in this process; the trials run in processes of Ray."""

    def __init__(self, resolved: ResolvedSweep, registry: Registry, say: Say) -> None:
        self.resolved, self.registry, self.say = resolved, registry, say
        self.config, self.sweep = resolved.base.config, resolved.sweep
        self.storage = checked_storage(self.config.compute.storage)

    def __getstate__(self) -> None:
        """Keep nothing: Tune writes its scheduler, on which this hangs, into a file, and the
        settings have secrets.
        """

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Trials]:
        compute = self.config.compute
        with (
            one_training(),
            connected(compute, self.registry, self.say, TUNE_SETTINGS),
            INTERRUPT.listening(),
        ):
            yield trials_at_once(compute, self.sweep, self.say)

    def begin(self) -> SweepResult:
        """Start a new sweep."""
        with self._connected() as trials:
            prepared, encoded = self._encoded()
            directory = SweepDirectory.create(
                self.config.output, self.config.task or self.config.head.name
            )
            with directory.lock():
                record = opening(self.resolved, self.registry, prepared)
                directory.write(record)
                try:
                    return self._drive(directory, record, [], encoded, trials)
                except ScoreError:
                    # Nothing was ranked, and going on would end the same way.
                    shutil.rmtree(directory.path, ignore_errors=True)
                    raise

    def resume(
        self, directory: SweepDirectory, record: dict[str, Any], events: list[dict[str, Any]]
    ) -> SweepResult:
        """Run the rest of a sweep whose lock is held."""
        with self._connected() as trials:
            _, encoded = self._encoded()
            check_same_data(record, encoded[data_key(self.config)])
            record = {
                **record,
                **self.resolved.record(),
                "status": "running",
                "process": os.getpid(),
            }
            directory.write(record)
            return self._drive(directory, record, events, encoded, trials)

    def _encoded(self) -> tuple[Prepared, dict[str, dict[str, Any]]]:
        prepared, encoded = prepare_all(
            self.config, self.resolved.space, self._configured, self.registry
        )
        for line in [*prepared.notes, *split_lines(prepared)]:
            self.say(line)
        if "validation" not in prepared.splits:
            raise ConfigError(
                "a sweep ranks trials on validation rows, and this data has none: set "
                "`data.validation_size` above 0."
            )
        return prepared, encoded

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

    def _adoption(self, board: Board) -> Callable[[int, int, Mapping[str, object]], dict[str, Any]]:
        """Return what is done when a trial adopts another's checkpoint: it is written down,
        with its new values.
        """

        def adopted(number: int, donor: int, values: Mapping[str, object]) -> dict[str, Any]:
            board.write("adopt", trial=number, donor=donor, values=dict(values))
            board.table.event(f"trial {number}: resumes from the weights of trial {donor}")
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
            from ftr.study.tune import drive

            shared = self._shared(directory, record, encoded)
            ending = drive(board, scheduler, shared, trials, self.storage, self._ahead()) or Ending(
                "trials", "nothing is left to try"
            )
            if board.refused:
                raise ScoreError(board.refused)
            self._stop_running(board, ending)
            board.write("stop", reason=ending.reason, detail=ending.detail)
            if remote:
                self._fetch_best(remote, board.state, record["mode"])
            record = finish(
                directory, record, board.state, self.resolved, ending, self.registry, self.say
            )
        except BaseException as error:
            self._close(board, directory, record, error)
            raise
        finally:
            board.table.close()
            if remote:
                remote.keep_all()
        return SweepResult(directory.path, ending, board.state, record)

    def _board(
        self, directory: SweepDirectory, record: dict[str, Any], events: list[dict[str, Any]]
    ) -> tuple[Board, Any]:
        """Return the board and the scheduler, both knowing all that the journal tells."""
        from ftr.study.schedulers import make_scheduler, tell_scheduler
        from ftr.study.tune import Board, TrialSource

        mode, sweep, space = record["mode"], self.sweep, self.resolved.space
        limit, size = self.resolved.trial_limit, grid_size(space)
        if limit and size and limit > size:
            self.say(
                f"the space has {size} configurations, fewer than `trials={limit}`: the sweep ends "
                "when all of them were tried"
            )
        state = replay(events, mode)
        proposer = make_proposer(sweep.searcher, space, mode, self.config.seed)
        budget = Budget(
            sweep,
            self.resolved.trial_limit,
            mode,
            state.seconds,
            {number: trial.epoch for number, trial in state.trials.items()},
        )
        board = Board(
            state,
            directory.journal,
            budget,
            LiveTable(record["primary"], mode),
            self._closed(directory),
        )
        board.source = TrialSource(
            proposer,
            budget,
            board.write,
            self._spec,
            seed=self.config.seed,
            repeats=sweep.repeats,
            space=space,
        )
        scheduler = make_scheduler(
            sweep, space, longest_training(self.resolved), mode, self.config.seed
        )
        scheduler.adopted = self._adoption(board)
        if events:
            board.write("resume", process=os.getpid())
            for note in board.source.recall(events, state):
                self.say(note)
            ended = [trial for trial in state.trials.values() if trial.ended]
            tell_scheduler(scheduler, sweep.scheduler, ended)
            self.say(
                f"trials that ended: {len(ended)}; begun and not ended: {len(board.source.waiting)}"
            )
        return board, scheduler

    def _ahead(self) -> int | None:
        from ftr.study.schedulers import NEEDS_CHECKPOINTS

        return (
            (self.resolved.trial_limit or MOST_AHEAD) * self.sweep.repeats
            if self.sweep.scheduler in NEEDS_CHECKPOINTS
            else None
        )

    def _shared(
        self, directory: SweepDirectory, record: dict[str, Any], encoded: dict[str, dict[str, Any]]
    ) -> Shared:
        from ftr.study.schedulers import NEEDS_CHECKPOINTS
        from ftr.study.trial import Shared

        return Shared(
            folder=str((directory.path / "trials").resolve()),
            storage=self.storage,
            prepared=shared_data(self.storage, encoded) if self.storage else encoded,
            record={**from_parent(record), "sweep": directory.path.name},
            primary=record["primary"],
            mode=record["mode"],
            checkpoint_always=self.sweep.scheduler in NEEDS_CHECKPOINTS,
            free=PBT_KEYS if self.sweep.scheduler == "pbt" else (),
            threads=max(int(self.config.compute.cpus or 1), 1),
            secrets=known_secrets(),
            environment=credentials() if self.storage else {},
        )

    def _closed(self, directory: SweepDirectory) -> Callable[[Trial], None]:
        """Return what is done on disk when a trial ends: no optimizer state stays, whoever stopped
        it.
        """

        def close(trial: Trial) -> None:
            run = RunDirectory(directory.trial_path(trial.number))
            shutil.rmtree(run.path / "checkpoints", ignore_errors=True)
            if run.record.is_file() and run.read()["status"] == "running":
                run.write(
                    {
                        **run.read(),
                        "status": trial.status,
                        "finished": time.time(),
                        "cause": trial.cause,
                    }
                )

        return close

    def _fetch_best(self, remote: RemoteSweep, state: SweepState, mode: str) -> None:
        """Bring the runs here that the end of the sweep needs."""
        several = int(re.sub(r"\D", "", self.sweep.ensemble)) if self.sweep.ensemble else 1
        for entry in [
            entry
            for entry in rank(state.trials.values(), mode)
            if entry.finished and entry.value is not None
        ][:several]:
            remote.fetch_trial(entry.trial)

    def _stop_running(self, board: Board, ending: Ending) -> None:
        """Close trials that were under way when the budget ended the sweep."""
        for trial in list(board.state.trials.values()):
            if not trial.ended and ending.at_once:
                board.write(
                    "end", trial=trial.number, status="stopped", cause=ending.reason, log=None
                )
                board.closed(board.state.trials[trial.number])
                board.table.event(f"trial {trial.number}: stopped ({ending.reason})")

    def _close(
        self, board: Board, directory: SweepDirectory, record: dict[str, Any], error: BaseException
    ) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        status = "interrupted" if interrupted else "failed"
        try:
            board.write("stop", reason=status, detail=str(error) or type(error).__name__)
            write_rankings(directory, record, board.state, self.resolved)
            directory.write(
                {
                    **record,
                    "status": status,
                    "finished": time.time(),
                    "error": f"{type(error).__name__}: {error}",
                }
            )
        except RunError as unwritable:
            self.say(str(unwritable))
        if not isinstance(error, ScoreError):
            self.say(f"resume the sweep with: ftr resume {shlex.quote(shown_path(directory.path))}")


BUDGET = ("trials", "time_budget", "max_total_epochs", "min_gain", "max_concurrent")
"""Keys that may change when a sweep is resumed: its budget, not what it searches."""


def sweep(
    settings: Mapping[str, object] | Sequence[str] | None = None,
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
    asked = merged(settings, keys)
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
            "`train.keep=last` in a sweep: trials are ranked by their best evaluation, and the "
            "winner is the model of that one. Leave `train.keep` at `best`."
        )


def resume_sweep(
    given: str | Path,
    settings: Sequence[str] = (),
    *,
    registry: Registry | None = None,
    say: Say | None = None,
) -> SweepResult:
    """Resume a sweep that was stopped; trials that ended are never run again.

    `settings` may change the budget (`trials=40`, `time_budget=3h`); anything else that differs
    is refused by name. Raises `RequestError` when another process drives it, or it cannot be read.
    """
    speak = say or to_stderr
    directory = SweepDirectory.open(given)
    RunDirectory(directory.path).check_links()
    with directory.lock():
        atomic.clear_leftovers(directory.path, held=True)
        record = directory.read()
        known = registry or recorded_registry(record)
        resolved = _resolved_again(record, settings, known, directory.record)
        check_reach(
            {**flat(resolved.base.config), **record["space"]},
            read_settings(settings).keys(),
            directory.record,
        )
        remember(resolved.base.config, known, _searched(resolved))
        events = directory.events()
        if directory.journal.torn:
            speak(
                f"{directory.journal.path.name} ended in half a line, which is left out: "
                f"{directory.journal.torn[:60]}"
            )
        return Driver(resolved, known, speak).resume(directory, record, events)


def _searched(resolved: ResolvedSweep) -> dict[str, list[object]]:
    """Return for each key that is searched its expression, and the values it names."""
    return {key: [dimension.text, *dimension.values] for key, dimension in resolved.space.items()}


def _resolved_again(
    record: dict[str, Any], settings: Sequence[str], registry: Registry, file: Path
) -> ResolvedSweep:
    """Return the sweep of a record, with what `settings` change of its budget."""
    asked = read_settings(settings)
    resolved = recorded_sweep(record, registry, file)
    check_keys(asked, sweep=True)
    known = {**flat(resolved.base.config), **record["sweep"], **record["space"]}
    for key, setting in asked.items():
        searched = resolved.space.get(key)
        same = (
            known.get(key) == setting.value
            if searched is None
            else read_dimension(key, setting.value, setting.origin) == searched
        )
        if key not in BUDGET and not same:
            raise ConfigError(
                f"`{key}` is {shown(known.get(key))} in this sweep, not {shown(setting.value)}: a "
                f"sweep is resumed as it began. Only {', '.join(f'`{name}`' for name in BUDGET)} "
                "may change; start another sweep for the rest."
            )
    changed = {key: setting.value for key, setting in asked.items() if key in BUDGET}
    return replace(resolved, sweep=validated(SweepConfig, {**record["sweep"], **changed}, asked))
