"""CSV and TSV in the forms people have them."""

import csv
import gzip
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from ftr.data import files
from ftr.errors import ConfigError, DataError
from readers import QA, TEXT, causes, load, prepare, texts, unlabelled


def write(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


def test_odd_line_breaks_inside_cells_stay_text_and_places_are_physical_lines(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path / "a.csv",
        'text,label\r\n"one\r\ntwo",x\r\nnext\u0085 line,y\r\n"",x\r\nlast,y\r\n',
    )
    prepared = prepare(path)
    assert texts(prepared) == ["one\r\ntwo", "next\u0085 line", "last"]
    assert causes(prepared) == {"a.csv:5": "empty text"}


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert texts(prepare(write(tmp_path / "a.csv", "text,label\na,x\nb,y\n", "utf-8-sig"))) == [
        "a",
        "b",
    ]


def test_a_packed_file_is_read_as_such_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(b"text,label\na,x\nb,y\n"))
    assert texts(prepare(path)) == ["a", "b"]


def test_bytes_that_are_not_utf8_are_named_by_byte_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\nok,x\ncaf\u00e9,y\n", "cp1252")
    with pytest.raises(
        DataError, match=r"a\.csv` is not utf-8: byte 19, on line 3, .*`dataset\.encoding=cp1252`"
    ):
        load(path)
    assert texts(prepare(path, encoding="cp1252")) == ["ok", "caf\u00e9"]


def test_utf16_is_recognised_in_the_message_and_read_by_option(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\na,x\nb,y\n", "utf-16")
    with pytest.raises(DataError, match=r"dataset\.encoding=utf-16"):
        load(path)
    assert texts(prepare(path, encoding="utf-16")) == ["a", "b"]


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`dataset\.encoding=uft8`"):
        load(write(tmp_path / "a.csv", "text,label\na,x\n"), encoding="uft8")


def test_a_truncated_gz_names_the_file_and_how_far_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\n" + b"a,x\n" * 1000)[:-20])
    with pytest.raises(
        DataError, match=r"a\.csv\.gz` is a damaged or truncated gzip file: \d+ bytes"
    ):
        load(path)


@pytest.mark.parametrize("content", ["", "\n\n", "text,label\n"])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"a\.csv` (is empty|holds no rows)"):
        load(write(tmp_path / "a.csv", content))


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.csv", "text,label\na,x\nb,y\n")

    def grown(given: Path) -> BinaryIO:
        class Growing(io.FileIO):
            def readall(self) -> bytes:
                content = super().readall()
                with path.open("ab") as other:
                    other.write(b"c,x\n")
                return content

        return io.BufferedReader(Growing(given))

    monkeypatch.setattr(files, "open_file", grown)
    with pytest.raises(DataError, match=r"a\.csv` changed while it was read"):
        load(path)


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "reviews.csv", "text,label\na,x\n")
    with pytest.raises(
        DataError, match=r"reveiws\.csv` does not exist\. Did you mean `.*reviews\.csv`"
    ):
        load(tmp_path / "reveiws.csv")


def test_rows_of_another_width_are_rejected_at_their_line(tmp_path: Path) -> None:
    prepared = prepare(write(tmp_path / "a.csv", "text,label\na,x\nb,y,z\nc\nd,y\n"))
    assert texts(prepared) == ["a", "d"]
    assert causes(prepared) == {
        "a.csv:3": "wrong number of cells",
        "a.csv:4": "wrong number of cells",
    }


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    assert (
        "a.csv: 2 blank lines skipped"
        in load(write(tmp_path / "a.csv", "text,label\n\na,x\n\nb,y\n")).notes
    )


def test_a_quote_that_never_closes_does_not_swallow_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\na,x\n"b,y\nc,x\n')
    with pytest.raises(
        DataError, match=r"a\.csv`, row beginning on line 3: .*dataset\.quoting=none"
    ):
        load(path)
    assert texts(prepare(path, quoting="none")) == ["a", '"b', "c"]


def test_a_tsv_with_lone_quotes_is_read_without_quoting(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'sentence\tlabel\n"fine\t1\nhe said "no"\t0\n"all of it"\t1\n')
    assert texts(prepare(path)) == ['"fine', 'he said "no"', '"all of it"']


def test_a_tsv_written_with_quoting_is_unquoted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"he said ""no"""\tx\n"two\nlines"\ty\n')
    assert texts(prepare(path)) == ['he said "no"', "two\nlines"]


def test_a_semicolon_file_is_recognised_and_said_so(tmp_path: Path) -> None:
    prepared = load(write(tmp_path / "a.csv", "text;label\na, b;x\nc;y\n"))
    assert prepared.splits["train"].rows[0]["text"] == "a, b"
    assert any("delimiter ';' guessed" in note for note in prepared.notes)


def test_a_headerless_file_of_text_and_label_is_guessed_and_said_so(tmp_path: Path) -> None:
    loaded = load(
        write(tmp_path / "a.tsv", "a film\t1\nb film\t0\nc film\t1\nd film\t0\ne film\t1\n")
    )
    assert loaded.splits["train"].rows[0]["text"] == "a film"
    assert "a.tsv: no header row (guessed; otherwise: `dataset.header=true`)" in loaded.notes
    assert (
        "`a.tsv`: columns guessed: text=`0`, label=`1` (others: `dataset.text=`, `dataset.label=`)"
        in loaded.notes
    )


