"""Running the training loop under Ray Train: in this process, or on a group of worker processes."""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from typing import TYPE_CHECKING, Any

from ftr.errors import ConfigError, FtrError, RunError

if TYPE_CHECKING:
    from ftr.config.models import ComputeConfig

Outcome = dict[str, Any]

RAY_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray Train sends every `print` of a worker to its log, also those that a library meant to capture.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # These would undo what `quiet_worker` does.
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}
"""Environment of Ray, unless the user has set it; Ray hands these on to its processes."""


def launch(spec: dict[str, Any], compute: ComputeConfig, scratch: str) -> Outcome:
    """Train as `spec` says and return what the first process returned.

    `scratch` is a folder for Ray Train's own files. With `compute.workers=0` the loop runs in this process and no Ray
    runtime is started. Raises what the loop raises; a worker's `FtrError` comes back as itself.
    """
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    from ftr.train.loop import train_loop

    logging.getLogger("ray.train").setLevel(logging.WARNING)
    if compute.workers == 0:
        trainer = TorchTrainer(train_loop, train_loop_config=spec, scaling_config=ScalingConfig(num_workers=0))
        return _outcome(trainer.fit())
    return _fit_workers(spec, compute, scratch)


def _fit_workers(spec: dict[str, Any], compute: ComputeConfig, scratch: str) -> Outcome:
    import ray
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    from ftr.train.loop import train_loop

    owned = not ray.is_initialized()
    if owned:
        _connect(compute)
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        cpus, gpus = _resources(compute)
        trainer = TorchTrainer(
            train_loop,
            train_loop_config={**spec, "threads": max(int(cpus), 1)},
            scaling_config=ScalingConfig(
                num_workers=compute.workers, use_gpu=gpus > 0, resources_per_worker={"CPU": cpus, **({"GPU": gpus} if gpus else {})}
            ),
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            run_config=RunConfig(name="ftr", storage_path=scratch),
        )
        return _outcome(trainer.fit())
    except TrainingFailedError as error:
        raise _cause(error) from error
    except SystemExit as left:
        # What Ray's own handler of Ctrl-C does once the workers are stopped; it leaves that handler behind as well.
        raise KeyboardInterrupt from left
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, on_interrupt)
        if owned:
            ray.shutdown()


def _connect(compute: ComputeConfig) -> None:
    import ray

    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    try:
        ray.init(
            address=compute.address,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=True,
            runtime_env={"worker_process_setup_hook": "ftr.jobs.launch.quiet_worker"},
        )
    except Exception as error:  # Ray raises bare ones when its processes do not start
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if compute.address is None:
            raise RunError(
                f"Ray cannot start its processes on this machine: {first} Set `compute.workers=0` to train without it."
            ) from error
        raise ConfigError(f"`compute.address={compute.address}`: no Ray cluster answers there: {first}") from error


def quiet_worker() -> None:
    """Turn off what Ray Train and torch say in their own processes, where errors come back to the driver, once.

    Names the cluster too: Ray Train's helpers look for one by themselves, and fail where another runs on the machine.
    """
    import ray

    os.environ.setdefault("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def _resources(compute: ComputeConfig) -> tuple[float, float]:
    """Return (cpus, gpus) a worker gets, after checking that the cluster has room for all workers at once."""
    import ray

    have = ray.cluster_resources()
    total_cpus, total_gpus = have.get("CPU", 0.0), have.get("GPU", 0.0)
    gpus = compute.gpus if compute.gpus is not None else float(total_gpus >= compute.workers)
    cpus = compute.cpus if compute.cpus is not None else max(total_cpus // compute.workers, 1.0)
    for name, each, total in (("cpus", cpus, total_cpus), ("gpus", gpus, total_gpus)):
        if each * compute.workers > total:
            raise ConfigError(
                f"`compute.workers={compute.workers}` with `compute.{name}={each:g}` needs {each * compute.workers:g} {name}, "
                f"the cluster has {total:g}: lower one of them."
            )
    return cpus, gpus


def _outcome(result: Any) -> Outcome:
    outcome: Outcome = result.return_value
    return outcome


def _cause(error: Exception) -> FtrError:
    """Return a worker's own `FtrError`, or a `RunError` with the first failure's last line."""
    failures = getattr(error, "worker_failures", None) or {0: getattr(error, "controller_failure", error)}
    first = failures[min(failures)]
    seen: list[BaseException] = []
    cause: BaseException | None = first
    while cause is not None and cause not in seen:
        if isinstance(cause, FtrError):
            return cause
        seen.append(cause)
        cause = getattr(cause, "cause", None) or cause.__cause__
    last = str(first).strip().splitlines()[-1] if str(first).strip() else type(first).__name__
    return RunError(f"worker {min(failures)} failed: {last}")
