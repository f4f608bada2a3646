"""Load third-party modules without lasting changes to this process; report what they changed.

Threads load one after another (`loading`). The others go on meanwhile: what they print and import
is not touched.
"""

import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from ftr.errors import RequestError

if TYPE_CHECKING:
    import logging


_SHOWN = 60
"""Characters of what was printed that a note quotes."""
_FILTERS = "the warnings filters"
_VARIABLE, _LOGGER = "`os.environ`", "logging"
State = dict[tuple[str, str], object]
"""What is watched, each thing by the place it belongs to and its name there: a variable, a logger,
all filters together.
"""


class _Logger(NamedTuple):
    level: int = 0
    handlers: tuple["logging.Handler", ...] = ()
    propagate: bool = True
    disabled: bool = False


_ROOT = _Logger(level=30)


class Isolation:
    """What a plugin's own code did to its process under `isolated`; told when that ends.

    `base` is what everything goes back to: the state before, with what libraries set up that were
    imported meanwhile.
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

    def look(self) -> State:
        """Note what the plugin changed since the last look, and return the state."""
        now = self._state()
        self.changed |= _differences(self.seen, now)
        return now

    def forgive(self, before: State) -> None:
        """Take what changed since the state `before` for the affair of whoever was imported."""
        self.seen = self._state()
        changed = _differences(before, self.seen) - self.changed
        self.base = {
            **{key: value for key, value in self.base.items() if key not in changed},
            **_only(self.seen, changed),
        }

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
                with (
                    warnings.catch_warnings()
                ):  # makes Python forget what it had already decided by the other filters
                    pass

    def _state(self) -> State:
        state: State = {(_VARIABLE, name): value for name, value in os.environ.items()}
        state[_FILTERS, ""] = (list(warnings.filters), warnings.showwarning)
        logging = sys.modules.get("logging")
        if logging is None:
            return state | {(_LOGGER, ""): _ROOT}
        named = {
            name: logger
            for name, logger in logging.root.manager.loggerDict.items()
            if isinstance(logger, logging.Logger)
        }
        for name, logger in {"": logging.root, **named}.items():
            found = _Logger(logger.level, tuple(logger.handlers), logger.propagate, logger.disabled)
            # A logger of its own is the plugin's own affair, and one that nobody has set up is as
            # good as none.
            if name.partition(".")[0] != self.own and (found != _Logger() or not name):
                state[_LOGGER, name] = found
        return state


class ProcessLock:
    """A lock for the threads of a process: a forked process has its own, and it pickles as a new
    one.
    """

    def __init__(self) -> None:
        """Nobody holds it."""
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
    each other's half of them: names are then missing.
    """
    return _LOADING


_training: dict[int, list[int]] = {}
"""The thread that trains in this process, by the id of the process: a forked one does not train
yet.
"""


@contextmanager
def one_training() -> Iterator[None]:
    """Let one thread of this process train: random numbers, threads of torch and signals belong to
    the whole process.

    Raises `RequestError` while another training is under way.
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
    """Whether a training is under way in another thread of this process."""
    return _training.get(os.getpid(), [threading.get_ident()]) != [threading.get_ident()]


class _Tape:
    """Stands for `sys.stdout` or `sys.stderr`, and takes what the thread that made it prints until
    `end`.

    Everything else goes to the stream. Whoever kept this object writes to stderr with it
    afterwards.
    """

    def __init__(self, name: str, text: list[str]) -> None:
        self.name, self.text, self.thread = name, text, threading.get_ident()
        self.stream: Any = getattr(sys, name)
        setattr(sys, name, self)

    def write(self, text: str) -> int:
        if self.thread == threading.get_ident():
            self.text.append(text)
            return len(text)
        # Another thread that redirected the stream may have put this object back in its place.
        stream = self.stream if self.thread or getattr(sys, self.name) is self else sys.stderr
        if stream is not None:
            stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        return self.thread != threading.get_ident() and bool(self.stream.isatty())

    def end(self) -> None:
        """Take the tape out of the place of the stream, also from behind the tape of another
        thread.
        """
        self.thread = 0
        outer = getattr(sys, self.name)
        if outer is self:
            setattr(sys, self.name, self.stream)
        while isinstance(outer, _Tape):
            if outer.stream is self:
                outer.stream = self.stream
            outer = outer.stream

    def __getattr__(self, name: str) -> Any:
        if name == "buffer" and self.thread == threading.get_ident():
            raise AttributeError("text only can be printed here: there is no `buffer`")
        return getattr(self.stream, name)


_taping = threading.Lock()


@contextmanager
def prints_caught(*names: str) -> Iterator[list[str]]:
    """Collect what this thread prints on the streams `names` (`stdout`, `stderr`); what others
    print is printed.
    """
    text: list[str] = []
    with _taping:
        tapes = [_Tape(name, text) for name in names]
    try:
        yield text
    finally:
        with _taping:
            for tape in tapes:
                tape.end()


@contextmanager
def isolated(own: str) -> Iterator[Isolation]:
    """Run what stands in the context, and put back `os.environ`, the warnings filters and the
    loggers; catch what it prints.

    `own` is the top-level package whose code runs. What other packages set up when it imports them
    stays: numpy adds warnings filters, torch loggers.
    """
    with loading():
        found = Isolation(own)
        with prints_caught("stdout", "stderr") as text:
            try:
                with _imports_seen(found):
                    yield found
            finally:
                found.undo()
                found.printed = "".join(text)


@contextmanager
def _imports_seen(found: Isolation) -> Iterator[None]:
    """Tell what the plugin does from what the packages do that it imports."""
    watch = _Imports(found)
    # Another list, and not an entry more: a thread that imports now would miss a finder when the
    # entry goes again.
    plain, watched = sys.meta_path, [watch, *sys.meta_path]
    sys.meta_path = watched
    try:
        yield
    finally:
        watch.inside = True
        plain[:] = [finder for finder in watched if finder is not watch]
        if sys.meta_path is watched:
            sys.meta_path = plain


class _Imports:
    """Finds every module as Python would without it, and looks at the process before and after the
    module runs.
    """

    def __init__(self, found: Isolation) -> None:
        self.found, self.thread, self.inside = found, threading.get_ident(), False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the other finders give, with a loader that looks where another
        package begins to be imported.
        """
        mine = self.thread == threading.get_ident() and not self.inside
        if not mine or name.partition(".")[0] in (self.found.own, *_KNOWN):
            return None
        finders = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(name, path, target) for finder in finders)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Watched(spec.loader, self)
        return spec


class _Watched(Loader):
    """Runs a module with its own loader, and forgives what changed meanwhile."""

    def __init__(self, loader: Any, watch: _Imports) -> None:
        self.loader, self.watch = loader, watch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module as its own loader does."""
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, which sees its own loader only."""
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        before, self.watch.inside = self.watch.found.look(), True
        try:
            self.loader.exec_module(module)
        finally:
            self.watch.inside = False
            self.watch.found.forgive(before)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


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
