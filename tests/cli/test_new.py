"""`ftr new`: what it writes is a plugin that passes every check, and what it refuses it says in one
message.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from authors import imports
from ftr.cli import new as scaffold
from ftr.cli.main import main
from ftr.registry.specs import Kind

PROJECT = Path(__file__).resolve().parents[2]
# The longest name there may be, and one that is no word of Python.
NAMES: dict[Kind, str] = {
    "task": "toxicity",
    "dataset": "a.dotted-name_with.forty.characters.ab12",
    "head": "tagger",
    "metric": "3d-parts",
    "model": "shallow",
}
REGISTERED = {
    "task": [("dataset", ""), ("metric", "-f1"), ("task", "")],
    **{kind: [(kind, "")] for kind in ("dataset", "head", "metric", "model")},
}
"""What each kind registers: kinds of components, and what follows the name."""
MOST_LINES = 60
HEAVY = ("torch", "transformers", "datasets", "ray", "pydantic", "evaluate", "numpy")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of every kind."""
    folder = tmp_path_factory.mktemp("new") / "packages"
    with contextlib.redirect_stdout(io.StringIO()):
        for kind, name in NAMES.items():
            assert main(["new", name, "--kind", kind, "--output", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def environment(made: Path) -> dict[str, str]:
    """The environment of a program that finds all five installed, as pip would leave them."""
    for name in NAMES.values():
        project = tomllib.loads(
            (made / f"ftr-{name}" / "pyproject.toml").read_text(encoding="utf-8")
        )["project"]
        info = made / f"{scaffold.package_name(name)}-{project['version']}.dist-info"
        info.mkdir()
        needs = "".join(f"Requires-Dist: {line}\n" for line in project["dependencies"])
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: "
            f"{project['version']}\n{needs}",
            encoding="utf-8",
        )
        points = "".join(
            f"{key} = {target}\n" for key, target in project["entry-points"]["ftr.plugins"].items()
        )
        (info / "entry_points.txt").write_text(f"[ftr.plugins]\n{points}", encoding="utf-8")
    paths = [str(made), *(str(made / f"ftr-{name}") for name in NAMES.values())]
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "FTR_PLUGINS" and not name.startswith("PYTEST_")
    }
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [kept.get("PYTHONPATH")])]),
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to stand in; what is refused leaves it so."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob("*.new-*"))


def program(
    *arguments: str, environment: dict[str, str], folder: Path
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_it_says_what_it_wrote_and_what_to_do_next(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "spam"]) == 0
    shown = capsys.readouterr().out
    written = sorted(
        path.relative_to(folder / "ftr-spam").as_posix()
        for path in (folder / "ftr-spam").rglob("*")
        if path.is_file()
    )
    assert re.findall(r"^  (\S+\.?\S+)$", shown.partition("next:")[0], re.MULTILINE) == written
    steps = [
        "pip install -e ftr-spam",
        "pytest ftr-spam",
        "ftr run task=spam",
        "ftr sweep task=spam trials=4",
    ]
    assert shown.partition("next:\n")[2].splitlines() == [f"  {step}" for step in steps]
    assert main(["new", "ham", "--kind", "metric", "--output", "there", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {key: answer[key] for key in ("name", "kind", "folder")} == {
        "name": "ham",
        "kind": "metric",
        "folder": "there/ftr-ham",
    }
    assert answer["next"][1:3] == ["pytest there/ftr-ham", "ftr run task=sentiment metrics=ham"]
    assert all((folder / "there" / "ftr-ham" / name).is_file() for name in answer["files"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Toxic Words", " Try `toxic-words`."),
        (".x", " Try `x`."),
        ("../up", " Try `up`."),
        ("ends-", " Try `ends`."),
        ("x" * 41, f" Try `{'x' * 40}`."),
        ("é", ""),
        ("", ""),
    ],
)
def test_a_name_that_no_plugin_can_have_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, hint: str
) -> None:
    assert main(["new", name]) == 2
    message = capsys.readouterr().err
    assert message.startswith(
        f"ftr: error: `{name}` cannot be the name of a plugin: it must be lower-case letters"
    )
    assert message.endswith(f" characters.{hint}\n")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["123", "1e5", "null", "true"])
def test_a_name_that_a_setting_could_not_hold_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["new", name]) == 2
    message = capsys.readouterr().err
    assert f"`{name}` cannot be the name of a plugin" in message and f"`task={name}`" in message
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("qa", "the task `qa` is built in"),
        ("accuracy", "the metric `accuracy` is built in"),
        ("huggingface", "that name is built in"),
        ("plugins", "a module `ftr_plugins` is installed, and the new one would hide it"),
    ],
)
def test_a_name_that_is_taken_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, cause: str
) -> None:
    assert main(["new", name]) == 2
    assert (
        capsys.readouterr().err == f"ftr: error: `{name}` is taken: {cause}. Choose another name.\n"
    )
    assert not list(folder.iterdir())


def test_the_name_of_an_installed_plugin_is_refused_with_its_owner(
    environment: dict[str, str], folder: Path
) -> None:
    result = program("ftr", "new", "tagger", environment=environment, folder=folder)
    assert result.returncode == 2
    cause = "the head `tagger` is registered by plugin `tagger` (ftr-tagger 0.1.0)"
    assert result.stderr == f"ftr: error: `tagger` is taken: {cause}. Choose another name.\n"


