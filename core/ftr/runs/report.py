"""Final tables and model cards."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDEST = 80
"""Characters of the widest table that is not folded."""
OTHER_AVERAGES = ("_macro", "_micro", "_weighted")


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
    names = list(
        dict.fromkeys(
            key
            for scores in columns.values()
            for key, value in scores.items()
            if _shown(key, value)
        )
    )
    digits = decimals(
        [value for scores in columns.values() for key, value in scores.items() if key != "loss"]
    )
    rows = [
        ["", *columns],
        *(
            [name, *(number(scores.get(name), digits) for scores in columns.values())]
            for name in names
        ),
    ]
    if markdown:
        return as_markdown(rows)
    lines = aligned(rows)
    return lines if len(lines[0]) <= WIDEST else aligned([*_stacked(rows[0]), *rows[1:]])


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


def _shown(key: str, value: Any) -> bool:
    """Whether a score stands in the table: other averages of a score that stands there are in
    `run.json` alone.
    """
    return isinstance(value, int | float) and not key.endswith(OTHER_AVERAGES)


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


def _kept(record: dict[str, Any]) -> str:
    """Return what `model/` is."""
    lora = record["config"]["train"].get("lora") or {}
    if not lora.get("rank") or lora.get("merge"):
        return "`model/` is a plain Hugging Face checkpoint"
    labels = f", num_labels={len(record['labels'])}" if record["labels"] else ""
    return (
        f"`model/` has the head and low-rank adapters for `{record['config']['model']['name']}`, "
        "as `peft` writes them "
        f'(`from_pretrained("model"{labels})` of a model class of `peft` or transformers loads '
        "both)"
    )


def model_card(record: dict[str, Any]) -> str:
    """Return the README of a finished run. No text of the data appears in it."""
    config, numerics = record["config"], record["numerics"]
    settings = (
        f"learning rate {config['learning_rate']:g}, batch size {config['batch_size']}, "
        f"{config['epochs']:g} epochs, seed {config['seed']}"
    )
    trained = f"{record['trainable_parameters']:,} of {record['parameters']:,} parameters"
    day = time.strftime("%Y-%m-%d", time.gmtime(record["created"]))
    lines = [
        f"# {config['task'] or config['head']['name']}: {config['model']['name']} fine-tuned with "
        f"ftr {record['ftr']}",
        "",
        f"- head `{config['head']['name']}`, dataset `{config['dataset']['name']}`",
        f"- {settings}",
        f"- {trained} trained, {numerics['precision']} on {numerics['device']}, "
        f"{record['workers']} process(es)",
        f"- kept: the weights after epoch {record['best']['epoch']:.2f}",
        f"- trained {day} in {record['timings']['train']:.0f} s, "
        f"{record['examples_per_second']:.1f} examples/s",
        "",
        "## Data",
        "",
        "| split | rows | examples |",
        "|---|---|---|",
        *(
            f"| {name} | {split['row_count']} | {split['feature_count']} |"
            for name, split in record["data"]["splits"].items()
        ),
        "",
        "## Scores",
        "",
        *score_table(record, markdown=True),
        "",
        f"{_kept(record)}; `run.json` has the whole configuration, versions and hashes of the "
        "data.",
    ]
    if record["config"]["model"]["options"].get("trust_remote_code"):
        lines.append(
            "\n**Code that came with the checkpoint was run (`model.trust_remote_code=true`).**"
        )
    return "\n".join(lines) + "\n"


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
        *_ensemble_table(record),
        "",
        _ensemble_files(about["method"]),
    ]
    return "\n".join(lines) + "\n"


def _ensemble_table(record: Mapping[str, Any]) -> list[str]:
    alone = record["ensemble"]["alone"]
    columns: dict[str, Mapping[str, Any]] = {}
    for split in reversed(record["scores"]):
        columns[f"{split}, ensemble"] = record["scores"][split]
        columns[f"{split}, trial {alone['trial']}"] = alone["scores"].get(split, {})
    shown = next(iter(columns.values())).items()
    names = [
        key
        for key, value in shown
        if isinstance(value, int | float) and not key.endswith(OTHER_AVERAGES)
    ]
    digits = decimals([value for scores in columns.values() for value in scores.values()])
    rows = [
        [name, *(number(scores.get(name), digits) for scores in columns.values())] for name in names
    ]
    return as_markdown([["", *columns], *rows])


def _ensemble_files(method: str) -> str:
    if method == "weights":
        return (
            "`model/` is a plain Hugging Face checkpoint; `run.json` says which trials are in it "
            "and how each was configured."
        )
    return (
        "Each folder of `model/members/` is a plain Hugging Face checkpoint; together they answer "
        "through `ftr predict`, `ftr evaluate`, `ftr.load`. `run.json` says which trials they are."
    )


Record = Mapping[str, Any]
KINDS = {
    "seeds": "seeds",
    "folds": "folds",
    "bagging": "bootstrap samples",
    "soup": "seeds",
    "boosting": "rounds",
}
JOINED = {"outputs": "ensemble", "weights": "soup", "votes": "vote"}


def several_tables(record: Record, markdown: bool = False) -> list[str]:
    """Return the lines of a table a split: a row a score, with mean and deviation of the members,
    the best one, and the whole.
    """
    lines: list[str] = []
    for split in reversed(list(record["summary"])):
        lines += [*([""] if lines else []), *_table(record, split, markdown)]
    return lines


def _table(record: Record, split: str, markdown: bool) -> list[str]:
    summary, best = record["summary"][split], record["best_member"]
    member = next(one for one in record["members"] if one["path"].endswith(f"/{best}"))
    alone = member["scores"].get(split, {})
    whole = record["scores"].get(split) if record["joined"] else None
    shown = [name for name in summary if not name.endswith(OTHER_AVERAGES)]
    digits = decimals([one["mean"] for one in summary.values()])
    columns = [split, f"mean of {len(record['members'])}", "sd", f"member {best}"]
    if whole:
        columns.append(JOINED[record["joined"]])
    baselines = {
        name: scores[split]
        for name, scores in record.get("baselines", {}).items()
        if split in scores
    }
    columns += list(baselines)
    rows = [columns]
    for name in shown:
        one = summary[name]
        cells = [
            name,
            number(one["mean"], digits),
            number(one["sd"], digits),
            number(alone.get(name), digits),
        ]
        cells += [number(whole.get(name), digits)] if whole else []
        rows.append([*cells, *(number(scores.get(name), digits) for scores in baselines.values())])
    return as_markdown(rows) if markdown else aligned(rows)


def several_lines(record: Record, shown: str) -> list[str]:
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


def has_model(record: Record) -> bool:
    """Whether the run has a model of its own; folds that nobody joined leave none."""
    return record["joined"] is not None or record["several"] != "folds"


def made(record: Record) -> str:
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


def several_card(record: Record) -> str:
    """Return the README of such a run. No text of the data appears in it."""
    config = record["config"]
    day = time.strftime("%Y-%m-%d", time.gmtime(record["created"]))
    settings = (
        f"learning rate {config['learning_rate']:g}, batch size {config['batch_size']}, "
        f"{config['epochs']:g} epochs"
    )
    what = config["task"] or config["head"]["name"]
    lines = [
        f"# {what}: {config['model']['name']} fine-tuned {len(record['members'])} times with ftr "
        f"{record['ftr']}",
        "",
        f"- head `{config['head']['name']}`, dataset `{config['dataset']['name']}`",
        f"- {settings}",
        f"- {len(record['members'])} {KINDS[record['several']]}; {made(record)}",
        f"- trained {day} in {record['timings']['train']:.0f} s",
        "",
        "## Scores",
        "",
        *several_tables(record, markdown=True),
        "",
        "## Members",
        "",
        *_members(record),
        "",
        *_files(record),
    ]
    if config["model"]["options"].get("trust_remote_code"):
        lines.append(
            "\n**Code that came with the checkpoint was run (`model.trust_remote_code=true`).**"
        )
    return "\n".join(lines) + "\n"


def _members(record: Record) -> list[str]:
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


def _files(record: Record) -> list[str]:
    members = (
        "Each folder of `members/` is a run of its own, which `ftr evaluate` and `ftr predict` "
        "take."
    )
    if not has_model(record):
        return [members]
    if record["joined"] in ("outputs", "votes"):
        return [
            members,
            "Each folder of `model/members/` is a plain Hugging Face checkpoint; together they "
            "answer through `ftr predict`, `ftr evaluate`, `ftr.load`.",
        ]
    return [members, "`model/` is a plain Hugging Face checkpoint."]


def several_result(record: Record) -> str:
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
