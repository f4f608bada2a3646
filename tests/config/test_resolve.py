"""Precedence, origins, and the errors of wrong settings."""

from pathlib import Path

import pytest

from ftr.config.components import component_options
from ftr.config.resolve import flat, resolve
from ftr.config.schema import RunConfig
from ftr.errors import (
    ConfigError,
    DataError,
    ModelError,
    PluginError,
    RequestError,
    UnknownComponentError,
)
from ftr.model.components import make_model
from ftr.registry.registry import Registry


def failure(registry: Registry, *words: str) -> str:
    with pytest.raises(RequestError) as caught:
        resolve(list(words), registry)
    return str(caught.value)


def test_each_layer_overrides_the_one_before_and_is_named(
    registry: Registry, tmp_path: Path
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("epochs: 5\nbatch_size: 8\ndata:\n  limit: 7\n")
    resolved = resolve(["task=qa", f"config={path}", "batch_size=16"], registry)
    config, origins = resolved.config, resolved.origins
    assert (
        config.learning_rate,
        config.epochs,
        config.batch_size,
        config.seed,
        config.data.limit,
    ) == (2e-4, 5.0, 16, 0, 7)
    assert origins["learning_rate"] == "task `qa` (ftr 0.1)"
    assert origins["epochs"] == origins["data.limit"] == f"config file {path}"
    assert origins["batch_size"] == origins["task"] == "command line"
    assert origins["seed"] == "built-in default"
    assert origins["head.n_best"] == "task `qa` (ftr 0.1)"
    assert origins["model.revision"] == "default of model `small`"
    assert set(origins) == set(flat(config))


def test_later_config_files_win(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("epochs: 1\nseed: 1\ntask: qa\n")
    (tmp_path / "b.yaml").write_text("epochs: 2\n")
    config = resolve(["config=[a.yaml,b.yaml]"], registry).config
    assert (config.task, config.epochs, config.seed) == ("qa", 2.0, 1)


def test_the_same_from_python(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n")
    words = resolve(["task=qa", "dataset=a.csv", "dataset.text=text", "data.limit=5"], registry)
    called = resolve(
        {"task": "qa", "dataset": {"name": Path("a.csv"), "text": "text"}, "data": {"limit": 5}},
        registry,
    )
    assert called.config == words.config
    assert called.origins["data.limit"] == "argument"


def test_a_configuration_survives_its_record(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n")
    resolved = resolve(
        ["task=qa", "dataset=a.csv", "model.lora.alpha=2", "data.max_length=100"], registry
    )
    assert RunConfig.model_validate_json(resolved.config.model_dump_json()) == resolved.config
    assert resolve(flat(resolved.config), registry).config == resolved.config
    options = component_options("dataset", resolved.config.dataset, registry, resolved.schema)
    assert options is not None
    assert options.model_dump(mode="json") == resolved.config.dataset.options


def test_a_task_is_not_needed_when_every_component_is_given(registry: Registry) -> None:
    words = ["dataset=sample", "model=small", "head=label", "metrics=f1,accuracy"]
    config = resolve(words, registry).config
    assert config.task is None
    assert config.metrics == ("f1", "accuracy")
    with pytest.raises(ConfigError, match=r"`task=qa`, `task=acme-task`") as caught:
        resolve(words[:3], registry)
    assert caught.value.keys == ("task", "metrics")


def test_options_of_a_replaced_component_do_not_reach_the_new_one(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint").mkdir()
    config = resolve(["task=qa", "model=checkpoint"], registry).config
    assert config.model.name == str(tmp_path / "checkpoint")
    assert "lora" not in config.model.options


def test_nested_options_merge_across_layers(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("model:\n  lora: {rank: 6, alpha: 3}\n")
    resolved = resolve(["task=qa", "config=x.yaml", "model.lora.alpha=5"], registry)
    assert resolved.config.model.options["lora"] == {"rank": 6, "alpha": 5.0}
    assert resolved.origins["model.lora"] == "config file x.yaml"
    assert resolve(["task=qa"], registry).config.model.options["lora"] == {"rank": 4, "alpha": 1.0}


def test_a_plugins_task_means_its_own_component(registry: Registry) -> None:
    assert resolve(["task=acme-task"], registry).config.metrics == ("acme:f1",)
    assert resolve(["task=acme-task", "metrics=f1"], registry).config.metrics == ("f1",)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "learning_rat=1",
            "`learning_rat` (command line) is not a key. Did you mean `learning_rate`?",
        ),
        ("limit=5", "`limit` (command line) is not a key. Did you mean `data.limit`?"),
        ("data.limt=5", "`data.limt` (command line) is not a key. Did you mean `data.limit`?"),
        ("data.xyzzy=5", "`ftr help data` lists the keys of `data`."),
        ("lr=1", "Did you mean `learning_rate`?"),
        ("num_train_epochs=1", "Did you mean `epochs`?"),
        ("per_device_train_batch_size=1", "Did you mean `batch_size` or `train.micro_batch_size`?"),
        ("xyzzy=1", "`ftr show` lists the keys, `ftr help xyzzy` searches them."),
        ("data=my.csv", "`data` (command line) is a group of keys"),
        ("train.=1", "`train.` (command line) is a group of keys: `ftr help train` lists them"),
        (
            "head.n_bst=1",
            "head `label` has no option `n_bst`. Did you mean `n_best`? It takes `n_best`.",
        ),
        ("dataset.text=x", "`dataset.text` (command line): dataset `sample` takes no options"),
        ("model.lora.rnk=1", "`model.lora.rnk` (command line) is unknown"),
        ("task=qaa", "unknown task `qaa`. Did you mean `qa`?"),
        ("metrics=f2", "unknown metric `f2`"),
        ("metrics=[f1,f1]", "`metrics` (command line) holds `f1` twice"),
        ("head=lable", "unknown head `lable`. Did you mean `label`?"),
        ("dataset=smaple", "unknown dataset `smaple`. Did you mean `sample`?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    registry: Registry, word: str, message: str
) -> None:
    task = [] if word.startswith("task=") else ["task=qa"]
    assert message in failure(registry, *task, word)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "batch_size=0",
            "`batch_size` is 0 (command line): it should be greater than or equal to 1.",
        ),
        ("batch_size=2.5", "`batch_size` is 2.5 (command line): it should be a valid integer"),
        (
            "learning_rate=fast",
            "`learning_rate` is 'fast' (command line): it should be a valid number",
        ),
        ("learning_rate=.nan", "`learning_rate` is nan (command line): it should be"),
        ("epochs=true", "`epochs` is true (command line): a number is needed, not true or false."),
        (
            "train.micro_batch_size=many",
            "`train.micro_batch_size` is 'many' (command line): it should be a valid integer",
        ),
        ("train.micro_batch_size=many", "or it should be 'auto'."),
        ("train.precision=fp64", "it should be 'auto', 'fp32', 'bf16' or 'fp16'."),
        ("data.stride=384", "`data.stride` (384) must be below `data.max_length` (384)"),
        (
            "data.stride=384",
            "(`data.stride`: command line, `data.max_length`: task `qa` (ftr 0.1))",
        ),
        (
            "data.test_size=0.95",
            "`data.validation_size` (0.1) and `data.test_size` (0.95) leave no rows",
        ),
        (
            "head.n_best=0",
            "`head.n_best` is 0 (command line): it should be greater than or equal to 1.",
        ),
        (
            "model.lora.rank=x",
            "`model.lora.rank` is 'x' (command line): it should be a valid integer",
        ),
        ("model.lora=3", "`model.lora"),
        ("output=", "`output` is empty (command line): it should be a valid string"),
        ("config=", "`config` is null (command line): give the path of a YAML file."),
        ("config=no.yaml", "there is no file `no.yaml`"),
        ("dataset=[a,b]", "unknown dataset `[a,b]`"),
    ],
)
def test_a_wrong_value_names_key_value_origin_and_range(
    registry: Registry, word: str, message: str
) -> None:
    assert message in failure(registry, "task=qa", word)


def test_a_name_that_is_no_text_is_refused(registry: Registry) -> None:
    with pytest.raises(
        ConfigError, match=r"`dataset` is \['a', 'b'\] \(argument\): a name is needed"
    ):
        resolve({"task": "qa", "dataset": ["a", "b"]}, registry)


def test_every_wrong_value_is_reported_at_once(registry: Registry) -> None:
    assert failure(registry, "task=qa", "batch_size=0", "seed=-1").count("\n") == 1


def test_the_default_stride_gives_way_to_a_short_max_length(registry: Registry) -> None:
    resolved = resolve(["task=qa", "data.max_length=60"], registry)
    assert resolved.config.data.stride == 15
    assert (
        resolved.origins["data.stride"]
        == "built-in default, a quarter of a short `data.max_length`"
    )


def test_text_that_looks_like_a_number_stays_text_where_text_is_meant(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "007").mkdir()
    config = resolve(
        ["task=qa", "output=007", "dataset=007", "model.revision=1e5"], registry
    ).config
    assert config.output == "007"
    assert config.dataset.name == str(tmp_path / "007")
    assert config.model.options["revision"] == "1e5"


def test_a_dataset_may_be_a_path_a_hub_id_or_files_by_option(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\n")
    (tmp_path / "imdb").mkdir()
    assert resolve(["task=qa", "dataset=reviews.csv"], registry).config.dataset.name == str(
        tmp_path / "reviews.csv"
    )
    assert resolve(["task=qa", "dataset=imdb"], registry).config.dataset.name == "imdb"
    assert resolve(["task=qa", "dataset=./imdb"], registry).config.dataset.name == str(
        tmp_path / "imdb"
    )
    (tmp_path / "link.csv").symlink_to("imdb")
    assert resolve(["task=qa", "dataset=imdb/../link.csv"], registry).config.dataset.name == str(
        tmp_path / "link.csv"
    )
    assert (
        resolve(["task=qa", "dataset=hub:me/mine:en"], registry).config.dataset.name
        == "hub:me/mine:en"
    )
    by_option = resolve(["task=qa", "dataset.train=reviews.csv"], registry).config.dataset
    assert (by_option.name, by_option.options["train"]) == ("files", "reviews.csv")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "dataset=review.csv",
            "dataset `review.csv` (command line): there is no such file or folder. Did you mean "
            "`reviews.csv`?",
        ),
        *[
            (
                f"dataset=missing{end}",
                f"dataset `missing{end}` (command line): there is no such file",
            )
            for end in (".conll", ".CSV.xz", ".zip", ".xlsx")
        ],
        (
            "dataset=nowhere/x",
            "and no folder `nowhere`. For the Hub write `dataset=hub:nowhere/x`.",
        ),
    ],
)
def test_a_missing_file_is_named_with_its_neighbours(
    registry: Registry, tmp_path: Path, word: str, message: str
) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\n")
    with pytest.raises(DataError) as caught:
        resolve(["task=qa", word], registry)
    assert message in str(caught.value)


