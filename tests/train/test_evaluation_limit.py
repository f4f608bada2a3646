"""What takes less memory and gives the same: activations computed again, and predictions in smaller
batches.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import ftr
from exhausted import recomputes
from ftr.errors import ConfigError, RunError
from ftr.testing.tiny import FAMILIES, Family, tiny_checkpoint
from ftr.train.hardware import EvaluationLimit, checkpoint_activations, is_out_of_memory
from stepping import Case

if TYPE_CHECKING:
    from ftr.runs.run import RunResult


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["classification", "qa"])
def test_activations_computed_again_change_nothing(
    family: Family, head: str, tmp_path: Path
) -> None:
    if (family, head) == ("eurobert", "qa"):
        pytest.skip("transformers has no question answering with EuroBERT")
    case = Case(head, tiny_checkpoint(family, tmp_path / family))
    if family == "mpnet":
        with pytest.raises(ConfigError, match=r"activation_checkpointing.*does not support it"):
            checkpoint_activations(case.model)
        return
    loss, gradients = case.whole()
    checkpoint_activations(case.model)
    again, repeated = case.whole()
    assert recomputes(case.model) and again == loss
    assert all(torch.equal(one, other) for one, other in zip(gradients, repeated, strict=True))


@pytest.mark.parametrize("most", [1, 5])
def test_predictions_with_little_memory_are_those_with_much(
    classifier: RunResult, most: int
) -> None:
    rows = [{"text": "good film " * (number % 7 + 1)} for number in range(23)]
    plain = ftr.load(classifier.path).predict(rows)
    tight = ftr.load(classifier.path)
    seen: list[int] = []

    def before(module: torch.nn.Module, args: Any, inputs: dict[str, Any]) -> None:
        seen.append(len(inputs["input_ids"]))
        if seen[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    tight.engine.model.register_forward_pre_hook(before, with_kwargs=True)
    got = tight.predict(rows)
    assert [one["id"] for one in got] == [one["id"] for one in plain]
    assert [one["score"] for one in got] == pytest.approx([one["score"] for one in plain], abs=1e-6)
    tries = len(seen)
    assert tight.engine.limit.times > 0
    tight.predict(rows)
    # Nothing is tried twice.
    assert all(rows <= most for rows in seen[tries:])


def test_one_row_that_cannot_be_predicted_is_said() -> None:
    with pytest.raises(
        RunError, match=r"out of memory in predicting one row of 48 tokens: lower `data.max_length`"
    ):
        EvaluationLimit().descend(1, 48, "auto")


def test_what_this_torch_says_when_memory_runs_out_is_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 50)
    assert is_out_of_memory(raised.value)
