"""Write `images/run.svg` from the terminal output of a real run: `python docs/make_picture.py`."""

import os
import pty
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent / "images" / "run.svg"
COMMAND = ("run", "task=sentiment")
COLUMNS = 110
NOT_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]")


def record() -> str:
    """Return what the command prints in a terminal of `COLUMNS` columns.

    Raises:
        SystemExit: the command failed; its output is the message.
    """
    chunks: list[bytes] = []

    def read(terminal: int) -> bytes:
        chunk = os.read(terminal, 1024)
        chunks.append(chunk)
        return chunk

    os.environ["COLUMNS"] = str(COLUMNS)
    status = pty.spawn([sys.executable, "-m", "ftr", *COMMAND], read)
    text = b"".join(chunks).decode()
    if status:
        raise SystemExit(text)
    return text


def screen(text: str) -> str:
    """Return the lines as they stand at the end: a carriage return starts a line again."""
    lines = NOT_COLOUR.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines).rstrip()


def draw(text: str) -> None:
    """Write the picture."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(f"$ ftr {' '.join(COMMAND)}\n{text}"), soft_wrap=False)
        PICTURE.parent.mkdir(exist_ok=True)
        console.save_svg(str(PICTURE), title="ftr", unique_id="ftr")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        printed = record()
    draw(screen(printed))
