"""The part of a sweep that Ray Tune runs: from a list of what is known to a list of what was found."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.jobs.cluster import connect
from ftr.jobs.launch import RAY_SETTINGS
from ftr.jobs.sweep.budget import Ending

if TYPE_CHECKING:
    from ftr.config.models import ComputeConfig
    from ftr.jobs.sweep.observer import Board
    from ftr.jobs.sweep.trial import Shared
    from ftr.registry import Registry

TUNE_SETTINGS = {
    # The journal is the record: Tune's own loggers, pickles and interrupt handler are not wanted.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "60",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "60",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "30",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Every trial trains in a new thread, and glibc gives threads heaps of their own, which fragment: a trial process grew by
    # 200 kB with every trial. With two heaps it stays as it is.
    "MALLOC_ARENA_MAX": "2",
}
"""Environment of Ray Tune in the driver and in trial processes, unless the user has set it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """How trials run: their resources, how many at once at most (None: what fits), and restarts after a dead process."""

    resources: dict[str, float]
    at_once: int | None
    retries: int


@contextlib.contextmanager
def connected(compute: ComputeConfig, registry: Registry, say: Callable[[str], None]) -> Iterator[None]:
    """Connect to the cluster, or start Ray here, for as long as the context lasts; use what is connected already."""
    settings = {**RAY_SETTINGS, **TUNE_SETTINGS}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    import ray

    owned = not ray.is_initialized()
    if owned:
        connect(compute, registry, say, {**settings, **(_credentials() if compute.storage else {})})
    try:
        yield
    finally:
        if owned:
            ray.shutdown()


def _credentials() -> dict[str, str]:
    """Return what the environment says of S3, for the processes on the nodes."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def drive(
    board: Board, scheduler: Any, shared: Shared, trials: Trials, storage: str | None = None, ahead: int | None = None
) -> Ending | None:
    """Run trials until the source, the budget or the user ends it; returns why, None where the source simply ran dry.

    `ahead` is how many trials may wait for room, for schedulers that compare a whole bracket; None: as few as Tune can do with.
    Ray must be up. Raises KeyboardInterrupt as it comes; the board is true at any time.
    """
    from ray import tune

    from ftr.jobs.sweep.observer import Limit, Observer
    from ftr.jobs.sweep.trial import run_trial

    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(ahead or "auto")
    limit = Limit(board)
    place = None if storage is None else below(storage, "tune")
    with atomic.scratch("tune") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(run_trial, shared=shared), trials.resources),
            tune_config=tune.TuneConfig(
                search_alg=board.source,
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=True,
                max_concurrent_trials=trials.at_once,
                trial_dirname_creator=_folder_name,
                trial_name_creator=_folder_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=place or scratch,
                failure_config=tune.FailureConfig(max_failures=trials.retries),
                callbacks=[Observer(board)],
                stop=limit,
                verbose=0,
            ),
        )
        tuner.fit()
    if place:
        _remove(place)
    return limit.ending or board.source.ending


def below(uri: str, name: str) -> str:
    """Return the address of `name` below a storage's, whose options may stand after a `?`."""
    place, question, options = uri.partition("?")
    return f"{place.rstrip('/')}/{name}{question}{options}"


def _remove(uri: str) -> None:
    """Remove what Tune wrote for itself; the sweep does not need it."""
    from pyarrow import fs

    with contextlib.suppress(OSError):
        system, path = fs.FileSystem.from_uri(uri)
        system.delete_dir(path)


def _folder_name(trial: Any) -> str:
    """Return a short name: Tune would put every value of the trial into the folder's."""
    return f"{trial.config.get('trial', 0):04d}-{trial.trial_id}"
