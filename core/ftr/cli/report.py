"""`ftr report`: what a run or sweep is worth, as one HTML page and as Markdown."""

from __future__ import annotations

import argparse

from ftr.cli.main import Answer
from ftr.terminal import quiet_libraries, show

EXAMPLES = (
    "ftr report RUN",
    "ftr report SWEEP --output reports",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the run, and what to look at."""
    parser.add_argument(
        "run", help="a run or sweep directory, its name under runs/, or the start of its name"
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="write report.html and report.md there (default: the directory of the run)",
    )
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        metavar="COLUMN",
        help="show the score for each value of this column of the data; repeatable",
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        help="held-out split whose rows to look at (default: test, else validation)",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Write the report, and answer with its files and what is not in it."""
    from ftr.paths import shown_path
    from ftr.results.listing import about
    from ftr.results.report.write import write_report

    quiet_libraries()
    written = write_report(args.run, args.output, slices=args.slice, split=args.split)
    report = written.report
    for text in report.warnings:
        show(text)
    lines = [
        f"{one.name}: {one.value}{f' ({one.detail})' if one.detail else ''}"
        for one in report.headlines
    ]
    lines += [f"not in it: {name}: {why}" for name, why in report.absent().items()]
    paths = {"html": shown_path(written.html), "markdown": shown_path(written.markdown)}
    lines += ["", f"page:     {paths['html']}", f"Markdown: {paths['markdown']}"]
    data = {
        **about(args.run),
        **paths,
        "title": report.title,
        "warnings": report.warnings,
        "figures": {one.name: one.value for one in report.headlines},
        "missing": report.missing,
        "sections": report.tables(),
    }
    return Answer(data, "\n".join(lines))
