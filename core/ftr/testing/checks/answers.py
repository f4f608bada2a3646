"""Checks of what becomes of outputs: records, predictions, what is tuned, and what the metrics are
given.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ftr.plugin import Head as Base
from ftr.registry.protocols import provides
from ftr.testing.alike import difference
from ftr.testing.contract import Conformance, broken, must_work, require
from ftr.testing.subjects import HeadSubject


class AnswerChecks(Conformance):
    """What must hold of `reduce`, `decode`, `calibrate`, `uncalibrated`, `score_inputs` and, where
    there are any, `combine`, `baselines` and `outcomes`.
    """

    def test_records_are_small_and_cross_processes(self, ftr_head: HeadSubject) -> None:
        records = ftr_head.records(ftr_head.model, ftr_head.features(targets=False))
        promise = (
            f"`reduce` of {ftr_head} keeps little of each feature, in plain values: the records of "
            "a whole split are held"
        )
        change = ftr_head.advice(
            "reduce",
            "keep numbers, strings, lists, dicts or numpy arrays: `.tolist()`, or "
            "`.cpu().numpy().copy()`",
        )
        for held in (found for record in records for found in _tensors(record)):
            broken(
                promise,
                f"a record holds a torch tensor of shape {list(held.shape)}, and with it the whole "
                "batch",
                change,
            )
        try:
            again = pickle.loads(pickle.dumps(records))  # noqa: S301 - what was pickled here
        except Exception as error:
            broken(promise, f"a record does not pickle: {type(error).__name__}: {error}", change)
        require(
            difference(records, again) is None,
            promise,
            "records come back as others",
            change,
        )

    def test_every_feature_gives_a_record_of_its_own(self, ftr_head: HeadSubject) -> None:
        features = ftr_head.features(targets=False)
        together = ftr_head.records(ftr_head.model, features)
        alone = [
            record for feature in features for record in ftr_head.records(ftr_head.model, [feature])
        ]
        differs = difference(together, alone)
        require(
            differs is None,
            f"`reduce` of {ftr_head} returns the record of each feature at its place, whatever "
            "else is in the batch",
            f"in batches of one the records differ: {differs}",
            ftr_head.advice(
                "reduce", "make each record from the outputs and the feature of one place alone"
            ),
        )

    def test_every_row_gets_a_prediction_with_its_id(self, ftr_head: HeadSubject) -> None:
        predictions = ftr_head.decode(ftr_head.grouped(ftr_head.model), {})
        for number, (row, prediction) in enumerate(zip(ftr_head.rows, predictions, strict=True)):
            found = prediction.get("id") if isinstance(prediction, Mapping) else None
            require(
                isinstance(prediction, Mapping) and found == row["id"],
                f"`decode` of {ftr_head} returns a dict with the `id` of its row",
                f"row {number} has the id {row['id']!r}, "
                + (
                    f"its prediction {found!r}"
                    if isinstance(prediction, Mapping)
                    else f"its prediction is a `{type(prediction).__name__}`"
                ),
                ftr_head.advice("decode", 'return `{"id": row["id"], ...}`'),
            )

    def test_predictions_are_plain_json(self, ftr_head: HeadSubject) -> None:
        predictions = ftr_head.decode(ftr_head.grouped(ftr_head.model), {})
        promise = f"predictions of {ftr_head} are written as JSON"
        _is_json(predictions, promise, ftr_head, ftr_head.answers)
        again = ftr_head.decode(ftr_head.grouped(ftr_head.model), {})
        differs = difference(predictions, again)
        require(
            differs is None,
            f"`decode` of {ftr_head} gives the same prediction each time",
            f"a second call differs: {differs}",
            ftr_head.advice(ftr_head.answers, "keep nothing from call to call"),
        )

    def test_what_is_tuned_is_plain_json(self, ftr_head: HeadSubject) -> None:
        records = ftr_head.grouped(ftr_head.model)
        state = ftr_head.calibrate(records)
        promise = f"what `calibrate` of {ftr_head} returns is kept in `ftr.json` and read again"
        require(
            isinstance(state, dict),
            promise,
            f"it returned a `{type(state).__name__}`",
            ftr_head.advice("calibrate", "return a dict, `{}` when nothing is chosen"),
        )
        read = _is_json(state, promise, ftr_head, "calibrate")
        differs = difference(ftr_head.decode(records, state), ftr_head.decode(records, read))
        require(
            differs is None,
            promise,
            f"predictions differ with the state that was read: {differs}",
            ftr_head.advice("calibrate", "use string keys and plain values"),
        )
        with must_work(
            f"`uncalibrated` of {ftr_head} returns a line for a person, or None",
            ftr_head.advice("uncalibrated", "return None when nothing is chosen"),
        ):
            told = ftr_head.head.uncalibrated(ftr_head.rows)
        require(
            told is None or (isinstance(told, str) and "\n" not in told),
            f"`uncalibrated` of {ftr_head} returns a line for a person, or None",
            f"it returned {told!r}",
            ftr_head.advice(
                "uncalibrated", "say in one line what a training without validation rows will lack"
            ),
        )

    def test_score_inputs_cover_every_row(self, ftr_head: HeadSubject) -> None:
        predictions = ftr_head.decode(ftr_head.grouped(ftr_head.model), {})
        promise = (
            f"`score_inputs` of {ftr_head} returns `predictions` and `references`, one of each for "
            "every row"
        )
        change = (
            ftr_head.advice("compare", "return the prediction and the reference of a row")
            if isinstance(ftr_head.head, Base)
            else ftr_head.advice(
                "score_inputs",
                "let it take the rows, with class ids, their predictions, and the class names",
            )
        )
        with must_work(promise, change):
            found = ftr_head.head.score_inputs(ftr_head.rows, predictions, ftr_head.labels)
        lengths = {name: len(values) for name, values in found.items()}
        require(
            lengths.keys() >= {"predictions", "references"}
            and set(lengths.values()) == {len(ftr_head.rows)},
            promise,
            f"for {len(ftr_head.rows)} rows: "
            f"{', '.join(f'{count} `{name}`' for name, count in lengths.items()) or 'nothing'}",
            ftr_head.advice("score_inputs", "leave no row out"),
        )

    def test_combining_equal_models_changes_nothing(self, ftr_head: HeadSubject) -> None:
        head = ftr_head.head
        if not provides(head, "combine"):
            pytest.skip(
                "it does not combine the outputs of several models: override `combine` for "
                "`ensemble`; the default is only for the default `reduce`"
            )
        features = ftr_head.features(targets=False)
        outputs = ftr_head.ask(ftr_head.model, ftr_head.batch(features))
        with must_work(
            f"`combine` of {ftr_head} averages outputs",
            ftr_head.advice("combine", "return an output of the kind that it was given"),
        ):
            combined = head.reduce(head.combine([outputs, outputs, outputs]), features)
        differs = difference(head.reduce(outputs, features), combined)
        require(
            differs is None,
            f"`combine` of {ftr_head} averages: three times one output is that output",
            f"records differ: {differs}",
            ftr_head.advice(
                "combine", "return the mean of probabilities, or of logits, not their sum"
            ),
        )

    def test_the_vote_of_equal_models_is_the_class_that_each_finds(
        self, ftr_head: HeadSubject
    ) -> None:
        head, rows = ftr_head.head, ftr_head.rows
        if not provides(head, "vote"):
            pytest.skip(
                "its models do not vote: override `vote` for `boosting`; the default is only for "
                "the default `reduce` and `predict`"
            )
        promise = f"`vote` of {ftr_head} counts each model for its most probable class"
        features = ftr_head.features(targets=False)
        outputs = ftr_head.ask(ftr_head.model, ftr_head.batch(features))
        change = ftr_head.advice("vote", "return an output of the kind that it was given")
        with must_work(promise, change):
            alone, together = (
                head.reduce(outputs, features),
                head.reduce(head.vote([outputs, outputs], [0.5, 2.0]), features),
            )
            owners = [
                [one for one, feature in zip(found, features, strict=True) if feature["row"] == 0]
                for found in (alone, together)
            ]
            first, second = (
                head.decode(rows[0], records, {}, ftr_head.labels) for records in owners
            )
            given = [
                head.score_inputs(rows[:1], [one], ftr_head.labels)["predictions"]
                for one in (first, second)
            ]
        require(
            given[0] == given[1],
            promise,
            f"two equal models vote for {given[1]}, each alone finds {given[0]}",
            ftr_head.advice("vote", "vote by argmax"),
        )

    def test_baselines_predict_every_row_without_its_target(self, ftr_head: HeadSubject) -> None:
        head, rows, labels = ftr_head.head, ftr_head.rows, ftr_head.labels
        if not provides(head, "baselines"):
            pytest.skip("it has no baselines")
        promise = f"`baselines` of {ftr_head} predict every held-out row, each time alike"
        change = ftr_head.advice(
            "baselines", "return {name: {split: predictions}} for every split given"
        )
        with must_work(promise, change):
            found = head.baselines(rows, {"test": rows}, labels)
            again = head.baselines(rows, {"test": rows}, labels)
            ids = {
                name: [one["id"] for one in by_split["test"]] for name, by_split in found.items()
            }
        wrong = [name for name, order in ids.items() if order != [row["id"] for row in rows]]
        require(
            not wrong,
            promise,
            f"`{', '.join(wrong)}` left rows out or mixed them up",
            ftr_head.advice("baselines", "return one prediction a row, in order"),
        )
        change = ftr_head.advice("baselines", "return what `decode` returns for each row")
        with must_work(promise, change):
            for by_split in found.values():
                head.score_inputs(rows, by_split["test"], labels)
        change = ftr_head.advice("baselines", "seed what is drawn")
        require(found == again, promise, "a second call gave others", change)

    def test_outcomes_tell_right_predictions_from_wrong_ones(self, ftr_head: HeadSubject) -> None:
        head, rows, labels = ftr_head.head, ftr_head.rows, ftr_head.labels
        if not provides(head, "outcomes"):
            pytest.skip(
                "it does not say what is right: override `outcomes` for reports and abstaining; "
                "the default is only for the default `predict` and `compare`"
            )
        promise = f"`outcomes` of {ftr_head} returns an `Outcome` for every row, in order"
        change = ftr_head.advice("outcomes", "return what is predicted and what is true, as text")
        predictions = ftr_head.decode(ftr_head.grouped(ftr_head.model), {})
        with must_work(promise, change):
            found = head.outcomes(rows, predictions, labels)
            texts = [text for one in found for text in (one.predicted, one.expected)]
            errors = [float(one.error) for one in found]
            sure = [float(one.confidence) for one in found if one.confidence is not None]
        require(
            len(found) == len(rows) and all(isinstance(text, str) for text in texts),
            promise,
            f"for {len(rows)} rows: {len(found)}",
            change,
        )
        wrong = [number for number in sure if not 0 <= number <= 1]
        require(
            not wrong,
            f"the confidence of `outcomes` of {ftr_head} is a probability, or None",
            f"it is {wrong[:1]}",
            ftr_head.advice("outcomes", "return None where there is no probability"),
        )
        wrong = [number for number in errors if not number >= 0]
        require(
            not wrong,
            f"the error of `outcomes` of {ftr_head} is 0 for a right prediction, else above",
            f"it is {wrong[:1]}",
            ftr_head.advice("outcomes", "return a distance"),
        )


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
    elif hasattr(value, "__dict__"):
        yield from _tensors(vars(value))


def _is_json(value: object, promise: str, subject: HeadSubject, method: str) -> Any:
    """Return `value`, which the method returned, as JSON gives it back."""
    change = subject.advice(
        method, "return strings, finite numbers, lists and dicts: `float(...)`, `.tolist()`"
    )
    try:
        read = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        broken(promise, f"{type(error).__name__}: {error}", change)
    differs = difference(value, read)
    require(differs is None, promise, f"JSON makes another of it: {differs}", change)
    return read
