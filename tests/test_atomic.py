"""Files that are whole or not there."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
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
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8")) == {
        "é": [1, 2.5],
        "path": "x",
    }
    assert [
        json.loads(line)
        for line in (tmp_path / "d.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    ] == [
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
        with pytest.raises(
            RunError,
            match=r"cannot write `.*file/x`: (File exists|Not a directory). Free space, or give "
            r"another place.",
        ):
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
    assert sorted(json.loads(line)["n"] for line in path.read_text().splitlines()) == sorted(
        list(range(50)) * 3
    )


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Set the umask, and bring it back."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    """Return the bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_new_files_follow_the_umask_whoever_wrote_them(
    mask: int, expected: int, umask: Callable[[int], int], tmp_path: Path
) -> None:
    umask(mask)
    atomic.write_text(tmp_path / "a", "")
    atomic.write_output(tmp_path / "b", "")
    with atomic.new_folder(tmp_path / "model") as fresh:
        (fresh / "weights").write_text("w")
        (fresh / "weights").chmod(0o600)
    assert [mode(tmp_path / name) for name in ("a", "b", "model/weights")] == [expected] * 3


def test_a_file_keeps_its_mode_and_the_file_behind_a_link_is_written_where_a_user_named_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "there").chmod(0o640)
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "dangling").symlink_to("made")
    assert atomic.write_output(tmp_path / "link", "new") and atomic.write_output(
        tmp_path / "dangling", "new"
    )
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_text() == (
        tmp_path / "made"
    ).read_text() == "new"
    assert mode(tmp_path / "there") == 0o640
    (tmp_path / "other name").hardlink_to(tmp_path / "there")
    atomic.write_output(tmp_path / "there", "newer")
    assert (tmp_path / "other name").read_text() == "newer"


def test_a_link_in_a_folder_of_ours_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("theirs")
    (tmp_path / "run.json").symlink_to("outside")
    atomic.write_text(tmp_path / "run.json", "ours")
    assert (tmp_path / "outside").read_text() == "theirs" and not (
        tmp_path / "run.json"
    ).is_symlink()


def test_a_device_and_a_pipe_are_written_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    assert not atomic.write_output(tmp_path / "pipe", "text")
    reader.join()
    assert read == ["text"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    before = Path("/dev/null").stat()
    assert not atomic.write_output(Path("/dev/null"), "text")
    assert Path("/dev/null").stat() == before


def test_a_folder_that_fails_midway_leaves_the_old_one(tmp_path: Path) -> None:
    with atomic.new_folder(tmp_path / "model") as fresh:
        (fresh / "a").write_text("old")

    def broken(fresh: Path) -> None:
        (fresh / "a").write_text("new")
        raise KeyError

    with pytest.raises(KeyError), atomic.new_folder(tmp_path / "model") as fresh:
        broken(fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["model"] and (
        tmp_path / "model" / "a"
    ).read_text() == "old"


def test_leftovers_of_dead_processes_go_and_those_of_the_living_and_of_other_hosts_stay(
    tmp_path: Path,
) -> None:
    host, dead = sha256(socket.gethostname().encode()).hexdigest()[:8], subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "trials" / f"model.new-{host}-{dead.pid}-0a1b").mkdir(parents=True)
    (tmp_path / f"run.json.new-{host}-{dead.pid}-0a1b").touch()
    (tmp_path / f"model.new-{dead.pid}").mkdir()
    recycled = tmp_path / f"best.new-{host}-{os.getpid()}-0a1b"
    recycled.mkdir()
    os.utime(recycled, (time.time() - 3600,) * 2)
    (tmp_path / "unrelated.new-york").touch()
    elsewhere = tmp_path / f"model.new-{'0' * 8}-{dead.pid}-0a1b"
    elsewhere.mkdir()
    code = (
        "import sys; from pathlib import Path; from ftr import atomic\nwith "
        f"atomic.workroom(Path({str(tmp_path)!r}) / 'joined'): print('ready', flush=True); "
        "sys.stdin.read()"
    )
    living = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert living.stdout is not None
    living.stdout.readline()
    atomic.clear_leftovers(tmp_path)
    found = sorted(path.name for path in tmp_path.rglob("*"))
    assert len(found) == 4 and {"trials", "unrelated.new-york", elsewhere.name} < set(found)
    living.kill()
    living.communicate()
    atomic.clear_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        ["trials", "unrelated.new-york", elsewhere.name]
    )
