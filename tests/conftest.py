"""One thread for torch, a cache of its own, and two finished trainings that many tests look at."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import trainings
from clocks import Clock
from interruptions import Process, Start, command

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

pytest_plugins = ["ftr.testing", "tiers"]

# Read when torch is first imported, and by the processes that tests start: tiny models gain nothing
# from threads.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
# Ray starts processes in advance, which none of ours can use: they need another environment.
os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112 - its name
# What the hub is asked for must fail at once and alike on every machine.
os.environ["HF_HUB_OFFLINE"] = "1"
# A developer's own settings are not those of tests: see `found` in tests/config/test_found.py.
os.environ["FTR_SETTINGS"] = "off"
# A shell makes what it runs in the background deaf to Ctrl-C, and the programs that tests start
# would be so too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep encoded rows of tests out of the user's cache, and what they trust out of the user's
    folder.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTR_CACHE", str(tmp_path_factory.mktemp("ftr-cache")))
        patch.setenv("FTR_CONFIG", str(tmp_path_factory.mktemp("ftr-config")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_fsync() -> Iterator[None]:
    """Do not wait for the disk: a training does so forty times. The disks of tests of power cuts
    are waited for (`tests/powercut.py`), and so are all in processes that tests start.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny BERT; not to be changed."""
    from ftr.testing.tiny import tiny_checkpoint

    return tiny_checkpoint("bert", tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty reviews of three classes and one without text."""
    return trainings.write_reviews(tmp_path_factory.mktemp("reviews") / "reviews.csv")


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty questions in SQuAD v2 form, a third of them unanswerable, and one whose answer is not
    in its passage.
    """
    return trainings.write_squad(tmp_path_factory.mktemp("questions") / "questions.json")


@pytest.fixture(scope="session")
def classifier(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, reviews: Path
) -> "RunResult":
    """A finished run of the classification task with all of its scores; not to be changed."""
    return trainings.train(
        trainings.ALL_OF_REVIEWS,
        dataset=reviews,
        model=tiny_bert,
        output=tmp_path_factory.mktemp("classifier"),
    )


@pytest.fixture(scope="session")
def reader(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, questions: Path
) -> "RunResult":
    """A finished run of the question answering task with baselines; not to be changed."""
    return trainings.train(
        trainings.QUESTIONS,
        dataset=questions,
        model=tiny_bert,
        output=tmp_path_factory.mktemp("reader"),
        baselines=True,
    )


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock instead of `time.monotonic`; it stands still until it is turned on."""
    turned = Clock()
    monkeypatch.setattr("time.monotonic", lambda: turned.now)
    return turned


@pytest.fixture
def start() -> Iterator[Start]:
    """Start commands; those that a failed test leaves are ended."""
    started: list[Process] = []

    def begin(*given: object, **where: Any) -> Process:
        started.append(command(*given, **where))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate()
