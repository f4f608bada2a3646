"""The command line as a whole: exit codes, one message per error, JSON alone on stdout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftr import __version__
from ftr.cli.main import COMMANDS, Answer, main

FAILING = """
import sys
import failing
from ftr.cli.main import COMMANDS, main
COMMANDS["fail"] = "fails"
sys.modules["ftr.cli.fail"] = failing
sys.exit(main(["fail", *sys.argv[1:]]))
"""
COMMAND = """
from ftr.cli.main import Answer
from ftr.errors import DataError
from ftr.registry.registry import get_registry
def configure(parser):
    parser.add_argument("run")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--format")
def execute(args):
    if args.run == "answer":
        return Answer({"settings": args.settings, "format": args.format}, "text")
    errors = {"request": DataError("no file `x.csv`"), "crash": ValueError("odd"), "interrupt": KeyboardInterrupt(), "exit": SystemExit(0)}
    errors["pipe"] = BrokenPipeError("worker")
    if args.run == "plugin":
        get_registry().target("head", "crash")()
    raise errors[args.run]
"""


def fail(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    (folder / "failing.py").write_text(COMMAND, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(folder), os.environ.get("PYTHONPATH", "")])
        ),
        **settings,
    }
    command = [sys.executable, "-W", "error", "-c", FAILING, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_help_names_every_command_and_the_grammar(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(f"\n  {name} " in shown for name in COMMANDS)
        assert "Settings are key=value" in shown


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ftr {__version__}\n"


def test_an_unknown_command_exits_2_with_a_near_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        "ftr: error: unknown command `plugin`. Did you mean `plugins`? See `ftr --help`.\n",
    )


def test_an_unknown_option_says_how_settings_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "--epochs", "3"]) == 2
    assert (
        "Settings are written `key=value`, without dashes. See `ftr list --help`."
        in capsys.readouterr().err
    )


def test_an_unknown_kind_is_a_wrong_request_in_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "taks", "--json"]) == 2
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["exit_code"] == 2
    assert answer["error"].startswith("unknown kind `taks`. Did you mean `task`?")
    assert captured.err == f"ftr: error: {answer['error']}\n"


def test_list_answers_with_a_table_and_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "metrics"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["kind", "name", "summary", "plugin"]
    assert main(["list", "metric", "--json"]) == 0
    assert "squad" in [entry["name"] for entry in json.loads(capsys.readouterr().out)]


def test_list_shows_the_facts_of_models_within_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "model"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "parameters", "tokens", "languages", "license"]
    assert max(map(len, [header, *lines])) <= 80
    place = next(number for number, line in enumerate(lines) if line.startswith("mmbert-small"))
    assert lines[place].split() == ["mmbert-small", "140M", "8192", "1833", "languages", "mit"]
    assert lines[place + 1] == "  mmBERT small, a ModernBERT for many languages"
    assert main(["list", "model", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    facts = ("parameters", "max_length", "languages", "license")
    assert [entries["gpt2"][name] for name in facts] == [124_439_808, 1024, "English", "mit"]
    assert all(entry["parameters"] and entry["max_length"] for entry in entries.values())


def test_json_is_strict_even_for_numbers_that_are_not_finite() -> None:
    text = Answer(
        {"loss": float("nan"), "scores": (1.5, float("inf")), "at": Path("runs")}, ""
    ).json()
    assert json.loads(text, parse_constant=lambda name: f"invalid {name}") == {
        "loss": None,
        "scores": [1.5, None],
        "at": "runs",
    }


def test_settings_and_options_may_stand_in_any_order(tmp_path: Path) -> None:
    result = fail(tmp_path, "answer", "a=1", "--json", "b=-2", "--format", "squad", "c=x=y")
    assert json.loads(result.stdout) == {"settings": ["a=1", "b=-2", "c=x=y"], "format": "squad"}


@pytest.mark.parametrize(
    ("case", "code", "message"),
    [
        ("request", 2, "ftr: error: no file `x.csv`\n"),
        ("crash", 1, "ftr: error: ValueError: odd. `FTR_TRACEBACK=1` shows the traceback.\n"),
        ("interrupt", 130, "ftr: interrupted\n"),
    ],
)
def test_every_error_is_one_message_and_an_exit_code(
    tmp_path: Path, case: str, code: int, message: str
) -> None:
    result = fail(tmp_path, case)
    assert (result.returncode, result.stdout, result.stderr) == (code, "", message)


def test_a_component_that_leaves_the_program_is_a_failure(tmp_path: Path) -> None:
    result = fail(tmp_path, "exit")
    assert result.returncode == 1
    assert "SystemExit: 0" in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_broken_pipe_that_is_not_stdout_is_a_failure(tmp_path: Path) -> None:
    result = fail(tmp_path, "pipe")
    assert result.returncode == 1
    assert "BrokenPipeError: worker" in result.stderr


def test_a_crash_in_a_plugin_names_the_plugin(tmp_path: Path) -> None:
    info = tmp_path / "crashing-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: crashing\nVersion: 1.2\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(
        "[ftr.plugins]\ncrasher = crashing_hooks\n", encoding="utf-8"
    )
    hooks = (
        "import ftr\n@ftr.hookimpl\ndef ftr_heads(): return [ftr.HeadSpec(name='crash', "
        "target='crashing:crash')]\n"
    )
    (tmp_path / "crashing_hooks.py").write_text(hooks, encoding="utf-8")
    (tmp_path / "crashing.py").write_text("def crash(): return 1 / 0\n", encoding="utf-8")
    result = fail(tmp_path, "plugin")
    assert result.returncode == 1
    assert result.stderr == (
        "ftr: error: the head `crash` of plugin `crasher` (crashing 1.2) failed in `crash`: "
        "ZeroDivisionError: division by zero. `FTR_TRACEBACK=1` shows the traceback.\n"
    )


def test_the_traceback_is_shown_when_asked_for(tmp_path: Path) -> None:
    result = fail(tmp_path, "crash", FTR_TRACEBACK="1")
    assert result.returncode == 1
    assert "Traceback (most recent call last)" in result.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    script = f"{sys.executable} -m ftr list | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.stdout, result.stderr) == ("0\n", "")
