"""A test that takes long is either marked `slow` or named at the end of the session."""

import subprocess
import sys
from pathlib import Path

TESTS = """
import time

import pytest


@pytest.mark.slow
def test_marked():
    time.sleep(0.3)


def test_unmarked():
    time.sleep(0.3)


@pytest.fixture
def heavy():
    time.sleep(0.3)


def test_of_a_heavy_fixture(heavy):
    pass


def test_quick():
    pass
"""
SETTINGS = "[pytest]\nslow_seconds = 0.2\nmarkers = slow\n"


def test_unmarked_tests_over_the_limit_are_named_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tiers",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    named = done.stdout.partition("without the marker `slow`")[2]
    assert "::test_unmarked\n" in named and "::test_of_a_heavy_fixture\n" in named, done.stdout
    assert "test_marked" not in named and "test_quick" not in named
