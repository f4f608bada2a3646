"""The live table of a sweep on stderr."""

from __future__ import annotations

import json
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ftr.errors import counted
from ftr.progress import clock, live_display
from ftr.runs.report import decimals, number
from ftr.study.trials import Entry, Status, SweepState, Trial, rank
from ftr.terminal import show, visible

REFRESH_SECONDS = 0.5
LONGEST_VALUE = 20
GAP = 2
STATES: tuple[Status, ...] = ("running", "done", "stopped", "failed", "pending")


class LiveTable:
    """The table on stderr while a sweep runs.

    `update` redraws it on a terminal; `event` prints a line where there is none.
    """

    def __init__(self, primary: str, mode: str, stream: TextIO | None = None) -> None:
        self.primary, self.mode, self.stream = primary, mode, stream or sys.stderr
        self._live = live_display(self.stream, transient=False)
        self.console = self._live.console
        self._state: SweepState | None = None
        self._next = 0.0
        self.note = ""
        """A line below the table."""
        self.trials: int | None = None
        """How many trials there will be, None: not known."""
        self.at_once = 1

    @property
    def live(self) -> bool:
        """Whether the stream is a terminal whose cursor can be moved."""
        return self.console.is_terminal and self.console.is_interactive

    def update(self, state: SweepState) -> None:
        """Redraw the table if it is time to."""
        self._state = state
        now = time.monotonic()
        if self.live and now >= self._next:
            if not self._live.is_started:
                self._live.start()
                # A process that is killed could not bring a hidden cursor back.
                self.console.show_cursor()
            self._draw(state)
            done = time.monotonic()
            # Ranking ten thousand trials is slow; the table takes at most a twentieth of the
            # driver's time.
            self._next = done + max(REFRESH_SECONDS, 20 * (done - now))

    def event(self, text: str) -> None:
        """Print a line where there is no table, which shows the same."""
        if not self.live:
            show(text, self.stream)

    def close(self) -> None:
        """Draw the table a last time; it stays."""
        if self._live.is_started and self._state is not None:
            self._draw(self._state)
        self._live.stop()

    def _draw(self, state: SweepState) -> None:
        width, height = self.console.size
        below = list(Text(_one_line(self.note)).wrap(self.console, width)) if self.note else []
        left = time_left(state, self.trials, self.at_once, time.time())
        if left is not None:
            below.append(_line(f"trials: about {clock(left)} left"))
        table = sweep_table(state, self.primary, self.mode, width, height - 1 - len(below))
        self._live.update(Group(table, *below), refresh=True)


def time_left(state: SweepState, trials: int | None, at_once: int, now: float) -> float | None:
    """Return the seconds until the last of `trials` ends, if those to come take as long as those
    that ended; None where none has ended, or their number is not known.
    """
    ended = [trial.worked(now) for trial in state.trials.values() if trial.ended]
    running = [trial.worked(now) for trial in state.trials.values() if not trial.ended]
    if not ended or not trials or trials <= len(ended):
        return None
    each = sum(ended) / len(ended)
    done = sum(min(seconds, each) for seconds in running)
    left = (trials - len(ended)) * each - done
    return max(left, 0.0) / min(at_once, trials - len(ended))


def sweep_table(state: SweepState, primary: str, mode: str, width: int, height: int) -> Group:
    """Return the state of a sweep in at most `height` lines of `width` columns: a summary, its
    trials with the best one marked `*`, and the last failure.

    Where there are more trials than lines, those that run and the best ones are shown. Where there
    is too little width, parameters are left out, the last ones first.
    """
    entries = rank(state.trials.values(), mode)
    order = [
        state.trials[number]
        for number in dict.fromkeys(n for entry in entries for n in (entry.trial, *entry.trials))
    ]
    failed = max((trial.number for trial in order if trial.status == "failed"), default=None)
    parts: list[RenderableType] = [_line(_summary(order, entries, primary))]
    room = height - 2 - (failed is not None)
    if order and room > 0:
        shown = _chosen(order, room if len(order) <= room else room - 1)
        parts.append(_trial_table(shown, order, primary, width))
        if len(shown) < len(order):
            parts.append(_line(f"… {len(order) - len(shown)} more"))
    if failed is not None and height > 1:
        cause = state.trials[failed].cause or "no cause is known"
        parts.append(_line(f"trial {failed} failed: {cause}", "red"))
    return Group(*parts[:height])


