"""A finished run in torch, in ONNX and in 8-bit ONNX: size, rows per second and scores.

    python benchmarks/export.py RUN [dataset=FILE …] [--rows 1000] [--rounds 5]

The three answer the same held-out rows (or those of the data named) by `ftr.load`, in turn, so that
all of them meet the same other work; the rows per second are of the median round, after one that
is not counted. Copies of the run are exported, the run itself stays as it is. Needs `ftr[onnx]` and
an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from throughput import machine

if TYPE_CHECKING:
    from ftr.runs.predictor import Predictor

EXPORTS = {"onnx fp32": None, "onnx int8": "int8"}
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")


def main() -> None:
    """Export, answer in turn, and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("settings", nargs="*", metavar="dataset=FILE")
    parser.add_argument("--rows", type=int, default=1000, help="rows to answer, at most")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args.run, args.settings, args.rows, args.rounds, Path(folder))
    print(table(result))
    print(json.dumps(result))


def measure(run: Path, settings: list[str], rows: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Return what each form of the model measures."""
    import ftr
    from ftr.export.onnx import export_onnx
    from ftr.export.parity import rows_to_compare, scores
    from ftr.registry.registry import registry_for_record
    from ftr.runs.directory import RunDirectory
    from ftr.terminal import quiet_libraries

    quiet_libraries()
    predictors: dict[str, Predictor] = {"torch fp32": ftr.load(run)}
    found: dict[str, dict[str, Any]] = {
        "torch fp32": {"bytes": size(run / "model", "*.safetensors"), "changed": 0}
    }
    for name, quantize in EXPORTS.items():
        copy = folder / name.replace(" ", "-")
        shutil.copytree(run, copy)
        export = export_onnx(copy, settings, quantize=quantize, max_changed=1)
        predictors[name] = ftr.load(copy, backend="onnx")
        found[name] = {
            "bytes": size(export.folder, "*.onnx*"),
            "changed": export.record["parity"]["changed"],
            "compared": export.record["parity"]["rows"],
        }
    first = predictors["torch fp32"]
    known = registry_for_record(first.card.plugins)
    labelled = rows_to_compare(first, RunDirectory(run), settings, rows, known)
    times: dict[str, list[float]] = {name: [] for name in predictors}
    for turn in range(rounds + 1):
        for name, predictor in predictors.items():
            began = time.perf_counter()
            answers = list(predictor.stream(labelled.rows, restore=False))
            if turn:
                times[name].append(time.perf_counter() - began)
            else:
                found[name] |= scores(predictor.head, labelled, predictor.card.labels, answers)
    for name, seconds in times.items():
        found[name]["rows_per_second"] = len(labelled.rows) / statistics.median(seconds)
    return {"run": run.name, "rows": len(labelled.rows), "forms": found, **about()}


def size(folder: Path, pattern: str) -> int:
    """Return the bytes of the files of a folder, and of those below it."""
    return sum(path.stat().st_size for path in folder.rglob(pattern))


def about() -> dict[str, Any]:
    """Return the machine, and which instructions for products its processor has."""
    info = Path("/proc/cpuinfo")
    words = set(info.read_text(encoding="utf-8").split()) if info.is_file() else set()
    return {"machine": machine(), "flags": [flag for flag in FLAGS if flag in words]}


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    base = result["forms"]["torch fp32"]["rows_per_second"]
    lines = [
        f"{result['run']}, {result['rows']} rows; {', '.join(result['flags'])}",
        "",
        "| form | size | rows/s | of torch | answers changed | score |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in result["forms"].items():
        score = one["scores"][one["primary"]]
        ends = one["intervals"].get(one["primary"]) or {"low": score, "high": score}
        changed = f"{one['changed']} of {one['compared']}" if "compared" in one else "-"
        lines.append(
            f"| {name} | {one['bytes'] / 1e6:.1f} MB | {one['rows_per_second']:.1f} | "
            f"{one['rows_per_second'] / base:.2f} | {changed} | {one['primary']} {score:.4f} "
            f"({ends['low']:.4f}–{ends['high']:.4f}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
