"""A file of predictions in the making: its finished parts, kept beside it, so that it resumes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.data.stream import Source
from ftr.errors import RequestError, RunError
from ftr.prediction.blocks import is_error
from ftr.prediction.outputs import Layout, Records, encode, join
from ftr.registry.discovery import own_version
from ftr.system import is_own
from ftr.terminal import masked

if TYPE_CHECKING:
    from ftr.registry.protocols import Model
    from ftr.registry.registry import Registry

PARTIAL = ".partial"
_JOURNAL, _LOCK, _JOINED = "journal.jsonl", "lock", "joined"
_EDGE = 2**20
_ADVICE = "Free space and go on with `--resume`, or give another `--output`."


def partial_folder(output: Path) -> Path:
    """Return the folder beside an output file that holds its parts until it is complete."""
    target = output.resolve()
    return target.with_name(target.name + PARTIAL)


def is_device(output: Path) -> bool:
    """Whether an output is there and no regular file, such as a pipe: it is written as it comes."""
    mode = output.stat().st_mode if output.exists() else stat.S_IFREG
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def check_output(output: Path, *, overwrite: bool, resume: bool) -> None:
    """Raise `RequestError` where the output or its parts exist and nothing says what to do."""
    if output.is_dir():
        raise RequestError(f"`--output {output}` is a folder: give a file.")
    if output.exists() and not overwrite:
        raise RequestError(
            f"`{output}` exists: give another `--output`, or `--overwrite` to replace it."
        )
    partial = partial_folder(output)
    if partial.exists() and not (overwrite or resume):
        raise RequestError(
            f"`{partial}` holds unfinished predictions: go on with `--resume`, or begin again with "
            "`--overwrite`."
        )


@dataclass(slots=True)
class Part:
    """A finished block: rows that were predicted, that could not be, and that were abstained from;
    a hash of its input, and the columns of a table so far.
    """

    rows: int
    errors: int
    abstained: int
    digest: str
    columns: list[str]


@dataclass(slots=True)
class Job:
    """Parts of one output file. `identity` has what they depend on: a job with another one cannot
    resume it.
    """

    output: Path
    form: str
    identity: Mapping[str, Any]
    layout: Layout
    parts: list[Part] = field(default_factory=list)
    memo: dict[str, Any] = field(default_factory=dict)
    """What the first block decided."""

    @property
    def folder(self) -> Path:
        """The folder with the parts."""
        return partial_folder(self.output)

    @contextlib.contextmanager
    def opened(self, *, resume: bool) -> Iterator[None]:
        """Hold the folder of the parts, empty or with those of the job that is resumed.

        Raises `RequestError` where another process holds it, or another job left it.
        """
        with contextlib.ExitStack() as stack:
            with atomic.writing(self.folder, _ADVICE):
                self.folder.mkdir(parents=True, exist_ok=True)
                try:
                    stack.enter_context(atomic.locked(self.folder / _LOCK, seconds=0))
                except TimeoutError:
                    raise RequestError(
                        f"another `ftr predict` is writing `{self.output}`: wait for it, or give "
                        "another `--output`."
                    ) from None
                if not resume:
                    self._clear()
                self._open()
            yield

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name != _LOCK:
                path.unlink()

    def _open(self) -> None:
        journal = self.folder / _JOURNAL
        lines = _whole_lines(journal)
        if not lines:
            atomic.write_lines(journal, [masked(self.identity)])
            return
        compare(lines[0], masked(self.identity), self.folder)
        if len(lines) > 1:
            self.memo = lines[1]
        self.parts = [Part(**line) for line in lines[2:]]
        atomic.write_lines(journal, lines)  # without half a line at the end
        if self.parts:
            self.layout.columns = list(self.parts[-1].columns)

    def remember(self, memo: Mapping[str, Any]) -> None:
        """Note what the first block decided."""
        self.memo = dict(memo)
        self._append(self.memo)

    def add(self, records: Records, digest: str, types: Mapping[str, Any] | None = None) -> Part:
        """Write the records of a block as the next part; `types` are Arrow's, of columns that have
        one.
        """
        part = Part(
            rows=len(records),
            errors=sum(map(is_error, records)),
            abstained=sum(one.get("abstained") is True for one in records),
            digest=digest,
            columns=[],
        )
        rows: Records = records
        if self.form != "jsonl":
            rows = self.layout.flat(records)
            part.columns = list(self.layout.columns)
        with atomic.writing(self.folder, _ADVICE):
            path = self._path(len(self.parts))
            atomic.replace_file(path, encode(rows, self.form, part.columns, types))
            self._append({name: getattr(part, name) for name in Part.__dataclass_fields__})
        self.parts.append(part)
        return part

    def _append(self, line: Mapping[str, Any]) -> None:
        with (self.folder / _JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line, ensure_ascii=False) + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.{self.form}"

    def finish(self) -> list[str]:
        """Join the parts under the final name, remove them, and return notes."""
        parts = [(self._path(number), part.columns) for number, part in enumerate(self.parts)]
        joined, target = self.folder / _JOINED, self.output.resolve()
        with atomic.writing(self.folder, _ADVICE):
            with joined.open("wb") as stream:
                notes = join(parts, self.form, self.layout.columns, stream)
                stream.flush()
                os.fsync(stream.fileno())
            _replace(joined, target)
            atomic.sync(target.parent)
        shutil.rmtree(self.folder, ignore_errors=True)
        return notes


def _replace(joined: Path, target: Path) -> None:
    """Give a finished file its name. A file that is there keeps its mode and its other names."""
    known = target.stat() if target.exists() else None
    if known is not None and (known.st_nlink > 1 or not is_own(known)):
        shutil.copyfile(joined, target)
        return
    if known is not None:
        joined.chmod(stat.S_IMODE(known.st_mode))
    joined.replace(target)


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n")[:-1]]
    except (OSError, ValueError) as error:
        raise RunError(f"`{path}` is damaged ({error}): begin again with `--overwrite`.") from None


def compare(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    """Raise `RequestError` naming what differs between two identities."""
    for group, values in new.items():
        known = old.get(group, {})
        for key in {**known, **values}:
            if known.get(key) != values.get(key):
                raise RequestError(
                    f"`--resume`: `{key}` ({group}) was {_short(known.get(key))}, and is now "
                    f"{_short(values.get(key))}. `{folder}` holds predictions of before: "
                    "give what was given then, or begin again with `--overwrite`."
                )


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return f"`{text if len(text) <= 60 else text[:59] + '…'}`"


def same_input(number: int, part: Part, rows: int, digest: str) -> None:
    """Raise `RequestError` where a block that was predicted is not what it was."""
    if (part.rows, part.digest) != (rows, digest):
        raise RequestError(
            f"`--resume`: the input has changed within its first {number + rows} rows. Give the "
            "file of before, or begin again with `--overwrite`."
        )


def input_identity(source: Source, given: str) -> dict[str, Any]:
    """Return what tells one input from another: its name, its size, its time, and a hash of its
    first and last MB. The rows that were predicted are compared as well, see `same_input`.
    """
    found: dict[str, Any] = {"name": given}
    if source.file is None or source.is_stdin or not source.file.seekable():
        return found
    found["size"] = source.size
    with contextlib.suppress(OSError, AttributeError, ValueError):
        found["modified"] = os.fstat(source.file.fileno()).st_mtime_ns
    edge = hashlib.sha256(source.file.read(_EDGE))
    if source.size and source.size > _EDGE:
        source.file.seek(max(source.size - _EDGE, _EDGE))
        edge.update(source.file.read(_EDGE))
    source.file.seek(0)
    return {**found, "edges": edge.hexdigest()}


def model_identity(folder: Path) -> dict[str, str]:
    """Return the hash of each file of a model directory."""
    return {
        str(path.relative_to(folder)): atomic.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def adapter_bases(folder: Path) -> dict[str, Model]:
    """Return the models that the adapters in a model directory are for, by the relative path of the
    adapters: `.`, or that of a member. Raises `ModelError`.
    """
    from ftr.model.adapters import is_adapter
    from ftr.model.pretrained import base_model
    from ftr.train.ensemble import member_folders

    members = [member for member in member_folders(folder) if is_adapter(member)]
    return {str(member.relative_to(folder)): base_model(member) for member in members}


def base_folder(base: Model) -> Path | None:
    """Return the directory of a model, None where it is not one of this machine."""
    path = Path(str(base.describe().get("source") or ""))
    return path if path.is_absolute() and path.is_dir() else None


def base_identity(folder: Path) -> dict[str, str]:
    """Return the hash of each file of the models that adapters are for; of one of the Hub where it
    is from.
    """
    found = {}
    for name, base in adapter_bases(folder).items():
        place = base_folder(base)
        if place is None:
            getattr(base, "settings", None)  # what is read has a commit
            found[name] = json.dumps(base.describe(), sort_keys=True, default=str)
        else:
            files = model_identity(place).items()
            found |= {f"{name}: {file}": digest for file, digest in files}
    return found


def plugin_identity(head: str, plugins: Iterable[str], registry: Registry) -> dict[str, str]:
    """Return the hash of each plugin file that a model names, and the version of the plugin that
    its head is from.
    """
    names = {Path(path).name for path in plugins}
    used = [one for one in registry.files if one.distribution in names]
    if registry.has("head", head):
        used.append(registry.find("head", head).plugin)
    return {one.distribution: one.sha256 or one.version for one in used}


def versions() -> dict[str, str]:
    """Return the versions that predictions depend on."""
    from importlib.metadata import version

    return {"ftr": own_version(), **{name: version(name) for name in ("torch", "transformers")}}
