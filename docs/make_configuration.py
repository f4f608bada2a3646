"""Write `configuration.md`, and the `keys.json` that help and completion read, from the configuration
itself: `python docs/make_configuration.py`.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ftr.config.components import file_options, head_schema
from ftr.config.describe import as_json, component_keys, group_summaries, run_keys, sweep_keys
from ftr.config.known import FILE, FIRST_KEYS, Key
from ftr.config.parse import COMPONENTS
from ftr.config.schema import FileOptions
from ftr.config.space import FUNCTIONS
from ftr.config.trainer import OWN_KEYS, SET_BY_FTR
from ftr.registry.registry import Registered, Registry, get_registry
from ftr.registry.specs import Kind

PAGE = Path(__file__).with_name("configuration.md")
INTRODUCTION = """\
# Configuration

<!-- made by docs/make_configuration.py; a test compares -->

Every key of a run: its type and range, its built-in default, and what it does. On the command line, write `key=value`; in a YAML file
(`config=file.yaml`) groups may be nested or dotted. Precedence, lowest to highest: built-in default, task,
[settings that are found](settings.md), config file, environment, command line.
`ftr help train.lr_scheduler` shows one key with an example, `ftr help train` a group of keys, `ftr help duplicates` what mentions a word. `ftr show task=qa` prints every
value and its origin, `ftr show task=qa train` those of one group; `ftr schema` prints the same as JSON Schema, for editors.
"""
SEARCH = """\
## `ftr sweep`

A sweep takes every key of a run. An expression instead of a value makes the key a dimension of the search space:

```sh
ftr sweep task=qa 'learning_rate=loguniform(3e-5,3e-4)' 'batch_size=choice(8,16,32)' 'train.warmup=uniform(0,0.2)' trials=20
```

In a shell, quote an expression because of its parentheses. In YAML, quote it only inside braces or brackets; a mapping
means the same: `batch_size: {choice: [8, 16, 32]}`. Every key can be searched, options of plugins' components included
(`head.n_best=choice(10,20)`), except `task`, `metrics`, `output` and `compute.*`. Without any expression, ftr searches the task's own space,
less the keys that have a value. Before the first trial, ftr checks the ends of every range, every value of every list, and their combinations
as it checks the configuration of a run.
"""
SWEEP_KEYS = """\
A sweep also has keys of its own. In a file they may be grouped under `sweep:`. Budgets combine: the sweep ends when the first is used up.
"""
TRAINER = """\
## `trainer.*`

