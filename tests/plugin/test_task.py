"""`@task`, and specs whose targets are objects: the same specs as those of the hooks."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from ftr.atomic import sha256
from ftr.config.resolve import resolve
from ftr.data.registered import load_registered
from ftr.errors import ConfigError, PluginError
from ftr.registry.discovery import PluginRecord, collect
from ftr.registry.plugin_files import load
from ftr.registry.registry import Registry, get_registry
from ftr.registry.signature import signature_model
from ftr.registry.specs import DatasetSpec, HeadSpec, MetricSpec, TaskSpec, fault
from ftr.train.scoring import Scorer
from ftr_plugins.classification.head import SequenceClassificationHead

TICKETS = '''
from typing import Annotated
from annotated_types import Ge
from ftr.plugin import Column, Head, MetricSpec, hookimpl, task

def urgent_recall(predictions, references, labels):
    """Share of urgent tickets that were found."""
    return 1.0

def distance(predictions, references):
    return 0.0

@task(
    "tickets",
    metrics=[urgent_recall, MetricSpec(name="distance", target=distance, mode="min"), "accuracy"],
    defaults={"epochs": 2},
    search_space={"dataset.things": "choice(4,8)"},
)
def tickets(things: Annotated[int, Ge(4), "how many things"] = 12):
    """Tell urgent tickets from calm ones."""
    return [{"text": str(number), "label": number % 2} for number in range(things)]
'''
BY_HOOKS = """
from ftr.plugin import DatasetSpec, MetricSpec, TaskSpec, hookimpl

@hookimpl
def ftr_datasets():
    return [DatasetSpec(name="tickets", target="by_task:tickets", options="by_task:tickets",
        summary="rows of `tickets`: Tell urgent tickets from calm ones")]

@hookimpl
def ftr_metrics():
    return [
        MetricSpec(name="urgent_recall", target="by_task:urgent_recall",
            summary="Share of urgent tickets that were found"),
        MetricSpec(name="distance", target="by_task:distance", mode="min"),
    ]

@hookimpl
def ftr_tasks():
    return [TaskSpec(name="tickets", dataset="tickets", model="minilm", head="sequence-classification",
        metrics=("urgent_recall", "distance", "accuracy"), summary="Tell urgent tickets from calm ones",
        defaults={"epochs": 2}, search_space={"dataset.things": "choice(4,8)"})]
"""


def module(folder: Path, name: str, source: str) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    return load(path, sha256(path))


def test_a_decorated_function_gives_the_specs_that_hooks_give(tmp_path: Path) -> None:
    hooks, declared = collect(module(tmp_path, "by_task", TICKETS))
    _, hooked = collect(module(tmp_path, "by_hooks", BY_HOOKS))
    assert set(declared) == set(hooked) and len(declared) == len(hooked) == 4
    assert hooks == ("@task",)  # as `ftr plugins` lists them


def test_a_decorated_head_is_registered_with_its_options(tmp_path: Path) -> None:
    source = '''
    from ftr.plugin import Column, Head, task

    @task("rating", dataset="sentiment-sample", metrics=["accuracy"])
    class Rating(Head):
        """A rating."""
        columns = (Column(name="text"), Column(name="label", type="label"))
        def __init__(self, focus: float = 0.0):
            super().__init__()
            self.focus = focus

    class Better(Rating):
        """Not decorated, so not registered."""
    '''
    _, specs = collect(module(tmp_path, "rating", textwrap.dedent(source)))
    head = HeadSpec(
        name="rating",
        target="rating:Rating",
        options="rating:Rating",
        summary="head of `rating`: A rating",
    )
    task = TaskSpec(
        name="rating",
        dataset="sentiment-sample",
        model="minilm",
        head="rating",
        metrics=("accuracy",),
        summary="A rating",
    )
    assert specs == (("head", head), ("task", task))


def test_hooks_and_decorators_go_together_and_a_name_is_taken_once(tmp_path: Path) -> None:
    both = (
        TICKETS
        + """
