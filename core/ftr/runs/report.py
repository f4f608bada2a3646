"""Final tables and model cards."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDEST = 80
"""Characters of the widest table that is not folded."""
OTHER_AVERAGES = ("_macro", "_micro", "_weighted")
KINDS = {
    "seeds": "seeds",
    "folds": "folds",
    "bagging": "bootstrap samples",
    "soup": "seeds",
    "boosting": "rounds",
}
JOINED = {"outputs": "ensemble", "weights": "soup", "votes": "vote"}
PLAIN = "`model/` is a plain Hugging Face checkpoint"
MEMBERS = (
    "Each folder of `model/members/` is a plain Hugging Face checkpoint; together they answer "
    "through `ftr predict`, `ftr evaluate`, `ftr.load`."
)


def score_columns(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the columns there are, in order: of the held-out split baselines, `untrained` and
    `trained`, then validation.
    """
    heldout, scores = record["heldout"], record["scores"]
    columns: dict[str, dict[str, Any]] = {}
    for name, by_split in record.get("baselines", {}).items():
        if heldout in by_split:
            columns[f"{heldout}, {name}"] = by_split[heldout]
    if record["untrained"] is not None:
        columns[f"{heldout}, untrained"] = record["untrained"]
    if heldout:
        columns[f"{heldout}, trained"] = scores[heldout]
    if heldout == "test" and "validation" in scores:
        columns["validation, trained"] = scores["validation"]
    return columns


def score_table(record: Mapping[str, Any], markdown: bool = False) -> list[str]:
    """Return the lines of a table: a row a score that is a single number, a column a split."""
    columns = score_columns(record)
    if not columns:
        return ["no validation or test rows: nothing was scored"]
    rows = _rows(columns)
    if markdown:
        return as_markdown(rows)
    lines = aligned(rows)
    return lines if len(lines[0]) <= WIDEST else aligned([*_stacked(rows[0]), *rows[1:]])


def several_tables(record: Mapping[str, Any], markdown: bool = False) -> list[str]:
    """Return the lines of a table a split: a row a score, with mean and deviation of the members,
    the best one, and the whole.
    """
    best, render = record["best_member"], as_markdown if markdown else aligned
    member = next(one for one in record["members"] if one["path"].endswith(f"/{best}"))
    lines: list[str] = []
    for split, summary in reversed(record["summary"].items()):
        columns = {
            f"mean of {len(record['members'])}": {
                name: one["mean"] for name, one in summary.items()
            },
            "sd": {name: one["sd"] for name, one in summary.items()},
            f"member {best}": member["scores"].get(split, {}),
        }
        if record["joined"] and split in record["scores"]:
            columns[JOINED[record["joined"]]] = record["scores"][split]
        for name, scores in record.get("baselines", {}).items():
            if split in scores:
                columns[name] = scores[split]
        lines += [*([""] if lines else []), *render(_rows(columns, split))]
    return lines


def _rows(columns: Mapping[str, Mapping[str, Any]], corner: str = "") -> list[list[str]]:
    """Return the cells of a table: a header, and a row for each score that is a single number.

    Other averages of a score that is shown are in `run.json` alone.
    """
    names = dict.fromkeys(
        name
        for scores in columns.values()
        for name, value in scores.items()
        if isinstance(value, int | float) and not name.endswith(OTHER_AVERAGES)
    )
    digits = decimals(
        value for scores in columns.values() for name, value in scores.items() if name != "loss"
    )
    return [
        [corner, *columns],
        *(
            [name, *(number(scores.get(name), digits) for scores in columns.values())]
            for name in names
        ),
    ]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def as_markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as the lines of a Markdown table; the first is its header."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [body[0], "|---" * len(rows[0]) + "|", *body[1:]]


def _stacked(header: Sequence[str]) -> list[list[str]]:
    """Return a header of `split, what` cells as two rows, each split named above the first of its
    columns.
    """
    splits, kinds = (
        [cell.partition(", ")[0] for cell in header],
        [cell.partition(", ")[2] for cell in header],
    )
    return [
        ["" if place and name == splits[place - 1] else name for place, name in enumerate(splits)],
        kinds,
    ]


def decimals(values: Iterable[Any]) -> int:
    """Return how many decimals scores are shown with: two where some are percentages, or a 0.95 %
    would read as 95 %.
    """
    return 2 if any(isinstance(value, float) and abs(value) > 1 for value in values) else 4


