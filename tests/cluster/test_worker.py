"""The first process of Ray imports ahead of its work, alone, and whoever waits for it goes on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ftr.cluster.worker import IMPORTS, import_asked, imports_ahead


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that nobody has imported."""
    (tmp_path / "fake_ahead.py").write_text("NUMBER = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fake_ahead", raising=False)
    return "fake_ahead"


def test_one_process_imports_what_is_asked_for_and_errors_wait_for_the_work(module: str) -> None:
    with imports_ahead(["fake_missing", module]) as wait:
        assert wait() is False, "no process was started"
        import_asked()
        assert module in sys.modules and wait() is True
        del sys.modules[module]
        import_asked()
        assert module not in sys.modules, "another process does it"
    assert IMPORTS not in os.environ
    import_asked()


def test_nothing_is_asked_for_without_modules() -> None:
    with imports_ahead([]) as wait:
        import_asked()
        assert wait() is False
