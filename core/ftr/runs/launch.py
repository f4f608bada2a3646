"""Run the training loop in this process or on Ray Train workers."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ftr.cluster.connect import connect
from ftr.config.schema import ComputeConfig
from ftr.errors import ConfigError, FtrError, RunError
from ftr.progress import STAGES
from ftr.registry import trust
from ftr.registry.registry import Registry, get_registry
from ftr.terminal import show
from ftr.train.progress import SIGNALS

Outcome = dict[str, Any]

RAY_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray Train sends every `print` of a worker to its log, also those that a library meant to
    # capture.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Nothing here acts on the notice that a node will be taken away: training resumes from the last
    # checkpoint.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # These would undo what `quiet_worker` does.
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}
"""Environment of Ray, unless the user has set it; Ray hands these on to its processes."""


def launch(spec: dict[str, Any], compute: ComputeConfig, scratch: str) -> Outcome:
    """Train as `spec` says and return what the first process returned.

    `scratch` is a folder for Ray Train's own files. With `compute.workers=0` the loop runs in this
    process and no Ray runtime is started. Raises what the loop raises; a worker's `FtrError` comes
    back as itself.
    """
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    with STAGES.within("start"):
        from ray.train import ScalingConfig
        from ray.train.torch import TorchTrainer

        from ftr.train.session import train_loop

    logging.getLogger("ray.train").setLevel(logging.WARNING)
    if compute.workers == 0:
        # Ray gives the loop its one required argument.
        trainer = TorchTrainer(
            train_loop, train_loop_config=spec, scaling_config=ScalingConfig(num_workers=0)
        )
        return trainer.fit().return_value  # type: ignore[no-any-return]  # Ray is not checked
    with STAGES.within("training"):
        return _fit_workers(spec, compute, scratch)


def check_gpus(compute: ComputeConfig) -> None:
    """Raise `ConfigError` where a training in this process asks for GPUs that are not here."""
    if not compute.gpus or compute.workers or compute.address is not None:
        return
    import torch

    if compute.gpus > torch.cuda.device_count():
        raise ConfigError(
            f"`compute.gpus={compute.gpus:g}`: torch finds {torch.cuda.device_count()} GPUs on "
            "this machine. Leave it out: a GPU is used where there is one. `ftr doctor` tells more."
        )


def launch_in_trial(spec: dict[str, Any], compute: ComputeConfig, scratch: str) -> Outcome:
    """Train on workers from within a trial of Ray Tune, and report every evaluation to it;
    otherwise as `launch`.
    """
    from ray.tune.integration.ray_train import TuneReportCallback

    from ftr.train.session import reporting_loop

    return _fit_workers(spec, compute, scratch, reporting_loop, [TuneReportCallback()])


def _fit_workers(
    spec: dict[str, Any],
    compute: ComputeConfig,
    scratch: str,
    loop: Callable[..., Outcome] | None = None,
    callbacks: Sequence[Any] = (),
) -> Outcome:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    from ftr.train.session import train_loop

    try:
        with connected(compute, get_registry(), show):
            each = worker_resources(compute, 1.0 if loop else None)
            _check_room(compute, each)
            cpus, gpus = each["CPU"], each.get("GPU", 0.0)
            trainer = TorchTrainer(
                loop or train_loop,
                train_loop_config={**spec, "threads": max(int(cpus), 1)},
                scaling_config=ScalingConfig(
                    num_workers=compute.workers, use_gpu=gpus > 0, resources_per_worker=each
                ),
                torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
                # A loop that begins again finds the last checkpoint in the run directory by itself.
                run_config=RunConfig(
                    name="ftr",
                    storage_path=scratch,
                    failure_config=FailureConfig(max_failures=compute.retries),
                    callbacks=[_own_errors_end_it(), *callbacks],
                ),
            )
            return trainer.fit().return_value  # type: ignore[no-any-return]
    except TrainingFailedError as error:
        raise _cause(error) from error
    except SystemExit as left:
        # Raised by Ray's own handler of Ctrl-C once the workers are stopped.
        raise KeyboardInterrupt from left


@contextlib.contextmanager
def connected(
    compute: ComputeConfig,
    registry: Registry,
    say: Callable[[str], None],
    settings: Mapping[str, str] = RAY_SETTINGS,
) -> Iterator[None]:
    """Connect to the cluster, or start Ray here, for as long as the context lasts; use an existing
    connection.

    Afterwards Ctrl-C and SIGTERM have their handlers again: Ray takes SIGTERM when it starts, by
    one that kills its processes at once, and Ctrl-C in `fit`.
    """
    bases = {trust.BASES: os.environ[trust.BASES]} if trust.BASES in os.environ else {}
    settings = {**RAY_SETTINGS, **settings, **bases}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    import ray

    owned = not ray.is_initialized()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        if owned:
            connect(compute, registry, say, settings)
            if callable(handlers[signal.SIGTERM]):
                _handle({signal.SIGTERM: handlers[signal.SIGTERM]})
        yield
    finally:
        _handle(handlers)
        if owned:
            ray.shutdown()


def _handle(handlers: Mapping[signal.Signals, Any]) -> None:
    """Set handlers of signals, those that Python knows of; elsewhere than in the main thread there
    are none to set.
    """
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)


def _own_errors_end_it() -> Any:
    """Return a callback that ends the training at an `FtrError`: it would come again; only a
    process that died is worth a retry.

    Ray Train takes what a callback raises for a failure of its controller, which it does not retry.
    """
    from ray.train import UserCallback

    class OwnErrors(UserCallback):  # type: ignore[misc]  # Ray is not checked
        def after_exception(
            self, run_context: object, worker_exceptions: dict[int, Exception]
        ) -> None:
            for error in worker_exceptions.values():
                if (own := own_error(error)) is not None:
                    raise own

    return OwnErrors()


def worker_resources(
    compute: ComputeConfig, cpus: float | None = None, have: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return what each process of a training sets aside: of a run's workers, and of a sweep's
    trials. `have` is what the cluster has in all, None: that of the connected one.

    Without `compute.cpus` it is `cpus`, or its share of all cores; without `compute.gpus` a GPU
    where there is one for each.
    """
    if have is None:
        import ray

        have = ray.cluster_resources()
    processes = compute.workers or 1
    gpus = compute.gpus if compute.gpus is not None else float(have.get("GPU", 0.0) >= processes)
    memory = {"memory": compute.memory * 1e9} if compute.memory else {}
    each = compute.cpus or cpus or max(have.get("CPU", 0.0) // processes, 1.0)
    return {"CPU": each, **({"GPU": gpus} if gpus else {}), **memory, **compute.resources}


def _check_room(compute: ComputeConfig, each: Mapping[str, float]) -> None:
    """Raise `ConfigError` where the cluster has no room for all workers at once."""
    import ray

    have = ray.cluster_resources()
    for name, resource in (("cpus", "CPU"), ("gpus", "GPU")):
        amount, total = each.get(resource, 0.0), have.get(resource, 0.0)
        if amount * compute.workers > total:
            raise ConfigError(
                f"`compute.workers={compute.workers}` with `compute.{name}={amount:g}` needs "
                f"{amount * compute.workers:g} {name}, the cluster has {total:g}: lower one of "
                "them."
            )


def _cause(error: Exception) -> FtrError:
    """Return a worker's own `FtrError`, or a `RunError` with the first failure's last line."""
    failures = getattr(error, "worker_failures", None) or {
        0: getattr(error, "controller_failure", error)
    }
    first = failures[min(failures)]
    own = own_error(first)
    if own is not None:
        return own
    last = str(first).strip().splitlines()[-1] if str(first).strip() else type(first).__name__
    return RunError(f"worker {min(failures)} failed: {last}")


def own_error(error: BaseException | None) -> FtrError | None:
    """Return the `FtrError` that an error of Ray wraps, if it does."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, FtrError):
            return error
        seen.append(error)
        inner = getattr(error, "cause", None) or getattr(error, "_base_exc", None)
        error = inner or error.__cause__
    return None
