"""Record commands in terminals of 80 and 140 columns and draw them: `python docs/make_screens.py
FOLDER` writes all into a folder, and those that pages embed into `images/` too.

A recording is an asciicast (version 2), a picture an SVG in the light or dark colours that its
reader prefers. A recording that is in the folder is drawn again, not made again: remove it first.
A line that is wider than its terminal is an error.
"""

import codecs
import fcntl
import html
import json
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterable, Iterator
from itertools import groupby, product
from pathlib import Path

from rich.cells import cell_len

IMAGES = Path(__file__).parent / "images"
SAMPLE = Path(__file__).parents[1] / "plugins/ftr_plugins/data/sentiment.csv"
SCREENS = {
    "run": ["ftr run task=sentiment"],
    "sweep": ["ftr sweep task=sentiment trials=4 epochs=1"],
    "show": ["ftr show task=qa"],
    "runs": ["ftr runs"],
    "doctor": ["ftr doctor"],
    "first-session": ["ftr init reviews.csv", "ftr run", "ftr runs"],
}
"""Pictures and their commands."""
EMBEDDED = ("run", "sweep", "doctor", "first-session")
"""Pictures in the pages; those of 80 columns."""
MOVING = "first-session"
WIDTHS = (80, 140)
PRIVATE = {sys.prefix: "/home/me/.venv", str(Path.home()): "/home/me"}
"""Folders of the machine that makes the pictures, and their names there."""
LINES = 45
LETTER, LINE, SIZE, MARGIN = 8.4, 19, 14, 16
"""Pixels of a letter and a line, the size of the font, and the space around the text."""
TYPING, LONGEST, FRAME, END = 0.05, 0.4, 0.12, 5.0
"""Seconds of a moving picture: a typed letter, the longest wait, a frame, the last screen."""
LIGHT = "--b:#fff;--t:#24292f;--n1:#cd3131;--n2:#107c10;--n5:#a626a4;--n6:#0a7a94"
DARK = "--b:#1e1e1e;--t:#d4d4d4;--n1:#f14c4c;--n2:#23d18b;--n5:#d670d6;--n6:#29b8db"
"""Colours of the themes of VS Code, some of the light ones darker."""
_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(.)", re.DOTALL)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;?]*)?$")

Event = tuple[float, str]
"""Seconds since the start, and what was printed."""
Cells = list[tuple[str, str]]
"""Letters of a line, and the classes of each: `d` is dim, `b` bold, `n1` to `n6` a colour."""


def recorded(commands: Iterable[str], columns: int) -> Iterator[Event]:
    """Run commands in a terminal of `columns` columns and yield what a person would see.

    Raises:
        SystemExit: a command failed.
    """
    passed = 0.0
    for command in commands:
        for letter in f"$ {command}":
            yield passed, letter
            passed += TYPING
        yield passed, "\r\n"
        start = time.monotonic() - passed
        for text in _printed(shlex.split(command), columns):
            passed = time.monotonic() - start
            yield passed, text


def _printed(words: list[str], columns: int) -> Iterator[str]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    unset = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    given = {name: value for name, value in os.environ.items() if name not in unset}
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**given, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            chunk = b""
        if not chunk:
            break
        text = decoder.decode(chunk)
        for private, shown in PRIVATE.items():
            text = text.replace(private, shown)
        yield text
    os.close(ours)
    if process.wait():
        raise SystemExit(f"`{shlex.join(words)}` failed with exit code {process.returncode}")


class Screen:
    """A terminal without a last line: what was printed, in cells."""

    def __init__(self, columns: int) -> None:
        self.columns, self.row, self.column = columns, 0, 0
        self.lines: list[Cells] = [[]]
        self.wrapped: list[str] = []
        """Beginnings of the lines that did not fit and that the terminal broke."""
        self._style: tuple[str, ...] = ()
        self._rest = ""

    def feed(self, text: str) -> None:
        """Print text: letters, ends of lines, colours, and movements of the cursor."""
        text = self._rest + text
        found = _UNFINISHED.search(text)
        self._rest = found[0] if found else ""
        for numbers, action, letter in _TOKEN.findall(text.removesuffix(self._rest)):
            if letter:
                self._letter(letter)
            elif action == "m":
                self._colour(numbers or "0")
            elif action == "A":
                self.row = max(0, self.row - int(numbers or 1))
            elif action == "K":
                del self.lines[self.row][0 if numbers == "2" else self.column :]

    def _letter(self, letter: str) -> None:
        if letter == "\r":
            self.column = 0
        elif letter == "\n":
            self._down()
        elif letter.isprintable():
            if self.column + cell_len(letter) > self.columns:
                self.wrapped.append("".join(one for one, _ in self.lines[self.row]))
                self._down()
                self.column = 0
            line = self.lines[self.row]
            line += [(" ", "")] * (self.column + cell_len(letter) - len(line))
            line[self.column : self.column + cell_len(letter)] = [
                (letter, " ".join(self._style)),
                *[("", "")] * (cell_len(letter) - 1),
            ]
            self.column += cell_len(letter)

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def _colour(self, numbers: str) -> None:
        for number in map(int, numbers.split(";")):
            name = {0: "", 1: "b", 2: "d"}.get(number, f"n{number - 30}")
            self._style = (*self._style, name) if name else ()


