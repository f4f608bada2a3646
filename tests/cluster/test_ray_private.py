"""The private APIs of Ray that ftr uses exist in the installed version, and answer as expected."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from ftr.cluster import ray_private

NAMES = [
    "ray._private.authentication.authentication_token_setup:maybe_enable_token_auth_if_token_available",
    "ray._private.authentication.http_token_authentication:get_auth_headers_if_auth_enabled",
    "ray._private.services:canonicalize_bootstrap_address",
    "ray._private.services:find_node_ids",
    "ray._private.state:state",
    "ray._raylet:GcsClient",
    "ray.tune.execution.class_cache:DEFAULT_ENV_VARS",
    "ray.tune.execution.class_cache:ENV_VARS_TO_PROPAGATE",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_installed_ray_has_it(name: str) -> None:
    module, _, attribute = name.partition(":")
    assert getattr(import_module(module), attribute) is not None


def test_no_other_module_of_the_cluster_uses_private_names() -> None:
    own = Path(ray_private.__file__)
    for path in own.parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert path == own or not re.search(r"ray\._[a-z]", text), path


def test_without_a_cluster_there_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "::not an address::")
    assert ray_private.head_address() in (None, "::not an address::")
    assert all(isinstance(node, str) for node in ray_private.nodes_here())


TOKEN = """
import os
import re
from ftr.cluster import ray_private
ray_private.enable_token()
print(os.environ.get("RAY_AUTH_MODE"), *sorted(ray_private.token_headers().values()))
"""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"RAY_AUTH_TOKEN": "s" * 32}, f"token Bearer {'s' * 32}"),
        ({"RAY_AUTH_TOKEN": "s" * 32, "RAY_AUTH_MODE": "disabled"}, "disabled"),
    ],
)
def test_a_token_is_used_unless_that_is_turned_off(settings: dict[str, str], expected: str) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-c", TOKEN],
        env={**outside, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == expected, done.stderr
