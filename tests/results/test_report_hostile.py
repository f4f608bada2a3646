"""Data that would run or load something in a page stays text: in rows, names, labels and columns.

One test reads the page with Python, one opens it in a real browser, without the page's own
Content-Security-Policy too, so that escaping alone must hold.
"""

from __future__ import annotations

import re
import xml.dom.minidom
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

import trainings
from browser import Page, loaded
from ftr.results.report import pictures
from ftr.results.report.blocks import readable
from ftr.results.report.render import escaped
from ftr.results.report.write import write_report
from trainings import REVIEWS, write_csv

if TYPE_CHECKING:
    from ftr.results.report.write import Written

RAN = "RAN"
SCRIPT = f"<script>document.title='{RAN}'</script>"
HANDLER = f"\"'><img src=x onerror=\"document.title='{RAN}'\">"
STYLE = f"</style></title></svg>{SCRIPT}<style>body{{display:none}}"
LINK = f"[click](javascript:document.title='{RAN}') <https://evil.example> www.evil.example"
FORMULA = "$\\frac{1}{0}$ \\input{/etc/passwd} $$"
TEMPLATE = "{{ 7 * 7 }} {% for %}"
MARKDOWN = "| a | b |\n|---|---|\n# big\n![x](http://evil.example/x.png) **bold** `code` ~~~"
HIDDEN = "safe\u202egnp.exe\u2066 \x1b[31mred\x07 zero\u200bwidth"
LABELS = (SCRIPT + TEMPLATE, HANDLER + FORMULA, STYLE + LINK)
TEXTS = (SCRIPT, HANDLER, STYLE, LINK, FORMULA, TEMPLATE, MARKDOWN, HIDDEN)
COLUMN = f"<b onmouseover=\"document.title='{RAN}'\">"
LARGE = f"{SCRIPT} " + "word " * 200_000


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Written:
    """The report of a run on hostile data."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        (f"{TEXTS[number % len(TEXTS)]} {number}", LABELS[number % 3], f"{SCRIPT}{number}", HANDLER)
        for number in range(90)
    ]
    rows += [
        (f"{LARGE}{number}", LABELS[number % 3], f"large{number}", "none") for number in range(9)
    ]
    rows += [("", LABELS[0], HANDLER, STYLE)]
    data = write_csv(
        folder / "img src=x onerror=alert(1).csv", ("text", "label", "id", COLUMN), rows
    )
    run = trainings.train(REVIEWS, dataset=data, model=tiny_bert, epochs=1, output=folder / "runs")
    return write_report(run.path, folder / "out", slices=[COLUMN])


def test_nothing_of_the_data_is_an_element_an_attribute_or_a_formula(page: Written) -> None:
    text = page.html.read_text(encoding="utf-8")
    assert len(text) < 400_000
    parsed = Page(text)
    assert parsed.dangers() == []
    assert set(parsed.tags) <= {
        *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav"),
        *("section", "article", "div", "h1", "h2", "h3", "p", "a", "dl", "dt", "dd", "details"),
        *("summary", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption"),
        *("svg", "g", "defs", "clippath", "path", "rect", "use", "text", "tspan"),
    }
    assert parsed.tags.count("style") == parsed.tags.count("title") == 1
    for given in (SCRIPT, FORMULA, TEMPLATE, COLUMN):
        assert given in parsed.text
    assert "characters)" in parsed.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\u200b]", text)
    assert "\\u202egnp.exe" in parsed.text and "\\u001b[31m" in parsed.text


def test_pictures_are_well_formed_and_show_labels_as_they_are(page: Written) -> None:
    found = re.findall(r"<svg.*?</svg>", page.html.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) >= 4
    for svg in found:
        xml.dom.minidom.parseString(svg)
    drawn = pictures.confusion("t", [[1, 2], [3, 4]], ["$x_1$", "<b>$y$</b>"]).svg
    assert "$x_1$" in drawn and "&lt;b&gt;$y$&lt;/b&gt;" in drawn and "<b>" not in drawn


def test_the_markdown_has_no_links_pictures_elements_or_formulas_of_the_data(
    page: Written,
) -> None:
    text = page.markdown.read_text(encoding="utf-8")
    parser = MarkdownIt("gfm-like", {"html": True, "linkify": False})
    tokens = [part for token in parser.parse(text) for part in (token, *(token.children or ()))]
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "html_inline", "image", "link_open", "code_block", "fence"}
    assert "code_inline" not in kinds and "s_open" not in kinds
    shown = "".join(token.content for token in tokens if token.type == "text")
    for given in (SCRIPT, FORMULA, "www.evil.example", "[click](javascript:"):
        assert given in shown
    assert not re.search(r"(?<!\\)\$|(?<![\\])https?://|www\.", text)
    headings = [token for token in tokens if token.type == "heading_open"]
    assert len(headings) == 1 + len(page.report.sections) + bool(page.report.missing)


def test_a_browser_runs_nothing(page: Written, tmp_path: Path) -> None:
    text = page.html.read_text(encoding="utf-8")
    title = page.report.title
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text), encoding="utf-8")
    # That the browser would run it: the same script as an element.
    armed = tmp_path / "armed.html"
    armed.write_text(bare.read_text(encoding="utf-8").replace("</main>", f"{SCRIPT}</main>"))
    profile = tmp_path / "profile"
    assert f"<title>{RAN}</title>" in loaded(armed, profile)
    for file in (page.html, bare):
        dumped = loaded(file, profile)
        assert f"<title>{title}</title>" in dumped
        assert Page(dumped).dangers() == []
    # The policy alone holds as well: the script does not run in a page that has it.
    armed.write_text(text.replace("</main>", f"{SCRIPT}</main>"), encoding="utf-8")
    assert f"<title>{title}</title>" in loaded(armed, profile)


def test_text_is_cut_escaped_and_in_one_line() -> None:
    assert readable("x" * 2000, 10) == "xxxxxxxxxx… (2,000 characters)"
    assert readable("\ud800\ufffe") == "\\ud800\\ufffe"
    assert escaped("a\n# b | c") == r"a \# b \| c"
    assert escaped("learning_rate _x_") == r"learning_rate \_x\_"
