"""Write `reference.md` from the code: `python docs/plugins/make_reference.py`."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import ftr.plugin
import ftr.testing
from ftr.registry import protocols, specs
from ftr.registry.discovery import HOOKS

PAGE = Path(__file__).with_name("reference.md")
INTRODUCTION = """\
# Reference for plugin authors

<!-- made by docs/plugins/make_reference.py; a test compares -->

Everything that a plugin imports of ftr is in `ftr.plugin`, and the conformance kit for its tests in `ftr.testing`. What is in `ftr.plugin` changes only
with a deprecation: the plugin loads, and one line names the plugin, what is deprecated, the release that removes it, and the replacement. Other
modules of ftr change without notice.
"""
EXAMPLES = {
    "Column": 'Column(name="text", aliases=("review", "comment"))',
    "ConfigError": """
        def rows(share: float = 0.5) -> list[Row]:
            if not 0 < share <= 1:
                raise ConfigError(f"`dataset.share` is {share}: it must be above 0 and at most 1.")
            return []
        """,
    "DataError": """
        def rows(folder: str = "data") -> list[Row]:
            if not Path(folder).is_dir():
                raise DataError(f"`{folder}` is no folder: set `dataset.folder`.")
            return []
        """,
    "DatasetSpec": """
        DatasetSpec(
            name="tickets",
            target="ftr_tickets:tickets",
            options="ftr_tickets:tickets",  # the parameters of the function
            columns=("text", "label"),
            summary="support tickets, urgent or calm",
        )
        """,
    "EncodeSettings": """
        class Lower(Head):
            columns = (Column(name="text"), Column(name="label", type="label"))

            def encode(self, rows, tokenizer, settings: EncodeSettings):
                texts = [text.lower() for text in rows["text"]]
                return super().encode({**rows, "text": texts}, tokenizer, settings)
        """,
    "Feature": """
        class Counting(Head):
            columns = (Column(name="text"), Column(name="label", type="label"))

            def collate(self, features: list[Feature], tokenizer):
                self.seen = sum(len(feature["input_ids"]) for feature in features)
                return super().collate(features, tokenizer)
        """,
    "Head": """
        class Similarity(Head):
            columns = (
                Column(name="text"),
                Column(name="text_pair"),
                Column(name="score", type="number"),
            )

            def reduce(self, outputs, features):
                return outputs["logits"].float().squeeze(-1).tolist()

            def predict(self, row, output, labels, state):
                return {"score": output}

            def compare(self, row, prediction):
                return prediction["score"], row["score"]
        """,
    "HeadSpec": 'HeadSpec(name="similarity-head", target="my_task:Similarity", summary="a number for a pair")',
    "MetricSpec": """
        def squared_error(predictions, references):
            pairs = zip(predictions, references, strict=True)
            return sum((one - other) ** 2 for one, other in pairs) / len(references)


        ERROR = MetricSpec(
            name="error", target="my_task:squared_error", mode="min", summary="squared error"
        )
        """,
    "Model": """
        class Shallow(Model):
            checkpoint = "minilm"

            def load(self, auto_class, **config):
                return super().load(auto_class, num_hidden_layers=4, **config)
        """,
    "ModelError": """
        class OnDisk(Model):
            def tokenizer(self):
                if not Path("weights").is_dir():
                    raise ModelError("there is no folder `weights`: run `make weights`.")
                return super().tokenizer()
        """,
    "ModelSpec": 'ModelSpec(name="shallow", target="my_task:Shallow", summary="four layers of MiniLM")',
    "Options": """
        class Focus(Options):
            focus: float = Field(0.0, ge=0, description="how much less easy texts count")


        HeadSpec(name="focal", target="my_task:Focal", options="my_task:Focus", summary="the focal loss")
        """,
    "Outcome": """
        Outcome(predicted="4 stars", expected="5 stars", error=1.0, confidence=0.61)
        """,
    "Prediction": """
        def predict(self, row: Row, output, labels, state: State) -> Prediction:
            return {"score": float(output)}
        """,
    "Row": """
        def check(self, row: Row) -> str | None:
            return None if row.get("text") else "empty text"
        """,
    "RowSchema": """
        RowSchema(
            columns=(
                Column(name="text"),
                Column(name="label", type="label"),
                Column(name="author", type="value"),
            ),
            stratify="label",
            group="author",
        )
        """,
    "State": """
        def calibrate(self, rows, records, labels) -> State:
            return {"threshold": 0.5}
        """,
    "TaskSpec": """
        TaskSpec(
            name="tickets",
            dataset="tickets",
            model="minilm",
            head="sequence-classification",
            metrics=("accuracy",),
            summary="tell urgent support tickets from calm ones",
            defaults={"epochs": 2},
            search_space={"learning_rate": "loguniform(5e-5,5e-4)"},
        )
        """,
    "additive": """
        def right(predictions, references):
            equal = [one == true for one, true in zip(predictions, references)]
            return {"right": equal, "rows": [1] * len(equal)}


        @additive(right, lambda sums: sums["right"] / sums["rows"], perfect=1.0)
        def share_right(predictions, references):
            return sum(right(predictions, references)["right"]) / len(references)
        """,
    "TrackerSpec": """
        TrackerSpec(
            name="notes",
            target="ftr_notes:Notes",
            needs="notes_client",
            install="notes-client>=2",
            summary="runs in a book of notes",
        )
        """,
    "Point": 'Point(step=10, time=1772360100.0, scores={"train/loss": 0.52})',
    "TrackedRun": """
        class Notes:
            resend = False

            def __init__(self, run: TrackedRun) -> None:
                self.id = run.known or run.name
        """,
    "hookimpl": """
        @hookimpl
        def ftr_models() -> list[ModelSpec]:
            return [ModelSpec(name="shallow", target="my_task:Shallow", summary="four layers of MiniLM")]
        """,
    "pad": """
        def collate(self, features, tokenizer):
            return pad(features, tokenizer)  # `input_ids`, `attention_mask`, `token_type_ids`
        """,
    "task": '''
        def right(predictions, references) -> float:
            return sum(map(eq, predictions, references)) / len(references)


        @task("tickets", metrics=[right, "f1"], defaults={"epochs": 2})
        def tickets(limit: int = 100) -> list[dict[str, str]]:
            """Tell urgent support tickets from calm ones."""
            return [{"text": "The server is down!", "label": "urgent"}][:limit]
        ''',
}
"""An example of each name of `ftr.plugin`; a test runs them."""
IMPORTS = {
    "Path(": "from pathlib import Path",
    "Field(": "from pydantic import Field",
    "map(eq": "from operator import eq",
}
PROTOCOLS = ("Dataset", "Model", "Head", "Abilities", "Metric", "Tracker")


def page() -> str:
    """Return the page as it should be."""
    parts = [INTRODUCTION, "## `ftr.plugin`\n"]
    for name in sorted(ftr.plugin.__all__, key=str.lower):
        parts += public(name)
    parts += [
        "## Hooks\n",
        "Each without arguments, marked with `@hookimpl`, in the module of the entry point.\n",
    ]
    parts += [
        f"- `{signature(name, getattr(specs, name))}`: {text(getattr(specs, name))}"
        for name in HOOKS
    ]
    parts += [
        "\n## Protocols\n",
        "What ftr calls. `Head` and `Model` of `ftr.plugin` have all of it; a class of your own needs no base class.\n",
    ]
    for name in PROTOCOLS:
        parts += described(getattr(protocols, name))
    parts += ["## The conformance kit\n", text(ftr.testing), ""]
    for name in sorted(name for name in dir(ftr.testing) if name.endswith("Conformance")):
        parts += checked(getattr(ftr.testing, name))
    blocks = re.split(r"(```.*?```)", "\n".join(parts), flags=re.DOTALL)
    blocks[::2] = [re.sub(r"\n{3,}", "\n\n", block) for block in blocks[::2]]
    return "".join(blocks).rstrip() + "\n"


def public(name: str) -> list[str]:
    """Return the section of a name of `ftr.plugin`, with its example."""
    thing = getattr(ftr.plugin, name)
    if name == "hookimpl":
        lines = ["### `hookimpl`\n", "Marks a function as one of the hooks below."]
    elif inspect.isclass(thing) and thing.__module__.startswith("ftr."):
        lines = described(thing)
    elif inspect.isfunction(thing):
        lines = [f"### `{name}`\n", f"`{signature(name, thing)}`\n", text(thing)]
    else:
        lines = [f"### `{name}`\n", f"`{typed(str(thing))}`: {ALIASES[name]}"]
    return [*lines, "", f'```python title="{name}"', example(name), "```\n"]


ALIASES = {
    "Feature": "what one pass of the model reads, from `encode` to `collate` and `reduce`.",
    "Prediction": "what a user gets for a row: plain values that JSON has, and the `id` of the row.",
    "Row": "the cells of a row by column; class ids in columns of the types `label` and `labels`.",
    "State": "what `calibrate` chose, in plain values; it is kept with the model.",
}


def example(name: str) -> str:
    """Return the example of a name, with its imports."""
    code = inspect.cleandoc(EXAMPLES[name])
    used = [other for other in ftr.plugin.__all__ if re.search(rf"\b{other}\b(?!=)", code)]
    found = [line for sign, line in IMPORTS.items() if sign in code]
    rest = "\n\n" if re.match(r"def |class |@", code) else "\n"
    joined = f"from ftr.plugin import {', '.join(used)}"
    return "\n".join([*found, *([""] if found else []), joined, rest + code])


def described(kind: type) -> list[str]:
    """Return the section of a spec, a protocol or another record."""
    lines = [f"### `{kind.__name__}`\n", text(kind), ""]
    if is_dataclass(kind):
        lines += ["| field | type | default |", "|---|---|---|"]
        lines += [
            f"| `{field.name}` | `{typed(field.type)}` | {default(field)} |"
            for field in fields(kind)
        ]
        lines.append("")
    for name, value in methods(kind):
        lines += [f"- `{signature(name, value)}`  ", f"  {text(value)}".replace("\n", "\n  ")]
    return [*lines, ""]


def checked(kind: type) -> list[str]:
    """Return the section of a conformance class: what it asks, one line a check."""
    lines = [f"### `{kind.__name__}`\n", text(kind), "", "It checks that", ""]
    names = dict.fromkeys(
        name for base in kind.__mro__ for name in vars(base) if name.startswith("test_")
    )
    lines += [f"- {name.removeprefix('test_').replace('_', ' ')}" for name in names]
    return [*lines, ""]


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods a class itself defines, in their order; of a protocol for functions
    the call.
    """
    for name, value in vars(kind).items():
        if inspect.isfunction(value) and (
            not name.startswith("_") or (name == "__call__" and not is_dataclass(kind))
        ):
            yield name, value


