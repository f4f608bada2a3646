"""One trial in its (reused) process: an ordinary run that reports every evaluation to Ray Tune."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.util import get_node_ip_address

from ftr import atomic
from ftr.cluster.ship import local_splits
from ftr.cluster.storage import Storage
from ftr.config.schema import RunConfig
from ftr.data.encode import cache_folder, data_key
from ftr.errors import FtrError, ScoreError
from ftr.registry.registry import get_registry
from ftr.runs.directory import RunDirectory, hold
from ftr.runs.launch import launch_in_trial
from ftr.runs.prepare import prepare
from ftr.runs.record import beginning
from ftr.runs.run import found, plain, session_spec
from ftr.study.remote import RemoteTrial
from ftr.terminal import remember, unmasked
from ftr.train import checkpoint
from ftr.train.checkpoint import CHECKPOINTS, folders, remove_checkpoints

ORPHAN_SECONDS = 60.0
"""How long a trial waits for an earlier process of it to end: its driver may have died just now."""
OWN = ("time", "epoch", "step", "value", "seconds")
"""Keys of a line of `metrics.jsonl` that are no scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all trials of a sweep have in common: plain values, sent to each process once.

    `folder` holds the run directories of the trials, `prepared` the encoded data by
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


class Reports:
    """Sends evaluations to Tune, and remembers the last for the report that ends a trial."""

    def __init__(
        self, send: Callable[[dict[str, Any]], None], keep: Callable[[], None] | None = None
    ) -> None:
        self.send, self.keep = send, keep or (lambda: None)
        self.last: dict[str, Any] = {
            "epoch": 0.0,
            "step": 0,
            "value": math.nan,
            "scores": {},
            "seconds": 0.0,
        }

    def __call__(self, evaluation: dict[str, Any]) -> None:
        """Report one evaluation.

        Does not return where Tune stops the trial there (`SystemExit`).
        """
        self.last = {key: evaluation[key] for key in ("epoch", "step", "value", "seconds")}
        self.last["scores"] = _numbers(evaluation["scores"])
        self.last["interval"] = evaluation.get("interval")
        self.keep()
        self.send(self.last)


def run_trial(config: dict[str, Any], shared: Shared) -> None:
    """Train one trial; called by Ray Tune in a trial process.

    `config` has `trial` (its number) and `config` (its whole run configuration). Evaluations are
    reported as they come. The last report has `final`: how the trial ended, and all evaluations,
    for the driver may have missed some.
    """
    from ftr.train.inference import trim_memory

    os.environ.update(shared.environment)
    remember("", shared.secrets)
    config = {**config, "config": unmasked(config["config"])[0]}
    remember("", config["config"])
    directory = RunDirectory(Path(shared.folder) / f"{config['trial']:04d}")
    remote = keep = None
    if shared.storage:
        remote = RemoteTrial.open(shared.storage, shared.record["sweep"], config["trial"])
        directory, keep = RunDirectory(remote.folder), remote.keep
    directory.path.mkdir(parents=True, exist_ok=True)
    reports = Reports(_report_with_checkpoint if shared.free else tune.report, keep)
    try:
        with hold(directory.path, seconds=ORPHAN_SECONDS):
            if not directory.record.is_file() or directory.read()["status"] != "done":
                _train(directory, config, shared, reports)
        final = {"status": "done", "evaluations": evaluations(directory, shared.primary)}
    except Exception as error:
        final = _failed(directory, shared, error)
    reports.keep()
    if remote is not None:
        remote.leave()
    trim_memory()
    tune.report({**reports.last, "final": final})


def _report_with_checkpoint(result: dict[str, Any]) -> None:
    """Report with an empty checkpoint, for schedulers that need one; the real ones are in the run
    directory.
    """
    with atomic.scratch("train") as folder:
        (Path(folder) / "empty").touch()
        tune.report(result, checkpoint=tune.Checkpoint.from_directory(folder))


