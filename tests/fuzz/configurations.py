"""Mutated configurations: whatever people write, a command ends with exit code 0 or 2, and with one
message.

    python tests/fuzz/configurations.py --count 10000 --seed 1

Words and YAML files of realistic commands are changed and given to the command line of this
process. Every training is refused at the latest when it wants to write (its `output` is a file), or
when its model is built (the checkpoint has no weights).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

SECONDS = 20
SECRET = "fuzz-secret-4711"
HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

VALUES: tuple[str, ...] = (
    *(
        "",
        " ",
        "null",
        "~",
        "true",
        "False",
        "yes",
        "no",
        "on",
        "NaN",
        ".nan",
        ".inf",
        "-.inf",
        "inf",
        "0",
        "-1",
        "1",
        "2",
        "3.5",
        "-0.0",
    ),
    *(
        "1e-5",
        "1e400",
        "-1e400",
        "1e308",
        "9" * 25,
        "9" * 400,
        "9" * 5000,
        "0x10",
        "010",
        "1_000",
        "1,2,3",
        ",",
        "a,,b",
        "[]",
        "{}",
        "[1, 2]",
    ),
    *(
        "[[[[1]]]]",
        "{a: 1}",
        "{1: 2}",
        "{a: {b: c}}",
        "[1, [2, {a: 3}]]",
        "[",
        "{",
        '"',
        "'",
        '"open',
        "[1, 2",
        "{a: 1",
        "{[1]: 2}",
    ),
    *(
        "{a: 1, a: 2}",
        "&a [1]",
        "*a",
        "[&a [1], *a]",
        "[&a [*a]]",
        "!!python/object:os.system x",
        "!!binary aGk=",
        "!!set {a}",
        "<<",
    ),
    *(
        "{<<: 1}",
        "{<<: {a: 1}}",
        "[" * 200 + "]" * 200,
        "{a: " * 100 + "1" + "}" * 100,
        "a" * 5000,
        "/" + "a/" * 3000,
        "a" * 300,
    ),
    *(
        "\0",
        "a\0b",
        "\ud83d",
        "\udcff",
        "\u202e",
        "\x1b[31m",
        "\x9b2J",
        "\r",
        "a\nb",
        "a\tb",
        "\ufeff",
        "é",
        "日本",
        "🙂",
    ),
    *(
        "~nosuchuser/x",
        "~",
        ".",
        "..",
        "/",
        "/dev/null",
        "/dev/zero",
        "/proc/self/mem",
        "./x",
        "-",
        "--json",
        "=",
        "==",
        "a=b",
        "#",
        "# x",
    ),
    *(
        "choice(1,2)",
        "choice()",
        "choice(",
        "choice(1,1)",
        "uniform(1,2)",
        "uniform(2,1)",
        "uniform(nan,1)",
        "loguniform(0,1)",
    ),
    *(
        "loguniform(1e-5,1e-3)",
        "randint(1,4)",
        "randint(1.5,4)",
        "randint(1,9e300)",
        "quniform(0,1,0.1)",
        "quniform(0,1,0)",
        "quniform(0,1,1e-320)",
    ),
    *(
        "normal(0,1)",
        "normal(0,-1)",
        "normal(1e308,1e308)",
        "grid(1,2)",
        "grid(a,b)",
        "choice([1,2],{a: 1})",
        "lograndint(1,1e400)",
    ),
    *(
        "qloguniform(1,10,1)",
        "uniform(1e-320,2e-320)",
        "choice(null,true)",
        "choice(&a 1,*a)",
        "linear",
        "cosine",
        "auto",
        "best",
        "last",
    ),
    *(
        "2h",
        "1h30m",
        "-2h",
        "999999999999d",
        "0s",
        "top3",
        "soup3",
        "top1",
        "top99999999999",
        "asha",
        "pbt",
        "optuna",
        "random",
        "hyperopt",
    ),
    *(
        "sentiment",
        "qa",
        "minilm",
        "accuracy",
        "f1",
        "hub:a/b",
        "hub:",
        "hub:a/b/c",
        "a/b",
        "a:b",
        "s3://k:s@b/c?secret_key=x",
        "file:///x",
    ),
    *(
        "embeddings",
        "backbone",
        "bagging",
        "folds",
        "soup",
        "html,urls",
        "en",
        "xx",
        "de",
        "0.5",
        "0.1",
        "512",
        "1000000000",
        "4294967296",
    ),
)

KEYS = (
    *(
        "task",
        "dataset",
        "model",
        "head",
        "metrics",
        "learning_rate",
        "batch_size",
        "epochs",
        "seed",
        "init_seed",
        "seeds",
        "ensemble",
    ),
    *(
        "boosting",
        "ensemble_size",
        "baselines",
        "output",
        "plugins",
        "config",
        "cv.folds",
        "cv.fold",
        "data",
        "train",
        "trainer",
        "compute",
        "cv",
    ),
    *(
        "data.limit",
        "data.limit_validation",
        "data.sample",
        "data.validation_size",
        "data.test_size",
        "data.seed",
        "data.max_invalid",
    ),
    *(
        "data.clean",
        "data.stop_words",
        "data.duplicates",
        "data.augment",
        "data.augment.copies",
        "data.augment.delete",
        "data.bootstrap",
    ),
    *(
        "data.max_length",
        "data.stride",
        "data.cache",
        "train.freeze",
        "train.unfreeze",
        "train.frozen_epochs",
        "train.layerwise_decay",
    ),
    *(
        "train.lora",
        "train.lora.rank",
        "train.lora.targets",
        "train.optimizer",
        "train.lr_scheduler",
        "train.warmup",
        "train.class_weights",
    ),
    *(
        "train.sampler",
        "train.ema",
        "train.precision",
        "train.micro_batch_size",
        "train.early_stopping_patience",
        "train.keep",
        "train.evaluate_every",
    ),
    *(
        "trainer.max_steps",
        "trainer.adam_beta1",
        "trainer.report_to",
        "trainer.push_to_hub",
        "trainer.fsdp",
        "trainer.lr_scheduler_kwargs",
    ),
    *(
        "trainer.nonsense",
        "trainer.deepspeed",
        "trainer.debug",
        "trainer.",
        "compute.gpus",
        "compute.memory",
        "compute.resources",
    ),
    *(
        "compute.address",
        "compute.storage",
        "dataset.train",
        "dataset.validation",
        "dataset.test",
        "dataset.text",
        "dataset.label",
    ),
    *(
        "dataset.delimiter",
        "dataset.header",
        "dataset.format",
        "dataset.encoding",
        "dataset.quoting",
        "dataset.labels_file",
        "dataset.token",
    ),
    *(
        "dataset.name",
        "dataset.options",
        "model.revision",
        "model.name",
        "model.trust_remote_code",
        "head.n_best",
        "head.options",
        "trials",
    ),
    *(
        "time_budget",
        "max_total_epochs",
        "min_gain",
        "searcher",
        "scheduler",
        "grace_period",
        "reduction_factor",
        "repeats",
        "metric",
        "mode",
        "max_concurrent",
        "sweep",
    ),
    *(
        "sweep.trials",
        "lr",
        "train.fsdp",
        "data.train",
        "nonsense",
        "a.b.c",
        ".",
        "..",
        "a..b",
        "=",
        "",
        "\0",
        "é",
        "data.limit.x",
        "train.lora.rank.x",
    ),
)


@dataclass(frozen=True)
class Failure:
    """A command that ended otherwise than it may."""

    words: list[str]
    files: dict[str, str]
    problem: str
    output: str

    @property
    def kind(self) -> str:
        """What failures of one cause have in common: the last line, without what differs between
        them.
        """
        lines = self.output.strip().splitlines() or [""]
        return f"{self.problem}: {re.sub(r'[0-9]+|`[^`]*`|/[^ ]*', '…', lines[-1])[:110]}"


class Fuzzer:
    """Makes and tries commands in `folder`, which becomes the current one."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        (folder / "reviews.csv").write_text(
            "text,label\n"
            + "".join(f"a {'good' if n % 2 else 'bad'} film {n},{n % 2}\n" for n in range(24))
        )
        (folder / "blocked").write_text("")
        (folder / "weightless").mkdir()
        _checkpoint_without_weights(folder / "weightless")
        self.run_record: dict[str, Any] = {}

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Return a command's words, and the texts of the files it names."""
        kinds: tuple[tuple[int, Callable[[], tuple[list[str], dict[str, str]]]], ...] = (
            (35, lambda: (["show", *self._words(SHOWN)], {})),
            (5, lambda: (["schema", *self._words(SHOWN), *self._maybe("--sweep")], {})),
            (10, lambda: (["run", *self._words(SHOWN), "output=blocked"], {})),
            (20, lambda: (["sweep", *self._words(SEARCHED), "output=blocked"], {})),
            (18, self._with_file),
            (8, self._resumed),
            (
                2,
                lambda: (
                    ["predict", "nowhere", *self._words(("reviews.csv", "dataset.text=text"))],
                    {},
                ),
            ),
            (
                1,
                lambda: (
                    ["evaluate", "nowhere", *self._words(("dataset=reviews.csv", "data.limit=5"))],
                    {},
                ),
            ),
            (
                1,
                lambda: (
                    [
                        self.rng.choice(
                            ("runs", "resume", "predict", "list", "plugins", "evaluate")
                        ),
                        self.rng.choice(VALUES),
                    ],
                    {},
                ),
            ),
            (5, self._deep),
        )
        words, files = self.rng.choices(
            [make for _, make in kinds], [weight for weight, _ in kinds]
        )[0]()
        return words + self._maybe("--json"), files

    def _deep(self) -> tuple[list[str], dict[str, str]]:
        """Read and encode rows, up to the model."""
        keys = [
            key
            for key in KEYS
            if key.startswith(("data.", "dataset.", "train.")) and key != "data.cache"
        ]
        words = [
            f"{self.rng.choice(keys)}={self.rng.choice(VALUES)}"
            for _ in range(self.rng.randint(1, 2))
        ]
        return ["run", *DEEP, *words], {}

    def _with_file(self) -> tuple[list[str], dict[str, str]]:
        text = yaml.safe_dump(_nested(self.rng.choice((SHOWN, SEARCHED))), sort_keys=False)
        for _ in range(self.rng.randint(1, 3)):
            text = self._changed_text(text)
        command = self.rng.choice(("show", "sweep", "run"))
        return [
            command,
            "config=c.yaml",
            *self.rng.sample(SHOWN, self.rng.randint(0, 2)),
            "output=blocked",
        ], {"c.yaml": text}

    def _resumed(self) -> tuple[list[str], dict[str, str]]:
        if not self.run_record:
            code, output, _ = attempt(["show", *SHOWN, "--json"])
            assert code == 0, output
            config = {**json.loads(output)["config"], "output": "blocked"}
            config["dataset"] = {**config["dataset"], "name": str(self.folder / "gone.csv")}
            self.run_record = {
                "status": "interrupted",
                "created": 1.0,
                "ftr": "9.9",
                "config": config,
                "components": {},
                "origins": {},
            }
        record = json.loads(json.dumps(self.run_record))
        for _ in range(self.rng.randint(1, 2)):
            self._changed_node(record)
        text = json.dumps(record)
        if self.rng.random() < 0.2:
            text = self._changed_text(text)
        words = [self.rng.choice(SHOWN)] if self.rng.random() < 0.3 else []
        return ["resume", "stopped", *words], {"stopped/run.json": text}

    def _words(self, base: tuple[str, ...]) -> list[str]:
        words = list(base)
        for _ in range(self.rng.randint(1, 3)):
            words = self._changed_words(words)
        return words

    def _changed_words(self, words: list[str]) -> list[str]:
        rng, at = self.rng, self.rng.randrange(len(words)) if words else 0
        key, _, value = words[at].partition("=") if words else ("", "", "")
        choice = rng.randrange(9)
        if choice < 3 or not words:
            return [*words, f"{rng.choice(KEYS)}={rng.choice(VALUES)}"]
        if choice < 6:
            return [*words[:at], f"{key}={rng.choice(VALUES)}", *words[at + 1 :]]
        if choice == 6:
            return [*words[:at], *words[at + 1 :]]
        if choice == 7:
            return [*words, words[at]]
        return [*words[:at], self._changed_text(f"{key}={value}"), *words[at + 1 :]]

    def _changed_text(self, text: str) -> str:
        rng, at = self.rng, self.rng.randrange(len(text) + 1)
        choice = rng.randrange(10)
        if choice == 0:
            return text[:at]
        if choice == 1:
            return text[:at] + text[at + rng.randint(1, 5) :]
        if choice == 2:
            return text + text
        if choice == 3:
            return (
                "a: &a [x,x,x,x,x,x,x,x,x]\n"
                + "".join(
                    f"b{n}: &b{n} [{','.join(['*' + (f'b{n - 1}' if n else 'a')] * 9)}]\n"
                    for n in range(9)
                )
                + text
            )
        if choice == 4:
            return text.replace("\n", rng.choice(("\r\n", "\n\t", "\n  ", "\n- ", " ")))
        if choice == 5:
            return text.replace(
                ": ",
                rng.choice((":", ": [", ": &a ", ": *a ", ": |\n", ": !!str ")),
                rng.randint(1, 3),
            )
        if choice == 6:
            lines = text.split("\n")
            lines.insert(rng.randrange(len(lines) + 1), f"{rng.choice(KEYS)}: {rng.choice(VALUES)}")
            return "\n".join(lines)
        return text[:at] + rng.choice(VALUES) + text[at:]

    def _changed_node(self, node: Any) -> None:
        """Replace, remove or add something somewhere in plain data."""
        rng = self.rng
        while isinstance(node, dict) and node:
            key = rng.choice(list(node))
            if isinstance(node[key], dict) and node[key] and rng.random() < 0.8:
                node = node[key]
                continue
            choice = rng.randrange(4)
            if choice == 0:
                del node[key]
            elif choice == 1:
                node[rng.choice(KEYS)] = self._plain()
            else:
                node[key] = self._plain()
            return

    def _plain(self) -> Any:
        values: tuple[Any, ...] = (
            None,
            True,
            -1,
            0,
            3,
            1e308,
            float("nan"),
            10**30,
            [],
            {},
            [1],
            {"a": 1},
            "***",
            "s3://***@b",
            SECRET,
        )
        return self.rng.choice(
            (
                *values,
                *VALUES[:40],
                self.rng.choice(VALUES).replace("\ud83d", "x").replace("\udcff", "x"),
            )
        )

    def _maybe(self, word: str) -> list[str]:
        return [word] if self.rng.random() < 0.2 else []