def test_a_headerless_test_file_follows_the_training_file(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", "a\t1\nb\t0\nc\t1\nd\t0\ne\t1\n")
    write(tmp_path / "test.tsv", "1\t1\n0\t1\n1\t0\n")
    assert texts(prepare(tmp_path, header=False), "test") == ["1", "0", "1"]


def test_columns_are_guessed_by_their_aliases(tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "a.csv", "review,sentiment\na,positive\nb,negative\n"))
    assert (
        "`a.csv`: columns guessed: text=`review`, label=`sentiment` (others: `dataset.text=`, "
        "`dataset.label=`)" in loaded.notes
    )


def test_the_only_column_that_looks_like_texts_is_the_text(tmp_path: Path) -> None:
    rows = "".join(f"u{n},a text of {n} words,{n % 2},{n * 7}\n" for n in range(9))
    (tmp_path / "a.csv").write_text("user,said,label,likes\n" + rows, encoding="utf-8")
    loaded = load(tmp_path / "a.csv")
    assert loaded.splits["train"].rows[0] == {"text": "a text of 0 words", "label": "0"}
    assert "`a.csv`: columns guessed: text=`said` (others: `dataset.text=`)" in loaded.notes


def test_columns_are_named_by_option_or_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "Verdict,Words,text\nx,a,no\ny,b,no\n")
    assert texts(prepare(path, text="words", label=0)) == ["a", "b"]


def test_an_unknown_column_lists_the_columns_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"`dataset\.text=reviw`: `a\.csv` has no such column\. Did you mean `review`\? "
        r"Its columns: `review`, `stars`",
    ):
        load(write(tmp_path / "a.csv", "review,stars\na,1\nb,2\n"), text="reviw")


def test_a_missing_column_names_the_option_to_give(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"no column `label` .*Its columns: `review`, `a`, `b`.*Name it with "
        r"`dataset\.label=\.\.\.`",
    ):
        load(write(tmp_path / "a.csv", "review,a,b\none,x,y\ntwo,y,x\n"))


def test_two_columns_that_could_be_the_label_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"several columns that may be `label`: `sentiment` and `rating`"
    ):
        load(write(tmp_path / "a.csv", "text,sentiment,rating\na,x,1\n"))


def test_null_cells_and_duplicate_ids_are_rejected_with_their_cause(tmp_path: Path) -> None:
    prepared = prepare(
        write(tmp_path / "a.csv", "id,text,label\n1,a,x\n1,b,y\n2,,x\n3,c,\n4,d,y\n")
    )
    assert causes(prepared) == {
        "a.csv:3": "duplicate id",
        "a.csv:4": "empty text",
        "a.csv:5": "empty label",
    }
    assert [row["id"] for row in prepared.splits["train"]] == ["1", "4"]


def test_ids_are_made_when_there_are_none_or_none_are_wanted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text,label\n7,a,x\n7,b,y\n")
    assert [row["id"] for row in prepare(path, id="none").splits["train"]] == ["train-1", "train-2"]


def test_answers_in_a_csv_are_found_in_their_context(tmp_path: Path) -> None:
    lines = [
        "question,context,answer,answer_start",
        "Who?,Ada met Bo,Bo,",
        "Who?,Ada met Ada,Ada,8",
        "Who?,Ada met Ada,Ada,",
        "Who?,Ada,Cy,",
        "Who?,Bo or Bo,Bo,3",
        "Why?,Ada met Bo,,",
    ]
    prepared = prepare(write(tmp_path / "a.csv", "\n".join(lines)), QA, answers="answer")
    assert [row["answers"] for row in prepared.splits["train"]] == [
        {"text": ["Bo"], "answer_start": [8]},
        {"text": ["Ada"], "answer_start": [8]},
        {"text": [], "answer_start": []},
    ]
    assert causes(prepared) == {
        "a.csv:4": "answer occurs more than once in the context and has no answer_start",
        "a.csv:5": "answer is not in the context",
        "a.csv:6": "answer_start does not point at the answer",
    }
    assert (
        "train: 1 row with an empty `answers` cell: treated as questions without an answer"
        in prepared.notes
    )


def test_a_broken_byte_among_letters_that_are_utf8_is_no_reason_for_another_encoding(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nnaïve café,x\n".encode() + b"caf\xe9,y\n")
    with pytest.raises(
        DataError,
        match=r"not utf-8: byte 29, on line 3, .*Most of it is UTF-8: correct the bytes that are "
        r"not \(1\); .*`dataset\.encoding=",
    ):
        load(path)


def test_a_quote_that_never_closes_is_named_with_the_line_it_opens_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        'sep=,\ntext,note\na,"x\ny"\n"b\nc",d "e" f\n"""g""\nh"," open\ni,j\n', encoding="utf-8"
    )
    with pytest.raises(
        DataError,
        match=r"`a\.csv`, row beginning on line 7: the quote that opens on line 8 is never "
        r"closed\. .*quoting=none",
    ):
        load(path)
    with pytest.raises(DataError, match=r"the quote that opens on line 8 is never closed"):
        unlabelled(path, TEXT)


def test_long_cells_are_read_in_threads_and_the_limit_of_csv_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"text,label\n{'long ' * 40_000},x\nb,y\n")
    limit = csv.field_size_limit()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: len(texts(prepare(path))[0]), range(8)))
    assert (found, csv.field_size_limit()) == ([200_000] * 8, limit)
