"""`ftr push` to a server that speaks the Hub's protocol, and back with `hub:owner/name`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ftr
from ftr.cli.main import main
from ftr.errors import ModelError, RequestError
from ftr.export.hub import is_local, pack
from ftr.runs.run import RunResult
from hubserver import TOKEN, Hub, hub_in_this_process, serving
from joined import join, noise, same, sweep_of
from trainings import REVIEWS, train

# `huggingface_hub` 2.4 uploads in a way that its own HTTP library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<:DeprecationWarning")

FILES = {
    *("README.md", "config.json", "ftr.json", "model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json"),
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_in_this_process(str(tmp_path / "hub-cache")) as found:
        yield found


@pytest.fixture
def run(classifier: RunResult, tmp_path: Path) -> Path:
    """A copy of a finished run, which a test may change."""
    return Path(shutil.copytree(classifier.path, tmp_path / "run"))


def pushed(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main(["push", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: object, code: int = 2) -> str:
    assert main(["push", *map(str, words)]) == code
    said = capsys.readouterr().err
    assert TOKEN not in said
    return said


def test_a_push_sends_the_model_alone_and_it_predicts_from_the_hub(
    hub: Hub, run: Path, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = pushed(capsys, run, "me/reviews", "--message", "First")
    (repository,) = hub.repositories.values()
    files = repository.files()
    assert set(files) == FILES == set(done["files"])
    assert repository.private and done["private"] and repository.messages == ["First"]
    for name in FILES - {"README.md"}:
        assert files[name] == (run / "model" / name).read_bytes()
    card = files["README.md"].decode()
    assert 'pipeline("text-classification", "me/reviews")' in card
    assert 'ftr.load("hub:me/reviews")' in card
    assert not [name for name in files if str(run).encode() in files[name]]
    assert main(["predict", "hub:me/reviews", str(reviews)]) == 0
    there = capsys.readouterr().out
    assert main(["predict", str(run), str(reviews)]) == 0
    assert capsys.readouterr().out == there and there.count("label") > 50
    assert ftr.load("hub:me/reviews@main").predict(["a great film"])


def test_an_ensemble_is_pushed_whole_and_a_sweep_stands_for_its_best_run(
    hub: Hub, reader: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    join(sweep_of(reader, tmp_path / "sweep", [same, noise(0.2, 1)]), "top2")
    files = pushed(capsys, tmp_path / "sweep" / "ensemble", "me/both")["files"]
    assert {"ensemble.json", "members/0/model.safetensors", "members/1/config.json"} <= set(files)
    assert "usage.py" not in files
    card = hub.repositories["me/both"].files()["README.md"].decode()
    assert "library_name: ftr" in card and "2 models that answer as one" in card
    asking = [{"question": "who built the mill ?", "context": "two brothers built it ."}]
    found = ftr.load("hub:me/both").predict(asking)
    assert found == ftr.load(tmp_path / "sweep" / "ensemble").predict(asking)
    (tmp_path / "sweep" / "sweep.json").write_text("{}", encoding="utf-8")
    assert "usage.py" in pushed(capsys, tmp_path / "sweep", "me/best")["files"]


def test_nothing_changed_means_nothing_committed_and_what_went_is_removed(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = pushed(capsys, run, "me/reviews")
    again = pushed(capsys, run, "me/reviews")
    repository = hub.repositories["me/reviews"]
    assert first["sent"] and not again["sent"] and first["commit"] == again["commit"]
    assert len(repository.messages) == 1 and sum(one.startswith("PUT") for one in hub.calls) == 1
    (run / "model" / "onnx").mkdir()
    (run / "model" / "onnx" / "model.onnx").write_bytes(b"graph")
    assert "onnx/model.onnx" in pushed(capsys, run, "me/reviews")["files"]
    repository.files()["notes.md"] = b"somebody's"
    (run / "model" / "onnx" / "model.onnx").unlink()
    pushed(capsys, run, "me/reviews")
    assert set(repository.files()) == FILES | {"notes.md"}
    pushed(capsys, run, "me/reviews", "--revision", "trial")
    assert set(repository.branches) == {"main", "trial"}


def test_a_push_that_was_cut_off_is_repeated(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the client's own attempts
    hub.cut = 100
    said = refused(capsys, run, "me/reviews", code=1)
    assert "`me/reviews` could not be pushed" in said and "Push again" in said
    assert not hub.repositories["me/reviews"].messages
    hub.cut = 0
    assert pushed(capsys, run, "me/reviews")["sent"]
    assert set(hub.repositories["me/reviews"].files()) == FILES


def test_a_dry_run_lists_the_files_and_sends_nothing(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    (run / "model" / "rows.csv").write_text("a,b\n")
    assert main(["push", str(run), "me/reviews", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert "model.safetensors" in out and "pipeline_tag: text-classification" in out
    assert "rows.csv" not in out and "`rows.csv` is left out" in err
    assert hub.calls == []


def test_what_the_hub_refuses_is_explained(
    hub: Hub, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "write `owner/name`" in refused(capsys, run, "reviews")
    assert "may not write to `them/reviews` (403)" in refused(capsys, run, "them/reviews")
    pushed(capsys, run, "me/public", "--public")
    assert "is public: add `--public`" in refused(capsys, run, "me/public")
    hub.failing = 503
    assert "503" in refused(capsys, run, "me/reviews", code=1)
    hub.failing = 0
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "does not accept the token" in refused(capsys, run, "me/reviews")
    monkeypatch.delenv("HF_TOKEN")
    assert "`hf auth login`" in refused(capsys, run, "me/reviews")
    (run / "model" / "README.md").write_text("---\nlicense: [1]\n---\n\nMine.\n", "utf-8")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert '"license" must be a str' in refused(capsys, run, "me/reviews")


def test_a_run_that_is_not_done_and_a_model_without_a_card_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "model" / "README.md").unlink()
    assert b"me/reviews" in bytes(pack(run, "me/reviews").files["README.md"])
    record = json.loads((run / "run.json").read_text("utf-8"))
    (run / "run.json").write_text(json.dumps({**record, "status": "failed"}), "utf-8")
    assert "is no finished run (status `failed`)" in refused(capsys, run, "me/reviews")
    (run / "run.json").unlink()
    assert "has no `README.md`" in refused(capsys, run / "model", "me/reviews")
    with pytest.raises(RequestError, match="nowhere"):
        pack("nowhere", "me/reviews")


def test_paths_of_this_machine_are_left_out_or_refused(run: Path, tmp_path: Path) -> None:
    model = run / "model"
    settings = json.loads((model / "ftr.json").read_text("utf-8"))
    config = json.loads((model / "config.json").read_text("utf-8"))
    labels = {**config, "id2label": {"0": "/tmp", "1": "/m/02", "2": "c"}}
    (model / "config.json").write_text(
        json.dumps({**labels, "_name_or_path": str(tmp_path)}), "utf-8"
    )
    plugin = str(tmp_path / "my_task.py")
    (model / "ftr.json").write_text(json.dumps({**settings, "plugins": {plugin: "ab"}}), "utf-8")
    package = pack(run, "me/reviews")
    assert json.loads(bytes(package.files["config.json"])) == labels
    assert json.loads(bytes(package.files["ftr.json"]))["plugins"] == {"my_task.py": "ab"}
    assert len(package.notes) == 2
    (model / "onnx").mkdir()
    (model / "onnx" / "model.onnx").symlink_to(run / "run.json")
    with pytest.raises(ModelError, match=r"`model\.onnx` is a link out of it"):
        pack(run, "me/reviews")
    (model / "onnx" / "model.onnx").unlink()
    settings["head_options"]["words"] = str(tmp_path / "words.txt")
    (model / "ftr.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(ModelError, match=r"`head_options\.words` in .* a path of this machine"):
        pack(run, "me/reviews")


@pytest.mark.parametrize(
    ("text", "key", "local"),
    [
        ("/", "unk_token", False),
        ("</s>", "eos_token", False),
        ("/m/02xyz", "word", False),
        ("owner/name", "base_model_name_or_path", False),
        ("/data/models/x", "base_model_name_or_path", True),
        ("C:\\models\\x", "path", True),
        ("~/models/x", "word", True),
        ("/usr/bin", "word", True),
    ],
)
def test_a_path_of_this_machine_is_told_from_words(text: str, key: str, local: bool) -> None:
    assert is_local(text, key) is local


@pytest.mark.slow
def test_adapters_for_a_model_of_this_machine_are_refused(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    adapted = train(
        {**REVIEWS, "train.lora.rank": 2},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path,
        epochs=1,
    )
    with pytest.raises(ModelError, match=r"which nobody else has: train with `train\.lora\.merge"):
        pack(adapted.path, "me/reviews")


@pytest.mark.slow
def test_two_programs_push_and_load_by_the_environment_alone(
    run: Path, reviews: Path, tmp_path: Path
) -> None:
    with serving() as hub:
        environment = {
            **{name: one for name, one in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
        }
        for words in (["push", str(run), "me/x"], ["predict", "hub:me/x", str(reviews)]):
            done = subprocess.run(
                [sys.executable, "-m", "ftr", *words],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        assert done.stdout.count('"label"') > 50
        assert TOKEN not in done.stderr
