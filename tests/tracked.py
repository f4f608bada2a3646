"""What experiment trackers hold, read back from their own files and servers."""

from __future__ import annotations

import json
import sqlite3
import struct
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Curves = dict[str, list[tuple[int, float]]]


@dataclass(slots=True)
class Seen:
    """A run at a tracker: its points by name, its settings, tags and status."""

    name: str
    curves: Curves = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    status: str = ""
    parent: str = ""

    def add(self, name: str, step: int, value: float) -> None:
        """Take a point."""
        self.curves.setdefault(name, []).append((step, value))

    def steps(self, name: str) -> list[int]:
        """Return the steps of a curve, in the order in which they were stored."""
        return [step for step, _ in self.curves.get(name, [])]


def tensorboard(logs: Path) -> dict[str, Seen]:
    """Return what TensorBoard's own reader finds in event files, by folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for folder in sorted({path.parent for path in logs.rglob("events.out.tfevents.*")}):
        read: Any = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        read.Reload()
        seen = found[folder.relative_to(logs).as_posix()] = Seen(folder.name)
        for tag in read.Tags()["scalars"]:
            seen.curves[tag] = [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in ("config", "status", "tags"):
            if tag in read.Tags()["tensors"]:
                text = read.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
                seen.tags[tag] = text
        lines = seen.tags.pop("config", "").splitlines()
        seen.config = dict(line.strip().split("=", 1) for line in lines)
        seen.status = seen.tags.pop("status", "")
    return found


def mlflow_database(path: Path) -> dict[str, Seen]:
    """Return the runs in MLflow's SQLite file by name, read without MLflow."""
    with sqlite3.connect(path) as base:
        runs = base.execute("select run_uuid, name, status from runs").fetchall()
        found = {number: Seen(name, status=status) for number, name, status in runs}
        for number, key, step, value in base.execute(
            "select run_uuid, key, step, value from metrics order by step"
        ):
            found[number].add(key, step, value)
        for number, key, value in base.execute("select run_uuid, key, value from params"):
            found[number].config[key] = value
        for number, key, value in base.execute("select run_uuid, key, value from tags"):
            found[number].tags[key] = value
    return _by_name(found)


def mlflow_server(uri: str, experiment: str = "ftr") -> dict[str, Seen]:
    """Return the runs of an experiment by name, through the server's REST API."""

    def ask(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{uri}/api/2.0/mlflow/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            read: dict[str, Any] = json.load(answer)
            return read

    known = ask(f"experiments/get-by-name?experiment_name={experiment}")["experiment"]
    asked = {"experiment_ids": [known["experiment_id"]], "max_results": 1000}
    found = {}
    for run in ask("runs/search", asked)["runs"]:
        info, data = run["info"], run["data"]
        seen = found[info["run_id"]] = Seen(info["run_name"], status=info["status"])
        seen.config = {one["key"]: one["value"] for one in data.get("params", [])}
        seen.tags = {one["key"]: one["value"] for one in data["tags"]}
        for metric in data.get("metrics", []):
            key = urllib.parse.quote(metric["key"])
            history = ask(f"metrics/get-history?run_id={info['run_id']}&metric_key={key}")
            for point in history["metrics"]:
                seen.add(metric["key"], int(point.get("step", 0)), point["value"])
    return _by_name(found)


def _by_name(found: dict[str, Seen]) -> dict[str, Seen]:
    for seen in found.values():
        parent = seen.tags.get("mlflow.parentRunId", "")
        seen.parent = found[parent].name if parent else ""
    assert len({seen.name for seen in found.values()}) == len(found), "a run is there twice"
    return {seen.name: seen for seen in found.values()}


def trackio(folder: Path, project: str = "ftr") -> dict[str, Seen]:
    """Return the runs in Trackio's SQLite file by name, read without Trackio."""
    found: dict[str, Seen] = {}
    with sqlite3.connect(folder / f"{project}.db") as base:
        for name, step, text in base.execute(
            "select run_name, step, metrics from metrics order by id"
        ):
            seen = found.setdefault(name, Seen(name))
            for key, value in json.loads(text).items():
                if isinstance(value, str):
                    seen.tags[key] = value
                else:
                    seen.add(key, step, value)
        for name, text in base.execute("select run_name, config from configs"):
            found[name].config = json.loads(text)
            found[name].parent = found[name].config.get("_Group", "")
    for seen in found.values():
        seen.status = seen.tags.get("status", "")
    return found


def wandb(folder: Path) -> dict[str, Seen]:
    """Return the runs in the offline files of Weights & Biases by id; several of one id are one
    run.
    """
    from wandb.proto import wandb_internal_pb2

    found: dict[str, Seen] = {}
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        seen, summary = Seen(""), dict[str, Any]()
        for content in _leveldb(path.read_bytes()[7:]):
            record: Any = wandb_internal_pb2.Record()
            record.ParseFromString(content)
            if record.HasField("run"):
                seen = found.setdefault(record.run.run_id, Seen(record.run.run_id))
                seen.parent = record.run.run_group
                seen.tags["tags"] = ",".join(record.run.tags)
                for item in record.run.config.update:
                    seen.config[item.key] = item.value_json
            elif record.HasField("history"):
                items = {_key(item): json.loads(item.value_json) for item in record.history.item}
                for key, value in items.items():
                    if not key.startswith("_"):
                        seen.add(key, items["_step"], value)
            elif record.HasField("summary"):
                items = {_key(item): json.loads(item.value_json) for item in record.summary.update}
                summary |= items
        seen.status = summary.get("status", "")
        for key, value in summary.items():
            if key.startswith(("final/", "baseline/")):
                seen.add(key, 0, value)
    return found


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _leveldb(data: bytes, block: int = 32768) -> Iterator[bytes]:
    """Yield the records of a LevelDB log, whose first block begins after a header of 7 bytes."""
    at, parts = 0, list[bytes]()
    while at + 7 <= len(data):
        left = block - (at + 7) % block
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []
