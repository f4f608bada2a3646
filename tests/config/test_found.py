"""Settings that are found: who wins, whose paths they are, and one message for each fault."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import ftr
from ftr import reproduce, resume, run
from ftr.cli.main import main
from ftr.cluster.ship import cluster_command
from ftr.config.found import found_line, with_found
from ftr.config.resolve import flat
from ftr.config.sweep import resolve_sweep
from ftr.errors import ConfigError
from ftr.registry.registry import get_registry


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory; settings are found."""
    monkeypatch.delenv("FTR_SETTINGS")
    for name in [name for name in os.environ if name.upper().startswith("FTR__")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values_of(*words: str, sweep: bool = False) -> dict[str, tuple[object, str]]:
    found = with_found(words, sweep=sweep)
    return {key: (setting.value, str(setting.origin)) for key, setting in found.items()}


def test_each_place_wins_over_the_one_below_and_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("seed", "epochs", "batch_size", "learning_rate", "train.precision")
    (project / "pyproject.toml").write_text(
        "[tool.ftr]\nseed = 1\nepochs = 1\nbatch_size = 1\n"
        'learning_rate = 0.1\ntrain = {precision = "fp32"}\n'
    )
    (project / "ftr.yaml").write_text(
        "epochs: 2\nbatch_size: 2\nlearning_rate: 0.2\ntrain.precision: bf16\n"
    )
    (project / "c.yaml").write_text("batch_size: 3\nlearning_rate: 0.3\ntrain.precision: auto\n")
    monkeypatch.setenv("FTR__LEARNING_RATE", "0.4")
    monkeypatch.setenv("FTR__TRAIN__PRECISION", "bf16")
    found = values_of("config=c.yaml", "train.precision=fp16")
    assert [found[key][0] for key in keys] == [1, 2, 3, 0.4, "fp16"]
    assert [found[key][1] for key in keys] == [
        f"[tool.ftr] of {project / 'pyproject.toml'}",
        str(project / "ftr.yaml"),
        "config file c.yaml",
        "environment FTR__LEARNING_RATE",
        "command line",
    ]


def test_the_nearest_folder_with_settings_counts_and_its_paths_stay_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "ftr.yaml").write_text(
        "dataset: {name: rows.csv, text: rows}\nmodel: {name: prajjwal1/bert-tiny}\noutput: out\n"
        "plugins: [./p.py]\ndata: {stop_words: en}\n"
    )
    (project / "rows.csv").write_text("text,label\n")
    below = project / "a" / "b"
    below.mkdir(parents=True)
    (below / "rows.csv").write_text("another file of that name\n")
    (below / "pyproject.toml").write_text("[tool.other]\nftr = 1\n")
    monkeypatch.chdir(below)
    found = {key: value for key, (value, _) in values_of().items()}
    assert found == {
        "dataset": "../../rows.csv",
        "dataset.text": "rows",
        "model": "prajjwal1/bert-tiny",
        "output": "../../out",
        "plugins": [str(project / "p.py")],
        "data.stop_words": "en",
    }
    (below / "ftr.yaml").touch()
    assert values_of() == {}, "the nearer file hides the one above"


def test_data_of_the_command_replaces_found_data(project: Path) -> None:
    (project / "ftr.yaml").write_text("dataset: {train: a.csv, test: b.csv, text: body}\n")
    assert {"dataset", "dataset.text"} == set(values_of("dataset=c.csv"))
    (project / "ftr.yaml").write_text("dataset: {name: a.csv, text: body}\n")
    assert {"dataset.train", "dataset.text"} == set(values_of("dataset.train=c.csv"))


def test_one_file_serves_a_run_and_a_sweep(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "ftr.yaml").write_text(
        "task: sentiment\nlearning_rate: 3e-5\n"
        "sweep: {trials: 7, ensemble: top3, learning_rate: 'loguniform(1e-5,1e-4)'}\n"
    )
    monkeypatch.setenv("FTR__SWEEP__SEARCHER", "random")
    assert values_of().keys() == {"task", "learning_rate"}
    resolved = resolve_sweep(with_found([], sweep=True), get_registry())
    assert (resolved.sweep.trials, resolved.sweep.searcher) == (7, "random")
    assert list(resolved.space) == ["learning_rate"]
    assert resolved.origins["trials"] == str(project / "ftr.yaml")