def drawn(events: Iterable[Event], columns: int, *, moving: bool = False) -> str:
    """Return the last screen as SVG, or all of them, one after the other.

    Raises:
        SystemExit: the terminal had to wrap a line.
    """
    screen, now, before, shown = Screen(columns), 0.0, 0.0, -FRAME
    spans: dict[tuple[int, str], list[list[float]]] = {}
    current: dict[int, str] = {}

    def look() -> None:
        for row, cells in enumerate(screen.lines):
            line = "".join(_line(cells, row))
            if line != current.get(row, ""):
                if current.get(row):
                    spans[row, current[row]][-1].append(now)
                if line:
                    spans.setdefault((row, line), []).append([now])
                current[row] = line

    for at, text in events:
        now, before = now + min(at - before, LONGEST), at
        if moving and now - shown >= FRAME:
            look()
            shown = now
        screen.feed(text)
    look()
    if screen.wrapped:
        raise SystemExit("\n".join(["wider than the terminal:", *screen.wrapped]))
    height = sum(1 for line in current.values() if line) and max(row for row, _ in spans) + 1
    return _svg(spans, now + END, columns, height, moving=moving)


def _line(cells: Cells, row: int) -> Iterator[str]:
    """Yield the texts of a line; each has its place and width, whatever the font is."""
    column = 0
    for style, some in groupby(cells, key=lambda cell: cell[1]):
        letters = [letter for letter, _ in some]
        text = "".join(letters)
        left = column + len(text) - len(text.lstrip())
        wide = len(letters) - (len(text) - len(text.strip()))
        column += len(letters)
        if wide > 0:
            name = f' class="{style}"' if style else ""
            yield (
                f'<text x="{MARGIN + left * LETTER:.5g}" y="{MARGIN + (row + 0.75) * LINE:.5g}" '
                f'textLength="{wide * LETTER:.5g}"{name}>{html.escape(text.strip())}</text>'
            )


def _svg(
    spans: dict[tuple[int, str], list[list[float]]],
    seconds: float,
    columns: int,
    height: int,
    *,
    moving: bool,
) -> str:
    wide, high = 2 * MARGIN + columns * LETTER, 2 * MARGIN + height * LINE
    style = [
        f"svg{{{LIGHT}}}@media(prefers-color-scheme:dark){{svg{{{DARK}}}}}",
        f"text{{fill:var(--t);font:{SIZE}px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',"
        "monospace;white-space:pre}.b{font-weight:bold}.d{opacity:.65}",
        *(f".n{number}{{fill:var(--n{number})}}" for number in (1, 2, 5, 6)),
    ]
    body: list[str] = []
    rules: list[str] = []
    for (_, line), times in sorted(spans.items(), key=lambda item: item[0][0]):
        lasts = len(times[-1]) == 1
        if not moving:
            body += [line] if lasts else []
            continue
        name = f"a{len(rules)}"
        steps = "".join(
            f"{100 * at / seconds:.4g}%{{visibility:{'hidden' if place else 'visible'}}}"
            for span in times
            for place, at in enumerate(span)
        )
        rules.append(
            f"@keyframes {name}{{0%{{visibility:hidden}}{steps}}}"
            f"#{name}{{animation:{name} {seconds:.4g}s step-end infinite"
            f"{'' if lasts else ';visibility:hidden'}}}"
        )
        body.append(f'<g id="{name}">{line}</g>')
    if moving:
        rules.append("@media(prefers-reduced-motion:reduce){g{animation:none!important}}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:g}" height="{high:g}" '
        f'viewBox="0 0 {wide:g} {high:g}">\n'
        f"<style>{''.join(style + rules)}</style>\n"
        f'<rect width="{wide:g}" height="{high:g}" rx="8" fill="var(--b)" stroke="#8886"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def make(folder: Path, name: str, columns: int) -> Path:
    """Write a picture into a folder, and its recording if it is not there; return the picture."""
    cast = folder / f"{name}-{columns}.cast"
    if not cast.exists():
        head = {"version": 2, "width": columns, "height": LINES, "idle_time_limit": 2}
        made = ([round(at, 3), "o", text] for at, text in recorded(SCREENS[name], columns))
        lines = [json.dumps(line, ensure_ascii=False) for line in (head, *made)]
        cast.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _, *events = map(json.loads, cast.read_text(encoding="utf-8").splitlines())
    picture = cast.with_suffix(".svg")
    shown = drawn(((at, text) for at, _, text in events), columns, moving=name == MOVING)
    picture.write_text(shown, encoding="utf-8")
    return picture


def main(folder: Path) -> None:
    """Make all pictures; the commands run in `FOLDER/work`, those of a session in a new folder."""
    for columns, name in product(WIDTHS, SCREENS):
        if name == MOVING and columns != WIDTHS[0]:
            continue
        work = folder / "work" / (name if name == MOVING else "")
        work.mkdir(parents=True, exist_ok=True)
        os.chdir(work)
        if name == MOVING:
            shutil.copyfile(SAMPLE, "reviews.csv")
        picture = make(folder, name, columns)
        if name in EMBEDDED and columns == WIDTHS[0]:
            shutil.copyfile(picture, IMAGES / f"{name}.svg")
            if name == MOVING:
                shutil.copyfile(picture.with_suffix(".cast"), IMAGES / f"{name}.cast")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python docs/make_screens.py FOLDER")
    main(Path(sys.argv[1]).resolve())
