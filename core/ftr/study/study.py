"""Train members in turn or side by side, join them, and close the run that asked for them."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftr import atomic
from ftr.config.parse import read_settings, registry_for
from ftr.config.resolve import Resolved, check_renamed, flat, recorded_config, resolve
from ftr.config.schema import RunConfig
from ftr.errors import ConfigError, RequestError, RunError
from ftr.model.components import make_head
from ftr.registry.isolation import one_training
from ftr.runs.directory import RunDirectory, hold, is_held, weights_of
from ftr.runs.launch import RAY_SETTINGS, own_error
from ftr.runs.prepare import Prepared, shown_path, to_stderr
from ftr.runs.record import check_reach, recorded_registry, remember
from ftr.runs.resume import check_settings, finished, reopen, resume_one
from ftr.runs.run import (
    RunResult,
    Say,
    attempt,
    close,
    execute,
    is_resumable,
    merged,
    mirror,
    prepared_aloud,
    say_how_to_resume,
    session_spec,
    train,
    write_ending,
)
from ftr.runs.run import begin as open_run
from ftr.study.boosting import (
    Array,
    ending_of,
    reweighted,
    right_rows,
    vote,
    write_weights,
)
from ftr.study.members import (
    Data,
    Member,
    Plan,
    Whole,
    check_plan,
    done_record,
    entry,
    finished_run,
    in_words,
    member_directory,
    opened,
    plan_of,
    summary,
)
from ftr.study.search import connected, room
from ftr.train.checkpoint import CHECKPOINTS, check_format
from ftr.train.progress import INTERRUPT
from ftr.train.scoring import Scorer

if TYPE_CHECKING:
    from ftr.config.schema import ComputeConfig
    from ftr.registry.registry import Registry


Outcome = dict[str, Any]

REST_SECONDS = 120.0
"""How long members that were told to stop may take over their step and its checkpoint."""


def at_once(compute: ComputeConfig, members: int) -> int:
    """Return how many of `members` may train at a time, before anything of Ray is started: 1 is in
    turn, in this process.

    A member with workers of its own has all of them, so such train in turn. On a cluster it is all
    of them: the cluster decides. On this machine each gets `compute.gpus`, or one GPU where there
    are several, and `compute.cpus`; without GPUs and `compute.cpus` one member has all cores.
    """
    import torch

    if compute.workers:
        return 1
    if compute.address is not None:
        return members
    gpus, cores = (
        torch.cuda.device_count(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )
    gpus_each = compute.gpus if compute.gpus is not None else float(gpus > 0)
    if gpus_each == 0 and compute.cpus is None:
        return 1
    room = [gpus / gpus_each] if gpus_each else []
    room += [cores / compute.cpus] if compute.cpus else []
    return max(min(members, *(math.floor(times + 1e-6) for times in room)), 1)


def train_together(run: Several, members: Sequence[Member]) -> None:
    """Train members as tasks of Ray; those that end are taken by `run` as they come.

    After one that failed no other is begun, those under way are waited for, and the first cause is
    raised. Ctrl-C reaches all of
    them: each finishes its step and writes a checkpoint. A member whose process dies resumes from
    its checkpoint, up to `compute.retries` times.
    """
    compute = run.config.compute
    for member in members:
        run.data.of(member.config)
    with connected(compute, run.registry, run.say, RAY_SETTINGS):
        resources, several = room(compute, len(members), "member", run.say)
        Together(run, resources, several).train(members)


@dataclass
class Together:
    """The members that train at present, each watched by a thread of this process."""

    run: Several
    resources: dict[str, float]
    several: int
    under_way: dict[int, Any] = field(default_factory=dict)
    ending: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    at_once: threading.Event = field(default_factory=threading.Event)
    beginning: threading.Lock = field(default_factory=threading.Lock)

    def train(self, members: Sequence[Member]) -> None:
        """Train all, and raise the cause of the first that failed when none is under way any
        more.
        """
        failure: BaseException | None = None
        watched: dict[Future[dict[str, Any] | None], Member] = {}
        with ThreadPoolExecutor(self.several) as pool:
            try:
                for member in members:
                    watched[pool.submit(self._one, member)] = member
                for future in as_completed(watched):
                    error = future.exception()
                    if error is not None:
                        failure = failure or error
                    elif (record := future.result()) is not None:
                        self.run.finished(watched[future], record)
            except BaseException:
                self._end(watched)
                raise
        if failure is not None:
            raise failure

    def _end(self, watched: Iterable[Future[Any]]) -> None:
        """Stop all members and wait for them; Ctrl-C meanwhile tells them again, which stops them
        at once.
        """
        while True:
            try:
                self._stop()
                wait(watched)
            except KeyboardInterrupt:
                self.at_once.set()
            else:
                return

    def _stop(self) -> None:
        """Begin no other member, and tell those under way to finish their step."""
        import ray

        self.ending.set()
        self.stopped.set()
        with self.beginning:
            tasks = list(self.under_way.values())
        for task in tasks:
            ray.cancel(task)

    def _one(self, member: Member) -> dict[str, Any] | None:
        if self.ending.is_set():
            return None
        try:
            return self._trained(member)
        except BaseException:
            # Here, for this thread takes up the next member at once.
            self.ending.set()
            raise

    def _trained(self, member: Member) -> dict[str, Any]:
        run = self.run
        with opened(run.directory, run.record, member, run.data, run.say) as begun:
            run.say(f"{member}: {member.number + 1} of {len(run.plan.members)}")
            spec = session_spec(
                begun.directory,
                member.config,
                begun.prepared,
                weights=begun.weights,
                threads=max(int(self.resources["CPU"]), 1),
                progress=False,
            )
            outcome = self._outcome(member, spec)
            return close(begun.directory, {**begun.record, **outcome}).record

    def _outcome(self, member: Member, spec: dict[str, Any]) -> Outcome:
        import ray

        task = self._task()
        with self.beginning:
            # A member that was only being opened when the others were stopped is in nobody's list.
            if self.stopped.is_set():
                raise KeyboardInterrupt
            begun = self.under_way[member.number] = task.remote(spec)
        try:
            outcome: Outcome = ray.get(begun)
            return outcome
        except ray.exceptions.TaskCancelledError as cancelled:
            self._await_rest(Path(spec["folder"]))
            raise KeyboardInterrupt from cancelled
        except ray.exceptions.RayError as error:
            own = own_error(error)
            if own is not None:
                raise own from error
            last = next(
                (line for line in reversed(str(error).strip().splitlines()) if line.strip()),
                type(error).__name__,
            )
            raise RunError(f"{member} failed: {last.strip()}") from error
        finally:
            self.under_way.pop(member.number, None)

    def _await_rest(self, folder: Path) -> None:
        """Wait until a task that was cancelled has finished its step and its checkpoint: Ray says
        so before it has.
        """
        deadline = time.monotonic() + REST_SECONDS
        while (
            is_held(folder / CHECKPOINTS)
            and time.monotonic() < deadline
            and not self.at_once.wait(0.05)
        ):
            pass

    def _task(self) -> Any:
        """Return the function as a task of Ray with what a member may use."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cpus, gpus = self.resources["CPU"], self.resources.get("GPU", 0.0)
        custom = {
            name: amount
            for name, amount in self.resources.items()
            if name not in ("CPU", "GPU", "memory")
        }
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "resources": custom}
        if "memory" in self.resources:
            options["memory"] = self.resources["memory"]
        if self.run.config.compute.storage:
            # The nodes share no folder, and what a member writes must be here.
            here = ray.get_runtime_context().get_node_id()
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(
                node_id=here, soft=False
            )
        task: Callable[..., Any] = ray.remote(
            max_retries=self.run.config.compute.retries, retry_exceptions=False, **options
        )(train_task)
        return task


