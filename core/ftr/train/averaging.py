"""The exponential moving average of the weights (`train.ema`), shown to evaluation in place of the weights themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

COUNT = "count"


class Averages:
    """The mean of the weights after each step, of which each weighs `decay` times as much as the one after it.

    mean_t = mean_(t-1) + (1 - decay) / (1 - decay^t) * (weights_t - mean_(t-1)): the moving average with the correction of its
    beginning that Adam has for its moments (Kingma & Ba 2015, section 3), so that the weights before the first step have no
    part in it. Only parameters that train are averaged, in their own precision; every worker computes the same.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Average the parameters of `model` that require gradients now."""
        self.decay, self.count = decay, 0
        self.weights: dict[str, Tensor] = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
        self.means: dict[str, Tensor] = {}

    def update(self) -> None:
        """Take in the weights after one more optimizer step."""
        self.count += 1
        if not self.means:
            self.means = {name: weight.clone() for name, weight in self.weights.items()}
            return
        share = (1 - self.decay) / (1 - self.decay**self.count)
        for name, mean in self.means.items():
            mean.lerp_(self.weights[name], share)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Let the model have the means while this lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def settle(self) -> None:
        """Leave the means in the model for good."""
        self._swap()
        self.means, self.count = {}, 0

    def save(self, path: Path) -> None:
        """Write means and count to a safetensors file."""
        from safetensors.torch import save_file

        save_file({name: mean.contiguous() for name, mean in self.means.items()}, path, metadata={COUNT: str(self.count)})

    def load(self, path: Path) -> None:
        """Read what `save` wrote, to the bit."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            self.count = int(file.metadata()[COUNT])
            self.means = {name: file.get_tensor(name).to(self.weights[name].device) for name in file.keys()}  # noqa: SIM118

    def _swap(self) -> None:
        # Copies, not pointers: gradient buckets and compiled code hold on to the storage.
        for name, mean in self.means.items():
            weight = self.weights[name]
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)
