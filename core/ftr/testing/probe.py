"""What loading a plugin does to a fresh process: tried in one, for in this process it was loaded
long ago.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ftr.registry import plugin_files
from ftr.testing.contract import broken

if TYPE_CHECKING:
    from ftr.registry.discovery import PluginRecord

SECONDS = 120


@dataclass(frozen=True, slots=True)
class Probed:
    """Heavy packages that were imported, what else the hook module did besides registering, and
    whether hooks are steady.
    """

    heavy: tuple[str, ...]
    notes: tuple[str, ...]
    steady: bool


def probed(plugin: PluginRecord) -> Probed:
    """Load a plugin, and no other outsider, in a process of its own."""
    return _probed(
        plugin.name,
        plugin.distribution,
        plugin.builtin,
        tuple(sys.path),
        os.pathsep.join(map(str, plugin_files.named())),
    )


@cache
def _probed(
    name: str, distribution: str, builtin: bool, path: tuple[str, ...], files: str
) -> Probed:
    script = Path(__file__).with_name("first_import.py")
    kept = {key: value for key, value in os.environ.items() if key != "FTR_STRICT_PLUGINS"}
    environment = {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "FTR_PLUGINS": "" if builtin else distribution,
        "FTR_PLUGIN_FILES": files,
    }
    # Without `-P` the modules beside the script would hide others of the same names.
    asked = [sys.executable, "-P", str(script)]
    done = subprocess.run(
        asked, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = next(iter(reversed(done.stderr.strip().splitlines())), "it printed nothing")
        broken(
            f"plugin `{name}` loads in a process of its own",
            last,
            "run `ftr plugins` to see the whole error",
        )
    told = json.loads(lines[-1])
    own = next(
        one for one in told["plugins"] if (one["name"], one["distribution"]) == (name, distribution)
    )
    return Probed(tuple(told["heavy"]), tuple(own["notes"]), own["steady"])
