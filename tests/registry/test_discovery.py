"""What can be wrong with one plugin, and how it is said."""

import json
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

Installer = Callable[..., None]
Ftr = Callable[..., "subprocess.CompletedProcess[str]"]

BROKEN = {
    "an unmarked hook": (
        "def ftr_tasks(): return []",
        "`ftr_tasks` looks like a hook but is not marked: put `@hookimpl` (of `ftr.plugin`) above it",
    ),
    "a forgotten return": (
        "@ftr.hookimpl\ndef ftr_heads(): pass",
        "`ftr_heads` returned `NoneType`: return a list of `HeadSpec`",
    ),
    "a generator that fails half way": (
        "@ftr.hookimpl\ndef ftr_heads():\n    yield ftr.HeadSpec(name='first', target='a:B')\n    "
        "raise KeyError('late')",
        "KeyError: 'late'",
    ),
    "a spec of another kind": (
        "@ftr.hookimpl\ndef ftr_heads(): return [ftr.ModelSpec(name='x', target='a:B')]",
        "`ftr_heads` gave a `ModelSpec`: it must give `HeadSpec` objects only",
    ),
    "an illegal name": (
        "@ftr.hookimpl\ndef ftr_heads(): return [ftr.HeadSpec(name='My Head', target='a:B')]",
        "the head 'My Head': its name",
    ),
    "a target without attribute": (
        "@ftr.hookimpl\ndef ftr_heads(): return [ftr.HeadSpec(name='x', target='a.b')]",
        "`target` is 'a.b': it must be a string `package.module:attribute`",
    ),
    "metrics as a bare string": (
        "@ftr.hookimpl\ndef ftr_tasks(): return [ftr.TaskSpec(name='x', dataset='d', model='m', "
        "head='h', metrics='f1')]",
        "`metrics` is 'f1': it must be a tuple",
    ),
    "a default that is no plain value": (
        "@ftr.hookimpl\ndef ftr_tasks():\n    return [ftr.TaskSpec(name='x', dataset='d', "
        "model='m', head='h', metrics=('f1',), defaults={'seed': lambda: 1})]",
        "`defaults['seed']` is a `function`",
    ),
    "columns that can be changed": (
        "@ftr.hookimpl\ndef ftr_datasets(): return [ftr.DatasetSpec(name='x', target='a:B', "
        "columns=['id'])]",
        "the dataset 'x': `columns` is ['id']: it must be a tuple of names",
    ),
    "a size as people write it": (
        "@ftr.hookimpl\ndef ftr_models(): return [ftr.ModelSpec(name='x', target='a:B', "
        "parameters='109M')]",
        "the model 'x': `parameters` is '109M': it must be a whole number above 0",
    ),
    "a length of nothing": (
        "@ftr.hookimpl\ndef ftr_models(): return [ftr.ModelSpec(name='x', target='a:B', "
        "max_length=0)]",
        "`max_length` is 0: it must be a whole number above 0",
    ),
    "languages as a list": (
        "@ftr.hookimpl\ndef ftr_models(): return [ftr.ModelSpec(name='x', target='a:B', "
        "languages=['English'])]",
        "`languages` is ['English']: it must be a string",
    ),
    "a spec with more in it than strings": (
        "class Spec(ftr.HeadSpec):\n    cache = []\n@ftr.hookimpl\ndef ftr_heads(): return "
        "[Spec(name='x', target='a:B')]",
        "`ftr_heads` gave a `Spec`: it must give `HeadSpec` objects only",
    ),
    "a hook that returns no iterable": (
        "@ftr.hookimpl\ndef ftr_heads(): return 7",
        "`ftr_heads` returned `int`: return a list of",
    ),
    "an entry point to a missing module": (
        "import not_there",
        "ModuleNotFoundError: No module named 'not_there'",
    ),
    "one name twice": (
        "@ftr.hookimpl\ndef ftr_heads(): return [ftr.HeadSpec(name='x', target='a:B')] * 2",
        "the head `x` is registered twice by this plugin",
    ),
    "a hook that takes arguments": (
        "@ftr.hookimpl\ndef ftr_heads(config): return []",
        "PluginValidationError",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_one_line_that_says_what_to_mend(
    install: Installer, ftr: Ftr, case: str
) -> None:
    source, cause = BROKEN[case]
    install("bad", source, version="1.2")
    result = ftr("list", "--json")
    assert result.returncode == 0
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("ftr: plugin `bad` (bad-dist 1.2) not loaded: ")
    assert cause in result.stderr
    assert result.stderr.rstrip().endswith("(see `ftr plugins --traceback bad`)")
    assert "bad" not in {entry["plugin"] for entry in json.loads(result.stdout)}


@pytest.mark.parametrize(
    ("requirement", "status"),
    [
        ("ftr>=0.0.1", "loaded"),
        ("FTR[offline] (>=0.0.1)", "loaded"),
        ("ftr-extras>=99", "loaded"),
        ("ftr>=99; extra == 'future'", "loaded"),
        ("ftr>=99; python_version < '3'", "loaded"),
        ("ftr<0.0.1", "skipped"),
        ("ftr>=99; python_version >= '3'", "skipped"),
        ("ftr>>1", "failed"),
    ],
)
def test_the_version_gate_reads_bounds_markers_and_extras(
    install: Installer, ftr: Ftr, requirement: str, status: str
) -> None:
    install("gated", "", requires=[requirement])
    records = {record["name"]: record for record in json.loads(ftr("plugins", "--json").stdout)}
    assert records["gated"]["status"] == status


def test_malformed_metadata_hides_no_other_plugin(install: Installer, ftr: Ftr, site: Path) -> None:
    install("good", "")
    info = site / "torn-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[ftr.plugins]\nno equals sign here\n", encoding="utf-8")
    result = ftr("plugins", "--json")
    assert result.returncode == 0
    assert {record["name"]: record["status"] for record in json.loads(result.stdout)}[
        "good"
    ] == "loaded"
    assert "ftr: plugin `torn-1.0.dist-info`" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_one_entry_point_name_in_two_distributions_loads_both(install: Installer, ftr: Ftr) -> None:
    source = "@ftr.hookimpl\ndef ftr_heads(): return [ftr.HeadSpec(name='x', target='a:B')]"
    install("same", source, distribution="one-dist")
    install("same", source, distribution="two-dist", version="2.0")
    entries = json.loads(ftr("list", "heads", "--json").stdout)
    assert [entry["qualified"] for entry in entries if entry["name"] == "x"] == [
        "one-dist:x",
        "two-dist:x",
    ]


MISSING = [
    "nosuch-thing>=2",
    "pluggy<1",
    "pluggy>=1",
    "elsewhere; sys_platform == 'nowhere'",
    "unasked; extra == 'more'",
    "numpy",
    "bare-name",
]
LACKS = (
    "it requires `nosuch-thing>=2`, which is not installed, and `pluggy<1`, but "
    f"{version('pluggy')} is installed, and "
)


def test_a_plugin_that_loads_without_what_it_requires_is_reported_with_what_is_missing(
    install: Installer, ftr: Ftr
) -> None:
    install(
        "needy",
        "@ftr.hookimpl\ndef ftr_heads(): return [ftr.HeadSpec(name='kept', "
        "target='nosuch_thing:B')]",
        requires=MISSING,
    )
    told = f"{LACKS}`bare-name`, which is not installed"
    result = ftr("plugins")
    assert (result.returncode, result.stderr) == (
        0,
        f"ftr: plugin `needy` (needy-dist 1.0): {told}\n",
    )
    assert "loaded, see note" in result.stdout and f"  note: {told}\n" in result.stdout
    (record,) = [
        record
        for record in json.loads(ftr("plugins", "--json").stdout)
        if record["name"] == "needy"
    ]
    assert (record["status"], record["lacks"], record["notes"]) == ("loaded", told, [told])
    failed = ftr("show", "task=sentiment", "head=kept")
    assert failed.returncode == 1 and f"No module named 'nosuch_thing'; {told}" in failed.stderr


def test_a_plugin_that_fails_for_want_of_a_requirement_names_it(
    install: Installer, ftr: Ftr
) -> None:
    install("needy", "import nosuch_thing", requires=["nosuch-thing>=2", "=nonsense="])
    result = ftr("list", "heads")
    cause = (
        "ModuleNotFoundError: No module named 'nosuch_thing'; it requires `nosuch-thing>=2`, which "
        "is not installed, and `=nonsense=`"
    )
    assert f"not loaded: {cause}, which cannot be read" in result.stderr


def test_a_plugin_that_has_what_it_requires_is_not_mentioned(install: Installer, ftr: Ftr) -> None:
    install("happy", "", requires=["numpy", "pluggy>=1", "Typing_Extensions"])
    result = ftr("plugins")
    assert result.stderr == "" and "see note" not in result.stdout


@pytest.mark.parametrize(
    "call",
    ["ftr.run(task='sentiment')", "from ftr.registry.registry import get_registry; get_registry()"],
)
def test_a_plugin_that_trains_or_asks_for_plugins_when_it_is_imported_is_not_loaded(
    install: Installer, ftr: Ftr, call: str
) -> None:
    install("eager", call)
    result = ftr("list", "heads")
    assert result.returncode == 0
    assert (
        "it asks for the plugins while they are loaded: a hook module only registers. Put the call "
        "into a function" in result.stderr
    )
