"""`ftr help [COMMAND | KEY | GROUP | WORD]`: what a command, a key or a group of keys is, or what
mentions a word.
"""

import re
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from textwrap import fill

from ftr.cli.main import COMMANDS, Answer, command_parser, overview
from ftr.config.known import (
    FIRST_KEYS,
    SWEEP_GROUP,
    TRAINER,
    Key,
    groups,
    keys,
    options,
    trainer_keys,
)
from ftr.errors import RequestError, did_you_mean
from ftr.registry.registry import Registry, get_registry
from ftr.registry.specs import Kind, TaskSpec
from ftr.tables import table
from ftr.terminal import columns_of, show, styled

EXAMPLES = (
    "ftr help train.lr_scheduler",
    "ftr help task=qa head",
    "ftr help predict",
    "ftr help remove",
)
MOST_FOUND = 10
"""Lines that a search prints."""
_ALSO = {
    "delete": ("remove",),
    "undo": ("remove", "untag"),
    "slow": ("fast", "speed", "gpu"),
    "fast": ("speed", "gpu"),
    "setting": ("key",),
}
"""What else a search for a word finds."""
_COMPONENTS: tuple[Kind, ...] = ("dataset", "model", "head")
_NAMES: Mapping[str, Kind] = {
    **{kind: kind for kind in (*_COMPONENTS, "task", "tracker")},
    "metrics": "metric",
}
"""Keys whose values are names of registered components."""


def configure(parser: ArgumentParser) -> None:
    """Add the topics."""
    parser.epilog = f"Groups of keys: {', '.join(groups())}."
    parser.add_argument(
        "words",
        nargs="*",
        metavar="TOPIC",
        help="a command, a key (train.lr_scheduler), a group of keys (train), or any word to "
        "search for; task=NAME limits options to those of a task's dataset, model and head",
    )


def execute(args: Namespace) -> Answer:
    """Return the help on the topics. Raises `RequestError` for an unknown one."""
    topics = [word for word in args.words if "=" not in word]
    settings = dict(word.split("=", 1) for word in args.words if "=" in word)
    if unknown := [key for key in settings if key not in ("task", *_COMPONENTS)]:
        topics += unknown  # `ftr help epochs=3` asks about `epochs`
    if not topics:
        topics = ["task"] if settings else []
    if not topics:
        return Answer(dict(COMMANDS), overview())
    registry = get_registry()
    named = _named(settings, registry)
    answers = [_topic(topic, registry, named) for topic in topics]
    data = [one for answer in answers for one in answer[0]]
    return Answer(data[0] if len(data) == 1 else data, "\n\n".join(text for _, text in answers))


def component_options(registry: Registry) -> Sequence[Key]:
    """Return the options of all components: of built-in ones as recorded, else by their models."""
    entries = (entry for kind in _COMPONENTS for entry in registry.all(kind))
    if all(entry.plugin.builtin for entry in entries):
        return options()
    from ftr.config.describe import component_keys

    return tuple(component_keys(registry))


def first_keys() -> str:
    """Return a line for each key that people change first, for the help of a command."""
    return key_lines("keys that people change first:", (keys()[name] for name in FIRST_KEYS))


def key_lines(title: str, found: Iterable[Key]) -> str:
    """Return a title and a line for each key, cut to the width of the terminal."""
    listed = list(found)
    widest = max(len(key.name) for key in listed)
    room = max(shutil.get_terminal_size().columns - widest - 5, 30)
    lines = []
    for key in listed:
        text = key.summary
        text = text if len(text) <= room else f"{text[: room - 1].rstrip()}…"
        lines.append(f"  {key.name:<{widest}}  {text}")
    return "\n".join([title, *lines])


def _named(settings: Mapping[str, str], registry: Registry) -> set[str] | None:
    """Return the names of the components that settings choose; None: all."""
    if not any(key in settings for key in ("task", *_COMPONENTS)):
        return None
    task = registry.task(settings["task"]) if "task" in settings else None
    chosen = (settings.get(kind) or getattr(task, kind, "") for kind in _COMPONENTS)
    return set(filter(None, chosen))


