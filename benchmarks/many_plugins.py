"""What installed plugins cost a light command: `python benchmarks/many_plugins.py [COUNT]
[BROKEN]`.

Writes COUNT plugins (50) as pip would leave them, BROKEN of them (5) each broken in its own way,
and prints for `ftr --help` and `ftr list`, without and with them, the median seconds of five, the
lines on stderr, and whether torch was imported.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

RUNS = 5
GOOD = """
import ftr


@ftr.hookimpl
def ftr_datasets():
    return [ftr.DatasetSpec(name="data{number}", target="many_{number}_parts:Data", columns=("id", "text", "label"))]


@ftr.hookimpl
def ftr_tasks():
    return [
        ftr.TaskSpec(
            name="task{number}", dataset="data{number}", model="minilm", head="sequence-classification", metrics=("accuracy",)
        )
    ]
"""
DECORATED = """
from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge

from ftr.plugin import Column, Head, task


def score{number}(predictions: Sequence[int], references: Sequence[int]) -> float:
    return sum(one == true for one, true in zip(predictions, references)) / len(references)


def rows{number}(count: Annotated[int, Ge(1), "how many rows"] = 9) -> list[dict[str, str]]:
    return [{{"text": str(n), "label": "ab"[n % 2]}} for n in range(count)]


@task("task{number}", dataset=rows{number}, metrics=[score{number}, "accuracy"])
class Head{number}(Head):
    \"\"\"A task of a decorator.\"\"\"

    columns = (Column(name="text"), Column(name="label", type="label"))
"""
FAULTS = (
    "raise ValueError('boom')",
    "import not_there_at_all",
    "import sys\nsys.exit(3)",
    "import ftr\n@ftr.hookimpl\ndef ftr_task(): return []",
    "import ftr\n@ftr.hookimpl\ndef ftr_heads(): return [ftr.HeadSpec(name='No Name', "
    "target='a:B')]",
)
SCRIPT = """
import sys
from ftr.cli.main import main
code = main(sys.argv[1:])
sys.stdout = open("/dev/null", "w")
print("torch" if "torch" in sys.modules else "light", file=sys.stderr)
sys.exit(code)
"""


class Figures(NamedTuple):
    """What one command took: median seconds of the whole process, lines it said on stderr, and
    whether it imported torch.
    """

    seconds: float
    lines: int
    torch: bool


def install(site: Path, count: int, broken: int) -> None:
    """Write plugins into a folder of packages, the broken ones spread among the others; each bounds
    its version of ftr.
    """
    site.mkdir(parents=True, exist_ok=True)
    faulty = {place * count // broken: FAULTS[place % len(FAULTS)] for place in range(broken)}
    for number in range(count):
        # Half of them have hooks, half a decorator.
        source = faulty.get(number, (GOOD, DECORATED)[number % 2].format(number=number))
        (site / f"many_{number}.py").write_text(source, encoding="utf-8")
        info = site / f"many_{number}-1.{number}.dist-info"
        info.mkdir()
        metadata = (
            f"Metadata-Version: 2.1\nName: many-{number}\nVersion: 1.{number}\nRequires-Dist: "
            "ftr>=0.0.1\n"
        )
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text(
            f"[ftr.plugins]\nmany{number} = many_{number}\n", encoding="utf-8"
        )


def measure(site: Path | None, *words: str, runs: int = RUNS) -> Figures:
    """Run a command several times, with the plugins in `site` if given, and return its figures."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FTR_")}
    paths = [*([str(site)] if site else []), *filter(None, [kept.get("PYTHONPATH", "")])]
    environment = {**kept, "PYTHONPATH": os.pathsep.join(paths)}
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *words],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds.append(time.perf_counter() - began)
    *said, light = done.stderr.splitlines()
    return Figures(statistics.median(seconds), len(said), light == "torch")


def main() -> None:
    """Measure and print."""
    count, broken = (int(word) for word in (*sys.argv[1:], *("50", "5")[len(sys.argv) - 1 :]))
    print(f"{'command':<12}{'plugins':>8}{'broken':>8}{'seconds':>9}{'lines':>7}  torch")
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder), count, broken)
        for words in (["--help"], ["list"]):
            for site, number, faulty in ((None, 0, 0), (Path(folder), count, broken)):
                found = measure(site, *words)
                torch = "imported" if found.torch else "no"
                print(
                    f"ftr {words[0]:<8}{number:>8}{faulty:>8}{found.seconds:>9.3f}{found.lines:>7} "
                    f" {torch}"
                )


if __name__ == "__main__":
    main()
