"""ftr without what Windows lacks: every module imports, and the commands that need no Ray run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainings import REVIEWS, write_reviews

TESTS = Path(__file__).parent
IMPORTS = """
import windows
windows.pretend()
import importlib, pkgutil, ftr, ftr_plugins
for package in (ftr, ftr_plugins):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(("__main__", ".usage")):  # programs
            importlib.import_module(module.name)
"""
COMMANDS = """
import json, sys, windows
from pathlib import Path
windows.pretend()
from ftr.cli.main import main
for words in json.loads(sys.argv[1]):
    made = [str(path) for path in sorted(Path("made").glob("*"))]
    if code := main([made[0] if word == "RUN" else word for word in words]):
        sys.exit(f"{words}: {code}")
"""


def played(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code that plays Windows."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_every_module_imports_without_what_windows_lacks(tmp_path: Path) -> None:
    result = played(IMPORTS, folder=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import fcntl", "No module named 'fcntl'"),
        ("import os; os.geteuid()", "has no `geteuid`"),
        ("import os; os.kill(1, 0)", "ends process"),
        ("import os; os.open('.', os.O_RDONLY)", "Permission denied"),
        ("import os; os.open('file', os.O_WRONLY | os.O_CREAT)", "opened as text"),
    ],
)
def test_what_plays_windows_refuses_what_windows_refuses(
    code: str, cause: str, tmp_path: Path
) -> None:
    played_code = f"import windows; windows.pretend(); exec({code!r}, {{'__name__': 'ftr.x'}})"
    assert cause in played(played_code, folder=tmp_path).stderr


def test_a_life_of_a_run_without_what_windows_lacks(tmp_path: Path, tiny_bert: Path) -> None:
    write_reviews(tmp_path / "reviews.csv")
    given = {**REVIEWS, "epochs": 1, "model": tiny_bert, "output": "made"}
    settings = [f"{key}={value}" for key, value in given.items()]
    commands = [
        ["run", "reviews.csv", *settings],
        ["predict", "RUN", "reviews.csv", "--output", "answers.csv"],
        ["predict", "RUN", "reviews.csv", "--output", "answers.csv", "--overwrite"],
        ["evaluate", "RUN"],
        ["runs", "RUN", "--tag", "first"],
        ["reproduce", "RUN"],
        ["report", "RUN"],
        ["runs", "--rm", "RUN"],
    ]
    result = played(COMMANDS, json.dumps(commands), folder=tmp_path)
    assert result.returncode == 0, result.stderr + result.stdout
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8").count("\n") > 1
    assert not list((tmp_path / "made").iterdir())
    assert len(list((tmp_path / "runs").iterdir())) == 1, "the reproduction"
