"""What this machine can do: device, precision and attention, memory, and its random generators."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import platform
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from ftr import system
from ftr.config.schema import TrainConfig
from ftr.errors import ConfigError, RunError, counted, in_one_line
from ftr.model.transformers_private import default_attention
from ftr.train.batches import Indices, micro_batches

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel


CPU_BF16 = ("avx512_bf16", "amx_tile")
"""Processor features with fast bf16, as `torch.cpu.get_capabilities` (torch 2.10) names them."""
AS_ASKED = "as asked"
WORTHWHILE = 1.3
"""How many times faster than fp32 a bf16 matrix product must be on a CPU before `auto` uses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerics:
    """The settings a training runs with, and the reason for each `auto`."""

    device: str
    precision: str
    attention: str
    reasons: dict[str, str]


def choose_numerics(train: TrainConfig) -> Numerics:
    """Resolve `train.precision` and `train.attention` for this machine.

    The instructions of a CPU do not tell its speed: matrix products in bf16 were measured at 673
    GFLOP/s against 193 in fp32 on one machine with avx512_bf16, at 205 against 375 on another, at
    46 against 160 on one without. So both are timed, in a tenth of a second.
    """
    device = device_name()
    precision: tuple[str, str] = (train.precision, AS_ASKED)
    attention: tuple[str, str] = (train.attention, AS_ASKED)
    if train.precision == "auto":
        precision = _precision(device)
    if train.attention == "auto":
        attention = (
            ("cpu", "cheap dropout masks while training, sdpa where there is no dropout")
            if device == "cpu"
            else ("sdpa", "the fastest kernel that ships with torch")
        )
    if precision[0] == "fp16" and device == "cpu":
        raise ConfigError(
            "`train.precision=fp16` needs a GPU: fp16 training on a CPU has no loss scaling. Use "
            "`bf16`, `fp32` or `auto`."
        )
    if attention[0] == "flash_attention_2" and device == "cpu":
        raise ConfigError(
            "`train.attention=flash_attention_2` needs a GPU. Use `sdpa`, `eager` or `auto`."
        )
    return Numerics(
        device=device,
        precision=precision[0],
        attention=attention[0],
        reasons={"precision": precision[1], "attention": attention[1]},
    )


def numerics_for(model: PreTrainedModel, numerics: Numerics) -> Numerics:
    """Return the numerics with `eager` where `auto` chose a kernel that transformers does not have
    for this kind of model, such as Gemma 2.
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
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": system.cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": system.memory(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def numerics_lines(numerics: Numerics) -> list[str]:
    """Return what `--verbose` prints about the machine and how a training computes on it."""
    known, why = describe_hardware(), numerics.reasons
    name = ", ".join(known["gpus"]) or f"{known['processor']}, {known['instructions']}"
    return [
        f"device: {numerics.device} ({name})",
        f"threads: {known['threads']} on {counted(known['cores'], 'core')}",
        f"precision: {numerics.precision} ({why['precision']})",
        f"attention: {numerics.attention} ({why['attention']})",
    ]


def _precision(device: str) -> tuple[str, str]:
    import torch

    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU has bf16"
        return "fp16", "the GPU has no bf16"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if device == "cpu" and any(capabilities.get(name) for name in CPU_BF16):
        gain = bf16_gain()
        return (
            "bf16" if gain >= WORTHWHILE else "fp32",
            f"a matrix product in bf16 is {gain:.1f} times as fast as in fp32",
        )
    return "fp32", f"the {'processor' if device == 'cpu' else 'device'} has no bf16"


def bf16_gain() -> float:
    """Return how many times faster this CPU multiplies matrices in bf16 than in fp32."""
    speeds = matmul_speeds("cpu")
    return speeds["bf16"] / speeds["fp32"]


@cache
def matmul_speeds(device: str) -> dict[str, float]:
    """Return the GFLOP/s of a matrix product in fp32 and in bf16: the medians of a few, in turn, so
    that other work slows both.
    """
    import torch

    rows, inner, outer = 1024, 384, 1536
    operands = {
        name: [
            torch.zeros(shape, dtype=dtype, device=device)
            for shape in ((rows, inner), (outer, inner))
        ]
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    seconds: dict[str, list[float]] = {name: [] for name in operands}
    for _ in range(10):
        for name, (left, right) in operands.items():
            began = time.perf_counter()
            torch.nn.functional.linear(left, right)[0, 0].item()  # waits for a GPU
            seconds[name].append(time.perf_counter() - began)
    work = 2 * rows * inner * outer / 1e9
    return {name: work / median(several[1:]) for name, several in seconds.items()}


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a device file
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on `device`; a GPU is not waited for, thanks to page-locked memory."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


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
    if device != "cpu":
        states["device"] = getattr(torch, device).get_rng_state()
    return states


def set_rng_state(states: dict[str, Tensor], device: str) -> None:
    """Set all generators to what `rng_state` returned."""
    import torch

    *words, position, has_gauss = states["numpy"].tolist()
    key, gauss = np.array(words, dtype=np.uint32), states["numpy_normal"].item()
    np.random.set_state(("MT19937", key, position, has_gauss, gauss))
    normal = next(iter(states["python_normal"].tolist()), None)
    random.setstate((3, tuple(states["python"].tolist()), normal))
    torch.set_rng_state(states["torch"].clone())
    if "device" in states and device != "cpu":
        getattr(torch, device).set_rng_state(states["device"].clone())


Shape = tuple[int, int]
"""A pass: rows, and the tokens of the longest of them."""
MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "ALLOC_FAILED",
)
"""What errors of torch on CPUs and MPS, and of CUDA's libraries, contain that are no
`torch.OutOfMemoryError`.
"""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device or the machine ran out of memory."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    return (
        isinstance(error, RuntimeError)
        and not isinstance(error, RunError)
        and any(text in str(error) for text in MESSAGES)
    )


def free_memory(device: str) -> None:
    """Collect what a failed pass left and give the device's cached memory back to it."""
    import torch

    # It left young objects: a full collection takes half a second over torch and transformers.
    gc.collect(1)
    if device != "cpu":
        getattr(torch, device).empty_cache()


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of `mallopt`, from glibc's `malloc.h`."""


