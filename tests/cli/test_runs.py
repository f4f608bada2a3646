"""Finding runs and sweeps by name, listing, showing, tagging and removing them, and what no damaged
record may do to the others.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.cli.main import main
from ftr.results.keeping import TAGS
from ftr.runs.directory import hold

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
    listed = {one["id"]: one for one in json.loads(out)}
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
    found = json.loads(out)
    assert (found["output"], found["predictions"], found["errors"]) == (str(told), 1, 1)
    assert found["id"] == reader.path.name and "files" not in found


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


def entry(folder: Path, name: str, run: RunResult, **changes: object) -> Path:
    """Make a run directory whose record is that of `run` with changes by dotted key."""
    record = json.loads(json.dumps(run.record))
    for key, value in changes.items():
        *groups, last = key.split("__")
        within = record
        for group in groups:
            within = within[group]
        within[last] = value
    (folder / name).mkdir(parents=True)
    (folder / name / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return folder / name


@pytest.fixture
def book(
    classifier: RunResult, reader: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Five runs and a damaged one under `runs`, in the current folder."""
    runs = tmp_path / "runs"
    for number, accuracy in enumerate((0.5, 0.9, 0.7)):
        entry(
            runs,
            f"20261101-00000{number}-sentiment-000{number}",
            classifier,
            scores__test={"accuracy": accuracy, "f1": 1 - accuracy},
            config__learning_rate=number / 100,
            intervals={"test": {"accuracy": {"low": accuracy - 0.05, "high": accuracy + 0.05}}},
        )
    entry(runs, "20261102-000000-qa-0003", reader)
    entry(runs, "20261102-000001-qa-0004", reader, status="failed", error="RunError: disk full")
    (runs / "20261103-000000-torn-0005").mkdir()
    (runs / "20261103-000000-torn-0005" / "run.json").write_text("{", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return runs


def ids(capsys: Capture, *words: object) -> list[str]:
    """Return the last two digits of the runs that are listed."""
    code, out, err = call(capsys, "runs", *words, "--json")
    assert code == 0, err
    return [one["id"][-2:] for one in json.loads(out)]


def test_runs_are_filtered_and_sorted(book: Path, capsys: Capture) -> None:
    assert ids(capsys) == ["00", "01", "02", "03", "04", "05"]
    for words, wanted in {
        ("--task", "qa"): ["03", "04"],
        ("--task", "q*", "--status", "failed"): ["04"],
        ("--status", "unreadable"): ["05"],
        ("--dataset", "reviews.csv"): ["00", "01", "02"],
        ("--model", "*bert"): ["00", "01", "02", "03", "04"],
        ("--where", "accuracy>0.6"): ["01", "02"],
        ("--where", "accuracy>=0.5", "--where", "learning_rate<0.02"): ["00", "01"],
        ("--where", "task=qa"): ["03", "04"],
        ("--where", "train.keep=best", "--task", "sentiment"): ["00", "01", "02"],
        ("--sort", "accuracy"): ["01", "02", "00", "03", "04", "05"],
        ("--sort", "f1", "--task", "sentiment", "--reverse"): ["01", "02", "00"],
        ("--sort", "learning_rate", "--task", "sentiment"): ["00", "01", "02"],
        ("--sort", "status"): ["00", "01", "02", "03", "04", "05"],
        ("--task", "ner"): [],
    }.items():
        assert ids(capsys, *words) == wanted, words
    for words, says in {
        ("--sort", "acuracy"): "Did you mean `accuracy`?",
        ("--where", "acuracy>1"): "Did you mean `accuracy`?",
        ("--where", "accuracy"): "cannot be read",
        ("--where", ""): "cannot be read",
        ("--rm", "x", "--tag", "y", "z"): "one of them at a time",
    }.items():
        code, _, err = call(capsys, "runs", *words)
        assert code == 2 and says in err and len(err.splitlines()) == 1


def test_a_score_to_minimize_is_sorted_from_the_lowest(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    for number, mse in enumerate((0.5, 0.1)):
        entry(
            tmp_path,
            f"0{number}",
            classifier,
            primary="mse",
            mode="min",
            scores={"test": {"mse": mse}},
        )
    assert ids(capsys, tmp_path, "--sort", "mse") == ["01", "00"]


def test_the_list_fits_the_terminal_and_shows_intervals(
    book: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    _, out, _ = call(capsys, "runs", "--sort", "f1", "--task", "sentiment")
    assert "test accuracy 0.5000 (0.4500–0.5500)" in out and "trained" in out
    assert out.splitlines()[0].split()[6] == "f1"
    for columns in (80, 60):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, out, _ = call(capsys, "runs")
        assert max(map(len, out.splitlines())) <= columns and len(out.splitlines()) == 7
        assert "20261102-000001-qa-0004" in out
        _, out, _ = call(capsys, "runs", "--sort", "f1", "--task", "sentiment")
        assert out.splitlines()[0].split()[-1] == "f1" and out.splitlines()[1].endswith("0.5000")


def test_all_of_one_run_by_the_start_of_its_name(
    book: Path, classifier: RunResult, capsys: Capture
) -> None:
    code, out, _ = call(capsys, "runs", "20261102-000001")
    assert code == 0 and "RunError: disk full" in out and "next: ftr resume runs/" in out
    code, out, _ = call(capsys, "runs", classifier.path)
    assert code == 0
    for part in (
        "settings that are no defaults",
        "train: 36 rows, rejected: empty text 1",
        "accuracy        0.3333",
        "predictions/",
        "versions  ftr 0.1.0, python",
        "next: ftr evaluate",
    ):
        assert part in out, part
    assert re.search(r"  epochs +5.0 +argument\n", out) and "weight_decay" not in out
    code, out, _ = call(capsys, "runs", classifier.path, "--json")
    answer = json.loads(out)
    assert (answer["id"], answer["status"]) == (classifier.path.name, "done")
    assert answer["scores"] == classifier.scores and answer["record"]["weights"]
    assert answer["settings"]["epochs"] == {"value": 5.0, "origin": "argument"}
    assert answer["files"]["model/"] > 100_000 and answer["resume"] is None
    for given, says in {
        "2026": "several runs",
        "20261103": "cannot be read",
        "x": "No run",
    }.items():
        code, _, err = call(capsys, "runs", given)
        assert code == 2 and says in err and len(err.splitlines()) == 1


def test_tags_are_kept_in_the_directory_and_not_in_the_record(book: Path, capsys: Capture) -> None:
    record = (book / "20261102-000000-qa-0003" / "run.json").read_bytes()
    assert call(capsys, "runs", "--tag", "20261102-000000", "paper", "v1")[0] == 0
    _, out, _ = call(capsys, "runs", "20261102-000000", "--tag", "paper", "best", "--json")
    assert json.loads(out)["tags"] == ["paper", "v1", "best"]
    assert (book / "20261102-000000-qa-0003" / "run.json").read_bytes() == record
    assert ids(capsys, "--tagged", "paper") == ["03"]
    _, out, _ = call(capsys, "runs", "--untag", "20261102-000000", "paper", "--json")
    assert json.loads(out)["tags"] == ["v1", "best"] and ids(capsys, "--tagged", "paper") == []
    assert "v1, best" in call(capsys, "runs", "20261102-000000")[1]
    for words, says in {
        ("--untag", "20261102-000000", "other"): "its tags are v1, best",
        ("--tag", "20261102-000000", "a b"): "cannot be a tag",
        ("--tag", "20261102-000000", "\x1b[31m"): "cannot be a tag",
        ("--tag", "20261102-000000", "../x"): "cannot be a tag",
        ("--tag", "paper"): "`--tagged NAME` lists",
        ("--tag", "2026", "x"): "several runs",
        ("--tag", "nothing", "x"): "is not a run directory",
        ("20261102-000000", "--sync"): "was not tracked",
    }.items():
        code, _, err = call(capsys, "runs", *words)
        assert code == 2 and says in err and len(err.splitlines()) == 1, err
    (book / "20261102-000000-qa-0003" / TAGS).write_text('["\\u001b[31m"]', encoding="utf-8")
    code, out, _ = call(capsys, "runs")
    assert code == 0 and out.count("unreadable") == 2 and "\x1b" not in out
    assert call(capsys, "runs", "--tag", "20261102-000000", "x")[0] == 2


def test_tags_survive_a_training_that_is_resumed(
    tiny_bert: Path, reviews: Path, tmp_path: Path, capsys: Capture
) -> None:
    from trainings import REVIEWS, train

    run = train({**REVIEWS, "epochs": 1}, dataset=reviews, model=tiny_bert, output=tmp_path)
    assert call(capsys, "runs", "--tag", run.path, "paper")[0] == 0
    failed = json.dumps({**run.record, "status": "failed"})
    (run.path / "run.json").write_text(failed, encoding="utf-8")
    code, _, err = call(capsys, "resume", run.path)
    assert code == 0, err
    assert json.loads(call(capsys, "runs", run.path, "--json")[1])["tags"] == ["paper"]


def test_runs_are_removed_whole_or_not_at_all(book: Path, capsys: Capture) -> None:
    code, out, _ = call(capsys, "runs", "--rm", "20261101-000000", "20261103", "--json")
    assert code == 0
    assert json.loads(out) == {
        "removed": ["runs/20261101-000000-sentiment-0000", "runs/20261103-000000-torn-0005"]
    }
    assert ids(capsys) == ["01", "02", "03", "04"] and len(list(book.iterdir())) == 4
    # One that cannot be removed keeps the others.
    with hold(book / "20261102-000000-qa-0003"):
        code, _, err = call(capsys, "runs", "--rm", "20261101-000001", "20261102-000000")
    assert code == 2 and "is being worked on" in err and len(list(book.iterdir())) == 4
    assert call(capsys, "runs", "--rm", "20261101-000001", "nothing")[0] == 2
    assert call(capsys, "runs", "--rm", "20261101")[0] == 2 and len(list(book.iterdir())) == 4


def test_only_run_directories_are_removed(
    book: Path,
    classifier: RunResult,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = book / "20261104-000000-sweep-qa-0006"
    for part in ("best", "trials/0000", "ensemble"):
        entry(sweep, part, classifier)
    (sweep / "sweep.json").write_text("{}", encoding="utf-8")
    several = entry(book, "20261104-000001-qa-0007", classifier)
    entry(several, "members/0", classifier)
    (book / "20261104-000002-link-0008").symlink_to(classifier.path)
    (tmp_path / "home" / "photos").mkdir(parents=True)
    (tmp_path / "home" / "run.json").write_text("{}", encoding="utf-8")
    shutil.copy(several / "run.json", book / "run.json")
    for given, says in {
        sweep / "best": f"is a part of `{sweep}`",
        sweep / "trials/0000": "is a part of",
        sweep / "ensemble": "is a part of",
        several / "members/0": "is a part of",
        book / "20261104-000002-link-0008": "is a link",
        tmp_path / "home": "neither the name nor the record",
        book: "holds other runs",
        tmp_path: "not a run directory",
        "/": "not a run directory",
        "": "is empty",
    }.items():
        code, _, err = call(capsys, "runs", "--rm", given)
        assert code == 2 and says in err and len(err.splitlines()) == 1, (given, err)
    with hold(sweep / "trials/0000"):
        code, _, err = call(capsys, "runs", "--rm", sweep)
        assert code == 2 and "is being worked on" in err
    monkeypatch.chdir(several)
    assert "the folder you are in" in call(capsys, "runs", "--rm", several)[2]
    monkeypatch.chdir(tmp_path)
    (several / "outside").symlink_to(tmp_path / "home")
    code, _, err = call(capsys, "runs", "--rm", sweep, several)
    assert code == 0, err
    assert not sweep.exists() and not several.exists() and (tmp_path / "home/photos").is_dir()
    assert classifier.record["status"] == "done" and classifier.model.is_dir()


def test_names_with_control_characters_hide_nothing_and_reach_no_terminal(
    book: Path, classifier: RunResult, capsys: Capture
) -> None:
    entry(book, "20261105-\x1b[2J\n-0009", classifier, config__task="\x1b]0;title\x07")
    for words in (["runs"], ["runs", "20261105"]):
        code, out, _ = call(capsys, *words)
        assert code == 0 and "\x1b" not in out and "\x07" not in out and "u001b" in out
    assert len(call(capsys, "runs")[1].splitlines()) == 8
