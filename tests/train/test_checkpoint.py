"""Checkpoint folders: whole or absent, verified, pruned; the history of a resumed training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ftr.errors import RequestError, RunError
from ftr.train.checkpoint import (
    Checkpoint,
    Damaged,
    attempts,
    begin_history,
    evaluations,
    find_checkpoint,
    folders,
    last_step,
    link_files,
    remove_checkpoints,
    verified,
    write_checkpoint,
)
from trainings import lines

FILES = ("state.json", "model.safetensors", "best/model.safetensors")


def fill(folder: Path) -> dict[str, str]:
    """Write three files, one of them in a folder."""
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps({"step": int(folder.name[5:13]), "name": name}))
    return {}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with checkpoints of the steps 2, 4 and 6."""
    for step in (2, 4, 6):
        write_checkpoint(tmp_path / "checkpoints", step, fill, keep=3)
    return tmp_path / "checkpoints"


def test_the_newest_is_found_and_old_ones_are_pruned(root: Path) -> None:
    found, notes = find_checkpoint(root)
    assert found is not None and (found.step, found.state["step"], notes) == (6, 6, [])
    assert last_step(root.parent) == 6
    write_checkpoint(root, 8, fill, keep=2)
    assert [folder.name for folder in folders(root)] == ["step-00000006", "step-00000008"]
    write_checkpoint(root, 8, fill, keep=1)
    assert [folder.name for folder in root.iterdir()] == ["step-00000008"]
    remove_checkpoints(root.parent)
    assert find_checkpoint(root) == (None, []) and last_step(root.parent) is None


@pytest.mark.parametrize("damage", ["changed", "cut", "missing"])
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_taken(
    name: str, damage: str, root: Path
) -> None:
    path = root / "step-00000006" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        # Of a manifest, a digit of a hash.
        place = content.index(b'"sha256": "') + 11 if name == "manifest.json" else 3
        path.write_bytes(
            content[:place]
            + (b"0" if content[place : place + 1] != b"0" else b"1")
            + content[place + 1 :]
        )
    found, (note,) = find_checkpoint(root)
    assert found is not None and found.step == 4
    assert note.startswith(f"checkpoint `{root / 'step-00000006'}` is damaged, and was removed: `")
    assert f"`{name}`" in note or (name, damage) == ("manifest.json", "changed")
    assert find_checkpoint(root)[1] == [], "it is named once, and gone"


def test_what_a_process_left_half_written_is_no_checkpoint(root: Path) -> None:
    shutil.copytree(root / "step-00000006", root / "step-00000008.new-77")
    found, notes = find_checkpoint(root)
    assert found is not None and found.step == 6 and notes == []
    assert not (root / "step-00000008.new-77").exists()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"format": 99, "files": {}}',
        '{"format": 1, "files": [1]}',
        '{"format": 1, "files": {}}',
    ],
)
def test_a_manifest_that_is_none_is_damage(text: str, root: Path) -> None:
    (root / "step-00000006" / "manifest.json").write_text(text)
    with pytest.raises(
        Damaged, match=r"format is|manifest.json` is not one|state.json` is missing"
    ):
        verified(root / "step-00000006")


def test_a_disk_that_refuses_leaves_nothing_half_written(root: Path) -> None:
    def full(folder: Path) -> dict[str, str]:
        fill(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(
        RunError,
        match=r"cannot write the checkpoint `.*step-00000008`: No space left on device. Free "
        r"space, then",
    ):
        write_checkpoint(root, 8, full, keep=1)
    assert [folder.name for folder in folders(root)] == sorted(path.name for path in root.iterdir())
    assert last_step(root.parent) == 6


def test_linked_files_outlive_their_first_name(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("w")
    link_files(tmp_path / "model", tmp_path / "deep" / "best")
    shutil.rmtree(tmp_path / "model")
    assert (tmp_path / "deep" / "best" / "weights").read_text() == "w"


def test_checkpoints_of_a_newer_version_are_refused_and_not_removed(root: Path) -> None:
    manifest = root / "step-00000006" / "manifest.json"
    manifest.write_text(
        json.dumps({**json.loads(manifest.read_text()), "format": 99, "ftr": "9.1"})
    )
    with pytest.raises(
        RequestError,
        match=r"step-00000006` has format 99, written by ftr 9\.1; this is ftr .*reads format 1\. "
        r"Resume",
    ):
        find_checkpoint(root)
    assert len(folders(root)) == 3


HISTORY = [
    {"kind": "untrained", "step": 0},
    {"kind": "train", "step": 1},
    {"kind": "validation", "step": 2, "value": 0.5},
    {"kind": "train", "step": 3},
    {"kind": "final", "step": 2},
]


def test_later_and_torn_lines_and_final_scores_go(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert not begin_history(tmp_path, None)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in HISTORY) + '{"kind": "tra')
    assert begin_history(tmp_path, Checkpoint(tmp_path, 2, {}))
    assert lines(path) == HISTORY[:3] and evaluations(tmp_path) == [HISTORY[2]]
    assert begin_history(tmp_path, None)
    assert lines(path) == []
    assert [attempt["step"] for attempt in attempts(tmp_path)] == [0, 2, 0]