def test_a_malformed_hub_id_is_refused(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="write `hub:owner/name`"):
        resolve(["task=qa", "dataset=hub:a/b/c"], registry)


def test_a_model_may_be_a_hub_id_but_not_a_file_or_a_missing_folder(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert (
        resolve(["task=qa", "model=google-bert/bert-base-cased"], registry).config.model.name
        == "google-bert/bert-base-cased"
    )
    with pytest.raises(ModelError, match=r"is the file `model.safetensors` .*give the directory"):
        resolve(["task=qa", "model=model.safetensors"], registry)
    with pytest.raises(ModelError, match=r"`./nowhere` \(command line\): no such directory"):
        resolve(["task=qa", "model=./nowhere"], registry)
    with pytest.raises(UnknownComponentError, match="unknown model `other:small`"):
        resolve(["task=qa", "model=other:small"], registry)


def test_a_head_that_fails_is_the_plugins_fault(registry: Registry) -> None:
    with pytest.raises(
        PluginError,
        match=r"the head `broken` of plugin `acme` \(acme-tasks 0.1\) cannot be made: KeyError: "
        r"'weights'",
    ):
        resolve(["task=qa", "head=broken"], registry)
    with pytest.raises(
        PluginError, match=r"the head `odd` of plugin `acme` .* not a pydantic model"
    ):
        resolve(["task=qa", "head=odd"], registry)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train.unfreeze=1", "`train.unfreeze` has nothing to unfreeze without `train.freeze`"),
        (
            "train.freeze=backbone train.lora.rank=4",
            "`train.freeze` and `train.lora.rank` exclude each other",
        ),
        (
            "train.early_stopping_patience=2 train.keep=last",
            "`train.early_stopping_patience` restores the best weights, which `train.keep=last` "
            "does not keep",
        ),
        ("boosting=3 ensemble=bagging", "`boosting` and `ensemble` each train several models"),
        ("ensemble=bagging seeds=3", "`ensemble` and `seeds` each train several models"),
        ("seeds=2 cv.folds=3", "`seeds` and `cv.folds` each train several models"),
        (
            "cv.folds=3 cv.fold=3",
            "`cv.fold=3` needs `cv.folds` to be above it: set `cv.folds=4` or more",
        ),
        ("cv.fold=0", "`cv.fold=0` needs `cv.folds`"),
        ("ensemble_size=3", "set `ensemble`, or leave it out"),
        ("ensemble=folds ensemble_size=3 cv.folds=4", "`ensemble_size` is 3 and `cv.folds` 4"),
        ("ensemble=bagging data.bootstrap=1", "`ensemble=bagging` sets `data.bootstrap`"),
        (
            "train.lora=4",
            "`train.lora` (command line) is a group of keys: `ftr help train.lora` lists them",
        ),
        (
            "train.lora.ranks=4",
            "`train.lora.ranks` (command line) is not a key. Did you mean `train.lora.rank`?",
        ),
        ("data.clean=html,url", "`data.clean` is 'url' (command line): it should be"),
    ],
)
def test_options_that_exclude_each_other_are_refused_by_name(
    registry: Registry, words: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(["task=qa", *words.split()], registry)
    assert message in str(error.value), error.value


def test_groups_within_groups_are_read_nested_and_dotted(registry: Registry) -> None:
    nested = {
        "task": "qa",
        "train": {"lora": {"rank": 4}, "ema": 0.9},
        "data": {"augment": {"delete": 0.1}},
        "cv": {"folds": 3, "fold": 1},
    }
    config = resolve(nested, registry).config
    assert (config.train.lora.rank, config.data.augment.delete, config.cv.fold) == (4, 0.1, 1)
    assert resolve(flat(config), registry).config == config
    assert not config.several and resolve(["task=qa", "cv.folds=3"], registry).config.several


@pytest.mark.parametrize("folder", [True, False])
def test_a_registered_name_that_hides_a_file_or_folder_is_printed_once_with_the_way_to_it(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: bool
) -> None:
    names = {kind: registry.names(kind)[0] for kind in ("dataset", "model")}
    for name in names.values():
        (tmp_path / name).mkdir() if folder else (tmp_path / name).write_text("text,label\n")
    for _ in range(2):
        config = resolve(
            ["task=qa", *(f"{kind}={name}" for kind, name in names.items())], registry
        ).config
    assert (config.dataset.name, config.model.name) == (names["dataset"], names["model"])
    what, told = "folder" if folder else "file", capsys.readouterr().err.splitlines()
    assert len(told) == 2, "each once"
    for (kind, name), line in zip(sorted(names.items(), reverse=True), told, strict=True):
        assert line.startswith(f"ftr: `{kind}={name}` is the {kind} of plugin `"), line
        assert line.endswith(
            f"not the {what} `{tmp_path / name}`: for the {what} write `{kind}=./{name}`"
        )
    if folder:
        asked = ["task=qa", f"dataset=./{names['dataset']}", f"model=./{names['model']}"]
        config = resolve(asked, registry).config
        assert (config.dataset.name, config.model.name) == (
            str(tmp_path / names["dataset"]),
            str(tmp_path / names["model"]),
        )
    assert capsys.readouterr().err == ""


def test_files_named_by_options_are_those_and_not_the_folder_called_files(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "a.csv").write_text("text,label\n")
    assert resolve(["task=qa", "dataset.train=a.csv"], registry).config.dataset.name == "files"
    assert (
        f"not the folder `{tmp_path / 'files'}`: for the folder write `dataset=./files`"
        in capsys.readouterr().err
    )
    assert resolve(["task=qa", "dataset=./files"], registry).config.dataset.name == str(
        tmp_path / "files"
    )


def test_a_hub_id_does_not_become_a_folder_that_appeared_later(
    registry: Registry, tmp_path: Path
) -> None:
    config = resolve(["task=qa", "model=somebody/small-bert"], registry).config
    (tmp_path / "somebody" / "small-bert").mkdir(parents=True)
    with pytest.raises(
        ModelError,
        match=r"is a model of the Hub, and a folder of this name is here "
        r".*`model=\./somebody/small-bert`",
    ):
        make_model(registry, config.model)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("batch_size=0 seed=-1", ("batch_size", "seed")),
        ("epoch=1", ("epoch",)),
        ("data.stride=384", ("data.stride", "data.max_length")),
        ("train.unfreeze=1", ("train.unfreeze", "train.freeze")),
        ("seeds=2 cv.folds=3", ("seeds", "cv.folds")),
        ("head.n_best=0", ("head.n_best",)),
        ("head.n_bst=1", ("head.n_bst", "head")),
        ("model.lora.rank=x", ("model.lora.rank",)),
        ("task=qaa", ("task",)),
        ("head=lable", ("head",)),
        ("dataset=no.csv", ("dataset",)),
        ("model=./nowhere", ("model",)),
        ("metrics=f2", ("metrics",)),
        ("metrics=[f1,f1]", ("metrics",)),
        ("trainer.learning_rate=1", ("trainer.learning_rate",)),
        ("learning_rate=loguniform(1e-5,1e-4)", ("learning_rate",)),
    ],
)
def test_an_error_says_which_keys_it_is_about(
    registry: Registry, words: str, keys: tuple[str, ...]
) -> None:
    task = [] if words.startswith("task=") else ["task=qa"]
    with pytest.raises(RequestError) as caught:
        resolve([*task, *words.split()], registry)
    assert caught.value.keys == keys


def test_a_validator_of_all_options_of_a_component_names_it_and_what_was_given(
    registry: Registry,
) -> None:
    with pytest.raises(ConfigError, match=r"`head`: .*2 and 3.*`head.low`: command line") as caught:
        resolve(["task=qa", "head=pair", "head.low=3", "head.high=2"], registry)
    assert caught.value.keys == ("head",)
