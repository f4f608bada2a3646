"""Find the task that a dataset is for, from its columns, where the settings name none."""

from __future__ import annotations

import gzip
import re
import shlex
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ftr.config.components import (
    FILES,
    SPLITS,
    check_options,
    file_options,
    head_schema,
    locate,
    option_names,
)
from ftr.config.keys import check_keys
from ftr.config.parse import Layer, Setting, read_settings, validated
from ftr.config.schema import FileOptions
from ftr.config.space import looks_like_expression
from ftr.data.columns import ID, column_index, map_columns
from ftr.data.downloads import local_dataset, urls_named
from ftr.data.encode import cache_folder
from ftr.data.files import decode
from ftr.data.labels import shown
from ftr.data.layout import find_files, format_of, is_conll, parse
from ftr.data.multilabel import IDS, divided, set_column
from ftr.data.pieces import source_tables
from ftr.data.profile import ROWS, Profile, profiles
from ftr.data.rows import Table
from ftr.data.shards import Source
from ftr.data.tables import first_rows
from ftr.errors import ConfigError, DataError
from ftr.paths import is_url
from ftr.registry.registry import Registry
from ftr.registry.schema import Column, RowSchema

Goal = Literal["answers", "tags", "sets", "number", "class"]
"""What a task learns: spans, a tag for each word, a set of labels, a number, or a class."""

_LARGE = 8 * 2**20
_ASKING = ("question", "query", "claim", "prompt")
"""Names of a first text whose second one has a name of its own, as in QNLI."""
"""Names of columns of ids."""
_FEWEST = 10
"""Rows below which the columns of classes cannot be told from others."""
_HEAD = 4 * 2**20
"""Bytes that are read of a larger file with a row or a word on each line."""


