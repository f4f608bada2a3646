"""Encoding in several processes: the files of one process, its errors, and no process left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import ftr.data.encode
from ftr.atomic import sha256
from ftr.config.schema import Component
from ftr.data import workers
from ftr.data.encode import Recipe, StoredSplit, head_identity, store_split
from ftr.errors import DataError, RunError
from ftr.model.components import make_head
from ftr.registry import plugin_files
from ftr.registry.protocols import EncodeSettings
from ftr.registry.registry import get_registry
from ftr.testing.tiny import tiny_tokenizer

COMPONENT = Component(name="odd")
SETTINGS = EncodeSettings(max_length=8, stride=2, labels=("x", "y"))
SLOW_TO_START = 60.0

PLUGIN = """
import os, signal, time
import ftr
from ftr_plugins.classification.head import SequenceClassificationHead

BEGAN = os.environ.setdefault("ODD_BEGAN", str(os.getpid()))


class Odd(SequenceClassificationHead):
    def encode(self, rows, tokenizer, settings):
        print("no answer")
        columns = super().encode(rows, tokenizer, settings)
        elsewhere = os.getpid() != int(BEGAN)
        if "die" in rows["text"] and elsewhere:
            os.kill(os.getpid(), signal.SIGKILL)
        if "sleep" in rows["text"] and elsewhere:
            time.sleep(600)
        if "lost" in rows["text"]:
            return {name: cells[1:] for name, cells in columns.items()}
        columns["notes"] = ["elsewhere" if elsewhere else "here"] * len(rows["text"])
        return columns


@ftr.hookimpl
def ftr_heads():
    return [ftr.HeadSpec(name="odd", target="odd_head:Odd")]
"""


@pytest.fixture(autouse=True)
def _two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ftr.data.encode, "ROWS_PER_CALL", 10)
    monkeypatch.setattr(workers, "TRIAL", 0.0)
    monkeypatch.setattr(workers, "WORTHWHILE", 1e-9)
    monkeypatch.setattr(workers, "cores_given", lambda: 2)
    ready = workers._Worker.ready

    def waited(worker: workers._Worker) -> bool:
        """Wait: these few rows are encoded here faster than a process starts."""
        worker._connection.poll(None)
        return ready(worker)

    monkeypatch.setattr(workers._Worker, "ready", waited)


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ODD_BEGAN", str(os.getpid()))
    file = tmp_path / "odd_head.py"
    file.write_text(PLUGIN, encoding="utf-8")
    before = plugin_files.given()
    plugin_files.add([file])
    get_registry.cache_clear()
    yield
    plugin_files.forget(before)
    get_registry.cache_clear()


def rows(**special: int) -> list[dict[str, Any]]:
    """Make rows; `special` are texts by the number of their row."""
    texts = {number: text for text, number in special.items()}
    return [
        {"id": str(n), "text": texts.get(n, f"the old mill {'river ' * (n % 7)}"), "label": n % 2}
        for n in range(300)
    ]


def store(folder: Path, given: list[dict[str, Any]], *, spread: bool = True) -> StoredSplit:
    """Encode rows, with other processes or without."""
    registry, tokenizer = get_registry(), tiny_tokenizer("bert")
    head = make_head(registry, COMPONENT)
    identity = head_identity(registry, COMPONENT, head)
    recipe = Recipe(COMPONENT, tokenizer, SETTINGS, identity) if spread else None
    return store_split(given, head, tokenizer, SETTINGS, folder, identity, recipe=recipe)


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if workers._CODE in one.cmdline()]


@pytest.mark.slow
def test_processes_write_the_files_of_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alone = store(tmp_path / "one", rows(), spread=False)
    capfd.readouterr()
    split = store(tmp_path / "two", rows())
    assert "no answer" in capfd.readouterr().err
    assert split.notes["elsewhere"] > 0 and sum(split.notes.values()) == 300
    assert alone.notes == {"here": 300} and not children()
    for one, other in ((alone.rows, split.rows), (alone.features, split.features)):
        assert sha256(Path(one)) == sha256(Path(other))


@pytest.mark.slow
def test_the_error_of_a_head_names_its_rows_and_a_process_that_dies_is_one(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=r"at least one feature, in order: rows 290 to 299\."):
        store(tmp_path, rows(lost=295))
    with pytest.raises(RunError, match=r"a process that encodes rows died \(SIGKILL\)"):
        store(tmp_path, rows(die=295))
    assert not children() and list((tmp_path / "encoded").iterdir()) == []


@pytest.mark.slow
def test_an_interruption_ends_all_processes(tmp_path: Path) -> None:
    def interrupt() -> None:
        deadline = time.monotonic() + SLOW_TO_START
        while time.monotonic() < deadline and sum(
            one.status() == psutil.STATUS_SLEEPING and one.cpu_times().user > 0
            for one in children()
        ) < len(children() or [None]):
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        store(tmp_path, rows(sleep=295))
    assert not children() and list((tmp_path / "encoded").iterdir()) == []


def test_other_code_and_little_work_leave_the_rows_to_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = Recipe(COMPONENT, tiny_tokenizer("bert"), SETTINGS, "of other code")
    with pytest.raises(DataError, match=r"the code of head `odd` differs"):
        recipe.encoder()
    monkeypatch.setattr(workers, "_Worker", None)  # none is started for little work
    monkeypatch.setattr(workers, "WORTHWHILE", 100.0)
    given: list[workers.Piece] = [(n, list(rows()[n : n + 10])) for n in (0, 10, 20)]
    assert list(workers.in_processes(recipe, iter(given), 30)) == given


def test_the_cores_given_are_the_fewest_that_any_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(workers, "_QUOTA", tmp_path / "cpu.max")
    for threads, quota, expected in (
        ("64", "max 100000", cores),
        ("", "6400000 100000", cores),
        ("1", "max 100000", 1),
        ("64", "150000 100000", 1),
        ("64", "50000 100000", 1),
    ):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        (tmp_path / "cpu.max").write_text(quota, encoding="utf-8")
        assert workers.cores_given() == expected
