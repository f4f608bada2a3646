"""A head with rows and a model to try it on: features, batches, outputs, records and predictions,
as a training makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftr.plugin import Head as Base
from ftr.registry.protocols import EncodeSettings
from ftr.testing.contract import broken, must_work
from ftr.testing.subjects.component import Component
from ftr.testing.subjects.rows import canonical, texts

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils.generic import ModelOutput

    from ftr.registry.protocols import Feature, Head, Model, Prediction, Row, State
    from ftr.registry.registry import Registry
    from ftr.registry.schema import Column
    from ftr.testing.tiny import TinyModels

LONGEST = 64
SHARED = 8
"""One in so many tokens is shared by neighbouring windows, where nothing else is asked for."""


class HeadSubject:
    """A head, a few canonical rows with class ids, the class names, and a pretrained model."""

    def __init__(
        self,
        component: Component,
        head: Head,
        rows: Sequence[Row],
        labels: tuple[str, ...],
        source: Model,
        lengths: tuple[int, int] = (LONGEST, LONGEST // SHARED),
    ) -> None:
        """`lengths` are `max_length` and `stride`. Nothing is encoded or built yet."""
        self.component, self.head, self.rows, self.labels, self.source = (
            component,
            head,
            list(rows),
            labels,
            source,
        )
        self.max_length, self.stride = lengths

    @classmethod
    def of(
        cls,
        registry: Registry,
        name: str,
        options: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        labels: Sequence[str],
        models: TinyModels,
        family: str,
    ) -> HeadSubject:
        """Make the head `name` and try it on `rows` with a tiny model of `family`."""
        from ftr.model.pretrained import Pretrained

        component = Component(registry, "head", name, options)
        head: Head = component.make()
        prepared, found = canonical(head, rows, labels, component)
        return cls(
            component, head, prepared, found, Pretrained(str(models.knowing(family, texts(rows))))
        )

    def __str__(self) -> str:
        return str(self.component)

    def advice(self, method: str, text: str) -> str:
        """Return what to change, with the method of the class in which to change it.

        A method that is inherited from `ftr.plugin.Head` has to be overridden.
        """
        kind = type(self.head)
        inherited = getattr(kind, method, None) is getattr(Base, method, ...)
        return f"{'override' if inherited else 'in'} `{kind.__name__}.{method}`: {text}"

    @property
    def answers(self) -> str:
        """The method that says what is predicted: `predict` where `decode` is the usual one."""
        kind = type(self.head)
        usual = issubclass(kind, Base) and kind.decode is Base.decode
        several = len(self.features(targets=False)) > len(self.rows)
        return "predict" if usual and not several else "decode"

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the model."""
        return self.source.tokenizer()

    @cached_property
    def model(self) -> PreTrainedModel:
        """The model as it is before training, in evaluation mode; not to be changed."""
        return self.build()

    @cached_property
    def learned(self) -> Learned:
        """A model that was trained on these rows until it knew them by heart."""
        return learn(self)

    def build(self, seed: int = 0, source: Model | None = None) -> PreTrainedModel:
        """Build the model anew, in evaluation mode."""
        from transformers import PreTrainedModel

        promise = (
            f"`build` of {self} returns a `transformers.PreTrainedModel` on the pretrained weights"
        )
        change = "return `model.load(AutoModelFor..., num_labels=len(labels), ...)`"
        if isinstance(self.head, Base):
            change += ", or set `auto_class` to a class of transformers"
        with must_work(promise, self.advice("build", change)):
            built = self.head.build(source or self.source, self.labels, seed)
        if not isinstance(built, PreTrainedModel):
            broken(
                promise,
                f"it returned a `{type(built).__name__}`",
                self.advice(
                    "build", "derive the model from `PreTrainedModel`: it is saved as a checkpoint"
                ),
            )
        return built.eval()

    def encode(
        self,
        rows: Sequence[Row] | None = None,
        *,
        targets: bool = True,
        max_length: int | None = None,
    ) -> dict[str, list[Any]]:
        """Return columns of features of `rows` (default: all), `notes` included; fails the check
        when they are no columns.
        """
        given = self.rows if rows is None else rows
        length = max_length or self.max_length
        settings = EncodeSettings(
            max_length=length,
            stride=self.stride if length == self.max_length else length // SHARED,
            labels=self.labels,
            targets=targets,
        )
        names = list(dict.fromkeys(name for row in given for name in row))
        promise = (
            f"`encode` of {self} returns columns of equal length, among them `input_ids` and `row`"
        )
        change = "let it take rows that have passed `check`"
        change += "" if targets else ", without the columns to be learned"
        with must_work(promise, self.advice("encode", change)):
            columns = dict(
                self.head.encode(
                    {name: [row.get(name) for row in given] for name in names},
                    self.tokenizer,
                    settings,
                )
            )
        lengths = {name: len(column) for name, column in columns.items()}
        if not {"input_ids", "row"} <= columns.keys() or len(set(lengths.values())) > 1:
            listed = ", ".join(f"`{name}` ({count})" for name, count in lengths.items())
            broken(
                promise,
                f"{listed or 'nothing'}, for {len(given)} rows",
                self.advice(
                    "encode", "add what is missing: one value in each column for each feature"
                ),
            )
        return columns

    def features(self, rows: Sequence[Row] | None = None, *, targets: bool = True) -> list[Feature]:
        """Return the features of `rows` as they come back from the files that encoded rows are kept
        in.
        """
        import pyarrow as pa

        columns = self.encode(rows, targets=targets)
        columns.pop("notes", None)
        change = "give lists of numbers, strings, or lists of these, of one type in a column"
        with must_work(
            f"the columns that `encode` of {self} returns can be kept in Arrow files",
            self.advice("encode", change),
        ):
            kept: list[Feature] = pa.table(
                {**columns, "length": [len(ids) for ids in columns["input_ids"]]}
            ).to_pylist()
        return kept

    def batch(self, features: Sequence[Feature]) -> dict[str, Tensor]:
        """Collate features."""
        promise = f"`collate` of {self} pads features to a dict of tensors"
        change = (
            "start from `ftr.plugin.pad` and add the columns for the loss where the features have "
            "them"
        )
        with must_work(promise, self.advice("collate", change)):
            return dict(self.head.collate(features, self.tokenizer))

    def ask(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> ModelOutput:
        """Run the model on a batch, as evaluation does."""
        import torch

        with torch.inference_mode():
            return self.forward(model, inputs)

    def forward(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> ModelOutput:
        """Run the model on a batch, with gradients."""
        promise = f"what `collate` of {self} returns is what the model's `forward` takes"
        with must_work(promise, self.advice("collate", "return exactly its keyword arguments")):
            outputs: ModelOutput = model(**inputs)
        return outputs

    def loss(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch: the head's, or the model's own."""
        outputs = self.forward(model, inputs)
        promise = (
            f"`loss` of {self} returns the mean loss of a batch, or None where the model's own is "
            "meant"
        )
        with must_work(promise, self.advice("loss", "return a scalar tensor")):
            own = self.head.loss(outputs, inputs)
            found = outputs.get("loss") if own is None else own
        if found is None or getattr(found, "shape", None) != ():
            what = (
                "None, and the model gave no loss"
                if found is None
                else f"a `{type(found).__name__}` of shape {getattr(found, 'shape', '?')}"
            )
            broken(
                promise,
                what,
                self.advice(
                    "loss",
                    "return a scalar tensor, or let `collate` hand the model the columns its own "
                    "loss needs",
                ),
            )
        loss: Tensor = found
        return loss

    def records(self, model: PreTrainedModel, features: Sequence[Feature]) -> list[Any]:
        """Return what `reduce` keeps of features in one batch."""
        outputs = self.ask(model, self.batch(features))
        promise = f"`reduce` of {self} returns one record for each feature, in order"
        change = "turn the outputs of each feature into one small record"
        with must_work(promise, self.advice("reduce", change)):
            records = list(self.head.reduce(outputs, features))
        if len(records) != len(features):
            broken(
                promise,
                f"{len(records)} records for {len(features)} features",
                self.advice("reduce", "return as many records as there are features"),
            )
        return records

    def grouped(self, model: PreTrainedModel) -> list[list[Any]]:
        """Return the records of each row, as evaluation groups them."""
        features = self.features(targets=False)
        groups: list[list[Any]] = [[] for _ in self.rows]
        for feature, record in zip(features, self.records(model, features), strict=True):
            groups[feature["row"]].append(record)
        return groups

    def decode(self, records: Sequence[Sequence[Any]], state: State) -> list[Prediction]:
        """Turn the records of each row into its prediction."""
        promise = f"`decode` of {self} turns the records of one row into its prediction"
        change = "let it take any number of records from one on, and a `state` that is empty"
        with must_work(promise, self.advice(self.answers, change)):
            return [
                self.head.decode(row, kept, state, self.labels)
                for row, kept in zip(self.rows, records, strict=True)
            ]

    def calibrate(self, records: Sequence[Sequence[Any]]) -> State:
        """Let the head choose what is set on validation rows."""
        with must_work(
            f"`calibrate` of {self} returns a dict of what it chose",
            self.advice("calibrate", "return `{}` when nothing is chosen"),
        ):
            return self.head.calibrate(self.rows, records, self.labels)


STEPS = 200
SMALL = 1_000_000
"""Parameters of a model that takes a high learning rate."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained model, its loss before and after, and what it answers to the rows it was trained
    on.
    """

    model: PreTrainedModel
    before: float
    after: float
    state: State
    predictions: list[Prediction]


def learn(subject: HeadSubject) -> Learned:
    """Train on all rows of a subject, as one batch without dropout, until the loss is a hundredth
    or `STEPS` are done.
    """
    import torch

    model = subject.build()
    features = subject.features()
    size = sum(parameter.numel() for parameter in model.parameters())
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=5e-3 if size < SMALL else 3e-4, weight_decay=0.0
    )
    losses: list[float] = []
    for _ in range(STEPS):
        loss = subject.loss(model, subject.batch(features))
        losses.append(float(loss.detach()))
        if losses[-1] <= losses[0] / 100 or losses[-1] != losses[-1]:
            break
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    records = subject.grouped(model)
    state = subject.calibrate(records)
    return Learned(model, losses[0], losses[-1], state, subject.decode(records, state))


def told(
    pairs: Sequence[tuple[Row, Prediction]], column: Column, labels: tuple[str, ...]
) -> list[bool] | None:
    """Return of each row and its prediction whether that says what stands in the column; None: its
    form does not show it.

    Looked for are class names (or ids, where there are no names), lists of them, an answer's text,
    and a number no farther off than a fifth of the distance between the smallest and the largest
    that is to be learned.
    """
    cells = [row[column.name] for row, _ in pairs]
    spread = max(cells) - min(cells) if column.type == "number" else 0.0
    found = [
        _tells(
            [value for key, value in prediction.items() if key != "id"],
            cell,
            column,
            labels,
            spread,
        )
        for (_, prediction), cell in zip(pairs, cells, strict=True)
    ]
    return None if None in found else [bool(one) for one in found]


def _tells(
    values: list[Any], cell: Any, column: Column, labels: tuple[str, ...], spread: float
) -> bool | None:
    if column.type == "label":
        return _one_of(values, cell, labels)
    if column.type == "labels":
        names = [labels[number] for number in cell]
        lists = [
            list(value)
            for value in values
            if isinstance(value, list | tuple) and all(item in labels for item in value)
        ]
        # A set has no order, and names nothing twice; the classes of tokens have one.
        return (
            any(
                one == names or (len(set(names)) == len(names) and set(one) == set(names))
                for one in lists
            )
            if lists
            else None
        )
    if column.type == "number":
        numbers = [
            value
            for value in values
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        return any(abs(number - cell) <= spread / 5 for number in numbers) if numbers else None
    if column.type == "answers":
        strings = [value for value in values if isinstance(value, str)]
        return any(text in strings for text in cell["text"] or [""]) if strings else None
    return None


def _one_of(values: list[Any], number: int, labels: tuple[str, ...]) -> bool | None:
    names = [value for value in values if isinstance(value, str) and value in labels]
    if names:
        return names[0] == labels[number]
    numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    return number in numbers if numbers else None
