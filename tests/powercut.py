"""Power cuts: an ext4 file system in a file, whose bytes at one moment are what a disk holds when
the power goes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOM = Path("/dev/shm")
# `tests/conftest.py` replaces it for the session, after this module was imported.
FSYNC = os.fsync


def missing() -> str | None:
    """Return what keeps this machine from mounting a file system in a file; None: nothing does."""
    if os.geteuid() != 0:
        return "mounting a file system needs root"
    if not Path("/dev/loop-control").exists() or not ROOM.is_dir():
        return "there are no loop devices here"
    tools = [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]
    return f"`{tools[0]}` is not installed" if tools else None


class Disk:
    """An ext4 file system at `path`, journal and all as a distribution would make it, in a file
    under /dev/shm.

    The kernel writes to that file when, and in the order in which, it would write to a disk: what a
    program wrote and never synced stays in memory for up to 30 s, and a copy of the file does not
    have it. While it is mounted, this process waits for the disk as programs do.
    """

    def __init__(self, path: Path, megabytes: int = 512) -> None:
        self.path, self.megabytes = path, megabytes
        self.image = ROOM / f"ftr-disk-{os.getpid()}-{path.name}"
        self._numbers = itertools.count()
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Disk:
        with self.image.open("wb") as stream:
            stream.truncate(self.megabytes * 2**20)
        _call("mkfs.ext4", "-q", "-F", str(self.image))
        self.path.mkdir(parents=True, exist_ok=True)
        _call("mount", "-o", "loop", str(self.image), str(self.path))
        self._patch.setattr(os, "fsync", FSYNC)
        return self

    def __exit__(self, *error: object) -> None:
        self._patch.undo()
        _call("umount", str(self.path))
        self.image.unlink()

    def cut(self) -> Path:
        """Return a copy of what is on the disk now."""
        copy = self.image.with_name(f"{self.image.name}.cut-{next(self._numbers)}")
        _call("cp", "--sparse=always", str(self.image), str(copy))
        return copy


@contextlib.contextmanager
def powered_again(image: Path, path: Path) -> Iterator[Path]:
    """Mount a copy that `Disk.cut` made at `path`, as a machine does that starts after a power cut;
    it is removed afterwards.
    """
    path.mkdir(parents=True, exist_ok=True)
    _call("mount", "-o", "loop", str(image), str(path))
    try:
        yield path
    finally:
        _call("umount", str(path))
        image.unlink()


def _call(*words: str) -> None:
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
