"""Load third-party modules without lasting changes to this process; report what they changed.

Threads load one after another (`loading`). What other threads print and import is not touched.
"""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ftr.errors import RequestError

_SHOWN = 60
"""Characters of the printed text that a note quotes."""
_FILTERS, _VARIABLE, _LOGGER = "the warnings filters", "`os.environ`", "logging"
_UNSET = (0, (), True, False)
"""Level, handlers, `propagate` and `disabled` of a logger that nobody has set up."""
_HARMLESS = ("ftr", "__future__", "collections", "os", "sys", "typing", "warnings")
"""Modules that change nothing when they are imported, and that are loaded anyway."""

State = dict[tuple[str, str], Any]
"""What is watched, by place and name in it: a variable, a logger, all filters together."""


class Isolation:
    """What a plugin's own code did to its process under `isolated`; complete when that ends.

    `base` is the state to restore: the one before, with what imported libraries set up meanwhile.
    """

    def __init__(self, own: str) -> None:
        self.own, self.printed = own, ""
        self.base = self.state()
        self.changed: set[tuple[str, str]] = set()

    @property
    def note(self) -> str:
        """One line on what was undone, "" where nothing was."""
        parts = [f"changed {' and '.join(self._places())}"] if self.changed else []
        first, _, more = self.printed.strip().partition("\n")
        if first:
            shown = first.strip()
            quoted = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
            parts.append(f"printed `{quoted}`" + (" and more" if more else ""))
        return (
            f"{' and '.join(parts)} when it was imported; that was undone: a hook module only "
            "registers"
            if parts
            else ""
        )

    def _places(self) -> Iterator[str]:
        for place in dict.fromkeys(place for place, _ in sorted(self.changed, reverse=True)):
            names = sorted(
                name or "the root logger" for owner, name in self.changed if owner == place
            )
            yield place if place == _FILTERS else f"{place} ({', '.join(names)})"

    def state(self) -> State:
        """Return the environment, the warnings filters and the loggers that somebody set up."""
        state: State = {(_VARIABLE, name): value for name, value in os.environ.items()}
        state[_FILTERS, ""] = (list(warnings.filters), warnings.showwarning)
        for name, logger in {**logging.root.manager.loggerDict, "": logging.root}.items():
            # The plugin may set up its own loggers.
            if isinstance(logger, logging.Logger) and name.partition(".")[0] != self.own:
                found = (logger.level, (*logger.handlers,), logger.propagate, logger.disabled)
                state |= {} if found == _UNSET else {(_LOGGER, name): found}
        return state

    def keep(self, before: State) -> None:
        """Attribute what changed since the state `before` to a library that was imported."""
        now = self.state()
        plugins = _differences(self.base, before)
        self.base.update({key: now.get(key) for key in _differences(before, now) - plugins})

    def undo(self) -> None:
        """Restore what the plugin changed."""
        self.changed = _differences(self.base, self.state())
        for place, name in self.changed:
            then = self.base.get((place, name))
            if place == _VARIABLE:
                os.environ.pop(name, None)
                os.environ.update({} if then is None else {name: then})
            elif place == _LOGGER:
                logger = logging.getLogger(name)
                level, logger.handlers[:], logger.propagate, logger.disabled = then or _UNSET
                logger.setLevel(level)
            else:
                filters, warnings.showwarning = self.base[place, name]
                warnings.filters[:] = filters  # type: ignore[index]
                # Python forgets what it decided by the other filters.
                with warnings.catch_warnings():
                    pass


def _differences(before: State, after: State) -> set[tuple[str, str]]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


class ProcessLock:
    """A lock for the threads of a process. A forked process has its own, and it pickles as new."""

    def __init__(self) -> None:
        # By the id of the process: the thread that holds one is not in a forked process.
        self._locks: dict[int, threading.RLock] = {}

    def __enter__(self) -> None:
        self._locks.setdefault(os.getpid(), threading.RLock()).acquire()

    def __exit__(self, *error: object) -> None:
        if os.getpid() in self._locks:
            self._locks[os.getpid()].release()

    def __reduce__(self) -> tuple[type["ProcessLock"], tuple[()]]:
        return ProcessLock, ()


_LOADING = ProcessLock()


def loading() -> ProcessLock:
    """Let one thread of this process at a time load plugins, libraries and models.

    Python lets two threads that import packages with circular imports, such as transformers, see
    each other's partial modules: names are then missing.
    """
    return _LOADING


_training: dict[int, list[int]] = {}
"""The thread that trains, by the id of the process: a forked one does not train yet."""


