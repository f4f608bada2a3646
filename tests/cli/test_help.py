"""`ftr help`, and the help of each command."""

import argparse
import json
import shlex
import sys

import pytest

from ftr.cli.help import MOST_FOUND
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
        ("device", "compute.gpus"),
        ("text", "dataset.text"),
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
    shown = capsys.readouterr().out
    assert "Settings are key=value" in shown and max(map(len, shown.splitlines())) <= 80


def test_a_group_in_a_terminal_has_its_texts_below_the_keys_what_people_set_first_on_top(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["help", "dataset"]) == 0
    lines = capsys.readouterr().out.splitlines()
    keys = [line.split()[0] for line in lines if line.startswith("dataset.")]
    assert keys[:3] == ["dataset.text", "dataset.label", "dataset.id"]
    place = lines.index("dataset.text  text or whole number or null, default null")
    assert lines[place + 1].startswith("    Column that holds the text, by name")
    assert main(["help", "trainer"]) == 0
    lines += (trainer := capsys.readouterr().out.splitlines())
    assert max(map(len, lines)) <= 80 and len(trainer) < 100
    assert all(line.startswith(("trainer", "    ")) for line in trainer if line)


@pytest.mark.parametrize(
    ("topic", "names"),
    [
        ("task", ["qa", "topics"]),
        ("model", ["minilm"]),
        ("head", ["extractive-qa"]),
        ("dataset", ["imdb"]),
        ("metrics", ["squad", "mae"]),
    ],
)
def test_help_of_a_kind_of_component_has_a_line_for_each(
    capsys: Capture, topic: str, names: list[str]
) -> None:
    assert main(["help", topic]) == 0
    shown = capsys.readouterr().out
    listed = shown.partition("registered (")[2].splitlines()
    assert set(names) <= {line.split()[0] for line in listed[1:] if line.startswith("  ")}


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("remove", "ftr runs --rm"),
        ("undo", "ftr runs --untag"),
        ("settings", "ftr show"),
        ("keys", "ftr help"),
        ("search", "ftr sweep"),
        ("slow", "compute.gpus"),
        ("GPUs per", "compute.gpus"),
        ("classification", "task=topics"),
    ],
)
def test_a_word_is_searched_in_commands_options_and_keys(
    capsys: Capture, word: str, found: str
) -> None:
    assert main(["help", word]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("mentioned by ") and len(lines) <= MOST_FOUND + 1
    assert any(line.startswith(f"  {found}  ") for line in lines)


def test_an_unknown_topic_exits_2_with_the_nearest(capsys: Capture) -> None:
    assert main(["help", "train.lr_schedular"]) == 2
    assert "Did you mean `train.lr_scheduler`?" in capsys.readouterr().err
    assert main(["help", "xyzzy"]) == 2
    assert "and none mentions it" in capsys.readouterr().err


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
