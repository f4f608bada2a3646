"""Rows that were left out, as files: those of a run, and those of data that was refused because of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftr import atomic
from ftr.data.rows import RejectedRowsError
from ftr.errors import RunError

if TYPE_CHECKING:
    from ftr.data.rows import Rejected

REJECTED = "rejected.jsonl"
REFUSED = "refused-rows.jsonl"
"""In the output directory: the rows for which the data of the last run or evaluation was refused."""


def write_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    """Write one JSON object for each row: `place`, `split`, `cause` and the `row` as it was read."""
    atomic.write_lines(path, [item.record() for item in rejected])


@contextlib.contextmanager
def refused_rows_kept(folder: Path) -> Iterator[None]:
    """Write the rows of a `RejectedRowsError` that is raised within to `folder`, and raise it again with the name of the file."""
    try:
        yield
    except RejectedRowsError as error:
        try:
            write_rejected(folder / REFUSED, error.rejected)
        except RunError:
            raise error from None  # the folder cannot be written: the causes are in the message
        message = f"{error}. All {len(error.rejected)} rows are in `{folder / REFUSED}`"
        raise RejectedRowsError(message, error.rejected) from None
