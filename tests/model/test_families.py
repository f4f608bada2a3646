"""Every family of models with every built-in task: trained, saved, read by plain transformers,
evaluated again; or refused by name before anything is encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import ftr
from ftr.errors import ModelError
from ftr.model.pretrained import Pretrained
from ftr.registry.registry import get_registry
from ftr.runs.evaluate import evaluate
from ftr.testing.alike import difference
from ftr.testing.tiny import FAMILIES, Family, tiny_checkpoint, tiny_config, tiny_tokenizer
from trainings import losses, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

TASKS = [entry.spec.name for entry in get_registry().all("task") if entry.plugin.builtin]
QUICK = {
    "epochs": 20,
    "batch_size": 8,
    "learning_rate": 5e-3,
    "data.limit": 16,
    "train.evaluate_every": 40,
    "data.limit_validation": 8,
    "data.limit_test": 8,
    "data.max_length": 96,
    "data.stride": 16,
    "train.precision": "fp32",
    "train.logging_steps": 1,
    "train.eval_on_start": False,
    "baselines": False,
}
OF_TASK: dict[str, dict[str, Any]] = {"qa": {"epochs": 3}}
"""Many windows of a row are as many steps."""
LACKS = {("eurobert", "qa"): "`AutoModelForQuestionAnswering`"}
"""What transformers has no class for."""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> checkpoint as it is on the Hub: a language model."""
    folder = tmp_path_factory.mktemp("pretrained")
    return {family: language_model(family, folder / family) for family in FAMILIES}


def language_model(family: Family, folder: Path) -> Path:
    """Save a tiny language model of a family and return its folder."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    tokenizer = tiny_tokenizer(family)
    auto = AutoModelForCausalLM if family in ("gpt2", "qwen3") else AutoModelForMaskedLM
    settings = tiny_config(family, len(tokenizer))
    # With smaller weights positions and padding hardly show in the outputs, and a classifier learns
    # nothing in a few steps.
    settings.initializer_range = 0.1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        auto.from_config(settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def heldout_rows(run: RunResult) -> list[dict[str, Any]]:
    from datasets import Dataset

    rows: list[dict[str, Any]] = Dataset.from_file(
        run.record["data"]["splits"][run.record["heldout"]]["rows"]
    ).to_list()
    return rows


def outputs(model: torch.nn.Module, batches: Sequence[dict[str, Any]]) -> list[torch.Tensor]:
    """Return all that a model gives for each batch, as one tensor each."""
    with torch.inference_mode():
        found = [model.eval()(**batch) for batch in batches]
    return [
        torch.cat([one[name].flatten() for name in one if torch.is_tensor(one[name])])
        for one in found
    ]


def check_plain(run: RunResult) -> None:
    """Check that plain transformers gives the logits of the run's model, for rows without
    padding.
    """
    from ftr.registry.protocols import EncodeSettings

    predictor = ftr.load(run.path)
    head, model, tokenizer = predictor.head, predictor.engine.model, predictor.engine.tokenizer
    rows = heldout_rows(run)
    columns = head.encode(
        {name: [row[name] for row in rows] for name in rows[0]},
        tokenizer,
        EncodeSettings(max_length=96, stride=16, labels=predictor.engine.labels, targets=False),
    )
    columns.pop("notes", None)
    features = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    batches = [dict(head.collate([feature], tokenizer)) for feature in features]
    plain = type(model).from_pretrained(run.model)
    assert type(model).__module__.startswith("transformers.models.")
    for ours, theirs in zip(outputs(model, batches), outputs(plain, batches), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_for_every_built_in_task_or_is_refused_by_name(
    family: Family,
    task: str,
    pretrained: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {**QUICK, **OF_TASK.get(task, {})}
    asked |= {"task": task, "model": pretrained[family], "output": tmp_path / "runs"}
    if lacks := LACKS.get((family, task)):
        monkeypatch.setenv("FTR_CACHE", str(tmp_path / "cache"))
        with pytest.raises(ModelError, match=rf"is a `{family}`, and transformers has no {lacks}"):
            train(asked)
        assert not (tmp_path / "cache" / "encoded").exists()
        return
    run = train(asked)
    found = losses(run)
    epoch = len(found) // asked["epochs"]
    assert sum(found[-epoch:]) < 0.95 * sum(found[:epoch]), found
    scores = run.record["scores"][run.record["heldout"]]
    assert difference(scores, evaluate(run.path).scores) is None
    check_plain(run)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_without_a_tokenizer_is_refused(family: Family, tmp_path: Path) -> None:
    folder = tiny_checkpoint(family, tmp_path)
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    with pytest.raises(ModelError, match="tokenizer") as raised:
        Pretrained(str(folder)).tokenizer()
    assert "ftr[sentencepiece]" not in str(raised.value)
