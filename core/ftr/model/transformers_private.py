"""Every private API of transformers that ftr uses, each with its reason.

`tests/train/test_transformers_private.py` fails when a new version changes one of them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments


class TrainerHooks:
    """Mixin that replaces the files of a `transformers.Trainer`, which are pickled, by
    `checkpoints`.

    transformers has no public hooks for them. `Trainer` must come after this class in the bases.
    """

    checkpoints: Any
    """What has `load_model`, `load_optimizer`, each with the trainer as argument."""

    def save_state(self) -> None:
        """Write a checkpoint."""

    def load_random_state(self) -> None:
        """Set the random generators; called before the first batch of a resumed training."""

    def to_device(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Move a batch to the device, in the number format that DeepSpeed may want."""
        moved: dict[str, Tensor] = self._prepare_inputs(tensors)  # type: ignore[attr-defined]
        return moved

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        self.save_state()

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self.checkpoints.load_model(self)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self.checkpoints.load_optimizer(self)

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Do nothing: `load_optimizer` loads it."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        self.load_random_state()


def unlogged_loss(trainer: Trainer) -> tuple[Tensor, int]:
    """Return the loss summed up since the last log entry and the step of that entry.

    `Trainer` keeps both in no checkpoint: the first log entry after a resume would be wrong.
    """
    return trainer._tr_loss.detach().cpu(), trainer._globalstep_last_logged


def set_unlogged_loss(trainer: Trainer, loss: Tensor, step: int) -> None:
    """Restore what `unlogged_loss` returned, in a training that has just begun."""
    trainer._tr_loss += loss.to(trainer._tr_loss.device)
    trainer._globalstep_last_logged = step


def use_one_gpu(arguments: TrainingArguments) -> None:
    """Keep `Trainer` from torch's DataParallel, for which there is no public switch.

    One process drives one GPU; `compute.workers` is for several.
    """
    arguments._n_gpu = min(arguments.n_gpu, 1)


def forget_kernels(settings: PretrainedConfig) -> None:
    """Drop the attention and expert kernels that a config names.

    transformers may fetch them from the Hub, and `None` has no public spelling.
    """
    settings._attn_implementation = settings._experts_implementation = None


def model_types(auto_class: type[Any]) -> Container[type[PretrainedConfig]] | None:
    """Return the config classes that an auto class knows; None for any other class.

    The public mappings (`MODEL_FOR_...`) do not say which auto class they belong to.
    """
    mapping: Container[type[PretrainedConfig]] | None = getattr(auto_class, "_model_mapping", None)
    return mapping


def model_class(auto_class: type[Any], settings: PretrainedConfig) -> type[Any] | None:
    """Return the class that an auto class makes of a config; None where it makes none, or several.

    For it, see `model_types`.
    """
    mapping: Any = model_types(auto_class)
    found = mapping[type(settings)] if mapping and type(settings) in mapping else None
    return found if isinstance(found, type) else None


def forget_renaming(model: PreTrainedModel, mapping: Mapping[str, str]) -> bool:
    """Drop the `key_mapping` that a model was loaded with; return whether it renamed any weight.

    transformers saves the weights under their former names again, and without that mapping nobody
    would find them there. A model that was loaded keeps what was renamed in `_weight_conversions`.
    """
    used = getattr(model, "_weight_conversions", None) or []
    kept = [one for one in used if not mapping.keys() & set(one.source_patterns)]
    model._weight_conversions = kept
    return len(kept) < len(used)


def has_own_attention(model: PreTrainedModel) -> bool:
    """Whether a model still has eager attention: MPNet and DeBERTa have one of their own.

    For them `set_attn_implementation` logs a warning and changes nothing.
    """
    return bool(model.config._attn_implementation == "eager")


def default_attention(model: PreTrainedModel) -> str:
    """Return `sdpa` where transformers supports it for this kind of model, else `eager`.

    Undocumented, but otherwise only an error of `set_attn_implementation` tells.
    """
    found: str = model.get_correct_attn_implementation(None)
    return found


def sdpa_mask(*arguments: Any, **options: Any) -> Any:
    """Return what transformers makes of a mask for `sdpa`.

    `AttentionMaskInterface`, which a mask of one's own is registered with, is documented; the
    built-in functions are not.
    """
    from transformers import masking_utils

    return masking_utils.sdpa_mask(*arguments, **options)


@cache
def attention_functions() -> tuple[Any, Any, Any]:
    """Return `eager_mask`, `repeat_kv` and `sdpa_attention_forward`.

    A custom attention (`AttentionInterface`) is documented; the parts of the built-in ones are not.
    """
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
    from transformers.masking_utils import eager_mask

    return eager_mask, repeat_kv, sdpa_attention_forward
