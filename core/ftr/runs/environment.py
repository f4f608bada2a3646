"""The environment of a run, for its record: git, container, source code, installed packages."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ftr.atomic import sha256
from ftr.registry.discovery import PluginRecord
from ftr.registry.registry import code_hash

VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_MAX_CPU_ISA",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""Environment variables that choose the kernels which torch and its libraries compute with."""
IMAGES = ("FTR_CONTAINER_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "CI_JOB_IMAGE")
"""Environment variables that may name the container image; a container cannot ask for it."""
GIT_SECONDS = 1.0
"""The time that each question to git may take; in a huge repository the answer is then unknown."""


def environment(plugins: Iterable[PluginRecord], folder: Path | None = None) -> dict[str, Any]:
    """Return the state of the working folder (or `folder`) in git, the container, the hashes of the
    code of ftr and of `plugins`, variables that choose kernels, and all installed packages.

    `source` has a hash for each distribution; a one-file plugin has its own in `components`.
    """
    return {
        "git": git_state(folder or Path.cwd()),
        "container": container(),
        "source": source_hashes(plugins),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        # In one line: as a list it would be half of `run.json`.
        "installed": " ".join(f"{name}=={version}" for name, version in installed().items()),
    }


def source_hashes(plugins: Iterable[PluginRecord]) -> dict[str, str]:
    """Return a hash of the files of ftr, and of each distribution that has one of `plugins`."""
    found = {"ftr": code_hash([PluginRecord])}
    for plugin in plugins:
        if not plugin.sha256:
            name = "ftr_plugins" if plugin.builtin else str(plugin.distribution or plugin.name)
            found[name] = code_hash([], plugin)
    return found


def installed() -> dict[str, str]:
    """Return the version of each distribution on `sys.path`, by its name as pip spells folders.

    Names of folders are enough: to parse 200 files of metadata takes 0.2 s.
    """
    found: dict[str, str] = {}
    for place in sys.path:
        with contextlib.suppress(OSError):
            for entry in os.listdir(place or "."):  # noqa: PTH208 - 200 names, no paths
                stem, dot, suffix = entry.rpartition(".")
                if dot and suffix in ("dist-info", "egg-info"):
                    name, _, version = stem.partition("-")
                    found.setdefault(name, version.partition("-py")[0] or "unknown")
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the `commit` that is checked out, whether tracked files differ from it (`dirty`), and
    the sha256 of that difference (`git diff HEAD`); None outside of a repository and without git.

    Files that git does not track are not part of it.
    """
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return None
    lines = status.decode(errors="replace").splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), None)
    dirty = any(not line.startswith("# ") for line in lines)
    diff = None
    if dirty:
        diff = _git(folder, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv")
    return {
        "commit": None if commit == "(initial)" else commit,
        "dirty": dirty,
        "diff_sha256": None if diff is None else sha256(diff),
    }


def _git(folder: Path, *words: str) -> bytes | None:
    # A repository may name a program to watch its files: it is not run.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *words]
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, timeout=GIT_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def container(
    root: Path = Path("/"), variables: Mapping[str, str] = os.environ
) -> dict[str, str | None] | None:
    """Return the `engine` of the container this process runs in, and its `image` if something says
    it; None where nothing tells of a container.

    Only Podman writes the image into a file, and only for containers that are privileged. Elsewhere
    it is known if a variable of `IMAGES` names it.
    """
    podman = root / "run" / ".containerenv"
    known: dict[str, str] = {}
    engine = variables.get("container") or None
    if podman.is_file():
        with contextlib.suppress(OSError):
            lines = podman.read_text(encoding="utf-8", errors="replace").splitlines()
            known = {key: value.strip('"') for key, _, value in (x.partition("=") for x in lines)}
        engine = "podman"
    elif (root / ".dockerenv").exists():
        engine = "docker"
    elif "APPTAINER_CONTAINER" in variables or "SINGULARITY_CONTAINER" in variables:
        engine = "apptainer"
    elif "KUBERNETES_SERVICE_HOST" in variables:
        engine = "kubernetes"
    image = next((variables[name] for name in IMAGES if variables.get(name)), known.get("image"))
    if engine is None and image is None:
        return None
    return {"engine": engine, "image": image or None, "image_id": known.get("imageid") or None}
