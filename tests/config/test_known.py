"""What is known of keys: `keys.json` is that of the models, every example resolves."""

import shlex
from pathlib import Path

import pytest

from ftr.config import known
from ftr.config.describe import as_json
from ftr.config.keys import KNOWN_KEYS, new_name
from ftr.config.known import FIRST_KEYS, keys, options, trainer_keys
from ftr.config.parse import GROUPS
from ftr.config.resolve import resolve
from ftr.config.schema import SWEEP_KEYS
from ftr.config.sweep import resolve_sweep
from ftr.config.trainer import PASSED
from ftr.registry.discovery import discover
from ftr.registry.registry import Registry
from trainings import write_csv


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("FTR_PLUGINS", "")
    return Registry(discover())


def test_the_light_file_is_that_of_the_models(registry: Registry) -> None:
    text = known.FILE.read_text(encoding="utf-8")
    assert text == as_json(registry), "run `python docs/make_configuration.py`"
    assert list(keys())[: len(KNOWN_KEYS)] == list(KNOWN_KEYS)
    assert [key.name for key in keys().values() if key.group == "sweep"] == list(SWEEP_KEYS)
    assert set(known.groups()) == {*GROUPS, "sweep"}
    assert len(FIRST_KEYS) == 10 and set(FIRST_KEYS) <= set(KNOWN_KEYS)


def test_every_key_has_a_type_a_description_and_an_example(registry: Registry) -> None:
    for key in [*keys().values(), *options()]:
        assert key.type and key.description and key.since == "0.1.0"
        assert shlex.split(key.example)[-1].startswith(f"{key.name}=")
        assert new_name(key.name) is None


def test_the_example_of_every_key_resolves(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "reviews.csv", ("text", "label"), [("good", "pos")])
    (tmp_path / "my_task.py").write_text("", encoding="utf-8")
    for key in keys().values():
        words = shlex.split(key.example)
        if not key.example.startswith("task="):
            words = ["task=sentiment", *words]
        if key.name == "plugins":
            continue  # the file is the user's
        if key.group == "sweep":
            resolve_sweep(["learning_rate=choice(1e-5,1e-4)", *words], registry)
        else:
            resolve(words, registry)


def test_types_ranges_and_choices_are_those_a_person_reads() -> None:
    found = keys()
    assert found["train.freeze"].values == (
        "whole number (0 or more) or `embeddings`, `backbone` or null"
    )
    assert found["data.clean"].values.startswith("list of `html`, `urls`")
    assert found["epochs"].values == "number (above 0, at most 1000000)"
    assert found["time_budget"].values == "number (above 0) or time or null"
    assert found["baselines"].values == "true/false"
    assert found["ensemble"].group == "" and found["sweep.ensemble"].example == "ensemble=top3"


def test_fields_of_the_trainer_are_read_from_the_installed_transformers() -> None:
    found = trainer_keys()
    assert {f"trainer.{name}" for name in PASSED} <= set(found)
    assert found["trainer.adam_beta2"].values == "number"
    assert found["trainer.adam_beta2"].default == "0.999"
    assert "second moment" in found["trainer.adam_beta2"].description
