"""The process that sends a run to its experiment trackers: it reads what the run writes anyway,
`run.json`, `metrics.jsonl` and the journal of a sweep, and notes in `tracking.jsonl` what was sent.

So a tracker can neither slow a training nor break it, nodes need no access to it, and what it
missed is sent later from the same files.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TextIO

from ftr import atomic
from ftr.cluster.ship import tracker_variables
from ftr.cluster.storage import Storage
from ftr.config.resolve import flat
from ftr.errors import FtrError, in_one_line
from ftr.registry.protocols import Point, TrackedRun, Tracker
from ftr.registry.registry import Registry
from ftr.runs.directory import BEST, RECORD, SWEEP, is_held
from ftr.runs.record import recorded_registry
from ftr.terminal import MASK, mask, masked, remember
from ftr.train.checkpoint import CHECKPOINTS, METRICS

STATE, LOG, HELD = "tracking.jsonl", "tracking.log", ".tracking.lock"
FETCHED = "tracking"
"""Folder of a sweep with the records and curves of trials whose directories are elsewhere."""
REPORT, TAGS = "report.html", "tags.json"
INTERVAL, SHARE = 2.0, 10
"""Seconds between two passes, at least; a pass takes at most one part in `SHARE` of the time."""
FIRST_RETRY, LAST_RETRY = 15.0, 300.0
"""Seconds until a tracker that failed is tried again; they double."""
LOCK_SECONDS = 60.0
"""How long to wait for the process of an earlier attempt to end."""
BATCH = 500
CURVES = ("train", "validation")
"""Kinds of lines in `metrics.jsonl` that are curves; final scores come from `run.json`."""
_PLACE = frozenset({"time", "kind", "split", "step", "value", "seconds", "state"})
_FACTS = ("steps", "seconds", "examples_per_second", "peak_memory_bytes", "trainable_parameters")
FINAL = ("done", "failed", "interrupted", "stopped")
Kind = Literal["run", "sweep", "trial", "member"]
Record = Mapping[str, Any]


@dataclass(slots=True)
class Sent:
    """What a tracker has of one run: its `id` there, the last step of each curve, hashes of the
    final scores and of the report, and the status that it was closed with.
    """

    id: str = ""
    steps: dict[str, int] = field(default_factory=dict)
    summary: str = ""
    report: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A run as its files have it now: `points`, each with the name of its curve, in their order;
    `key` is empty for the run itself.
    """

    key: str
    run: TrackedRun
    status: str
    points: Sequence[tuple[str, Point]]
    summary: Mapping[str, float]
    report: Path | None = None

    @property
    def begun(self) -> bool:
        """Whether there is something to track: a refused request leaves nothing."""
        return self.status == "done" or bool(self.points)

    @property
    def digest(self) -> str:
        """The hash of the final scores and the tags; empty until there are any."""
        if self.status not in FINAL:
            return ""
        return atomic.sha256(json.dumps([self.summary, self.run.tags], sort_keys=True))


