"""Every command of the pages runs: in a folder with small files, in the order of the page, in this
process; with a tiny model, few rows and small counts where a training would take minutes.
"""

import contextlib
import csv
import importlib
import io
import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ftr.cli.main import main
from ftr.registry.registry import get_registry
from ftr.testing import tiny
from hubserver import USER, hub_in_this_process
from interruptions import Start
from pages import PROJECT
from s3 import REGION, s3_server
from services import until_ready
from test_docs import PAGES, commands
from trainings import ALL_OF_REVIEWS, CLASSES, review, train, write_csv, write_squad

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Use 'content=<:DeprecationWarning"),
]

NOT_HERE = {
    "compute.address=": "a Ray cluster: tests/cluster",
    "submit": "the job server of a cluster: tests/cluster",
    "s3://bucket/folder": "a sweep with storage on a cluster: tests/cluster",
    "compute.gpus=": "a GPU",
    "--sync": "a run that a tracker missed: tests/runs",
    "hub:stanfordnlp/imdb": "the Hub",
    "modernbert-base": "the Hub",
}
"""What is in a command that cannot run here, and what it needs."""
ELSEWHERE = ("tutorial.md",)  # tests/outsiders/test_tutorial.py runs its blocks as they are
LONG = () if os.environ.get("FTR_TEST_ALL_COMMANDS") else ("sweeps.md", "users.md")
"""Most of the sweeps, each of which starts Ray: `make test-commands` runs them too."""
SMALL = {"epochs": "2", "batch_size": "8", "data.limit": "24", "baselines": "false"}
"""Settings of a training that the page leaves open."""
SEARCHED = ("epochs", "batch_size")
"""What a sweep searches if the page leaves it open."""
COUNT = re.compile(r"(trials|epochs|seeds|cv.folds|ensemble_size|boosting)=(\d+)")
TOLD = {
    "RUN": "runs/run",
    "NEW": "runs/NEW",
    "OLD": "runs/OLD",
    "OLDER": "runs/OLDER",
    "SWEEP": "runs/sweep",
    "SWEEP/best": "runs/sweep/best",
    "FOLDER": "runs",
    "dataset=/data/reviews.csv": "dataset=reviews.csv",
    "model=/models/base": "model=my-checkpoint",
}
"""What a reader types instead of a word."""
COPIES = ("run", "NEW", "OLD", "OLDER", "ID", "ID2")


def here(page: Path) -> list[list[str]]:
    """Return the different commands of a page that can run here."""
    lines = dict.fromkeys(tuple(words) for words in commands(page))
    return [list(words) for words in lines if not missing(words)]


def missing(words: Sequence[str]) -> list[str]:
    """Return what a command needs that is not here."""
    return [need for part, need in NOT_HERE.items() if any(part in word for word in words)]


def asked(words: list[str]) -> list[str]:
    """Return a command as a reader with small files would type it."""
    name, *rest = [TOLD.get(word, word).replace("owner/name", f"{USER}/name") for word in words]
    given = {word.partition("=")[0] for word in rest}
    more: dict[str, str] = {}
    if name in ("run", "sweep") or (name == "plan" and "sweep" not in rest):
        small = {key: SMALL[key] for key in SMALL if name == "run" or key not in SEARCHED}
        more = {key: value for key, value in small.items() if key not in given}
        if "model" not in given and not any("tickets" in word for word in rest):
            more["model"] = "my-checkpoint"
    if name == "sweep":
        more |= {} if "trials" in given else {"trials": "2"}
    if "squad" in rest:
        rest[rest.index("runs/run")] = "runs/reader"
    return [
        name,
        *(COUNT.sub(fewer, word) for word in rest),
        *(f"{k}={v}" for k, v in more.items()),
    ]


