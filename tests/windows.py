"""Windows as far as Linux can play it, for ftr alone: `pretend()` hides from modules of ftr what
Python lacks there, and lets `os` refuse what it refuses there. Libraries see Linux.
"""

import builtins
import errno
import fcntl
import importlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
NAMES = {
    "os": (
        *("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "WNOHANG", "chown", "fchmod"),
        *("fchown", "fork", "getegid", "geteuid", "getgid", "getloadavg", "getpgid", "getpriority"),
        *("getresuid", "getuid", "killpg", "lchown", "mkfifo", "mknod", "nice", "openpty"),
        *("posix_fadvise", "pread", "pwrite", "sched_getaffinity", "sendfile", "setpriority"),
        *("setsid", "setuid", "statvfs", "sync", "sysconf", "uname", "wait", "wait4"),
    ),
    "select": ("poll", "epoll", "kqueue"),
    "signal": (
        *("SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm"),
        *("pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"),
    ),
}
BINARY = 1 << 30


class _Part(ModuleType):
    """A module without some names, and with others."""

    def __init__(self, name: str, hidden: tuple[str, ...], own: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update({"_hidden": hidden, "_real": importlib.import_module(name), **own})

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__["_hidden"]:
            raise AttributeError(f"module `{self.__name__}` of Windows has no `{name}`")
        return getattr(self.__dict__["_real"], name)


def _open(path: Any, flags: int, mode: int = 0o777) -> int:
    if not isinstance(path, int) and Path(path).is_dir():
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    if flags & (os.O_WRONLY | os.O_RDWR) and not flags & BINARY:
        raise AssertionError(f"`{path}` is opened as text: line ends would change")
    return os.open(path, flags & ~BINARY, mode)


def _fsync(handle: int) -> None:
    if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    assert not stat.S_ISDIR(os.fstat(handle).st_mode)
    os.fsync(handle)


def _kill(process: int, number: int) -> None:
    raise AssertionError(f"on Windows signal {number} ends process {process}")


def pretend() -> None:
    """Play Windows for modules of ftr that are imported from now on."""
    own = {"name": "nt", "O_BINARY": BINARY, "open": _open, "fsync": _fsync, "kill": _kill}
    parts = {
        name: _Part(name, hidden, own if name == "os" else {}) for name, hidden in NAMES.items()
    }
    real = builtins.__import__

    def imported(
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        importer = str((globals or {}).get("__name__", ""))
        if level == 0 and importer.partition(".")[0] in ("ftr", "ftr_plugins"):
            if name in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in parts:
                return parts[name]
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = imported


if __name__ == "__main__":
    import sys

    pretend()
    from ftr.cli.main import main

    sys.exit(main())
