"""The `token-classification` head: a class for every word, read at the word's first token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ftr.registry.schema import Column, RowSchema
from ftr_plugins.token_classification.entities import OUTSIDE, check_tags, entities, is_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ftr.registry.protocols import EncodeSettings, Feature, Model, Prediction, Row, State


class WindowRecord(NamedTuple):
    """What is kept of a window: the words read in it, the class id of each, and its probability."""

    words: Sequence[int]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]


class TokenClassificationHead:
    """Builds, feeds and reads an `AutoModelForTokenClassification`.

    Implements `ftr.registry.protocols.Head` and `Combines`.
    """

    schema = RowSchema(
        columns=(
            Column(name="tokens", type="tokens", aliases=("words", "sentence", "text")),
            Column(name="tags", type="labels", aliases=("ner_tags", "labels", "bio")),
        )
    )

    def __init__(self, options: None = None) -> None:
        """Take no options."""

    def check(self, row: Row) -> str | None:
        """Return why a row cannot be used: no words, another number of tags, or a tag that is
        none.
        """
        tokens, tags = row.get("tokens"), row.get("tags")
        if not tokens:
            return "empty tokens"
        if tags is None:
            return None
        if len(tags) != len(tokens):
            return "not as many tags as tokens"
        return (
            None
            if all(is_tag(tag) for tag in tags if isinstance(tag, str))
            else "tags are not O, B-TYPE or I-TYPE"
        )

    def build(self, model: Model, labels: Sequence[str], seed: int) -> PreTrainedModel:
        """Return the model with the tags as its classes; the new weights follow from `seed`."""
        from transformers import AutoModelForTokenClassification, set_seed

        if not getattr(model, "complete", False):
            set_seed(seed)
        return model.load(
            AutoModelForTokenClassification,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )

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
        import torch

        from ftr.train.batches import pad
        from ftr_plugins.token_classification.encode import IGNORED

        batch = pad(features, tokenizer)
        if "labels" in features[0]:
            longest = batch["input_ids"].shape[1]
            rows = [
                [*feature["labels"], *[IGNORED] * (longest - len(feature["labels"]))]
                for feature in features
            ]
            batch["labels"] = torch.tensor(rows)
        return batch

    def loss(self, outputs: ModelOutput, inputs: Mapping[str, Tensor]) -> None:
        """Return None: the model's own cross entropy over the labels that are not -100."""
        return

    def combine(self, outputs: Sequence[ModelOutput]) -> ModelOutput:
        """Return logits whose softmax is, at every token, the mean of the models' probabilities."""
        import torch
        from transformers.modeling_outputs import TokenClassifierOutput

        each = torch.stack([one["logits"].float().log_softmax(dim=-1) for one in outputs])
        return TokenClassifierOutput(logits=each.logsumexp(dim=0) - math.log(len(outputs)))

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
        """Return `id`, a tag for every word, and the `entities` they spell out.

        An entity has its `type`, its words [`start`, `end`) by their index in the sentence, its
        `text`, and as `score` the probability of its least certain word. A word of which the
        tokenizer leaves nothing is outside of all entities.
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
        return {"id": row["id"], "tags": tags, "entities": found}

    def tune(self, rows: Sequence[Row], records: Sequence[Sequence[WindowRecord]]) -> State:
        """Return nothing: the most probable class needs no threshold."""
        return {}

    def untuned(self, rows: Sequence[Row]) -> None:
        """Return None: nothing is tuned."""
        return

    def score_inputs(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Return the tags of each sentence, predicted and true."""
        return {
            "predictions": [prediction["tags"] for prediction in predictions],
            "references": [[labels[number] for number in row["tags"]] for row in rows],
        }
