"""The `ftr` command: its commands, their answers, errors and exit codes."""

import atexit
import contextlib
import errno
import io
import logging
import os
import re
import sys
import traceback
import warnings
from argparse import ArgumentParser, HelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from ftr import terminal
from ftr.atomic import to_json
from ftr.errors import FtrError, PluginError, RequestError, did_you_mean, in_one_line
from ftr.paths import fault, readable
from ftr.registry import plugin_files
from ftr.registry.discovery import own_version
from ftr.registry.registry import accusation, get_registry, refresh, registry_with
from ftr.registry.trust import BASES
from ftr.system import is_without_reader
from ftr.terminal import mask, show

COMMANDS = {
    "run": "fine-tune a model: one training, one run directory",
    "sweep": "search for the best values of any keys, over many trials",
    "plan": "estimate what a run or sweep will cost, and describe its data",
    "resume": "resume an interrupted run or sweep where it stopped",
    "submit": "run a command on a Ray cluster and follow it",
    "evaluate": "score a finished run on its own held-out rows or on other data",
    "compare": "compare runs on the same rows: differences, intervals, changed rows",
    "predict": "label or answer the rows of a file or of stdin",
    "export": "export a finished run to ONNX, compared with torch",
    "serve": "serve predictions over HTTP: one process, or replicas of Ray Serve",
    "reproduce": "run a finished run again, and compare it with its record",
    "report": "write what a run or sweep is worth as an HTML page and as Markdown",
    "push": "send a model to the Hugging Face Hub, with its card",
    "runs": "list, show, tag and remove runs and sweeps",
    "list": "list tasks, datasets, models, heads, metrics and trackers",
    "show": "print all settings: each key with its value and its origin",
    "init": "write a commented `ftr.yaml` for data",
    "doctor": "check this installation, its devices, disks and settings",
    "help": "describe a command, a key or a group of keys, or search a word",
    "completion": "print the code that completes ftr in bash, zsh or fish",
    "schema": "print the configuration as JSON Schema",
    "plugins": "list the installed plugins and their errors",
    "new": "create a plugin package",
}
"""Each command's summary; `ftr.cli.NAME` is its module."""
MEANT: Mapping[str, str] = {
    name: command
    for command, names in {
        "run": "train fit finetune fine-tune start",
        "sweep": "tune search optimize hpo",
        "resume": "continue restart",
        "evaluate": "eval test score validate",
        "predict": "infer inference classify label",
        "runs": "ls ps history",
        "runs --rm RUN": "rm remove delete",
        "runs --tag RUN NAME": "tag",
        "push": "upload publish",
        "show": "config settings",
        "doctor": "check info",
        "list task": "task tasks",
        "list model": "model models",
    }.items()
    for name in names.split()
}
"""Words of other tools for commands, with ftr's."""
RENAMED_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "evaluate": {"--tune": "--calibrate"},
    "new": {"--into": "--output"},
    "submit": {"--fetch": "--output"},
}
"""Former names of options, by command. They are refused with the present name."""
INTERRUPTED = 130
_TRACEBACK = " `FTR_TRACEBACK=1` shows the traceback."
_UNUSABLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES)
_CHOICE = re.compile(r"argument .*: invalid choice: '(.*)' \(choose from (.*)\)")
_REQUIRED = "the following arguments are required: "
_WITHOUT_DASHES = "Settings are written `key=value`, without dashes"
_HELP = """\
usage: ftr COMMAND [FILE] [key=value ...] [--json]

{commands}

Settings are key=value, with a dot for groups (dataset.text=review).
A value is a YAML scalar or list.
Precedence, lowest to highest: built-in default, task default, [tool.ftr] in
pyproject.toml, ftr.yaml, config=file.yaml, environment (FTR__EPOCHS=3), command
line.

examples:
  ftr run task=qa                       sample data, a small pretrained model
  ftr run reviews.csv                   finds the task from the columns
  ftr run task=sentiment dataset=reviews.csv epochs=2
  ftr show task=qa learning_rate=3e-5   what this run would use, and why
  ftr help train.lr_scheduler           one key: type, range, default, example
  ftr help remove                       what mentions a word
  ftr predict runs/ID reviews.csv

Every command takes --json and --plugin FILE (a one-file plugin);
`ftr COMMAND --help` shows more.
Exit codes: 0 done, 1 failed, 2 wrong request, 3 worse (`ftr compare`) or
different (`ftr reproduce`), 130 interrupted.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one command: plain `data` for `--json`, `text` for a person.

    `text` has no final newline. Without `data` the text is printed with `--json` too.
    """

    data: object
    text: str
    exit_code: int = 0

    def json(self) -> str:
        """Return `data` as indented JSON that every parser reads.

        A number that is not finite becomes null, an unknown object its `str`.
        """
        return to_json(self.data, indent=2)


