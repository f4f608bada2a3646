"""Contracts change: what is deprecated is said, and a second group of entry points can be read
beside the first.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from ftr import hookimpl
from ftr.errors import PluginError
from ftr.registry.discovery import (
    CONTRACTS,
    V1,
    Contract,
    PluginRecord,
    collect,
    complaints,
    discover,
)
from ftr.registry.registry import Registry
from ftr.registry.specs import SPEC_TYPES, AnySpec, Deprecated, Kind, hookspec

Installer = Callable[..., None]
Ftr = Callable[..., "subprocess.CompletedProcess[str]"]
Discover = Callable[..., dict[str, PluginRecord]]

V2 = "ftr.plugins.v2"
BOTH = """
@ftr.hookimpl
def ftr_heads(): return [ftr.HeadSpec(name="old", target="a:B")]
@ftr.hookimpl
def ftr_metrics(): return [ftr.MetricSpec(name="score", target="a:B", key="f1")]
"""
NEW = """
@ftr.hookimpl
def ftr_components():
    yield ftr.HeadSpec(name="new", target="a:B")
    yield ftr.MetricSpec(name="other", target="a:B")
"""


@pytest.fixture
def found(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Discover]:
    """Discover with the fake plugins installed, in this process; only theirs are returned, by
    name.
    """
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delenv("FTR_PLUGINS", raising=False)
    known = set(sys.modules)

    def read(*arguments: object) -> dict[str, PluginRecord]:
        records = discover(*arguments)  # type: ignore[arg-type]
        return {record.name: record for record in records if record.origin.startswith(str(site))}

    yield read
    for name in set(sys.modules) - known:
        if name.startswith("fake_"):
            del sys.modules[name]


def read_components(hook: str, result: object) -> Iterator[tuple[Kind, AnySpec]]:
    """Read what the one hook of a made-up second contract gives: specs of any kind."""
    if not isinstance(result, Iterable):
        raise PluginError(f"`{hook}` returned `{type(result).__name__}`")
    for spec in result:
        yield (
            next(kind for kind, expected in SPEC_TYPES.items() if isinstance(spec, expected)),
            spec,
        )


def second_hooks() -> ModuleType:
    def ftr_components() -> list[AnySpec]:
        """Return whatever this plugin adds."""
        return []

    module = ModuleType("second_hooks")
    module.ftr_components = hookspec(ftr_components)  # type: ignore[attr-defined]
    return module


SECOND = {**CONTRACTS, V2: Contract(hookspecs=second_hooks(), read=read_components)}


def test_a_deprecated_hook_or_field_loads_with_one_line_each(
    install: Installer, found: Discover
) -> None:
    install("late", BOTH, version="2.5")
    old = (
        Deprecated(name="ftr_heads", since="0.2", removed="0.4", instead="`ftr_tops`"),
        Deprecated(name="MetricSpec.key", since="0.3", removed="0.5", instead="`MetricSpec.score`"),
        Deprecated(name="MetricSpec.mode", since="0.3", removed="0.5", instead="nothing"),
    )
    records = found({"ftr.plugins": replace(V1, deprecated=old)})
    assert records["late"].status == "loaded" and [
        spec.name for _, spec in records["late"].specs
    ] == ["old", "score"]
    assert list(complaints(list(records.values()))) == [
        "plugin `late` (late-dist 2.5): `ftr_heads` is deprecated since ftr 0.2 and will be removed in ftr "
        "0.4: use `ftr_tops`",
        "plugin `late` (late-dist 2.5): `MetricSpec.key` is deprecated since ftr 0.3 and will be removed in "
        "ftr 0.5: use `MetricSpec.score`",
    ]


def test_a_removed_hook_is_explained() -> None:
    @hookimpl
    def ftr_tops() -> list[AnySpec]:
        return []

    plugin = ModuleType("plugin")
    plugin.ftr_tops = ftr_tops  # type: ignore[attr-defined]
    gone = (Deprecated(name="ftr_tops", since="0.0.1", removed="0.1", instead="`ftr_heads`"),)
    with pytest.raises(
        PluginError, match=r"the hook `ftr_tops` was removed in ftr 0\.1: use `ftr_heads`\."
    ):
        collect(plugin, replace(V1, deprecated=gone))


def test_a_second_group_with_other_hooks_is_read_beside_the_first(
    install: Installer, found: Discover
) -> None:
    install("first", BOTH)
    install("second", NEW, groups=[V2])
    install("misfit", BOTH, groups=[V2])
    records = found(SECOND)
    assert {name: (record.status, record.group) for name, record in records.items()} == {
        "first": ("loaded", "ftr.plugins"),
        "second": ("loaded", V2),
        "misfit": ("failed", V2),
    }
    assert (
        "unknown hook `ftr_heads`" in records["misfit"].cause
        and "The hooks are `ftr_components`." in records["misfit"].cause
    )
    registry = Registry(list(records.values()))
    assert registry.names("head") == ("old", "new") and registry.names("metric") == (
        "score",
        "other",
    )


def test_of_a_distribution_with_both_groups_the_newest_known_is_read(
    install: Installer, found: Discover, site: Path
) -> None:
    install("both", BOTH)
    (site / "fake_newer.py").write_text(f"import ftr\n{NEW}", encoding="utf-8")
    points = (
        f"[ftr.plugins]\nboth = fake_both_dist\n[{V2}]\nboth = fake_newer\n[ftr.plugins.v9]\nboth "
        "= fake_newest\n"
    )
    (site / "both_dist-1.0.dist-info" / "entry_points.txt").write_text(points, encoding="utf-8")
    assert [spec.name for _, spec in found()["both"].specs] == ["old", "score"]
    sys.modules.pop("fake_both_dist")
    assert [spec.name for _, spec in found(SECOND)["both"].specs] == ["new", "other"]
    assert "fake_both_dist" not in sys.modules, "the older plugin is not even imported"


def test_a_plugin_of_a_group_that_is_not_known_yet_is_skipped_with_the_reason(
    install: Installer, ftr: Ftr
) -> None:
    install("tomorrow", "raise AssertionError('must not be imported')", groups=["ftr.plugins.v9"])
    install("other", "raise AssertionError('must not be imported')", groups=["ftr.plugins_of_mine"])
    result = ftr("plugins", "--json")
    records = {record["name"]: record for record in json.loads(result.stdout)}
    assert (records["tomorrow"]["status"], records["tomorrow"]["group"]) == (
        "skipped",
        "ftr.plugins.v9",
    ) and "other" not in records
    assert len(result.stderr.splitlines()) == 1
    assert (
        "(tomorrow-dist 1.0) not loaded: it offers `ftr.plugins.v9`" in result.stderr
        and "install a newer ftr" in result.stderr
    )
