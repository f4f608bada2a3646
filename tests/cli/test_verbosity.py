"""`-v` tells where things are and how they are computed; `-q` prints errors and the answer."""

import json
from pathlib import Path

import pytest

from ftr.cli.main import main

WORDS = ("epochs=1", "data.limit=30", "data.max_length=32", "train.save_steps=2")
DETAILS = (
    ", transformers ",
    "model source: ",
    "encoded rows: ",
    "output directory: ",
    "device: cpu (",
    "threads: 1 on ",
    "precision: ",
    "attention: ",
    "checkpoint of step 2: ",
)


def test_verbose_prints_details_that_the_default_and_quiet_do_not(
    tmp_path: Path,
    tiny_bert: Path,
    reviews: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FTR_CACHE", str(tmp_path / "cache"))
    printed = {}
    for option in ("-v", "--json", "-q"):
        size = f"batch_size={64 if option == '-q' else 8}"
        words = [size, f"dataset={reviews}", f"model={tiny_bert}", f"output={tmp_path}", *WORDS]
        assert main(["run", "task=sentiment", *words, option]) == 0
        printed[option] = capsys.readouterr()
    lines = printed["-v"].err
    assert [part for part in DETAILS if part not in lines] == []
    assert f"model source: {tiny_bert}\n" in lines and f"encoded rows: {tmp_path}/cache" in lines
    assert [part for part in DETAILS if part in printed["--json"].err] == []
    run = json.loads(printed["--json"].out)
    numerics = run["record"]["numerics"]
    assert f"precision: {numerics['precision']} (" in lines
    assert "train: " in printed["--json"].err and "(encoded before)" in printed["--json"].err
    assert printed["-q"].err == "" and "\ntrained 1 step in " in printed["-q"].out

    assert main(["run", *words, "epoch=2", "-q"]) == 2
    assert "`epochs`" in capsys.readouterr().err