class Files:
    """The directory of a run or sweep; files are read again only where they changed."""

    def __init__(self, path: Path, storage: str | None = None) -> None:
        """`storage` is where the directories of trials are, if not here."""
        self.path, self.storage = path, storage
        self._known: dict[Path, tuple[object, Any]] = {}
        self._complete: set[str] = set()

    def read(self) -> list[Found]:
        """Return the run or sweep itself, then its members or trials."""
        sweep = (self.path / SWEEP).is_file()
        record: Record = self._read(self.path / (SWEEP if sweep else RECORD), _record)
        if not record:
            return []
        events = self._read(self.path / "journal.jsonl", read_lines) if sweep else []
        if sweep and self.storage:
            self._fetch_trials()
        live = is_held(self.path)
        children = list(self._children(record, events, live=live))
        if not sweep:
            return [self._found("", self.path, "run", record, live=live), *children]
        best: Record = self._read(self.path / BEST / RECORD, _record)
        final = {key: value for key, value in best.items() if key not in record or key == "scores"}
        root = self._found("", self.path, "sweep", {**record, **final}, live=live)
        history = [("trial", point) for point in _history(events, record)]
        return [replace(root, points=history), *children]

    def _children(self, record: Record, events: Sequence[Record], *, live: bool) -> Iterator[Found]:
        """Yield members and trials, the winner of a sweep with the scores of `best/`."""
        ended = {one["trial"]: one["status"] for one in events if one.get("event") == "end"}
        places = {"members": "member", f"{FETCHED}/trials": "trial", "trials": "trial"}
        folders: dict[str, tuple[Kind, Path]] = {}
        for place, kind in places.items():
            for path in sorted(self.path.glob(f"{place}/*/{RECORD}")):
                if path.parent.name.isdigit():
                    folders[path.parent.name] = ("member" if kind == "member" else "trial"), path
        for name, (kind, path) in sorted(folders.items()):
            own = dict(self._read(path, _record))
            number = int(name)
            if kind == "trial" and number == record.get("winner"):
                own |= self._read(self.path / BEST / RECORD, _record)
                own["winner"] = True
            if kind == "trial" and number in ended:
                own["status"] = ended[number]
            if own.get("config"):
                yield self._found(f"{kind}-{name}", path.parent, kind, own, live=live)

    def _found(self, key: str, folder: Path, kind: Kind, record: Record, *, live: bool) -> Found:
        name = self.path.name
        config = {**flat(record["config"]), **_searched(record)}
        tags = [
            *self._read(folder / TAGS, _tags),
            *(["winner"] if kind == "trial" and record.get("winner") else []),
        ]
        run = TrackedRun(
            name=f"{name}-{key}" if key else name,
            kind=kind,
            folder=self.path,
            created=float(record["created"]),
            config=masked(config),
            tags=tuple(tags),
            parent=name if key else None,
        )
        status = record["status"]
        if status == "running" and not live:
            status = "interrupted"  # its process was killed
        points = self._read(folder / METRICS, _points)
        report = None if key or not (folder / REPORT).is_file() else folder / REPORT
        return Found(key, run, status, points, _summary(record), report)

    def _fetch_trials(self) -> None:
        """Fetch records and curves of the trials that have not ended yet from the storage."""
        storage, name = Storage.of(str(self.storage)), self.path.name
        for trial in storage.names(f"{name}/trials"):
            here = self.path / FETCHED / trial.removeprefix(f"{name}/")
            if trial in self._complete:
                continue
            here.parent.mkdir(parents=True, exist_ok=True)
            storage.fetch(trial, here, exclude=("model", "predictions", CHECKPOINTS))
            if self._read(here / RECORD, _record).get("status") in FINAL:
                self._complete.add(trial)

    def _read(self, path: Path, parse: Callable[[Path], Any]) -> Any:
        """Return what `parse` makes of a file, from memory while size and time are the same."""
        try:
            found = path.stat()
            stamp: object = (found.st_size, found.st_mtime_ns)
        except OSError:
            stamp = None
        if path not in self._known or self._known[path][0] != stamp:
            self._known[path] = stamp, parse(path)
        return self._known[path][1]


def _record(path: Path) -> Record:
    with contextlib.suppress(OSError, ValueError):
        found = atomic.read_json(path)
        if isinstance(found, dict):
            return found
    return {}


