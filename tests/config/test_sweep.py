"""From settings to a sweep: whose space applies, what is refused before the first trial, and what
each trial gets.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ftr.cli.main import main
from ftr.config.json_schema import json_schema, sweep_schema
from ftr.config.keys import KNOWN_KEYS
from ftr.config.parse import GROUPS
from ftr.config.resolve import flat, resolve
from ftr.config.schema import SWEEP_KEYS, SweepConfig
from ftr.config.space import grid_points
from ftr.config.sweep import (
    ALL_COMBINATIONS,
    ResolvedSweep,
    ranked_by,
    recorded_sweep,
    resolve_sweep,
    trial_config,
)
from ftr.errors import ConfigError, PluginError, RequestError, UnknownComponentError
from ftr.registry.discovery import PluginRecord, discover
from ftr.registry.registry import Registry, get_registry
from ftr.registry.specs import MetricSpec, ModelSpec, TaskSpec

TASKS = [entry.spec.name for entry in get_registry().all("task") if entry.plugin.builtin]


@pytest.fixture
def registry(registry: Registry) -> Registry:
    """The components of the folder, and tasks with search spaces over a plugin's own options."""
    at = "config_fakes:"
    space = {
        "learning_rate": "loguniform(1e-5,1e-4)",
        "batch_size": {"choice": [8, 16]},
        "model.lora.rank": "choice(2,4)",
    }
    plain = {"dataset": "sample", "model": "small", "head": "label", "metrics": ("accuracy",)}
    lab = PluginRecord(
        name="lab",
        distribution="lab-tasks",
        version="0.1",
        origin="here",
        builtin=False,
        status="loaded",
        specs=(
            ("model", ModelSpec(name="large", target=f"{at}Model", options=f"{at}ModelOptions")),
            ("model", ModelSpec(name="bare", target=f"{at}Model")),
            ("metric", MetricSpec(name="perplexity", target=f"{at}Metric", mode="min", key="ppl")),
            (
                "task",
                TaskSpec(
                    name="spaced",
                    **plain,  # type: ignore[arg-type]
                    search_space=space,
                    defaults={"model.lora.alpha": 3.0},
                ),
            ),
            ("task", TaskSpec(name="spaceless", **plain)),  # type: ignore[arg-type]
            ("task", TaskSpec(name="crooked", **plain, search_space={"epochs": 3})),  # type: ignore[arg-type]
        ),
    )
    return Registry([*registry.plugins, lab])


def sweep(registry: Registry, *words: str) -> ResolvedSweep:
    return resolve_sweep(["task=qa", *words], registry)


def texts(resolved: ResolvedSweep) -> dict[str, str]:
    return {key: dimension.text for key, dimension in resolved.space.items()}


def failure(registry: Registry, *words: str) -> str:
    with pytest.raises(RequestError) as caught:
        sweep(registry, *words)
    return str(caught.value)


def test_an_expression_makes_a_dimension_and_the_rest_is_fixed(registry: Registry) -> None:
    resolved = sweep(
        registry,
        "learning_rate=loguniform(1e-5,1e-4)",
        "batch_size=choice(8,16,32)",
        "epochs=2",
        "trials=7",
        "time_budget=1h30m",
    )
    assert texts(resolved) == {
        "learning_rate": "loguniform(1e-5,1e-4)",
        "batch_size": "choice(8,16,32)",
    }
    assert (resolved.base.config.epochs, resolved.base.config.batch_size) == (2.0, 8)
    assert 1e-5 < resolved.base.config.learning_rate < 1e-4
    assert (resolved.sweep.trials, resolved.sweep.time_budget, resolved.sweep.scheduler) == (
        7,
        5400.0,
        "asha",
    )
    assert resolved.origins["batch_size"] == "command line, from `choice(8,16,32)`"
    assert resolved.origins["trials"] == "command line"
    assert resolved.origins["scheduler"] == "built-in default"
    assert set(resolved.origins) == {*flat(resolved.base.config), *SWEEP_KEYS}


