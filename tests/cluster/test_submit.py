"""Commands sent to a real job server: what goes along, what comes back, and how they end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import Cluster, Size, ray_cluster
from editable import python_with_pears
from ftr.cluster import ship
from ftr.cluster.ship import cluster_command
from ftr.cluster.submit import JobServer
from ftr.config.found import with_found
from ftr.errors import ConfigError, RequestError
from networks import free_port
from trainings import write_reviews

SHORT = "config=mine.yaml"
# Enough epochs to be stopped in the middle of.
LONG = (
    "run task=sentiment dataset=reviews.csv model=tiny epochs=2000 batch_size=8 data.max_length=48 "
    "train.precision=fp32 compute.workers=0"
)
MINE = (
    "task: sentiment\ndataset: reviews.csv\nmodel: tiny\nepochs: 1\nbatch_size: 8\ndata: "
    "{max_length: 48}\n"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder on the head."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def cluster(home: Path) -> Iterator[Cluster]:
    """A head with a job server, on whose path this Python stands first."""
    pytest.importorskip("aiohttp", reason="the job server comes with `ftr[cluster]`")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with ray_cluster(
        Size(cpus=2), dashboard=True, environment={"HOME": str(home), "PATH": path}
    ) as running:
        yield running


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with an editable plugin that the head lacks."""
    return python_with_pears(tmp_path_factory.mktemp("client"))


