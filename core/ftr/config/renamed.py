"""Former names of keys and options. They are refused, with the name that each has now."""

from collections.abc import Mapping

RENAMED: Mapping[str, str] = {
    "data.validation_share": "data.validation_size",
    "data.test_share": "data.test_size",
    "data.max_rejected": "data.max_invalid",
    "train.schedule": "train.lr_scheduler",
    "train.micro_batch": "train.micro_batch_size",
    "train.eval_batch": "train.eval_batch_size",
    "train.layer_decay": "train.layerwise_decay",
    "train.log_steps": "train.logging_steps",
    "train.checkpoint_steps": "train.save_steps",
    "train.keep_checkpoints": "train.save_total_limit",
    "train.evaluate_untrained": "train.eval_on_start",
    "train.early_stopping": "train.early_stopping_patience",
    "members": "ensemble_size",
    "time": "time_budget",
    "epochs_total": "max_total_epochs",
    "patience": "min_gain",
    "grace": "grace_period",
    "reduction": "reduction_factor",
    "concurrent": "max_concurrent",
}
"""Keys, dotted as they are written."""

RENAMED_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "evaluate": {"--tune": "--calibrate"},
    "new": {"--into": "--output"},
    "submit": {"--fetch": "--output"},
}
"""Options of the command line, by command."""


def new_name(key: str) -> str | None:
    """Return the present name of a renamed key, given in full or without its group.

    None: the key was not renamed.
    """
    if key in RENAMED:
        return RENAMED[key]
    return next((new for old, new in RENAMED.items() if old.rpartition(".")[2] == key), None)
