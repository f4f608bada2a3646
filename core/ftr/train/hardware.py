"""What this machine does well (device, precision, attention), and its random generators."""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ftr.errors import ConfigError
from ftr.model.transformers_private import default_attention

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from ftr.config.schema import TrainConfig


CPU_BF16 = ("avx512_bf16", "amx_tile")
"""Processor features with fast bf16, as `torch.cpu.get_capabilities` (torch 2.10) names them."""
AS_ASKED = "as asked"
WORTHWHILE = 1.3
"""How many times faster than fp32 a bf16 matrix product must be on a CPU before `auto` takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerics:
    """The settings a training runs with, and why each `auto` became what it is."""

    device: str
    precision: str
    attention: str
    reasons: dict[str, str]


def choose_numerics(train: TrainConfig) -> Numerics:
    """Resolve `train.precision` and `train.attention` for this machine.

    On a CPU the instructions do not tell: matrix products in bf16 were measured at 673 GFLOP/s
    beside 193 in fp32 on one machine with avx512_bf16, at 205 beside 375 on another, at 46 beside
    160 on one without. So both are timed, in a tenth of a second.
    """
    device = device_name()
    precision, why_precision = (
        (train.precision, AS_ASKED) if train.precision != "auto" else _precision(device)
    )
    attention, why_attention = (
        (train.attention, AS_ASKED) if train.attention != "auto" else _attention(device)
    )
    if precision == "fp16" and device == "cpu":
        raise ConfigError(
            "`train.precision=fp16` needs a GPU: fp16 training on a CPU has no loss scaling. Use "
            "`bf16`, `fp32` or `auto`."
        )
    if attention == "flash_attention_2" and device == "cpu":
        raise ConfigError(
            "`train.attention=flash_attention_2` needs a GPU. Use `sdpa`, `eager` or `auto`."
        )
    return Numerics(
        device=device,
        precision=precision,
        attention=attention,
        reasons={"precision": why_precision, "attention": why_attention},
    )


def numerics_for(model: PreTrainedModel, numerics: Numerics) -> Numerics:
    """Return the numerics with `eager` where `auto` chose a kernel that transformers has not for
    this kind of model, such as Gemma 2.
    """
    if numerics.reasons["attention"] == AS_ASKED or default_attention(model) != "eager":
        return numerics
    reason = f"transformers has no sdpa for a `{model.config.model_type}`"
    return replace(numerics, attention="eager", reasons={**numerics.reasons, "attention": reason})


def device_name() -> str:
    """Return `cuda`, `mps` or `cpu`: what a training in this process would use."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def describe_hardware() -> dict[str, Any]:
    """Return processor, cores, threads, memory in bytes and GPUs, for the run record."""
    import torch

    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _precision(device: str) -> tuple[str, str]:
    import torch

    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU has bf16"
        return "fp16", "the GPU has no bf16"
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if device == "cpu" and any(capabilities.get(name) for name in CPU_BF16):
        gain = bf16_gain()
        return (
            "bf16" if gain >= WORTHWHILE else "fp32",
            f"a matrix product in bf16 is {gain:.1f} times as fast as in fp32",
        )
    return "fp32", f"the {'processor' if device == 'cpu' else 'device'} has no bf16"


@cache
def bf16_gain() -> float:
    """Return how many times faster this CPU multiplies matrices in bf16 than in fp32: the best of a
    few, in turn.
    """
    import torch

    shapes = ((1024, 384), (1536, 384))
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    operands = {dtype: [torch.zeros(shape, dtype=dtype) for shape in shapes] for dtype in best}
    for _ in range(8):
        for dtype, (left, right) in operands.items():
            began = time.perf_counter()
            torch.nn.functional.linear(left, right)
            best[dtype] = min(best[dtype], time.perf_counter() - began)
    return best[torch.float32] / best[torch.bfloat16]


def _attention(device: str) -> tuple[str, str]:
    if device == "cpu":
        return "cpu", "cheap dropout masks while training, sdpa where there is no dropout"
    return "sdpa", "the fastest kernel that ships with torch"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a device file, not a path of ours
            return next(
                (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
                platform.processor(),
            )
    except OSError:
        return platform.processor()


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
    np.random.set_state(
        (
            "MT19937",
            np.array(words, dtype=np.uint32),
            position,
            has_gauss,
            states["numpy_normal"].item(),
        )
    )
    random.setstate(
        (3, tuple(states["python"].tolist()), next(iter(states["python_normal"].tolist()), None))
    )
    torch.set_rng_state(states["torch"].clone())
    if "device" in states and device == "cuda":
        torch.cuda.set_rng_state(states["device"].clone())
    elif "device" in states and device == "mps":
        torch.mps.set_rng_state(states["device"].clone())
