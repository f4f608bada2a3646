"""Mutated data files: each must be read, or refused in one sentence, and every row accounted for.

Usage: `python tests/fuzz/files.py 10000 [SEED]`.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import random
import re
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftr.config.schema import DataConfig
from ftr.data.infer import infer, tasks_of
from ftr.data.prepare import prepare_rows
from ftr.data.read import load_rows
from ftr.errors import RequestError
from ftr.registry.registry import Registry, get_registry
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from ftr_plugins.multi_label.head import MultiLabelHead
from ftr_plugins.token_classification.head import TokenClassificationHead
from readers import unlabelled

HEADS: tuple[Any, ...] = (
    SequenceClassificationHead(),
    ExtractiveQAHead(),
    MultiLabelHead(),
    TokenClassificationHead(),
)
SLOW = 20.0
"""Seconds of processor time that reading one small file may take."""
PLACE = re.compile(r".+:.+|.+\[\d+\].*", re.DOTALL)
ALL = DataConfig(validation_size=0, test_size=0, max_invalid=1.0)
ODD = [
    "",
    "é",
    "\ud83d",
    "\x00",
    '"',
    "\n",
    "\r",
    "\t",
    ",",
    ";",
    "1.0",
    "True",
    "nan",
    "null",
    "[]",
    "{}",
    "['a']",
    "-1",
    "\u2028",
]
ODD += ["9" * 5000, "[" * 100_000, "[" * 2000 + "]" * 2000]
ODD_JSON: list[object] = [
    None,
    True,
    1.5,
    -1,
    float("nan"),
    float("inf"),
    [],
    {},
    ["a"],
    {"a": 1},
    [[1]],
    "\ud83d",
    10**400,
    "",
]


def one(rng: random.Random) -> tuple[str, bytes]:
    """Return the name and the content of a mutated file."""
    name, content = rng.choice(KINDS)(rng)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 5])):
        content = mutated(content, rng)
    return name, content


def check(path: Path) -> str:
    """Read a file or folder with the built-in heads, and to be predicted, and infer its task;
    returns what came out.

    Raises `AssertionError`, or what escaped.
    """
    began = time.process_time()
    seen = []
    with contextlib.suppress(RequestError):
        assert infer(str(path), {}, tasks_of(get_registry()), path.name, str(path)).why
    for head in HEADS:
        try:
            loaded = load_rows(str(path), {}, Registry([]), head.schema)
            prepared = prepare_rows(loaded, head, ALL)
            report = prepared.report["splits"]
            assert isinstance(report, dict)
            for split in prepared.splits:
                lost = sum(item.split == split for item in prepared.rejected)
                lost += report[split].get("answers", {}).get("rows joined", 0)
                assert report[split]["read"] == report[split]["used"] + lost, (
                    f"{report[split]}, {lost} rejected or joined"
                )
            rejected = prepared.rejected
            json.dumps(
                [item.record() for item in rejected], ensure_ascii=False, default=str
            ).encode()
            "\n".join(prepared.notes + loaded.notes).encode()
            seen.append("read")
        except RequestError as error:
            _said(error)
            rejected = list(getattr(error, "rejected", ()))
            seen.append("refused")
        assert all(PLACE.fullmatch(item.place) and item.cause for item in rejected)
        try:
            rows = unlabelled(path, head.schema, check=head.check)
            assert all(PLACE.fullmatch(place) and cause for place, cause, _ in rows.rejected)
            assert len(rows.ids) == len(rows.rows) + len(rows.rejected)
        except RequestError as error:
            _said(error)
    assert time.process_time() - began < SLOW, f"{time.process_time() - began:.1f} s"
    return "+".join(seen)


def _said(error: RequestError) -> None:
    assert str(error) and error.exit_code == 2


def run(count: int, seed: int, say: Callable[[str], None] = lambda line: None) -> dict[str, str]:
    """Check `count` files; returns each distinct failure with the number of the first file that
    shows it.
    """
    failures: dict[str, str] = {}
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            name, content = one(random.Random(f"{seed}-{number}"))
            path = Path(folder) / name
            path.write_bytes(content)
            try:
                outcomes[check(path)] += 1
            except Exception as error:  # whatever escapes is what is looked for
                failure, first = described(error)
                failures.setdefault(failure, f"file {number} ({name}): {first}")
            path.unlink()
    say(f"{count} files: {dict(outcomes)}")
    return failures


def described(error: Exception) -> tuple[str, str]:
    """Return the kind of an error with the places that it came from, and its message."""
    frames, trace = [], error.__traceback__
    while trace:
        frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__} at {' '.join(frames[-3:])}", str(error)[:150]


def _rows(rng: random.Random) -> list[dict[str, object]]:
    texts = [
        f"the film number {n} was {'good' if n % 2 else 'bad'}" for n in range(rng.randint(2, 12))
    ]
    return [
        {"id": f"r{n}", "text": text, "label": ["neg", "pos"][n % 2]}
        for n, text in enumerate(texts)
    ]


def _odd_rows(rng: random.Random, odd: list[object]) -> list[dict[str, object]]:
    rows = _rows(rng)
    for _ in range(rng.randint(0, 3)):
        rng.choice(rows)[rng.choice(["id", "text", "label"])] = rng.choice(odd)
    return rows


def _csv(rng: random.Random) -> tuple[str, bytes]:
    mark, ending = rng.choice(
        [(",", "csv"), (";", "csv"), ("\t", "tsv"), ("|", "csv"), (",", "txt")]
    )
    rows = [mark.join(str(cell) for cell in row.values()) for row in _odd_rows(rng, list(ODD))]
    top = rng.choice(
        [
            [mark.join(["id", "text", "label"])],
            [],
            [f"sep={mark}", mark.join(["id", "text", "label"])],
        ]
    )
    return f"a.{ending}", rng.choice(["\n", "\r\n"]).join([*top, *rows]).encode(
        rng.choice(["utf-8"] * 9 + ["utf-16"]), "replace"
    )


def _json(rng: random.Random) -> tuple[str, bytes]:
    return "a.json", json.dumps(_odd_rows(rng, ODD_JSON)).encode()


def _jsonl(rng: random.Random) -> tuple[str, bytes]:
    return "a.jsonl", "\n".join(json.dumps(row) for row in _odd_rows(rng, ODD_JSON)).encode()


def _squad(rng: random.Random) -> tuple[str, bytes]:
    context = "Ada built a mill in Oslo in 1803."
    qas: list[dict[str, object]] = [
        {
            "id": f"q{n}",
            "question": "Who built it?",
            "is_impossible": False,
            "answers": [{"text": "Ada", "answer_start": 0}],
        }
        for n in range(5)
    ]
    for _ in range(rng.randint(0, 3)):
        rng.choice(qas)[rng.choice(["id", "question", "is_impossible", "answers"])] = rng.choice(
            ODD_JSON
        )
    return "a.json", json.dumps(
        {"version": "2", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]}
    ).encode()


def _parquet(rng: random.Random) -> tuple[str, bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    rows = _rows(rng)
    columns = {
        name: pa.array([str(row[name]).encode() for row in rows], pa.binary())
        for name in ("id", "text", "label")
    }
    if rng.random() < 0.5:
        broken = [b"\xff\xfe" if rng.random() < 0.2 else str(row["text"]).encode() for row in rows]
        columns["text"] = pa.array(broken, pa.binary()).view(pa.string())
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return "a.parquet", sink.getvalue()


def _text(rng: random.Random) -> tuple[str, bytes]:
    form = rng.choice(["{l} {t}", "{t}\t{l}", "{t}@{l}", "__label__{l} {t}", "{t}\tO\n\n{t}\tB-X"])
    return rng.choice(["a.txt", "a.conll"]), "\n".join(
        form.format(t=row["text"], l=row["label"]) for row in _rows(rng)
    ).encode()


def _flags(rng: random.Random) -> tuple[str, bytes]:
    """Return a file with several columns of 0/1, some cells of which are something else."""
    rows = [
        {"text": row["text"], **{name: rng.choice([0, 1]) for name in "abcd"}} for row in _rows(rng)
    ]
    for _ in range(rng.randint(0, 2)):
        rng.choice(rows)[rng.choice("abcd")] = rng.choice(ODD_JSON)
    if rng.random() < 0.5:
        return "a.jsonl", "\n".join(map(json.dumps, rows)).encode()
    lines = [",".join(str(cell) for cell in row.values()) for row in rows]
    return "a.csv", "\n".join(["text,a,b,c,d", *lines]).encode("utf-8", "replace")


def _lists(rng: random.Random) -> tuple[str, bytes]:
    """Return a file of lists: of labels, or of words and their tags."""
    names = rng.choice([("text", "labels"), ("tokens", "tags")])
    rows: list[dict[str, object]] = []
    for row in _rows(rng):
        words = str(row["text"]).split()
        tags = rng.choices(["O", "B-X", "a b"], k=len(words))
        cells: list[object] = [row["text"] if names[0] == "text" else words, tags]
        if rng.random() < 0.3:
            mark = rng.choice(["; ", "|", ",", " "])
            cells = [row["text"], mark.join(tags)]
        rows.append(dict(zip(names, cells, strict=True)))
    for _ in range(rng.randint(0, 2)):
        rng.choice(rows)[rng.choice(names)] = rng.choice(ODD_JSON)
    return "a.jsonl", "\n".join(map(json.dumps, rows)).encode()


def _packed(rng: random.Random) -> tuple[str, bytes]:
    name, content = rng.choice([_csv, _json, _jsonl])(rng)
    how = rng.choice(["gz", "bz2", "zip"])
    if how == "zip":
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        return f"{name}.zip", sink.getvalue()
    return f"{name}.{how}", gzip.compress(content) if how == "gz" else bz2.compress(content)


def mutated(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    to = min(len(content), at + rng.randint(1, 8))
    what = rng.randrange(5)
    if what == 0:
        return content[:at]
    if what == 1:
        return content[:at] + content[to:]
    if what == 2:
        return content[:at] + rng.randbytes(to - at) + content[to:]
    if what == 3:
        return content[:at] + rng.choice(ODD).encode("utf-8", "surrogatepass") + content[at:]
    return content[:to] + content[at:]


KINDS = (_csv, _csv, _json, _jsonl, _squad, _parquet, _text, _flags, _lists, _packed)

if __name__ == "__main__":
    found = run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, print)
    for failure, first in found.items():
        print(f"{failure}\n    {first}")
    sys.exit(bool(found))
