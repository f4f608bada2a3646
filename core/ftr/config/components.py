"""What `dataset=`, `model=` and `head=` may name, the options each accepts, and the answer to an
unknown key.
"""

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    field_validator,
)

from ftr.config.parse import COMPONENTS, GROUPS, Setting, validated
from ftr.config.renamed import new_name
from ftr.config.schema import (
    SWEEP_KEYS,
    AugmentConfig,
    Component,
    ComputeConfig,
    CvConfig,
    DataConfig,
    LoraConfig,
    PretrainedOptions,
    RunConfig,
    TrainConfig,
)
from ftr.config.space import looks_like_expression
from ftr.config.trainer import OWN_KEYS, PASSED
from ftr.errors import ConfigError, DataError, FtrError, ModelError, PluginError, did_you_mean, near
from ftr.paths import expanded
from ftr.registry.registry import Registry, print_once
from ftr.registry.schema import RowSchema
from ftr.registry.specs import Kind
from ftr.terminal import MASK, unmasked

Format = Literal[
    "auto", "csv", "tsv", "json", "jsonl", "parquet", "arrow", "squad", "text", "conll"
]
LabelFrom = Literal["auto", "column", "folder", "file"]
Quoting = Literal["auto", "standard", "lenient", "none"]
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".label": "text",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".conllu": "conll",
}
PACKED = (".gz", ".bz2", ".xz", ".zip")
EXCEL = (".xlsx", ".xls", ".xlsm", ".ods")


class FileOptions(BaseModel):
    """What can be said about files, whatever the columns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: str | None = Field(None, description="file of the train split, instead of the one found")
    validation: str | None = Field(
        None, description="file of the validation split; `none` leaves it out"
    )
    test: str | None = Field(None, description="file of the test split; `none` leaves it out")
    labels_file: str | None = Field(
        None, description="file with one label a line, for a text file with one text a line"
    )
    label_from: LabelFrom = Field(
        "auto",
        description="whether each folder, or each file, of a folder holds the texts of one class, "
        "by its name; column: neither",
    )
    format: Format = Field(
        "auto", description="format of the files; auto goes by the name and the content"
    )
    encoding: str = Field(
        "utf-8",
        description="encoding of text files, by its Python name; a byte order mark is taken off",
    )
    delimiter: str | None = Field(
        None,
        description="cell delimiter of CSV files, and between text and label of text files: one "
        "character, `tab` or `space`; else guessed",
    )
    quoting: Quoting = Field(
        "auto",
        description="how CSV cells are quoted: none takes quotes as text, lenient allows quotes "
        "inside cells that are not doubled",
    )
    header: Literal["auto"] | bool = Field(
        "auto", description="whether the first row of a CSV file names the columns"
    )
    id: str | int | None = Field(
        None,
        description="column of the row ids, by name or 0-based number; `none` numbers the rows",
    )

    @field_validator("delimiter", mode="before")
    @classmethod
    def _one_character(cls, value: object) -> object:
        """Return the character that a word stands for: the shell and YAML lose a blank or a tab."""
        found = (
            {"tab": "\t", "\\t": "\t", "space": " ", "blank": " "}.get(value, value)
            if isinstance(value, str)
            else value
        )
        if found is not None and (
            not isinstance(found, str) or len(found) != 1 or found in '\r\n"'
        ):
            raise ValueError("give one character, `tab` or `space`")
        return found


class HubOptions(BaseModel):
    """What can be said about a dataset on the hub, whatever the columns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: str | None = Field(None, description="configuration of the dataset, if it has several")
    revision: str | None = Field(None, description="commit, tag or branch of the dataset")
    train: str | None = Field(None, description="name on the hub of the split to train on")
    validation: str | None = Field(None, description="name on the hub of the validation split")
    test: str | None = Field(None, description="name on the hub of the test split")
    id: str | int | None = Field(None, description="column of the row ids; `none` numbers the rows")


@cache
def file_options(schema: RowSchema) -> type[FileOptions]:
    """Return the options of files read for `schema`: `FileOptions` and one option per column."""
    return create_model("FileOptions", __base__=FileOptions, **_columns(schema))


