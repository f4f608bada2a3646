"""From a configuration to encoded splits and baselines, once per run, before any process trains."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ftr.config.schema import RunConfig
from ftr.data.encode import (
    BESIDE_RUNS,
    OWN_CACHE,
    TOKENS,
    UNKNOWN,
    StoredSplit,
    cache_folder,
    encode_rows,
    unknown_note,
)
from ftr.data.prepare import PreparedRows, prepare_rows
from ftr.data.read import load_rows
from ftr.data.rows import HELD_OUT, Loaded, Rejected
from ftr.errors import counted, in_one_line
from ftr.model.components import check_kind, encode_settings, make_head, make_model
from ftr.progress import ProgressLine
from ftr.registry.discovery import own_version
from ftr.registry.protocols import Abilities, EncodeSettings, Head, Model, Row, provides
from ftr.registry.registry import Registry, get_registry, plugin_errors
from ftr.runs.directory import refused_rows_kept
from ftr.runs.encode import on_nodes
from ftr.runs.report import decimals, number
from ftr.terminal import show, verbosity
from ftr.train.batches import check_weighting, weighting_notes
from ftr.train.optim import check_splits
from ftr.train.scoring import Scorer, remarks

Baselines = dict[str, dict[str, dict[str, Any]]]
"""Scores, or their intervals, by name of the baseline and by split."""


def to_stderr(line: str) -> None:
    """Print a line for a person, at once."""
    show(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Encoded splits and what was learned while making them; `seconds` has those of `reading` and
    `encoding`.
    """

    splits: dict[str, StoredSplit]
    labels: tuple[str, ...]
    settings: EncodeSettings
    model: Model
    report: dict[str, Any]
    rejected: list[Rejected]
    sources: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def prepare(config: RunConfig, registry: Registry) -> Prepared:
    """Read, check, split and encode the data of `config`.

    Raises `DataError`, `ConfigError`, `ModelError`, `PluginError`.

    Where too many rows are refused they are written to `output`, and the error names the file.
    """
    with plugin_errors(registry), refused_rows_kept(Path(config.output).expanduser()):
        return _prepared(config, registry)


def _prepared(config: RunConfig, registry: Registry) -> Prepared:
    folder = cache_folder(config.data.cache, config.output)
    line, began = ProgressLine(), time.monotonic()
    with line.stage("reading"):
        head, loaded, rows = checked_rows(config, registry, folder)
    reading = time.monotonic() - began
    model = make_model(registry, config.model, config.train)
    notes = [*loaded.notes, *rows.notes]
    notes += remarks(head, rows.splits, config.metrics, rows.labels)
    uncalibrated = None if "validation" in rows.splits else head.uncalibrated(rows.splits["train"])
    if uncalibrated is not None:
        notes.append(uncalibrated)
    check_kind(head, model, rows.labels)
    settings = encode_settings(config, model, rows.labels, notes)
    if folder.name == BESIDE_RUNS:
        notes.append(
            f"encoded rows go to `{folder}`, for `{OWN_CACHE}` cannot be written; `data.cache` or "
            "`FTR_CACHE` names another folder"
        )
    began = time.monotonic()
    with line.stage("encoding"):
        splits = encode_splits(config, registry, head, model, settings, rows.splits, line)
    encoding = time.monotonic() - began
    for name, split in splits.items():
        notes += [
            f"{name}: {note}: {count} of {split.feature_count}"
            for note, count in split.notes.items()
            if note not in (TOKENS, UNKNOWN)
        ]
        if unknown := unknown_note(name, Counter(split.notes)):
            notes.append(unknown)
    return Prepared(
        splits=splits,
        labels=rows.labels,
        settings=settings,
        model=model,
        report=rows.report,
        rejected=rows.rejected,
        sources=[asdict(source) for source in loaded.sources],
        notes=notes,
        seconds={"reading": reading, "encoding": encoding},
    )


def checked_rows(
    config: RunConfig, registry: Registry, cache: Path
) -> tuple[Head, Loaded, PreparedRows]:
    """Read, check and split the rows of `config`; also returns its head and what was read."""
    head = make_head(registry, config.head)
    check_weighting(config, head)
    loaded = load_rows(
        config.dataset.name, config.dataset.options, registry, head.schema, cache=cache
    )
    rows = prepare_rows(loaded, head, config.data, cv=config.cv)
    check_splits(config, rows.splits)
    rows.notes += weighting_notes(config.train, head, rows.labels, rows.splits["train"])
    return head, loaded, rows


