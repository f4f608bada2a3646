"""Mutated Parquet, Arrow and packed files, folders of `save_to_disk` and shards: each must be read,
or refused in one sentence, and every row accounted for; no library may end the process.

    python tests/fuzz/binary_files.py 10000 [SEED] [FOLDER]

Failing files are kept in FOLDER.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import lzma
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from fuzz.files import check, described, mutated

Files = Mapping[str, bytes]
"""Paths below a folder, with their content. One alone is given by itself, several as a folder."""

MEMORY = 12 * 2**30
"""Bytes of addresses that a process may take: a broken length must not fill the machine."""
LONGEST = 60
"""Seconds after which a process is ended, which counts as a failure."""
ODD_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 255, 65_536)
PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
COLUMNS: tuple[Callable[[list[int]], pa.Array], ...] = (
    lambda rows: pa.array([["neg", "pos"][n % 2] for n in rows]),
    lambda rows: pa.array([["neg", "pos"][n % 2] for n in rows]).dictionary_encode(),
    lambda rows: pa.array([["neg", "pos"][n % 2] for n in rows], pa.large_string()),
    lambda rows: pa.array([f"{n}".encode() for n in rows], pa.binary()),
    lambda rows: pa.array([n % 2 for n in rows], pa.int8()),
    lambda rows: pa.array([n % 3 / 2 for n in rows], pa.float32()),
    lambda rows: pa.array([n % 2 == 0 for n in rows]),
    lambda rows: pa.array([None if n % 2 else n for n in rows], pa.int64()),
    lambda rows: pa.nulls(len(rows)),
    lambda rows: pa.array([Decimal(n) / 4 for n in rows], pa.decimal128(12, 3)),
    lambda rows: pa.array([date(2026, 1, 1 + n % 28) for n in rows]),
    lambda rows: pa.array([datetime(2026, 1, 1, n % 24) for n in rows], pa.timestamp("ns")),
    lambda rows: pa.array([timedelta(seconds=n) for n in rows], pa.duration("us")),
    lambda rows: pa.array([["a", "b"][: n % 3] for n in rows], pa.list_(pa.string())),
    lambda rows: pa.array([[n, None] for n in rows], pa.large_list(pa.int32())),
    lambda rows: pa.array([[n, n] for n in rows], pa.list_(pa.int64(), 2)),
    lambda rows: pa.array([{"text": [str(n)], "answer_start": [n]} for n in rows]),
    lambda rows: pa.array([[("k", n)] for n in rows], pa.map_(pa.string(), pa.int64())),
)


def _table(rng: random.Random) -> pa.Table:
    rows = list(range(rng.choice([0, 1, 4, 9, 40, 40])))
    texts = pa.array([f"the film number {n} was {'good' if n % 2 else 'bad'}" for n in rows])
    if rng.random() < 0.3:
        broken = [b"\xff\xfe" if rng.random() < 0.2 else f"film {n}".encode() for n in rows]
        texts = pa.array(broken, pa.binary()).view(pa.string())
    columns = {"text": texts, "label": rng.choice(COLUMNS[: rng.choice([6, len(COLUMNS)])])(rows)}
    names = ["id", "context", "question", "answers", "tokens", "tags", "labels", "x"]
    for name in rng.sample(names, rng.randint(0, 3)):
        columns[name] = rng.choice(COLUMNS)(rows)
    return pa.table(columns).replace_schema_metadata(_features(rng))


def _features(rng: random.Random) -> dict[str, str] | None:
    """Return what `datasets` stores of the types: a column of classes, whatever it really has."""
    if rng.random() < 0.6:
        return None
    names: Any = rng.choice([["neg", "pos"], [], ["a"], None, 7, [None, 1], "np", {"0": "a"}])
    feature: Any = {"names": names, "_type": "ClassLabel"}
    feature = rng.choice([feature, [feature], {"feature": feature, "_type": "Sequence"}, None, 3])
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": feature}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def _parquet(rng: random.Random, table: pa.Table | None = None) -> Files:
    sink = io.BytesIO()
    parquet.write_table(
        _table(rng) if table is None else table,
        sink,
        row_group_size=rng.choice([None, 1, 3]),
        compression=rng.choice(["none", "snappy", "gzip", "zstd", "lz4", "brotli"]),
        use_dictionary=rng.random() < 0.5,
        data_page_version=rng.choice(["1.0", "2.0"]),
        store_schema=rng.random() < 0.7,
    )
    return {"a.parquet": sink.getvalue()}


def _arrow(rng: random.Random) -> Files:
    table, sink = _table(rng), io.BytesIO()
    opened = rng.choice([pa.ipc.new_file, pa.ipc.new_stream])
    options = pa.ipc.IpcWriteOptions(compression=rng.choice([None, None, "lz4", "zstd"]))
    with opened(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rng.choice([None, 1, 3]))
    return {rng.choice(["a.arrow", "a.feather"]): sink.getvalue()}


def _saved(rng: random.Random) -> Files:
    (content,) = _arrow(rng).values()
    features = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
    split = {
        "data-00000-of-00001.arrow": content,
        "state.json": b'{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}',
        "dataset_info.json": json.dumps({"features": features}).encode(),
    }
    if rng.random() < 0.5:
        return split
    return {
        "dataset_dict.json": b'{"splits": ["train", "test"]}',
        **{f"{name}/{file}": data for name in ("train", "test") for file, data in split.items()},
    }


def _packed(rng: random.Random) -> Files:
    ((name, content),) = rng.choice([_parquet, _arrow, _csv])(rng).items()
    for _ in range(rng.choice([1, 1, 1, 2])):
        kind = rng.choice(["gz", "bz2", "xz", "zip"])
        if kind == "zip":
            sink = io.BytesIO()
            with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(name, content)
                if rng.random() < 0.2:
                    archive.writestr("__MACOSX/._a", b"x")
            content = sink.getvalue()
        else:
            content = PACKERS[kind](content)
        name = f"{name}.{kind}"
    return {name: content}


def _csv(rng: random.Random) -> Files:
    rows = [f"film {n},{n % 2}" for n in range(rng.choice([0, 2, 9]))]
    return {"a.csv": "\n".join(["text,label", *rows]).encode()}


def _shards(rng: random.Random) -> Files:
    make, count = rng.choice([_parquet, _arrow, _csv]), rng.randint(2, 3)
    name = rng.choice(["train-{n:05}-of-{t:05}", "part-{n:05}", "train/part-{n:05}-x.c000"])
    table = _table(rng)
    parts = [_parquet(rng, table) if make is _parquet else make(rng) for _ in range(count)]
    return {
        f"{name.format(n=n, t=count)}{Path(next(iter(part))).suffix}": next(iter(part.values()))
        for n, part in enumerate(parts)
    }


KINDS = (_parquet, _parquet, _arrow, _arrow, _saved, _packed, _shards)


def one(rng: random.Random, seeds: list[Files]) -> Files:
    """Return mutated files."""
    made = rng.choice(seeds) if seeds and rng.random() < 0.15 else rng.choice(KINDS)(rng)
    files = dict(made)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
        name = rng.choice(sorted(files))
        files[name] = rng.choice([mutated, _number_changed])(files[name], rng)
    return files


def _number_changed(content: bytes, rng: random.Random) -> bytes:
    """Replace four bytes, which may be a length or an offset, or flip a bit."""
    if len(content) < 4:
        return content
    at = rng.randrange(len(content) - 3)
    if rng.random() < 0.5:
        number = rng.choice(ODD_NUMBERS)
        return content[:at] + struct.pack("<i", max(number, -(2**31))) + content[at + 4 :]
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def cases(folder: Path) -> list[Files]:
    """Return the small binary files below a folder as seeds."""
    endings = {".parquet", ".arrow", ".zip", ".gz"}
    return [
        {path.name: path.read_bytes()}
        for path in sorted(folder.rglob("*"))
        if path.suffix in endings and path.stat().st_size < 2**17
    ]


def write(files: Files, folder: Path) -> Path:
    """Write the files below a new folder; return the path to give."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / next(iter(files)) if len(files) == 1 else folder


