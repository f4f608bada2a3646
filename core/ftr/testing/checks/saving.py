"""Checks of a model that was saved: it answers as before, and plain transformers reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftr.testing.alike import difference
from ftr.testing.contract import Conformance, must_work, require
from ftr.testing.subjects import HeadSubject


class SavingChecks(Conformance):
    """What must hold of a checkpoint."""

    def test_a_saved_model_answers_as_before(self, ftr_head: HeadSubject, tmp_path: Path) -> None:
        from ftr.model.pretrained import Pretrained

        learned = ftr_head.learned
        folder = _saved(ftr_head, tmp_path)
        promise = (
            f"a model of {ftr_head} that was saved and loaded through `build` predicts what it did"
        )
        change = "let it take a trained checkpoint too: `ftr.load` calls it with one"
        with must_work(promise, ftr_head.advice("build", change)):
            again = ftr_head.build(1, Pretrained(str(folder), complete=True))
        differs = difference(
            learned.predictions, ftr_head.decode(ftr_head.grouped(again), learned.state)
        )
        require(
            differs is None,
            promise,
            f"predictions differ: {differs}",
            ftr_head.advice(
                "build",
                "keep all weights in the model, all settings in its config, and initialise in "
                "`build` nothing that the checkpoint has",
            ),
        )

    def test_a_saved_model_is_a_plain_checkpoint(
        self, ftr_head: HeadSubject, tmp_path: Path
    ) -> None:
        import torch

        model = ftr_head.learned.model
        folder = _saved(ftr_head, tmp_path)
        kind = type(model)
        promise = (
            f"plain transformers reads a saved model of {ftr_head}: weights, tokenizer and class "
            "names"
        )
        if not kind.__module__.startswith("transformers."):
            pytest.skip(f"its model is a class of its own, `{kind.__module__}:{kind.__qualname__}`")
        change = ftr_head.advice("build", "keep all that it needs in its weights and its config")
        with must_work(promise, change):
            plain = kind.from_pretrained(folder).eval()
        classes = ftr_head.head.schema.classes
        if classes is not None and ftr_head.labels:
            names = tuple(
                plain.config.id2label.get(number) for number in range(len(ftr_head.labels))
            )
            require(
                names == ftr_head.labels and len(plain.config.id2label) == len(ftr_head.labels),
                promise,
                f"`id2label` of its config is {plain.config.id2label}, the classes are "
                f"{list(ftr_head.labels)}",
                ftr_head.advice(
                    "build",
                    "give `num_labels`, `id2label=dict(enumerate(labels))` and `label2id` to "
                    "`model.load`",
                ),
            )
        # One by one: what a kernel makes of padding is its own.
        for feature in ftr_head.features(targets=False):
            inputs = ftr_head.batch([feature])
            again = ftr_head.ask(plain, inputs)
            for name, value in ftr_head.ask(model, inputs).items():
                if isinstance(value, torch.Tensor):
                    apart = float((value - again[name]).abs().max())
                    require(
                        apart < 1e-4,
                        promise,
                        f"`{name}` is {apart:.3g} apart",
                        change,
                    )


def _saved(subject: HeadSubject, folder: Path) -> Path:
    with must_work(
        f"a model of {subject} is saved as a checkpoint",
        subject.advice(
            "build", "derive it from `PreTrainedModel`, without weights that share memory unsaid"
        ),
    ):
        subject.learned.model.save_pretrained(folder)
        subject.tokenizer.save_pretrained(folder)
    return folder
