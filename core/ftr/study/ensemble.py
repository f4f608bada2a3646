"""Finished runs as one model: averaged outputs, averaged weights (a soup), or a vote."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from ftr.model.folder import FTR_JSON, ModelCard, read_card, save_model, weights_of, write_card
from ftr.model.pretrained import Pretrained
from ftr.registry.protocols import EncodeSettings, Head, Row, State
from ftr.registry.registry import Registry
from ftr.runs.card import write_cards
from ftr.runs.directory import RunDirectory
from ftr.runs.prepare import Prepared, prepare
from ftr.runs.record import FROM_PARENT
from ftr.runs.run import Say, check_same_data
from ftr.study.directory import SweepDirectory
from ftr.study.trials import Entry
from ftr.terminal import quiet_libraries
from ftr.train.hardware import Numerics, choose_numerics
from ftr.train.intervals import Intervals, interval_facts
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
    with it, `calibration` by split what it does to confidences.
    """

    engine: Engine
    members: Sequence[Finished]
    scores: dict[str, Any]
    intervals: dict[str, Intervals]
    state: State
    left_out: dict[int, str]
    tried: dict[int, float]
    calibration: dict[str, Any]


def build_ensemble(
    folder: Path,
    members: Sequence[Finished],
    method: Method,
    splits: Mapping[str, EncodedSplit],
    scorer: Scorer,
    *,
    targets: Mapping[str, EncodedSplit] | None = None,
    votes: tuple[float, ...] = (),
    state: State | None = None,
) -> Built:
    """Write `model/` and `predictions/` of an ensemble into `folder`; of a soup the best member is
    first.

    `splits` are the encoded held-out rows, `targets` the same encoded for the loss where that is
    scored, `votes` has the weight of each member's vote. Without `state` the head tunes it on the
    first split. Raises what loading models raises.
    """
    from ftr.train.ensemble import (
        average_checkpoints,
        load_engine,
        member_folders,
        score_split,
        write_ensemble,
    )

    card, head, losses = members[0].card, members[0].head, targets or {}
    folders = [member.directory.model for member in members]
    left_out, tried = dict[int, str](), dict[int, float]()
    if method == "weights":
        validation = (splits["validation"], scorer, losses.get("validation"))
        engine, soup = average_checkpoints(folders, head, card, numerics(), *validation)
        save_model(folder / MODEL, engine.model, engine.tokenizer, card)
        for place, member in enumerate(members):
            if place not in soup.kept:
                tried[member.number] = soup.tried[place]
                left_out[member.number] = (
                    f"with it validation {scorer.primary} is {soup.tried[place]:.4g}, the "
                    f"soup's {soup.value:.4g}"
                )
        members = [members[place] for place in soup.kept]
    else:
        write_ensemble(folder / MODEL, folders, [dict(one.about) for one in members], votes)
        engine = load_engine(member_folders(folder / MODEL), head, card, numerics(), votes)
    scores, intervals = dict[str, Any](), dict[str, Intervals]()
    calibration: dict[str, Any] = {}
    for name, split in splits.items():
        found = score_split(engine, split, scorer, state, losses.get(name))
        scores[name], state = found.scores, found.state
        intervals[name] = scorer.intervals(
            head, found.rows, found.predictions, engine.labels, found.scores, found.losses
        )
        if found.calibration is not None:
            calibration[name] = found.calibration
        lines = as_given(engine.head, split.rows, found.predictions, card.cleaner)
        atomic.write_lines(folder / PREDICTIONS / f"{name}.jsonl", lines)
    write_card(folder / MODEL, replace(card, state=state or {}))
    return Built(engine, members, scores, intervals, state or {}, left_out, tried, calibration)


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


def choose(
    directory: SweepDirectory,
    entries: Sequence[Entry],
    most: int,
    rows: Sequence[Row],
    registry: Registry,
    *,
    weights: bool,
) -> tuple[list[Finished], dict[int, str]]:
    """Return the best trial with, in order of rank, up to `most` in all that can be joined with it,
    and each better one that was left out, with the cause.

    Of each configuration the best repeat is asked. With `weights` the architecture must be the same
    as well. `rows` are those of validation.
    """
    members: list[Finished] = []
    left_out: dict[int, str] = {}
    for entry in entries:
        if entry.value is None or not entry.finished or len(members) == most:
            continue
        about = {"trial": entry.trial, "value": entry.value, "values": dict(entry.values)}
        run = RunDirectory(directory.trial_path(entry.trial))
        member = Finished(entry.trial, run, registry, about)
        best = members[0] if members else None
        cause = next(_differences(best, member, rows, weights), None)
        if cause is None:
            members.append(member)
        else:
            left_out[entry.trial] = cause
    return members, left_out


COMPARED = {
    "head": "head",
    "labels": "labels",
    "max_length": "max_length",
    "stride": "stride",
    "data.clean": "clean",
    "data.stop_words": "stop_words",
}
"""What members must agree on: the setting, and its field in the card of a model."""


