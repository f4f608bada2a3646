"""Functions for a node that may lack ftr: report installed packages, hand over the results of a
submitted command.

Only the standard library and Ray: workers get these functions by value, a job server gets this file
(`python ftr_node.py installed REQUEST`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import secrets
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

MARK = "ftr-node "
"""Start of the line in a job's log that has its answer as JSON."""
Report = dict[str, Any]
"""`{"python", "packages": {distribution: None | {"version", "digest", "size", "paths"}}}`; None
where it is not installed.
"""


def installed(wanted: dict[str, list[str]]) -> Report:
    """Report on distributions, each given with its own top-level modules."""
    packages = {name: _package(name, modules) for name, modules in wanted.items()}
    return {"python": ".".join(platform.python_version_tuple()[:2]), "packages": packages}


def own_modules(name: str, known: list[str]) -> list[str]:
    """Return the top-level modules of the installed distribution `name`: the known and the recorded
    ones.
    """
    dist = metadata.distribution(name)
    recorded = {
        file.parts[0].removesuffix(".py")
        for file in dist.files or ()
        if len(file.parts) > 1 or file.suffix == ".py"
    }
    listed = (dist.read_text("top_level.txt") or "").split()
    # The finder of an editable install, `__editable__…`, is useless elsewhere.
    modules = {module for module in recorded if module.isidentifier() and module[:2] != "__"}
    return sorted({*known, *modules, *listed})


def _package(name: str, modules: list[str]) -> dict[str, Any] | None:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    digest, size, paths = hashlib.sha256(), 0, []
    for module in modules:
        path = _path(module)
        if path is None:
            continue
        paths.append(str(path))
        for file in code_files(path):
            relative = file.relative_to(path.parent).as_posix()
            # Of weights and tables only the size: reading them takes long.
            content = (
                file.read_bytes() if file.suffix == ".py" else str(file.stat().st_size).encode()
            )
            size += file.stat().st_size
            digest.update(f"{relative}\0{len(content)}\0".encode() + content)
    return {"version": version, "digest": digest.hexdigest(), "size": size, "paths": paths}


def code_files(path: Path) -> list[Path]:
    """Return the files of a package folder or module, sorted, without compiled ones."""
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"
    )


def _path(module: str) -> Path | None:
    """Return the folder of a package or the file of a module; None when it cannot be imported."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    if folders:
        return Path(folders[0])
    return Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None


KEPT_SECONDS = 900.0
"""How long results stay available to a client that may be gone."""
RECORDS = ("sweep.json", "run.json")
_LEFT = ("checkpoints", ".lock")
"""Useful only on the machine of the run."""


def results(output: Path, since: float) -> list[Path]:
    """Return the runs and sweeps in `output` whose record was written at `since` (Unix seconds) or
    later.
    """
    records = [record for name in RECORDS for record in output.glob(f"*/{name}")]
    return sorted({record.parent for record in records if record.stat().st_mtime >= since})


def parts(folder: Path) -> Iterator[Path]:
    """Yield the files of a run; of a sweep all but the models of its trials, since it has the best
    run.
    """
    is_sweep = (folder / "sweep.json").is_file()
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder).parts
        of_trial = is_sweep and inside[0] == "trials" and "model" in inside
        if file.is_file() and not of_trial and not any(name in _LEFT for name in inside):
            yield file


def write_archive(folders: list[Path], archive: Path) -> dict[str, Any]:
    """Pack the parts of `folders` into a tar file; return names, size and sha256."""
    with tarfile.open(archive, "w") as packed:
        for folder in folders:
            for file in parts(folder):
                packed.add(file, arcname=str(file.relative_to(folder.parent)), recursive=False)
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "names": [folder.name for folder in folders],
        "bytes": archive.stat().st_size,
        "sha256": digest,
    }


def unpack(archive: Path, destination: Path) -> None:
    """Unpack into `destination`; no name in the archive can lead elsewhere."""
    destination.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as packed:
        packed.extractall(destination, filter="data")


def main() -> None:
    """Answer the request on the command line."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("installed").add_argument("wanted", type=json.loads)
    offered = commands.add_parser("results")
    offered.add_argument("output", type=Path)
    offered.add_argument("since", type=float)
    asked = parser.parse_args()
    if asked.command == "installed":
        _print(installed(asked.wanted))
    elif folders := results(asked.output.expanduser(), asked.since):
        _offer(folders)
    else:
        _print({"names": []})


def _print(answer: dict[str, Any]) -> None:
    sys.stdout.write(f"\n{MARK}{json.dumps(answer)}\n")
    sys.stdout.flush()


def _offer(folders: list[Path]) -> None:
    """Pack results into the folder of Ray's logs, which the job server serves, and wait; stopping
    the job removes them.
    """
    logs, node = _log_folder()
    archive = logs / f"ftr-results-{secrets.token_hex(16)}.tar"

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    try:
        _print({**write_archive(folders, archive), "file": archive.name, "node": node})
        time.sleep(KEPT_SECONDS)
    finally:
        archive.unlink(missing_ok=True)


def _log_folder() -> tuple[Path, str]:
    import ray

    connected = ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
    try:
        return (
            Path(connected.address_info["session_dir"], "logs"),
            ray.get_runtime_context().get_node_id(),
        )
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
