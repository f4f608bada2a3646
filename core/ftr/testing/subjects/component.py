"""A registered component: its spec, its plugin, its options, and what its target gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftr.errors import FtrError
from ftr.registry.specs import AnySpec, Kind, TaskSpec
from ftr.registry.targets import is_metric_function, make, make_metric
from ftr.testing.contract import broken, must_work

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ftr.registry.discovery import PluginRecord
    from ftr.registry.registry import Registered, Registry


class Component:
    """One component by kind and name; whatever is asked of it and cannot be had fails the running
    check.
    """

    def __init__(
        self, registry: Registry, kind: Kind, name: str, options: Mapping[str, Any] | None = None
    ) -> None:
        """Nothing is looked up or imported yet."""
        self.registry, self.kind, self.name, self.options = (
            registry,
            kind,
            name,
            dict(options or {}),
        )

    def __str__(self) -> str:
        return f"the {self.kind} `{self.name}`"

    @cached_property
    def entry(self) -> Registered:
        """Where the registry has it."""
        try:
            return self.registry.find(self.kind, self.name)
        except FtrError as error:
            broken(
                f"{self} is registered by a plugin that loads",
                str(error),
                "set `name` of the class to the name in the spec; `ftr plugins` shows what loaded, "
                "with `--traceback NAME` where it failed",
            )

    @property
    def spec(self) -> AnySpec:
        """Its spec."""
        return self.entry.spec

    @property
    def plugin(self) -> PluginRecord:
        """The plugin it comes from."""
        return self.entry.plugin

    @cached_property
    def target(self) -> Any:
        """What its target names, imported."""
        spec = self.spec
        path = "" if isinstance(spec, TaskSpec) else spec.path
        with must_work(
            f"the target of {self}, `{path}`, imports",
            f"mend what it says, or make `{path}` the path of a class: `package.module:Attribute`",
        ):
            return self.registry.target(self.kind, self.entry.qualified)

    @property
    def is_function(self) -> bool:
        """Whether it is a dataset, a metric that is a function, or a tracker, which is a run: there
        is no object to make.
        """
        return self.kind in ("dataset", "tracker") or is_metric_function(self.target)

    @cached_property
    def options_model(self) -> type[BaseModel] | None:
        """The model of its options; None: it takes none."""
        with must_work(
            f"the options of {self} are a pydantic model",
            "let `options` of the spec name a class that derives from `ftr.plugin.Options`, or "
            "annotate each parameter of the target with its type",
        ):
            from pydantic import BaseModel

            model = self.registry.options_model(self.kind, self.entry.qualified)
            if model is not None and not issubclass(model, BaseModel):
                raise TypeError(
                    f"`{model.__module__}:{model.__qualname__}` does not derive from pydantic's "
                    "`BaseModel`"
                )
            return model

    @property
    def made_options(self) -> BaseModel | None:
        """An instance of its options with the values of the class of checks."""
        if self.options_model is None:
            if self.options:
                broken(
                    f"{self} takes the `options` of this class",
                    "its spec names no options",
                    "add `options=` to the spec, or leave them out",
                )
            return None
        with must_work(
            f"{self} takes the options {self.options}",
            "give `options` in this class for those that have no default, or mend them",
        ):
            return self.options_model.model_validate(self.options)

    def make(self) -> Any:
        """Return what the target of a head, a model or a metric gives, called as ftr calls it."""
        how = "no arguments" if self.kind == "metric" else "its options, or None where it has none"
        _ = self.target
        with must_work(
            f"the target of {self} is called with {how}",
            "make it a class, or a function, that can be called so",
        ):
            if self.kind == "metric":
                return make_metric(self.registry, self.entry.qualified)
            return make(self.registry, self.kind, self.entry.qualified, self.made_options)