@pytest.mark.parametrize("name", TASKS)
def test_a_built_in_task_needs_nothing_more(name: str) -> None:
    resolved = resolve_sweep([f"task={name}", "trials=20"], get_registry())
    assert set(resolved.space) == {"learning_rate", "batch_size", "epochs"}
    for key in resolved.space:
        assert resolved.origins[key].startswith(f"task `{name}` (ftr ")
    # What the task trains with by itself lies inside of what it searches.
    config = flat(resolve([f"task={name}"], get_registry()).config)
    for key, dimension in resolved.space.items():
        assert (
            config[key] in dimension.values
            or dimension.low < float(str(config[key])) < dimension.high
        )


def test_the_tasks_space_gives_way_to_what_was_fixed(registry: Registry) -> None:
    assert set(resolve_sweep(["task=spaced"], registry).space) == {
        "learning_rate",
        "batch_size",
        "model.lora.rank",
    }
    resolved = resolve_sweep(["task=spaced", "learning_rate=3e-5"], registry)
    assert set(resolved.space) == {"batch_size", "model.lora.rank"}
    assert resolved.base.config.learning_rate == 3e-5
    assert "model.lora.rank" not in resolve_sweep(["task=spaced", "model=large"], registry).space
    assert (
        "model.lora.rank"
        not in resolve_sweep(["task=spaced", "model.lora={rank: 8}"], registry).space
    )
    assert set(resolve_sweep(["task=spaced", "epochs=choice(1,2)"], registry).space) == {"epochs"}


def test_without_any_space_it_says_how_to_write_one(registry: Registry) -> None:
    for words in (
        ["task=spaceless"],
        ["task=spaced", "learning_rate=1e-5", "batch_size=8", "model=large"],
        ["dataset=sample", "model=small", "head=label", "metrics=f1"],
    ):
        with pytest.raises(
            ConfigError,
            match=r"give a key an expression, for example `learning_rate=loguniform\(3e-5,3e-4\)`",
        ):
            resolve_sweep(words, registry)
    with pytest.raises(ConfigError, match="no task given") as caught:
        resolve_sweep(["trials=3"], registry)
    assert {"task", "dataset", "metrics"} <= set(caught.value.keys)
    with pytest.raises(
        PluginError,
        match=r"the search space of task `crooked` \(lab-tasks 0.1\): `epochs` is 3",
    ):
        resolve_sweep(["task=crooked"], registry)


def test_a_file_and_python_say_the_same(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "task: qa\nbatch_size: choice(8,16)\nlearning_rate: {loguniform: [1e-5, 1e-4]}\ntrain: "
        "{warmup: 'uniform(0,0.2)'}\nmodel:\n  name: choice(small,large)\n  lora: {rank: "
        "'choice(2,4)', alpha: 2}\nsweep:\n  trials: 5\n  searcher: random\n"
    )
    words = [
        *(
            "task=qa",
            "batch_size=choice(8,16)",
            "learning_rate=loguniform(1e-5,1e-4)",
            "train.warmup=uniform(0,0.2)",
        ),
        *(
            "model=choice(small,large)",
            "model.lora.rank=choice(2,4)",
            "model.lora.alpha=2",
            "trials=5",
            "searcher=random",
        ),
    ]
    mapping = {
        "task": "qa",
        "batch_size": {"choice": (8, 16)},
        "learning_rate": "loguniform(1e-5,1e-4)",
        "train": {"warmup": "uniform(0,0.2)"},
        "model": {"name": "choice(small,large)", "lora": {"rank": {"choice": [2, 4]}, "alpha": 2}},
        "trials": 5,
        "sweep.searcher": "random",
    }
    by_file, by_words, by_call = (
        resolve_sweep(given, registry) for given in (["config=sweep.yaml"], words, mapping)
    )
    assert by_file.base.config == by_words.base.config == by_call.base.config
    assert by_file.space == by_words.space == by_call.space
    assert by_file.sweep == by_words.sweep == by_call.sweep
    assert by_file.origins["batch_size"] == "config file sweep.yaml, from `choice(8,16)`"


def test_an_expression_that_yaml_cuts_in_two_is_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("train: {warmup: uniform(0,0.2)}\n")
    message = failure(registry, "config=sweep.yaml")
    assert message.startswith(
        "`train.warmup` is `uniform(0` (config file sweep.yaml): its parenthesis is not closed"
    )


