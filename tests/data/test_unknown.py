"""Unknown tokens are counted when rows are encoded, and a person is warned where they are many."""

import json
from pathlib import Path

import pytest

from ftr.cli.main import main


def test_a_language_that_the_model_does_not_know_is_told_in_run_evaluate_and_predict(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        "text,label",
        *(
            f"the film {'很好看' if n % 2 else '不好看'} {n},{'good' if n % 2 else 'bad'}"
            for n in range(40)
        ),
    ]
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    words = [
        f"dataset={tmp_path / 'a.csv'}",
        f"model={tiny_bert}",
        f"output={tmp_path}",
        "train.precision=fp32",
        "baselines=false",
    ]
    assert main(["run", "task=sentiment", "epochs=0.2", "data.max_length=32", *words]) == 0
    (path,) = tmp_path.glob("*/run.json")
    notes = json.loads(path.read_text(encoding="utf-8"))["notes"]
    assert any(
        "train: " in note and "of the tokens are unknown to the model" in note for note in notes
    )
    assert not any("unknown tokens" in note for note in notes)
    capsys.readouterr()
    assert main(["evaluate", str(path.parent)]) == 0
    assert "of the tokens are unknown to the model" in "".join(capsys.readouterr())
    assert main(["predict", str(path.parent), str(tmp_path / "a.csv")]) == 0
    assert (
        "input: " in (err := capsys.readouterr().err)
        and "of the tokens are unknown to the model" in err
    )
