"""The `token-classification` head: a tag for every word, read at the word's first token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ftr.plugin import Column, EncodeSettings, Feature, Head, Outcome, Prediction, Row, State
from ftr_plugins.token_classification.entities import (
    OUTSIDE,
    Entity,
    check_tags,
    entities,
    is_tag,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase
    from transformers.utils import ModelOutput


class WindowRecord(NamedTuple):
    """What is kept of a window: the words read in it, the class id of each, and its probability."""

    words: Sequence[int]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]


class TokenClassificationHead(Head):
    """BIO tags, or BIOES tags, as classes; sentences longer than the model are read in windows."""

    auto_class = "AutoModelForTokenClassification"
    columns = (
        Column(name="tokens", type="tokens", aliases=("words", "sentence", "text")),
        Column(name="tags", type="labels", aliases=("ner_tags", "labels", "bio")),
    )

    def check(self, row: Row) -> str | None:
        """Return why a row cannot be used: no words, another number of tags, or what is no tag."""
        tokens, tags = row.get("tokens"), row.get("tags")
        if not tokens:
            return "empty tokens"
        if tags is None:
            return None
        if len(tags) != len(tokens):
            return "not as many tags as tokens"
        names = [tag for tag in tags if isinstance(tag, str)]
        return None if all(map(is_tag, names)) else "tags are not O, B-TYPE or I-TYPE"

    def encode(
        self,
        rows: dict[str, list[Any]],
        tokenizer: PreTrainedTokenizerBase,
        settings: EncodeSettings,
    ) -> dict[str, list[Any]]:
        """Turn rows into windows: see `ftr_plugins.token_classification.encode.encode_rows`.

        Raises `DataError` for classes that are no tags.
        """
        from ftr_plugins.token_classification.encode import encode_rows

        check_tags(settings.labels)
        return encode_rows(rows, tokenizer, settings)

    def collate(
        self, features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, Tensor]:
        """Pad to the longest: `input_ids`, `attention_mask` and `labels`, each (batch, length)."""
        from ftr_plugins.token_classification.encode import IGNORED

        longest = max(len(feature["input_ids"]) for feature in features)
        padded = [
            {**one, "labels": [*one["labels"], *[IGNORED] * (longest - len(one["labels"]))]}
            if "labels" in one
            else one
            for one in features
        ]
        return super().collate(padded, tokenizer)

    def combine(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Return logits whose softmax is, at every token, the mean of the models' probabilities."""
        return super().combine(outputs)

    def reduce(self, outputs: ModelOutput, features: Sequence[Feature]) -> list[WindowRecord]:
        """Return the best class of each word that is read in a window; logits are (batch, length,
        classes).
        """
        scores, classes = outputs["logits"].float().softmax(dim=-1).max(dim=-1)
        return [
            WindowRecord(feature["words"], best[feature["places"]], sure[feature["places"]])
            for feature, best, sure in zip(
                features, classes.cpu().numpy(), scores.cpu().numpy(), strict=True
            )
        ]

    def decode(
        self, row: Row, records: Sequence[WindowRecord], state: State, labels: Sequence[str]
    ) -> Prediction:
        """Return `id`, a tag for every word, the `entities` they spell out, and a `score`.

        An entity has its `type`, its words [`start`, `end`) by their index in the sentence, its
        `text`, and as `score` the probability of its least certain word. The `score` of the
        sentence is the product over its words: the probability that all tags are right, if words
        are independent. A word of which the tokenizer leaves nothing is outside of all entities.
        """
        words: Sequence[str] = row["tokens"]
        tags, scores = [OUTSIDE] * len(words), [1.0] * len(words)
        for record in records:
            for word, number, score in zip(
                record.words, record.classes, record.scores, strict=True
            ):
                tags[word], scores[word] = labels[number], float(score)
        found = [
            {
                "type": entity.type,
                "start": entity.start,
                "end": entity.end,
                "text": " ".join(words[entity.start : entity.end]),
                "score": min(scores[entity.start : entity.end]),
            }
            for entity in entities(tags)
        ]
        return {"id": row["id"], "tags": tags, "entities": found, "score": math.prod(scores)}

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return the tags of each sentence, predicted and true."""
        return {
            "predictions": [prediction["tags"] for prediction in predictions],
            "references": [[labels[number] for number in row["tags"]] for row in rows],
        }

    def confidence(self, prediction: Prediction) -> float | None:
        """Return the `score` of the sentence."""
        return prediction.get("score")

    def outcomes(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> list[Outcome]:
        """Return the entities, predicted and true, and 1 - F1 of those of the sentence."""
        found = []
        for row, one in zip(rows, predictions, strict=True):
            given, true = entities(one["tags"]), entities([labels[tag] for tag in row["tags"]])
            common = 2 * len(set(given) & set(true))
            found.append(
                Outcome(
                    predicted=_in_words(given, row["tokens"]),
                    expected=_in_words(true, row["tokens"]),
                    error=1 - common / (len(given) + len(true)) if given or true else 0.0,
                    confidence=self.confidence(one),
                )
            )
        return found


def _in_words(found: Sequence[Entity], words: Sequence[str]) -> str:
    named = (f"{' '.join(words[one.start : one.end])} ({one.type})" for one in found)
    return ", ".join(named) or "(no entity)"
