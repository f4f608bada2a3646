"""A run is trained again from its record: equal bit for bit, or what differs is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftr.cli.main import main
from ftr.results.facts import differences, facts, same_machine
from trainings import REVIEWS, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

Capture = pytest.CaptureFixture[str]
Change = Callable[[dict[str, Any]], object]


def call(capsys: Capture, *words: object) -> tuple[int, dict[str, Any], str]:
    """Run `ftr reproduce … --json` and return exit code, answer and stderr."""
    capsys.readouterr()
    code = main(["reproduce", *map(str, words), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def changed(run: RunResult, folder: Path, change: Change) -> Path:
    """Return a copy of a run whose record `change` has edited."""
    copy = Path(shutil.copytree(run.path, folder / run.path.name))
    record = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    change(record)
    (copy / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return copy


def record_at(path: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(path) / "run.json").read_text(encoding="utf-8"))
    return found


def test_a_run_is_reproduced_bit_for_bit(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    code, answer, _ = call(capsys, classifier.path, f"output={tmp_path}")
    assert (code, answer["status"], answer["differences"]) == (0, "equal", [])
    assert answer["compared"] > 150 and answer["same_machine"]
    assert answer["weights"] == {"model.safetensors": True}
    assert [one["name"] for one in answer["facts"] if one["equal"] is None] == []
    assert answer["scores"] == classifier.scores
    again = record_at(answer["path"])
    assert again["weights"] == classifier.record["weights"]
    assert again["reproduces"]["of"] == classifier.path.name
    assert set(again["origins"].values()) == {f"run `{classifier.path.name}`", "command line"}


def test_another_seed_gives_other_numbers_and_exit_code_3(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    def other_seed(record: dict[str, Any]) -> None:
        record["config"]["seed"] = 1
        record["packages"]["torch"] = "1.0"

    run = changed(classifier, tmp_path, other_seed)
    code, answer, err = call(capsys, run, f"output={tmp_path / 'again'}")
    assert (code, answer["status"]) == (3, "differs")
    assert answer["weights"] == {"model.safetensors": False} and answer["differences"]
    explained = [one for one in answer["facts"] if one["explains"] and one["equal"] is False]
    assert [(one["name"], one["recorded"]) for one in explained] == [("package torch", "1.0")]
    assert "package torch: 1.0, now 2" in err
    capsys.readouterr()
    assert main(["runs", answer["path"]]) == 0
    assert f"{run.name}: differs" in capsys.readouterr().out


def test_check_trains_nothing(classifier: RunResult, tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "again"
    code, answer, _ = call(capsys, classifier.path, "--check", f"output={output}")
    assert (code, answer["status"], answer["path"], answer["scores"]) == (0, "equal", None, None)
    names = [one["name"] for one in answer["facts"] if one["equal"]]
    wanted = {"rows of train", "rows of test", "package torch", "plugin sentiment", "threads"}
    assert wanted | {"source code of ftr", "model weights", "precision", "processor"} <= set(names)
    run = changed(
        classifier, tmp_path, lambda record: record["hardware"].update(processor="A slow one")
    )
    code, answer, _ = call(capsys, run, "--check")
    assert (code, answer["status"]) == (3, "differs") and not output.exists()
    assert main(["reproduce", str(run), "--check"]) == 3
    text = capsys.readouterr().out
    assert "processor: A slow one, now" in text and "splits of rows" in text


def test_data_that_changed_or_is_missing_is_refused_with_both_hashes(
    tiny_bert: Path, reviews: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = Path(shutil.copy(reviews, tmp_path / "data.csv"))
    run = train({**REVIEWS, "epochs": 1}, dataset=data, model=tiny_bert, output=tmp_path / "runs")
    before = run.record["data"]["sources"][0]["sha256"]
    moved = data.rename(tmp_path / "moved.csv")
    code, answer, _ = call(capsys, run.path)
    assert code == 2 and str(data) in answer["error"] and before in answer["error"]
    code, answer, _ = call(capsys, run.path, f"dataset={moved}", f"output={tmp_path / 'again'}")
    assert (code, answer["status"]) == (0, "equal")
    assert not [one for one in answer["facts"] if one["explains"] and one["equal"] is False]
    with moved.open("a", encoding="utf-8") as stream:
        stream.write("a good film,good\n")
    shutil.copy(moved, data)
    for words in ([run.path], [run.path, "--check"], [run.path, f"dataset={moved}"]):
        code, answer, _ = call(capsys, *words)
        assert code == 2 and before in answer["error"], answer
        assert answer["error"].count("sha256") == 1 and len(answer["error"].split(before)) == 2


def test_weights_to_begin_with_that_changed_are_refused(
    tiny_bert: Path, reviews: Path, tmp_path: Path, capsys: Capture
) -> None:
    from ftr.testing.tiny import tiny_checkpoint

    model = Path(shutil.copytree(tiny_bert, tmp_path / "model"))
    asked = {**REVIEWS, "epochs": 1}
    run = train(asked, dataset=reviews, model=model, output=tmp_path / "runs")
    known = run.record["model_source"]["weights"]["model.safetensors"]
    tiny_checkpoint("bert", model, seed=1)
    code, answer, _ = call(capsys, run.path)
    assert code == 2 and known in answer["error"] and "`model=`" in answer["error"]
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_record_of_an_older_version_is_reproduced_and_what_it_does_not_say_is_named(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    def older(record: dict[str, Any]) -> None:
        for key in ("weights", "environment", "model_source", "head_note", "weighting"):
            record.pop(key, None)
        del record["hardware"]["instructions"]
        config = record["config"]
        config["data"]["validation_share"] = config["data"].pop("validation_size")
        config["train"]["log_steps"] = config["train"].pop("logging_steps")
        config["members"] = config.pop("ensemble_size")
        del config["train"]["ema"], config["head"]["options"]["windows"]

    run = changed(classifier, tmp_path, older)
    code, answer, _ = call(capsys, run, f"output={tmp_path / 'again'}")
    assert (code, answer["status"]) == (0, "equal"), answer
    assert answer["weights"] == {"model.safetensors": True}  # of the files in `model/`
    unknown = {one["name"]: one["now"] for one in answer["facts"] if one["equal"] is None}
    assert unknown["settings that the record does not have"] == {
        "head.windows": False,
        "train.ema": None,
    }
    assert {"source code of ftr and its plugins", "instructions", "container"} <= set(unknown)
    assert main(["reproduce", str(run), "--check"]) == 0
    assert "head.windows=False" in capsys.readouterr().out


def test_recorded_threads_and_precision_are_used_again(
    classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    import torch

    def measured(record: dict[str, Any]) -> None:
        record["config"]["train"]["precision"] = "auto"
        record["numerics"]["precision"] = "bf16"
        record["hardware"]["threads"] = 2

    threads = torch.get_num_threads()
    run = changed(classifier, tmp_path, measured)
    _, answer, _ = call(capsys, run, f"output={tmp_path / 'again'}")
    again = record_at(answer["path"])
    assert again["config"]["train"]["precision"] == again["numerics"]["precision"] == "bf16"
    assert again["hardware"]["threads"] == 2 and torch.get_num_threads() == threads
    assert not [one for one in answer["facts"] if one["explains"] and one["equal"] is False]


def test_a_run_of_several_is_reproduced_with_its_members(
    tiny_bert: Path, reviews: Path, tmp_path: Path, capsys: Capture
) -> None:
    asked = {**REVIEWS, "epochs": 1, "seeds": 2}
    run = train(asked, dataset=reviews, model=tiny_bert, output=tmp_path / "runs")
    code, answer, _ = call(capsys, run.path, f"output={tmp_path / 'again'}")
    assert (code, answer["status"], answer["differences"]) == (0, "equal", [])
    assert answer["weights"] == dict.fromkeys(
        [
            "model.safetensors",
            "members/0/model.safetensors",
            "members/1/model.safetensors",
        ],
        True,
    )
    # A member is an ordinary run.
    code, answer, _ = call(capsys, run.path / "members/1", f"output={tmp_path / 'one'}")
    assert (code, answer["status"]) == (0, "equal")


REFUSED: dict[str, tuple[Change, str]] = {
    "failed": (lambda record: record.update(status="failed"), "is `failed`, so there is no result"),
    "ensemble": (lambda record: record.update(ensemble={}), "joins trials of a sweep"),
    "adopted": (lambda record: record.update(adopted=[{"donor": 1}]), "scheduler=pbt"),
    "unknown key": (lambda record: record["config"].update(pipeline=1), "know the key `pipeline`"),
    "secret": (
        lambda record: record["config"]["trainer"].update(push_to_hub_token="***"),
        "holds no secrets",
    ),
    "damaged data": (lambda record: record.update(data={"sources": [1]}), "is damaged"),
    "damaged machine": (lambda record: record.update(hardware=[1]), "is damaged"),
    "plugin file": (
        lambda record: record["components"].update(
            {"plugin:x": {"plugin": "x", "origin": "/nowhere/x.py", "sha256": "0" * 64}}
        ),
        "the plugin file `/nowhere/x.py`",
    ),
    "code": (
        lambda record: record["config"]["model"]["options"].update(trust_remote_code=True),
        "model.trust_remote_code=true",
    ),
    "address": (
        lambda record: record["config"]["compute"].update(address="10.0.0.1:6379"),
        "ftr reproduce",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_repeated_is_refused_in_one_line(
    name: str, classifier: RunResult, tmp_path: Path, capsys: Capture
) -> None:
    change, says = REFUSED[name]
    code, answer, err = call(capsys, changed(classifier, tmp_path, change))
    assert code == 2 and says in answer["error"] and len(err.splitlines()) == 1, answer


def test_a_run_that_was_resumed_under_other_packages_says_so(
    tiny_bert: Path, reviews: Path, tmp_path: Path, capsys: Capture
) -> None:
    import ftr

    run = train({**REVIEWS, "epochs": 1}, dataset=reviews, model=tiny_bert, output=tmp_path)

    def interrupted(record: dict[str, Any]) -> None:
        record["status"] = "interrupted"
        record["packages"]["torch"] = "1.0"
        record["environment"]["source"]["ftr"] = "0" * 64

    copy = changed(run, tmp_path / "copy", interrupted)
    code, answer, _ = call(capsys, copy, "--check")
    assert code == 3
    ftr.resume(copy, say=lambda line: None)
    (other,) = record_at(copy)["resumed_with"]
    assert set(other) == {"torch", "ftr"} and other["torch"].startswith("2.")
    code, answer, _ = call(capsys, copy, "--check")
    names = [one["name"] for one in answer["facts"] if one["equal"] is False]
    assert code == 3 and "code or packages when it was resumed" in names


def test_settings_other_than_places_are_refused(classifier: RunResult, capsys: Capture) -> None:
    code, answer, _ = call(capsys, classifier.path, "epochs=9")
    assert code == 2 and "`epochs` was 5" in answer["error"]
    code, answer, _ = call(capsys, classifier.path, "--check", "epochs=5")
    assert code == 0


def test_on_another_type_of_machine_scores_decide_and_weights_may_differ(
    classifier: RunResult,
) -> None:
    record = classifier.record
    there = {**record, "hardware": {**record["hardware"], "processor": "Another"}}
    assert same_machine(record, record) and not same_machine(there, record)
    assert differences(record, record)[0] == []
    nan = {**record, "best": {**record["best"], "value": float("nan")}}
    assert differences(nan, nan)[0] == []
    (one,), _ = differences(nan, record)
    assert one.what == "best.value"
    other = [fact.name for fact in facts(there, record) if fact.equal is False]
    assert other == ["processor"]


@pytest.mark.slow
def test_the_best_run_of_a_sweep_is_reproduced_also_if_its_sweep_stopped_it(
    tiny_bert: Path, reviews: Path, tmp_path: Path, capsys: Capture
) -> None:
    import ftr

    asked = {**REVIEWS, "dataset": str(reviews), "model": str(tiny_bert), "epochs": 4}
    found = ftr.sweep(
        {
            **asked,
            "output": str(tmp_path / "runs"),
            "learning_rate": "grid(5e-3,4e-3,1e-5)",
            "searcher": "grid",
            "metric": "f1",
            "max_concurrent": 1,
            "compute.cpus": 1,
        },
        say=lambda line: None,
    )
    assert main(["runs", str(found.path)]) == 0
    shown = capsys.readouterr().out
    assert "the best is 0" in shown and "searcher" in shown and "grace_period" not in shown
    assert main(["runs", str(found.path / "trials"), "--sort", "f1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    code, answer, _ = call(capsys, found.path, f"output={tmp_path / 'again'}")
    assert (code, answer["status"]) == (0, "equal"), answer
    assert answer["weights"] == {"model.safetensors": True}
    # The same as if the scheduler had stopped it after two epochs.
    stopped = next(
        path
        for path in sorted((found.path / "trials").iterdir())
        if record_at(path)["status"] == "stopped"
    )
    from ftr.registry.registry import get_registry
    from ftr.runs.directory import RunDirectory
    from ftr.runs.run import finish_run

    finished = finish_run(RunDirectory(stopped), get_registry(), lambda line: None, ("f1", "max"))
    assert finished.record["last"]["epoch"] < 4
    code, answer, _ = call(capsys, stopped, f"output={tmp_path / 'stopped'}")
    assert (code, answer["status"], answer["differences"]) == (0, "equal", []), answer
    assert answer["weights"] == {"model.safetensors": True}
