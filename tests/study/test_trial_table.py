"""The table of a sweep: what it shows in how much room, and how it is redrawn."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import random
import re
import struct
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from ftr.study.table import LiveTable, short_value, sweep_table, time_left
from ftr.study.trials import SweepState


def sweep(
    count: int,
    *,
    running: int = 2,
    failed: tuple[int, ...] = (),
    values: dict[str, Any] | None = None,
) -> SweepState:
    """Return a sweep whose trial n scores n hundredths; the last `running` still run."""
    state = SweepState("max")
    for number in range(count):
        given = {
            "learning_rate": 3.2345e-5,
            "batch_size": 16,
            "train.warmup": 0.1,
            **(values or {}),
        }
        state.apply(
            {
                "event": "trial",
                "time": 0,
                "trial": number,
                "values": given,
                "group": number,
                "repeat": 0,
            }
        )
        state.apply({"event": "start", "time": time.time() - 60, "trial": number})
        state.apply(
            {
                "event": "result",
                "time": time.time() - 50,
                "trial": number,
                "epoch": 2.0,
                "value": number / 100,
            }
        )
        if number in failed:
            state.apply(
                {
                    "event": "end",
                    "time": time.time(),
                    "trial": number,
                    "status": "failed",
                    "cause": "out\nof \x1b[31mmemory",
                }
            )
        elif number < count - running:
            state.apply(
                {"event": "end", "time": time.time() - 45, "trial": number, "status": "done"}
            )
    return state


def table_lines(state: SweepState, primary: str, mode: str, width: int, height: int) -> list[str]:
    """Return the table as the lines of a terminal without colours."""
    console = Console(
        file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False, no_color=True
    )
    drawn = console.render_lines(sweep_table(state, primary, mode, width, height), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in drawn]


def numbers(lines: list[str]) -> list[int]:
    return [int(found[1]) for line in lines if (found := re.match(r" *(\d+)[* ] ", line + " "))]


def test_a_row_a_trial_with_its_parameters_metric_epoch_state_and_time() -> None:
    lines = table_lines(sweep(4, running=1, failed=(1,)), "accuracy", "max", 100, 20)
    assert lines[0] == "4 trials · 1 running · 2 done · 1 failed · best accuracy 0.0300 (trial 3)"
    assert lines[1].split() == [
        "trial",
        "learning_rate",
        "batch_size",
        "warmup",
        "accuracy",
        "epoch",
        "state",
        "time",
    ]
    assert lines[2].split() == ["0", "3.2e-05", "16", "0.1", "0.0000", "2", "done", "0:15"]
    assert lines[4].split()[0] == "2" and lines[5].split() == [
        "3*",
        "3.2e-05",
        "16",
        "0.1",
        "0.0300",
        "2",
        "running",
        "1:00",
    ]
    assert lines[6:] == ["trial 1 failed: out of \\u001b[31mmemory"], (
        "no control character of a cause reaches the terminal"
    )
    assert len({len(line) for line in lines[1:6]}) == 1


def test_trials_that_wait_and_sweeps_that_have_none() -> None:
    assert table_lines(SweepState("max"), "f1", "max", 80, 20) == ["0 trials"]
    state = SweepState("min")
    state.apply({"event": "trial", "time": 0, "trial": 0, "values": {}, "group": 0, "repeat": 0})
    assert [line.split() for line in table_lines(state, "loss", "min", 80, 20)[1:]] == [
        ["trial", "loss", "epoch", "state", "time"],
        ["0", "-", "-", "pending", "-"],
    ]


def test_repeats_say_that_the_best_is_a_mean() -> None:
    state = sweep(3, running=0)
    for trial in state.trials.values():
        trial.group = 0
    assert table_lines(state, "f1", "max", 120, 20)[0].endswith(
        "best f1 0.0100 (mean of 3, best of them trial 2)"
    )


def test_more_trials_than_lines_leave_the_best_and_those_that_run() -> None:
    state = sweep(40, running=3)
    state.apply({"event": "result", "time": time.time(), "trial": 5, "epoch": 3.0, "value": 0.99})
    lines = table_lines(state, "f1", "max", 100, 12)
    assert (
        len(lines) == 12
        and numbers(lines[2:-1]) == [5, 32, 33, 34, 35, 36, 37, 38, 39]
        and lines[-1] == "… 31 more"
    )
    assert [line for line in lines if "*" in line] == [lines[2]]


@pytest.mark.parametrize("failed", [(), (3,)])
def test_it_never_takes_more_room_than_it_has(failed: tuple[int, ...]) -> None:
    state = sweep(30, failed=failed, values={"model": "日本語" * 9})
    sizes = [(width, height) for width in (1, 40, 89) for height in (1, 2, 3, 4, 5, 10, 40)]
    for width, height in [*sizes, *((width, 10) for width in range(1, 90))]:
        lines = table_lines(state, "accuracy", "max", width, height)
        assert len(lines) <= height and all(cell_len(line) <= width for line in lines)
    assert "…" in table_lines(state, "accuracy", "max", 60, 40)[1].split(), (
        "left out parameters are told"
    )
    assert "model" in table_lines(state, "accuracy", "max", 100, 40)[1]


def test_parameters_are_called_by_their_last_word_where_that_is_clear() -> None:
    header = table_lines(
        sweep(1, values={"head.dropout": 0.1, "model.dropout": 0.2}), "f1", "max", 150, 9
    )[1].split()
    assert header[1:6] == ["learning_rate", "batch_size", "warmup", "head.dropout", "model.dropout"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.2345e-5, "3.2e-05"),
        (0.0, "0"),
        (0.12345, "0.123"),
        (1.0, "1"),
        (123456.0, "123456"),
        (16, "16"),
        (True, "true"),
        (None, "null"),
        ([1, "a"], '[1, "a"]'),
        ("x" * 30, "x" * 19 + "…"),
        ("a\tb\x07", "a b\\u0007"),
        ("[red]:smile:", "[red]:smile:"),
        ("日本語" * 9, "日本語日本語日本語 …"),
    ],
)
def test_values_are_short(value: Any, text: str) -> None:
    assert short_value(value) == text


def test_where_no_one_watches_events_are_lines_and_there_is_no_table() -> None:
    stream = io.StringIO()
    table = LiveTable("f1", "max", stream)
    table.update(sweep(3))
    table.event("trial 7: epoch 2, f1 0.871 (best so far)")
    table.close()
    assert stream.getvalue() == "trial 7: epoch 2, f1 0.871 (best so far)\n"


@dataclass
class Screen:
    """A terminal that understands what the table writes: cursor up, erase line, and styles."""

    leader: int
    stream: TextIO
    width: int
    history: str = ""

    def show(self) -> list[str]:
        """Return the lines on the screen after all that was written so far."""
        os.set_blocking(self.leader, False)
        try:
            while read := os.read(self.leader, 100_000).decode():
                self.history += read
        except BlockingIOError:
            pass
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.history):
            if part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif part == "\x1b[2K":
                lines[row] = ""
            elif part.endswith("A") and part[0] == "\x1b":
                row -= int(part[2:-1])
                assert row >= 0, "moved above the first line"
            elif part[0] == "\x1b":
                assert part[-1] in "mhl", "only styles, and the cursor hidden or shown"
            else:
                lines[row] = (
                    lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
                )
                column += len(part)
                assert column <= self.width, "this line would wrap"
        return [line.rstrip() for line in lines]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("LINES", "20")
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 90, 0, 0))
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        yield Screen(leader, stream, 90)
    os.close(leader)


def test_on_a_terminal_the_table_is_redrawn_in_place(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftr.study.table.REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    table = LiveTable("f1", "max", screen.stream)
    screen.stream.write("before\n")
    for count in [3, 8, 40, 5, *random.Random(0).sample(range(1, 60), 20)]:
        state = sweep(count)
        table._next = 0.0
        table.update(state)
        table.event("not shown: the table shows it")
        shown = [line for line in screen.show() if line]
        assert shown == ["before", *table_lines(state, "f1", "max", 90, 19)]
    ended = sweep(2, running=0)
    table._next = time.monotonic() + 100
    table.update(ended)
    table.close()
    screen.stream.write("done\n")
    screen.stream.flush()
    shown = [line for line in screen.show() if line]
    assert shown == ["before", *table_lines(ended, "f1", "max", 90, 19), "done"]
    assert screen.history.rfind("\x1b[?25h") > screen.history.rfind("\x1b[?25l")


def test_the_cursor_stays_visible_for_a_process_that_is_killed(screen: Screen) -> None:
    LiveTable("f1", "max", screen.stream).update(sweep(3))
    screen.show()
    assert screen.history.rfind("\x1b[?25h") > screen.history.rfind("\x1b[?25l")


def test_colours_can_be_turned_off(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    LiveTable("f1", "max", screen.stream).update(sweep(5, failed=(1,)))
    assert screen.show() and not re.search(r"\x1b\[[\d;]*3\dm", screen.history)


def test_it_is_redrawn_no_more_often_than_people_look(screen: Screen) -> None:
    table = LiveTable("f1", "max", screen.stream)
    table.update(sweep(3))
    before = len(screen.show()), len(screen.history)
    for _ in range(50):
        table.update(sweep(9))
    assert (len(screen.show()), len(screen.history)) == before


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    table = LiveTable("f1", "max", screen.stream)
    table.update(sweep(3))
    table.event("trial 1: done")
    assert screen.show() == ["trial 1: done", ""]


def test_the_time_left_of_a_sweep_is_that_of_trials_like_those_that_ended() -> None:
    now = time.time()
    state = sweep(4, running=2)  # two that took 15 seconds, two that run for 60
    assert time_left(state, None, 2, now) is None
    assert time_left(sweep(2), 8, 2, now) is None  # none has ended
    assert time_left(state, 2, 2, now) is None
    assert time_left(state, 8, 2, now) == pytest.approx((6 * 15 - 2 * 15) / 2, abs=1)
    assert time_left(state, 3, 2, now) == pytest.approx(0, abs=1)
