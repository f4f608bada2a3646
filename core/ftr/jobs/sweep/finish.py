"""What a sweep leaves behind: the ranking, the winner as an ordinary run, what mattered, and what more trials would bring."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.jobs.run import finish_run
from ftr.jobs.sweep.ensemble import add_ensemble
from ftr.runs.directory import RunDirectory
from ftr.runs.importance import importance
from ftr.runs.leaderboard import Entry, rank, winner, write_leaderboard
from ftr.runs.plots import write_expected, write_importance

if TYPE_CHECKING:
    from ftr.config.sweep import ResolvedSweep
    from ftr.jobs.sweep.budget import Ending
    from ftr.registry import Registry
    from ftr.runs.sweep import SweepDirectory
    from ftr.runs.trials import SweepState


def write_rankings(directory: SweepDirectory, record: dict[str, Any], state: SweepState, resolved: ResolvedSweep) -> list[Entry]:
    """Write leaderboard, importance and expected best, numbers and pictures, and return the ranking."""
    primary, mode = record["primary"], record["mode"]
    entries = rank(state.trials.values(), mode)
    write_leaderboard(directory.path, entries, primary)
    shares = importance(state, resolved.space, mode)
    if shares is not None:
        write_importance(directory.path, shares, primary)
    in_order = sorted((entry for entry in entries if entry.value is not None), key=lambda entry: entry.group)
    write_expected(directory.path, [entry.value for entry in in_order if entry.value is not None], primary, mode)
    return entries


def finish(
    directory: SweepDirectory,
    record: dict[str, Any],
    state: SweepState,
    resolved: ResolvedSweep,
    ending: Ending,
    registry: Registry,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Rank, export the winner, and close the record; returns it. The sweep can be resumed again to try more."""
    entries = write_rankings(directory, record, state, resolved)
    first = winner(entries)
    if first is not None:
        say(f"trial {first.trial} is the best: its model is scored on the held-out rows")
        export_winner(directory, first, registry, say, (record["primary"], record["mode"]))
    ensemble = None
    if resolved.sweep.ensemble is not None:
        ensemble = add_ensemble(directory, entries, resolved.sweep.ensemble, (record["primary"], record["mode"]), registry, say)
    closed = {
        **record,
        "status": "done",
        "finished": time.time(),
        "seconds": state.seconds,
        "stopped_by": ending.reason,
        "stopped_because": ending.detail,
        "winner": None if first is None else first.trial,
        "best": None if first is None else {"value": first.value, "values": dict(first.values), "run": f"trials/{first.trial:04d}"},
        **({} if ensemble is None else {"ensemble": ensemble}),
        "counts": {status: sum(t.status == status for t in state.trials.values()) for status in ("done", "stopped", "failed")},
    }
    directory.write(closed)
    return closed


def export_winner(directory: SweepDirectory, entry: Entry, registry: Registry, say: Callable[[str], None], ranked: tuple[str, str]) -> None:
    """Copy the winner's run to `best/` and complete it as an ordinary run: baselines, predictions, scores on test rows, model card."""
    best = directory.best
    done = RunDirectory(best)
    if best.is_dir() and done.record.is_file() and done.read().get("trial") == entry.trial and done.is_whole():
        return
    source = directory.trial_path(entry.trial)
    with atomic.new_folder(best) as fresh:
        shutil.copytree(source, fresh, ignore=shutil.ignore_patterns("checkpoints", ".lock", "*.new-*", "*.old-*"), dirs_exist_ok=True)
        finish_run(RunDirectory(fresh), registry, say, ranked)
