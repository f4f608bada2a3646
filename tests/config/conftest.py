"""A registry of real components in a module of their own: the built-in ones are not needed to test
the rules.
"""

from pathlib import Path

import pytest

from ftr.registry.discovery import PluginRecord
from ftr.registry.registry import Registry
from ftr.registry.specs import AnySpec, DatasetSpec, HeadSpec, Kind, MetricSpec, ModelSpec, TaskSpec

CODE = """
from pydantic import BaseModel, ConfigDict, Field, model_validator
from ftr.registry.schema import Column, RowSchema

class Lora(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rank: int = Field(8, ge=1)
    alpha: float = 1.0

class ModelOptions(BaseModel):
    revision: str | None = None
    lora: Lora = Lora()

class HeadOptions(BaseModel):
    n_best: int = Field(20, ge=1, description="spans kept")

class PairOptions(BaseModel):
    low: int = 1
    high: int = 2

    @model_validator(mode="after")
    def _ordered(self):
        if self.low >= self.high:
            raise ValueError(f"`low` must be below `high`, not {self.high} and {self.low}")
        return self

class Head:
    def __init__(self, options):
        self.schema = RowSchema(columns=(Column(name="text"), Column(name="label", type="label")))

class Broken:
    def __init__(self, options):
        raise KeyError("weights")

class NotOptions:
    pass
"""


def record(name: str, *specs: tuple[Kind, AnySpec], distribution: str = "ftr") -> PluginRecord:
    """Return a loaded plugin of version 0.1."""
    return PluginRecord(
        name=name,
        distribution=distribution,
        version="0.1",
        origin="here",
        builtin=distribution == "ftr",
        status="loaded",
        specs=specs,
    )


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Built-ins, and an outsider `acme` with a metric of the same name."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "config_fakes.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(code))
    monkeypatch.chdir(tmp_path)
    at = "config_fakes:"
    core = record(
        "core",
        ("dataset", DatasetSpec(name="sample", target=f"{at}Data")),
        ("dataset", DatasetSpec(name="imdb", target=f"{at}Data")),
        ("model", ModelSpec(name="small", target=f"{at}Model", options=f"{at}ModelOptions")),
        (
            "head",
            HeadSpec(
                name="label",
                target=f"{at}Head",
                options=f"{at}HeadOptions",
                summary="labels a text",
            ),
        ),
        ("metric", MetricSpec(name="accuracy", target=f"{at}Metric")),
        ("metric", MetricSpec(name="f1", target=f"{at}Metric")),
        (
            "task",
            TaskSpec(
                name="qa",
                dataset="sample",
                model="small",
                head="label",
                metrics=("accuracy", "f1"),
                defaults={
                    "learning_rate": 2e-4,
                    "data.max_length": 384,
                    "model.lora.rank": 4,
                    "head.n_best": 10,
                },
            ),
        ),
    )
    acme = record(
        "acme",
        ("head", HeadSpec(name="broken", target=f"{at}Broken", options=f"{at}HeadOptions")),
        ("head", HeadSpec(name="pair", target=f"{at}Head", options=f"{at}PairOptions")),
        ("head", HeadSpec(name="odd", target=f"{at}Head", options=f"{at}NotOptions")),
        ("metric", MetricSpec(name="f1", target=f"{at}Other")),
        (
            "task",
            TaskSpec(
                name="acme-task", dataset="imdb", model="small", head="label", metrics=("f1",)
            ),
        ),
        distribution="acme-tasks",
    )
    return Registry([core, acme])
