"""Plugins that only the driver has, one installed and one a file: a sweep over two nodes works, and
names the plugin that fails there.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clusters import Size, ray_cluster
from editable import new_python, pip_install
from handmade import write_wheel
from trainings import REVIEWS

pytestmark = pytest.mark.slow

HOOKS = """
import ftr


@ftr.hookimpl
def ftr_heads():
    return [ftr.HeadSpec(name="shaky", target="ftr_lab.parts:Shaky", options="ftr_lab.parts:Options")]
"""
PARTS = """
from ftr_plugins.classification.head import SequenceClassificationHead
from pydantic import BaseModel


class Options(BaseModel, extra="forbid"):
    closed: bool = False


class Shaky(SequenceClassificationHead):
    def __init__(self, options=None):
        super().__init__()
        self.closed = bool(options and options.closed)

    def loss(self, outputs, inputs):
        if self.closed:
            raise RuntimeError("the lab is closed")
        return super().loss(outputs, inputs)
"""
FILE = """
import ftr


@ftr.hookimpl
def ftr_metrics():
    return [ftr.MetricSpec(name="right", target="my_task:Right")]


@ftr.hookimpl
def ftr_tasks():
    return [ftr.TaskSpec(name="mine", dataset="sentiment-sample", model="minilm", head="shaky", metrics=("right",))]


class Right:
    def compute(self, predictions, references):
        return {"right": sum(a == b for a, b in zip(predictions, references)) / len(references)}
"""


@dataclass(frozen=True, slots=True)
class Story:
    """A sweep over a cluster: its directory, what the command said, and the addresses of the
    nodes.
    """

    path: Path
    err: str
    hosts: list[str]

    def trials(self) -> list[dict[str, Any]]:
        """Return the places of the leaderboard."""
        entries: list[dict[str, Any]] = json.loads(
            (self.path / "leaderboard.json").read_text(encoding="utf-8")
        )["entries"]
        return entries


@pytest.fixture(scope="module")
def story(tiny_bert: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Two trials, each on a worker of its own, one of which fails in the code of the plugin."""
    folder = tmp_path_factory.mktemp("driver")
    wheel = write_wheel(
        folder,
        "ftr-lab",
        "1.5",
        {"ftr_lab/__init__.py": HOOKS, "ftr_lab/parts.py": PARTS},
        {"lab": "ftr_lab"},
    )
    python = new_python(folder)
    pip_install(python, str(wheel))
    (folder / "my_task.py").write_text(FILE, encoding="utf-8")
    keys = (
        "learning_rate",
        "batch_size",
        "data.max_length",
        "data.validation_size",
        "data.test_size",
        "train.precision",
    )
    asked = {
        **{key: REVIEWS[key] for key in keys},
        "task": "mine",
        "dataset": reviews,
        "model": tiny_bert,
        "epochs": 1,
        "head.closed": "grid(true,false)",
        "compute.workers": 1,
        "output": folder / "runs",
    }
    with ray_cluster(Size(cpus=2), Size(cpus=2)) as cluster:
        words = [
            f"{key}={value}" for key, value in {**asked, "compute.address": cluster.address}.items()
        ]
        command = [str(python), "-m", "ftr", "sweep", "--plugin", "my_task.py", *words]
        done = subprocess.run(
            command,
            cwd=folder,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (sweep,) = (folder / "runs").iterdir()
        return Story(sweep, done.stderr, [node.host for node in cluster.nodes])


def test_both_are_sent_to_both_nodes_and_the_sweep_has_a_winner(story: Story) -> None:
    sent = [line for line in story.err.splitlines() if line.startswith("sent ")]
    assert (
        len(sent) == 2
        and sent[0].startswith("sent ftr-lab 1.5 to 2 nodes: ")
        and sent[1].startswith("sent my_task.py ")
    )
    assert all(host in line for host in story.hosts for line in sent)
    (winner,) = [trial for trial in story.trials() if trial["status"] == "done"]
    assert winner["values"] == {"head.closed": False} and 0 <= winner["value"] <= 1
    record = json.loads((story.path / "best" / "run.json").read_text(encoding="utf-8"))
    assert (
        record["status"] == "done"
        and record["components"]["plugin:my_task"]["distribution"] == "my_task.py"
    )
    assert record["components"]["head:shaky"]["distribution"] == "ftr-lab"


def test_the_trial_that_failed_on_a_worker_names_the_plugin_and_keeps_the_traceback(
    story: Story,
) -> None:
    (failed,) = [trial for trial in story.trials() if trial["status"] == "failed"]
    assert (
        failed["cause"]
        == "the head `shaky` of plugin `lab` (ftr-lab 1.5) failed in `loss`: RuntimeError: the lab "
        "is closed"
    )
    log = (story.path / f"trials/{failed['trial']:04d}/error.log").read_text(encoding="utf-8")
    assert "ftr_lab/parts.py" in log and log.rstrip().endswith("RuntimeError: the lab is closed")
