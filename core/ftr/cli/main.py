"""The `ftr` command: finds the command, prints its answer, and turns every error into one message and an exit code."""

import argparse
import io
import os
import select
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

from ftr.cli.answer import Answer, dumps
from ftr.cli.commands import COMMANDS, load_command
from ftr.errors import FtrError, RequestError
from ftr.suggest import did_you_mean

INTERRUPTED = 130
_HELP = """\
usage: ftr COMMAND [key=value ...] [--json]

{commands}

Settings are key=value, dotted for groups (data.limit=2000 dataset.text=review); a value is a YAML scalar or list.
The last of these wins: built-in default, task default, config=file.yaml, command line.

examples:
  ftr run task=qa                                  the sample data, a small real model
  ftr run task=sentiment dataset=reviews.csv epochs=2
  ftr show task=qa learning_rate=3e-5              what would be used, and why
  ftr predict runs/ID reviews.csv

ftr COMMAND --help says more; every command takes --json. Exit codes: 0 done, 1 failed, 2 wrong request, 130 interrupted.
"""


class _Parser(argparse.ArgumentParser):
    """Raises instead of leaving, so that `--json` and the exit code are dealt with in one place."""

    def error(self, message: str) -> NoReturn:
        hint = " Settings are written `key=value`, without dashes." if message.startswith("unrecognized") else ""
        raise RequestError(f"{message}.{hint} See `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None and not sys.warnoptions:
        # Warnings of libraries are for those who write code; `python -W default -m ftr` shows them.
        warnings.simplefilter("ignore")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character must not end a training's last line in a traceback.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _answer(arguments)
        except KeyboardInterrupt:
            print("ftr: interrupted", file=sys.stderr)
            return INTERRUPTED
        except SystemExit as left:
            message = f"a component left the program (SystemExit: {left.code}) before the command was done"
            return _fail(left, message, 1, "--json" in arguments)
        except FtrError as error:
            return _fail(error, str(error), error.exit_code, "--json" in arguments)
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _reader_left():
                return 0
            return _fail(error, _unexpected(error), 1, "--json" in arguments)
    except BrokenPipeError:
        _reader_left()
        return 0


def _answer(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return _print(Answer(None, _help()), as_json=False)
    if arguments[0] in ("-V", "--version"):
        from ftr.discovery import own_version

        return _print(Answer(None, f"ftr {own_version()}"), as_json=False)
    name, *rest = arguments
    if name not in COMMANDS:
        raise RequestError(f"unknown command `{name}`.{did_you_mean(name, COMMANDS)} See `ftr --help`.")
    parser = _Parser(prog=f"ftr {name}", description=f"{COMMANDS[name].summary}.", allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print the result alone, as JSON, on stdout")
    command = load_command(name)
    command.configure(parser)
    try:
        # Plain parse_args refuses `key=value --json key=value`.
        args = parser.parse_intermixed_args(rest)
    except SystemExit:  # `--help` was asked for, and is printed.
        return 0
    return _print(command.execute(args), as_json=args.json)


def _help() -> str:
    return _HELP.format(commands="\n".join(f"  {name:<10}{command.summary}" for name, command in COMMANDS.items())).rstrip()


def _print(answer: Answer, *, as_json: bool) -> int:
    text = answer.json() if as_json else answer.text
    if text:
        print(text)
    sys.stdout.flush()
    return answer.exit_code


def _fail(error: BaseException, message: str, exit_code: int, as_json: bool) -> int:
    if os.environ.get("FTR_TRACEBACK"):
        traceback.print_exception(error)
    print(f"ftr: error: {message}", file=sys.stderr)
    if as_json:
        print(dumps({"error": message, "exit_code": exit_code}), flush=True)
    return exit_code


def _unexpected(error: Exception) -> str:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    return f"{text}{_blame(error)}. `FTR_TRACEBACK=1` shows the traceback."


def _blame(error: Exception) -> str:
    """Name the outside plugin whose code stands innermost in the traceback."""
    from ftr.registry import get_registry

    if not get_registry.cache_info().currsize:
        return ""
    owners = {package: plugin for plugin in get_registry().plugins if not plugin.builtin for package in plugin.packages}
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    for module in reversed(modules):
        owner = owners.get(str(module).partition(".")[0])
        if owner:
            return f", in plugin {owner.described}"
    return ""


def _reader_left() -> bool:
    """Whether stdout is a pipe nobody reads any more; if so it is pointed elsewhere, for Python flushes it at exit."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    # A broken pipe elsewhere, to a lost worker for instance, is an error like any other.
    left = any(event & select.POLLERR for _, event in poll.poll(0))
    if left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return left
