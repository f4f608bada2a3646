"""Fake plugins as pip would leave them: a module and a `*.dist-info` folder."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Installer = Callable[..., None]
Ftr = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Make an extra folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def install(site: Path) -> Installer:
    """Write a plugin: `install("bad", "raise ValueError", distribution="bad-dist", version="1.2",
    requires=["ftr>=9"])`.
    """

    def write(
        name: str,
        source: str,
        *,
        distribution: str = "",
        version: str = "1.0",
        requires: Sequence[str] = (),
        module: str = "",
        groups: Sequence[str] = ("ftr.plugins",),
    ) -> None:
        distribution = distribution or f"{name}-dist"
        module = module or f"fake_{distribution.replace('-', '_')}"
        (site / f"{module}.py").write_text(f"import ftr\n{source}\n", encoding="utf-8")
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}",
            encoding="utf-8",
        )
        points = "".join(f"[{group}]\n{name} = {module}\n" for group in groups)
        (info / "entry_points.txt").write_text(points, encoding="utf-8")

    return write


@pytest.fixture
def ftr(site: Path, tmp_path: Path) -> Ftr:
    """Run `python -m ftr …` with the fake plugins installed."""

    def call(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FTR_")}
        paths = os.pathsep.join(filter(None, [str(site), kept.get("PYTHONPATH", "")]))
        command = [sys.executable, "-W", "error", "-m", "ftr", *arguments]
        environment = {**kept, "PYTHONPATH": paths, **settings}
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call
