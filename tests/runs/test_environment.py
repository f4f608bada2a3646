"""What a record says of the environment: git, container, code, packages."""

from __future__ import annotations

import hashlib
import subprocess
import time
from importlib.metadata import distributions
from pathlib import Path

import pytest

from ftr.registry.registry import get_registry
from ftr.runs.environment import container, environment, git_state, installed


def git(folder: Path, *words: str) -> bytes:
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, check=True
    ).stdout


def test_git_state_has_commit_and_hash_of_the_difference_and_no_content(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == {"commit": None, "dirty": False, "diff_sha256": None}
    file = tmp_path / "a.txt"
    file.write_text("one\n", encoding="utf-8")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD").decode().strip()
    clean = {"commit": commit, "dirty": False, "diff_sha256": None}
    assert git_state(tmp_path) == clean
    (tmp_path / "untracked").touch()
    assert git_state(tmp_path) == clean
    file.write_text("secret words\n", encoding="utf-8")
    found = git_state(tmp_path)
    difference = git(tmp_path, "diff", "HEAD", "--binary")
    assert found == {
        "commit": commit,
        "dirty": True,
        "diff_sha256": hashlib.sha256(difference).hexdigest(),
    }
    assert "secret" not in str(found)


def test_a_repository_cannot_name_a_program_to_run(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("one\n", encoding="utf-8")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-q", "-m", "first")
    (tmp_path / "a.txt").write_text("two\n", encoding="utf-8")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n", encoding="utf-8")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external"):
        git(tmp_path, "config", key, str(program))
    assert (git_state(tmp_path) or {})["dirty"] and not (tmp_path / "ran").exists()


def test_git_that_is_absent_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_the_container_is_what_files_and_variables_say(tmp_path: Path) -> None:
    assert container(tmp_path, {}) is None
    assert container(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == {
        "engine": "kubernetes",
        "image": None,
        "image_id": None,
    }
    (tmp_path / ".dockerenv").touch()
    found = container(tmp_path, {"FTR_CONTAINER_IMAGE": "team/train:3"})
    assert found == {"engine": "docker", "image": "team/train:3", "image_id": None}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".containerenv").write_text(
        'engine="podman-4.9"\nimage="registry.example.org/train:3"\nimageid="ab12"\n',
        encoding="utf-8",
    )
    assert container(tmp_path, {}) == {
        "engine": "podman",
        "image": "registry.example.org/train:3",
        "image_id": "ab12",
    }


def test_all_installed_packages_are_listed_with_their_versions() -> None:
    found = {name.lower().replace("_", "-"): version for name, version in installed().items()}
    for one in distributions():
        name = one.metadata["Name"].lower().replace("_", "-").replace(".", "-")
        assert found.get(name) or found.get(one.metadata["Name"].lower()), name
    assert found["torch"] == __import__("torch").__version__


def test_the_code_of_ftr_and_of_plugins_has_a_hash_and_nothing_takes_long() -> None:
    plugins = [get_registry().find("head", "sequence-classification").plugin]
    environment(plugins)
    began = time.perf_counter()
    found = environment(plugins)
    # Measured: 24 ms of processor time the first time, 12 ms from then on, git included.
    assert time.perf_counter() - began < 1
    assert set(found["source"]) == {"ftr", "ftr_plugins"}
    assert all(len(one) == 64 for one in found["source"].values())
    assert "\n" not in found["installed"] and "torch==" in found["installed"]
