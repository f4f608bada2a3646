"""Sweeps that are killed, stopped, moved and damaged: nothing is lost, nothing runs twice, and the
ranking is the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftr.cli.main import main
from ftr.errors import ConfigError, DataError, RequestError
from interruptions import Process, command, wait_for, words
from sweeps import REPEATED, ended, events_of, ranking, resume_sweep, started

if TYPE_CHECKING:
    from ftr.study.sweep import SweepResult

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COUNTING = """
import os
from pathlib import Path

import ftr
from ftr_plugins.classification.head import SequenceClassificationHead


class Counting(SequenceClassificationHead):
    def encode(self, rows, *rest, **more):
        with Path(os.environ["ENCODED"]).open("a") as stream:
            stream.write(f"{len(rows['text'])}\\n")
        return super().encode(rows, *rest, **more)


@ftr.hookimpl
def ftr_heads():
    return [ftr.HeadSpec(name="counting", target="fake_counting:Counting", summary="Notes what is encoded.")]
"""


@dataclass
class Story:
    """What was seen while a sweep was killed, refused to a second driver, interrupted, moved, and
    brought to its end.
    """

    path: Path
    killed: list[dict[str, Any]] = field(default_factory=list)
    second: tuple[int, str] = (0, "")
    interrupted: list[dict[str, Any]] = field(default_factory=list)
    stopped: tuple[int, str] = (0, "")
    status: str = ""
    finished: tuple[int, str, str] = (0, "", "")
    encoded: list[int] = field(default_factory=list)

    @property
    def events(self) -> list[dict[str, Any]]:
        """All of the journal."""
        return events_of(self.path)


def running_process(sweep: Path, since: float) -> int | None:
    """Return the process of a trial that has been trained since a moment (Unix seconds) and was
    evaluated.
    """
    for record in sorted(sweep.glob("trials/*/run.json")):
        found = json.loads(record.read_text())
        if (
            found["status"] == "running"
            and found["created"] > since
            and (record.parent / "metrics.jsonl").is_file()
        ):
            return int(found["process"])
    return None


def killed(number: int | None) -> bool:
    """Kill a process; returns whether there was one."""
    if number is not None:
        os.kill(number, signal.SIGKILL)
    return number is not None


@contextlib.contextmanager
def process(*words: object, cwd: Path | None = None) -> Iterator[Process]:
    """Start a command; where the test fails it is ended."""
    begun = command(*words, cwd=cwd)
    try:
        yield begun
    finally:
        if begun.poll() is None:
            begun.terminate()
            begun.communicate()


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A plugin whose head notes what is encoded, for the processes that are started; returns the
    file of its notes.
    """
    site = tmp_path_factory.mktemp("site")
    (site / "fake_counting.py").write_text(COUNTING)
    info = site / "counting_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counting-dist\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ftr.plugins]\ncounting = fake_counting\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH",
            os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")])),
        )
        patch.setenv("ENCODED", str(site / "encoded"))
        yield site / "encoded"


@pytest.fixture(scope="module")
def story(
    counting: Path, tiny_bert: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory
) -> Story:
    """The sweep of `undisturbed`, disturbed."""
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    asked = {
        **REPEATED,
        "head": "counting",
        "dataset": reviews,
        "model": tiny_bert,
        "output": "runs",
    }
    with process("sweep", *words(asked), cwd=here) as driver:
        wait_for(
            lambda: any(
                len(ended(events_of(path.parent))) >= 2
                for path in here.glob("runs/*/journal.jsonl")
            ),
            driver,
        )
        driver.kill()
        driver.communicate()
    (sweep,) = here.glob("runs/*")
    told = Story(sweep, killed=events_of(sweep))
    with process("resume", f"runs/{sweep.name}", cwd=here) as driver:
        wait_for(
            lambda: (
                (sweep / ".lock").is_file() and "resume" in (sweep / "journal.jsonl").read_text()
            ),
            driver,
        )
        with process("resume", sweep) as other:
            told.second = (other.wait(60), (other.communicate()[1]))
        wait_for(lambda: len(ended(events_of(sweep))) >= len(ended(told.killed)) + 2, driver)
        driver.send_signal(signal.SIGINT)
        told.stopped = (driver.wait(120), driver.communicate()[1])
    told.interrupted, told.status = (
        events_of(sweep),
        json.loads((sweep / "sweep.json").read_text())["status"],
    )
    with (sweep / "journal.jsonl").open("a") as stream:
        stream.write('{"event": "result", "trial": 0, "epo')
    told.path = Path(shutil.move(sweep, there / "moved"))
    began = time.time()
    with process("resume", "moved", cwd=there) as driver:
        wait_for(lambda: killed(running_process(told.path, began)), driver)
        out, err = driver.communicate(timeout=280)
        told.finished = (driver.returncode, out, err)
    told.encoded = [int(line) for line in counting.read_text().splitlines()]
    return told


def test_the_ranking_is_that_of_the_undisturbed_sweep(
    story: Story, undisturbed: SweepResult
) -> None:
    code, out, err = story.finished
    assert code == 0, (out, err)
    assert ranking(story.path) == ranking(undisturbed.path)
    assert (
        json.loads((story.path / "sweep.json").read_text())["winner"]
        == undisturbed.record["winner"]
    )
    assert (
        "all 5 trials that were asked for are done" in out
        and (story.path / "best/model/model.safetensors").is_file()
    )