def fewer(found: re.Match[str]) -> str:
    return f"{found[1]}={min(int(found[2]), 2)}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files that the pages speak of, two runs and a sweep."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(PROJECT / "examples", folder / "examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "POSITIONS", 512)  # of the default model, for the lengths of the pages
        tiny.tiny_checkpoint("bert", folder / "my-checkpoint")
    rng = random.Random(0)
    rows = [
        (review(label, rng), label, ("web", "shop")[n % 2], 2020 + n % 3)
        for n, label in enumerate(list(CLASSES) * 20)
    ]
    header = ("review", "sentiment", "source", "year")
    for name in ("reviews.csv", "other.csv", "labelled.csv", "more.csv"):
        write_csv(folder / name, header, rows)
    for name in ("new.csv", "data/one.csv", "data/two.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_csv(folder / name, ("text", "body"), [(row[0], row[0]) for row in rows[:9]])
    (folder / "splits").mkdir()
    for name, some in (("train", rows[:40]), ("dev", rows[40:50]), ("test", rows[50:])):
        with (folder / "splits" / f"{name}.tsv").open("w", encoding="utf-8") as stream:
            csv.writer(stream, delimiter="\t").writerows(
                [("text", "label"), *(r[:2] for r in some)]
            )
    for name in ("questions.json", "my.json"):
        write_squad(folder / name, broken=0)
    with contextlib.chdir(folder):
        settings = {**ALL_OF_REVIEWS, "epochs": 1, "model": "my-checkpoint", "output": "made"}
        shutil.move(train(settings, dataset="reviews.csv").path, folder / "runs" / "run")
        reader = {**SMALL, "task": "qa", "dataset": "my.json", "model": "my-checkpoint"}
        shutil.move(train(reader, output="made").path, folder / "runs" / "reader")
        sweep = "sweep task=sentiment dataset=reviews.csv trials=1 output=made"
        assert main(asked(sweep.split())) == 0
        (found,) = Path("made").glob("*-sweep-*")
        shutil.move(found, folder / "runs" / "sweep")
    return folder


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in (*ELSEWHERE, *LONG) and here(page)],
    ids=lambda page: f"{page.parent.name}-{page.stem}",
)
def test_every_command_of_a_page_runs(
    page: Path,
    made: Path,
    tmp_path: Path,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    work = shutil.copytree(made, tmp_path / "work")
    monkeypatch.chdir(work)
    monkeypatch.delenv(
        "FTR_SETTINGS", raising=False
    )  # `ftr init` writes a file that `ftr run` finds
    with contextlib.ExitStack() as servers:
        servers.callback(forget, monkeypatch)
        text = page.read_text(encoding="utf-8")
        if "s3://" in text:
            serve_s3(servers, tmp_path, monkeypatch)
        if "owner/name" in text:
            servers.enter_context(hub_in_this_process(str(tmp_path / "hub")))
        failed = []
        for words in here(page):
            restore(work, made)
            line = asked(words)
            if any(word.startswith(("task=", "config=")) for word in words):
                (work / "ftr.yaml").unlink(missing_ok=True)  # of `ftr init`, for other commands
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a good film\n")))
            try:
                code = (
                    served(line, start)
                    if line[0] == "serve" and "--write" not in line
                    else main(line)
                )
            except AssertionError as error:
                code, line = 1, [*line, str(error)]
            printed = capfd.readouterr()
            if code:
                failed.append((" ".join(words), " ".join(line), code, printed.err[-1500:]))
            if line[0] == "new":
                install(work / "ftr-tickets", tmp_path / "installed", monkeypatch)
    assert failed == []


def restore(work: Path, made: Path) -> None:
    """Make the runs that a command may have removed or changed."""
    for name in COPIES:
        if not (work / "runs" / name).exists():
            shutil.copytree(made / "runs" / "run", work / "runs" / name)
    if not (work / "predictions.jsonl").exists():
        assert main(["evaluate", "runs/run", "--predictions", "predictions.jsonl"]) == 0


def serve_s3(servers: contextlib.ExitStack, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Serve a bucket with the files of the pages."""
    s3 = servers.enter_context(s3_server(folder))
    for name, value in s3.environment.items():
        patch.setenv(name, value)
    from pyarrow import Table, csv, parquet
    from pyarrow.fs import S3FileSystem

    bucket = S3FileSystem(
        scheme="http", endpoint_override=s3.address, allow_bucket_creation=True, region=REGION
    )
    bucket.create_dir("bucket")
    rows = Table.from_pydict({"text": ["a good film", "a bad film"]})
    with bucket.open_output_stream("bucket/big.csv.gz", compression="gzip") as stream:
        csv.write_csv(rows, stream)
    parquet.write_table(rows, "bucket/new.parquet", filesystem=bucket)


def install(package: Path, target: Path, patch: pytest.MonkeyPatch) -> None:
    """Install a package as the page says, for this process and those it starts."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--target", target, package], check=True)
    patch.syspath_prepend(str(target))
    patch.setenv("PYTHONPATH", str(target), prepend=":")
    get_registry.cache_clear()  # each command of a reader is a process of its own


def forget(patch: pytest.MonkeyPatch) -> None:
    """Undo `install`: for the next page, the package does not exist."""
    patch.undo()
    for name in [name for name in sys.modules if name.partition(".")[0] == "ftr_tickets"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    get_registry.cache_clear()


def served(line: list[str], start: Start) -> int:
    """Start a service, wait until it answers, and end it; replace the model of another one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    to_replace = "--replace" in line
    command = ["serve", "runs/ID", "--local"] if to_replace else line
    process = start(*command, "--port", port)
    until_ready(f"http://127.0.0.1:{port}", process)
    code = main([*line, "--port", str(port)]) if to_replace else 0
    process.terminate()
    process.communicate()
    return code or process.returncode
