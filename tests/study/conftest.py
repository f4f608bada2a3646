"""Ray for the sweeps of one module, and a finished sweep that many tests look at."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

import sweeps

if TYPE_CHECKING:
    from ftr.study.sweep import SweepResult


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Ray's processes on this machine; a sweep uses them and leaves them running."""
    from ftr.config.schema import ComputeConfig
    from ftr.registry.registry import get_registry
    from ftr.runs.launch import connected
    from ftr.study.search import TUNE_SETTINGS
    from ftr.study.sweep import IMPORTED

    with connected(ComputeConfig(), get_registry(), lambda line: None, TUNE_SETTINGS, IMPORTED):
        yield


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, reviews: Path
) -> SweepResult:
    """A sweep of five configurations, two trials each, that nothing came in the way of; not to be
    changed.

    Made once for all processes of pytest: the first that needs it makes it, the others wait.
    """
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    made = shared / "undisturbed.pickle"
    with FileLock(made.with_suffix(".lock")):
        if not made.is_file():
            # One process for all trials: what it imports takes longer than five of them.
            result = sweeps.search(
                {**sweeps.REPEATED, "max_concurrent": 1},
                dataset=reviews,
                model=tiny_bert,
                output=tmp_path_factory.mktemp("undisturbed"),
            )
            made.write_bytes(pickle.dumps(result))
        kept: SweepResult = pickle.loads(made.read_bytes())
    return kept
