"""What becomes of a run whose plugin's code fails, and of a run whose plugin is one file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ftr
from ftr.atomic import sha256
from ftr.cli.main import main
from ftr.errors import DataError, FtrError, PluginError, RequestError
from ftr.prediction.job import compare
from ftr.prediction.request import Request
from ftr.registry import plugin_files
from ftr.registry.registry import get_registry, registry_with
from ftr.runs.evaluate import evaluate
from ftr.study.resume import resume
from trainings import REVIEWS, Settings

METHODS = (
    "check",
    "build",
    "encode",
    "collate",
    "loss",
    "reduce",
    "decode",
    "calibrate",
    "score_inputs",
)
SOURCE = """
from pathlib import Path

import ftr
from ftr.errors import DataError
from ftr.model.pretrained import Pretrained
from ftr_plugins.classification.head import SequenceClassificationHead
from pydantic import BaseModel


class Options(BaseModel, extra="forbid"):
    fail: str = ""


class Shaky(SequenceClassificationHead):
    def __init__(self, options=None):
        super().__init__()
        self.fail = options.fail if options else ""

    def check(self, row):
        if self.fail == "purpose":
            raise DataError("this row smells")
        if self.fail == "check":
            raise RuntimeError("check is closed")
        return super().check(row)
{methods}

class Weak(Pretrained):
    def __init__(self, options=None):
        super().__init__({tiny!r})

    def load(self, auto_class, **config):
        raise OSError("no weights\\ntoday")


class Rotten:
    def load(self, options):
        if Path({closed!r}).exists():
            raise RuntimeError("the pears are rotten")
        from datasets import Dataset, DatasetDict

        rows = [dict(id=str(n), text=f"the film was {{'good' if n % 2 else 'bad'}} {{n}}", label="ab"[n % 2]) for n in range(40)]
        return DatasetDict(train=Dataset.from_list(rows))


class Lost:
    def compute(self, predictions, references):
        return {{"lost": 1 / 0}}


class Found:
    def compute(self, predictions, references):
        return {{"found": sum(a == b for a, b in zip(predictions, references)) / len(references)}}


@ftr.hookimpl
def ftr_heads():
    return [ftr.HeadSpec(name="shaky", target="shaky:Shaky", options="shaky:Options")]


@ftr.hookimpl
def ftr_models():
    return [ftr.ModelSpec(name="weak", target="shaky:Weak")]


@ftr.hookimpl
def ftr_datasets():
    return [ftr.DatasetSpec(name="rotten", target="shaky:Rotten")]


@ftr.hookimpl
def ftr_metrics():
    return [ftr.MetricSpec(name=name, target=f"shaky:{{name.title()}}") for name in ("lost", "found")]
"""
METHOD = """
    def {name}(self, *given, **named):
        if self.fail == "{name}":
            raise RuntimeError("{name} is closed")
        return super().{name}(*given, **named)
