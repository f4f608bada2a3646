"""`ftr report` as a function: write the page and the Markdown of a run or sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ftr import atomic
from ftr.errors import RequestError
from ftr.paths import expanded
from ftr.results.report.blocks import Report
from ftr.results.report.collect import collect
from ftr.results.report.render import html, markdown
from ftr.study.directory import open_directory

HTML, MARKDOWN = "report.html", "report.md"


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a report, and what is in it."""

    html: Path
    markdown: Path
    report: Report


def write_report(
    run: str | Path,
    output: str | Path | None = None,
    *,
    slices: Sequence[str] = (),
    split: str | None = None,
) -> Written:
    """Write `report.html` and `report.md` of a run or sweep, into its directory or into `output`.

    `slices` names columns of the data to show scores by; `split` the held-out split to look at.
    Raises `RequestError` for what is no run, `RunError` when the files cannot be written.

        ftr.report("runs/ID", slices=["topic"]).html
    """
    report = collect(run, slices, split)
    folder = open_directory(run).path if output is None else expanded(output, "`--output`:")
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"`--output {folder}` is a file: name a folder.")
    files = Written(folder / HTML, folder / MARKDOWN, report)
    for path, text in ((files.html, html(report)), (files.markdown, markdown(report))):
        with atomic.writing(path):
            folder.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, text)
    return files
