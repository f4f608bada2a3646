"""The progress line: live on a terminal, seldom and plain elsewhere; and where the time went."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import TextIO

import pytest

from clocks import Clock
from ftr.cli.main import main
from ftr.progress import ProgressLine, Stages, clock
from ftr.terminal import show
from trainings import REVIEWS


@contextmanager
def terminal(columns: int) -> Iterator[tuple[TextIO, int]]:
    """Give a terminal to write to, and the handle that reads what was written."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        yield stream, leader
    os.close(leader)


def drawn(leader: int, until: str) -> list[str]:
    """Return what a person saw, line by line, one after the other."""
    written = b""
    plain = ""
    while until not in plain:  # what was written in parts may come in parts
        written += os.read(leader, 10_000)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", written.decode(errors="ignore"))
    lines = re.split(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]+", plain)
    return [line for line, _ in groupby(line.strip() for line in lines if line.strip())]


def line_on(stream: TextIO, enabled: bool = True) -> ProgressLine:
    """Return a line that was last shown at 1000 seconds."""
    return ProgressLine(stream, enabled, _last=1000.0)


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


def test_on_a_terminal_the_line_is_drawn_anew_and_wiped_before_others(time: Clock) -> None:
    with terminal(80) as (stream, leader):
        line = line_on(stream)
        assert line.live
        for text in ("step 10", "left out: too soon", "step 9"):
            time.now += 0.0 if text.startswith("left") else 0.25
            line.update(text)
        show("saved", stream)  # of code that knows nothing of the line
        stream.write("next")
        stream.flush()
        written = ""
        while not written.endswith("next"):  # what was written in parts may come in parts
            written += os.read(leader, 10_000).decode()
    before, _, after = written.partition("saved")
    assert "step 10" in before
    assert "left out" not in before
    assert before.rindex("\x1b[2K") > before.index("step 9")  # the line is empty again
    assert after == "\r\nnext"
    assert written.count("\x1b[?25h") >= written.count("\x1b[?25l")  # the cursor is back


def test_a_stage_that_says_nothing_shows_its_time_by_itself() -> None:
    with terminal(80) as (stream, leader):
        line = ProgressLine(stream)
        with line.stage("reading"):
            assert "reading 0:01" in drawn(leader, "0:01")
        assert line._live is None


def test_a_stage_within_another_gives_the_line_back(time: Clock) -> None:
    stream = io.StringIO()
    line = line_on(stream)
    with line.stage("training"):
        time.now += 31
        line.update("epoch 1")
        with line.stage("validation"):
            time.now += 31
            line.update("20/30", 2 / 3)
        time.now += 31
        line.update("epoch 2")
    assert stream.getvalue() == "training: epoch 1\nvalidation: 20/30\ntraining: epoch 2\n"


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (40, "training epoch 1/2 · about 0:42 left"),
        (80, "training epoch 1/2 · about 0:42 left · loss 0.1234 · 100.5 examples/s"),
        (
            100,
            "training ━━━━━━━━╸━━━━━━━ epoch 1/2 · about 0:42 left · loss 0.1234 · 100.5 examples/s",
        ),
    ],
)
def test_a_narrow_terminal_drops_the_bar_and_the_last_parts(
    time: Clock, columns: int, shown: str
) -> None:
    text = "epoch 1/2 · about 0:42 left · loss 0.1234 · 100.5 examples/s · step 1500/3000"
    with terminal(columns) as (stream, leader):
        line = line_on(stream)
        with line.stage("training"):
            time.now += 1
            line.update(text, 0.54)
            show("END", stream)
            found = drawn(leader, "END")
    assert found == [shown, "END"]
    assert len(shown) <= columns


def test_a_part_that_is_too_long_alone_is_cut(time: Clock) -> None:
    with terminal(20) as (stream, leader):
        time.now += 1
        line_on(stream).update("x" * 50)
        show("END", stream)
        found = drawn(leader, "END")
    assert found == ["x" * (len(found[0]) - 1) + "…", "END"]
    assert len(found[0]) <= 20


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (-3, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3723, "1:02:03")],
)
def test_time_reads_as_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_innermost_stage_counts_and_all_of_them_are_the_whole_time(time: Clock) -> None:
    stages = Stages()
    time.now += 2
    for _ in range(2):
        with stages.within("training"):
            time.now += 30
            with stages.within("validation"):
                time.now += 5
            time.now += 10
        time.now += 1
    assert stages.line() == (
        "time: 1:34 in all · start 2.0 s · training 1:20 · validation 10.0 s · other 2.0 s"
    )
    assert sum(stages.seconds.values()) == 94


def test_a_stage_that_fails_ends_those_within_it(time: Clock) -> None:
    stages = Stages()
    with suppress(KeyboardInterrupt), stages.within("training"):
        time.now += 1
        with stages.within("saving"):
            raise KeyboardInterrupt
    time.now += 3
    assert stages.line() == "time: 0:04 in all · training 1.0 s · other 3.0 s"


def test_a_run_ends_with_where_its_time_went(
    tiny_bert: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**REVIEWS, "model": tiny_bert, "dataset": reviews, "output": tmp_path}
    assert main(["run", *(f"{key}={value}" for key, value in settings.items()), "seeds=2"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert line.startswith("time: 0:")
    parts = dict(part.removesuffix(" s").rsplit(" ", 1) for part in line.split(" · ")[1:])
    assert "training" in parts  # what took no time is left out
    (run,) = tmp_path.iterdir()
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["timings"]["reading"] > 0 and record["timings"]["encoding"] > 0
    assert "prepared_seconds" not in record
    seconds = sum(map(float, parts.values()))
    assert record["timings"]["total"] < seconds + 0.5
