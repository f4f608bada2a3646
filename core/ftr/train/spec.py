"""What crosses from the process that drives a training to those that carry it out."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """All that crosses to the processes of a training: plain values, no model, no trainer.

    `splits` says where the encoded rows lie, `folder` is the run directory, `card` what `ftr.json` will hold. With `final`
    false nothing is scored before and after the training: only `model/` and the evaluations are left. `warm` keeps the model
    as it was built in memory for the next training of this process; `checkpoint_always` writes one after every evaluation. `weights`
    is a `.npy` file with the weight of each training row in the loss, where they differ.
    """

    config: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    folder: str
    card: dict[str, Any]
    threads: int | None = None
    progress: bool = True
    final: bool = True
    warm: bool = False
    ranked: tuple[str, str] | None = None
    checkpoint_always: bool = False
    report_everywhere: bool = False
    free: tuple[str, ...] = ()
    weights: str | None = None
