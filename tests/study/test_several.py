"""Several models from one command: what is written, what is compared, and that each door opens on
the whole.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ftr
from ftr.cli.main import main
from ftr.errors import DataError, ModelError
from ftr.results.report.write import write_report
from ftr.runs.evaluate import evaluate
from ftr.runs.heldout import held_out
from ftr.runs.report import members_table, several_lines
from ftr_plugins.extractive_qa.threshold import best_threshold
from trainings import QUESTIONS, REVIEWS, Settings, golds, lines, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

SHORT: Settings = {**REVIEWS, "epochs": 4}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, reviews: Path) -> RunResult:
    """Two seeds, joined by nothing."""
    return train(
        {**SHORT, "seeds": 2, "seed": 1},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path_factory.mktemp("seeds"),
    )


@pytest.fixture(scope="module")
def bagging(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, reviews: Path) -> RunResult:
    """Two bootstrap samples, their outputs averaged."""
    settings = {
        **SHORT,
        "ensemble": "bagging",
        "ensemble_size": 2,
        "seed": 1,
        "train.eval_on_start": False,
        "baselines": True,
    }
    return train(
        settings, dataset=reviews, model=tiny_bert, output=tmp_path_factory.mktemp("bagging")
    )


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, questions: Path) -> RunResult:
    """Three folds of questions, their span scores averaged."""
    settings = {**QUESTIONS, "ensemble": "folds", "ensemble_size": 3, "train.eval_on_start": False}
    return train(
        settings,
        dataset=questions,
        model=tiny_bert,
        output=tmp_path_factory.mktemp("folds"),
        baselines=False,
    )


def weights(folder: Path) -> dict[str, Any]:
    """Return the weights of a checkpoint."""
    from safetensors.numpy import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_mean_and_deviation_are_those_of_the_members(seeds: RunResult) -> None:
    values = [one["scores"]["test"]["accuracy"] for one in seeds.record["members"]]
    found = seeds.record["summary"]["test"]["accuracy"]
    assert found == {
        "mean": pytest.approx(statistics.fmean(values)),
        "sd": pytest.approx(statistics.stdev(values)),
        "n": 2,
    }
    assert seeds.scores["accuracy"] == pytest.approx(statistics.fmean(values))


def test_intervals_of_the_mean_are_over_rows_and_stand_beside_the_spread(
    seeds: RunResult,
) -> None:
    record = seeds.record
    ends, summary = record["intervals"]["test"]["accuracy"], record["summary"]["test"]["accuracy"]
    assert ends["low"] <= summary["mean"] <= ends["high"]
    assert ends["low"] < ends["high"]
    assert record["interval"]["units"]["test"] == record["data"]["splits"]["test"]["row_count"]
    lines = members_table(record)
    assert any("sd: between the 2 seeds; 95 % interval" in line for line in lines)


def test_an_ensemble_has_intervals_of_its_own(bagging: RunResult) -> None:
    for split, scores in bagging.record["scores"].items():
        ends = bagging.record["intervals"][split]["accuracy"]
        assert ends["low"] <= scores["accuracy"] <= ends["high"]


def test_a_member_is_the_run_that_its_seed_gives_alone(
    seeds: RunResult, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    alone = train({**SHORT, "seed": 2}, dataset=reviews, model=tiny_bert, output=tmp_path)
    member = seeds.path / "members/1"
    assert json.loads((member / "run.json").read_text())["config"]["seed"] == 2
    ours, theirs = weights(alone.model), weights(member / "model")
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert alone.record["scores"] == seeds.record["members"][1]["scores"]


def test_rows_and_predictions_of_each_kind_of_run_belong_together(
    seeds: RunResult, bagging: RunResult, folds: RunResult, tmp_path: Path
) -> None:
    best = held_out(seeds.path)
    assert best.run.path == seeds.path / "members" / str(seeds.record["best_member"])
    assert best.scores == best.record["scores"]["test"]
    assert held_out(bagging.path).scores == bagging.record["scores"]["test"]
    out_of_fold = held_out(folds.path, "validation")
    assert len(out_of_fold.rows) == sum(
        one["data"]["splits"]["validation"]["row_count"]
        for one in (
            json.loads((folds.path / member["path"] / "run.json").read_text())
            for member in folds.record["members"]
        )
    )
    for run in (seeds, bagging):
        written = write_report(run.path, tmp_path / run.path.name)
        assert not {"classes", "most confident errors", "scores by slices"} & {
            *written.report.missing
        }


def test_seeds_alone_leave_the_model_of_the_best_member(seeds: RunResult) -> None:
    values = [one["scores"]["validation"]["accuracy"] for one in seeds.record["members"]]
    best = seeds.record["best_member"]
    assert values[best] == max(values)
    assert (seeds.model / "model.safetensors").read_bytes() == (
        seeds.path / f"members/{best}/model/model.safetensors"
    ).read_bytes()
    assert (
        evaluate(seeds.path).scores["accuracy"]
        == seeds.record["members"][best]["scores"]["test"]["accuracy"]
    )


def test_an_ensemble_averages_the_probabilities_of_its_members(bagging: RunResult) -> None:
    rows = [
        {"text": "a good great film", "id": "1"},
        {"text": "the story was long and short", "id": "2"},
    ]
    together = ftr.load(bagging.path).predict(rows)
    members = [ftr.load(bagging.path / f"members/{number}").predict(rows) for number in range(2)]
    for row, prediction in enumerate(together):
        for label, value in prediction["probabilities"].items():
            assert value == pytest.approx(
                statistics.fmean(one[row]["probabilities"][label] for one in members), abs=1e-6
            )
    assert members[0][0]["probabilities"] != members[1][0]["probabilities"]


def test_members_of_bagging_see_their_own_samples_and_the_same_held_out_rows(
    bagging: RunResult,
) -> None:
    splits = [
        json.loads((bagging.path / one["path"] / "run.json").read_text())["data"]["splits"]
        for one in bagging.record["members"]
    ]
    assert len({one["train"]["sha256"] for one in splits}) == 2
    assert (
        len({one["validation"]["sha256"] for one in splits})
        == len({one["test"]["sha256"] for one in splits})
        == 1
    )


def test_an_ensemble_scores_as_it_answers_and_stands_beside_its_best_member(
    bagging: RunResult,
) -> None:
    assert evaluate(bagging.path).scores == bagging.record["scores"]["test"] == bagging.scores
    best = bagging.record["members"][bagging.record["best_member"]]
    compared = bagging.record["ensemble"]["primary"]["validation"]
    assert compared == {
        "ensemble": bagging.record["scores"]["validation"]["accuracy"],
        "best_member": best["scores"]["validation"]["accuracy"],
    }
    kept = {
        line["id"]: line["probabilities"] for line in lines(bagging.path / "predictions/test.jsonl")
    }
    assert len(kept) == bagging.record["data"]["splits"]["test"]["row_count"]


def test_baselines_stand_beside_the_members(bagging: RunResult) -> None:
    assert bagging.record["baselines"].keys() == {"majority", "tf-idf"}
    assert "baselines" in json.loads((bagging.path / "members/0/run.json").read_text())
    assert "majority" in "\n".join(several_lines(bagging.record, "runs/x"))


def test_what_a_person_reads_is_at_most_80_columns_wide(
    seeds: RunResult, bagging: RunResult, folds: RunResult
) -> None:
    for run in (seeds, bagging, folds):
        shown = several_lines(run.record, "runs/x")
        assert max(map(len, shown)) <= 80, shown
        assert (run.path / "README.md").read_text().count("members/") >= len(run.record["members"])


def test_a_run_of_several_is_one_line_among_the_runs(
    bagging: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", str(bagging.path.parent), "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert line["id"] == bagging.path.name and "(ensemble)" in line["result"]


def test_the_threshold_of_folds_is_tuned_on_what_members_did_not_train_on(
    folds: RunResult, questions: Path
) -> None:
    record = folds.record
    states = [
        json.loads((folds.path / one["path"] / "run.json").read_text())["state"]
        for one in record["members"]
    ]
    (threshold,) = record["state"].values()
    answered = lines(folds.path / "predictions/validation.jsonl")
    known = golds(questions)
    expected = best_threshold(
        [known[line["id"]] for line in answered],
        [line["best_answer"] for line in answered],
        [line["no_answer_score"] for line in answered],
    )
    assert all(states) and threshold == pytest.approx(expected)
    assert json.loads((folds.model / "ftr.json").read_text())["state"] == record["state"]
    assert len(answered) == len({line["id"] for line in answered})


def test_folds_are_evaluated_on_rows_that_no_member_trained_on(folds: RunResult) -> None:
    tested = evaluate(folds.path)
    assert tested.scores == folds.scores and tested.split == "test"
    ids = {line["id"] for line in lines(folds.path / "predictions/test.jsonl")}
    assert {prediction["id"] for prediction in tested.predictions} == ids
    with pytest.raises(DataError, match="is in a fold"):
        evaluate(folds.path, split="validation")
    member = evaluate(folds.path / "members/1", split="validation")
    assert member.scores == folds.record["members"][1]["scores"]["validation"]


def test_cross_validation_leaves_no_model_and_says_what_to_ask(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    settings = {
        **REVIEWS,
        "epochs": 1,
        "cv.folds": 2,
        "train.eval_on_start": False,
        "data.test_size": 0,
        "baselines": True,
    }
    run = train(settings, dataset=reviews, model=tiny_bert, output=tmp_path)
    assert not run.model.exists() and run.record["heldout"] == "validation"
    assert run.scores["accuracy"] == pytest.approx(
        run.record["summary"]["validation"]["accuracy"]["mean"]
    )
    assert set(run.record["baselines"]["majority"]) == {"validation"}
    with pytest.raises(ModelError, match=r"members/[01]`, or train with `ensemble=folds`"):
        ftr.load(run.path)


@pytest.mark.slow
def test_a_soup_is_a_plain_checkpoint_and_no_worse_on_validation(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    run = train(
        {**SHORT, "ensemble": "soup", "ensemble_size": 3},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path,
        baselines=False,
    )
    kept = run.record["ensemble"]["members"]
    assert (
        run.record["best_member"] == kept[0]
        and len(kept) + len(run.record["ensemble"]["left_out"]) == 3
    )
    members = [weights(run.path / f"members/{number}/model") for number in kept]
    for name, tensor in weights(run.model).items():
        assert np.allclose(tensor, np.mean([one[name] for one in members], axis=0), atol=1e-6)
    best = run.record["members"][kept[0]]["scores"]["validation"]["accuracy"]
    assert run.record["scores"]["validation"]["accuracy"] >= best
    assert not (run.model / "members").exists()
