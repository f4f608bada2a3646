"""The character model: its tokens, its seeds, and what is saved of it."""

from __future__ import annotations

from pathlib import Path

from ftr_chinese_sentiment import reviews
from ftr_chinese_sentiment.model import HanziBert


def test_every_chinese_character_is_a_token() -> None:
    tokenizer = HanziBert().tokenizer()
    assert tokenizer.tokenize("房間很乾淨，WiFi快！") == [
        "房",
        "間",
        "很",
        "乾",
        "淨",
        "，",
        "w",
        "##i",
        "##f",
        "##i",
        "快",
        "！",
    ]


def test_the_vocabulary_has_every_character_of_the_sample() -> None:
    tokenizer = HanziBert().tokenizer()
    texts = {row["text"] for rows in reviews().values() for row in rows}
    assert len(texts) > 600
    assert {
        text for text in texts if tokenizer.unk_token_id in tokenizer(text)["input_ids"]
    } == set()


def test_the_body_follows_from_its_seed_and_the_head_from_that_of_the_run() -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    def weights(seed: int, run: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(run)
        state: dict[str, torch.Tensor] = (
            HanziBert(layers=1, width=16, seed=seed)
            .load(AutoModelForSequenceClassification, num_labels=3)
            .state_dict()
        )
        return state

    one, same, other_run, other_seed = (
        weights(0, 1),
        weights(0, 1),
        weights(0, 2),
        weights(5, 1),
    )
    body = [
        name
        for name in one
        if name.startswith("bert.") and name.endswith("weight") and "LayerNorm" not in name
    ]
    assert all(torch.equal(one[name], same[name]) for name in one) and len(body) > 5
    assert all(
        torch.equal(one[name], other_run[name]) and not torch.equal(one[name], other_seed[name])
        for name in body
    )
    assert not torch.equal(one["classifier.weight"], other_run["classifier.weight"])


def test_plain_transformers_reads_what_is_saved(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = HanziBert(layers=1, width=16)
    tokenizer, model = (
        source.tokenizer(),
        source.load(AutoModelForSequenceClassification, num_labels=2),
    )
    tokenizer.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    text = "服务热情，房间干净。"
    batch = AutoTokenizer.from_pretrained(tmp_path)(text, return_tensors="pt")
    assert batch["input_ids"].tolist() == tokenizer(text, return_tensors="pt")["input_ids"].tolist()
    with torch.inference_mode():
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path)(**batch).logits
        assert torch.allclose(model(**batch).logits, again, atol=1e-6)


def test_what_the_model_is_made_of_is_recorded() -> None:
    described = HanziBert(layers=1, width=16).describe()
    assert (
        described["layers"],
        described["width"],
        described["seed"],
        len(described["vocabulary_sha256"]),
    ) == (1, 16, 0, 64)
