"""`ftr show key=value ...`: print the resolved configuration and the origin of each value."""

import json
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from ftr.cli.help import known_keys
from ftr.cli.main import Answer
from ftr.config.known import FIRST_KEYS, SWEEP_GROUP, groups, keys
from ftr.errors import RequestError, did_you_mean, near
from ftr.paths import present
from ftr.tables import table
from ftr.terminal import columns_of, masked, show

EXAMPLES = (
    "ftr show task=qa",
    "ftr show task=sentiment learning_rate=3e-5 train",
)


OPTIONS = ("dataset.", "model.", "head.", "trainer.")
WIDE = 110
"""Columns from which the table of all keys has descriptions too."""


def configure(parser: ArgumentParser) -> None:
    """Add settings."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value|GROUP|KEY",
        help="the settings of `ftr run`, for example task=qa data.limit=100; the names of keys and "
        "groups of keys (train, data.limit) limit the answer to these",
    )


def execute(args: Namespace) -> Answer:
    """Return every value and its origin. Raises what `ftr.config.resolve.resolve` raises."""
    from ftr.config.found import with_found
    from ftr.config.parse import COMPONENTS, registry_for
    from ftr.config.resolve import flat, resolve
    from ftr.config.schema import HUB
    from ftr.data.infer import settings_with_task

    settings, topics = _split(args.settings)
    given = with_found(settings)
    registry = registry_for(given)
    resolved = resolve(settings_with_task(given, registry, show), registry)
    values = masked(flat(resolved.config))
    if topics:
        values = {key: value for key, value in values.items() if _within(key, topics)}
    if not values:
        raise RequestError(
            f"no value of this run is called `{topics[0]}`. `ftr help {topics[0]}` describes it."
        )
    origins = {key: resolved.origins[key] for key in values}
    named: dict[str, str] = {kind: getattr(resolved.config, kind).name for kind in COMPONENTS}
    options = [key for kind in COMPONENTS for key in known_keys(kind, registry, named)]
    source = "Hub datasets" if named["dataset"].startswith(HUB) else "files"
    options.sort(key=lambda key: source in key.of)  # the last one of a name is shown
    of_run = (key for key in keys().values() if key.group != SWEEP_GROUP)
    about = {key.name: key.description for key in (*options, *of_run)}
    rows = [(key, _text(value), origins[key], about.get(key, "")) for key, value in values.items()]
    config = masked(resolved.config.model_dump(mode="json"))
    width = columns_of()
    lines = _piped(rows) if width is None else _sections(rows, width, full=bool(topics))
    return Answer({"config": config, "values": values, "origins": origins}, "\n".join(lines))


_Row = tuple[str, str, str, str]
_HEADER = ("key", "value", "origin", "description")


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the settings, and the words that name keys and groups. Raises `RequestError` for a
    word that is neither, nor a path.
    """
    known = {**groups(), **keys()}
    settings, topics = [], []
    for word in words:
        if word in known or (word.startswith(OPTIONS) and "=" not in word):
            topics.append(word)
            if present(word):
                show(f"`{word}` is the group or key here; the file or folder is `./{word}`")
        elif "=" in word or present(word) or not near(word, known):
            settings.append(word)
        else:
            raise RequestError(
                f"`{word}` is not a key, a group of keys or a file.{did_you_mean(word, known)}"
            )
    return settings, topics


def _within(key: str, topics: Sequence[str]) -> bool:
    return any(key == topic or key.startswith(f"{topic}.") for topic in topics)


def _ordered(rows: Sequence[_Row]) -> dict[str, list[_Row]]:
    """Return the rows by section: the keys people change first, what else is set, the groups."""
    place = {key: number for number, key in enumerate(FIRST_KEYS)}
    first = sorted((row for row in rows if row[0] in place), key=lambda row: place[row[0]])
    found = {"keys that people change first": first}
    for row in rows:
        if row[0] not in place:
            group = row[0].rpartition(".")[0]
            title = "not the default" if _is_set(row) else f"{group}.*" if group else "other keys"
            found.setdefault(title, []).append(row)
    return {title: some for title, some in found.items() if some}


def _is_set(row: _Row) -> bool:
    return not row[2].startswith(("built-in default", "default of"))


def _piped(rows: Sequence[_Row]) -> list[str]:
    """Return one line for each key."""
    return table([_HEADER, *(row for some in _ordered(rows).values() for row in some)])


def _sections(rows: Sequence[_Row], width: int, *, full: bool) -> list[str]:
    """Return a table for each section, where only a value that is no built-in default has an
    origin.
    """
    lines: list[str] = []
    for title, some in _ordered(rows).items():
        shown = [
            (
                key,
                value,
                origin.partition(" (")[0] if _is_set((key, value, origin, text)) else "",
                text if full else _start(text) if width >= WIDE else "",
            )
            for key, value, origin, text in some
        ]
        lines += ["", f"{title}:", *table([_HEADER, *shown], numbers=False)]
    return [*lines[1:], "", "`ftr help KEY` describes a key; `ftr show … train` shows one group"]


def _start(description: str) -> str:
    """Return what a description begins with; where that is a list of values, the whole list."""
    sentence = re.split(r"(?<!\.)\.(?: |$)", description)[0]
    start = sentence.split("; ")[0]
    return sentence if ": " in start else start


def _text(value: object) -> str:
    """Return a value as a user can type it: a string bare, everything else as JSON, which is YAML
    too.
    """
    bare = isinstance(value, str) and value.strip() == value != ""
    return str(value) if bare else json.dumps(value, ensure_ascii=False)
