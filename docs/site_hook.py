"""Make a site of the pages of the repository: MkDocs calls these functions (`mkdocs.yml`).

Pages keep their paths in the repository, so that a link works there and in the site. The site has
the README as its first page, and the pages of `docs/` without that folder in their addresses.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
NOT_SHOWN = {".py", ".jsonl", ".lock"}
"""Files of `docs/` that make pages or are read by them."""
LINK = re.compile(r"\]\(([^)#:\s]+)")
NO_PROSE = re.compile(r"$|[#<!|:\[-]|```")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of `docs/` by all pages of the navigation and what they link to."""
    theirs = [file for file in files if file.src_dir is None or Path(file.src_dir) != ROOT / "docs"]
    found = Files(theirs)
    waiting = sorted(
        path
        for path in (ROOT / "docs").rglob("*")
        if path.is_file() and path.suffix not in NOT_SHOWN
    )
    waiting = [path for path in waiting if "__pycache__" not in path.parts]
    waiting += [ROOT / path for path in pages_of(config.nav)]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        found.append(file_of(path, config))
        if path.suffix == ".md":
            linked = (
                (path.parent / target).resolve()
                for target in LINK.findall(path.read_text(encoding="utf-8"))
            )
            waiting += [one for one in linked if one.is_file() and ROOT in one.parents]
    return found


def pages_of(nav: Any) -> list[str]:
    """Return the paths of a navigation."""
    if isinstance(nav, str):
        return [nav]
    return [
        page for one in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(one)
    ]


def file_of(path: Path, config: MkDocsConfig) -> File:
    """Return a file of the repository; a notebook becomes Markdown."""
    notebook = path.suffix == ".ipynb"
    file = (Notebook if notebook else File)(
        path.relative_to(ROOT).as_posix(),
        src_dir=str(ROOT),
        dest_dir=config.site_dir,
        use_directory_urls=config.use_directory_urls,
        inclusion=InclusionLevel.INCLUDED,
    )
    if notebook:
        file.content_string = markdown_of(path)
    file.dest_uri = file.dest_uri.removeprefix("docs/")
    return file


class Notebook(File):
    """A notebook with its outputs, as a page."""

    def is_documentation_page(self) -> bool:
        """Make MkDocs render it."""
        return True


def markdown_of(notebook: Path) -> str:
    """Return the cells of a notebook, with their outputs, in Markdown."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in parts_of(cell))


def parts_of(cell: Any) -> Iterator[str]:
    """Yield the text of a cell and of its outputs."""
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            yield f"![output](data:image/png;base64,{''.join(data['image/png']).strip()})"
        elif "text/html" in data:
            plain = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
            yield re.sub(r' (?:border|class|style)="[^"]*"', "", plain)
        elif shown := "".join(data.get("text/plain") or output.get("text", [])).rstrip():
            yield f"```text\n{shown}\n```"


def on_page_markdown(markdown: str, page: Page, **_: object) -> None:
    """Keep old versions out of the search, and find a key in its table first."""
    if page.file.src_uri == "CHANGELOG.md":
        page.meta["search"] = {"exclude": True}
    elif page.file.src_uri == "docs/configuration.md":
        page.meta["search"] = {"boost": 2}


def on_env(env: object, config: MkDocsConfig, files: Files) -> None:
    """Write `llms.txt`, with title and first paragraph of each page, and each page as Markdown."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    for section in config.nav or []:
        for title, entries in section.items():
            lines += ["", f"## {title}", ""]
            for source in pages_of(entries):
                file = files.src_uris[source]
                page = file.page
                assert page is not None
                address = f"{file.dest_uri.removesuffix('.html')}.md"
                target = Path(config.site_dir) / address
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(file.content_string, encoding="utf-8")
                lines.append(f"- [{page.title}]({address}): {first_paragraph(file.content_string)}")
    (Path(config.site_dir) / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def first_paragraph(text: str) -> str:
    """Return the first paragraph of a page without the marks of Markdown."""
    blocks = (block.strip() for block in re.split(r"\n\s*\n", text))
    prose = next((block for block in blocks if not NO_PROSE.match(block)), "")
    return " ".join(re.sub(r"\[([^]]+)\]\([^)]*\)|`", r"\1", prose).split())