def number(value: Any, digits: int = 4) -> str:
    """Return a score for reading: whole numbers as they are, others with `digits` decimals."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}f}"


def ensemble_lines(summary: Mapping[str, Any], place: str) -> list[str]:
    """Return the lines of a sweep's answer from `ensemble` of its record, which lies in `place`:
    its ranked score and the winner's.
    """
    if "cause" in summary:
        return [f"ensemble: none, {summary['cause']}"]
    pairs = [
        (split, value, summary["alone"].get(split)) for split, value in summary["scores"].items()
    ]
    digits = decimals([value for pair in pairs for value in pair[1:]])
    shown = [
        f"{split} {number(value, digits)} (the best trial alone: {number(alone, digits)})"
        for split, value, alone in reversed(pairs)
    ]
    lines = [
        f"ensemble: {place}, {joined(summary)}",
        f"          {summary['primary']}: {', '.join(shown)}",
    ]
    return (
        lines
        if summary["better"]
        else [*lines, "          on validation it is no better than the best trial alone"]
    )


def joined(about: Mapping[str, Any]) -> str:
    """Return how an ensemble came about, in a few words."""
    members = about["members"]
    if len(members) == 1:
        return f"the {about['method']} of trial {members[0]} alone"
    return f"the {about['method']} of trials {', '.join(map(str, members))} averaged"


def several_lines(record: Mapping[str, Any], shown: str) -> list[str]:
    """Return what the command answers with on a run in the folder `shown`."""
    lines = ["", *several_tables(record), ""]
    lines += [made(record)]
    if record["joined"] and not record["ensemble"]["better"].get("validation", True):
        lines += ["on validation it is no better than its best member alone"]
    seconds = record["timings"]
    lines += [
        f"{len(record['members'])} members trained {seconds['train']:.0f} s; all of it took "
        f"{seconds['total']:.0f} s"
    ]
    lines += [f"members: {shown}/members/"]
    if has_model(record):
        lines += [f"model:   {shown}/model"]
    lines += [f"record:  {shown}/run.json"]
    if has_model(record):
        lines += [
            f"next:    ftr predict {shlex.quote(shown)} FILE",
            f"         ftr evaluate {shlex.quote(shown)}",
        ]
    else:
        lines += [f"next:    ftr predict {shlex.quote(shown)}/members/{record['best_member']} FILE"]
    return lines


def has_model(record: Mapping[str, Any]) -> bool:
    """Whether the run has a model of its own; folds that nobody joined leave none."""
    return record["joined"] is not None or record["several"] != "folds"


def made(record: Mapping[str, Any]) -> str:
    """Return how the model came about, in a few words."""
    count, best = len(record["members"]), record["best_member"]
    if record["joined"] is None:
        if record["several"] == "folds":
            return f"{count} folds leave no model of their own; `ensemble=folds` makes one"
        why = (
            "the best on validation rows"
            if "validation" in record["summary"]
            else "the first: there are no validation rows to choose by"
        )
        return f"`model/` is that of member {best}, {why}"
    about = record["ensemble"]
    if record["joined"] == "weights":
        kept = ", ".join(map(str, about["members"]))
        return (
            f"`model/` has the mean of the weights of members {kept}"
            if len(about["members"]) > 1
            else f"`model/` is member {kept} alone"
        )
    how = "vote" if record["joined"] == "votes" else "are averaged"
    what = "members" if record["joined"] == "votes" else "outputs of the members"
    return f"the {what} {how}"


@dataclass(frozen=True)
class _Parts:
    """What differs between the cards of a run, of a run of several, and of an ensemble."""

    title: str
    facts: Sequence[str]
    sections: Mapping[str, Sequence[str]]
    files: Sequence[str] = field(default=())


def model_card(record: Mapping[str, Any]) -> str:
    """Return the README of a finished run, or of an ensemble. No text of the data appears in it."""
    config = record["config"]
    if "several" in record:
        parts = _several_parts(record)
    else:
        parts = _ensemble_parts(record) if "ensemble" in record else _run_parts(record)
    lines = [
        f"# {config['task'] or config['head']['name']}: {parts.title} with ftr {record['ftr']}",
        "",
        f"- head `{config['head']['name']}`, dataset `{config['dataset']['name']}`",
        *(f"- {fact}" for fact in parts.facts),
    ]
    for heading, body in parts.sections.items():
        lines += ["", f"## {heading}", "", *body]
    lines += ["", *parts.files]
    if config["model"]["options"].get("trust_remote_code"):
        lines.append(
            "\n**Code that came with the checkpoint was run (`model.trust_remote_code=true`).**"
        )
    return "\n".join(lines) + "\n"


def _run_parts(record: Mapping[str, Any]) -> _Parts:
    config, numerics = record["config"], record["numerics"]
    model, lora = config["model"]["name"], config["train"].get("lora") or {}
    files = PLAIN
    if lora.get("rank") and not lora.get("merge"):
        labels = f", num_labels={len(record['labels'])}" if record["labels"] else ""
        files = (
            f"`model/` has the head and low-rank adapters for `{model}`, as `peft` writes them "
            f'(`from_pretrained("model"{labels})` of a model class of `peft` or transformers loads '
            "both)"
        )
    splits = record["data"]["splits"].items()
    cells = [
        [name, *(str(one[key]) for key in ("row_count", "feature_count"))] for name, one in splits
    ]
    return _Parts(
        f"{model} fine-tuned",
        [
            f"{_settings(config)}, seed {config['seed']}",
            f"{record['trainable_parameters']:,} of {record['parameters']:,} parameters trained, "
            f"{numerics['precision']} on {numerics['device']}, {record['workers']} process(es)",
            f"kept: the weights after epoch {record['best']['epoch']:.2f}",
            f"{_trained(record)}, {record['examples_per_second']:.1f} examples/s",
        ],
        {
            "Data": as_markdown([["split", "rows", "examples"], *cells]),
            "Scores": score_table(record, markdown=True),
        },
        [f"{files}; `run.json` has the whole configuration, versions and hashes of the data."],
    )


def _several_parts(record: Mapping[str, Any]) -> _Parts:
    config, count = record["config"], len(record["members"])
    files = [
        "Each folder of `members/` is a run of its own, which `ftr evaluate` and `ftr predict` "
        "take."
    ]
    if has_model(record):
        files.append(MEMBERS if record["joined"] in ("outputs", "votes") else f"{PLAIN}.")
    return _Parts(
        f"{config['model']['name']} fine-tuned {count} times",
        [
            _settings(config),
            f"{count} {KINDS[record['several']]}; {made(record)}",
            _trained(record),
        ],
        {"Scores": several_tables(record, markdown=True), "Members": _members(record)},
        files,
    )


def _ensemble_parts(record: Mapping[str, Any]) -> _Parts:
    about = record["ensemble"]
    alone = about["alone"]
    columns: dict[str, Mapping[str, Any]] = {}
    for split in reversed(record["scores"]):
        columns[f"{split}, ensemble"] = record["scores"][split]
        columns[f"{split}, trial {alone['trial']}"] = alone["scores"].get(split, {})
    which = "`run.json` says which trials are in it and how each was configured."
    return _Parts(
        f"{about['asked']} of sweep `{record['sweep']}`, made",
        [
            f"{joined(about)}; trials are ranked by `{record['primary']}` on validation",
            *(f"left out: trial {number}: {cause}" for number, cause in about["left_out"].items()),
        ],
        {"Scores": as_markdown(_rows(columns))},
        [f"{PLAIN if about['method'] == 'weights' else MEMBERS.rstrip('.')}; {which}"],
    )


def _settings(config: Mapping[str, Any]) -> str:
    return (
        f"learning rate {config['learning_rate']:g}, batch size {config['batch_size']}, "
        f"{config['epochs']:g} epochs"
    )


def _trained(record: Mapping[str, Any]) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime(record["created"]))
    return f"trained {day} in {record['timings']['train']:.0f} s"


def _members(record: Mapping[str, Any]) -> list[str]:
    primary = record["primary"]
    splits = list(record["summary"])
    apart = [key for key in ("seed", "fold", "bootstrap") if key in record["members"][0]]
    digits = decimals(
        [one["scores"].get(split, {}).get(primary) for one in record["members"] for split in splits]
    )
    rows = [["run", *apart, *(f"{split} {primary}" for split in splits), "seconds"]]
    for one in record["members"]:
        scores = [number(one["scores"].get(split, {}).get(primary), digits) for split in splits]
        rows.append(
            [one["path"], *(str(one[key]) for key in apart), *scores, f"{one['seconds']:.0f}"]
        )
    return as_markdown(rows)


def several_result(record: Mapping[str, Any]) -> str:
    """Return the main score in a few words: of what was joined, else the mean of the members and
    their deviation.
    """
    primary, split = record["primary"], record["heldout"] or "validation"
    if record["joined"] is not None and record["heldout"]:
        scores = record["scores"][split]
        return (
            f"{split} {primary} {number(scores[primary], decimals(scores.values()))} "
            f"({JOINED[record['joined']]})"
        )
    if split not in record["summary"]:
        return "-"
    found = record["summary"][split]
    digits = decimals([one["mean"] for one in found.values()])
    return (
        f"{split} {primary} {number(found[primary]['mean'], digits)} ± "
        f"{number(found[primary]['sd'], digits)}"
    )