def overview() -> str:
    """Return the help on ftr as a whole."""
    commands = "\n".join(f"  {name:<11}{summary}" for name, summary in COMMANDS.items())
    return _HELP.format(commands=commands).rstrip()


def load_command(name: str) -> ModuleType:
    """Import the module of a command.

    It has `EXAMPLES`, command lines for its help; `configure(parser)`, which adds the command's
    arguments; and `execute(args) -> Answer`, which raises `FtrError`.
    """
    return import_module(f"ftr.cli.{name}")


class _Parser(ArgumentParser):
    """Raises instead of exiting: `main` prints every error in one way."""

    def error(self, message: str) -> NoReturn:
        hint = ""
        if choice := _CHOICE.fullmatch(message):
            hint = did_you_mean(choice[1], re.findall(r"[\w.-]+", choice[2]))
        elif message.startswith("unrecognized"):
            first, *rest = message.partition(": ")[2].split()
            word, _, value = first.partition("=")
            value = value or next((word for word in rest if not word.startswith("-")), "")
            near = did_you_mean(word, self._option_string_actions)
            hint = self._as_setting(word, value) or near or f" {_WITHOUT_DASHES}."
        elif message.startswith(_REQUIRED):
            optional = {one.metavar or one.dest for one in self._actions if one.nargs in ("*", "?")}
            names = message.removeprefix(_REQUIRED).split(", ")
            needed = [name for name in names if name not in optional]
            message = f"{_REQUIRED}{', '.join(needed)}"
        raise RequestError(f"{message}.{hint} See `{self.prog} --help`.")

    def _as_setting(self, option: str, value: str) -> str:
        """Return how to write an option as the setting that it is, "" where it is none."""
        from ftr.config.keys import meant
        from ftr.config.known import keys

        name = option.lstrip("-").replace("-", "_")
        found = [name] if name in keys() else meant(name)
        if not found or all(action.dest != "settings" for action in self._actions):
            return ""
        return f" {_WITHOUT_DASHES}: `{found[0]}={value or 'VALUE'}`."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None and not sys.warnoptions:
        # Warnings of libraries are for programmers; `python -W default -m ftr` shows them.
        warnings.simplefilter("ignore")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal cannot show must not fail a finished training.
        sys.stdout.reconfigure(errors="backslashreplace")
    as_json = "--json" in _before_dashes(arguments)
    with _own_environment():
        try:
            try:
                return _print(_answer(arguments), as_json)
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                return _print(_failure(error), as_json)
        except OSError:  # stdout cannot be written
            return 0 if _reader_left() else 1


def _before_dashes(words: list[str]) -> list[str]:
    return words[: words.index("--")] if "--" in words else words


def _print(answer: Answer, as_json: bool) -> int:
    text = answer.json() if as_json and answer.data is not None else answer.text
    if text:
        terminal.answer(text)
        sys.stdout.flush()
    return answer.exit_code


