"""What `ftr run` and `ftr predict` do with odd files of questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.cli.main import main

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

Capture = pytest.CaptureFixture[str]

HEADER = "id,question,context,answer,answer_start\n"
FILES = {
    "no answer": (
        HEADER + "".join(f"q{n},Who?,Ada met Bo.,,\n" for n in range(8)),
        "no training row has an answer, so there is nothing to learn: "
        "the column `answer`, read as `answers`, has no answer in any of 8 rows",
    ),
    "answers elsewhere": (
        HEADER + "".join(f"q{n},Who?,Ada met Bo.,Cy,8\n" for n in range(8)),
        "(answer is not in the context: 8, first `odd.csv:2` (an answer must be in its "
        "context letter for letter;",
    ),
    "open quote": (
        HEADER + 'q1,Who?,Ada met Bo.,Bo,8\nq2,Who?,"Ada met Bo.,Bo,8\nq3,Who?,Ada met Bo.,Bo,8\n',
        "`odd.csv`, row beginning on line 3: the quote that opens on line 3 is never closed",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_teaches_nothing_is_refused(
    name: str, tiny_bert: Path, tmp_path: Path, capfd: Capture
) -> None:
    content, said = FILES[name]
    (tmp_path / "odd.csv").write_text(content, encoding="utf-8")
    assert (
        main(
            [
                "run",
                "task=qa",
                f"model={tiny_bert}",
                f"dataset={tmp_path / 'odd.csv'}",
                f"output={tmp_path / 'runs'}",
            ]
        )
        == 2
    )
    out, err = capfd.readouterr()
    assert said in err.splitlines()[-1] and not out


def test_every_row_of_a_question_with_several_answers_is_predicted(
    reader: RunResult, tmp_path: Path, capfd: Capture
) -> None:
    rows = ["q1,who built the mill ?,the mill was built by a village .", "q2,who ?,a village ."]
    other = "q1,when ?,the mill was built by a village ."
    lines = [
        f"{row},{answer}\n"
        for row, answer in zip(
            (rows[0], rows[1], rows[0], other), ("a village", "", "village", ""), strict=True
        )
    ]
    (tmp_path / "a.csv").write_text(
        "id,question,context,answer\n" + "".join(lines), encoding="utf-8"
    )
    assert main(["predict", str(reader.path), str(tmp_path / "a.csv")]) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["id"] for one in found] == ["q1", "q2", "q1", "q1"]
    assert found[0] == found[2] and "answer" in found[0]
    assert found[3]["id"] == "q1" and "answer" in found[3]
    assert main(["predict", str(reader.path), str(tmp_path / "a.csv"), "--format", "squad"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == {one["id"]: one["answer"] for one in found[:2]}
    assert "1 of 4 rows are unusable" in err


def test_a_quote_that_never_closes_ends_predict_with_its_line(
    reader: RunResult, tmp_path: Path, capfd: Capture
) -> None:
    (tmp_path / "a.csv").write_text(
        'question,context\nwho ?,"the mill\nwhat ?,the mill\n', encoding="utf-8"
    )
    assert main(["predict", str(reader.path), str(tmp_path / "a.csv")]) == 2
    out, err = capfd.readouterr()
    (message,) = [line for line in err.splitlines() if "error" in line]
    assert (
        not out
        and "`a.csv`, row beginning on line 2: the quote that opens on line 2 is never closed"
        in message
    )
