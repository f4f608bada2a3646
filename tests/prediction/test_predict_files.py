"""`ftr predict` to files: formats, columns, and going on after an interruption."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from disks import small_disk
from ftr.cli.main import main
from ftr.errors import RequestError
from ftr.prediction import blocks, run
from trainings import lines, write_csv

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

Capture = pytest.CaptureFixture[str]
TEXTS = ["a good film", " ", "boring , poor", "so so", 'a "fine"\nfilm , é', "bad"]


def call(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    """Run a command and return exit code, stdout and stderr."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Rows with a label of their own, and one without a text."""
    rows = [(f"r{number}", text, "mine", number) for number, text in enumerate(TEXTS)]
    return write_csv(tmp_path / "in.csv", ("key", "text", "label", "n"), rows)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows a block."""
    monkeypatch.setattr(blocks, "BLOCK", 2)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of predictions."""
    if path.suffix == ".parquet":
        from pyarrow import parquet

        found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return found
    if path.suffix == ".jsonl":
        return lines(path)
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.usefixtures("small_blocks")
def test_the_ending_names_the_format_and_columns_of_the_input_come_first(
    ending: str, classifier: RunResult, table: Path, tmp_path: Path, capsys: Capture
) -> None:
    target = tmp_path / f"out{ending}"
    code, out, err = call(capsys, "predict", classifier.path, table, "--output", target)
    assert code == 0 and out == f"5 predictions in {target}\n"
    assert "`label` is `input_label`" in err and "1 of 6 rows are unusable" in err
    found = read(target)
    texts = [text for text in TEXTS if text.strip()]
    expected = ftr.load(classifier.path).predict(texts)
    assert [one["n"] for one in found] == list("012345")
    assert [one["text"] for one in found] == TEXTS
    head = ["key", "text", "input_label", "n", "id", "label", "label_id", "score", "probabilities"]
    if ending != ".jsonl":
        assert list(found[0]) == [*head, "error", "place"]
    assert {one["input_label"] for one in found} == {"mine"}
    good = [one for one in found if not one.get("error")]
    assert [one["label"] for one in good] == [one["label"] for one in expected]
    assert [float(one["score"]) for one in good] == pytest.approx(
        [one["score"] for one in expected], abs=1e-6
    )
    shares = good[0]["probabilities"]
    shares = json.loads(shares) if isinstance(shares, str) else shares
    assert shares == pytest.approx(expected[0]["probabilities"], abs=1e-6)
    assert isinstance(good[0]["probabilities"], str) == (ending in (".csv", ".tsv"))
    assert (found[1]["error"], found[1]["place"]) == ("empty text", "in.csv:3")
    # What was written is read again as what it was.
    code, again, _ = call(capsys, "predict", classifier.path, target, "dataset.id=key")
    assert [json.loads(line)["id"] for line in again.splitlines()] == [f"r{n}" for n in range(6)]