def train_task(spec: dict[str, Any]) -> Outcome:
    """Train a member in a process of Ray.

    Raises `RunError` on a node that does not see the run's directory.
    """
    # Ray lets its processes ignore it, and cancels a task by it: before the imports, which take
    # seconds.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from ftr.train.progress import INTERRUPT
    from ftr.train.session import train_loop

    if not Path(spec["folder"]).is_dir():
        raise RunError(
            f"this node does not see `{spec['folder']}`: members of a run train on nodes that "
            "share `output` and `data.cache`. Without `compute.address` they train here."
        )
    checkpoints = Path(spec["folder"]) / CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    with INTERRUPT.listening(), hold(checkpoints):
        return train_loop(spec)


def run(
    settings: Mapping[str, object] | Sequence[str] | None = None,
    *,
    registry: Registry | None = None,
    say: Say | None = None,
    **keys: object,
) -> RunResult:
    """Fine-tune with one configuration, and return the result; `seeds`, `cv.folds`, `boosting` and
    `ensemble` train several models.

    Settings are those of the command, as a mapping of dotted keys (`{"data.limit": 2000}`), as
    `key=value` strings, or as keywords (`run(task="qa", learning_rate=3e-5)`); `say` gets the lines
    a person would read (default: stderr). Raises `RequestError` when something asked for is wrong,
    before anything is written, and `RunError` when it failed.
    """
    asked = merged(settings, keys)
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
    """Resume the run in a directory from its last checkpoint; the result is that of an undisturbed
    run.

    A run that is done is returned as it is. `settings`, if given, must be those of the run. Raises
    `ConfigError` naming each that differs, `DataError` when the data changed since, and
    `RequestError` when another process works on the run or there is none.
    """
    speak = say or to_stderr
    directory = RunDirectory.open(run)
    directory.check_links()
    check_format(directory.path / CHECKPOINTS)
    with one_training(), INTERRUPT.listening(), hold(directory.path):
        atomic.clear_leftovers(directory.path, held=True)
        record = directory.read()
        if "member" in record and record["status"] != "done":
            whole = shown_path(directory.path.parent.parent)
            raise RequestError(
                f"`{directory.path}` is a member of a run, which is resumed as a whole: "
                f"`ftr resume {whole}`."
            )
        check_renamed(record, directory.record)
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
        carry_on = resume_several if config.several else resume_one
        return carry_on(directory, record, config, known, speak)