def _answer(arguments: list[str]) -> Answer:
    for word in arguments:
        if trouble := fault(word):
            raise RequestError(f"`{word}` {trouble}.")
    refresh()  # a program may run several commands
    files, arguments = _plugins_before(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        return Answer(None, overview())
    if arguments[0] in ("-V", "--version"):
        return Answer(None, f"ftr {own_version()}")
    name, *rest = arguments
    if name not in COMMANDS:
        near = f" Did you mean `ftr {MEANT[name]}`?" if name in MEANT else ""
        near = near or did_you_mean(name, COMMANDS)
        raise RequestError(f"unknown command `{name}`.{near} See `ftr --help`.")
    for word in _before_dashes(rest):
        option = word.partition("=")[0]
        if renamed := RENAMED_OPTIONS.get(name, {}).get(option):
            raise RequestError(
                f"`{option}` of `ftr {name}` is now `{renamed}`. See `ftr {name} --help`."
            )
    command, parser = load_command(name), command_parser(name)
    try:
        # Plain `parse_args` refuses `key=value --json key=value`.
        args = parser.parse_intermixed_args(rest)
    except SystemExit:  # it has printed the help
        return Answer(None, "")
    if args.quiet or args.verbose:
        os.environ[terminal.VERBOSITY] = "-1" if args.quiet else "1"
    if args.base:
        os.environ[BASES] = os.pathsep.join(args.base)
    if files := [*files, *(args.plugin or [])]:
        registry_with(files)
    if args.verbose:
        from ftr.runs.record import package_versions

        versions = {"ftr": own_version(), **package_versions()}
        show(", ".join(" ".join(pair) for pair in versions.items()))
    answer: Answer = command.execute(args)
    return answer


def add_model_options(parser: ArgumentParser, *, precision: bool = True) -> None:
    """Add how a trained model computes: `--backend`, and `--precision`."""
    parser.add_argument(
        "--backend",
        choices=("torch", "onnx"),
        default="torch",
        help="onnx: the model that `ftr export RUN onnx` wrote (default: torch)",
    )
    if precision:
        parser.add_argument(
            "--precision",
            choices=("fp32", "bf16", "fp16", "auto"),
            default="fp32",
            help="number format (default: fp32, what plain transformers computes)",
        )


class _Formatter(HelpFormatter):
    """Keeps the line breaks of an epilog: each line is a paragraph, one that is indented stays."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n".join(
            line if line.startswith(" ") or not line else fill(line, width, indent)
            for line in text.split("\n")
        )


def command_parser(name: str) -> ArgumentParser:
    """Return the parser of a command, with the examples of its module."""
    summary, command = COMMANDS[name], load_command(name)
    parser = _Parser(
        prog=f"ftr {name}",
        description=f"{summary[0].upper()}{summary[1:]}.",
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    add_common_options(parser)
    command.configure(parser)
    if lines := getattr(command, "EXAMPLES", ()):
        examples = "\n".join(["examples:", *(f"  {line}" for line in lines)])
        parser.epilog = "\n\n".join(filter(None, [parser.epilog, examples]))
    return parser


def add_common_options(parser: ArgumentParser) -> None:
    """Add the options of every command."""
    parser.add_argument("--json", action="store_true", help="print only the result, as JSON")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("-q", "--quiet", action="store_true", help="print answers and errors only")
    amount.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="print more: versions, folders, device, precision",
    )
    parser.add_argument(
        "--plugin", action="append", metavar="FILE", help="load a one-file plugin; repeatable"
    )
    parser.add_argument(
        "--base",
        action="append",
        metavar="MODEL",
        help="trust this directory or Hub id (ID@REVISION) as the base model of adapters",
    )


def _plugins_before(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split `--plugin FILE` before the command from the other arguments."""
    files: list[str] = []
    rest = list(arguments)
    while rest and rest[0].partition("=")[0] == "--plugin":
        word, equals, path = rest.pop(0).partition("=")
        if not equals and not rest:
            raise RequestError(f"`{word}` needs a file: `ftr {word} ./my_task.py COMMAND`.")
        files.append(path if equals else rest.pop(0))
    return files, rest


@contextmanager
def _own_environment() -> Iterator[None]:
    """Unload at the end the plugin files and bases that the command named: a program may run
    several commands.
    """
    before, bases = plugin_files.given(), os.environ.get(BASES)
    verbosity = os.environ.get(terminal.VERBOSITY)
    try:
        yield
    finally:
        os.environ.pop(terminal.VERBOSITY, None)
        if verbosity is not None:
            os.environ[terminal.VERBOSITY] = verbosity
        os.environ.pop(BASES, None)
        if bases is not None:
            os.environ[BASES] = bases
        if plugin_files.given() != before:
            plugin_files.forget(before)
            get_registry.cache_clear()


def _failure(error: BaseException) -> Answer:
    """Print an error on stderr, and return its answer."""
    if isinstance(error, KeyboardInterrupt):
        show("ftr: interrupted", level=-1)
        return Answer(None, "", INTERRUPTED)
    if isinstance(error, BrokenPipeError) and _reader_left():
        return Answer(None, "")
    message, exit_code = _explained(error)
    message = readable(message)
    if os.environ.get("FTR_TRACEBACK"):
        show(getattr(error, "trace", "") or "".join(traceback.format_exception(error)), level=-1)
    show(f"ftr: error: {message}", level=-1)
    return Answer({"error": mask(message), "exit_code": exit_code}, "", exit_code)


def _explained(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of an error."""
    if isinstance(error, FtrError):
        hidden = isinstance(error, PluginError) and error.trace and not error.log
        return f"{error}{_TRACEBACK if hidden else ''}", error.exit_code
    built = get_registry.cache_info().currsize > 0
    blamed = accusation(error, get_registry()) if built else None
    if isinstance(error, SystemExit):
        left = f"a component exited (SystemExit: {error.code}) before the command was done"
        return blamed or left, 1
    if (
        blamed is None
        and isinstance(error, OSError)
        and error.errno in _UNUSABLE
        and error.filename
    ):
        return f"cannot use `{error.filename}`: {error.strerror}. Give another path.", 2
    return f"{(blamed or in_one_line(error)).rstrip('.')}.{_TRACEBACK}", 1


def _reader_left() -> bool:
    """Whether stdout is a pipe without a reader; then redirect it, because Python flushes it at
    exit.
    """
    # A broken pipe to something else, such as a lost worker, is an error like any other.
    if left := is_without_reader(sys.stdout.fileno()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return left


def program() -> NoReturn:
    """Run the command line of this process and exit.

    With torch, transformers and Ray imported, the interpreter takes about a second to shut down:
    this runs the exit handlers, flushes the streams, and skips the rest.
    """
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
        load_command("completion").complete()
    code = main()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
