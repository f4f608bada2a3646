"""`ftr plan`: the cost of a run or a sweep, before it begins."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ftr.cli.main import Answer
from ftr.errors import counted
from ftr.runs.report import decimals, number
from ftr.tables import table
from ftr.terminal import fitted, show

EXAMPLES = (
    "ftr plan task=qa --no-steps",
    "ftr plan sweep reviews.csv 'batch_size=choice(16,32)' trials=8",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the words of a run or a sweep."""
    parser.epilog = (
        "a search expression or a key of sweeps alone (trials, time_budget, …) means a sweep; "
        "`run` or `sweep` as the first word decides it. Exit code 2: the request is "
        "wrong, or it does not fit."
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="[run|sweep] key=value",
        help="the words of `ftr run` or of `ftr sweep`",
    )
    parser.add_argument(
        "--no-steps",
        action="store_true",
        help="train no step: memory and time by arithmetic, for another machine or a large model",
    )
    parser.add_argument(
        "--baselines", action="store_true", help="score the majority class, TF-IDF, … on this data"
    )
    for name, what in (("memory", "memory"), ("disk", "free disk space")):
        parser.add_argument(
            f"--{name}", type=float, metavar="GB", help=f"plan for a machine with this {what}"
        )


def execute(args: argparse.Namespace) -> Answer:
    """Plan, and answer with data, memory, seconds and disk."""
    began = time.monotonic()
    from ftr.results.plan.planner import DoesNotFitError, plan

    try:
        found = plan(
            args.settings,
            steps=not args.no_steps,
            baselines=args.baselines,
            memory=args.memory,
            disk=args.disk,
            began=began,
        )
    except DoesNotFitError as error:
        show(f"ftr: error: {error}", level=-1)
        answer = {**error.plan, "error": str(error), "exit_code": error.exit_code}
        return Answer(answer, fitted("\n".join(lines(error.plan))), error.exit_code)
    return Answer(found, fitted("\n".join(lines(found))))


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a plan as a person reads it."""
    yield ""
    yield from table([_HEADER, *(_row(name, one) for name, one in found["data"].items())])
    for name, facts in found["data"].items():
        yield from _details(name, facts)
    yield from (f"warning: {warning}" for warning in found["warnings"])
    yield from _baselines(found["baselines"])
    yield ""
    yield from _training(found)
    yield _memory(found)
    yield from _time(found)
    yield _disk(found["disk"])


_HEADER = ("", "rows", "rejected", "tokens: mean", "95 %", "most", "cut", "unknown")


def _row(name: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    tokens = facts["tokens"]
    cut = sum(share for note, share in facts["cut"].items() if "cut" in note)
    return (
        name,
        str(facts["rows"]),
        str(sum(facts["rejected"].values())),
        f"{tokens['mean']:.1f}",
        f"{tokens['p95']:.0f}",
        str(tokens["max"]),
        f"{cut:.1%}",
        f"{facts['unknown']:.1%}",
    )


def _details(name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    if facts["features"] != facts["rows"]:
        yield f"{name}: {counted(facts['rows'], 'row')} in {counted(facts['features'], 'window')}"
    for what in ("rejected", "duplicates"):
        if facts[what]:
            each = (f"{key.replace('_', ' ')}: {count}" for key, count in facts[what].items())
            yield f"{name}: {what}: {', '.join(each)}"
    if facts["labels"]:
        ordered = sorted(facts["labels"].items(), key=lambda item: -item[1])
        shown = ", ".join(f"{label} {share:.1%}" for label, share in ordered[:_MOST_LABELS])
        more = len(ordered) - _MOST_LABELS
        yield f"{name}: labels: {shown}{f', and {more} more' if more > 0 else ''}"


_MOST_LABELS = 8


def _baselines(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    for name, by_split in scores.items():
        for split, found in by_split.items():
            plain = {key: one for key, one in found.items() if isinstance(one, int | float)}
            digits = decimals(plain.values())
            shown = ", ".join(
                f"{key} {number(one, digits)}" for key, one in list(plain.items())[:3]
            )
            yield f"baseline {name} on {split}: {shown}"


def _training(found: Mapping[str, Any]) -> Iterator[str]:
    training, sweep = found["training"], found["sweep"]
    numerics = training["numerics"]
    yield (
        f"training {found['model']['trains_line']}: {counted(training['steps'], 'step')}, "
        f"{counted(training['validations'], 'validation')}, {numerics['precision']}, "
        f"{counted(numerics['threads'], 'thread')}"
    )
    if training["members"] > 1:
        yield f"models to train: {training['members']}"
    if sweep:
        from ftr.progress import clock

        each = sweep["trial_seconds"]
        yield (
            f"sweep: at most {counted(sweep['trials'], 'trial')} (by `{sweep['trials_by']}`), "
            f"{sweep['at_once']} at a time, each about {clock(each['mean'])} "
            f"({clock(each['least'])} to {clock(each['most'])}); what `scheduler="
            f"{sweep['scheduler']}` saves is not counted"
        )
        yield from sweep["notes"]


def _memory(found: Mapping[str, Any]) -> str:
    from ftr.results.plan.planner import memory_arithmetic
    from ftr.train.costs import size

    memory = found["memory"]
    free = memory["free"]
    there = "the largest node offers" if found["address"] else "there is"
    line = f"memory: about {memory_arithmetic(memory)}; {there} {size(memory['available'])}"
    if memory["gpu"]:
        line += f"; GPU: {size(memory['gpu'])}"
    tight = free is not None and free < memory["total"] and not found["address"]
    return f"{line}, of which only {size(free)} are free now" if tight else line


def _time(found: Mapping[str, Any]) -> Iterator[str]:
    from ftr.progress import clock

    seconds = found["seconds"]
    parts = ", ".join(f"{name} {clock(one)}" for name, one in seconds["parts"].items())
    most = "at most " if found["sweep"] else ""
    basis = (
        f"by {counted(found['timed_steps'], 'timed step')} on this machine"
        if found["basis"] == "steps"
        else "by arithmetic with this machine's speed of matrix products, within a factor of 2"
    )
    yield f"time: {most}about {clock(seconds['total'])} ({parts}); {basis}"
    if found["encoding_seconds"] >= 1:
        yield (
            f"      encoding took {clock(found['encoding_seconds'])} and is done: the rows are in "
            f"`{found['cache']}`"
        )


def _disk(disk: Mapping[str, Any]) -> str:
    from ftr.train.costs import size

    return (
        f"disk: up to {size(disk['peak'])}, of which {size(disk['left'])} stay (encoded rows in "
        f"the cache: {size(disk['cache'])}); {size(disk['free'])} are free"
    )
