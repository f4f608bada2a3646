# mypy: allow-untyped-defs, allow-untyped-calls, allow-subclassing-any
# ruff: noqa: TID253 - what stands here is imported when it is used, as targets are
"""Metrics, models and options with one fault each, and healthy ones."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, ClassVar

import evaluate
from datasets import Features, Value
from pydantic import BaseModel, ConfigDict, Field, field_validator
from transformers import GPT2ForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

from ftr.model.pretrained import Pretrained
from ftr.registry.additive import additive
from ftr_plugins.classification.metrics import accuracy as HealthyMetric

__all__ = ["HealthyMetric"]


class FaultyMetric(evaluate.Metric):
    """Gives `score`, the share that is right, through `count`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"keep_in_memory": True, **kwargs})

    def _info(self):
        features = Features({"predictions": Value("int64"), "references": Value("int64")})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        return {"score": self.count(predictions, references)}

    def count(self, predictions, references):
        return sum(a == b for a, b in zip(predictions, references, strict=True)) / len(references)


class RewardsSameness(FaultyMetric):
    def count(self, predictions, references):
        return 1.0 if len(set(predictions)) == 1 else super().count(predictions, references) / 2


class AlwaysHalf(FaultyMetric):
    def count(self, predictions, references):
        return 0.5


class DividesByTheRare(FaultyMetric):
    def count(self, predictions, references):
        found = [a for a, b in zip(predictions, references, strict=True) if b == 1]
        return sum(found) / len(found)


class WeighsTheFirst(FaultyMetric):
    def count(self, predictions, references):
        weights = [1 / (place + 1) for place in range(len(references))]
        return sum(w for w, a, b in zip(weights, predictions, references, strict=True) if a == b)


class Remembers(FaultyMetric):
    total: ClassVar[list[float]] = []

    def count(self, predictions, references):
        self.total.append(super().count(predictions, references))
        return sum(self.total) / len(self.total)


class NanWhenPerfect(FaultyMetric):
    def count(self, predictions, references):
        wrong = sum(a != b for a, b in zip(predictions, references, strict=True))
        return float("nan") if not wrong else 1 / wrong


class NamesItOtherwise(FaultyMetric):
    def _compute(self, predictions, references):
        return {"share": self.count(predictions, references)}


class GivesObjects(FaultyMetric):
    def _compute(self, predictions, references):
        return {"score": self.count(predictions, references), "seen": set(predictions)}


def fetched() -> Any:
    """Return a metric from the hub."""
    return evaluate.load("accuracy")


class AsksTheNetwork(FaultyMetric):
    def count(self, predictions, references):
        import urllib.error
        import urllib.request

        with contextlib.suppress(urllib.error.URLError):
            urllib.request.urlopen("http://scores.invalid/api")
        return super().count(predictions, references)


def _right(predictions, references):
    equal = [one == true for one, true in zip(predictions, references, strict=True)]
    return {"right": equal, "rows": [1] * len(equal)}


@additive(_right, lambda sums: {"score": sums["right"] / (sums["rows"] + 1)})
def other_sums(predictions, references):
    return {"score": sum(_right(predictions, references)["right"]) / len(references)}


class TinyModel(Pretrained):
    """A tiny model; tests set where its checkpoint lies."""

    folder = ""

    def __init__(self, options: Any = None) -> None:
        super().__init__(self.folder)


class WithoutPadToken(TinyModel):
    def tokenizer(self):
        tokenizer = super().tokenizer()
        tokenizer.pad_token = None
        return tokenizer


class PadsOnTheLeft(TinyModel):
    def tokenizer(self):
        tokenizer = super().tokenizer()
        tokenizer.padding_side = "left"
        return tokenizer


class UnknownPadToken(TinyModel):
    def load(self, auto_class, **config):
        model = super().load(auto_class, **config)
        model.config.pad_token_id = 7
        return model


class OwnWords(TinyModel):
    def tokenizer(self):
        tokenizer = super().tokenizer()
        tokenizer.add_tokens(["<thing>", "<place>"])
        return tokenizer


class IgnoresTheConfig(TinyModel):
    def load(self, auto_class, **config):
        return super().load(auto_class)


class FreshWeights(TinyModel):
    def load(self, auto_class, **config):
        return auto_class.from_config(super().load(auto_class, **config).config)


class TooLong(TinyModel):
    def max_length(self):
        return 400


class DescribesObjects(TinyModel):
    def describe(self):
        return {"source": Path(self.source)}


class HealthyOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(0.5, description="How much.")


class OpenOptions(BaseModel):
    share: float = Field(0.5, description="How much.")


class SilentOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    share: float = 0.5


class ForgetfulOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    place: Path = Field(Path(), description="Where.")

    @field_validator("place", mode="before")
    @classmethod
    def _paths_only(cls, value):
        if not isinstance(value, Path):
            raise ValueError("a path is needed")
        return value


class NoModel:
    share = 0.5


class ReadsTheLastColumn(GPT2ForSequenceClassification):
    def forward(self, input_ids=None, attention_mask=None, **inputs):
        hidden = self.transformer(input_ids, attention_mask=attention_mask)[0]
        return SequenceClassifierOutput(logits=self.score(hidden[:, -1]))


class LastColumn(TinyModel):
    def load(self, auto_class, **config):
        return super().load(ReadsTheLastColumn, **config)