@cache
def hub_options(schema: RowSchema) -> type[HubOptions]:
    """Return the options of a hub dataset read for `schema`: `HubOptions` and one option per
    column.
    """
    return create_model("HubOptions", __base__=HubOptions, **_columns(schema))


def column_choices(options: BaseModel, schema: RowSchema) -> dict[str, str | int]:
    """Return the columns that were named by option: canonical name -> the file's name or 0-based
    number.
    """
    names = ["id", *_columns(schema)]
    given = {name: getattr(options, name, None) for name in names}
    return {name: choice for name, choice in given.items() if choice is not None}


def _columns(schema: RowSchema) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for column in schema.columns:
        fields[column.name] = _choice(
            f"column of the file that holds `{column.name}`, by name or 0-based number"
        )
        if column.type == "answers":
            fields["answer_start"] = _choice(
                "column that holds the offset of the answer in characters"
            )
    return fields


def _choice(description: str) -> tuple[object, object]:
    return str | int | None, Field(None, description=description)


SECTIONS: Mapping[str, type[BaseModel]] = {
    "data": DataConfig,
    "data.augment": AugmentConfig,
    "train": TrainConfig,
    "train.lora": LoraConfig,
    "compute": ComputeConfig,
    "cv": CvConfig,
}
OPEN_GROUPS = (*COMPONENTS, "trainer")
PLAIN_KEYS = tuple(
    name for name in RunConfig.model_fields if name not in GROUPS or name in COMPONENTS
)
SECTION_KEYS = tuple(
    key
    for group, section in SECTIONS.items()
    for name in section.model_fields
    if (key := f"{group}.{name}") not in SECTIONS
)
KNOWN_KEYS = (*PLAIN_KEYS, *SECTION_KEYS)

# What other tools call them; fields of TrainingArguments are answered from the table that refuses
# them under `trainer.*`.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    **OWN_KEYS,
    "lr": ("learning_rate",),
    "bs": ("batch_size",),
    "num_epochs": ("epochs",),
    "max_epochs": ("epochs",),
    "metric": ("metrics",),
    "max_seq_length": ("data.max_length",),
    "doc_stride": ("data.stride",),
    "num_workers": ("compute.workers",),
    "model_name_or_path": ("model",),
    "dataset_name": ("dataset",),
    "train_file": ("dataset", "dataset.train"),
}
SWEEP_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "n_trials": ("trials",),
    "num_trials": ("trials",),
    "num_samples": ("trials",),
    "timeout": ("time_budget",),
    "time_budget_s": ("time_budget",),
    "search_alg": ("searcher",),
    "sampler": ("searcher",),
    "pruner": ("scheduler",),
    "direction": ("mode",),
    "max_concurrent_trials": ("max_concurrent",),
    "n_jobs": ("max_concurrent",),
}


def check_keys(settings: Mapping[str, Setting], *, sweep: bool = False) -> None:
    """Raise `ConfigError` for the first key that is none, with the nearest that is.

    Keys and expressions of a sweep are told from mistakes, and refused unless it is a `sweep`.
    """
    for key, setting in settings.items():
        group, dot, name = key.partition(".")
        if key in KNOWN_KEYS or (group in OPEN_GROUPS and name):
            if (
                not sweep
                and looks_like_expression(setting.value)
                and not _takes(key, str(setting.value))
            ):
                raise ConfigError(
                    f"`{key}` is `{setting.value}` ({setting.origin}), a search space: use `ftr "
                    "sweep`, or give one value."
                )
            continue
        if renamed := new_name(key):
            raise ConfigError(f"`{key}` ({setting.origin}) is called `{renamed}` now: write that.")
        if key in SWEEP_KEYS:
            if sweep:
                continue
            raise ConfigError(
                f"`{key}` ({setting.origin}) is a key of `ftr sweep`, not of a "
                f"run.{_nearest(key, '', ())}"
            )
        if key in GROUPS or (group in GROUPS and not name):
            raise ConfigError(_a_group(key, setting))
        within = (
            key.rpartition(".")[0] if key.rpartition(".")[0] in SECTIONS else group if dot else ""
        )
        raise ConfigError(
            f"`{key}` ({setting.origin}) is not a "
            f"key.{_nearest(key, within, SWEEP_KEYS if sweep else ())}"
        )


