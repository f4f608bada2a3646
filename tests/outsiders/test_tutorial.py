"""The tutorial for plugin authors is true: its files have their types, and its commands work, in
the order they stand there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from editable import new_python, pip_install
from pages import PROJECT, TUTORIAL, blocks, write_tutorial
from wheels import EXAMPLES, PACKAGES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STRICT = """
[mypy]
strict = true
[mypy-datasets.*,evaluate.*,torch.*,transformers.*]
ignore_missing_imports = true
follow_imports = skip
"""


def test_every_command_works(tmp_path: Path) -> None:
    python = new_python(tmp_path)
    for program, module in (("ftr", "ftr"), ("pip", "pip"), ("pytest", "pytest")):
        called = python.with_name(program)
        called.write_text(f'#!/bin/sh\nexec "{python}" -m {module} "$@"\n', encoding="utf-8")
        called.chmod(0o755)
    folder = write_tutorial(tmp_path / "tickets")
    script = "\n".join(["set -euxo pipefail", *(text for _, text in blocks(TUTORIAL, "sh"))])
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FTR_", "PYTEST_"))
    }
    # What builds the package is installed here already.
    environment |= {
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "FTR_CACHE": str(tmp_path / "cache"),
    }
    environment |= {"PATH": f"{python.parent}{os.pathsep}{environment['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (answer,) = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"id"')]
    assert answer["label"] == "urgent"
    record = json.loads(next(folder.glob("runs/*-tickets-*/run.json")).read_text(encoding="utf-8"))
    assert record["labels"] == ["calm", "urgent"] and record["config"]["dataset"]["options"] == {
        "things": 10
    }
    assert record["components"]["metric:urgent_f1"]["distribution"] == "ftr-tickets"
    assert (
        record["scores"]["test"]["urgent_f1"] > record["untrained"]["urgent_f1"]
        or record["scores"]["test"]["accuracy"] == 1.0
    )
    assert next(folder.glob("runs/*-sweep-*/best/model/model.safetensors")).is_file()
    (own,) = folder.glob("runs/*-warmth-*/run.json")
    pairs = json.loads(own.read_text(encoding="utf-8"))
    assert pairs["components"]["head:warmth"]["distribution"] == "warmth.py"
    assert pairs["scores"]["test"]["squared_error"] < pairs["untrained"]["squared_error"]
    assert "more-tickets" in done.stdout


def test_its_types_hold_strictly_with_ftr_from_a_wheel(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
    ]
    subprocess.run([*build, str(wheels), str(PROJECT)], check=True)
    python = new_python(tmp_path)
    # Only the wheel may be found: not the sources that this environment is linked to.
    for path in python.parent.parent.rglob("all.pth"):
        path.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip_install(python, *map(str, wheels.glob("*.whl")))
    folder = write_tutorial(tmp_path / "tickets")
    (folder / "mypy.ini").write_text(STRICT, encoding="utf-8")
    files = [title for title, _ in blocks(TUTORIAL, "python")]
    for package in PACKAGES:
        shutil.copytree(EXAMPLES / package, folder, dirs_exist_ok=True)
        files += [str(path.relative_to(folder)) for path in folder.glob("ftr_*/*.py")]
    files = sorted(set(files))
    assert {"ftr_ner/__init__.py", "ftr_tickets.py", "warmth.py"} <= set(files)
    check = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file=mypy.ini",
        f"--python-executable={python}",
        f"--cache-dir={tmp_path / 'mypy'}",
    ]
    done = subprocess.run([*check, *files], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # And it is types that are checked: what a spec does not take is found.
    (folder / "wrong.py").write_text(
        'from ftr.plugin import MetricSpec\n\nMetricSpec(name="x", target="a:b", mode="best")\n',
        encoding="utf-8",
    )
    done = subprocess.run(
        [*check, "wrong.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (
        done.returncode == 1
        and 'Argument "mode" to "MetricSpec" has incompatible type' in done.stdout
    )
