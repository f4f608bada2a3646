"""`ftr init` writes a file that a run needs nothing beside, and editors can check; `ftr doctor` names
what is wrong.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import ftr
from ftr.cli.doctor import VARIABLES
from ftr.cli.main import main
from ftr.config.known import FIRST_KEYS
from ftr.config.values import read_yaml

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")


@pytest.fixture
def folder(tmp_path: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with data; settings are found."""
    monkeypatch.delenv("FTR_SETTINGS")
    for name in [name for name in os.environ if name.upper().startswith("FTR__")]:
        monkeypatch.delenv(name)
    shutil.copy(reviews, tmp_path / "my reviews.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def problems(folder: Path, text: str) -> list[str]:
    """Return what an editor would underline."""
    schema = json.loads((folder / "ftr.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    return [error.message for error in validator.iter_errors(read_yaml(text))]


def test_after_init_a_run_needs_no_words(
    folder: Path, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ask(capsys, "init", "my reviews.csv", f"model={tiny_bert}", "epochs=1")
    assert found["task"] == "sentiment"
    assert found["rows"] == {"train": 61}
    assert found["columns"]["sentiment"].startswith("3 values")
    text = (folder / "ftr.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=ftr.schema.json\n")
    assert all(f"\n{key}: " in text or f"\n# {key}: " in text for key in FIRST_KEYS)
    assert problems(folder, text) == []
    record = ask(capsys, "run")["record"]
    assert record["status"] == "done"
    assert record["origins"]["epochs"] == str(folder / "ftr.yaml")


def test_each_key_may_be_uncommented_and_a_mistake_is_underlined(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(capsys, "init", "my reviews.csv", "dataset.text=review", "train.precision=bf16")
    text = (folder / "ftr.yaml").read_text()
    keys = ("sweep", "  trials", "  learning_rate", *FIRST_KEYS)
    for key in keys:
        text = text.replace(f"\n# {key}:", f"\n{key}:")
    whole = yaml.safe_load(text)
    assert whole["dataset"] == {"name": "my reviews.csv", "text": "review"}
    assert whole.keys() == {"task", "train.precision", "sweep", *FIRST_KEYS}
    assert problems(folder, text) == []
    (folder / "ftr.yaml").write_text(text)
    assert main(["show"]) == 0
    for wrong in (
        "epohcs: 3",
        "data.limit: many",
        "train: {precision: bf15}",
        "sweep: {trails: 2}",
    ):
        assert len(problems(folder, wrong)) == 1, wrong


def test_nothing_is_overwritten_in_silence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ftr.yaml").write_text("epochs: 3\n")
    assert main(["init"]) == 2
    assert "`--force`" in capsys.readouterr().err
    assert (folder / "ftr.yaml").read_text() == "epochs: 3\n"
    ask(capsys, "init", "--force")
    (folder / "below").mkdir()
    ask(capsys, "init", "my reviews.csv", "--output", "below/ftr.yaml")
    assert 'dataset: "../my reviews.csv"' in (folder / "below" / "ftr.yaml").read_text()
    ask(capsys, "init", "--example", "sweep", "--output", "search.yaml")
    assert "loguniform" in (folder / "search.yaml").read_text()
    for words, message in (
        (["--example", "swep", "--output", "x.yaml"], "Did you mean `sweep`?"),
        (["--output", "below"], "is a folder"),
        (["--output", "a\0b"], "NUL"),
        (["epohcs=3", "task=qa", "--output", "x.yaml"], "Did you mean `epochs`"),
    ):
        assert main(["init", *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("dataset.label=sentimant", "Did you mean `sentiment`?"),
        ("dataset.text=reviw", "Did you mean `review`?"),
        ("dataset.id=idd", "has no such column. Its columns"),
        ("dataset.labell=sentiment", "Did you mean `label`?"),
        ("label=sentiment", "Did you mean `dataset.label`?"),
        ("data.validation_size=0.999", "data.validation_size"),
        ("train.class_weights={goood: 2}", "Did you mean `good`?"),
    ],
)
def test_init_refuses_what_a_run_would_refuse_in_the_data(
    folder: Path, capsys: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    for command in ("init", "run"):
        assert main([command, "my reviews.csv", word]) == 2
        assert message in capsys.readouterr().err
    assert not list(folder.glob("ftr*"))


def test_the_columns_that_are_named_of_a_very_large_file_are_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ftr.cli.init._COUNTED", 0)
    assert main(["init", "my reviews.csv", "dataset.text=reviw", "dataset.id=none"]) == 2
    assert "Did you mean `review`?" in capsys.readouterr().err
    assert ask(capsys, "init", "my reviews.csv", "dataset.text=review")["rows"] == {}


def test_every_example_is_in_the_wheel_and_names_no_folder_of_the_clone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(ftr.__file__).parents[2]
    examples = [*root.glob("examples/*.yaml"), *root.glob("examples/recipes/*.yaml")]
    built = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    included = built["build"]["targets"]["wheel"]["force-include"]
    assert included == {
        name: name.replace("examples/", "ftr/_examples/", 1)
        for name in sorted(str(path.relative_to(root)) for path in examples)
    }
    for path in examples:
        assert main(["init", "--example", path.stem, "--force"]) == 0
        text, printed = (folder / "ftr.yaml").read_text(), capsys.readouterr().out
        assert "config=examples" not in text
        assert ("dataset=FILE" in printed) == ("hub:" in text)
        assert main(["show"]) == (2 if "sweep:" in text else 0)


def test_the_doctor_knows_the_variables_of_ftr() -> None:
    package = Path(ftr.__file__).parent
    texts = (path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    found = {name for text in texts for name in re.findall(r'"(FTR_[A-Z][A-Z_]*)"', text)}
    assert len(found) > 5
    assert found <= set(VARIABLES)


def test_the_doctor_names_what_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.process_time()
    healthy = ask(capsys, "doctor")
    assert time.process_time() - began < 20
    assert healthy["problems"] == 0
    names = {one["name"] for one in healthy["checks"]}
    assert names >= {"python", "packages", "settings", "plugins", "device", "precision", "threads",
                     "memory", "runs", "cache", "temporary", "weights", "hub", "cluster"}  # fmt: skip
    (folder / "file").touch()
    (folder / "ftr.yaml").write_text("output: file/runs\ncompute: {address: '127.0.0.1:1'}\n")
    (folder / "broken.py").write_text("1 / 0\n")
    monkeypatch.setenv("FTR__PLUGINS", "broken.py")
    monkeypatch.setenv("FTR_EPOCHS", "3")
    checks = ask(capsys, "doctor", code=1)["checks"]
    wrong = {one["name"]: one["text"] + one["fix"] for one in checks if one["status"] != "ok"}
    assert "file/runs" in wrong["runs"]
    assert "nobody listens" in wrong["cluster"]
    assert "ZeroDivisionError" in wrong["plugin"]
    assert "Write `FTR__EPOCHS`" in wrong["environment"] or "`FTR__EPOCHS`" in wrong["environment"]
    (folder / "ftr.yaml").write_text("epohcs: 3\n")
    (broken,) = [
        one for one in ask(capsys, "doctor", code=1)["checks"] if one["name"] == "settings"
    ]
    assert broken["status"] == "problem"
    assert "Did you mean `epochs`" in broken["text"]


def wrong_of(command: str, *, before: str = "", **environment: str) -> dict[str, str]:
    """Return what a doctor in a shell of its own finds wrong, by name."""
    result = subprocess.run(
        ["bash", "-c", before + command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found: dict[str, str] = {}
    for one in json.loads(result.stdout)["checks"]:
        if one["status"] != "ok":
            found[one["name"]] = f"{found.get(one['name'], '')}{one['text']}. {one['fix']}\n"
    return found


def part(name: str) -> str:
    """Return the command that prints what one check of the doctor finds."""
    script = (
        "import json; from dataclasses import asdict; from ftr.cli import doctor; "
        f"print(json.dumps({{'checks': [asdict(one) for one in doctor.{name}()]}}))"
    )
    return shlex.join([sys.executable, "-c", script])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has none of these limits")
def test_the_doctor_finds_limits_and_variables_that_stop_a_training(folder: Path) -> None:
    hiding = folder / "accelerate.py"
    hiding.touch()
    long = folder / ("x" * 60)
    long.mkdir()
    wrong = wrong_of(
        f"{sys.executable} -m ftr doctor --json",
        before="ulimit -n 500; ",
        ONEDNN_MAX_CPU_ISA="AVX2",  # no bf16
        FTR__TRAIN__PRECISION="bf16",
        FTR__MODEL="bert-base-uncased",
        HF_HUB_OFFLINE="1",
        HF_HOME=str(hiding),
        FTR_CACHE=str(hiding),
        TMPDIR=str(long),
        LC_ALL="C",
        PYTHONUTF8="0",
    )
    assert wrong["accelerate"].startswith(f"is imported from {hiding}")
    assert "500 files" in wrong["files"] and "`ulimit -n 4096`" in wrong["files"]
    assert "`RAY_TMPDIR`" in wrong["ray"] and "PYTHONUTF8=1" in wrong["locale"]
    assert "is a file" in wrong["cache"] and "HF_HOME" in wrong["weights"]
    assert "`model=bert-base-uncased` (environment FTR__MODEL) is not in the cache" in wrong["hub"]
    assert "Set it to `auto`" in wrong["precision"]


def test_the_doctor_finds_packages_that_do_not_fit_together(tmp_path: Path) -> None:
    for name, version in (("tokenizers", "0.1.0"), ("ftr", "0.0.9")):
        made = tmp_path / f"{name}-{version}.dist-info"
        made.mkdir()
        (made / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: transformers\n"
        )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    wrong = wrong_of(part("versions"), PYTHONPATH=path)
    assert "0.1.0 does not work with transformers" in wrong["tokenizers"]
    assert "is installed 2 times: 0.0.9 in " in wrong["ftr"]


def test_the_doctor_finds_a_small_shared_memory() -> None:
    mount = "mount -t tmpfs -o size=64m tmpfs /dev/shm"
    tried = ["unshare", "-m", *mount.split()]
    if not shutil.which("unshare") or subprocess.run(tried, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    within = shlex.quote(f"{mount} && {part('system')}")
    wrong = wrong_of(f"unshare -m sh -c {within}")
    assert "`/dev/shm` has 67 MB" in wrong["shared memory"]
    assert "--shm-size" in wrong["shared memory"]


def test_the_doctor_derives_the_ratio_of_precisions_from_the_speeds_it_prints() -> None:
    from ftr.cli.doctor import devices

    (found,) = [one.text for one in devices() if one.name == "precision"]
    told = re.search(r"fp32 ([\d,]+) GFLOP/s, bf16 ([\d,]+) .* ([\d.]+) times as fast", found)
    if told is None:
        pytest.skip("this processor has no bf16 to measure")
    fp32, bf16, ratio = (float(one.replace(",", "")) for one in told.groups())
    assert (bf16 - 0.5) / (fp32 + 0.5) - 0.05 <= ratio <= (bf16 + 0.5) / (fp32 - 0.5) + 0.05
