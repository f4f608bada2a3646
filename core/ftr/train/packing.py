"""Nested states of optimizers and schedulers as JSON and a flat dict of tensors, so that nothing need be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]


class Unpackable(Exception):  # noqa: N818 - found, said, and trained on
    """A state holds an object that is neither a tensor nor plain; the message names it."""


def pack(value: Any, name: str, tensors: Tensors) -> Any:
    """Return `value` as JSON can hold it; the tensors within go to `tensors`, under dotted names that begin with `name`.

    Raises `Unpackable`.
    """
    import torch

    if isinstance(value, torch.Tensor):
        # A view would drag its whole storage along.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [pack(item, f"{name}.{place}", tensors) for place, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"tuple": [pack(item, f"{name}.{place}", tensors) for place, item in enumerate(value)]}
    if isinstance(value, Mapping):
        return {"dict": [[key, pack(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    raise Unpackable(f"`{name}` is a `{type(value).__name__}`")


def unpack(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return what `pack` was given. Raises `KeyError` for a tensor that is not there."""
    if isinstance(plain, list):
        return [unpack(item, tensors) for item in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    if kind == "tensor":
        # Out of the mapped file, into memory as aligned as any other tensor's.
        return tensors[content].clone()
    if kind == "tuple":
        return tuple(unpack(item, tensors) for item in content)
    return {key: unpack(item, tensors) for key, item in content}
