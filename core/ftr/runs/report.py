"""Tables of scores, the summary that a command prints, and the README of a run directory."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Any

from ftr.errors import counted
from ftr.registry.specs import OTHER_AVERAGES
from ftr.tables import table, table_width
from ftr.terminal import columns_of, mask

INTERVAL = "95 % interval"
MAX_WIDTH = 80
"""Columns of a terminal; a wider score table gets a header of two lines."""
KINDS = {
    "seeds": "seeds",
    "folds": "folds",
    "bagging": "bootstrap samples",
    "soup": "seeds",
    "boosting": "rounds",
}
JOINED = {"outputs": "ensemble", "weights": "soup", "votes": "vote"}

PLAIN = "`model/` is a plain Hugging Face checkpoint"
JOIN = "`ftr predict`, `ftr evaluate` and `ftr.load` join their outputs"
MEMBERS = f"Each folder of `model/members/` is a plain Hugging Face checkpoint; {JOIN}."
REMOTE = "**The checkpoint's own code was run (`model.trust_remote_code=true`).**"

Record = Mapping[str, Any]


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells, the header first, as the lines of a Markdown table."""
    header, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [header, "|---" * len(rows[0]) + "|", *body]


def decimals(values: Iterable[Any]) -> int:
    """Return the number of decimals for scores: two where some are percentages, or 0.95 % would
    read as 95 %.
    """
    return 2 if any(isinstance(value, float) and abs(value) > 1 for value in values) else 4


def number(value: Any, digits: int = 4) -> str:
    """Return a score as text: an integer as it is, any other number, and the ends of an interval,
    with `digits` decimals.
    """
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        low, high = (number(value[end], digits) for end in ("low", "high"))
        return f"{low} to {high}" if value["low"] < 0 else f"{low}–{high}"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def score_table(record: Record, as_markdown: bool = False) -> list[str]:
    """Return the table of scores: one row per score that is a single number, one column per split.

    The baselines and the untrained model are scored on the held-out split only.
    """
    heldout, scores = record["heldout"], record["scores"]
    baselines = record.get("baselines", {}).items()
    columns = {
        f"{heldout}, {name}": found[heldout] for name, found in baselines if heldout in found
    }
    if record["untrained"] is not None:
        columns[f"{heldout}, untrained"] = record["untrained"]
    if heldout:
        columns[f"{heldout}, trained"] = scores[heldout]
        if found := record.get("intervals", {}).get(heldout):
            columns[f"{heldout}, {INTERVAL}"] = found
    if heldout == "test" and "validation" in scores:
        columns["validation, trained"] = scores["validation"]
    if not columns:
        return ["no validation or test rows: nothing was scored"]
    rows, about = score_rows(columns), interval_lines(record.get("interval"), heldout)
    if as_markdown:
        return [*markdown(rows), *([""] if about else []), *about]
    if table_width(rows) <= (columns_of() or MAX_WIDTH):
        return [*table(rows, numbers=True), *about]
    # Name each split once, above the first of its columns.
    splits, _, kinds = zip(*(cell.partition(", ") for cell in rows[0]), strict=True)
    above = [
        "" if column and split == splits[column - 1] else split
        for column, split in enumerate(splits)
    ]
    return [*table([above, kinds, *rows[1:]], numbers=True, headers=2), *about]


def members_table(record: Record, as_markdown: bool = False) -> list[str]:
    """Return one table per split: one row per score, with mean and standard deviation of the
    members, the best member and the joined model.
    """
    best, lines = record["best_member"], list[str]()
    intervals = record.get("intervals", {})
    member = next(one for one in record["members"] if one["path"].endswith(f"/{best}"))
    for split, summary in reversed(record["summary"].items()):
        columns = {
            f"mean of {len(record['members'])}": {
                name: one["mean"] for name, one in summary.items()
            },
            "sd": {name: one["sd"] for name, one in summary.items()},
            **({} if record["joined"] else {INTERVAL: intervals.get(split, {})}),
            f"member {best}": member["scores"].get(split, {}),
        }
        if record["joined"] and split in record["scores"]:
            columns[JOINED[record["joined"]]] = record["scores"][split]
            columns[INTERVAL] = intervals.get(split, {})
        for name, scores in record.get("baselines", {}).items():
            if split in scores:
                columns[name] = scores[split]
        rows = score_rows({name: column for name, column in columns.items() if column}, split)
        spread = f"sd: between the {len(record['members'])} {KINDS[record['several']]}; "
        about = interval_lines(record.get("interval"), split, spread)
        if as_markdown:
            lines += ["", *markdown(rows), *([""] if about else []), *about]
        else:
            headers = 1
            if table_width(rows) > (columns_of() or MAX_WIDTH):
                above, _, below = zip(*(cell.rpartition(" ") for cell in rows[0]), strict=True)
                rows, headers = [list(above), list(below), *rows[1:]], 2
            lines += ["", *table(rows, numbers=True, headers=headers), *about]
    return lines[1:]