@contextmanager
def one_training() -> Iterator[None]:
    """Let one thread of this process train: random numbers, torch threads and signals are shared.

    Raises `RequestError` while another training is running.
    """
    own = [threading.get_ident()]
    if _training.setdefault(os.getpid(), own) is not own:
        raise RequestError(
            "another training is under way in this process, and the two would draw from the same "
            "random numbers: wait until it ends, or start this one in a process of its own (`ftr "
            "run`)."
        )
    try:
        yield
    finally:
        del _training[os.getpid()]


def is_training() -> bool:
    """Whether another thread of this process is training."""
    return _training.get(os.getpid(), [threading.get_ident()]) != [threading.get_ident()]


class _Capture:
    """Replaces `sys.stdout` or `sys.stderr` while threads capture their prints; others print on.

    A plugin that holds this object writes to stderr with it afterwards.
    """

    def __init__(self, name: str) -> None:
        self.name, self.stream = name, getattr(sys, name)
        self.texts: dict[int, list[list[str]]] = {}

    def write(self, text: str) -> int:
        if caught := self.texts.get(threading.get_ident()):
            caught[-1].append(text)
            return len(text)
        # Another thread that redirected the stream may have put this object back in its place.
        in_use = self.texts or getattr(sys, self.name) is self
        stream = self.stream if in_use else sys.stderr
        if stream is not None:
            stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        return threading.get_ident() not in self.texts and bool(self.stream.isatty())

    def __getattr__(self, name: str) -> Any:
        if name == "buffer" and threading.get_ident() in self.texts:
            raise AttributeError("text only can be printed here: there is no `buffer`")
        return getattr(self.stream, name)


_CAPTURING = threading.Lock()


@contextmanager
def captured_prints(*names: str) -> Iterator[list[str]]:
    """Collect what this thread prints on the streams `names` (`stdout`, `stderr`)."""
    text: list[str] = []
    captures: list[_Capture] = []
    thread = threading.get_ident()
    with _CAPTURING:
        for name in names:
            present = getattr(sys, name)
            capture = present if isinstance(present, _Capture) else _Capture(name)
            capture.texts.setdefault(thread, []).append(text)
            setattr(sys, name, capture)
            captures.append(capture)
    try:
        yield text
    finally:
        with _CAPTURING:
            for capture in captures:
                capture.texts[thread].pop()
                if not capture.texts[thread]:
                    del capture.texts[thread]
                if not capture.texts and getattr(sys, capture.name) is capture:
                    setattr(sys, capture.name, capture.stream)


@contextmanager
def isolated(own: str) -> Iterator[Isolation]:
    """Restore `os.environ`, warnings filters and loggers when the block ends; capture its prints.

    `own` is the top-level package whose code runs. What other packages set up when it imports them
    stays: numpy adds warnings filters, torch loggers.
    """
    with loading():
        found = Isolation(own)
        with captured_prints("stdout", "stderr") as text:
            try:
                with _imports_watched(found):
                    yield found
            finally:
                found.undo()
                found.printed = "".join(text)


@contextmanager
def _imports_watched(found: Isolation) -> Iterator[None]:
    """Tell the changes of the plugin from those of the packages that it imports."""
    watch = _Watch(found)
    # Another list, and not one more entry: a thread that imports now would miss a finder when the
    # entry is removed.
    plain, watched = sys.meta_path, [watch, *sys.meta_path]
    sys.meta_path = watched
    try:
        yield
    finally:
        watch.inside = True
        plain[:] = [finder for finder in watched if finder is not watch]
        if sys.meta_path is watched:
            sys.meta_path = plain


class _Watch:
    """A finder that compares the process before and after another package is imported."""

    def __init__(self, found: Isolation) -> None:
        self.found, self.thread, self.inside = found, threading.get_ident(), False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        mine = self.thread == threading.get_ident() and not self.inside
        if not mine or name.partition(".")[0] in (self.found.own, *_HARMLESS):
            return None
        finders = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(name, path, target) for finder in finders)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Watched(spec.loader, self)
        return spec


class _Watched(Loader):
    """Runs a module with its own loader, and keeps what changes meanwhile."""

    def __init__(self, loader: Any, watch: _Watch) -> None:
        self.loader, self.watch = loader, watch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module sees its own loader only.
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        found = self.watch.found
        before, self.watch.inside = found.state(), True
        try:
            self.loader.exec_module(module)
        finally:
            self.watch.inside = False
            found.keep(before)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)
