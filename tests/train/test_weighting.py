"""Rows that weigh more than others, rows drawn more often, and targets that are smoothed: formulas,
runs and refusals.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from ftr.config.schema import TrainConfig
from ftr.errors import ConfigError, DataError, PluginError
from ftr.train.batches import (
    BatchPlan,
    class_probabilities,
    class_weights,
    read_weights,
    weight_examples,
)
from ftr.train.steps import Objective, row_losses
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from stepping import TEXT_ROWS, Case, trainer_of
from trainings import QUESTIONS, REVIEWS, losses, train, write_csv

COUNTS = {"bad": 10, "good": 30, "so so": 5}


@pytest.fixture(scope="module")
def texts(tiny_bert: Path) -> Case:
    return Case("classification", tiny_bert)


@pytest.fixture(scope="module", params=["classification", "qa"])
def case(request: pytest.FixtureRequest, tiny_bert: Path) -> Case:
    return Case(request.param, tiny_bert)


def test_auto_weights_are_those_that_scikit_learn_calls_balanced() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat(np.arange(3), list(COUNTS.values()))
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert list(class_weights("auto", COUNTS).values()) == pytest.approx(list(theirs))


def test_a_class_without_rows_does_not_change_the_others() -> None:
    assert class_weights("auto", {**COUNTS, "none": 0}) == {
        **class_weights("auto", COUNTS),
        "none": 0.0,
    }
    assert class_weights(None, COUNTS) == {}


def test_weights_name_every_class_and_no_other() -> None:
    with pytest.raises(
        ConfigError,
        match=r"`train.class_weights.god`: no class is called `god`. Did you mean `good`\?",
    ):
        class_weights({"bad": 1.0, "god": 1.0, "so so": 1.0}, COUNTS)
    with pytest.raises(
        ConfigError, match=r"`train.class_weights` has no weight for the class `good`, `so so`"
    ):
        class_weights({"bad": 1.0}, COUNTS)


@pytest.mark.parametrize(("smoothing", "spread"), [(0.0, 0), (0.2, 0), (0.2, 7)])
def test_the_mean_of_row_losses_is_the_loss_that_is_trained_on_whatever_the_padding(
    case: Case, smoothing: float, spread: int
) -> None:
    with torch.no_grad():
        batch, wide = case.inputs(), case.inputs(spread)
        outputs = case.model(**batch)
        losses = row_losses(case.head, outputs, batch, smoothing)
        padded = row_losses(case.head, case.model(**wide), wide, smoothing)
        alone = [
            row_losses(case.head, case.model(**one), one, smoothing)
            for one in (
                {key: value[number : number + 1] for key, value in batch.items()}
                for number in range(len(losses))
            )
        ]
    assert losses.shape == (len(case.features),) and losses.std() > 0
    assert torch.allclose(losses, padded, atol=1e-5) and torch.allclose(
        losses, torch.cat(alone), atol=1e-5
    )
    if not smoothing:
        plain = case.head.loss(outputs, batch)
        assert torch.allclose(losses.mean(), outputs.loss if plain is None else plain, atol=1e-6)


def test_smoothing_of_answers_is_that_of_torch_over_the_tokens_of_the_window() -> None:
    head, length = ExtractiveQAHead(), 9
    logits, mask = torch.randn(2, 2, 12), torch.zeros(2, 12, dtype=torch.int64)
    mask[:, :length] = 1
    inputs = {
        "attention_mask": mask,
        "start_positions": torch.tensor([0, 4]),
        "end_positions": torch.tensor([1, 8]),
    }
    ours = head.row_losses({"start_logits": logits[0], "end_logits": logits[1]}, inputs, 0.3)
    theirs = [
        cross_entropy(logits[n][:, :length], inputs[key], label_smoothing=0.3, reduction="none")
        for n, key in enumerate(("start_positions", "end_positions"))
    ]
    assert torch.allclose(ours, (theirs[0] + theirs[1]) / 2, atol=1e-6)


@pytest.mark.parametrize("limit", [1, 3, 1000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_are_those_of_torchs_cross_entropy(
    texts: Case, limit: int, smoothing: float, tmp_path: Path
) -> None:
    weight = torch.tensor([0.5, 1.0, 4.0])
    labels = torch.tensor(TEXT_ROWS["label"])
    texts.model.zero_grad()
    logits = texts.model(
        **{key: value for key, value in texts.inputs().items() if key != "labels"}
    ).logits
    each = cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    wanted = (each * weight[labels]).sum() / weight[labels].sum()
    if (
        not smoothing
    ):  # where torch weighs the smoothed share by its own class, not by that of the row
        assert torch.allclose(wanted, cross_entropy(logits, labels, weight=weight))
    torch.autograd.backward(wanted)
    gradients = texts.gradients()
    texts.model.zero_grad()
    steps = texts.steps(limit, weights=weight.double().numpy()[labels.numpy()])
    got = trainer_of(texts, steps, tmp_path, smoothing).training_step(texts.model, steps[0])
    assert got.item() == pytest.approx(wanted.item(), rel=1e-6)
    for ours, plain in zip(texts.gradients(), gradients, strict=True):
        assert torch.allclose(ours, plain, atol=1e-6)


def test_a_step_whose_rows_all_weigh_nothing_changes_nothing(texts: Case, tmp_path: Path) -> None:
    steps = texts.steps(3, weights=np.zeros(len(texts.features)))
    texts.model.zero_grad()
    assert trainer_of(texts, steps, tmp_path).training_step(texts.model, steps[0]).item() == 0.0
    assert not any(gradient.any() for gradient in texts.gradients())


def test_row_losses_of_another_shape_are_refused(texts: Case) -> None:
    class Mean(SequenceClassificationHead):
        def row_losses(self, outputs: object, inputs: object, smoothing: float) -> torch.Tensor:
            return torch.zeros(())

    with pytest.raises(
        PluginError,
        match=r"`row_losses` of the head `.*Mean` returned the shape \(\) for 11 examples",
    ):
        row_losses(Mean(), texts.model(**texts.inputs()), texts.inputs(), 0.1)


def test_a_window_weighs_what_its_row_does(tiny_bert: Path, tmp_path: Path) -> None:
    case = Case("qa", tiny_bert)
    np.save(tmp_path / "w.npy", np.array([3.0, 1.0, 2.0]))
    owners = np.asarray(case.features["row"], dtype=np.int64)
    found = weight_examples(
        TrainConfig(),
        case.head,
        (),
        case.features.select(range(3)),
        owners,
        str(tmp_path / "w.npy"),
    )
    assert found.weights is not None and found.weights.tolist() == [
        [3.0, 1.0, 2.0][row] for row in case.features["row"]
    ]
    assert len(found.weights) > 3
    with pytest.raises(DataError, match="cannot be read"):
        weight_examples(
            TrainConfig(), case.head, (), case.features, owners, str(tmp_path / "none.npy")
        )


def test_weights_of_rows_multiply_those_of_classes(texts: Case, tmp_path: Path) -> None:
    from datasets import Dataset

    rows = Dataset.from_dict({"label": [0, 0, 0, 1]})
    np.save(tmp_path / "w.npy", np.array([1.0, 2.0, 0.0, 4.0]))
    owners = np.array([0, 1, 1, 2, 3])
    asked = TrainConfig.model_validate({"class_weights": {"a": 1.0, "b": 10.0}})
    found = weight_examples(asked, texts.head, ("a", "b"), rows, owners, str(tmp_path / "w.npy"))
    assert found.weights is not None and found.weights.tolist() == [1.0, 2.0, 2.0, 0.0, 40.0]
    assert found.record["class_counts"] == {"a": 3, "b": 1} and found.record["row_weights"] == {
        "least": 0.0,
        "most": 4.0,
    }


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], "have the shape"),
        ([1.0, -1.0, 1.0], "finite numbers >= 0"),
        ([0.0] * 3, "some of them > 0"),
    ],
)
def test_row_weights_that_are_none_are_refused(
    weights: list[float], message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "w.npy", np.array(weights))
    with pytest.raises(DataError, match=message):
        read_weights(tmp_path / "w.npy", 3)


def test_drawn_rows_come_equally_often_of_each_class() -> None:
    ids = np.repeat(np.arange(3), [600, 60, 6])
    drawn = class_probabilities({"a": 600, "b": 60, "c": 6})
    lengths = np.random.default_rng(0).integers(1, 99, len(ids))
    plan = BatchPlan(lengths, 8, seed=3, probabilities=np.array(list(drawn.values()))[ids])
    epoch = plan.epoch(0)
    assert [batch.tolist() for batch in epoch] == [batch.tolist() for batch in plan.epoch(0)]
    assert [batch.tolist() for batch in epoch] != [batch.tolist() for batch in plan.epoch(1)]
    assert [len(batch) for batch in epoch] == [8] * 83 + [2] and len(plan) == 84
    counts = Counter(ids[np.concatenate([*epoch, *plan.epoch(1)])].tolist())
    # 1332 draws: three standard deviations are 52.
    assert all(abs(count - 444) < 52 for count in counts.values())
    spread = np.mean([lengths[batch].max() - lengths[batch].min() for batch in epoch])
    assert spread < 0.2 * (lengths.max() - lengths.min())


def test_a_run_says_and_records_how_classes_are_weighed(tiny_bert: Path, tmp_path: Path) -> None:
    rows = [("bad film " * (n % 5 + 1), "0") for n in range(30)] + [
        ("good film " * (n % 5 + 1), "1") for n in range(10)
    ]
    data = write_csv(tmp_path / "rows.csv", ("text", "label"), rows)
    asked = {**REVIEWS, "dataset": data, "model": tiny_bert, "output": tmp_path, "epochs": 1}
    plain = train(asked)
    weighed = train(asked, **{"train.class_weights": "auto", "train.label_smoothing": 0.1})
    given = train(
        asked, **{"train.class_weights": {0: 24 / 36, 1: 2.0}, "train.label_smoothing": 0.1}
    )
    assert weighed.record["weighting"] == {
        "class_counts": {"0": 18, "1": 6},
        "class_weights": {"0": 24 / 36, "1": 2.0},
    }
    assert losses(weighed) == losses(given) != losses(plain)
    assert any(
        "weight of each class in the loss: 0 0.667 (18 rows), 1 2 (6 rows)" in note
        for note in weighed.record["notes"]
    )
    drawn = train(asked, **{"train.sampler": "weighted"})
    again = train(asked, **{"train.sampler": "weighted"})
    assert losses(drawn) == losses(again) != losses(plain)
    assert drawn.record["weighting"] == {"class_counts": {"0": 18, "1": 6}, "sampler": "weighted"}
    assert "weighting" not in plain.record


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"train.class_weights": "auto"},
            r"`train.class_weights`: the head `extractive-qa` \(`head`\) has no classes",
        ),
        (
            {"train.sampler": "weighted"},
            r"`train.sampler=weighted`: the head `extractive-qa` \(`head`\) has no classes",
        ),
    ],
)
def test_a_head_without_classes_cannot_weigh_them(
    settings: dict[str, str], message: str, tiny_bert: Path, questions: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(QUESTIONS, dataset=questions, model=tiny_bert, output=tmp_path / "runs", **settings)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"train.class_weights": {"bad": 1, "god": 2}},
            r"`train.class_weights.god`: no class is called `god`",
        ),
        (
            {"train.class_weights": {"bad": 1, "good": 2}},
            r"`train.class_weights` has no weight for the class `so so`",
        ),
        (
            {"train.class_weights": {"bad:1": None}},
            r"`train.class_weights` is .*`bad:1`",
        ),
        (
            {"train.class_weights": {"bad": 0}},
            r"`train.class_weights` is .*`bad` .*above 0",
        ),
        (
            {"train.class_weights": "auto", "train.sampler": "weighted"},
            "`train.class_weights=auto` and `train.sampler=weighted`",
        ),
    ],
)
def test_weights_that_cannot_be_meant_are_refused_before_anything_is_written(
    settings: dict[str, object], message: str, tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(REVIEWS, dataset=reviews, model=tiny_bert, output=tmp_path / "runs", **settings)
    assert not (tmp_path / "runs").exists()


def test_smoothing_reaches_the_loss_of_questions(
    tiny_bert: Path, questions: Path, tmp_path: Path
) -> None:
    asked = {**QUESTIONS, "dataset": questions, "model": tiny_bert, "output": tmp_path, "epochs": 1}
    plain, smooth = (
        losses(train(asked, **{"train.label_smoothing": share})) for share in (0.0, 0.3)
    )
    assert smooth[0] != pytest.approx(plain[0], abs=1e-4)


def test_the_objective_without_smoothing_is_that_of_the_head(case: Case) -> None:
    micro = case.steps()[0][0]
    outputs = case.model(**micro.inputs)
    plain = Objective(case.head).part(
        micro, 1.0 / micro.examples, case.model, outputs, micro.inputs
    )
    tiny = Objective(case.head, 1e-12).part(
        micro, 1.0 / micro.examples, case.model, outputs, micro.inputs
    )
    assert tiny.item() == pytest.approx(plain.item(), rel=1e-6)
