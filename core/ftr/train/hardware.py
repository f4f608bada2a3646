"""What this machine does well: device, number format and attention, chosen once and written down."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftr.errors import ConfigError

if TYPE_CHECKING:
    from ftr.config.models import TrainConfig

FAST_CPU_BF16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerics:
    """The settings a training runs with, and why each `auto` became what it is."""

    device: str
    precision: str
    attention: str
    reasons: dict[str, str]


def choose_numerics(train: TrainConfig) -> Numerics:
    """Resolve `train.precision` and `train.attention` for this machine.

    On a CPU, bf16 pays only where there are instructions for it: without them a bf16 matrix product was measured
    3.5 times slower than fp32 (46 against 160 GFLOP/s on two AVX-512 cores), with them 3.5 times faster.
    """
    device = device_name()
    precision, why_precision = (train.precision, "as asked") if train.precision != "auto" else _precision(device)
    attention, why_attention = (train.attention, "as asked") if train.attention != "auto" else _attention(device)
    if precision == "fp16" and device == "cpu":
        raise ConfigError("`train.precision=fp16` needs a GPU: fp16 training on a CPU has no loss scaling. Use `bf16`, `fp32` or `auto`.")
    if attention == "flash_attention_2" and device == "cpu":
        raise ConfigError("`train.attention=flash_attention_2` needs a GPU. Use `sdpa`, `eager` or `auto`.")
    return Numerics(
        device=device,
        precision=precision,
        attention=attention,
        reasons={"precision": why_precision, "attention": why_attention},
    )


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
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
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
    if device == "cpu" and any(getattr(torch.cpu, name, bool)() for name in FAST_CPU_BF16):
        return "bf16", "the processor has bf16 instructions"
    return "fp32", f"the {'processor' if device == 'cpu' else 'device'} has no fast bf16"


def _attention(device: str) -> tuple[str, str]:
    if device == "cpu":
        return "cpu", "cheap dropout masks while training, sdpa where there is no dropout"
    return "sdpa", "the fastest kernel that ships with torch"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a device file, not a path of ours
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    except OSError:
        return platform.processor()
