"""One command, several models: the members are trained, joined, and the run that asked for them is closed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.config.models import RunConfig
from ftr.config.plugins import registry_for
from ftr.config.recorded import recorded_config
from ftr.config.resolve import flat, resolve
from ftr.config.settings import read_settings
from ftr.errors import ConfigError, PluginError, RequestError
from ftr.isolation import one_training
from ftr.jobs.failed import leave_failed, say_how_to_resume, traceback_kept, write_ending
from ftr.jobs.resume import check_settings, finished, resume_one
from ftr.jobs.run import RunResult, Say, check_same_data, check_writable, execute, found, opening, prepared_aloud
from ftr.jobs.say import shown_path, to_stderr
from ftr.jobs.several.boost import boost
from ftr.jobs.several.join import join
from ftr.jobs.several.plan import MEMBERS, Member, Plan, check_plan, plan_of
from ftr.jobs.several.summary import entry, in_words, summary
from ftr.jobs.several.together import at_once, ray_up, train_together
from ftr.jobs.several.training import Data, done_record, train_here
from ftr.paths import expanded
from ftr.runs.directory import ERROR_LOG, RunDirectory, weights_of
from ftr.runs.lock import LOCK, hold
from ftr.runs.record import check_reach, recorded_registry, remember
from ftr.runs.several_card import several_card
from ftr.runs.storage import Storage, checked_storage
from ftr.train.checkpoint import CHECKPOINTS, check_format, last_step
from ftr.train.components import make_head
from ftr.train.scoring import Scorer
from ftr.train.stop import STOP

if TYPE_CHECKING:
    from ftr.config.resolve import Resolved
    from ftr.registry import Registry


def run(
    settings: Mapping[str, object] | Sequence[str] | None = None,
    *,
    registry: Registry | None = None,
    say: Say | None = None,
    **keys: object,
) -> RunResult:
    """Fine-tune with one configuration, and return the result; `seeds`, `cv.folds`, `boosting` and `ensemble` train several models.

    Settings are those of the command, as a mapping of dotted keys (`{"data.limit": 2000}`), as `key=value` strings,
    or as keywords (`run(task="qa", learning_rate=3e-5)`); `say` gets the lines a person would read (default: stderr).
    Raises `RequestError` when something asked for is wrong, before anything is written, and `RunError` when it failed.
    """
    asked: Mapping[str, object] | Sequence[str] = {**settings, **keys} if isinstance(settings, Mapping) else settings or keys
    if keys and not isinstance(settings, Mapping | None):
        raise RequestError("give settings as `key=value` strings or as keywords, not both")
    with one_training():
        known = registry or registry_for(asked)
        resolved = resolve(asked, known)
        remember(resolved.config, known)
        carry_out = begin if resolved.config.several else execute
        return carry_out(resolved, known, say or to_stderr)


def resume(
    run: str | Path,
    settings: Mapping[str, object] | Sequence[str] = (),
    *,
    registry: Registry | None = None,
    say: Say | None = None,
) -> RunResult:
    """Go on with the run in a directory from its last checkpoint, to what it would have come to undisturbed.

    A run that is done is returned as it is. `settings`, if given, must be those of the run. Raises `ConfigError` naming each
    that differs, `DataError` when the data changed since, and `RequestError` when another process works on the run or there
    is none.
    """
    speak = say or to_stderr
    directory = RunDirectory.open(run)
    directory.check_links()
    check_format(directory.path / CHECKPOINTS)
    with one_training(), STOP.listening(), hold(directory.path):
        atomic.clear_leftovers(directory.path, held=True)
        record = directory.read()
        if "member" in record and record["status"] != "done":
            whole = shown_path(directory.path.parent.parent)
            raise RequestError(f"`{directory.path}` is a member of a run of several, which goes on as a whole: `ftr resume {whole}`.")
        known = registry or recorded_registry(record)
        given = read_settings(settings)
        if record["status"] == "done" and not given:
            return finished(directory, record, speak)
        config = recorded_config(record, directory.record)
        check_settings(given, config, known)
        if record["status"] == "done":
            return finished(directory, record, speak)
        check_reach(flat(config), given, directory.record)
        remember(config, known)
        carry_on = go_on if config.several else resume_one
        return carry_on(directory, record, config, known, speak)


def begin(resolved: Resolved, registry: Registry, say: Say) -> RunResult:
    """Carry out a configuration that asks for several models, in a new run directory."""
    config = resolved.config
    plan = _checked(config, registry)
    with STOP.listening():
        check_writable(expanded(config.output, "`output`:"))
        checked_storage(config.compute.storage)
        begun = opening(resolved, registry)
        try:
            data = _first_rows(plan, config, registry, say)
        except PluginError as error:
            leave_failed(RunDirectory.create(config.output, config.task or config.head.name), begun, error, say)
            raise
        directory = RunDirectory.create(config.output, config.task or config.head.name)
        with hold(directory.path):
            try:
                record = {**begun, **found(data.of(plan.members[0].config))}
                return Several(directory, record, config, plan, data, registry, say).carry_out()
            except RequestError:
                if not anything_kept(directory):
                    directory.discard()
                raise


def go_on(directory: RunDirectory, record: dict[str, Any], config: RunConfig, registry: Registry, say: Say) -> RunResult:
    """Go on with such a run, which this process holds: members that are done stay, the others follow, and all are joined."""
    plan = _checked(config, registry)
    with traceback_kept(directory, say):
        data = _first_rows(plan, config, registry, say)
    check_same_data(record, data.of(plan.members[0].config))
    opened = {key: value for key, value in record.items() if key not in ("finished", "error")}
    opened |= {"status": "running", "process": os.getpid()} | ({} if "data" in record else found(data.of(plan.members[0].config)))
    return Several(directory, opened, config, plan, data, registry, say).carry_out()


def _checked(config: RunConfig, registry: Registry) -> Plan:
    plan = plan_of(config)
    check_plan(plan, config, make_head(registry, config.head))
    return plan


def _first_rows(plan: Plan, config: RunConfig, registry: Registry, say: Say) -> Data:
    """Prepare the rows of the first member, aloud; what they have in common is refused here, before any training."""
    data = Data(registry)
    first = plan.members[0].config
    prepared = prepared_aloud(first, registry, say)
    if plan.joined == "weights" and "validation" not in prepared.splits:
        raise ConfigError(
            f"`{plan.asked}` keeps a model where validation improves, and there are no validation rows: "
            "set `data.validation_share` above 0, or leave `ensemble` out."
        )
    data.put(first, prepared)
    return data


class Several:
    """A run of several members in its directory, which this process holds."""

    def __init__(
        self, directory: RunDirectory, record: dict[str, Any], config: RunConfig, plan: Plan, data: Data, registry: Registry, say: Say
    ) -> None:
        self.directory, self.record, self.config, self.plan = directory, record, config, plan
        self.data, self.registry, self.say = data, registry, say
        self.scorer = Scorer.of(registry, config.metrics)
        self.done: dict[int, dict[str, Any]] = {}
        self.began, self.before = time.monotonic(), float(record.get("seconds", 0.0))

    @property
    def seconds(self) -> float:
        """Seconds the run took so far, over all its attempts."""
        return self.before + time.monotonic() - self.began

    def carry_out(self) -> RunResult:
        """Train the members that are not done, join them, and close the record whatever happens."""
        self.record |= {"several": self.plan.kind, "joined": self.plan.joined}
        self._keep()
        try:
            with traceback_kept(self.directory, self.say):
                self._train()
                return self._close()
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            self.mirror()

    def _train(self) -> None:
        for member in self.plan.members:
            record = done_record(self.directory, member)
            if record is not None:
                self._took(member, record)
        waiting = [member for member in self.plan.members if member.number not in self.done]
        if self.done:
            self.say(f"members that are done: {len(self.done)} of {len(self.plan.members)}")
        if self.plan.kind != "boosting" and len(waiting) > 1 and at_once(self.config.compute, len(waiting)) > 1:
            train_together(self, waiting)
            return
        # Each member over its workers: Ray starts once for all of them.
        with ray_up(self) if self.config.compute.workers and len(waiting) > 1 else contextlib.nullcontext():
            if self.plan.kind == "boosting":
                boost(self)
            else:
                for member in waiting:
                    self.train_here(member)

    def train_here(self, member: Member) -> dict[str, Any]:
        """Train a member in this process and take it among those that are done."""
        self.say(f"{member}: {member.number + 1} of {len(self.plan.members)}")
        return self.finished(member, train_here(self.directory, self.record, member, self.data, self.say))

    def finished(self, member: Member, record: dict[str, Any]) -> dict[str, Any]:
        """Take a member that was just trained among those that are done, and say so."""
        self._took(member, record)
        self.say(f"{member}: {in_words(record)}")
        self._keep()
        self.mirror()
        return record

    def end_early(self, note: str, members: int) -> None:
        """Leave it at the first `members`: the rest is not trained, and `note` says why."""
        self.say(note)
        self.record["notes"] = [*self.record.get("notes", []), note]
        self.done = {number: record for number, record in self.done.items() if number < members}

    def _took(self, member: Member, record: dict[str, Any]) -> None:
        self.done[member.number] = record

    def _keep(self) -> None:
        self.record["members"] = [entry(member, self.done.get(member.number)) for member in self.plan.members]
        self.directory.write(self.record)

    def mirror(self) -> None:
        """Bring the mirror of the run, if it has one, up to date."""
        storage = self.config.compute.storage
        if storage:
            Storage.of(storage).mirror(self.directory.path, self.directory.path.name, exclude=(LOCK, f"{MEMBERS}/*/{LOCK}"))

    def _close(self) -> RunResult:
        members = [member for member in self.plan.members if member.number in self.done]
        joined = join(self, members)
        closed = {
            **self.record,
            "members": [entry(member, self.done[member.number]) for member in members],
            "summary": summary([self.done[member.number] for member in members]),
            **joined,
            "status": "done",
            "finished": time.time(),
            "seconds": self.seconds,
        }
        closed["timings"] = {**closed["timings"], "total": self.seconds}
        closed["weights"] = weights_of(self.directory.model)
        self.directory.sync()
        self.directory.write(closed)
        atomic.write_text(self.directory.path / "README.md", several_card(closed))
        (self.directory.path / ERROR_LOG).unlink(missing_ok=True)
        return RunResult(self.directory.path, dict(closed["scores"].get(closed["heldout"] or "", {})), closed)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, RequestError) and not anything_kept(self.directory):
            return
        status = write_ending(self.directory, {**self.record, "seconds": self.seconds}, error, self.say)
        kept = f"{len(self.done)} of {len(self.plan.members)} members are done"
        say_how_to_resume(self.directory, f"{status}: {kept}, it will go on", self.say)


def anything_kept(directory: RunDirectory) -> bool:
    """Whether a member came so far that going on is of use: it has a model or a checkpoint."""
    members = [path for path in (directory.path / MEMBERS).glob("*") if path.is_dir()]
    return any(RunDirectory(path).model.exists() or last_step(path) for path in members)
