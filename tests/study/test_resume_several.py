"""A run of several that was cut off goes on with the member it was at, and ends as one that never
was.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ftr.cluster.storage import Storage
from ftr.errors import ConfigError, RequestError, RunError
from ftr.runs.directory import LOCK, RunDirectory
from ftr.runs.run import is_resumable
from ftr.study.members import Combined
from ftr.train.session import Session
from ftr.train.trainer import StepTrainer
from interruptions import cut_off, interrupted, resumed
from trainings import REVIEWS, Settings, train

TWO: Settings = {
    **REVIEWS,
    "epochs": 2,
    "train.save_steps": 2,
    "train.eval_on_start": False,
    "baselines": False,
}
BAGGING: Settings = {**TWO, "ensemble": "bagging", "ensemble_size": 2}
BOOSTING: Settings = {**TWO, "boosting": 2}
STEPS = 10
"""Of one member."""


def left(run: Path) -> dict[str, Any]:
    """Return all of a finished run of several that must not depend on interruptions."""
    record = json.loads((run / "run.json").read_text())
    files = [
        path
        for folder in ("model", "members", "predictions")
        for path in sorted((run / folder).rglob("*"))
        if path.is_file()
    ]
    kept = [
        path
        for path in files
        if path.suffix in (".safetensors", ".npy") or path.parent.name == "predictions"
    ]
    return {
        "files": {
            str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in kept
        },
        "all": sorted(str(path.relative_to(run)) for path in files),
        "record": {
            key: record.get(key)
            for key in (
                "status",
                "scores",
                "summary",
                "best_member",
                "ensemble",
                "state",
                "heldout",
                "notes",
            )
        },
        "members": [
            {key: value for key, value in one.items() if key != "seconds"}
            for one in record["members"]
        ],
        "names": sorted(path.name for path in run.iterdir()),
    }


def _status(run: Path, member: int) -> str:
    record = run / f"members/{member}/run.json"
    return str(json.loads(record.read_text())["status"]) if record.is_file() else "none"


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, reviews: Path
) -> dict[str, dict[str, Any]]:
    """What runs that nobody disturbs leave."""
    ways = {"bagging": BAGGING, "boosting": BOOSTING}
    folder = tmp_path_factory.mktemp("undisturbed")
    return {
        name: left(train(settings, dataset=reviews, model=tiny_bert, output=folder).path)
        for name, settings in ways.items()
    }


@pytest.mark.parametrize(
    ("way", "place", "members"),
    [
        pytest.param(
            "bagging",
            (StepTrainer, "training_step", 7),
            ("interrupted", "none"),
            marks=pytest.mark.slow,
        ),
        ("bagging", (StepTrainer, "training_step", STEPS + 7), ("done", "interrupted")),
        pytest.param(
            "bagging", (Session, "predict", 5), ("done", "interrupted"), marks=pytest.mark.slow
        ),
        pytest.param("bagging", (Combined, "move_in", 1), ("done", "done"), marks=pytest.mark.slow),
        ("boosting", (StepTrainer, "training_step", STEPS + 7), ("done", "interrupted")),
    ],
)
def test_it_ends_the_same_wherever_it_is_cut_off(
    way: str,
    place: tuple[type, str, int],
    members: tuple[str, str],
    undisturbed: dict[str, dict[str, Any]],
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
) -> None:
    settings = BAGGING if way == "bagging" else BOOSTING
    run = interrupted(settings, *place, dataset=reviews, model=tiny_bert, output=tmp_path)
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert (_status(run, 0), _status(run, 1)) == members
    before = (run / "members/0/run.json").read_bytes()
    result = resumed(run)
    assert left(run) == undisturbed[way]
    assert result.path == run and not list(run.rglob(LOCK)) and not list(run.rglob("*.new-*"))
    if members[0] == "done" and way == "bagging":
        assert (run / "members/0/run.json").read_bytes() == before


def test_the_command_that_resumes_is_that_of_the_whole(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ftr

    said: list[str] = []
    cut_off(monkeypatch, StepTrainer, "training_step", STEPS + 3)
    with pytest.raises(KeyboardInterrupt):
        ftr.run(
            {**BAGGING, "dataset": str(reviews), "model": str(tiny_bert), "output": str(tmp_path)},
            say=said.append,
        )
    (run,) = tmp_path.iterdir()
    assert said[-2:] == [
        "interrupted: 1 of 2 members are done; resume with",
        f"  ftr resume {run}",
    ]
    assert sum("ftr resume" in line for line in said) == 1


def test_a_member_that_fails_leaves_the_others_and_its_cause(
    undisturbed: dict[str, dict[str, Any]], tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut_off(patch, StepTrainer, "training_step", STEPS + 7, RunError)
        with pytest.raises(RunError, match="cut off"):
            train(BAGGING, dataset=reviews, model=tiny_bert, output=tmp_path)
    (run,) = tmp_path.iterdir()
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "failed" and "cut off" in record["error"]
    assert (_status(run, 0), _status(run, 1)) == ("done", "failed")
    with pytest.raises(RequestError, match=f"ftr resume .*{run.name}`"):
        resumed(run / "members/1")
    resumed(run)
    assert left(run) == undisturbed["bagging"]


def test_other_settings_and_a_run_that_is_done(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    run = train({**TWO, "seeds": 2, "epochs": 1}, dataset=reviews, model=tiny_bert, output=tmp_path)
    (run.path / "README.md").unlink()
    assert (
        resumed(run.path).record == run.record and "2 seeds" in (run.path / "README.md").read_text()
    )
    with pytest.raises(ConfigError, match="seeds"):
        resumed(run.path, seeds=3)


def test_the_mirror_holds_the_whole_run_and_its_members(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    place = f"file://{tmp_path}/mirror"
    run = train(
        {**BAGGING, "epochs": 1},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path / "runs",
        **{"compute.storage": place},
    )
    Storage.of(place).fetch(run.path.name, tmp_path / "back", exclude=())
    here = {
        str(path.relative_to(run.path)): path.read_bytes()
        for path in run.path.rglob("*")
        if path.is_file()
    }
    back = {
        str(path.relative_to(tmp_path / "back")): path.read_bytes()
        for path in (tmp_path / "back").rglob("*")
        if path.is_file()
    }
    assert (
        here == back
        and "members/1/run.json" in back
        and "model/members/0/model.safetensors" in back
    )


def test_nothing_is_kept_of_a_run_whose_members_did_not_begin(tmp_path: Path) -> None:
    (tmp_path / "members/0").mkdir(parents=True)
    assert not is_resumable(RunDirectory(tmp_path))
    (tmp_path / "members/0/checkpoints/step-00000002").mkdir(parents=True)
    assert is_resumable(RunDirectory(tmp_path))