def _topic(
    topic: str, registry: Registry, named: set[str] | None
) -> tuple[list[dict[str, object]], str]:
    data: list[dict[str, object]] = []
    texts = []
    if topic in COMMANDS:
        text = command_parser(topic).format_help().rstrip()
        data.append({"command": topic, "summary": COMMANDS[topic], "help": text})
        texts.append(text)
        if topic == SWEEP_GROUP:
            return data, text
    found = _keys(topic, registry, named)
    if not found and not texts:
        if named and (others := _keys(topic, registry, None)):
            raise RequestError(
                f"`{topic}` is an option of {others[0].of}, and the components asked about are "
                f"{', '.join(f'`{name}`' for name in sorted(named))}."
            )
        found = _meant(topic, registry, named)
    if not found and not texts:
        return _mentions(topic, registry)
    exact = [key for key in found if key.name == topic] or (
        found if len({key.name for key in found}) == 1 else []
    )
    for key in exact:
        texts.append(_described(key, registry))
        if key.name in _NAMES and not named:
            texts.append("\n".join(_names(key.name, registry)))
    if rest := [key for key in found if key not in exact]:
        texts.append(_group("" if exact else topic, rest))
    return [*data, *(_data(key, registry) for key in found)], "\n\n".join(texts)


def known_keys(topic: str, registry: Registry, settings: Mapping[str, str]) -> list[Key]:
    """Return the keys of that name, and those of that group; options are those of the components
    that `settings` name, if they name any.
    """
    return _keys(topic, registry, _named(settings, registry))


def _keys(topic: str, registry: Registry, named: set[str] | None) -> list[Key]:
    """Return the keys of that name, and those of that group."""
    every = [*keys().values(), *component_options(registry)]
    found = [
        key
        for key in every
        if (topic in (key.name, key.group) or key.group.startswith(f"{topic}."))
        and (named is None or "`" not in key.of or any(f"`{name}`" in key.of for name in named))
    ]
    if topic.partition(".")[0] == "trainer":
        found += [key for key in trainer_keys().values() if topic in (key.name, key.group)]
    return found


def _meant(topic: str, registry: Registry, named: set[str] | None) -> list[Key]:
    """Return the keys that a former name, or another tool's name, leads to."""
    from ftr.config.keys import meant, new_name
    from ftr.config.trainer import SET_BY_FTR

    if reason := SET_BY_FTR.get(topic.removeprefix(TRAINER)):
        raise RequestError(f"`{topic}` cannot be set: {reason}.")
    present = new_name(topic)
    leads = [present] if present else meant(topic)
    if leads:
        listed = " and ".join(f"`{name}`" for name in leads)
        show(
            f"`{topic}` is {'called ' if present else ''}{listed}{' now' if present else ''} in ftr"
        )
    return [key for name in leads for key in _keys(name, registry, named)]


def _mentions(topic: str, registry: Registry) -> tuple[list[dict[str, object]], str]:
    """Return the commands, options, components and keys that mention a word, or several, or the
    beginnings of words. Raises `RequestError` where there are none.
    """
    words = [word.removesuffix("s") or word for word in topic.casefold().split()]
    forms = ["|".join(map(re.escape, (word, *_ALSO.get(word, ())))) for word in words]
    patterns = [re.compile(rf"(?<![^\W_])(?:{form})", re.IGNORECASE) for form in forms]
    also = {
        f"task={entry.short_name}": " ".join(entry.spec.also_called)
        for entry in registry.all("task")
        if isinstance(entry.spec, TaskSpec)
    }
    found = {
        name: text
        for name, text in _texts(registry)
        if all(pattern.search(f"{name} {text} {also.get(name, '')}") for pattern in patterns)
    }
    if not found or not patterns:
        raise RequestError(_unknown(topic, registry))
    # A name that has the word comes first.
    ranked = sorted(
        found.items(),
        key=lambda pair: (
            not any(one.search(f"{pair[0]} {also.get(pair[0], '')}") for one in patterns)
        ),
    )
    lines = [f"mentioned by {len(found)}:", *_two_columns(ranked[:MOST_FOUND])]
    if len(found) > MOST_FOUND:
        lines.append(f"  and {len(found) - MOST_FOUND} more: give another word")
    return [{"name": name, "text": text} for name, text in ranked], "\n".join(lines)


