"""Wheels of five outsiders in one environment: two with the same names, one broken, one too old,
one that wants the name `qa`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from editable import new_python, pip_install
from handmade import write_wheel
from trainings import QUESTIONS, REVIEWS, Settings

LAB = """
import ftr


@ftr.hookimpl
def ftr_datasets():
    return [ftr.DatasetSpec(name="films", target="{package}.parts:Films", columns=("id", "text", "label"), summary="by {package}")]


@ftr.hookimpl
def ftr_tasks():
    metrics = ("accuracy",)
    return [ftr.TaskSpec(name="mood", dataset="films", model="minilm", head="sequence-classification", metrics=metrics)]
"""
PARTS = """
from datasets import Dataset, DatasetDict


class Films:
    def load(self, options):
        rows = [dict(id=str(n), text="good film" if n % 2 else "bad film", label="{package}-" + "ab"[n % 2]) for n in range(60)]
        return DatasetDict(train=Dataset.from_list(rows))
"""
SHADOW = """
import ftr


@ftr.hookimpl
def ftr_tasks():
    return [ftr.TaskSpec(name="qa", dataset="films", model="minilm", head="sequence-classification", metrics=("accuracy",))]


@ftr.hookimpl
def ftr_heads():
    return [ftr.HeadSpec(name="extractive-qa", target="nowhere:Head")]
"""
# One process for many commands: torch takes seconds to import.
SCRIPT = """
import contextlib, io, json, sys
from ftr.cli.main import main

found = []
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    found.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(found))
"""
COMPLAINTS = [
    "ftr: plugin `antique` (ftr-antique 0.3) not loaded: it requires `ftr<0.0.1` and this is ftr ",
    "ftr: plugin `broken` (ftr-broken 1.2) not loaded: ValueError: boom (see `ftr plugins "
    "--traceback broken`)",
]
MOST = {
    "epochs",
    "batch_size",
    "learning_rate",
    "data.max_length",
    "data.stride",
    "head.max_question_length",
    "train.precision",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with all five installed by pip."""
    folder = tmp_path_factory.mktemp("outsiders")
    wheels = [
        write_wheel(
            folder,
            f"ftr-{name}",
            version,
            {
                f"{name}/__init__.py": LAB.format(package=name),
                f"{name}/parts.py": PARTS.format(package=name),
            },
            {name: name},
            ["ftr>=0.0.1"],
        )
        for name, version in (("north", "1.0"), ("south", "2.5"))
    ]
    wheels.append(
        write_wheel(
            folder,
            "ftr-broken",
            "1.2",
            {"broken_hooks.py": "raise ValueError('boom')"},
            {"broken": "broken_hooks"},
        )
    )
    antique = {"antique.py": "raise AssertionError('it must not be imported')"}
    wheels.append(
        write_wheel(folder, "ftr-antique", "0.3", antique, {"antique": "antique"}, ["ftr<0.0.1"])
    )
    wheels.append(write_wheel(folder, "ftr-shady", "3.1", {"shady.py": SHADOW}, {"shady": "shady"}))
    python = new_python(folder)
    pip_install(python, *map(str, wheels))
    return python


