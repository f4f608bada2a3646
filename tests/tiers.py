"""The two tiers of tests: `make test` runs those without the marker `slow`, `make test-all` the
others.

A pytest plugin that begins with the longest files, so that the processes of pytest end together,
and names, at the end of a session, tests that take long and lack the marker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

LONGEST = (
    "study/test_resume_sweep.py",
    "study/test_sweep.py",
    "examples/test_packages.py",
    "outsiders/test_tutorial.py",
    "outsiders/test_from_nothing.py",
    "cluster/test_submit.py",
    "test_clusters.py",
    "study/test_secrets.py",
    "cluster/test_cluster.py",
    "study/test_together.py",
    "runs/test_launch.py",
    "study/test_nodes.py",
    "outsiders/test_driver_only.py",
    "runs/test_killed.py",
    "runs/test_resume.py",
    "plugins/test_conformance.py",
    "model/test_families.py",
    "model/test_architecture.py",
    "runs/test_hostile.py",
    "study/test_resume_several.py",
    "train/test_memory.py",
    "study/test_several.py",
    "cluster/test_storage.py",
    "cli/test_new.py",
    "cli/test_bad_input.py",
)


FAST_FAMILIES = ("bert", "roberta", "distilbert", "gpt2")
"""Families of tiny models that the fast tier tries every head on."""


def slow_but(fast: Iterable[str], names: Iterable[str]) -> list[Any]:
    """Return the parameters `names`, all marked `slow` except those in `fast`."""
    kept = set(fast)
    return [name if name in kept else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark the checks of heads with further families as `slow`; begin with the longest files."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            family = item.callspec.params.get("ftr_family", FAST_FAMILIES[0])
            if family not in FAST_FAMILIES:
                item.add_marker("slow")
    yield
    folder = Path(__file__).parent
    ranks = {folder / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the limit to the settings in `pyproject.toml`."""
    parser.addini(
        "slow_seconds",
        "report tests that take longer than this and are not marked `slow`",
        default="15",
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the tests over the limit; they do not fail, because a busy machine is not their
    fault.
    """
    limit = float(config.getini("slow_seconds"))
    seconds: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and "slow" not in report.keywords:
                seconds[report.nodeid] += report.duration
    over = sorted(((spent, name) for name, spent in seconds.items() if spent > limit), reverse=True)
    if over:
        terminalreporter.section(
            f"over {limit:g} s without the marker `slow`: mark these or make them faster"
        )
        for spent, name in over:
            terminalreporter.write_line(f"{spent:7.1f} s  {name}")