@dataclass(frozen=True, slots=True)
class Task:
    """A built-in task, and the columns that its head reads."""

    name: str
    goal: Goal
    schema: RowSchema

    @property
    def target(self) -> Column:
        """The column that is learned."""
        return next(column for column in self.schema.columns if column.target)

    @property
    def texts(self) -> list[Column]:
        """The columns of texts: the first is required."""
        return [column for column in self.schema.columns if column.type == "text"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task that fits, the columns that must be named for it, and why it fits."""

    task: str
    why: str
    options: Mapping[str, str | int] = field(default_factory=dict)
    named: bool = False
    """Whether the column to be learned has the name that the task looks for."""
    unread: tuple[str, ...] = ()
    """Columns with values that differ and that the task does not read."""


def settings_with_task(
    arguments: Sequence[str] | Mapping[str, object],
    registry: Registry,
    say: Callable[[str], None],
    *,
    sweep: bool = False,
) -> Layer:
    """Return the settings of words or of a mapping, with the task that the data is for where they
    name a dataset of files but neither `task` nor `head`; `say` prints it.

    Raises `ConfigError` that lists the candidates where no task or several fit, and `DataError`
    where the data cannot be read.
    """
    given = read_settings(arguments)
    check_keys(given, sweep=sweep)
    if "task" in given or "head" in given:
        return given
    named = given.get("dataset")
    splits = [given[key] for split in SPLITS if (key := f"dataset.{split}") in given]
    first = named or next((setting for setting in splits if setting.value is not None), None)
    if first is None or first.text is None or looks_like_expression(first.value):
        return given
    name = first.text if named else FILES
    if registry.has("dataset", name):
        return given
    source, name = locate("dataset", name, registry, first.origin)
    if source != "path":
        return given
    text = first.text
    path = urlsplit(text).path if is_url(text) else text
    what = Path(path).name if isinstance(first.value, str) and Path(path).name else text
    with urls_named():
        found = infer(name, given, tasks_of(registry), what, text)
    options = "".join(f" dataset.{key}={value}" for key, value in found.options.items())
    unread = ", ".join(f"`{shown(name)}`" for name in found.unread[:6])
    more = ", …" if len(found.unread) > 6 else ""
    left_out = f"; not read: {unread}{more}" if unread else ""
    say(f"task={found.task}{options}: {found.why}{left_out} (another: `task=…`)")
    origin = f"inferred from {what}"
    inferred = {f"dataset.{key}": Setting(value, origin) for key, value in found.options.items()}
    return {**given, "task": Setting(found.task, origin), **inferred}


def tasks_of(registry: Registry) -> list[Task]:
    """Return a built-in task for each goal."""
    found: dict[Goal, Task] = {}
    for entry in registry.all("task"):
        if entry.plugin.builtin:
            spec = registry.task(entry.qualified)
            schema = head_schema(spec.head, None, registry)
            found.setdefault(goal_of(schema), Task(entry.short_name, goal_of(schema), schema))
    return list(found.values())


def goal_of(schema: RowSchema) -> Goal:
    """Return what rows of a schema teach."""
    types = {column.type for column in schema.columns}
    if "answers" in types:
        return "answers"
    if "labels" in types:
        return "tags" if "tokens" in types else "sets"
    return "number" if "number" in types else "class"


def infer(name: str, given: Layer, tasks: Sequence[Task], what: str, typed: str) -> Candidate:
    """Return the task that the dataset `name` (a file, a folder or `files`) is for.

    `what` is its name in messages, `typed` how it was written. Raises as `settings_with_task`.
    """
    asked_cache = given["data.cache"].text if "data.cache" in given else None
    cache = cache_folder(asked_cache, "runs")
    named = [key.partition(".")[2] for key in given if key.startswith("dataset.")]
    known = [option for task in tasks for option in option_names(file_options(task.schema))]
    check_options("dataset", typed, list(dict.fromkeys(known)), named, given)
    name, changed = local_dataset(name, _file_options(given).model_dump(), cache)
    options = FileOptions(**changed)
    found = find_files(name, options, [])
    if not found:
        raise DataError(f"`{typed}` holds no files for train, validation or test")
    split, source = next(iter(found.items()))
    if source.classes:
        task = next(task for task in tasks if task.goal == "class")
        return Candidate(task.name, "each folder or file of texts is a class")
    asked = {
        key.partition(".")[2]: setting.value
        for key, setting in given.items()
        if key.startswith("dataset.") and setting.value is not None
    }
    part = first_part(source, split, options, tasks)
    table = part or whole(source, split, options, tasks)
    several = candidates(table, tasks, asked)
    if part is not None and _only(several) is None:  # sorted by class, for instance
        table = whole(source, split, options, tasks)
        several = candidates(table, tasks, asked)
    chosen = _only(several)
    if chosen is None:
        raise ConfigError(_refusal(several, table, tasks, what, typed), keys=["task"])
    return replace(
        chosen, options={key: value for key, value in chosen.options.items() if key not in asked}
    )


def _file_options(given: Layer) -> FileOptions:
    """Return how to read the files, without the names of columns, which belong to a task."""
    settings = {
        key: setting
        for key, setting in given.items()
        if key.partition(".")[0] == "dataset" and key.partition(".")[2] in FileOptions.model_fields
    }
    values = {key.partition(".")[2]: setting.value for key, setting in settings.items()}
    return validated(FileOptions, values, settings, "dataset.")


def _only(several: Sequence[Candidate]) -> Candidate | None:
    """Return the candidate to choose, if one is clear: the only one, or the only one by name."""
    named = [one for one in several if one.named]
    return next((group[0] for group in (several, named) if len(group) == 1), None)


# What is read


def first_part(
    source: Source, split: str, options: FileOptions, tasks: Sequence[Task]
) -> Table | None:
    """Return the first rows of a file of words and tags, or of one that is very large; None for
    others.
    """
    path = source.paths[0]
    if not path.is_file():
        return None
    try:
        form = format_of(path) if options.format == "auto" else options.format
    except DataError:  # the reader knows more about it
        return None
    large = path.stat().st_size > _LARGE
    if large and form == "parquet":
        return first_rows(path, ROWS)
    if form not in ("text", "tsv", "conll") and not (large and form in ("csv", "jsonl")):
        return None
    text = first_text(path, options)
    if text is None:
        return None
    words = next((task.schema for task in tasks if task.goal == "tags"), None)
    if words is not None and is_conll(text, path, options):
        return parse(text, path.name, split, options, words, "conll")
    if large and form != "text":
        return parse(text, path.name, split, options, any_schema(tasks), form)
    return None


def whole(source: Source, split: str, options: FileOptions, tasks: Sequence[Task]) -> Table:
    """Return all rows of the first file of a split. Raises `DataError` where there are none."""
    table = next(next(source_tables(source, split, options, any_schema(tasks), whole=True)).tables)
    if not table.records:
        raise DataError(f"`{source.name}` holds no usable rows")
    return table


def any_schema(tasks: Sequence[Task]) -> RowSchema:
    """Return the columns of a text and its class, and with them the names that any task knows, by
    which a header is told from a row.
    """
    own = {task.goal: task for task in tasks}["class"].schema.columns
    taken = {name.lower() for column in own for name in (column.name, *column.aliases)}
    others = {
        name
        for task in tasks
        for column in task.schema.columns
        for name in (column.name, *column.aliases)
        if name.lower() not in taken
    }
    more = Column(name="any other", type="value", aliases=tuple(sorted(others)), required=False)
    return RowSchema(columns=(*own, more))


def first_text(path: Path, options: FileOptions) -> str | None:
    """Return the first lines of a text file, packed with gzip or not; None where they cannot be
    read.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(2)
        if magic == b"\x1f\x8b":
            with gzip.open(path) as packed:
                content = packed.read(_HEAD)
        elif magic in (b"PK", b"BZ", b"\xfd7"):
            return None
        else:
            with path.open("rb") as stream:
                content = stream.read(_HEAD)
        if len(content) == _HEAD:
            content = content[: _end_of_row(content)]
        return decode(content, path, options.encoding)
    except (OSError, EOFError, zlib.error, DataError):  # the reader of the whole file explains it
        return None


def _end_of_row(content: bytes) -> int:
    """Return where the last whole line ends; a line end within quotes ends no row."""
    end = content.rfind(b"\n") + 1
    odd = content.count(b'"', 0, end) % 2
    if odd:
        quote = content.rfind(b'"', 0, end)
        end = content.rfind(b"\n", 0, quote) + 1
    return end or len(content)


# What fits


def candidates(table: Table, tasks: Sequence[Task], asked: Mapping[str, object]) -> list[Candidate]:
    """Return every task that the table fits; `asked` are the options that name columns."""
    by_goal = {task.goal: task for task in tasks}
    own = [task for task in tasks if _names_target(task, tasks, asked)]
    if len(own) == 1:
        task = own[0]
        why = f"`dataset.{task.target.name}` names what it learns"
        found = [] if task.goal in ("answers", "tags") else profiles(table, task.schema)
        learned = [column_index(choice, table) for choice in _choices(asked[task.target.name])]
        options = _text_options(table, task, learned, asked, found)
        return [Candidate(task.name, why, options or {})]
    for goal in ("answers", "tags"):
        whole_task = by_goal.get(goal)
        if whole_task is not None and (whole := _whole(table, whole_task, asked)):
            return [whole]
    return list(_of_texts(table, by_goal, asked))


def _choices(value: object) -> list[str | int]:
    """Return the columns that an option names."""
    several = value if isinstance(value, (list, tuple)) else [value]
    return [choice for choice in several if isinstance(choice, (str, int))]


def _names_target(task: Task, tasks: Sequence[Task], asked: Mapping[str, object]) -> bool:
    """Whether an option names the column that the task learns, and no other task has the option."""
    others = {c.name for one in tasks if one is not task for c in one.schema.columns}
    return task.target.name in asked and task.target.name not in others


def _whole(table: Table, task: Task, asked: Mapping[str, object]) -> Candidate | None:
    """Return a task whose columns all have their names: questions, or words and their tags."""
    given = {
        column.name: choice
        for column in task.schema.columns
        if isinstance(choice := asked.get(column.name), (str, int))
    }
    try:
        mapping = map_columns(replace(table, notes=[]), task.schema, given, "it")
    except DataError:
        return None
    used = {column.name: mapping[column.name] for column in task.schema.columns if column.required}
    if task.goal == "tags" and not _are_tagged(table, list(used.values())):
        return None
    names = ", ".join(f"`{table.columns[index]}`" for index in used.values())
    what = (
        "questions with answers in a passage" if task.goal == "answers" else "a tag for each word"
    )
    return Candidate(task.name, f"columns {names} hold {what}", named=True)


def _are_tagged(table: Table, indices: Sequence[int]) -> bool:
    """Whether nearly all rows have as many tags as words, and some more than one."""
    if len(indices) != 2:
        return False
    rows = [
        [
            cell if isinstance(cell, list) else divided(str(cell or ""), " ")
            for cell in (record[index] for index in indices)
        ]
        for record in table.records[:ROWS]
    ]
    pairs = [(len(a), len(b)) for a, b in rows if isinstance(a, list) and isinstance(b, list)]
    equal = sum(a == b for a, b in pairs)
    return equal >= max(1, len(rows) - max(1, 0.1 * len(rows))) and any(a > 1 for a, _ in pairs)


def _of_texts(
    table: Table, by_goal: Mapping[Goal, Task], asked: Mapping[str, object]
) -> Iterator[Candidate]:
    """Yield the tasks that learn something of a text, or of a pair of texts."""
    any_set = by_goal.get("sets") or by_goal["class"]
    found = profiles(table, any_set.schema)
    flags = [one for one in found if one.kind == "flag"]
    columns = {
        "class": [one for one in found if one.kind == "class"],
        "number": [one for one in found if one.kind == "number"],
        "sets": [one for one in found if one.kind == "list"],
    }
    a_class = by_goal["class"]
    columns["class"] += [one for one in found if one.kind == "ids"]
    columns["number"] += [one for one in found if one.kind == "ids"]
    columns["class"] += [one for one in flags if len(flags) == 1 or _is_named(one, a_class)]
    several: list[tuple[Task, list[Profile]]] = [
        (by_goal[goal], [one])
        for goal in ("sets", "class", "number")
        if goal in by_goal
        for one in columns[goal]
        if not _is_other(one.name, by_goal[goal])
    ]
    if len(flags) > 1 and "sets" in by_goal:
        by_name = [task for task, (one,) in several if _is_named(one, task)]
        rest = [pair for pair in several if pair[1][0] not in flags]
        if not by_name:  # other columns beside many of 0/1 describe the rows
            several = [(by_goal["sets"], flags), *(rest if len(flags) <= 2 * len(rest) else [])]
    for task, learned in several:
        texts = _text_options(table, task, [one.index for one in learned], asked, found)
        if texts is None:
            continue
        options = _column_options(table, task, learned, texts)
        unread = _unread(table, task, learned, {**asked, **texts, **options}, found)
        yield Candidate(task.name, _why(learned), options, _is_named(learned[0], task), unread)


def _unread(
    table: Table,
    task: Task,
    learned: Sequence[Profile],
    options: Mapping[str, object],
    found: Sequence[Profile],
) -> tuple[str, ...]:
    """Return the names of the columns that say something and are not read."""
    choices = [one for option in options.values() for one in _choices(option)]
    chosen = {column_index(choice, table) for choice in choices}
    chosen |= {one.index for one in learned}
    names = {n.lower() for c in (*task.schema.columns, ID) for n in (c.name, *c.aliases)}
    return tuple(
        one.name
        for one in found
        if one.kind != "other" and one.index not in chosen and one.name.lower() not in names
    )


def _why(learned: Sequence[Profile]) -> str:
    names = ", ".join(f"`{shown(one.name)}`" for one in learned[:6])
    if len(learned) > 1:
        more = ", …" if len(learned) > 6 else ""
        return f"columns {names}{more} hold 0/1"
    return f"column {names} has {learned[0].looks}"


def _is_named(one: Profile, task: Task) -> bool:
    return one.name.lower() in {task.target.name, *(a.lower() for a in task.target.aliases)}


def _is_other(name: str, task: Task) -> bool:
    """Whether the name is that of another column of the task, or of the ids."""
    others = [column for column in (*task.schema.columns, ID) if column is not task.target]
    if IDS.fullmatch(name.lower()):
        return True
    return name.lower() in {n.lower() for column in others for n in (column.name, *column.aliases)}


def _text_options(
    table: Table,
    task: Task,
    learned: Sequence[int | None],
    asked: Mapping[str, object],
    found: Sequence[Profile],
) -> dict[str, str | int] | None:
    """Return the options that name the texts, none where their names tell them; None: there is no
    text, or it is not clear which.
    """
    texts = task.texts
    if not texts:
        return {}
    named = {name.lower() for name in (texts[0].name, *texts[0].aliases)}
    main = [one for one in found if one.name.lower() in named]
    asking = [one for one in found if one.kind == "text" and one.name.lower() in _ASKING]
    if len(texts) > 1 and len(main) == len(asking) == 1 and texts[0].name not in asked:
        return {texts[0].name: _choice(table, asking[0]), texts[1].name: _choice(table, main[0])}
    if texts[0].name in asked or sum(name.lower() in named for name in table.columns) == 1:
        return {}
    free = [one for one in found if one.kind == "text" and one.index not in learned]
    pair = len(texts) > 1 and (task.goal == "number" or _are_pair(free))
    if len(free) == 1 or (len(free) == 2 and pair):
        chosen = zip(texts, free, strict=False)
        return {column.name: _choice(table, one) for column, one in chosen}
    return None


def _are_pair(several: Sequence[Profile]) -> bool:
    """Whether names differ in their last letter only, as `question1` and `question2`."""
    stems = {re.sub(r"[_ -]?[12ab]$", "", one.name.lower()) for one in several}
    return len(several) == 2 and len(stems) == 1


def _column_options(
    table: Table, task: Task, learned: Sequence[Profile], texts: Mapping[str, str | int]
) -> dict[str, str | int]:
    """Return the options that name the columns, where these are not found without them."""
    wanted = {name: column_index(choice, table) for name, choice in texts.items()}
    target = {} if len(learned) > 1 else {task.target.name: learned[0].index}
    wanted |= target
    for given in ({}, texts):
        try:
            mapping = map_columns(replace(table, notes=[]), task.schema, given, "it")
        except DataError:
            continue
        if wanted.items() <= mapping.items():
            return dict(given)
    return {**texts, **{name: _choice(table, learned[0]) for name in target}}


def _choice(table: Table, one: Profile) -> str | int:
    return one.name if table.header else one.index


def _refusal(
    several: Sequence[Candidate], table: Table, tasks: Sequence[Task], what: str, typed: str
) -> str:
    """Return why no task is chosen, with the command for each candidate, or what the columns are
    and how to name the one to learn.
    """
    run = f"ftr run {shlex.quote(typed)}"
    if several:
        lines = [
            f"  {run} task={one.task}"
            + "".join(f" dataset.{key}={shlex.quote(str(v))}" for key, v in one.options.items())
            + f"   ({one.why})"
            for one in several
        ]
        return "\n".join([f"{what} fits several tasks. Choose one:", *lines])
    schema = next((task.schema for task in tasks if set_column(task.schema)), tasks[0].schema)
    found = profiles(table, schema)
    looks = [f"  `{shown(one.name)}`: {one.looks}" for one in found]
    ways = [
        f"  {run} task={task.name} "
        + " ".join(
            f"dataset.{c.name}=COLUMN" for c in task.schema.columns if c.required or c.target
        )
        for task in tasks
    ]
    guessed = " (the first row was taken for the header)" if table.guessed_header else ""
    if cause := _cause(table, found, tasks):
        return "\n".join([f"{what} fits no task: {cause} Its columns{guessed}:", *looks])
    return "\n".join(
        [f"{what} fits no task. Its columns{guessed}:", *looks, "Name them for one of:", *ways]
    )


def _cause(table: Table, found: Sequence[Profile], tasks: Sequence[Task]) -> str:
    """Return why no task can learn from a table, and what to do; "" where that is not clear."""
    if len(found) == 1:
        signs = [
            sign
            for sign in dict.fromkeys(found[0].name)
            if not (sign.isalnum() or sign.isspace() or sign in "_-.'\"")
            and all(sign in str(record[0]) for record in table.records[:ROWS])
        ]
        if signs:
            example = shlex.quote(f"dataset.delimiter={signs[0]}")
            return f"it has one column, and `{signs[0]}` in each row: set `{example}`."
        return (
            "it has one column, and a task needs one to learn: add a column of labels, or give the "
            "character between the cells with `dataset.delimiter=`."
        )
    same = [one for one in found if one.kind == "other" and one.looks.endswith(" in each row")]
    named = [one for one in same if any(_is_named(one, task) for task in tasks)]
    if named and len(table.records) > 1:
        only = f"column `{shown(named[0].name)}` has one class, {named[0].looks}"
        return f"{only}: give rows of another class too."
    if len(table.records) < _FEWEST:
        rows = f"{len(table.records)} row{'s' if len(table.records) > 1 else ''}"
        return f"{rows} are too few to tell what its columns hold: give more, or set `task=`."
    return ""
