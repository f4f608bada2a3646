"""`keep_models`: a model goes as soon as it cannot be among the best, whole or not at all, and
whatever asks for it names the key.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftr import atomic
from ftr.cli.main import main
from ftr.cluster.storage import Storage
from ftr.config.schema import SweepConfig
from ftr.config.sweep import recorded_sweep, resolve_sweep
from ftr.errors import ConfigError
from ftr.registry.registry import get_registry
from ftr.runs.directory import RunDirectory
from ftr.study.directory import SweepDirectory
from ftr.study.remote import RemoteSweep, remote_name
from ftr.study.retention import Retention
from ftr.study.trials import SweepState, Trial, rank, replay, superfluous

if TYPE_CHECKING:
    from ftr.study.sweep import SweepResult

WORST = -1e9


def ends(state: SweepState, number: int, value: float | None, epoch: float = 1.0) -> None:
    """Let a trial end with a score; None: it fails."""
    place = {"time": 0.0, "trial": number}
    if value is not None:
        result = {"epoch": epoch, "step": int(epoch * 10), "value": value, "scores": {}}
        state.apply({"event": "result", **place, **result})
    status = "failed" if value is None else "done"
    state.apply({"event": "end", "status": status, **place})


def exported(trials: list[Trial], most: int) -> set[int]:
    """Return the trials whose models are those of the `most` best configurations."""
    entries = [one for one in rank(trials, "max") if one.finished and one.value is not None]
    return {entry.trial for entry in entries[:most]}


def may_be_needed(state: SweepState, trial: Trial, most: int) -> bool:
    """Whether a trial is among the best where all that is open turns out as well for it as it
    can.
    """
    after = copy.deepcopy(state)
    for other in list(after.trials.values()):
        if not other.ended:
            mine = other.group == trial.group and trial.best is not None
            ends(after, other.number, trial.best if mine else WORST, epoch=9.0)
    return trial.number in exported(list(after.trials.values()), most)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("seed", range(10))
def test_a_model_goes_when_nothing_can_make_it_one_of_the_best_any_more(
    repeats: int, seed: int
) -> None:
    draw, most, state = random.Random(seed), 1 + seed % 3, SweepState("max")
    for number in range(24):
        about = {"values": {"n": number}, "group": number // repeats, "repeat": number % repeats}
        state.apply({"event": "trial", "time": 0.0, "trial": number, **about})
    for number in draw.sample(range(24), 24):
        # Few scores, so that many are equal.
        ends(state, number, draw.choice([None, 0.1, 0.5, 0.5, 0.9]), epoch=draw.choice([1.0, 2.0]))
        gone = superfluous(state.trials.values(), "max", repeats, most)
        for trial in gone:
            assert not may_be_needed(state, trial, most)
            state.apply({"event": "remove_model", "time": 0.0, "trial": trial.number})
        assert superfluous(state.trials.values(), "max", repeats, most) == []
        kept = [one for one in state.trials.values() if one.ended and not one.model_removed]
        if repeats == 1:
            assert len(kept) <= most and all(may_be_needed(state, one, most) for one in kept)
    kept_numbers = {one.number for one in state.trials.values() if not one.model_removed}
    assert kept_numbers == exported(list(state.trials.values()), most)


def test_the_models_of_all_trials_stay_where_that_is_asked_for() -> None:
    state = SweepState("max")
    for number in range(4):
        state.apply({"event": "trial", "time": 0.0, "trial": number, "values": {}})
        ends(state, number, None)
    assert SweepConfig(keep_models="all").models_kept is None
    assert superfluous(state.trials.values(), "max", 1, None) == []


def test_an_ensemble_keeps_its_members_and_a_smaller_number_is_refused() -> None:
    assert SweepConfig().models_kept == SweepConfig(ensemble="top2").models_kept == 3
    assert SweepConfig(ensemble="soup5").models_kept == 5
    with pytest.raises(ValueError, match=r"`keep_models=4` removes models that `ensemble=top5`"):
        SweepConfig(ensemble="top5", keep_models=4)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "some"])
def test_a_number_that_would_leave_no_model_is_refused_by_its_key(value: str) -> None:
    with pytest.raises(ConfigError, match=rf"`keep_models` is '?{value}'?.*or it should be 'all'"):
        resolve_sweep(["task=sentiment", f"keep_models={value}"], get_registry())


def test_a_sweep_of_a_version_that_kept_all_models_keeps_them() -> None:
    registry = get_registry()
    record = resolve_sweep(["task=sentiment"], registry).record()
    assert recorded_sweep(record, registry).sweep.models_kept == 3
    del record["sweep"]["keep_models"]
    assert recorded_sweep(record, registry).sweep.models_kept is None


TRIALS, FILES = 4, ("model.safetensors", "config.json", "onnx/model.onnx")


def sweep_on_disk(folder: Path) -> SweepDirectory:
    """Write a sweep whose trials ended and have all their models."""
    sweep = SweepDirectory(folder)
    (folder / "trials").mkdir(parents=True)
    sweep.journal.append("open", format=1)
    for number in range(TRIALS):
        run = RunDirectory(sweep.trial_path(number))
        for name in FILES:
            (run.model / name).parent.mkdir(parents=True, exist_ok=True)
            (run.model / name).write_text(name)
        run.write({"status": "done", "created": 1.0, "config": {}, "weights": {}})
        sweep.journal.append("trial", trial=number, values={})
        sweep.journal.append("result", trial=number, epoch=1.0, step=1, value=number, scores={})
        sweep.journal.append("end", trial=number, status="done")
    return sweep


def resumed(folder: Path) -> SweepState:
    """Remove what `keep_models=2` does not keep, as a sweep that is resumed does."""
    sweep = SweepDirectory(folder)
    atomic.clear_leftovers(folder, held=True)
    state = replay(sweep.events(), "max")

    def write(event: str, **fields: Any) -> None:
        state.apply(sweep.journal.append(event, **fields))

    Retention(sweep, state, 2, 1, write, print).remove()
    return state


def is_killed_at(call: int, folder: Path) -> bool:
    """Resume in a process that is killed at its `call`-th call of the file system; returns False
    where it ended before.
    """
    child = os.fork()
    if child == 0:
        left = call

        def hook(event: str, arguments: Any) -> None:
            nonlocal left
            if event == "open" or event.startswith(("os.", "shutil.")):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        resumed(folder)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def check_killed_everywhere(folder: Path) -> None:
    """Kill a removal at each of its calls, and check what is left then and after another one."""
    template = sweep_on_disk(folder / "template").path
    call = 1
    while True:
        path = shutil.copytree(template, folder / "sweep")
        dead = is_killed_at(call, path)
        for run in path.glob("trials/*"):
            whole = all((run / "model" / name).is_file() for name in FILES)
            assert whole or not (run / "model").exists(), f"half a model after call {call}"
        state = resumed(path)
        left = {int(model.parent.name) for model in path.glob("trials/*/model")}
        assert left == {2, 3}, f"{left} after call {call}"
        assert {one.number for one in state.trials.values() if one.model_removed} == {0, 1}
        for number in range(2):
            record = json.loads((path / f"trials/{number:04d}/run.json").read_text())
            assert record["model_removed"] == "keep_models=2"
        shutil.rmtree(path)
        if not dead:
            break
        call += 1
    assert call > 40, f"only {call} calls were seen"


def test_a_kill_at_any_call_leaves_models_whole_or_gone(tmp_path: Path) -> None:
    # In a process without threads: each removal is a fork of it.
    subprocess.run([sys.executable, __file__, str(tmp_path)], check=True, timeout=120)


def test_a_model_waits_while_a_process_works_on_its_directory(tmp_path: Path) -> None:
    from ftr.runs.directory import hold

    sweep = sweep_on_disk(tmp_path / "sweep")
    with hold(sweep.trial_path(1)):
        state = resumed(sweep.path)
        assert not state.trials[1].model_removed and (sweep.trial_path(1) / "model").is_dir()
    assert resumed(sweep.path).trials[1].model_removed


def test_models_in_a_storage_go_once_their_process_has_sent_all(tmp_path: Path) -> None:
    sweep = sweep_on_disk(tmp_path / "sweep")
    storage = Storage.of(str(tmp_path / "storage"))
    last = RunDirectory(sweep.trial_path(1))
    last.write({**last.read(), "status": "running"})
    for number in range(TRIALS):
        storage.mirror(sweep.trial_path(number), remote_name("sweep", number))
        shutil.rmtree(sweep.trial_path(number))
    state = replay(sweep.events(), "max")

    def write(event: str, **fields: Any) -> None:
        state.apply(sweep.journal.append(event, **fields))

    remote = RemoteSweep(storage, sweep)
    retention = Retention(sweep, state, 2, 1, write, print, remote)
    for finished, left in ((False, {"0001", "0002", "0003"}), (True, {"0002", "0003"})):
        retention.remove(last=finished)
        models = (tmp_path / "storage/sweep/trials").glob("*/model/model.safetensors")
        assert {model.parent.parent.name for model in models} == left
    for number in range(TRIALS):
        remote.fetch_trial(number)
        run = RunDirectory(sweep.trial_path(number))
        assert run.removed_by() == ("keep_models=2" if number < 2 else None)
        assert state.trials[number].model_removed is (number < 2)


def test_a_link_in_place_of_a_model_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    sweep = sweep_on_disk(tmp_path / "sweep")
    run = RunDirectory(sweep.trial_path(0))
    run.record.unlink()
    run.record.mkdir()
    shutil.rmtree(run.model)
    run.model.symlink_to(tmp_path)
    state = resumed(sweep.path)
    assert {one.number for one in state.trials.values() if one.model_removed} == {0, 1}
    assert (tmp_path / "sweep").is_dir() and not run.model.is_symlink()


@pytest.mark.slow
def test_whatever_needs_a_removed_model_names_the_key(
    undisturbed: SweepResult, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = rank(undisturbed.state.trials.values(), "max")
    kept = {entry.trial for entry in entries[:3]}
    models = {int(path.parent.name) for path in undisturbed.path.glob("trials/*/model")}
    assert models == kept and undisturbed.record["winner"] in kept
    for entry in entries:
        expected = f"trials/{entry.trial:04d}/model" if entry.trial in kept else "removed"
        assert entry.model_path == expected
    gone = str(undisturbed.path / f"trials/{entries[-1].trial:04d}")
    best = str(undisturbed.path / "best")
    for words in (
        ["predict", gone, str(reviews)],
        ["evaluate", gone],
        ["compare", best, gone],
        ["export", gone, "onnx"],
        ["resume", gone],
    ):
        assert main(words) == 2, words
        assert "`keep_models=3` keeps those of the best trials" in capsys.readouterr().err, words
    assert main(["runs", gone]) == 0
    assert "keep_models=3" in capsys.readouterr().out


if __name__ == "__main__":
    os.fsync = lambda fd: None  # processes are killed here, and not the power
    check_killed_everywhere(Path(sys.argv[1]))
