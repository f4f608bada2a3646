"""`ftr compare`: the scores of runs on the same rows, and whether they differ by chance."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from ftr.cli.main import Answer
from ftr.errors import ConfigError, counted
from ftr.registry.specs import OTHER_AVERAGES
from ftr.runs.report import INTERVAL, MAX_WIDTH, decimals, number
from ftr.tables import table
from ftr.terminal import masked, quiet_libraries, visible

if TYPE_CHECKING:
    from ftr.results.compare import Against, Comparison

EXAMPLES = (
    "ftr compare RUN OTHER",
    "ftr compare RUN OTHER --fail-if-worse accuracy",
)

WORSE = 3
"""The exit code of a comparison that `--fail-if-worse` fails."""
SHOWN = 10
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LONGEST = 24


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the runs, and what makes the command fail."""
    parser.epilog = (
        "The first run is compared with each of the others. Exit codes: 0 done, "
        f"{WORSE} worse by a score named with --fail-if-worse, 2 wrong request, 1 failed."
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run directory, its name under runs/, a sweep, which means its best run, or a file "
        "of predictions",
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        help="split to compare on (default: test, else validation)",
    )
    parser.add_argument(
        "--fail-if-worse",
        metavar="SCORE",
        action="append",
        default=[],
        help=f"exit with {WORSE} if the first run is significantly worse by SCORE (p < 0.05, "
        "adjusted for the number of scores and runs); repeatable",
    )
    parser.add_argument(
        "--margin",
        type=float,
        metavar="X",
        help="with --fail-if-worse: exit with 3 unless the interval of the difference shows that "
        "the first run is at most X worse",
    )
    parser.add_argument(
        "--show",
        type=int,
        default=SHOWN,
        metavar="N",
        help=f"rows with other results to show for each run (default: {SHOWN})",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Compare, and answer with the differences."""
    if not 2 <= len(args.runs) <= len(LETTERS):
        raise ConfigError(f"`ftr compare` takes 2 to {len(LETTERS)} runs: {len(args.runs)} given.")
    if args.margin is not None and (not args.fail_if_worse or not args.margin >= 0):
        raise ConfigError("`--margin` needs `--fail-if-worse SCORE` and a number of 0 or more.")
    quiet_libraries()
    from ftr.results.compare import compare
    from ftr.results.listing import about

    first, second, *others = args.runs
    found = compare(first, second, *others, split=args.split)
    worse = found.worse(args.fail_if_worse, args.margin)
    data = {**found.plain(), "worse": worse}
    data["first"] |= about(data["first"]["path"])
    for one in data["against"]:
        one["second"] |= about(one["second"]["path"])
        one["changed_total"] = len(one["changed"])
        one["changed"] = one["changed"][: max(args.show, 0)]
    lines = _lines(found, max(args.show, 0))
    if worse:
        lines += ["", *(f"worse: {line}" for line in worse)]
    return Answer(masked(data), "\n".join(lines), WORSE if worse else 0)


def _lines(found: Comparison, most: int) -> list[str]:
    units = "" if found.units.name == "rows" else f", {found.units.count:,} `{found.units.name}`"
    lines = [
        f"{found.split}: {counted(found.rows, 'row', ',')}{units}, matched by id and content",
        "",
    ]
    sides = [found.first, *(one.second for one in found.against)]
    lines += [f"{letter}  {side.given}" for letter, side in zip(LETTERS, sides, strict=False)]
    for letter, one in zip(LETTERS[1:], found.against, strict=False):
        lines += ["", *_table(found, one, letter)]
    several = len(found.against)
    tests = {score.test for one in found.against for score in one.differences.values()}
    about = f"{INTERVAL}: paired bootstrap; p: McNemar test (*, mid-p), else permutation test"
    if "McNemar" not in tests:
        about = f"{INTERVAL}: paired bootstrap; p: permutation test"
    if several > 1:
        about += f"; p of each score is adjusted (Holm) for {several} comparisons"
    lines += ["", *wrap(about, MAX_WIDTH, subsequent_indent="  ")]
    for note in found.notes:
        lines += wrap(f"note: {note}", MAX_WIDTH, subsequent_indent="  ")
    for letter, one in zip(LETTERS[1:], found.against, strict=False):
        lines += ["", *_rows(one, letter, most), *_settings(one, letter)]
    return lines


def _table(found: Comparison, one: Against, letter: str) -> list[str]:
    names = [
        name
        for name in one.differences
        if not name.endswith(OTHER_AVERAGES) or name == found.primary
    ]
    every = [one.differences[name] for name in names]
    digits = decimals(value for each in every for value in (each.first, each.second))
    spread = bool(found.first.spread or one.second.spread)
    header = ["", "A", letter, f"A-{letter}", INTERVAL, "p"]
    rows: list[Sequence[str]] = [[*header, *(["sd A", f"sd {letter}"] if spread else [])]]
    for name, each in zip(names, every, strict=True):
        p = one.adjusted[name]
        star = "*" if each.test == "McNemar" else ""
        cells = [
            name,
            number(each.first, digits),
            number(each.second, digits),
            f"{each.value:+.{digits}f}",
            number(each.interval, digits),
            "-" if p is None else f"{'<0.001' if p < 0.001 else f'{p:.3f}'}{star}",
        ]
        if spread:
            cells += [number(side.spread.get(name), digits) for side in (found.first, one.second)]
        rows.append(cells)
    lines = table(rows, numbers=True)
    return [*lines, "sd: between the members of each"] if spread else lines


def _rows(one: Against, letter: str, most: int) -> list[str]:
    counts = one.rows
    if counts is None:
        return []
    binary = counts["first_lower"] == counts["first"] and counts["second_lower"] == counts["second"]
    lines = [
        f"rows: both right {counts['both']:,}, only A {counts['first']:,}, "
        f"only {letter} {counts['second']:,}, neither {counts['neither']:,}"
    ]
    if not binary:
        lines.append(
            f"      A has the smaller error on {counts['first_lower']:,}, {letter} on "
            f"{counts['second_lower']:,}"
        )
    if not one.changed or not most:
        return lines
    shown = one.changed[:most]
    cells = [
        [_short(str(row[key])) for key in ("id", "expected", "first", "second")] for row in shown
    ]
    lines += [f"  {line}" for line in table([("id", "expected", "A", letter), *cells], indent=2)]
    if len(one.changed) > len(shown):
        lines.append(f"  and {len(one.changed) - len(shown):,} more (`--show N`)")
    return lines


def _settings(one: Against, letter: str) -> list[str]:
    if one.settings is None:
        return []
    if not one.settings:
        return ["settings: the same"]
    rows = [(key, _short(str(a)), _short(str(b))) for key, (a, b) in one.settings.items()]
    return [
        "settings that differ:",
        *(f"  {line}" for line in table([("", "A", letter), *rows], indent=2)),
    ]


def _short(text: str) -> str:
    text = visible(" ".join(text.split()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
