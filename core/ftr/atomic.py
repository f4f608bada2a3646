"""Writing files so that a crash leaves the old one or the new one, never a half."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftr.errors import RunError
from ftr.masking import masked


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`. Raises `RunError` naming the file when the disk refuses."""
    fresh = path.with_name(f"{path.name}.new-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        # Gone when all went well.
        with contextlib.suppress(OSError):
            fresh.unlink()


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON, its secrets masked."""
    write_text(path, json.dumps(masked(value), indent=2, ensure_ascii=False, default=str) + "\n")


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace `path` by one JSON object a line."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False, default=str) + "\n" for record in records))


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON object as a line, in a single write."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> RunError:
    return RunError(f"cannot write `{path}`: {error.strerror or error}. Free space, or give another place.")