def signature(name: str, function: Any) -> str:
    """Return the head of a function as it is written, without `self`."""
    found = inspect.signature(function)
    kept = [parameter for parameter in found.parameters.values() if parameter.name != "self"]
    plain = re.sub(r"(: |-> )'([^']*)'", r"\1\2", f"{name}{found.replace(parameters=kept)}")
    return re.sub(r"collections\.abc\.|ftr\.specs\.", "", plain)


def typed(annotation: object) -> str:
    """Return an annotation as it is written."""
    written = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", str(annotation))
    )
    if not isinstance(annotation, str) and getattr(annotation, "__args__", None):
        written = str(annotation).replace("typing.", "").replace("collections.abc.", "")
    return written.replace("|", "\\|")


def default(field: Any) -> str:
    """Return the default of a field."""
    if field.default is not MISSING:
        return f"`{field.default!r}`"
    return "empty" if field.default_factory is not MISSING else "must be given"


def text(thing: object) -> str:
    """Return the docstring of a thing; of `ftr.plugin` without its code, which has an example."""
    written = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    if not getattr(thing, "__module__", "").startswith("ftr.plugin"):
        return written
    paragraphs = [
        part for part in written.split("\n\n") if not re.match(r" |class |`HeadSpec\(", part)
    ]
    return "\n\n".join(re.sub(r"\s[^.]*:$", "", part) for part in paragraphs)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