def _differences(
    best: Finished | None, member: Finished, rows: Sequence[Row], weights: bool
) -> Iterator[str]:
    """Yield why a trial cannot be joined with the best one, cheap causes first."""
    if not (member.directory.model / FTR_JSON).is_file():
        removed = member.directory.removed_by()
        yield (
            "its model was removed: `keep_models=all` keeps those of all trials"
            if removed
            else "it kept no model"
        )
    if not member.directory.is_whole():
        yield "its weights are not those it was trained to"
    if best is None:
        return
    mine, theirs = (one.record["data"]["splits"] for one in (best, member))
    for name in HELD_OUT:
        if mine.get(name, {}).get("sha256") != theirs.get(name, {}).get("sha256"):
            yield f"its {name} rows are different"
    for setting, field in COMPARED.items():
        one, other = getattr(best.card, field), getattr(member.card, field)
        if one != other:
            yield f"its `{setting}` is {other!r}, not {one!r}"
    if _tokenizer(best) != _tokenizer(member):
        yield "its tokenizer is different"
    if best.card.head_options != member.card.head_options and best.features(
        rows[:ROWS]
    ) != member.features(rows[:ROWS]):
        yield f"its options of head `{member.card.head}` make other features of a row"
    if weights:
        from ftr.train.ensemble import architecture_difference

        cause = architecture_difference(best.directory.model, member.directory.model)
        if cause is not None:
            yield cause
        return
    kind, other_kind = (
        settings_of(one.directory.model).get("model_type") for one in (best, member)
    )
    if kind != other_kind:
        yield f"its model is a `{other_kind}`, not a `{kind}`"


def _tokenizer(member: Finished) -> list[Any]:
    """Return what decides the tokens of a text: how the last call cut and padded is none of it."""
    tokenizer = Pretrained(str(member.directory.model)).tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state |= {"truncation": None, "padding": None}
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
    except Exception as error:
        kind = "" if isinstance(error, FtrError) else f"{type(error).__name__}: "
        summary = {"asked": asked, "cause": f"{kind}{error}"}
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
    config, best, splits = _rows_of_best(directory, registry)
    most = int(asked.removeprefix("top").removeprefix("soup"))
    rows = splits["validation"].rows.to_list()
    members, left_out = choose(directory, entries, most, rows, registry, weights=of_weights(asked))
    for trial, cause in left_out.items():
        say(f"trial {trial} is left out of the ensemble: {cause}")
    numbers = [member.number for member in members]
    if len(members) < 2:
        cause = (
            f"it takes 2 finished trials that can be joined, and there is {len(members) or 'none'}"
        )
        return {"asked": asked, "cause": cause}
    if len(members) < most:
        say(f"`ensemble={asked}`: only {len(members)} finished trials can be joined")
    scorer = Scorer.of(registry, best["config"]["metrics"], ranked)
    record = _known(RunDirectory(directory.path / FOLDER), asked, numbers)
    if record is None:
        say(f"joining trials {', '.join(map(str, numbers))}")
        targets = _targets(config, members[0], splits) if scorer.loss else None
        method: Method = "weights" if of_weights(asked) else "outputs"
        with atomic.new_folder(directory.path / FOLDER) as folder:
            began = time.time()
            built = build_ensemble(folder, members, method, splits, scorer, targets=targets)
            for trial, cause in built.left_out.items():
                say(f"trial {trial} is left out of the soup: {cause}")
            record = {
                **_record(built, folder, scorer, best, began),
                "sweep": directory.path.name,
                "ensemble": {
                    "asked": asked,
                    "method": method,
                    "members": [member.number for member in built.members],
                    "configurations": [dict(member.about) for member in built.members],
                    "candidates": numbers,
                    "left_out": {**left_out, **built.left_out},
                    "alone": {"trial": best["trial"], "scores": best["scores"]},
                },
            }
            RunDirectory(folder).write(record)
            write_cards(folder, record, registry)
    return _summary(record, scorer)


def _rows_of_best(
    directory: SweepDirectory, registry: Registry
) -> tuple[RunConfig, dict[str, Any], dict[str, EncodedSplit]]:
    """Return configuration, record and held-out rows of the winner."""
    quiet_libraries()
    winner = RunDirectory(directory.best)
    record = winner.read()
    config = recorded_config(record, winner.record)
    prepared = prepare(config, registry)
    check_same_data(record, prepared)
    return config, record, held_out(prepared)


def _targets(
    config: RunConfig, member: Finished, splits: Mapping[str, EncodedSplit]
) -> dict[str, EncodedSplit]:
    """Return the held-out rows encoded for the loss."""
    from ftr.train.inference import EncodedSplit

    tokenizer = Pretrained(str(member.directory.model)).tokenizer()
    encoding = (member.registry, config, member.head, tokenizer, member.card)
    return {
        name: EncodedSplit(*encode_targets(*encoding, split.rows.to_list()).open())
        for name, split in splits.items()
    }


def held_out(prepared: Prepared) -> dict[str, EncodedSplit]:
    """Open the encoded held-out rows: validation first, whose state test is scored with."""
    from ftr.train.inference import EncodedSplit

    return {
        name: EncodedSplit(*prepared.splits[name].open())
        for name in HELD_OUT
        if name in prepared.splits
    }


def _known(target: RunDirectory, asked: str, candidates: list[int]) -> dict[str, Any] | None:
    """Return the record of the ensemble that was built before, if it is what would be built now."""
    if not target.record.is_file():
        return None
    record = target.read()
    about = record["ensemble"]
    same = (about["asked"], about["candidates"]) == (asked, candidates)
    return record if same and target.is_whole() else None


def _record(
    built: Built, folder: Path, scorer: Scorer, best: dict[str, Any], began: float
) -> dict[str, Any]:
    models = (built.engine.model, *built.engine.others)
    now = time.time()
    return {
        **{key: best[key] for key in FROM_BEST if key in best},
        "status": "done",
        "created": began,
        "finished": now,
        "seconds": now - began,
        "heldout": "test" if "test" in built.scores else "validation",
        "primary": scorer.primary,
        "mode": scorer.mode,
        "scores": built.scores,
        **interval_facts(built.intervals),
        "state": built.state,
        **({"calibration": built.calibration} if built.calibration else {}),
        "weights": weights_of(folder / MODEL),
        "numerics": asdict(numerics()),
        "parameters": sum(p.numel() for model in models for p in model.parameters()),
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