def _train(
    directory: RunDirectory, config: dict[str, Any], shared: Shared, reports: Reports
) -> None:
    """Train, or resume, and close the record unless the training fails."""
    run_config = RunConfig.model_validate(config["config"])
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

    def close(status: str, **fields: Any) -> None:
        directory.sync()
        directory.write({**record, "status": status, "finished": time.time(), **fields})

    try:
        outcome = _outcome(directory, run_config, prepared, shared, reports)
    except SystemExit:
        close("stopped")
        if not shared.checkpoint_always:  # such a scheduler may only have paused the trial
            remove_checkpoints(directory.path)
            reports.keep()
        raise
    close("done", seconds=time.time() - began, **outcome)
    remove_checkpoints(directory.path)


def _outcome(
    directory: RunDirectory,
    config: RunConfig,
    prepared: dict[str, Any],
    shared: Shared,
    reports: Reports,
) -> dict[str, Any]:
    """Train in this process, or on workers, and return the outcome."""
    from ftr.train.session import train_loop

    spec = session_spec(
        directory,
        config,
        prepared,
        threads=shared.threads,
        progress=False,
        final=False,
        keep_model=True,
        checkpoint_always=shared.checkpoint_always or shared.storage is not None,
        ranked=[shared.primary, shared.mode],
        free=list(shared.free),
    )
    if not config.compute.workers:
        return train_loop(spec, report=reports)
    with atomic.scratch("ray") as scratch:
        outcome = launch_in_trial(spec, config.compute, scratch)
    reports.last = [reports.last, *evaluations(directory, shared.primary)][-1]
    return outcome


def _prepared(config: RunConfig, shared: Shared) -> dict[str, Any]:
    """Return the encoded data of a configuration: what the driver made, or what is made here and
    used again by the next trial.
    """
    key = data_key(config)
    known = shared.prepared.get(key)
    if known is None:
        shared.prepared[key] = dict(plain(prepare(config, get_registry())))
    elif shared.storage and any("shared" in split for split in known["splits"].values()):
        cache = cache_folder(config.data.cache, config.output)
        here = local_splits(Storage.of(shared.storage), known["splits"], cache)
        shared.prepared[key] = {**known, "splits": here}
    return shared.prepared[key]


def adopt(directory: RunDirectory, donor: int, step: int) -> list[dict[str, int]]:
    """Replace this trial's checkpoint and evaluations by those of the donor, once; returns all
    adoptions so far.
    """
    adoption = {"donor": donor, "step": step}
    before: list[dict[str, int]] = (
        directory.read().get("adopted", []) if directory.record.is_file() else []
    )
    if adoption in before:
        return before
    source = directory.path.with_name(f"{donor:04d}")
    for folder in reversed(folders(source / CHECKPOINTS)):
        if folder.name > f"step-{step:08d}":
            continue
        with contextlib.suppress(OSError, shutil.Error):  # the donor removed it just now
            with atomic.new_folder(directory.path / CHECKPOINTS) as fresh:
                shutil.copytree(folder, fresh / folder.name)
                atomic.write_bytes(
                    directory.path / "metrics.jsonl", (source / "metrics.jsonl").read_bytes()
                )
            return [*before, adoption]
    return before


def evaluations(directory: RunDirectory, score: str) -> list[dict[str, Any]]:
    """Return the evaluations in `metrics.jsonl` as they are reported; `score` is the ranked one."""
    return [
        {
            "epoch": entry["epoch"],
            "step": entry["step"],
            "value": entry.get(score, math.nan),
            "scores": {key: value for key, value in _numbers(entry).items() if key not in OWN},
            "seconds": entry.get("seconds", 0.0),
            "interval": entry.get("interval"),
        }
        for entry in checkpoint.evaluations(directory.path)
    ]


def _numbers(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in scores.items() if isinstance(value, int | float)}


def _failed(directory: RunDirectory, shared: Shared, error: Exception) -> dict[str, Any]:
    """Record beside the run what went wrong, and return it for the journal."""
    cause = str(error) if isinstance(error, FtrError) else f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        cause = (
            "out of memory: lower `train.micro_batch_size`, or give each trial more with "
            "`compute.memory`"
        )
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