@contextlib.contextmanager
def kept_memory(device: str) -> Iterator[None]:
    """Keep the memory that a training on a CPU frees in the process, and give it back at the end.

    glibc maps every large tensor anew, and the kernel clears all its pages: with 22M parameters
    that was 10 % of the processor time of a step of 32 sentences.
    """
    libc = ctypes.CDLL(None)
    if device != "cpu" or not hasattr(libc, "mallopt"):  # not glibc
        yield
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, 1 << 16)  # both are glibc's defaults
        libc.mallopt(_M_TRIM_THRESHOLD, 1 << 17)
        libc.malloc_trim(0)


def checkpoint_activations(model: nn.Module) -> None:
    """Make the backward pass compute activations again instead of keeping them.

    Dropout masks are drawn again from the same random numbers: the gradients are the same. Raises
    `ConfigError` where the model cannot.
    """
    if not can_checkpoint(model):
        raise ConfigError(
            f"`train.activation_checkpointing`: a `{type(model).__name__}` of transformers does "
            "not support it. Leave the key out, or use another `model`."
        )
    # transformers 5.20 renamed it, and warns of the old name.
    named: Any = model
    enable = getattr(named, "activation_checkpointing_enable", None)
    (enable or named.gradient_checkpointing_enable)({"use_reentrant": False})


def can_checkpoint(model: nn.Module) -> bool:
    """Whether the model can compute activations again."""
    return bool(getattr(model, "supports_gradient_checkpointing", False)) and hasattr(
        model, "gradient_checkpointing_enable"
    )


@contextlib.contextmanager
def outside_of_passes(workers: int) -> Iterator[None]:
    """Turn running out of memory outside of a pass, such as in the optimizer, into a `RunError`
    that names what helps.

    With several workers the error is not changed: they resume from the last checkpoint
    (`compute.retries`).
    """
    try:
        yield
    except Exception as error:
        if workers > 1 or not is_out_of_memory(error):
            raise
        raise RunError(
            f"out of memory ({in_one_line(error)}) outside of a pass, so smaller passes would not "
            "help: train less of the model (`train.freeze`, `train.lora.rank`), use a smaller "
            "`model`, or a `train.optimizer` with less state, such as `adafactor`."
        ) from error


