"""A machine that runs out of memory above so many rows: what every pass of a training, or of an
evaluation, then raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch  # noqa: TID253 - the tests that import this train

if TYPE_CHECKING:
    from torch import nn

Where = Literal["forward", "backward"]


def recomputes(model: Any) -> bool:
    """Whether the backward pass computes activations again; transformers has renamed this."""
    found = getattr(model, "is_activation_checkpointing", None)
    return bool(model.is_gradient_checkpointing if found is None else found)


def refuse_rows(
    model: nn.Module, most: int, where: Where = "forward", checkpointed: int | None = None
) -> list[int]:
    """Let a training pass of `model` over more than `most` rows run out of memory; returns the rows
    of all passes, as they come.

    In the backward pass it does so half way, when the upper layers have their gradients.
    `checkpointed` is the limit while activations are computed again.
    """
    seen: list[int] = []

    def too_many(module: Any) -> bool:
        limit = checkpointed if checkpointed is not None and recomputes(module) else most
        return bool(seen[-1] > limit)

    def before(module: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        if module.training:
            seen.append(len(inputs["input_ids"]))
            if where == "forward" and too_many(module):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def inside(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        if model.training and states.requires_grad and too_many(model):

            def fail(gradient: torch.Tensor) -> torch.Tensor:
                raise RuntimeError(
                    "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
                )

            states.register_hook(fail)

    model.register_forward_pre_hook(before, with_kwargs=True)
    if where == "backward":
        layers = next(
            module for module in model.modules() if isinstance(module, torch.nn.ModuleList)
        )
        layers[-1].register_forward_hook(inside)
    return seen


@contextmanager
def machine(change: Callable[[nn.Module], object]) -> Iterator[list[Any]]:
    """Change every model that a training in this process builds; yields what `change` returned for
    each.
    """
    from ftr.train import inference, session

    found: list[Any] = []

    def changed(*args: Any, **kwargs: Any) -> Any:
        engine = inference.build_engine(*args, **kwargs)
        found.append(change(engine.model))
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "build_engine", changed)
        yield found
