"""What is known of each key: type, range, choices, default, description, example.

`keys.json` is made from the pydantic models by `docs/make_configuration.py`, so that help and
completion need neither pydantic nor a plugin; a test compares.
"""

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("keys.json")
TRAINER = "trainer."
SWEEP_GROUP = "sweep"
BOOLEAN = "true/false"
FIRST_KEYS = (
    "dataset",
    "model",
    "learning_rate",
    "batch_size",
    "epochs",
    "seed",
    "data.max_length",
    "data.limit",
    "train.early_stopping_patience",
    "output",
)
"""The keys that people change first, in the order in which help and `ftr init` show them."""

_PYTHON = {
    "None": "null",
    "True": "true",
    "False": "false",
    "bool": BOOLEAN,
    "int": "whole number",
    "float": "number",
    "str": "text",
    "dict": "mapping",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as a person reads it.

    `default` and `example` are written as on the command line; a default of None comes from the
    task. `group` is "" for keys without a dot, `sweep` for those of a sweep. `of` names the
    component whose option the key is, as in "head `extractive-qa`".
    """

    name: str
    type: str
    range: str = ""
    choices: tuple[str, ...] = ()
    default: str | None = None
    description: str = ""
    example: str = ""
    since: str = "0.1.0"
    group: str = ""
    of: str = ""

    @property
    def values(self) -> str:
        """The type with its range and choices: `whole number (1 or more) or null`."""
        kinds = self.type.split(" or ")
        own = [word for word in self.choices if BOOLEAN not in kinds or word not in BOOLEAN]
        listed = ", ".join(f"`{word}`" for word in own)
        written = {"choice": listed, "list": f"list of {listed}" if listed else "list"}
        if self.range:
            written |= {name: f"{name} ({self.range})" for name in ("whole number", "number")}
        return " or ".join(written.get(kind, kind) for kind in kinds)

    @property
    def summary(self) -> str:
        """The first clause of the description."""
        return self.description.split(". ")[0].split("; ")[0].rstrip(".")


@cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


@cache
def groups() -> dict[str, str]:
    """Return each group of keys and what it is about."""
    return dict(_file()["groups"])


@cache
def keys() -> dict[str, Key]:
    """Return the keys of a run, then those of a sweep, by name; `sweep.ensemble` has its group,
    because a run has an `ensemble` of another meaning.
    """
    found: dict[str, Key] = {}
    for key in _read("keys"):
        found[f"{key.group}.{key.name}" if key.name in found else key.name] = key
    return found


@cache
def options() -> tuple[Key, ...]:
    """Return the options of built-in components, files and Hub datasets; a name may be repeated."""
    return tuple(_read("options"))


def _read(part: str) -> Iterator[Key]:
    for values in _file()[part]:
        yield Key(**{**values, "choices": tuple(values.get("choices", ()))})


@cache
def trainer_keys() -> dict[str, Key]:
    """Return the fields of the installed `TrainingArguments` that can be set, by key. They are read
    without its import, which takes seconds.
    """
    spec = importlib.util.find_spec("transformers")
    place = (spec and spec.submodule_search_locations) or [""]
    tree = ast.parse(Path(place[0], "training_args.py").read_text(encoding="utf-8"))
    made = next(
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments"
    )
    about = _arguments(ast.get_docstring(made) or "")
    fields = (node for node in made.body if isinstance(node, ast.AnnAssign))
    found = (_trainer_key(node, about) for node in fields)
    settable = {f"{TRAINER}{name}" for name in _file()["trainer"]}
    return {key.name: key for key in found if key is not None and key.name in settable}


def _trainer_key(node: ast.AnnAssign, about: dict[str, str]) -> Key | None:
    if not isinstance(node.target, ast.Name) or node.value is None:
        return None
    default, field = node.value, node.target.id
    if isinstance(default, ast.Call):
        given = {one.arg: one.value for one in default.keywords}
        default = given.get("default", ast.Constant(None))
    written = ast.unparse(node.annotation)
    return Key(
        name=f"{TRAINER}{field}",
        type=re.sub(r"\w+", lambda word: _PYTHON.get(word[0], word[0]), written).replace(
            " |", " or"
        ),
        default=_PYTHON.get(value := ast.unparse(default).strip("'\""), value),
        description=about.get(field, ""),
        group="trainer",
        of="`transformers.TrainingArguments`",
    )


def _arguments(docstring: str) -> dict[str, str]:
    """Return the first paragraph about each argument in a docstring."""
    found: dict[str, list[str]] = {}
    field = ""
    for line in docstring.splitlines():
        name, typed, _ = line.strip().partition(" (`")
        if typed and name.isidentifier() and line.rstrip().endswith(":"):
            field = name
            found[field] = []
        elif field and line.strip():
            found[field].append(line.strip())
        else:
            field = ""
    return {name: " ".join(lines) for name, lines in found.items()}
