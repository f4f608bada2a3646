"""What this user chose goes on working: bases of adapters, settings that reach far, plugin files of
other people once they are named.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import ftr
from ftr.cli.main import main
from ftr.config.resolve import flat, resolve
from ftr.errors import ModelError, RequestError
from ftr.registry import trust
from ftr.registry.registry import get_registry
from ftr.runs.record import check_reach, remember
from trainings import REVIEWS, train


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FTR_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(trust, "_of_process", set())
    return tmp_path / "config"


def test_own_adapters_find_their_base_again_and_those_of_others_must_be_named(
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train(
        {**REVIEWS, "epochs": 1, "baselines": False, "train.lora.rank": 2},
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path,
    )
    trust._of_process.clear()
    expected = ftr.load(run.path).predict(["good"])
    shutil.rmtree(folder)
    with pytest.raises(
        ModelError,
        match=rf"`{tiny_bert}`, a directory outside of it that you never trained with: .*`--base "
        rf"{tiny_bert}`",
    ):
        ftr.load(run.path)
    assert main(["predict", str(run.path), str(reviews), "--base", str(tiny_bert)]) == 0
    capsys.readouterr()
    assert main(["predict", str(run.path), str(reviews)]) == 2, "it was named for one command"
    monkeypatch.setenv(trust.BASES, str(tiny_bert))
    assert ftr.load(run.path).predict(["good"]) == expected


def test_a_setting_that_reaches_far_must_be_chosen_by_this_user(tmp_path: Path) -> None:
    place = tmp_path / "run.json"
    registry = get_registry()
    config = resolve(
        {
            "task": "sentiment",
            "compute.storage": "s3://team",
            "model.revision": "abc",
            "model": "x/y",
            "tracker": "mlflow,wandb",
        },
        registry,
    ).config
    values = flat(config)
    with pytest.raises(
        RequestError,
        match=r"sets `model.revision`, `compute.storage`, `tracker`.*`ftr resume .* "
        r"model.revision=abc compute.storage=s3://team tracker=mlflow,wandb`",
    ):
        check_reach(values, (), place)
    check_reach(values, ("model.revision", "compute.storage", "tracker"), place)
    check_reach({"tracker": []}, (), place)
    remember(config, registry)
    trust._of_process.clear()
    check_reach(values, (), place)
    with pytest.raises(RequestError, match=r"`compute\.storage`"):
        check_reach({**values, "compute.storage": "s3://elsewhere"}, (), place)
    assert json.loads((tmp_path / "config" / trust.FILE).read_text())["format"] == trust.FORMAT
