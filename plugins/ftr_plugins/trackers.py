"""Experiment trackers: TensorBoard, MLflow, Weights & Biases and Trackio.

The callbacks that ship with transformers cannot do this: they follow one `Trainer` in the training
process, end with it before anything is scored, know no parent and child, open a second run when a
training is resumed, and wait for a server as long as its client does. Each class here is one run at
a tracker, in the process of `ftr.runs.tracking`, and is configured by the tracker's own variables.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import ftr
from ftr.plugin import Point, TrackedRun

PROJECT = "ftr"
"""Project or experiment, unless the tracker's own variable names one."""


@ftr.hookimpl
def ftr_trackers() -> list[ftr.TrackerSpec]:
    """Return the trackers."""
    about = {
        "tensorboard": (TensorBoard, "event files below `tensorboard/` of the output folder"),
        "mlflow": (MLflow, "an MLflow server (`MLFLOW_TRACKING_URI`) or `mlflow.db` here"),
        "wandb": (WandB, "Weights & Biases, also offline (`WANDB_MODE=offline`)"),
        "trackio": (Trackio, "Trackio, here or on a Space (`TRACKIO_SPACE_ID`)"),
    }
    return [
        ftr.TrackerSpec(
            name=name, target=target, summary=summary, needs=name, install=f"ftr[{name}]"
        )
        for name, (target, summary) in about.items()
    ]


def _texts(config: Mapping[str, object]) -> dict[str, str]:
    """Return settings as text; a list or mapping as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, default=str)
        for key, value in config.items()
    }


class TensorBoard:
    """Event files in `<logs>/<run>/`, and of trials and members in folders below.

    `logs` is `TENSORBOARD_LOGGING_DIR`, or `tensorboard/` beside the run's directory. A run that is
    opened again is written anew, so that no step is there twice.
    """

    resend = True

    def __init__(self, run: TrackedRun) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        logs = os.environ.get("TENSORBOARD_LOGGING_DIR")
        place = Path(logs).expanduser() if logs else run.folder.parent / "tensorboard"
        own = run.name.removeprefix(f"{run.parent}-")
        folder = place / run.parent / own if run.parent else place / run.name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self.id, self.run, self.last = str(folder), run, 0
        self.writer: Any = EventFileWriter(str(folder))
        self._text(
            "config", "\n".join(f"    {key}={one}" for key, one in _texts(run.config).items())
        )
        self._session(start=True)

    def log(self, points: Sequence[Point]) -> None:
        """Write scalars."""
        for point in points:
            self._scalars(point.scores, point.step, point.time)
            self.last = max(self.last, point.step)
        self.writer.flush()

    def summarize(self, scores: Mapping[str, float], tags: Sequence[str]) -> None:
        """Write the final scores at the last step, and the tags as text."""
        self._scalars(scores, self.last, self.run.created)
        if tags:
            self._text("tags", ", ".join(tags))
        self.writer.flush()

    def attach(self, path: Path) -> None:
        """Write where the file is: TensorBoard shows no files."""
        self._text(path.name, str(path))
        self.writer.flush()

    def finish(self, status: str) -> None:
        """Write the status and close the file."""
        self._text("status", status)
        self._session(success=status in ("done", "stopped"))
        self.writer.close()

    def _scalars(self, scores: Mapping[str, float], step: int, time: float) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=one) for name, one in scores.items()]
        self._write(values, step, time)

    def _text(self, name: str, text: str) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text import metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        about = metadata.create_summary_metadata(display_name=name, description="")
        tensor = make_tensor_proto([text.encode()])
        self._write([Summary.Value(tag=name, metadata=about, tensor=tensor)], 0, self.run.created)

    def _session(self, *, start: bool = False, success: bool = False) -> None:
        """Write what the table of hyperparameters shows of a run."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata
        from tensorboard.plugins.hparams import plugin_data_pb2 as data

        if start:
            begun = data.SessionStartInfo(start_time_secs=self.run.created)
            for key, value in self.run.config.items():
                if isinstance(value, bool):
                    begun.hparams[key].bool_value = value
                elif isinstance(value, int | float):
                    begun.hparams[key].number_value = value
                else:
                    begun.hparams[key].string_value = _texts({key: value})[key]
            tag, content = metadata.SESSION_START_INFO_TAG, {"session_start_info": begun}
        else:
            status = api_pb2.STATUS_SUCCESS if success else api_pb2.STATUS_FAILURE
            tag = metadata.SESSION_END_INFO_TAG
            content = {"session_end_info": data.SessionEndInfo(status=status)}
        about = metadata.create_summary_metadata(data.HParamsPluginData(**content))
        value = Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
        self._write([value], 0, self.run.created)

    def _write(self, values: Sequence[Any], step: int, time: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        self.writer.add_event(Event(wall_time=time, step=step, summary=Summary(value=values)))


class MLflow:
    """A run of the experiment `MLFLOW_EXPERIMENT_NAME` at `MLFLOW_TRACKING_URI`; trials and members
    are its children. The tag `ftr.run` has the name of the run's directory.
    """

    resend = False
    LIMITS: ClassVar = {"params": 100, "metrics": 1000, "tags": 100}
    """Entries of one request."""

    def __init__(self, run: TrackedRun) -> None:
        # Its client retries for minutes; what is not sent now is sent later anyway.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag
        from mlflow.exceptions import MlflowException

        self.client: Any = MlflowClient()
        known = run.known or self._named(run)
        if known:
            try:
                self.client.update_run(known, status="RUNNING")
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    raise LookupError(
                        f"the MLflow run `{known}` is not at `{self.client.tracking_uri}`: set "
                        "`MLFLOW_TRACKING_URI` as it was when the run began"
                    ) from error
                raise
            self.id = known
            return
        tags = {"ftr.run": run.name, "ftr.kind": run.kind, "mlflow.source.name": "ftr"}
        if run.parent_id:
            tags["mlflow.parentRunId"] = run.parent_id
        begun = int(run.created * 1000)
        made = self.client.create_run(
            self._experiment(), start_time=begun, tags=tags, run_name=run.name
        )
        self.id = made.info.run_id
        params = [Param(_name(key), text[:6000]) for key, text in _texts(run.config).items()]
        self._send(params=params, tags=[RunTag(f"ftr.tag.{tag}", "true") for tag in run.tags])

    def log(self, points: Sequence[Point]) -> None:
        """Log metrics at their steps."""
        from mlflow.entities import Metric

        self._send(
            metrics=[
                Metric(_name(name), one, int(point.time * 1000), point.step)
                for point in points
                for name, one in point.scores.items()
            ]
        )

    def summarize(self, scores: Mapping[str, float], tags: Sequence[str]) -> None:
        """Log the final scores that are not there yet, at step 0, and set the tags."""
        import time

        from mlflow.entities import Metric, RunTag

        known = self.client.get_run(self.id).data
        new = {_name(name): one for name, one in scores.items()}
        now = int(time.time() * 1000)
        changed = {name: one for name, one in new.items() if known.metrics.get(name) != one}
        self._send(
            metrics=[Metric(name, one, now, 0) for name, one in changed.items()],
            tags=[RunTag(f"ftr.tag.{tag}", "true") for tag in tags],
        )
        for tag in known.tags:
            if tag.startswith("ftr.tag.") and tag.removeprefix("ftr.tag.") not in tags:
                self.client.delete_tag(self.id, tag)

    def attach(self, path: Path) -> None:
        """Upload an artifact."""
        self.client.log_artifact(self.id, str(path))

    def finish(self, status: str) -> None:
        """Set the status, and ours as a tag."""
        own = {"done": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}.get(status, "KILLED")
        self.client.set_tag(self.id, "ftr.status", status)
        self.client.set_terminated(self.id, own)

    def _send(self, **entries: Sequence[Any]) -> None:
        for kind, values in entries.items():
            for at in range(0, len(values), self.LIMITS[kind]):
                self.client.log_batch(self.id, **{kind: values[at : at + self.LIMITS[kind]]})

    def _named(self, run: TrackedRun) -> str | None:
        """Return the id of the run by its tag: an earlier process may have died just after it
        opened it.
        """
        found = self.client.search_runs([self._experiment()], f"tags.`ftr.run` = '{run.name}'")
        return found[0].info.run_id if found else None

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name))
            except MlflowException:  # another run made it just now
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)


