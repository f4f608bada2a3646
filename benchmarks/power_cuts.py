"""Power cuts on a loop-mounted ext4 file system: every run that was done keeps its model, every
other resumes to the same bytes.

    python benchmarks/power_cuts.py --after 12 --during 10 --sweep 8

Needs root. A run trains on the mounted file system; the file behind it is copied without a sync,
which is what the disk would hold if the power went at that moment; the copy is mounted elsewhere,
where `ftr predict` and `ftr resume` are tried. Cuts of a run that is done are made 0 to 12 s after
its exit, others at chance moments of a training, and around the end of a sweep.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from powercut import Disk, missing, powered_again  # noqa: E402
from trainings import write_reviews  # noqa: E402

SECONDS = 12.0
SETTINGS = (
    "task=sentiment",
    "batch_size=8",
    "data.max_length=48",
    "data.validation_size=0.2",
    "data.test_size=0.2",
)


class Trial:
    """Cuts of one kind: a command that runs on a mounted disk, and what it comes to when nothing
    disturbs it.
    """

    def __init__(self, folder: Path, words: Sequence[str], result: str) -> None:
        """Run `words` undisturbed; `result` is the run directory to look at, below that of the run
        or sweep.
        """
        self.folder, self.words, self.result = folder, list(words), result
        began = time.monotonic()
        with Disk(folder / "disk") as disk:
            process = self._start(disk.path)
            process.wait()
            if process.returncode != 0:
                raise SystemExit((folder / "log").read_text())
            self.seconds = time.monotonic() - began
            self.whole = digests(next((disk.path / "runs").iterdir()))

    def cut(self, moments: Sequence[float], *, after: bool) -> int:
        """Cut at `moments` (seconds after the start, or after the exit), and return how many lost
        nothing.
        """
        with Disk(self.folder / "disk") as disk:
            process = self._start(disk.path)
            if after:
                process.wait()
            began, images = time.monotonic(), []
            for moment in sorted(moments):
                time.sleep(max(0.0, began + moment - time.monotonic()))
                images.append((moment, process.poll() is not None, disk.cut()))
            process.wait()
        good = 0
        for moment, done, image in images:
            with powered_again(image, self.folder / "disk") as disk_again:
                verdict = self._verdict(disk_again, done=done)
            good += verdict.startswith("same")
            print(
                f"{'after' if after else 'at'} {moment:5.1f} s{', done' if done else ''}: "
                f"{verdict}",
                flush=True,
            )
        return good

    def _start(self, disk: Path) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "FTR_CACHE": str(disk / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        with (self.folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "ftr", *self.words, f"output={disk / 'runs'}"]
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def _verdict(self, disk: Path, *, done: bool) -> str:
        records = [
            path
            for name in ("run.json", "sweep.json")
            for path in (disk / "runs").glob(f"*/{name}")
        ]
        if not records:
            return "LOST: no run" if done else "same (nothing had begun: there is no run to lose)"
        record = json.loads(records[0].read_text(encoding="utf-8"))
        run, status = records[0].parent, record["status"]
        if done and status != "done":
            return f"LOST: its status is {status}"
        environment = {
            **os.environ,
            "FTR_CACHE": str(disk / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        resumed = status != "done"
        words = ["resume", str(run)] if resumed else ["predict", str(run / self.result)]
        answer = subprocess.run(
            [sys.executable, "-m", "ftr", *words],
            env=environment,
            input=b"a good film\n",
            capture_output=True,
            check=False,
        )
        if answer.returncode != 0:
            return f"LOST: `ftr {words[0]}` {answer.stderr.decode()[-300:]}"
        now = digests(run)
        other = sorted(
            name for name in self.whole.keys() | now.keys() if self.whole.get(name) != now.get(name)
        )
        return (
            f"LOST: other bytes in {', '.join(other)}"
            if other
            else f"same bytes, {'resumed' if resumed else 'answered'}"
        )


def digests(run: Path) -> dict[str, str]:
    """Return the sha256 of each file of the models that a run or sweep hands on, and of the
    predictions made with them.
    """
    folders = [
        folder / name
        for folder in (run, run / "best", run / "ensemble")
        for name in ("model", "predictions")
    ]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def main() -> int:
    """Cut, and return 0 when nothing was lost."""
    args = _arguments()
    if reason := missing():
        raise SystemExit(f"no power cuts here: {reason}")
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="ftr-power-") as temporary:
        folder = Path(temporary)
        model = args.model or _tiny(folder / "tiny")
        data = write_reviews(folder / "reviews.csv", args.rows)
        settings = [*SETTINGS, f"dataset={data}", f"model={model}", "train.precision=fp32"]
        good = asked = 0
        if args.after:
            run = Trial(folder, ["run", *settings, f"epochs={args.epochs}"], "")
            good += run.cut(
                [SECONDS * place / max(args.after - 1, 1) for place in range(args.after)],
                after=True,
            )
        if args.during:
            run = Trial(
                folder,
                [
                    "run",
                    *settings,
                    f"epochs={args.epochs * 8}",
                    "train.save_steps=5",
                    "learning_rate=1e-3",
                ],
                "",
            )
            good += run.cut(
                [run.seconds * rng.uniform(0.3, 1.0) for _ in range(args.during)], after=False
            )
        if args.sweep:
            searched = [
                "learning_rate=choice(1e-3,5e-3)",
                "trials=2",
                "ensemble=top2",
                "searcher=grid",
                "scheduler=fifo",
                "max_concurrent=1",
            ]
            sweep = Trial(folder, ["sweep", *settings, f"epochs={args.epochs}", *searched], "best")
            good += sweep.cut(
                [sweep.seconds * rng.uniform(0.5, 0.95) for _ in range(args.sweep // 2)],
                after=False,
            )
            good += sweep.cut(
                [rng.uniform(0, SECONDS) for _ in range(args.sweep - args.sweep // 2)], after=True
            )
        asked = args.after + args.during + args.sweep
        print(f"{good} of {asked} power cuts lost nothing")
        return 0 if good == asked else 1


def _tiny(folder: Path) -> Path:
    from ftr.testing.tiny import tiny_checkpoint

    return tiny_checkpoint("bert", folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Cut the power of a training again and again, and see that nothing is lost."
    )
    parser.add_argument(
        "--after", type=int, default=12, help="cuts 0 to 12 s after the exit of a run"
    )
    parser.add_argument(
        "--during", type=int, default=10, help="cuts during a training, which is then resumed"
    )
    parser.add_argument("--sweep", type=int, default=8, help="cuts around the end of a sweep")
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--model", help="default: a tiny one of random weights")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