SHOWN = (
    *(
        "task=sentiment",
        "dataset=reviews.csv",
        "model=weightless",
        "epochs=2",
        "learning_rate=1e-4",
        "data.limit=20",
    ),
    *("train.lr_scheduler=cosine", "trainer.adam_beta2=0.98", "data.max_length=32"),
)
SEARCHED = (
    *SHOWN[:3],
    "learning_rate=loguniform(1e-5,1e-3)",
    "epochs=choice(1,2)",
    "trials=3",
    "scheduler=asha",
)
DEEP = (
    "task=sentiment",
    "dataset=reviews.csv",
    "model=weightless",
    "baselines=false",
    "output=runs",
    "train.precision=fp32",
)


def fuzz(count: int, seed: int, folder: Path) -> list[Failure]:
    """Try `count` commands and return those that end otherwise than with 0 or 2, say two things, or
    show what must be hidden.
    """
    before, stdin = Path.cwd(), sys.stdin
    os.chdir(folder)
    failures: list[Failure] = []
    try:
        fuzzer = Fuzzer(folder, seed)
        for _ in range(count):
            words, files = fuzzer.command()
            for name, text in files.items():
                path = folder / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
            code, output, errors = attempt(words)
            problem = _problem(code, output, errors, "--json" in words)
            if problem:
                failures.append(Failure(words, files, problem, output + errors))
    finally:
        os.chdir(before)
        sys.stdin = stdin
    return failures


