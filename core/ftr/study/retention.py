"""`keep_models`: the models of trials that cannot be among the best any more are removed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from ftr import atomic
from ftr.errors import FtrError, RequestError
from ftr.runs.directory import RunDirectory, is_held
from ftr.study.directory import SweepDirectory
from ftr.study.remote import RemoteSweep
from ftr.study.trials import SweepState, Trial, superfluous


@dataclass(slots=True)
class Retention:
    """Removes the models of a sweep that nothing needs any more; all else of a trial stays.

    `most` is how many configurations keep theirs (None: all), `write` journals an event, `say`
    prints a line. A kill at
    any moment leaves each model whole or gone: the journal notes a removal after it happened, and a
    sweep that is resumed finds by its scores what is still to be removed.
    """

    directory: SweepDirectory
    state: SweepState
    most: int | None
    repeats: int
    write: Callable[..., None]
    say: Callable[[str], None]
    remote: RemoteSweep | None = None
    _ended: int = -1
    _pending: list[Trial] = field(default_factory=list)
    _without: set[int] = field(default_factory=set)
    """Trials that ended and left no model."""

    def remove(self, *, last: bool = False) -> None:
        """Remove what can be removed now. A model whose process still works on its directory waits,
        unless this is the `last` call, when all processes ended.
        """
        trials = self.state.trials.values()
        ended = sum(trial.ended for trial in trials)
        if ended != self._ended:
            self._ended = ended
            found = superfluous(trials, self.state.mode, self.repeats, self.most)
            self._pending = [trial for trial in found if trial.number not in self._without]
        self._pending = [trial for trial in self._pending if not self._removed(trial, last)]

    def _removed(self, trial: Trial, last: bool) -> bool:
        """Remove the model of a trial; returns False where it has to wait."""
        run = RunDirectory(self.directory.trial_path(trial.number))
        if not last and is_held(run.path):
            return False
        try:
            found = self._remove(run, trial.number, last)
        except FtrError as error:
            self.say(f"the model of trial {trial.number} was not removed: {error}")
            found = False
        if found:
            self.write("remove_model", trial=trial.number)
        elif found is not None:
            self._without.add(trial.number)
        return found is not None

    def _remove(self, run: RunDirectory, number: int, last: bool) -> bool | None:
        """Remove a model here and in the storage; returns whether there was one, None where its
        process may still send files.
        """
        mark, there = f"keep_models={self.most}", False
        if self.remote is not None:
            sent = self.remote.remove_model(number, mark, last=last)
            if sent is None:
                return None
            there = sent
        if run.model.exists():
            _remove_model(run, mark)
            return True
        # It may be gone, and the kill came before the journal was written.
        return there or run.removed_by() is not None


def _remove_model(run: RunDirectory, mark: str) -> None:
    """Remove the model of a run, at once for all who look."""
    with contextlib.suppress(RequestError):  # a record that is missing or damaged
        run.mark_removed(mark)
    with atomic.writing(run.path, "Check who owns it."), atomic.workroom(run.model) as room:
        run.model.rename(room / run.model.name)
        atomic.sync(run.path)
