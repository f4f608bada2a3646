"""`ftr reproduce`: run a finished run again, and compare it with its record."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftr.cli.main import Answer
from ftr.terminal import fitted

if TYPE_CHECKING:
    from ftr.results.facts import Fact
    from ftr.results.reproduce import Reproduction

EXAMPLES = (
    "ftr reproduce RUN --check",
    "ftr reproduce RUN output=again",
)

DIFFERS = 3
"""Exit code of a reproduction that differs from its record."""
SHOWN = 12
"""Differences that are printed; `--json` has all."""

GROUPS = {
    "file": ("file of data", "files of data"),
    "rows": ("split of rows", "splits of rows"),
    "plugin": ("plugin", "plugins"),
    "package": ("package", "packages"),
}
"""First words of facts that are counted, and what they are called together."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the run, and places."""
    parser.epilog = (
        "Exit codes: 0 equal, 3 it differs, 2 it cannot be repeated (data or weights missing or "
        "changed, or a run without a result), 1 failed, 130 interrupted."
    )
    parser.add_argument(
        "run", help="a run directory, its name under runs/, or a sweep, which means its best run"
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="other places: dataset=, dataset.*, model=, model.*, output=, data.cache=, compute.*, "
        "tracker=",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare data, code, packages and hardware only; train nothing",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Train again, and answer with what is equal, what differs and what can explain it."""
    from ftr.paths import shown_path
    from ftr.results.reproduce import reproduce

    found = reproduce(args.run, args.settings, check=args.check)
    result = found.result
    data = {
        "id": result.path.name if result else None,
        "path": shown_path(result.path) if result else None,
        "scores": result.scores if result else None,
        **found.record(),
        "of": shown_path(found.original.path),
    }
    code = 0 if found.status == "equal" else DIFFERS
    return Answer(data, fitted("\n".join(_lines(found))), code)


def _lines(found: Reproduction) -> Iterator[str]:
    equal = [fact.name for fact in found.facts if fact.equal]
    yield f"equal: {_listed(_grouped(equal))}"
    yield from _section("differs, and can change weights and scores:", found.explanations)
    others = [fact for fact in found.facts if fact.equal is False and not fact.explains]
    yield from _section("differs too:", others)
    yield from _section("not in the record:", [fact for fact in found.facts if fact.equal is None])
    if found.result is not None:
        yield from _results(found)


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "nothing"


def _grouped(names: list[str]) -> list[str]:
    """Return names with those of files, rows, plugins and packages counted."""
    found = []
    for first, words in GROUPS.items():
        count = sum(name.split()[0] == first for name in names)
        if count:
            found.append(f"{count} {words[count > 1]}")
    return [*found, *(name for name in names if name.split()[0] not in GROUPS)]


def _section(title: str, facts: list[Fact]) -> Iterator[str]:
    if facts:
        yield title
        yield from (f"  {_unknown(fact) if fact.equal is None else fact.line()}" for fact in facts)


def _unknown(fact: Fact) -> str:
    from ftr.results.facts import shown

    if not isinstance(fact.now, dict):
        return fact.name
    values = ", ".join(f"{key}={shown(value)}" for key, value in fact.now.items())
    return f"{fact.name}, now {values}"


def _results(found: Reproduction) -> Iterator[str]:
    from ftr.paths import shown_path

    result, other = found.result, found.differences
    if result is None:
        return
    yield ""
    yield f"numbers of the results: {found.compared - len(other)} of {found.compared} are equal"
    yield from (f"  {one.line()}" for one in other[:SHOWN])
    if len(other) > SHOWN:
        yield f"  and {len(other) - SHOWN} more; `--json` lists all"
    changed = [name for name, same in found.weights.items() if not same]
    machine = "" if found.same_machine else ", as they may on another type of machine"
    if changed:
        yield f"weights: {_listed(changed)} differ{machine}"
    elif found.weights:
        yield f"weights: equal, bit for bit (files: {len(found.weights)})"
    yield f"run:     {shown_path(result.path)}"
    if found.status == "equal":
        yield f"reproduces {shown_path(found.original.path)}"
    elif found.explanations:
        yield f"explained, maybe, by: {_listed([fact.name for fact in found.explanations])}"
    else:
        yield (
            "no fact in the record that can change weights differs: something that the record does "
            "not have did, or the training draws numbers that no seed fixes"
        )
