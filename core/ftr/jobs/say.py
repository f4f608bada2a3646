"""What a job says to a person, and how it names a place."""

from __future__ import annotations

import os
from pathlib import Path

from ftr.terminal import show


def to_stderr(line: str) -> None:
    """Print a line for a person, at once."""
    show(line)


def shown_path(path: Path) -> str:
    """Return a path as it can be typed here: relative where it lies below, absolute where it would climb out."""
    relative = os.path.relpath(path)
    return str(path.absolute()) if relative.startswith(f"..{os.sep}..") else relative