def search_hint(settings: Mapping[str, Setting], error: str) -> str:
    """Return what to say after an error about an option whose value is an expression, else ""."""
    searched = any(
        looks_like_expression(setting.value) and str(setting.value) in error
        for setting in settings.values()
    )
    return " That is a search space: use `ftr sweep`, or give one value." if searched else ""


def _takes(key: str, text: str) -> bool:
    """Whether a key may be this text.

    What an option or a field of `trainer` takes is found out later, by its own model.
    """
    if key in ("model", "head"):
        return Path(text).exists()
    group, _, name = key.rpartition(".")
    if group.partition(".")[0] in OPEN_GROUPS or key in COMPONENTS:
        return True
    try:
        _checked(group, name).validate_python(text)
    except ValidationError:
        return False
    return True


@cache
def _checked(group: str, name: str) -> "TypeAdapter[object]":
    field = (SECTIONS[group] if group else RunConfig).model_fields[name]
    annotated: Any = (
        Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    )
    return TypeAdapter(annotated)


def _a_group(key: str, setting: Setting) -> str:
    group = key.rstrip(".")
    near = (
        " Did you mean `dataset`?"
        if group == "data"
        else " Did you mean `train.…`?"
        if group == "trainer"
        else ""
    )
    within = [known for known in SECTION_KEYS if known.startswith(f"{group}.")] or [
        f"{group}.<field of transformers.TrainingArguments>"
    ]
    return f"`{key}` ({setting.origin}) is a group of keys: set one of {_listed(within)}.{near}"


def _nearest(key: str, group: str, more: tuple[str, ...]) -> str:
    leaf = key.rpartition(".")[2]
    known_keys = (*more, *KNOWN_KEYS)
    synonyms = {**SYNONYMS, **SWEEP_SYNONYMS} if more else SYNONYMS
    same = [known for known in known_keys if known.rpartition(".")[2] == leaf] or [
        *synonyms.get(leaf, ()),
        *_elsewhere(leaf),
    ]
    if same:
        return f" Did you mean {' or '.join(f'`{name}`' for name in same)}?"
    if key in SWEEP_KEYS:
        return ""
    if group in SECTIONS:
        within = [known for known in SECTION_KEYS if known.startswith(f"{group}.")]
        return did_you_mean(key, within) or f" `{group}` has {_listed(within)}."
    leaves = {known.rpartition(".")[2]: known for known in reversed(known_keys)}
    return (
        did_you_mean(key, known_keys)
        or _through_leaf(leaf, leaves)
        or f" Keys are {_listed(known_keys)}; fields of `transformers.TrainingArguments` go under "
        "`trainer.`."
    )


def _elsewhere(leaf: str) -> list[str]:
    """Return the key of that name in the groups whose keys are not ftr's own."""
    return ([f"trainer.{leaf}"] if leaf in PASSED else []) + (
        [f"dataset.{leaf}"] if leaf in FileOptions.model_fields else []
    )


def _through_leaf(leaf: str, leaves: Mapping[str, str]) -> str:
    found = near(leaf, leaves)
    return f" Did you mean `{leaves[found[0]]}`?" if found else ""


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)


ComponentKind = Literal["dataset", "model", "head"]
KINDS: tuple[ComponentKind, ...] = ("dataset", "model", "head")
Place = Literal["registered", "path", "hub"]
HUB = "hub:"
FILES = "files"
SPLITS = ("train", "validation", "test")
DATA_SUFFIXES = (*SUFFIXES, *PACKED, *EXCEL)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def locate(kind: ComponentKind, name: str, registry: Registry, origin: str) -> tuple[Place, str]:
    """Return where a component comes from, and its name with paths made absolute, so that workers
    and later commands find it.

    A registered name wins over a file of the same name, which is printed; `./name` is always the
    file. Raises `UnknownComponentError`, or `DataError` and `ModelError` for a path that is not
    there.
    """
    if not registry.has(kind, name):
        if kind == "dataset":
            return _dataset(name, registry, origin)
        if kind == "model":
            return _model(name, registry, origin)
    entry = registry.find(kind, name)
    if kind != "head":
        _say_hidden(kind, name, f"the {kind} of plugin {entry.plugin.described}")
    return "registered", name