@dataclass(slots=True)
class Ladder:
    """How small the passes of a training had to become: `rows` and padded `tokens` a pass at most.

    With `auto`, when memory runs out in a pass of several rows, `tokens` becomes half of what that
    pass had; where one row alone does not fit, activations are computed again and the ladder begins
    at its `top` once more. `times` is how often memory ran out.
    """

    rows: int
    tokens: int | None
    auto: bool = False
    top: int | None = None
    checkpointing: bool = False
    times: int = 0

    def below(self, failed: Shape) -> int:
        """Return the tokens of the next lower step, 0 when `failed` was a single row."""
        rows, longest = failed
        return 0 if rows == 1 else max(rows * longest // 2, 1)

    def descend(self, tokens: int, model: nn.Module, failed: Shape | None) -> None:
        """Go down to passes of `tokens`; 0: compute activations again.

        Raises `RunError` at the bottom.
        """
        self.times += 1
        if tokens:
            self.tokens = tokens
        elif not self.checkpointing and can_checkpoint(model):
            checkpoint_activations(model)
            self.checkpointing, self.tokens = True, self.top
        else:
            row = f"one row of {failed[1]} tokens" if failed else "one row, in another worker,"
            again = " with its activations computed again" if self.checkpointing else ""
            raise RunError(
                f"out of memory: not even {row} fits{again} (`train.micro_batch_size` came down to "
                "1, and a lower `batch_size` would not help). Lower `data.max_length`, use a "
                "smaller `model`, or train less of it (`train.freeze`, `train.lora.rank`)."
            )

    def too_large(self, failed: Shape) -> RunError:
        """Return the error of a pass that did not fit where its size was asked for."""
        return RunError(
            f"out of memory in a pass of {_shown(failed)}: lower "
            f"`train.micro_batch_size={self.rows}`, or leave it out, which finds a size that fits; "
            "`train.activation_checkpointing=true` and a lower `data.max_length` need less memory "
            "too. `batch_size` may stay as it is."
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sizes of a checkpoint, where they are found rather than given."""
        if self.auto and state["auto"] and state["top"] == self.top:
            self.rows, self.tokens, self.times = state["rows"], state["tokens"], state["times"]
            self.checkpointing = self.checkpointing or state["checkpointing"]

    @property
    def message(self) -> str:
        """The log message after memory ran out."""
        again = (
            ", and activations are computed again for the gradients" if self.checkpointing else ""
        )
        return (
            f"out of memory: passes now take at most {self.tokens} tokens{again}. The step was "
            "repeated; `batch_size` and the result stay as they are"
        )


@dataclass(slots=True)
class EvaluationLimit:
    """The largest pass in padded tokens for predictions, once memory ran out; None: it never did.

    `times` is how often it ran out.
    """

    tokens: int | None = None
    times: int = 0

    def descend(self, rows: int, longest: int, asked: int | str) -> None:
        """Halve a pass that did not fit.

        Raises `RunError` where it was one row, or the size was given (`asked`).
        """
        self.times += 1
        if asked != "auto":
            raise RunError(
                f"out of memory in predicting {_shown((rows, longest))} at a time: lower "
                f"`train.eval_batch_size={asked}`, or set it to `auto`."
            )
        if rows == 1:
            raise RunError(
                f"out of memory in predicting one row of {longest} tokens: lower "
                "`data.max_length`, or use a smaller `model`."
            )
        self.tokens = rows * longest // 2

    def cut(self, batch: Indices, lengths: Indices) -> list[Indices]:
        """Return a batch in parts that fit, as far as is known."""
        if self.tokens is None:
            return [batch]
        return micro_batches(batch, lengths, len(batch), self.tokens)


@dataclass(slots=True)
class Memory:
    """What a training found out about memory, for its own passes and for those of evaluation."""

    training: Ladder
    evaluation: EvaluationLimit

    def state_dict(self) -> dict[str, Any]:
        """Return the limits, for a checkpoint."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restore the limits of a checkpoint; that of an older version has none."""
        if state is not None:
            self.training.load_state_dict(state["training"])
            found = state["evaluation"]
            self.evaluation.tokens, self.evaluation.times = found["tokens"], found["times"]

    @property
    def record(self) -> dict[str, Any]:
        """The part of a run record; `peak_gpu_bytes` is the most that tensors of this process took
        on its GPU.
        """
        import torch

        found = {
            "micro_batch": {"rows": self.training.rows, "tokens": self.training.tokens},
            "activation_checkpointing": self.training.checkpointing,
            "out_of_memory": self.training.times,
            "evaluation": asdict(self.evaluation),
        }
        if torch.cuda.is_available():
            found["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
        return found


def _shown(shape: Shape) -> str:
    return f"{counted(shape[0], 'row')} of {counted(shape[1], 'token')}"
