"""Plugin authors import `ftr.plugin` and `ftr.testing` alone, and what they import is light."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ftr.plugin
from authors import imports, internals
from pages import PROJECT, blocks

MOST_LINES = 45
HEAVY = ("torch", "transformers", "datasets", "evaluate", "ray", "pydantic", "numpy")
PAGES = sorted((PROJECT / "docs" / "plugins").glob("*.md"))
BLOCKS = [(page.name, title, text) for page in PAGES for title, text in blocks(page, "python")]
SOURCES = [
    *(PROJECT / "core" / "ftr" / "_template").rglob("*.py.tmpl"),
    *(path for folder in (PROJECT / "examples").glob("ftr-*") for path in folder.rglob("*.py")),
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_templates_and_examples_import_the_public_modules_of_ftr_alone(path: Path) -> None:
    assert internals(path.read_text(encoding="utf-8").replace("$", "")) == []


@pytest.mark.parametrize(("page", "title", "text"), BLOCKS, ids=[title for _, title, _ in BLOCKS])
def test_pages_for_authors_import_the_public_modules_of_ftr_alone(
    page: str, title: str, text: str
) -> None:
    assert internals(text) == [], page


REFERENCE = PROJECT / "docs" / "plugins" / "reference.md"
EXAMPLES = dict(blocks(REFERENCE, "python"))


@pytest.mark.parametrize("name", ftr.plugin.__all__)
def test_every_public_name_is_documented_with_an_example_that_runs(
    name: str, tmp_path: Path
) -> None:
    section = REFERENCE.read_text(encoding="utf-8").partition(f"\n### `{name}`\n")[2]
    about = section.partition("```python")[0].strip()
    assert len(about.split()) > 4 and name in EXAMPLES[name].partition("\n\n")[2]
    file = tmp_path / "my_task.py"
    file.write_text(EXAMPLES[name], encoding="utf-8")
    made: dict[str, Any] = runpy.run_path(str(file), run_name="my_task")
    assert made.keys() & {"annotations", *ftr.plugin.__all__}
    assert getattr(ftr.plugin, name) is not None


def test_the_task_of_one_file_gives_its_rows(tmp_path: Path) -> None:
    text = dict(blocks(PROJECT / "docs" / "plugins" / "README.md", "python"))["my_task.py"]
    (tmp_path / "my_task.py").write_text(text, encoding="utf-8")
    rows = runpy.run_path(str(tmp_path / "my_task.py"), run_name="my_task")["rows"](copies=3)
    assert [row["label"] for row in rows].count("answer") == 3 and len(rows) == 6


def test_internal_imports_are_found() -> None:
    source = (
        "import ftr.data.schema\nif True:\n    from ftr.train.batches import pad\nimport ftrx\n"
    )
    assert internals(source) == ["ftr.data.schema", "ftr.train.batches"]
    assert list(imports("import a.b, c")) == ["a.b", "c"]


@pytest.mark.parametrize("title", ["ftr_tickets.py", "warmth.py"])
def test_the_plugins_of_the_tutorial_are_short_and_light(title: str, tmp_path: Path) -> None:
    (text,) = (text for _, name, text in BLOCKS if name == title)
    assert len(text.splitlines()) <= MOST_LINES
    (tmp_path / title).write_text(text, encoding="utf-8")
    asked = (
        f"import sys, {title.removesuffix('.py')}, ftr.plugin\n"
        "from ftr.plugin import Head, task\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
