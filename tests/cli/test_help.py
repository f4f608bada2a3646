"""`ftr help`, and the help of each command."""

import argparse
import json
import shlex

import pytest

from ftr.cli.main import COMMANDS, command_parser, load_command, main
from ftr.config.known import FIRST_KEYS

Capture = pytest.CaptureFixture[str]


def test_help_of_a_key_has_all_that_is_known_of_it(capsys: Capture) -> None:
    assert main(["help", "learning_rate"]) == 0
    about, *lines = capsys.readouterr().out.splitlines()
    assert about == "learning_rate: Peak learning rate."
    facts = dict(line.split(maxsplit=1) for line in lines)
    assert facts["type:"] == "number (above 0)" and facts["default:"] == "5e-5"
    assert "0.0002 in `qa`" in facts["tasks:"]
    assert facts["example:"] == "ftr run task=sentiment learning_rate=3e-5"
    assert main(["help", "train.lr_scheduler", "--json"]) == 0
    key = json.loads(capsys.readouterr().out)
    assert key["default"] == "linear" and "cosine" in key["choices"] and key["since"] == "0.1.0"


@pytest.mark.parametrize(
    ("topic", "key"),
    [
        ("train.schedule", "train.lr_scheduler"),
        ("lr", "learning_rate"),
        ("max_seq_length", "data.max_length"),
        ("n_trials", "trials"),
        ("adam_beta2", "trainer.adam_beta2"),
        ("lr_scheduler", "train.lr_scheduler"),
    ],
)
def test_former_names_and_those_of_other_tools_lead_to_the_key(
    capsys: Capture, topic: str, key: str
) -> None:
    assert main(["help", topic]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{key}: ") and f"`{key}`" in captured.err


def test_options_are_those_of_the_task_that_is_given(capsys: Capture) -> None:
    assert main(["help", "task=qa", "head", "--json"]) == 0
    names = [key["name"] for key in json.loads(capsys.readouterr().out)]
    assert "head.n_best" in names and "head.windows" not in names
    assert main(["help", "task=qa", "head.windows"]) == 2
    assert (
        "`head.windows` is an option of head `sequence-classification`" in capsys.readouterr().err
    )


def test_a_group_is_a_table_and_a_command_its_help(capsys: Capture) -> None:
    assert main(["help", "cv"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line] == [
        "cv:",
        "key",
        "cv.folds",
        "cv.fold",
    ]
    assert main(["help", "predict"]) == 0
    assert capsys.readouterr().out.startswith("usage: ftr predict")
    assert main(["help"]) == 0
    assert "Settings are key=value" in capsys.readouterr().out


def test_an_unknown_topic_exits_2_with_the_nearest(capsys: Capture) -> None:
    assert main(["help", "train.lr_schedular"]) == 2
    assert "Did you mean `train.lr_scheduler`?" in capsys.readouterr().err


def test_the_help_of_run_lists_the_ten_first_keys(capsys: Capture) -> None:
    assert main(["run", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("keys that people change first:")
    assert [line.split()[0] for line in lines[place + 1 : place + 11]] == list(FIRST_KEYS)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_two_examples_that_parse(name: str) -> None:
    examples = load_command(name).EXAMPLES
    assert len(examples) >= 2
    shown = command_parser(name).format_help()
    for line in examples:
        assert f"\n  {line}" in shown
        words = shlex.split(line.partition(" > ")[0].rpartition("| ")[2])
        assert words[:2] == ["ftr", name]
        parser = command_parser(name)
        args = parser.parse_intermixed_args(words[2:])
        assert isinstance(args, argparse.Namespace)
