"""From a configuration to encoded splits: what the driver does once, before any process trains."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr.blame import plugin_errors
from ftr.data.encode import BESIDE_RUNS, OWN_CACHE, StoredSplit, cache_folder, code_identity, store_split
from ftr.data.load import load_rows
from ftr.data.prepare import prepare_rows
from ftr.data.unknown import TOKENS, UNKNOWN, unknown_note
from ftr.discovery import own_version
from ftr.registry import get_registry
from ftr.runs.rejected import refused_rows_kept
from ftr.train.components import check_kind, encode_settings, make_head, make_model
from ftr.train.requests import check_splits
from ftr.train.scoring import remarks
from ftr.train.weighting import check_weighting, weighting_notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftr.config.models import RunConfig
    from ftr.data.rows import Rejected
    from ftr.protocols import EncodeSettings, Head, Model, Row
    from ftr.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Encoded splits and what was learned while making them."""

    splits: dict[str, StoredSplit]
    labels: tuple[str, ...]
    settings: EncodeSettings
    model: Model
    report: dict[str, Any]
    rejected: list[Rejected]
    sources: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def prepare(config: RunConfig, registry: Registry) -> Prepared:
    """Read, check, split and encode the data of `config`. Raises `DataError`, `ConfigError`, `ModelError`, `PluginError`.

    Where too many rows are refused they are written to `output`, and the error names the file.
    """
    with plugin_errors(registry), refused_rows_kept(Path(config.output).expanduser()):
        return _prepared(config, registry)


def _prepared(config: RunConfig, registry: Registry) -> Prepared:
    head = make_head(registry, config.head)
    check_weighting(config, head)
    loaded = load_rows(config.dataset.name, config.dataset.options, registry, head.schema)
    rows = prepare_rows(loaded, head, config.data, cv=config.cv)
    check_splits(config, rows.splits)
    model = make_model(registry, config.model, config.train)
    notes = [*loaded.notes, *rows.notes]
    notes += remarks(head, rows.splits, config.metrics)
    notes += weighting_notes(config.train, head, rows.labels, rows.splits["train"])
    untuned = None if "validation" in rows.splits else head.untuned(rows.splits["train"])
    if untuned is not None:
        notes.append(untuned)
    check_kind(head, model, rows.labels)
    settings = encode_settings(config, model, rows.labels, notes)
    folder = cache_folder(config.data.cache, config.output)
    if folder.name == BESIDE_RUNS:
        notes.append(
            f"encoded rows go to `{folder}`, for `{OWN_CACHE}` cannot be written; `data.cache` or `FTR_CACHE` names another folder"
        )
    splits = encode_splits(config, registry, head, model, settings, rows.splits)
    for name, split in splits.items():
        notes += [
            f"{name}: {note}: {count} of {split.feature_count}" for note, count in split.notes.items() if note not in (TOKENS, UNKNOWN)
        ]
        notes += [note for note in [unknown_note(name, Counter(split.notes))] if note]
    return Prepared(
        splits=splits,
        labels=rows.labels,
        settings=settings,
        model=model,
        report=rows.report,
        rejected=rows.rejected,
        sources=[asdict(source) for source in loaded.sources],
        notes=notes,
    )


def split_lines(prepared: Prepared) -> list[str]:
    """Return one line a split: rows used, examples they became, rows rejected and why."""
    lines = []
    for name, split in prepared.splits.items():
        examples = "" if split.feature_count == split.row_count else f" in {split.feature_count} windows"
        causes = prepared.report["splits"].get(name, {}).get("rejected", {})
        rejected = f", {sum(causes.values())} rejected ({', '.join(f'{cause}: {n}' for cause, n in causes.items())})" if causes else ""
        lines.append(f"{name}: {split.row_count} rows{examples}{rejected}{' (encoded before)' if split.from_cache else ''}")
    return lines


def card_fields(config: RunConfig, labels: Sequence[str], max_length: int, stride: int) -> dict[str, Any]:
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
    config: RunConfig, registry: Registry, head: Head, model: Model, settings: EncodeSettings, splits: dict[str, Sequence[Row]]
) -> dict[str, StoredSplit]:
    """Encode each split, training rows with what the loss needs, the others with what decoding needs."""
    tokenizer = model.tokenizer()
    entry = registry.find("head", config.head.name)
    identity = code_identity(type(head), config.head.options, entry.plugin.version, entry.plugin)
    folder = cache_folder(config.data.cache, config.output)
    return {
        name: store_split(rows, head, tokenizer, replace(settings, targets=name == "train"), folder, identity)
        for name, rows in splits.items()
    }
