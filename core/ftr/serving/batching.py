"""Join the rows of waiting requests into batches: one call of the model at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

WAIT_SECONDS = 0.003
"""How long a busy model waits for more requests after a call; an idle one does not wait."""


@dataclass(slots=True)
class Answered:
    """One record a row, in order; the number of rows in each call of the model that made them; and
    the seconds from the arrival of the request to the first of these calls.
    """

    records: list[dict[str, Any]]
    batches: list[int] = field(default_factory=list)
    waited: float = 0.0


@dataclass(slots=True, eq=False)
class _Request:
    rows: Sequence[Any]
    tokens: Sequence[int]
    arrived: float
    future: asyncio.Future[Answered]
    answered: Answered
    taken: int = 0


_Part = tuple[_Request, int, int]
"""Rows [start, end) of a request."""


class Batcher:
    """Answers requests by calls of `function`, which takes rows and returns one record for each.

    A call takes rows of the waiting requests, oldest first, up to `max_rows` and `max_tokens`; what
    a large request has left then waits behind the others. `function` runs in one thread of its own.
    """

    def __init__(
        self,
        function: Callable[[list[Any]], list[dict[str, Any]]],
        *,
        max_rows: int,
        max_tokens: int,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self.function, self.max_rows, self.max_tokens = function, max_rows, max_tokens
        self.wait = wait
        self._queue: deque[_Request] = deque()
        self._arrival = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ftr-model")
        self._idle_since, self._joined = 0.0, 0

    @property
    def waiting(self) -> int:
        """Requests with rows that are in no call yet."""
        return len(self._queue)

    async def answer(self, rows: Sequence[Any], tokens: Sequence[int]) -> Answered:
        """Return the records of one or more rows, of about so many tokens each.

        Raises what `function` raises for them; other requests do not notice.
        """
        loop = asyncio.get_running_loop()
        request = _Request(rows, tokens, loop.time(), loop.create_future(), Answered([]))
        self._queue.append(request)
        self._arrival.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        try:
            return await request.future
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # it is in a call already
                self._queue.remove(request)
            raise

    async def alone(self, function: Callable[..., T], *given: Any) -> T:
        """Run another function in the thread, between two calls."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *given)

    async def close(self) -> None:
        """Stop: no request is waiting."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        while True:
            if not self._queue:
                self._arrival.clear()
                await self._arrival.wait()
            # The answers of a joined call set several clients free at once: they ask again within
            # milliseconds.
            left = self._idle_since + self.wait - asyncio.get_running_loop().time()
            if self._joined > 1 and left > 0 and len(self._queue) < self._joined:
                await asyncio.sleep(left)
            if parts := self._take():
                await self._call(parts)

    def _take(self) -> list[_Part]:
        parts: list[_Part] = []
        rows = tokens = 0
        for _ in range(len(self._queue)):
            request = self._queue.popleft()
            if request.future.done():  # cancelled, or failed
                continue
            start = request.taken
            while request.taken < len(request.rows) and rows < self.max_rows:
                tokens += request.tokens[request.taken]
                if rows and tokens > self.max_tokens:
                    break
                rows += 1
                request.taken += 1
            if request.taken > start:
                parts.append((request, start, request.taken))
            if request.taken == len(request.rows):
                continue
            if request.taken > start:
                self._queue.append(request)
            else:
                self._queue.appendleft(request)
            break
        return parts

    async def _call(self, parts: list[_Part]) -> None:
        loop = asyncio.get_running_loop()
        rows = [row for request, start, end in parts for row in request.rows[start:end]]
        began = loop.time()
        try:
            records = await loop.run_in_executor(self._thread, self.function, rows)
            if len(records) != len(rows):
                raise ValueError(f"{len(records)} records for {len(rows)} rows")
        except Exception as error:
            if len(parts) > 1:  # one of them is at fault
                for part in parts:
                    await self._call([part])
            elif not parts[0][0].future.done():
                parts[0][0].future.set_exception(error)
            return
        self._idle_since, self._joined = loop.time(), len(parts)
        given = iter(records)
        for request, start, end in parts:
            answered = request.answered
            if not answered.batches:
                answered.waited = began - request.arrived
            answered.batches.append(len(rows))
            answered.records += [next(given) for _ in range(start, end)]
            if len(answered.records) == len(request.rows) and not request.future.done():
                request.future.set_result(answered)