def run(
    count: int, seed: int, keep: Path | None = None, say: Callable[[str], None] = lambda line: None
) -> dict[str, str]:
    """Check `count` files in processes of their own; returns each distinct failure with the number
    of the first file that shows it.
    """
    seeds = cases(Path(os.environ.get("FTR_CASES", "../shared/cases")))
    failures: dict[str, str] = {}
    outcomes: Counter[str] = Counter()
    number = 0
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log"
        while number < count:
            work = functools.partial(_checked, range(number, count), seed, seeds, log)
            status = _in_child(work)
            for line in log.read_text(encoding="utf-8").splitlines():
                number, outcome, failure, first = json.loads(line)
                if outcome:
                    outcomes[outcome] += 1
                if failure and failure not in failures:
                    failures[failure] = f"file {number}: {first}"
                    _keep(number, seed, seeds, keep)
            number += 1
            if status:
                failures.setdefault(f"ended by {status}", f"file {number}")
                _keep(number, seed, seeds, keep)
                number += 1
            log.unlink()
    say(f"{count} files: {dict(outcomes)}")
    return failures


def _in_child(work: Callable[[], None]) -> str:
    """Run `work` in a process of its own; return the signal that ended it, or nothing."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return signal.Signals(-status).name if status < 0 else f"exit code {status}" if status else ""


def _checked(numbers: range, seed: int, seeds: list[Files], log: Path) -> None:
    """Check files, and write a line on each to `log` at once."""
    with log.open("w", encoding="utf-8", buffering=1) as stream:
        stream.write(json.dumps([numbers.start - 1, "", "", ""]) + "\n")
        for number in numbers:
            files = one(random.Random(f"{seed}-{number}"), seeds)
            signal.alarm(LONGEST)
            with tempfile.TemporaryDirectory() as folder:
                outcome, failure, first = "failed", "", ""
                try:
                    outcome = check(write(files, Path(folder)))
                except Exception as error:  # whatever escapes is what is looked for
                    failure, first = described(error)
            record = [number, outcome, failure, f"({', '.join(files)}): {first}"]
            stream.write(json.dumps(record) + "\n")


def _keep(number: int, seed: int, seeds: list[Files], folder: Path | None) -> None:
    if folder is not None:
        write(one(random.Random(f"{seed}-{number}"), seeds), folder / f"{seed}-{number}")


if __name__ == "__main__":
    kept = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    found = run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, kept, print)
    for kind, first_file in found.items():
        print(f"{kind}\n    {first_file}")
    sys.exit(bool(found))
