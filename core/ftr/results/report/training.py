"""The parts of a report on the training: what was trained on what, how it went, what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ftr.results.report import pictures
from ftr.results.report.blocks import Block, Facts, Note, Pictures, Section, Table
from ftr.results.report.source import (
    MissingError,
    Record,
    Source,
    day,
    duration,
    gigabytes,
    value_text,
)
from ftr.runs.report import KINDS, decimals, number

DEFAULTS = ("built-in default", "default of")
"""How the origin of a setting begins that nobody set."""
NOT_SHOWN = ("task", "dataset", "model", "head", "metrics", "output", "plugins")
"""Settings that have a fact of their own, or that change nothing in the result."""


def trained(source: Source) -> Section:
    """Return what was trained on what, where, with which settings."""
    record, config = source.record, source.record["config"]
    facts = {
        "task": config.get("task") or "none (components named one by one)",
        "dataset": config["dataset"]["name"],
        "model": _model(record),
        "head": config["head"]["name"],
        "metrics": ", ".join(config.get("metrics") or ()),
        **_size(record),
        **_machine(record),
        "started": day(record["created"]),
        "run": str(source.directory.path),
        "command": " ".join(["ftr", *map(str, record.get("command", [])[1:])]),
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in [
                ("ftr", record.get("ftr", "?")),
                *record.get("packages", {}).items(),
            ]
        ),
    }
    blocks: list[Block] = [Facts(facts={key: text for key, text in facts.items() if text})]
    blocks += _settings(record) + _sources(record)
    return Section(title="What was trained on what", blocks=blocks)


def _model(record: Record) -> str:
    source = record.get("model_source") or {}
    parts = [
        record["config"]["model"]["name"],
        source.get("hub_id") or source.get("source"),
        source.get("revision") and f"revision {str(source['revision'])[:12]}",
        source.get("sha256") and f"sha256 {str(source['sha256'])[:12]}…",
    ]
    return " · ".join(dict.fromkeys(str(part) for part in parts if part))


def _size(record: Record) -> dict[str, str]:
    facts = {}
    if "parameters" in record:
        some = (
            ""
            if record["trainable_parameters"] == record["parameters"]
            else (f", {record['trainable_parameters']:,} of them trained")
        )
        facts["parameters"] = f"{record['parameters']:,}{some}"
    if "several" in record:
        count, kind = len(record.get("members", ())), KINDS[record["several"]]
        facts["members"] = f"{count} ({kind})"
    return facts


def _machine(record: Record) -> dict[str, str]:
    facts, hardware = {}, record.get("hardware")
    if hardware:
        gpus = ", ".join(hardware.get("gpus") or ()) or "no GPU"
        facts["machine"] = (
            f"{hardware.get('processor') or hardware.get('machine')}, {hardware.get('cores')} "
            f"cores, {gigabytes(hardware.get('memory_bytes') or 0)} memory, {gpus}"
        )
    if numerics := record.get("numerics"):
        facts["numbers"] = (
            f"{numerics['precision']} on {numerics['device']}, attention {numerics['attention']}, "
            f"{record.get('workers', 1)} process(es)"
        )
    return facts


def _settings(record: Record) -> list[Block]:
    """Return the settings that somebody chose: the task, a file or the command line."""
    rows = [
        (key, value_text(_value(record["config"], key)), str(origin))
        for key, origin in record.get("origins", {}).items()
        if not str(origin).startswith(DEFAULTS) and key not in NOT_SHOWN
    ]
    if not rows:
        return [Note(text="All settings have their built-in defaults.")]
    caption = "Settings that are not the built-in default"
    return [Table(header=("setting", "value", "set by"), rows=rows, names=3, caption=caption)]


def _value(config: Record, key: str) -> object:
    """Return the value of a dotted key in the configuration of a record, of any version."""
    found: Any = config
    for part in key.split("."):
        options = found.get("options") or {}
        found = options[part] if part in options else found.get(part)
    return found


def _sources(record: Record) -> list[Block]:
    sources = record.get("data", {}).get("sources", [])
    rows = [
        (str(one["path"]), f"{str(one['sha256'])[:16]}…", f"{int(one['bytes']):,}")
        for one in sources
    ]
    if not rows:
        return [Note(text="The record names no data: the run ended before it was read.")]
    return [Table(header=("data", "sha256", "bytes"), rows=rows, names=2, caption="Files read")]


def curve(source: Source) -> Section:
    """Return the loss and the score over the epochs."""
    losses = _points(source, "train", "loss")
    record = source.record
    if "primary" in record:
        primary = record["primary"]
        scores = _points(source, "validation", primary) or _points(source, "validation", "value")
    else:
        # Only a run that ended writes which score it is.
        primary, scores = "score", _points(source, "validation", "value")
    if not losses and not scores:
        raise MissingError("`metrics.jsonl` has no loss and no evaluation: the run took no step")
    drawn = []
    if len(losses) > 1:
        held = _points(source, "validation", "loss")
        curves = {"training": losses, **({"validation": held} if held else {})}
        drawn.append(pictures.line("Loss over the epochs", curves, "epoch", "loss"))
    if len(scores) > 1:
        best = record.get("best")
        marked = None
        if isinstance(best, Mapping) and math.isfinite(float(best["value"])):
            marked = (float(best["epoch"]), float(best["value"]), "kept")
        title = f"Validation {primary} over the epochs"
        drawn.append(
            pictures.line(title, {primary: scores}, "epoch", f"validation {primary}", marked=marked)
        )
    blocks: list[Block] = [*([Pictures(pictures=drawn)] if drawn else []), *_evaluations(source)]
    if "several" in record:
        blocks.insert(0, Note(text=f"The curves are those of member {record['best_member']}."))
    if record.get("stopped_early"):
        blocks.append(Note(text=f"Stopped early: {record['stopped_early']}"))
    return Section(title="Learning curve", blocks=blocks)


def _points(source: Source, kind: str, name: str) -> list[tuple[float, float]]:
    return [
        (float(event["epoch"]), float(event[name]))
        for event in source.events
        if event.get("kind") == kind
        and isinstance(event.get(name), int | float)
        and math.isfinite(event[name])
    ]


def _evaluations(source: Source) -> list[Block]:
    found = [event for event in source.events if event.get("kind") == "validation"]
    apart = ("time", "kind", "step", "epoch", "value", "seconds", "split")
    names = list(
        dict.fromkeys(
            name
            for event in found
            for name, value in event.items()
            if isinstance(value, int | float)
            and name not in apart
            and not name.endswith(("_macro", "_micro", "_weighted"))
        )
    )
    if not found or not names:
        return []
    digits = decimals(event.get(name) for event in found for name in names if name != "loss")
    rows = [
        (
            f"{float(event['epoch']):.2f}",
            str(event.get("step", "")),
            *(number(event.get(name), digits) for name in names),
            duration(float(event.get("seconds") or 0)),
        )
        for event in found
    ]
    header = ("epoch", "step", *names, "trained for")
    return [
        Table(
            header=header, rows=rows, caption="Evaluations on validation rows", folded=len(rows) > 1
        )
    ]


TIMES = {
    "reading": "data read",
    "encoding": "data encoded",
    "build": "model built",
    "train": "trained, evaluations within it included",
    "evaluate": "evaluated",
    "save": "checkpoints saved",
    "baselines": "baselines",
    "members": "members, one after the other",
    "total": "whole run",
}


def cost(source: Source) -> Section:
    """Return time, memory and speed."""
    record: Mapping[str, Any] = source.record
    timings = record.get("timings")
    if not timings:
        raise MissingError("the record has no timings: the run did not come to its end")
    rows = [
        (TIMES.get(name, name), duration(float(seconds)))
        for name, seconds in sorted(
            timings.items(),
            key=lambda pair: list(TIMES).index(pair[0]) if pair[0] in TIMES else len(TIMES),
        )
    ]
    if "peak_memory_bytes" in record:
        rows.append(("peak memory of a process", gigabytes(record["peak_memory_bytes"])))
    if "examples_per_second" in record:
        rows.append(("speed of the training", f"{record['examples_per_second']:.1f} examples/s"))
    rows.append(("optimizer steps", f"{record.get('steps', 0):,}"))
    rows.append(("attempts", str(1 + len(record.get("resumed") or ()))))
    note = Note(text="Energy is not measured.")
    return Section(title="Cost", blocks=[Table(header=("", ""), rows=rows), note])