def test_columns_are_chosen_and_labels_limited(
    classifier: RunResult, table: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ("predict", classifier.path, table)
    code, out, _ = call(capsys, *words, "--columns", "n,key", "--top-k", 2)
    first = json.loads(out.splitlines()[0])
    assert list(first)[:3] == ["n", "key", "id"] and len(first["probabilities"]) == 2
    assert next(iter(first["probabilities"])) == first["label"]
    target = tmp_path / "a.csv"
    options = ("--columns", "none", "--top-k", 2, "--output", target)
    assert call(capsys, *words, *options)[0] == 0
    row = read(target)[0]
    assert list(row)[4:8] == ["label_1", "score_1", "label_2", "score_2"]
    assert (row["label_1"], row["score_1"]) == (row["label"], row["score"])
    code, _, err = call(capsys, *words, "--columns", "nothing")
    assert code == 2 and "no column `nothing`" in err and "`key`" in err


def test_tables_go_to_standard_output_too(
    classifier: RunResult, table: Path, capsys: Capture
) -> None:
    words = ("predict", classifier.path, table, "--output", "-")
    code, out, _ = call(capsys, *words, "--output-format", "csv")
    found = list(csv.DictReader(out.splitlines(keepends=True)))
    assert code == 0 and [one["text"] for one in found] == TEXTS
    code, out, _ = call(capsys, *words)
    assert [json.loads(line)["n"] for line in out.splitlines()] == list("012345")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--output", "a.xlsx"), "the ending `.xlsx` tells no format. Known endings: .jsonl"),
        (("--output", "."), "is a folder"),
        (("--resume",), "need a file"),
        (("--output-format", "parquet"), "Parquet needs a file"),
        (("--top-k", "0"), "`--top-k`"),
        (("--format", "squad", "--columns", "a"), "leave `--columns` out"),
        (
            ("--output", "there.csv"),
            "`there.csv` exists: give another `--output`, or `--overwrite`",
        ),
    ],
)
def test_a_wrong_output_is_refused(
    words: tuple[str, ...],
    message: str,
    classifier: RunResult,
    table: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("kept", encoding="utf-8")
    code, out, err = call(capsys, "predict", classifier.path, table, *words)
    assert (code, out) == (2, "") and message in err
    assert Path("there.csv").read_text(encoding="utf-8") == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "there.csv"]


def test_answers_are_columns_and_start_has_numbers(
    reader: RunResult, questions: Path, tmp_path: Path, capsys: Capture
) -> None:
    target = tmp_path / "a.parquet"
    words = ("predict", reader.path, questions, "--output", target, "--abstain-below", 0.05)
    assert call(capsys, *words)[0] == 0
    plain = [
        json.loads(line)
        for line in call(capsys, *words[:3], "--abstain-below", 0.05)[1].splitlines()
    ]
    found = read(target)
    assert [one["id"] for one in found] == [one["id"] for one in plain]
    for one, known in zip(found, plain, strict=True):
        for key in ("answer", "start", "end", "abstained", "error"):
            assert one[key] == known.get(key)


def stopped_after(count: int, error: BaseException) -> Any:
    """Return `answer` that raises after so many blocks."""
    done: list[int] = []

    def answer(*given: Any) -> Any:
        if len(done) == count:
            raise error
        done.append(1)
        return blocks.answer(*given)

    return answer


@pytest.fixture(params=[".csv", ".jsonl", ".parquet"])
def halves(
    request: pytest.FixtureRequest,
    classifier: RunResult,
    table: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    small_blocks: None,
) -> tuple[Path, Path, tuple[object, ...]]:
    """A whole file of predictions, one that was interrupted after 2 of 3 blocks, and its words."""
    whole, half = (tmp_path / f"{name}{request.param}" for name in ("whole", "half"))
    words = ("predict", classifier.path, table, "--output")
    assert call(capsys, *words, whole)[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(run, "answer", stopped_after(2, KeyboardInterrupt()))
        code, _, err = call(capsys, *words, half)
    assert code == 130 and "go on with `--resume`" in err and not half.exists()
    assert (tmp_path / f"{half.name}.partial").is_dir()
    return whole, half, (*words, half)


def test_a_resumed_file_is_the_undisturbed_one(
    halves: tuple[Path, Path, tuple[object, ...]],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, half, words = halves
    code, _, err = call(capsys, *words)
    assert code == 2 and "holds unfinished predictions: go on with `--resume`" in err
    answered = []

    def answer(block: blocks.Block, *given: Any) -> Any:
        answered.append(block.number)
        return blocks.answer(block, *given)

    monkeypatch.setattr(run, "answer", answer)
    # Half a line of the journal, as a power cut leaves it.
    with (tmp_path / f"{half.name}.partial" / "journal.jsonl").open("a") as journal:
        journal.write('{"rows": 2, "err')
    code, _, err = call(capsys, *words, "--resume")
    assert code == 0 and "resumed after 4 rows" in err and answered == [2]
    assert half.read_bytes() == whole.read_bytes()
    assert not (tmp_path / f"{half.name}.partial").exists()


@pytest.mark.parametrize("halves", [".csv"], indirect=True)
def test_what_predictions_depend_on_must_be_the_same_to_resume(
    halves: tuple[Path, Path, tuple[object, ...]],
    table: Path,
    tmp_path: Path,
    classifier: RunResult,
    capsys: Capture,
) -> None:
    _, half, words = halves
    for more, named in (
        (("--top-k", 1), "`--top-k` (options) was `null`, and is now `1`"),
        (("dataset.text=key",), "`dataset.text` (options) was `null`"),
        (("--precision", "bf16"), "`--precision` (options)"),
    ):
        code, _, err = call(capsys, *words, "--resume", *more)
        assert code == 2 and named in err, err
    model = tmp_path / "model"
    shutil.copytree(classifier.model, model)
    card = json.loads((model / "ftr.json").read_text(encoding="utf-8"))
    (model / "ftr.json").write_text(json.dumps({**card, "state": {"a": 1}}), encoding="utf-8")
    code, _, err = call(capsys, words[0], model, *words[2:], "--resume")
    assert code == 2 and "`ftr.json` (model) was" in err
    content, times = table.read_bytes(), table.stat()
    table.write_bytes(content.replace(b"boring", b"BORING"))
    os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))
    code, _, err = call(capsys, *words, "--resume")
    assert code == 2 and "`edges` (input) was" in err
    assert (tmp_path / "half.csv.partial").is_dir() and not half.exists()
    code, _, _ = call(capsys, *words, "--overwrite")
    assert code == 0 and b"BORING" in half.read_bytes()


