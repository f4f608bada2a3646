"""Train members in turn or side by side, join them, and close the run that asked for them."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.cluster.storage import checked_storage
from ftr.config.parse import read_settings, registry_for
from ftr.config.resolve import check_renamed, flat, recorded_config, resolve
from ftr.config.schema import RunConfig
from ftr.errors import ConfigError, PluginError, RequestError, RunError
from ftr.model.components import make_head
from ftr.paths import expanded
from ftr.registry.isolation import one_training
from ftr.runs.directory import ERROR_LOG, RunDirectory, hold, is_held, weights_of
from ftr.runs.launch import RAY_SETTINGS, own_error, signals_kept, worker_resources
from ftr.runs.prepare import shown_path, to_stderr
from ftr.runs.record import check_reach, recorded_registry, remember
from ftr.runs.report import several_card
from ftr.runs.resume import check_settings, finished, resume_one
from ftr.runs.run import (
    RunResult,
    Say,
    check_same_data,
    check_writable,
    execute,
    found,
    leave_failed,
    opening,
    prepared_aloud,
    say_how_to_resume,
    session_spec,
    traceback_kept,
    write_ending,
)
from ftr.study.join import boost, join
from ftr.study.members import (
    MEMBERS,
    Data,
    Group,
    Member,
    Plan,
    check_plan,
    done_record,
    entry,
    finish,
    opened,
    plan_of,
    summary,
)
from ftr.train.checkpoint import CHECKPOINTS, check_format, last_step
from ftr.train.progress import STOP

if TYPE_CHECKING:
    from ftr.config.resolve import Resolved
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
    them: each finishes its step and writes a checkpoint. A member whose process dies goes on from
    its checkpoint, up to `compute.retries` times.
    """
    from ftr.cluster.capacity import check_capacity
    from ftr.study.sweep import described

    compute = run.config.compute
    for member in members:
        run.data.of(member.config)
    with ray_up(run):
        resources = worker_resources(compute, 1.0)
        fits = check_capacity(
            0, resources["CPU"], resources.get("GPU", 0.0), compute.memory, compute.resources
        )
        several = min(fits, len(members))
        run.say(
            f"{several} member{'' if several == 1 else 's'} at a time, each with "
            f"{described(resources, 0)}"
        )
        Together(run, resources, several).train(members)


@contextlib.contextmanager
def ray_up(run: Several) -> Iterator[None]:
    """Connect to the cluster, or start Ray here, for all members at once; use what is connected
    already.
    """
    from ftr.cluster.connect import connect

    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    owned = not ray.is_initialized()
    with signals_kept() as restore:
        try:
            if owned:
                connect(run.config.compute, run.registry, run.say, RAY_SETTINGS)
                restore()
            yield
        finally:
            if owned:
                ray.shutdown()


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
            spec = session_spec(begun.directory, member.config, begun.prepared, begun.weights)
            threads = max(int(self.resources["CPU"]), 1)
            return finish(
                begun, self._outcome(member, {**spec, "threads": threads, "progress": False})
            )

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
    from ftr.train.loop import train_loop
    from ftr.train.progress import STOP

    if not Path(spec["folder"]).is_dir():
        raise RunError(
            f"this node does not see `{spec['folder']}`: members of a run train on nodes that "
            "share `output` and `data.cache`. Without `compute.address` they train here."
        )
    checkpoints = Path(spec["folder"]) / CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    with STOP.listening(), hold(checkpoints):
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
    asked: Mapping[str, object] | Sequence[str] = (
        {**settings, **keys} if isinstance(settings, Mapping) else settings or keys
    )
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
    """Go on with the run in a directory from its last checkpoint, to what it would have come to
    undisturbed.

    A run that is done is returned as it is. `settings`, if given, must be those of the run. Raises
    `ConfigError` naming each that differs, `DataError` when the data changed since, and
    `RequestError` when another process works on the run or there is none.
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
            raise RequestError(
                f"`{directory.path}` is a member of a run of several, which goes on as a whole: "
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
            leave_failed(
                RunDirectory.create(config.output, config.task or config.head.name),
                begun,
                error,
                say,
            )
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


def go_on(
    directory: RunDirectory, record: dict[str, Any], config: RunConfig, registry: Registry, say: Say
) -> RunResult:
    """Go on with such a run, which this process holds: members that are done stay, the others
    follow, and all are joined.
    """
    plan = _checked(config, registry)
    with traceback_kept(directory, say):
        data = _first_rows(plan, config, registry, say)
    check_same_data(record, data.of(plan.members[0].config))
    opened = {key: value for key, value in record.items() if key not in ("finished", "error")}
    opened |= {"status": "running", "process": os.getpid()} | (
        {} if "data" in record else found(data.of(plan.members[0].config))
    )
    return Several(directory, opened, config, plan, data, registry, say).carry_out()


def _checked(config: RunConfig, registry: Registry) -> Plan:
    plan = plan_of(config)
    check_plan(plan, config, make_head(registry, config.head))
    return plan


def _first_rows(plan: Plan, config: RunConfig, registry: Registry, say: Say) -> Data:
    """Prepare the rows of the first member, aloud; what they have in common is refused here, before
    any training.
    """
    data = Data(registry)
    first = plan.members[0].config
    prepared = prepared_aloud(first, registry, say)
    if plan.joined == "weights" and "validation" not in prepared.splits:
        raise ConfigError(
            f"`{plan.asked}` keeps a model where validation improves, and there are no validation "
            "rows: set `data.validation_size` above 0, or leave `ensemble` out."
        )
    data.put(first, prepared)
    return data


class Several(Group):
    """A run of several members in its directory, which this process holds."""

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
        if (
            self.plan.kind != "boosting"
            and len(waiting) > 1
            and at_once(self.config.compute, len(waiting)) > 1
        ):
            train_together(self, waiting)
            return
        # Each member over its workers: Ray starts once for all of them.
        with (
            ray_up(self)
            if self.config.compute.workers and len(waiting) > 1
            else contextlib.nullcontext()
        ):
            if self.plan.kind == "boosting":
                boost(self)
            else:
                for member in waiting:
                    self.train_here(member)

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
        return RunResult(
            self.directory.path, dict(closed["scores"].get(closed["heldout"] or "", {})), closed
        )

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, RequestError) and not anything_kept(self.directory):
            return
        status = write_ending(
            self.directory, {**self.record, "seconds": self.seconds}, error, self.say
        )
        kept = f"{len(self.done)} of {len(self.plan.members)} members are done"
        say_how_to_resume(self.directory, f"{status}: {kept}, it will go on", self.say)


def anything_kept(directory: RunDirectory) -> bool:
    """Whether a member came so far that going on is of use: it has a model or a checkpoint."""
    members = [path for path in (directory.path / MEMBERS).glob("*") if path.is_dir()]
    return any(RunDirectory(path).model.exists() or last_step(path) for path in members)
