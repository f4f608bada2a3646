"""What stands in the pages of the documentation: their fenced blocks, and the plugin that the
tutorial builds.
"""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
TUTORIAL = PROJECT / "docs" / "plugins" / "tutorial.md"


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """Return title and text of the fenced blocks of a language."""
    return re.findall(
        rf'^```{language}(?: title="([^"]+)")?\n(.*?)^```$',
        page.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )


def write_tutorial(folder: Path) -> Path:
    """Write the files of the tutorial into `folder`, as its reader would, and return it."""
    folder.mkdir()
    for language in ("toml", "python"):
        for title, source in blocks(TUTORIAL, language):
            (folder / title).write_text(source, encoding="utf-8")
    return folder
