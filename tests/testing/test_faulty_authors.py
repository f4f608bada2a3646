"""What authors do wrong with `ftr.plugin` fails with a message that names the method to override,
or the attribute to set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ftr.registry.registry import Registry
from ftr.registry.specs import DatasetSpec, HeadSpec, MetricSpec
from ftr.testing import DatasetConformance, HeadConformance, MetricConformance
from ftr.testing.subjects import Component, DatasetSubject, HeadSubject, MetricSubject
from ftr.testing.tiny import TinyModels

TEXTS = ("good", "a very long and boring movie", "the story was great , i loved it", "bad acting")
LABELS = ("fine", "poor")
ROWS = [
    {"text": text, "text_pair": text, "title": text, "label": LABELS[n % 2], "score": n / 2}
    for n, text in enumerate(TEXTS)
]
HEADS = {
    "NoColumns": ("test_its_schema_names_its_columns", r"has no columns.*\n.*set `columns` of"),
    "ThreeTexts": (
        "test_every_row_becomes_features_in_order",
        r"has 3 columns of texts.*\nchange: override `ThreeTexts.encode`",
    ),
    "SeveralFeatures": (
        "test_every_row_gets_a_prediction_with_its_id",
        r"gives 2 features to a row.*\nchange: override `SeveralFeatures.decode`",
    ),
    "ForgetsCompare": (
        "test_score_inputs_cover_every_row",
        r"has no column of classes.*\nchange: override `ForgetsCompare.compare`",
    ),
    "ForgetsPredict": (
        "test_every_row_gets_a_prediction_with_its_id",
        r"has no column of one class for each row.*\nchange: override `ForgetsPredict.predict`",
    ),
    "LogitsAsTheyAre": (
        "test_records_are_small_and_cross_processes",
        r"a torch tensor of shape.*\nchange: in `LogitsAsTheyAre.reduce`",
    ),
    "PredictsNumpy": (
        "test_predictions_are_plain_json",
        r"float32 is not JSON.*\nchange: in `PredictsNumpy.predict`",
    ),
}
SKIPPED = {
    "test_combining_equal_models_changes_nothing": r"override `combine`.*default `reduce`",
    "test_the_vote_of_equal_models_is_the_class_that_each_finds": r"override `vote`",
}
METRICS = {
    "returns_text": (
        "test_its_main_score_is_a_finite_number",
        r"it returned a `str`.*\nchange: in `returns_text`: .*a number or a dict",
    ),
    "returns_none": (
        "test_its_main_score_is_a_finite_number",
        r"it returned a `NoneType`.*\nchange: in `returns_none`",
    ),
    "asks_for_margins": (
        "test_its_main_score_is_a_finite_number",
        r"its parameter `margins` is none of `predictions`.*\nchange: in `asks_for_margins`",
    ),
    "recall_of_the_last": (
        "test_it_scores_rows_of_one_class",
        r"ZeroDivisionError.*\nchange: let `recall_of_the_last` return a number, such as 0, where "
        r"all references are 0",
    ),
}
DATASETS = {
    "unsteady_rows": ("test_its_rows_are_the_same_each_time", r"change: let `unsteady_rows` read"),
    "rows_of_texts": (
        "test_its_splits_have_the_names_ftr_knows",
        r"row 0 of train is a `str`.*\nchange: let `rows_of_texts` return rows, each a dict",
    ),
}
OPTIONS = {
    "OptionWithoutType": (
        "test_its_options_have_a_schema",
        r"the parameter `focus` has no type: annotate it.*\n.*annotate each parameter",
    ),
    "OptionInSilence": (
        "test_its_options_have_a_schema",
        r"`focus` without a description\n.*`focus: Annotated\[..., \"what it is\"\]`",
    ),
    "Tunes": (
        "test_it_uses_nothing_deprecated",
        r"`Tunes.tune` is never called.*\nchange: rename it to `Head.calibrate`",
    ),
}

Said = Callable[..., str]
Registered = Callable[..., Registry]


@pytest.fixture(scope="module")
def head(
    registered: Registered, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], HeadSubject]:
    """Return what makes the subject of a head of `faulty_authors`."""
    models = TinyModels(tmp_path_factory.mktemp("models"))

    def make(name: str) -> HeadSubject:
        registry = registered(("head", HeadSpec(name="faulty", target=f"faulty_authors:{name}")))
        return HeadSubject.of(registry, "faulty", {}, rows(name), LABELS, models, "bert")

    return make


def rows(name: str) -> Sequence[dict[str, Any]]:
    if name in ("Number", "ForgetsCompare", "ForgetsPredict"):
        return [{key: row[key] for key in ("text", "score")} for row in ROWS]
    wanted = ("text", "text_pair", "title", "label") if name == "ThreeTexts" else ("text", "label")
    return [{key: row[key] for key in wanted} for row in ROWS]


@pytest.mark.parametrize("name", HEADS)
def test_a_mistake_in_a_head(name: str, head: Callable[[str], HeadSubject], said: Said) -> None:
    check, pattern = HEADS[name]

    class Checks(HeadConformance):
        def run(self) -> None:
            getattr(self, check)(head(name))

    message = said(Checks, "run")
    assert re.search(pattern, message), message


@pytest.mark.parametrize("name", ["Healthy", "Number"])
def test_a_head_without_mistakes(
    name: str, head: Callable[[str], HeadSubject], tmp_path: Path
) -> None:
    subject = head(name)
    for check in {check for check, _ in HEADS.values()}:
        getattr(HeadConformance(), check)(subject)


@pytest.mark.parametrize("check", SKIPPED)
def test_a_check_that_is_skipped_says_what_to_override(
    check: str, head: Callable[[str], HeadSubject]
) -> None:
    with pytest.raises(pytest.skip.Exception, match=SKIPPED[check]):
        getattr(HeadConformance(), check)(head("ReducesWithoutCombine"))


@pytest.mark.parametrize("name", METRICS)
def test_a_mistake_in_a_metric(name: str, registered: Registered, said: Said) -> None:
    check, pattern = METRICS[name]
    spec = MetricSpec(name="faulty", target=f"faulty_authors:{name}")
    examples = {"predictions": [0, 1, 0], "references": [0, 1, 1]}
    subject = MetricSubject(
        registered(("metric", spec)), "faulty", examples, examples, labels=LABELS
    )
    message = said(MetricConformance, check, [subject])
    assert re.search(pattern, message), message


@pytest.mark.parametrize("name", DATASETS)
def test_a_mistake_in_a_function_of_rows(name: str, registered: Registered, said: Said) -> None:
    check, pattern = DATASETS[name]
    spec = DatasetSpec(name="faulty", target=f"faulty_authors:{name}")
    message = said(
        DatasetConformance, check, DatasetSubject(registered(("dataset", spec)), "faulty")
    )
    assert re.search(pattern, message), message


@pytest.mark.parametrize("name", OPTIONS)
def test_a_mistake_in_the_options_or_names_of_a_head(
    name: str, registered: Registered, said: Said
) -> None:
    check, pattern = OPTIONS[name]
    path = f"faulty_authors:{name}"
    options = path if name.startswith("Option") else None
    spec = HeadSpec(name="faulty", target=path, options=options)
    component = Component(registered(("head", spec)), "head", "faulty")
    message = said(HeadConformance, check, [component])
    assert re.search(pattern, message), message


def test_a_head_with_methods_under_former_names_is_warned_of(registered: Registered) -> None:
    spec = HeadSpec(name="faulty", target="faulty_heads:FormerNames")
    component = Component(registered(("head", spec)), "head", "faulty")
    with pytest.warns(DeprecationWarning, match=r"`Head.(un)?tuned?`") as warned:
        HeadConformance().test_it_uses_nothing_deprecated([component])
    first, second = (str(one.message) for one in warned)
    assert "`Head.tune` is" in first and first.endswith("use `Head.calibrate`")
    assert "`Head.untuned` is" in second and second.endswith("use `Head.uncalibrated`")
