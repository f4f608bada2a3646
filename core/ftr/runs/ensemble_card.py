"""What a person reads of an ensemble: its README, and the lines that set it beside the best trial alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftr.runs.table import OTHER_AVERAGES, as_markdown, decimals, number


def ensemble_lines(summary: Mapping[str, Any], place: str) -> list[str]:
    """Return the lines of a sweep's answer from `ensemble` of its record, which lies in `place`: its ranked score and the winner's."""
    if "cause" in summary:
        return [f"ensemble: none, {summary['cause']}"]
    pairs = [(split, value, summary["alone"].get(split)) for split, value in summary["scores"].items()]
    digits = decimals([value for pair in pairs for value in pair[1:]])
    shown = [f"{split} {number(value, digits)} (the best trial alone: {number(alone, digits)})" for split, value, alone in reversed(pairs)]
    lines = [f"ensemble: {place}, {joined(summary)}", f"          {summary['primary']}: {', '.join(shown)}"]
    return lines if summary["better"] else [*lines, "          on validation it is no better than the best trial alone"]


def joined(about: Mapping[str, Any]) -> str:
    """Return how an ensemble came about, in a few words."""
    members = about["members"]
    if len(members) == 1:
        return f"the {about['method']} of trial {members[0]} alone"
    return f"the {about['method']} of trials {', '.join(map(str, members))} averaged"


def ensemble_card(record: Mapping[str, Any]) -> str:
    """Return the README of an ensemble. No text of the data appears in it."""
    about, config = record["ensemble"], record["config"]
    task = config["task"] or config["head"]["name"]
    lines = [
        f"# {task}: {about['asked']} of sweep `{record['sweep']}`, made with ftr {record['ftr']}",
        "",
        f"- {joined(about)}; trials are ranked by `{record['primary']}` on validation",
        *(f"- left out: trial {number}: {cause}" for number, cause in about["left_out"].items()),
        f"- head `{config['head']['name']}`, dataset `{config['dataset']['name']}`",
        "",
        "## Scores",
        "",
        *_table(record),
        "",
        _files(about["method"]),
    ]
    return "\n".join(lines) + "\n"


def _table(record: Mapping[str, Any]) -> list[str]:
    alone = record["ensemble"]["alone"]
    columns: dict[str, Mapping[str, Any]] = {}
    for split in reversed(record["scores"]):
        columns[f"{split}, ensemble"] = record["scores"][split]
        columns[f"{split}, trial {alone['trial']}"] = alone["scores"].get(split, {})
    shown = next(iter(columns.values())).items()
    names = [key for key, value in shown if isinstance(value, int | float) and not key.endswith(OTHER_AVERAGES)]
    digits = decimals([value for scores in columns.values() for value in scores.values()])
    rows = [[name, *(number(scores.get(name), digits) for scores in columns.values())] for name in names]
    return as_markdown([["", *columns], *rows])


def _files(method: str) -> str:
    if method == "weights":
        return "`model/` is a plain Hugging Face checkpoint; `run.json` says which trials are in it and how each was configured."
    return (
        "Each folder of `model/members/` is a plain Hugging Face checkpoint; together they answer through `ftr predict`, `ftr evaluate`, "
        "`ftr.load`. `run.json` says which trials they are."
    )
