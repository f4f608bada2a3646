"""Out of memory: detect it and retry with smaller micro-batches, with the same result."""

from __future__ import annotations

import contextlib
import gc
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ftr.errors import ConfigError, RunError, in_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from ftr.train.batches import Indices


Shape = tuple[int, int]
"""A pass: rows, and the tokens of the longest of them."""

MESSAGES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "ALLOC_FAILED",
)
"""What the errors of torch on CPUs and MPS, and of CUDA's libraries, say that are no
`torch.OutOfMemoryError`.
"""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the device or of the machine, was not enough."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return (
        isinstance(error, RuntimeError)
        and not isinstance(error, RunError)
        and any(text in str(error) for text in MESSAGES)
    )


def free_memory(device: str) -> None:
    """Collect what a failed pass left and give the device's cached memory back to it."""
    import torch

    # What it left is young: a full collection would take half a second over all of torch and
    # transformers.
    gc.collect(1)
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def checkpoint_activations(model: nn.Module) -> None:
    """Let the backward pass compute activations again instead of keeping them.

    Raises `ConfigError` where the model cannot.

    Dropout masks are drawn again from the same random numbers: the gradients are the same.
    """
    if not can_checkpoint(model):
        raise ConfigError(
            f"`train.activation_checkpointing`: a `{type(model).__name__}` of transformers cannot "
            "compute its activations again. Leave the key out, or take another `model`."
        )
    # The name it has from transformers 5.20 on comes first: the other one warns there.
    named: Any = (
        getattr(model, "activation_checkpointing_enable", None)
        or model.gradient_checkpointing_enable
    )
    named({"use_reentrant": False})


def can_checkpoint(model: nn.Module) -> bool:
    """Whether the model can compute activations again."""
    return bool(getattr(model, "supports_gradient_checkpointing", False)) and hasattr(
        model, "gradient_checkpointing_enable"
    )


@contextlib.contextmanager
def outside_of_passes(workers: int) -> Iterator[None]:
    """Turn running out of memory elsewhere than in a pass, such as in the optimizer, into a
    `RunError` that says what helps.

    With several workers it stays what it is: they begin again from the last checkpoint
    (`compute.retries`).
    """
    try:
        yield
    except Exception as error:
        if workers > 1 or not is_out_of_memory(error):
            raise
        raise RunError(
            f"out of memory ({in_one_line(error)}), not in a pass, so smaller ones would not help: "
            "train less of the model (`train.freeze`, `train.lora.rank`), take a smaller `model`, "
            "or a `train.optimizer` that keeps less, such as `adafactor`."
        ) from error


@dataclass(slots=True)
class Ladder:
    """How small the passes of a training had to become: `rows` and padded `tokens` a pass at most.

    With `auto` they follow from what fits: when memory runs out in a pass of several rows, `tokens`
    becomes half of what that pass had; where one row alone does not fit, activations are computed
    again and the ladder begins at its top once more.
    """

    rows: int
    tokens: int | None
    auto: bool = False
    top: int | None = None
    checkpointing: bool = False
    times: int = 0
    """How often memory ran out."""

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
            raise RunError(bottom(failed, self.checkpointing))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the fields of another ladder, where the sizes are found rather than given."""
        if self.auto and state["auto"] and state["top"] == self.top:
            self.rows, self.tokens, self.times = state["rows"], state["tokens"], state["times"]
            self.checkpointing = self.checkpointing or state["checkpointing"]

    @property
    def record(self) -> dict[str, Any]:
        """What a run record says of it."""
        return {
            "micro_batch": {"rows": self.rows, "tokens": self.tokens},
            "activation_checkpointing": self.checkpointing,
            "out_of_memory": self.times,
        }

    @property
    def message(self) -> str:
        """What a person is told after memory ran out."""
        again = (
            ", and activations are computed again for the gradients" if self.checkpointing else ""
        )
        return (
            f"passes now take at most {self.tokens} tokens{again}. The step was repeated; "
            "`batch_size` and the result stay as they are"
        )


@dataclass(slots=True)
class Fitting:
    """The largest pass in padded tokens that predictions are made with, once memory ran out; None:
    it never did.
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
                f"out of memory in predicting {shaped((rows, longest))} at a time: lower "
                f"`train.eval_batch_size={asked}`, or set it to `auto`."
            )
        if rows == 1:
            raise RunError(
                f"out of memory in predicting one row of {longest} tokens: lower "
                "`data.max_length`, or take a smaller `model`."
            )
        self.tokens = rows * longest // 2

    def cut(self, batch: Indices, lengths: Indices) -> list[Indices]:
        """Return a batch in parts that fit, as far as is known."""
        from ftr.train.batches import micro_batches

        return (
            [batch]
            if self.tokens is None
            else micro_batches(batch, lengths, len(batch), self.tokens)
        )


@dataclass(slots=True)
class Memory:
    """What a training has found out about memory, for its passes and for those of evaluation."""

    training: Ladder
    evaluation: Fitting

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must know to go on."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take over what `state` returned; a checkpoint of an older version holds None."""
        if state is None:
            return
        self.training.load_state_dict(state["training"])
        self.evaluation.tokens, self.evaluation.times = (
            state["evaluation"]["tokens"],
            state["evaluation"]["times"],
        )

    @property
    def record(self) -> dict[str, Any]:
        """What a run record says of it; `peak_gpu_bytes` is the most that tensors of this process
        took on its GPU.
        """
        return {**self.training.record, "evaluation": asdict(self.evaluation), **_peak()}


def _peak() -> dict[str, int]:
    import torch

    return (
        {"peak_gpu_bytes": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {}
    )


def given(rows: int, failed: Shape) -> str:
    """Return what a person is told when memory runs out and `train.micro_batch_size=rows` was asked
    for.
    """
    return (
        f"out of memory in a pass of {shaped(failed)}: lower `train.micro_batch_size={rows}`, or "
        "leave it out, which finds a size that fits; `train.activation_checkpointing=true` and a "
        "lower `data.max_length` take less memory too. `batch_size` may stay as it is."
    )


def bottom(failed: Shape | None, checkpointing: bool) -> str:
    """Return what a person is told when nothing smaller is left to try."""
    row = f"one row of {failed[1]} tokens" if failed else "one row, in another worker,"
    again = " with its activations computed again" if checkpointing else ""
    return (
        f"out of memory: not even {row} fits{again} (`train.micro_batch_size` came down to 1, and "
        "a lower `batch_size` would not help). Lower `data.max_length`, take a smaller `model`, or "
        "train less of it (`train.freeze`, `train.lora.rank`)."
    )


def shaped(shape: Shape) -> str:
    """Return a pass in words."""
    return f"{shape[0]} row{'s' if shape[0] > 1 else ''} of {shape[1]} tokens"