def options_model(
    kind: ComponentKind, place: Place, name: str, registry: Registry, schema: RowSchema | None
) -> type[BaseModel] | None:
    """Return the pydantic model of a component's options; None: it takes none.

    Datasets by path or hub id need the head's `schema`.
    """
    if place == "registered":
        model = registry.options_model(kind, name)
        if model is not None and not issubclass(model, BaseModel):
            found = registry.find(kind, name)
            raise PluginError(
                f"the {kind} `{name}` of plugin {found.plugin.described}: its options are a "
                f"`{model.__name__}`, not a pydantic model class."
            )
        return model
    if kind == "model":
        return PretrainedOptions
    if schema is None:
        raise ValueError("the options of a dataset by path or hub id follow from the head's schema")
    return hub_options(schema) if place == "hub" else file_options(schema)


def checked_options(
    kind: ComponentKind,
    name: str,
    model: type[BaseModel] | None,
    values: dict[str, object],
    settings: Mapping[str, Setting],
) -> BaseModel | None:
    """Return the options as their model, or None where the component takes none.

    Raises `ConfigError` naming the component.
    """
    known = option_names(model)
    for option in values:
        if option not in known and not (
            model is not None and model.model_config.get("extra") == "allow"
        ):
            raise ConfigError(_unknown_option(kind, name, option, known, settings))
    return None if model is None else validated(model, values, settings, f"{kind}.")


def component_options(
    kind: ComponentKind, component: Component, registry: Registry, schema: RowSchema | None = None
) -> BaseModel | None:
    """Return the options of a resolved component again as the model its target takes: for jobs and
    for loading a run.
    """
    place, name = locate(kind, component.name, registry, "run")
    model = options_model(kind, place, name, registry, schema)
    return checked_options(kind, name, model, component.options, {})


def head_schema(name: str, options: BaseModel | None, registry: Registry) -> RowSchema:
    """Return the columns a head reads.

    Raises `PluginError` when it cannot be made or has no `schema`.
    """
    target = registry.target("head", name)
    plugin = registry.find("head", name).plugin
    try:
        if not callable(target):
            raise TypeError("its target is not callable")
        schema: object = target(options).schema
        if not isinstance(schema, RowSchema):
            raise TypeError("its `schema` is not an `ftr.registry.schema.RowSchema`")
    except FtrError:
        raise
    except Exception as error:
        raise PluginError(
            f"the head `{name}` of plugin {plugin.described} cannot be made: "
            f"{type(error).__name__}: {error}"
        ) from error
    return schema


def option_names(model: type[BaseModel] | None) -> list[str]:
    """Return the names of a model's options as people write them."""
    return (
        [] if model is None else [field.alias or name for name, field in model.model_fields.items()]
    )


def _say_hidden(kind: ComponentKind, name: str, meant: str) -> None:
    """Print that a name which is taken for something else is also that of a file or folder here."""
    path = Path(name)
    if path.exists():
        what = "folder" if path.is_dir() else "file"
        print_once(
            f"`{kind}={name}` is {meant}, not the {what} `{_absolute(path)}`: for the {what} write "
            f"`{kind}=./{name}`"
        )


def _dataset(name: str, registry: Registry, origin: str) -> tuple[Place, str]:
    if name.startswith(HUB):
        if not HUB_ID.fullmatch(name.removeprefix(HUB).partition(":")[0]):
            raise ConfigError(
                f"`dataset` is `{name}` ({origin}): write `hub:owner/name` or "
                "`hub:owner/name:config`."
            )
        return "hub", name
    if name == FILES:
        _say_hidden(
            "dataset",
            name,
            "the files that `dataset.train`, `dataset.validation` and `dataset.test` name",
        )
        return "path", name
    path = expanded(name, f"`dataset` ({origin}):")
    if path.exists():
        return "path", _absolute(path)
    if _looks_like_path(name) or path.suffix.lower() in DATA_SUFFIXES:
        raise DataError(_no_such_file(name, path, origin))
    registry.find("dataset", name)
    raise DataError(_no_such_file(name, path, origin))