@hookimpl
def ftr_datasets():
    from ftr.plugin import DatasetSpec
    return [DatasetSpec(name="NAME", target=tickets)]
"""
    )
    _, specs = collect(module(tmp_path, "both", both.replace("NAME", "others")))
    assert [spec.name for kind, spec in specs if kind == "dataset"] == ["tickets", "others"]
    with pytest.raises(PluginError, match="the dataset `tickets` is registered twice"):
        collect(module(tmp_path, "twice", both.replace("NAME", "tickets")))


def test_a_task_of_another_package_is_not_registered_again(tmp_path: Path) -> None:
    module(tmp_path, "by_task", TICKETS)
    _, specs = collect(module(tmp_path, "borrower", "from by_task import tickets\n"))
    assert specs == ()


@pytest.mark.parametrize(
    ("decorator", "what"),
    [
        ('@task("x", metrics=[])', r"`@task\('x'\)` needs a list of metrics"),
        ('@task("x", metrics="accuracy")', r"`@task\('x'\)` needs a list of metrics"),
        ('@task("x", metrics=["f1"], dataset="imdb")', "leave `dataset=` out"),
        (
            '@task("My Task", metrics=["f1"])',
            r"`@task\('My Task'\)`: the dataset `My Task`: its name",
        ),
        (
            '@task("x", metrics=[lambda predictions: 1.0])',
            "the metric `<lambda>`: its name must be",
        ),
        (
            '@task("x", metrics=["f1"], defaults={"epochs": {1}})',
            "`defaults\\['epochs'\\]` is a `set`",
        ),
    ],
)
def test_a_task_that_lacks_something_says_what(decorator: str, what: str, tmp_path: Path) -> None:
    source = f"from ftr.plugin import task\n{decorator}\ndef rows():\n    return []\n"
    with pytest.raises(TypeError, match=what):
        module(tmp_path, "lacking", source)


def test_an_object_becomes_its_path_and_one_that_has_none_is_refused() -> None:
    assert DatasetSpec(name="x", target=collect).target == "ftr.registry.discovery:collect"
    assert DatasetSpec(name="x", target=Path).target.endswith(":Path")  # type: ignore[union-attr]

    def local() -> list[int]:
        return []

    others: list[Any] = [local, {}, 3]
    for target in others:
        spec = MetricSpec(name="x", target=target)
        assert "a class or function at the top level of a module" in str(fault(spec))


def test_parameters_without_a_type_cannot_be_options() -> None:
    def rows(*, things=3):  # type: ignore[no-untyped-def]
        return [things]

    def more(**things: int) -> list[int]:
        return list(things.values())

    with pytest.raises(TypeError, match="the parameter `things` has no type"):
        signature_model(rows)
    with pytest.raises(TypeError, match="cannot be an option"):
        signature_model(more)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            'return 1.0|return "good"',
            "it returned a `str`: return a number, or scores by their names",
        ),
        ("return 1.0|return {'urgent_recall': 'good'}", "gave `urgent_recall` as a `str`"),
        ("return 1.0|return {'recall': 0.5}", "gave no score `urgent_recall`, only: recall"),
        ("return 1.0|return 1 / 0", "ZeroDivisionError"),
        ("predictions, references, labels|predictions, truth", "its parameter `truth` is none of"),
        ("return 1.0|return 1", ""),
    ],
)
def test_what_a_metric_gives_is_checked(change: str, said: str, tmp_path: Path) -> None:
    scorer = Scorer.of(registry(tmp_path, change), ["urgent_recall"])
    head, labels = SequenceClassificationHead(), ["calm", "urgent"]
    rows, found = [{"id": "1", "label": 1}], [{"id": "1", "label_id": 1}]
    if not said:
        assert scorer.score(head, rows, found, labels) == {"urgent_recall": 1.0}
        return
    with pytest.raises(PluginError) as caught:
        scorer.score(head, rows, found, labels)
    assert said in str(caught.value) and "metric `urgent_recall`" in str(caught.value)


def test_a_single_number_gets_the_name_that_ranks(tmp_path: Path) -> None:
    head, labels = SequenceClassificationHead(), ["calm", "urgent"]
    rows, found = [{"id": "1", "label": 1}], [{"id": "1", "label_id": 1}]
    keyed = registry(tmp_path, 'mode="min"|mode="min", key="far"')
    scorer = Scorer.of(keyed, ["by_task:distance", "by_task:urgent_recall"])
    assert scorer.primary == "far"
    assert scorer.score(head, rows, found, labels) == {"far": 0.0, "urgent_recall": 1.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("return [{|return {'train': 3} or [{", "returned a `int` as train"),
        ("return [{|return ['a', 'b'] or [{", "row 0 of train is a `str`"),
        ("return [{|return {'dev': []} or [{", "returned the split `dev`"),
        ("return [{|return [][1] or [{", "IndexError"),
        ("return [{|return [{}, {'text': 'a'}] or [{", ""),
    ],
)
def test_what_a_function_of_rows_gives_is_checked(change: str, said: str, tmp_path: Path) -> None:
    known = registry(tmp_path, change)
    model = known.options_model("dataset", "tickets")
    assert model is not None
    options = model.model_validate({})
    if not said:
        found = load_registered(known, "tickets", options)["train"].to_list()
        assert found == [{"text": None}, {"text": "a"}]
        return
    with pytest.raises(PluginError) as caught:
        load_registered(known, "tickets", options)
    assert said in str(caught.value) and "the dataset `tickets` of plugin `by_task`" in str(
        caught.value
    )


def registry(folder: Path, change: str) -> Registry:
    """The registry with the tickets, of which a part is changed."""
    old, new = change.split("|")
    assert old in TICKETS
    specs = collect(module(folder, "by_task", TICKETS.replace(old, new)))[1]
    plugin = PluginRecord(
        name="by_task",
        distribution="by_task.py",
        version="1",
        origin="by_task.py",
        builtin=False,
        status="loaded",
        module="by_task",
        specs=specs,
    )
    return Registry([*get_registry().plugins, plugin])


def test_a_task_of_one_file_trains_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "by_task.py").write_text(TICKETS, encoding="utf-8")
    words = ["run", "task=tickets", "--plugin", "by_task.py", "epochs=1", "baselines=false"]
    words += ["train.freeze=backbone", "dataset.things=24", "data.max_length=8", "--json"]
    result = subprocess.run(
        [sys.executable, "-m", "ftr", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)["record"]
    assert record["config"]["dataset"]["options"] == {"things": 24}
    assert record["scores"]["test"]["urgent_recall"] == 1.0
    assert record["scores"]["test"]["distance"] == 0.0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "dataset.things=2",
            "`dataset.things` is 2 (command line): it should be greater than or equal to 4",
        ),
        ("dataset.thing=5", "Did you mean `things`?"),
    ],
)
def test_parameters_are_options(setting: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(["task=tickets", setting], registry(tmp_path, "12|12"))
    assert said in str(caught.value)


def test_a_task_with_the_name_of_a_built_in_is_asked_for_by_its_plugin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = registry(tmp_path, '"tickets",|"sentiment",')
    built_in = resolve(["task=sentiment"], known).config
    assert built_in.dataset.name == "sentiment-sample"
    (line,) = capsys.readouterr().err.splitlines()
    assert "is the built-in task" in line and "write `task=by_task:sentiment`" in line
    assert resolve(["task=by_task:sentiment"], known).config.dataset.name == "sentiment"
    assert capsys.readouterr().err == ""


def test_a_default_is_checked_as_a_setting_is() -> None:
    def rows(limit: int = "abc") -> list[int]:  # type: ignore[assignment]
        return [limit]

    with pytest.raises(ValidationError, match="limit"):
        signature_model(rows).model_validate({})


def test_options_of_an_inherited_constructor(tmp_path: Path) -> None:
    class Wide:
        def __init__(self, *, width: int = 3) -> None:
            self.width = width

    class Wider(Wide):
        pass

    assert signature_model(Wider).model_validate({"width": 5}).model_dump() == {"width": 5}
