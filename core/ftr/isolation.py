"""Loading somebody's module without letting it change this process: what it changed is put back, and told in one line."""

import builtins
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import logging

_SHOWN = 60
"""Characters of what was printed that a note quotes."""
_FILTERS = "the warnings filters"
_VARIABLE, _LOGGER = "`os.environ`", "logging"
State = dict[tuple[str, str], object]
"""What is watched, each thing by the place it belongs to and its name there: a variable, a logger, all filters together."""


class _Logger(NamedTuple):
    level: int = 0
    handlers: tuple["logging.Handler", ...] = ()
    propagate: bool = True
    disabled: bool = False


_ROOT = _Logger(level=30)


class Isolation:
    """What a plugin's own code did to its process under `isolated`; told when that ends.

    `base` is what everything goes back to: the state before, with what libraries set up that were imported meanwhile.
    """

    def __init__(self, own: str) -> None:
        self.own, self.printed = own, ""
        self.base = self.seen = self._state()
        self.changed: set[tuple[str, str]] = set()

    @property
    def note(self) -> str:
        """One line on what was undone, "" where nothing was."""
        parts = [f"changed {' and '.join(self._places())}"] if self.changed else []
        text = self.printed.strip()
        if text:
            first = text.split("\n", 1)[0].strip()
            quoted = first if len(first) <= _SHOWN else f"{first[: _SHOWN - 1]}…"
            parts.append(f"printed `{quoted}`" + (" and more" if "\n" in text else ""))
        return f"{' and '.join(parts)} when it was imported; that was undone: a hook module only registers" if parts else ""

    def _places(self) -> Iterator[str]:
        for place in dict.fromkeys(place for place, _ in sorted(self.changed, reverse=True)):
            names = sorted(name or "the root logger" for owner, name in self.changed if owner == place)
            yield place if place == _FILTERS else f"{place} ({', '.join(names)})"

    def look(self) -> State:
        """Note what the plugin changed since the last look, and return the state."""
        now = self._state()
        self.changed |= _differences(self.seen, now)
        return now

    def forgive(self, before: State) -> None:
        """Take what changed since the state `before` for the affair of whoever was imported."""
        self.seen = self._state()
        changed = _differences(before, self.seen) - self.changed
        self.base = {**{key: value for key, value in self.base.items() if key not in changed}, **_only(self.seen, changed)}

    def undo(self) -> None:
        """Put back what the plugin changed."""
        self.look()
        for place, name in self.changed:
            then = self.base.get((place, name))
            if place == _VARIABLE:
                os.environ.pop(name, None)
                os.environ.update({name: then} if isinstance(then, str) else {})
            elif place == _LOGGER:
                _set_logger(name, then if isinstance(then, _Logger) else _Logger())
            elif isinstance(then, tuple):
                warnings.filters[:], warnings.showwarning = then  # type: ignore[index]
                with warnings.catch_warnings():  # makes Python forget what it had already decided by the other filters
                    pass

    def _state(self) -> State:
        state: State = {(_VARIABLE, name): value for name, value in os.environ.items()}
        state[_FILTERS, ""] = (list(warnings.filters), warnings.showwarning)
        logging = sys.modules.get("logging")
        if logging is None:
            return state | {(_LOGGER, ""): _ROOT}
        named = {name: logger for name, logger in logging.root.manager.loggerDict.items() if isinstance(logger, logging.Logger)}
        for name, logger in {"": logging.root, **named}.items():
            found = _Logger(logger.level, tuple(logger.handlers), logger.propagate, logger.disabled)
            # A logger of its own is the plugin's own affair, and one that nobody has set up is as good as none.
            if name.partition(".")[0] != self.own and (found != _Logger() or not name):
                state[_LOGGER, name] = found
        return state


class _Tape(io.TextIOBase):
    """Takes what is printed while the module loads; afterwards stderr does, for whoever kept this stream."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text: list[str] | None = []

    def write(self, text: str) -> int:
        if self.text is None:
            return sys.stderr.write(text)
        self.text.append(text)
        return len(text)

    def flush(self) -> None:
        if self.text is None:
            sys.stderr.flush()

    def fileno(self) -> int:
        return super().fileno() if sys.__stderr__ is None else sys.__stderr__.fileno()

    def end(self) -> str:
        text, self.text = "".join(self.text or ()), None
        return text


@contextmanager
def isolated(own: str) -> Iterator[Isolation]:
    """Run what stands in the context, and put back `os.environ`, the warnings filters and the loggers; catch what it prints.

    `own` is the top-level package whose code runs. What other packages set up when it imports them stays: numpy adds
    warnings filters, torch loggers.
    """
    found, tape = Isolation(own), _Tape()
    try:
        with redirect_stdout(tape), redirect_stderr(tape), _imports_seen(found):
            yield found
    finally:
        found.undo()
        found.printed = tape.end()


@contextmanager
def _imports_seen(found: Isolation) -> Iterator[None]:
    """Tell what the plugin does from what the packages do that it imports: Python hands every import statement to one function."""
    plain, inside = builtins.__import__, False

    def seen(name: str, *where: Any, **how: Any) -> ModuleType:
        nonlocal inside
        level = where[3] if len(where) > 3 else how.get("level", 0)
        if inside or level or name.partition(".")[0] in (found.own, *_KNOWN):
            return plain(name, *where, **how)
        before, inside = found.look(), True
        try:
            return plain(name, *where, **how)
        finally:
            inside = False
            found.forgive(before)

    builtins.__import__ = seen
    try:
        yield
    finally:
        builtins.__import__ = plain


_KNOWN = ("ftr", "__future__", "collections", "os", "sys", "typing", "warnings")
"""Modules that change nothing, and that are loaded anyway."""


def _differences(before: State, after: State) -> set[tuple[str, str]]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def _only(state: State, keys: set[tuple[str, str]]) -> State:
    return {key: state[key] for key in keys if key in state}


def _set_logger(name: str, state: _Logger) -> None:
    import logging

    logger = logging.getLogger(name) if name else logging.root
    logger.setLevel(state.level)
    logger.handlers[:] = state.handlers
    logger.propagate, logger.disabled = state.propagate, state.disabled
