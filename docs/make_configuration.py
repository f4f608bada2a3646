"""Write `configuration.md` from the configuration itself: `python docs/make_configuration.py`."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ftr.config.components import SECTIONS, FileOptions, HubOptions, file_options, head_schema
from ftr.config.parse import COMPONENTS
from ftr.config.schema import PretrainedOptions, RunConfig, SweepConfig
from ftr.config.space import FUNCTIONS
from ftr.config.trainer import OWN_KEYS, SET_BY_FTR
from ftr.registry.registry import Registry, get_registry

PAGE = Path(__file__).with_name("configuration.md")
INTRODUCTION = """\
# Configuration

<!-- made by docs/make_configuration.py; a test compares -->

Every key of a run, with its built-in default. On the command line a key is written `key=value`; in a YAML file
(`config=file.yaml`) groups may be nested or dotted. What wins: built-in default < task < config file < command line.
`ftr show task=qa` prints every value and where it came from; `ftr schema` gives the same as JSON Schema, for editors.
"""
SEARCH = """\
## `ftr sweep`

A sweep takes every key of a run, and in the place of a value an expression, which makes the key a dimension of the search space:

```sh
ftr sweep task=qa 'learning_rate=loguniform(1e-5,1e-4)' 'batch_size=choice(8,16,32)' 'train.warmup=uniform(0,0.2)' trials=20
```

In a shell an expression stands in quotes, for parentheses mean something there; in YAML it needs them only inside braces or brackets,
and may be a mapping instead: `batch_size: {choice: [8, 16, 32]}`. Searched may be any key but `task`, `metrics`, `output` and `compute.*`,
options of components of all plugins included (`head.n_best=choice(10,20)`). Without any expression the task's own space is searched, less
the keys that were given a value. Before the first trial the ends of every range, every value of every list and their combinations are
checked as a run's configuration is.
"""
SWEEP_KEYS = """\
And it has keys of its own. In a file they may stand together under `sweep:`. Budgets combine: the first that is used up ends the sweep.
"""
TRAINER = """\
## `trainer.*`

Any other field of `transformers.TrainingArguments`, by its own name: `trainer.adam_beta2=0.98`, `trainer.torch_compile=true`.
Refused are those for which ftr has its own key, and those it must set itself:
"""

EXAMPLES = {
    "choice": "`train.lr_scheduler=choice(linear,cosine)`",
    "grid": "`batch_size=grid(16,32)`",
    "uniform": "`train.warmup=uniform(0,0.2)`",
    "loguniform": "`learning_rate=loguniform(1e-5,1e-4)`",
    "quniform": "`train.dropout=quniform(0,0.3,0.1)`: 0, 0.1, 0.2, 0.3",
    "qloguniform": "`batch_size=qloguniform(8,64,8)`",
    "randint": "`epochs=randint(1,4)`: 1, 2, 3",
    "lograndint": "`head.n_best=lograndint(5,50)`",
    "normal": "`train.weight_decay=normal(0.05,0.01)`",
}


def page() -> str:
    """Return the page as it should be."""
    registry = get_registry()
    plain = {
        name: field
        for name, field in RunConfig.model_fields.items()
        if name not in SECTIONS and name != "trainer"
    }
    parts = [INTRODUCTION, "## Top level\n", *table("key", "default", rows(plain, "")), ""]
    for name, section in SECTIONS.items():
        parts += [
            f"## `{name}.*`\n",
            _sentence(section),
            "",
            *table(
                "key",
                "default",
                rows(
                    {
                        key: field
                        for key, field in section.model_fields.items()
                        if f"{name}.{key}" not in SECTIONS
                    },
                    f"{name}.",
                ),
            ),
        ]
        parts.append("")
    parts += [
        *tasks(registry),
        "",
        *files(registry),
        "",
        *options("`dataset.*` of `hub:owner/name`", HubOptions, "dataset."),
        "",
    ]
    parts += [*options("`model.*`, of every model", PretrainedOptions, "model."), ""]
    for entry in registry.all("head"):
        if entry.plugin.builtin:
            model = registry.options_model("head", entry.qualified)
            parts += [*options(f"`head.*` of `{entry.spec.name}`", model, "head."), ""]
    parts += [
        SEARCH,
        *table("expression", "draws", functions()),
        "",
        *spaces(registry),
        "",
        SWEEP_KEYS,
    ]
    parts += [*table("key", "default", rows(SweepConfig, "")), ""]
    return "\n".join([*parts, TRAINER, *table("field", "instead", trainer())]) + "\n"


def _sentence(section: type[BaseModel]) -> str:
    """Return what a section is, from its docstring."""
    text = (section.__doc__ or "").partition(": ")[2].strip()
    return text[:1].upper() + text[1:]


def rows(
    fields: type[BaseModel] | Mapping[str, FieldInfo], prefix: str
) -> Iterator[tuple[str, str, str]]:
    """Yield key, default and description of each field."""
    for name, field in (fields if isinstance(fields, Mapping) else fields.model_fields).items():
        yield f"`{prefix}{field.alias or name}`", default(name, field), field.description or ""


def default(name: str, field: FieldInfo) -> str:
    """Return the default as it would be typed; a component has none, for the task gives it."""
    if field.is_required() or name in COMPONENTS:
        return "from the task"
    return f"`{json.dumps(field.get_default(call_default_factory=True), default=str)}`".replace(
        '"', ""
    )


def options(title: str, model: type[BaseModel] | None, prefix: str) -> list[str]:
    """Return the section of a component's options."""
    return [
        f"## {title}\n",
        *(
            table("key", "default", rows(model, prefix))
            if model is not None
            else ["It takes none."]
        ),
    ]


