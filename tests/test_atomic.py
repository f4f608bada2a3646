"""Files that are whole or not there."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftr import atomic
from ftr.errors import RunError

WRITES: tuple[Callable[[Path], None], ...] = (
    lambda path: atomic.write_text(path, ""),
    lambda path: atomic.append_line(path, {}),
)


def test_text_json_and_lines_are_written_as_utf_8_and_folders_made(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "a" / "b.txt", "é\n")
    atomic.write_json(tmp_path / "c.json", {"é": [1, 2.5], "path": Path("x")})
    atomic.write_lines(tmp_path / "d.jsonl", [{"a": "x\ny"}, {"a": "\u2028"}])
    assert (tmp_path / "a" / "b.txt").read_bytes() == "é\n".encode()
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8")) == {"é": [1, 2.5], "path": "x"}
    assert [json.loads(line) for line in (tmp_path / "d.jsonl").read_text(encoding="utf-8").split("\n")[:-1]] == [
        {"a": "x\ny"},
        {"a": "\u2028"},
    ]


def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    atomic.write_lines(path, [{"id": 1}])

    def broken() -> Iterator[dict[str, int]]:
        yield {"id": 2}
        raise KeyError("row")

    with pytest.raises(KeyError):
        atomic.write_lines(path, broken())
    assert path.read_text() == '{"id": 1}\n' and list(tmp_path.iterdir()) == [path]


def test_a_text_that_cannot_be_encoded_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        atomic.write_text(path, "\ud800")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_a_run_error_naming_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in WRITES:
        with pytest.raises(RunError, match=r"cannot write `.*file/x`: (File exists|Not a directory). Free space, or give another place."):
            write(tmp_path / "file" / "x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"cannot write `.*metrics.jsonl`: No space left on device"):
        atomic.append_line(tmp_path / "metrics.jsonl", {"loss": 1.0})


def test_lines_are_appended_whole_by_several_processes(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    code = (
        "from pathlib import Path; from ftr import atomic;"
        f"[atomic.append_line(Path({str(path)!r}), {{'n': n, 'x': 'y' * 300}}) for n in range(50)]"
    )
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert sorted(json.loads(line)["n"] for line in path.read_text().splitlines()) == sorted(list(range(50)) * 3)