def interval_lines(about: Record | None, split: str | None, spread: str = "") -> list[str]:
    """Return how the intervals of a split were found, from `interval` of a record, with what to
    know about them; `spread` says what the column `sd` is. Nothing for a record without.
    """
    if not about or split not in about["units"]:
        return []
    count, unit = about["units"][split], about["unit"]
    units = counted(count, "row", ",")
    if unit != "rows":
        units = f"{counted(count, 'group', ',')} of rows ({unit})"
    line = f"{spread}{INTERVAL}: {about['resamples']:,} bootstrap resamples of {units}"
    notes = [f"note: {note}" for note in about["notes"] if note.startswith(f"{split}:")]
    return [part for one in (line, *notes) for part in wrap(one, MAX_WIDTH, subsequent_indent="  ")]


def score_rows(columns: Mapping[str, Record], corner: str = "") -> list[list[str]]:
    """Return a header and one row of cells per score that is a single number.

    Other averages of a score are only in `run.json`.
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
    rows = [
        [name, *(number(scores.get(name), digits) for scores in columns.values())] for name in names
    ]
    return [[corner, *columns], *rows]


def ensemble_lines(summary: Record, folder: str) -> list[str]:
    """Return what `ftr sweep` prints about its ensemble in `folder`, from `ensemble` of the record:
    the score that ranks trials, and that of the best trial.
    """
    if "cause" in summary:
        return [f"ensemble: none, {summary['cause']}"]
    scores, alone = summary["scores"], summary["alone"]
    digits = decimals([*scores.values(), *map(alone.get, scores)])
    shown = ", ".join(
        f"{split} {number(scores[split], digits)} "
        f"(the best trial alone: {number(alone.get(split), digits)})"
        for split in reversed(scores)
    )
    lines = [
        f"ensemble: {folder}, {ensemble_method(summary)}",
        f"          {summary['primary']}: {shown}",
    ]
    if not summary["better"]:
        lines.append("          on validation it is no better than the best trial alone")
    return lines


def ensemble_method(about: Record) -> str:
    """Return what an ensemble of a sweep is made of, from `ensemble` of its record."""
    members = about["members"]
    if len(members) == 1:
        return f"the {about['method']} of trial {members[0]} alone"
    return f"the {about['method']} of trials {', '.join(map(str, members))} averaged"


def baseline_lines(record: Record) -> list[str]:
    """Return a warning where the model is no better than a baseline, by its primary score on the
    held-out rows.
    """
    split, primary = record["heldout"], record["primary"]
    known = {
        name: by_split[split][primary]
        for name, by_split in record.get("baselines", {}).items()
        if primary in by_split.get(split, {})
    }
    value = record["scores"].get(split, {}).get(primary)
    if not known or not isinstance(value, int | float):
        return []
    highest = record["mode"] == "max"
    best = (max if highest else min)(known, key=lambda name: known[name])
    if (value > known[best]) if highest else (value < known[best]):
        return []
    digits = decimals([value, known[best]])
    line = (
        f"warning: {split} {primary} {number(value, digits)} is no better than the "
        f"{number(known[best], digits)} of the baseline {best}: try more `epochs`, a higher "
        "`learning_rate`, more rows, or `ftr sweep`"
    )
    width = columns_of() or MAX_WIDTH
    return ["", *wrap(line, width, subsequent_indent="  ", break_on_hyphens=False)]


def several_lines(record: Record, shown: str) -> list[str]:
    """Return what `ftr run` prints about a run with members, in the folder `shown`."""
    seconds, best = record["timings"], f"{shown}/members/{record['best_member']}"
    lines = ["", *members_table(record), "", join_method(record)]
    if record["joined"] and not record["ensemble"]["better"].get("validation", True):
        lines.append("on validation it is no better than its best member alone")
    lines += baseline_lines(record)
    lines += [
        f"{len(record['members'])} members trained {seconds['train']:.0f} s; "
        f"the whole run took {seconds['total']:.0f} s",
        f"members: {shown}/members/",
    ]
    if has_model(record):
        lines.append(f"model:   {shown}/model")
    lines.append(f"record:  {shown}/run.json")
    lines.append(f"next:    ftr predict {shlex.quote(shown if has_model(record) else best)} FILE")
    if has_model(record):
        lines.append(f"         ftr evaluate {shlex.quote(shown)}")
    return lines


def several_result(record: Record) -> str:
    """Return the primary score in short: of the joined model, or the mean of the members with their
    standard deviation.
    """
    primary, split = record["primary"], record["heldout"] or "validation"
    if record["joined"] is not None and record["heldout"]:
        scores = record["scores"][split]
        score = number(scores[primary], decimals(scores.values()))
        return f"{split} {primary} {score} ({JOINED[record['joined']]})"
    if split not in record["summary"]:
        return "-"
    summary = record["summary"][split]
    digits = decimals(one["mean"] for one in summary.values())
    mean, sd = (number(summary[primary][key], digits) for key in ("mean", "sd"))
    return f"{split} {primary} {mean} ± {sd}"


def has_model(record: Record) -> bool:
    """Whether a run with members has a model of its own; folds without an ensemble have none."""
    return record["joined"] is not None or record["several"] != "folds"


def join_method(record: Record) -> str:
    """Return how the model of a run with members was made."""
    count, best, joined = len(record["members"]), record["best_member"], record["joined"]
    if joined == "outputs":
        return "the outputs of the members are averaged"
    if joined == "votes":
        return "the members vote"
    if joined == "weights":
        used = ", ".join(map(str, record["ensemble"]["members"]))
        mean = len(record["ensemble"]["members"]) > 1
        return (
            f"`model/` has the mean of the weights of members {used}"
            if mean
            else f"`model/` is member {used} alone"
        )
    if record["several"] == "folds":
        return f"{count} folds leave no model of their own; `ensemble=folds` makes one"
    why = (
        "the best on validation rows"
        if "validation" in record["summary"]
        else "the first: there are no validation rows to choose by"
    )
    return f"`model/` is that of member {best}, {why}"


def run_card(record: Record) -> str:
    """Return the README of the directory of a finished run or of an ensemble."""
    about = described(record)
    lines = [
        f"# {about.title} with ftr {record['ftr']}",
        "",
        *(f"- {fact}" for fact in (*about.facts, *about.costs)),
        *sections({**about.sections, **about.listed}),
        "",
        *about.files,
    ]
    if record["config"]["model"]["options"].get("trust_remote_code"):
        lines += ["", REMOTE]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The parts of a card: `costs` and `listed` differ between two runs of the same training."""

    title: str
    facts: Sequence[str]
    costs: Sequence[str] = ()
    sections: Mapping[str, Sequence[str]]
    listed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Sequence[str]


