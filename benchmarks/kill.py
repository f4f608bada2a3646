"""Kills a training 20 times at random moments, resumes it each time, and compares it with one that
nobody disturbed.

Trains undisturbed once; then once more, with `kill -9` at random moments spread over the whole of
the training, each followed by `ftr resume`. The weights (sha256 of `model.safetensors`) and
`metrics.jsonl` without its times must be the same.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TIMES = ("time", "seconds")
POLL = 0.002


@dataclass(frozen=True, slots=True)
class Case:
    """What one task trains on: a file or folder below the data folder, and settings."""

    dataset: str
    settings: tuple[str, ...]


CASES = {
    "sentiment": Case("sst2/sentence_level_noheader", ("data.max_length=64", "batch_size=32")),
    "qa": Case(
        "squad_v2/train-mix-v2.0.json.gz",
        ("data.max_length=128", "data.stride=32", "batch_size=16", "data.sample=first"),
    ),
}


def main() -> int:
    """Run the command line; returns 0 when both trainings ended the same."""
    args = _arguments()
    folder = Path(args.keep or tempfile.mkdtemp(prefix="ftr-kill-"))
    settings = _settings(args)
    began = time.monotonic()
    whole = _finished(
        _start(["run", *settings, f"output={folder / 'undisturbed'}"], folder / "undisturbed.log"),
        folder / "undisturbed",
    )
    seconds = time.monotonic() - began
    print(
        f"undisturbed: {seconds:.0f} s, {_record(whole)['steps']} steps, {_sha(whole)}", flush=True
    )
    cut, phases, lost = _disturbed(args.kills, settings, folder, random.Random(args.seed))
    same = {
        "model.safetensors": _sha(cut) == _sha(whole),
        "metrics.jsonl": _metrics(cut) == _metrics(whole),
        "predictions": _predictions(cut) == _predictions(whole),
        "scores": _record(cut)["scores"] == _record(whole)["scores"],
    }
    shown = ", ".join(f"{count} in {phase}" for phase, count in phases.most_common())
    verdict = (
        "the same"
        if all(same.values())
        else f"NOT the same: {', '.join(name for name, equal in same.items() if not equal)}"
    )
    print(
        f"{args.task}: {sum(phases.values())} kills ({shown}), {len(_record(cut)['resumed'])} "
        f"resumed trainings, {lost} steps done again; sha256 {_sha(cut)[:16]} and "
        f"{_sha(whole)[:16]}: weights, metrics, predictions and scores are {verdict}"
    )
    return 0 if all(same.values()) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Kill a training again and again, and see that nothing is lost."
    )
    parser.add_argument("--task", choices=CASES, default="sentiment")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1600, help="training rows")
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--every", type=int, default=5, help="steps between two checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--data", default=os.environ.get("FTR_DATA", str(HERE.parent.parent / "shared" / "data"))
    )
    parser.add_argument("--keep", help="folder for both runs, which are then left there")
    return parser.parse_args()


def _settings(args: argparse.Namespace) -> list[str]:
    case = CASES[args.task]
    dataset = Path(args.data) / case.dataset
    if not dataset.exists():
        raise SystemExit(f"no data at `{dataset}`: give `--data`, or set `FTR_DATA`")
    return [
        f"task={args.task}",
        f"dataset={dataset}",
        *case.settings,
        f"data.limit={args.rows}",
        f"data.limit_validation={max(args.rows // 8, 16)}",
        f"data.limit_test={max(args.rows // 8, 16)}",
        f"epochs={args.epochs:g}",
        f"train.save_steps={args.every}",
    ]


def _disturbed(
    kills: int, settings: list[str], folder: Path, rng: random.Random
) -> tuple[Path, Counter[str], int]:
    """Train with kills; returns the run directory, how many kills fell into which phase, and the
    steps that were lost.
    """
    output, log = folder / "disturbed", folder / "disturbed.log"
    phases: Counter[str] = Counter()
    lost = 0
    process = _start(["run", *settings, f"output={output}"], log)
    total = 0
    while sum(phases.values()) < kills:
        watch = Watch(output, process.pid)
        while not watch.began() and process.poll() is None:
            time.sleep(POLL)
        if watch.run is None:
            raise SystemExit(f"the training ended before it began: see {log}")
        total = total or _steps(folder)
        # Moments by progress, not by time: the start of each process is as long as much of the
        # training.
        goal = total * (sum(phases.values()) + rng.random()) / kills
        while process.poll() is None and watch.step() < goal and not watch.final():
            time.sleep(POLL)
        _wait(process, watch, rng)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        phase = watch.phase()
        phases[phase] += 1
        reached, kept = watch.step(), watch.kept()
        lost += max(reached - kept, 0)
        print(
            f"kill {sum(phases.values())}: at step {reached} of {total}, in {phase}; the last "
            f"checkpoint is of step {kept}",
            flush=True,
        )
        process = _start(["resume", str(watch.run)], log)
    return _finished(process, output), phases, lost


def _wait(process: subprocess.Popen[bytes], watch: "Watch", rng: random.Random) -> None:
    """Wait a moment; every third time for a checkpoint that is being written, every other third for
    an evaluation.
    """
    wanted = rng.choice(["anything", "the writing of a checkpoint", "an evaluation"])
    deadline = time.monotonic() + 20
    while (
        wanted != "anything"
        and process.poll() is None
        and watch.phase() != wanted
        and time.monotonic() < deadline
    ):
        time.sleep(POLL)
    time.sleep(rng.random() * (0.01 if wanted == "the writing of a checkpoint" else 0.3))


class Watch:
    """What can be seen of a training from outside: the files of its run directory."""

    def __init__(self, output: Path, process: int) -> None:
        """Watch the one run below `output`, which `process` works on."""
        self.output, self.process = output, process

    @property
    def run(self) -> Path | None:
        """The run directory, once it is there."""
        return next((path.parent for path in self.output.glob("*/run.json")), None)

    def began(self) -> bool:
        """Whether the process is through with starting: it has read the last checkpoint, or seen
        that there is none.
        """
        return self.run is not None and any(
            attempt["process"] == self.process
            for attempt in _lines(self.run / "checkpoints" / "attempts.jsonl")
        )

    def entries(self) -> list[dict[str, Any]]:
        """Return the lines of `metrics.jsonl`."""
        try:
            return _lines(self.run / "metrics.jsonl") if self.run else []
        except (OSError, ValueError):
            return []

    def step(self) -> int:
        """Return the last step that was logged or kept."""
        return max([int(entry["step"]) for entry in self.entries()] + [self.kept()])

    def kept(self) -> int:
        """Return the step of the last checkpoint."""
        found = (
            [path.name for path in self.run.glob("checkpoints/step-*") if ".new-" not in path.name]
            if self.run
            else []
        )
        return max((int(name.removeprefix("step-")) for name in found), default=0)

    def final(self) -> bool:
        """Whether the last step is done: the kept model is being scored."""
        return bool(self.run) and any(entry["kind"] == "final" for entry in self.entries())

    def phase(self) -> str:
        """Say what the process was doing, as far as the files tell."""
        run, entries = self.run, self.entries()
        if run is None or not entries:
            return "the start"
        # What an earlier process left has another number.
        if any(run.glob(f"checkpoints/*.new-*-{self.process}-*")):
            return "the writing of a checkpoint"
        if any(run.glob(f"model.new-*-{self.process}-*")):
            return "the saving of the best weights"
        if self.final():
            return "the final predictions"
        last = entries[-1]
        # Every step is logged: the last of an epoch, until its evaluation is.
        return (
            "an evaluation"
            if last["kind"] == "train" and float(last["epoch"]).is_integer()
            else "training"
        )


def _start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "ftr",
        *words,
        *(["train.logging_steps=1"] if words[0] == "run" else []),
    ]
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream)


def _finished(process: subprocess.Popen[bytes], output: Path) -> Path:
    if process.wait() != 0:
        raise SystemExit(
            f"`ftr` ended with exit code {process.returncode}: see the log beside `{output}`"
        )
    (record,) = output.glob("*/run.json")
    return record.parent


def _steps(folder: Path) -> int:
    (record,) = (folder / "undisturbed").glob("*/run.json")
    return int(_record(record.parent)["steps"])


def _record(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return record


def _sha(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def _metrics(run: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in entry.items() if key not in TIMES}
        for entry in _lines(run / "metrics.jsonl")
    ]


def _predictions(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "predictions").iterdir())}


def _lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


if __name__ == "__main__":
    sys.exit(main())
