"""What a mirrored folder holds: one small file that decides which of the files beside it count."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ftr.errors import RunError

if TYPE_CHECKING:
    from ftr.runs.place import Place

FORMAT = 1
NAME = ".manifest.json"
NEXT = ".manifest.next.json"  # written first where a write may be seen half done
STAGED = ".staged"  # new contents of files that the manifest names already
RESERVED = frozenset({NAME, NEXT, STAGED})


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. `time`: its `mtime_ns` where it came from; None when that is too fresh to tell a later change by."""

    size: int
    sha256: str
    time: int | None
    staged: str | None = None  # its key below `.staged/`, while the content is not yet under the file's own name


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files that count, and the keys a mirror under way may have written or may still have to remove.

    `files` is None until the first mirror is whole.
    """

    files: dict[str, Entry] | None = None
    underway: frozenset[str] = frozenset()

    @classmethod
    def read(cls, place: Place, name: str) -> Manifest | None:
        """Return the manifest of `name`, or None when nothing was ever mirrored there. Raises `RunError` when it is damaged."""
        text = place.read(f"{name}/{NAME}")
        try:
            return None if text is None and not place.torn_writes else cls.parse(text or b"")
        except ValueError as error:
            waiting = place.read(f"{name}/{NEXT}") if place.torn_writes else None
            if waiting is None and text is None:
                return None
            try:
                return cls.parse(waiting or b"")
            except ValueError:
                raise RunError(
                    f"`{name}/{NAME}` in `compute.storage={place.shown}` is damaged: {error}. "
                    f"Restore it, or remove `{name}` there and mirror again."
                ) from error

    def write(self, place: Place, name: str) -> None:
        """Replace the manifest of `name`."""
        content = json.dumps(
            {
                "format": FORMAT,
                "files": None if self.files is None else {path: _lean(entry) for path, entry in sorted(self.files.items())},
                "underway": sorted(self.underway),
            }
        ).encode()
        if place.torn_writes:
            place.write(f"{name}/{NEXT}", content)
        place.write(f"{name}/{NAME}", content)

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """Read the JSON text. Raises `ValueError` naming what is wrong, paths that lead out of the folder included."""
        record = json.loads(text)
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        try:
            files = record["files"] and {path: Entry(**entry) for path, entry in record["files"].items()}
            manifest = cls({} if files == {} else files, frozenset(record["underway"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("it lacks fields, or has strange ones") from error
        staged = [entry.staged for entry in (manifest.files or {}).values() if entry.staged is not None]
        for path in (*(manifest.files or {}), *manifest.underway, *staged):
            if not inside(path):
                raise ValueError(f"`{path}` leads out of the folder")
        return manifest


def inside(path: str) -> bool:
    """Whether a relative path stays below the folder it is taken in, and is spelled in the one way it can be."""
    return (
        isinstance(path, str)
        and str(PurePosixPath(path)) == path
        and not path.startswith("/")
        and path != "."
        and ".." not in path.split("/")
    )


def _lean(entry: Entry) -> dict[str, object]:
    return {key: value for key, value in asdict(entry).items() if key != "staged" or value is not None}
