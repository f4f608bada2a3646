"""What a training costs without a step of it: memory from the shapes of the model's tensors, time
from the speed of matrix products here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftr.config.schema import RunConfig
from ftr.model.adapters import add_adapters
from ftr.model.components import make_head, make_model
from ftr.model.parameters import TrainableParts
from ftr.model.pretrained import Pretrained
from ftr.registry.registry import Registry
from ftr.results.plan.fit import Fit
from ftr.results.plan.probe import Probe, probed_config
from ftr.runs.prepare import Prepared
from ftr.train.batches import BatchPlan, Shard
from ftr.train.costs import memory_now, tensors_of
from ftr.train.hardware import choose_numerics

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from ftr.train.loader import Steps

EFFICIENCY = 0.6
"""Share of the speed of a plain matrix product that training reached: 0.5 to 0.8 over batches from
32 x 32 to 8 x 384 with MiniLM on two cores.
"""
SAVING = 3e8
"""Bytes a second that are saved, hashed and synced."""
BF16_ACTIVATIONS = 0.7
"""Activations under autocast to bf16, as a share of those in fp32: inputs of matrix products are
half as large, those of norms and softmax are not.
"""
GROWTH = 150_000_000
"""What a process grows by while it trains, whatever the model: kernels and packages that load then.
Measured with MiniLM: 0.15 to 0.25 GB.
"""
OVERHEAD = 1.1
"""What the allocator takes for each byte of activations."""


class _OnMeta:
    """A model whose `load` gives shapes without weights."""

    complete = True  # draws no random numbers

    def __init__(self, model: Pretrained) -> None:
        self.load = model.skeleton
        self.tokenizer, self.max_length = model.tokenizer, model.max_length
        self.describe = model.describe


def shapes_of(config: RunConfig, registry: Registry, labels: tuple[str, ...]) -> PreTrainedModel:
    """Return the model of a configuration, with adapters, on the `meta` device; one of a plugin or
    with adapters of its own with all its weights.
    """
    head = make_head(registry, config.head)
    source = make_model(registry, config.model, config.train)
    plain = isinstance(source, Pretrained) and source.base is None
    model = head.build(
        _OnMeta(source) if isinstance(source, Pretrained) and plain else source,
        labels,
        config.weights_seed,
    )
    if config.train.lora.rank:
        import torch

        with torch.device("meta" if plain else "cpu"):
            model = add_adapters(model, config, {"source": config.model.name})
    return model


def estimate(
    config: RunConfig, prepared: Prepared, registry: Registry, *, world: int, threads: int | None
) -> Probe:
    """Return what `probe` would, by arithmetic."""
    import torch

    from ftr.train.steps import top_of_ladder

    held, numerics = memory_now(), choose_numerics(config.train)
    model = shapes_of(config, registry, prepared.labels)
    trains = TrainableParts(model, probed_config(config))
    tensors = tensors_of(model, config)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    speed = EFFICIENCY * flops_per_second(numerics.precision)
    exact = EFFICIENCY * flops_per_second("fp32")
    torch.set_num_threads(before)
    ladder = top_of_ladder(config.train, numerics.device)
    steps = steps_of(config, prepared, registry, Shard(0, world), ladder.rows, ladder.tokens)
    if numerics.attention in ("cpu", "eager"):
        model.set_attn_implementation("eager")
    saved = activations(model, steps)
    if numerics.precision != "fp32":
        saved = int(saved * BF16_ACTIVATIONS)
    work = _work(model)
    backward = 1 + tensors.gradients / max(tensors.weights, 1)
    reading = {name: value / speed for name, value in work.items()}
    training = {name: value * (1 + backward) for name, value in reading.items()}
    fixed = tensors.weights + tensors.gradients + tensors.optimizer + tensors.averages
    seconds = tensors.saved / SAVING
    return Probe(
        step=Fit(**training),
        predict=Fit(**reading),
        final=Fit(**{name: value / exact for name, value in work.items()}),
        decode=0.0,
        score=0.0,
        warm=0.0,
        build=1.0 + seconds,
        save=seconds,
        restore=seconds,
        held=held,
        peak=int(held + GROWTH + fixed + OVERHEAD * saved),
        tensors=tensors,
        model_bytes=tensors.saved,
        parameters=trains.record(trains.last),
        trains=trains.line(trains.last),
        numerics={
            "device": numerics.device,
            "precision": numerics.precision,
            "attention": numerics.attention,
            "threads": threads or before,
        },
        timed=0,
    )


def steps_of(
    config: RunConfig,
    prepared: Prepared,
    registry: Registry,
    shard: Shard,
    limit: int,
    token_limit: int | None,
) -> Steps:
    """Return the steps of one worker; weighted samples are drawn as if all rows were alike."""
    from ftr.train.inference import open_split
    from ftr.train.loader import Steps

    train = open_split(prepared.splits["train"], keep=False)
    plan = BatchPlan(train.lengths, config.batch_size, config.seed)
    head, tokenizer = make_head(registry, config.head), prepared.model.tokenizer()
    return Steps(train.features, plan, shard, head, tokenizer, limit, token_limit)


def activations(model: PreTrainedModel, steps: Steps) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, of the largest pass of an
    epoch.

    The pass runs on the `meta` device, which computes shapes alone; torch's hooks on saved tensors
    see what is kept. Where an operation has no shapes without values, it is by the formula of
    Korthikanti et al. 2022 ("Reducing Activation Recomputation"): 34 bytes for each token, layer
    and hidden number in half precision, and 5 for each attention weight, doubled for fp32.
    """
    largest = max(
        (batch for batch in steps.batches),
        key=lambda batch: max(rows * longest for rows, longest in steps.shapes(batch)),
    )
    rows, longest = max(steps.shapes(largest), key=lambda shape: shape[0] * shape[1])
    micro = max(steps.cut(steps.share.of(largest)), key=lambda one: one.examples * one.longest)
    try:
        return _kept(model, micro.inputs)
    except Exception:
        sizes = _sizes(model)
        each = 2 * (34 * sizes["hidden"] + 5 * sizes["heads"] * longest)
        return int(rows * longest * sizes["layers"] * each)


