"""Early stopping: when it stops, what is kept, that it survives a cut, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftr.errors import ConfigError
from ftr.train.checkpoint import EarlyStopping
from ftr.train.session import Session
from ftr.train.trainer import StepTrainer
from interruptions import interrupted, outcome, resumed
from trainings import QUESTIONS, REVIEWS, lines, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

# At this rate the scores stand still.
STILL = {
    **REVIEWS,
    "baselines": False,
    "epochs": 6,
    "learning_rate": 1e-7,
    "train.early_stopping_patience": 2,
    "train.save_steps": 5,
}


@pytest.mark.parametrize(
    ("patience", "better", "stops"),
    [
        (1, [True, False], 1),
        (2, [True, False, True, False, False], 4),
        (2, [True, False, True, False], None),
        (None, [False] * 9, None),
    ],
)
def test_it_counts_evaluations_since_the_best(
    patience: int | None, better: list[bool], stops: int | None
) -> None:
    stopping = EarlyStopping(patience)
    ended = [
        stopping.update(one, {"epoch": float(number), "step": number, "value": 0.5})
        for number, one in enumerate(better)
    ]
    assert ended == [number == stops for number in range(len(better))]
    assert stopping.stopped == (None if stops is None else {"epoch": float(stops), "step": stops})
    if stops is not None:
        end = EarlyStopping(patience, since=patience or 0)
        assert not end.update(False, {"epoch": 9.0, "step": 9}, last=True), (
            "the end of the training is not early"
        )
    again = EarlyStopping(patience)
    again.load_state_dict(stopping.state_dict())
    assert again == stopping


@pytest.fixture(scope="module")
def whole(tiny_bert: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run that stopped early, undisturbed."""
    return train(STILL, dataset=reviews, model=tiny_bert, output=tmp_path_factory.mktemp("whole"))


def test_a_training_stops_after_so_many_evaluations_that_are_no_better(whole: RunResult) -> None:
    run = whole
    assert run.record["stopped_early"] == {"epoch": 3.0, "step": 15} and run.record["steps"] == 15
    assert run.record["best"]["epoch"] == 1.0
    seen = [
        one["epoch"] for one in lines(run.path / "metrics.jsonl") if one["kind"] == "validation"
    ]
    assert seen == [1.0, 2.0, 3.0]
    best = next(one for one in lines(run.path / "metrics.jsonl") if one["kind"] == "validation")
    assert run.record["scores"]["validation"]["accuracy"] == best["accuracy"]
    line = EarlyStopping(2, since=2).message("accuracy", run.record["best"])
    assert line.startswith(
        "stopped early: 2 evaluations without a better accuracy than"
    ) and line.endswith("epoch 1.00, whose weights are kept")


def test_evaluations_by_steps_are_counted_and_the_last_step_has_one(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    run = train(
        {**STILL, "train.evaluate_every": 2}, dataset=reviews, model=tiny_bert, output=tmp_path
    )
    assert run.record["stopped_early"] == {"epoch": 1.2, "step": 6}
    whole = train(
        {**STILL, "train.evaluate_every": 4, "train.early_stopping_patience": None, "epochs": 2},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path,
    )
    assert [
        one["step"] for one in lines(whole.path / "metrics.jsonl") if one["kind"] == "validation"
    ] == [4, 8, 10]
    assert whole.record["stopped_early"] is None


def test_the_direction_is_that_of_the_metric(
    tiny_bert: Path, questions: Path, tmp_path: Path
) -> None:
    settings = {
        **QUESTIONS,
        "epochs": 3,
        "train.early_stopping_patience": 1,
        "train.freeze": "backbone",
        "learning_rate": 1e-7,
    }
    run = train(settings, dataset=questions, model=tiny_bert, output=tmp_path)
    assert run.record["stopped_early"]["epoch"] == 2.0 and run.record["best"]["epoch"] == 1.0


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        pytest.param(StepTrainer, "training_step", 13, marks=pytest.mark.slow),
        (Session, "finish", 1),
    ],
    ids=["in between", "once it has stopped"],
)
def test_a_training_that_is_cut_off_stops_where_it_would_have(
    owner: type,
    name: str,
    call: int,
    whole: RunResult,
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
) -> None:
    run = interrupted(
        STILL, owner, name, call, dataset=reviews, model=tiny_bert, output=tmp_path / "cut"
    )
    assert resumed(run).record["stopped_early"] == whole.record["stopped_early"]
    assert outcome(run) == outcome(whole.path)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"train.early_stopping_patience": 2}, "train.early_stopping_patience"),
        ({"train.evaluate_every": 5}, "train.evaluate_every"),
        ({"train.lr_scheduler": "reduce_lr_on_plateau"}, "train.lr_scheduler=reduce_lr_on_plateau"),
    ],
)
def test_without_validation_rows_it_is_refused_before_anything_is_encoded(
    options: dict[str, Any], key: str, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"`{key}` needs validation rows and there are none \(`data.validation_size=0`\)",
    ):
        train(
            {
                **REVIEWS,
                "data.validation_size": 0,
                "data.cache": str(tmp_path / "encoded"),
                **options,
            },
            dataset=reviews,
            model=tiny_bert,
            output=tmp_path / "runs",
        )
    assert not list(tmp_path.iterdir())
