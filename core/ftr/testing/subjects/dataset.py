"""A dataset with its splits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from ftr.errors import DataError
from ftr.registry.specs import DatasetSpec
from ftr.registry.targets import load_dataset
from ftr.testing.contract import must_work
from ftr.testing.subjects.component import Component

if TYPE_CHECKING:
    from datasets import Dataset

    from ftr.registry.protocols import Head
    from ftr.registry.registry import Registry

NO_HUB = "cannot be downloaded from the Hub"


class DatasetSubject(Component):
    """A dataset; `head` is the name of one that reads its rows, or that head itself."""

    def __init__(
        self,
        registry: Registry,
        name: str,
        options: Mapping[str, Any] | None = None,
        head: str | Head | None = None,
    ) -> None:
        """Nothing is loaded yet."""
        super().__init__(registry, "dataset", name, options)
        self._head, self._absent = head, ""

    @cached_property
    def head(self) -> Head | None:
        """The head that reads its rows, if one was named."""
        if not isinstance(self._head, str):
            return self._head
        made: Head = Component(self.registry, "head", self._head).make()
        return made

    @property
    def reader(self) -> str:
        """What gives the rows: the function, or the method `load` of the class."""
        target = self.target
        name = getattr(target, "__qualname__", "load")
        return f"`{name}.load`" if isinstance(target, type) else f"`{name}`"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the spec declares."""
        spec = self.spec
        return spec.columns if isinstance(spec, DatasetSpec) else ()

    @cached_property
    def splits(self) -> dict[str, Dataset]:
        """Its splits, loaded once.

        Skips the check where they lie on a hub that cannot be reached.
        """
        return self.load()

    def load(self) -> dict[str, Dataset]:
        """Load it anew."""
        from ftr.data.registered import as_splits

        if self._absent:
            pytest.skip(self._absent)
        target, options = self.target, self.made_options
        with must_work(
            f"{self} loads splits with the options given here",
            f"let {self.reader} return rows, each a dict, or splits of such by name, or a "
            "`DatasetDict`; raise `ftr.plugin.DataError` only for what the user can fix",
        ):
            try:
                found = load_dataset(self.spec, target, options)
            except DataError as error:
                if NO_HUB in str(error):
                    self._absent = str(error)
                    pytest.skip(self._absent)
                raise
            return dict(as_splits(found, str(self)))

    def rows(self, split: str) -> list[dict[str, Any]]:
        """Return the rows of a split as they were loaded."""
        return list(self.splits[split].with_format(None))
