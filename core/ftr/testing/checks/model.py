"""Checks of a named pretrained model."""

from __future__ import annotations

import json

from ftr.testing.checks.batches import CLOSE
from ftr.testing.contract import Conformance, broken, must_work, require
from ftr.testing.subjects import ModelSubject
from ftr.testing.subjects.model import TEXTS

MOST_TOKENS = 1024
"""A longer input is not tried."""


class ModelChecks(Conformance):
    """What must hold of a tokenizer and the weights that go with it."""

    def test_its_tokenizer_can_pad(self, ftr_model: ModelSubject) -> None:
        tokenizer = ftr_model.tokenizer
        require(
            isinstance(tokenizer.pad_token_id, int),
            f"the tokenizer of {ftr_model} has a pad token: batches are padded",
            "`pad_token` is None",
            "set it in `tokenizer`: `tokenizer.pad_token = tokenizer.eos_token` for a decoder; the "
            "`tokenizer` of `ftr.plugin.Model` does",
        )

    def test_its_tokenizer_is_fast_and_pads_on_the_right(self, ftr_model: ModelSubject) -> None:
        tokenizer = ftr_model.tokenizer
        require(
            tokenizer.is_fast and tokenizer.padding_side == "right",
            f"the tokenizer of {ftr_model} is a fast one (heads need its offsets) and pads on the "
            "right",
            f"is_fast={tokenizer.is_fast}, padding_side={tokenizer.padding_side!r}",
            "let `tokenizer` return what `AutoTokenizer.from_pretrained` gives, and set its "
            "`padding_side`",
        )

    def test_its_config_knows_the_pad_token(self, ftr_model: ModelSubject) -> None:
        found, wanted = ftr_model.loaded.config.pad_token_id, ftr_model.tokenizer.pad_token_id
        require(
            found == wanted,
            f"the config of {ftr_model} names the pad token of its tokenizer: decoders find the "
            "end of a row by it",
            f"`config.pad_token_id` is {found}, the tokenizer's {wanted}",
            "let `load` set `config.pad_token_id = tokenizer.pad_token_id` before it makes the "
            "model",
        )

    def test_its_vocabulary_covers_its_tokenizer(self, ftr_model: ModelSubject) -> None:
        rows, tokens = (
            ftr_model.loaded.get_input_embeddings().weight.shape[0],
            len(ftr_model.tokenizer),
        )
        require(
            rows >= tokens,
            f"{ftr_model} has an embedding for every token of its tokenizer",
            f"{rows} embeddings for {tokens} tokens",
            "let `tokenizer` return the one that belongs to the weights, or `load` resize the "
            "embeddings",
        )

    def test_it_takes_what_a_head_sets(self, ftr_model: ModelSubject) -> None:
        found = ftr_model.loaded.config.num_labels
        require(
            found == 3,
            f"`load` of {ftr_model} sets the config values it is given",
            f"asked for `num_labels=3` it gave {found}",
            "let `load` pass `**config` on to `from_pretrained`, or to `super().load`",
        )

    def test_it_loads_the_same_weights_each_time(self, ftr_model: ModelSubject) -> None:
        import torch

        one, other = (
            ftr_model.loaded.base_model.state_dict(),
            ftr_model.load().base_model.state_dict(),
        )
        odd = [
            name for name in one if "pooler" not in name and not torch.equal(one[name], other[name])
        ]
        require(
            not odd,
            f"the body of {ftr_model} has its pretrained weights",
            f"`{odd[0] if odd else ''}` differs between two loads",
            "let `load` read the weights of a checkpoint, whose names must be those of the model",
        )

    def test_it_takes_an_input_of_its_longest(self, ftr_model: ModelSubject) -> None:
        import torch

        _ = ftr_model.tokenizer
        with must_work(
            f"`max_length` of {ftr_model} returns a number of tokens, or None",
            "let `max_length` return None where it has no limit",
        ):
            longest = ftr_model.source.max_length()
        promise = f"{ftr_model} takes inputs of up to `max_length` tokens"
        require(
            longest is None or longest >= 2,
            promise,
            f"`max_length` is {longest!r}",
            "let `max_length` return how many positions the model has",
        )
        length = min(longest or MOST_TOKENS, MOST_TOKENS)
        token = ftr_model.tokenizer(TEXTS[0])["input_ids"][-1]
        with (
            must_work(
                promise,
                "let `max_length` return how many positions the model has: RoBERTa and its like "
                "count from the pad token on",
            ),
            torch.inference_mode(),
        ):
            ids = torch.full((1, length), int(token))
            ftr_model.loaded(input_ids=ids, attention_mask=torch.ones_like(ids))

    def test_a_text_is_answered_alike_alone_and_in_a_batch(self, ftr_model: ModelSubject) -> None:
        import torch

        from ftr.train.batches import pad

        tokenizer = ftr_model.tokenizer
        features = [{"input_ids": tokenizer(text)["input_ids"]} for text in TEXTS]
        with torch.inference_mode():
            together = ftr_model.loaded(**pad(features, tokenizer))["logits"]
            alone = torch.cat(
                [ftr_model.loaded(**pad([feature], tokenizer))["logits"] for feature in features]
            )
        apart = float((together - alone).abs().max())
        require(
            apart <= CLOSE + 10 * CLOSE * float(alone.abs().max()),
            f"{ftr_model} answers a text alike alone and in a padded batch",
            f"logits are {apart:.3g} apart",
            "let the model that `load` returns hand the attention mask to every layer, and set the "
            "pad token on its config",
        )

    def test_it_says_where_its_weights_came_from(self, ftr_model: ModelSubject) -> None:
        _ = ftr_model.tokenizer
        promise = (
            f"`describe` of {ftr_model} returns where the weights came from, for the run record"
        )
        with must_work(promise, "let `describe` return a dict of plain values"):
            found = ftr_model.source.describe()
        try:
            json.dumps(found)
        except (TypeError, ValueError) as error:
            broken(promise, str(error), "let `describe` return strings and numbers")
        require(
            isinstance(found, dict) and found,
            promise,
            repr(found),
            "let `describe` name the path or Hub id, the revision and, where it is known, a hash",
        )
