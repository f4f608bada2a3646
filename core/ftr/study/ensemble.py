"""The best trials of a sweep as one model: averaged outputs (`top3`) or weights (`soup3`)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.config.resolve import recorded_config
from ftr.config.schema import Component, RunConfig, TrainConfig
from ftr.data.clean import Cleaner, as_given
from ftr.data.rows import HELD_OUT
from ftr.errors import ConfigError, FtrError, PluginError
from ftr.model.adapters import settings_of
from ftr.model.components import encode_targets, make_head
from ftr.model.export import FTR_JSON, ModelCard, read_card, save_model, write_card
from ftr.model.pretrained import Pretrained
from ftr.registry.protocols import EncodeSettings
from ftr.runs.directory import RunDirectory, weights_of
from ftr.runs.prepare import prepare
from ftr.runs.report import ensemble_card
from ftr.runs.run import check_same_data
from ftr.terminal import quiet_libraries
from ftr.train.ensemble import unlike
from ftr.train.scoring import Scorer

if TYPE_CHECKING:
    from ftr.registry.protocols import Head, Row
    from ftr.registry.registry import Registry
    from ftr.study.directory import SweepDirectory
    from ftr.study.trials import Entry
    from ftr.train.ensemble import Soup
    from ftr.train.hardware import Numerics
    from ftr.train.inference import EncodedSplit, Engine


ROWS = 200
"""Validation rows on which heads with different options must give equal features."""


def check_ensemble(asked: str | None, config: RunConfig, registry: Registry) -> None:
    """Raise `ConfigError` now rather than after the search when the head cannot combine what
    several models give.
    """
    from ftr.train.inference import combiner

    if asked is not None and not of_weights(asked):
        try:
            combiner(make_head(registry, config.head))
        except PluginError as error:
            raise ConfigError(f"`ensemble={asked}`: {error}") from error


def of_weights(asked: str) -> bool:
    """Whether `ensemble=` asks for an average of weights, such as `soup3`, rather than of
    outputs.
    """
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
        return make_head(
            self.registry, Component(name=self.card.head, options=self.card.head_options)
        )

    @cached_property
    def settings(self) -> EncodeSettings:
        """The lengths in tokens its model reads."""
        return EncodeSettings(
            max_length=self.card.max_length,
            stride=self.card.stride,
            labels=self.card.labels,
            targets=False,
        )

    def features(self, rows: Sequence[Row]) -> dict[str, list[Any]]:
        """Return what the model would be given for `rows`."""
        columns = {
            name: [row.get(name) for row in rows]
            for name in dict.fromkeys(name for row in rows for name in row)
        }
        return self.head.encode(columns, Pretrained(str(self.run.model)).tokenizer(), self.settings)


@dataclass(slots=True)
class Chosen:
    """The trials to be joined, the best first, and each better one that was left out, with the
    cause.
    """

    members: list[Member] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)


def choose(
    directory: SweepDirectory,
    entries: Sequence[Entry],
    most: int,
    rows: Sequence[Row],
    registry: Registry,
    *,
    weights: bool,
) -> Chosen:
    """Take the best trial and, in order of rank, up to `most` in all that can be joined with it.

    Of each configuration the best repeat is asked. With `weights` the architecture must be the same
    as well. `rows` are those of validation.
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
    return (
        None
        if best is None
        else _other_rows(best, member)
        or _other_reading(best, member, rows)
        or _other_kind(best, member, weights)
    )


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
    if best.card.head_options != member.card.head_options and best.features(
        rows[:ROWS]
    ) != member.features(rows[:ROWS]):
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
    state = {
        **json.loads(tokenizer.backend_tokenizer.to_str()),
        "truncation": None,
        "padding": None,
    }
    return [type(tokenizer).__name__, state, tokenizer.special_tokens_map]


FOLDER = "ensemble"
FROM_BEST = (
    "ftr",
    "command",
    "origins",
    "components",
    "packages",
    "config",
    "model_source",
    "labels",
    "data",
    "notes",
    "untrained",
)
"""What the record of an ensemble has from that of the best trial."""
Say = Callable[[str], None]
Summary = dict[str, Any]


