"""Evaluation batch by batch: the same records as row by row, for every family and both heads,
padding or not.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn

from ftr.config.schema import PretrainedOptions
from ftr.model.dropout import register_cpu_attention
from ftr.model.pretrained import Pretrained
from ftr.registry.protocols import EncodeSettings
from ftr.runs.predictor import load
from ftr.testing.tiny import FAMILIES, Family, tiny_checkpoint
from ftr.train.inference import EncodedSplit, Engine, evaluating
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.extractive_qa.head import ExtractiveQAHead

if TYPE_CHECKING:
    from ftr.registry.protocols import Head, Row
    from ftr.runs.run import RunResult

CONTEXT = "the old mill was built by two brothers . "
ROWS: dict[str, list[dict[str, Any]]] = {
    "classification": [
        {"id": str(n), "text": "good film " * size, "label": 0}
        for n, size in enumerate((1, 30, 2, 9, 9, 17, 3, 1))
    ],
    "qa": [
        {"id": str(n), "question": "who built it ?", "context": CONTEXT * size, "answers": None}
        for n, size in enumerate((9, 1, 3, 5))
    ],
}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family: Family = request.param
    return tiny_checkpoint(family, tmp_path_factory.mktemp(family))


@pytest.fixture(params=list(ROWS))
def engine(request: pytest.FixtureRequest, folder: Path) -> Engine:
    """An engine with a model whose weights are large enough to tell rows apart."""
    source = Pretrained(str(folder), PretrainedOptions())
    if (source.settings.model_type, request.param) == ("eurobert", "qa"):
        pytest.skip("transformers has no question answering with EuroBERT")
    head: Head = (
        SequenceClassificationHead() if request.param == "classification" else ExtractiveQAHead()
    )
    model = head.build(source, ("x", "y", "z"), seed=0)
    model.set_attn_implementation(register_cpu_attention())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
    return Engine(model=model, head=head, tokenizer=source.tokenizer(), labels=("x", "y", "z"))


def rows_of(engine: Engine) -> list[dict[str, Any]]:
    """Return the rows of the engine's head."""
    return ROWS["classification" if isinstance(engine.head, SequenceClassificationHead) else "qa"]


def encoded(engine: Engine, rows: list[dict[str, Any]]) -> EncodedSplit:
    """Return rows with their features."""
    from datasets import Dataset

    settings = EncodeSettings(max_length=96, stride=12, labels=engine.labels, targets=False)
    columns = engine.head.encode(
        {name: [row[name] for row in rows] for name in rows[0]}, engine.tokenizer, settings
    )
    columns.pop("notes")
    columns["length"] = [len(ids) for ids in columns["input_ids"]]
    return EncodedSplit(
        Dataset.from_list([{"id": row["id"]} for row in rows]), Dataset.from_dict(columns)
    )


def logits(engine: Engine, split: EncodedSplit, features: list[int]) -> dict[str, torch.Tensor]:
    """Return what the model gives for a batch of features, padding cut off."""
    columns = split.features[features]
    items = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    with torch.no_grad(), evaluating(engine.model):
        outputs = engine.model(**engine.head.collate(items, engine.tokenizer))
    return {key: outputs[key] for key in ("logits", "start_logits", "end_logits") if key in outputs}


def test_the_logits_of_a_batch_are_those_of_its_rows_one_by_one(engine: Engine) -> None:
    split = encoded(engine, rows_of(engine))
    count = len(split.features)
    assert len(set(split.lengths.tolist())) > 2
    together = logits(engine, split, list(range(count)))
    for feature in range(count):
        for key, alone in logits(engine, split, [feature]).items():
            ours = together[key][feature]
            assert torch.allclose(
                ours if key == "logits" else ours[: alone.shape[1]], alone[0], atol=1e-5
            ), (key, feature)
    spread = next(iter(together.values()))
    assert (spread[0] - spread[1]).abs().max() > 1e-3


def same(one: Any, other: Any) -> bool:
    """Whether two records are the same but for rounding."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(value, other[key]) for key, value in one.items()
        )
    return np.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("batch", ["auto", 3, 1])
def test_records_stream_as_they_come_one_by_one(engine: Engine, batch: int | str) -> None:
    rows = rows_of(engine)
    split = encoded(engine, rows)
    told: list[int] = []
    streamed = Engine(
        model=engine.model,
        head=engine.head,
        tokenizer=engine.tokenizer,
        labels=engine.labels,
        eval_batch_size=batch,
    ).records(split, tick=told.append)
    alone = [engine.records(encoded(engine, [row]))[0] for row in rows]
    assert (
        [len(records) for records in streamed]
        == [len(records) for records in alone]
        == np.bincount(split.owners).tolist()
    )
    assert all(
        same(a, b)
        for ours, theirs in zip(streamed, alone, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    )
    assert told[-1] == len(split.features) and told == sorted(told)
    if batch == 3:
        assert max(np.diff([0, *told])) == 3
    given: list[Row] = list(rows)
    predictions = engine.decode(given, streamed, {})
    assert [one["id"] for one in predictions] == [row["id"] for row in rows]


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_drops_nothing_and_leaves_the_mode_as_it_was(
    engine: Engine, training: bool
) -> None:
    split = encoded(engine, rows_of(engine))
    engine.model.train(training)
    once, again = engine.records(split), engine.records(split)
    assert all(
        same(a, b)
        for one, two in zip(once, again, strict=True)
        for a, b in zip(one, two, strict=True)
    )
    assert engine.model.training is training


def test_the_mode_comes_back_after_an_error() -> None:
    model: Any = nn.Dropout(0.5)
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert model.training


def _targets(run: RunResult, split: str) -> tuple[Engine, EncodedSplit]:
    """Return the trained model of a run, and its rows encoded with targets."""
    from ftr.config.schema import RunConfig
    from ftr.model.components import encode_targets
    from ftr.registry.registry import get_registry

    config, predictor = RunConfig.model_validate(run.record["config"]), load(run.path)
    rows = Dataset.from_file(run.record["data"]["splits"][split]["rows"]).to_list()
    engine = predictor.engine
    return engine, EncodedSplit(
        *encode_targets(
            get_registry(), config, engine.head, engine.tokenizer, predictor.card, rows
        ).open()
    )


@pytest.mark.parametrize("kind", ["classifier", "reader"])
def test_the_loss_of_a_split_is_what_transformers_computes_whatever_the_batches(
    kind: str, request: pytest.FixtureRequest
) -> None:
    engine, split = _targets(request.getfixturevalue(kind), "validation")
    losses = []
    for row in split.features:
        # One at a time, for transformers takes the padding of a batch into the softmax over the
        # positions of an answer.
        inputs = engine.head.collate([row], engine.tokenizer)
        with torch.inference_mode():
            losses.append(float(engine.model(**inputs).loss))
    assert engine.loss(split) == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert replace(engine, eval_batch_size=3).loss(split) == pytest.approx(
        engine.loss(split), rel=1e-5
    )


def test_the_loss_of_a_head_without_row_losses_is_the_mean_of_its_terms(
    classifier: RunResult,
) -> None:
    engine, split = _targets(classifier, "validation")

    class Plain:
        def __getattr__(self, name: str) -> Any:
            if name in ("row_losses", "provides"):
                raise AttributeError(name)
            return getattr(engine.head, name)

    plain: Any = Plain()
    assert replace(engine, head=plain, eval_batch_size=5).loss(split) == pytest.approx(
        engine.loss(split), rel=1e-5
    )
