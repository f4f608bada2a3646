"""What a person reads of a run of several members: its final table, what stands below it, and its README."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import Any

from ftr.runs.table import OTHER_AVERAGES, aligned, as_markdown, decimals, number

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
    """Return the lines of a table a split: a row a score, with mean and deviation of the members, the best one, and the whole."""
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
    baselines = {name: scores[split] for name, scores in record.get("baselines", {}).items() if split in scores}
    columns += list(baselines)
    rows = [columns]
    for name in shown:
        one = summary[name]
        cells = [name, number(one["mean"], digits), number(one["sd"], digits), number(alone.get(name), digits)]
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
    lines += [f"{len(record['members'])} members trained {seconds['train']:.0f} s; all of it took {seconds['total']:.0f} s"]
    lines += [f"members: {shown}/members/"]
    if has_model(record):
        lines += [f"model:   {shown}/model"]
    lines += [f"record:  {shown}/run.json"]
    if has_model(record):
        lines += [f"next:    ftr predict {shlex.quote(shown)} FILE", f"         ftr evaluate {shlex.quote(shown)}"]
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
        why = "the best on validation rows" if "validation" in record["summary"] else "the first: there are no validation rows to choose by"
        return f"`model/` is that of member {best}, {why}"
    about = record["ensemble"]
    if record["joined"] == "weights":
        kept = ", ".join(map(str, about["members"]))
        return (
            f"`model/` has the mean of the weights of members {kept}" if len(about["members"]) > 1 else f"`model/` is member {kept} alone"
        )
    how = "vote" if record["joined"] == "votes" else "are averaged"
    what = "members" if record["joined"] == "votes" else "outputs of the members"
    return f"the {what} {how}"


def several_card(record: Record) -> str:
    """Return the README of such a run. No text of the data appears in it."""
    config = record["config"]
    day = time.strftime("%Y-%m-%d", time.gmtime(record["created"]))
    settings = f"learning rate {config['learning_rate']:g}, batch size {config['batch_size']}, {config['epochs']:g} epochs"
    what = config["task"] or config["head"]["name"]
    lines = [
        f"# {what}: {config['model']['name']} fine-tuned {len(record['members'])} times with ftr {record['ftr']}",
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
        lines.append("\n**Code that came with the checkpoint was run (`model.trust_remote_code=true`).**")
    return "\n".join(lines) + "\n"


def _members(record: Record) -> list[str]:
    primary = record["primary"]
    splits = list(record["summary"])
    apart = [key for key in ("seed", "fold", "bootstrap") if key in record["members"][0]]
    digits = decimals([one["scores"].get(split, {}).get(primary) for one in record["members"] for split in splits])
    rows = [["run", *apart, *(f"{split} {primary}" for split in splits), "seconds"]]
    for one in record["members"]:
        scores = [number(one["scores"].get(split, {}).get(primary), digits) for split in splits]
        rows.append([one["path"], *(str(one[key]) for key in apart), *scores, f"{one['seconds']:.0f}"])
    return as_markdown(rows)


def _files(record: Record) -> list[str]:
    members = "Each folder of `members/` is a run of its own, which `ftr evaluate` and `ftr predict` take."
    if not has_model(record):
        return [members]
    if record["joined"] in ("outputs", "votes"):
        return [
            members,
            "Each folder of `model/members/` is a plain Hugging Face checkpoint; together they answer through `ftr predict`, "
            "`ftr evaluate`, `ftr.load`.",
        ]
    return [members, "`model/` is a plain Hugging Face checkpoint."]


def several_result(record: Record) -> str:
    """Return the main score in a few words: of what was joined, else the mean of the members and their deviation."""
    primary, split = record["primary"], record["heldout"] or "validation"
    if record["joined"] is not None and record["heldout"]:
        scores = record["scores"][split]
        return f"{split} {primary} {number(scores[primary], decimals(scores.values()))} ({JOINED[record['joined']]})"
    if split not in record["summary"]:
        return "-"
    found = record["summary"][split]
    digits = decimals([one["mean"] for one in found.values()])
    return f"{split} {primary} {number(found[primary]['mean'], digits)} ± {number(found[primary]['sd'], digits)}"
