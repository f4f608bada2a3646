"""Cheap dropout: what it drops, what it scales, and that attention with it is attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from ftr.model.dropout import (
    LEVELS,
    CheapDropout,
    cheap_dropout,
    cpu_attention,
    register_cpu_attention,
    scaled_mask,
    use_cheap_dropout,
)
from ftr.testing.tiny import FAMILIES, Family, tiny_config, tiny_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COUNT = 400_001


def share(p: float) -> float:
    """Return the probability of keeping that is really drawn."""
    return round((1 - p) * LEVELS) / LEVELS


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9, 1e-3])
def test_elements_are_zeroed_with_the_probability_asked_for_and_the_rest_scaled_exactly(
    p: float,
) -> None:
    torch.manual_seed(0)
    mask = scaled_mask(torch.Size([COUNT]), p, torch.float32)
    kept = float((mask != 0).double().mean())
    assert abs(kept - share(p)) < 5 * math.sqrt(p * (1 - p) / COUNT)
    assert abs(share(p) - (1 - p)) <= 0.5 / LEVELS
    assert set(mask.tolist()) == {0.0, torch.tensor(1 / share(p)).item()}
    assert abs(float(mask.double().mean()) - 1) < 5 * math.sqrt(p / (1 - p) / COUNT)


def test_neighbouring_elements_are_dropped_independently() -> None:
    torch.manual_seed(0)
    dropped = (scaled_mask(torch.Size([COUNT - 1]), 0.5, torch.float32) == 0).view(-1, 4).double()
    assert (torch.corrcoef(dropped.T) - torch.eye(4)).abs().max() < 5 / math.sqrt(len(dropped))


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4), (2, 3, 7)])
def test_any_shape_is_masked(shape: tuple[int, ...]) -> None:
    assert scaled_mask(torch.Size(shape), 0.3, torch.bfloat16).shape == shape


def test_nothing_and_everything_can_be_dropped() -> None:
    x = torch.randn(50)
    assert cheap_dropout(x, 0.0, training=True) is x
    assert torch.equal(scaled_mask(x.shape, 1e-9, x.dtype), torch.ones(50))
    assert torch.equal(cheap_dropout(x, 1.0, training=True), torch.zeros(50))


def test_a_seed_and_a_saved_generator_state_draw_the_same_mask() -> None:
    torch.manual_seed(7)
    first = scaled_mask(torch.Size([999]), 0.5, torch.float32)
    state = torch.get_rng_state()
    second = scaled_mask(torch.Size([999]), 0.5, torch.float32)
    torch.manual_seed(7)
    assert torch.equal(
        first, scaled_mask(torch.Size([999]), 0.5, torch.float32)
    ) and not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(second, scaled_mask(torch.Size([999]), 0.5, torch.float32))


def test_the_module_does_nothing_in_evaluation_and_passes_gradients_of_what_it_kept() -> None:
    layer, x = CheapDropout(0.5), torch.ones(1000, requires_grad=True)
    assert layer.eval()(x) is x
    out = layer.train()(x)
    out.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, out.detach())


def test_every_plain_dropout_of_a_model_is_replaced_and_its_checkpoint_is_the_same() -> None:
    class Other(nn.Dropout):
        pass

    model = nn.Sequential(
        nn.Linear(2, 2), nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.4), Other(0.5))
    )
    model[1].eval()
    before = list(model.state_dict())
    use_cheap_dropout(model)
    kinds = [
        (type(module), module.p, module.training)
        for module in model.modules()
        if isinstance(module, nn.Dropout)
    ]
    assert kinds == [(CheapDropout, 0.3, False), (CheapDropout, 0.4, True), (Other, 0.5, True)]
    assert list(model.state_dict()) == before


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A model of the family with random weights."""
    from transformers import AutoModel

    family: Family = request.param
    torch.manual_seed(0)
    settings = tiny_config(family, len(tiny_tokenizer(family)))
    # That of ModernBERT, EuroBERT and Qwen3 is 0.
    if getattr(settings, "attention_dropout", None) == 0.0:
        settings.attention_dropout = 0.1
    made: PreTrainedModel = AutoModel.from_config(settings)
    return made


def hidden(model: PreTrainedModel, attention: str, seed: int | None = None) -> torch.Tensor:
    """Return the states of the tokens that are no padding: rows of 9, 4 and 1 tokens."""
    torch.manual_seed(1)
    mask = torch.arange(9)[None, :] < torch.tensor([[9], [4], [1]])
    ids = torch.randint(5, 90, (3, 9)).where(mask, 1)
    model.set_attn_implementation(attention)
    if seed is not None:
        torch.manual_seed(seed)
    states: torch.Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return states[mask]


def test_attention_equals_eager_attention_with_padding(model: PreTrainedModel) -> None:
    name = register_cpu_attention()
    with torch.no_grad():
        model.eval()
        assert torch.allclose(hidden(model, name), hidden(model, "eager"), atol=1e-6)


def test_attention_written_out_for_dropout_equals_eager_attention(model: PreTrainedModel) -> None:
    name = register_cpu_attention()
    attention_names = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for key in ("dropout_prob", *attention_names):
            if isinstance(getattr(module, key, None), float):
                setattr(module, key, 0.0)
    model.train()
    eager = hidden(model, "eager")
    # So low a probability keeps every element, yet takes the road with dropout.
    for module in model.modules():
        if type(module).__name__.endswith("Attention") and isinstance(
            getattr(module, "dropout", None), nn.Dropout
        ):
            module.dropout.p = 1e-9
        if isinstance(getattr(module, "attn_dropout", None), nn.Dropout):
            module.attn_dropout.p = 1e-9
    assert torch.allclose(hidden(model, name), eager, atol=1e-6)


def test_dropped_attention_is_right_in_the_mean_and_follows_the_seed(
    model: PreTrainedModel,
) -> None:
    name = register_cpu_attention()
    model.train()
    use_cheap_dropout(model)
    assert torch.equal(hidden(model, name, seed=3), hidden(model, name, seed=3))
    assert not torch.equal(hidden(model, name, seed=3), hidden(model, name, seed=4))


def test_the_mean_of_dropped_attention_is_attention() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 5, 8) for _ in range(3))
    padding = torch.zeros(1, 1, 1, 5)
    padding[..., 4] = torch.finfo(torch.float32).min
    exact, _ = cpu_attention(nn.Identity(), query, key, value, padding)
    queries, keys, values = (tensor.expand(20_000, -1, -1, -1) for tensor in (query, key, value))
    dropped, _ = cpu_attention(nn.Identity(), queries, keys, values, padding, dropout=0.3)
    assert torch.allclose(dropped.mean(0), exact[0], atol=0.03)
    assert float(dropped.detach().std(0).mean()) > 0.1
