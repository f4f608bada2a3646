"""Experiment trackers: what they hold is read back from their own files, databases and servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
import tracked
from clusters import Size, ray_cluster
from forks import Fork
from ftr.cli.main import main
from ftr.errors import ConfigError, RequestError, RunError, UnknownComponentError
from ftr.registry import plugin_files
from ftr.registry.registry import get_registry
from ftr.runs.directory import hold
from ftr.runs.trackers import sync
from ftr.study.resume import resume
from interruptions import Start, logged, resumed, wait_for, words
from networks import free_port
from sweeps import TINY, hidden
from trainings import REVIEWS, lines, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

pytestmark = pytest.mark.timeout(600)
ALL = ("tensorboard", "mlflow", "wandb", "trackio")
MLFLOW = os.environ.get("FTR_MLFLOW", "")
"""The `mlflow` command of an environment with MLflow's server, which cannot be installed beside
ftr: it asks for an older pandas.
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where all trackers keep their files."""
    for package in ALL:
        pytest.importorskip(package)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.chdir(tmp_path)  # MLflow puts the artifacts of a database there
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    return tmp_path


def held_by(tracker: str, places: Path) -> dict[str, tracked.Seen]:
    """Return what a tracker holds."""
    return {
        "tensorboard": lambda: tracked.tensorboard(places / "logs"),
        "mlflow": lambda: tracked.mlflow_database(places / "mlflow.db"),
        "wandb": lambda: tracked.wandb(places),
        "trackio": lambda: tracked.trackio(places / "trackio"),
    }[tracker]()


def close(curve: list[tuple[int, float]], expected: list[tuple[int, float]]) -> bool:
    """Whether two curves have the same steps in the same order, and the same values in fp32."""
    return [step for step, _ in curve] == [step for step, _ in expected] and [
        value for _, value in curve
    ] == pytest.approx([value for _, value in expected])


def copied(run: RunResult, places: Path) -> Path:
    """Return a copy of a finished run, to be tracked."""
    return Path(shutil.copytree(run.path, places / "runs" / run.path.name))


@pytest.mark.parametrize(
    "name", ["tensorboard", *(pytest.param(one, marks=pytest.mark.slow) for one in ALL[1:])]
)
def test_a_tracker_has_curve_scores_baselines_settings_and_report_of_a_run_once(
    name: str, classifier: RunResult, places: Path
) -> None:
    run = copied(classifier, places)
    (run / "report.html").write_text("<p>a report</p>", encoding="utf-8")
    assert sync(run, trackers=[name]) == [name]
    written, record = lines(run / "metrics.jsonl"), classifier.record
    (seen,) = held_by(name, places).values()
    assert seen.name == run.name
    for kind, key in (("train", "loss"), ("train", "learning_rate"), ("validation", "accuracy")):
        own = [(line["step"], line[key]) for line in written if line["kind"] == kind]
        assert own and close(seen.curves[f"{kind}/{key}"], own), key
    for split, scores in record["scores"].items():
        ((_, value),) = seen.curves[f"final/{split}/accuracy"]
        assert value == pytest.approx(scores["accuracy"])
    ((_, value),) = seen.curves["baseline/tf-idf/test/accuracy"]
    assert value == pytest.approx(record["baselines"]["tf-idf"]["test"]["accuracy"])
    assert float(seen.config["learning_rate"]) == record["config"]["learning_rate"]
    assert "data.max_length" in seen.config and "head" in seen.config
    assert seen.status == ("FINISHED" if name == "mlflow" else "done")
    reports = {
        "mlflow": "mlruns/**/report.html",
        "wandb": "wandb/offline-run-*/files/report.html",
        "trackio": "trackio/artifacts/**/*",
    }
    assert name not in reports or list(places.glob(reports[name]))
    before = seen.curves
    sync(run, trackers=[name])
    assert held_by(name, places)[run.name].curves == before


@pytest.mark.slow
def test_a_run_is_followed_while_it_trains_and_a_tracker_that_is_down_gets_it_later(
    tiny_bert: Path, reviews: Path, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "geheim77geheim"
    nobody = f"http://ann:{secret}@127.0.0.1:{free_port('127.0.0.1')}"
    database = os.environ["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", nobody)
    said: list[str] = []
    run = ftr.run(
        {
            **REVIEWS,
            "dataset": str(reviews),
            "model": str(tiny_bert),
            "output": str(places / "runs"),
            "tracker": "mlflow,tensorboard",
        },
        say=said.append,
    )
    warnings = [line for line in said if "tracker" in line]
    assert len(warnings) == 1 and "`mlflow` cannot be reached" in warnings[0], said
    assert f"{run.path.name} --sync" in warnings[0]
    kept = "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in run.path.iterdir()
        if path.is_file()
    )
    assert secret not in "".join([*said, kept])
    (seen,) = tracked.tensorboard(places / "logs").values()
    assert seen.status == "done" and seen.steps("train/loss") == list(range(1, 26))
    with pytest.raises(RunError, match=r"not all of .* could be sent: `mlflow`"):
        sync(run.path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    assert sync(run.path) == ["mlflow", "tensorboard"]
    late = tracked.mlflow_database(places / "mlflow.db")[run.path.name]
    assert late.steps("train/loss") == list(range(1, 26)) and late.status == "FINISHED"
    assert late.curves["final/test/f1"] == [(0, run.scores["f1"])]
    # A run that is known there is not looked for elsewhere.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{places}/other.db")
    (run.path / "report.html").write_text("new", encoding="utf-8")
    with pytest.raises(RunError, match="set `MLFLOW_TRACKING_URI` as it was"):
        sync(run.path)


@pytest.mark.slow
def test_a_server_that_never_answers_does_not_hold_a_training_up(
    tiny_bert: Path, reviews: Path, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{mute.getsockname()[1]}")
        said: list[str] = []
        asked = {**REVIEWS, "dataset": str(reviews), "model": str(tiny_bert), "tracker": "mlflow"}
        began = time.monotonic()
        run = ftr.run({**asked, "output": str(places / "runs")}, say=said.append)
        took = time.monotonic() - began
    assert took - run.record["seconds"] < 60, "the end of a run waits for 30 s at most"
    assert len([line for line in said if "mlflow" in line and "--sync" in line]) == 1, said
    assert run.record["status"] == "done" and (run.path / "predictions/test.jsonl").is_file()


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_at_its_trackers_without_a_step_twice(
    start: Start, tiny_bert: Path, reviews: Path, places: Path
) -> None:
    asked = {
        **REVIEWS,
        "dataset": reviews,
        "model": tiny_bert,
        "epochs": 60,
        "output": places / "runs",
        "train.save_steps": 7,
        "tracker": ",".join(ALL),
    }
    process = start("run", *words(asked))
    wait_for(lambda: logged(places / "runs") > 30, process)
    (run,) = (places / "runs").glob("*")
    wait_for((run / "tracking.jsonl").is_file, process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 120
    while (run / ".tracking.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    early = {name: held_by(name, places) for name in ALL}
    assert {found[run.name].status for found in early.values()} == {"interrupted", "KILLED"}
    sent = len(early["mlflow"][run.name].steps("train/loss"))
    result = resumed(run)
    assert result.record["status"] == "done" and result.record["resumed"]
    for name in ALL:
        (seen,) = held_by(name, places).values()
        assert seen.steps("train/loss") == list(range(1, 301)), (name, sent)
        assert seen.steps("validation/f1") == list(range(5, 301, 5)), name
        assert seen.status in ("FINISHED", "done"), name


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on_as_one_parent_and_each_trial_as_one_child(
    start: Start, tiny_bert: Path, reviews: Path, places: Path
) -> None:
    asked = {
        **TINY,
        "searcher": "random",
        "scheduler": "fifo",
        "trials": 3,
        "learning_rate": "loguniform(3e-4,1e-2)",
        "epochs": 12,
        "max_concurrent": 1,
        "train.logging_steps": 1,
        "dataset": reviews,
        "model": tiny_bert,
        "output": places / "runs",
        "tracker": "mlflow",
    }
    process = start("sweep", *words(asked))
    ended = '"event": "end"'
    journals = (places / "runs").glob
    wait_for(lambda: any(ended in one.read_text() for one in journals("*/journal.jsonl")), process)
    (sweep,) = (places / "runs").glob("*")
    wait_for((sweep / "tracking.jsonl").is_file, process)
    process.kill()
    process.wait()
    resume(sweep, say=lambda line: None)
    seen = tracked.mlflow_database(places / "mlflow.db")  # fails where a name is there twice
    names = [f"{sweep.name}-trial-{number:04d}" for number in range(3)]
    assert set(seen) == {sweep.name, *names}
    for name in names:
        assert seen[name].parent == sweep.name and seen[name].status == "FINISHED"
        assert seen[name].steps("train/loss") == list(range(1, 61))
        assert seen[name].steps("validation/f1") == list(range(5, 61, 5))
    assert seen[sweep.name].steps("trial/best") == [1, 2, 3]
    assert sum("ftr.tag.winner" in one.tags for one in seen.values()) == 1


@pytest.mark.slow
def test_members_are_children_of_their_run(tiny_bert: Path, reviews: Path, places: Path) -> None:
    run = train(
        {**REVIEWS, "epochs": 1, "seeds": 2},
        dataset=reviews,
        model=tiny_bert,
        output=places / "runs",
        tracker="mlflow,tensorboard",
    )
    seen, name = tracked.mlflow_database(places / "mlflow.db"), run.path.name
    assert {one.name: one.parent for one in seen.values()} == {
        name: "",
        f"{name}-member-0": name,
        f"{name}-member-1": name,
    }
    means = run.record["summary"]["test"]["accuracy"]
    assert seen[name].curves["members/test/accuracy/sd"] == [(0, means["sd"])]
    assert [seen[f"{name}-member-{n}"].config["seed"] for n in (0, 1)] == ["0", "1"]
    assert {one.status for one in seen.values()} == {"FINISHED"}
    folders = tracked.tensorboard(places / "logs")
    assert set(folders) == {name, f"{name}/member-0", f"{name}/member-1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server, of an environment of its own."""
    if not MLFLOW:
        pytest.skip("`FTR_MLFLOW` does not name the `mlflow` command of an environment with MLflow")
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port("127.0.0.1")
    options = {
        "host": "127.0.0.1",
        "port": port,
        "workers": 1,
        "backend-store-uri": f"sqlite:///{folder}/server.db",
        "artifacts-destination": folder / "artifacts",
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    clean = {name: one for name, one in os.environ.items() if not name.startswith("PYTHON")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [MLFLOW, "server", *given], stdout=log, stderr=log, env=clean, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.mark.slow
def test_a_server_has_a_sweep_on_two_nodes_as_one_parent_with_all_trials_and_scores(
    server: str, tiny_bert: Path, reviews: Path, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    with ray_cluster(Size(cpus=1), Size(cpus=1)) as cluster:
        asked = {
            **TINY,
            "searcher": "random",
            "scheduler": "fifo",
            "trials": 6,
            "learning_rate": "loguniform(3e-4,1e-2)",
            "epochs": "choice(2,3)",
            "dataset": reviews,
            "model": tiny_bert,
            "output": places / "runs",
            "compute.address": cluster.address,
            "tracker": "mlflow",
        }
        driver = Fork(["sweep", *words(asked)], None)
        try:
            out, err = driver.communicate(timeout=400)
        finally:
            driver.kill()
    assert driver.returncode == 0, (out, err)
    (path,) = (places / "runs").glob("*")
    record = json.loads((path / "sweep.json").read_text())
    records = [json.loads(one.read_text()) for one in sorted(path.glob("trials/*/run.json"))]
    assert len({one["node"] for one in records}) == 2, "all trials ran on one node"
    seen = tracked.mlflow_server(server)
    names = [f"{path.name}-trial-{number:04d}" for number in range(6)]
    assert set(seen) == {path.name, *names}
    assert [seen[name].parent for name in names] == [path.name] * 6
    for number, name in enumerate(names):
        written = lines(path / f"trials/{number:04d}/metrics.jsonl")
        for kind, key in (("train", "loss"), ("validation", "accuracy"), ("validation", "f1")):
            own = [(line["step"], line[key]) for line in written if line["kind"] == kind]
            assert close(seen[name].curves[f"{kind}/{key}"], own), (name, key)
        assert (
            float(seen[name].config["learning_rate"]) == records[number]["config"]["learning_rate"]
        )
        assert (
            seen[name].status == "FINISHED" and seen[name].config["node"] == records[number]["node"]
        )
    winners = [name for name in names if "ftr.tag.winner" in seen[name].tags]
    assert winners == [names[record["winner"]]]
    best = json.loads((path / "best/run.json").read_text())
    for name in (path.name, *winners):
        for split, scores in best["scores"].items():
            assert close(seen[name].curves[f"final/{split}/f1"], [(0, scores["f1"])])
    assert seen[path.name].curves["trial/best"][-1][1] == pytest.approx(record["best"]["value"])


PLUGIN = """
import json
import os
import ftr

@ftr.hookimpl
def ftr_trackers():
    return [ftr.TrackerSpec(name="notes", target="{module}:Notes", summary="lines of JSON"),
            ftr.TrackerSpec(name="broken", target="{module}:Broken")]

class Notes:
    resend = False

    def __init__(self, run):
        self.id, self.place = run.known or run.name, run.folder / "notes.jsonl"
        self.write("open", run.config["seed"])

    def write(self, *what):
        print("a tracker that prints")
        with self.place.open("a") as stream:
            stream.write(json.dumps(what) + "\\n")

    def log(self, points):
        self.write("log", [point.step for point in points])

    def summarize(self, scores, tags):
        self.write("summary", scores["final/test/accuracy"])

    def attach(self, path):
        self.write("attach", path.name)

    def finish(self, status):
        self.write("finish", status)

class Broken(Notes):
    def __init__(self, run):
        raise SystemExit("no such luck with " + os.environ["WANDB_API_KEY"])
"""


@pytest.fixture
def unloaded() -> Iterator[None]:
    """Unload the plugin files of a test: later tests of this process do not know them."""
    before = plugin_files.given()
    yield
    plugin_files.forget(before)
    get_registry.cache_clear()


@pytest.mark.usefixtures("unloaded")
def test_a_plugin_adds_a_tracker_and_a_broken_one_breaks_nothing(
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "geheim88geheim")
    plugin = tmp_path / "my_trackers.py"
    plugin.write_text(PLUGIN.replace("{module}", "my_trackers"), encoding="utf-8")
    asked = {
        **REVIEWS,
        "epochs": 2,
        "tracker": "broken,notes",
        "dataset": reviews,
        "model": tiny_bert,
        "output": tmp_path / "runs",
    }
    assert main(["run", "--json", "--plugin", str(plugin), *words(asked)]) == 0
    out, err = capsys.readouterr()
    scores = json.loads(out)["scores"]
    told = [line for line in err.splitlines() if "tracker" in line]
    assert (
        len(told) == 1
        and "`broken` cannot be reached: SystemExit: no such luck with ***" in told[0]
    )
    (run,) = (tmp_path / "runs").glob("*")
    notes: list[Any] = [*lines(run / "notes.jsonl")]
    assert notes[0] == ["open", 0] and notes[-1] == ["finish", "done"]
    steps = [step for kind, what in notes if kind == "log" for step in what]
    assert steps == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]
    assert ["summary", scores["accuracy"]] in notes
    log = (run / "tracking.log").read_text(encoding="utf-8")
    assert "no such luck" in log and "geheim88" not in log + err
    (run / "report.html").write_text("a report", encoding="utf-8")
    sync(run, trackers=["notes"])
    notes = [*lines(run / "notes.jsonl")]
    assert notes[-3:] == [["open", 0], ["attach", "report.html"], ["finish", "done"]]


@pytest.mark.slow
def test_the_command_attaches_a_report(tiny_bert: Path, reviews: Path, places: Path) -> None:
    asked = {**REVIEWS, "epochs": 1, "dataset": reviews, "model": tiny_bert, "output": places}
    assert main(["run", *words(asked, tracker="mlflow")]) == 0
    (report,) = places.glob("mlruns/**/report.html")
    assert "<html" in report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_trials_whose_directories_are_in_a_storage_are_followed_there(
    tiny_bert: Path, reviews: Path, places: Path
) -> None:
    asked = {
        **TINY,
        "trials": 2,
        "learning_rate": "loguniform(3e-4,1e-2)",
        "dataset": str(reviews),
        "model": str(tiny_bert),
        "output": str(places / "runs"),
        "compute.storage": str(places / "storage"),
        "tracker": "tensorboard",
    }
    sweep = ftr.sweep(asked, say=lambda line: None)
    seen = tracked.tensorboard(places / "logs")
    names = [f"{sweep.path.name}/trial-{number:04d}" for number in range(2)]
    assert set(seen) == {sweep.path.name, *names}
    for name, trial in zip(names, sweep.state.trials.values(), strict=True):
        own = [(one.step, one.value) for one in trial.results]
        assert close(seen[name].curves["validation/accuracy"], own)
        assert seen[name].steps("train/loss") and seen[name].status == "done"


@pytest.mark.parametrize("tracker", ALL)
def test_a_missing_package_is_refused_before_data_is_read(
    tracker: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hidden(monkeypatch, tracker)
    monkeypatch.chdir(tmp_path)
    for command in ("run", "sweep"):
        assert main([command, "no-such-file.csv", f"tracker={tracker}"]) == 2
        assert f"pip install 'ftr[{tracker}]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_tracker_that_nobody_has_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownComponentError, match=r"unknown tracker `mlfow`.*`mlflow`"):
        ftr.run(task="sentiment", tracker="mlfow")
    with pytest.raises(ConfigError, match="holds `mlflow` twice"):
        ftr.run(task="sentiment", tracker="mlflow,mlflow")


def test_only_a_tracked_run_is_synced(classifier: RunResult) -> None:
    with pytest.raises(RequestError, match="was not tracked: its `tracker` is empty"):
        sync(classifier.path)


def test_a_damaged_record_and_a_run_at_work_are_not_synced(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RequestError, match=r"run.json` cannot be read"):
        sync(tmp_path)
    record = {"config": {"tracker": ["tensorboard"], "compute": {"storage": None}}}
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / ".tracking.lock").touch()
    with hold(tmp_path), pytest.raises(RequestError, match="sends its records itself"):
        sync(tmp_path)