def _tags(path: Path) -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        found = atomic.read_json(path)
        return [tag for tag in found if isinstance(tag, str)] if isinstance(found, list) else []
    return []


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file, without a line that a crash tore."""
    found = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]


def _searched(record: Record) -> dict[str, object]:
    """Return space and budget of a sweep, or what distinguishes a member or trial."""
    found: dict[str, object] = {f"space.{key}": one for key, one in record.get("space", {}).items()}
    for group in ("sweep", "member"):
        if isinstance(record.get(group), dict):
            found |= {f"{group}.{key}": one for key, one in record[group].items()}
    return found | {key: record[key] for key in ("trial", "node") if key in record}


def _points(path: Path) -> list[tuple[str, Point]]:
    found = []
    for line in read_lines(path):
        curve = line.get("kind")
        if curve in CURVES and "step" in line:
            left_out = _PLACE if curve == "train" else _PLACE | {"epoch"}
            scores = {key: one for key, one in line.items() if key not in left_out}
            time = float(line.get("time", 0.0))
            found.append((curve, Point(int(line["step"]), time, numbers(curve, scores))))
    return found


def _history(events: Sequence[Record], record: Record) -> list[Point]:
    """Return the best score of each trial, and of all so far, in the order in which they ended."""
    better = max if record["mode"] == "max" else min
    bests: dict[int, float] = {}
    points: list[Point] = []
    for event in events:
        number, value = event.get("trial"), event.get("value")
        if event.get("event") == "result" and number is not None and value is not None:
            bests[number] = better(bests.get(number, value), value)
        if event.get("event") == "end" and number in bests:
            mine = f"trial/{record['primary']}"
            so_far = points[-1].scores["trial/best"] if points else bests[number]
            scores = {mine: bests[number], "trial/best": better(so_far, bests[number])}
            points.append(Point(len(points) + 1, float(event["time"]), scores))
    return points


def _summary(record: Record) -> dict[str, float]:
    """Return all final numbers of a record by name: `final/test/f1`, `interval/test/f1/low`,
    `baseline/majority/test/f1`, `members/test/f1/sd`.
    """
    untrained = {record.get("heldout") or "test": record.get("untrained") or {}}
    return {
        **numbers("final", record.get("scores") or {}),
        **numbers("interval", record.get("intervals") or {}),
        **numbers("untrained", untrained),
        **numbers("baseline", record.get("baselines") or {}),
        **numbers("members", record.get("summary") or {}),
        **numbers("best", record.get("best") or {}),
        **numbers("run", {key: record.get(key) for key in _FACTS}),
    }


def numbers(name: str, value: object) -> dict[str, float]:
    """Return the numbers in nested mappings by path, such as `final/test/f1`."""
    if isinstance(value, Mapping):
        found: dict[str, float] = {}
        for key, one in value.items():
            found |= numbers(f"{name}/{key}", one)
        return found
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {name: float(value)}
    return {}


Tell = Callable[[Mapping[str, Any]], None]


class Sender:
    """Sends what is new to each tracker, and remembers what each has."""

    def __init__(self, files: Files, names: Sequence[str], registry: Registry, tell: Tell) -> None:
        """`tell` gets `{"tracker": name, "trouble": why}` when one fails, once, and without trouble
        when it is reached again.
        """
        self.files, self.names, self.registry, self.tell = files, names, registry, tell
        self.state = files.path / STATE
        self.sent: dict[tuple[str, str], Sent] = {}
        self.open: dict[tuple[str, str], Tracker] = {}
        self.waits: dict[str, float] = {}
        """Seconds between two attempts, by tracker that failed."""
        self.due: dict[str, float] = {}
        for line in read_lines(self.state):
            with contextlib.suppress(KeyError, TypeError):  # of another version
                self.sent[line["tracker"], line["run"]] = Sent(**line["sent"])

    def step(self, *, last: bool = False) -> None:
        """Send what is new; a tracker that failed is tried again when its time comes, and at the
        `last`.
        """
        try:
            found = self.files.read()
        except (FtrError, OSError, ValueError, LookupError, TypeError) as error:
            self._failed("", error)
            return
        for name in self.names if any(one.begun for one in found) else ():
            if last or time.monotonic() >= self.due.get(name, 0.0):
                try:
                    self._step(name, found)
                except (Exception, SystemExit) as error:
                    self._failed(name, error)
                else:
                    if self.waits.pop(name, None) is not None:
                        self.tell({"tracker": name})

    def _step(self, name: str, found: Sequence[Found]) -> None:
        for one in found:
            if one.begun or not one.key:
                self._send(name, one)
        for one in reversed(found):
            if one.status in FINAL and (name, one.key) in self.open:
                self.open.pop((name, one.key)).finish(one.status)
                self.sent[name, one.key].status = one.status
                self._note(name, one.key)

    def _failed(self, name: str, error: BaseException) -> None:
        with contextlib.suppress(FtrError):
            atomic.write_text(self.files.path / LOG, mask(traceback.format_exc()))
        if name not in self.waits:
            self.tell({"tracker": name, "trouble": mask(in_one_line(error))})
        self.waits[name] = min(self.waits.get(name, FIRST_RETRY / 2) * 2, LAST_RETRY)
        self.due[name] = time.monotonic() + self.waits[name]

    def _send(self, name: str, found: Found) -> None:
        """Send points, final scores and report that the tracker does not have, and open the run
        there if its status changed.
        """
        sent = self.sent.setdefault((name, found.key), Sent())
        report = atomic.sha256(found.report) if found.report else ""
        new = (
            bool(_due(found, sent))
            or found.digest not in ("", sent.summary)
            or report not in ("", sent.report)
            or sent.status != (found.status if found.status in FINAL else "")
        )
        if sent.id and not new:
            return
        tracker = self._opened(name, found)
        sent = self.sent[name, found.key]
        due = _due(found, sent)
        for at in range(0, len(due), BATCH):
            tracker.log([point for _, point in due[at : at + BATCH]])
            sent.steps |= {curve: point.step for curve, point in due[at : at + BATCH]}
            self._note(name, found.key)
        if found.digest not in ("", sent.summary):
            tracker.summarize(found.summary, found.run.tags)
            sent.summary = found.digest
            self._note(name, found.key)
        if found.report and report != sent.report:
            tracker.attach(found.report)
            sent.report = report
            self._note(name, found.key)

    def _opened(self, name: str, found: Found) -> Tracker:
        if (name, found.key) not in self.open:
            sent, parent = self.sent[name, found.key], self.sent.get((name, ""), Sent())
            run = asdict(found.run) | {
                "known": sent.id or None,
                "parent_id": parent.id if found.key else None,
            }
            made: Any = self.registry.target("tracker", name)
            tracker: Tracker = made(TrackedRun(**run))
            sent = Sent(tracker.id) if tracker.resend else sent
            sent.id, sent.status = tracker.id, ""
            self.open[name, found.key], self.sent[name, found.key] = tracker, sent
            self._note(name, found.key)
        return self.open[name, found.key]

    def _note(self, name: str, key: str) -> None:
        line = {"tracker": name, "run": key, "sent": asdict(self.sent[name, key])}
        atomic.append_line(self.state, line)


def _due(found: Found, sent: Sent) -> list[tuple[str, Point]]:
    """Return the points that were not sent: a resumed training writes the steps after its
    checkpoint a second time.
    """
    return [
        (curve, point) for curve, point in found.points if point.step > sent.steps.get(curve, -1)
    ]


def main(path: Path, names: Sequence[str], commands: TextIO, tell: Tell) -> None:
    """Follow the run in `path` until `commands` ends, and send the rest.

    The first of `commands` is a line of JSON with `storage`, and `secrets` that messages must not
    quote. The process of an earlier attempt may still send its last records: it is waited for.
    """
    given = json.loads(commands.readline())
    remember("", given["secrets"])
    for variable, secret in tracker_variables()[1].items():
        remember(f"{variable}.token", secret)
    ended = threading.Event()

    def listen() -> None:
        commands.read()
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    with atomic.locked(path / HELD, seconds=LOCK_SECONDS):
        storage = given["storage"]
        files = Files(path, storage if storage and MASK not in storage else None)
        record = _record(path / SWEEP) or _record(path / RECORD)
        while not (record or ended.wait(INTERVAL / 10)):
            record = _record(path / SWEEP) or _record(path / RECORD)
        sender = Sender(files, names, recorded_registry(record), tell)
        last = False
        while not last:
            last, began = ended.is_set(), time.monotonic()
            sender.step(last=last)
            if not last:
                ended.wait(max(INTERVAL, SHARE * (time.monotonic() - began)))
        with contextlib.suppress(OSError):
            (path / HELD).unlink()


def _program() -> None:
    # Trackers print; what they print is not for the run's output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)

    def tell(message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the run was killed
            answers.write(json.dumps(message) + "\n")
            answers.flush()

    try:
        main(Path(sys.argv[1]), sys.argv[2:], sys.stdin, tell)
    except (Exception, SystemExit) as error:
        tell({"trouble": mask(in_one_line(error))})


if __name__ == "__main__":
    _program()
