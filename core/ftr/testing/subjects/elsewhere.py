"""The rows of a dataset as another process loads them, where sets and hashes come in another
order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ftr.atomic import sha256
from ftr.registry.signature import signature_model
from ftr.registry.specs import DatasetSpec, TaskSpec
from ftr.registry.targets import load_dataset
from ftr.testing.contract import broken

if TYPE_CHECKING:
    from ftr.testing.subjects.dataset import DatasetSubject

SECONDS = 300
_PROGRAM = "from ftr.testing.subjects.elsewhere import main; main()"


def hashes(splits: Mapping[str, Any]) -> dict[str, str]:
    """Return split -> hash of its rows in their order."""
    texts = {
        name: json.dumps(list(rows.with_format(None)), sort_keys=True, default=str)
        for name, rows in splits.items()
    }
    return {name: sha256(text) for name, text in texts.items()}


def hashes_elsewhere(subject: DatasetSubject) -> dict[str, str]:
    """Return `hashes` of a dataset as a process with other hashes of strings loads it; fails the
    check when it cannot be loaded.
    """
    spec = subject.spec
    if isinstance(spec, TaskSpec):
        raise TypeError(f"{subject} is no dataset")
    options = {"model": spec.options_path, "values": subject.options} if spec.options else None
    return _loaded(spec.path, json.dumps(options), tuple(sys.path), str(subject))


@cache
def _loaded(target: str, options: str, path: tuple[str, ...], described: str) -> dict[str, str]:
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONHASHSEED": seed,
    }
    asked = [sys.executable, "-P", "-c", _PROGRAM, target, options]
    done = subprocess.run(
        asked, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        last = next(iter(reversed(done.stderr.strip().splitlines())), "it printed nothing")
        broken(
            f"{described} loads in a process of its own",
            last,
            "import in the module of its target all that it needs",
        )
    found: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    """Load the dataset that the arguments name (target, and as JSON its options) and write its
    hashes.
    """
    from ftr.data.registered import as_splits

    path, options = sys.argv[1], json.loads(sys.argv[2])
    target, given = _named(path), None
    if options:
        named = _named(options["model"])
        model = signature_model(target) if named is target else named
        given = model.model_validate(options["values"])
    spec = DatasetSpec(name="dataset", target=path, options=options and options["model"])
    print(json.dumps(hashes(as_splits(load_dataset(spec, target, given), path))))


def _named(path: str) -> Any:
    module, _, attributes = path.partition(":")
    found: Any = import_module(module)
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    return found
