"""Wheels of plugins, written by hand: a wheel is a zip file with a `*.dist-info` folder in it."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    modules: Mapping[str, str],
    points: Mapping[str, str],
    requires: Sequence[str] = (),
) -> Path:
    """Write a wheel and return its path: `modules` are sources by file name, `points` entry points
    of `ftr.plugins`.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {
        **modules,
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: "
        f"{version}\n{needs}",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: "
        "true\nTag: py3-none-any\n",
        f"{stem}.dist-info/entry_points.txt": "[ftr.plugins]\n"
        + "".join(f"{point} = {module}\n" for point, module in points.items()),
    }
    record = f"{stem}.dist-info/RECORD"
    lines = [f"{path},sha256={_digest(text)},{len(text.encode())}" for path, text in files.items()]
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, record: "\n".join([*lines, f"{record},,", ""])}.items():
            archive.writestr(file, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
