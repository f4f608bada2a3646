"""The journal: whole lines only, whatever dies while it is written."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ftr.errors import DataError, RunError
from ftr.study.directory import Journal

NUMBERS = (
    "from pathlib import Path; from ftr.study.directory import Journal; import itertools; j = "
    "Journal(Path({path!r}))\n"
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def trials(journal: Journal) -> list[int]:
    return [event["trial"] for event in Journal(journal.path).read()]


def test_events_come_back_in_order_with_their_time(journal: Journal) -> None:
    before = time.time()
    written = [
        journal.append(
            "trial",
            trial=7,
            values={"learning_rate": 3e-5, "model": "é\n\u2028", "layers": [1, None]},
            group=7,
            repeat=0,
        ),
        journal.append("stop", reason="time", time=5.0),
    ]
    assert journal.read() == written == Journal(journal.path).read()
    assert before <= written[0]["time"] <= time.time() and written[1] == {
        "event": "stop",
        "time": 5.0,
        "reason": "time",
    }
    assert journal.torn is None and journal.path.read_bytes().count(b"\n") == 2


def test_any_json_reader_can_read_it(journal: Journal) -> None:
    written = journal.append(
        "result",
        value=math.nan,
        scores={"a": math.inf, "b": [np.float32(0.5), np.int64(3), np.float64("nan")]},
        log=Path("a/b"),
    )
    found = json.loads(
        journal.path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON")
    )
    assert [found] == [written] == journal.read(), "who writes an event knows it as its readers do"
    assert (
        found["value"] is None
        and found["scores"] == {"a": None, "b": [0.5, 3, None]}
        and found["log"] == "a/b"
    )
    with pytest.raises(TypeError, match="a journal holds JSON, not set"):
        journal.append("result", value={1})


def test_wherever_the_last_line_is_torn_it_is_told_left_out_and_cut_off(journal: Journal) -> None:
    for number in range(3):
        journal.append("end", trial=number, cause="é")
    whole = journal.path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for length in range(start, len(whole)):
        journal.path.write_bytes(whole[:length])
        again = Journal(journal.path)
        assert [event["trial"] for event in again.read()] == [0, 1]
        assert again.torn == (whole[start:length].decode(errors="replace") or None)
        assert journal.path.read_bytes() == whole[:length], "reading changes nothing"
        again.append("end", trial=9)
        assert trials(again) == [0, 1, 9]
        assert all(json.loads(line) for line in journal.path.read_text().splitlines())


@pytest.mark.parametrize(
    "tail",
    [
        b'{"event": "en\n',
        b"\0\0\0\0",
        b"\0\0\n",
        b"[1]\n",
        b'{"trial": 3}\n',
        b"[" * 100_000,
        b"\xff\xfe\n",
    ],
)
def test_a_last_line_that_is_no_event_is_torn_as_well(journal: Journal, tail: bytes) -> None:
    journal.append("end", trial=1)
    with journal.path.open("ab") as stream:
        stream.write(tail)
    again = Journal(journal.path)
    assert trials(again) == [1] == [event["trial"] for event in again.read()]
    assert again.torn is not None
    again.append("end", trial=2)
    assert trials(again) == [1, 2]


def test_a_torn_end_is_cut_off_without_reading_first(journal: Journal) -> None:
    journal.path.write_text('{"event": "open", "trial": 0}\n{"event": "tri')
    journal.append("end", trial=1)
    assert trials(journal) == [0, 1]


def test_a_damaged_line_elsewhere_is_named(journal: Journal) -> None:
    journal.path.write_text(
        '{"event": "open"}\n\n{"event": "tri' + "x" * 100 + '\n{"event": "stop"}\n'
    )
    with pytest.raises(
        DataError,
        match=r"`.*journal.jsonl` line 3 is damaged: `\{\"event\": \"trix+…`. Restore the file, or "
        r"delete the line",
    ):
        journal.read()
    journal.path.write_text('{"event": "open"}\n\n{"event": "stop"}\n\n')
    assert [event["event"] for event in journal.read()] == ["open", "stop"], (
        "empty lines mean nothing"
    )
    journal.path.unlink()
    with pytest.raises(DataError, match=r"`.*journal.jsonl` cannot be read: No such file"):
        journal.read()


def test_only_results_do_not_wait_for_the_disk(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, waited = os.fsync, []

    def fsync(opened: int) -> None:
        waited.append(opened)
        real(opened)

    monkeypatch.setattr("os.fsync", fsync)
    journal.append("open")
    assert len(waited) == 2, "the file and its name in the folder"
    journal.append("result", trial=1)
    assert len(waited) == 2
    for event in ("trial", "start", "end", "resume", "stop"):
        journal.append(event, trial=1)
    assert len(waited) == 7


def test_a_disk_that_takes_half_a_line_leaves_none_of_it(journal: Journal) -> None:
    code = NUMBERS.format(path=str(journal.path)) + (
        "import resource, signal; from ftr.errors import RunError\nsignal.signal(signal.SIGXFSZ, "
        "signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, "
        "resource.RLIM_INFINITY))\ntry:\n    for n in itertools.count(): j.append('end', trial=n, "
        "cause='x' * 60)\nexcept RunError as error: "
        "print(error)\nresource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, "
        "resource.RLIM_INFINITY))\nj.append('end', trial=n)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith(f"cannot write `{journal.path}`: ") and said.endswith(
        "Free space, then resume the sweep.\n"
    )
    assert journal.path.read_bytes().endswith(b"\n")
    assert trials(journal) == list(range(len(trials(journal)))) and len(trials(journal)) > 5


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"cannot write `.*nowhere/journal.jsonl`: No such file or directory"
    ):
        Journal(tmp_path / "nowhere" / "journal.jsonl").append("open")


def test_a_writer_killed_at_any_moment_loses_at_most_the_line_it_was_writing(
    journal: Journal,
) -> None:
    code = NUMBERS.format(path=str(journal.path)) + (
        "first = len(j.read()) if j.path.exists() else 0\nfor n in itertools.count(first): "
        "j.append('result', trial=n, cause='x' * 20000)\n"
    )
    for _ in range(4):
        size = journal.path.stat().st_size if journal.path.exists() else 0
        writer = subprocess.Popen([sys.executable, "-c", code])
        while not journal.path.exists() or journal.path.stat().st_size < size + 3_000_000:
            assert writer.poll() is None
            if journal.path.exists():
                journal.read()  # a reader beside the writer sees whole events only
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    found = trials(journal)
    assert found == list(range(len(found))) and len(found) > 400


def test_the_journal_of_ten_thousand_trials_is_read_whole(journal: Journal) -> None:
    line = (
        '{"event": "result", "time": 1.5, "trial": 7, "epoch": 1.0, "step": 12, "value": 0.87, '
        '"scores": {"f1": 0.8}, "seconds": 12.3}\n'
    )
    journal.path.write_text(line * 50_000)
    assert len(journal.read()) == 50_000
