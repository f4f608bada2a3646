"""`ftr.run`, and a run of several: its members are trained in turn or side by side, and joined.

The source of members says what to train next, given what is done: seeds, folds and samples follow
from the configuration alone, rounds of boosting depend on those before.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftr import system
from ftr.config.found import with_found
from ftr.config.parse import registry_for
from ftr.config.resolve import resolve
from ftr.config.schema import ComputeConfig, RunConfig
from ftr.data.encode import data_key
from ftr.data.infer import settings_with_task
from ftr.errors import ConfigError, RunError
from ftr.model.components import make_head
from ftr.model.folder import weights_of
from ftr.progress import ProgressLine
from ftr.registry.isolation import one_training
from ftr.registry.registry import Registry
from ftr.runs.directory import hold, is_held
from ftr.runs.launch import Outcome, check_gpus, connected, own_error
from ftr.runs.prepare import Prepared, prepare, to_stderr
from ftr.runs.record import beginning, from_parent, remember
from ftr.runs.run import (
    Job,
    Run,
    RunResult,
    Say,
    Settings,
    check_same_data,
    close,
    merged,
    note_beginning,
    prepare_and_report,
    reopened,
    tell_found,
)
from ftr.runs.trackers import check_asked
from ftr.study.boosting import Array, ending_of, reweighted, right_rows, vote, write_weights
from ftr.study.members import (
    Combined,
    Member,
    check_plan,
    entry,
    finished_run,
    plan_of,
    scored,
    summary,
)
from ftr.study.search import room
from ftr.train.checkpoint import CHECKPOINTS
from ftr.train.progress import INTERRUPT
from ftr.train.scoring import Scorer

WEIGHTS = "weights.npy"
"""The weights of the training rows of a member, where they differ."""
REST_SECONDS = 120.0
"""How long members that are to stop may take over their step and its checkpoint."""


def run(
    settings: Settings = None,
    *,
    registry: Registry | None = None,
    say: Say | None = None,
    **keys: object,
) -> RunResult:
    """Fine-tune with one configuration, and return the result; `seeds`, `cv.folds`, `boosting` and
    `ensemble` train several models.

    Settings are those of the command, as a mapping of dotted keys (`{"data.limit": 2000}`), as
    `key=value` strings, or as keywords (`run(task="qa", learning_rate=3e-5)`, `run("reviews.csv",
    epochs=1)`); `say` gets the lines a person would read (default: stderr). Raises `RequestError`
    when something asked for is wrong, before anything is written, and `RunError` when it failed.
    """
    asked = with_found(merged(settings, keys))
    with one_training(), INTERRUPT.listening():
        known = registry or registry_for(asked)
        speak = say or to_stderr
        tell_found(asked, speak)
        check_asked(asked, known)
        resolved = resolve(settings_with_task(asked, known, speak), known)
        remember(resolved.config, known)
        check_gpus(resolved.config.compute)
        return run_job(resolved.config, known, speak).start(resolved.origins)


def run_job(config: RunConfig, registry: Registry, say: Say) -> Job[RunResult]:
    """Return the job that a configuration asks for: one training, or several."""
    return (RunOfSeveral if config.several else Run)(config, registry, say)


class MemberRun(Run):
    """A run that is resumed with its parent."""

    def progress(self) -> str | None:
        """Leave it to the parent to print how to resume."""
        return None


class RunOfSeveral(Job[RunResult]):
    """Members, each an ordinary run below this one, and what is made of them."""

    def __init__(self, config: RunConfig, registry: Registry, say: Say) -> None:
        super().__init__(config, registry, say)
        self.plan = plan_of(config)
        check_plan(self.plan, config, make_head(registry, config.head))
        self.done: dict[int, dict[str, Any]] = {}
        """The records of the members that are done, by number."""
        self.prepared_by_key: dict[str, Prepared] = {}
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds the run took so far, over all its attempts."""
        return float(self.record.get("seconds", 0.0)) + time.monotonic() - self.began

    def read_data(self) -> Prepared:
        """Prepare the rows of the first member; what they have in common is refused here, before
        any training.
        """
        first = self.plan.members[0].config
        prepared = prepare_and_report(first, self.registry, self.say)
        if self.plan.joined == "weights" and "validation" not in prepared.splits:
            raise ConfigError(
                f"`{self.plan.asked}` keeps a model where validation improves, and there are no "
                "validation rows: set `data.validation_size` above 0, or leave `ensemble` out."
            )
        self.prepared_by_key[data_key(first)] = prepared
        return prepared

    def rows(self, config: RunConfig) -> Prepared:
        """Return the encoded rows of a member; those that several share are prepared once."""
        key = data_key(config)
        if key not in self.prepared_by_key:
            self.prepared_by_key[key] = prepare(config, self.registry)
        return self.prepared_by_key[key]

    def work(self) -> RunResult:
        """Train the members that are not done, and make one result of all."""
        self.record |= {"several": self.plan.kind, "joined": self.plan.joined}
        for member in self.plan.members:
            directory = member.directory(self.directory)
            record = directory.read() if directory.record.is_file() else {}
            if record.get("status") == "done":
                directory.check_weights()
                self.done[member.number] = record
        if self.done:
            self.say(f"members that are done: {len(self.done)} of {len(self.plan.members)}")
        self.write()
        self._train()
        return self._close()

    def _train(self) -> None:
        waiting = [member for member in self.plan.members if member.number not in self.done]
        compute, boosting = self.config.compute, self.plan.kind == "boosting"
        if not boosting and len(waiting) > 1 and at_once(compute, len(waiting)) > 1:
            SideBySide(self).train(waiting)
            return
        # Each member over its workers: Ray starts once for all of them.
        with (
            connected(compute, self.registry, self.say)
            if compute.workers and len(waiting) > 1
            else contextlib.nullcontext()
        ):
            for member in self._rounds() if boosting else waiting:
                if member.number not in self.done:
                    with self.opened(member) as training:
                        training.after = len(self.plan.members) - len(self.done) - 1
                        record = training.work().record
                    self.finished(member, record)

    def _rounds(self) -> Iterator[Member]:
        """Yield the members of boosting, the next once the one before is done; the record of each
        gets the result of its round under `boosted`.

        It ends early, with a note, after a member that gets every row right, and before one that is
        no better than chance, which is left out unless it is the first.
        """
        weights: Array | None = None
        for member in self.plan.members:
            run = finished_run(self.directory, member, self.registry)
            if weights is not None and member.number not in self.done:
                write_weights(run.directory.path / WEIGHTS, weights)
            yield member
            record = self.done[member.number]
            right = right_rows(run, member.config, self.rows(member.config))
            if weights is None:
                weights = np.full(len(right), 1 / len(right))
            classes = len(record["labels"])
            error, alpha = vote(right, weights, classes)
            ending = ending_of(error, classes)
            kept = ending is None or error == 0 or member.number == 0
            boosted: dict[str, Any] = {
                "error": error,
                "alpha": alpha if alpha > 0 else 1.0,
                "kept": kept,
            }
            if ending is not None:
                boosted["ending"] = ending
            if record.get("boosted") != boosted:
                self.done[member.number] = record = {**record, "boosted": boosted}
                run.directory.write(record)
            self.say(
                f"{member}: weighted error on the training rows {error:.4f}, its vote weighs "
                f"{boosted['alpha']:.4g}"
            )
            if ending is not None:
                note = f"boosting ended with member {member.number}: {ending}"
                self._end_early(note, member.number + kept)
                return
            weights = reweighted(right, weights, alpha)

    @contextlib.contextmanager
    def opened(self, member: Member) -> Iterator[MemberRun]:
        """Hold the directory of a member, new or of an earlier attempt, and close its record if it
        fails within.

        Raises `DataError` when the rows are not those of the earlier attempt.
        """
        training = MemberRun(member.config, self.registry, self.say)
        training.directory = directory = member.directory(self.directory)
        directory.path.mkdir(parents=True, exist_ok=True)
        with hold(directory.path):
            known = directory.read() if directory.record.is_file() else None
            training.prepared = self.rows(member.config)
            if known is not None:
                check_same_data(known, training.prepared)
                note_beginning(directory, known)
            training.record = {
                **training.data_facts(),
                **reopened(known or beginning()),
                **from_parent(self.record),
                "config": member.config.model_dump(mode="json"),
                "member": {
                    "of": self.directory.path.name,
                    "number": member.number,
                    **member.varied,
                },
            }
            weights = directory.path / WEIGHTS
            training.weights = str(weights.resolve()) if weights.is_file() else None
            with training.attempt():
                self.say(f"{member}: {member.number + 1} of {len(self.plan.members)}")
                yield training

    def finished(self, member: Member, record: dict[str, Any]) -> None:
        """Take a member that was just trained among those that are done."""
        self.done[member.number] = record
        self.say(f"{member}: {scored(record)}")
        self.write()
        self.mirror()

    def _end_early(self, note: str, members: int) -> None:
        """Stop after the first `members`; `note` says why."""
        self.say(note)
        self.record["notes"] = [*self.record.get("notes", []), note]
        self.done = {number: record for number, record in self.done.items() if number < members}

    def write(self) -> None:
        """Write the record, with what is known of each member."""
        self.record["members"] = [
            entry(member, self.done.get(member.number)) for member in self.plan.members
        ]
        self.directory.write(self.record)

    def _close(self) -> RunResult:
        members = [member for member in self.plan.members if member.number in self.done]
        scorer = Scorer.of(self.registry, self.config.metrics)
        with ProgressLine().stage("joining"):
            combined = Combined(
                self.directory, self.plan, self.done, self.rows, scorer, self.registry, self.say
            ).combine()
        closed = {
            **self.record,
            "members": [entry(member, self.done[member.number]) for member in members],
            "summary": summary([self.done[member.number]["scores"] for member in members]),
            **combined,
        }
        closed["timings"] = {**closed["timings"], "total": self.seconds}
        closed["weights"] = weights_of(self.directory.model)
        return close(self.directory, closed, self.registry)

    def progress(self) -> str:
        """Return how many members are done."""
        return f": {len(self.done)} of {len(self.plan.members)} members are done"

    def progress_facts(self) -> dict[str, Any]:
        """Return the seconds so far."""
        return {"seconds": self.seconds}


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
    gpus, cores = torch.cuda.device_count(), system.cores()
    gpus_each = compute.gpus if compute.gpus is not None else float(gpus > 0)
    if gpus_each == 0 and compute.cpus is None:
        return 1
    fits = [gpus / gpus_each] if gpus_each else []
    fits += [cores / compute.cpus] if compute.cpus else []
    return max(min(members, *(math.floor(times + 1e-6) for times in fits)), 1)


