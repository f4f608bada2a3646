"""A run directory: its name, its record `run.json`, and the files beside it."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.errors import RequestError, RunError
from ftr.masking import mask
from ftr.paths import expanded

RECORD = "run.json"
ERROR_LOG = "error.log"


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """One run on disk. `run.json` is replaced whole at each change, so a crash leaves a readable one."""

    path: Path

    @property
    def record(self) -> Path:
        """The file `run.json`."""
        return self.path / RECORD

    @property
    def model(self) -> Path:
        """The checkpoint directory."""
        return self.path / "model"

    @classmethod
    def create(cls, output: str, label: str) -> RunDirectory:
        """Make `<output>/<time>-<label>-<random>`. Raises `RunError` when the place cannot be written to."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{_safe(label)}-{secrets.token_hex(2)}"
        path = expanded(output, "`output`:") / name
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise RunError(
                f"cannot make the run directory `{path}`: {error.strerror or error}. Give another place with `output=`."
            ) from error
        return cls(path)

    @classmethod
    def open(cls, given: str | Path, output: str = "runs") -> RunDirectory:
        """Find a run by its directory, or by its name (or the start of it) under `output`.

        Raises `RequestError` naming the runs there are when it is not found or not the only one.
        """
        path = expanded(given, "run")
        if (path / RECORD).is_file():
            return cls(path)
        matches = [run for run in all_runs(Path(output)) if run.path.name.startswith(str(given))]
        if len(matches) == 1:
            return matches[0]
        known = ", ".join(f"`{run.path}`" for run in (matches or all_runs(Path(output)))[-5:]) or "none"
        problem = f"`{given}` is the start of several runs" if matches else f"`{given}` is no run directory: it has no `{RECORD}`"
        raise RequestError(f"{problem}. Runs under `{output}`: {known}.")

    def read(self) -> dict[str, Any]:
        """Return the record. Raises `RequestError` when it is damaged."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RequestError(f"`{self.record}` cannot be read: {error}. Restore the file, or train again.") from error
        if not isinstance(record, dict) or not {"status", "created", "config"} <= record.keys():
            raise RequestError(f"`{self.record}` is not the record of a run: it has no `status`, `created` and `config`.")
        return record

    def write(self, record: dict[str, Any]) -> None:
        """Replace the record."""
        atomic.write_json(self.path / RECORD, record)

    def keep_traceback(self, error: BaseException) -> Path | None:
        """Write where an error came from into `error.log` and return that; None where the disk refuses, which may be the error."""
        if not self.path.is_dir():
            return None
        text = getattr(error, "trace", "") or "".join(traceback.format_exception(error))
        with contextlib.suppress(RunError):
            atomic.write_text(self.path / ERROR_LOG, mask(text))
            return self.path / ERROR_LOG
        return None

    def discard(self) -> None:
        """Remove the directory of a run that never began to train."""
        shutil.rmtree(self.path, ignore_errors=True)


def all_runs(output: Path) -> list[RunDirectory]:
    """Return the runs under `output`, oldest first."""
    return [RunDirectory(record.parent) for record in sorted(output.glob(f"*/{RECORD}"))]


def _safe(label: str) -> str:
    kept = "".join(c if c.isalnum() or c in "._" else "-" for c in label).strip("-.")
    return kept[:40] or "run"
