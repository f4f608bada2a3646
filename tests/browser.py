"""A page in a real browser: what is in it after everything that can run has run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Self

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


def loaded(page: Path, folder: Path) -> str:
    """Return the document of a page as Chromium has it a second after it was opened.

    Skips the test where there is no Chromium.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium here: the page is checked without a browser alone")
    done = subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"),
            *("--virtual-time-budget=1000", "--dump-dom", page.resolve().as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


class Page(HTMLParser):
    """The elements of a page, its text, and all of it that could run or load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.pieces: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element and its attributes."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.pieces.append(data)

    @property
    def text(self) -> str:
        """All texts."""
        return "".join(self.pieces)

    def dangers(self) -> list[str]:
        """Return what a page of data must not have: scripts, handlers, addresses, inline styles."""
        active = {"script", "iframe", "object", "embed", "img", "link", "base", "form", "image"}
        found = [tag for tag in self.tags if tag in active]
        for tag, name, value in self.attributes:
            inside = tag in ("a", "use") and name == "href" and value.startswith("#")
            if name.startswith("on") or name in ("style", "src", "srcset", "action", "data"):
                found.append(f"{tag} {name}={value[:40]}")
            if name in ("href", "xlink:href") and not inside:
                found.append(f"{tag} {name}={value[:40]}")
            if "url(" in value and "url(#" not in value:
                found.append(f"{tag} {name}={value[:40]}")
        return found


class Browser:
    """A page in Chromium that a test can use: its own protocol for tools, over pipes.

    `problems` has what the page's scripts threw and what the browser refused.
    """

    def __init__(self, folder: Path) -> None:
        if CHROMIUM is None:
            pytest.skip("no Chromium here: the page is not used in a browser")
        self.problems: list[str] = []
        self._number, self._session = 0, ""
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()

        # It reads from 3 and writes to 4.
        connect = (
            "import fcntl, os, sys;"
            "one, two = (fcntl.fcntl(int(sys.argv[n]), fcntl.F_DUPFD, 10) for n in (1, 2));"
            "os.dup2(one, 3); os.dup2(two, 4); os.execv(sys.argv[3], sys.argv[3:])"
        )
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-S", "-c", connect, str(to_read), str(to_write), CHROMIUM),
                *("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"),
                *("--remote-debugging-pipe", "about:blank"),
            ],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._input = os.fdopen(self._from, "rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._to)
        self._process.kill()
        self._process.wait()
        self._input.close()

    def open(self, url: str) -> None:
        """Open a page."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self._ask(f"{domain}.enable")
        self._ask("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def do(self, script: str) -> Any:
        """Run JavaScript in the page and return its value."""
        found = self._ask("Runtime.evaluate", expression=f"{{{script}}}", returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 30) -> None:
        """Wait until a condition in JavaScript holds."""
        deadline = time.monotonic() + seconds
        while not self.do(condition):
            assert time.monotonic() < deadline, (condition, self.do("document.body.innerText"))
            time.sleep(0.05)

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._message())
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.problems.append(json.dumps(answer["params"]))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found

    def _message(self) -> bytes:
        message = bytearray()
        while (byte := self._input.read(1)) != b"\0":
            assert byte, "the browser has ended"
            message += byte
        return bytes(message)
