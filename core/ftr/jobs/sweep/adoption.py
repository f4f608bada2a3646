"""Going on from the checkpoint of another trial."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from ftr import atomic

if TYPE_CHECKING:
    from ftr.runs.directory import RunDirectory


def adopt(directory: RunDirectory, donor: int, step: int) -> list[dict[str, int]]:
    """Put the donor's checkpoint and evaluations in the place of this trial's own, once; returns all take-overs so far."""
    from ftr.train.checkpoint import CHECKPOINTS, folders

    place = {"donor": donor, "step": step}
    before: list[dict[str, int]] = directory.read().get("adopted", []) if directory.record.is_file() else []
    if place in before:
        return before
    source = directory.path.with_name(f"{donor:04d}")
    for folder in reversed([folder for folder in folders(source / CHECKPOINTS) if folder.name <= f"step-{step:08d}"]):
        try:
            with atomic.new_folder(directory.path / CHECKPOINTS) as fresh:
                shutil.copytree(folder, fresh / folder.name)
                atomic.write_bytes(directory.path / "metrics.jsonl", (source / "metrics.jsonl").read_bytes())
        except (OSError, shutil.Error):  # pruned by the donor just now
            continue
        return [*before, place]
    return before
