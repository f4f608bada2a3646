"""What differs between Linux, macOS and Windows: flags of `os.open`, owners, cores and memory.

Windows has no `fcntl`, `resource` or `select.poll`, no handle of a folder, and no signal 0.
"""

import contextlib
import os
import select
import stat
from pathlib import Path

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
"""Flags for `os.open`: refuse a link; bytes as they are, without `\\r` at line ends."""
NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""Flag for `os.open`: do not wait for the other end of a pipe."""
FOLDER = getattr(os, "O_DIRECTORY", None)
"""Flag that opens a folder; None: folders cannot be opened."""
_STATUS = Path("/proc/self/status")


def is_own(status: os.stat_result, *, group: bool = False) -> bool:
    """Whether this user (and group) owns a file; true where files have no such owner."""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid == os.geteuid() and not (group and status.st_gid != os.getegid())


def is_running(process: int) -> bool:
    """Whether a process of this number runs. On Windows `os.kill(process, 0)` would end it."""
    import psutil

    try:
        return bool(psutil.pid_exists(process))
    except OverflowError:
        return False


def sync_handle(path: Path) -> int | None:
    """Open a file or folder for `os.fsync`; None where this is a folder of Windows."""
    if FOLDER is None and path.is_dir():
        return None
    # Windows syncs only what is open for writing.
    return os.open(path, (os.O_RDONLY if FOLDER is not None else os.O_RDWR) | NO_FOLLOW | NO_WAIT)


def cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of memory of this machine."""
    import psutil

    return int(psutil.virtual_memory().total)


def memory_limit() -> int | None:
    """Return the bytes that `ulimit -v` allows this process; None: no limit."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def peak_memory() -> int:
    """Return the most memory this process held, in bytes."""
    # `ru_maxrss` counts what a process held before `exec` too, such as a large parent's memory.
    if known := process_status("VmHWM"):
        return known
    try:
        import resource
    except ImportError:
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024


def process_status(name: str) -> int | None:
    """Return the bytes of a line of `/proc/self/status`; None without Linux."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def is_without_reader(handle: int) -> bool:
    """Whether an open handle is a pipe that nobody reads any more; on Windows any pipe may be."""
    if not hasattr(select, "poll"):
        return stat.S_ISFIFO(os.fstat(handle).st_mode)
    poll = select.poll()
    poll.register(handle, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
