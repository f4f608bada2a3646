"""The `extractive-qa` head: the answer to a question is a span of its context, or there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.plugin import (
    Column,
    EncodeSettings,
    Feature,
    Head,
    Outcome,
    Prediction,
    Row,
    RowSchema,
    State,
)
from ftr.registry.protocols import CALIBRATION
from ftr_plugins.extractive_qa.options import ExtractiveQAOptions
from ftr_plugins.temperature import NO_ROWS

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase
    from transformers.utils.generic import ModelOutput

    from ftr_plugins.extractive_qa.spans import Answer, WindowRecord

THRESHOLD = "no_answer_threshold"
NO_ANSWER = "(no answer)"


class ExtractiveQAHead(Head):
    """Builds, feeds and reads an `AutoModelForQuestionAnswering`.

    A model trained on rows that all have an answer always answers. Where the validation rows hold
    questions without one, or `head.threshold` is given, a question whose no-answer score lies above
    the threshold gets "".
    """

    auto_class = "AutoModelForQuestionAnswering"
    columns = (
        Column(name="question", aliases=("query",)),
        Column(name="context", aliases=("passage", "paragraph")),
        Column(
            name="answers",
            type="answers",
            aliases=(
                "answer",
                "answers.text",
                "answer.text",
                "answers_text",
                "answer_text",
                "answer_texts",
            ),
        ),
        Column(name="title", type="value", required=False),
    )

    def __init__(self, options: ExtractiveQAOptions | None = None) -> None:
        super().__init__(options or ExtractiveQAOptions())

    @cached_property
    def schema(self) -> RowSchema:
        """The columns; made splits keep the questions of a title together."""
        return RowSchema(columns=self.columns, group="title")

    def check(self, row: Row) -> str | None:
        """Return why the row cannot be used, or None; `answers` may be missing or None (not
        known).
        """
        answers = row.get("answers")
        return super().check(row) or (
            None if answers is None else _check_answers(answers, row["context"])
        )

    def model_config(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return two outputs: some kinds have as many as labels, and the checkpoint may be a
        classifier's.
        """
        return {"num_labels": 2}

    def encode(
        self,
        rows: dict[str, list[Any]],
        tokenizer: PreTrainedTokenizerBase,
        settings: EncodeSettings,
    ) -> dict[str, list[Any]]:
        """Turn rows into windows: see `ftr_plugins.extractive_qa.encode.encode_rows`."""
        from ftr_plugins.extractive_qa.encode import encode_rows

        return encode_rows(rows, tokenizer, settings, self.options.max_question_length)

    def collate(
        self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Tensor]:
        """Pad to the longest; `start_positions` and `end_positions` (batch,) where the features
        have them.
        """
        import torch

        batch = super().collate(features, tokenizer)
        for name in ("start_positions", "end_positions"):
            if name in features[0]:
                batch[name] = torch.tensor([int(feature[name]) for feature in features])
        return batch

    def loss(self, outputs: ModelOutput, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean cross entropy of starts and ends over the tokens that are no padding."""
        return self.row_losses(outputs, inputs, 0.0).mean()

    def row_losses(
        self, outputs: ModelOutput, inputs: Mapping[str, Tensor], smoothing: float
    ) -> Tensor:
        """Return each window's mean cross entropy of its start and its end, over the tokens that
        are no padding.

        The share `smoothing` of each target is spread over these tokens, so that padding makes no
        difference.
        """
        from ftr_plugins.extractive_qa.losses import position_losses

        mask = inputs["attention_mask"] != 0
        start, end = (
            position_losses(outputs[f"{side}_logits"], inputs[f"{side}_positions"], mask, smoothing)
            for side in ("start", "end")
        )
        return (start + end) / 2

    def combine(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Return the means of the start and of the end logits: every span, and no answer, scores
        the mean of its scores.

        Logits rather than probabilities, for the windows of a question are compared by them.
        """
        import torch
        from transformers.modeling_outputs import QuestionAnsweringModelOutput

        mean = {
            key: torch.stack([one[key].float() for one in outputs]).mean(dim=0)
            for key in ("start_logits", "end_logits")
        }
        return QuestionAnsweringModelOutput(**mean)

    def reduce(self, outputs: ModelOutput, features: Sequence[Feature]) -> list[WindowRecord]:
        """Return the best spans and the null score of each window."""
        from ftr_plugins.extractive_qa.spans import search

        return search(
            outputs["start_logits"],
            outputs["end_logits"],
            features,
            self.options.n_best,
            self.options.max_answer_length,
        )

    def decode(
        self, row: Row, records: Sequence[WindowRecord], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Return the answer of one row.

        `answer` is the text, "" for none; `start` and `end` its characters [start, end) in the
        context, None for none; `score` its probability among the best spans and no answer;
        `no_answer_score` the null score less the best span's (None when there is no span);
        `best_answer` the best span, whatever the threshold made of it. With `head.calibrate` there
        is also its `confidence`, the probability that the answer is right.
        """
        best = self._best(row, records)
        threshold = (
            state.get(THRESHOLD) if self.options.threshold is None else self.options.threshold
        )
        none = best["diff"] is None or (threshold is not None and best["diff"] > threshold)
        prediction: Prediction = {
            "id": row["id"],
            "answer": "" if none else best["text"],
            "score": best["null_probability"] if none else best["probability"],
            "start": None if none else best["start"],
            "end": None if none else best["end"],
            "no_answer_score": best["diff"],
            "best_answer": best["text"],
        }
        if CALIBRATION in state:
            from ftr_plugins.extractive_qa.confidence import confidence

            prediction["confidence"] = confidence(prediction, state[CALIBRATION])
        return prediction

    def as_given(
        self, prediction: Prediction, text: str, before: Callable[[int, int], tuple[int, int]]
    ) -> Prediction:
        """Return the prediction with `start`, `end` and `answer` as they are in the context before
        it was cleaned.
        """
        if prediction["start"] is None:
            return prediction
        start, end = before(prediction["start"], prediction["end"])
        return {
            **prediction,
            "start": start,
            "end": end,
            "answer": text[start:end],
            "best_answer": text[start:end],
        }

    def calibrate(
        self, rows: Sequence[Row], records: Sequence[Sequence[WindowRecord]], labels: Sequence[str]
    ) -> State:
        """Return the no-answer threshold with the best F1, unless every row has an answer; with
        `head.calibrate` also the weights of the `confidence`, fitted on answers that get F1 = 1.
        """
        state = self._threshold(rows, records)
        if self.options.calibrate is None or not rows:
            return state
        from ftr_plugins.extractive_qa.confidence import fit

        predictions = [
            self.decode(row, each, state, labels) for row, each in zip(rows, records, strict=True)
        ]
        right = [one.right for one in self.outcomes(rows, predictions, labels)]
        return {**state, CALIBRATION: fit(predictions, right)}

    def _threshold(self, rows: Sequence[Row], records: Sequence[Sequence[WindowRecord]]) -> State:
        from ftr_plugins.extractive_qa.threshold import best_threshold

        if self.options.threshold is not None:
            return {THRESHOLD: self.options.threshold}
        golds = [_texts(row) for row in rows]
        if all(golds):
            return {}
        best = [self._best(row, windows) for row, windows in zip(rows, records, strict=True)]
        known = [
            (gold, one["text"], one["diff"])
            for gold, one in zip(golds, best, strict=True)
            if one["diff"] is not None
        ]
        threshold = best_threshold(
            [gold for gold, _, _ in known],
            [text for _, text, _ in known],
            [diff for _, _, diff in known],
        )
        return {} if threshold is None else {THRESHOLD: threshold}

    def uncalibrated(self, rows: Sequence[Row]) -> str | None:
        """Say that the model will always answer, where some of `rows` have no answer and no
        threshold is given, and that `head.calibrate` has nothing to fit.
        """
        unfitted = None if self.options.calibrate is None else NO_ROWS
        if self.options.threshold is not None or all(_texts(row) for row in rows):
            return unfitted
        line = (
            "no validation rows: no no-answer threshold is tuned, and the model gives every "
            "question an answer. `head.threshold=0` lets it give none where no answer scores best"
        )
        return line if unfitted is None else f"{line}; {unfitted}"

    def remarks(
        self, rows: Sequence[Row], metrics: Sequence[str], labels: Sequence[str]
    ) -> list[str]:
        """Say that F1 counts words where reference answers are in a script without spaces, unless
        characters are counted too.
        """
        from ftr_plugins.extractive_qa.text import is_spaceless

        names = {name.rpartition(":")[2] for name in metrics}
        texts = (
            [text for row in rows for text in _texts(row)]
            if "squad" in names and "squad_characters" not in names
            else []
        )
        count = sum(map(is_spaceless, texts))
        if not count:
            return []
        return [
            f"{count} of {len(texts)} reference answers are in a script without spaces: the `f1` "
            "of `squad` takes what stands between blanks for one word. `metrics=squad_characters` "
            "counts characters"
        ]

    def baselines(
        self, train: Sequence[Row], heldout: Mapping[str, Sequence[Row]], labels: Sequence[str]
    ) -> dict[str, dict[str, list[Prediction]]]:
        """Return those of `overlap`, the span that stands nearest to the words of the question."""
        from ftr_plugins.extractive_qa.baselines import baselines

        return baselines(train, heldout, labels)

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return what `evaluate`'s `squad_v2` takes: texts, ids, a no-answer probability, and the
        gold answers.
        """
        return {
            "predictions": [
                {
                    "id": one["id"],
                    "prediction_text": one["answer"],
                    "no_answer_probability": float(not one["answer"]),
                }
                for one in predictions
            ],
            "references": [
                {
                    "id": row["id"],
                    "answers": {
                        "text": _texts(row),
                        "answer_start": [int(start) for start in row["answers"]["answer_start"]],
                    },
                }
                for row in rows
            ],
        }

    def confidence(self, prediction: Prediction) -> float | None:
        """Return the `confidence` that `head.calibrate` fitted, else the `score`: the share of the
        answer, or of no answer, among the best spans and no answer.
        """
        score: float | None = prediction.get("confidence", prediction.get("score"))
        return score

    def outcomes(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> list[Outcome]:
        """Return the answer beside the reference answers, and 1 - F1 of the best of them."""
        from ftr_plugins.extractive_qa.text import best_scores

        return [
            Outcome(
                predicted=one["answer"] or NO_ANSWER,
                expected=" | ".join(dict.fromkeys(_texts(row))) or NO_ANSWER,
                error=1 - best_scores(_texts(row), one["answer"])[1],
                confidence=self.confidence(one),
            )
            for row, one in zip(rows, predictions, strict=True)
        ]

    def usage(self, tokenizer: PreTrainedTokenizerBase) -> str | None:
        """Return `ftr_plugins.extractive_qa.usage`, where the first token stands for no answer and
        the tokenizer's offsets need no correction.
        """
        from ftr_plugins.extractive_qa.encode import has_plain_windows

        if not has_plain_windows(tokenizer):
            return None
        return Path(__file__).with_name("usage.py").read_text(encoding="utf-8")

    def _best(self, row: Row, records: Sequence[WindowRecord]) -> Answer:
        from ftr_plugins.extractive_qa.spans import merge

        return merge(row["context"], records, self.options.n_best)


def _texts(row: Row) -> list[str]:
    return [str(text) for text in row["answers"]["text"]]


def _check_answers(answers: object, context: str) -> str | None:
    if not isinstance(answers, Mapping):
        return "answers are not {text, answer_start}"
    texts, starts = answers.get("text"), answers.get("answer_start")
    if (
        not isinstance(texts, Sequence)
        or not isinstance(starts, Sequence)
        or isinstance(texts, str)
        or len(texts) != len(starts)
    ):
        return "answers are not {text, answer_start}"
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text.strip():
            return "empty answer"
        if not isinstance(start, int) or start < 0 or context[start : start + len(text)] != text:
            return "answer_start does not point at the answer"
    return None
