"""The documentation is true: made pages are up to date, links lead somewhere, commands parse,
examples resolve, the plugin works.
"""

import argparse
import re
import runpy
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftr.cli.main import COMMANDS, load_command
from ftr.config.components import file_options, head_schema
from ftr.config.keys import KNOWN_KEYS, check_keys
from ftr.config.parse import GROUPS, parse_words
from ftr.config.resolve import resolve
from ftr.config.schema import SWEEP_KEYS, HubOptions
from ftr.config.sweep import resolve_sweep
from ftr.data.infer import settings_with_task
from ftr.prediction.request import reading_settings
from ftr.registry.discovery import HOOKS, discover
from ftr.registry.protocols import Dataset, Head, Model
from ftr.registry.registry import Registry
from ftr.runs.evaluate import READING
from pages import PROJECT, blocks, write_tutorial
from trainings import write_reviews

PAGES = [
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    *(
        page
        for folder in ("docs", "docs/plugins", "examples", "benchmarks")
        for page in sorted((PROJECT / folder).glob("*.md"))
    ),
]
EXAMPLES = [path for path in sorted((PROJECT / "examples").glob("*.yaml")) if path.stem != "sweep"]
SEARCH = PROJECT / "examples" / "sweep.yaml"
DATA = ("task=", "dataset", "config=")
RESOLVED = ("run", "show", "schema")
MADE = [
    ("make_configuration.py", "configuration.md"),
    ("plugins/make_reference.py", "plugins/reference.md"),
    ("make_architecture.py", "architecture.md"),
]


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `ftr` command line, without what stands before or after it in a
    pipe.
    """
    for _, text in blocks(page, "sh"):
        for line in text.splitlines():
            for part in line.partition(" #")[0].split(" | "):
                words = shlex.split(part)
                if (
                    "--plugin" in words
                ):  # which every command takes, and is taken out before the command sees it
                    place = words.index("--plugin")
                    words[place : place + 2] = []
                if words[:1] == ["ftr"]:
                    yield words[1:]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Install the plugin of the tutorial as pip would: its modules and a `*.dist-info` folder."""
    folder = write_tutorial(tmp_path / "site")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / "ftr_tickets-1.0.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {line}\n" for line in project["dependencies"])
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{needs}",
        encoding="utf-8",
    )
    points = "".join(
        f"{name} = {target}\n" for name, target in project["entry-points"]["ftr.plugins"].items()
    )
    # The second plugin of the page, which its commands name with `--plugin`.
    points += "warmth = warmth\n"
    (info / "entry_points.txt").write_text(f"[ftr.plugins]\n{points}", encoding="utf-8")
    return folder


