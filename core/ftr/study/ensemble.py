"""Finished runs as one model: averaged outputs, averaged weights (a soup), or a vote."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftr import atomic
from ftr.config.resolve import recorded_config
from ftr.config.schema import Component, RunConfig, TrainConfig
from ftr.data.clean import as_given
from ftr.data.rows import HELD_OUT
from ftr.errors import ConfigError, FtrError, PluginError
from ftr.model.adapters import settings_of
from ftr.model.components import encode_targets, make_head
from ftr.model.folder import FTR_JSON, ModelCard, read_card, save_model, write_card
from ftr.model.pretrained import Pretrained
from ftr.registry.protocols import EncodeSettings, Head, Row, State
from ftr.registry.registry import Registry
from ftr.runs.directory import RunDirectory, weights_of
from ftr.runs.prepare import Prepared, prepare
from ftr.runs.record import FROM_PARENT
from ftr.runs.report import model_card
from ftr.runs.run import Say, check_same_data
from ftr.study.directory import SweepDirectory
from ftr.study.trials import Entry
from ftr.terminal import quiet_libraries
from ftr.train.hardware import Numerics, choose_numerics
from ftr.train.scoring import Scorer

if TYPE_CHECKING:
    from ftr.train.inference import EncodedSplit, Engine

Method = Literal["outputs", "weights", "votes"]
Summary = dict[str, Any]
MODEL, PREDICTIONS = "model", "predictions"
ROWS = 200
"""Validation rows on which heads with different options must give equal features."""


def numerics() -> Numerics:
    """Return how models of an ensemble are run: in fp32, as plain transformers computes."""
    return choose_numerics(TrainConfig.model_validate({"precision": "fp32"}))


@dataclass(frozen=True)
class Finished:
    """A finished run as a member of an ensemble: its number, its directory, and what
    `ensemble.json` says of it.
    """

    number: int
    directory: RunDirectory
    registry: Registry
    about: Mapping[str, Any]

    @cached_property
    def card(self) -> ModelCard:
        """What `ftr.json` of its model says."""
        return read_card(self.directory.model)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What its `run.json` says."""
        return self.directory.read()

    @cached_property
    def head(self) -> Head:
        """Its head, with the options it was trained with."""
        return make_head(
            self.registry, Component(name=self.card.head, options=self.card.head_options)
        )

    def engine(self) -> Engine:
        """Load its model."""
        from ftr.train.ensemble import load_engine

        return load_engine([self.directory.model], self.head, self.card, numerics())

    def features(self, rows: Sequence[Row]) -> dict[str, list[Any]]:
        """Return what the model would be given for `rows`."""
        columns = {
            name: [row.get(name) for row in rows]
            for name in dict.fromkeys(name for row in rows for name in row)
        }
        card, tokenizer = self.card, Pretrained(str(self.directory.model)).tokenizer()
        settings = EncodeSettings(
            max_length=card.max_length, stride=card.stride, labels=card.labels, targets=False
        )
        return self.head.encode(columns, tokenizer, settings)


