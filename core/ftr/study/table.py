"""The live table of a sweep."""

from __future__ import annotations

import json
import os
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from ftr.runs.report import decimals, number
from ftr.study.trials import Entry, Status, SweepState, Trial, rank
from ftr.terminal import show, visible
from ftr.train.progress import clock

REFRESH_SECONDS = 0.5
FALLBACK = os.terminal_size((100, 24))
LONGEST_VALUE = 20
GAP = "  "
STATES: tuple[Status, ...] = ("running", "done", "stopped", "failed", "pending")


def table_lines(state: SweepState, primary: str, mode: str, width: int, height: int) -> list[str]:
    """Return at most `height` lines of at most `width` columns: how the sweep stands, and its
    trials with the best one marked `*`.

    Where there are more trials than lines, those that run and the best ones are shown. Where there
    is too little width, parameters are left out, the last ones first.
    """
    entries = rank(state.trials.values(), mode)
    order = [
        state.trials[number]
        for number in dict.fromkeys(n for entry in entries for n in (entry.trial, *entry.trials))
    ]
    footer = _last_failure(order)
    lines = [_summary(order, entries, primary)]
    room = height - len(lines) - len(footer) - 1
    if order and room > 0:
        shown = _chosen(order, room if len(order) <= room else room - 1)
        lines += _grid(shown, order, primary, width)
        if len(shown) < len(order):
            lines.append(f"… {len(order) - len(shown)} more")
    return [_cut(line, width) for line in (*lines, *footer)][:height]


@dataclass(slots=True)
class LiveTable:
    """The table on stderr while a sweep runs.

    `update` redraws it on a terminal; `event` prints a line where there is none.
    """

    primary: str
    mode: str
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    enabled: bool = True
    _drawn: list[str] = field(default_factory=list)
    _state: SweepState | None = None
    _next: float = 0.0

    @property
    def live(self) -> bool:
        """Whether the stream is a terminal whose cursor can be moved."""
        return self.enabled and self.stream.isatty() and os.environ.get("TERM") != "dumb"

    def update(self, state: SweepState) -> None:
        """Redraw the table if it is time to."""
        self._state = state
        now = time.monotonic()
        if self.live and now >= self._next:
            self._draw(self._lines(state))
            done = time.monotonic()
            # Ranking ten thousand trials takes its time; the table never takes more than a
            # twentieth of the driver's.
            self._next = done + max(REFRESH_SECONDS, 20 * (done - now))

    def event(self, text: str) -> None:
        """Print what the table shows by itself, where there is no table."""
        if self.enabled and not self.live:
            show(text, self.stream)

    def say(self, text: str) -> None:
        """Print a line that stays, above the table."""
        if self.live:
            drawn = self._drawn
            self._draw([])
            show(text, self.stream)
            self._draw(drawn)
        else:
            self.event(text)

    def close(self) -> None:
        """Draw the table a last time; it stays."""
        if self.live and self._state is not None:
            self._draw(self._lines(self._state))
        self._drawn, self._state = [], None

    def _lines(self, state: SweepState) -> list[str]:
        columns, lines = self._size()
        # A line that wraps, or a table taller than the terminal, could not be redrawn in place.
        return table_lines(state, self.primary, self.mode, columns - 1, lines - 1)

    def _draw(self, lines: list[str]) -> None:
        """Rewrite line by line rather than clear all: a cleared table flickers."""
        up = f"\x1b[{len(self._drawn)}A" if self._drawn else ""
        self.stream.write(
            "".join([up, "\r", *(f"{visible(line)}\x1b[K\n" for line in lines), "\x1b[J"])
        )
        self.stream.flush()
        self._drawn = lines

    def _size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self.stream.fileno())
        except OSError:
            return FALLBACK
        return size if size.columns and size.lines else FALLBACK


def short_value(value: Any) -> str:
    """Return a value as it stands in the table: two to three digits of a number, the start of a
    text.
    """
    if isinstance(value, float):
        return (
            f"{value:.2g}"
            if 0 < abs(value) < 1e-3
            else f"{value:.3g}"
            if abs(value) < 1000
            else f"{value:.6g}"
        )
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _cut(_plain(text), LONGEST_VALUE)


