"""What a command is doing, on stderr: its stage, how far it came, and where its time went."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from ftr.terminal import (
    FALLBACK_COLUMNS,
    LIVE,
    columns_of,
    fitted,
    has_colours,
    is_live,
    show,
    verbosity,
    visible,
)

if TYPE_CHECKING:
    from rich.live import Live

REFRESH_SECONDS = 0.2
PLAIN_SECONDS = 30.0
FIRST_SECONDS = 1.0
"""Seconds of a stage after which its name is shown, unless it has something to say."""
BAR_FROM, LONGEST_BAR = 100, 24
"""Columns of a terminal with room for a bar, and those of the bar at most."""


def clock(seconds: float) -> str:
    """Return `1:02:03` or `2:03` for a number of seconds."""
    whole = max(round(seconds), 0)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


class Stages:
    """Where the time of a command goes: seconds by the name of the stage.

    Of stages within each other the innermost counts. What comes before the first is `start`,
    what is between them `other`, so that all of them together are the whole time.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start to count, at `start`."""
        self.seconds: dict[str, float] = {}
        self._open = ["start"]
        self._since = time.monotonic()

    @contextlib.contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Count what happens within as the stage `name`."""
        self._turn()
        self._open[:1] = ["other"]
        depth = len(self._open)
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            del self._open[depth:]

    def line(self) -> str:
        """Return `time: 1:40 in all · start 3.1 s · …`; what took no time is left out."""
        self._turn()
        parts = [(name, seconds) for name, seconds in self.seconds.items() if seconds >= 0.05]
        parts.sort(key=lambda part: part[0] == "other")
        shown = [
            f"{name} {f'{seconds:.1f} s' if seconds < 60 else clock(seconds)}"
            for name, seconds in parts
        ]
        return fitted(" · ".join([f"time: {clock(sum(self.seconds.values()))} in all", *shown]))

    def _turn(self) -> None:
        now, name = time.monotonic(), self._open[-1]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


STAGES = Stages()
"""Those of this process's command."""


@dataclass(slots=True, eq=False)
class ProgressLine:
    """One line on stderr: on a terminal it is drawn anew, with a bar where the end is known;
    elsewhere a plain line is printed every half minute.
    """

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    enabled: bool = True
    _last: float = field(default_factory=time.monotonic)
    _stage: str = ""
    _since: float = 0.0
    _text: str = ""
    _done: float | None = None
    _live: Live | None = None
    _lock: Any = field(default_factory=threading.RLock)

    @property
    def live(self) -> bool:
        """Whether the stream is a terminal."""
        return is_live(self.stream)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show `name` while it lasts, with the time since it began until `update` says more, and
        count its time in `STAGES`.
        """
        before = self._stage, self._since, self._text, self._done
        outermost, ended = not self._stage, threading.Event()
        with STAGES.within(name):
            self._stage, self._since, self._text, self._done = name, time.monotonic(), "", None
            if outermost and self.enabled and verbosity() >= 0:
                LIVE.append(self)
                threading.Thread(target=self._tick, args=(ended,), daemon=True).start()
            try:
                yield
            finally:
                with self._lock:  # or the thread would print after the end
                    ended.set()
                self._stage, self._since, self._text, self._done = before
                if outermost:
                    self.clear()

    def update(self, text: str, done: float | None = None) -> None:
        """Show `text` if it is time to; `done` is the share of the stage that is done, from 0 to
        1.
        """
        self._text, self._done = text, done
        self._show()

    def log(self, text: str, level: int = 0) -> None:
        """Print a permanent line; for `level` see `show`."""
        if self.enabled:
            show(text, self.stream, level=level)

    def clear(self) -> None:
        """Wipe the live line."""
        with self.hidden():
            if not self._stage and self in LIVE:
                LIVE.remove(self)

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Wipe the live line, and do not draw it while something else is printed."""
        with self._lock:
            live, self._live = self._live, None
            if live is not None:
                live.stop()
            yield

    def _tick(self, ended: threading.Event) -> None:
        while not ended.wait(REFRESH_SECONDS):
            if self._text or time.monotonic() - self._since >= FIRST_SECONDS:
                self._show(ended)

    def _show(self, ended: threading.Event | None = None) -> None:
        """Draw the line, or print it; `ended` is of the stage that asks for it."""
        now = time.monotonic()
        if (
            not self.enabled
            or verbosity() < 0
            or now - self._last < (REFRESH_SECONDS if self.live else PLAIN_SECONDS)
        ):
            return
        with self._lock:
            if ended is not None and ended.is_set():
                return
            self._last = now
            if self.live:
                self._draw(self._said(now))
            else:
                show(": ".join(filter(None, (self._stage, self._said(now)))), self.stream)

    def _said(self, now: float) -> str:
        return self._text or clock(now - self._since)

    def _draw(self, text: str) -> None:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width = columns_of(self.stream) or FALLBACK_COLUMNS
        room, bar = width - len(self._stage) - 2, min(width // 6, LONGEST_BAR)
        parts: list[Any] = [Text(self._stage, "bold", no_wrap=True)] if self._stage else []
        if self._done is not None and width >= BAR_FROM:
            parts.append(
                ProgressBar(
                    1.0,
                    min(self._done, 1.0),
                    bar,
                    style="dim",
                    complete_style="cyan",
                    finished_style="cyan",
                )
            )
            room -= bar + 1
        shown = visible(text).split(" · ")
        while len(shown) > 1 and len(" · ".join(shown)) > room:
            del shown[-1]
        # A line that wraps would leave its first part behind.
        said = Text(" · ".join(shown), no_wrap=True, overflow="ellipsis")
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(*parts, said)
        if self._live is None:
            self._live = live_display(self.stream)
            if self not in LIVE:
                LIVE.append(self)
            self._live.start()
            # A process that is killed could not bring a hidden cursor back.
            self._live.console.show_cursor()
        self._live.console.width = width
        self._live.update(line, refresh=True)


def live_display(stream: TextIO, *, transient: bool = True) -> Live:
    """Return a part of a terminal that is drawn anew when it is asked for."""
    from rich.console import Console
    from rich.live import Live

    console = Console(
        file=stream,
        # `FORCE_COLOR` would make a terminal of a file.
        force_terminal=stream.isatty(),
        no_color=not has_colours(stream),
        # Names and messages may hold brackets and colons, which are no markup.
        markup=False,
        emoji=False,
        highlight=False,
    )
    return Live(
        console=console,
        auto_refresh=False,
        transient=transient,
        redirect_stdout=False,
        redirect_stderr=False,
    )