@dataclass(frozen=True, slots=True)
class Built:
    """An ensemble that was built: the model, the members in it, and what it scores.

    `left_out` has for each member that would have made a soup worse the cause, `tried` the score
    with it.
    """

    engine: Engine
    members: Sequence[Finished]
    scores: dict[str, Any]
    state: State
    left_out: dict[int, str] = field(default_factory=dict)
    tried: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Finished runs that are made one model; a soup takes `ensemble_size` the best first.

    `splits` are the encoded held-out rows, `targets` gives a split encoded for the loss where that
    is scored, `votes` has the weight of each member's vote, and `word` is what messages call a
    member.
    """

    members: Sequence[Finished]
    method: Method
    splits: Mapping[str, EncodedSplit]
    scorer: Scorer
    say: Say
    word: str
    targets: Callable[[str], EncodedSplit | None] = lambda split: None
    votes: tuple[float, ...] = ()

    def build(self, folder: Path, state: State | None = None) -> Built:
        """Write `model/` and `predictions/` into `folder`.

        Without `state` the head tunes it on the first split. Raises what loading models raises.
        """
        from ftr.train.ensemble import (
            average_checkpoints,
            load_engine,
            member_folders,
            score_split,
            write_ensemble,
        )

        card = self.members[0].card
        folders = [member.directory.model for member in self.members]
        head, members, tried = self.members[0].head, self.members, dict[int, float]()
        causes: dict[int, str] = {}
        if self.method == "weights":
            validation = self.splits["validation"]
            engine, soup = average_checkpoints(
                folders,
                head,
                card,
                numerics(),
                validation,
                self.scorer,
                self.targets("validation"),
            )
            save_model(folder / MODEL, engine.model, engine.tokenizer, card)
            members = [self.members[place] for place in soup.kept]
            for place, member in enumerate(self.members):
                if place not in soup.kept:
                    tried[member.number] = soup.tried[place]
                    causes[member.number] = (
                        f"with it validation {self.scorer.primary} is {soup.tried[place]:.4g}, the "
                        f"soup's {soup.value:.4g}"
                    )
        else:
            described = [dict(member.about) for member in self.members]
            write_ensemble(folder / MODEL, folders, described, self.votes)
            engine = load_engine(member_folders(folder / MODEL), head, card, numerics(), self.votes)
        for number, cause in causes.items():
            self.say(f"{self.word} {number} is left out of the soup: {cause}")
        scores: dict[str, Any] = {}
        for name, split in self.splits.items():
            predictions, scores[name], state = score_split(
                engine, split, self.scorer, state, self.targets(name)
            )
            atomic.write_lines(
                folder / PREDICTIONS / f"{name}.jsonl",
                as_given(engine.head, split.rows, predictions, card.cleaner),
            )
        write_card(folder / MODEL, replace(card, state=state or {}))
        return Built(engine, members, scores, state or {}, causes, tried)


def check_ensemble(asked: str | None, config: RunConfig, registry: Registry) -> None:
    """Raise `ConfigError` now rather than after the search when the head cannot combine what
    several models give.
    """
    if asked is not None and not of_weights(asked):
        from ftr.train.inference import combiner

        try:
            combiner(make_head(registry, config.head))
        except PluginError as error:
            raise ConfigError(f"`ensemble={asked}`: {error}") from error


def of_weights(asked: str) -> bool:
    """Whether `ensemble=` asks for an average of weights, such as `soup3`, rather than of
    outputs.
    """
    return asked.startswith("soup")


@dataclass(slots=True)
class Chosen:
    """The trials to be joined, the best first, and each better one that was left out, with the
    cause.
    """

    members: list[Finished] = field(default_factory=list)
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
        member = Finished(
            entry.trial,
            RunDirectory(directory.trial_path(entry.trial)),
            registry,
            {"trial": entry.trial, "value": entry.value, "values": dict(entry.values)},
        )
        cause = _why_apart(chosen.members[0] if chosen.members else None, member, rows, weights)
        if cause is not None:
            chosen.left_out[entry.trial] = cause
            continue
        chosen.members.append(member)
        if len(chosen.members) == most:
            break
    return chosen


def _why_apart(
    best: Finished | None, member: Finished, rows: Sequence[Row], weights: bool
) -> str | None:
    if not (member.directory.model / FTR_JSON).is_file():
        return "it kept no model (`train.keep=last` keeps none of a trial that was stopped)"
    if not member.directory.is_whole():
        return "its weights are not those it was trained to"
    return (
        None
        if best is None
        else _other_rows(best, member)
        or _other_reading(best, member, rows)
        or _other_kind(best, member, weights)
    )


def _other_rows(best: Finished, member: Finished) -> str | None:
    mine, theirs = (one.record["data"]["splits"] for one in (best, member))
    for name in HELD_OUT:
        if mine.get(name, {}).get("sha256") != theirs.get(name, {}).get("sha256"):
            return f"its {name} rows are others"
    return None


def _other_reading(best: Finished, member: Finished, rows: Sequence[Row]) -> str | None:
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


def _other_kind(best: Finished, member: Finished, weights: bool) -> str | None:
    if weights:
        from ftr.train.ensemble import architecture_difference

        return architecture_difference(best.directory.model, member.directory.model)
    mine, theirs = (_model_type(one) for one in (best, member))
    return None if mine == theirs else f"its model is a `{theirs}`, not a `{mine}`"


def _model_type(member: Finished) -> str:
    return str(settings_of(member.directory.model).get("model_type"))


def _tokenizer(member: Finished) -> list[Any]:
    """Return what decides the tokens of a text: how the last call cut and padded is none of it."""
    tokenizer = Pretrained(str(member.directory.model)).tokenizer()
    state = {
        **json.loads(tokenizer.backend_tokenizer.to_str()),
        "truncation": None,
        "padding": None,
    }
    return [type(tokenizer).__name__, state, tokenizer.special_tokens_map]


FOLDER = "ensemble"
FROM_BEST = (
    *FROM_PARENT,
    "config",
    "model_source",
    "labels",
    "data",
    "notes",
    "untrained",
)
"""What the record of an ensemble has from that of the best trial."""


def add_ensemble(
    directory: SweepDirectory,
    entries: Sequence[Entry],
    asked: str,
    ranked: tuple[str, str],
    registry: Registry,
    say: Say,
) -> Summary:
    """Build `ensemble/` of the best trials, or find it built of the same trials, and return what
    the sweep's record says of it.

    `best/` must be there; `ranked` is the ranked score and its mode. The search is over and its
    winner exported: where no ensemble can be made the summary has the `cause`, which is printed,
    and nothing is raised.
    """
    try:
        summary = _of_trials(directory, entries, asked, ranked, registry, say)
    except FtrError as error:
        summary = {"asked": asked, "cause": str(error)}
    except Exception as error:
        summary = {"asked": asked, "cause": f"{type(error).__name__}: {error}"}
    if "cause" in summary:
        say(f"no ensemble was made (`ensemble={asked}`): {summary['cause']}")
    return summary


def _of_trials(
    directory: SweepDirectory,
    entries: Sequence[Entry],
    asked: str,
    ranked: tuple[str, str],
    registry: Registry,
    say: Say,
) -> Summary:
    """Choose members, and build what is asked unless it is there.

    Raises `DataError` where the rows changed, and what components raise.
    """
    quiet_libraries()
    winner = RunDirectory(directory.best)
    best = winner.read()
    config = recorded_config(best, winner.record)
    prepared = prepare(config, registry)
    check_same_data(best, prepared)
    splits = held_out(prepared)
    most = int(asked.removeprefix("top").removeprefix("soup"))
    rows = splits["validation"].rows.to_list()
    chosen = choose(directory, entries, most, rows, registry, weights=of_weights(asked))
    for trial, cause in chosen.left_out.items():
        say(f"trial {trial} is left out of the ensemble: {cause}")
    count = len(chosen.members)
    if count < 2:
        cause = f"it takes 2 finished trials that can be joined, and there is {count or 'none'}"
        return {"asked": asked, "cause": cause}
    if count < most:
        say(f"`ensemble={asked}`: only {count} finished trials can be joined")
    scorer = Scorer.of(registry, best["config"]["metrics"], ranked)

    def targets(name: str) -> EncodedSplit | None:
        if not scorer.loss:
            return None
        from ftr.train.inference import EncodedSplit

        first = chosen.members[0]
        tokenizer = Pretrained(str(first.directory.model)).tokenizer()
        given = splits[name].rows.to_list()
        return EncodedSplit(
            *encode_targets(registry, config, first.head, tokenizer, first.card, given).open()
        )

    target = RunDirectory(directory.path / FOLDER)
    record = _known(target, asked, chosen)
    if record is None:
        ensemble = Ensemble(
            members=chosen.members,
            method="weights" if of_weights(asked) else "outputs",
            splits=splits,
            scorer=scorer,
            say=say,
            word="trial",
            targets=targets,
        )
        say(f"joining trials {', '.join(map(str, _numbers(chosen.members)))}")
        with atomic.new_folder(target.path) as fresh:
            made = RunDirectory(fresh)
            record = {
                **_build(ensemble, made, asked, best, chosen.left_out),
                "sweep": directory.path.name,
            }
            made.write(record)
            atomic.write_text(made.path / "README.md", model_card(record))
    return _summary(record, scorer)


def held_out(prepared: Prepared) -> dict[str, EncodedSplit]:
    """Open the encoded held-out rows: validation first, whose state test is scored with."""
    from ftr.train.inference import EncodedSplit

    return {
        name: EncodedSplit(*prepared.splits[name].open())
        for name in HELD_OUT
        if name in prepared.splits
    }


def _known(target: RunDirectory, asked: str, chosen: Chosen) -> dict[str, Any] | None:
    """Return the record of the ensemble that was built before, if it is what would be built now."""
    if not target.record.is_file():
        return None
    record = target.read()
    about = record["ensemble"]
    same = (about["asked"], about["candidates"]) == (asked, _numbers(chosen.members))
    return record if same and target.is_whole() else None


def _build(
    ensemble: Ensemble,
    fresh: RunDirectory,
    asked: str,
    best: dict[str, Any],
    left_out: Mapping[int, str],
) -> dict[str, Any]:
    began = time.time()
    built = ensemble.build(fresh.path)
    models = (built.engine.model, *built.engine.others)
    return {
        **{key: best[key] for key in FROM_BEST if key in best},
        "status": "done",
        "created": began,
        "finished": time.time(),
        "seconds": time.time() - began,
        "heldout": "test" if "test" in built.scores else "validation",
        "primary": ensemble.scorer.primary,
        "mode": ensemble.scorer.mode,
        "scores": built.scores,
        "state": built.state,
        "weights": weights_of(fresh.model),
        "numerics": asdict(numerics()),
        "parameters": sum(p.numel() for model in models for p in model.parameters()),
        "ensemble": {
            "asked": asked,
            "method": ensemble.method,
            "members": _numbers(built.members),
            "configurations": [dict(member.about) for member in built.members],
            "candidates": _numbers(ensemble.members),
            "left_out": {**left_out, **built.left_out},
            "alone": {"trial": best["trial"], "scores": best["scores"]},
        },
    }


def _summary(record: dict[str, Any], scorer: Scorer) -> Summary:
    about, primary = record["ensemble"], record["primary"]
    scores = {split: found[primary] for split, found in record["scores"].items()}
    alone = {split: found[primary] for split, found in about["alone"]["scores"].items()}
    return {
        "asked": about["asked"],
        "run": FOLDER,
        "method": about["method"],
        "members": about["members"],
        "left_out": {str(trial): cause for trial, cause in about["left_out"].items()},
        "primary": primary,
        "scores": scores,
        "alone": alone,
        "better": scorer.better(scores["validation"], alone["validation"]),
    }


def _numbers(members: Sequence[Finished]) -> list[int]:
    return [member.number for member in members]
