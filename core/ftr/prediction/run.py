"""`ftr predict` as a whole: an input, block by block, to standard output or to a file."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ftr.data.columns import ID
from ftr.data.stream import Reader
from ftr.errors import DataError, RequestError, counted
from ftr.prediction.blocks import Block, Options, answer, blocks, is_error, prediction_keys
from ftr.prediction.job import Job, same_input
from ftr.prediction.outputs import Layout, encode, header
from ftr.progress import ProgressLine, clock
from ftr.terminal import show

if TYPE_CHECKING:
    from ftr.runs.predictor import Predictor

Records = list[dict[str, Any]]


@dataclass(slots=True)
class Prediction:
    """One pass over an input. `rows`, `errors` and `abstained` count what was written."""

    reader: Reader
    predictor: Predictor
    options: Options
    progress: ProgressLine
    rows: int = 0
    errors: int = 0
    abstained: int = 0
    _shown: int = 0
    _began: float = field(default_factory=time.monotonic)
    _skipped: tuple[int, float] = (0, 0.0)

    def records(self) -> Iterator[Records]:
        """Yield the records of each block."""
        for block in self._checked(blocks(self.reader)):
            yield self._answer(block)
        self._close()

    def to_file(self, job: Job) -> list[str]:
        """Write all records to a file; return notes. Blocks that a job has already are skipped."""
        if job.memo:
            self._use(tuple(job.memo["reserved"]))
        for part in job.parts:
            self._count(part.rows, part.errors, part.abstained)
        found = blocks(self.reader)
        number = 0
        for part in list(job.parts):
            block = next(found, None)
            lines = block.lines if block else ()
            same_input(number, part, len(lines), block.digest() if block else "")
            number += len(lines)
        self._skipped = (self.rows, self.reader.source.share or 0.0)
        self._began = time.monotonic()
        for block in found if job.memo else self._checked(found):
            if not job.memo:
                job.remember({"reserved": self.options.reserved})
            job.add(self._answer(block), block.digest(), self.options.types(block))
        self._close()
        return job.finish()

    def to_stream(self, form: str, write: Callable[[bytes], object]) -> None:
        """Write all records as JSONL, CSV or TSV, as they come. Raises `DataError` for a column
        that comes too late for the header.
        """
        layout = Layout(self.options.top_k)
        columns: list[str] = []
        for records in self.records():
            rows = layout.flat(records) if form != "jsonl" else records
            if not columns and form != "jsonl":
                columns = list(layout.columns)
                write(header(form, columns))
            if form != "jsonl" and columns != layout.columns:
                late = next(name for name in layout.columns if name not in columns)
                raise DataError(
                    f"column `{late}` is not in the first rows, so the header lacks it: write to a "
                    "file with `--output`, or choose columns with `--columns`."
                )
            write(encode(rows, form, columns))

    def squad(self) -> dict[str, Any]:
        """Return the answer of each question by its id. Raises `RequestError` for other heads."""
        answers: dict[str, Any] = {}
        seen: dict[str, bytes] = {}
        for block in self._checked(blocks(self.reader)):
            for record in self._answer(_without_copies(block, self.reader, seen)):
                if is_error(record):
                    continue
                if "answer" not in record:
                    raise RequestError(
                        "`--format squad` is for question answering; head "
                        f"`{self.predictor.card.head}` predicts {', '.join(record)}."
                    )
                answers[str(record[ID.name])] = record["answer"]
        self._close()
        return answers

    def _checked(self, found: Iterator[Block]) -> Iterator[Block]:
        """Yield blocks, after the first one told the keys of predictions.

        Raises `DataError` where none of its rows can be used, and there are more.
        """
        first = next(found, None)
        if first is None:
            return
        keys = prediction_keys(first, self.predictor, self.options)
        second = next(found, None) if keys is None else None
        if second is not None:
            raise DataError(unusable(first, self.predictor))
        self._use(keys or (ID.name,))
        yield first
        yield from found

    def _use(self, reserved: tuple[str, ...]) -> None:
        self.options = replace(self.options, reserved=reserved)

    def _answer(self, block: Block) -> Records:
        notes = self.reader.notes
        found = check_columns(block, self.options, self.reader.source.shown)
        notes += [note for note in found if note not in notes]
        self._tell()
        before = self.rows
        records = answer(
            block, self.predictor, self.options, lambda done: self._progress(before + done)
        )
        self._count(
            len(records),
            sum(map(is_error, records)),
            sum(one.get("abstained") is True for one in records),
        )
        return records

    def _tell(self) -> None:
        """Print the notes of the reader that are new."""
        for note in self.reader.notes[self._shown :]:
            self.progress.clear()
            show(note)
        self._shown = len(self.reader.notes)

    def _count(self, rows: int, errors: int, abstained: int) -> None:
        self.rows += rows
        self.errors += errors
        self.abstained += abstained

    def _progress(self, rows: int) -> None:
        seconds = time.monotonic() - self._began
        known, start = self._skipped
        speed = (rows - known) / max(seconds, 1e-9)
        text = f"{counted(rows, 'row', ',')} · {speed:,.0f} rows/s"
        share = self.reader.source.share
        if share is not None and share > start:
            left = seconds * (1 - share) / (share - start)
            text += f" · {share:.0%} read · about {clock(left)} left"
        self.progress.update(text, share)

    def _close(self) -> None:
        self._tell()
        self.progress.clear()


def check_columns(block: Block, options: Options, shown: str) -> list[str]:
    """Return notes on columns of the input that are renamed, for others of the output have their
    names: of the first block, and of a later one that brings such a column.

    Raises `RequestError` for a column to keep that the input, `shown` in the message, lacks.
    """
    for name in options.columns or ():
        if name not in block.columns:
            has = ", ".join(f"`{column}`" for column in block.columns)
            raise RequestError(f"`--columns`: {shown} has no column `{name}`. It has {has}.")
    known = set(block.columns[: block.known]) if block.number else set[str]()
    renamed = {
        name: new for name, new in options.kept(block).items() if name != new and name not in known
    }
    names = ", ".join(f"`{name}` is `{new}`" for name, new in renamed.items())
    note = f"columns of the input with the name of one of the output are renamed: {names}"
    return [note] if renamed else []


def unusable(block: Block, predictor: Predictor) -> str:
    """Return a message for a block of which no row can be used."""
    causes = Counter[str]()
    places: dict[str, str] = {}
    for record in answer(block, predictor, Options(columns=())):
        causes[record["error"]] += 1
        places.setdefault(record["error"], record["place"])
    listed = "; ".join(
        f"{cause}: {count}, first `{places[cause]}`" for cause, count in causes.most_common(3)
    )
    return (
        f"none of the first {len(block.lines)} rows can be used ({listed}). Correct the file, or "
        "name its columns, for example `dataset.text=COLUMN`"
    )


def _without_copies(block: Block, reader: Reader, seen: dict[str, bytes]) -> Block:
    """Return a block in which a row with the id of another row cannot be used.

    A file with a row for each answer asks the same question again: that is no other row.
    """
    read = {column.name for column in reader.schema.columns if not column.target}
    lines = []
    for line in block.lines:
        asked = {name: cell for name, cell in line.row.items() if name in read}
        digest = hashlib.blake2b(
            json.dumps(asked, default=str, sort_keys=True).encode(), digest_size=16
        ).digest()
        known = seen.setdefault(str(line.row[ID.name]), digest) if not line.cause else digest
        lines.append(line if known == digest else replace(line, cause="duplicate id"))
    return replace(block, lines=tuple(lines))
