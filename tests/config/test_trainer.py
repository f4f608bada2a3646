"""`trainer.*` takes what transformers takes, less what ftr has a key for."""

import dataclasses

import pytest

from ftr.config.keys import KNOWN_KEYS
from ftr.config.parse import parse_mapping
from ftr.config.resolve import flat, resolve
from ftr.config.trainer import OWN_KEYS, PASSED, SET_BY_FTR, check_trainer
from ftr.errors import ConfigError
from ftr.registry.registry import Registry


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("trainer.learning_rate", "use `learning_rate`, ftr's own key for it"),
        ("trainer.per_device_train_batch_size", "use `batch_size` and `train.micro_batch_size`"),
        ("trainer.output_dir", "use `output`"),
        ("trainer.bf16", "use `train.precision`"),
        (
            "trainer.remove_unused_columns",
            "cannot be set: heads read columns that the model does not",
        ),
        (
            "trainer.push_to_hub",
            "cannot be set: a run uploads nothing; use `ftr push RUN owner/name`",
        ),
        ("trainer.hub_token", "cannot be set: a run uploads nothing"),
        ("trainer.report_to", "use `tracker`, ftr's own key for it"),
        (
            "trainer.dataloader_num_workers",
            "cannot be set: encoded rows are read from memory-mapped files",
        ),
        ("trainer.dropout", "has no field `dropout`. Did you mean `train.dropout`?"),
        (
            "trainer.adam_beta",
            "`transformers.TrainingArguments` has no field `adam_beta`. Did you mean `adam_beta",
        ),
    ],
)
def test_a_key_that_is_not_for_trainer_is_refused(key: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_trainer(parse_mapping({key: 1}))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"`{key}` (argument)")


def test_other_fields_pass_through(registry: Registry) -> None:
    config = resolve(
        ["task=qa", "trainer.adam_beta2=0.98", "trainer.lr_scheduler_kwargs={num_cycles: 2}"],
        registry,
    ).config
    assert config.trainer == {"adam_beta2": 0.98, "lr_scheduler_kwargs": {"num_cycles": 2}}
    assert resolve(flat(config), registry).config == config


def test_the_tables_name_real_keys_and_fields() -> None:
    from transformers import TrainingArguments

    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    other_versions = {"warmup_ratio", "group_by_length"} | {
        "activation_checkpointing",
        "activation_checkpointing_kwargs",
    }
    assert set(OWN_KEYS) | set(SET_BY_FTR) <= fields | other_versions
    assert {key for keys in OWN_KEYS.values() for key in keys} <= set(KNOWN_KEYS)


def test_every_field_of_the_installed_transformers_is_ftr_s_own_or_refused_or_has_an_effect() -> (
    None
):
    from transformers import TrainingArguments

    tables = [set(OWN_KEYS), set(SET_BY_FTR), set(PASSED)]
    fields = [field.name for field in dataclasses.fields(TrainingArguments) if field.init]
    assert {name: sum(name in table for table in tables) for name in fields} == dict.fromkeys(
        fields, 1
    )