def _kept(model: nn.Module, inputs: Mapping[str, Tensor]) -> int:
    import torch

    model = model.to("meta").train()
    # Masks make transformers look at values.
    given = {name: one.to("meta") for name, one in inputs.items() if name != "attention_mask"}
    weights = {one.untyped_storage()._cdata for one in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(**given)
    total: int = sum(storage.nbytes() for storage in kept.values())
    del outputs
    return total


def _sizes(model: PreTrainedModel) -> dict[str, int]:
    settings = model.config.get_text_config()
    return {
        "hidden": int(getattr(settings, "hidden_size", 0) or 768),
        "heads": int(getattr(settings, "num_attention_heads", 0) or 12),
        "layers": int(getattr(settings, "num_hidden_layers", 0) or 12),
    }


def _work(model: PreTrainedModel) -> dict[str, float]:
    """Return the floating-point operations of a forward pass for each token, and each pair: two for
    each weight in a matrix product, and four for each layer and hidden number in attention.
    """
    from torch import nn

    tables = sum(
        one.numel()
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for one in module.parameters(recurse=False)
    )
    weights = sum(one.numel() for one in model.parameters())
    sizes = _sizes(model)
    return {"token": 2.0 * (weights - tables), "pair": 4.0 * sizes["layers"] * sizes["hidden"]}


def flops_per_second(precision: str) -> float:
    """Return the speed of a matrix product on this machine's device, the best of a few."""
    import torch

    from ftr.train.hardware import device_name

    device = device_name()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    size = 512 if device == "cpu" else 4096
    left = torch.ones((size, size), dtype=dtype, device=device)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        float((left @ left)[0, 0])
        best = min(best, time.perf_counter() - began)
    return float(2 * size**3 / best)
