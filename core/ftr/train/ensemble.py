"""An ensemble: several checkpoints in one model directory that predict as one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ftr import atomic
from ftr.atomic import read_json
from ftr.errors import ModelError
from ftr.model.adapters import settings_of
from ftr.model.folder import ModelCard, read_card, write_card
from ftr.model.onnx import open_export
from ftr.model.pretrained import Pretrained
from ftr.registry.isolation import is_training
from ftr.registry.protocols import Head, Prediction, Row, State
from ftr.train.calibration import before_and_after
from ftr.train.checkpoint import link_files
from ftr.train.hardware import Numerics
from ftr.train.inference import EncodedSplit, Engine, prepare_model
from ftr.train.intervals import Losses
from ftr.train.scoring import Scorer, Scores

Weights = dict[str, Tensor]
IRRELEVANT = ("dropout", "pdrop", "dtype", "_name_or_path", "transformers_version", "cache")
"""Parts of the names of config entries that do not change what the weights mean."""


@dataclass(frozen=True, slots=True)
class Soup:
    """The mean of the weights of the candidates `kept` (their numbers), and its score `value`.

    `tried` has for each candidate the score of the mean with it.
    """

    weights: Weights
    kept: tuple[int, ...]
    value: float
    tried: tuple[float, ...] = ()


def greedy_soup(
    candidates: Iterable[Weights], score: Callable[[Weights], float], scorer: Scorer
) -> Soup:
    """Average weights greedily: the first, then each that does not make the score of the mean
    worse.

    As in Wortsman et al. 2022, "Model soups", recipe 1. `candidates` come in falling order of their
    own scores, at least one, on the CPU and in fp32; `score` is called once for each.
    """
    soup: Soup | None = None
    total: Weights = {}
    values: list[float] = []
    for number, weights in enumerate(candidates):
        # Counters and positions are those of the first.
        tried = {
            name: tensor + weights[name] if tensor.is_floating_point() else tensor
            for name, tensor in total.items()
        } or weights
        kept = (*(soup.kept if soup else ()), number)
        mean = {
            name: tensor / len(kept) if tensor.is_floating_point() else tensor
            for name, tensor in tried.items()
        }
        value = score(mean)
        values.append(value)
        if soup is None or not (math.isnan(value) or scorer.better(soup.value, value)):
            soup, total = Soup(mean, kept, value), tried
    if soup is None:
        raise ValueError("a soup needs at least one model")
    return replace(soup, tried=tuple(values))


def architecture_difference(one: Path, other: Path) -> str | None:
    """Return why the weights of two checkpoint folders cannot be averaged, or None: another value
    in `config.json`.
    """
    mine, theirs = (settings_of(folder) for folder in (one, other))
    for key in dict.fromkeys([*mine, *theirs]):
        if mine.get(key) != theirs.get(key) and not any(part in key for part in IRRELEVANT):
            return f"its `{key}` is {theirs.get(key)!r}, not {mine.get(key)!r}"
    return None


ENSEMBLE_JSON = "ensemble.json"
CONFIGS = ("config.json", "adapter_config.json")
"""What a checkpoint has one of: adapters (`train.lora.rank`) name the model they belong to."""
MEMBERS = "members"
FORMAT = 1
VOTING = 2
"""Format of an ensemble that votes, so that a version that would average its outputs refuses it."""


def member_folders(folder: Path) -> list[Path]:
    """Return the plain checkpoints of a model directory: `members/0`, `members/1`, ... of an
    ensemble, else the directory itself.

    Raises `ModelError` naming what is damaged or missing.
    """
    path = folder / ENSEMBLE_JSON
    if not path.is_file():
        return [folder]
    try:
        record = read_json(path)
        known, count = record["format"], len(record["members"])
        votes = record["votes"] if known == VOTING else []
        if known == VOTING and len(votes) != count:
            raise ValueError(f"{len(votes)} votes of {count} members")
        if not all(isinstance(vote, int | float) and math.isfinite(vote) for vote in votes):
            raise ValueError("a vote is no number")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"`{path}` is damaged ({error}): restore the file.") from error
    if known not in (FORMAT, VOTING):
        raise ModelError(
            f"`{path}` has format {known!r}, this version of ftr reads {FORMAT} and {VOTING}."
        )
    folders = [folder / MEMBERS / str(number) for number in range(count)]
    for member in folders or [folder / MEMBERS]:
        if not any((member / name).is_file() for name in CONFIGS):
            raise ModelError(
                f"the ensemble `{folder}` has no member `{member.relative_to(folder)}`: restore "
                "it, or build the ensemble again."
            )
        if not member.resolve().is_relative_to(folder.resolve()):
            raise ModelError(
                f"the member `{member}` of an ensemble is a link out of it, to "
                f"`{member.resolve()}`: put the folder itself there."
            )
    return folders


def member_votes(folder: Path) -> tuple[float, ...]:
    """Return the weight of each member's vote of an ensemble that was boosted, else nothing: its
    outputs are averaged.
    """
    path = folder / ENSEMBLE_JSON
    return tuple(read_json(path).get("votes") or ()) if path.is_file() else ()


def write_ensemble(
    folder: Path,
    checkpoints: Sequence[Path],
    described: Sequence[dict[str, Any]],
    votes: Sequence[float] = (),
) -> None:
    """Make `folder` an ensemble of `checkpoints`, as hard links where possible;
    `described` has a record of each.

    The card is that of the first. With `votes`, a weight for each, the members vote.
    """
    for number, checkpoint in enumerate(checkpoints):
        link_files(checkpoint, folder / MEMBERS / str(number))
    write_card(folder, read_card(checkpoints[0]))
    record = {
        "format": VOTING if votes else FORMAT,
        "members": list(described),
        **({"votes": list(votes)} if votes else {}),
    }
    atomic.write_json(folder / ENSEMBLE_JSON, record)


def load_engine(
    folders: Sequence[Path],
    head: Head,
    card: ModelCard,
    numerics: Numerics,
    votes: tuple[float, ...] = (),
) -> Engine:
    """Load trained checkpoints, the first with its tokenizer, into one engine.

    Raises `ModelError`, `PluginError`.
    """
    sources = [Pretrained(str(folder), complete=True) for folder in folders]
    models = [prepare_model(model, numerics) for model in built_models(sources, head, card)]
    return Engine(
        model=models[0],
        head=head,
        tokenizer=sources[0].tokenizer(),
        labels=card.labels,
        precision=numerics.precision,
        others=tuple(models[1:]),
        votes=votes,
    )


def built_models(
    sources: Sequence[Pretrained], head: Head, card: ModelCard
) -> list[PreTrainedModel]:
    """Return trained models as plain transformers has them, in evaluation mode.

    Raises `ModelError`, `PluginError`.
    """
    with _random_kept():
        return [head.build(source, card.labels, 0).eval() for source in sources]


def load_exported(
    folder: Path,
    members: Sequence[Path],
    head: Head,
    card: ModelCard,
    votes: tuple[float, ...] = (),
) -> Engine:
    """Load what `ftr export RUN onnx` made of the `members` of a model directory into one engine.

    Raises `ModelError`, and `RequestError` for packages that are not installed.
    """
    models = open_export(folder, len(members))
    return Engine(
        model=models[0],
        head=head,
        tokenizer=Pretrained(str(members[0]), complete=True).tokenizer(),
        labels=card.labels,
        others=tuple(models[1:]),
        votes=votes,
    )


@contextmanager
def _random_kept() -> Iterator[None]:
    """Restore the random generators that a head seeds where it builds, unless a training in another
    thread uses them.
    """
    if is_training():
        yield
        return
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


@dataclass(frozen=True, slots=True)
class ScoredSplit:
    """The predictions of a model for a split, their scores, the state they were made with, what
    calibration does to their confidences (see `ftr.train.calibration.before_and_after`), and the
    losses where their mean is scored.
    """

    rows: list[Row]
    predictions: list[Prediction]
    scores: Scores
    state: State
    calibration: dict[str, dict[str, float]] | None
    losses: Losses | None = None


def score_split(
    engine: Engine,
    split: EncodedSplit,
    scorer: Scorer,
    state: State | None = None,
    targets: EncodedSplit | None = None,
) -> ScoredSplit:
    """Score an encoded split; without `state` the head tunes it on these rows.

    `targets` are the rows encoded for the loss, where that is scored.
    """
    rows, records, predictions, used = engine.predict(split, state)
    losses = None if targets is None else engine.losses(targets)
    labels = engine.labels
    scores = scorer.score(engine.head, rows, predictions, labels, losses)
    calibration = before_and_after(engine.head, rows, records, predictions, used, labels)
    return ScoredSplit(rows, predictions, scores, used, calibration, losses)


def average_checkpoints(
    folders: Sequence[Path],
    head: Head,
    card: ModelCard,
    numerics: Numerics,
    split: EncodedSplit,
    scorer: Scorer,
    targets: EncodedSplit | None = None,
) -> tuple[Engine, Soup]:
    """Average the weights of trained checkpoints greedily, by the primary score on `split`; returns
    an engine with the mean, and how.

    `folders` are in falling order of their own scores, of one architecture.
    """
    engine = load_engine(folders[:1], head, card, numerics)

    def weights() -> Iterator[Weights]:
        for number, folder in enumerate(folders):
            model = engine.model
            if number:
                model = head.build(Pretrained(str(folder), complete=True), card.labels, 0)
            # On the CPU, where no model changes them any more.
            yield {name: one.detach().cpu().clone() for name, one in model.state_dict().items()}

    def score(tried: Weights) -> float:
        engine.model.load_state_dict(tried)
        return float(score_split(engine, split, scorer, targets=targets).scores[scorer.primary])

    soup = greedy_soup(weights(), score, scorer)
    engine.model.load_state_dict(soup.weights)
    return engine, soup
