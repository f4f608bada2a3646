"""Checks of any component: the plugin it comes from, its spec, its target and its options."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires
from typing import TYPE_CHECKING

import pytest

from ftr.plugin import Head
from ftr.registry.specs import DEPRECATED, TaskSpec
from ftr.testing.contract import Conformance, broken, require
from ftr.testing.probe import Probed, probed
from ftr.testing.subjects import Component

if TYPE_CHECKING:
    from pydantic import BaseModel

PROMISES: Mapping[str, tuple[str, ...]] = {
    "model": ("tokenizer", "load", "max_length", "describe"),
    "head": (
        "schema",
        "check",
        "build",
        "encode",
        "collate",
        "loss",
        "reduce",
        "decode",
        "calibrate",
        "uncalibrated",
        "score_inputs",
    ),
    "metric": ("compute",),
}
"""What the object that a target gives must have, by kind: see `ftr.registry.protocols`."""
HOW: Mapping[str, str] = {
    "head": "derive it from `ftr.plugin.Head`, which has all of them",
    "model": "derive it from `ftr.plugin.Model`, which has all of them",
}


class PluginChecks(Conformance):
    """What must hold of every component and of the module that registers it."""

    def test_a_plugin_that_loads_registers_it(self, ftr_components: list[Component]) -> None:
        for component in ftr_components:
            _ = component.entry

    def test_its_name_is_free(self, ftr_components: list[Component]) -> None:
        for component in ftr_components:
            entry = component.entry
            others = [
                other
                for other in component.registry.all(component.kind)
                if other.spec.name == entry.spec.name
            ]
            owners = " and ".join(other.plugin.described for other in others)
            require(
                entry.bare_name == "reachable",
                f"the bare name `{entry.spec.name}` finds {component}",
                f"it is registered by {owners}: the bare name is {entry.bare_name}",
                "give the spec another name",
            )

    def test_its_spec_has_a_summary_of_one_line(self, ftr_components: list[Component]) -> None:
        for component in ftr_components:
            summary = component.spec.summary
            require(
                summary.strip() and "\n" not in summary,
                f"{component} has a summary that `ftr list` shows in one line",
                f"`summary` is {summary!r}",
                "say in a few words what it is",
            )

    def test_its_spec_pickles(self, ftr_components: list[Component]) -> None:
        for component in ftr_components:
            promise, change = (
                f"the spec of {component} crosses to other processes",
                "put strings and plain values only into the spec",
            )
            try:
                same = pickle.loads(pickle.dumps(component.spec)) == component.spec  # noqa: S301 - what was pickled here
            except Exception as error:
                broken(promise, f"it does not pickle: {type(error).__name__}: {error}", change)
            require(same, promise, "it comes back as another", change)

    def test_its_hooks_give_the_same_specs_each_time(self, ftr_components: list[Component]) -> None:
        for plugin, found in _probes(ftr_components):
            require(
                found.steady,
                f"the hooks of plugin {plugin} give the same specs in every process, however often "
                "they are called",
                "a second call gave other specs than the first",
                "let hooks return what is written in the module, and read nothing that changes",
            )

    def test_its_hook_module_imports_nothing_heavy(self, ftr_components: list[Component]) -> None:
        for plugin, found in _probes(ftr_components):
            require(
                not found.heavy,
                f"the hook module of plugin {plugin} is light: every `ftr` command imports it",
                "importing it and calling its hooks imports "
                f"{', '.join(f'`{name}`' for name in found.heavy)}",
                "keep the hook module to specs, and import these where the targets are",
            )

    def test_its_hook_module_only_registers(self, ftr_components: list[Component]) -> None:
        for plugin, found in _probes(ftr_components):
            require(
                not found.notes,
                f"the hook module of plugin {plugin} prints nothing and leaves warnings, logging "
                "and `os.environ` alone",
                "; ".join(found.notes),
                "take it out of the hook module: do it where the targets are, and only for as long "
                "as it is needed",
            )

    def test_its_package_says_which_ftr_it_was_made_for(
        self, ftr_components: list[Component]
    ) -> None:
        from packaging.requirements import Requirement

        for component in ftr_components:
            plugin = component.plugin
            if plugin.builtin:
                pytest.skip(f"plugin {plugin.described} is part of ftr")
            try:
                needs = [Requirement(line) for line in requires(plugin.distribution) or []]
            except PackageNotFoundError:
                pytest.skip(f"plugin {plugin.described} is one file and no package")
            own = [need for need in needs if need.name.lower() == "ftr"]
            bounds = {specifier.operator for need in own for specifier in need.specifier}
            require(
                bounds & {"<", "<=", "==", "~="},
                f"`{plugin.distribution}` bounds the versions of ftr it was made for, so that "
                "another is refused before it is imported",
                f"its dependencies have {', '.join(f'`{need}`' for need in own) or 'no `ftr`'}",
                'write `dependencies = ["ftr>=0.1,<0.2"]` with the version it was written for',
            )

    def test_its_target_imports(self, ftr_components: list[Component]) -> None:
        for component in ftr_components:
            if not isinstance(component.spec, TaskSpec):
                _ = component.target

    def test_its_target_gives_what_the_kind_promises(self, ftr_components: list[Component]) -> None:
        for component in ftr_components:
            if isinstance(component.spec, TaskSpec) or component.is_function:
                continue
            made = component.make()
            lacks = [name for name in PROMISES[component.kind] if not hasattr(made, name)]
            require(
                not lacks,
                f"what the target of {component} gives has "
                f"{', '.join(f'`{name}`' for name in PROMISES[component.kind])}",
                f"a `{type(made).__name__}` without {', '.join(f'`{name}`' for name in lacks)}",
                HOW.get(component.kind, "return a number or a dict from a function"),
            )

    def test_it_uses_nothing_deprecated(self, ftr_components: list[Component]) -> None:
        """Warns of a method that still works under its former name."""
        for component in ftr_components:
            made = component.make() if component.kind == "head" else None
            for entry in DEPRECATED:
                former = entry.name.removeprefix("Head.")
                if hasattr(made, former):
                    require(
                        not isinstance(made, Head),
                        f"{component} has methods that ftr calls",
                        f"`{type(made).__name__}.{former}` is never called: {entry.notice}",
                        f"rename it to {entry.instead}",
                    )
                    warnings.warn(f"{component}: {entry.notice}", DeprecationWarning, stacklevel=1)

    def test_its_options_refuse_unknown_keys(self, ftr_components: list[Component]) -> None:
        for component, model in _with_options(ftr_components):
            require(
                model.model_config.get("extra") == "forbid",
                f"the options of {component} refuse keys they do not know, so that a misspelled "
                "one is not lost",
                f"`{model.__name__}` takes any key",
                "derive it from `ftr.plugin.Options`, or set "
                '`model_config = ConfigDict(extra="forbid")`',
            )

    def test_its_options_have_a_schema(self, ftr_components: list[Component]) -> None:
        for component, model in _with_options(ftr_components):
            try:
                properties = model.model_json_schema().get("properties", {})
            except Exception as error:
                broken(
                    f"the options of {component} have a JSON Schema, for `ftr schema`",
                    f"{type(error).__name__}: {error}",
                    "use types that JSON has",
                )
            silent = [name for name, field in properties.items() if not field.get("description")]
            require(
                not silent,
                f"every option of {component} is described, for `ftr schema`",
                f"{', '.join(f'`{name}`' for name in silent)} without a description",
                f'say what it is: `{silent[0] if silent else ""}: Annotated[..., "what it is"]` '
                "where options are parameters, `Field(..., description=...)` in a class",
            )

    def test_its_options_come_back_from_a_run_record(self, ftr_components: list[Component]) -> None:
        for component, model in _with_options(ftr_components):
            made = component.made_options
            promise = f"the options of {component} are kept in `run.json` and read again"
            try:
                again = model.model_validate(
                    made.model_dump(mode="json", by_alias=True) if made else {}
                )
            except Exception as error:
                broken(
                    promise,
                    f"{type(error).__name__}: {error}",
                    "use types whose JSON form validates again",
                )
            require(
                again == made,
                promise,
                f"{made!r} became {again!r}",
                "use types whose JSON form validates to the same value",
            )


def _probes(components: list[Component]) -> list[tuple[str, Probed]]:
    plugins = {component.plugin.described: component.plugin for component in components}
    return [(described, probed(plugin)) for described, plugin in plugins.items()]


def _with_options(components: list[Component]) -> list[tuple[Component, type[BaseModel]]]:
    found = [
        (component, component.options_model)
        for component in components
        if not isinstance(component.spec, TaskSpec)
    ]
    models = [(component, model) for component, model in found if model is not None]
    if not models:
        pytest.skip("it takes no options")
    return models
