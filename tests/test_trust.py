"""What this user has chosen before: kept by hash, in a file of the user's own, whatever happens to
it.
"""

import json
import multiprocessing
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftr.registry import trust


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FTR_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv(trust.CHECKED, raising=False)
    yield tmp_path / "config"
    trust._of_process.clear()


def _forget_process() -> None:
    trust._of_process.clear()


def test_what_was_chosen_is_known_to_later_processes_and_nothing_else(folder: Path) -> None:
    chosen = [trust.plugin("ab" * 32), trust.setting("compute.storage", "s3://team/runs")]
    assert not any(map(trust.is_trusted, chosen))
    trust.remember(chosen)
    _forget_process()
    assert all(map(trust.is_trusted, chosen))
    assert not trust.is_trusted(
        trust.setting("compute.storage", "s3://elsewhere")
    ) and not trust.is_trusted(trust.plugin("cd" * 32))
    assert (
        stat.S_IMODE((folder / trust.FILE).stat().st_mode) == 0o600
        and stat.S_IMODE(folder.stat().st_mode) == 0o700
    )
    assert "team" not in (folder / trust.FILE).read_text(), "hashes alone"


@pytest.mark.parametrize("content", ["", "[", "[]", '{"trusted": 7}', '{"trusted": null}', "\x00"])
def test_a_damaged_file_trusts_nothing_and_is_written_anew(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / trust.FILE).write_text(content)
    assert not trust.is_trusted("plugin:x")
    trust.remember(["plugin:x"])
    _forget_process()
    assert trust.is_trusted("plugin:x")


def test_a_home_that_cannot_be_written_to_is_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTR_CONFIG", "/proc/no-such-folder")
    trust.remember(["plugin:x"])
    assert trust.is_trusted("plugin:x"), "while this process lives"
    _forget_process()
    assert not trust.is_trusted("plugin:x")


def test_the_folder_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FTR_CONFIG")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CONFIG_HOME", "not/absolute")
    assert trust.config_folder() == Path("/home/me/.config/ftr")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/mine")
    assert trust.config_folder() == Path("/etc/mine/ftr")


def _remember_many(number: int) -> None:
    for count in range(10):
        trust.remember([trust.plugin(f"{number}-{count}")])


def test_processes_that_write_at_once_lose_nothing(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_remember_many, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    known = json.loads((folder / trust.FILE).read_text())["trusted"]
    assert sorted(known) == sorted(
        trust.plugin(f"{number}-{count}") for number in range(4) for count in range(10)
    )
    assert {path.name for path in folder.iterdir()} == {trust.FILE, f"{trust.FILE}.lock"}