def test_the_command_line_wins_over_the_file(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "batch_size: choice(8,16)\nepochs: choice(1,2)\nsweep: {trials: 5, repeats: 2}\n"
    )
    resolved = sweep(
        registry, "config=sweep.yaml", "batch_size=4", "trials=6", "learning_rate=choice(1,2)"
    )
    assert texts(resolved) == {"epochs": "choice(1,2)", "learning_rate": "choice(1,2)"}
    assert (resolved.base.config.batch_size, resolved.sweep.trials, resolved.sweep.repeats) == (
        4,
        6,
        2,
    )
    (tmp_path / "twice.yaml").write_text("trials: 5\nsweep: {trials: 6}\n")
    with pytest.raises(ConfigError, match=r"`trials` is given twice \(config file twice.yaml\)"):
        sweep(registry, "config=twice.yaml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["learning_rte=loguniform(1e-5,1e-4)"],
            "`learning_rte` (command line) is not a key. Did you mean `learning_rate`?",
        ),
        (
            ["train.warmp=uniform(0,1)"],
            "`train.warmp` (command line) is not a key. Did you mean `train.warmup`?",
        ),
        (["trails=3"], "`trails` (command line) is not a key. Did you mean `trials`?"),
        (["num_samples=3"], "`num_samples` (command line) is not a key. Did you mean `trials`?"),
        (["batch_size=choice()"], "`batch_size` is `choice()` (command line): it holds no value"),
        (["learning_rate=uniform(1,0)"], "its range is reversed: write `uniform(0,1)`"),
        (
            ["learning_rate=loguniforn(1e-5,1e-4)"],
            "`learning_rate` is 'loguniforn(1e-5,1e-4)' (command line): it should be a valid "
            "number, unable to parse string as a number. Did you mean `loguniform`?",
        ),
        (
            ["head.n_best=chioce(1,2)", "epochs=choice(1,2)"],
            "should be a valid integer, unable to parse string as an integer. Did you mean "
            "`choice`?",
        ),
        (
            ["task=choice(qa,spaced)"],
            "`task` (command line) cannot be searched: a task is a bundle of other keys",
        ),
        (
            ["metrics=choice(f1,accuracy)"],
            "`metrics` (command line) cannot be searched: the first of them ranks the trials",
        ),
        (["output=choice(a,b)"], "`output` (command line) cannot be searched"),
        (["compute.cpus=choice(1,2)"], "`compute.cpus` (command line) cannot be searched"),
        (
            ["trials=choice(1,2)"],
            "`trials` is 'choice(1,2)' (command line): it should be a valid integer",
        ),
        (
            ["seed=choice(0,1)", "repeats=3"],
            "`seed` (command line) is searched, and `repeats=3` sets it too",
        ),
    ],
)
def test_a_wrong_space_is_refused_by_name(
    registry: Registry, words: list[str], message: str
) -> None:
    task = [] if words[0].startswith("task=") else ["task=qa"]
    with pytest.raises(RequestError) as caught:
        resolve_sweep([*task, *words], registry)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train.dropout=uniform(0,1.2)"],
            "no trial can have `train.dropout=1.2`: `train.dropout` is 1.2 (command line, from "
            "`uniform(0,1.2)`): it should be less",
        ),
        (
            ["epochs=choice(0,1)"],
            "no trial can have `epochs=0`: `epochs` is 0 (command line, from `choice(0,1)`): it "
            "should be greater",
        ),
        (["learning_rate=normal(1e-4,1e-4)"], "no trial can have `learning_rate=-2e-4`"),
        (
            ["batch_size=uniform(8,32)"],
            "got a number with a fractional part. Whole numbers are drawn by `randint`, "
            "`lograndint` and `choice`.",
        ),
        (["batch_size=quniform(1,2,0.5)"], "no trial can have `batch_size=1.5`"),
        (["batch_size=choice(8,x)"], "no trial can have `batch_size=x`: `batch_size` is 'x'"),
        (
            ["train.lr_scheduler=choice(linear,cosin)"],
            "no trial can have `train.lr_scheduler=cosin`",
        ),
        (
            ["head.n_best=randint(0,5)"],
            "no trial can have `head.n_best=0`: `head.n_best` is 0 (command line, from "
            "`randint(0,5)`)",
        ),
        (["head.n_bst=choice(1,2)"], "head `label` has no option `n_bst`. Did you mean `n_best`?"),
        (["model.lora.rank=choice(0,2)"], "no trial can have `model.lora.rank=0`"),
        (["trainer.learning_rate=uniform(1,2)"], "use `learning_rate`, ftr's own key for it"),
        (
            ["head=choice(label,lable)"],
            "no trial can have `head=lable`: `head` (command line, from `choice(label,lable)`): "
            "unknown head `lable`. Did you mean `label`?",
        ),
        (
            ["dataset=choice(sample,no.csv)"],
            "no trial can have `dataset=no.csv`: dataset `no.csv` (command line, from "
            "`choice(sample,no.csv)`)",
        ),
        (
            ["data.stride=choice(64,256)", "data.max_length=choice(128,384)"],
            "no trial can have `data.stride=256 data.max_length=128`: `data.stride` (256) must be "
            "below `data.max_length` (128)",
        ),
        (
            ["data.stride=choice(256,64)", "data.max_length=choice(128,384)"],
            "no trial can have `data.stride=256 data.max_length=128`",
        ),
        (
            ["data.validation_size=uniform(0.1,0.6)", "data.test_size=uniform(0.1,0.6)"],
            "leave no rows to train on",
        ),
        (
            ["model=choice(small,bare)", "model.lora.rank=choice(2,4)"],
            "no trial can have `model=bare model.lora.rank=",
        ),
    ],
)
def test_an_impossible_corner_is_refused_with_its_values(
    registry: Registry, words: list[str], message: str
) -> None:
    assert message in failure(registry, *words)


