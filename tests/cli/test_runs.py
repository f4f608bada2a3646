"""Finding runs and sweeps by name, listing them, and what no damaged record may do to the
others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.cli.main import main

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

Capture = pytest.CaptureFixture[str]


def call(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    """Run a command and return exit code, stdout and stderr."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_a_folder_of_runs_that_does_not_exist_is_a_wrong_request_and_the_usual_one_is_not(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "runs") == (0, "no runs or sweeps under `runs`\n", "")
    (tmp_path / "results").mkdir()
    (tmp_path / "a-file").touch()
    for given, says in {
        "result": "does not exist. Did you mean `results`?",
        "a-file": "is a file.",
        "": "is empty",
        "no/where": "does not exist.",
    }.items():
        code, out, err = call(capsys, "runs", given)
        assert (code, out) == (2, "") and says in err and len(err.splitlines()) == 1


DAMAGES: dict[str, object] = {
    "created": {"created": "x"},
    "far": {"created": 1e300},
    "config": {"config": []},
    "no-model": {"config": {"task": "qa"}},
    "names": {
        "config": {
            "task": ["qa"],
            "model": {"name": 3},
            "dataset": {"name": None},
            "head": {"name": "h"},
        }
    },
    "scores": {"scores": [1], "heldout": "test"},
    "text-scores": {
        "scores": {"test": {"accuracy": "high"}},
        "heldout": "test",
        "primary": "accuracy",
    },
    "status": {"status": 1},
    "several": {"several": "seeds", "summary": []},
    "newer": {"config": {"format": 9, "pipeline": {}}},
}
TEXTS = {
    "torn": '{"status": "done"',
    "list": "[]",
    "nul": "\0\0",
    "empty": "",
    "digits": f'{{"created": {"9" * 5000}}}',
    "deep": "[" * 200_000,
}


@pytest.mark.parametrize("name", ["run.json", "sweep.json"])
def test_no_damaged_record_hides_the_others(
    name: str, classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "1-good").symlink_to(classifier.path)
    whole = {
        **classifier.record,
        "format": 1,
        "sweep": {},
        "space": {},
        "primary": "accuracy",
        "mode": "max",
    }
    texts = {
        **TEXTS,
        **{
            key: json.dumps({**whole, **change})
            for key, change in DAMAGES.items()
            if isinstance(change, dict)
        },
    }
    for key, text in texts.items():
        (tmp_path / key).mkdir()
        (tmp_path / key / name).write_text(text, encoding="utf-8")
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / name).write_bytes(b'{"status": "\xff"}')
    (tmp_path / "folder" / name).mkdir(parents=True)
    code, out, err = call(capsys, "runs", tmp_path, "--json")
    listed = {one["run"]: one for one in json.loads(out)}
    assert code == 0 and err == "" and listed["1-good"]["status"] == "done"
    assert set(listed) == {"1-good", "latin", "folder", *texts}
    # A sweep has no scores of its own.
    sound = {"1-good"} if name == "run.json" else {"1-good", "scores", "text-scores", "several"}
    assert {key for key, one in listed.items() if one["status"] != "unreadable"} == sound
    code, out, _ = call(capsys, "runs", tmp_path)
    assert code == 0 and len(out.splitlines()) == len(listed) + 1
    for key in ("torn", "list", "created", "config", "status", "deep", "digits"):
        code, _, err = call(capsys, "resume", tmp_path / key)
        assert code == 2 and name in err and len(err.splitlines()) == 1, err


def test_a_name_that_may_be_a_run_or_a_sweep_is_refused_with_both(
    classifier: RunResult, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = tmp_path / "texts.csv"
    texts.write_text("review\ngood film\n", encoding="utf-8")
    for folder in (
        "runs/2026-a-run",
        "runs/2026-b-sweep",
        "runs/2026-b-sweep/trials",
        "runs/2026-b",
    ):
        (tmp_path / folder).mkdir(parents=True)
    record = json.dumps(
        {key: value for key, value in classifier.record.items() if key != "weights"}
    )
    for folder in ("2026-a-run", "2026-b"):
        (tmp_path / "runs" / folder / "run.json").write_text(record, encoding="utf-8")
    (tmp_path / "runs/2026-b-sweep/sweep.json").write_text("{}", encoding="utf-8")
    for command in (["resume", "2026-"], ["predict", "2026-", str(texts)], ["evaluate", "2026-"]):
        code, out, err = call(capsys, *command)
        assert (code, out) == (2, "") and len(err.splitlines()) == 1
        assert (
            "`2026-` is the start of several runs and sweeps" in err
            and "`runs/2026-a-run`" in err
            and "`runs/2026-b-sweep`" in err
        )
    for empty in ("", " "):
        for command in (["resume", empty], ["predict", empty, str(texts)], ["evaluate", empty]):
            code, _, err = call(capsys, *command)
            assert code == 2 and "the name is empty" in err
    # A whole name is no start of another.
    assert call(capsys, "resume", "2026-b")[0] == 0
    code, _, err = call(capsys, "predict", "2026-b-", texts)
    assert code == 2 and "the sweep `runs/2026-b-sweep` has no best run yet" in err
    (tmp_path / "runs/2026-b-sweep/best").symlink_to(classifier.path)
    for given in ("2026-b-", "runs/2026-b-sweep"):
        code, out, _ = call(capsys, "predict", given, texts)
        assert code == 0 and "label" in json.loads(out)
        assert call(capsys, "evaluate", given)[0] == 0


@pytest.mark.parametrize("form", ["jsonl", "squad"])
def test_predictions_go_to_the_file_with_json_too_and_the_answer_is_about_it(
    form: str, reader: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    asked = tmp_path / "asked.csv"
    asked.write_text(
        "id,question,context\na,who built the mill ?,the mill was built by two "
        "brothers\nb,,nothing asked\n",
        encoding="utf-8",
    )
    plain, told = tmp_path / "plain", tmp_path / "told"
    assert call(capsys, "predict", reader.path, asked, "--format", form, "--output", plain)[0] == 0
    code, out, _ = call(
        capsys, "predict", reader.path, asked, "--format", form, "--output", told, "--json"
    )
    assert code == 0 and told.read_bytes() == plain.read_bytes() != b""
    assert json.loads(out) == {"output": str(told), "predictions": 1, "errors": 1}


def test_a_damaged_record_of_a_sweep_is_named_when_it_is_resumed(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    whole = {
        **classifier.record,
        "format": 1,
        "sweep": {"trials": 2},
        "space": {"epochs": "choice(1,2)"},
        "primary": "accuracy",
        "mode": "max",
    }
    changes: list[dict[str, object]] = [
        {"sweep": {"trials": "x"}},
        {"config": {"epochs": []}},
        {"origins": {}},
        {"space": {"epochs": 3}},
    ]
    for change in changes:
        (tmp_path / "sweep.json").write_text(json.dumps({**whole, **change}), encoding="utf-8")
        code, _, err = call(capsys, "resume", tmp_path)
        assert code == 2 and len(err.splitlines()) == 1 and "sweep.json" in err, err


def test_a_closed_standard_input_is_a_wrong_request(
    classifier: RunResult, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    code, out, err = call(capsys, "predict", classifier.path)
    assert (code, out, len(err.splitlines())) == (2, "", 1) and "stdin is closed" in err