def call(python: Path, folder: Path, *commands: Sequence[str]) -> list[tuple[int, str, str]]:
    """Run commands in one process that finds the outsiders, and return exit code, stdout and stderr
    of each.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("FTR_PLUGINS", "FTR_PLUGIN_FILES")
    }
    done = subprocess.run(
        [python, "-c", SCRIPT],
        cwd=folder,
        env=environment,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    return [(code, out, err) for code, out, err in json.loads(done.stdout.splitlines()[-1])]


def test_the_plugins_command_tells_the_story(python: Path, tmp_path: Path) -> None:
    (told, as_json, trace) = call(
        python, tmp_path, ["plugins"], ["plugins", "--json"], ["plugins", "--traceback", "broken"]
    )
    assert [
        line
        for line, known in zip(told[2].splitlines(), COMPLAINTS, strict=True)
        if not line.startswith(known)
    ] == []
    records = {record["name"]: record for record in json.loads(as_json[1])}
    assert {
        name: (record["status"], record["version"])
        for name, record in records.items()
        if not record["builtin"]
    } == {
        "north": ("loaded", "1.0"),
        "south": ("loaded", "2.5"),
        "broken": ("failed", "1.2"),
        "antique": ("skipped", "0.3"),
        "shady": ("loaded", "3.1"),
    }
    assert records["north"]["ambiguous"] == ["dataset north:films", "task north:mood"]
    assert records["shady"]["shadowed_by"] == [
        {"kind": "head", "name": "extractive-qa", "by": [f"`qa` (ftr {records['qa']['version']})"]},
        {"kind": "task", "name": "qa", "by": [f"`qa` (ftr {records['qa']['version']})"]},
    ]
    assert {"kind": "task", "name": "qa", "of": ["`shady` (ftr-shady 3.1)"]} in records["qa"][
        "shadows"
    ]
    for line in (
        "task: qa (shadows that of `shady` (ftr-shady 3.1))",
        "task: mood (another plugin uses this name, `south` (ftr-south 2.5): ask for north:mood)",
        "ask for shady:qa)",
        "cause: ValueError: boom (`ftr plugins --traceback broken`)",
        "cause: it requires `ftr<0.0.1`",
    ):
        assert line in told[1]
    assert "broken_hooks.py" in trace[1] and "ValueError: boom" in trace[1]


def test_every_command_works_and_both_built_in_tasks_train(
    python: Path, tmp_path: Path, tiny_bert: Path, reviews: Path, questions: Path
) -> None:
    def words(settings: Settings, **keys: object) -> list[str]:
        short = {key: value for key, value in settings.items() if key in MOST} | {
            "model": tiny_bert,
            "epochs": 1,
            "output": "runs",
        }
        return [f"{key}={value}" for key, value in {**short, **keys}.items()]

    listed, clash, shown, schema, answers, moods, theirs, runs = call(
        python,
        tmp_path,
        ["list", "--json"],
        ["show", "task=mood"],
        ["show", "task=south:mood", "--json"],
        ["schema"],
        ["run", *words(QUESTIONS, task="qa", dataset=questions), "--json"],
        ["run", *words(REVIEWS, task="sentiment", dataset=reviews), "--json"],
        ["run", *words(REVIEWS, task="south:mood"), "--json"],
        ["runs", "runs", "--json"],
    )
    names = {entry["qualified"] for entry in json.loads(listed[1])}
    assert {
        "north:films",
        "south:films",
        "north:mood",
        "south:mood",
        "shady:qa",
        "qa:qa",
        "sentiment:sentiment",
    } <= names
    assert (clash[0], clash[1]) == (2, "")
    assert (
        "the task `mood` is registered by more than one plugin: `north` (ftr-north 1.0) and "
        "`south` (ftr-south 2.5)." in clash[2]
    )
    assert json.loads(shown[1])["values"]["dataset"] == "south:films", (
        "a task takes its own plugin's dataset"
    )
    assert {"north:mood", "south:mood", "shady:qa", "qa"} <= set(
        json.loads(schema[1])["properties"]["task"]["examples"]
    )
    for code, out, err in (answers, moods, theirs):
        assert code == 0, err
        assert json.loads(out)["record"]["status"] == "done"
    components: dict[str, Any] = json.loads(answers[1])["record"]["components"]
    assert {
        entry["distribution"] for entry in components.values() if entry.get("registered", True)
    } == {"ftr"}
    assert (
        json.loads(theirs[1])["record"]["components"]["dataset:south:films"]["distribution"]
        == "ftr-south"
    )
    assert json.loads(theirs[1])["record"]["labels"] == ["south-a", "south-b"]
    assert [run["status"] for run in json.loads(runs[1])] == ["done"] * 3