def attempt(words: list[str]) -> tuple[int, str, str]:
    """Run a command line here; return its exit code (-1: it took too long, -2: it raised), and what
    it printed.
    """
    from ftr.cli.main import main

    stdout, stderr = io.StringIO(), io.StringIO()
    sys.stdin = io.StringIO("a text\n")
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), _bounded():
            code = main(words)
    except TimeoutError:
        code = -1
    except Exception as error:
        code = -2
        stderr.write(f"{type(error).__name__}: {error}")
    return code, stdout.getvalue(), stderr.getvalue()


def _problem(code: int, output: str, errors: str, as_json: bool) -> str:
    if code not in (0, 2):
        return f"exit {code}"
    if "Traceback" in errors or errors.count("ftr: error: ") != (code == 2):
        return "not one message"
    if "pydantic" in errors or "Input should" in errors or re.search(r"[^.\s]\.\.(\s|$)", errors):
        return "a message that is none"
    if HARMFUL.search(output + errors):
        return "control characters"
    if as_json:
        try:
            json.loads(output)
        except ValueError:
            return "no JSON"
    return ""


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _nested(words: tuple[str, ...]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        *path, last = key.split(".")
        within = nested
        for part in path:
            within = within.setdefault(part, {})
        within[last] = yaml.safe_load(value)
    return nested


def _checkpoint_without_weights(folder: Path) -> None:
    from ftr.testing.tiny import tiny_checkpoint

    tiny_checkpoint("bert", folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()


def main() -> int:
    """Run the fuzzer for a while and print each kind of failure once, with a command that shows
    it.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        failures = fuzz(args.count, args.seed, Path(folder))
    kinds: dict[str, list[Failure]] = {}
    for failure in failures:
        kinds.setdefault(failure.kind, []).append(failure)
    for kind, found in kinds.items():
        first = min(found, key=lambda failure: len(str(failure.words)))
        sys.stdout.write(
            f"{len(found):5} {kind!a}\n      {str(first.words)[:400]!a} "
            f"{str(first.files)[:600]!a}\n"
        )
    sys.stdout.write(
        f"{args.count} commands, {len(failures)} failures of {len(kinds)} kinds, "
        f"{time.monotonic() - began:.0f} s\n"
    )
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