def test_the_kind_of_error_stays(registry: Registry) -> None:
    with pytest.raises(UnknownComponentError):
        sweep(registry, "head=choice(label,lable)")


def test_a_wrong_fixed_value_is_not_blamed_on_the_space(registry: Registry) -> None:
    assert failure(registry, "batch_size=0", "epochs=choice(1,2)").startswith(
        "`batch_size` is 0 (command line): it should be"
    )


def test_two_keys_that_exclude_each_other_are_found_in_a_large_space_too(
    registry: Registry,
) -> None:
    more = [
        "epochs=choice(1,2,3,4,5,6)",
        "batch_size=choice(1,2,3,4,5,6)",
        "seed=choice(1,2,3,4,5,6)",
    ]
    words = ["data.stride=choice(64,256)", "data.max_length=choice(300,128,384)", *more]
    assert ALL_COMBINATIONS < 2 * 3 * 6**3
    assert "no trial can have `data.stride=256 data.max_length=128`" in failure(registry, *words)


@pytest.mark.parametrize(
    ("words", "searcher", "limit"),
    [
        (["epochs=choice(1,2)"], "optuna", 20),
        (["epochs=choice(1,2)", "trials=3"], "optuna", 3),
        (["epochs=choice(1,2)", "time_budget=2h"], "optuna", None),
        (["epochs=choice(1,2)", "min_gain=0.01", "trials=50"], "optuna", 50),
        (["epochs=grid(1,2)", "batch_size=grid(4,8,16)"], "grid", 6),
        (["epochs=grid(1,2)", "trials=1"], "grid", 1),
        (
            ["epochs=choice(1,2)", "batch_size=randint(4,9)", "searcher=grid", "time_budget=60"],
            "grid",
            10,
        ),
        (["epochs=uniform(1,2)", "searcher=random"], "random", 20),
    ],
)
def test_searcher_and_number_of_trials(
    registry: Registry, words: list[str], searcher: str, limit: int | None
) -> None:
    resolved = sweep(registry, *words)
    assert (resolved.sweep.searcher, resolved.trial_limit) == (searcher, limit)
    if searcher == "grid" and resolved.sweep.trials is None:
        assert len(list(grid_points(resolved.space))) == limit


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["epochs=grid(1,2)", "batch_size=choice(4,8)"],
            "`epochs` is `grid(1,2)` (command line), and `grid` needs `searcher=grid`, not "
            "`optuna`",
        ),
        (
            ["epochs=grid(1,2)", "searcher=random"],
            "needs `searcher=grid`, not `random`",
        ),
        (
            ["epochs=uniform(1,2)", "searcher=grid"],
            "`epochs` is `uniform(1,2)` (command line), which has too many values for a grid",
        ),
        (
            ["seed=randint(0,1000)", "batch_size=randint(1,1000)", "searcher=grid"],
            "the grid has 999000 combinations, more than 100000",
        ),
        (
            ["batch_size=choice(1,2)", "scheduler=pbt"],
            "`batch_size` (command line) cannot change during a training",
        ),
        (
            ["learning_rate=uniform(1,2)", "scheduler=pbt", "repeats=2"],
            "`repeats=2`",
        ),
        (
            ["epochs=choice(1,2)", "searcher=bayes"],
            "`searcher` is 'bayes' (command line): it should be 'random', 'grid', 'optuna' or "
            "'hyperopt'",
        ),
        (
            ["epochs=choice(1,2)", "time_budget=2x"],
            "`time_budget` is '2x' (command line): it should be a time such as 2h, 30m, 90s or "
            "1h30m",
        ),
        (
            ["epochs=choice(1,2)", "time_budget=0"],
            "`time_budget` is 0 (command line): it should be greater than 0",
        ),
        (["epochs=choice(1,2)", "trials=0"], "`trials` is 0 (command line)"),
        (
            ["epochs=choice(1,2)", "trials=true"],
            "`trials` is true (command line): a number is needed",
        ),
        (
            ["epochs=choice(1,2)", "ensemble=top1"],
            "`ensemble` is 'top1' (command line): it should be top or soup and a number from 2 on",
        ),
        (["epochs=choice(1,2)", "reduction_factor=1"], "`reduction_factor` is 1 (command line)"),
        (
            ["epochs=choice(1,2)", "mode=up"],
            "`mode` is 'up' (command line): it should be 'max' or 'min'",
        ),
    ],
)
def test_a_wrong_way_to_search_is_refused(
    registry: Registry, words: list[str], message: str
) -> None:
    assert message in failure(registry, *words)


