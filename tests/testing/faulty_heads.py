# mypy: allow-untyped-defs, allow-untyped-calls, allow-subclassing-any
# ruff: noqa: TID253 - what stands here is imported when it is used, as targets are
"""Heads with one fault each, made from the built-in ones; `Healthy` and `HealthyReader` have
none.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, set_seed

from ftr.registry.schema import Column, RowSchema
from ftr_plugins.classification.head import SequenceClassificationHead as Healthy
from ftr_plugins.extractive_qa.head import ExtractiveQAHead as HealthyReader

__all__ = ["Healthy", "HealthyReader"]


class EncodesLabelsOneOff(Healthy):
    def encode(self, rows, tokenizer, settings):
        columns = super().encode(rows, tokenizer, settings)
        if "labels" in columns:
            columns["labels"] = [(label + 1) % len(settings.labels) for label in columns["labels"]]
        return columns


class DecodesLabelsOneOff(Healthy):
    def decode(self, row, records, state, labels):
        prediction = super().decode(row, records, state, labels)
        return {**prediction, "label": labels[prediction["label_id"] - 1]}


class PointsOneCharacterOff(HealthyReader):
    def decode(self, row, records, state, labels):
        prediction = super().decode(row, records, state, labels)
        start, end = prediction["start"], prediction["end"]
        text = "" if start is None else row["context"][start + 1 : end + 1]
        return {**prediction, "answer": text, "best_answer": text}


class TurnsTheLossRound(Healthy):
    def loss(self, outputs, inputs):
        return -outputs["loss"]


class TurnsTheGradientRound(Healthy):
    def loss(self, outputs, inputs):
        return 2 * outputs["loss"].detach() - outputs["loss"]


class ReversesLabelNames(Healthy):
    def build(self, model, labels, seed):
        return super().build(model, labels[::-1], seed)


class ForgetsLabelNames(Healthy):
    def build(self, model, labels, seed):
        set_seed(seed)
        return model.load(AutoModelForSequenceClassification, num_labels=len(labels))


class DropsTheLastRecord(Healthy):
    def reduce(self, outputs, features):
        return super().reduce(outputs, features)[:-1]


class DropsTheLastRow(Healthy):
    def score_inputs(self, rows, predictions, labels):
        return super().score_inputs(rows[:-1], predictions[:-1], labels)


class GivesOnePredictionForAll(Healthy):
    def decode(self, row, records, state, labels):
        return {**super().decode(row, records, state, labels), "id": "0"}


class GivesALabelAlone(Healthy):
    def decode(self, row, records, state, labels):
        return super().decode(row, records, state, labels)["label"]


class CoversPadding(Healthy):
    def collate(self, features, tokenizer):
        batch = super().collate(features, tokenizer)
        return {**batch, "attention_mask": torch.ones_like(batch["attention_mask"])}


class BlindToMasks(BertForSequenceClassification):
    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, labels=None):
        return super().forward(input_ids=input_ids, token_type_ids=token_type_ids, labels=labels)


class IgnoresMasks(Healthy):
    def build(self, model, labels, seed):
        set_seed(seed)
        return model.load(BlindToMasks, num_labels=len(labels), id2label=dict(enumerate(labels)))


class PadsToTheBatch(Healthy):
    def encode(self, rows, tokenizer, settings):
        columns = super().encode(rows, tokenizer, settings)
        longest = max(map(len, columns["input_ids"]))
        columns["input_ids"] = [
            [*ids, *[tokenizer.pad_token_id] * (longest - len(ids))] for ids in columns["input_ids"]
        ]
        return columns


class LosesARow(Healthy):
    def encode(self, rows, tokenizer, settings):
        columns = super().encode(rows, tokenizer, settings)
        return (
            {name: values[:-1] for name, values in columns.items()}
            if len(columns["row"]) > 1
            else columns
        )


class LosesTheLastWindow(HealthyReader):
    def encode(self, rows, tokenizer, settings):
        columns = super().encode(rows, tokenizer, settings)
        owners = columns["row"]
        kept = [
            place
            for place, owner in enumerate(owners)
            if owners.count(owner) == 1 or owner in owners[place + 1 :]
        ]
        return {name: [values[place] for place in kept] for name, values in columns.items()}


class DoublesWindows(HealthyReader):
    def encode(self, rows, tokenizer, settings):
        columns = super().encode(rows, tokenizer, settings)
        owners = columns["row"]
        places = [
            place
            for place, owner in enumerate(owners)
            for _ in range(2 if owners.count(owner) > 1 else 1)
        ]
        return {name: [values[place] for place in places] for name, values in columns.items()}


class DropsWordsAtRandom(Healthy):
    def encode(self, rows, tokenizer, settings):
        texts = [
            " ".join(word for word in text.split() if random.random() > 0.5) or text
            for text in rows["text"]
        ]
        return super().encode({**rows, "text": texts}, tokenizer, settings)


class ChangesTheRows(Healthy):
    def encode(self, rows, tokenizer, settings):
        rows["text"][:] = [text.upper() for text in rows["text"]]
        return super().encode(rows, tokenizer, settings)


class CutsNothing(Healthy):
    def encode(self, rows, tokenizer, settings):
        columns = super().encode(rows, tokenizer, settings)
        return {**columns, "input_ids": tokenizer(rows["text"])["input_ids"]}


class AlwaysReadsLabels(Healthy):
    def encode(self, rows, tokenizer, settings):
        return {**super().encode(rows, tokenizer, settings), "labels": list(rows["label"])}


class PeeksAtLabels(Healthy):
    def encode(self, rows, tokenizer, settings):
        hints = rows.get("label", [""] * len(rows["text"]))
        return super().encode(
            {
                **rows,
                "text": [f"{text} {hint}" for text, hint in zip(rows["text"], hints, strict=True)],
            },
            tokenizer,
            settings,
        )


class GivesMixedColumns(Healthy):
    def encode(self, rows, tokenizer, settings):
        columns = super().encode(rows, tokenizer, settings)
        return {**columns, "hint": [place if place % 2 else str(place) for place in columns["row"]]}


class GivesUnevenColumns(Healthy):
    def encode(self, rows, tokenizer, settings):
        columns = super().encode(rows, tokenizer, settings)
        return {**columns, "hint": [0]}


class NeedsEveryColumn(Healthy):
    def check(self, row):
        return None if row["text"].strip() else "empty text"


class PassesEveryRow(Healthy):
    def check(self, row):
        return None


class NamesAColumnTwice(Healthy):
    schema = RowSchema(
        columns=(Column(name="text"), Column(name="text"), Column(name="label", type="label"))
    )


class StratifiesByNothing(Healthy):
    schema = RowSchema(
        columns=(Column(name="text"), Column(name="label", type="label")), stratify="labels"
    )


class SumsTheLoss(Healthy):
    def loss(self, outputs, inputs):
        return torch.nn.functional.cross_entropy(
            outputs["logits"], inputs["labels"], reduction="sum"
        )


class CountsPadding(HealthyReader):
    def loss(self, outputs, inputs):
        return None


class DetachesLogits(Healthy):
    def loss(self, outputs, inputs):
        return torch.nn.functional.cross_entropy(outputs["logits"].detach(), inputs["labels"])


class WithAnIdleLayer(BertForSequenceClassification):
    def __init__(self, config):
        super().__init__(config)
        self.idle = torch.nn.Linear(2, 2)
        self.post_init()


class BuildsAnIdleLayer(Healthy):
    def build(self, model, labels, seed):
        set_seed(seed)
        return model.load(WithAnIdleLayer, num_labels=len(labels), id2label=dict(enumerate(labels)))


class DividesByZero(Healthy):
    def loss(self, outputs, inputs):
        return outputs["loss"] / 0


class LearnsShuffledLabels(Healthy):
    def collate(self, features, tokenizer):
        batch = super().collate(features, tokenizer)
        if "labels" in batch:
            batch["labels"] = torch.randint(0, 3, batch["labels"].shape)
        return batch


class LossOfEachRow(Healthy):
    def loss(self, outputs, inputs):
        return torch.nn.functional.cross_entropy(
            outputs["logits"], inputs["labels"], reduction="none"
        )


class ForgetsTheSeed(Healthy):
    def build(self, model, labels, seed):
        return model.load(
            AutoModelForSequenceClassification,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
        )


class AlwaysTheSameSeed(Healthy):
    def build(self, model, labels, seed):
        return super().build(model, labels, 0)


class ThrowsTheBodyAway(Healthy):
    def build(self, model, labels, seed):
        built = super().build(model, labels, seed)
        return type(built)(built.config)


class DrawsTheHeadAnew(Healthy):
    def build(self, model, labels, seed):
        built = super().build(model, labels, seed)
        built.classifier.reset_parameters()
        return built


class BuildsAModule(Healthy):
    def build(self, model, labels, seed):
        return torch.nn.Linear(2, len(labels))


class HandsOverTooMuch(Healthy):
    def collate(self, features, tokenizer):
        batch = super().collate(features, tokenizer)
        return {
            **batch,
            "lengths": torch.tensor([len(feature["input_ids"]) for feature in features]),
        }


class KeepsLogits(Healthy):
    def reduce(self, outputs, features):
        return list(outputs["logits"].float())


class KeepsFunctions(Healthy):
    def reduce(self, outputs, features):
        return [lambda kept=kept: kept for kept in super().reduce(outputs, features)]


class ComparesTheBatch(Healthy):
    def reduce(self, outputs, features):
        return list(outputs["logits"].softmax(dim=0).numpy())


class PredictsNumpy(Healthy):
    def decode(self, row, records, state, labels):
        return {
            **super().decode(row, records, state, labels),
            "score": np.float32(records[0].max()),
        }


class PredictsAtRandom(Healthy):
    def decode(self, row, records, state, labels):
        return {**super().decode(row, records, state, labels), "score": random.random()}


class TunesNumpy(Healthy):
    def calibrate(self, rows, records, labels):
        return {"threshold": np.float32(0.5)}


class TunesByNumber(Healthy):
    def calibrate(self, rows, records, labels):
        return {0: 0.5}

    def decode(self, row, records, state, labels):
        return {
            **super().decode(row, records, state, labels),
            "sure": bool(records[0].max() > state.get(0, 0.0)),
        }


class SumsModels(Healthy):
    def combine(self, outputs):
        combined = super().combine(outputs)
        combined["logits"] = sum(one["logits"] for one in outputs)
        return combined


class ForgetsAnOutcome(Healthy):
    def outcomes(self, rows, predictions, labels):
        return super().outcomes(rows, predictions, labels)[1:]


class SureBeyondMeasure(Healthy):
    def outcomes(self, rows, predictions, labels):
        found = super().outcomes(rows, predictions, labels)
        return [replace(one, confidence=1.5) for one in found]


class HalvesRowLosses(Healthy):
    def row_losses(self, outputs, inputs, smoothing):
        return super().row_losses(outputs, inputs, smoothing) / 2


class MeansRowLosses(Healthy):
    def row_losses(self, outputs, inputs, smoothing):
        return super().row_losses(outputs, inputs, smoothing).mean()


class VotesForTheLeast(Healthy):
    def vote(self, outputs, weights):
        voted = super().vote(outputs, weights)
        voted["logits"] = -sum(one["logits"] for one in outputs)
        return voted


class GuessesTheFirstRowAlone(Healthy):
    def baselines(self, train, heldout, labels):
        found = super().baselines(train, heldout, labels)
        return {
            name: {split: answers[:1] for split, answers in by_split.items()}
            for name, by_split in found.items()
        }


class CountsItsBatches(Healthy):
    """What it gives depends on how many batches there were before: an interrupted run never comes
    to the same result.
    """

    batches = 0

    def collate(self, features: Any, tokenizer: Any) -> dict[str, Any]:
        batch = super().collate(features, tokenizer)
        CountsItsBatches.batches += 1
        if "labels" in batch and CountsItsBatches.batches % 5 == 0:
            batch["labels"] = torch.zeros_like(batch["labels"])
        return batch


class FormerNames:
    """As heads were written for the first release."""

    def __init__(self, options=None):
        pass

    def tune(self, rows, records):
        return {}

    def untuned(self, rows):
        return None
