"""A folder of good and bad plugins: every command works, each fault is one line, nothing is half
registered.
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Installer = Callable[..., None]
Ftr = Callable[..., "subprocess.CompletedProcess[str]"]

METRIC = """
@ftr.hookimpl
def ftr_metrics():
    return [ftr.MetricSpec(name={name!r}, target="nowhere:Metric", summary="from {name}")]
"""
TASK = """
@ftr.hookimpl
def ftr_tasks():
    return [ftr.TaskSpec(name={name!r}, dataset="squad", model="minilm", head="extractive-qa", metrics=("squad",))]
"""
FAULTS: Mapping[str, str] = {
    "raises": "ValueError: boom at import",
    "exits": "SystemExit: 3",
    "misspelled": "unknown hook `ftr_task`. Did you mean `ftr_tasks`?",
    "bound": "it requires `ftr>=99`",
    "imports": "ModuleNotFoundError: No module named 'not_there_at_all'",
}


@pytest.fixture
def eight(install: Installer) -> None:
    install("good", METRIC.format(name="good-metric") + TASK.format(name="contested"))
    install("raises", METRIC.format(name="half") + "raise ValueError('boom\\nat import')")
    install("exits", "import sys; sys.exit(3)")
    install(
        "misspelled",
        METRIC.format(name="half") + TASK.format(name="half").replace("ftr_tasks", "ftr_task"),
    )
    install("bound", "raise AssertionError('must not be imported')", requires=["numpy", "ftr>=99"])
    install("shadow", TASK.format(name="qa"))
    install("collides", TASK.format(name="contested"), version="2.5")
    install("imports", "import not_there_at_all")


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    "arguments", [("list",), ("plugins",), ("list", "tasks", "--json"), ("plugins", "--json")]
)
def test_every_light_command_works_and_each_fault_is_one_line(
    ftr: Ftr, arguments: tuple[str, ...]
) -> None:
    result = ftr(*arguments)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == len(FAULTS)
    for name, cause in FAULTS.items():
        assert [
            line
            for line in lines
            if line.startswith(f"ftr: plugin `{name}` ({name}-dist 1.0) not loaded: {cause}")
        ], result.stderr
    if "--json" in arguments:
        assert json.loads(result.stdout)


@pytest.mark.usefixtures("eight")
def test_help_and_version_do_not_even_look_at_plugins(ftr: Ftr) -> None:
    for arguments in ([], ["--help"], ["--version"], ["list", "--help"]):
        result = ftr(*arguments)
        assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.usefixtures("eight")
def test_nothing_of_a_faulty_plugin_is_registered(ftr: Ftr) -> None:
    names = [entry["name"] for entry in json.loads(ftr("list", "--json").stdout)]
    assert "good-metric" in names
    assert "half" not in names


@pytest.mark.usefixtures("eight")
def test_a_built_in_keeps_its_name_and_the_other_is_shown_as_shadowed(ftr: Ftr) -> None:
    entries = {
        entry["qualified"]: entry for entry in json.loads(ftr("list", "task", "--json").stdout)
    }
    assert entries["qa:qa"]["bare_name"] == "reachable"
    assert entries["shadow:qa"]["bare_name"] == "shadowed"
    assert "shadowed by the built-in" in ftr("list", "task").stdout
    assert "ask for shadow:qa" in ftr("plugins").stdout


@pytest.mark.usefixtures("eight")
def test_two_outsiders_with_one_name_are_both_listed_by_qualified_name(ftr: Ftr) -> None:
    entries = {
        entry["qualified"]: entry["bare_name"]
        for entry in json.loads(ftr("list", "tasks", "--json").stdout)
    }
    assert entries["good:contested"] == entries["collides:contested"] == "ambiguous"


@pytest.mark.usefixtures("eight")
def test_plugins_says_status_origin_hooks_and_what_is_registered(ftr: Ftr, site: Path) -> None:
    records = {record["name"]: record for record in json.loads(ftr("plugins", "--json").stdout)}
    assert {name: records[name]["status"] for name in FAULTS} == {
        **dict.fromkeys(FAULTS, "failed"),
        "bound": "skipped",
    }
    good = records["good"]
    assert (good["status"], good["origin"], good["builtin"]) == (
        "loaded",
        str(site / "fake_good_dist.py"),
        False,
    )
    assert good["hooks"] == ["ftr_metrics", "ftr_tasks"]
    assert good["registers"]["metric"] == ["good-metric"]
    assert records["raises"]["registers"]["metric"] == []
    assert records["qa"]["builtin"] is True


@pytest.mark.usefixtures("eight")
def test_the_traceback_is_shown_on_request(ftr: Ftr) -> None:
    result = ftr("plugins", "--traceback", "raises")
    assert result.returncode == 0
    assert "Traceback (most recent call last)" in result.stdout
    assert "fake_raises_dist.py" in result.stdout
    unknown = ftr("plugins", "--traceback", "raise")
    assert unknown.returncode == 2
    assert "no plugin `raise` is installed. Did you mean `raises`?" in unknown.stderr


@pytest.mark.usefixtures("eight")
def test_strict_plugins_end_the_command_with_one_message(ftr: Ftr) -> None:
    result = ftr("list", "--json", FTR_STRICT_PLUGINS="1")
    assert result.returncode == 1
    assert result.stderr.startswith(
        "ftr: error: plugin `bound` (bound-dist 1.0) not loaded: it requires `ftr>=99`"
    )
    assert "`FTR_STRICT_PLUGINS` is set" in json.loads(result.stdout)["error"]


@pytest.mark.usefixtures("eight")
def test_ftr_plugins_selects_outsiders_and_imports_no_other(ftr: Ftr) -> None:
    result = ftr("plugins", "--json", FTR_PLUGINS="")
    assert result.stderr == ""
    statuses = {
        record["name"]: (record["status"], record["builtin"])
        for record in json.loads(result.stdout)
    }
    assert {status for status, builtin in statuses.values() if not builtin} == {"disabled"}
    assert {status for status, builtin in statuses.values() if builtin} == {"loaded"}
    chosen = ftr("plugins", "--json", FTR_PLUGINS="good, Shadow_Dist, goood")
    loaded = [
        record["name"]
        for record in json.loads(chosen.stdout)
        if record["status"] == "loaded" and not record["builtin"]
    ]
    assert loaded == ["good", "shadow"]
    assert (
        chosen.stderr
        == "ftr: `FTR_PLUGINS` names `goood`, and no such plugin is installed. Did you mean "
        "`good`?\n"
    )
