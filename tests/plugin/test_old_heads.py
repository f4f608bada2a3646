"""A head written before there was a base class: eleven methods, two of them under former names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ftr.registry.discovery import PluginRecord
from ftr.registry.registry import Registry, get_registry
from ftr.registry.specs import HeadSpec
from ftr.registry.targets import make

SOURCE = '''
"""Plugin `elder`: the head that `ftr new` wrote for ftr 0.1."""

import ftr
from ftr.registry.schema import Column, RowSchema
from ftr.train.batches import pad


class TextClassifier:
    schema = RowSchema(
        columns=(Column(name="text"), Column(name="label", type="label")), stratify="label"
    )

    def __init__(self, options):
        self.options = options

    def check(self, row):
        return None if row.get("text") else "empty text"

    def build(self, model, labels, seed):
        from transformers import AutoModelForSequenceClassification, set_seed

        set_seed(seed)
        names = dict(enumerate(labels))
        ids = {label: number for number, label in names.items()}
        return model.load(
            AutoModelForSequenceClassification, num_labels=len(labels), id2label=names, label2id=ids
        )

    def encode(self, rows, tokenizer, settings):
        tokens = tokenizer(rows["text"], truncation=True, max_length=settings.max_length)
        features = {"input_ids": tokens["input_ids"], "row": list(range(len(rows["text"])))}
        return {**features, "labels": rows["label"]} if settings.targets else features

    def collate(self, features, tokenizer):
        import torch

        batch = pad(features, tokenizer)
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([feature["labels"] for feature in features])
        return batch

    def loss(self, outputs, inputs):
        return None

    def reduce(self, outputs, features):
        return outputs["logits"].float().softmax(dim=-1).tolist()

    def decode(self, row, records, state, labels):
        (shares,) = records
        best = max(range(len(labels)), key=shares.__getitem__)
        sure = shares[best] >= state.get("least", 0.0)
        return {"id": row["id"], "label": labels[best], "label_id": best, "sure": sure}

    def tune(self, rows, records):
        return {"least": sorted(max(shares) for (shares,) in records)[len(records) // 2]}

    def untuned(self, rows):
        return "no validation rows: every prediction is sure"

    def score_inputs(self, rows, predictions, labels):
        predicted = [prediction["label_id"] for prediction in predictions]
        return {"predictions": predicted, "references": [row["label"] for row in rows]}


@ftr.hookimpl
def ftr_heads():
    return [ftr.HeadSpec(name="elder", target="elder:TextClassifier", summary="one label")]
'''


def ftr(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ftr", *words, "--plugin", "elder.py"],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_it_trains_calibrates_and_predicts_with_a_notice_for_each_former_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "elder.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"text": "a good film"}\n', encoding="utf-8")
    words = ["task=sentiment", "head=elder", "epochs=1", "train.freeze=backbone"]
    done = ftr("run", *words, "data.limit=60", "data.max_length=16", "--json", cwd=tmp_path)
    answer = json.loads(done.stdout)
    for old, new in (("tune", "calibrate"), ("untuned", "uncalibrated")):
        notice = f"`Head.{old}` is deprecated since ftr 0.1 and will be removed in ftr 0.2: use `Head.{new}`"
        lines = [line for line in done.stderr.splitlines() if notice in line]
        assert len(lines) == 1 and "the head `elder` of plugin `elder` (elder.py" in lines[0]
    state = json.loads((tmp_path / answer["model"] / "ftr.json").read_text("utf-8"))["state"]
    assert 0.3 < state["least"] <= 1.0
    (line,) = ftr("predict", answer["path"], "rows.jsonl", cwd=tmp_path).stdout.splitlines()
    found = json.loads(line)
    assert found["label"] in ("negative", "neutral", "positive") and "sure" in found


def test_a_former_name_over_a_head_that_has_the_new_one_is_used_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "heir_head.py").write_text(
        "from ftr_plugins.classification.head import SequenceClassificationHead\n"
        "class Heir(SequenceClassificationHead):\n"
        "    def tune(self, rows, records):\n"
        "        return {'least': 0.5}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = HeadSpec(name="heir", target="heir_head:Heir", summary="one label")
    record = PluginRecord(
        name="heir",
        distribution="heir",
        version="1",
        origin="here",
        builtin=False,
        status="loaded",
        specs=(("head", spec),),
    )
    head = make(Registry([*get_registry().plugins, record]), "head", "heir", None)
    assert head.calibrate([], [], ()) == {"least": 0.5} and head.uncalibrated([]) is None