def _texts(registry: Registry) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each command, component, option of a command, and key."""
    yield from ((f"ftr {name}", summary) for name, summary in COMMANDS.items())
    for choice, kind in _NAMES.items():
        entries = registry.all(kind)
        yield from ((f"{choice}={entry.short_name}", entry.spec.summary) for entry in entries)
    options: dict[tuple[str, str], str] = {}  # an option of all commands is named once
    for name in COMMANDS:
        for action in command_parser(name)._actions:
            if action.help and action.option_strings:
                options.setdefault((action.option_strings[-1], action.help), name)
    yield from ((f"ftr {name} {option}", text) for (option, text), name in options.items())
    for key in (*keys().values(), *component_options(registry), *trainer_keys().values()):
        yield key.name, key.description


def _unknown(topic: str, registry: Registry) -> str:
    known = [*COMMANDS, *groups(), *keys(), *(key.name for key in component_options(registry))]
    known += trainer_keys() if topic.startswith(TRAINER) else ()
    leaves = {name.rpartition(".")[2]: name for name in reversed(known)}
    near = did_you_mean(topic, known) or did_you_mean(topic, leaves)
    return (
        f"`{topic}` is not a command, a key or a group of keys, and none mentions it.{near} `ftr "
        f"help` lists the commands; the groups are {', '.join(f'`{name}`' for name in groups())}."
    )


def _data(key: Key, registry: Registry) -> dict[str, object]:
    kind = _NAMES.get(key.name)
    names = {"names": [entry.short_name for entry in registry.all(kind)]} if kind else {}
    return {**asdict(key), "values": key.values, **names}


def _names(key: str, registry: Registry) -> list[str]:
    """Return a line for each registered component that a key may name."""
    kind = _NAMES[key]
    named = [(entry.short_name, entry.spec.summary) for entry in registry.all(kind)]
    return [f"registered ({f'`ftr list {kind}`'} tells more):", *_two_columns(named)]


def _two_columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {line}" for line in table(list(rows), headers=0, numbers=False, indent=2)]


def _described(key: Key, registry: Registry) -> str:
    """Return all that is known of a key, wrapped to the terminal."""
    lines = [
        ("type", key.values),
        ("default", _default(key)),
        ("tasks", ", ".join(_task_defaults(key, registry))),
        ("example", _example(key, registry)),
        ("of", key.of or ("`ftr sweep`" if key.group == SWEEP_GROUP else "")),
        ("since", key.since),
    ]
    title = f"{key.name}: " if key.description else key.name
    body = [_wrapped(f"{name}:".ljust(10) + text, 10) for name, text in lines if text]
    return "\n".join([_wrapped(f"{title}{key.description}", 2), *body])


def _wrapped(text: str, indent: int) -> str:
    """Return text within the width of the terminal; in a pipe, on one line."""
    width = columns_of()
    if width is None:
        return text
    return fill(
        text,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _task_defaults(key: Key, registry: Registry) -> Iterable[str]:
    for entry in registry.all("task"):
        spec = entry.spec
        if isinstance(spec, TaskSpec):
            own: dict[str, object] = {kind: getattr(spec, kind) for kind in _COMPONENTS}
            own["metrics"] = ",".join(spec.metrics)
            if (value := {**own, **spec.defaults}.get(key.name)) is not None:
                yield f"{value} in `{entry.short_name}`"


def _example(key: Key, registry: Registry) -> str:
    """Return a command line that sets the key."""
    if not key.example:
        return ""
    command = "sweep" if key.group == SWEEP_GROUP else "run"
    tasks = [entry.spec for entry in registry.all("task") if isinstance(entry.spec, TaskSpec)]
    fits = [spec.name for spec in tasks if f"`{spec.head}`" in key.of]
    task = "" if key.example.startswith("task=") else f"task={(*fits, 'sentiment')[0]} "
    return f"ftr {command} {task}{key.example}"


def _group(name: str, found: Sequence[Key]) -> str:
    """Return a group of keys: in a terminal a paragraph for each, elsewhere a table."""
    about = groups().get(name, "")
    title = [_wrapped(f"{name}: {about}", 2), ""] if about else []
    if columns_of() is not None:
        return "\n".join([*title, *map(_paragraph, found)])
    rows = [(key.name, key.type, _default(key), key.description, key.of) for key in found]
    header = ("key", "type", "default", "description", "of")
    return "\n".join([*title, *table([header, *rows])])


def _paragraph(key: Key) -> str:
    """Return key, type and default on a line, and below it what the key does."""
    head = _wrapped(f"{key.name}  {key.values}, default {_default(key)}", 4)
    # The fields of `TrainingArguments` have long texts, `ftr help KEY` shows all.
    about = f"{key.summary}." if key.group == "trainer" else key.description
    of = f" ({key.of})" if key.of and key.group != "trainer" else ""
    body = _wrapped(f"    {about}{of}", 4) if about else ""
    return "\n".join(filter(None, [styled(key.name, "bold") + head[len(key.name) :], body]))


def _default(key: Key) -> str:
    return "from the task" if key.default is None else key.default