def test_a_folder_that_is_there_is_left_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ftr-spam").mkdir()
    (folder / "ftr-spam" / "mine.txt").write_text("mine", encoding="utf-8")
    assert main(["new", "spam"]) == 2
    assert capsys.readouterr().err.startswith(
        "ftr: error: `ftr-spam` exists: remove it, or give another name"
    )
    assert [path.name for path in (folder / "ftr-spam").iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_written_is_a_failure(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").touch()
    assert main(["new", "spam", "--output", "file"]) == 1
    assert (
        capsys.readouterr().err
        == "ftr: error: cannot write `file/ftr-spam`: Not a directory. Give another folder with "
        "`--output FOLDER`.\n"
    )


def test_an_unknown_kind_is_refused_with_a_near_match(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "spam", "--kind", "modle"]) == 2
    assert capsys.readouterr().err.startswith(
        "ftr: error: unknown kind `modle`. Did you mean `model`? The kinds are `task`, "
    )


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.1.0", "ftr>=0.1,<0.2"),
        ("1.4.2", "ftr>=1.4,<1.5"),
        ("0.2.0.dev3+g12ab", "ftr>=0.2.0.dev3,<0.3"),
        ("0+unknown", "ftr"),
    ],
)
def test_the_bound_is_the_minor_version_that_wrote_it(
    monkeypatch: pytest.MonkeyPatch, version: str, expected: str
) -> None:
    from packaging.requirements import Requirement

    monkeypatch.setattr(scaffold, "own_version", lambda: version)
    assert scaffold.requirement() == expected
    assert Requirement(expected).specifier.contains(version, prereleases=True)


def test_no_placeholder_is_left(made: Path) -> None:
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in made.rglob("*")
        if path.is_file() and path.suffix != ".csv"
    }
    assert len(texts) > 30
    assert [
        path
        for path, text in texts.items()
        if "$" in text or "PACKAGE" in f"{path}{text}" or path.suffix == ".tmpl"
    ] == []


@pytest.mark.parametrize("kind", NAMES)
def test_the_package_is_short_and_declares_what_it_imports(made: Path, kind: Kind) -> None:
    folder = made / f"ftr-{NAMES[kind]}"
    files = list((folder / scaffold.package_name(NAMES[kind])).rglob("*.py"))
    assert files and sum(len(path.read_text().splitlines()) for path in files) <= MOST_LINES
    needs = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {
        re.split(r"[<>=]", line)[0].replace("-", "_") for line in needs["dependencies"]
    } | set(sys.stdlib_module_names)
    imported = {name for path in files for name in imports(path.read_text(encoding="utf-8"))}
    assert {name for name in imported if name.partition(".")[0] == "ftr"} == {"ftr.plugin"}
    assert {name.partition(".")[0] for name in imported} <= declared | set(HEAVY)


def test_git_and_the_wheel_keep_every_template() -> None:
    """The build leaves out what git ignores."""
    if not (PROJECT / ".git").exists():
        pytest.skip("not a git checkout")
    templates = [
        str(path) for path in (PROJECT / "core" / "ftr" / "_template").rglob("*") if path.is_file()
    ]
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *templates],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(templates) > 15 and (ignored.returncode, ignored.stdout) == (1, "")


def test_what_is_written_is_clean_for_ruff(made: Path) -> None:
    for words in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        result = program(
            "ruff", *words, *map(str, made.glob("ftr-*")), environment=dict(os.environ), folder=made
        )
        assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_what_is_written_passes_mypy_strict_and_fits_the_protocols(
    made: Path, tmp_path: Path
) -> None:
    fits = tmp_path / "fits.py"
    fits.write_text(
        "from ftr.registry.protocols import Head, Model\n"
        "from ftr_shallow import ShallowModel\n"
        "from ftr_tagger import FocalClassifier\n"
        "head: Head = FocalClassifier(focus=1.0)\n"
        "model: Model = ShallowModel(layers=2)\n",
        encoding="utf-8",
    )
    path = os.pathsep.join(str(made / f"ftr-{name}") for name in NAMES.values())
    for name, words in (*((name, ()) for name in NAMES.values()), ("tagger", (str(fits),))):
        environment = {**os.environ, "MYPYPATH": path if words else ""}
        result = program(
            "mypy",
            "--cache-dir",
            str(tmp_path),
            *words,
            environment=environment,
            folder=made / f"ftr-{name}",
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stdout.startswith("Success")


def test_every_kind_is_found_and_costs_no_heavy_import(
    environment: dict[str, str], folder: Path
) -> None:
    script = (
        f"import sys; from ftr.cli.main import main; main(['list', '--json']); print(set({HEAVY}) "
        "& set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == "set()\n"
    found = {
        (entry["kind"], entry["name"], entry["distribution"], entry["bare_name"])
        for entry in json.loads(result.stdout)
    }
    for kind, name in NAMES.items():
        for part, suffix in REGISTERED[kind]:
            assert (part, name + suffix, f"ftr-{name}", "reachable") in found


@pytest.mark.slow
def test_every_kind_passes_its_conformance_tests(
    made: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """The task's run in `tests/outsiders`, where it is installed by pip."""
    folders = [str(made / f"ftr-{NAMES[kind]}") for kind in scaffold.LAYERS if kind != "task"]
    words = ["--import-mode=importlib", "-p", "no:cacheprovider", "-q", "-rA", *folders]
    result = program(
        "pytest", *words, environment={**environment, "HF_HUB_OFFLINE": "1"}, folder=tmp_path
    )
    assert result.returncode == 0, result.stdout
    passed = re.findall(r"^PASSED .*::(Test\w+)::", result.stdout, re.MULTILINE)
    assert {"TestDataset", "TestHead", "TestMetric", "TestModel"} == set(passed)
