"""Every faulty head fails the check that is about its fault, with a message that points at it;
healthy ones pass them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftr.registry.registry import Registry
from ftr.registry.specs import HeadSpec
from ftr.testing import HeadConformance
from ftr.testing.checks.plugin import PROMISES
from ftr.testing.subjects import HeadSubject
from ftr.testing.tiny import TinyModels

REVIEWS = (
    {"text": "good", "label": "fine"},
    {"text": "a very long and boring movie with a bad ending", "label": "poor"},
    {"text": "the story was great and the acting was poor , i loved it", "label": "mixed"},
    {"text": "this film is good", "label": "fine"},
    {"text": "they hated it , who did not ? " * 8, "label": "poor"},
    {"text": "sweet and bad", "label": "mixed"},
)
LABELS = ("fine", "mixed", "poor")
MILL = "the old mill was built by two brothers . "
FLOOD = "it ground wheat for the bakers until a flood broke the wheel in the spring of 1911 ."


def asked(question: str, context: str, *answers: str) -> dict[str, Any]:
    return {
        "question": question,
        "context": context,
        "answers": {"text": [*answers], "answer_start": [context.index(text) for text in answers]},
    }


QUESTIONS = (
    asked("who built the mill ?", MILL, "two brothers"),
    asked("when did the flood come ?", MILL + FLOOD, "1911"),
    asked("what broke ?", MILL + FLOOD, "the wheel"),
    asked("where is the river ?", FLOOD),
)

FAULTS = {
    "EncodesLabelsOneOff": (
        "test_what_it_learned_it_tells",
        r"of 6 rows learned by heart \(loss .*\) 0 are answered right.*an index that is off",
    ),
    "DecodesLabelsOneOff": (
        "test_what_it_learned_it_tells",
        r"`label` is '\w+' it predicted \{'id'.*an index that is off by one",
    ),
    "PointsOneCharacterOff": (
        "test_what_it_learned_it_tells",
        r"`answers` is .*'two brothers'.* it predicted .*'wo brothers '",
    ),
    "TurnsTheLossRound": (
        "test_what_it_learned_it_tells",
        r"of 6 rows learned by heart \(loss -.*\) \d are answered right",
    ),
    "LearnsShuffledLabels": (
        "test_what_it_learned_it_tells",
        r"can learn 6 rows by heart\n.*only\n.*belong to the rows they stand at",
    ),
    "ReversesLabelNames": (
        "test_a_saved_model_is_a_plain_checkpoint",
        r"`id2label` of its config is .*, the classes are \['fine', 'mixed', 'poor'\]",
    ),
    "ForgetsLabelNames": (
        "test_a_saved_model_is_a_plain_checkpoint",
        r"`id2label` of its config is \{0: 'LABEL_0'",
    ),
    "DrawsTheHeadAnew": (
        "test_a_saved_model_answers_as_before",
        r"predictions differ: .*initialise in `build` nothing that the checkpoint has",
    ),
    "ThrowsTheBodyAway": (
        "test_the_body_keeps_its_pretrained_weights",
        r"\d+ of \d+ weights are others",
    ),
    "BuildsAModule": (
        "test_the_new_weights_follow_the_seed",
        r"returns a `transformers.PreTrainedModel`.*\nfound: it returned a `Linear`",
    ),
    "ForgetsTheSeed": (
        "test_the_new_weights_follow_the_seed",
        r"`classifier.weight` differs between two builds with one seed.*\n.*set_seed\(seed\)",
    ),
    "AlwaysTheSameSeed": (
        "test_the_new_weights_follow_the_seed",
        r"`classifier.weight` is the same with seeds 1 and 2",
    ),
    "DetachesLogits": (
        "test_gradients_reach_the_head_and_the_body",
        r"the loss has no gradient\n.*no `detach`",
    ),
    "BuildsAnIdleLayer": (
        "test_gradients_reach_the_head_and_the_body",
        r"`idle.weight` gets none\n.*leave out weights that take no part",
    ),
    "TurnsTheGradientRound": (
        "test_two_steps_reduce_the_loss",
        r"it went from .* to .*\n.*the sign of the loss",
    ),
    "DividesByZero": ("test_the_loss_is_finite", r"it is inf on the first batch"),
    "LossOfEachRow": (
        "test_the_loss_is_finite",
        r"a `Tensor` of shape .*6.*\n.*return a scalar tensor",
    ),
    "SumsTheLoss": (
        "test_the_loss_is_a_mean_that_knows_no_padding",
        r"for 6 features together, .* as the mean of each alone",
    ),
    "HalvesRowLosses": (
        "test_row_losses_are_the_parts_of_the_loss",
        r"their mean is [\d.]+, not [\d.]+\n.*the same formula",
    ),
    "MeansRowLosses": (
        "test_row_losses_are_the_parts_of_the_loss",
        r"the shape is \(\) for 6 examples\n.*one loss for each",
    ),
    "CountsPadding": (
        "test_the_loss_is_a_mean_that_knows_no_padding",
        r"mask padding out of sums, softmaxes",
    ),
    "CoversPadding": (
        "test_the_mask_covers_the_tokens_and_no_padding",
        r"feature \d has \d+ tokens, its mask \d+ ones\n.*ftr.plugin.pad",
    ),
    "IgnoresMasks": (
        "test_a_row_is_answered_alike_alone_and_in_a_batch",
        r"`logits` of feature \d is .* apart\n.*attention mask to every layer",
    ),
    "HandsOverTooMuch": ("test_a_batch_is_what_the_model_takes", r"forward` has no `lengths`"),
    "PadsToTheBatch": (
        "test_encoding_does_not_depend_on_the_batch",
        r"row 0 encoded alone differs: `input_ids` is .*\n.*do not pad in `encode`",
    ),
    "LosesARow": ("test_every_row_becomes_features_in_order", r"row 5 of 6 has none"),
    "LosesTheLastWindow": (
        "test_a_row_of_several_features_loses_and_doubles_nothing",
        r"the \d features of row 1 lack .*'1911'",
    ),
    "DoublesWindows": (
        "test_a_row_of_several_features_loses_and_doubles_nothing",
        r"feature 1 of row 1 is there twice",
    ),
    "DropsWordsAtRandom": (
        "test_encoding_is_the_same_each_time",
        r"a second call differs: `input_ids`",
    ),
    "ChangesTheRows": (
        "test_encoding_leaves_the_rows_alone",
        r"columns that were given are not what they were",
    ),
    "CutsNothing": ("test_no_feature_is_longer_than_asked", r"one has \d+, asked were 64"),
    "AlwaysReadsLabels": (
        "test_rows_to_predict_need_no_targets",
        r"it raised KeyError: 'label' \(.*faulty_heads.py:\d+\)\n.*without the columns",
    ),
    "PeeksAtLabels": (
        "test_rows_to_predict_need_no_targets",
        r"the features differ with and without `label`: `input_ids`",
    ),
    "GivesMixedColumns": (
        "test_encoded_rows_can_be_kept_in_files",
        r"it raised Arrow.*\n.*of one type in a column",
    ),
    "GivesUnevenColumns": (
        "test_every_row_becomes_features_in_order",
        r"`input_ids` \(6\).*`hint` \(1\), for 6 rows",
    ),
    "NeedsEveryColumn": (
        "test_a_row_that_lacks_a_column_is_refused_in_words",
        r"KeyError: 'text' .*\n.*row.get",
    ),
    "PassesEveryRow": (
        "test_a_row_that_lacks_a_column_is_refused_in_words",
        r"it returned None for a row without `text`",
    ),
    "NamesAColumnTwice": ("test_its_schema_names_its_columns", r"columns text, text, label"),
    "StratifiesByNothing": (
        "test_its_schema_names_its_columns",
        r"`stratify` or `group` labels besides",
    ),
    "DropsTheLastRecord": (
        "test_every_row_gets_a_prediction_with_its_id",
        r"5 records for 6 features",
    ),
    "GivesOnePredictionForAll": (
        "test_every_row_gets_a_prediction_with_its_id",
        r"row 0 has the id 'train-1', its prediction '0'",
    ),
    "GivesALabelAlone": (
        "test_every_row_gets_a_prediction_with_its_id",
        r"its prediction is a `str`",
    ),
    "DropsTheLastRow": (
        "test_score_inputs_cover_every_row",
        r"for 6 rows: 5 `predictions`, 5 `references`",
    ),
    "KeepsLogits": (
        "test_records_are_small_and_cross_processes",
        r"a torch tensor of shape \[3\], and with it the whole batch",
    ),
    "KeepsFunctions": (
        "test_records_are_small_and_cross_processes",
        r"a record does not pickle: .*lambda",
    ),
    "ComparesTheBatch": (
        "test_every_feature_gives_a_record_of_its_own",
        r"in batches of one the records differ: \[0\]\[\d\] is",
    ),
    "PredictsNumpy": (
        "test_predictions_are_plain_json",
        r"float32 is not JSON serializable\n.*`float\(\.\.\.\)`",
    ),
    "PredictsAtRandom": (
        "test_predictions_are_plain_json",
        r"a second call differs: \[0\]\['score'\]",
    ),
    "TunesNumpy": (
        "test_what_is_tuned_is_plain_json",
        r"kept in `ftr.json`.*\nfound: TypeError: .*float32 is not JSON",
    ),
    "TunesByNumber": (
        "test_what_is_tuned_is_plain_json",
        r"JSON makes another of it: it has the keys \['0'\]",
    ),
    "VotesForTheLeast": (
        "test_the_vote_of_equal_models_is_the_class_that_each_finds",
        r"most probable class\n.*two equal models vote for",
    ),
    "GuessesTheFirstRowAlone": (
        "test_baselines_predict_every_row_without_its_target",
        r"`majority, tf-idf` left rows out or mixed them up",
    ),
    "SumsModels": (
        "test_combining_equal_models_changes_nothing",
        r"three times one output.*\n.*records differ",
    ),
    "ForgetsAnOutcome": (
        "test_outcomes_tell_right_predictions_from_wrong_ones",
        r"an `Outcome` for every row.*\n.*for \d+ rows: \d+",
    ),
    "SureBeyondMeasure": (
        "test_outcomes_tell_right_predictions_from_wrong_ones",
        r"is a probability, or None\n",
    ),
}
METHODS = PROMISES["head"] + ("row_losses", "combine", "vote", "baselines", "outcomes")
HEALTHY = {"Healthy": (REVIEWS, LABELS), "HealthyReader": (QUESTIONS, ())}
LACKS = {
    (
        "Healthy",
        "test_a_row_of_several_features_loses_and_doubles_nothing",
    ): "it gives every row one feature",
    (
        "HealthyReader",
        "test_the_vote_of_equal_models_is_the_class_that_each_finds",
    ): "its models do not vote: override `vote`",
}
READERS = (
    "HealthyReader",
    "PointsOneCharacterOff",
    "LosesTheLastWindow",
    "DoublesWindows",
    "CountsPadding",
)

Said = Callable[..., str]


@pytest.fixture(scope="module")
def subjects(
    registered: Callable[..., Registry], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], HeadSubject]:
    """Return what makes the subject of a head of `faulty_heads`."""
    models = TinyModels(tmp_path_factory.mktemp("models"))

    def make(attribute: str) -> HeadSubject:
        reader = attribute in READERS
        rows, labels = HEALTHY["HealthyReader" if reader else "Healthy"]
        options = "ftr_plugins.extractive_qa.options:ExtractiveQAOptions" if reader else None
        spec = HeadSpec(
            name="faulty", target=f"faulty_heads:{attribute}", options=options, summary="faulty"
        )
        given = {"max_question_length": 12} if reader else {}
        return HeadSubject.of(
            registered(("head", spec)), "faulty", given, rows, labels, models, "bert"
        )

    return make


def arguments(check: str, subject: HeadSubject, folder: Path) -> tuple[Any, ...]:
    return (subject, folder) if check.startswith("test_a_saved_model") else (subject,)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_head_fails_with_a_message_that_points_at_the_fault(
    fault: str, subjects: Callable[[str], HeadSubject], said: Said, tmp_path: Path
) -> None:
    check, pattern = FAULTS[fault]
    message = said(HeadConformance, check, *arguments(check, subjects(fault), tmp_path))
    assert re.search(pattern, message, re.DOTALL), message
    # The message names the method, or the attribute, that is to be changed.
    advice = message.partition("\nchange: ")[2]
    named = re.findall(r"`(?:\w+\.)?(\w+)[(`]", advice)
    assert set(named) & {"columns", "schema", *METHODS}, message


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_head_passes_every_check(
    name: str, subjects: Callable[[str], HeadSubject], tmp_path: Path
) -> None:
    subject = subjects(name)
    checks = [check for check in dir(HeadConformance) if check.startswith("test_")]
    about_heads = [
        check for check in checks if "ftr_head" in getattr(HeadConformance, check).__annotations__
    ]
    assert len(about_heads) > 20 and {check for check, _ in FAULTS.values()} <= set(about_heads)
    for check in about_heads:
        folder = tmp_path / check
        folder.mkdir()
        run = getattr(HeadConformance(), check)
        if (name, check) in LACKS:
            with pytest.raises(pytest.skip.Exception, match=LACKS[name, check]):
                run(subject)
        else:
            run(*arguments(check, subject, folder))


def test_every_check_of_a_head_has_a_fault_that_it_finds() -> None:
    checks = {
        name
        for name in dir(HeadConformance)
        if "ftr_head" in getattr(getattr(HeadConformance, name), "__annotations__", {})
    }
    assert checks == {check for check, _ in FAULTS.values()}
