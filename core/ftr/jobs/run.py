"""`ftr.run`: one training with one fixed configuration, from settings to a run directory."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ftr import __version__, atomic
from ftr.config.models import ComputeConfig
from ftr.config.resolve import Resolved, resolve
from ftr.errors import RequestError, RunError
from ftr.jobs.launch import Outcome, launch
from ftr.jobs.prepare import Prepared, prepare
from ftr.registry import Registry, get_registry
from ftr.runs.card import model_card
from ftr.runs.directory import RunDirectory
from ftr.runs.record import package_versions, provenance

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run: where it lies, what it scored, and its whole record (`run.json`)."""

    path: Path
    scores: dict[str, Any]
    record: dict[str, Any]

    @property
    def model(self) -> Path:
        """The plain Hugging Face checkpoint."""
        return self.path / "model"


def run(
    settings: Mapping[str, object] | Sequence[str] | None = None,
    *,
    registry: Registry | None = None,
    say: Say | None = None,
    **keys: object,
) -> RunResult:
    """Fine-tune once and return the result.

    Settings are those of the command, as a mapping of dotted keys (`{"data.limit": 2000}`), as `key=value` strings,
    or as keywords (`run(task="qa", learning_rate=3e-5)`); `say` gets the lines a person would read (default: stderr).
    Raises `RequestError` when something asked for is wrong, before anything is written, and `RunError` when it failed.
    """
    known = registry or get_registry()
    asked: Mapping[str, object] | Sequence[str] = {**settings, **keys} if isinstance(settings, Mapping) else settings or keys
    if keys and not isinstance(settings, Mapping | None):
        raise RequestError("give settings as `key=value` strings or as keywords, not both")
    return execute(resolve(asked, known), known, say or _to_stderr)


def execute(resolved: Resolved, registry: Registry, say: Say) -> RunResult:
    """Carry out a resolved configuration: prepare the data, train, and leave the run directory."""
    from ftr.train.quiet import quiet_libraries

    config = resolved.config
    began = time.monotonic()
    quiet_libraries()
    check_writable(Path(config.output).expanduser())
    prepared = prepare(config, registry)
    for line in prepared.notes:
        say(line)
    for line in split_lines(prepared):
        say(line)
    record = _opening(resolved, registry, prepared)
    directory = RunDirectory.create(config.output, config.task or config.head.name)
    try:
        directory.write(record)
        if prepared.rejected:
            atomic.write_lines(directory.path / "rejected.jsonl", [asdict(row) for row in prepared.rejected])
        outcome = _train(directory, config.compute, resolved, prepared)
    except BaseException as error:
        _close_failed(directory, record, error)
        raise
    record = {**record, "status": "done", "finished": time.time(), "seconds": time.monotonic() - began, **outcome}
    directory.write(record)
    atomic.write_text(directory.path / "README.md", model_card(record))
    return RunResult(directory.path, _reported(record), record)


def _train(directory: RunDirectory, compute: ComputeConfig, resolved: Resolved, prepared: Prepared) -> Outcome:
    config = resolved.config
    with tempfile.TemporaryDirectory(prefix="ftr-ray-") as scratch:
        spec = {
            "config": config.model_dump(mode="json"),
            "splits": {name: asdict(split) for name, split in prepared.splits.items()},
            "folder": str(directory.path.resolve()),
            "threads": int(compute.cpus) if compute.cpus and compute.workers == 0 else None,
            "card": {
                "task": config.task,
                "head": config.head.name,
                "head_options": config.head.options,
                "metrics": list(config.metrics),
                "labels": list(prepared.labels),
                "max_length": prepared.settings.max_length,
                "stride": prepared.settings.stride,
                "ftr": __version__,
            },
        }
        return launch(spec, compute, scratch)


def _opening(resolved: Resolved, registry: Registry, prepared: Prepared) -> dict[str, Any]:
    config = resolved.config
    return {
        "ftr": __version__,
        "status": "running",
        "created": time.time(),
        "command": sys.argv if sys.argv and sys.argv[0] else [],
        "process": os.getpid(),
        "config": config.model_dump(mode="json"),
        "origins": dict(resolved.origins),
        "components": provenance(config, registry),
        "packages": package_versions(),
        "model_source": prepared.model.describe(),
        "labels": list(prepared.labels),
        "data": {
            "sources": prepared.sources,
            "splits": {name: {**prepared.report["splits"].get(name, {}), **asdict(split)} for name, split in prepared.splits.items()},
        },
        "notes": prepared.notes,
    }


def _close_failed(directory: RunDirectory, record: dict[str, Any], error: BaseException) -> None:
    if isinstance(error, RequestError) or not directory.record.is_file():
        directory.discard()
        return
    status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    try:
        directory.write({**record, "status": status, "finished": time.time(), "error": f"{type(error).__name__}: {error}"})
    except RunError as unwritable:
        _to_stderr(str(unwritable))


def _reported(record: dict[str, Any]) -> dict[str, Any]:
    return dict(record["scores"].get(record["heldout"], {})) if record["heldout"] else {}


def check_writable(output: Path) -> None:
    """Raise `RunError` now rather than after an hour when no run directory can be made under `output`."""
    present = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    try:
        if not present.is_dir():
            raise NotADirectoryError(f"`{present}` is a file")
        # In /proc and its like a file cannot be made, a folder neither.
        with tempfile.TemporaryDirectory(dir=present):
            pass
    except OSError as error:
        raise RunError(f"`output={output}` cannot be written to: {error.strerror or error}. Give another place with `output=`.") from error


def split_lines(prepared: Prepared) -> list[str]:
    """Return one line a split: rows used, examples they became, rows rejected and why."""
    lines = []
    for name, split in prepared.splits.items():
        examples = "" if split.feature_count == split.row_count else f" in {split.feature_count} windows"
        causes = prepared.report["splits"].get(name, {}).get("rejected", {})
        rejected = f", {sum(causes.values())} rejected ({', '.join(f'{cause}: {n}' for cause, n in causes.items())})" if causes else ""
        lines.append(f"{name}: {split.row_count} rows{examples}{rejected}{' (encoded before)' if split.from_cache else ''}")
    return lines


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
