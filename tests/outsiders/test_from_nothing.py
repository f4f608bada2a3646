"""From an empty folder to a task of one's own: written, installed, tested, trained and swept,
without touching this repository.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("from_nothing.sh")
COMMANDS = ["ftr new", "pip install", "pytest ftr-toxicity", "ftr run", "ftr sweep"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stranger_gets_from_nothing_to_a_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FTR_", "PYTEST_"))
    }
    environment["FTR_CACHE"] = str(tmp_path / "cache")
    # Not the checks that start Ray, nor heads on every family of models: `tests/plugins` has both
    # run on what is built in.
    left_out = ("two_workers", "trials_of_a_sweep", "roberta", "distilbert", "gpt2")
    environment["PYTEST_ADDOPTS"] = f"-k 'not {' and not '.join(left_out)}'"
    done = subprocess.run(
        [str(SCRIPT), str(folder), sys.executable, "2"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    times = re.findall(r"^ *(\d+\.\d) s  (\S+ \S+)", done.stdout, re.MULTILINE)
    assert [command for _, command in times] == [*COMMANDS, "in all,"]

    run = json.loads(
        next((folder / "runs").glob("*-toxicity-*/run.json")).read_text(encoding="utf-8")
    )
    counts = run["data"]["splits"]["test"]["labels"]
    majority = max(counts.values()) / sum(counts.values())
    assert run["scores"]["test"]["accuracy"] > majority + 0.2
    assert run["scores"]["test"]["toxicity-f1"] > 0.75
    owners = {
        run["components"][name]["distribution"]
        for name in ("task:toxicity", "dataset:toxicity", "metric:toxicity-f1")
    }
    assert owners == {"ftr-toxicity"}

    sweep = next((folder / "runs").glob("*/sweep.json")).parent
    places = json.loads((sweep / "leaderboard.json").read_text(encoding="utf-8"))["entries"]
    assert len(places) == 2 and places[0]["rank"] == 1
    assert places[0]["value"] > 0.75 and set(places[0]["values"]) == {
        "learning_rate",
        "dataset.min_words",
    }
    assert (sweep / "best" / "model" / "model.safetensors").is_file()