def described(record: Record) -> Described:
    """Return what there is to say of a finished run or an ensemble."""
    if "several" in record:
        return _of_members(record)
    return _of_ensemble(record) if "ensemble" in record else _of_run(record)


def _of_run(record: Record) -> Described:
    config, lora = record["config"], record["config"]["train"].get("lora") or {}
    model, files = plain_name(config["model"]["name"]), PLAIN
    if lora.get("rank") and not lora.get("merge"):
        labels = f", num_labels={len(record['labels'])}" if record["labels"] else ""
        files = (
            f"`model/` has the head and low-rank adapters for `{model}`, in the format of `peft` "
            f'(`from_pretrained("model"{labels})` of a model class of `peft` or transformers loads '
            "both)"
        )
    return Described(
        title=f"{_task(config)}: {model} fine-tuned",
        facts=[
            _components(config),
            f"{_settings(config)}, seed {config['seed']}",
            f"{record['trainable_parameters']:,} of {record['parameters']:,} parameters trained, "
            f"{record['numerics']['precision']} on {record['numerics']['device']}",
            f"best weights: after epoch {record['best']['epoch']:.2f}",
        ],
        costs=[
            f"{_trained(record)}, {record['examples_per_second']:.1f} examples/s, "
            f"{record['workers']} process(es)"
        ],
        sections={"Data": _rows_used(record), "Scores": score_table(record, as_markdown=True)},
        files=[
            f"{files}; `run.json` has the whole configuration, versions and hashes of the data."
        ],
    )


