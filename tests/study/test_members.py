"""Which trials are joined: the best ones that fit together, of a head that can combine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftr.config.schema import RunConfig
from ftr.errors import ConfigError
from ftr.registry.discovery import PluginRecord
from ftr.registry.registry import Registry, get_registry
from ftr.registry.specs import HeadSpec
from ftr.runs.report import ensemble_lines
from ftr.study.ensemble import add_ensemble, check_ensemble
from ftr.testing.tiny import tiny_tokenizer
from joined import alter, join, noise, same, sweep_of

if TYPE_CHECKING:
    from ftr.runs.run import RunResult


def other_tokenizer(path: Path) -> None:
    """Replace the tokenizer by that of another family."""
    tiny_tokenizer("roberta").save_pretrained(path / "model")


def other_rows(path: Path) -> None:
    """Say that the trial was ranked on other rows."""
    data = json.loads((path / "run.json").read_text())["data"]
    data["splits"]["validation"]["sha256"] = "0"
    alter(path / "run.json", data=data)


def other_questions(path: Path) -> None:
    """Say that the trial cut questions short."""
    card = json.loads((path / "model" / "ftr.json").read_text())
    alter(
        path / "model" / "ftr.json", head_options={**card["head_options"], "max_question_length": 3}
    )


def other_threshold(path: Path) -> None:
    """Give an option that changes no feature of a row."""
    card = json.loads((path / "model" / "ftr.json").read_text())
    alter(path / "model" / "ftr.json", head_options={**card["head_options"], "n_best": 3})


@pytest.mark.parametrize(
    ("asked", "change", "cause"),
    [
        (
            "top2",
            lambda path: alter(path / "model" / "ftr.json", max_length=32),
            "its `max_length` is 32, not 48",
        ),
        ("top2", other_tokenizer, "its tokenizer is different"),
        ("top2", other_rows, "its validation rows are different"),
        (
            "top2",
            other_questions,
            "its options of head `extractive-qa` make other features of a row",
        ),
        ("top2", lambda path: shutil.rmtree(path / "model"), "it kept no model"),
        (
            "top2",
            lambda path: alter(path / "model" / "config.json", model_type="roberta"),
            "its model is a `roberta`, not a `bert`",
        ),
        (
            "soup2",
            lambda path: alter(path / "model" / "config.json", num_attention_heads=4),
            "its `num_attention_heads` is 4, not 2",
        ),
        ("top2", other_threshold, None),
    ],
)
def test_what_does_not_fit_the_best_is_left_out_and_the_next_is_taken(
    asked: str, change: Callable[[Path], None], cause: str | None, reader: RunResult, tmp_path: Path
) -> None:
    said: list[str] = []
    made = sweep_of(reader, tmp_path, [same, same, same])
    change(made[0].trial_path(1))
    summary = join(made, asked, said)
    assert summary["members"] == ([0, 1] if cause is None else [0, 2])
    if cause is not None:
        assert summary["left_out"]["1"].startswith(cause)
        assert any(
            line.startswith(f"trial 1 is left out of the ensemble: {cause}") for line in said
        )
        assert f"left out: trial 1: {cause}" in (tmp_path / "ensemble" / "README.md").read_text()


def test_with_fewer_trials_than_asked_it_is_made_of_those_and_of_one_not_at_all(
    classifier: RunResult, tmp_path: Path
) -> None:
    said: list[str] = []
    made = sweep_of(classifier, tmp_path, [same, noise(0.1, 1)])
    assert join(made, "top5", said)["members"] == [0, 1]
    assert "`ensemble=top5`: only 2 finished trials can be joined" in said
    shutil.rmtree(tmp_path / "ensemble")
    summary = join((made[0], made[1][:1]), "top5", said)
    assert summary == {
        "asked": "top5",
        "cause": "it takes 2 finished trials that can be joined, and there is 1",
    }
    assert (
        said[-1] == f"no ensemble was made (`ensemble=top5`): {summary['cause']}"
        and not (tmp_path / "ensemble").exists()
    )
    assert ensemble_lines(summary, "here") == [f"ensemble: none, {summary['cause']}"]


@pytest.fixture
def lone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with a head of a third party that has all a head needs, and no `combine`."""
    source = (
        "from ftr_plugins.classification.head import SequenceClassificationHead as Whole\n"
        "class Lone:\n"
        "    def __init__(self, options=None):\n"
        "        self.whole = Whole()\n"
        "    def __getattr__(self, name):\n"
        "        if name in ('combine', 'provides'):\n"
        "            raise AttributeError(name)\n"
        "        return getattr(self.whole, name)\n"
    )
    (tmp_path / "lone_head.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = HeadSpec(name="lone", target="lone_head:Lone", summary="no combine")
    record = PluginRecord(
        name="lone",
        distribution="lone",
        version="1",
        origin="here",
        builtin=False,
        status="loaded",
        specs=(("head", spec),),
    )
    return Registry([*get_registry().plugins, record])


def test_a_head_that_cannot_combine_is_refused_at_once_or_named_at_the_end(
    classifier: RunResult, lone: Registry, tmp_path: Path
) -> None:
    config = RunConfig.model_validate(
        {**classifier.record["config"], "head": {"name": "lone", "options": {}}}
    )
    cause = (
        "the head `lone_head:Lone` has no `combine`, so outputs of several models cannot be "
        "averaged: `soup3` averages weights."
    )
    with pytest.raises(ConfigError) as refused:
        check_ensemble("top3", config, lone)
    assert str(refused.value) == f"`ensemble=top3`: {cause}"
    check_ensemble("soup3", config, lone)
    check_ensemble(None, config, lone)
    check_ensemble("top3", RunConfig.model_validate(classifier.record["config"]), lone)
    directory, entries = sweep_of(classifier, tmp_path / "sweep", [same, same])
    for path in (directory.trial_path(0), directory.trial_path(1)):
        alter(path / "model" / "ftr.json", head="lone", head_options={})
    summary = add_ensemble(directory, entries, "top2", ("accuracy", "max"), lone, lambda line: None)
    assert summary == {"asked": "top2", "cause": cause} and not list(
        directory.path.glob("ensemble*")
    )
    assert add_ensemble(directory, entries, "soup2", ("accuracy", "max"), lone, lambda line: None)[
        "members"
    ] == [0, 1]
