"""Members side by side: each a task of Ray, as many at a time as there is room for."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.errors import RunError
from ftr.jobs.launch import RAY_SETTINGS, own_error, signals_kept, worker_resources
from ftr.jobs.run import session_spec
from ftr.jobs.several.training import finish, opened
from ftr.runs.lock import hold, is_held
from ftr.train.checkpoint import CHECKPOINTS

if TYPE_CHECKING:
    from ftr.config.models import ComputeConfig
    from ftr.jobs.several.drive import Several
    from ftr.jobs.several.plan import Member

Outcome = dict[str, Any]

REST_SECONDS = 120.0
"""How long members that were told to stop may take over their step and its checkpoint."""


def at_once(compute: ComputeConfig, members: int) -> int:
    """Return how many of `members` may train at a time, before anything of Ray is started: 1 is in turn, in this process.

    A member with workers of its own has all of them, so such train in turn. On a cluster it is all of them: the cluster decides.
    On this machine each gets `compute.gpus`, or one GPU where there are several, and `compute.cpus`; without GPUs and
    `compute.cpus` one member has all cores.
    """
    import torch

    if compute.workers:
        return 1
    if compute.address is not None:
        return members
    gpus, cores = torch.cuda.device_count(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus_each = compute.gpus if compute.gpus is not None else float(gpus > 0)
    if gpus_each == 0 and compute.cpus is None:
        return 1
    room = [gpus / gpus_each] if gpus_each else []
    room += [cores / compute.cpus] if compute.cpus else []
    return max(min(members, *(math.floor(times + 1e-6) for times in room)), 1)


def train_together(run: Several, members: Sequence[Member]) -> None:
    """Train members as tasks of Ray; those that end are taken by `run` as they come.

    After one that failed no other is begun, those under way are waited for, and the first cause is raised. Ctrl-C reaches all of
    them: each finishes its step and writes a checkpoint. A member whose process dies goes on from its checkpoint, up to
    `compute.retries` times.
    """
    from ftr.jobs.fit import check_fit
    from ftr.jobs.sweep.setup import described

    compute = run.config.compute
    for member in members:
        run.data.of(member.config)
    with ray_up(run):
        resources = worker_resources(compute, 1.0)
        fits = check_fit(0, resources["CPU"], resources.get("GPU", 0.0), compute.memory, compute.resources)
        several = min(fits, len(members))
        run.say(f"{several} member{'' if several == 1 else 's'} at a time, each with {described(resources, 0)}")
        Together(run, resources, several).train(members)


@contextlib.contextmanager
def ray_up(run: Several) -> Iterator[None]:
    """Connect to the cluster, or start Ray here, for all members at once; use what is connected already."""
    from ftr.jobs.cluster import connect

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
        """Train all, and raise the cause of the first that failed when none is under way any more."""
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
        """Stop all members and wait for them; Ctrl-C meanwhile tells them again, which stops them at once."""
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
            return finish(begun, self._outcome(member, {**spec, "threads": threads, "progress": False}))

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
            last = next((line for line in reversed(str(error).strip().splitlines()) if line.strip()), type(error).__name__)
            raise RunError(f"{member} failed: {last.strip()}") from error
        finally:
            self.under_way.pop(member.number, None)

    def _await_rest(self, folder: Path) -> None:
        """Wait until a task that was cancelled has finished its step and its checkpoint: Ray says so before it has."""
        deadline = time.monotonic() + REST_SECONDS
        while is_held(folder / CHECKPOINTS) and time.monotonic() < deadline and not self.at_once.wait(0.05):
            pass

    def _task(self) -> Any:
        """Return the function as a task of Ray with what a member may use."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cpus, gpus = self.resources["CPU"], self.resources.get("GPU", 0.0)
        custom = {name: amount for name, amount in self.resources.items() if name not in ("CPU", "GPU", "memory")}
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "resources": custom}
        if "memory" in self.resources:
            options["memory"] = self.resources["memory"]
        if self.run.config.compute.storage:
            # The nodes share no folder, and what a member writes must be here.
            here = ray.get_runtime_context().get_node_id()
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id=here, soft=False)
        task: Callable[..., Any] = ray.remote(max_retries=self.run.config.compute.retries, retry_exceptions=False, **options)(train_task)
        return task


def train_task(spec: dict[str, Any]) -> Outcome:
    """Train a member in a process of Ray. Raises `RunError` on a node that does not see the run's directory."""
    # Ray lets its processes ignore it, and cancels a task by it: before the imports, which take seconds.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from ftr.train.loop import train_loop
    from ftr.train.stop import STOP

    if not Path(spec["folder"]).is_dir():
        raise RunError(
            f"this node does not see `{spec['folder']}`: members of a run train on nodes that share `output` and `data.cache`. "
            "Without `compute.address` they train here."
        )
    checkpoints = Path(spec["folder"]) / CHECKPOINTS
    checkpoints.mkdir(exist_ok=True)
    with STOP.listening(), hold(checkpoints):
        return train_loop(spec)
