"""What each practice of fine-tuning does to the score, over several seeds on real rows: the table
of `docs/recipes.md`.

python benchmarks/practices.py                       # all of them, one after the other; goes on
where it was stopped python benchmarks/practices.py --only ema lora       # those whose name has one
of these words python benchmarks/practices.py --table               # what is measured so far, as
Markdown

Each practice is one run a seed, compared with the plain run of the same case and seed. Every result
is a line of `--out`.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ftr
from practice_list import CASES, PRACTICES, Case, Practice
from throughput import HERE

Result = dict[str, Any]


def main() -> None:
    """Measure what is not measured yet, or print the table."""
    args = arguments()
    if args.table:
        print("\n".join(table(read(args.out))))
        return
    with tempfile.TemporaryDirectory(prefix="ftr-practices-") as folder:
        files = {
            name: case.write(Path(folder), args.data)
            for name, case in CASES.items()
            if name in {p.case for p in chosen(args.only)}
        }
        for practice, seed in todo(args):
            began = time.monotonic()
            found = measure(
                practice, CASES[practice.case], files[practice.case], seed, Path(folder)
            )
            with args.out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(found, ensure_ascii=False) + "\n")
            print(
                f"{practice.case} {practice.name} seed {seed}: {found['score']:.4f} in "
                f"{time.monotonic() - began:.0f} s",
                flush=True,
            )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", nargs="*", default=[], help="parts of names of practices or cases"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "practices.jsonl")
    parser.add_argument("--table", action="store_true", help="print what is measured so far")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("FTR_DATA", HERE.parent.parent / "shared" / "data")),
    )
    return parser.parse_args()


def chosen(only: Sequence[str]) -> list[Practice]:
    """Return the practices asked for, with the plain runs of their cases first."""
    asked = [
        p for p in PRACTICES if not only or any(word in p.name or word == p.case for word in only)
    ]
    plain = [p for p in PRACTICES if p.plain and p.case in {other.case for other in asked}]
    return [*plain, *(p for p in asked if p not in plain)]


def todo(args: argparse.Namespace) -> Iterator[tuple[Practice, int]]:
    """Yield what has no result yet, looked up each time: a second program may work on the same
    file.
    """
    for seed in args.seeds:
        for practice in chosen(args.only):
            if (practice.case, practice.name, seed) not in {
                (r["case"], r["practice"], r["seed"]) for r in read(args.out)
            }:
                yield practice, seed


def read(path: Path) -> list[Result]:
    """Return the results so far."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.is_file()
        else []
    )


def measure(
    practice: Practice, case: Case, files: dict[str, Path], seed: int, folder: Path
) -> Result:
    """Train once, or what the practice takes, and return its score on the test rows.

    What the practice sets wins over the case.
    """
    own = {setting.partition("=")[0] for setting in practice.settings}
    shared = [setting for setting in case.settings if setting.partition("=")[0] not in own]
    places = [f"dataset.{split}={path}" for split, path in files.items()]
    record = ftr.run(
        [*shared, *places, *practice.settings, f"seed={seed}", f"output={folder / 'runs'}"],
        say=lambda line: None,
    ).record
    shutil.rmtree(folder / "runs")
    score = round(record["scores"]["test"][case.score] / case.most, 6)
    return {
        "case": practice.case,
        "practice": practice.name,
        "seed": seed,
        "settings": practice.settings,
        "score": score,
    }


def table(results: list[Result]) -> list[str]:
    """Return one row a practice: its mean score, and the differences from the plain run with the
    same seed.
    """
    lines = [
        "| practice | settings | data | score | with it | without | difference, each seed | mean ± "
        "sd |",
        "|---|---|---|---|--:|--:|---|--:|",
    ]
    for practice in PRACTICES:
        if practice.plain:
            continue
        own, plain = (
            by_seed(results, practice.case, practice.name),
            by_seed(results, practice.case, practice.base),
        )
        seeds = sorted(own.keys() & plain.keys())
        if not seeds:
            continue
        gains = [own[seed] - plain[seed] for seed in seeds]
        spread = f" ± {shown(statistics.stdev(gains))}" if len(gains) > 1 else ""
        cells = [
            practice.name,
            " ".join(f"`{setting}`" for setting in practice.settings),
            practice.case,
            CASES[practice.case].score,
            f"{statistics.mean(own[seed] for seed in seeds):.3f}",
            f"{statistics.mean(plain[seed] for seed in seeds):.3f}",
            ", ".join(signed(gain) for gain in gains),
            f"{signed(statistics.mean(gains))}{spread}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def by_seed(results: list[Result], case: str, practice: str) -> dict[int, float]:
    """Return the scores of a practice by seed."""
    return {
        r["seed"]: r["score"] for r in results if (r["case"], r["practice"]) == (case, practice)
    }


def signed(value: float) -> str:
    """Return a difference in hundredths, such as `+1.2`."""
    return f"{100 * value:+.1f}"


def shown(value: float) -> str:
    """Return a spread in hundredths."""
    return f"{100 * value:.1f}"


if __name__ == "__main__":
    main()