@pytest.fixture
def place(tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with data, a model and a configuration."""
    write_reviews(tmp_path / "reviews.csv")
    (tmp_path / "tiny").symlink_to(tiny_bert)
    (tmp_path / "mine.yaml").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(cluster: Cluster, *words: str, python: Path | str = sys.executable) -> list[str]:
    return [str(python), "-m", "ftr", "submit", "--address", str(cluster.dashboard), *words]


def submit(
    cluster: Cluster, *words: str, python: Path | str = sys.executable
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(cluster, *words, python=python),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def until(ready: object, what: str, seconds: float = 90.0) -> None:
    assert callable(ready)
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.mark.slow
class TestJobs:
    """Against a head that was started with `ray start --head`."""

    def test_a_run_comes_back_as_if_it_had_run_here(
        self, cluster: Cluster, place: Path, home: Path
    ) -> None:
        done = submit(cluster, "run", SHORT, "seed=3")
        assert done.returncode == 0, done.stderr
        assert "epoch 1.00 · validation accuracy" in done.stdout
        assert sorted(line for line in done.stderr.splitlines() if line.startswith("sends ")) == [
            "sends mine.yaml (0.0 MB)",
            "sends reviews.csv (0.0 MB)",
            "sends tiny (0.1 MB)",
        ]
        assert [
            line for line in done.stderr.splitlines() if not line.startswith(("sends ", "job ftr-"))
        ] == []
        (run,) = (place / "runs").iterdir()
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        assert (record["status"], record["config"]["seed"], record["config"]["epochs"]) == (
            "done",
            3,
            1.0,
        )
        (there,) = (home / "ftr-jobs").glob("*/*/model/model.safetensors")
        assert (run / "model" / "model.safetensors").read_bytes() == there.read_bytes()
        assert done.stdout.splitlines()[-1] == f"fetched: runs/{run.name}"
        # What was offered for fetching is gone from the head.
        until(
            lambda: not list(cluster.folder.glob("0/session_*/logs/ftr-results-*.tar")),
            "the archive stays",
        )

    def test_settings_that_are_found_here_go_along(
        self, cluster: Cluster, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (place / "mine.yaml").rename(place / "ftr.yaml")
        (place / "below").mkdir()
        monkeypatch.chdir(place / "below")
        monkeypatch.setenv("FTR_SETTINGS", "")
        monkeypatch.setenv("FTR__SEED", "7")
        done = submit(cluster, "run", "train.precision=fp32", "compute.workers=0", "epochs=0.5")
        assert done.returncode == 0, done.stderr
        (run,) = (place / "below" / "runs").iterdir()
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        config, origins = record["config"], record["origins"]
        assert (config["seed"], config["epochs"], config["data"]["max_length"]) == (7, 0.5, 48)
        assert origins["seed"] == "environment FTR__SEED"
        assert origins["data.max_length"] == origins["dataset"] == str(place / "ftr.yaml")
        assert (origins["epochs"], origins["output"]) == ("command line", "ftr submit")

    def test_a_failure_is_1_and_plugins_go_along_editable_or_of_one_file(
        self, cluster: Cluster, python: Path, place: Path
    ) -> None:
        hooks = (
            "import ftr\n@ftr.hookimpl\ndef ftr_metrics(): return [ftr.MetricSpec(name='{0}', "
            "target='{0}:Score')]\nclass Score: pass\n"
        )
        (place / "apart").mkdir()
        (place / "apart" / "pine.py").write_text(hooks.format("pine"), encoding="utf-8")
        (place / "fir.py").write_text(hooks.format("fir"), encoding="utf-8")
        (place / "apart" / "pine.yaml").write_text("plugins: [pine.py]\n", encoding="utf-8")
        words = [
            "run",
            "task=sentiment",
            "dataset=pears",
            "model=tiny",
            "metrics=pine,fir",
            "config=apart/pine.yaml",
            "--plugin",
            "fir.py",
        ]
        done = submit(cluster, *words, python=python)
        assert done.returncode == 1, done.stdout
        assert [
            line.split()[1] for line in done.stderr.splitlines() if line.endswith(", a plugin")
        ] == ["fir.py", "pine.py"]
        assert "sends ftr-pears 1.0, which the head lacks" in done.stderr
        assert "the pears are rotten" in done.stdout

    def test_a_wrong_request_is_2(self, cluster: Cluster, place: Path) -> None:
        done = submit(cluster, "show", "task=sentiment", "epoch=3", "--json")
        assert done.returncode == 2
        assert (
            "ftr: error: `epoch` (command line) is not a setting" in done.stderr
            or "`epoch`" in done.stderr
        )
        assert json.loads(done.stdout)["exit_code"] == 2

    def test_ctrl_c_without_a_terminal_detaches_and_the_job_can_be_followed_again(
        self, cluster: Cluster, place: Path, home: Path
    ) -> None:
        before = set((home / "ftr-jobs").glob("*/*/run.json"))
        with subprocess.Popen(
            command(cluster, *LONG.split()),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            until(
                lambda: set((home / "ftr-jobs").glob("*/*/run.json")) - before,
                "the job does not start",
            )
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        job = out.split()[-1]
        assert out.splitlines()[-3:] == [
            "detached",
            f"follow: ftr submit --address {cluster.dashboard} --follow {job}",
            f"stop:   ray job stop --address {cluster.dashboard} {job}",
        ]
        (record,) = set((home / "ftr-jobs").glob("*/*/run.json")) - before
        # In the middle of its imports a program takes Ctrl-C for a broken package.
        until((record.parent / "metrics.jsonl").is_file, "the training does not start")
        # An interrupted driver ends with 130, and so does who follows it.
        os.kill(json.loads(record.read_text(encoding="utf-8"))["process"], signal.SIGINT)
        followed = submit(cluster, "--follow", job)
        assert followed.returncode == 130, followed.stderr
        assert "Running entrypoint for job" in followed.stdout
        assert (place / "runs" / record.parent.name / "run.json").is_file()

    def test_ctrl_c_at_a_terminal_asks_and_stops(
        self, cluster: Cluster, place: Path, home: Path
    ) -> None:
        before = set((home / "ftr-jobs").glob("*/*/run.json"))
        left = submit(cluster, "--no-wait", "--json", *LONG.split())
        job = json.loads(left.stdout)["job"]
        until(
            lambda: set((home / "ftr-jobs").glob("*/*/run.json")) - before, "the job does not start"
        )
        (record,) = set((home / "ftr-jobs").glob("*/*/run.json")) - before
        assert record.parts[-3] == job
        ours, theirs = pty.openpty()
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        said = ""
        with subprocess.Popen(
            command(cluster, "--follow", job), **streams, start_new_session=True
        ) as process:  # type: ignore[call-overload]
            os.close(theirs)
            while "Running entrypoint" not in said:
                said += os.read(ours, 4096).decode()
            process.send_signal(signal.SIGINT)
            while "[s/d]" not in said:
                said += os.read(ours, 4096).decode()
            os.write(ours, b"s\n")
            while process.poll() is None:
                try:
                    said += os.read(ours, 4096).decode()
                except OSError:  # the other end is closed
                    process.wait(timeout=30)
        os.close(ours)
        assert process.returncode == 130, said
        assert (
            "stop the job, or detach? [s/d]" in said
            and f"stopped; its results are on the head in ~/ftr-jobs/{job}" in said
        )
        driver = json.loads(record.read_text(encoding="utf-8"))["process"]
        until(lambda: not Path(f"/proc/{driver}").exists(), "the driver still runs", 20)

    def test_an_unknown_job_is_named(self, cluster: Cluster) -> None:
        done = submit(cluster, "--follow", "ftr-lost")
        assert (done.returncode, done.stderr) == (
            2,
            f"ftr: error: `{cluster.dashboard}` knows no job `ftr-lost`.\n",
        )

    def test_a_wrong_token_is_named(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
        done = submit(cluster, "list")
        assert done.returncode == 2
        assert done.stderr.startswith(
            f"ftr: error: `--address {cluster.dashboard}`: the token in `RAY_AUTH_TOKEN` is not "
            "the cluster's."
        )
        assert len(done.stderr.splitlines()) == 1


class TestAddress:
    """A wrong address is an error within seconds."""

    def test_nobody_listens(self) -> None:
        address = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(ConfigError, match=rf"`--address {address}`: nobody listens there"):
            JobServer(address)

    @pytest.mark.parametrize("address", ["ftp://head:8265", "http://"])
    def test_it_is_malformed(self, address: str) -> None:
        with pytest.raises(
            ConfigError, match="give the address of the job server, such as `http://head:8265`"
        ):
            JobServer(address)

    def test_the_extra_is_missing(self) -> None:
        script = (
            "import sys; sys.modules['aiohttp'] = None; from ftr.cli.main import main; "
            "sys.exit(main(['submit', 'list']))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (
            2,
            "ftr: error: `ftr submit` needs Ray's job client, and `aiohttp` is missing: install "
            "`ftr[cluster]`.\n",
        )


class TestClusterCommand:
    """Relative paths are sent; absolute ones are those of the cluster."""

    def test_files_that_are_named_and_here(self, place: Path) -> None:
        command_there = cluster_command(
            [
                "run",
                "task=sentiment",
                "dataset=reviews.csv",
                "model=minilm",
                "dataset.labels_file=/shared/labels.txt",
            ],
            "job",
        )
        assert command_there.files == {"reviews.csv": Path("reviews.csv")}
        assert command_there.words[-2:] == ("output=~/ftr-jobs/job", "compute.address=auto")
        assert (command_there.output, command_there.here) == ("~/ftr-jobs/job", Path("runs"))

    def test_a_path_that_is_the_dataset(self, place: Path) -> None:
        command_there = cluster_command(["run", "reviews.csv", "epochs=1"], "job")
        assert command_there.files == {"reviews.csv": Path("reviews.csv")}
        assert command_there.words[:3] == ("run", "reviews.csv", "epochs=1")

    def test_files_that_a_configuration_names(self, place: Path) -> None:
        assert set(cluster_command(["sweep", SHORT], "job").files) == {
            "mine.yaml",
            "reviews.csv",
            "tiny",
        }

    def test_settings_that_are_found_here_keep_their_origin(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (place / "mine.yaml").rename(place / "ftr.yaml")
        monkeypatch.setenv("FTR_SETTINGS", "")
        monkeypatch.setenv("FTR__SEED", "7")
        here = with_found(["epochs=3"])
        command_there = cluster_command(["run", "epochs=3"], "job")
        monkeypatch.setenv("FTR_SETTINGS", "off")
        monkeypatch.delenv("FTR__SEED")
        monkeypatch.setenv("FTR_ORIGINS", json.dumps(command_there.origins))
        there = with_found(command_there.words[1:])
        assert {key: one.origin for key, one in here.items()} == {
            key: there[key].origin for key in here
        }
        assert here["seed"].origin == "environment FTR__SEED"
        assert there["compute.address"].origin == "ftr submit"

    def test_a_path_that_leads_out_of_the_folder_gets_a_new_place(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (place / "below").mkdir()
        monkeypatch.chdir(place / "below")
        command_there = cluster_command(["run", "task=sentiment", "dataset=../reviews.csv"], "job")
        assert command_there.files == {"sent/0/reviews.csv": Path("../reviews.csv")}
        assert (
            "dataset=sent/0/reviews.csv" in command_there.words
            and "dataset=../reviews.csv" not in command_there.words
        )

    def test_what_the_command_says_of_output_and_address_stands(self, place: Path) -> None:
        command_there = cluster_command(
            ["run", SHORT, "output=/shared/runs", "compute.address=head:6379"], "job"
        )
        assert command_there.words == (
            "run",
            SHORT,
            "output=/shared/runs",
            "compute.address=head:6379",
        )
        assert (command_there.output, command_there.here) == ("/shared/runs", None)

    def test_options_of_the_command_stay_behind_its_settings(self, place: Path) -> None:
        (place / "a-run").mkdir()
        command_there = cluster_command(
            ["evaluate", "a-run", "dataset=reviews.csv", "--split", "test"], "job"
        )
        assert command_there.words == (
            "evaluate",
            "a-run",
            "dataset=reviews.csv",
            "--split",
            "test",
        )
        assert set(command_there.files) == {"a-run", "reviews.csv"}

    def test_too_much_is_refused(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ship, "COMMAND_LIMIT", 1000)
        with pytest.raises(
            RequestError,
            match=r"most of it `tiny`; the limit is 0 MB",
        ):
            cluster_command(["run", SHORT], "job")

    def test_a_run_of_this_machine_cannot_be_resumed_there(self, place: Path) -> None:
        (place / "runs" / "a-run").mkdir(parents=True)
        with pytest.raises(RequestError, match="`runs/a-run` is on this machine"):
            cluster_command(["resume", "runs/a-run"], "job")

    @pytest.mark.parametrize(
        ("words", "sent"),
        [
            (["model=choice(minilm,./ck)"], {"ck"}),
            (["model=choice(minilm, './ck', tiny)"], {"ck", "tiny"}),
            (
                ["model=grid(ck,tiny)", "dataset=choice(reviews.csv,b.csv)"],
                {"ck", "tiny", "reviews.csv", "b.csv"},
            ),
            (
                ["dataset={train: reviews.csv, validation: 'choice(b.csv,other/b.csv)'}"],
                {"reviews.csv", "b.csv", "other/b.csv"},
            ),
            (["dataset=choice(2024,reviews.csv)"], {"2024", "reviews.csv"}),
            (["dataset=2024"], {"2024"}),
            (["dataset=**/b.c*"], {"b.csv", "other/b.csv"}),
            (["dataset.train=[b.csv,oth*/*]"], {"b.csv", "other/b.csv"}),
            (["model='\"./ck\"'".replace("'", "")], {"ck"}),
            (["head.vocabulary=[b.csv,{file: ck}]"], {"b.csv", "ck"}),
            (["trainer.fsdp_config=b.csv", "data.cache=other"], {"b.csv"}),
            (["config=search.yaml"], {"search.yaml", "ck", "reviews.csv", "b.csv"}),
            (["model=choice(minilm,~/ck,/shared/ck)", "dataset=sentiment-sample"], set()),
        ],
    )
    def test_files_inside_expressions_lists_and_mappings(
        self, words: list[str], sent: set[str], place: Path
    ) -> None:
        (place / "other").mkdir()
        for name in ("b.csv", "other/b.csv"):
            write_reviews(place / name)
        for folder in ("ck", "2024"):
            (place / folder).mkdir()
        text = (
            "model: choice(minilm,./ck)\ndataset: {name: 'choice(reviews.csv,b.csv)'}\ntrials: 2\n"
        )
        (place / "search.yaml").write_text(text, encoding="utf-8")
        command_there = cluster_command(["sweep", "task=sentiment", *words], "job")
        assert set(command_there.files) == sent
        assert command_there.words[:-2] == ("sweep", "task=sentiment", *words), (
            "nothing changes in what is below this folder"
        )

    def test_paths_inside_expressions_that_lead_out_get_new_places(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (place / "below").mkdir()
        (place / "below" / "ck").mkdir()
        text = "dataset: {train: ../reviews.csv, text: review}\nmodel: choice(../tiny,ck)\n"
        (place / "search.yaml").write_text(text, encoding="utf-8")
        monkeypatch.chdir(place / "below")
        command_there = cluster_command(
            [
                "sweep",
                "model=choice(minilm,../tiny,ck)",
                "dataset={train: '../reviews.csv', text: review}",
            ],
            "job",
        )
        assert command_there.files == {
            "sent/0/tiny": Path("../tiny"),
            "ck": Path("ck"),
            "sent/2/reviews.csv": Path("../reviews.csv"),
        }
        assert command_there.words[1:4] == (
            "model=choice(minilm,sent/0/tiny,ck)",
            "dataset.train=sent/2/reviews.csv",
            "dataset.text=review",
        )
        command_there = cluster_command(
            ["sweep", "config=../search.yaml", "learning_rate=choice(1e-3,3e-3)"], "job"
        )
        sources = {str(source): there for there, source in command_there.files.items()}
        assert set(sources) == {"../search.yaml", "../reviews.csv", "../tiny", "ck"}
        assert f"config={sources['../search.yaml']}" in command_there.words
        assert f"dataset.train={sources['../reviews.csv']}" in command_there.words
        assert f"model=choice({sources['../tiny']},ck)" in command_there.words


def test_variables_of_trackers_are_sent_and_secrets_among_them_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [one for one in os.environ if one.startswith(("MLFLOW_", "WANDB_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "films")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:word1word1@host:5000")
    monkeypatch.setenv("WANDB_API_KEY", "geheim99geheim")
    said: list[str] = []
    words = ["run", "task=sentiment", "tracker=mlflow"]
    assert ship.tracker_environment(words, said.append) == {"MLFLOW_EXPERIMENT_NAME": "films"}
    assert [line.split("`")[1] for line in said] == ["MLFLOW_TRACKING_URI", "WANDB_API_KEY"]
    assert not any("word1" in line or "geheim" in line for line in said)
    assert ship.tracker_environment(words[:2], said.append) == {} and len(said) == 2
