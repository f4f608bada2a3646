"""`ftr predict`, `ftr evaluate` and `ftr runs` on finished runs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from ftr.cli.main import main
from trainings import lines, write_csv, write_squad

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

Capture = pytest.CaptureFixture[str]


def call(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    """Run a command and return exit code, stdout and stderr."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def records(out: str) -> list[dict[str, Any]]:
    """Return the objects of JSON lines."""
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Three rows, the second without text."""
    return write_csv(
        tmp_path / "texts.csv",
        ("id", "review"),
        [("a", "a good film"), ("b", " "), ("c", "boring , poor")],
    )


def test_every_row_of_a_file_gives_a_line_and_an_unusable_one_its_error(
    classifier: RunResult, texts: Path, capsys: Capture
) -> None:
    code, out, err = call(capsys, "predict", classifier.path, texts)
    found = records(out)
    expected = ftr.load(classifier.path).predict(
        [{"id": "a", "text": "a good film"}, {"id": "c", "text": "boring , poor"}]
    )
    assert code == 0 and [found[0], found[2]] == expected
    assert found[1] == {"id": "b", "error": "empty text", "place": "texts.csv:3"}
    assert "1 of 3 rows are unusable" in err and "columns guessed" in err


def test_json_is_one_list_alone_on_stdout(
    classifier: RunResult, texts: Path, capsys: Capture
) -> None:
    plain = records(call(capsys, "predict", classifier.path, texts)[1])
    code, out, _ = call(capsys, "predict", classifier.model, texts, "--json")
    assert code == 0 and json.loads(out) == plain


def test_predictions_go_to_a_file(
    classifier: RunResult, texts: Path, tmp_path: Path, capsys: Capture
) -> None:
    plain = records(call(capsys, "predict", classifier.path, texts)[1])
    target = tmp_path / "out" / "p.jsonl"
    words = ("predict", classifier.path, texts, "--output", target)
    code, out, _ = call(capsys, *words, "--columns", "none")
    assert code == 0 and out.strip().endswith("p.jsonl") and lines(target) == plain
    code, _, err = call(capsys, *words)
    assert code == 2 and "exists" in err and "--overwrite" in err and lines(target) == plain
    code, _, _ = call(capsys, *words, "--overwrite")
    reviews = ["a good film", " ", "boring , poor"]
    kept = [{"review": text, **one} for text, one in zip(reviews, plain, strict=True)]
    assert (
        code == 0
        and lines(target) == kept
        and list(lines(target)[0])[:3]
        == [
            "id",
            "review",
            "label",
        ]
    )
    assert [path.name for path in target.parent.iterdir()] == ["p.jsonl"]


def test_the_columns_of_the_file_can_be_named(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    data = write_csv(tmp_path / "x.csv", ("a", "b"), [("a good film", "boring"), ("bad", "good")])
    code, out, _ = call(capsys, "predict", classifier.path, data, "dataset.text=b")
    assert (
        code == 0
        and records(out)[0]["label"] == ftr.load(classifier.path).predict(["boring"])[0]["label"]
    )
    code, out, err = call(capsys, "predict", classifier.path, data, "learning_rate=1")
    assert (code, out) == (
        2,
        "",
    ) and "`learning_rate`: `ftr predict` takes only `dataset.*` settings" in err


@pytest.mark.parametrize("arguments", [["-"], [], ["dataset.format=text"]])
def test_a_text_a_line_is_read_from_standard_input(
    arguments: list[str], classifier: RunResult, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a good film\nboring , poor\n"))
    code, out, _ = call(capsys, "predict", classifier.path, *arguments)
    expected = ftr.load(classifier.path).predict(["a good film", "boring , poor"])
    assert code == 0
    assert [(one["label"], one["score"]) for one in records(out)] == [
        (one["label"], one["score"]) for one in expected
    ]


def test_questions_are_read_from_standard_input(
    reader: RunResult, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "id": "q",
        "question": "when was it built ?",
        "context": "the old mill was built in 1803 .",
    }
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(row) + "\n"))
    code, out, _ = call(capsys, "predict", reader.path, "-")
    assert code == 0 and records(out) == ftr.load(reader.path).predict([row])
    monkeypatch.setattr("sys.stdin", io.StringIO("when ?\n"))
    code, out, err = call(capsys, "predict", reader.path)
    assert (code, out) == (
        2,
        "",
    ) and "a row needs `question`, `context`: give one JSON object a line" in err


def test_the_official_form_is_one_object_of_answers(
    reader: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    data = write_squad(tmp_path / "q.json", passages=4, broken=0)
    plain = {
        one["id"]: one["answer"] for one in records(call(capsys, "predict", reader.path, data)[1])
    }
    code, out, _ = call(capsys, "predict", reader.path, data, "--format", "squad")
    assert code == 0 and json.loads(out) == plain and len(plain) == 12
    assert (
        json.loads(call(capsys, "predict", reader.path, data, "--format", "squad", "--json")[1])
        == plain
    )
    code, out, _ = call(
        capsys,
        "predict",
        reader.path,
        data,
        "--format",
        "squad",
        "--output",
        tmp_path / "answers.json",
    )
    assert code == 0 and out.startswith("12 answers in ")
    assert json.loads((tmp_path / "answers.json").read_text(encoding="utf-8")) == plain


def test_the_official_form_is_for_question_answering(
    classifier: RunResult, texts: Path, capsys: Capture
) -> None:
    code, _, err = call(capsys, "predict", classifier.path, texts, "--format", "squad")
    assert (
        code == 2
        and "`--format squad` is for question answering; head `sequence-classification` predicts "
        "id, label"
        in err
    )


def test_a_run_or_a_file_that_is_not_there_is_named(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    code, _, err = call(capsys, "predict", tmp_path / "nowhere", tmp_path / "x.csv")
    assert code == 2 and "nowhere" in err and "Traceback" not in err
    code, _, err = call(capsys, "predict", classifier.path, tmp_path / "x.csv")
    assert code == 2 and "x.csv" in err and "Traceback" not in err


@pytest.mark.parametrize("task", ["classifier", "reader"])
def test_evaluate_prints_every_score_to_the_last_digit(
    task: str, request: pytest.FixtureRequest, capsys: Capture
) -> None:
    run: RunResult = request.getfixturevalue(task)
    code, out, _ = call(capsys, "evaluate", run.path, "--json")
    answer = json.loads(out)
    assert code == 0 and (answer["split"], answer["scores"], answer["state"]) == (
        "test",
        run.record["scores"]["test"],
        run.record["state"],
    )
    _, out, _ = call(capsys, "evaluate", run.path)
    printed = {cells[0]: cells[1] for line in out.splitlines() if len(cells := line.split()) > 1}
    key = "accuracy" if task == "classifier" else "HasAns_f1"
    assert printed[key] == json.dumps(run.scores[key])
    code, _, err = call(capsys, "evaluate", run.path, "data.seed=3")
    assert code == 2 and "`data.seed` would split the run's own data again" in err


def test_runs_are_listed_with_their_result_and_a_damaged_one_as_such(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "runs"
    (folder / "1-broken").mkdir(parents=True)
    (folder / "1-broken" / "run.json").write_text("{")
    (folder / "2-failed").mkdir()
    (folder / "2-failed" / "run.json").write_text(
        json.dumps({"status": "failed", "created": 0.0, "config": classifier.record["config"]}),
        encoding="utf-8",
    )
    (folder / "3-done").symlink_to(classifier.path)
    code, out, _ = call(capsys, "runs", folder, "--json")
    listed = json.loads(out)
    assert code == 0 and [(one["id"], one["status"]) for one in listed] == [
        ("1-broken", "unreadable"),
        ("2-failed", "failed"),
        ("3-done", "done"),
    ]
    assert listed[2]["scores"] == classifier.scores and listed[2]["result"].startswith(
        "test accuracy "
    )
    _, out, _ = call(capsys, "runs", folder)
    assert "3-done" in out and "sentiment" in out
    (tmp_path / "empty").mkdir()
    assert call(capsys, "runs", tmp_path / "empty")[:2] == (
        0,
        f"no runs or sweeps under `{tmp_path / 'empty'}`\n",
    )


@pytest.mark.parametrize("words", [("predict", "--output"), ("evaluate", "--predictions")])
def test_a_file_that_the_user_named_is_written_behind_links_and_keeps_its_mode(
    words: tuple[str, str], classifier: RunResult, texts: Path, tmp_path: Path, capsys: Capture
) -> None:
    command, option = words
    (tmp_path / "there").write_text("old")
    (tmp_path / "there").chmod(0o600)
    link = tmp_path / "link.jsonl"
    link.symlink_to("there")
    given = [texts, "--overwrite"] if command == "predict" else []
    code, _, err = call(capsys, command, classifier.path, *given, option, link)
    assert code == 0, err
    assert link.is_symlink() and len(lines(tmp_path / "there")) > 2
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o600
    code, out, err = call(capsys, command, classifier.path, *given[:1], option, "/dev/null")
    assert code == 0 and Path("/dev/null").is_char_device() and "predictions in" not in out, err


def test_below_a_confidence_the_model_abstains_and_keeps_its_best_guess(
    classifier: RunResult, texts: Path, capsys: Capture
) -> None:
    plain = records(call(capsys, "predict", classifier.path, texts)[1])
    sure = sorted(one["score"] for one in plain if "score" in one)
    between = (sure[0] + sure[1]) / 2
    code, out, err = call(capsys, "predict", classifier.path, texts, "--abstain-below", between)
    assert code == 0 and "abstained from 1 of 2 rows" in err
    assert "not calibrated: train with `head.calibrate=temperature`" in err
    for one, known in zip(records(out), plain, strict=True):
        if "error" in known:
            assert one == known
        elif known["score"] > between:
            assert one == {**known, "confidence": known["score"], "abstained": False}
        else:
            guess = {key: value for key, value in known.items() if key != "id"}
            assert one == {
                "id": known["id"],
                **dict.fromkeys(guess),
                "confidence": known["score"],
                "abstained": True,
                "best_guess": guess,
            }
    rows = [{"id": "a", "text": "a good film"}, {"id": "c", "text": "boring , poor"}]
    found = ftr.load(classifier.path).predict(rows, abstain_below=between)
    assert found == [one for one in records(out) if "error" not in one]


def test_the_number_that_was_abstained_from_is_in_the_answer(
    classifier: RunResult, texts: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ("predict", classifier.path, texts, "--json", "--abstain-below")
    found = json.loads(call(capsys, *words, 1)[1])
    assert [one.get("abstained") for one in found] == [True, None, True]
    assert not any(
        one["abstained"] for one in json.loads(call(capsys, *words, 0)[1]) if "abstained" in one
    )
    code, out, _ = call(capsys, *words, 1, "--output", tmp_path / "p.jsonl")
    assert code == 0 and json.loads(out)["abstained"] == 2


@pytest.mark.parametrize("below", ["1.5", "-0.1", "nan", "80"])
def test_a_confidence_that_is_no_probability_is_refused(
    below: str, classifier: RunResult, texts: Path, capsys: Capture
) -> None:
    code, out, err = call(capsys, "predict", classifier.path, texts, f"--abstain-below={below}")
    assert code == 2 and not out and "`--abstain-below`" in err and "0 to 1" in err


def test_answers_in_the_form_of_squad_cannot_be_abstained_from(
    reader: RunResult, questions: Path, capsys: Capture
) -> None:
    words = ("predict", reader.path, questions, "--abstain-below", 0.5)
    code, out, err = call(capsys, *words, "--format", "squad")
    assert code == 2 and not out and "`--abstain-below`" in err
    found = records(call(capsys, *words)[1])
    assert {one["abstained"] for one in found if "abstained" in one} <= {True, False}
    assert all(one["answer"] is None for one in found if one.get("abstained"))
