"""Faulty datasets, metrics and models fail the check that is about their fault; healthy ones pass
them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal

import pytest

from ftr.registry.registry import Registry
from ftr.registry.specs import DatasetSpec, MetricSpec, ModelSpec
from ftr.testing import DatasetConformance, MetricConformance, ModelConformance
from ftr.testing.subjects import DatasetSubject, MetricSubject, ModelSubject
from ftr.testing.tiny import TinyModels

DATASETS = {
    "EmptySplit": ("test_no_split_is_empty", r"`test` has none"),
    "UndeclaredColumn": (
        "test_its_columns_are_those_declared",
        r"train has `source`, not declared; declared are `id`, `text`, `label`",
    ),
    "MissingColumn": ("test_its_columns_are_those_declared", r"train lacks `label`"),
    "UnseededShuffle": (
        "test_its_rows_are_the_same_each_time",
        r"train\[\d+\] differs between two loads.*\n.*random.Random\(0\)",
    ),
    "ThroughASet": (
        "test_its_rows_are_the_same_in_another_process",
        r"the rows of `train` are others in another process\n.*keep sets out",
    ),
    "DuplicateIds": ("test_its_ids_are_unique", r"train has the id '3' 2 times"),
    "TestsOnTraining": (
        "test_no_held_out_row_is_a_training_row",
        r"4 of 4 rows of test are in train too",
    ),
    "NamesSplitsItsOwnWay": (
        "test_its_splits_have_the_names_ftr_knows",
        r"it gave `training`\n.*rename the splits",
    ),
    "ReturnsTexts": (
        "test_its_splits_have_the_names_ftr_knows",
        r"row 0 of train is a `str`.*\n.*let `ReturnsTexts.load` return rows, each a dict",
    ),
    "HasEmptyTexts": (
        "test_every_row_can_be_used",
        r"1 of 12 rows of train cannot \(empty text: 1\), the first is `train\[11\]`",
    ),
    "CannotLoad": (
        "test_no_split_is_empty",
        r"it raised AttributeError: 'NoneType' .*faulty_data.py:\d+",
    ),
}
METRICS = {
    "RewardsSameness": (
        "test_it_is_best_on_perfect_predictions",
        "max",
        r"`score` is 0.5 for them and 1 for one and the same for all rows",
    ),
    "AlwaysHalf": (
        "test_it_agrees_with_its_mode",
        "max",
        r"`score` is 0.5 for perfect .* 0.5 for worse ones\n.*let `AlwaysHalf` tell the two apart",
    ),
    "DividesByTheRare": (
        "test_it_scores_rows_of_one_class",
        "max",
        r"scores rows that lack a class.*\n.*ZeroDivisionError.*\n.*let `DividesByTheRare` return a "
        r"number, such as 0, where all references are 0",
    ),
    "FaultyMetric": (
        "test_it_agrees_with_its_mode",
        "min",
        r"mode='min'.*\n.*`score` is 1 for perfect .* 0.5 for worse .*\n.*`mode=\"max\"`",
    ),
    "WeighsTheFirst": (
        "test_the_order_of_the_rows_does_not_matter",
        "max",
        r"with the rows reversed",
    ),
    "Remembers": (
        "test_it_gives_the_same_each_time",
        "max",
        r"`score` is .* in a later call with the same predictions",
    ),
    "NanWhenPerfect": (
        "test_its_main_score_is_a_finite_number",
        "min",
        r"`score` is nan for perfect predictions",
    ),
    "NamesItOtherwise": (
        "test_its_main_score_is_a_finite_number",
        "max",
        r"as the number `score`\nfound: it gave `share`\n.*`key=`",
    ),
    "GivesObjects": (
        "test_its_scores_can_be_written_down",
        "max",
        r"type set is not JSON serializable",
    ),
    "fetched": (
        "test_it_needs_no_network",
        "max",
        r"without one it (asked for|failed: ).*\n.*rather than fetch it with `evaluate.load`",
    ),
    "AsksTheNetwork": ("test_it_needs_no_network", "max", r"it asked for scores.invalid"),
    "other_sums": (
        "test_its_sums_give_the_same_scores",
        "max",
        r"`score` is 1, and of the sums 0\.857",
    ),
}
MODELS = {
    "WithoutPadToken": ("test_its_tokenizer_can_pad", r"`pad_token` is None"),
    "PadsOnTheLeft": ("test_its_tokenizer_is_fast_and_pads_on_the_right", r"padding_side='left'"),
    "UnknownPadToken": (
        "test_its_config_knows_the_pad_token",
        r"`config.pad_token_id` is 7, the tokenizer's 0",
    ),
    "OwnWords": ("test_its_vocabulary_covers_its_tokenizer", r"\d+ embeddings for \d+ tokens"),
    "IgnoresTheConfig": ("test_it_takes_what_a_head_sets", r"asked for `num_labels=3` it gave 2"),
    "FreshWeights": ("test_it_loads_the_same_weights_each_time", r"differs between two loads"),
    "TooLong": (
        "test_it_takes_an_input_of_its_longest",
        r"up to `max_length` tokens\nfound: it raised",
    ),
    "DescribesObjects": (
        "test_it_says_where_its_weights_came_from",
        r"PosixPath is not JSON serializable",
    ),
    "LastColumn": ("test_a_text_is_answered_alike_alone_and_in_a_batch", r"logits are .* apart"),
}
PERFECT = {"predictions": [0, 1, 0, 0, 1, 1], "references": [0, 1, 0, 0, 1, 1]}
WORSE = {"predictions": [0, 0, 1, 1, 1, 1], "references": [0, 1, 0, 0, 1, 1]}

Said = Callable[..., str]
Make = Callable[[str], Any]


@pytest.fixture(scope="module")
def dataset(registered: Callable[..., Registry]) -> Make:
    def make(attribute: str) -> DatasetSubject:
        spec = DatasetSpec(
            name="faulty",
            target=f"faulty_data:{attribute}",
            columns=("id", "text", "label"),
            summary="faulty",
        )
        head = import_module("faulty_heads").Healthy()
        return DatasetSubject(registered(("dataset", spec)), "faulty", {}, head)

    return make


@pytest.fixture(scope="module")
def metric(
    registered: Callable[..., Registry],
) -> Callable[[str, Literal["max", "min"]], MetricSubject]:
    def make(attribute: str, mode: Literal["max", "min"]) -> MetricSubject:
        key = None if attribute == "HealthyMetric" else "score"
        spec = MetricSpec(
            name="faulty", target=f"faulty_parts:{attribute}", mode=mode, key=key, summary="faulty"
        )
        return MetricSubject(registered(("metric", spec)), "faulty", PERFECT, WORSE)

    return make


@pytest.fixture(scope="module")
def model(registered: Callable[..., Registry], tmp_path_factory: pytest.TempPathFactory) -> Make:
    models = TinyModels(tmp_path_factory.mktemp("models"))

    def make(attribute: str) -> ModelSubject:
        found = getattr(import_module("faulty_parts"), attribute)
        found.folder = str(models["gpt2" if attribute == "LastColumn" else "bert"])
        spec = ModelSpec(name="faulty", target=f"faulty_parts:{attribute}", summary="faulty")
        return ModelSubject(registered(("model", spec)), "faulty")

    return make


@pytest.mark.parametrize("fault", DATASETS)
def test_a_faulty_dataset_fails_with_a_message_that_points_at_the_fault(
    fault: str, dataset: Make, said: Said
) -> None:
    check, pattern = DATASETS[fault]
    message = said(DatasetConformance, check, dataset(fault))
    assert re.search(pattern, message), message


@pytest.mark.parametrize("fault", METRICS)
def test_a_faulty_metric_fails_with_a_message_that_points_at_the_fault(
    fault: str, metric: Callable[..., MetricSubject], said: Said
) -> None:
    check, mode, pattern = METRICS[fault]
    message = said(MetricConformance, check, [metric(fault, mode)])
    assert re.search(pattern, message), message


@pytest.mark.parametrize("fault", MODELS)
def test_a_faulty_model_fails_with_a_message_that_points_at_the_fault(
    fault: str, model: Make, said: Said
) -> None:
    check, pattern = MODELS[fault]
    message = said(ModelConformance, check, model(fault))
    assert re.search(pattern, message), message


def test_healthy_parts_pass_every_check_and_every_check_has_a_fault_that_it_finds(
    dataset: Make, metric: Callable[..., MetricSubject], model: Make
) -> None:
    for conformance, fixture, subject, faults in (
        (DatasetConformance, "ftr_dataset", dataset("HealthyDataset"), DATASETS.values()),
        (MetricConformance, "ftr_metrics", [metric("HealthyMetric", "max")], METRICS.values()),
        (ModelConformance, "ftr_model", model("TinyModel"), MODELS.values()),
    ):
        checks = {
            name
            for name in dir(conformance)
            if fixture in getattr(getattr(conformance, name), "__annotations__", {})
        }
        assert len(checks) >= 7 and checks == {fault[0] for fault in faults}
        for check in checks:
            getattr(conformance(), check)(subject)
