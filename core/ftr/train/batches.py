"""Batches: which examples make up each optimizer step, their weights, and their padding."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ftr.config.schema import RunConfig, TrainConfig
from ftr.errors import ConfigError, DataError, ModelError, counted, did_you_mean
from ftr.registry.protocols import Feature, Head, Row, provides

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


Indices = npt.NDArray[np.int64]
POOL_BATCHES = 50
"""Batches a length-sorted pool holds: as in the `group_by_length` sampler of transformers (its
`mega_batch_mult`).
"""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One forward pass: the model's inputs and how many examples in them are this worker's (0: only
    to keep step).

    `rows` are the numbers of the examples, `longest` is the number of tokens of the longest one;
    `weights`, of shape (examples,), are their weights in the loss (None: all equal).
    """

    inputs: dict[str, Tensor]
    examples: int
    rows: Indices | None = None
    longest: int = 0
    weights: Tensor | None = None


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The batches of a training set whose examples have `lengths` tokens, `batch_size` examples a
    step.

    Every epoch shuffles the examples, cuts them into pools, sorts each pool by length so that a
    batch holds examples of like length, and shuffles the batches. Every example is in exactly one
    batch of an epoch. With `probabilities` an epoch is as many draws with replacement instead.
    """

    lengths: Indices
    batch_size: int
    seed: int
    probabilities: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Steps in an epoch."""
        return math.ceil(len(self.lengths) / self.batch_size)

    def epoch(self, epoch: int) -> list[Indices]:
        """Return the batches of an epoch: arrays of row numbers, the only short one last."""
        rng = np.random.default_rng([self.seed, epoch])
        count = len(self.lengths)
        order = (
            rng.permutation(count)
            if self.probabilities is None
            else rng.choice(count, count, p=self.probabilities)
        )
        pool = self.batch_size * POOL_BATCHES
        batches: list[Indices] = []
        for start in range(0, len(order), pool):
            members = order[start : start + pool]
            members = members[np.argsort(-self.lengths[members], kind="stable")]
            batches += [
                members[i : i + self.batch_size] for i in range(0, len(members), self.batch_size)
            ]
        short = [batch for batch in batches if len(batch) < self.batch_size]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        return [full[i] for i in rng.permutation(len(full))] + short


@dataclass(frozen=True, slots=True)
class Shard:
    """One worker's part of every batch: rows `rank`, `rank + world`, ... of it, longest first."""

    rank: int = 0
    world: int = 1

    def of(self, batch: Indices) -> Indices:
        """Return this worker's rows; may be empty in a short last batch."""
        return batch[self.rank :: self.world]