"""
KEYS = (
    "learning_rate",
    "batch_size",
    "data.max_length",
    "data.validation_size",
    "data.test_size",
    "train.precision",
)
SHORT: Settings = {
    **{key: REVIEWS[key] for key in KEYS},
    "metrics": "found",
    "head": "shaky",
    "epochs": 1,
    "data.limit": 30,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shaky")


@pytest.fixture(scope="module")
def file(place: Path, tiny_bert: Path) -> Iterator[Path]:
    """A plugin that is one file, known to this process while the tests of this module run."""
    methods = "".join(METHOD.format(name=name) for name in METHODS if name != "check")
    path = place / "shaky.py"
    path.write_text(
        SOURCE.format(methods=methods, tiny=str(tiny_bert), closed=str(place / "closed")),
        encoding="utf-8",
    )
    registry_with([path])
    yield path
    plugin_files.forget()
    get_registry.cache_clear()


@pytest.fixture(scope="module")
def common(file: Path, tiny_bert: Path, reviews: Path) -> dict[str, Any]:
    return {**SHORT, "dataset": str(reviews), "model": str(tiny_bert)}


FAILURES: dict[str, tuple[Settings, str, str]] = {
    **{
        name: (
            {"head.fail": name},
            "head `shaky`",
            f"failed in `{name}`: RuntimeError: {name} is closed",
        )
        for name in METHODS
    },
    "model": ({"model": "weak"}, "model `weak`", "failed in `load`: OSError: no weights today"),
    "metric": ({"metrics": "lost"}, "metric `lost`", "failed: ZeroDivisionError: division by zero"),
    "dataset": (
        {"dataset": "rotten"},
        "dataset `rotten`",
        "failed to load: RuntimeError: the pears are rotten",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_an_error_in_a_plugins_code_names_component_plugin_and_version_and_leaves_its_traceback(
    case: str, common: dict[str, Any], place: Path, file: Path, tmp_path: Path
) -> None:
    asked, component, cause = FAILURES[case]
    (place / "closed").touch()
    with pytest.raises(PluginError) as caught:
        ftr.run({**common, **asked, "output": str(tmp_path)}, say=lambda line: None)
    message = str(caught.value)
    (run,) = tmp_path.iterdir()
    assert (
        component in message
        and "`shaky`" in message
        and f"shaky.py {sha256(file)[:12]}" in message
        and cause in message
    )
    assert len(message.splitlines()) == 1 and message.endswith("error.log`.")
    log = (run / "error.log").read_text(encoding="utf-8")
    assert str(file) in log and log.count("Traceback (most recent call last)") >= 1
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed" and cause in record["error"]


def test_the_command_says_it_in_one_line_and_exits_1(
    common: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["run", *(f"{key}={value}" for key, value in common.items()), "head.fail=loss"]) == 1
    )
    last = capsys.readouterr().err.splitlines()[-1]
    (run,) = (tmp_path / "runs").iterdir()
    assert last.startswith("ftr: error: the head `shaky` of plugin `shaky` (shaky.py ")
    assert last.endswith(
        f"RuntimeError: loss is closed. The traceback is in `runs/{run.name}/error.log`."
    )


def test_what_a_plugin_raises_on_purpose_keeps_its_message_and_leaves_nothing(
    common: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"^this row smells$"):
        ftr.run({**common, "head.fail": "purpose", "output": str(tmp_path)}, say=lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_data_failed_to_load_is_resumed_once_that_is_mended(
    common: dict[str, Any], place: Path, tmp_path: Path
) -> None:
    (place / "closed").touch()
    with pytest.raises(PluginError):
        ftr.run({**common, "dataset": "rotten", "output": str(tmp_path)}, say=lambda line: None)
    (run,) = tmp_path.iterdir()
    with pytest.raises(
        PluginError, match=r"the pears are rotten\. The traceback is in `.*error\.log`\.$"
    ):
        resume(run, say=lambda line: None)
    (place / "closed").unlink()
    result = resume(run, say=lambda line: None)
    assert result.record["status"] == "done" and set(result.record["data"]["splits"]) == {
        "train",
        "validation",
        "test",
    }
    assert not (run / "error.log").exists() and "error" not in result.record


@pytest.fixture(scope="module")
def finished(common: dict[str, Any], place: Path) -> Path:
    return ftr.run({**common, "output": str(place / "runs")}, say=lambda line: None).path


def test_the_record_says_which_file_and_what_was_in_it(finished: Path, file: Path) -> None:
    record = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    digest = sha256(file)
    origin = {
        "plugin": "shaky",
        "distribution": "shaky.py",
        "version": digest[:12],
        "origin": str(file),
        "sha256": digest,
    }
    assert record["components"]["plugin:shaky"] == origin
    assert record["components"]["head:shaky"] == {**origin, "target": "shaky:Shaky"}
    assert record["config"]["plugins"] == [str(file)]
    assert json.loads((finished / "model" / "ftr.json").read_text(encoding="utf-8"))["plugins"] == {
        str(file): digest
    }


@pytest.fixture
def forgotten(finished: Path) -> Iterator[None]:
    """Let this process be one that has never heard of the file."""
    before = list(plugin_files.named())
    plugin_files.forget()
    get_registry.cache_clear()
    yield
    plugin_files.forget()
    get_registry.cache_clear()
    registry_with(before)


@pytest.mark.usefixtures("forgotten")
def test_load_evaluate_and_resume_find_the_file_again(finished: Path, file: Path) -> None:
    (prediction,) = ftr.load(finished).predict(["the film was good"])
    assert set(prediction["probabilities"]) == {"bad", "good", "so so"}
    plugin_files.forget()
    get_registry.cache_clear()
    assert evaluate(finished).scores.keys() == {"found"}
    plugin_files.forget()
    get_registry.cache_clear()
    assert resume(finished, say=lambda line: None).path == finished


@pytest.mark.usefixtures("forgotten")
def test_a_file_that_is_gone_or_changed_is_named(
    finished: Path,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = tmp_path / "elsewhere" / "shaky.py"
    kept.parent.mkdir()
    shutil.move(file, kept)
    try:
        for again in (ftr.load, evaluate, resume):
            with pytest.raises(
                RequestError, match=rf"the plugin file `{file}` that this was made with is missing"
            ):
                again(finished)
        assert main(["evaluate", str(finished), "--plugin", str(kept), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["scores"].keys() == {"found"}
        file.write_text(kept.read_text(encoding="utf-8") + "\n# more\n", encoding="utf-8")
        with pytest.raises(
            FtrError, match=rf"`{file}` is not the plugin file that this was made with"
        ):
            ftr.load(finished)
    finally:
        shutil.move(kept, file)


@pytest.mark.usefixtures("forgotten")
def test_a_prediction_is_not_resumed_with_another_plugin_file(
    finished: Path, file: Path, tmp_path: Path
) -> None:
    request = Request(folder=finished / "model")
    identity = request.identity()
    assert identity["plugin"] == {"shaky.py": sha256(file)}
    changed = tmp_path / "shaky.py"
    changed.write_text(file.read_text(encoding="utf-8") + "\n# more\n", encoding="utf-8")
    plugin_files.forget()
    get_registry.cache_clear()
    with pytest.raises(RequestError, match=r"`shaky\.py` \(plugin\) was"):
        compare(identity, request.identity(registry_with([changed])), tmp_path)
