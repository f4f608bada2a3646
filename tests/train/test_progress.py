"""The progress line: live on a terminal, seldom and plain elsewhere."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from typing import TextIO

import pytest

from ftr.train.progress import Meter, ProgressLine, clock


class Clock:
    """A clock that tests turn on."""

    now = 1000.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    turned = Clock()
    monkeypatch.setattr("time.monotonic", lambda: turned.now)
    return turned


def line_on(stream: TextIO, **options: bool) -> ProgressLine:
    """Return a line that was last shown at 1000 seconds."""
    return ProgressLine(stream, _last=1000.0, **options)


def test_where_no_one_watches_there_is_a_plain_line_every_half_minute(time: Clock) -> None:
    stream = io.StringIO()
    line = line_on(stream)
    for second in range(100):
        time.now = 1000.0 + second
        line.update(f"step {second}")
    line.clear()
    assert stream.getvalue() == "step 30\nstep 60\nstep 90\n"


def test_lines_that_stay_are_printed_at_once_and_nothing_when_turned_off(time: Clock) -> None:
    stream = io.StringIO()
    line_on(stream).log("epoch 1")
    off = line_on(stream, enabled=False)
    time.now += 100
    off.update("step")
    off.log("epoch 2")
    assert stream.getvalue() == "epoch 1\n"


def test_on_a_terminal_the_line_rewrites_itself_and_is_wiped_before_others(time: Clock) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        line = line_on(stream)
        assert line.live
        for text in ("step 10", "left out: too soon", "step 9"):
            time.now += 0.0 if text.startswith("left") else 0.25
            line.update(text)
        line.log("saved")
        line.clear()
        shown = ""
        while not shown.endswith("saved\r\n"):  # what was written in parts may come in parts
            shown += os.read(leader, 1000).decode()
    os.close(leader)
    assert shown == "\rstep 10\rstep 9 \r" + " " * 6 + "\rsaved\r\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (-3, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3723, "1:02:03")],
)
def test_time_reads_as_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_meter_tells_epoch_step_loss_speed_and_time_left(time: Clock) -> None:
    meter = Meter(steps=4, epochs=2, _since=1000.0)
    assert meter.line() == "epoch 0.00/2 · step 0/4 · loss nan"
    for loss in (2.0, 1.0):
        time.now += 5
        meter.add(10, loss)
        time.now += 100  # an evaluation, which does not count
        meter.mark()
    assert meter.line() == (
        "epoch 1.00/2 · step 2/4 · loss 1.9000 · 2.0 examples/s · left: at least 0:10"
    )


def test_speed_and_time_left_follow_a_slowdown_while_the_rate_stays_the_average(
    time: Clock,
) -> None:
    meter = Meter(steps=200, epochs=1, _since=1000.0)
    for seconds in [1] * 100 + [4] * 20:
        time.now += seconds
        meter.add(8, 1.0)
    assert meter.line().endswith(" · 2.0 examples/s · left: at least 5:20")
    assert meter.rate == 960 / 180


def test_a_line_is_no_wider_than_the_terminal(time: Clock) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        time.now += 1
        line_on(stream).update("x" * 50)
        shown = os.read(leader, 1000).decode()
    os.close(leader)
    assert shown == "\r" + "x" * 19
