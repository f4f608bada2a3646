"""A batch of features on a tiny model that drops nothing, and a trainer that is ready for single
steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch  # noqa: TID253 - the tests that import this train

from ftr.config.schema import Component, PretrainedOptions, RunConfig
from ftr.model.pretrained import Pretrained
from ftr.progress import ProgressLine
from ftr.registry.protocols import EncodeSettings
from ftr.train.batches import BatchPlan, Shard
from ftr.train.checkpoint_manager import CheckpointManager
from ftr.train.hardware import Ladder
from ftr.train.loader import Steps
from ftr.train.progress import Interrupt, Meter
from ftr.train.steps import Objective
from ftr.train.trainer import StepTrainer
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.extractive_qa.head import ExtractiveQAHead
from ftr_plugins.extractive_qa.options import ExtractiveQAOptions

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftr.registry.protocols import Head

BATCH = 11
CONTEXT = "the old mill was built by two brothers . "
QA_ROWS: dict[str, list[Any]] = {
    "id": ["a", "b", "c"],
    "question": ["who built the mill ?", "when ?", "who ?"],
    "context": [CONTEXT * 9, CONTEXT, CONTEXT * 4],
    "answers": [
        {"text": ["two brothers"], "answer_start": [26]},
        {"text": [], "answer_start": []},
        {"text": ["mill"], "answer_start": [8]},
    ],
}
TEXT_ROWS: dict[str, list[Any]] = {
    "text": [" ".join(["good"] * n) for n in (1, 30, 2, 2, 9, 40, 17, 3, 5, 5, 12)],
    "label": [0, 1, 2, 0, 1, 1, 0, 2, 2, 0, 1],
}


class Case:
    """A head with a batch of eleven features on a tiny BERT that drops nothing."""

    def __init__(self, name: str, folder: Path) -> None:
        from datasets import Dataset

        source = Pretrained(str(folder), PretrainedOptions())
        source.attention_dropout = 0.0
        if source.settings.model_type not in ("eurobert", "qwen3"):  # which have no other
            source.dropout = 0.0
        self.tokenizer: PreTrainedTokenizerBase = source.tokenizer()
        self.head: Head = (
            SequenceClassificationHead()
            if name == "classification"
            else ExtractiveQAHead(ExtractiveQAOptions(max_question_length=16))
        )
        rows: dict[str, list[Any]] = TEXT_ROWS if name == "classification" else QA_ROWS
        settings = EncodeSettings(max_length=48, stride=12, labels=("x", "y", "z"))
        columns = self.head.encode(rows, self.tokenizer, settings)
        columns.pop("notes")
        self.features: Dataset = Dataset.from_dict(columns)
        self.lengths = np.array([len(ids) for ids in columns["input_ids"]], dtype=np.int64)
        self.model: PreTrainedModel = self.head.build(source, ("x", "y", "z"), seed=0).train()
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):  # that of a head is its own
                module.p = 0.0

    def steps(
        self,
        limit: int = 1000,
        tokens: int | None = None,
        batch: int = BATCH,
        share: Shard | None = None,
        weights: Any = None,
    ) -> Steps:
        """Return the steps of the features."""
        return Steps(
            self.features,
            BatchPlan(self.lengths, batch, 0),
            share or Shard(),
            self.head,
            self.tokenizer,
            limit,
            tokens,
            weights,
        )

    def inputs(self, extra: int = 0) -> dict[str, torch.Tensor]:
        """Return one batch of all features, in their order, padded to `extra` tokens more than the
        longest.
        """
        columns = self.features.to_dict()
        items = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        batch = self.head.collate(items, self.tokenizer)
        widths = {key: (0, extra) for key, value in batch.items() if value.dim() == 2}
        return {
            key: torch.nn.functional.pad(value, widths[key]) if key in widths else value
            for key, value in batch.items()
        }

    def whole(self) -> tuple[float, list[torch.Tensor]]:
        """Return loss and gradients of one batch of all features, as plain torch computes them."""
        self.model.zero_grad()
        batch = self.inputs()
        outputs = self.model(**batch)
        loss = self.head.loss(outputs, batch)
        loss = outputs.loss if loss is None else loss
        loss.backward()
        return loss.item(), self.gradients()

    def gradients(self) -> list[torch.Tensor]:
        """Return a copy of every gradient."""
        return [p.grad.clone() for p in self.model.parameters() if p.grad is not None]


def trainer_of(
    case: Case, steps: Steps, folder: Path, smoothing: float = 0.0, ladder: Ladder | None = None
) -> StepTrainer:
    """Return a trainer that is ready for `training_step`."""
    from transformers import TrainingArguments

    args = TrainingArguments(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    config = RunConfig(
        dataset=Component(name="d"),
        model=Component(name="m"),
        head=Component(name="h"),
        metrics=("accuracy",),
    )
    return StepTrainer(
        model=case.model,
        args=args,
        steps=steps,
        evaluate=None,
        meter=Meter(steps=len(steps), epochs=1),
        checkpoints=CheckpointManager(folder, config, {}, 0, 1, print),
        interrupt=Interrupt(),
        line=ProgressLine(enabled=False),
        record=lambda entry: None,
        objective=Objective(case.head, smoothing),
        ladder=ladder or Ladder(steps.limit, steps.token_limit),
    )
