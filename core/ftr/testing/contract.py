"""How a check speaks: one message with the contract, what was found, and what to change."""

from __future__ import annotations

import contextlib
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest

import ftr
from ftr.errors import FtrError
from ftr.registry.specs import Kind

_OWN = Path(ftr.__file__).parent
_PYTHON = sysconfig.get_path("stdlib")
_SITE = "site-packages"
_LIBRARIES = (
    "accelerate",
    "datasets",
    "evaluate",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "ray",
    "tokenizers",
    "torch",
    "transformers",
)


class Conformance:
    """What all classes of checks share: the kind and name of the component, bare or `plugin:name`,
    and its options.
    """

    kind: ClassVar[Kind]
    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}


def broken(contract: str, found: str, change: str) -> NoReturn:
    """Fail the running check."""
    told = {"contract": contract, "found": found, "change": change}
    message = "\n".join(f"{word}: {' '.join(text.split())}" for word, text in told.items())
    # Whatever led here is in the message.
    raise pytest.fail.Exception(message, pytrace=False) from None


def require(condition: object, contract: str, found: str, change: str) -> None:
    """Fail the running check unless `condition` is true."""
    if not condition:
        broken(contract, found, change)


@contextlib.contextmanager
def must_work(contract: str, change: str) -> Iterator[None]:
    """Turn whatever the component's code raises within into a failure of the check that names the
    error and its line.
    """
    try:
        yield
    except Exception as error:
        broken(contract, f"it raised {described(error)}", change)


def described(error: BaseException) -> str:
    """Return an error in one line, with the last line of code it came through that is neither ftr's
    nor a library's.
    """
    text = " ".join(str(error).split())
    name = "" if isinstance(error, FtrError) else type(error).__name__
    frames = [
        frame
        for one in _causes(error)
        for frame in traceback.extract_tb(one.__traceback__)
        if not _is_library(frame.filename)
    ]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{': '.join(filter(None, (name, text)))}{place}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        yield cause
        seen.append(cause)
        cause = cause.__cause__


def _is_library(filename: str) -> bool:
    path = Path(filename)
    package = path.parts[path.parts.index(_SITE) + 1] if _SITE in path.parts[:-1] else ""
    return (
        path.is_relative_to(_OWN)
        or package in _LIBRARIES
        or (not package and path.is_relative_to(_PYTHON))
        or filename.startswith("<")
    )