def tasks(registry: Registry) -> list[str]:
    """Return the section of what the built-in tasks set."""
    lines = ["## What the tasks set", "", "| task | key | value |", "|---|---|---|"]
    for entry in registry.all("task"):
        if entry.plugin.builtin:
            spec = registry.task(entry.qualified)
            named = {
                "dataset": spec.dataset,
                "model": spec.model,
                "head": spec.head,
                "metrics": ", ".join(spec.metrics),
            }
            lines += [
                f"| `{spec.name}` | `{key}` | `{value}` |"
                for key, value in {**named, **spec.defaults}.items()
            ]
    return lines


def functions() -> Iterator[tuple[str, str, str]]:
    """Yield each function of a search space, what it draws, and an example."""
    for name, (arguments, meaning) in FUNCTIONS.items():
        yield f"`{name}({','.join(arguments)})`", meaning, EXAMPLES[name]


def spaces(registry: Registry) -> list[str]:
    """Return the table of the search spaces of the built-in tasks."""
    lines = ["| task | searches | |", "|---|---|---|"]
    for entry in registry.all("task"):
        if entry.plugin.builtin:
            space = registry.task(entry.qualified).search_space
            lines += [
                f"| `{entry.spec.name}` | `{key}` | `{expression}` |"
                for key, expression in space.items()
            ]
    return lines


def files(registry: Registry) -> list[str]:
    """Return the section of the options of files: those of every file, and a column option for each
    column of each head.
    """
    lines = options("`dataset.*` of files and folders", FileOptions, "dataset.")
    lines += [
        "",
        "And one key a column, by the head that reads it:",
        "",
        "| head | key | found by itself under the names |",
        "|---|---|---|",
    ]
    for entry in registry.all("head"):
        if entry.plugin.builtin:
            model = registry.options_model("head", entry.qualified)
            schema = head_schema(entry.qualified, model() if model is not None else None, registry)
            aliases = {column.name: (column.name, *column.aliases) for column in schema.columns}
            for name in file_options(schema).model_fields.keys() - FileOptions.model_fields.keys():
                aliases.setdefault(name, (name,))
            known = {
                name: ", ".join(f"`{alias}`" for alias in names) for name, names in aliases.items()
            }
            lines += [
                f"| `{entry.spec.name}` | `dataset.{name}` | {names} |"
                for name, names in known.items()
            ]
    return lines


def trainer() -> Iterator[tuple[str, str, str]]:
    """Yield the refused fields of `TrainingArguments`."""
    for field, keys in OWN_KEYS.items():
        yield f"`{field}`", ", ".join(f"`{key}`" for key in keys), ""
    for field, reason in SET_BY_FTR.items():
        yield f"`{field}`", "", reason


def table(first: str, second: str, lines: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return Markdown lines."""
    body = [
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in lines
    ]
    return [f"| {first} | {second} | |", "|---|---|---|", *body]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