def begin(resolved: Resolved, registry: Registry, say: Say) -> RunResult:
    """Carry out a configuration that asks for several models, in a new run directory."""
    config = resolved.config
    plan, data = _checked(config, registry), Data(registry)

    def carry_out(directory: RunDirectory, record: dict[str, Any], _: Prepared) -> RunResult:
        return Several(directory, record, config, plan, data, registry, say).carry_out()

    return open_run(
        resolved, registry, say, lambda: _first_rows(plan, data, registry, say), carry_out
    )


def resume_several(
    directory: RunDirectory, record: dict[str, Any], config: RunConfig, registry: Registry, say: Say
) -> RunResult:
    """Resume such a run, which this process holds: members that are done stay, the others follow,
    and all are joined.
    """
    plan, data = _checked(config, registry), Data(registry)
    opened, _ = reopen(directory, record, say, lambda: _first_rows(plan, data, registry, say))
    return Several(directory, opened, config, plan, data, registry, say).carry_out()


def _checked(config: RunConfig, registry: Registry) -> Plan:
    plan = plan_of(config)
    check_plan(plan, config, make_head(registry, config.head))
    return plan


def _first_rows(plan: Plan, data: Data, registry: Registry, say: Say) -> Prepared:
    """Prepare the rows of the first member, aloud; what they have in common is refused here, before
    any training.
    """
    first = plan.members[0].config
    prepared = prepared_aloud(first, registry, say)
    if plan.joined == "weights" and "validation" not in prepared.splits:
        raise ConfigError(
            f"`{plan.asked}` keeps a model where validation improves, and there are no validation "
            "rows: set `data.validation_size` above 0, or leave `ensemble` out."
        )
    data.put(first, prepared)
    return prepared


