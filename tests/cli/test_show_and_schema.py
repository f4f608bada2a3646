"""`ftr show` and `ftr schema` through the command, with the built-in plugins."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ftr.cli.main import main
from ftr.config.known import FIRST_KEYS


def test_show_says_where_each_value_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "task=qa", "learning_rate=3e-5"]) == 0
    lines = {
        line.split()[0]: line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()
    }
    assert re.split("  +", lines["learning_rate"]) == [
        "3e-05",
        "command line",
        "Peak learning rate.",
    ]
    assert list(lines)[1:11] == list(FIRST_KEYS)
    assert lines["dataset"].startswith("qa-sample")
    assert "task `qa` (ftr " in lines["dataset"]
    assert re.split("  +", lines["seed"])[:2] == ["0", "built-in default"]


def test_show_is_limited_to_the_groups_and_keys_that_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cv").mkdir()
    assert main(["show", "task=qa", "cv", "head.n_best", "epochs"]) == 0
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()] == [
        "key",
        "epochs",
        "head.n_best",
        "cv.folds",
        "cv.fold",
    ]
    assert "the file or folder is `./cv`" in captured.err
    assert main(["show", "task=qa", "trian"]) == 2
    assert "Did you mean `train`?" in capsys.readouterr().err
    assert main(["show", "task=qa", "trials"]) == 2
    assert "`ftr help trials` describes it" in capsys.readouterr().err


@pytest.mark.parametrize("width", [80, 140])
def test_in_a_terminal_show_has_sections_and_keeps_to_the_width(width: int) -> None:
    environment = {**os.environ, "COLUMNS": str(width), "NO_COLOR": "1"}
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "ftr", "show", "task=qa", "train.warmup=0"]
    with subprocess.Popen(command, stdout=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while part := os.read(leader, 65536):
                shown += part
        assert process.wait() == 0
    os.close(leader)
    lines = shown.decode().splitlines()
    place = lines.index("not the default:")
    assert lines[0] == "keys that people change first:"
    changed = [line.split() for line in lines[place:] if line.startswith("train.warmup ")]
    assert changed[0][:4] == ["train.warmup", "0.0", "command", "line"]
    assert ("Peak learning rate" in shown.decode()) == (width == 140)
    assert width == 140 or max(map(len, lines)) <= width


def test_what_show_prints_as_json_configures_the_same_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = tmp_path / "reviews.csv"
    data.write_text("review,sentiment\ngood,1\n")
    assert (
        main(
            [
                "show",
                "task=sentiment",
                f"dataset={data}",
                "dataset.delimiter=;",
                "epochs=2",
                "--json",
            ]
        )
        == 0
    )
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"config", "values", "origins"}
    assert shown["values"]["dataset.delimiter"] == ";"
    # JSON is YAML: the record serves as a file for `config=`.
    (tmp_path / "again.yaml").write_text(json.dumps(shown["values"]))
    assert main(["show", f"config={tmp_path / 'again.yaml'}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"] == shown["config"]


@pytest.mark.parametrize("task", ["qa", "sentiment"])
def test_schema_has_the_options_of_the_task(capsys: pytest.CaptureFixture[str], task: str) -> None:
    assert main(["schema", f"task={task}"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["task"]["default"] == task
    files = next(
        value for name, value in schema["$defs"].items() if name.startswith("dataset by path for ")
    )
    assert ("answers" if task == "qa" else "label") in files["properties"]


def test_a_wrong_key_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "task=qa", "learning_rte=1"]) == 2
    assert (
        capsys.readouterr().err
        == "ftr: error: `learning_rte` (command line) is not a key. Did you mean `learning_rate`?\n"
    )


def test_show_imports_none_of_what_trains() -> None:
    code = (
        "import sys; from ftr.cli.main import main; main(['show', 'task=qa']); "
        "main(['schema']);print(sorted({'torch', 'transformers', 'datasets', 'ray', 'evaluate'} "
        "& set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
