"""The versions that pyproject.toml promises are those that `make test` and `make test-lowest`
install.
"""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from pages import PROJECT

PROMISED = ("ray", "transformers", "datasets", "pydantic", "pluggy")
"""The libraries whose lowest version has an environment of its own."""


def pinned(name: str) -> dict[str, str]:
    """Return package -> version of a file of constraints."""
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
    return {
        package: version
        for package, _, version in (
            line.partition("==") for line in lines if not line.startswith("#")
        )
    }


def required() -> list[Requirement]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in project["dependencies"]]


@pytest.mark.parametrize("name", PROMISED)
def test_the_lowest_version_that_is_promised_is_the_lowest_that_is_tested(name: str) -> None:
    (found,) = [one for one in required() if one.name == name]
    (lowest,) = [one.version for one in found.specifier if one.operator == ">="]
    assert Version(lowest) == Version(pinned("constraints-lowest.txt")[name])


def test_torch_is_the_same_in_both_environments() -> None:
    assert pinned("constraints-lowest.txt")["torch"] == pinned("constraints.txt")["torch"]


def test_every_pinned_version_is_allowed() -> None:
    for constraints in ("constraints.txt", "constraints-lowest.txt"):
        versions = pinned(constraints)
        named = [one for one in required() if one.name in versions]
        assert len(named) > 10
        assert [str(one) for one in named if not one.specifier.contains(versions[one.name])] == []
