"""Paths that can be none, and what lies at a path and is no file: one message, exit code 2, and
nobody waits.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ftr.cli.main import main
from ftr.paths import fault, no_file, writable

BAD = {
    "a\0b": "has a NUL character",
    "a\udcffb": "is not UTF-8",
    "x" * 300: "is too long",
    "a/" * 3000: "is too long",
    "~nosuchuser/x": "begins with the home folder of a user that this machine does not know",
}
COMMANDS = (
    *(
        "show dataset={}",
        "show model={}",
        "show config={}",
        "show plugins={}",
        "run output={}",
        "sweep output={} epochs=choice(1,2)",
    ),
    *(
        "predict {}",
        "evaluate {}",
        "resume {}",
        "runs {}",
        "--plugin {} list",
        "run dataset.train={}",
        "run output=blocked dataset.labels_file={}",
        "init task=qa --output {}",
        "init dataset={} task=sentiment",
        "new x --output {}",
        "submit run --output {}",
    ),
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("path", BAD, ids=list(BAD.values()))
def test_a_path_that_can_be_none_is_refused(
    command: str,
    path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("blocked").write_text("")
    words = [word.replace("{}", path) for word in command.split()]
    code = main([*words, *(["task=sentiment"] if words[0] in ("show", "run", "sweep") else [])])
    message = capsys.readouterr().err
    assert code == 2 and message.count("ftr: error: ") == 1 and "Error:" not in message
    assert BAD[path] in message or "labels_file" in command


def test_paths_in_a_file_and_in_python_are_looked_at_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text('task: sentiment\noutput: "a\\0b"\n')
    assert main(["show", f"config={tmp_path / 'c.yaml'}"]) == 2
    assert "`output` (config file" in (message := capsys.readouterr().err) and "NUL" in message


@pytest.mark.parametrize(
    "words",
    [
        ["show", "config={}"],
        ["run", "dataset={}"],
        ["--plugin", "{}", "list"],
        ["run", "dataset.train={}"],
    ],
)
def test_a_pipe_without_a_writer_is_not_waited_for(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "data.csv"
    os.mkfifo(pipe)
    given = [word.replace("{}", str(pipe)) for word in words]
    assert (
        main(
            [
                *given,
                *(
                    ["task=sentiment", f"output={tmp_path / 'runs'}"]
                    if words[0] != "--plugin"
                    else []
                ),
            ]
        )
        == 2
    )
    assert "is a named pipe" in capsys.readouterr().err


def test_devices_are_no_files_and_open_pipes_are(tmp_path: Path) -> None:
    assert (
        no_file(Path("/dev/zero")) == "a device"
        and no_file(tmp_path) == "a folder"
        and no_file(tmp_path / "nothing") is None
    )
    read, write = os.pipe()
    try:
        assert no_file(Path(f"/dev/fd/{read}")) is None
    finally:
        os.close(read)
        os.close(write)


def test_a_read_only_home_moves_the_cache_beside_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftr.data.encode import cache_folder

    monkeypatch.delenv("FTR_CACHE")
    monkeypatch.setenv("HOME", "/dev/null/nobody")
    assert not writable("~/.cache") and cache_folder(None, str(tmp_path)) == tmp_path / ".ftr-cache"


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs /proc: a folder that even root cannot write"
)
@pytest.mark.parametrize(
    ("name", "place", "fault"),
    [
        ("FTR_CACHE", "file", "is a file: name a folder, or unset it"),
        ("FTR_CACHE", "file/below", "is a file: name a folder, or unset it"),
        ("FTR_CACHE", "/proc/ftr", "`data.cache=` or `FTR_CACHE`"),
        ("FTR_CONFIG", "file", "is a file: name a folder, or unset it"),
        ("TMPDIR", "file", "is a file: name a folder, or unset it"),
        ("TMPDIR", "absent", "does not exist: name another folder, or unset it"),
        ("data.cache", "file", "is a file: name a folder"),
        ("data.cache", "/proc/ftr", "`data.cache=` or `FTR_CACHE`"),
    ],
)
def test_a_place_that_cannot_be_written_is_a_wrong_request(
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    place: str,
    fault: str,
) -> None:
    (tmp_path / "file").touch()
    words = [f"dataset={reviews}", f"model={tiny_bert}", f"output={tmp_path / 'runs'}"]
    if name == "data.cache":
        words.append(f"data.cache={tmp_path / place}")
    else:
        monkeypatch.setenv(name, str(tmp_path / place))
    assert main(["run", "task=sentiment", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("ftr: error:") == 1 and f"`{name}" in error and fault in error
    assert not (tmp_path / "runs").exists()


BYTES = os.fsdecode(b"caf\xe9")
"""A name in Latin-1, as Python has it where names are UTF-8."""


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode there")
@pytest.mark.parametrize(
    "words",
    [
        ["run", "task=sentiment", f"dataset={BYTES}.csv", f"output={BYTES}"],
        ["run", f"{BYTES}.csv", "--json"],
        ["run", "caf.csv", "--json"],  # the nearest name is shown
        ["run", "task=sentiment", f"config={BYTES}.yaml"],
        ["run", "task=sentiment", "dataset=folder"],  # with a file of that name
        ["runs", BYTES],
        ["runs", "runs/c"],  # the start of such a name
        ["compare", BYTES, BYTES, "--json"],
        ["init", f"{BYTES}.csv"],
        ["in the folder", "init", "good.csv"],
        ["in the folder", "run", "task=sentiment", "--json"],
    ],
    ids=lambda words: " ".join(words).replace(BYTES, "BYTES"),
)
def test_names_that_are_not_utf8_get_one_message(
    reviews: Path, tmp_path: Path, words: list[str]
) -> None:
    for name in (f"{BYTES}.csv", f"folder/{BYTES}.csv", f"{BYTES}/good.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(reviews, tmp_path / name)
    (tmp_path / "runs" / BYTES).mkdir(parents=True)
    (tmp_path / "runs" / BYTES / "run.json").write_text("{}")
    (tmp_path / f"{BYTES}.yaml").write_text("epochs: 1\n")
    inside = words[0] == "in the folder"
    environment = {name: one for name, one in os.environ.items() if name != "PYTHONUTF8"}
    for locale in ("C.UTF-8", "C") if "--json" in words else ("C.UTF-8",):
        result = subprocess.run(
            [sys.executable, "-m", "ftr", *words[inside:]],
            cwd=tmp_path / BYTES if inside else tmp_path,
            env={**environment, "LC_ALL": locale},
            capture_output=True,
            timeout=120,
            check=False,
        )
        error = result.stderr.decode()
        assert result.returncode == 2 and error.count("ftr: error:") == 1
        assert "caf\\xe9" in error and "Traceback" not in error
        if "--json" in words:
            assert "caf\\xe9" in json.loads(result.stdout)["error"]


def test_a_name_that_only_the_locale_cannot_read_is_not_blamed() -> None:
    assert fault(b"caf\xe9".decode(errors="surrogateescape")) == (
        "is not UTF-8 (byte `\\xe9`): rename that file or folder"
    )
    accented = "caf\xe9".encode().decode("ascii", "surrogateescape")
    assert "PYTHONUTF8=1" in (fault(accented) or "")
    assert "half a character" in (fault("\ud800") or "")


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"b{n}: &b{n} [{','.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(9)
)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "holds more than 100000 values once its aliases"),
        ("a: &a [*a]", "an alias (`*name`) holds itself"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested"),
        ("a: " + "x" * 300_000, "more than 200000 characters"),
        ("epochs: " + "9" * 5000, "a number of 5000 digits"),
    ],
)
def test_yaml_that_grows_is_refused_at_once(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    assert main(["show", f"config={tmp_path / 'c.yaml'}"]) == 2
    message = capsys.readouterr().err
    assert said in message and "c.yaml" in message and message.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("train.fsdp=full", "trainer.fsdp"),
        ("fsdp=full", "trainer.fsdp"),
        ("data.delimiter=;", "dataset.delimiter"),
        ("dataset.limit=5", "data.limit"),
        ("model.dropout=0.1", "train.dropout"),
        ("train.adam_beta1=0.9", "trainer.adam_beta1"),
        ("data.epochs=3", "epochs"),
    ],
)
def test_a_key_in_the_wrong_group_is_answered_with_the_right_one(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "task=sentiment", word]) == 2
    assert f"Did you mean `{meant}`?" in capsys.readouterr().err
