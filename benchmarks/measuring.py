"""What the benchmarks of sweeps share: rows, a tiny checkpoint, processes of their own, and what
these hold in memory.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from throughput import HERE, sst2_rows

SLOTS = 2
POSITIONS = 128
WORDS = (
    "the",
    "film",
    "was",
    "and",
    "story",
    "with",
    "very",
    "good",
    "bad",
    "great",
    "poor",
    "long",
    "short",
    "funny",
    "boring",
)
Event = dict[str, Any]


def write_rows(folder: Path, data: Path | None, train: int, validation: int) -> dict[str, Path]:
    """Write the first rows of SST-2 under `data`, or made-up ones where that is None, and return
    the file of each split.
    """
    files = {}
    for split, count in (("train", train), ("validation", validation)):
        rows = list(islice(made_up(split) if data is None else sst2_rows(data, split), count))
        if len(rows) < count:
            sys.exit(f"`{data}` has {len(rows)} rows of {split}, {count} are asked for")
        files[split] = folder / f"{split}.jsonl"
        files[split].write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
    return files


def made_up(split: str) -> Iterator[Event]:
    """Yield sentences of 3 to 30 words without meaning, of two labels in turn."""
    draw = random.Random(split)
    number = 0
    while True:
        yield {
            "id": f"{split}-{number}",
            "text": " ".join(draw.choices(WORDS, k=draw.randint(3, 30))),
            "label": number % 2,
        }
        number += 1


def tiny_checkpoint(folder: Path) -> Path:
    """Save a BERT of two layers, 32 wide, with random weights and a vocabulary of letters, and
    return its folder.
    """
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{letter}" for letter in letters),
        *WORDS,
    ]
    tokenizer = BertTokenizer(
        vocab={piece: place for place, piece in enumerate(pieces)}, model_max_length=POSITIONS
    )
    size = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    torch.manual_seed(0)
    BertModel(
        BertConfig(vocab_size=len(pieces), max_position_embeddings=POSITIONS, **size)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def begin(words: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Start Python with `words`, its caches and scratch in `folder`, its stderr in
    `folder/log.txt`.
    """
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    # Ray's sockets need a short path; how many threads a trial has is for each side to say.
    own = {
        "FTR_PLUGINS": "",
        "TMPDIR": str(scratch),
        "RAY_TMPDIR": os.environ.get("RAY_TMPDIR", tempfile.gettempdir()),
    }
    caches = {"FTR_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets")}
    inherited = {
        key: value
        for key, value in os.environ.items()
        if key not in ("OMP_NUM_THREADS", "RAY_ADDRESS")
    }
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(
            [sys.executable, *words],
            env={**inherited, **own, **caches},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def finished(process: subprocess.Popen[str], folder: Path) -> str:
    """Wait for a process of `begin` and return its stdout.

    Stops with the end of its log when it failed.
    """
    answer, _ = process.communicate()
    if process.returncode:
        log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        sys.exit(
            f"{process.args!r}\nended with {process.returncode}:\n{log[-4000:]}{answer[-1000:]}"
        )
    return answer


def memory(pid: int) -> int:
    """Return the bytes a process holds, its share of what it has in common with others (PSS); 0 for
    one that is gone.
    """
    try:
        found = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(found, "pss", found.rss))


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all it started, Ray's processes included."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


@dataclass(slots=True)
class Peak:
    """The most memory a process and all it started held at once, looked at every second in a
    thread.
    """

    pid: int
    bytes: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Peak":
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(1):
            self.bytes = max(self.bytes, sum(memory(process.pid) for process in family(self.pid)))


@dataclass(slots=True)
class Journal:
    """The journal of the one sweep under `output`, read as it grows."""

    output: Path
    _read: int = 0

    @property
    def sweep(self) -> Path:
        """The directory of the sweep."""
        return next(self.output.glob("*-sweep-*"))

    def new(self) -> list[Event]:
        """Return the events since the last call."""
        path = next(self.output.glob("*-sweep-*/journal.jsonl"), None)
        if path is None:
            return []
        with path.open("rb") as stream:
            stream.seek(self._read)
            whole, _, _ = stream.read().rpartition(b"\n")
        self._read += len(whole) + 1 if whole else 0
        return [json.loads(line) for line in whole.splitlines()]

    def follow(self, process: subprocess.Popen[str]) -> Iterator[Event]:
        """Yield events as they come, until `process` has ended."""
        while True:
            alive = process.poll() is None
            yield from self.new()
            if not alive:
                return
            time.sleep(0.01)


def data_folder() -> Path:
    """Return where the real data lies unless told otherwise."""
    return Path(os.environ.get("FTR_DATA", HERE.parent.parent / "shared" / "data"))