@pytest.mark.usefixtures("small_blocks")
def test_rows_that_changed_are_found_where_the_file_cannot_tell(
    classifier: RunResult,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import io

    words = ("predict", classifier.path, "-", "--output", tmp_path / "a.jsonl")
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nb\nc\nd\n"))
    with monkeypatch.context() as patch:
        patch.setattr(run, "answer", stopped_after(1, KeyboardInterrupt()))
        assert call(capsys, *words)[0] == 130
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nB\nc\nd\n"))
    code, _, err = call(capsys, *words, "--resume")
    assert code == 2 and "the input has changed within its first 2 rows" in err
    monkeypatch.setattr("sys.stdin", io.StringIO("a\nb\nc\nd\n"))
    assert call(capsys, *words, "--resume")[0] == 0
    assert [one["text"] for one in lines(tmp_path / "a.jsonl")] == list("abcd")


@pytest.mark.usefixtures("small_blocks")
def test_a_file_of_which_no_first_row_can_be_used_is_refused(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    data = write_csv(tmp_path / "a.csv", ("text", "n"), [(" ", 1), (" ", 2), ("a", 3)])
    code, out, err = call(capsys, "predict", classifier.path, data)
    assert (code, out) == (2, "")
    assert "none of the first 2 rows can be used (empty text: 2, first `a.csv:2`)" in err


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, 64) as place:
        yield place


@pytest.mark.usefixtures("small_blocks")
def test_a_full_disk_leaves_no_half_file_and_can_be_resumed(
    classifier: RunResult,
    small_disk: Path,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    data = write_csv(tmp_path / "a.csv", ("text",), [("good " * 40,)] * 8)
    target = small_disk / "out.csv"
    words = ("predict", classifier.path, data, "--output", target)
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    filler.write_bytes(b"x" * ((free.f_bavail - 4) * free.f_frsize))
    code, _, err = call(capsys, *words)
    assert code == 1 and "No space left on device" in err and "`--resume`" in err
    assert not target.exists()
    filler.unlink()
    assert call(capsys, *words, "--resume")[0] == 0
    assert call(capsys, *words[:-1], tmp_path / "known.csv")[0] == 0
    assert target.read_bytes() == (tmp_path / "known.csv").read_bytes()


@pytest.mark.slow
def test_a_killed_job_leaves_its_parts_and_resumes(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    rows = [(f"a good film {number % 97} " * (1 + number % 5), number) for number in range(48_000)]
    data = write_csv(tmp_path / "in.csv", ("text", "number"), rows)
    words = ["predict", classifier.path, data, "--output"]
    target, partial = tmp_path / "out.parquet", tmp_path / "out.parquet.partial"
    command = [sys.executable, "-m", "ftr", *map(str, [*words, target])]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
        deadline = time.monotonic() + 120
        while not list(partial.glob("*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert call(capsys, *words, target, "--resume")[0] == 2  # it is still running
        job.send_signal(signal.SIGKILL)
    assert list(partial.glob("*.parquet")) and not target.exists()
    code, _, err = call(capsys, *words, target, "--resume")
    assert code == 0 and re.search(r"resumed after [\d,]+ rows", err)
    assert call(capsys, *words, tmp_path / "known.parquet")[0] == 0
    assert target.read_bytes() == (tmp_path / "known.parquet").read_bytes()
    assert [one["number"] for one in read(target)] == [str(n) for n in range(48_000)]


@pytest.mark.usefixtures("small_blocks")
def test_sigterm_ends_a_job_with_a_word_on_how_to_resume_it(
    classifier: RunResult,
    table: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("predict", classifier.path, table, "--output", tmp_path / "a.csv")
    before = signal.getsignal(signal.SIGTERM)

    def answer(block: blocks.Block, *given: Any) -> Any:
        if block.number == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return blocks.answer(block, *given)

    with monkeypatch.context() as patch:
        patch.setattr(run, "answer", answer)
        code, _, err = call(capsys, *words)
    assert code == 130 and "interrupted: go on with `--resume`" in err and "holds 2 rows" in err
    assert signal.getsignal(signal.SIGTERM) is before
    code, _, err = call(capsys, *words, "--resume")
    assert code == 0 and "resumed after 2 rows" in err and len(read(tmp_path / "a.csv")) == 6


@pytest.mark.usefixtures("small_blocks")
def test_progress_tells_rows_their_rate_and_the_time_left(
    classifier: RunResult,
    table: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ftr.progress.PLAIN_SECONDS", 0.0)
    code, _, err = call(capsys, "predict", classifier.path, table, "--output", tmp_path / "a.csv")
    found = [line for line in err.splitlines() if " rows/s" in line]
    assert code == 0 and len(found) == 6 and found[-1].startswith("prediction: 6 rows · ")
    assert found[-1].endswith("100% read · about 0:00 left")


@pytest.mark.parametrize("words", [(), ("--output-format", "parquet")])
def test_parquet_is_not_written_to_a_pipe(
    words: tuple[str, ...], classifier: RunResult, table: Path, tmp_path: Path, capsys: Capture
) -> None:
    pipe = tmp_path / ("pipe" if words else "pipe.PARQUET")
    os.mkfifo(pipe)
    code, _, err = call(capsys, "predict", classifier.path, table, "--output", pipe, *words)
    assert code == 2 and "is no regular file, and Parquet needs one" in err and pipe.is_fifo()
    code, _, err = call(capsys, "predict", classifier.path, pipe)
    assert code == 2 and "is a named pipe, not a file" in err
    with pytest.raises(RequestError, match="is no regular file: give one"):
        ftr.predict(classifier.path, table, pipe, overwrite=True)


def test_parquet_on_standard_input_is_refused_or_read(
    classifier: RunResult, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    import pyarrow as pa
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(pa.table({"text": ["a good film", "bad"]}), content)
    for words, expected in (((), 2), (("dataset.format=parquet",), 0)):
        stream = io.TextIOWrapper(io.BytesIO(content.getvalue()))
        monkeypatch.setattr("sys.stdin", stream)
        code, out, err = call(capsys, "predict", classifier.path, "-", *words)
        assert code == expected and len(out.splitlines()) == (0 if expected else 2)
        assert ("give `dataset.format=parquet`" in err) == (expected == 2)