def _summary(order: Sequence[Trial], entries: Sequence[Entry], primary: str) -> str:
    counts = Counter(trial.status for trial in order)
    parts = [
        f"{len(order)} trial{'' if len(order) == 1 else 's'}",
        *(f"{counts[status]} {status}" for status in STATES if counts[status]),
    ]
    best = entries[0] if entries else None
    if best is not None and best.value is not None:
        which = (
            f"mean of {best.counted}, best of them trial {best.trial}"
            if best.counted > 1
            else f"trial {best.trial}"
        )
        parts.append(
            f"best {_plain(primary)} {number(best.value, decimals([best.value]))} ({which})"
        )
    return " · ".join(parts)


def _last_failure(order: Iterable[Trial]) -> list[str]:
    """Return a line about the failed trial of the highest number: the table has no room for its
    cause.
    """
    failed = max(
        (trial for trial in order if trial.status == "failed"),
        key=lambda trial: trial.number,
        default=None,
    )
    return (
        []
        if failed is None
        else [f"trial {failed.number} failed: {_plain(failed.cause or 'no cause is known')}"]
    )


def _chosen(order: Sequence[Trial], room: int) -> list[Trial]:
    """Return up to `room` of the trials, by number: the best, then those that run, then the others
    as they rank.
    """
    urgent = sorted(
        range(len(order)), key=lambda place: (place > 0, order[place].status != "running", place)
    )
    return sorted((order[place] for place in urgent[:room]), key=lambda trial: trial.number)


def _grid(shown: Sequence[Trial], order: Sequence[Trial], primary: str, width: int) -> list[str]:
    """Return the header and a row for each trial shown."""
    best = order[0].number if order[0].best is not None else None
    digits = decimals([trial.best for trial in order])
    keys = list(dict.fromkeys(key for trial in shown for key in trial.values))
    names = _short_names(keys)
    now = time.time()
    first = _column(
        "trial", [f"{trial.number}{'*' if trial.number == best else ' '}" for trial in shown]
    )
    values = [
        _column(
            names[key],
            [short_value(trial.values[key]) if key in trial.values else "" for trial in shown],
        )
        for key in keys
    ]
    rest = [
        _column(
            _cut(_plain(primary), LONGEST_VALUE), [number(trial.best, digits) for trial in shown]
        ),
        _column("epoch", [f"{trial.epoch:.3g}" if trial.results else "-" for trial in shown]),
        _column("state", [trial.status for trial in shown]),
        _column(
            "time", [clock(_seconds(trial, now)) if trial.attempts else "-" for trial in shown]
        ),
    ]
    left = width - sum(len(column[0]) + len(GAP) for column in (first, *rest)) + len(GAP)
    kept, more = _fitting(values, left)
    columns = [first, *kept, *([["…"] * (len(shown) + 1)] if more else []), *rest]
    return [GAP.join(cells).rstrip() for cells in zip(*columns, strict=True)]


def _fitting(values: list[list[str]], left: int) -> tuple[list[list[str]], bool]:
    """Return the first columns that fit into `left`, and whether any had to go (a column of `…`
    then tells).
    """
    needs = [len(column[0]) + len(GAP) for column in values]
    if sum(needs) <= left:
        return values, False
    left -= 1 + len(GAP)
    count = 0
    while count < len(needs) and sum(needs[: count + 1]) <= left:
        count += 1
    return values[:count], True


def _column(name: str, cells: Sequence[str]) -> list[str]:
    """Return name and cells at one width, to the right."""
    longest = max(len(text) for text in (name, *cells))
    return [text.rjust(longest) for text in (name, *cells)]


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each key, or the whole where two end alike."""
    leaves = {key: key.rpartition(".")[2] for key in keys}
    counts = Counter(leaves.values())
    return {key: leaf if counts[leaf] == 1 else key for key, leaf in leaves.items()}


def _seconds(trial: Trial, now: float) -> float:
    return trial.seconds + (max(now - trial.heard, 0.0) if trial.heard is not None else 0.0)


def _plain(text: str) -> str:
    """Return text of one cell a letter and no control characters, which would break the table or
    the terminal.
    """
    return "".join(letter if _one_cell(letter) else "?" for letter in " ".join(text.split()))


def _one_cell(letter: str) -> bool:
    return (
        letter.isprintable()
        and not unicodedata.combining(letter)
        and unicodedata.east_asian_width(letter) not in "WF"
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"[: max(width, 0)]