def _name(text: str) -> str:
    """Return a name that MLflow takes: any letters, digits, and `_-. :/`, up to 250."""
    return re.sub(r"[^\w\-. :/]", "_", text)[:250]


class WandB:
    """A run of the project `WANDB_PROJECT`; trials and members are in the group of their parent.

    Points have the optimizer step as their own, and the service takes none twice; without it
    (`WANDB_MODE=offline`) they are in files for `wandb sync`.
    """

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        tags = tuple(tag[:64] for tag in run.tags)
        self.wandb: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=run.known or re.sub(r"[/\\#?%:]", "-", run.name),
            name=run.name,
            group=run.parent or run.name,
            job_type=run.kind,
            config=dict(run.config),
            tags=tags,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                x_disable_stats=True,
                disable_git=True,
                disable_code=True,
                init_timeout=20,
                finish_timeout=20,
                finish_timeout_raises=True,
            ),
        )
        self.id = str(self.wandb.id)
        self.resend = not self.wandb.offline

    def log(self, points: Sequence[Point]) -> None:
        """Log points at their steps."""
        for point in points:
            self.wandb.log(dict(point.scores), step=point.step)

    def summarize(self, scores: Mapping[str, float], tags: Sequence[str]) -> None:
        """Set the summary and the tags."""
        self.wandb.summary.update(dict(scores))
        self.wandb.tags = tuple(tag[:64] for tag in tags)

    def attach(self, path: Path) -> None:
        """Save a file with the run."""
        self.wandb.save(str(path), base_path=str(path.parent), policy="now")

    def finish(self, status: str) -> None:
        """Set the status in the summary, and wait until all is sent."""
        self.wandb.summary["status"] = status
        self.wandb.finish(exit_code=0 if status in ("done", "stopped") else 1)


class Trackio:
    """A run of the project `TRACKIO_PROJECT`; trials and members are in the group of their parent.

    One run is open at a time, and what is logged is safe when it is closed.
    """

    resend = False

    def __init__(self, run: TrackedRun) -> None:
        self.run, self.id = run, run.known or run.name

    def log(self, points: Sequence[Point]) -> None:
        """Log points at their steps."""
        with self._opened() as opened:
            for point in points:
                opened.log(dict(point.scores), step=point.step)

    def summarize(self, scores: Mapping[str, float], tags: Sequence[str]) -> None:
        """Log the final scores after the last step, and the tags as text."""
        with self._opened() as opened:
            opened.log({**scores, **({"tags": ", ".join(tags)} if tags else {})})

    def attach(self, path: Path) -> None:
        """Log an artifact."""
        with self._opened() as opened:
            opened.log_artifact(str(path), name=f"{self.id}-{path.stem}", type="report")

    def finish(self, status: str) -> None:
        """Log the status."""
        with self._opened() as opened:
            opened.log({"status": status})

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import trackio

        init: Callable[..., Any] = trackio.init
        opened = init(
            project=os.environ.get("TRACKIO_PROJECT") or PROJECT,
            name=self.id,
            group=self.run.parent or self.run.name,
            config=_texts(self.run.config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        yield opened
        opened.finish()
