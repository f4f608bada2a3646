"""`ftr init [FILE]`: write a commented `ftr.yaml` for data, or copy an example."""

from __future__ import annotations

import json
import re
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.cli.main import Answer
from ftr.errors import RequestError, counted, did_you_mean
from ftr.paths import SETTINGS_FILE as FILE
from ftr.paths import expanded, no_file
from ftr.registry.discovery import own_version
from ftr.terminal import masked, show

if TYPE_CHECKING:
    from ftr.config.parse import Layer
    from ftr.config.resolve import Resolved
    from ftr.registry.registry import Registry

EXAMPLES = (
    "ftr init reviews.csv",
    "ftr init reviews.csv task=sentiment epochs=2",
    "ftr init --example sweep",
)
SCHEMA = "ftr.schema.json"
_PLAIN = re.compile(r"[A-Za-z0-9_./~][\w./@-]*")
_WIDTH = 96
_COUNTED = 200e6
"""Bytes of files whose rows are counted."""
_SWEEP = """\
# Only `ftr sweep` reads this group. Values here are searched, or replace those above.
# sweep:
#   trials: 20
#   learning_rate: loguniform(3e-5,3e-4)
"""


def configure(parser: ArgumentParser) -> None:
    """Add data, settings and place."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="FILE|key=value",
        help="the data, and settings for the file; without any: the only data file here",
    )
    parser.add_argument("--example", metavar="NAME", help="copy an example instead of the data's")
    parser.add_argument(
        "--output", metavar="PATH", default=FILE, help=f"file to write (default: {FILE})"
    )
    parser.add_argument(
        "--schema", action="store_true", help=f"write only {SCHEMA}, which editors read, again"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that exists")


def execute(args: Namespace) -> Answer:
    """Write the file, and answer with its path and what was found.

    Raises `RequestError` for a file that exists, and what `ftr run` raises for the settings.
    """
    target = expanded(args.output, "`--output`:")
    if kind := no_file(target):
        raise RequestError(f"`--output`: `{target}` is {kind}: give a file, `{target / FILE}`.")
    schema = target.with_name(SCHEMA)
    if args.schema:
        atomic.write_text(schema, _schema())
        return Answer({"schema": str(schema)}, f"wrote {schema}")
    _check_new(args.force, target)
    if args.example is not None:
        if args.settings:
            raise RequestError("`--example` takes no settings: change them in the file.")
        text, facts = _example(args.example), {"example": args.example}
        own = f" config={target}" if target.name != FILE else ""
        text = re.sub(r" config=examples/\S+", lambda _: own, text)  # its own command line
        line = "next: ftr sweep" if "sweep:" in text else "next: ftr run"
    else:
        text, facts = _of_data(args.settings or [_only_file()], target)
        line = "next: ftr run"
    if target.name != FILE:
        line += f" config={target}"
    elif len(target.parts) > 1:
        line += f" in {target.parent}"
    if args.example is not None and "hub:" in text:
        line += (
            "\nIts data and model are on the Hub; without a network add dataset=FILE model=minilm."
        )
    content = _schema()
    if not (schema.is_file() and schema.read_text(encoding="utf-8") == content):
        _check_new(args.force, schema)
    atomic.write_text(schema, content)
    atomic.write_text(target, f"# yaml-language-server: $schema={SCHEMA}\n{text}")
    data = {"path": str(target), "schema": str(schema), **facts}
    return Answer(masked(data), f"wrote {target} (and {schema}, for editors)\n{line}")


def _check_new(force: bool, path: Path) -> None:
    if not force and (path.exists() or path.is_symlink()):
        raise RequestError(
            f"`{path}` exists: `--force` replaces it, `--output PATH` writes another file."
        )


def _schema() -> str:
    from ftr.config.json_schema import file_schema
    from ftr.registry.registry import get_registry

    return json.dumps(file_schema(get_registry()), ensure_ascii=False, separators=(",", ":")) + "\n"


def _only_file() -> str:
    """Return the only data file of this folder."""
    from ftr.config.schema import DATA_SUFFIXES

    found = [
        path.name
        for path in sorted(Path().iterdir())
        if path.is_file() and path.suffix.lower() in DATA_SUFFIXES and path.name != SCHEMA
    ]
    if len(found) == 1:
        show(f"data: {found[0]}, the only data file here")
        return found[0]
    several = f"one of {', '.join(f'`{name}`' for name in found[:6])}" if found else "none is here"
    raise RequestError(
        f"`ftr init` needs a data file ({several}): give it, as `ftr init reviews.csv`, or a task "
        "with sample data, `ftr init task=qa`."
    )


def _example(name: str) -> str:
    """Return the text of an example. They are in the wheel, and in the folder of an editable
    install.
    """
    import ftr

    package = Path(ftr.__file__).parent
    folder = next(
        (
            path
            for path in (package / "_examples", package.parents[1] / "examples")
            if path.is_dir()
        ),
        None,
    )
    found = {path.stem: path for path in sorted(folder.glob("*.yaml"))} if folder else {}
    found |= {path.stem: path for path in sorted(folder.glob("recipes/*.yaml"))} if folder else {}
    if name not in found:
        raise RequestError(
            f"`--example {name}`: there is no such example.{did_you_mean(name, found)} Examples "
            f"are {', '.join(f'`{one}`' for one in found) or 'not installed'}."
        )
    return found[name].read_text(encoding="utf-8")


def _of_data(words: list[str], target: Path) -> tuple[str, dict[str, Any]]:
    """Return the file for data, and what was found."""
    from ftr.config.found import placed
    from ftr.config.parse import read_settings, registry_for
    from ftr.config.resolve import flat, resolve
    from ftr.data.infer import settings_with_task

    registry = registry_for(words)
    notes: list[str] = []
    given = settings_with_task(read_settings(words), registry, notes.append)
    for note in notes:
        show(note)
    resolved = resolve(given, registry)
    looks, rows = _looks(given, resolved, registry)
    # Only paths in a file of this name start at its folder.
    here, folder = Path.cwd(), target.absolute().parent if target.name == FILE else Path.cwd()
    chosen = {key: placed(key, setting, here, folder).value for key, setting in given.items()}
    facts = {
        "task": resolved.config.task,
        "dataset": resolved.config.dataset.name,
        "columns": looks,
        "rows": rows,
        "settings": chosen,
    }
    about = [f"ftr {own_version()} wrote this. Remove a `#` to set a key; see `ftr help KEY`."]
    if rows or looks:
        sizes = ", ".join(
            counted(count, "row", ",") + (f" for {split}" if len(rows) > 1 else "")
            for split, count in rows.items()
        )
        about.append(f"The data{': ' + sizes if sizes else ''}.")
        about += [f"  {name}: {look}" for name, look in looks.items()]
    about += [note.removesuffix(" (another: `task=…`)") for note in notes]
    lines = [*(f"# {line}" for text in about for line in _wrapped(text)), ""]
    lines += _keys(chosen, flat(resolved.config))
    return "\n".join([*lines, _SWEEP]), facts


def _wrapped(text: str) -> list[str]:
    visible = " ".join(text.split()) if not text.startswith(" ") else text.replace("\n", " ")
    return textwrap.wrap(visible, _WIDTH, subsequent_indent="  ", drop_whitespace=True) or [""]


def _keys(chosen: Mapping[str, object], values: Mapping[str, object]) -> Iterator[str]:
    """Yield the task, the keys that people change first, and the others that were given."""
    from ftr.config.known import FIRST_KEYS, keys

    known, left = keys(), dict(chosen)
    for key in ("task", *FIRST_KEYS):
        if key in known and key != "task":
            yield from (f"# {line}" for line in _wrapped(known[key].description))
        options = {name: left.pop(name) for name in list(left) if name.startswith(f"{key}.")}
        mark = "" if key in chosen or options else "# "
        yield f"{mark}{key}: {_yaml(left.pop(key, values.get(key)), options)}".replace(
            ": \n", ":\n"
        )
        yield ""
    for key, value in left.items():
        yield f"{key}: {_yaml(value)}"
    if left:
        yield ""


def _yaml(value: object, options: Mapping[str, object] | None = None) -> str:
    """Return a value as it stands in a YAML file; a component with options is a mapping."""
    from ftr.config.values import read_value, write_value

    if options:
        rows = {"name": value, **{key.partition(".")[2]: one for key, one in options.items()}}
        return "".join(f"\n  {name}: {_yaml(one)}" for name, one in rows.items())
    if isinstance(value, str):
        bare = _PLAIN.fullmatch(value) and read_value(value) == value
        return value if bare else write_value(value, inside=True)
    return write_value(value)


def _looks(
    given: Layer, resolved: Resolved, registry: Registry
) -> tuple[dict[str, str], dict[str, int]]:
    """Return what each column of dataset files looks like, and the number of rows of each split;
    nothing of other datasets, and no number of very large files.

    Raises what `ftr run` raises for the data, of very large files only for the names of columns.
    """
    from ftr.config.components import column_choices, file_options
    from ftr.config.schema import FileOptions
    from ftr.data.columns import check_choices
    from ftr.data.downloads import local_dataset
    from ftr.data.encode import cache_folder
    from ftr.data.infer import any_schema, first_part, tasks_of, whole
    from ftr.data.labels import shown
    from ftr.data.layout import find_files
    from ftr.data.profile import profiles
    from ftr.registry.registry import plugin_errors
    from ftr.runs.prepare import checked_rows

    dataset = resolved.config.dataset
    known = {k: one for k, one in dataset.options.items() if k in FileOptions.model_fields}
    if registry.has("dataset", dataset.name) or len(known) < len(FileOptions.model_fields):
        return {}, {}
    cache = cache_folder(str(resolved.config.data.cache or "") or None, resolved.config.output)
    name, known = local_dataset(dataset.name, known, cache)
    options, tasks = FileOptions(**known), tasks_of(registry)
    found = find_files(name, options, [])
    split, source = next(iter(found.items()))
    schema = any_schema(tasks)
    table = None
    if not source.classes:
        table = first_part(source, split, options, tasks) or whole(source, split, options, tasks)
    looks = {shown(one.name): one.looks for one in profiles(table, schema)} if table else {}
    paths = [path for one in found.values() for path in one.paths]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    if sum(file.stat().st_size for file in files if file.is_file()) > _COUNTED:
        if table:
            choices = file_options(resolved.schema)(**{**dataset.options, **known})
            check_choices(column_choices(choices, resolved.schema), table, f"`{paths[0].name}`")
        return looks, {}
    with plugin_errors(registry):
        _, loaded, _ = checked_rows(resolved.config, registry, cache)
    return looks, {split: len(rows) for split, rows in loaded.splits.items()}