class SideBySide:
    """Trains members as tasks of Ray.

    After one that failed no other is begun, those under way are waited for, and the first cause is
    raised. Ctrl-C reaches all of them: each finishes its step and writes a checkpoint. A member
    whose process dies resumes from its checkpoint, up to `compute.retries` times.
    """

    def __init__(self, parent: RunOfSeveral) -> None:
        self.parent = parent
        self.under_way: dict[Any, tuple[Member, MemberRun, contextlib.ExitStack]] = {}

    def train(self, members: Sequence[Member]) -> None:
        """Train all; returns or raises when none is under way any more."""
        import ray

        parent, compute = self.parent, self.parent.config.compute
        for member in members:
            parent.rows(member.config)
        with connected(compute, parent.registry, parent.say):
            resources, several = room(compute, len(members), "member", parent.say)
            failure: Exception | None = None
            waiting = list(members)
            try:
                while self.under_way or (waiting and failure is None):
                    try:
                        if waiting and failure is None and len(self.under_way) < several:
                            self._begin(waiting.pop(0), resources)
                        else:
                            (task,), _ = ray.wait(list(self.under_way))
                            self._end(task)
                    except Exception as error:
                        failure = failure or error
            except BaseException:
                self._stop()
                raise
        if failure is not None:
            raise failure

    def _begin(self, member: Member, resources: Mapping[str, float]) -> None:
        with contextlib.ExitStack() as stack:
            training = stack.enter_context(self.parent.opened(member))
            training.open()
            spec = training.spec(threads=max(int(resources["CPU"]), 1), progress=False)
            task = self._task(resources).remote(spec)
            self.under_way[task] = (member, training, stack.pop_all())

    def _end(self, task: Any) -> None:
        """Take the outcome of a task. Raises what it raised, of which `FtrError`s are its own."""
        member, training, stack = self.under_way.pop(task)
        with stack:
            record = training.close(_outcome(task, member)).record
        self.parent.finished(member, record)

    def _stop(self) -> None:
        """Let the members under way finish their step and its checkpoint; Ctrl-C meanwhile stops
        them at once.
        """
        import ray

        deadline = time.monotonic() + REST_SECONDS
        folders = [training.directory.path for _, training, _ in self.under_way.values()]
        while self.under_way:
            try:
                for task in self.under_way:
                    ray.cancel(task)
                ray.wait(list(self.under_way), num_returns=len(folders), timeout=REST_SECONDS)
                # Ray takes a task for cancelled before it has come to its end.
                while time.monotonic() < deadline and any(
                    is_held(folder / CHECKPOINTS) for folder in folders
                ):
                    time.sleep(0.05)
                break
            except KeyboardInterrupt:
                deadline = time.monotonic()
        for task in list(self.under_way):
            with contextlib.suppress(BaseException):
                self._end(task)

    def _task(self, resources: Mapping[str, float]) -> Any:
        """Return `train_task` as a function of Ray with what a member may use."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        compute, special = self.parent.config.compute, ("CPU", "GPU", "memory")
        options: dict[str, Any] = {
            "num_cpus": resources["CPU"],
            "num_gpus": resources.get("GPU", 0.0),
            "resources": {name: n for name, n in resources.items() if name not in special},
        }
        if "memory" in resources:
            options["memory"] = resources["memory"]
        if compute.storage:
            # The nodes share no folder, and what a member writes must be here.
            here = ray.get_runtime_context().get_node_id()
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=False)
        return ray.remote(max_retries=compute.retries, retry_exceptions=False, **options)(
            train_task
        )


def _outcome(task: Any, member: Member) -> Outcome:
    import ray

    try:
        outcome: Outcome = ray.get(task)
        return outcome
    except ray.exceptions.TaskCancelledError as cancelled:
        raise KeyboardInterrupt from cancelled
    except ray.exceptions.RayError as error:
        if (own := own_error(error)) is not None:
            raise own from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise RunError(f"{member} failed: {(lines or [type(error).__name__])[-1]}") from error


def train_task(spec: dict[str, Any]) -> Outcome:
    """Train a member in a process of Ray.

    Raises `RunError` on a node that does not see the run's directory.
    """
    # Ray lets its processes ignore it, and cancels a task by it: before the imports, which take
    # seconds.
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