def short_value(value: Any) -> str:
    """Return a value for the table: two to three digits of a number, the start of a text."""
    if isinstance(value, float):
        digits = ".2g" if 0 < abs(value) < 1e-3 else ".3g" if abs(value) < 1000 else ".6g"
        return f"{value:{digits}}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _short(text)


def _short(text: str) -> str:
    cut = Text(_one_line(text))
    cut.truncate(LONGEST_VALUE, overflow="ellipsis")
    return cut.plain


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))


def _line(text: str, style: str = "") -> Text:
    return Text(_one_line(text), style, no_wrap=True, overflow="ellipsis")


def _summary(order: Sequence[Trial], entries: Sequence[Entry], primary: str) -> str:
    counts = Counter(trial.status for trial in order)
    parts = [
        counted(len(order), "trial"),
        *(f"{counts[status]} {status}" for status in STATES if counts[status]),
    ]
    if entries and (best := entries[0]).value is not None:
        which = f"mean of {best.counted}, best of them " if best.counted > 1 else ""
        value = number(best.value, decimals([best.value]))
        parts.append(f"best {primary} {value} ({which}trial {best.trial})")
    return " · ".join(parts)


def _chosen(order: Sequence[Trial], room: int) -> list[Trial]:
    """Return up to `room` of the trials, by number: the best, then those that run, then the others
    as they rank.
    """
    best, *others = order
    others.sort(key=lambda trial: trial.status != "running")
    return sorted([best, *others][:room], key=lambda trial: trial.number)


def _trial_table(shown: Sequence[Trial], order: Sequence[Trial], primary: str, width: int) -> Table:
    """Return the header and a row for each trial shown."""
    best = order[0].number if order[0].best is not None else None
    digits, now = decimals([trial.best for trial in order]), time.time()
    keys = dict.fromkeys(key for trial in shown for key in trial.values)
    leaves = Counter(key.rpartition(".")[2] for key in keys)
    swept = []
    for key in keys:
        leaf = key.rpartition(".")[2]
        cells = [short_value(trial.values[key]) if key in trial.values else "" for trial in shown]
        swept.append([_one_line(leaf if leaves[leaf] == 1 else key), *cells])
    first = ["trial", *(f"{trial.number}{'*' if trial.number == best else ' '}" for trial in shown)]
    rest = [
        [_short(primary), *(number(trial.best, digits) for trial in shown)],
        ["epoch", *(f"{trial.epoch:.3g}" if trial.results else "-" for trial in shown)],
        ["state", *(trial.status for trial in shown)],
        ["time", *(clock(trial.worked(now)) if trial.attempts else "-" for trial in shown)],
    ]
    left = width - sum(map(_columns, [first, *rest])) + GAP
    ends = list(accumulate(map(_columns, swept)))
    if ends and ends[-1] > left:
        left_out = ["…"] * (len(shown) + 1)
        swept = [*swept[: bisect_right(ends, left - _columns(left_out))], left_out]
    table = Table(box=None, pad_edge=False, padding=(0, GAP // 2))
    columns = [first, *swept, *rest]
    for name, *_ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row, trial in enumerate(shown, start=1):
        style = "bold" if trial.number == best else "red" if trial.status == "failed" else ""
        table.add_row(*(column[row] for column in columns), style=style)
    return table


def _columns(cells: Sequence[str]) -> int:
    """Return the width of a column of the table, with the gap beside it."""
    return max(map(cell_len, cells)) + GAP