def test_a_contradiction_is_printed_once_without_secrets(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "pyproject.toml").write_text(
        '[tool.ftr]\nepochs = 2\nseed = 1\ntrainer = {hub_token = "secret-one"}\n'
    )
    (project / "ftr.yaml").write_text("epochs: 3\nseed: 1\ntrainer: {hub_token: secret-two}\n")
    for _ in range(2):
        values_of()
    printed = capsys.readouterr().err
    assert printed.count("wins over") == 1
    assert "`epochs` is 3, not 2" in printed
    assert "seed" not in printed
    assert "secret-" not in printed


FAULTS: dict[str, tuple[Callable[[Path], object] | dict[str, str], str]] = {
    "unknown key": (
        lambda p: p.write_text("epohcs: 3\n"),
        "{} is not a key. Did you mean `epochs`",
    ),
    "unknown key of the sweep": (
        lambda p: p.write_text("sweep: {trails: 3}\n"),
        "{} is not a key. Did you mean `trials`",
    ),
    "key of a sweep": (lambda p: p.write_text("trials: 3\n"), "to the group `sweep`"),
    "expression": (lambda p: p.write_text("seed: 'choice(1,2)'\n"), "to the group `sweep`"),
    "wrong type": (lambda p: p.write_text("epochs: many\n"), "`epochs` is 'many' {}"),
    "tab": (lambda p: p.write_text("train:\n\tseed: 1\n"), "line 2, column 1"),
    "not UTF-8": (lambda p: p.write_bytes(b"seed: \xff\n"), "is not UTF-8 (byte 6)"),
    "no mapping": (lambda p: p.write_text("- a\n"), "holds a list, not keys"),
    "twice": (lambda p: p.write_text("seed: 1\nseed: 2\n"), "`seed` is given twice"),
    "folder": (lambda p: p.mkdir(), "is a folder, not a file"),
    "unreadable": (lambda p: p.symlink_to(p), "cannot be read"),
    "dangling": (lambda p: p.symlink_to("gone"), "there is no file"),
    "pipe": (os.mkfifo, "is a named pipe"),
    "other name": (lambda p: p.with_suffix(".yml").touch(), "rename it to `ftr.yaml`"),
    "config": (lambda p: p.write_text("config: a.yaml\n"), "`config` is a key of"),
    "broken TOML": (
        lambda p: p.with_name("pyproject.toml").write_text("[tool.ftr\n"),
        "is not TOML",
    ),
    "TOML table": (
        lambda p: p.with_name("pyproject.toml").write_text("tool.ftr = 3\n"),
        "is not a table",
    ),
    "variable": ({"FTR__TRAIN__PRECSION": "bf16"}, "Did you mean `train.precision`"),
    "variable's value": (
        {"FTR__EPOCHS": "many"},
        "`epochs` is 'many' (environment FTR__EPOCHS)",
    ),
    "variable's YAML": ({"FTR__EPOCHS": "[1"}, "`epochs` (environment FTR__EPOCHS)"),
    "small letters": ({"ftr__epochs": "3"}, "write `FTR__EPOCHS`"),
    "variable config": ({"FTR__CONFIG": "a.yaml"}, "`config=FILE`"),
    "half a letter": ({"FTR__OUTPUT": "a\udcff"}, "is not UTF-8"),
    "switch": ({"FTR_SETTINGS": "no"}, "set it to `off`"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_message_with_its_place(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fault, message = FAULTS[name]
    if isinstance(fault, dict):
        for variable, value in fault.items():
            monkeypatch.setenv(variable, value)
    else:
        fault(project / "ftr.yaml")
    assert main(["show", "task=sentiment"]) == 2
    printed = capsys.readouterr().err
    assert message.replace("{}", f"({project / 'ftr.yaml'})") in printed
    assert printed.count("\n") == 1
    assert "Traceback" not in printed


def test_secrets_of_variables_are_masked(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in ("sesame-open", "[sesame-open"):
        monkeypatch.setenv("FTR__TRAINER__HUB_TOKEN", value)
        main(["show", "task=sentiment"])
        assert "sesame" not in "".join(capsys.readouterr())


def test_an_empty_file_sets_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "ftr.yaml").touch()
    assert main(["show", "task=sentiment", "--json"]) == 0
    assert str(project) not in json.loads(capsys.readouterr().out)["origins"].values()


def test_found_settings_are_in_a_submitted_command(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "rows.csv").write_text("text,label\n")
    (project / "ftr.yaml").write_text(
        "dataset: rows.csv\nepochs: 4\nseed: 3\noutput: out\nsweep: {trials: 9}\n"
    )
    monkeypatch.setenv("FTR__SEED", "5")
    below = project / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    command = cluster_command(["run", "task=sentiment", "epochs=1"], "job")
    assert set(command.words) >= {"task=sentiment", "epochs=1", "seed=5", "dataset=sent/0/rows.csv"}
    assert not [word for word in command.words if "trials" in word]
    assert command.here == Path("../out")
    assert command.files == {"sent/0/rows.csv": Path("../rows.csv")}
    assert "trials=9" in cluster_command(["sweep", "task=sentiment"], "job").words
    assert "trials=9" not in cluster_command(["evaluate", "/runs/x"], "job").words
    monkeypatch.setenv("FTR__TRAINER__HUB_TOKEN", "sesame")
    with pytest.raises(ConfigError, match=r"`trainer.hub_token` \(environment .* is a secret"):
        cluster_command(["run", "task=sentiment"], "job")


@pytest.mark.slow
def test_only_a_new_run_reads_found_settings(
    project: Path, tiny_bert: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "ftr.yaml"
    file.write_text(f"task: sentiment\nmodel: {tiny_bert}\ndata.max_length: 32\nbaselines: false\n")
    monkeypatch.setenv("FTR__SEED", "5")
    result = run(dataset=reviews, epochs=1, say=lambda _: None)
    origins = result.record["origins"]
    assert [origins[key] for key in ("data.max_length", "seed", "epochs")] == [
        str(file),
        "environment FTR__SEED",
        "argument",
    ]
    # From here on each word that is found would be refused, or change the result.
    file.write_text("nonsense: [\n")
    monkeypatch.setenv("FTR__NONSENSE", "1")
    assert resume(result.path, say=lambda _: None).record["config"] == result.record["config"]
    again = reproduce(result.path, say=lambda _: None)
    assert again.status == "equal"
    assert again.result is not None
    assert flat(again.result.record["config"])["seed"] == 5
    for words in (["evaluate", result.path], ["predict", result.path, reviews]):
        assert main([str(word) for word in words]) == 0


def test_no_other_module_reads_found_settings() -> None:
    """Trials, workers, `resume`, `reproduce`, `evaluate` and `predict` have their records alone."""
    package = Path(ftr.__file__).parent
    readers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "with_found" in path.read_text(encoding="utf-8")
    }
    assert readers == {
        "cli/doctor.py",
        "cli/schema.py",
        "cli/show.py",
        "cluster/ship.py",
        "config/found.py",
        "results/plan/planner.py",
        "study/study.py",
        "study/sweep.py",
    }


def test_files_of_strangers_in_a_folder_open_to_all_are_not_read(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of another user")
    file = project / "ftr.yaml"
    file.write_text("epochs: 3\nplugins: [evil.py]\n")
    os.chown(file, 12345, 12345)
    assert values_of()["epochs"] == (3, str(file)), "a folder of one's own"
    project.chmod(0o1777)
    assert values_of() == {}
    assert f"`{file}` is not read" in capsys.readouterr().err


def test_a_command_tells_which_settings_it_found_where(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "ftr.yaml").write_text("task: sentiment\ndataset: a.csv\nseed: 1\n")
    monkeypatch.setenv("FTR__EPOCHS", "2")
    assert found_line(with_found(["seed=3"])) == (
        "settings: `task`, `dataset` from ftr.yaml; `epochs` from environment FTR__EPOCHS"
    )
    monkeypatch.setenv("FTR_SETTINGS", "off")
    assert found_line(with_found(["seed=3"])) is None
