"""Folders kept in `compute.storage`: equal, whole after a kill at any moment, and errors that name
the key.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import powercut
from ftr.cluster.location import Location
from ftr.cluster.storage import Storage
from ftr.errors import ConfigError, RequestError, RunError
from s3 import CREDENTIALS, S3, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for key, value in CREDENTIALS.items():
            patch.setenv(key, value)
        yield server


@pytest.fixture(params=["local", "s3", "fsspec"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "s3":
        return Storage.of(request.getfixturevalue("server").uri(tmp_path.name))
    return Storage.of(
        str(tmp_path / "kept") if request.param == "local" else f"memory://{tmp_path.name}"
    )


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        # Well before now, so that size and time tell whether it changed.
        os.utime(folder / path, ns=(time.time_ns() - 10**9,) * 2)
    return folder


def stored(storage: Storage, key: str) -> set[str]:
    """The keys of all files below `key`, manifest and leftovers included."""
    below = set()
    for name, is_folder in storage.location.entries(key).items():
        below |= (
            {f"{name}/{inner}" for inner in stored(storage, f"{key}/{name}")}
            if is_folder
            else {name}
        )
    return below


def test_a_mirror_equals_the_folder_through_changes_and_is_browsable(
    storage: Storage, tmp_path: Path
) -> None:
    run = write(
        tmp_path / "run",
        {
            "run.json": b"{1}",
            "model/a.txt": b"a",
            "model/sub/é b#%.txt": b"",
            "old/x/y": b"y",
            "grows": b"g",
        },
    )
    assert storage.mirror(run, "sweep/trials/0007") == 5
    assert storage.mirror(run, "sweep/trials/0007") == 0
    (run / "grows").unlink()
    write(run, {"run.json": b"{2}", "model/b.txt": b"b", "grows/into/folder": b"g2"})
    (run / "old/x/y").unlink()
    (run / "old/x").rmdir()
    (run / "old").rmdir()
    write(run, {"old": b"a file now"})
    assert storage.mirror(run, "sweep/trials/0007") == 4
    assert stored(storage, "sweep/trials/0007") == {
        *files(run),
        ".manifest.json",
        *([".manifest.next.json"] if storage.location.torn_writes else []),
    }
    for path, content in files(run).items():
        assert storage.read_bytes(f"sweep/trials/0007/{path}") == content
    storage.fetch("sweep/trials/0007", tmp_path / "back")
    assert files(tmp_path / "back") == files(run)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("back")) == [
        "back"
    ]
    storage.mirror(tmp_path / "back", "sweep/trials/0007")
    storage.fetch("sweep/trials/0007", run)
    assert files(run) == files(tmp_path / "back")


def test_a_fetch_into_a_folder_that_is_there_makes_it_equal_but_for_what_is_excluded(
    storage: Storage, tmp_path: Path
) -> None:
    run = write(
        tmp_path / "run",
        {"run.json": b"new", "model/a": b"a", ".lock": b"", "checkpoints/step-1/w": b"w"},
    )
    storage.mirror(run, "run", exclude=[".lock", "checkpoints/*"])
    here = write(
        tmp_path / "here",
        {
            "run.json": b"old",
            ".lock": b"held",
            "checkpoints/step-9/w": b"9",
            "gone/x": b"x",
            "model/a": b"a",
        },
    )
    same = (here / "model/a").stat().st_ino
    storage.fetch("run", here, exclude=[".lock"])
    assert files(here) == {"run.json": b"new", "model/a": b"a", ".lock": b"held"}
    assert not (here / "gone").exists() and (here / "model/a").stat().st_ino == same


def test_names_exists_delete_and_small_files(storage: Storage, tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"a": b"1", "b/c": b"2"})
    assert (
        storage.names() == []
        and not storage.exists("one")
        and storage.read_bytes("one/journal.jsonl") is None
    )
    for name in ("two", "one/trials/1", "one/trials/0", "one"):
        storage.mirror(run, name)
    storage.write_bytes("one/journal.jsonl", b"1\n")
    storage.write_bytes("one/journal.jsonl", b"1\n2\n")
    (run / "b/c").unlink()
    storage.mirror(run, "one")
    assert storage.names() == ["one", "two"] and storage.names("one/trials") == [
        "one/trials/0",
        "one/trials/1",
    ]
    assert (
        storage.exists("one/trials/0")
        and not storage.exists("one/trials")
        and storage.names("none") == []
    )
    assert storage.read_bytes("one/journal.jsonl") == b"1\n2\n"
    assert stored(storage, "one/trials/1") >= {"a", "b/c"}, (
        "a mirror touches nothing but its own files"
    )
    storage.delete("one/trials/0")
    storage.delete("never/there")
    assert storage.names("one/trials") == ["one/trials/1"]
    storage.delete("one")
    assert storage.names() == ["two"] and stored(storage, "one") == set()
    with pytest.raises(RequestError, match="has no complete mirror `one`"):
        storage.fetch("one", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_unchanged_files_are_not_read_again_and_touched_ones_are_not_sent(tmp_path: Path) -> None:
    storage = Storage.of(f"file://{tmp_path}/kept")
    run = write(tmp_path / "run", {"a": b"1", "b": b"2", "c": b"3"})
    storage.mirror(run, "run")
    before = (run / "a").stat()
    (run / "a").write_bytes(b"X")
    os.utime(run / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    (run / "b").touch()
    assert storage.mirror(run, "run") == 0 and storage.read_bytes("run/a") == b"1"
    assert storage.mirror(run, "run", exclude=["c"]) == 0 and storage.read_bytes("run/c") is None


def test_a_file_written_twice_within_one_tick_of_the_clock_is_sent_twice(tmp_path: Path) -> None:
    storage, run = Storage.of(str(tmp_path / "kept")), tmp_path / "run"
    run.mkdir()
    for number in range(5):
        when = time.time_ns()
        for content in (f"{number} running", f"{number} is done"):
            (run / "run.json").write_text(content)
            os.utime(run / "run.json", ns=(when, when))
            assert storage.mirror(run, "run") == 1
            assert storage.read_bytes("run/run.json") == content.encode()


def test_a_damaged_or_missing_file_is_named(storage: Storage, tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"model/a.bin": b"abc", "b": b"b"})
    storage.mirror(run, "run")
    storage.location.write("run/model/a.bin", b"abX")
    with pytest.raises(
        RunError, match=r"`run/model/a.bin` in `compute.storage=.*` is damaged: its sha256"
    ):
        storage.fetch("run", tmp_path / "back")
    storage.location.remove(["run/model/a.bin"])
    with pytest.raises(RunError, match=r"`run/model/a.bin` is missing in `compute.storage="):
        storage.fetch("run", tmp_path / "back")
    assert not list(tmp_path.glob("back*"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{", "damaged"),
        (b"[]", "not of format 1"),
        (b'{"format": 2}', "not of format 1"),
        (b'{"format": 1}', "lacks fields"),
        (b'{"format": 1, "files": {"a": {"size": 1}}, "underway": []}', "lacks fields"),
        (
            b'{"format": 1, "files": {"../a": {"size": 1, "sha256": "", "time": 1}}, "underway": '
            b"[]}",
            "`../a` leads out",
        ),
        (
            b'{"format": 1, "files": {"a": {"size": 1, "sha256": "", "time": 1, "staged": "/b"}}, '
            b'"underway": []}',
            "`/b` leads out",
        ),
        (b'{"format": 1, "files": {}, "underway": ["a/../../b"]}', "leads out"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(
    text: bytes, problem: str, tmp_path: Path
) -> None:
    storage = Storage.of(str(tmp_path / "kept"))
    storage.write_bytes("run/x", b"")
    (tmp_path / "kept/run/.manifest.json").write_bytes(text)
    with pytest.raises(
        RunError, match=r"`run/.manifest.json` in `compute.storage=.*` is damaged"
    ) as caught:
        storage.fetch("run", tmp_path / "back")
    assert problem in str(caught.value)
    with pytest.raises(RunError, match="damaged"):
        storage.mirror(write(tmp_path / "run", {"a": b"1"}), "run")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/a", "a/../b", "a//b", "a/", ".staged/x", "a/.manifest.json"]
)
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    storage = Storage.of(str(tmp_path))
    with pytest.raises(RequestError, match=r"cannot be a name in `compute.storage`"):
        storage.delete(name)


def test_a_reader_that_is_overtaken_by_the_writer_gets_the_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage.of(str(tmp_path / "kept"))
    run = write(tmp_path / "run", {f"file-{number}": b"old" for number in range(8)})
    storage.mirror(run, "run")
    blocks = Location.blocks
    overtaken: list[str] = []

    def slow(location: Location, key: str) -> Iterator[bytes]:
        if key.endswith("file-5") and not overtaken:
            overtaken.append(key)
            (run / "file-0").unlink()
            write(run, {f"file-{number}": b"newer" for number in range(1, 8)})
            storage.mirror(run, "run")
        return blocks(location, key)

    monkeypatch.setattr(Location, "blocks", slow)
    storage.fetch("run", tmp_path / "back")
    assert overtaken and files(tmp_path / "back") == files(run)


class Cut(BaseException):
    """The process ends here."""


def test_a_mirror_cut_short_before_any_of_its_writes_leaves_the_old_state_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {
        name: getattr(Location, name)
        for name in ("write", "upload", "copy", "remove", "remove_folder")
    }
    left = 10**6

    def counted(name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **keywords: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Cut
            return steps[name](*arguments, **keywords)

        return step

    for name in steps:
        monkeypatch.setattr(Location, name, counted(name))
    old = {"run.json": b"1", "same": b"s", "gone/a": b"g", "gone/b": b"g", "turns": b"t", "x": b"1"}
    new = {
        "run.json": b"22",
        "same": b"s",
        "fresh/a": b"f",
        "fresh/b": b"f",
        "turns/into": b"t",
        "x": b"22",
    }
    seen = []
    for cut in range(40):
        left, storage = 10**6, Storage.of(str(tmp_path / f"kept-{cut}"))
        storage.mirror(write(tmp_path / "old", old), "run")
        left = cut
        try:
            storage.mirror(write(tmp_path / "new", new), "run")
        except Cut:
            left = 10**6
            storage.fetch("run", tmp_path / f"back-{cut}")
            seen.append(files(tmp_path / f"back-{cut}"))
            last = {**(old if cut % 2 else new), "run.json": b"333"}
            storage.mirror(write(tmp_path / f"last-{cut}", last), "run")
            storage.fetch("run", tmp_path / f"back-{cut}")
            assert files(tmp_path / f"back-{cut}") == last
            assert stored(storage, "run") - {".manifest.json"} == last.keys(), (
                "a mirror that ends leaves nothing else"
            )
        else:
            break
    assert (
        cut > 12
        and all(state in (old, new) for state in seen)
        and seen[0] == old
        and seen[-1] == new
    )


MIRRORS = """
import sys
from pathlib import Path
from ftr.cluster.storage import Storage
storage, folder, state = Storage.of(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
while True:
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
    for number in range(30):
        path = folder / f"part-{number % 3 if number % 2 else state % 5}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(state))
    print(state, flush=True)
    storage.mirror(folder, "run")
    state += 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_mirror_killed_at_random_moments_gives_back_one_state_whole(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    rng = random.Random(7)
    uri = (
        request.getfixturevalue("server").uri(f"killed-{tmp_path.name}")
        if kind == "s3"
        else str(tmp_path / "kept")
    )
    storage, state = Storage.of(uri), 0
    # Where in a mirror a kill falls, the machine decides; the test before this one tries all places.
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", MIRRORS, uri, str(tmp_path / "run"), str(state + 1)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        for _ in range(2):
            state = int(writer.stdout.readline())
        time.sleep(rng.uniform(0, 0.2))
        writer.send_signal(signal.SIGKILL)
        state = int((writer.stdout.read().split() or [str(state)])[-1])
        writer.wait()
        storage.fetch("run", tmp_path / "back")
        found = files(tmp_path / "back")
        (kept,) = {int(content) for content in found.values()}
        assert kept in (state - 1, state)
        assert found.keys() == {f"part-{n % 3 if n % 2 else kept % 5}/{n}.txt" for n in range(30)}
    storage.mirror(write(tmp_path / "back", {next(iter(found)): b"changed"}), "run")
    assert stored(storage, "run") == {*files(tmp_path / "back"), ".manifest.json"}


def test_a_torn_manifest_of_a_place_without_whole_writes_is_made_up_for(tmp_path: Path) -> None:
    storage = Storage.of(f"memory://{tmp_path.name}")
    run = write(tmp_path / "run", {"a": b"1"})
    storage.mirror(run, "run")
    whole = storage.location.read("run/.manifest.json")
    assert whole is not None
    for torn in (b"", whole[:20]):
        storage.location.write("run/.manifest.json", torn)
        storage.fetch("run", tmp_path / "back")
        assert files(tmp_path / "back") == {"a": b"1"}
    storage.location.write("run/.manifest.json", whole)
    storage.location.write("run/.manifest.next.json", whole[:20])
    assert storage.exists("run")


FETCHES = """
import sys
from pathlib import Path
from ftr.cluster.storage import Storage
Storage.of("s3://trials/shared").fetch("run", Path(sys.argv[1]))
"""


def test_environment_names_the_server_and_another_process_reaches_the_same_place(
    server: S3, tmp_path: Path
) -> None:
    storage = Storage.of(server.uri("shared"))
    storage.mirror(write(tmp_path / "run", {"a": b"1"}), "run")
    subprocess.run(
        [sys.executable, "-c", FETCHES, str(tmp_path / "back")],
        check=True,
        env={**os.environ, **server.environment},
    )
    assert files(tmp_path / "back") == {"a": b"1"}


def test_a_relative_folder_is_made_absolute_and_home_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Storage.of("kept").uri == str(tmp_path / "kept") and Storage.of("~/kept").uri == str(
        tmp_path / "home/kept"
    )
    Storage.of("kept").check()
    assert list((tmp_path / "kept").iterdir()) == []


def refused(uri: str) -> str:
    """What is said of a place that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        Storage.of(uri).check()
    text = str(caught.value)
    assert text.startswith("`compute.storage=") and "\n" not in text
    return text


def test_a_uri_that_is_none_is_refused() -> None:
    assert "Protocol not known: foo" in refused("foo://x/y")
    assert "paramiko" in refused("ssh://host/folder")
    assert "Unexpected query parameter in S3 URI: 'colour'" in refused("s3://bucket/x?colour=red")
    assert "Missing bucket name" in refused("s3:/bucket")
    assert "names no bucket" in refused("s3://")
    assert "hush" not in refused("s3://key:hush%2Fhush@bucket/x?colour=red") + refused(
        "s3://key:hush/hush@bucket/x?colour=red"
    )


# boto3 by itself would try for minutes.
@pytest.mark.timeout(90)
def test_a_bucket_that_is_not_there_a_server_that_is_not_there_and_strangers_are_named(
    server: S3, tmp_path: Path
) -> None:
    Storage.of(server.uri("x")).check()
    assert "there is no such bucket" in refused(server.uri("x", bucket="nobody"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert "nobody answers there" in refused(
            replace(server, address=f"127.0.0.1:{probe.getsockname()[1]}").uri("x")
        )
    server.refuse_strangers(0)
    try:
        assert "no permission" in refused(server.uri("x"))
        with pytest.raises(
            RunError, match=r"`compute.storage=s3://.*no permission .*AWS_ACCESS_KEY_ID"
        ):
            Storage.of(server.uri("x")).mirror(write(tmp_path / "run", {"a": b"1"}), "run")
    finally:
        server.refuse_strangers(10**9)


def test_a_place_that_is_a_file_or_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert f"`compute.storage={tmp_path}/file/x`: cannot write" in refused(str(tmp_path / "file/x"))
    assert "cannot write" in refused("/proc/kept")


def test_a_folder_is_not_mirrored_into_itself(tmp_path: Path) -> None:
    run = write(tmp_path / "runs/one", {"a": b"1"})
    for place, name in ((tmp_path / "runs", "one"), (run, "kept"), (tmp_path, "runs")):
        with pytest.raises(ConfigError, match="one is inside the other"):
            Storage.of(str(place)).mirror(run, name)
    assert files(run) == {"a": b"1"}


def test_a_folder_that_is_gone_does_not_empty_its_mirror(tmp_path: Path) -> None:
    storage = Storage.of(str(tmp_path / "kept"))
    storage.mirror(write(tmp_path / "run", {"a": b"1"}), "run")
    with pytest.raises(RunError, match=f"cannot list `{tmp_path}/other` to mirror it"):
        storage.mirror(tmp_path / "other", "run")
    assert storage.read_bytes("run/a") == b"1"


FULL_DISK = """
import os, subprocess, sys
from pathlib import Path
from ftr.errors import RunError
from ftr.cluster.storage import Storage
base = Path(sys.argv[1])
small, run = base / "small", base / "run"
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
kept = Storage.of(str(small / "kept"))
kept.mirror(run, "run", exclude=["big*"])
for attempt in range(2):
    try:
        kept.mirror(run, "run")
    except RunError as error:
        print(error)
kept.fetch("run", base / "back")
print(sorted(path.name for path in (base / "back").iterdir()))
kept.delete("run")
large = Storage.of(str(base / "large"))
large.mirror(run, "run")
try:
    large.fetch("run", small / "back")
except RunError as error:
    print(error)
print(os.listdir(small))
"""


def test_a_full_disk_is_named_and_the_old_state_stays(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("a small disk needs a mount namespace, which is not allowed here")
    write(tmp_path / "run", {"a": b"1", "big": bytes(3 * 2**20), "big2": b"2"})
    (tmp_path / "small").mkdir()
    told = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", FULL_DISK, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    cause = (
        "cannot write `run/big`: No space left on device. Free space there, or give another place."
    )
    assert told[:2] == [f"`compute.storage={tmp_path}/small/kept`: {cause}"] * 2
    assert told[2] == "['a']"
    assert (
        told[3].startswith(f"cannot write `{tmp_path}/small/back")
        and "No space left on device. Free space" in told[3]
    )
    assert told[4] == "['kept']"


MEMORY = """
import resource, sys
from pathlib import Path
from ftr.cluster.storage import Storage
storage, run = Storage.of(sys.argv[1]), Path(sys.argv[2])
storage.check()
storage.mirror(run / "small", "small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
storage.mirror(run / "large", "large")
storage.fetch("large", run / "back")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_large_file_is_sent_and_fetched_in_bounded_memory(server: S3, tmp_path: Path) -> None:
    write(tmp_path, {"small/a": b"1", "large/a": b""})
    os.truncate(tmp_path / "large/a", 64 * 2**20)
    told = subprocess.run(
        [sys.executable, "-c", MEMORY, server.uri("memory"), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert int(told) < 48, "MiB beyond what a small folder took"
    assert (tmp_path / "back/a").stat().st_size == 64 * 2**20


@pytest.mark.slow
@pytest.mark.skipif(
    powercut.missing() is not None, reason=f"no power cuts here: {powercut.missing()}"
)
def test_a_power_cut_right_after_a_fetch_leaves_what_was_fetched(tmp_path: Path) -> None:
    storage = Storage.of(str(tmp_path / "kept"))
    first = {"run.json": b"{1}" * 1000, "model/deep/weights": os.urandom(300_000)}
    then = {**first, "run.json": b"{2}" * 1000, "trials/0001/metrics.jsonl": b"m" * 5000}
    then.pop("model/deep/weights")
    with powercut.Disk(tmp_path / "disk", megabytes=64) as disk:
        storage.mirror(write(tmp_path / "first", first), "sweep")
        storage.fetch("sweep", disk.path / "runs" / "sweep")
        images = [(disk.cut(), first)]
        storage.mirror(write(tmp_path / "then", then), "sweep")
        storage.fetch("sweep", disk.path / "runs" / "sweep")
        images.append((disk.cut(), then))
    for image, expected in images:
        with powercut.powered_again(image, tmp_path / "disk") as again:
            assert files(again / "runs" / "sweep") == expected