def test_pbt_takes_what_can_change_while_training(registry: Registry) -> None:
    words = [
        "learning_rate=loguniform(1e-5,1e-4)",
        "train.weight_decay=uniform(0,0.1)",
        "train.max_grad_norm=choice(0.5,1)",
    ]
    assert sweep(registry, "scheduler=pbt", *words).sweep.scheduler == "pbt"


def test_a_searcher_that_is_not_installed_is_named_with_its_extra(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hyperopt", None)
    message = failure(registry, "epochs=choice(1,2)", "searcher=hyperopt")
    assert (
        message == "`searcher` is `hyperopt` (command line), which is not installed: `pip install "
        "'ftr[hyperopt]'`."
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200),
        ("30m", 1800),
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1d 2h", 93600),
        ("45", 45),
        (45, 45),
    ],
)
def test_times(registry: Registry, text: object, seconds: float) -> None:
    given = resolve_sweep(
        {"task": "spaced", "time_budget": text}
        if isinstance(text, int)
        else ["task=spaced", f"time_budget={text}"],
        registry,
    )
    assert given.sweep.time_budget == seconds


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("accuracy", "max")),
        (["metric=f1"], ("f1", "max")),
        (["metric=f1", "mode=min"], ("f1", "min")),
        (["metrics=perplexity,accuracy"], ("ppl", "min")),
        (["metrics=perplexity,accuracy", "metric=accuracy"], ("accuracy", "max")),
        (["metrics=accuracy,perplexity", "metric=perplexity"], ("ppl", "min")),
        (["metric=eval_loss"], ("eval_loss", "min")),
        (["metrics=perplexity", "metric=bits"], ("bits", "min")),
    ],
)
def test_what_ranks_the_trials(
    registry: Registry, words: list[str], expected: tuple[str, str]
) -> None:
    assert ranked_by(sweep(registry, "epochs=choice(1,2)", *words), registry) == expected


def test_a_trial_is_the_base_with_its_values(registry: Registry) -> None:
    resolved = sweep(
        registry,
        "batch_size=choice(8,16)",
        "model.lora.rank=choice(2,6)",
        "train.warmup=0.3",
        "seed=5",
    )
    trial = trial_config(resolved.base, {"batch_size": 16, "model.lora.rank": 6}, registry, seed=9)
    expected = resolve(
        ["task=qa", "batch_size=16", "model.lora.rank=6", "train.warmup=0.3", "seed=9"], registry
    )
    assert trial.config == expected.config
    assert trial.origins["batch_size"] == "command line, from `choice(8,16)`"
    assert trial.origins["train.warmup"] == "command line"
    assert trial.origins["learning_rate"] == "task `qa` (ftr 0.1)"
    assert trial_config(resolved.base, {"batch_size": 16}, registry).config.seed == 5


