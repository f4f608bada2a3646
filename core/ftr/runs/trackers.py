"""Experiment trackers (`tracker=…`) as a run sees them: checked before data is read, followed by a
process of their own (`ftr.runs.tracking`), and synced later.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ftr.atomic import read_json
from ftr.config.parse import read_settings
from ftr.config.schema import RunConfig
from ftr.config.values import comma_list
from ftr.errors import ConfigError, RequestError, RunError
from ftr.paths import shown_path
from ftr.registry.registry import Registry
from ftr.registry.specs import TrackerSpec
from ftr.runs.directory import RECORD, SWEEP, RunDirectory, is_held, named
from ftr.runs.record import recorded_registry
from ftr.runs.tracking import HELD, LOG, STATE, read_lines
from ftr.terminal import known_secrets

Say = Callable[[str], None]
END_SECONDS = 30.0
"""How long the end of a run waits for its trackers; the rest is left to `ftr runs RUN --sync`."""


def check_trackers(names: Sequence[str], registry: Registry) -> None:
    """Raise `ConfigError` naming what to install where the package of a tracker is missing."""
    for name in names:
        spec = registry.find("tracker", name).spec
        assert isinstance(spec, TrackerSpec)  # as `discovery.read_specs` ensures
        if spec.needs and importlib.util.find_spec(spec.needs) is None:
            install = spec.install or spec.needs
            raise ConfigError(
                f"`tracker={name}` needs the package `{spec.needs}`, which is not installed: `pip "
                f"install '{install}'`, or leave `tracker` out.",
                keys=["tracker"],
            )


def check_asked(settings: Any, registry: Registry) -> None:
    """Check the trackers that the settings of a call name, before its task is inferred from data;
    raises as `check_trackers` and `ftr.config.parse.read_settings` do.
    """
    setting = read_settings(settings).get("tracker")
    names = comma_list(setting.value) if setting is not None and setting.value else ()
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        check_trackers(names, registry)


class Follower:
    """The process that sends a run to its trackers while this one trains."""

    def __init__(self, path: Path, names: Sequence[str], storage: str | None, tell: Any) -> None:
        """`tell` gets its messages, in another thread; see `ftr.runs.tracking.Sender`."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ftr.runs.tracking", str(path.resolve()), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Ctrl-C is for the training, whose last records this process sends.
            start_new_session=True,
        )
        self._tell = tell
        self._answers = threading.Thread(target=self._listen, daemon=True)
        self._answers.start()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it ended at once
            self.process.stdin.write(
                json.dumps({"storage": storage, "secrets": known_secrets()}) + "\n"
            )
            self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self._tell(json.loads(line))

    def end(self, seconds: float | None) -> bool:
        """Let it send the rest and wait for its end, or stop it after `seconds`; return whether it
        ended by itself.
        """
        assert self.process.stdin is not None
        try:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            self._answers.join(1.0)
        return self.process.returncode == 0


@contextlib.contextmanager
def followed(path: Path, config: RunConfig, say: Say) -> Iterator[None]:
    """Send the run in `path` to its trackers while the block works, and what is left at its end.

    A tracker that fails is named once; its records are kept.
    """
    if not config.tracker:
        yield
        return
    failed: dict[str, str] = {}

    def tell(message: dict[str, Any]) -> None:
        name, trouble = message.get("tracker", ""), message.get("trouble")
        if trouble is None:
            failed.pop(name, None)
            say(f"tracker `{name}` answers again: what it missed was sent")
            return
        failed[name] = trouble
        what = f"tracker `{name}`" if name else "the trackers"
        say(f"{what} cannot be reached: {trouble}. {_kept(path)}")

    follower = Follower(path, config.tracker, config.compute.storage, tell)
    try:
        yield
    finally:
        if not follower.end(END_SECONDS) and not failed:
            names = ", ".join(f"`{name}`" for name in config.tracker)
            say(f"{names} did not take all records within {END_SECONDS:g} s. {_kept(path)}")


def _kept(path: Path) -> str:
    return (
        "The work goes on, and its records are kept: send them with `ftr runs "
        f"{shown_path(path)} --sync` (traceback, if any: `{LOG}` in the run's directory)"
    )


def has_all(path: Path, names: Sequence[str]) -> bool:
    """Whether each of the trackers has a run to its end, but for files that came later."""
    last = {line["tracker"]: line["sent"] for line in read_lines(path / STATE) if not line["run"]}
    return all(last.get(name, {}).get("status") for name in names)


def sync(given: str | Path, output: str = "runs", trackers: Sequence[str] = ()) -> list[str]:
    """Send to its trackers what they do not have of a run or sweep, its `report.html` included;
    return their names.

    `trackers` are others than those that the run names. Raises `RequestError` where there is no
    such run, it has no trackers or is at work, `ConfigError` where a package is missing, and
    `RunError` naming each tracker that failed.
    """
    path = named(given, output)
    if path is None:
        path = RunDirectory.open(given, output).path  # says what there is
    file = path / (SWEEP if (path / SWEEP).is_file() else RECORD)
    try:
        record = read_json(file)
        names = tuple(trackers) or tuple(record["config"].get("tracker", ()))
        storage = record["config"]["compute"]["storage"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RequestError(f"`{file}` cannot be read: {error}. Restore the file.") from error
    if is_held(path) and (path / HELD).exists():
        raise RequestError(f"`{path}` is at work and sends its records itself: wait for its end.")
    if not names:
        raise RequestError(
            f"`{path}` was not tracked: its `tracker` is empty. Train with `tracker=…`, or name "
            "trackers to send it to."
        )
    check_trackers(names, recorded_registry(record))
    failed: dict[str, str] = {}

    def tell(message: dict[str, Any]) -> None:
        failed[message.get("tracker", "")] = message.get("trouble", "")

    ended = Follower(path, names, storage, tell).end(None)
    if failed or not ended:
        causes = "; ".join(
            f"`{name}`: {cause}" if name else cause for name, cause in failed.items()
        )
        raise RunError(
            f"not all of `{path}` could be sent: {causes or 'the process that sends it died'}. Its "
            f"records are kept; the traceback is in `{path / LOG}`."
        )
    return list(names)