Any other field of `transformers.TrainingArguments`, by its own name: `trainer.adam_beta2=0.98`, `trainer.torch_compile=true`.
ftr refuses the fields for which it has its own key, and those that it sets itself:
"""
EXAMPLES = {
    "choice": "`train.lr_scheduler=choice(linear,cosine)`",
    "grid": "`batch_size=grid(16,32)`",
    "uniform": "`train.warmup=uniform(0,0.2)`",
    "loguniform": "`learning_rate=loguniform(3e-5,3e-4)`",
    "quniform": "`train.dropout=quniform(0,0.3,0.1)`: 0, 0.1, 0.2, 0.3",
    "qloguniform": "`batch_size=qloguniform(8,64,8)`",
    "randint": "`epochs=randint(1,4)`: 1, 2, 3",
    "lograndint": "`head.n_best=lograndint(5,50)`",
    "normal": "`train.weight_decay=normal(0.05,0.01)`",
}


def page() -> str:
    """Return the page as it should be."""
    registry = get_registry()
    known = list(run_keys())
    first = [key for name in FIRST_KEYS for key in known if key.name == name]
    parts = [INTRODUCTION, *section("The keys people change first", first)]
    summaries = {"": "", **group_summaries()}
    for group, summary in summaries.items():
        if within := [key for key in known if key.group == group]:
            parts += section(f"`{group}.*`" if group else "Top level", within, summary)
    parts += ["## What the tasks set\n", *table("task | key | value", tasks(registry))]
    for kind in COMPONENTS:
        options = [key for key in component_keys(registry) if key.group == kind]
        for of in dict.fromkeys(key.of for key in options):
            parts += section(f"`{kind}.*` of {of}", [key for key in options if key.of == of])
    parts += ["Column names that ftr matches:\n"]
    parts += table("head | key | column names", columns(registry))
    parts += [SEARCH, *table("expression | draws | ", functions())]
    parts += table("task | searches | ", spaces(registry))
    parts += [SWEEP_KEYS, *key_table(sweep_keys())]
    return "\n".join([*parts, TRAINER, *table("field | instead | ", trainer())[:-1]]) + "\n"


def builtin(registry: Registry, kind: Kind) -> Iterator[Registered]:
    """Yield the components of a kind that ftr brings."""
    return (entry for entry in registry.all(kind) if entry.plugin.builtin)


def section(title: str, keys: Iterable[Key], summary: str = "") -> list[str]:
    """Return the section of some keys."""
    return [f"## {title}\n", *([summary, ""] if summary else []), *key_table(keys)]


def key_table(keys: Iterable[Key]) -> list[str]:
    """Return the table of some keys."""
    return table("key | type | default | ", map(cells, keys))


def cells(key: Key) -> tuple[str, ...]:
    """Return key, type, default and description of a key."""
    default = "from the task" if key.default is None else f"`{key.default}`"
    return f"`{key.name}`", key.values, default, key.description


def tasks(registry: Registry) -> Iterator[tuple[str, str, str]]:
    """Yield what the built-in tasks set."""
    for entry in builtin(registry, "task"):
        spec = registry.task(entry.qualified)
        values: dict[str, object] = {kind: getattr(spec, kind) for kind in COMPONENTS}
        values |= {"metrics": ", ".join(spec.metrics), **spec.defaults}
        for key, value in values.items():
            yield f"`{spec.name}`", f"`{key}`", f"`{value}`"


def columns(registry: Registry) -> Iterator[tuple[str, str, str]]:
    """Yield the options of each head's columns, and the names that ftr matches."""
    for entry in builtin(registry, "head"):
        model = registry.options_model("head", entry.qualified)
        schema = head_schema(entry.qualified, model() if model is not None else None, registry)
        aliases = {column.name: (column.name, *column.aliases) for column in schema.columns}
        for name in file_options(schema).model_fields.keys() - FileOptions.model_fields.keys():
            aliases.setdefault(name, (name,))
        for name, names in aliases.items():
            listed = ", ".join(f"`{alias}`" for alias in names)
            yield f"`{entry.spec.name}`", f"`dataset.{name}`", listed


def functions() -> Iterator[tuple[str, str, str]]:
    """Yield each function of a search space, what it draws, and an example."""
    for name, (arguments, meaning) in FUNCTIONS.items():
        yield f"`{name}({','.join(arguments)})`", meaning, EXAMPLES[name]


def spaces(registry: Registry) -> Iterator[tuple[str, str, str]]:
    """Yield the search spaces of the built-in tasks."""
    for entry in builtin(registry, "task"):
        for key, expression in registry.task(entry.qualified).search_space.items():
            yield f"`{entry.spec.name}`", f"`{key}`", f"`{expression}`"


def trainer() -> Iterator[tuple[str, str, str]]:
    """Yield the refused fields of `TrainingArguments`."""
    for field, keys in OWN_KEYS.items():
        yield f"`{field}`", ", ".join(f"`{key}`" for key in keys), ""
    for field, reason in SET_BY_FTR.items():
        yield f"`{field}`", "", reason


def table(heading: str, lines: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the lines of a Markdown table, and an empty one."""
    body = (
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in lines
    )
    return [
        f"| {heading}|" if heading.endswith(" ") else f"| {heading} |",
        "|---" * (heading.count("|") + 1) + "|",
        *body,
        "",
    ]


if __name__ == "__main__":
    FILE.write_text(as_json(get_registry()), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
