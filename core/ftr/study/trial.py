"""One trial in its (reused) process: an ordinary run that reports every evaluation to Ray Tune."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.config.schema import RunConfig
from ftr.data.encode import data_key
from ftr.errors import FtrError, RequestError, ScoreError
from ftr.registry.registry import get_registry
from ftr.runs.directory import RunDirectory, hold
from ftr.runs.launch import launch_in_trial
from ftr.runs.prepare import prepare
from ftr.runs.record import beginning
from ftr.runs.run import found, plain, session_spec
from ftr.study.remote import RemoteTrial, StorageHandler, splits_here
from ftr.terminal import remember, unmasked
from ftr.train import checkpoint
from ftr.train.checkpoint import CHECKPOINTS, folders, remove_checkpoints


def adopt(directory: RunDirectory, donor: int, step: int) -> list[dict[str, int]]:
    """Put the donor's checkpoint and evaluations in the place of this trial's own, once; returns
    all take-overs so far.
    """
    place = {"donor": donor, "step": step}
    before: list[dict[str, int]] = (
        directory.read().get("adopted", []) if directory.record.is_file() else []
    )
    if place in before:
        return before
    source = directory.path.with_name(f"{donor:04d}")
    for folder in reversed(
        [folder for folder in folders(source / CHECKPOINTS) if folder.name <= f"step-{step:08d}"]
    ):
        try:
            with atomic.new_folder(directory.path / CHECKPOINTS) as fresh:
                shutil.copytree(folder, fresh / folder.name)
                atomic.write_bytes(
                    directory.path / "metrics.jsonl", (source / "metrics.jsonl").read_bytes()
                )
        except (OSError, shutil.Error):  # pruned by the donor just now
            continue
        return [*before, place]
    return before


ORPHAN_SECONDS = 60.0
"""How long a trial waits for a process that still works on it."""


class Reports:
    """Hands evaluations to Tune, and remembers the last for the report that ends a trial."""

    def __init__(
        self, send: Callable[[dict[str, Any]], None], keep: Callable[[], None] | None = None
    ) -> None:
        self.send, self.keep = send, keep or (lambda: None)
        self.last: dict[str, Any] = {
            "epoch": 0.0,
            "step": 0,
            "value": float("nan"),
            "scores": {},
            "seconds": 0.0,
        }

    def __call__(self, evaluation: dict[str, Any]) -> None:
        """Report one evaluation.

        Does not return where Tune stops the trial there (`SystemExit`).
        """
        scores = {
            key: value
            for key, value in evaluation["scores"].items()
            if isinstance(value, int | float)
        }
        self.last = {
            **{key: evaluation[key] for key in ("epoch", "step", "value", "seconds")},
            "scores": scores,
        }
        self.keep()
        self.send(self.last)


@contextlib.contextmanager
def held(directory: RunDirectory) -> Iterator[None]:
    """Hold a run directory, waiting for an earlier process of the same trial to die: its driver may
    have died just now.
    """
    deadline = time.monotonic() + ORPHAN_SECONDS
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(directory.path))
            except RequestError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
                continue
            yield
            return


def sender(set_aside: bool) -> Callable[[dict[str, Any]], None]:
    """Return what hands a result to Tune.

    With `set_aside` a checkpoint goes with it, for schedulers that ask for one: an empty folder,
    ours lie in the run directory.
    """
    from ray import tune

    if not set_aside:
        return tune.report  # type: ignore[no-any-return]  # ray is not checked

    def send(result: dict[str, Any]) -> None:
        with atomic.scratch("train") as folder:
            (Path(folder) / "empty").touch()
            tune.report(result, checkpoint=tune.Checkpoint.from_directory(folder))

    return send


OWN = ("time", "epoch", "step", "value", "seconds")
"""Keys of a line of `metrics.jsonl` that are no scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all trials of a sweep have in common: plain values, sent to each process once.

    `folder` is where the run directories of the trials lie, `prepared` the encoded data by
    `data_key`, `record` what every `run.json` opens with. With `storage` the nodes share no folder:
    run directories and data go through it.
    `secrets` are those of the settings, which the configurations of trials have masked, and
    `environment` is what the storage asks for: Tune writes configurations into files, and Ray shows
    runtime environments, but neither does so with this.
    """

    folder: str
    storage: str | None
    prepared: dict[str, dict[str, Any]]
    record: dict[str, Any]
    primary: str
    mode: str
    checkpoint_always: bool
    free: tuple[str, ...]
    threads: int | None
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    environment: dict[str, str] = field(default_factory=dict, repr=False)


def run_trial(config: dict[str, Any], shared: Shared) -> None:
    """Train one trial; called by Ray Tune in a trial process.

    `config` has `trial` (its number) and `config` (its whole run configuration). Evaluations are
    reported as they come, the end last, under `final`: how it ended, and all evaluations, for the
    driver may have missed some.
    """
    from ray import tune

    from ftr.train.inference import trim_memory

    os.environ.update(shared.environment)
    remember("", shared.secrets)
    config = {**config, "config": unmasked(config["config"])[0]}
    if shared.storage:
        StorageHandler.learn(shared.storage)
    remote = (
        RemoteTrial.open(shared.storage, shared.record["sweep"], config["trial"])
        if shared.storage
        else None
    )
    directory = RunDirectory(
        remote.folder if remote else Path(shared.folder) / f"{config['trial']:04d}"
    )
    directory.path.mkdir(parents=True, exist_ok=True)
    reports = Reports(sender(bool(shared.free)), remote.keep if remote else None)
    try:
        with held(directory):
            reached = _trained(directory, config, shared, reports)
        final = {"status": "done", "evaluations": reached}
    except FtrError as error:
        final = _failed(directory, shared, error, str(error))
    except MemoryError as error:
        final = _failed(
            directory,
            shared,
            error,
            "out of memory: lower `train.micro_batch_size`, or give each trial more with "
            "`compute.memory`",
        )
    except Exception as error:
        final = _failed(directory, shared, error, f"{type(error).__name__}: {error}")
    reports.keep()
    trim_memory()
    tune.report({**reports.last, "final": final})


def _trained(
    directory: RunDirectory, config: dict[str, Any], shared: Shared, reports: Reports
) -> list[dict[str, Any]]:
    """Train, resume, or find that all is done; returns the evaluations there are."""
    from ray.util import get_node_ip_address

    from ftr.train.session import train_loop

    if _is_done(directory):
        return evaluations(directory, shared.primary)
    run_config = RunConfig.model_validate(config["config"])
    remember("", config["config"])
    prepared = _prepared(run_config, shared)
    record = {
        **beginning(),
        **shared.record,
        "node": get_node_ip_address(),
        "trial": config["trial"],
        "config": run_config.model_dump(mode="json"),
        **found(prepared),
    }
    if "adopt" in config:
        record["adopted"] = adopt(directory, **config["adopt"])
    directory.write(record)
    began = time.time()
    try:
        spec = session_spec(
            directory,
            run_config,
            prepared,
            threads=shared.threads,
            progress=False,
            final=False,
            keep_model=True,
            checkpoint_always=shared.checkpoint_always or shared.storage is not None,
            ranked=[shared.primary, shared.mode],
            free=list(shared.free),
        )
        if run_config.compute.workers:
            with atomic.scratch("ray") as scratch:
                outcome = launch_in_trial(spec, run_config.compute, scratch)
            known = evaluations(directory, shared.primary)
            reports.last = known[-1] if known else reports.last
        else:
            outcome = train_loop(spec, report=reports)
    except SystemExit:
        directory.sync()
        directory.write({**record, "status": "stopped", "finished": time.time()})
        if not shared.checkpoint_always:  # such a scheduler may only have set the trial aside
            remove_checkpoints(directory.path)
            reports.keep()
        raise
    directory.sync()
    directory.write(
        {
            **record,
            "status": "done",
            "finished": time.time(),
            "seconds": time.time() - began,
            **outcome,
        }
    )
    remove_checkpoints(directory.path)
    return evaluations(directory, shared.primary)


def _is_done(directory: RunDirectory) -> bool:
    return directory.record.is_file() and directory.read()["status"] == "done"


def evaluations(directory: RunDirectory, score: str) -> list[dict[str, Any]]:
    """Return the evaluations that stand in `metrics.jsonl`, as they are reported; `score` is the
    ranked one.
    """
    return [
        {
            "epoch": entry["epoch"],
            "step": entry["step"],
            "value": entry.get(score, math.nan),
            "scores": {
                key: value
                for key, value in entry.items()
                if isinstance(value, int | float) and key not in OWN
            },
            "seconds": entry.get("seconds", 0.0),
        }
        for entry in checkpoint.evaluations(directory.path)
    ]


def _prepared(config: RunConfig, shared: Shared) -> dict[str, Any]:
    """Return the encoded data of a configuration: what the driver made, or what is made here and
    kept for the next trial.
    """
    key = data_key(config)
    if key not in shared.prepared:
        shared.prepared[key] = dict(plain(prepare(config, get_registry())))
    elif shared.storage and any(
        "shared" in split for split in shared.prepared[key]["splits"].values()
    ):
        known = shared.prepared[key]
        shared.prepared[key] = {**known, "splits": splits_here(shared.storage, known, config)}
    return shared.prepared[key]


def _failed(
    directory: RunDirectory, shared: Shared, error: Exception, cause: str
) -> dict[str, Any]:
    """Keep what went wrong beside the run, and return it for the journal."""
    log = directory.keep_traceback(error)
    with contextlib.suppress(FtrError):  # a full disk, which may be what went wrong
        if directory.record.is_file():
            directory.write(
                {**directory.read(), "status": "failed", "finished": time.time(), "error": cause}
            )
    return {
        "status": "failed",
        "cause": cause,
        "log": f"trials/{directory.path.name}/{log.name}" if log else None,
        "refused": isinstance(error, ScoreError),
        "evaluations": evaluations(directory, shared.primary),
    }
