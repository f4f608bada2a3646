"""`ftr completion`: what is completed, in the shells themselves, and how light it is."""

import os
import pty
import re
import resource
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftr.cli.completion import WORDS, candidates
from ftr.cli.main import COMMANDS, main

SET_UP = {
    "bash": ("bash --norc --noprofile -i", 'eval "$(ftr completion bash)"'),
    "zsh": ("zsh -f -i", 'autoload -U compinit; compinit -u -D; eval "$(ftr completion zsh)"'),
    "fish": ("fish --no-config -i", "ftr completion fish | source"),
}
TYPED = {
    "ftr predi": "predict",
    "ftr run train.lr_sched": "train.lr_scheduler=",
    "ftr run train.keep=la": "train.keep=last",
    "ftr run task=simi": "task=similarity",
    "ftr run task=qa --json head.max_a": "head.max_answer_length=",
    "ftr evaluate RUN --spl": "--split",
    "ftr evaluate 2026-": "2026-01-01_first",
    "ftr run revi": "reviews.csv",
    "ftr run dataset=revi": "dataset=reviews.csv",
}
"""What is typed before the tab, and the word that it becomes."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a run, a file and a command `ftr` that is this one."""
    (tmp_path / "runs" / "2026-01-01_first").mkdir(parents=True)
    (tmp_path / "runs" / "2026-01-01_first" / "run.json").write_text("{}", encoding="utf-8")
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "reviews.csv").touch()
    command = tmp_path / "bin" / "ftr"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ftr "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FTR_PLUGINS", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Shell:
    """A shell in a terminal."""

    def __init__(self, command: str) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvp(command.split()[0], command.split())

    def until(self, wanted: str, seconds: float = 30) -> str:
        """Return what the terminal shows once `wanted` is there, without its escapes."""
        shown, end = "", time.monotonic() + seconds
        while wanted not in shown and time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.1)[0]:
                shown += os.read(self.terminal, 65536).decode(errors="replace")
                shown = re.sub(
                    r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()=>].?)", "", shown
                )
        return shown

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())


@pytest.fixture
def shell(request: pytest.FixtureRequest, folder: Path) -> Iterator[Shell]:
    command, set_up = SET_UP[request.param]
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    shell = Shell(command)
    shell.type(f"{set_up}; echo rea''dy\n")
    assert "ready" in shell.until("ready"), request.param
    yield shell
    os.close(shell.terminal)
    os.kill(shell.pid, 9)
    os.waitpid(shell.pid, 0)


@pytest.mark.parametrize("shell", SET_UP, indirect=True)
def test_a_tab_completes_commands_keys_values_options_runs_and_files(shell: Shell) -> None:
    for typed, word in TYPED.items():
        shell.type(f"{typed}\t")
        *before, _ = typed.split(" ")
        wanted = " ".join([*before, word])
        shown = shell.until(wanted, 15)
        assert wanted in shown, (typed, shown)
        shell.type("\x15")  # removes the line


def test_words_are_those_of_the_command(folder: Path) -> None:
    assert list(candidates("", [], "pl")) == ["plan", "plugins"]
    assert "dataset=" in candidates("run", [], "") and "trials=" not in candidates("run", [], "t")
    assert list(candidates("sweep", [], "tri")) == ["trials="]
    assert list(candidates("run", [], "metrics=accuracy,f")) == ["metrics=accuracy,f1"]
    assert list(candidates("run", [], "baselines=")) == ["baselines=true", "baselines=false"]
    assert list(candidates("run", ["task=qa"], "head.n")) == ["head.n_best="]
    assert list(candidates("run", ["task=sentiment"], "head.n")) == []
    assert list(candidates("compare", ["a"], "2026")) == ["2026-01-01_first"]
    assert list(candidates("predict", ["a"], "rev")) == ["reviews.csv"]
    assert "trainer.adam_beta2=" in candidates("run", [], "trainer.adam")
    assert not candidates("run", [], "trainer.learning_rate")
    assert set(WORDS) <= set(COMMANDS)


def test_the_code_of_each_shell_names_ftr(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in SET_UP:
        assert main(["completion", shell]) == 0
        assert "ftr" in capsys.readouterr().out
    assert main(["completion", "bsh"]) == 2
    assert "Did you mean `bash`?" in capsys.readouterr().err


@pytest.mark.parametrize("line", [None, "ftr run train.lr_sched", "ftr run task=qa head.n"])
def test_help_and_completion_take_little_time_and_no_heavy_module(
    folder: Path, line: str | None
) -> None:
    script = (
        "import sys, atexit, os\n"
        "heavy = {'torch', 'ray', 'transformers', 'datasets', 'pydantic'}\n"
        "leave = os._exit\n"
        "def check(code):\n"
        "    leave(9 if heavy & set(sys.modules) else code)\n"
        "os._exit = check\n"
        "from ftr.cli.main import program; program()"
    )
    asked = (
        {}
        if line is None
        else {
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(folder / "answer"),
        }
    )
    times = []
    for _ in range(5):
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", script, *(["--help"] if line is None else [])],
            env={**os.environ, **asked},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)
        assert done.returncode == 0
    if line is not None:
        assert (folder / "answer").read_text().strip()
    assert min(times) < 0.5, times  # 0.09 to 0.13 s on an idle machine
