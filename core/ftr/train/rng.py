"""The random generators of a process (torch, its device, numpy, Python) as tensors, and back."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def rng_state(device: str) -> dict[str, Tensor]:
    """Return the states of all generators that a training on `device` draws from."""
    import torch

    twister: Any = np.random.get_state()
    _, words, position, has_gauss, gauss = twister
    _, inner, normal = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*words.tolist(), position, has_gauss], dtype=torch.int64),
        "numpy_normal": torch.tensor([gauss], dtype=torch.float64),
        "python": torch.tensor(inner, dtype=torch.int64),
        "python_normal": torch.tensor([] if normal is None else [normal], dtype=torch.float64),
    }
    if device == "cuda":
        states["device"] = torch.cuda.get_rng_state()
    elif device == "mps":
        states["device"] = torch.mps.get_rng_state()
    return states


def set_rng_state(states: dict[str, Tensor], device: str) -> None:
    """Set all generators to what `rng_state` returned."""
    import torch

    *words, position, has_gauss = states["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(words, dtype=np.uint32), position, has_gauss, states["numpy_normal"].item()))
    random.setstate((3, tuple(states["python"].tolist()), next(iter(states["python_normal"].tolist()), None)))
    torch.set_rng_state(states["torch"].clone())
    if "device" in states and device == "cuda":
        torch.cuda.set_rng_state(states["device"].clone())
    elif "device" in states and device == "mps":
        torch.mps.set_rng_state(states["device"].clone())
