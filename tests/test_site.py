"""The site of the documentation builds without a warning, loads nothing from elsewhere, and has all
pages.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pages import PROJECT

LOADED = re.compile(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="?(?:https?:)?//[^>]*>')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site, with every warning an error, by a program that cannot import torch."""
    folder = tmp_path_factory.mktemp("built") / "site"
    built = subprocess.run(
        [sys.executable, "-c", BUILD, "build", "--strict", "--site-dir", folder],
        cwd=PROJECT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


BUILD = """
import sys
sys.modules["torch"] = sys.modules["ray"] = None
from mkdocs.__main__ import cli
cli()
"""


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    loaded = [found for page in pages for found in LOADED.findall(page.read_text(encoding="utf-8"))]
    assert loaded == []


def test_the_api_reference_has_signatures_and_docstrings(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "api" / "index.html").read_text(encoding="utf-8"))
    assert "top_k: int | None = None" in text
    assert "Return one prediction a row" in text
    assert "ftr.sweep" in (site / "search" / "search_index.json").read_text(encoding="utf-8")


def test_llms_txt_leads_to_every_page_in_markdown(site: Path) -> None:
    lines = (site / "llms.txt").read_text(encoding="utf-8").splitlines()
    entries = [
        re.fullmatch(r"- \[([^]]+)\]\(([^)]+)\): (.+)", line) for line in lines if line[:1] == "-"
    ]
    pages = {page.parent for page in site.rglob("index.html")}
    assert lines[0] == "# ftr"
    assert {(site / found[2]).parent for found in entries if found} == pages
    assert all(found and (site / found[2]).stat().st_size > 100 for found in entries)
