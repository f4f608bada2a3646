"""SAMME: the votes and weights of the paper, worked out by hand, and where it ends."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import ftr
from ftr.study.boosting import reweighted, vote
from ftr_plugins.classification.head import SequenceClassificationHead
from trainings import CLASSES, REVIEWS, lines, review, train, write_csv

RIGHT = np.array([True, True, True, False, False, True, True, True, True, True])


def test_vote_and_weights_are_those_of_the_paper() -> None:
    weights = np.full(10, 0.1)
    error, alpha = vote(RIGHT, weights, classes=3)
    assert error == pytest.approx(0.2) and alpha == pytest.approx(math.log(0.8 / 0.2) + math.log(2))
    after = reweighted(RIGHT, weights, alpha)
    # exp(alpha) = 8: two rows of 0.8 and eight of 0.1, over their sum of 2.4.
    assert after == pytest.approx(
        np.where(RIGHT, 0.1 / 2.4, 0.8 / 2.4)
    ) and after.sum() == pytest.approx(1)
    error, _ = vote(~RIGHT, after, classes=3)
    assert error == pytest.approx(8 * 0.1 / 2.4)


def test_two_classes_at_chance_have_no_vote_and_three_still_do() -> None:
    right = np.array([True, False] * 5)
    assert vote(right, np.full(10, 0.1), classes=2)[1] == pytest.approx(0)
    assert vote(right, np.full(10, 0.1), classes=3)[1] == pytest.approx(math.log(2))


def test_a_member_without_errors_has_a_vote_that_is_finite() -> None:
    error, alpha = vote(np.ones(10, dtype=bool), np.full(10, 0.1), classes=2)
    assert error == 0 and alpha == pytest.approx(math.log(0.95 / 0.05))


def test_votes_become_shares_that_reduce_reads_as_probabilities() -> None:
    import torch
    from transformers.modeling_outputs import SequenceClassifierOutput

    head = SequenceClassificationHead()
    outputs = [
        SequenceClassifierOutput(logits=torch.tensor(logits))
        for logits in ([[3.0, 1.0, 0.0]], [[0.0, 9.0, 1.0]], [[0.1, 0.0, 0.0]])
    ]
    (shares,) = head.reduce(head.vote(outputs, [1.0, 2.5, 0.5]), [{}])
    assert shares == pytest.approx([1.5 / 4, 2.5 / 4, 0.0])


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews of which some have the wrong class: no member gets all of them right."""
    import random

    rng = random.Random(3)
    labels = [list(CLASSES)[number % 3] for number in range(150)]
    rows = [
        (review(label, rng), rng.choice(list(CLASSES)) if rng.random() < 0.15 else label)
        for label in labels
    ]
    return write_csv(tmp_path_factory.mktemp("noisy") / "noisy.csv", ("review", "sentiment"), rows)


@pytest.mark.slow
def test_boosting_trains_on_what_was_wrong_and_the_vote_is_a_run_like_any_other(
    noisy: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    run = train(
        {**REVIEWS, "epochs": 3, "boosting": 4},
        dataset=noisy,
        model=tiny_bert,
        output=tmp_path,
        baselines=False,
    )
    record = run.record
    votes = [one["boosted"]["alpha"] for one in record["members"]]
    assert (
        len(votes) == 4 and json.loads((run.model / "ensemble.json").read_text())["votes"] == votes
    )
    first = np.load(run.path / "members/1/weights.npy")
    error = record["members"][0]["boosted"]["error"]
    wrong = first > 1
    assert first.mean() == pytest.approx(1) and wrong.mean() == pytest.approx(error)
    # After it was reweighted, a member is at chance: the rows it got wrong weigh (K - 1) / K of
    # all.
    assert first[wrong].sum() / first.sum() == pytest.approx(2 / 3)
    kept = lines(run.path / "predictions/test.jsonl")
    again = ftr.load(run.path).predict(
        [{"id": one["id"], "text": "a good great film"} for one in kept[:1]]
    )
    shares = sorted(again[0]["probabilities"].values())
    possible = {
        round(sum(vote for vote, on in zip(votes, mask, strict=True) if on) / sum(votes), 5)
        for mask in np.ndindex(2, 2, 2, 2)
    }
    assert all(any(abs(share - one) < 1e-4 for one in possible) for share in shares)
    assert record["ensemble"]["primary"]["test"]["ensemble"] == record["scores"]["test"]["accuracy"]
    assert record["scores"]["validation"]["accuracy"] > max(
        one["scores"]["validation"]["accuracy"] for one in record["members"]
    )


def test_boosting_ends_with_a_member_that_gets_every_row_right(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    run = train(
        {**REVIEWS, "epochs": 8, "boosting": 3},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path,
        baselines=False,
    )
    assert any("boosting ended with member" in note for note in run.record["notes"])
    assert len(run.record["members"]) < 3 and run.record["members"][-1]["boosted"]["error"] == 0
    assert run.scores["accuracy"] == 1