def micro_batches(
    rows: Indices, lengths: Indices, limit: int, token_limit: int | None
) -> list[Indices]:
    """Cut `rows` into runs of like length.

    Each run has at most `limit` rows and, when `token_limit` is given, at most that many tokens
    once padded to its longest (a longer row gets a run of its own). The result depends on the
    lengths alone.
    """
    ordered = rows[np.argsort(-lengths[rows], kind="stable")]
    found, start = [], 0
    while start < len(ordered):
        longest = max(int(lengths[ordered[start]]), 1)
        room = limit if token_limit is None else min(limit, max(token_limit // longest, 1))
        found.append(ordered[start : start + room])
        start += room
    return found


def by_length(lengths: Sequence[int] | Indices, limit: int, token_limit: int) -> list[Indices]:
    """Return all examples once, longest first, in runs for evaluation: the first run shows at once
    whether memory suffices.
    """
    known = np.asarray(lengths, dtype=np.int64)
    return micro_batches(np.arange(len(known), dtype=np.int64), known, limit, token_limit)


def pad(features: Sequence[Feature], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Return `input_ids`, `attention_mask` and, where the features have them, `token_type_ids`:
    (batch, longest).

    Padding is on the right, whatever side the tokenizer prefers: offsets and targets count from the
    left. The mask comes from lengths, not from ids, because the pad token of a decoder is a
    real one as well. Raises `ModelError` when the tokenizer has no pad token.
    """
    import torch

    filler = tokenizer.pad_token_id
    if not isinstance(filler, int):
        raise ModelError(
            f"the tokenizer `{tokenizer.name_or_path}` has no pad token: set `pad_token` on it."
        )
    lengths = np.array([len(feature["input_ids"]) for feature in features])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    batch = {
        "input_ids": _padded(features, "input_ids", mask, filler),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }
    if "token_type_ids" in features[0]:
        batch["token_type_ids"] = _padded(
            features, "token_type_ids", mask, tokenizer.pad_token_type_id
        )
    return batch


def _padded(
    features: Sequence[Feature], name: str, mask: npt.NDArray[np.bool_], value: int
) -> Tensor:
    import torch

    cells = np.full(mask.shape, value, dtype=np.int64)
    cells[mask] = np.concatenate(
        [np.asarray(feature[name], dtype=np.int64) for feature in features]
    )
    return torch.from_numpy(cells)


Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weighting:
    """The weight of each training example in the loss, and the probability that it is drawn; None:
    all alike.

    `record` goes into the run record.
    """

    weights: Weights | None = None
    probabilities: Weights | None = None
    record: dict[str, Any] = field(default_factory=dict)


def check_weighting(config: RunConfig, head: Head) -> None:
    """Raise `ConfigError` naming the key that the head is not made for."""
    train, column = config.train, head.schema.classes
    by_class = by_row = None
    if column is None or column.type != "label":
        why = "has no classes" if column is None else "gives a row several classes"
        by_class = f"{why}, so rows cannot be weighted by their class"
    if not provides(head, "row_losses"):
        by_row = "has no `row_losses`, which it needs"
    for key, asked, problem in (
        ("train.class_weights", train.class_weights, by_class),
        ("train.sampler=weighted", train.sampler == "weighted", by_class),
        ("train.label_smoothing", train.label_smoothing, by_row),
        ("train.class_weights", train.class_weights, by_row),
    ):
        if asked and problem:
            raise ConfigError(
                f"`{key}`: the head `{config.head.name}` (`head`) {problem}. Leave the key out."
            )


def class_weights(
    asked: Mapping[str, float] | str | None, counts: Mapping[str, int]
) -> dict[str, float]:
    """Return the weight of each class by name, for training rows of which `counts` gives the number
    by class; `{}` when none is asked for.

    `auto` is rows / (classes x rows of the class), over the classes that have rows: those of
    scikit-learn's `class_weight="balanced"`, after King and Zeng 2001, "Logistic Regression in Rare
    Events Data". Raises `ConfigError` for names that are no class, and classes that are not named.
    """
    if asked is None:
        return {}
    if isinstance(asked, str):
        present = {name: count for name, count in counts.items() if count}
        rows = sum(present.values())
        return {
            name: rows / (len(present) * count) if (count := present.get(name, 0)) else 0.0
            for name in counts
        }
    known = ", ".join(f"`{name}`" for name in counts)
    for name in asked:
        if name not in counts:
            raise ConfigError(
                f"`train.class_weights.{name}`: no class is called "
                f"`{name}`.{did_you_mean(name, counts)} There are {known}."
            )
    missing = [name for name in counts if name not in asked]
    if missing:
        raise ConfigError(
            "`train.class_weights` has no weight for the class "
            f"{', '.join(f'`{name}`' for name in missing)}: give one for each of {known}."
        )
    return {name: float(asked[name]) for name in counts}


def class_probabilities(counts: Mapping[str, int]) -> dict[str, float]:
    """Return with which probability a row of each class is drawn, so that each class that has rows
    is drawn as often as any other.
    """
    classes = sum(1 for count in counts.values() if count)
    return {name: 1.0 / (classes * count) if count else 0.0 for name, count in counts.items()}


def weighting_notes(
    train: TrainConfig, head: Head, labels: Sequence[str], rows: Sequence[Row]
) -> list[str]:
    """Return the log messages about the classes of training rows and their weights.

    Raises what `class_weights` does.
    """
    column = head.schema.classes
    if column is None or column.type != "label":
        return []
    found = Counter(row[column.name] for row in rows)
    counts = {name: found[number] for number, name in enumerate(labels)}
    notes = []
    weights = class_weights(train.class_weights, counts)
    if weights:
        each = (
            f"{name} {weight:.3g} ({counted(counts[name], 'row')})"
            for name, weight in weights.items()
        )
        notes.append(f"weight of each class in the loss: {', '.join(each)}")
    if train.sampler == "weighted":
        each = (f"{name} ({counted(count, 'row')})" for name, count in counts.items() if count)
        notes.append(
            "training rows are drawn with replacement, equally often of each class: "
            f"{', '.join(each)}"
        )
    return notes


def weight_examples(
    train: TrainConfig,
    head: Head,
    labels: Sequence[str],
    rows: Dataset,
    owners: Indices,
    row_weights: str | None,
) -> Weighting:
    """Return the weighting of the examples whose rows are `owners`, indices into the training
    `rows`.

    `row_weights` is the `.npy` file of `SessionSpec.weights`, which multiply those of the classes.
    Raises `ConfigError` as `class_weights` does, and `DataError` for weights that are none.
    """
    record: dict[str, Any] = {}
    weights: Weights | None = None
    probabilities: Weights | None = None
    column = head.schema.classes
    if column is not None and (train.class_weights or train.sampler == "weighted"):
        ids = np.asarray(rows.data.column(column.name), dtype=np.int64)
        totals = np.bincount(ids, minlength=len(labels)).tolist()
        counts = dict(zip(labels, totals, strict=True))
        record["class_counts"] = counts

        def each(by_class: Mapping[str, float]) -> Weights:
            return np.array([by_class[name] for name in labels])[ids][owners]

        if train.class_weights:
            record["class_weights"] = class_weights(train.class_weights, counts)
            weights = each(record["class_weights"])
        if train.sampler == "weighted":
            record["sampler"] = train.sampler
            drawn = each(class_probabilities(counts))
            # A row of several examples counts as one more row of its class.
            probabilities = drawn / drawn.sum()
    if row_weights is not None:
        own = read_weights(Path(row_weights), len(rows))[owners]
        weights = own if weights is None else weights * own
        record["row_weights"] = {"least": float(own.min()), "most": float(own.max())}
    return Weighting(weights, probabilities, record)


def read_weights(path: Path, rows: int) -> Weights:
    """Return the weight of each of `rows` training rows.

    Raises `DataError` where the file does not hold so many numbers from 0 up.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"the row weights `{path}` cannot be read: {error}") from error
    if found.shape != (rows,) or not np.issubdtype(found.dtype, np.number):
        raise DataError(
            f"the row weights `{path}` have the shape {found.shape}, but there are {rows} training "
            "rows: give one number for each."
        )
    weights: Weights = found.astype(np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise DataError(f"the row weights `{path}` must be finite numbers >= 0, some of them > 0.")
    return weights