def test_a_trials_value_is_checked(registry: Registry) -> None:
    base = sweep(registry, "batch_size=choice(8,16)").base
    with pytest.raises(
        ConfigError, match=r"`batch_size` is 0 \(command line, from `choice\(8,16\)`\)"
    ):
        trial_config(base, {"batch_size": 0}, registry)


def test_what_nobody_chose_follows_the_trials_own_values(registry: Registry) -> None:
    base = sweep(registry, "data.max_length=choice(60,400)").base
    assert [
        trial_config(base, {"data.max_length": length}, registry).config.data.stride
        for length in (60, 400)
    ] == [15, 128]
    base = sweep(registry, "model=choice(small,bare,large)").base
    options = {
        name: trial_config(base, {"model": name}, registry).config.model.options
        for name in ("small", "bare", "large")
    }
    assert options["small"]["lora"]["rank"] == 4  # the task's, for its own model
    assert options["bare"] == {}
    assert options["large"]["lora"]["rank"] == 8  # the model's own default


@pytest.mark.parametrize(
    "words",
    [
        ["task=spaced"],
        [
            "task=qa",
            "model=choice(small,large)",
            "model.lora={choice: [{rank: 2}, {rank: 4, alpha: 3}]}",
        ],
        [
            "task=qa",
            "epochs=choice(1,2)",
            "time_budget=2h",
            "ensemble=soup3",
            "model.revision=choice('1e5',main)",
        ],
        [
            "task=qa",
            "learning_rate=normal(1e-4,1e-5)",
            "data.stride=quniform(8,64,8)",
            "head.n_best=lograndint(5,50)",
        ],
    ],
)
def test_a_sweep_survives_its_record(registry: Registry, words: list[str]) -> None:
    resolved = resolve_sweep(words, registry)
    again = recorded_sweep(
        {**json.loads(json.dumps(resolved.record())), "status": "running"}, registry
    )
    assert again == resolved
    for dimension in resolved.space.values():
        for corner in dimension.corners():
            assert json.loads(json.dumps(corner)) == corner


def test_a_trial_is_configured_with_few_calls(registry: Registry) -> None:
    resolved = resolve_sweep(["task=spaced"], registry)
    trial_config(resolved.base, {"batch_size": 8}, registry)
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    try:
        trial_config(
            resolved.base,
            {"batch_size": 9, "model.lora.rank": 2, "learning_rate": 1e-5},
            registry,
            seed=1,
        )
    finally:
        sys.setprofile(None)
    assert calls.count("call") < 5000