def split_lines(prepared: Prepared) -> list[str]:
    """Return one line a split: rows used, examples they became, rows rejected and why."""
    lines = []
    for name, split in prepared.splits.items():
        line = f"{name}: {counted(split.row_count, 'row')}"
        if split.feature_count != split.row_count:
            line += f" in {counted(split.feature_count, 'window')}"
        causes = prepared.report["splits"].get(name, {}).get("rejected", {})
        if causes:
            shown = ", ".join(f"{cause}: {count}" for cause, count in causes.items())
            line += f", {sum(causes.values())} rejected ({shown})"
        lines.append(f"{line} (encoded before)" if split.from_cache else line)
        if verbosity() > 0:
            lines.append(f"  encoded rows: {Path(split.rows).parent}")
    return lines


def card_fields(
    config: RunConfig, labels: Sequence[str], max_length: int, stride: int
) -> dict[str, Any]:
    """Return what `ftr.json` of a model trained with `config` says, as plain values."""
    return {
        "task": config.task,
        "head": config.head.name,
        "head_options": config.head.options,
        "metrics": list(config.metrics),
        "labels": list(labels),
        "max_length": max_length,
        "stride": stride,
        "base": {"model": config.model.model_dump(mode="json")} if config.train.lora.rank else None,
        "clean": list(config.data.clean),
        "stop_words": config.data.stop_words,
        "ftr": own_version(),
        "plugins": get_registry().hashes(config.plugins),
    }


def encode_splits(
    config: RunConfig,
    registry: Registry,
    head: Head,
    model: Model,
    settings: EncodeSettings,
    splits: dict[str, Sequence[Row]],
    line: ProgressLine | None = None,
) -> dict[str, StoredSplit]:
    """Encode each split, training rows with what the loss needs, the others with what decoding
    needs; `line` shows how far it came.
    """
    tokenizer, spread = model.tokenizer(), on_nodes(config.compute, registry)

    def encoded(name: str, rows: Sequence[Row]) -> StoredSplit:
        def tick(done: int) -> None:
            if line is not None:
                line.update(f"{name} {done:,}/{len(rows):,} rows", done / len(rows))

        kind = replace(settings, targets=name == "train")
        return encode_rows(config, registry, head, tokenizer, kind, rows, spread, tick)

    return {name: encoded(name, rows) for name, rows in splits.items()}


def with_baselines(
    record: dict[str, Any], config: RunConfig, prepared: Prepared, say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the record of a run with `baselines` (name -> split -> scores), `baseline_intervals`
    and `baseline_seconds`, and print the scores.

    The record is unchanged if it has them, with `baselines=false`, if the head has none, and if no
    split is held out. If a baseline fails, a note reports it and the run continues.
    """
    splits = [split for split in HELD_OUT if split in prepared.splits]
    if not config.baselines or not splits or "baselines" in record:
        return record
    registry = get_registry()
    began = time.monotonic()
    try:
        with plugin_errors(registry):
            head = make_head(registry, config.head)
            if not provides(head, "baselines"):
                return record
            scorer = Scorer.of(registry, config.metrics)
            with (
                ProgressLine().stage("baselines"),
                warnings.catch_warnings(record=True) as warned,
            ):
                warnings.simplefilter("always")
                scores, intervals = _scored(head, scorer, prepared, splits)
    except Exception as error:
        note = f"no baselines: {in_one_line(error)}"
        say(note)
        return {**record, "notes": [*record.get("notes", ()), note]}
    notes = [str(one.message) for one in warned if one.category is UserWarning]
    for note in notes:
        say(note)
    seconds, last = time.monotonic() - began, splits[-1]
    every = [found for by_split in scores.values() for found in by_split.values()]
    digits = decimals(value for found in every for value in found.values())
    shown = ", ".join(
        f"{name} {number(by_split[last].get(scorer.primary), digits)}"
        for name, by_split in scores.items()
    )
    say(f"baselines on {last}, {scorer.primary}: {shown} ({seconds:.1f} s)")
    return {
        **record,
        "notes": [*record.get("notes", ()), *notes],
        "baselines": scores,
        "baseline_intervals": intervals,
        "baseline_seconds": seconds,
    }


def _scored(
    head: Abilities, scorer: Scorer, prepared: Prepared, splits: list[str]
) -> tuple[Baselines, Baselines]:
    """Return the scores of baselines, and their intervals, by name and split."""
    rows = {split: prepared.splits[split].open()[0].to_list() for split in ("train", *splits)}
    found = head.baselines(rows["train"], {split: rows[split] for split in splits}, prepared.labels)
    scores: Baselines = {name: {} for name in found}
    intervals: Baselines = {name: {} for name in found}
    for name, by_split in found.items():
        for split, predictions in by_split.items():
            scored = (head, rows[split], predictions, prepared.labels)
            values = scores[name][split] = scorer.score(*scored)
            intervals[name][split] = scorer.intervals(*scored, values).scores
    return scores, intervals
