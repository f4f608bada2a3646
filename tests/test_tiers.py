"""A test that takes long is either marked `slow` or named at the end of the session."""

from typing import Any

import pytest

from tiers import pytest_terminal_summary


class Terminal:
    """What pytest's reporter has of a session, and what is written to it."""

    def __init__(self, *reports: pytest.TestReport) -> None:
        self.stats, self.lines = {"passed": list(reports)}, list[str]()

    def section(self, title: str) -> None:
        self.lines.append(title)

    def write_line(self, line: str) -> None:
        self.lines.append(line)


class Config:
    """The settings of `pyproject.toml`."""

    def getini(self, name: str) -> str:
        return {"slow_seconds": "15"}[name]


def report(name: str, seconds: float, *marks: str, when: Any = "call") -> pytest.TestReport:
    return pytest.TestReport(
        f"test_some.py::{name}",
        ("test_some.py", 1, name),
        dict.fromkeys(marks, 1),
        "passed",
        None,
        when,
        duration=seconds,
    )


def test_unmarked_tests_over_the_limit_are_named_and_others_are_not() -> None:
    terminal = Terminal(
        report("marked", 20, "slow"),
        report("unmarked", 16),
        report("of_a_heavy_fixture", 14, when="setup"),
        report("of_a_heavy_fixture", 3),
        report("quick", 1),
    )
    pytest_terminal_summary(terminal, Config())  # type: ignore[arg-type]
    assert "without the marker `slow`" in terminal.lines[0]
    assert [line.split() for line in terminal.lines[1:]] == [
        ["17.0", "s", "test_some.py::of_a_heavy_fixture"],
        ["16.0", "s", "test_some.py::unmarked"],
    ]


def test_nothing_is_said_where_none_is_over_it() -> None:
    terminal = Terminal(report("quick", 1), report("marked", 20, "slow"))
    pytest_terminal_summary(terminal, Config())  # type: ignore[arg-type]
    assert terminal.lines == []
