"""A page in a real browser: what is in it after everything that can run has run."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

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