def add_ensemble(
    directory: SweepDirectory,
    entries: Sequence[Entry],
    asked: str,
    ranked: tuple[str, str],
    registry: Registry,
    say: Say,
) -> Summary:
    """Build `ensemble/`, or find it built of the same trials, and return what the sweep's record
    says of it.

    `best/` must be there; `ranked` is the ranked score and its mode. The search is over and its
    winner handed on: where no ensemble can be made the summary has the `cause`, which is said, and
    nothing is raised.
    """
    try:
        summary = Joining(directory, asked, ranked, registry, say).join(entries)
    except FtrError as error:
        summary = {"asked": asked, "cause": str(error)}
    except Exception as error:
        summary = {"asked": asked, "cause": f"{type(error).__name__}: {error}"}
    if "cause" in summary:
        say(f"no ensemble was made (`ensemble={asked}`): {summary['cause']}")
    return summary


@dataclass
class Joining:
    """One ensemble in the making, and what its members share: data, metrics, and numerics (fp32,
    what plain transformers computes).
    """

    directory: SweepDirectory
    asked: str
    ranked: tuple[str, str]
    registry: Registry
    say: Say

    def join(self, entries: Sequence[Entry]) -> Summary:
        """Choose members, and build what is asked unless it is there.

        Raises what components raise.
        """
        quiet_libraries()
        most = int(self.asked.removeprefix("top").removeprefix("soup"))
        some_rows = self.splits["validation"].rows.to_list()
        chosen = choose(
            self.directory, entries, most, some_rows, self.registry, weights=of_weights(self.asked)
        )
        for trial, cause in chosen.left_out.items():
            self.say(f"trial {trial} is left out of the ensemble: {cause}")
        count = len(chosen.members)
        if count < 2:
            return {
                "asked": self.asked,
                "cause": "it takes 2 finished trials that can be joined, and there is "
                f"{count or 'none'}",
            }
        if count < most:
            self.say(f"`ensemble={self.asked}`: only {count} finished trials can be joined")
        target = RunDirectory(self.directory.path / FOLDER)
        record = self._known(target, chosen)
        if record is None:
            with atomic.new_folder(target.path) as fresh:
                record = self._build(RunDirectory(fresh), chosen)
        return self._summary(record)

    @cached_property
    def best(self) -> dict[str, Any]:
        """The record of the winner in `best/`, with its scores."""
        return RunDirectory(self.directory.best).read()

    @cached_property
    def splits(self) -> dict[str, EncodedSplit]:
        """The encoded rows, as the winner reads them. Raises `DataError` where they changed."""
        from ftr.train.inference import EncodedSplit

        prepared = prepare(
            recorded_config(self.best, RunDirectory(self.directory.best).record), self.registry
        )
        check_same_data(self.best, prepared)
        return {name: EncodedSplit(*split.open()) for name, split in prepared.splits.items()}

    @cached_property
    def scorer(self) -> Scorer:
        """The metrics, and the score that ranks."""
        return Scorer.of(self.registry, self.best["config"]["metrics"], self.ranked)

    @cached_property
    def numerics(self) -> Numerics:
        """How the models are run here."""
        from ftr.train.hardware import choose_numerics

        return choose_numerics(TrainConfig.model_validate({"precision": "fp32"}))

    def _known(self, target: RunDirectory, chosen: Chosen) -> dict[str, Any] | None:
        if not target.record.is_file():
            return None
        record = target.read()
        about = record["ensemble"]
        same = (about["asked"], about["candidates"]) == (self.asked, _numbers(chosen.members))
        return record if same and target.is_whole() else None

    def _build(self, fresh: RunDirectory, chosen: Chosen) -> dict[str, Any]:
        began = time.time()
        self.say(f"joining trials {', '.join(map(str, _numbers(chosen.members)))}")
        engine, members, left_out = (self._soup if of_weights(self.asked) else self._average)(
            chosen.members, fresh.model
        )
        scores, state = self._score(engine, fresh.path, chosen.members[0])
        write_card(fresh.model, replace(chosen.members[0].card, state=state))
        record = {
            **{key: self.best[key] for key in FROM_BEST if key in self.best},
            "status": "done",
            "created": began,
            "finished": time.time(),
            "seconds": time.time() - began,
            "sweep": self.directory.path.name,
            "heldout": "test" if "test" in scores else "validation",
            "primary": self.scorer.primary,
            "mode": self.scorer.mode,
            "scores": scores,
            "state": state,
            "weights": weights_of(fresh.model),
            "numerics": asdict(self.numerics),
            "parameters": sum(
                p.numel() for model in (engine.model, *engine.others) for p in model.parameters()
            ),
            "ensemble": {
                "asked": self.asked,
                "method": "weights" if of_weights(self.asked) else "outputs",
                "members": _numbers(members),
                "configurations": [_described(member) for member in members],
                "candidates": _numbers(chosen.members),
                "left_out": {**chosen.left_out, **left_out},
                "alone": {"trial": self.best["trial"], "scores": self.best["scores"]},
            },
        }
        fresh.write(record)
        atomic.write_text(fresh.path / "README.md", ensemble_card(record))
        return record

    def _average(
        self, members: list[Member], folder: Path
    ) -> tuple[Engine, list[Member], dict[int, str]]:
        """Keep every member, to be asked each time."""
        from ftr.train.ensemble import load_engine, member_folders, write_ensemble

        write_ensemble(
            folder,
            [member.run.model for member in members],
            [_described(member) for member in members],
        )
        return (
            load_engine(member_folders(folder), members[0].head, members[0].card, self.numerics),
            members,
            {},
        )

    def _soup(
        self, members: list[Member], folder: Path
    ) -> tuple[Engine, list[Member], dict[int, str]]:
        """Average the weights of those that do not make validation worse, and save one plain
        checkpoint.
        """
        from ftr.train.ensemble import stir

        head, card = members[0].head, members[0].card
        folders, split = [member.run.model for member in members], self.splits["validation"]
        engine, soup = stir(
            folders,
            head,
            card,
            self.numerics,
            split,
            self.scorer,
            self._targets("validation", members[0]),
        )
        save_model(folder, engine.model, engine.tokenizer, card)
        return engine, [members[number] for number in soup.kept], self._refused(members, soup)

    def _refused(self, members: list[Member], soup: Soup) -> dict[int, str]:
        found = {}
        for number, member in enumerate(members):
            if number not in soup.kept:
                found[member.entry.trial] = (
                    f"with it validation {self.scorer.primary} is {soup.tried[number]:.4g}, the "
                    f"soup's {soup.value:.4g}"
                )
                self.say(
                    f"trial {member.entry.trial} is left out of the soup: "
                    f"{found[member.entry.trial]}"
                )
        return found

    def _targets(self, name: str, member: Member) -> EncodedSplit | None:
        """Return a split encoded for the loss, where that ranks."""
        from ftr.train.inference import EncodedSplit

        if not self.scorer.loss:
            return None
        config = recorded_config(self.best, RunDirectory(self.directory.best).record)
        tokenizer = Pretrained(str(member.run.model)).tokenizer()
        rows = self.splits[name].rows.to_list()
        return EncodedSplit(
            *encode_targets(self.registry, config, member.head, tokenizer, member.card, rows).open()
        )

    def _score(
        self, engine: Engine, folder: Path, member: Member
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write predictions and return scores and state: validation first, which sets the state
        that test is scored with.
        """
        from ftr.train.ensemble import judge

        scores: dict[str, Any] = {}
        state: dict[str, Any] | None = None
        data = recorded_config(self.best, RunDirectory(self.directory.best).record).data
        for name in HELD_OUT:
            if name in self.splits:
                predictions, scores[name], state = judge(
                    engine, self.splits[name], self.scorer, state, self._targets(name, member)
                )
                given = as_given(
                    engine.head,
                    self.splits[name].rows,
                    predictions,
                    Cleaner(data.clean, data.stop_words),
                )
                atomic.write_lines(folder / "predictions" / f"{name}.jsonl", given)
        return scores, state or {}

    def _summary(self, record: dict[str, Any]) -> Summary:
        about, primary = record["ensemble"], record["primary"]
        scores = {split: found[primary] for split, found in record["scores"].items()}
        alone = {split: found[primary] for split, found in about["alone"]["scores"].items()}
        return {
            "asked": self.asked,
            "run": FOLDER,
            "method": about["method"],
            "members": about["members"],
            "left_out": {str(trial): cause for trial, cause in about["left_out"].items()},
            "primary": primary,
            "scores": scores,
            "alone": alone,
            "better": self.scorer.better(scores["validation"], alone["validation"]),
        }


def _numbers(members: Sequence[Member]) -> list[int]:
    return [member.entry.trial for member in members]


def _described(member: Member) -> dict[str, Any]:
    return {
        "trial": member.entry.trial,
        "value": member.entry.value,
        "values": dict(member.entry.values),
    }