@pytest.fixture
def registry(site: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Everything registered, the plugin of the guide included."""
    monkeypatch.delenv("FTR_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(str(site))
    return Registry(discover())


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder that has the files the pages speak of."""
    shutil.copytree(PROJECT / "examples", tmp_path / "examples")
    for name in (
        "reviews.csv",
        "questions.json",
        "articles.jsonl",
        "pairs.tsv",
        "sentences.conll",
        "other.csv",
        "splits/train.tsv",
        "splits/dev.tsv",
        "splits/test.tsv",
        "my-checkpoint/config.json",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    write_reviews(tmp_path / "reviews.csv")
    rows = "a good film\tpos\na bad film\tneg\n" * 4
    (tmp_path / "splits" / "train.tsv").write_text(f"text\tlabel\n{rows}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("script", "page"), MADE, ids=[page for _, page in MADE])
def test_made_pages_are_up_to_date(script: str, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTR_PLUGINS", "")
    made = runpy.run_path(str(PROJECT / "docs" / script))["page"]()
    assert (PROJECT / "docs" / page).read_text(encoding="utf-8") == made, (
        f"run `python docs/{script}`"
    )


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_in_the_reference_and_has_a_test(hook: str) -> None:
    assert f"- `{hook}(" in (PROJECT / "docs" / "plugins" / "reference.md").read_text(
        encoding="utf-8"
    )
    tests = [path for path in (PROJECT / "tests").rglob("*.py") if path != Path(__file__)]
    assert any(f"def {hook}(" in path.read_text(encoding="utf-8") for path in tests), (
        f"no test has a plugin that implements `{hook}`"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_every_command_of_the_pages_is_one(page: Path, registry: Registry, workplace: None) -> None:
    named = re.findall(r"`ftr ([a-z]+)\b", page.read_text(encoding="utf-8"))
    assert [name for name in named if name not in COMMANDS] == []
    found: list[str] = []  # what `ftr init FILE` wrote for the commands below it
    for name, *rest in commands(page):
        if name == "init":
            found = rest[:1]
        own = any("=" not in word or word.startswith(DATA) for word in rest)
        check_command(name, rest if own or name not in RESOLVED else [*found, *rest], registry)


def check_command(name: str, words: list[str], registry: Registry) -> None:
    parser = argparse.ArgumentParser(prog=f"ftr {name}", allow_abbrev=False)
    parser.add_argument("--json", action="store_true")
    load_command(name).configure(parser)
    args = parser.parse_intermixed_args(words)
    if name in RESOLVED and args.settings:
        resolve(settings_with_task(args.settings, registry, print), registry)
    elif name == "sweep":
        resolve_sweep(settings_with_task(args.settings, registry, print, sweep=True), registry)
    elif name == "resume":
        check_keys(parse_words(args.settings), sweep=True)
    elif name == "submit" and args.words:
        check_command(args.words[0], args.words[1:], registry)
    elif name in ("evaluate", "predict"):
        check_reading(name, args.settings, registry)


def check_reading(name: str, words: list[str], registry: Registry) -> None:
    settings = [word for word in words if "=" in word]
    given = reading_settings(settings) if name == "predict" else parse_words(words)
    check_keys(given)
    assert {key.partition(".")[0] for key in given} <= {*READING, "compute"}
    options = {
        f"dataset.{option}"
        for head in registry.names("head")
        for option in option_names(registry, head)
    }
    assert {key for key in given if key.startswith("dataset.")} <= options


def option_names(registry: Registry, head: str) -> Iterator[str]:
    model = registry.options_model("head", head)
    yield from file_options(
        head_schema(head, None if model is None else model(), registry)
    ).model_fields


FILE = re.compile(r"[\w./<>-]+\.(?:jsonl?|py|csv|tsv|md|yaml|png|toml|txt|log|npy)|[\w./<>-]+/")
KEY = re.compile(r"([a-z_]+(?:\.[a-z_]+)*)(\.\*)?(=[^\"]*)?")
SPLIT = re.compile(r"(train|validation|test)(=|-0|\.[ct]sv).*")
"""A file of a dataset, in a table."""
NOT_OURS = {
    "--shm-size=2g",
    "key=value",  # what a setting looks like
    "../data.csv",  # a path outside of the folder
    "data.splits",  # a place in `run.json`
    "--address",  # of `ray start`
    "keep_in_memory=True",  # Python
    "sep=;",  # a line of spreadsheets
}


def spans(page: Path) -> Iterator[str]:
    """Yield what stands between single backticks outside of the fenced blocks of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found = set(re.findall(r"`([^`\n]+)`", text)) - NOT_OURS
    yield from (span for span in found if not SPLIT.match(span))


@pytest.fixture
def options(registry: Registry) -> set[str]:
    """Return every option of a component and of the files that a head reads, as a key."""
    found = {f"dataset.{name}" for name in HubOptions.model_fields}
    found |= {
        f"dataset.{name}"
        for head in registry.names("head")
        for name in option_names(registry, head)
    }
    for kind in ("dataset", "head", "model"):
        for name in registry.names(kind):
            model = registry.options_model(kind, name)
            found |= {f"{kind}.{option}" for option in (model.model_fields if model else ())}
    return found


@pytest.fixture(scope="module")
def flags() -> set[str]:
    """Return every option of every command."""
    found = {"-", "--", "--help", "--json", "--plugin", "--base", "--quiet", "--verbose"}
    for name in COMMANDS:
        parser = argparse.ArgumentParser()
        load_command(name).configure(parser)
        found |= set(re.findall(r"--[a-z-]+", parser.format_help()))
    for script in (PROJECT / "benchmarks").glob("*.py"):
        found |= set(re.findall(r'"(--[a-z-]+)"', script.read_text(encoding="utf-8")))
    return found


@pytest.fixture(scope="module")
def files() -> str:
    """Return every path of the project, and the text of its code and of the blocks of its pages."""
    folders = ("core", "plugins", "docs", "examples", "benchmarks", "tests")
    paths = [path for folder in folders for path in (PROJECT / folder).rglob("*")] + list(
        PROJECT.iterdir()
    )
    code = [
        path.read_text(encoding="utf-8")
        for path in paths
        if path.suffix == ".py" and "tests" not in path.parts
    ]
    shown = [
        text
        for page in PAGES
        for text in re.findall(r"^```.*?^```", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    ]
    return "\n".join([*(f"{path.as_posix()}/" for path in paths), *code, *shown])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_every_key_option_and_file_that_a_page_names_exists(
    page: Path, options: set[str], flags: set[str], files: str
) -> None:
    missing = []
    for span in spans(page):
        word = span.split()[0]
        if span.startswith("-"):
            known = word in flags
        elif FILE.fullmatch(word):
            known = word in files or Path(word).name in files
        elif (key := KEY.fullmatch(span)) and ("." in key[1] or key[2] or key[3]):
            ours = "." not in key[1] or key[1].partition(".")[0] in GROUPS
            known = not ours or is_key(key[1], options)
        else:
            continue
        if not known:
            missing.append(span)
    assert missing == []


def is_key(key: str, options: set[str]) -> bool:
    return key.startswith("trainer.") or key in {
        *KNOWN_KEYS,
        *SWEEP_KEYS,
        *GROUPS,
        *options,
        "config",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_resolve_and_every_key_of_theirs_counts(path: Path, registry: Registry) -> None:
    resolved = resolve([f"config={path}"], registry)
    assert resolved.config.task == path.stem
    assert f"config file {path}" in set(resolved.origins.values())


def test_the_example_of_a_search_resolves_and_every_key_of_it_counts(registry: Registry) -> None:
    resolved = resolve_sweep([f"config={SEARCH}"], registry)
    assert list(resolved.space) == ["learning_rate", "batch_size", "epochs", "train.warmup"]
    assert (resolved.base.config.task, resolved.trial_limit) == ("sentiment", 20)
    written = (*resolved.space, "trials", "searcher", "scheduler", "compute.cpus")
    assert {resolved.origins[key].partition(",")[0] for key in written} == {f"config file {SEARCH}"}


@pytest.mark.parametrize("protocol", [Dataset, Model, Head])
def test_the_guide_names_every_method_of_a_target(protocol: type) -> None:
    text = (PROJECT / "docs" / "plugins" / "README.md").read_text(encoding="utf-8")
    methods = [
        name
        for name, value in vars(protocol).items()
        if not name.startswith("_") and callable(value)
    ]
    assert (
        methods
        and [name for name in methods if f"`{name}`" not in text and f"`{name}(" not in text] == []
    )
