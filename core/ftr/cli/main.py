"""The `ftr` command: dispatch, output, errors and exit codes."""

import argparse
import atexit
import contextlib
import errno
import io
import logging
import os
import select
import sys
import traceback
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn, Protocol

from ftr import terminal
from ftr.cli.answer import Answer, dumps
from ftr.errors import FtrError, PluginError, RequestError, did_you_mean
from ftr.paths import fault
from ftr.terminal import mask, show


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command lives and what it does, in a few words."""

    module: str
    summary: str


COMMANDS = {
    "run": Command("ftr.cli.run", "fine-tune: one training, one run directory"),
    "sweep": Command(
        "ftr.cli.sweep",
        "search learning rate, batch size, epochs or any other key over many trials",
    ),
    "resume": Command("ftr.cli.resume", "go on with a run or sweep that was stopped"),
    "submit": Command("ftr.cli.submit", "hand a command to a Ray cluster and follow it"),
    "evaluate": Command("ftr.cli.evaluate", "score a finished run on its own or on other data"),
    "predict": Command("ftr.cli.predict", "answer or label the rows of a file or of stdin"),
    "runs": Command("ftr.cli.runs", "list the runs and sweeps made so far"),
    "list": Command("ftr.cli.list", "what is registered: tasks, datasets, models, heads, metrics"),
    "show": Command("ftr.cli.show", "the resolved configuration, and where each value came from"),
    "schema": Command("ftr.cli.schema", "the configuration as JSON Schema"),
    "plugins": Command("ftr.cli.plugins", "the plugins installed, and what is wrong with them"),
    "new": Command(
        "ftr.cli.new",
        "a package to start from: a task, dataset, head, metric or model of one's own",
    ),
}


class CommandModule(Protocol):
    """What the module of a command offers."""

    def configure(self, parser: ArgumentParser) -> None:
        """Add the command's arguments; `--json` is there already."""
        ...

    def execute(self, args: Namespace) -> Answer:
        """Do it. Raises `FtrError`."""
        ...


def load_command(name: str) -> CommandModule:
    """Import the module of the command `name`."""
    module: CommandModule = import_module(COMMANDS[name].module)
    return module


RENAMED_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "evaluate": {"--tune": "--calibrate"},
    "new": {"--into": "--output"},
    "submit": {"--fetch": "--output"},
}
"""Former names of options, by command. They are refused, with the name that each has now."""
INTERRUPTED = 130
_PLUGIN = "--plugin"
_BASES = "FTR_BASES"
_HOW = " `FTR_TRACEBACK=1` shows the traceback."
_OF_PATHS = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES)
_HELP = """\
usage: ftr COMMAND [key=value ...] [--json]

{commands}

Settings are key=value, dotted for groups (data.limit=2000 dataset.text=review).
A value is a YAML scalar or list.
The last of these wins: built-in default, task default, config=file.yaml, command line.

examples:
  ftr run task=qa                                  the sample data, a small real model
  ftr run task=sentiment dataset=reviews.csv epochs=2
  ftr show task=qa learning_rate=3e-5              what would be used, and why
  ftr predict runs/ID reviews.csv

ftr COMMAND --help shows more. Every command takes --json, and --plugin FILE for a one-file plugin.
Exit codes: 0 done, 1 failed, 2 wrong request, 130 interrupted.
"""