def test_the_models_that_are_left_are_those_of_the_best_three(story: Story) -> None:
    entries = json.loads((story.path / "leaderboard.json").read_text())["entries"]
    models = {path.parent.name for path in story.path.glob("trials/*/model")}
    assert models == {f"{entry['trial']:04d}" for entry in entries[:3]}
    assert [entry["model_path"] for entry in entries[3:]] == ["removed"] * 2
    assert not list(story.path.rglob("*.new-*"))


def test_no_trial_that_ended_is_ever_run_again(story: Story) -> None:
    assert 2 <= len(ended(story.killed)) < len(ended(story.interrupted)) < 10
    for before in (story.killed, story.interrupted):
        assert story.events[: len(before)] == before
        assert not set(ended(before)) & set(started(story.events[len(before) :]))
    assert sorted(ended(story.events)) == list(range(10))
    assert sum(event["event"] == "trial" for event in story.events) == 10


def test_a_trial_whose_process_died_is_taken_up_again(story: Story) -> None:
    after = story.events[len(story.interrupted) :]
    again = [number for number in started(after) if started(after).count(number) == 2]
    assert again and all(event["status"] == "done" for event in after if event["event"] == "end")


def test_a_second_driver_is_refused_and_the_first_goes_on(story: Story) -> None:
    code, err = story.second
    assert code == 2 and "Traceback" not in err
    (line,) = err.splitlines()
    assert line.startswith("ftr: error: ") and "is being worked on by process" in line


def test_ctrl_c_gives_130_and_the_command_that_resumes(story: Story) -> None:
    code, err = story.stopped
    assert code == 130 and story.status == "interrupted" and "Traceback" not in err
    resuming = next(line for line in err.splitlines() if line.startswith("  ftr resume "))
    assert shlex.split(resuming)[-1].startswith("runs/")
    assert (story.interrupted[-1]["event"], story.interrupted[-1]["reason"]) == (
        "stop",
        "interrupted",
    )


def test_a_torn_last_line_is_told_and_left_out(story: Story) -> None:
    assert (
        'journal.jsonl ended in half a line, which is left out: {"event": "result", "trial": 0, '
        '"epo' in story.finished[2]
    )
    lines = (story.path / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == story.events


def test_a_whole_sweep_encodes_what_one_run_does(story: Story) -> None:
    assert sorted(story.encoded) == [12, 12, 36]


def test_other_settings_are_refused_by_name(undisturbed: SweepResult) -> None:
    with pytest.raises(
        ConfigError,
        match=r"`learning_rate` is 'loguniform\(3e-4,0.01\)' in this sweep, not 0.5: ",
    ):
        resume_sweep(undisturbed.path, ["learning_rate=0.5"])
    with pytest.raises(
        ConfigError,
        match=r"`searcher` is 'random' in this sweep, not 'optuna'.*Only `trials`, `time_budget`",
    ):
        resume_sweep(undisturbed.path, ["trials=9", "searcher=optuna"])
    with pytest.raises(ConfigError, match=r"`learning_rat` .* is not a key.*`learning_rate`"):
        resume_sweep(undisturbed.path, ["learning_rat=0.5"])
    with pytest.raises(ConfigError, match=r"`epochs` is 'choice\(6,8\)'"):
        resume_sweep(
            undisturbed.path, ["learning_rate=loguniform(0.0003,1e-2)", "epochs=choice(6,9)"]
        )
    with pytest.raises(ConfigError, match="`trials`"):
        resume_sweep(undisturbed.path, ["trials=0"])


def test_damaged_sweeps_and_those_of_other_versions_are_named(
    undisturbed: SweepResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(undisturbed.path, tmp_path / "copy")
    record = json.loads((copy / "sweep.json").read_text())
    (copy / "sweep.json").write_text(json.dumps({**record, "format": 99}))
    assert main(["resume", str(copy)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "sweep.json` has format 99" in line and "pip install ftr==" in line
    (copy / "sweep.json").write_text("{")
    with pytest.raises(RequestError, match=r"sweep.json` cannot be read"):
        resume_sweep(copy)
    (copy / "sweep.json").write_text(json.dumps(record))
    journal = (copy / "journal.jsonl").read_text().splitlines()
    (copy / "journal.jsonl").write_text(
        "\n".join([*journal[:2], "{ not JSON", *journal[2:]]) + "\n"
    )
    with pytest.raises(DataError, match=r"journal.jsonl` line 3 is damaged"):
        resume_sweep(copy)


def test_other_rows_are_refused(undisturbed: SweepResult, reviews: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(undisturbed.path, tmp_path / "copy")
    record = json.loads((copy / "sweep.json").read_text())
    record["data"]["train"] = "0" * 64
    (copy / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"the train rows are not those this sweep began with"):
        resume_sweep(copy, say=lambda line: None)


def test_a_sweep_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["resume", "nothing-here"]) == 2
    assert "`nothing-here`" in capsys.readouterr().err