def _of_members(record: Record) -> Described:
    config, count = record["config"], len(record["members"])
    files = ["Each folder of `members/` is a run: `ftr evaluate` and `ftr predict` take it."]
    if has_model(record):
        files.append(MEMBERS if record["joined"] in ("outputs", "votes") else f"{PLAIN}.")
    return Described(
        title=f"{_task(config)}: {plain_name(config['model']['name'])} fine-tuned {count} times",
        facts=[
            _components(config),
            _settings(config),
            f"{count} {KINDS[record['several']]}; {join_method(record)}",
        ],
        costs=[_trained(record)],
        sections={"Scores": members_table(record, as_markdown=True)},
        listed={"Members": markdown(_member_rows(record))},
        files=files,
    )


def _of_ensemble(record: Record) -> Described:
    about, config = record["ensemble"], record["config"]
    alone, columns = about["alone"], dict[str, Record]()
    for split in reversed(record["scores"]):
        columns[f"{split}, ensemble"] = record["scores"][split]
        columns[f"{split}, {INTERVAL}"] = record.get("intervals", {}).get(split, {})
        columns[f"{split}, trial {alone['trial']}"] = alone["scores"].get(split, {})
    files = PLAIN if about["method"] == "weights" else MEMBERS.rstrip(".")
    return Described(
        title=f"{_task(config)}: {about['asked']} of sweep `{record['sweep']}`",
        facts=[
            _components(config),
            f"{ensemble_method(about)}; trials are ranked by `{record['primary']}` on validation",
            *(f"left out: trial {trial}: {cause}" for trial, cause in about["left_out"].items()),
        ],
        sections={"Scores": markdown(score_rows(columns))},
        files=[f"{files}; `run.json` lists its trials and their configurations."],
    )


def _member_rows(record: Record) -> list[list[str]]:
    primary, members = record["primary"], record["members"]
    varied = [key for key in ("seed", "fold", "bootstrap") if key in members[0]]
    scores = [
        [one["scores"].get(split, {}).get(primary) for split in record["summary"]]
        for one in members
    ]
    digits = decimals(value for values in scores for value in values)
    header = ["run", *varied, *(f"{split} {primary}" for split in record["summary"]), "seconds"]
    return [
        header,
        *(
            [
                one["path"],
                *(str(one[key]) for key in varied),
                *(number(value, digits) for value in values),
                f"{one['seconds']:.0f}",
            ]
            for one, values in zip(members, scores, strict=True)
        ),
    ]


def _rows_used(record: Record) -> list[str]:
    splits = record["data"]["splits"].items()
    counts = [[name, str(one["row_count"]), str(one["feature_count"])] for name, one in splits]
    return markdown([["split", "rows", "examples"], *counts])


def _task(config: Record) -> str:
    return str(config["task"] or config["head"]["name"])


def _components(config: Record) -> str:
    return f"head `{config['head']['name']}`, dataset `{plain_name(config['dataset']['name'])}`"


def _settings(config: Record) -> str:
    return (
        f"learning rate {config['learning_rate']:g}, batch size {config['batch_size']}, "
        f"{counted(config['epochs'], 'epoch', 'g')}"
    )


def _trained(record: Record) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime(record["created"]))
    return f"trained {day} in {record['timings']['train']:.0f} s"


def sections(bodies: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the lines of sections of Markdown, by heading."""
    for heading, body in bodies.items():
        yield from ("", f"## {heading}", "", *body)


def plain_name(name: str) -> str:
    """Return the name of a component; of a path, which is absolute in a record, its last part, and
    of a URL no secrets.
    """
    return Path(name).name if Path(name).is_absolute() else mask(name)
