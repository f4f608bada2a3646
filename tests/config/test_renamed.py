"""Former names of keys and options: each is refused wherever it can be written, with the name to write instead."""

import json
from pathlib import Path
from typing import Any

import pytest

from ftr import __version__
from ftr.cli.main import COMMANDS, RENAMED_OPTIONS, main
from ftr.config.keys import KNOWN_KEYS, RENAMED
from ftr.config.resolve import flat, resolve
from ftr.config.schema import SWEEP_KEYS
from ftr.config.sweep import resolve_sweep
from ftr.registry.registry import get_registry
from ftr.runs.directory import RunDirectory
from ftr.study.directory import SweepDirectory

RUN_KEYS = [old for old, new in RENAMED.items() if new in KNOWN_KEYS]
SPACE = "learning_rate=choice(1e-5,1e-4)"


def refused(capsys: pytest.CaptureFixture[str], old: str, *words: object) -> str:
    """Run a command, which must refuse `old` and name the new key; returns the message."""
    assert main([str(word) for word in words]) == 2
    message = capsys.readouterr().err
    assert f"`{old}`" in message and f"`{RENAMED[old]}`" in message and "Traceback" not in message
    return message


def test_every_new_name_is_a_key_and_no_former_one_is() -> None:
    known = {*KNOWN_KEYS, *SWEEP_KEYS}
    assert set(RENAMED.values()) <= known and not known & set(RENAMED)


@pytest.mark.parametrize("old", RUN_KEYS)
def test_a_former_name_on_the_command_line(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "command line" in refused(capsys, old, "show", "task=sentiment", f"{old}=1")


@pytest.mark.parametrize("old", [old for old in RENAMED if "." in old])
def test_a_former_name_without_its_group(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "task=sentiment", f"{old.rpartition('.')[2]}=1"]) == 2
    assert f"`{RENAMED[old]}`" in capsys.readouterr().err


@pytest.mark.parametrize("old", RUN_KEYS)
def test_a_former_name_in_yaml(
    old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group, _, name = old.rpartition(".")
    file = tmp_path / "old.yaml"
    file.write_text(
        f"task: sentiment\n{group}:\n  {name}: 1\n" if group else f"task: sentiment\n{name}: 1\n",
        encoding="utf-8",
    )
    assert "old.yaml" in refused(capsys, old, "show", f"config={file}")


@pytest.mark.parametrize("value", ["1", "choice(1,2)"])
@pytest.mark.parametrize("old", RENAMED)
def test_a_former_name_in_a_sweep(
    old: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, old, "sweep", "task=sentiment", SPACE, f"{old}={value}", f"output={tmp_path}")
    assert not list(tmp_path.iterdir())


def write_sweep(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a sweep that was interrupted before its first trial."""
    SweepDirectory(folder).write(
        {
            **record,
            "status": "interrupted",
            "created": 1.0,
            "ftr": __version__,
            "primary": "accuracy",
            "mode": "max",
        }
    )


def renamed_back(values: dict[str, Any], old: str) -> None:
    """Give a key of nested values its former name."""
    new = RENAMED[old].split(".")
    for part in new[:-1]:
        values = values[part]
    values[old.rpartition(".")[2]] = values.pop(new[-1])


@pytest.mark.parametrize("status", ["interrupted", "done"])
@pytest.mark.parametrize("old", RUN_KEYS)
def test_a_former_name_in_the_record_of_a_run(
    status: str, old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = resolve(["task=sentiment"], get_registry()).config.model_dump(mode="json")
    renamed_back(config, old)
    RunDirectory(tmp_path).write(
        {"status": status, "created": 1.0, "ftr": __version__, "config": config}
    )
    before = (tmp_path / "run.json").read_bytes()
    assert "run.json" in refused(capsys, old, "resume", tmp_path)
    assert (tmp_path / "run.json").read_bytes() == before


@pytest.mark.parametrize("old", RENAMED)
def test_a_former_name_in_the_record_of_a_sweep(
    old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads(
        json.dumps(resolve_sweep(["task=sentiment", SPACE], get_registry()).record())
    )
    renamed_back(record["config" if old in RUN_KEYS else "sweep"], old)
    write_sweep(tmp_path, record)
    assert "sweep.json" in refused(capsys, old, "resume", tmp_path)


@pytest.mark.parametrize("old", [old for old in RUN_KEYS if old.startswith("train.")])
def test_a_former_name_in_the_space_of_a_recorded_sweep(
    old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads(
        json.dumps(resolve_sweep(["task=sentiment", SPACE], get_registry()).record())
    )
    record["space"][old], record["origins"][old] = "choice(1,2)", "command line"
    write_sweep(tmp_path, record)
    assert "sweep.json" in refused(capsys, old, "resume", tmp_path)


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [(command, *pair) for command, pairs in RENAMED_OPTIONS.items() for pair in pairs.items()],
)
def test_a_former_option(
    command: str, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command in COMMANDS
    for word in (old, f"{old}=there"):
        assert main([command, "something", word]) == 2
        message = capsys.readouterr().err
        assert f"`{old}`" in message and f"`{new}`" in message
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert new in shown and f"{old} " not in shown


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("num_train_epochs", "epochs"),
        ("per_device_train_batch_size", "train.micro_batch_size"),
        ("per_device_eval_batch_size", "train.eval_batch_size"),
        ("lr", "learning_rate"),
        ("lr_scheduler_type", "train.lr_scheduler"),
        ("logging_steps", "train.logging_steps"),
        ("save_steps", "train.save_steps"),
        ("trainer.save_steps", "train.save_steps"),
        ("trainer.save_total_limit", "train.save_total_limit"),
        ("trainer.eval_on_start", "train.eval_on_start"),
    ],
)
def test_names_of_transformers_lead_to_the_key(
    typed: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "task=sentiment", f"{typed}=1"]) == 2
    assert f"`{key}`" in capsys.readouterr().err


def test_the_new_names_are_taken() -> None:
    words = [
        "task=sentiment",
        "data.validation_size=0.2",
        "train.lr_scheduler=cosine",
        "train.early_stopping_patience=2",
    ]
    config = flat(resolve(words, get_registry()).config)
    assert (
        config["data.validation_size"],
        config["train.lr_scheduler"],
        config["train.early_stopping_patience"],
    ) == (0.2, "cosine", 2)
