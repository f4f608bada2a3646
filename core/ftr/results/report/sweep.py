"""The parts of a report on a sweep: leaderboard, importance, expected best, all its trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftr.config.space import LISTS, Dimension, read_dimension
from ftr.results.report import pictures
from ftr.results.report.blocks import Beside, Block, Facts, Headline, Note, Pictures, Section, Table
from ftr.results.report.source import (
    MissingError,
    Record,
    day,
    duration,
    first_of,
    value_text,
)
from ftr.runs.directory import RunDirectory
from ftr.runs.report import INTERVAL, decimals, number
from ftr.study.analysis import FEWEST_TRIALS, expected_best, importance
from ftr.study.directory import SweepDirectory
from ftr.study.trials import REMOVED, Entry, SweepState, rank, replay, runner_up

SHOWN = 25
MOST_AXES = 8
TRIALS = 400
"""Lines in the picture of trials: the best ones."""


@dataclass
class SweepSource:
    """A sweep: its record and what its journal says."""

    directory: SweepDirectory
    record: Record

    @cached_property
    def state(self) -> SweepState:
        """All trials."""
        return replay(self.directory.events(), self.record["mode"])

    @cached_property
    def entries(self) -> list[Entry]:
        """One for each configuration, the best first."""
        return rank(self.state.trials.values(), self.record["mode"])

    @property
    def scored(self) -> list[Entry]:
        """The configurations with a score, the best first. Raises `MissingError`."""
        found = [entry for entry in self.entries if entry.value is not None]
        if not found:
            raise MissingError("no trial has a score yet")
        return found

    @cached_property
    def space(self) -> dict[str, Dimension]:
        """The searched keys."""
        found = {
            key: read_dimension(key, text, "the record")
            for key, text in self.record["space"].items()
        }
        return {key: dimension for key, dimension in found.items() if dimension is not None}


def leaderboard(source: SweepSource) -> Section:
    """Return the search, and the best configurations."""
    record, primary = source.record, source.record["primary"]
    sweep = {key: value for key, value in record["sweep"].items() if value is not None}
    counts = record.get("counts") or {}
    facts = {
        "ranked by": f"{primary} on validation rows ({record['mode']})",
        "searched": ", ".join(f"{key}={text}" for key, text in record["space"].items()),
        "search": ", ".join(f"{key}={value_text(value)}" for key, value in sweep.items()),
        "trials": ", ".join(f"{count} {status}" for status, count in counts.items() if count),
        "ended because": str(record.get("stopped_because") or ""),
        "started": day(record["created"]),
        "models": _models(source),
        "sweep": str(source.directory.path),
    }
    entries, more = first_of(source.entries, SHOWN)
    digits = decimals(entry.value for entry in entries)
    repeated = any(entry.std is not None for entry in entries)
    spread = "sd" if repeated else INTERVAL
    header = ("rank", "trial", *source.space, primary, spread, "epoch", "time", "status")
    rows = [
        (
            str(entry.rank or "-"),
            str(entry.trial),
            *(_value(entry.values.get(key)) for key in source.space),
            number(entry.value, digits),
            number(entry.std if repeated else entry.interval, digits),
            "-" if entry.best_epoch is None else f"{entry.best_epoch:g}",
            duration(entry.seconds),
            f"{entry.status}: {entry.cause}"
            if entry.cause and entry.status == "failed"
            else entry.status,
        )
        for entry in entries
    ]
    blocks: list[Block] = [
        Facts(facts={key: text for key, text in facts.items() if text}),
        Table(header=header, rows=rows, names=2),
    ]
    if more:
        blocks.append(Note(text=f"{more} more configurations are in `leaderboard.csv`."))
    blocks += _noise(source)
    return Section(title="Leaderboard", blocks=blocks)


def _models(source: SweepSource) -> str:
    """Return which trials have a model, where some were removed."""
    paths = {entry.trial: entry.model_path for entry in source.entries if entry.model_path}
    kept = [str(trial) for trial, path in paths.items() if path != REMOVED]
    if len(kept) == len(paths):
        return ""
    return f"kept of trial {', '.join(kept)}; `keep_models` removed the others"


def _noise(source: SweepSource) -> list[Block]:
    """Return the warning where the runner-up is within noise of the winner."""
    best = RunDirectory(source.directory.best)
    if not best.record.is_file():
        return []
    record = source.record
    second = runner_up(source.entries, record["primary"], record["mode"], best.read())
    if second is None or not second["within_noise"]:
        return []
    digits = decimals([second["behind"], second["reach"]])
    return [
        Note(
            text=f"Within noise of the runner-up: trial {second['trial']} is "
            f"{number(second['behind'], digits)} behind, and the {INTERVAL} of the winner's "
            f"validation {record['primary']} reaches {number(second['reach'], digits)} that way.",
            warning=True,
        )
    ]


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def parameters(source: SweepSource) -> Section:
    """Return which searched key decided."""
    shares = importance(source.state, source.space, source.record["mode"])
    if shares is None:
        raise MissingError(
            f"it means nothing for fewer than {FEWEST_TRIALS} configurations with a score, fewer "
            "than two keys with more than one value, or one score everywhere"
        )
    primary = source.record["primary"]
    shown = dict(list(shares.items())[:15])
    title = f"What decided {primary}"
    picture = pictures.bars(title, shown, "share in reaching the better half of scores")
    rows = [(key, f"{share:.1%}") for key, share in shares.items()]
    return Section(
        title="Importance of parameters",
        blocks=[
            Beside(
                blocks=[
                    Pictures(pictures=[picture]),
                    Table(header=("parameter", "share"), rows=rows),
                ]
            ),
            Note(text="PED-ANOVA (Watanabe et al. 2023); docs/sweeps.md says how to read it."),
        ],
    )


def expected(source: SweepSource) -> Section:
    """Return the best score to expect of so many configurations."""
    record = source.record
    entries = sorted(source.scored, key=lambda entry: entry.group)
    values = [entry.value for entry in entries if entry.value is not None]
    if len(values) < 2:
        raise MissingError("only one configuration has a score")
    curve, primary = expected_best(values, record["mode"]), record["primary"]
    title = f"Best {primary} to expect of so many configurations"
    digits = decimals(values)
    at = sorted({1, 2, 4, 8, 16, 32, 64, len(values) // 2, len(values)} - {0})
    rows = [(str(k), number(curve[k - 1], digits)) for k in at if k <= len(values)]
    return Section(
        title="Expected best",
        blocks=[
            Beside(
                blocks=[
                    Pictures(pictures=[pictures.expected(title, values, curve, primary)]),
                    Table(header=("configurations", f"expected best {primary}"), rows=rows),
                ]
            ),
            Note(text="It holds for trials drawn alike (Tang et al. 2020): `searcher=random`."),
        ],
    )


def trials(source: SweepSource) -> Section:
    """Return all configurations as lines through the searched values and the score."""
    entries, more = first_of(source.scored, TRIALS)
    keys = [
        key
        for key in source.space
        if len({value_text(entry.values.get(key)) for entry in entries}) > 1
    ][:MOST_AXES]
    if not keys or len(entries) < 2:
        raise MissingError("fewer than two different configurations have a score")
    primary, digits = source.record["primary"], decimals(entry.value for entry in entries)
    axes = {
        key: _places([entry.values.get(key) for entry in entries], source.space[key])
        for key in keys
    }
    values = [float(entry.value or 0.0) for entry in entries]
    low, high = min(values), max(values)
    axes[primary] = [
        ((value - low) / (high - low) if high > low else 0.5, number(value, digits))
        for value in values
    ]
    if source.record["mode"] == "min":
        axes[primary] = [(1 - place, text) for place, text in axes[primary]]
    title = f"Trials: searched values and {primary}, the best one in the second colour"
    blocks: list[Block] = [Pictures(pictures=[pictures.parallel(title, axes, best=0)])]
    blocks.append(
        Note(
            text="Each line is a configuration, stronger where its score is better; on the last "
            "axis better is higher." + (f" {more} worse ones are left out." if more else "")
        )
    )
    return Section(title="All trials", blocks=blocks)


def _places(values: Sequence[Any], dimension: Dimension) -> list[tuple[float, str]]:
    """Return the place of each value between 0 and 1, on the scale it was searched on, and its
    text.
    """
    texts = [_value(value) for value in values]
    numbers = [
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        for value in values
    ]
    if dimension.kind in LISTS or not all(map(math.isfinite, numbers)):
        order = {text: place for place, text in enumerate(_ordered(texts, numbers))}
        return [(order[text] / max(len(order) - 1, 1), text) for text in texts]
    if "log" in dimension.kind and min(numbers) > 0:
        numbers = [math.log(one) for one in numbers]
    low, high = min(numbers), max(numbers)
    return [
        ((one - low) / (high - low) if high > low else 0.5, text)
        for one, text in zip(numbers, texts, strict=True)
    ]


def _ordered(texts: Sequence[str], numbers: Sequence[float]) -> list[str]:
    if all(map(math.isfinite, numbers)):
        pairs: Mapping[str, float] = dict(zip(texts, numbers, strict=True))
        return sorted(pairs, key=lambda text: pairs[text])
    return sorted(dict.fromkeys(texts))


def headlines(source: SweepSource) -> list[Headline]:
    """Return the figures of the search to begin with."""
    record, best = source.record, source.record.get("best")
    found = [
        Headline(
            name="configurations",
            value=str(len(source.entries)),
            detail=f"{duration(record['seconds'])} in all" if record.get("seconds") else "",
        )
    ]
    if isinstance(best, Mapping) and best.get("value") is not None:
        value = number(best["value"], decimals([best["value"]]))
        name = f"best validation {record['primary']}"
        found.insert(0, Headline(name=name, value=value, detail=f"trial {record.get('winner')}"))
    return found
