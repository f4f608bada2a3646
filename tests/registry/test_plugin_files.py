"""Plugins that are one file: named on the command line, in the environment or in settings; found
again from a record.
"""

import importlib.util
import json
import os
import py_compile
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftr.atomic import sha256
from ftr.cli.main import main
from ftr.config.parse import registry_for
from ftr.config.resolve import resolve
from ftr.errors import ConfigError, RequestError
from ftr.registry import plugin_files, trust
from ftr.registry.registry import get_registry, registry_for_record, registry_with

Installer = Callable[..., None]
Ftr = Callable[..., "subprocess.CompletedProcess[str]"]

SOURCE = """
import ftr


@ftr.hookimpl
def ftr_metrics():
    return [ftr.MetricSpec(name="pine", target="my_task:Pine", summary="Counts cones.")]


@ftr.hookimpl
def ftr_tasks():
    return [ftr.TaskSpec(name="cones", dataset="sentiment-sample", model="minilm", head="sequence-classification", metrics=("pine",))]


class Pine:
    cones = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_task.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in an empty folder, in this process, which forgets at the end the files that were
    named, and what was trusted.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FTR_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(trust, "_of_process", set())
    monkeypatch.delenv("FTR_PLUGINS", raising=False)
    monkeypatch.delenv(plugin_files.VARIABLE, raising=False)
    get_registry.cache_clear()
    yield tmp_path
    monkeypatch.delenv(plugin_files.VARIABLE, raising=False)
    plugin_files.forget()
    get_registry.cache_clear()


@pytest.mark.parametrize(
    "words",
    [
        ["--plugin", "my_task.py", "list"],
        ["list", "--plugin=./my_task.py"],
        ["list", "metrics", "--json", "--plugin", "my_task.py"],
    ],
)
def test_a_file_may_be_named_before_or_after_the_command(
    ftr: Ftr, file: Path, words: list[str]
) -> None:
    result = ftr(*words)
    assert (result.returncode, result.stderr) == (0, "")
    assert "pine" in result.stdout and "my_task.py" in result.stdout


def test_the_environment_names_files_and_ftr_plugins_tells_of_them(ftr: Ftr, file: Path) -> None:
    result = ftr("plugins", "--json", FTR_PLUGIN_FILES=str(file), FTR_PLUGINS="")
    (record,) = [record for record in json.loads(result.stdout) if record["sha256"]]
    digest = sha256(file)
    assert (record["name"], record["distribution"], record["version"]) == (
        "my_task",
        "my_task.py",
        digest[:12],
    )
    assert (record["status"], record["origin"], record["sha256"]) == ("loaded", str(file), digest)
    assert record["registers"]["metric"] == ["pine"] and record["registers"]["task"] == ["cones"]
    assert (
        f"my_task (my_task.py {digest[:12]}, one file, loaded)\n  origin: {file}\n"
        in ftr("plugins", "--plugin", str(file)).stdout
    )


def test_schema_show_and_settings_know_the_file(ftr: Ftr, file: Path, tmp_path: Path) -> None:
    schema = json.loads(ftr("schema", "--plugin", "my_task.py").stdout)
    assert "cones" in schema["properties"]["task"]["examples"] and "plugins" in schema["properties"]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "mine.yaml").write_text(
        "task: cones\nplugins: [../my_task.py]\n", encoding="utf-8"
    )
    shown = json.loads(ftr("show", "config=deep/mine.yaml", "--json").stdout)
    assert (
        shown["values"]["plugins"] == [str(file)]
        and shown["origins"]["plugins"] == "config file deep/mine.yaml"
    )
    shown = json.loads(ftr("show", "task=cones", "plugins=[./my_task.py]", "--json").stdout)
    assert (shown["values"]["plugins"], shown["origins"]["plugins"]) == (
        [str(file)],
        "command line",
    )
    shown = json.loads(ftr("show", "task=cones", "--json", "--plugin", "my_task.py").stdout)
    assert (shown["values"]["plugins"], shown["origins"]["plugins"]) == ([str(file)], "`--plugin`")


FAULTS = {
    "nowhere.py": (None, "there is no such file."),
    "my_taks.py": (None, "there is no such file. Did you mean `my_task.py`?"),
    "notes.txt": ("", "a plugin of one file is a Python file, `NAME.py`."),
    "my-task.py": (
        SOURCE,
        "`my-task` cannot be the name of a module: use letters, digits and `_`, as in "
        "`my_task.py`.",
    ),
    "class.py": (
        SOURCE,
        "`class` cannot be the name of a module: use letters, digits and `_`, as in `my_class.py`.",
    ),
    "json.py": (SOURCE, "it would hide the module `json` (of Python itself): rename the file."),
    "pluggy.py": (SOURCE, "it would hide the module `pluggy` ("),
    "ftr.py": (SOURCE, "it would hide the module `ftr` ("),
    "twin/my_task.py": (
        SOURCE,
        "my_task.py` has the same name, and both would be the module `my_task`: rename one.",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_cannot_be_a_plugin_is_refused_before_it_is_run(
    here: Path, file: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    content, expected = FAULTS[name]
    (here / "apart" / name).parent.mkdir(parents=True)
    if content is not None:
        (here / "apart" / name).write_text("raise AssertionError('run')", encoding="utf-8")
    elif "my_" in name:
        (here / "apart" / "my_task.py").write_text("", encoding="utf-8")
    assert main(["list", "--plugin", "my_task.py", "--plugin", f"apart/{name}"]) == 2
    message = capsys.readouterr().err
    assert (
        message.startswith(f"ftr: error: plugin file `{here}/apart/{name}`: ")
        and expected in message
        and len(message.splitlines()) == 1
    )
    assert plugin_files.named() == () and "my_task" not in sys.modules, (
        "the command leaves nothing behind"
    )


def test_a_plugin_without_a_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plugin"]) == 2
    assert "`--plugin` needs a file" in capsys.readouterr().err


def test_a_file_that_fails_is_one_line_and_half_of_it_is_not_there(ftr: Ftr, file: Path) -> None:
    file.write_text(f"{SOURCE}\nraise ValueError('late')\n", encoding="utf-8")
    result = ftr("list", "--json", "--plugin", "my_task.py")
    version = sha256(file)[:12]
    assert result.returncode == 0 and "pine" not in result.stdout
    assert result.stderr == (
        f"ftr: plugin `my_task` (my_task.py {version}) not loaded: ValueError: late (see `ftr "
        "plugins --traceback my_task`)\n"
    )
    assert (
        f'File "{file}", line '
        in ftr("plugins", "--traceback", "my_task", "--plugin", "my_task.py").stdout
    )
    result = ftr("show", "task=sentiment", "plugins=my_task.py")
    assert (
        result.returncode == 2
        and "`plugins` names `my_task.py` (command line), and it did not load: ValueError: late."
        in result.stderr
    )


def test_a_file_stands_beside_installed_plugins_of_the_same_names(
    install: Installer, ftr: Ftr, file: Path
) -> None:
    install(
        "lab",
        "@ftr.hookimpl\ndef ftr_metrics(): return [ftr.MetricSpec(name='pine', target='a:B')]",
    )
    entries = json.loads(ftr("list", "metrics", "--json", "--plugin", "my_task.py").stdout)
    assert [entry["qualified"] for entry in entries if entry["name"] == "pine"] == [
        "lab:pine",
        "my_task:pine",
    ]


def test_targets_are_found_in_the_file_also_by_what_is_imported_later(
    here: Path, file: Path
) -> None:
    environment = dict(os.environ)
    registry = registry_with(["my_task.py"])
    assert dict(os.environ) == environment
    assert registry.target("metric", "pine").cones == 3  # type: ignore[attr-defined]
    assert registry_with([file]) is registry, "the same file is loaded once"
    assert sys.modules["my_task"].__file__ == str(file)
    assert registry_for({"task": "cones", "plugins": str(file)}) is registry
    assert resolve({"task": "cones"}, registry).config.plugins == (str(file),)


@pytest.mark.parametrize("value", [7, [""], {"a": 1}])
def test_what_names_no_file_is_a_wrong_setting(here: Path, value: object) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^`plugins` is .* \(argument\): give paths of Python files, "
        r"`plugins=\[\./my_task\.py\]`\.$",
    ):
        registry_for({"task": "qa", "plugins": value})


def test_a_registry_that_was_given_must_hold_what_is_asked_for(here: Path, file: Path) -> None:
    with pytest.raises(ConfigError, match="and it is not in the registry that was given"):
        resolve({"task": "qa", "plugins": [str(file)]}, get_registry())


def test_a_recorded_file_is_found_again_or_named(
    here: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {str(file): sha256(file)}
    trust.remember([trust.plugin(known[str(file)])])
    assert registry_for_record(known).has("metric", "pine")
    plugin_files.forget()
    get_registry.cache_clear()
    file.write_text(f"{SOURCE}\n# more\n", encoding="utf-8")
    with pytest.raises(
        RequestError,
        match=r"my_task\.py` is not the plugin file that this was made with \(sha256 .*: restore "
        r"it, or use it",
    ):
        registry_for_record(known)
    moved = here / "elsewhere" / "my_task.py"
    moved.parent.mkdir()
    file.rename(moved)
    with pytest.raises(
        RequestError,
        match=r"my_task\.py` that this was made with is missing: put it back, or give it with "
        r"`--plugin FILE`",
    ):
        registry_for_record(known)
    assert capsys.readouterr().err == ""
    registry_with([moved])
    (record,) = registry_for_record(known).files
    assert record.origin == str(moved)
    assert capsys.readouterr().err.startswith(
        f"ftr: `{moved}` is not the plugin file that this was made with"
    )


def test_a_recorded_file_that_this_user_neither_named_nor_trained_with_is_not_run(
    here: Path, file: Path
) -> None:
    known = {str(file): sha256(file)}
    for _ in range(2):
        with pytest.raises(
            RequestError,
            match=r"my_task\.py` would be run because this folder names it.*`--plugin "
            r".*my_task\.py`",
        ) as caught:
            registry_for_record(known)
        assert (
            len(str(caught.value).splitlines()) == 1
            and plugin_files.named() == ()
            and "my_task" not in sys.modules
        )
    registry_with([file])
    assert registry_for_record(known).has("metric", "pine"), "it was named"
    plugin_files.forget()
    get_registry.cache_clear()
    with pytest.raises(RequestError, match="would be run because"):
        registry_for_record(known)


def test_content_is_trusted_wherever_it_lies_and_nothing_else_at_its_place(
    here: Path, file: Path
) -> None:
    digest = sha256(file)
    trust.remember([trust.plugin(digest)])
    (here / "received").mkdir()
    copy = here / "received" / "my_task.py"
    copy.write_bytes(file.read_bytes())
    assert registry_for_record({str(copy): digest}).has("metric", "pine")
    # The file was found by a record, which does not make it one that the user named.
    copy.write_text("raise AssertionError('run')", encoding="utf-8")
    with pytest.raises(RequestError, match="would be run because this folder names it"):
        registry_for_record({str(copy): sha256(copy)})


def test_what_has_the_hash_is_what_runs(
    here: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = sha256(file)
    evil = here / "evil.py"
    evil.write_text("raise AssertionError('run')", encoding="utf-8")
    # Of this kind Python's own loader compares neither time nor size with the file.
    py_compile.compile(
        str(evil),
        importlib.util.cache_from_source(str(file)),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    assert plugin_files.load(file, digest).Pine.cones == 3
    plugin_files.forget()

    def swapped(content: Path | bytes) -> str:
        found = sha256(content)
        if isinstance(content, Path):
            content.write_bytes(evil.read_bytes())
        return found

    trust.remember([trust.plugin(digest)])
    monkeypatch.setattr(plugin_files, "sha256", swapped)
    registry = registry_for_record({str(file): digest})
    assert not registry.has("metric", "pine") and "my_task" not in sys.modules
    assert any(
        "AssertionError" not in plugin.cause and plugin.status == "failed"
        for plugin in registry.plugins
    )


def test_a_relative_name_in_the_environment_is_looked_for_along_the_path(
    here: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "sent" / "ftr-plugins-1").mkdir(parents=True)
    file.rename(here / "sent" / "ftr-plugins-1" / "my_task.py")
    monkeypatch.syspath_prepend(str(here / "sent"))
    monkeypatch.setenv(plugin_files.VARIABLE, os.pathsep.join(["ftr-plugins-1/my_task.py", ""]))
    assert plugin_files.named() == (here / "sent" / "ftr-plugins-1" / "my_task.py",)
    assert [plugin.status for plugin in get_registry().plugins if not plugin.builtin] == ["loaded"]


def test_a_file_that_changed_is_loaded_again_by_the_next_command_of_the_process(
    here: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = registry_with([file])
    edited = SOURCE.replace("cones = 3", "cones = 4")
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_text(edited, encoding="utf-8")
    os.utime(
        file, ns=times
    )  # of the same size and second: compiled code of before would be taken for it
    for again in (registry_for({"task": "cones"}), registry_with([file])):
        assert again is not before and again.target("metric", "pine").cones == 4  # type: ignore[attr-defined]
    assert before.target("metric", "pine").cones == 4, "one module of a name is in a process"  # type: ignore[attr-defined]
    file.write_text(f"{edited}\ndef broken(:\n", encoding="utf-8")
    asked = {"task": "cones", "plugins": [str(file)]}
    with pytest.raises(
        RequestError,
        match=r"unknown task `cones`.* `my_task` \(my_task.py .*\) failed: SyntaxError: invalid "
        r"syntax",
    ):
        resolve(asked, registry_for(asked))
    assert "my_task" not in sys.modules
    assert main(["list", "metrics"]) == 0
    assert "pine" not in capsys.readouterr().out
    file.write_text(SOURCE.replace("pine", "fir"), encoding="utf-8")
    assert main(["list", "metrics"]) == 0
    assert "fir" in capsys.readouterr().out


def test_a_module_that_a_file_imported_and_that_changed_is_reported_once(
    here: Path, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = here / "cone_helper.py"
    helper.write_text("cones = 3\n", encoding="utf-8")
    os.utime(helper, (1, 1))
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setattr("ftr.registry.registry.BEGAN", time.time() + 1)
    file.write_text(f"import cone_helper\n{SOURCE}", encoding="utf-8")
    registry_with([file])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("ftr.registry.registry.BEGAN", time.time() - 60)
    helper.write_text("cones = 4\n", encoding="utf-8")
    for _ in range(2):
        registry_with([file])
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert (
        f"`{helper}` changed since this process loaded it: start Python again to use it" in message
    )
    del sys.modules["cone_helper"]