class Several:
    """A run of several members in its directory, which this process holds."""

    def __init__(
        self,
        directory: RunDirectory,
        record: dict[str, Any],
        config: RunConfig,
        plan: Plan,
        data: Data,
        registry: Registry,
        say: Say,
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
        with attempt(self.directory, self.config, self.say, self._failed):
            self._train()
            return self._close()

    def _train(self) -> None:
        for member in self.plan.members:
            record = done_record(self.directory, member)
            if record is not None:
                self.done[member.number] = record
        waiting = [member for member in self.plan.members if member.number not in self.done]
        if self.done:
            self.say(f"members that are done: {len(self.done)} of {len(self.plan.members)}")
        if (
            self.plan.kind != "boosting"
            and len(waiting) > 1
            and at_once(self.config.compute, len(waiting)) > 1
        ):
            train_together(self, waiting)
            return
        # Each member over its workers: Ray starts once for all of them.
        with (
            connected(self.config.compute, self.registry, self.say, RAY_SETTINGS)
            if self.config.compute.workers and len(waiting) > 1
            else contextlib.nullcontext()
        ):
            if self.plan.kind == "boosting":
                self._boost()
            else:
                for member in waiting:
                    self.train_here(member)

    def _boost(self) -> None:
        """Train the members that are not done, in turn; the record of each has the result of its
        round under `boosted`.

        It ends early, with a note, after a member that gets every row right, and before one that is
        no better than chance, which is left out unless it is the first.
        """
        weights: Array | None = None
        for member in self.plan.members:
            run = finished_run(self.directory, member, self.registry)
            record = self.done.get(member.number)
            if record is None:
                if weights is not None:
                    write_weights(run, weights)
                record = self.train_here(member)
            right = right_rows(run, member, self.data.of(member.config))
            if weights is None:
                weights = np.full(len(right), 1 / len(right))
            classes = len(record["labels"])
            error, alpha = vote(right, weights, classes)
            ending = ending_of(error, classes)
            kept = ending is None or error == 0 or member.number == 0
            boosted = {
                "error": error,
                "alpha": alpha if alpha > 0 else 1.0,
                "kept": kept,
                **({"ending": ending} if ending else {}),
            }
            if record.get("boosted") != boosted:
                record = {**record, "boosted": boosted}
                member_directory(self.directory, member).write(record)
            self.done[member.number] = record
            self.say(
                f"{member}: weighted error on the training rows {error:.4f}, its vote weighs "
                f"{boosted['alpha']:.4g}"
            )
            if ending is not None:
                self._end_early(
                    f"boosting ended with member {member.number}: {ending}",
                    member.number + (1 if kept else 0),
                )
                return
            weights = reweighted(right, weights, alpha)

    def train_here(self, member: Member) -> dict[str, Any]:
        """Train a member in this process and take it among those that are done."""
        self.say(f"{member}: {member.number + 1} of {len(self.plan.members)}")
        with opened(self.directory, self.record, member, self.data, self.say) as begun:
            outcome = train(begun.directory, member.config, begun.prepared, begun.weights)
            record = close(begun.directory, {**begun.record, **outcome}).record
        return self.finished(member, record)

    def finished(self, member: Member, record: dict[str, Any]) -> dict[str, Any]:
        """Take a member that was just trained among those that are done, and say so."""
        self.done[member.number] = record
        self.say(f"{member}: {in_words(record)}")
        self._keep()
        mirror(self.directory, self.config)
        return record

    def _end_early(self, note: str, members: int) -> None:
        """Stop after the first `members`; `note` says why."""
        self.say(note)
        self.record["notes"] = [*self.record.get("notes", []), note]
        self.done = {number: record for number, record in self.done.items() if number < members}

    def _keep(self) -> None:
        self.record["members"] = [
            entry(member, self.done.get(member.number)) for member in self.plan.members
        ]
        self.directory.write(self.record)

    def _close(self) -> RunResult:
        members = [member for member in self.plan.members if member.number in self.done]
        whole = Whole(
            self.directory, self.plan, self.done, self.data, self.scorer, self.registry, self.say
        )
        joined = whole.join()
        closed = {
            **self.record,
            "members": [entry(member, self.done[member.number]) for member in members],
            "summary": summary([self.done[member.number] for member in members]),
            **joined,
        }
        closed["timings"] = {**closed["timings"], "total": self.seconds}
        closed["weights"] = weights_of(self.directory.model)
        return close(self.directory, closed)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, RequestError) and not is_resumable(self.directory):
            return
        status = write_ending(
            self.directory, {**self.record, "seconds": self.seconds}, error, self.say
        )
        kept = f"{len(self.done)} of {len(self.plan.members)} members are done"
        say_how_to_resume(self.directory, f"{status}: {kept}", self.say)
