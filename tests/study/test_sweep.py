"""Whole sweeps of a tiny model: what is tried, what is stopped, what is ranked, and what is handed
over.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import pytest

from ftr.cli.main import main
from ftr.study.trials import rank, replay, winner
from sweeps import TINY, ended, events_of, ranking, resume_sweep, search, started
from trainings import Settings, lines

if TYPE_CHECKING:
    from ftr.study.sweep import SweepResult

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("ray_here")]

FIFO: Settings = {**TINY, "searcher": "random", "scheduler": "fifo", "max_concurrent": 1}


def test_a_process_of_ray_begins_with_what_trials_need() -> None:
    import ray

    from ftr.cluster.connect import PRELOADED, WORKER
    from ftr.study.sweep import IMPORTED

    def imported() -> list[str]:
        import os
        import sys

        assert os.environ["RAY_ADDRESS"]
        return [name for name in (WORKER, *IMPORTED) if name in sys.modules]

    assert ray.get(ray.remote(imported).remote()) == [WORKER, *IMPORTED]
    assert PRELOADED not in os.environ


@pytest.fixture(scope="module")
def broken_bert(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A model that can be configured and encoded for, and whose weights are not all there."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_bert, tmp_path_factory.mktemp("models") / "broken-bert")
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "attention" in name))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def grid(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, broken_bert: Path, reviews: Path
) -> SweepResult:
    """A grid of which three points of four cannot be trained."""
    space = {"model": f"choice({tiny_bert},{broken_bert})", "learning_rate": "choice(5e-3,1e30)"}
    output = tmp_path_factory.mktemp("grid")
    return search(
        {**TINY, "searcher": "grid", "epochs": 2, "train.warmup": 0, **space},
        dataset=reviews,
        output=output,
    )


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, reviews: Path) -> SweepResult:
    """A sweep with successive halving over trainings of different length."""
    settings = {
        **TINY,
        "searcher": "random",
        "scheduler": "asha",
        "grace_period": 4,
        "reduction_factor": 2,
        "trials": 10,
        "train.logging_steps": 1,
    }
    # One of three learns nothing.
    space = {"learning_rate": "choice(1e-6,5e-3,7e-3)", "epochs": "choice(6,8)"}
    return search(
        {**settings, **space},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path_factory.mktemp("halved"),
    )


@pytest.mark.slow
def test_the_leaderboard_is_what_the_journal_tells(undisturbed: SweepResult) -> None:
    events = events_of(undisturbed.path)
    state = replay(events, "max")
    entries = rank(state.trials.values(), "max")
    written = json.loads((undisturbed.path / "leaderboard.json").read_text())
    assert written["primary"] == "accuracy"
    assert [(e["rank"], e["trial"], e["value"]) for e in written["entries"]] == [
        (e.rank, e.trial, e.value) for e in entries
    ]
    first = winner(entries)
    assert (
        first is not None
        and undisturbed.record["winner"] == first.trial
        and undisturbed.record["status"] == "done"
    )
    assert [event["event"] for event in events[:2]] == ["open", "trial"] and events[-1][
        "event"
    ] == "stop"
    assert (
        undisturbed.record["stopped_by"]
        == events[-1]["reason"]
        == undisturbed.ending.reason
        == "trials"
    )
    for name in (
        "leaderboard.csv",
        "expected.json",
        "expected.png",
        "best/README.md",
        "best/predictions/test.jsonl",
    ):
        assert (undisturbed.path / name).stat().st_size > 0, name


@pytest.mark.slow
def test_repeats_rank_by_their_mean_and_differ_in_seed(undisturbed: SweepResult) -> None:
    trials = undisturbed.state.trials
    assert sorted(trials) == list(range(10)) and Counter(
        trial.group for trial in trials.values()
    ) == dict.fromkeys(range(5), 2)
    for entry in rank(trials.values(), "max"):
        bests = [trials[number].best for number in entry.trials]
        assert entry.value == pytest.approx(fmean(best for best in bests if best is not None))
        seeds = [
            json.loads((undisturbed.path / f"trials/{number:04d}/run.json").read_text())["config"][
                "seed"
            ]
            for number in entry.trials
        ]
        assert seeds[1] == seeds[0] + 1


@pytest.mark.slow
def test_each_trial_is_an_ordinary_run_without_optimizer_state(undisturbed: SweepResult) -> None:
    for number, trial in undisturbed.state.trials.items():
        run = undisturbed.path / "trials" / f"{number:04d}"
        record = json.loads((run / "run.json").read_text())
        assert (record["status"], record["trial"]) == ("done", number)
        assert {key: record["config"][key] for key in trial.values} == trial.values
        assert sorted(path.name for path in run.iterdir()) == ["metrics.jsonl", "model", "run.json"]
        found = [
            line["accuracy"]
            for line in lines(run / "metrics.jsonl")
            if line["kind"] == "validation"
        ]
        assert found == [result.value for result in trial.results] and trial.best == max(found)


@pytest.mark.slow
def test_the_winner_loads_in_transformers_and_equals_predict(
    undisturbed: SweepResult, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    best = undisturbed.path / "best"
    assert best == undisturbed.best
    model = AutoModelForSequenceClassification.from_pretrained(best / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(best / "model")
    capsys.readouterr()
    assert main(["predict", str(best), str(reviews), "dataset.text=review", "--json"]) == 0
    answers = [answer for answer in json.loads(capsys.readouterr().out) if "error" not in answer]
    texts = [line.rsplit(",", 1)[0] for line in reviews.read_text().splitlines()[1:]]
    assert len(answers) == 60
    for answer, text in zip(answers, texts, strict=False):
        with torch.no_grad():
            logits = model(
                **tokenizer(text, truncation=True, max_length=48, return_tensors="pt")
            ).logits[0]
        assert model.config.id2label[int(logits.argmax())] == answer["label"]
    record = json.loads((best / "run.json").read_text())
    assert set(record["baselines"]["majority"]) == set(record["scores"])
    assert (
        record["scores"]["validation"]["accuracy"]
        == undisturbed.state.trials[undisturbed.record["winner"]].best
    )


def test_a_grid_tries_each_point_once(grid: SweepResult) -> None:
    points = [tuple(trial.values.values()) for trial in grid.state.trials.values()]
    assert len(points) == len(set(points)) == 4
    assert (
        sorted(started(events_of(grid.path))) == sorted(ended(events_of(grid.path))) == [0, 1, 2, 3]
    )
    assert (grid.ending.reason, grid.ending.detail) == ("grid", "the whole grid was tried")


def test_a_trial_that_fails_keeps_cause_and_log_and_ends_no_sweep(
    grid: SweepResult, tiny_bert: Path
) -> None:
    assert grid.record["counts"] == {"done": 1, "stopped": 0, "failed": 3}
    places = json.loads((grid.path / "leaderboard.json").read_text())["entries"]
    best = json.loads((grid.path / "best" / "run.json").read_text())
    assert places[0]["interval"] == best["intervals"]["validation"]["accuracy"]
    assert [place["rank"] for place in places] == [1, None, None, None]
    for trial in grid.state.trials.values():
        fine, steep = trial.values["model"] == str(tiny_bert), trial.values["learning_rate"] == 1e30
        assert trial.status == ("done" if fine and not steep else "failed")
        if trial.status == "failed":
            log = (grid.path / str(trial.log)).read_text()
            assert str(trial.cause) in log and "Traceback" in log
            assert ("the loss is nan at step" in str(trial.cause)) == fine
            assert ("broken-bert" in str(trial.cause) and "weights" in str(trial.cause)) != fine
    assert (
        grid.best is not None
        and json.loads((grid.best / "run.json").read_text())["config"]["learning_rate"] == 5e-3
    )


@pytest.mark.slow
def test_asha_stops_some_and_every_trial_keeps_its_own_schedule(halved: SweepResult) -> None:
    status = Counter(trial.status for trial in halved.state.trials.values())
    assert status["stopped"] >= 2 and status["done"] >= 2 and status["failed"] == 0
    for number, trial in halved.state.trials.items():
        rates = [
            line["learning_rate"]
            for line in lines(halved.path / f"trials/{number:04d}/metrics.jsonl")
            if line["kind"] == "train"
        ]
        asked, epochs = trial.values["learning_rate"], trial.values["epochs"]
        assert max(rates) == pytest.approx(asked, rel=0.05)
        assert trial.epoch == (epochs if trial.status == "done" else 4) and trial.cause == (
            None if trial.status == "done" else "scheduler"
        )
        # What is left of its own epochs, and not of those it came to: next to nothing at its own
        # end.
        assert rates[-1] / asked == pytest.approx((1 - trial.epoch / epochs) / 0.9, abs=0.05)
    record = json.loads(
        (halved.path / f"trials/{halved.record['winner']:04d}/run.json").read_text()
    )
    assert record["status"] == "done" and halved.best is not None


@pytest.mark.slow
def test_more_trials_go_on_where_a_finished_sweep_ended(
    undisturbed: SweepResult, tmp_path: Path
) -> None:
    copy = shutil.copytree(undisturbed.path, tmp_path / "copy")
    again = resume_sweep(copy, say=lambda line: None)
    assert started(events_of(copy)) == started(events_of(undisturbed.path)) and ranking(
        copy
    ) == ranking(undisturbed.path)
    assert (
        again.record["winner"] == undisturbed.record["winner"] and again.ending.reason == "trials"
    )
    before = len(events_of(copy))
    said: list[str] = []
    more = resume_sweep(copy, ["trials=60", "max_total_epochs=90"], say=said.append)
    assert "trials that ended: 10; begun and not ended: 0" in said
    assert (more.ending.reason, more.record["sweep"]["trials"]) == ("max_total_epochs", 60)
    new = events_of(copy)[before:]
    assert min(started(new)) == 10 and len(started(new)) == len(set(started(new)))
    old = {
        number: (trial.values, trial.best, trial.status)
        for number, trial in undisturbed.state.trials.items()
    }
    assert {
        number: (trial.values, trial.best, trial.status)
        for number, trial in more.state.trials.items()
        if number < 10
    } == old
    assert all(trial.ended for trial in more.state.trials.values())
    assert {trial.cause for trial in more.state.trials.values() if trial.status == "stopped"} <= {
        "max_total_epochs"
    }
    assert 90 <= sum(trial.epoch for trial in more.state.trials.values()) <= 94


@pytest.fixture(scope="module")
def by_loss(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, reviews: Path
) -> SweepResult:
    """A sweep of a space of four, ranked by the loss, with more trials asked for than it has."""
    space = {
        "learning_rate": "choice(1e-6,5e-3)",
        "batch_size": "choice(8,8.0,16)",
        "train.label_smoothing": 0.1,
        "epochs": 2,
    }
    settings = {**FIFO, "searcher": "optuna", "trials": 9, "metric": "loss", "ensemble": "top2"}
    return search(
        {**settings, **space},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path_factory.mktemp("by-loss"),
    )


@pytest.mark.slow
def test_the_loss_ranks_trials_and_less_of_it_is_better(by_loss: SweepResult) -> None:
    entries = rank(by_loss.state.trials.values(), by_loss.record["mode"])
    values = [entry.value for entry in entries]
    assert (by_loss.record["primary"], by_loss.record["mode"]) == ("loss", "min")
    assert (
        values == sorted(value for value in values if value is not None)
        and 0 < fmean(map(float, map(str, values))) < 3
    )
    assert by_loss.best is not None
    best, ensemble = (
        json.loads((by_loss.path / name / "run.json").read_text()) for name in ("best", "ensemble")
    )
    assert (
        best["scores"]["validation"]["loss"] == pytest.approx(values[0], abs=1e-5)
        and "loss" in best["scores"]["test"]
    )
    assert best["best"]["value"] == min(
        line["value"]
        for line in lines(by_loss.best / "metrics.jsonl")
        if line["kind"] == "validation"
    )
    assert 0 < ensemble["scores"]["validation"]["loss"] < 3


@pytest.mark.slow
def test_a_space_that_was_gone_through_ends_the_sweep_and_resuming_it_says_so(
    by_loss: SweepResult, capfd: pytest.CaptureFixture[str]
) -> None:
    tried = {
        (str(trial.values["learning_rate"]), float(trial.values["batch_size"]))
        for trial in by_loss.state.trials.values()
    }
    assert len(tried) == len(by_loss.state.trials) == 4
    assert by_loss.ending.detail == "all 4 configurations of the space were tried"
    assert main(["resume", str(by_loss.path), "trials=40"]) == 0
    out, err = capfd.readouterr()
    assert (
        "ended because all 4 configurations of the space were tried" in out
        and "Traceback" not in err
    )
    assert len(started(events_of(by_loss.path))) == 4


@pytest.mark.slow
def test_a_metric_the_task_does_not_report_ends_it_with_the_scores_there_are(
    tiny_bert: Path, reviews: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = {
        **FIFO,
        "dataset": reviews,
        "model": tiny_bert,
        "output": tmp_path / "out",
        "metric": "f2_macro",
    }
    words = [f"{key}={value}" for key, value in asked.items()]
    capfd.readouterr()
    assert (
        main(["sweep", *words, "trials=3", "learning_rate=loguniform(1e-4,1e-2)", "epochs=1"]) == 2
    )
    out, err = capfd.readouterr()
    last = err.splitlines()[-1]
    assert out == "" and "Traceback" not in err and "ftr resume" not in err
    assert "`metric=f2_macro`" in last and "Did you mean `f1_macro`?" in last
    assert "accuracy, f1, f1_m" in last
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")
@pytest.mark.slow
def test_two_workers_a_trial_come_to_the_metric_of_one(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    space = {
        "learning_rate": "loguniform(1e-3,1e-2)",
        "epochs": 5,
        "trials": 1,
        "train.dropout": 0,
        "train.attention_dropout": 0,
    }
    one, two = (
        search(
            {**FIFO, **space, "compute.workers": workers},
            dataset=reviews,
            model=tiny_bert,
            output=tmp_path / str(workers),
        )
        for workers in (0, 2)
    )
    for alone, shared in zip(one.state.trials.values(), two.state.trials.values(), strict=True):
        assert alone.values == shared.values and alone.status == shared.status == "done"
        assert (
            [result.epoch for result in shared.results]
            == [result.epoch for result in alone.results]
            == [1.0, 2.0, 3.0, 4.0, 5.0]
        )
        for mine, theirs in zip(alone.results, shared.results, strict=True):
            assert theirs.value == pytest.approx(mine.value, abs=1e-3)
            assert theirs.scores == pytest.approx(mine.scores, abs=1e-3)
    assert (
        len({result.value for trial in one.state.trials.values() for result in trial.results}) > 2
    ), "something was learned"
    runs = [json.loads(path.read_text()) for path in sorted(two.path.glob("trials/*/run.json"))]
    assert [run["workers"] for run in runs] == [2] and two.best is not None
