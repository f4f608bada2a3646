"""What strangers wrote reaches a terminal as letters, never as commands to it; JSON stays what it
was.
"""

import ast
import fcntl
import io
import json
import os
import pty
import re
import struct
import termios
from pathlib import Path

import pytest

import ftr
from ftr.cli.main import main
from ftr.progress import ProgressLine
from ftr.runs.prepare import to_stderr
from ftr.terminal import show

NASTY = "\x1b[2J\x07\x9b31m\r\u202eevil\x7f"
PLAIN = r"\u001b[2J\u0007\u009b31m\u000d\u202eevil\u007f"


@pytest.mark.parametrize(
    "command", ["show", "run", "sweep", "runs", "resume", "predict", "evaluate", "list", NASTY]
)
def test_no_message_obeys_what_it_quotes(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = (
        [command, f"dataset={NASTY}", "task=sentiment"]
        if command in ("show", "run", "sweep")
        else [command, f"nowhere{NASTY}"]
    )
    main(words)
    printed = "".join(capfd.readouterr())
    assert "\\u001b" in printed and not set(printed) & set("\x1b\x07\x9b\r\u202e\x7f")


def test_lines_of_jobs_and_the_live_line_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr(f"class `{NASTY}`\tis rare")
    stream = io.StringIO()
    ProgressLine(stream=stream).log(NASTY)
    assert capsys.readouterr().err == f"class `{PLAIN}`\tis rare\n"
    assert stream.getvalue() == f"{PLAIN}\n"


def test_a_long_message_breaks_between_words_and_keeps_commands_whole() -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 32, 0, 0))
    text = (
        "interrupted at step 31 of this; resume with `ftr resume runs/2026-first`, or run it again"
    )
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        show(text, stream)
        shown = os.read(leader, 1000).decode().splitlines()
    os.close(leader)
    plain = [re.sub(r"\x1b\[\d+m", "", line) for line in shown]
    assert len(plain) == 4 and max(map(len, plain)) <= 32
    assert " ".join(line.strip() for line in plain) == text
    assert any("`ftr resume runs/2026-first`" in line for line in plain)


def test_json_reads_back_exactly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = tmp_path / "x\x9b\u202e.csv"
    name.write_text("text,label\na,b\n", encoding="utf-8")
    assert main(["show", "task=sentiment", f"dataset={name}", "--json"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["values"]["dataset"] == str(name) and "\x9b" not in printed


def test_all_printing_goes_through_one_module() -> None:
    package = Path(ftr.__file__).parent
    calls = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if "testing" not in file.parts and "_template" not in file.parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    assert calls == {"terminal.py"}
