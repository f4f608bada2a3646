"""Which trials of a sweep can be joined: the best ones whose models read a row alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftr.config.models import Component, RunConfig
from ftr.data.rows import HELD_OUT
from ftr.errors import ConfigError, PluginError
from ftr.protocols import EncodeSettings
from ftr.runs.directory import RunDirectory
from ftr.train.components import make_head
from ftr.train.export import FTR_JSON, ModelCard, read_card
from ftr.train.lora import settings_of
from ftr.train.pretrained import Pretrained
from ftr.train.soup import unlike

if TYPE_CHECKING:
    from ftr.protocols import Head, Row
    from ftr.registry import Registry
    from ftr.runs.leaderboard import Entry
    from ftr.runs.sweep import SweepDirectory

ROWS = 200
"""Validation rows on which heads with different options must give equal features."""


def check_ensemble(asked: str | None, config: RunConfig, registry: Registry) -> None:
    """Raise `ConfigError` now rather than after the search when the head cannot combine what several models give."""
    from ftr.train.inference import combiner

    if asked is not None and not of_weights(asked):
        try:
            combiner(make_head(registry, config.head))
        except PluginError as error:
            raise ConfigError(f"`ensemble={asked}`: {error}") from error


def of_weights(asked: str) -> bool:
    """Whether `ensemble=` asks for an average of weights, such as `soup3`, rather than of outputs."""
    return asked.startswith("soup")


@dataclass(frozen=True)
class Member:
    """A finished trial with its place in the ranking."""

    entry: Entry
    run: RunDirectory
    registry: Registry

    @cached_property
    def card(self) -> ModelCard:
        """What `ftr.json` of its model says."""
        return read_card(self.run.model)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What its `run.json` says."""
        return self.run.read()

    @cached_property
    def head(self) -> Head:
        """Its head, with the options it was trained with."""
        return make_head(self.registry, Component(name=self.card.head, options=self.card.head_options))

    @cached_property
    def settings(self) -> EncodeSettings:
        """The lengths in tokens its model reads."""
        return EncodeSettings(max_length=self.card.max_length, stride=self.card.stride, labels=self.card.labels, targets=False)

    def features(self, rows: Sequence[Row]) -> dict[str, list[Any]]:
        """Return what the model would be given for `rows`."""
        columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
        return self.head.encode(columns, Pretrained(str(self.run.model)).tokenizer(), self.settings)


@dataclass(slots=True)
class Chosen:
    """The trials to be joined, the best first, and each better one that was left out, with the cause."""

    members: list[Member] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)


def choose(
    directory: SweepDirectory, entries: Sequence[Entry], most: int, rows: Sequence[Row], registry: Registry, *, weights: bool
) -> Chosen:
    """Take the best trial and, in order of rank, up to `most` in all that can be joined with it.

    Of each configuration the best repeat is asked. With `weights` the architecture must be the same as well. `rows` are those of
    validation.
    """
    chosen = Chosen()
    for entry in entries:
        if entry.value is None or not entry.finished:
            continue
        member = Member(entry, RunDirectory(directory.trial_path(entry.trial)), registry)
        cause = _unfit(chosen.members[0] if chosen.members else None, member, rows, weights)
        if cause is not None:
            chosen.left_out[entry.trial] = cause
            continue
        chosen.members.append(member)
        if len(chosen.members) == most:
            break
    return chosen


def _unfit(best: Member | None, member: Member, rows: Sequence[Row], weights: bool) -> str | None:
    if not (member.run.model / FTR_JSON).is_file():
        return "it kept no model (`train.keep=last` keeps none of a trial that was stopped)"
    if not member.run.is_whole():
        return "its weights are not those it was trained to"
    return None if best is None else _other_rows(best, member) or _other_reading(best, member, rows) or _other_kind(best, member, weights)


def _other_rows(best: Member, member: Member) -> str | None:
    mine, theirs = (one.record["data"]["splits"] for one in (best, member))
    for name in HELD_OUT:
        if mine.get(name, {}).get("sha256") != theirs.get(name, {}).get("sha256"):
            return f"its {name} rows are others"
    return None


def _other_reading(best: Member, member: Member, rows: Sequence[Row]) -> str | None:
    for name, mine, theirs in (
        ("head", best.card.head, member.card.head),
        ("labels", best.card.labels, member.card.labels),
        ("max_length", best.card.max_length, member.card.max_length),
        ("stride", best.card.stride, member.card.stride),
        ("data.clean", list(best.card.clean), list(member.card.clean)),
        ("data.stop_words", best.card.stop_words, member.card.stop_words),
    ):
        if mine != theirs:
            return f"its `{name}` is {theirs!r}, not {mine!r}"
    if _tokenizer(best) != _tokenizer(member):
        return "its tokenizer is another"
    if best.card.head_options != member.card.head_options and best.features(rows[:ROWS]) != member.features(rows[:ROWS]):
        return f"its options of head `{member.card.head}` make other features of a row"
    return None


def _other_kind(best: Member, member: Member, weights: bool) -> str | None:
    if weights:
        return unlike(best.run.model, member.run.model)
    mine, theirs = (_model_type(one) for one in (best, member))
    return None if mine == theirs else f"its model is a `{theirs}`, not a `{mine}`"


def _model_type(member: Member) -> str:
    return str(settings_of(member.run.model).get("model_type"))


def _tokenizer(member: Member) -> list[Any]:
    """Return what decides the tokens of a text: how the last call cut and padded is none of it."""
    tokenizer = Pretrained(str(member.run.model)).tokenizer()
    state = {**json.loads(tokenizer.backend_tokenizer.to_str()), "truncation": None, "padding": None}
    return [type(tokenizer).__name__, state, tokenizer.special_tokens_map]
