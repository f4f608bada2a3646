"""Attention on a GPU, here on a CPU: the outputs are those of sdpa, with and without padding."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch
from transformers import AutoModel, PreTrainedModel
from transformers.masking_utils import bidirectional_mask_function

from ftr.model import attention
from ftr.model.attention import GPU_ATTENTION, batch_mask, known_padding, use_gpu_attention
from ftr.model.transformers_private import default_attention
from ftr.testing.tiny import FAMILIES, Family, tiny_config, tiny_tokenizer


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A model of the family with random weights and no dropout."""
    family: Family = request.param
    torch.manual_seed(0)
    made: PreTrainedModel = AutoModel.from_config(
        tiny_config(family, len(tiny_tokenizer(family)))
    ).eval()
    if default_attention(made) != "sdpa":
        pytest.skip("has no sdpa")
    return made


def computed(model: PreTrainedModel, mask: torch.Tensor) -> list[torch.Tensor]:
    """Return the states of the tokens that are no padding, and all gradients."""
    ids = torch.arange(5, 32).view(3, 9)
    model.zero_grad()
    with known_padding(mask):
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
    states.square().sum().backward()
    return [states, *(one.grad for one in model.parameters() if one.grad is not None)]


@pytest.mark.parametrize("lengths", [(9, 9, 9), (9, 4, 1)])
def test_outputs_and_gradients_are_those_of_sdpa(
    model: PreTrainedModel, lengths: tuple[int, ...]
) -> None:
    mask = (torch.arange(9)[None, :] < torch.tensor(lengths)[:, None]).long()
    model.set_attn_implementation("sdpa")
    plain = computed(model, mask)
    use_gpu_attention(model)
    assert model.config._attn_implementation == GPU_ATTENTION
    for one, other in zip(plain, computed(model, mask), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_batch_without_padding_needs_no_mask_and_none_is_looked_into() -> None:
    full, padded = torch.ones(2, 4), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    asked: dict[str, Any] = {
        "batch_size": 2,
        "q_length": 4,
        "kv_length": 4,
        "device": "meta",
        "mask_function": bidirectional_mask_function,
        "allow_is_bidirectional_skip": True,
    }
    on_device = torch.ones(2, 4, dtype=torch.bool, device="meta")
    with known_padding(full):
        assert batch_mask(attention_mask=on_device, **asked) is None
    with known_padding(padded):
        assert batch_mask(attention_mask=on_device, **asked).shape == (2, 1, 4, 4)
    # The device `meta` has no values, and transformers reads them.
    with pytest.raises((RuntimeError, NotImplementedError)):
        batch_mask(attention_mask=on_device, **asked)


def test_a_mask_of_another_shape_is_that_of_transformers() -> None:
    with known_padding(torch.ones(2, 4)), patch.object(attention, "sdpa_mask") as plain:
        batch_mask(attention_mask=torch.zeros(2, 6), allow_is_causal_skip=True)
    assert plain.call_args.kwargs["attention_mask"].shape == (2, 6)
    assert plain.call_args.kwargs["allow_is_causal_skip"]


def test_a_model_of_someone_else_keeps_its_attention() -> None:
    class Strange:
        """Not of transformers."""

    use_gpu_attention(Strange())
