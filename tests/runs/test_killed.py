"""Real processes that are killed and signalled: nothing is lost, and the weights are the same."""

from __future__ import annotations

import json
import random
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftr.train.checkpoint import last_step
from interruptions import Start, logged, outcome, resumed, wait_for, words
from trainings import REVIEWS, Settings, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

LONG: Settings = {
    **REVIEWS,
    "batch_size": 1,
    "learning_rate": 1e-3,
    "epochs": 6,
    "train.save_steps": 7,
    "train.logging_steps": 4,
}
EPOCH = 36
"""Steps of an epoch: long enough to hit one in its middle."""


@pytest.fixture(scope="module")
def undisturbed(
    tiny_bert: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the long training comes to."""
    return outcome(
        train(
            LONG, dataset=reviews, model=tiny_bert, output=tmp_path_factory.mktemp("undisturbed")
        ).path
    )


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again_loses_nothing(
    start: Start,
    undisturbed: dict[str, Any],
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
) -> None:
    rng, kills = random.Random(0), 3
    process = start("run", *words(LONG, dataset=reviews, model=tiny_bert, output=tmp_path))
    for part in range(kills):
        # Half of the steps are left after the last kill: a busy machine may notice late that the
        # moment has come.
        moment = rng.randrange(30 * part + 10, 30 * part + 40)
        wait_for(lambda: logged(tmp_path) >= moment, process)  # noqa: B023
        time.sleep(rng.random() / 20)
        process.kill()
        process.communicate()
        (run,) = tmp_path.iterdir()
        listing = start("runs", tmp_path, "--json").communicate()[0]
        assert [entry["status"] for entry in json.loads(listing)] == ["stopped"]
        process = start("resume", run)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "resuming from step" in err and "model:  " in out
    assert outcome(run) == undisturbed
    record = json.loads((run / "run.json").read_text())
    steps = [part["step"] for part in record["resumed"]]
    assert len(steps) == kills and steps == sorted(steps) and steps[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_of_that_step_and_the_command_that_resumes(
    number: signal.Signals,
    start: Start,
    undisturbed: dict[str, Any],
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
) -> None:
    asked = words(LONG, dataset=reviews, model=tiny_bert, output="runs")
    process = start(
        "run", *[word.replace("steps=7", "steps=100000") for word in asked], cwd=tmp_path
    )
    wait_for(lambda: logged(tmp_path / "runs") > EPOCH, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    (run,) = (tmp_path / "runs").iterdir()
    assert process.returncode == 130
    assert "Traceback" not in err and "Warning" not in err and not list(run.rglob("*.new-*"))
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    step = last_step(run)
    assert step is not None and step > EPOCH and f"interrupted at step {step}; resume with" in err
    resuming = next(line.strip() for line in err.splitlines() if line.startswith("  ftr resume "))
    assert shlex.split(resuming) == ["ftr", "resume", f"runs/{run.name}"]
    resumed(run)
    assert outcome(run) == undisturbed


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        ("run", 0.7),
        ("predict", 1.5),
        pytest.param("run", 1.5, marks=pytest.mark.slow),
        pytest.param("run", 3.0, marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_while_libraries_and_the_model_load_is_one_line_and_leaves_nothing(
    kind: str,
    seconds: float,
    start: Start,
    classifier: RunResult,
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
) -> None:
    asked = {
        "run": words(LONG, dataset=reviews, model=tiny_bert, output=tmp_path / "runs"),
        "predict": [str(classifier.path), str(reviews), "--output", str(tmp_path / "rows.jsonl")],
    }
    process = start(kind, *asked[kind], fresh=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert not (tmp_path / "rows.jsonl").exists() or process.returncode == 0
    if process.returncode != 0 or kind == "run":  # a fast machine may have predicted by then
        assert process.returncode == 130 and out == "" and "Traceback" not in err
        # One that reads data or trains by then has said more before.
        assert err.splitlines()[-1].startswith(("ftr: interrupted", "  ftr resume"))
    assert not list(tmp_path.rglob("*.new-*"))