PLUGIN = """
import ftr
from pydantic import BaseModel, ConfigDict, Field
from ftr.registry.schema import Column, RowSchema

class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    heat: float = Field(1.0, gt=0, le=10)
    mode: str = "soft"

class Head:
    def __init__(self, options):
        self.schema = RowSchema(columns=(Column(name="text"), Column(name="label", type="label")))

@ftr.hookimpl
def ftr_heads():
    return [ftr.HeadSpec(name="warm", target="warm_plugin:Head", options="warm_plugin:Options")]

@ftr.hookimpl
def ftr_tasks():
    return [ftr.TaskSpec(name="warm", dataset="sentiment-sample", model="minilm", head="warm", metrics=("accuracy",),
                         search_space={"head.heat": "loguniform(0.1,10)", "head.mode": "choice(soft,hard)"})]
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A third-party plugin as pip would leave it."""
    site = tmp_path / "site"
    info = site / "warm_dist-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "warm_plugin.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: warm-dist\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ftr.plugins]\nwarm = warm_plugin\n")
    monkeypatch.delenv("FTR_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(str(site))
    return Registry(discover())


def test_options_of_an_installed_plugin_are_searched(installed: Registry) -> None:
    resolved = resolve_sweep(["task=warm"], installed)
    assert texts(resolved) == {"head.heat": "loguniform(0.1,10)", "head.mode": "choice(soft,hard)"}
    assert resolved.origins["head.heat"] == "task `warm` (warm-dist 1.0), from `loguniform(0.1,10)`"
    trial = trial_config(resolved.base, {"head.heat": 2.5, "head.mode": "hard"}, installed)
    assert trial.config.head.options == {"heat": 2.5, "mode": "hard"}
    own = resolve_sweep(["task=sentiment", "head=warm", "head.heat=uniform(1,2)"], installed)
    assert set(own.space) == {"head.heat"}
    with pytest.raises(
        ConfigError,
        match=r"no trial can have `head.heat=12.0`: `head.heat` is 12.0 .*less than or equal to 10",
    ):
        resolve_sweep(["task=warm", "head.heat=uniform(1,12)"], installed)


def test_a_text_option_keeps_text_that_calls_no_function(installed: Registry) -> None:
    resolved = resolve_sweep(["task=warm", "head.mode=other(1)"], installed)
    assert resolved.base.config.head.options["mode"] == "other(1)"
    assert set(resolved.space) == {"head.heat"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trials=3", "`trials` (command line) is a key of `ftr sweep`, not of a run."),
        ("sweep.searcher=grid", "`searcher` (command line) is a key of `ftr sweep`, not of a run."),
        (
            "metric=f1",
            "`metric` (command line) is a key of `ftr sweep`, not of a run. Did you mean "
            "`metrics`?",
        ),
        (
            "learning_rate=loguniform(1e-5,1e-4)",
            "`learning_rate` is `loguniform(1e-5,1e-4)` (command line), a search space: use `ftr "
            "sweep`, or give one value.",
        ),
        ("train.lr_scheduler=choice(linear,cosine)", "a search space: use `ftr sweep`"),
        ("head=choice(a,b)", "a search space: use `ftr sweep`"),
    ],
)
def test_a_run_says_what_belongs_to_a_sweep(
    capsys: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    assert main(["show", "task=qa", word]) == 2
    assert message in capsys.readouterr().err


def test_text_that_looks_like_an_expression_stays_text_in_a_run(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "choice(1)").mkdir()
    config = resolve(
        ["task=qa", "output=choice(a,b)", "model=choice(1)", "model.revision=grid(1)"], registry
    ).config
    assert (config.output, config.model.name) == ("choice(a,b)", str(tmp_path / "choice(1)"))
    assert config.model.options["revision"] == "grid(1)"


def test_no_key_means_two_things() -> None:
    # What a run joins are models it trains itself, what a sweep joins are its trials; a sweep takes
    # the key for itself.
    assert {*SWEEP_KEYS, "sweep"} & {*KNOWN_KEYS, *GROUPS, "config"} == {"ensemble"}
    assert all(field.description for field in SweepConfig.model_fields.values())


jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")


@pytest.fixture
def validator(registry: Registry) -> Any:
    schema = sweep_schema(json_schema(registry))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"task": "spaced", "batch_size": 8, "trials": 3, "time_budget": "2h"},
        {
            "learning_rate": "loguniform(1e-5,1e-4)",
            "batch_size": {"choice": [8, 16]},
            "sweep": {"trials": 5, "ensemble": "top3"},
        },
        {
            "train": {"warmup": "uniform(0,0.2)", "lr_scheduler": "choice(linear,cosine)"},
            "model": "choice(small,large)",
        },
        {
            "head": {"name": "label", "n_best": "choice(10,20)"},
            "model": {"name": "small", "lora": {"rank": {"randint": [2, 8]}}},
        },
    ],
)
def test_the_schema_takes_a_right_sweep(
    validator: Any, registry: Registry, config: dict[str, Any]
) -> None:
    assert [error.message for error in validator.iter_errors(config)] == []
    assert resolve_sweep({"task": "spaced", **config}, registry).space


@pytest.mark.parametrize(
    "config",
    [
        {"trails": 3},
        {"trials": 0},
        {"batch_size": "chioce(8,16)"},
        {"batch_size": {"choice": []}},
        {"learning_rate": {"uniform": [0]}},
        {"compute": {"workers": "choice(1,2)"}},
        {"sweep": {"trails": 5}},
        {"head": {"name": "label", "n_best": "cho(1)"}},
        {"ensemble": "top1"},
    ],
)
def test_the_schema_refuses_a_wrong_one(validator: Any, config: dict[str, Any]) -> None:
    assert list(validator.iter_errors(config))


def test_schema_of_a_sweep_through_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--sweep", "task=qa"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["trials"]["description"]
    assert schema["properties"]["batch_size"]["default"] == 16
    jsonschema.Draft202012Validator.check_schema(schema)
