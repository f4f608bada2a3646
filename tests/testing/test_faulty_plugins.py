"""Faulty hook modules, names and options fail the check that is about their fault; a healthy plugin
passes them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftr.registry.discovery import discover
from ftr.registry.registry import Registry
from ftr.testing import HeadConformance
from ftr.testing.subjects import Component

HEAD = """
@ftr.hookimpl
def ftr_heads():
    return [ftr.HeadSpec(name={name!r}, target={target!r}, options={options!r}, summary={summary!r})]
"""
BOUND = ("ftr>=0.0.1,<99",)
LOADS = "test_a_plugin_that_loads_registers_it"
ALONE = "test_its_hook_module_only_registers"


def head(
    name: str,
    target: str = "faulty_heads:Healthy",
    options: str | None = None,
    summary: str = "a head",
) -> str:
    return HEAD.format(name=name, target=target, options=options, summary=summary)


FAULTS: dict[str, tuple[str, str, str]] = {
    # name of plugin and head: source, check, pattern
    "heavy": (
        "import torch\n" + head("heavy"),
        "test_its_hook_module_imports_nothing_heavy",
        r"calling its hooks imports `torch`",
    ),
    "heavy-hook": (
        head("heavy-hook").replace("    return", "    import numpy\n    return"),
        "test_its_hook_module_imports_nothing_heavy",
        r"calling its hooks imports `numpy`\n.*keep the hook module to specs",
    ),
    "chatty": ("print('hello there')\n" + head("chatty"), ALONE, r"printed `hello there`"),
    "warns": (
        "import warnings\nwarnings.simplefilter('ignore')\n" + head("warns"),
        ALONE,
        r"changed the warnings filters",
    ),
    "logs": (
        "import logging\nlogging.basicConfig(level=10)\n" + head("logs"),
        ALONE,
        r"changed logging \(the root logger\)",
    ),
    "sets": (
        "import os\nos.environ['TOKENIZERS_PARALLELISM'] = '0'\n" + head("sets"),
        ALONE,
        r"`os.environ` \(TOKENIZERS_PARALLELISM\)",
    ),
    "fickle": (
        "import itertools\nCOUNT = itertools.count()\n"
        + head("fickle").replace("'a head'", "str(next(COUNT))"),
        "test_its_hooks_give_the_same_specs_each_time",
        r"a second call gave other specs",
    ),
    "Bad Name": (head("Bad Name"), LOADS, r"the head 'Bad Name': its name must be lower-case"),
    "none": (
        "@ftr.hookimpl\ndef ftr_heads():\n    pass\n",
        LOADS,
        r"`none` .* `ftr_heads` returned `NoneType`: return a list",
    ),
    "halfway": (
        "@ftr.hookimpl\ndef ftr_heads():\n    yield ftr.HeadSpec(name='halfway', target='a:B')\n   "
        " raise KeyError('late')\n",
        LOADS,
        r"KeyError: 'late'",
    ),
    "raises": ("raise OSError('no such drive')\n", LOADS, r"OSError: no such drive"),
    "misspelt": (
        head("misspelt").replace("ftr_heads", "ftr_head"),
        LOADS,
        r"unknown hook `ftr_head`",
    ),
    "unmarked": (
        head("unmarked").replace("@ftr.hookimpl\n", ""),
        LOADS,
        r"put `@hookimpl` \(of `ftr.plugin`\) above it",
    ),
    "mutable": (
        "@ftr.hookimpl\ndef ftr_datasets():\n    return [ftr.DatasetSpec(name='mutable', "
        "target='a:B', columns=['text'])]\n",
        LOADS,
        r"`columns` is \['text'\]: it must be a tuple",
    ),
    "absent": (
        head("absent", "faulty_heads:Absent"),
        "test_its_target_imports",
        r"the target of .*`faulty_heads:Absent`, imports\n.*no attribute 'Absent'",
    ),
    "broken": (
        head("broken", "no_such_module:Head"),
        "test_its_target_imports",
        r"No module named 'no_such_module'",
    ),
    "explodes": (
        head("explodes", "faulty_target:Head"),
        "test_its_target_imports",
        r"cannot be imported: OSError: no such drive \(.*faulty_target.py:1\)",
    ),
    "noclass": (
        head("noclass", "faulty_heads:__all__"),
        "test_its_target_gives_what_the_kind_promises",
        r"its target `faulty_heads:__all__` is not callable",
    ),
    "halfhead": (
        head("halfhead", "faulty_data:HealthyDataset"),
        "test_its_target_gives_what_the_kind_promises",
        r"it raised TypeError",
    ),
    "nomethods": (
        head("nomethods", "faulty_parts:TinyModel"),
        "test_its_target_gives_what_the_kind_promises",
        r"without `schema`, `check`, `build`",
    ),
    "qa": (
        "@ftr.hookimpl\ndef ftr_heads():\n    return [ftr.HeadSpec(name='extractive-qa', "
        "target='faulty_heads:Healthy', summary='mine')]\n",
        "test_its_name_is_free",
        r"registered by `qa` \(ftr .*\) and .*: the bare name is shadowed\n.*another name",
    ),
    "mute": (
        head("mute", summary=""),
        "test_its_spec_has_a_summary_of_one_line",
        r"`summary` is ''",
    ),
    "local": (
        "def odd():\n    class Odd(str):\n        pass\n    return Odd('x')\n\n\n"
        + head("local").replace("'a head'", "odd()"),
        "test_its_spec_pickles",
        r"it does not pickle: .*Odd",
    ),
    "openoptions": (
        head("openoptions", options="faulty_parts:OpenOptions"),
        "test_its_options_refuse_unknown_keys",
        r"`OpenOptions` takes any key",
    ),
    "nomodel": (
        head("nomodel", options="faulty_parts:NoModel"),
        "test_its_options_refuse_unknown_keys",
        r"`NoModel`|not a pydantic model class",
    ),
    "silent": (
        head("silent", options="faulty_parts:SilentOptions"),
        "test_its_options_have_a_schema",
        r"`share` without a description",
    ),
    "forgetful": (
        head("forgetful", options="faulty_parts:ForgetfulOptions"),
        "test_its_options_come_back_from_a_run_record",
        r"ValidationError: .*a path is needed",
    ),
    "tunes": (
        head("tunes", "faulty_authors:Tunes"),
        "test_it_uses_nothing_deprecated",
        r"`Tunes.tune` is never called",
    ),
    "unbound": (
        head("unbound"),
        "test_its_package_says_which_ftr_it_was_made_for",
        r"its dependencies have `ftr>=0.0.1`\n.*<0.2",
    ),
    "healthy": (head("healthy", options="faulty_parts:HealthyOptions"), "", ""),
}
Said = Callable[..., str]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """All plugins of `FAULTS` as pip would leave them, and what loads of them."""
    site = tmp_path_factory.mktemp("site")
    for name, (source, _, _) in FAULTS.items():
        write(site, name, source, ("ftr>=0.0.1",) if name == "unbound" else BOUND)
    write(site, "missing", None, BOUND)
    (site / "faulty_target.py").write_text("raise OSError('no such drive')\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.delenv("FTR_PLUGINS", raising=False)
        yield Registry(discover())


def write(site: Path, name: str, source: str | None, requires: tuple[str, ...]) -> None:
    """Leave a distribution in `site` whose entry point is a module of `source`, or one that is not
    there.
    """
    slug = re.sub(r"\W", "_", name.lower())
    if source is not None:
        (site / f"faulty_hooks_{slug}.py").write_text(f"import ftr\n\n\n{source}", encoding="utf-8")
    info = site / f"faulty_{slug}-1.0.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: faulty-{slug}\nVersion: 1.0\n{needs}", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(
        f"[ftr.plugins]\n{slug} = faulty_hooks_{slug}\n", encoding="utf-8"
    )


def component(registry: Registry, name: str) -> Component:
    kind: Any = "dataset" if name == "mutable" else "head"
    return Component(registry, kind, "faulty-qa:extractive-qa" if name == "qa" else name)


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "healthy"])
def test_a_faulty_plugin_fails_with_a_message_that_points_at_the_fault(
    name: str, installed: Registry, said: Said
) -> None:
    _, check, pattern = FAULTS[name]
    message = said(HeadConformance, check, [component(installed, name)])
    assert re.search(pattern, message), message


def test_an_entry_point_to_a_module_that_is_missing_is_named(
    installed: Registry, said: Said
) -> None:
    message = said(HeadConformance, LOADS, [Component(installed, "head", "missing")])
    assert re.search(
        r"`missing` \(faulty-missing 1.0\) failed: ModuleNotFoundError: No module named "
        r"'faulty_hooks_missing'",
        message,
    )


def test_a_healthy_plugin_passes_every_check_and_every_check_has_a_fault_that_it_finds(
    installed: Registry,
) -> None:
    checks = {
        name
        for name in dir(HeadConformance)
        if "ftr_components" in getattr(getattr(HeadConformance, name), "__annotations__", {})
    }
    assert checks == {check for _, check, _ in FAULTS.values() if check}
    for check in checks:
        getattr(HeadConformance(), check)([component(installed, "healthy")])
