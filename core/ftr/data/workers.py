"""Encode rows in several processes, one for each core: the pieces of one process, in order."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import cycle, islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ftr import system
from ftr.errors import RunError
from ftr.registry import plugin_files
from ftr.registry.registry import NOTICES_PRINTED

if TYPE_CHECKING:
    from ftr.registry.protocols import Row

Piece = tuple[int, "list[Row]"]
"""Rows, behind the number of the first."""
TRIAL = 0.5
"""Seconds of encoding in this process that tell how long the rest takes."""
WORTHWHILE = 3.0
"""Seconds of work for each process; to start one takes one."""
IN_FLIGHT = 2
"""Pieces that a process has at a time: one it encodes, and the next."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Recipe(Protocol):
    """Pickled, it makes the same encoder in another process."""

    def encoder(self) -> Any:
        """Return what is called with the number of the first row of a piece, and its rows."""
        ...


def cores_given() -> int:
    """Return how many cores this process may use, by affinity, the quota of its container, and
    `OMP_NUM_THREADS`, which Ray sets to the cores of a worker.
    """
    if os.name == "nt":  # a process there has no handle of a pipe of another
        return 1
    limits = [system.cores()]
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit():
        limits.append(int(asked))
    with contextlib.suppress(OSError, ValueError):  # `max`, or no such file
        quota, period = map(int, _QUOTA.read_text(encoding="utf-8").split())
        limits.append(quota // period)
    return max(min(limits), 1)


def in_processes(recipe: Recipe, pieces: Iterator[Piece], rows: int) -> Generator[Any]:
    """Yield, in their order, pieces of `rows` rows encoded by processes, or as they are: those are
    for the caller to encode.

    That is every piece where several processes would not be faster, the first ones, and one that
    cannot be encoded. Raises `RunError` where a process dies.
    """
    yield from islice(pieces, 1)  # which may import, and fill caches
    began, done = time.monotonic(), 0
    for piece in pieces:
        yield piece
        done += len(piece[1])
        spent = time.monotonic() - began
        if spent > TRIAL:
            count = min(cores_given(), int(spent * (rows - done) / done / WORTHWHILE))
            if count > 1:
                yield from _in_processes(recipe, pieces, count)
            yield from pieces
            return


def _in_processes(recipe: Recipe, pieces: Iterator[Piece], count: int) -> Generator[Any]:
    try:
        state = pickle.dumps(recipe, pickle.HIGHEST_PROTOCOL)
    except Exception:  # the tokenizer of a plugin may hold anything
        return
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_Worker()) for _ in range(count)]
        for worker in workers:
            worker.send(state)
        while not all(worker.ready() for worker in workers):
            yield from islice(pieces, 1)
        if all(worker.able for worker in workers):
            yield from _shared(workers, pieces)


def _shared(workers: Sequence[_Worker], pieces: Iterator[Piece]) -> Generator[Any]:
    turn = cycle(workers)
    flying: deque[tuple[_Worker, Piece]] = deque()

    def send(worker: _Worker) -> None:
        for piece in islice(pieces, 1):
            worker.send(pickle.dumps(piece, pickle.HIGHEST_PROTOCOL))
            flying.append((worker, piece))

    for _ in range(IN_FLIGHT * len(workers)):
        send(next(turn))
    while flying:
        worker, piece = flying.popleft()
        encoded = worker.receive()
        send(worker)
        yield encoded or piece


class _Worker:
    """A process that encodes pieces.

    It is no child of `multiprocessing`, which would run the program's own file in it once more.
    """

    def __init__(self) -> None:
        self._connection, there = Pipe()
        self.able: bool | None = None
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE, str(there.fileno())],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
                    "OMP_NUM_THREADS": "1",
                    "TOKENIZERS_PARALLELISM": "false",
                    NOTICES_PRINTED: "1",
                    plugin_files.VARIABLE: os.pathsep.join(map(str, plugin_files.named())),
                },
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                start_new_session=True,  # Ctrl-C is for this process
            )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def ready(self) -> bool:
        """Whether the process has begun; `able` then tells if it has the encoder."""
        if self.able is None and self._connection.poll():
            self.able = self.receive()
        return self.able is not None

    def send(self, pickled: bytes) -> None:
        """Give the process its recipe, then pieces."""
        try:
            self._connection.send_bytes(pickled)
        except OSError as error:
            raise self._died() from error

    def receive(self) -> Any:
        """Return the next answer."""
        try:
            return pickle.loads(self._connection.recv_bytes())  # noqa: S301 - of our own process
        except (EOFError, OSError) as error:
            raise self._died() from error

    def _died(self) -> RunError:
        self._process.kill()  # a process without its connection is of no use
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return RunError(
            f"a process that encodes rows died ({how}): was there enough memory? With "
            "`OMP_NUM_THREADS=1` in the environment one process encodes all."
        )


_CODE = "import sys; from ftr.data.workers import serve; serve(int(sys.argv[1]))"


def serve(handle: int) -> None:
    """Encode what comes through a connection, until its other end closes; None for an error."""
    os.dup2(2, 1)  # what a plugin prints is no answer
    connection = Connection(handle)
    state, waiting = connection.recv_bytes(), queue.SimpleQueue[bytes]()

    def read() -> None:
        # Both ends would wait for each other if nothing were read while an answer is written.
        try:
            while True:
                waiting.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    encoder = None
    with contextlib.suppress(Exception, SystemExit):
        from ftr.terminal import quiet_libraries

        quiet_libraries()
        recipe: Recipe = pickle.loads(state)  # noqa: S301 - of our own process
        encoder = recipe.encoder()
    connection.send(encoder is not None)
    while encoder is not None:
        start, rows = pickle.loads(waiting.get())  # noqa: S301
        found = None
        with contextlib.suppress(Exception, SystemExit):
            found = encoder(start, rows)
        connection.send_bytes(pickle.dumps(found, pickle.HIGHEST_PROTOCOL))
