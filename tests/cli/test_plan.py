"""`ftr plan`: its text, its JSON and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftr.cli.main import main
from trainings import write_reviews


@pytest.fixture
def words(tiny_bert: Path, tmp_path: Path) -> list[str]:
    data = write_reviews(tmp_path / "reviews.csv", 60, broken=1)
    own = [f"dataset={data}", f"model={tiny_bert}", f"output={tmp_path / 'runs'}"]
    return ["task=sentiment", "baselines=false", *own, "--no-steps"]


def test_the_text_has_data_memory_time_and_disk(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == 0

    text = capsys.readouterr().out
    for part in ("rejected", "labels: ", "memory: about ", "time: about ", "disk: up to "):
        assert part in text
    assert "by arithmetic" in text


def test_what_does_not_fit_is_shown_and_ends_with_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words, "--memory", "0.1", "--json"]) == 2

    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["exit_code"] == 2
    assert answer["fits"] is False
    assert answer["error"] in err.replace("ftr: error: ", "")
    assert "weights" in answer["error"]


def test_a_wrong_request_is_refused_as_a_run_would(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words, "epoch=3"]) == 2
    assert "`epoch`" in capsys.readouterr().err

    assert main(["plan", *words, "--memory", "none"]) == 2
    assert "--memory" in capsys.readouterr().err
