"""All of one run or sweep, for a person: `ftr runs RUN`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftr.config.resolve import flat
from ftr.config.schema import SweepConfig
from ftr.errors import counted
from ftr.paths import shown_path
from ftr.results.listing import DAMAGED, row_of, status_of
from ftr.runs.directory import BEST, RunDirectory
from ftr.runs.report import members_table, score_table
from ftr.study.directory import SweepDirectory
from ftr.tables import table
from ftr.terminal import masked, styled
from ftr.train.checkpoint import last_step

Record = Mapping[str, Any]
RESUMABLE = ("stopped", "interrupted", "failed")
HIDDEN = (".lock", ".tracking.lock")
SPOKEN_OF = ("task", "dataset", "model", "head", "metrics")
"""Settings that the first lines have."""


def details(directory: RunDirectory) -> dict[str, Any]:
    """Return all of a run or sweep as plain data: `id`, `path`, `status`, `scores`, tags, sizes of
    its files in bytes, how to resume it (or None), and its record.

    Raises `RequestError` where the record cannot be read.
    """
    record = directory.read()
    row = row_of(directory)
    status = status_of(directory, record)
    path = shown_path(directory.path)
    resumable = status in RESUMABLE and "member" not in record and "trial" not in record
    return {
        **{key: row[key] for key in ("id", "status", "scores", "intervals", "tags")},
        "status": status,
        "path": path,
        "settings": chosen_settings(record),
        "files": files_of(directory.path),
        "resume": f"ftr resume {shlex.quote(path)}" if resumable else None,
        "record": masked(record),
    }


def chosen_settings(record: Record) -> dict[str, dict[str, Any]]:
    """Return the `value` and `origin` of each setting that is not a default of ftr or of a
    component, by key.
    """
    origins = record.get("origins") or {}
    found = {**flat(record["config"]), **(record.get("space") or {})}
    chosen = {
        key: {"value": value, "origin": origins[key]}
        for key, value in found.items()
        if key in origins and not str(origins[key]).startswith(("built-in default", "default of"))
    }
    own = record.get("sweep")  # of a sweep its own keys, without origins; of a trial a name
    return chosen | {
        key: {"value": value, "origin": "sweep"}
        for key, value in (own.items() if isinstance(own, Mapping) else ())
        if key not in SweepConfig.model_fields or value != SweepConfig.model_fields[key].default
    }


def files_of(path: Path) -> dict[str, int]:
    """Return the bytes of each file and folder in a directory; links are not followed."""
    return {
        f"{entry.name}/" if entry.is_dir() and not entry.is_symlink() else entry.name: _size(entry)
        for entry in sorted(path.iterdir())
        if entry.name not in HIDDEN
    }


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(one.lstat().st_size for one in path.rglob("*") if not one.is_dir())


def lines(found: Mapping[str, Any], directory: RunDirectory) -> Iterator[str]:
    """Yield what `details` found as text."""
    record = found["record"]
    yield f"{found['path']}: {found['status']}"
    yield from _indented(table([("", ""), *_facts(found, directory)], indent=2))
    chosen = [(key, one) for key, one in found["settings"].items() if key not in SPOKEN_OF]
    if chosen:
        rows = [(key, _short(one["value"]), str(one["origin"])) for key, one in chosen]
        body = _indented(table([("", "", ""), *rows], indent=2))
        yield from _section("settings that are no defaults", body)
    splits = (record.get("data") or {}).get("splits") or {}
    yield from _section("data", _indented(["", *_data_lines(splits)]))
    yield from _section("scores", _scores(directory, record))
    if record.get("notes"):
        yield from _section("notes", _indented(["", *record["notes"]]))
    cells = [(name, _megabytes(size)) for name, size in found["files"].items()]
    yield from _section("files", _indented(table([("", ""), *cells], numbers=True)))
    yield ""
    yield from _next(found, directory)


def _indented(lines: list[str]) -> list[str]:
    """Return lines without the header, each behind two spaces."""
    return [f"  {line}" for line in lines[1:]]


def _section(title: str, body: list[str]) -> Iterator[str]:
    if body:
        yield ""
        yield styled(title, "bold")
        yield from body


def _facts(found: Mapping[str, Any], directory: RunDirectory) -> Iterator[tuple[str, str]]:
    record = found["record"]
    config = record["config"]
    if record.get("error"):
        yield "error", str(record["error"])
    if found["tags"]:
        yield "tags", ", ".join(found["tags"])
    yield "task", f"{config['task'] or 'none'}, head {config['head']['name']}"
    yield "model", str(config["model"]["name"])
    yield "dataset", str(config["dataset"]["name"])
    yield "created", _ago(record)
    timings = record.get("timings") or {}
    if timings:
        yield "seconds", ", ".join(f"{key} {value:.1f}" for key, value in timings.items())
    if "best" in record and "epoch" in (record["best"] or {}):
        yield "kept", f"the weights after epoch {record['best']['epoch']:.2f}"
    if setting := directory.removed_by():
        yield "model", f"removed (`{setting}`)"
    step = last_step(directory.path)
    if step is not None:
        yield "checkpoint", f"step {step}"
    if "several" in record:
        done = [one.get("status") for one in record.get("members", ())]
        yield "members", f"{done.count('done')} of {len(done)} are done"
    if "counts" in record:
        counts = [f"{count} {kind}" for kind, count in record["counts"].items()]
        yield "trials", ", ".join([*counts, f"the best is {record.get('winner')}"])
    if record.get("stopped_because"):
        yield "ended", f"because {record['stopped_because']}"
    yield from _machine(record)


def _machine(record: Record) -> Iterator[tuple[str, str]]:
    packages, hardware = record.get("packages") or {}, record.get("hardware") or {}
    numerics, git = record.get("numerics") or {}, (record.get("environment") or {}).get("git")
    versions = [f"{key} {packages[key]}" for key in ("python", "torch", "transformers", "ray")]
    yield "versions", ", ".join([f"ftr {record.get('ftr', 'unknown')}", *versions])
    if hardware:
        gpus = ", ".join(hardware.get("gpus") or ()) or "no GPU"
        cores, threads = (counted(hardware[f"{one}s"], one) for one in ("core", "thread"))
        yield "machine", f"{hardware['processor']}, {cores}, {threads}, {gpus}"
    if numerics:
        yield "numerics", f"{numerics['precision']} on {numerics['device']}"
    if git:
        yield "git", f"{git['commit']}{' and changes' if git['dirty'] else ''}"
    again = record.get("reproduces")
    if again:
        yield "reproduces", f"{again['of']}: {again['status']}"


def _ago(record: Record) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["created"]))


def _data_lines(splits: Mapping[str, Any]) -> list[str]:
    found = []
    for name, split in splits.items():
        if not isinstance(split, Mapping):  # of a sweep: the hash alone
            found.append(f"{name}: sha256 {str(split)[:12]}…")
            continue
        line = f"{name}: {counted(split['row_count'], 'row')}"
        if split["feature_count"] != split["row_count"]:
            line += f" in {counted(split['feature_count'], 'window')}"
        if causes := split.get("rejected"):
            line += f", rejected: {', '.join(f'{why} {n}' for why, n in causes.items())}"
        found.append(f"{line}, from {split.get('from', 'unknown')}")
    return found


def _scores(directory: RunDirectory, record: Record) -> list[str]:
    """Return the tables of scores; of a sweep those of its best run."""
    if isinstance(directory, SweepDirectory):
        best = RunDirectory(directory.path / BEST)
        if not best.record.is_file():
            return []
        record = best.read()
    try:
        if "several" in record:
            return members_table(record) if "summary" in record else []
        return score_table(record) if record.get("scores") else []
    except DAMAGED as error:
        return [f"  cannot be shown: {error}"]


def _next(found: Mapping[str, Any], directory: RunDirectory) -> Iterator[str]:
    path = shlex.quote(found["path"])
    if found["resume"]:
        yield f"next: {found['resume']}"
    elif found["status"] == "done":
        yield f"next: ftr evaluate {path}"
        yield f"      ftr reproduce {path}"
    if isinstance(directory, SweepDirectory):
        yield f"trials: ftr runs {path}/trials"


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
