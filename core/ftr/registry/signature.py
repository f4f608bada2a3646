"""Options of a component that are the keyword parameters of its function or class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from pydantic import BaseModel


def parameters(target: Callable[..., object]) -> list[inspect.Parameter]:
    """Return the parameters of a function, or those of the `__init__` of a class without `self`."""
    return list(inspect.signature(target).parameters.values())


def takes_keywords(target: Callable[..., object]) -> bool:
    """Whether the options of `target` are its parameters: it has some, and they are not one
    `options`.
    """
    names = [parameter.name for parameter in parameters(target)]
    return bool(names) and names != ["options"]


@cache
def signature_model(target: Callable[..., object]) -> type[BaseModel]:
    """Return a pydantic model with a field for each parameter of `target`.

    `Annotated[int, Ge(4), "how many things"]` gives a field its limits and its description. Raises
    `TypeError` for a parameter without an annotation, and for `*args` and `**kwargs`.
    """
    from pydantic import Field, create_model

    called: Any = getattr(target, "__init__", target) if isinstance(target, type) else target
    hints = get_type_hints(called, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in parameters(target):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"the parameter `{parameter}` cannot be an option")
        if parameter.name not in hints:
            raise TypeError(f"the parameter `{parameter.name}` has no type: annotate it")
        required = parameter.default is inspect.Parameter.empty
        default = ... if required else parameter.default
        kind, text = _described(hints[parameter.name])
        fields[parameter.name] = (kind, Field(default, description=text))
    name = getattr(target, "__name__", "Target")
    config: Any = {"extra": "forbid", "frozen": True, "validate_default": True}
    return create_model(f"{name} options", __config__=config, **fields)


def _described(hint: Any) -> tuple[Any, str | None]:
    """Return a type without the strings it is annotated with, and the first of them."""
    if get_origin(hint) is not Annotated:
        return hint, None
    kind, *notes = get_args(hint)
    texts = [note for note in notes if isinstance(note, str)]
    others = tuple(note for note in notes if not isinstance(note, str))
    return (Annotated[(kind, *others)] if others else kind), texts[0] if texts else None
