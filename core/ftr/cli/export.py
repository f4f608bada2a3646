"""`ftr export`: a finished run in a form that other programs run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftr.cli.main import Answer
from ftr.errors import ModelError, counted
from ftr.terminal import fitted

EXAMPLES = (
    "ftr export RUN onnx",
    "ftr export RUN onnx --quantize int8",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Take the run, the format, and labelled rows to compare on."""
    parser.epilog = (
        "The export is compared with torch on rows that the run held out, and kept only where both "
        "agree. `ftr predict`, `ftr evaluate` and `ftr.load` use it with `--backend onnx`. It "
        "needs `pip install 'ftr[onnx]'`."
    )
    parser.add_argument(
        "run",
        help="a run directory, its name under runs/, a sweep, which means its best run, or a model "
        "directory written by ftr",
    )
    parser.add_argument("format", choices=("onnx",), help="onnx: graphs in RUN/model/onnx/")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="other labelled rows to compare on: dataset=FILE, dataset.*, data.*",
    )
    parser.add_argument(
        "--quantize",
        choices=("int8",),
        help="int8: weights of 8 bits; about a quarter of the size, and faster on most processors",
    )
    parser.add_argument(
        "--max-changed",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of the answers that the export may change, 0 to 1 (default: 0.05)",
    )
    parser.add_argument(
        "--rows", type=int, default=256, metavar="N", help="rows to compare on (default: 256)"
    )


def execute(args: argparse.Namespace) -> Answer:
    """Export, compare, and answer with what differs."""
    from ftr.export.onnx import export_onnx
    from ftr.results.listing import about
    from ftr.runs.directory import RECORD, run_or_winner
    from ftr.runs.predictor import model_folder
    from ftr.terminal import quiet_libraries

    quiet_libraries()
    try:
        folder = model_folder(args.run)
    except ModelError:
        folder = model_folder(run_or_winner(args.run).path)
    found = export_onnx(
        folder,
        args.settings,
        quantize=args.quantize,
        max_changed=args.max_changed,
        rows=args.rows,
    )
    run = folder.parent
    files = {name: (found.folder / name).stat().st_size for name in found.record["files"]}
    data = {
        **about(run if (run / RECORD).is_file() else folder),
        "folder": str(found.folder),
        "files": files,
        **found.record["parity"],
    }
    return Answer(data, fitted("\n".join(_lines(found.folder, files, found.record["parity"]))))


def _lines(folder: Path, files: dict[str, int], parity: dict[str, Any]) -> Iterator[str]:
    from ftr.runs.report import INTERVAL, decimals, number
    from ftr.tables import table

    for name, size in files.items():
        yield f"{folder / name}: {size / 1e6:.1f} MB"
    yield (
        f"compared with torch on {counted(parity['rows'], 'row')} ({parity['split']}): "
        f"{counted(parity['changed'], 'answer')} changed, largest logit difference "
        f"{parity['logit_difference']:.3g}"
    )
    rows: list[tuple[str, ...]] = [("score", "torch", INTERVAL, "onnx", INTERVAL)]
    for name, value in parity["torch"]["scores"].items():
        cells = [name]
        for kind, score in (("torch", value), ("onnx", parity["onnx"]["scores"][name])):
            interval = parity[kind]["intervals"][name]
            digits = decimals([score, *(interval or {}).values()])
            cells += [number(score, digits), number(interval, digits) if interval else ""]
        rows.append(tuple(cells))
    yield from table(rows)
