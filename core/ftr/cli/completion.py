"""`ftr completion SHELL`: print the code of a shell that completes `ftr`; and what it completes.

The shell runs `ftr` with `_ARGCOMPLETE` set, and `complete` answers. Names of keys come from
`keys.json`: a command's own module is imported for its options only.
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from ftr.cli.help import known_keys
from ftr.cli.main import COMMANDS, Answer, command_parser
from ftr.config.known import FIRST_KEYS, SWEEP_GROUP, groups, keys
from ftr.registry.registry import get_registry
from ftr.registry.specs import KINDS, Kind

EXAMPLES = (
    "ftr completion bash > ~/.ftr-completion.bash",
    "ftr completion fish > ~/.config/fish/completions/ftr.fish",
)
SHELLS = {
    "bash": 'add `eval "$(ftr completion bash)"` to ~/.bashrc',
    "zsh": 'add `eval "$(ftr completion zsh)"` to ~/.zshrc, after `compinit`',
    "fish": "write it to ~/.config/fish/completions/ftr.fish",
}
"""Each shell, and what to do with its code."""

_SETTINGS = ("settings",)
WORDS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("run", "sweep", "plan", "show", "schema"), _SETTINGS),
    **dict.fromkeys(("evaluate", "reproduce", "resume"), ("run", "settings")),
    **dict.fromkeys(("report", "push"), ("run", "")),
    **dict.fromkeys(("compare", "serve", "runs"), ("run",)),
    "predict": ("run", "path", "settings"),
    "export": ("run", "format", "settings"),
    "submit": ("command", "settings"),
    "help": ("topic",),
    "list": ("kind", ""),
    "completion": ("shell", ""),
}
"""What the words of a command are, in their order; the last kind is that of all further words."""
_NAMED: Mapping[str, Kind] = {
    "task": "task",
    "dataset": "dataset",
    "model": "model",
    "head": "head",
    "metrics": "metric",
    "tracker": "tracker",
}
_PATHS = ("config", "dataset", "model", "plugins", "output", "data.cache", "compute.storage")
_FILE_OPTIONS = ("dataset.train", "dataset.validation", "dataset.test", "dataset.labels_file")
_OPEN = ("dataset.", "model.", "head.", "trainer.")


def configure(parser: ArgumentParser) -> None:
    """Add the shell."""
    parser.epilog = "\n".join(f"{shell}: {what}." for shell, what in SHELLS.items())
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell to print code for")


def execute(args: Namespace) -> Answer:
    """Return the code."""
    from argcomplete.shell_integration import shellcode

    code = shellcode(["ftr"], shell=args.shell)
    return Answer({"shell": args.shell, "code": code}, code.rstrip())


def complete() -> NoReturn:
    """Answer the shell that asks for completions, and exit."""
    from argcomplete.finders import CompletionFinder
    from argcomplete.lexers import split_line

    _, prefix, _, words, _ = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    command, *before = words[1:] or [""]
    parser = ArgumentParser()
    options = any(word.startswith("-") for word in (*before, prefix))
    if command in COMMANDS and options:
        parser = command_parser(command)
        os.environ["_ARGCOMPLETE"] = "2"  # the command is the program

    class Finder(CompletionFinder):
        def collect_completions(
            self, active_parsers: list[ArgumentParser], parsed_args: Namespace, cword_prefix: str
        ) -> list[str]:
            plain = list(_plain(before, parser))
            if prefix.startswith("-") or (before and plain[-1:] == [""]):
                found: list[str] = super().collect_completions(
                    active_parsers, parsed_args, cword_prefix
                )
                return found
            matching = candidates(command, [word for word in plain if word], cword_prefix)
            self._display_completions = matching
            return list(matching)

    Finder()(parser, always_complete_options=False)
    raise SystemExit(0)


def candidates(command: str, before: Sequence[str], prefix: str) -> dict[str, str]:
    """Return what may stand for `prefix` after the command and the words `before`, with a
    description of each; without a command, the commands.
    """
    if not command:
        found: Mapping[str, str] = COMMANDS
    else:
        kinds = WORDS.get(command, ("path",))
        kind = kinds[min(len(before), len(kinds) - 1)]
        found = _OF_KIND[kind](command, before, prefix)
    return {word: about for word, about in found.items() if word.startswith(prefix)}


def _plain(words: Sequence[str], parser: ArgumentParser) -> Iterator[str]:
    """Yield the words that are no options and no values of options; "" for an option at the end
    that takes a value.
    """
    waiting = False
    for word in words:
        if waiting:
            waiting = False
        elif not word.startswith("-"):
            yield word
        elif "=" not in word:
            action = parser._option_string_actions.get(word)
            waiting = action is not None and action.nargs != 0
    if waiting:
        yield ""


def _settings(command: str, before: Sequence[str], prefix: str) -> dict[str, str]:
    key, equals, value = prefix.partition("=")
    if equals:
        return {f"{key}={one}": about for one, about in _values(key, value).items()}
    of_sweep = command in ("sweep", "plan", "resume", "submit")
    if not prefix:
        first = ("task", *FIRST_KEYS, "config")
        return {f"{name}=": keys()[name].summary if name in keys() else "" for name in first}
    found = {
        f"{key.name}=": key.summary
        for key in keys().values()
        if of_sweep or key.group != SWEEP_GROUP
    }
    found["config="] = "YAML files of settings"
    if prefix.startswith(_OPEN):
        given = dict(word.split("=", 1) for word in before if "=" in word)
        listed = known_keys(prefix.partition(".")[0], get_registry(), given)
        found |= {f"{key.name}=": key.summary for key in listed}
    return {**found, **_paths(prefix)}


def _values(key: str, value: str) -> dict[str, str]:
    """Return the values of a key; those of a list stand after the last comma of `value`."""
    known = keys().get(key)
    if known is None and key.startswith(_OPEN):
        known = next((one for one in known_keys(key, get_registry(), {}) if one.name == key), None)
    found = dict.fromkeys(known.choices if known else (), "")
    if key in _NAMED:
        registry = get_registry()
        found |= {entry.short_name: entry.spec.summary for entry in registry.all(_NAMED[key])}
    before, comma, _ = value.rpartition(",")
    is_list = known is not None and known.type.startswith("list")
    if is_list and comma:
        found = {f"{before},{one}": about for one, about in found.items()}
    return {**found, **(_paths(value) if key in (*_PATHS, *_FILE_OPTIONS) else {})}


def _paths(prefix: str) -> dict[str, str]:
    """Return the files and folders that a path may go on with."""
    folder, name = os.path.split(prefix)
    try:
        entries = sorted(os.scandir(Path(folder or ".").expanduser()), key=lambda one: one.name)
    except OSError:
        return {}
    return {
        os.path.join(folder, f"{entry.name}{'/' if entry.is_dir() else ''}"): ""  # noqa: PTH118 (keeps `~/`)
        for entry in entries
        if entry.name.startswith(name) and (name or not entry.name.startswith("."))
    }


def _runs(prefix: str) -> dict[str, str]:
    """Return the runs and sweeps under `runs`, and paths."""
    if "/" in prefix or prefix.startswith((".", "~")):
        return _paths(prefix)
    folder = Path("runs")
    records = ("run.json", "sweep.json")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return {
        name: "" for name in names if any((folder / name / record).is_file() for record in records)
    }


def _listed(words: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(words, "")


def _topics() -> dict[str, str]:
    described = {key.name: key.summary for key in keys().values()}
    return {**described, **groups(), **COMMANDS}


_Candidates = Callable[[str, Sequence[str], str], dict[str, str]]
_OF_KIND: Mapping[str, _Candidates] = {
    "": lambda command, before, prefix: {},
    "settings": _settings,
    "run": lambda command, before, prefix: _runs(prefix),
    "path": lambda command, before, prefix: _paths(prefix),
    "format": lambda command, before, prefix: _listed(["onnx"]),
    "command": lambda command, before, prefix: dict(COMMANDS),
    "topic": lambda command, before, prefix: _topics(),
    "kind": lambda command, before, prefix: _listed(KINDS),
    "shell": lambda command, before, prefix: dict(SHELLS),
}
