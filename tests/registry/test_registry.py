"""Looking up names, bare and qualified, and importing targets."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftr.errors import PluginError, UnknownComponentError
from ftr.registry.discovery import PluginRecord, Status
from ftr.registry.registry import Registry, get_registry
from ftr.registry.specs import HeadSpec, TaskSpec


def record(
    name: str,
    *heads: str,
    distribution: str = "",
    version: str = "1.0",
    status: Status = "loaded",
    cause: str = "",
) -> PluginRecord:
    return PluginRecord(
        name=name,
        distribution=distribution or f"{name}-dist",
        version=version,
        origin="here",
        builtin=distribution == "ftr",
        status=status,
        cause=cause,
        specs=tuple(("head", HeadSpec(name=head, target=f"{name}_code:Head")) for head in heads),
    )


def test_a_built_in_wins_the_bare_name_and_the_outsider_keeps_its_qualified_one() -> None:
    registry = Registry([record("core", "span", distribution="ftr"), record("other", "span")])
    assert registry.find("head", "span").plugin.name == "core"
    outsider = registry.find("head", "other:span")
    assert (outsider.plugin.name, outsider.shadowed) == ("other", True)
    assert registry.find("head", "Other_Dist:span") == outsider
    assert registry.names("head") == ("span",)


def test_an_outsider_cannot_take_a_built_in_qualified_name() -> None:
    registry = Registry(
        [record("span", "span", distribution="ftr"), record("span", "span", distribution="span")]
    )
    assert registry.find("head", "span:span").plugin.builtin
    assert [registry.find("head", entry.qualified) for entry in registry.all("head")] == list(
        registry.all("head")
    )


def test_two_outsiders_clash_only_when_the_bare_name_is_asked_for() -> None:
    registry = Registry([record("one", "span", "left"), record("two", "span", version="2.5")])
    assert registry.find("head", "left").plugin.name == "one"
    assert registry.has("head", "span")
    assert registry.names("head") == ("left",)
    with pytest.raises(UnknownComponentError) as caught:
        registry.find("head", "span")
    assert str(caught.value) == (
        "the head `span` is registered by more than one plugin: `one` (one-dist 1.0) and `two` "
        "(two-dist 2.5). Ask for `one:span` or `two:span`."
    )


def test_one_entry_point_name_in_two_distributions_is_qualified_by_distribution() -> None:
    registry = Registry(
        [
            record("same", "x", distribution="one"),
            record("same", "x", distribution="two", version="3"),
        ]
    )
    with pytest.raises(
        UnknownComponentError,
        match=r"`same` \(one 1\.0\) and `same` \(two 3\)\. Ask for `one:x` or `two:x`",
    ):
        registry.find("head", "same:x")
    assert registry.find("head", "two:x").plugin.version == "3"


def test_every_qualified_name_finds_its_own_component() -> None:
    plugins = [
        record("a", "x", distribution="one"),
        record("b", "x", distribution="one"),
        record("a", "x", distribution="two"),
        record("one", "x"),
    ]
    registry = Registry(plugins)
    for entry in registry.all("head"):
        assert registry.find("head", entry.qualified) is entry


def test_an_unknown_name_gets_near_matches_what_there_is_and_the_plugins_that_failed() -> None:
    failed = record("broken", status="failed", cause="ImportError: no such thing")
    registry = Registry(
        [record("core", "extractive-qa", "sequence-classification", distribution="ftr"), failed]
    )
    with pytest.raises(UnknownComponentError) as caught:
        registry.find("head", "extractive_qa")
    assert str(caught.value) == (
        "unknown head `extractive_qa`. Did you mean `extractive-qa`? Available: `extractive-qa`, "
        "`sequence-classification`. It may belong to a plugin that is not loaded: `broken` "
        "(broken-dist 1.0) failed: ImportError: no such thing."
    )


def test_without_any_built_in_the_message_says_that_ftr_is_not_installed() -> None:
    with pytest.raises(
        UnknownComponentError,
        match=r"Available: none\. The built-in plugins are missing too: `ftr` itself is not "
        r"installed",
    ):
        Registry([]).find("task", "qa")


def test_a_target_is_imported_when_asked_for_and_its_failure_names_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lazy_code.py").write_text("class Head: pass", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry([record("lazy", "x"), record("gone", "y")])
    target = registry.target("head", "x")
    assert isinstance(target, type)
    assert target.__module__ == "lazy_code"
    assert registry.options_model("head", "x") is None
    with pytest.raises(PluginError) as caught:
        registry.target("head", "y")
    assert str(caught.value) == (
        "the head `y` of plugin `gone` (gone-dist 1.0): its target `gone_code:Head` cannot be "
        "imported: ModuleNotFoundError: No module named 'gone_code'"
    )


def test_the_registry_pickles_with_its_names() -> None:
    task = TaskSpec(
        name="t", dataset="d", model="m", head="x", metrics=("f1",), defaults={"seed": 1}
    )
    plugin = PluginRecord(
        name="p",
        distribution="p",
        version="1",
        origin="",
        builtin=False,
        status="loaded",
        specs=(("task", task),),
    )
    copy = pickle.loads(pickle.dumps(Registry([plugin, record("other", "x")])))
    assert copy.task("t").defaults == {"seed": 1}
    assert copy.find("head", "x").qualified == "other:x"


def test_the_built_in_components_come_through_the_same_hooks() -> None:
    registry = get_registry()
    assert {"qa", "sentiment"} <= set(registry.names("task"))
    for name in ("qa", "sentiment"):
        task = registry.task(name)
        assert registry.has("dataset", task.dataset)
        assert registry.has("model", task.model)
        assert registry.has("head", task.head)
        assert all(registry.has("metric", metric) for metric in task.metrics)
    assert get_registry() is registry


def test_options_that_are_no_pydantic_model_are_named_with_their_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "class Top: pass\nclass Plain:\n    model_validate = 1\nTABLE = {}\n"
    (tmp_path / "optional_code.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    heads = [
        HeadSpec(name=name.lower(), target="optional_code:Top", options=f"optional_code:{name}")
        for name in ("Plain", "TABLE")
    ]
    registry = Registry([replace(record("lab"), specs=tuple(("head", head) for head in heads))])
    for name, attribute, what in (
        ("plain", "Plain", "the class `Plain`"),
        ("table", "TABLE", "a `dict`"),
    ):
        with pytest.raises(PluginError) as caught:
            registry.options_model("head", name)
        assert str(caught.value) == (
            f"the head `{name}` of plugin `lab` (lab-dist 1.0): its options "
            f"`optional_code:{attribute}` are {what}, not a pydantic model class."
        )


def test_nobody_can_change_what_a_task_says_for_others() -> None:
    given = {"data.things": [1, 2], "head.map": {"a": [1]}}
    task = TaskSpec(
        name="t",
        dataset="d",
        model="m",
        head="x",
        metrics=("f1",),
        defaults=given,
        search_space=given,
    )
    given["data.things"].append(3)  # type: ignore[attr-defined]
    task.defaults["data.things"].append(4)  # type: ignore[attr-defined]
    task.search_space["head.map"]["a"].append(2)  # type: ignore[index]
    assert task.defaults == task.search_space == {"data.things": [1, 2], "head.map": {"a": [1]}}


def test_rivals_are_those_of_other_plugins_with_the_same_kind_and_name() -> None:
    registry = Registry(
        [record("core", "span", distribution="ftr"), record("other", "span", "own")]
    )
    builtin, outsider, own = registry.all("head")
    assert (registry.rivals(builtin), registry.rivals(outsider), registry.rivals(own)) == (
        (outsider,),
        (builtin,),
        (),
    )


def test_models_of_plugins_are_listed_with_the_facts_they_give(install: Any, ftr: Any) -> None:
    install(
        "sizes",
        "@ftr.hookimpl\ndef ftr_models(): return [ftr.ModelSpec(name='plain', target='a:B'), "
        "ftr.ModelSpec(name='large', target='a:B', parameters=1_540_000_000, summary='slow')]",
    )
    lines = ftr("list", "model").stdout.splitlines()
    assert lines[0].split()[-2:] == ["license", "plugin"]
    place = next(number for number, line in enumerate(lines) if line.startswith("plain"))
    assert lines[place].split() == ["plain", "sizes", "(sizes-dist", "1.0)"]
    assert lines[place + 1].split()[:2] == ["large", "1.5B"] and lines[place + 2] == "  slow"