def _model(name: str, registry: Registry, origin: str) -> tuple[Place, str]:
    path = expanded(name, f"`model` ({origin}):")
    if path.is_dir():
        return "path", _absolute(path)
    if path.is_file():
        raise ModelError(
            f"`model` is the file `{name}` ({origin}): give the directory that holds it."
        )
    if HUB_ID.fullmatch(name):
        return "hub", name
    if ":" in name and not _looks_like_path(name):
        registry.find("model", name)
    raise ModelError(
        f"`model` is `{name}` ({origin}): no such directory, and not a Hub id "
        f"(`owner/name`).{did_you_mean(name, registry.names('model'))}"
    )


def _absolute(path: Path) -> str:
    """Return the path from the root, without `..` unless a symbolic link gives them another
    meaning; links keep their names.
    """
    short = os.path.abspath(path)  # noqa: PTH100 (`Path.resolve` would replace a link by its target, and lose the suffix)
    return short if Path(short).exists() and Path(short).samefile(path) else str(path.absolute())


def _looks_like_path(name: str) -> bool:
    return "/" in name or "\\" in name or name.startswith((".", "~"))


def _no_such_file(name: str, path: Path, origin: str) -> str:
    missing = f"dataset `{name}` ({origin}): there is no such file or folder"
    if not path.parent.is_dir():
        missing += f", and no folder `{path.parent}`"
        near = ""
    else:
        near = did_you_mean(path.name, sorted(entry.name for entry in path.parent.iterdir()))
    hub = (
        f" For the hub write `dataset=hub:{name}`."
        if HUB_ID.fullmatch(name) and name.count("/") == 1
        else ""
    )
    return f"{missing}.{near}{hub}"


def _unknown_option(
    kind: ComponentKind, name: str, option: str, known: list[str], settings: Mapping[str, Setting]
) -> str:
    setting = settings.get(f"{kind}.{option}")
    origin = f" ({setting.origin})" if setting is not None else ""
    same = [key for key in SECTION_KEYS if key.rpartition(".")[2] == option]
    if same:
        return (
            f"`{kind}.{option}`{origin}: {kind} `{name}` has no option `{option}`. Did you mean "
            f"`{same[0]}`?"
        )
    if not known:
        return f"`{kind}.{option}`{origin}: {kind} `{name}` takes no options. Leave it out."
    listed = ", ".join(f"`{word}`" for word in known)
    return (
        f"`{kind}.{option}`{origin}: {kind} `{name}` has no option "
        f"`{option}`.{did_you_mean(option, known)} It takes {listed}."
    )


def create_component(registry: Registry, kind: Kind, component: Component) -> Any:
    """Create a component with its options from the registry.

    Raises `UnknownComponentError`, `PluginError`, and `ConfigError` for a secret that is not known.
    """
    values, lost = unmasked({kind: component.options})
    if lost:
        raise ConfigError(
            f"`{lost[0]}` was stored as `{MASK}`, as all secrets are: the {kind} "
            f"`{component.name}` cannot be made without it."
        )
    options = registry.options_model(kind, component.name)
    return call_target(
        registry,
        kind,
        component.name,
        validated(options, values[kind], {}, f"{kind}.") if options is not None else None,
    )


def call_target(registry: Registry, kind: Kind, name: str, *arguments: object) -> Any:
    """Call the target of a component and return what it gives.

    Raises `PluginError` when it cannot be called.
    """
    target = registry.target(kind, name)
    if not callable(target):
        raise PluginError(
            f"the {kind} `{name}` of plugin {registry.find(kind, name).plugin.described}: its "
            "target is not callable."
        )
    return target(*arguments)
