"""A registry of faulty components, and what a check says of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftr.registry.discovery import PluginRecord
from ftr.registry.registry import Registry
from ftr.registry.specs import AnySpec, Kind


@pytest.fixture(scope="session", autouse=True)
def _faulty_modules() -> Iterator[None]:
    """Let targets name the modules beside this file, as those of an installed plugin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield


@pytest.fixture(scope="session")
def registered() -> Callable[..., Registry]:
    """Return what makes a registry in which a plugin registers specs: `registered(("head",
    HeadSpec(...)))`.
    """

    def make(*specs: tuple[Kind, AnySpec]) -> Registry:
        plugin = PluginRecord(
            name="faulty",
            distribution="ftr-faulty",
            version="1.0",
            origin=__file__,
            builtin=False,
            status="loaded",
            specs=specs,
        )
        return Registry([plugin])

    return make


@pytest.fixture(scope="session")
def said() -> Callable[..., str]:
    """Return what runs a check that must fail and gives its message: `said(HeadConformance,
    "test_...", subject)`.
    """

    def run(conformance: type, check: str, *arguments: Any) -> str:
        with pytest.raises(pytest.fail.Exception) as failure:
            getattr(conformance(), check)(*arguments)
        message = str(failure.value)
        lines = message.split("\n")
        assert [line.partition(": ")[0] for line in lines] == ["contract", "found", "change"], (
            message
        )
        return message

    return run
