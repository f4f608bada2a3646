"""Describe keys from their pydantic models: what `keys.json`, the documentation and help show."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ftr.config.components import file_options, head_schema, hub_options
from ftr.config.keys import SECTIONS
from ftr.config.known import BOOLEAN, SWEEP_GROUP, Key
from ftr.config.parse import COMPONENTS
from ftr.config.schema import PretrainedOptions, RunConfig, SweepConfig
from ftr.config.trainer import PASSED
from ftr.config.values import write_value
from ftr.errors import FtrError
from ftr.registry.registry import Registry

EXAMPLES = """
task=qa; dataset=reviews.csv; model=distilbert-base-uncased;
task=qa head=extractive-qa; learning_rate=3e-5;
metrics=accuracy,f1; batch_size=16; epochs=2; seed=1; init_seed=1; seeds=3;
ensemble=seeds ensemble_size=5; boosting=3; output=my-runs; tracker=mlflow,tensorboard;
plugins=./my_task.py; data.limit=2000; data.limit_validation=500; data.limit_test=500;
data.validation_size=0.2; data.test_size=0.2; data.seed=1; data.max_invalid=0.01;
data.clean=html,urls; data.stop_words=en; data.bootstrap=0; data.max_length=256; data.stride=32;
data.cache=/tmp/ftr-cache; data.augment.delete=0.1 data.augment.copies=2; data.augment.delete=0.1;
data.augment.swap=0.1; data.augment.replace=0.1; data.augment.insert=0.1;
train.freeze=backbone; train.freeze=backbone train.unfreeze=2;
train.freeze=backbone train.unfreeze=1 train.frozen_epochs=2;
train.layerwise_decay=0.9; train.warmup=0.06; train.weight_decay=0.1; train.max_grad_norm=0.5;
train.label_smoothing=0.1; train.class_weights=auto; train.ema=0.999; train.evaluate_every=500;
train.early_stopping_patience=2; train.precision=bf16; train.attention=sdpa; train.dropout=0.2;
train.attention_dropout=0; train.micro_batch_size=4; train.eval_batch_size=64;
train.logging_steps=50; train.save_steps=200; train.save_total_limit=1; train.lora.rank=8;
train.lora.rank=8 train.lora.alpha=16; train.lora.rank=8 train.lora.dropout=0.05;
train.lora.rank=8 train.lora.targets=query,value; train.lora.rank=8 train.lora.merge=true;
compute.workers=2; compute.cpus=4; compute.gpus=1; compute.memory=8;
'compute.resources={tpu_host: 1}'; compute.retries=0; compute.address=auto;
compute.storage=s3://bucket/runs; cv.folds=5; cv.folds=5 cv.fold=0; trials=20; time_budget=2h;
max_total_epochs=60; min_gain=0.002; grace_period=0.5; reduction_factor=2; repeats=3;
metric=accuracy; max_concurrent=2; keep_models=5; dataset.train=train.csv;
dataset.validation=dev.csv; dataset.test=test.csv; dataset.labels_file=labels.txt;
dataset.encoding=latin-1; dataset.delimiter=tab; dataset.header=false; dataset.id=0;
dataset.config=plain_text; dataset.revision=main; dataset.text=review; dataset.label=stars;
dataset.separator=space; dataset.tokens=words; dataset.tags=ner_tags; dataset.question=query;
dataset.context=passage; dataset.answers=answer; dataset.answer_start=start; dataset.title=page;
dataset.text_pair=sentence2; dataset.score=similarity; 'dataset.labels=[toxic,rude]';
model.revision=main; head.threshold=0.5; head.dropout=0.2
"""
"""Words of a command line, with the key as the last; other keys get theirs from their type."""
_TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": BOOLEAN,
    "array": "list",
    "object": "mapping",
    "null": "null",
}
_FIRST_OPTIONS = ("dataset.text", "dataset.label", "dataset.id")
"""What people set first of a dataset, before other columns and how files are read."""
_FIRST_VERSION = "0.1.0"


def _given_examples() -> dict[str, str]:
    entries = (" ".join(entry.split()) for entry in EXAMPLES.split(";"))
    return {entry.split("=")[-2].split()[-1].strip("'"): entry for entry in entries}


_GIVEN = _given_examples()


def run_keys() -> Iterator[Key]:
    """Yield the keys of a run, group by group."""
    yield from model_keys(RunConfig)
    for group, section in SECTIONS.items():
        yield from model_keys(section, group)


def sweep_keys() -> Iterator[Key]:
    """Yield the keys that only a sweep has."""
    yield from model_keys(SweepConfig, SWEEP_GROUP, prefix="")


def group_summaries() -> dict[str, str]:
    """Return each group and what it is about."""
    found = {
        kind: _one_line(RunConfig.model_fields[kind].description)
        for kind in (*COMPONENTS, "trainer")
    }
    for group, section in SECTIONS.items():
        # The docstring of a section is `group.*`: what it is.
        summary = _one_line(section.__doc__).partition(": ")[2]
        found[group] = summary[:1].upper() + summary[1:]
    return {**found, SWEEP_GROUP: "The keys of `ftr sweep` besides those of a run."}


def component_keys(registry: Registry) -> Iterator[Key]:
    """Yield the options of files, Hub datasets and pretrained models, and of all registered
    components. Those of a component that cannot be loaded are left out.
    """
    yield from _column_keys(registry)
    yield from model_keys(PretrainedOptions, "model", of="every pretrained model")
    for kind in COMPONENTS:
        for entry in registry.all(kind):
            try:
                model = registry.options_model(kind, entry.qualified)
            except FtrError:
                continue
            if isinstance(model, type) and model is not PretrainedOptions:
                yield from model_keys(model, kind, of=f"{kind} `{entry.short_name}`")


def _column_keys(registry: Registry) -> Iterator[Key]:
    """Yield the options of files and Hub datasets, each with the heads that read such a column."""
    found: dict[Key, tuple[dict[str, None], dict[str, None]]] = {}
    for entry in registry.all("head"):
        try:
            model = registry.options_model("head", entry.qualified)
            schema = head_schema(entry.qualified, model() if model else None, registry)
        except (FtrError, ValueError):
            continue
        for source, options in (
            ("files", file_options(schema)),
            ("Hub datasets", hub_options(schema)),
        ):
            for key in model_keys(options, "dataset"):
                sources, heads = found.setdefault(key, ({}, {}))
                sources[source] = heads[entry.short_name] = None
    every = max((len(heads) for _, heads in found.values()), default=0)

    def place(entry: tuple[Key, tuple[dict[str, None], dict[str, None]]]) -> tuple[int, bool]:
        key, (_, heads) = entry
        order = (*_FIRST_OPTIONS, key.name)
        return order.index(key.name), len(heads) == every

    for key, (sources, heads) in sorted(found.items(), key=place):
        of = " and ".join(sources)
        if len(heads) < every:
            of += f", for head {', '.join(f'`{name}`' for name in heads)}"
        yield replace(key, of=of)


def model_keys(
    model: type[BaseModel], group: str = "", *, prefix: str | None = None, of: str = ""
) -> Iterator[Key]:
    """Yield the keys of a model that are not groups; `prefix` is that of the group."""
    prefix = prefix if prefix is not None else f"{group}." if group else ""
    schema = model.model_json_schema(by_alias=True)
    for name, field in model.model_fields.items():
        written = field.alias or name
        key = f"{prefix}{written}"
        if key in SECTIONS or key == "trainer":
            continue
        described = schema["properties"][written]
        kind, choices, limits = _read(described, schema.get("$defs", {}))
        default = _default(written, field)
        yield Key(
            name=key,
            type="name or path" if key in COMPONENTS else kind,
            range=limits,
            choices=choices,
            default=default,
            description=_one_line(field.description),
            example=_example(key, field, choices, default),
            since=str(_extra(field).get("since", _FIRST_VERSION)),
            group=group,
            of=of,
        )


def as_json(registry: Registry) -> str:
    """Return the text of `keys.json`, with the options of the components in `registry`."""
    parts = {
        "keys": [*run_keys(), *sweep_keys()],
        "options": list(component_keys(registry)),
    }
    lines = [
        f'"groups": {json.dumps(group_summaries(), ensure_ascii=False, indent=1)}',
        f'"trainer": {json.dumps(sorted(PASSED))}',
    ]
    for name, found in parts.items():
        rows = ",\n".join(json.dumps(key_data(key), ensure_ascii=False) for key in found)
        lines.append(f'"{name}": [\n{rows}\n]')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def key_data(key: Key) -> dict[str, object]:
    """Return what is known of a key as plain data, without what it does not have."""
    values = {name: getattr(key, name) for name in Key.__slots__}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value or name == "default"
    }


def _read(
    schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> tuple[str, tuple[str, ...], str]:
    """Return the type of a JSON Schema, its choices and its range, as text."""
    if "$ref" in schema:
        return _read(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        parts = [_read(part, definitions) for part in schema["anyOf"]]
        kinds = dict.fromkeys(kind for kind, _, _ in parts)
        choices = tuple(choice for _, some, _ in parts for choice in some)
        return " or ".join(kinds), choices, next(filter(None, (part[2] for part in parts)), "")
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values:
        return "choice", tuple(map(str, values)), ""
    kind = schema.get("type", "any value")
    if kind == "array":
        inner = schema.get("items", {})
        return "list", tuple(map(str, inner.get("enum", ()))), ""
    choices = ("true", "false") if kind == "boolean" else ()
    written = "time" if schema.get("format") == "duration" else _TYPES.get(kind, kind)
    return written, choices, _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if "minimum" in schema and "maximum" in schema:
        return f"{low} to {high}"
    parts = []
    if low is not None:
        parts.append(f"{low} or more" if "minimum" in schema else f"above {low}")
    if high is not None:
        shown = "2^32" if high == 2**32 else write_value(high).removesuffix(".0")
        parts.append(f"at most {shown}" if "maximum" in schema else f"below {shown}")
    return ", ".join(parts)


def _default(name: str, field: FieldInfo) -> str | None:
    """Return the default as one would type it; None: from the task."""
    if field.is_required():
        return None
    return write_value(field.get_default(call_default_factory=True))


def _example(key: str, field: FieldInfo, choices: tuple[str, ...], default: str | None) -> str:
    if field.examples:
        return f"{key}={write_value(field.examples[0])}"
    if key in _GIVEN:
        return _GIVEN[key]
    other = next((choice for choice in choices if choice not in (default, "auto")), None)
    value = other or (default if default not in (None, "null", "[]", "{}") else None)
    return f"{key}={value}" if value is not None else ""


def _extra(field: FieldInfo) -> Mapping[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
