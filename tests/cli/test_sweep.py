"""`ftr sweep` with bad input: exit code 2, one line that says what is wrong, and
nothing written.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ftr.cli.main import main
from networks import free_port
from trainings import write_reviews

WITHOUT = """
import sys

package, *words = sys.argv[1:]


class Hiding:
    def __init__(self, inner):
        self.inner = inner

    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] == package else self.inner.find_spec(name, *rest)


sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
from ftr.cli.main import main
sys.exit(main(words))
"""
SPACE = ("learning_rate=loguniform(1e-4,1e-2)", "epochs=choice(1,2)")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_reviews(folder / "good.csv", broken=0)
    return folder


def refused(here: Path, capfd: pytest.CaptureFixture[str], model: Path, *words: str) -> str:
    """Ask for a sweep that must be refused and return the message."""
    before = set(here.rglob("*"))
    capfd.readouterr()
    code = main(
        [
            "sweep",
            "task=sentiment",
            "dataset=good.csv",
            f"model={model}",
            "train.precision=fp32",
            *words,
        ]
    )
    out, err = capfd.readouterr()
    assert code == 2 and out == "", err
    assert set(here.rglob("*")) - {here / "runs"} == before, "something was written"
    (line,) = err.splitlines()
    assert line.startswith("ftr: error: ")
    return line.removeprefix("ftr: error: ")


WRONG = {
    "a misspelled swept key": (
        ("learning_rat=loguniform(1e-5,1e-4)",),
        r"`learning_rat`.*Did you mean `learning_rate`\?",
    ),
    "a misspelled option": (("dataset.txt=choice(review,text)",), r"`dataset.txt`"),
    "a misspelled key of a sweep": (("trails=3", *SPACE), r"`trails`.*Did you mean `trials`\?"),
    "an empty choice": (("batch_size=choice()",), r"`batch_size`.*choice"),
    "a reversed range": (
        ("learning_rate=loguniform(1e-4,1e-5)",),
        r"`learning_rate`.*loguniform\(1e-4,1e-5\)",
    ),
    "a value no run can have": (("batch_size=choice(8,-1)",), r"`batch_size`.*-1"),
    "no such searcher": (("searcher=magic", *SPACE), r"`searcher`.*magic"),
    "no such scheduler": (("scheduler=halving", *SPACE), r"`scheduler`.*halving"),
    "no budget": (("trials=0", *SPACE), r"`trials`"),
    "a time in no unit": (("time_budget=soon", *SPACE), r"`time_budget`.*soon"),
    "an endless grid": (("searcher=grid", *SPACE), r"`learning_rate`.*grid"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_space_is_refused_in_one_line(
    name: str, here: Path, tiny_bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words, message = WRONG[name]
    assert re.search(message, refused(here, capfd, tiny_bert, *words))


def test_an_address_nobody_listens_on_is_refused(
    here: Path, tiny_bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    message = refused(here, capfd, tiny_bert, *SPACE, f"compute.address=127.0.0.1:{port}")
    assert message.startswith(
        f"`compute.address=127.0.0.1:{port}`: nobody listens at 127.0.0.1:{port}"
    )


@pytest.mark.slow
@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_what_no_machine_has_is_refused_with_the_arithmetic(
    here: Path, tiny_bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    message = refused(here, capfd, tiny_bert, *SPACE, "compute.gpus=1")
    assert "`compute.gpus=1`" in message and "GPU" in message


@pytest.mark.parametrize("searcher", ["optuna", "hyperopt"])
def test_a_searcher_that_is_not_installed_is_named_with_what_to_install(
    searcher: str, here: Path, tiny_bert: Path
) -> None:
    words = [
        "sweep",
        "task=sentiment",
        "dataset=good.csv",
        f"model={tiny_bert}",
        f"searcher={searcher}",
        *SPACE,
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, searcher, *words],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and done.stdout == ""
    assert f"`{searcher}`" in line and "not installed" in line and "pip install" in line
    assert [path.name for path in here.iterdir()] == ["good.csv"]