class _Parser(argparse.ArgumentParser):
    """Raises instead of leaving, so that `--json` and the exit code are dealt with in one place."""

    def error(self, message: str) -> NoReturn:
        hint = (
            " Settings are written `key=value`, without dashes."
            if message.startswith("unrecognized")
            else ""
        )
        raise RequestError(f"{message}.{hint} See `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None and not sys.warnoptions:
        # Warnings of libraries are for those who write code; `python -W default -m ftr` shows them.
        warnings.simplefilter("ignore")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character must not end a training's last line in a
        # traceback.
        sys.stdout.reconfigure(errors="backslashreplace")
    with _own_plugins():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        try:
            return _answer(arguments)
        except KeyboardInterrupt:
            show("ftr: interrupted")
            return INTERRUPTED
        except SystemExit as left:
            message = (
                f"a component left the program (SystemExit: {left.code}) before the command was "
                "done"
            )
            return _fail(left, _blamed(left) or message, 1, "--json" in arguments)
        except FtrError as error:
            hidden = isinstance(error, PluginError) and error.trace and not error.log
            return _fail(
                error, f"{error}{_HOW if hidden else ''}", error.exit_code, "--json" in arguments
            )
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _reader_left():
                return 0
            asked = _unusable_path(error)
            return _fail(
                error, asked or _unexpected(error), 2 if asked else 1, "--json" in arguments
            )
    except BrokenPipeError:
        _reader_left()
        return 0


def _answer(arguments: list[str]) -> int:
    for word in arguments:
        if trouble := fault(word):
            raise RequestError(f"`{word}` {trouble}.")
    if "ftr.registry" in sys.modules:  # a program that runs several commands
        from ftr.registry.registry import refresh

        refresh()
    files, arguments = _plugins_before(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return _print(Answer(None, _help()), as_json=False)
    if arguments[0] in ("-V", "--version"):
        from ftr.registry.discovery import own_version

        return _print(Answer(None, f"ftr {own_version()}"), as_json=False)
    name, *rest = arguments
    if name not in COMMANDS:
        raise RequestError(
            f"unknown command `{name}`.{did_you_mean(name, COMMANDS)} See `ftr --help`."
        )
    for word in rest[: rest.index("--")] if "--" in rest else rest:
        option = word.partition("=")[0]
        if renamed := RENAMED_OPTIONS.get(name, {}).get(option):
            raise RequestError(
                f"`{option}` of `ftr {name}` is called `{renamed}` now: write that. "
                f"See `ftr {name} --help`."
            )
    parser = _Parser(
        prog=f"ftr {name}", description=f"{COMMANDS[name].summary}.", allow_abbrev=False
    )
    parser.add_argument(
        "--json", action="store_true", help="print the result alone, as JSON, on stdout"
    )
    parser.add_argument(
        _PLUGIN,
        action="append",
        metavar="FILE",
        help="load a plugin that is one Python file; may be given again",
    )
    parser.add_argument(
        "--base",
        action="append",
        metavar="MODEL",
        help="let adapters be for this directory or Hub id (ID@REVISION)",
    )
    command = load_command(name)
    command.configure(parser)
    try:
        # Plain parse_args refuses `key=value --json key=value`.
        args = parser.parse_intermixed_args(rest)
    except SystemExit:  # `--help` was asked for, and is printed.
        return 0
    if args.base:
        os.environ[_BASES] = os.pathsep.join(args.base)
    if files := [*files, *(args.plugin or [])]:
        from ftr.registry.registry import registry_with

        registry_with(files)
    return _print(command.execute(args), as_json=args.json)


def _plugins_before(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Take the plugin files that stand before the command from the arguments; returns both."""
    files: list[str] = []
    rest = list(arguments)
    while rest and rest[0].partition("=")[0] == _PLUGIN:
        word, equals, path = rest.pop(0).partition("=")
        if not equals:
            if not rest:
                raise RequestError(
                    f"`{word}` is given without a file: `ftr {word} ./my_task.py COMMAND`."
                )
            path = rest.pop(0)
        files.append(path)
    return files, rest


@contextmanager
def _own_plugins() -> Iterator[None]:
    """Forget at the end the plugin files and bases that the command named: a program may run
    several commands.
    """
    from ftr.registry import plugin_files

    before, bases = plugin_files.given(), os.environ.get(_BASES)
    try:
        yield
    finally:
        os.environ.pop(_BASES, None)
        os.environ.update({_BASES: bases} if bases is not None else {})
        if plugin_files.given() != before:
            from ftr.registry.registry import get_registry

            plugin_files.forget(before)
            get_registry.cache_clear()


def _help() -> str:
    return _HELP.format(
        commands="\n".join(f"  {name:<10}{command.summary}" for name, command in COMMANDS.items())
    ).rstrip()


def _print(answer: Answer, *, as_json: bool) -> int:
    text = answer.json() if as_json else answer.text
    if text:
        terminal.answer(text)
    sys.stdout.flush()
    return answer.exit_code


def _fail(error: BaseException, message: str, exit_code: int, as_json: bool) -> int:
    if os.environ.get("FTR_TRACEBACK"):
        show(getattr(error, "trace", "") or "".join(traceback.format_exception(error)))
    show(f"ftr: error: {message}")
    if as_json:
        terminal.answer(dumps({"error": mask(message), "exit_code": exit_code}))
    return exit_code


def _unexpected(error: Exception) -> str:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    return f"{(_blamed(error) or text).rstrip('.')}.{_HOW}"


def _unusable_path(error: Exception) -> str | None:
    """Return what to say of a path that the system takes for none, or does not let this user see,
    wherever it was first met.
    """
    if (
        not isinstance(error, OSError)
        or error.errno not in _OF_PATHS
        or not error.filename
        or _blamed(error)
    ):
        return None
    return (
        f"`{error.filename}` cannot be used: {error.strerror}. Give another path, or mend this one."
    )


def _blamed(error: BaseException) -> str | None:
    """Return what to say of an error that came out of the code of an outside plugin."""
    from ftr.registry.registry import get_registry

    if not get_registry.cache_info().currsize:
        return None
    from ftr.registry.registry import accusation

    return accusation(error, get_registry())


def _reader_left() -> bool:
    """Whether stdout is a pipe nobody reads any more; if so it is pointed elsewhere, for Python
    flushes it at exit.
    """
    poll = select.poll()
    poll.register(sys.stdout, 0)
    # A broken pipe elsewhere, to a lost worker for instance, is an error like any other.
    left = any(event & select.POLLERR for _, event in poll.poll(0))
    if left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return left


def program() -> NoReturn:
    """Run the command line of this process and leave it.

    With torch, transformers and Ray imported the interpreter takes about a second to take itself
    apart; all that must happen at the end (exit handlers, full streams) is done here, and the rest
    is left to the system.
    """
    code = main()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
