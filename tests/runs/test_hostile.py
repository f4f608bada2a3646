"""Nothing of what a stranger sends is run, nothing is written outside, and each folder is refused
in one line.
"""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ftr
from ftr.cli.main import main
from ftr.config.sweep import resolve_sweep
from ftr.errors import RequestError
from ftr.model.folder import check_folder
from ftr.registry import plugin_files, trust
from ftr.registry.registry import get_registry
from ftr.runs.record import provenance
from ftr.study.directory import SweepDirectory
from ftr.train.trainer import StepTrainer
from hostile import COMMANDS, FOLDERS, PRECIOUS, PREDICT, RESUME, Sent
from interruptions import interrupted
from trainings import REVIEWS, train

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

SHORT = {**REVIEWS, "epochs": 1, "baselines": False, "train.eval_on_start": False}
BYTES = 700 * 2**20


@pytest.fixture(scope="module")
def sound(
    tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, reviews: Path, classifier: RunResult
) -> dict[str, Path]:
    """A sound directory of each kind."""
    place = tmp_path_factory.mktemp("sound")
    asked = {"dataset": reviews, "model": tiny_bert}
    adapters = train({**SHORT, "train.lora.rank": 2}, **asked, output=place / "adapters")
    cut = interrupted(
        {**SHORT, "train.save_steps": 1},
        StepTrainer,
        "training_step",
        4,
        **asked,
        output=place / "cut",
    )
    ensemble = place / "ensemble"
    shutil.copytree(classifier.path, ensemble)
    for number in range(2):
        shutil.copytree(classifier.model, ensemble / "model" / "members" / str(number))
    for path in [*(ensemble / "model").glob("*.safetensors"), ensemble / "model" / "config.json"]:
        path.unlink()
    (ensemble / "model" / "ensemble.json").write_text(
        json.dumps({"format": 1, "members": [{}, {}]})
    )
    words = {
        **SHORT,
        "dataset": str(reviews),
        "model": str(tiny_bert),
        "learning_rate": "choice(1e-3,3e-3)",
        "trials": 1,
    }
    words.pop("epochs")
    resolved = resolve_sweep(words, get_registry())
    sweep = SweepDirectory.create(str(place), "sweep")
    record = {
        "status": "running",
        "created": 1.0,
        "primary": "accuracy",
        "mode": "max",
        **resolved.record(),
    }
    sweep.write({**record, "components": provenance(resolved.base.config, get_registry())})
    done = Path(shutil.copytree(classifier.path, place / "done"))
    for folder in (
        done,
        ensemble,
    ):  # who sends a folder leaves out the hashes of weights that are not those
        known = json.loads((folder / "run.json").read_text())
        del known["weights"]
        (folder / "run.json").write_text(json.dumps(known))
    return {
        "done": done,
        "adapters": adapters.path,
        "cut": cut,
        "ensemble": ensemble,
        "sweep": sweep.path,
    }


@pytest.fixture
def stranger(tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A watched folder outside, and a user who has never trained anything, in a folder of their
    own.
    """
    outside = tmp_path / "outside"
    shutil.copytree(tiny_bert, outside / "models" / "bert")
    (outside / PRECIOUS).write_text("precious")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("FTR_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(trust, "_of_process", set())
    return outside


def seen(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, time and content of everything in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        found[str(path)] = (
            about.st_mode,
            about.st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
    return found


@pytest.fixture(autouse=True)
def _forget_plugins() -> object:
    yield
    plugin_files.forget()
    get_registry.cache_clear()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_hostile_folder_runs_nothing_writes_nothing_outside_and_is_refused_in_one_line(
    name: str,
    sound: dict[str, Path],
    stranger: Path,
    reviews: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    case = FOLDERS[name]
    sent = Sent(
        Path(shutil.copytree(sound[case.kind], tmp_path / "received", symlinks=True)),
        stranger,
        tmp_path / "canary",
    )
    case.make(sent)
    before, memory = seen(stranger), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words = {PREDICT: [str(reviews)]}
    for command in COMMANDS:
        if case.kind in ("cut", "sweep") and command != RESUME:
            continue
        status = main([command, str(sent.run), *words.get(command, [])])
        told = capfd.readouterr()
        lines = told.err.splitlines()
        assert not sent.canary.exists(), f"{command} ran code"
        assert seen(stranger) == before, f"{command} wrote outside"
        assert status in ((2,) if command in case.refused else (0, 2)), (
            f"{command}: {status}, {told.err}"
        )
        assert "Traceback" not in told.err
        assert not {"\x1b", "\x00"} & set(told.err + (told.out if command == PREDICT else ""))
        if status == 2:
            # Before a training is refused, it may have told what it read.
            assert len(lines) == 1 or command == RESUME, told.err
            assert lines[-1].startswith("ftr: error: ") and len(lines[-1]) < 1000, told.err
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < BYTES
    if PREDICT in case.refused:
        with pytest.raises(RequestError):
            ftr.load(sent.run)
        assert not sent.canary.exists()


def test_there_are_forty_of_them_and_what_they_are_made_from_is_sound(
    sound: dict[str, Path],
    stranger: Path,
    tmp_path: Path,
    reviews: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert len(FOLDERS) >= 40
    for kind in ("done", "ensemble"):
        copied = shutil.copytree(sound[kind], tmp_path / kind)
        assert main([PREDICT, str(copied), str(reviews)]) == 0
    assert len(ftr.load(sound["done"]).predict(["good"])) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "extra"])
def test_a_model_folder_that_is_named_may_not_link_out_of_itself(
    name: str,
    stranger: Path,
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "received"))
    (folder / name).unlink(missing_ok=True)
    target = stranger / "models" / "bert" / name
    (folder / name).symlink_to(target if target.exists() else stranger / "models")
    before = seen(stranger)
    asked = [f"model={folder}", f"dataset={reviews}", "task=sentiment"]
    assert main(["run", *asked, f"output={tmp_path / 'runs'}"]) == 2
    told = capfd.readouterr().err.splitlines()[-1]
    assert told.startswith("ftr: error: ") and f"`{name}` is a link out of it" in told
    assert seen(stranger) == before and not list(tmp_path.glob("runs/*"))


def test_a_model_folder_may_be_a_link_have_links_inside_and_lie_in_the_cache_of_the_hub(
    tiny_bert: Path, tmp_path: Path
) -> None:
    inside = Path(shutil.copytree(tiny_bert, tmp_path / "inside"))
    (inside / "config.json").rename(inside / "real.json")
    (inside / "config.json").symlink_to("real.json")
    (tmp_path / "link").symlink_to(inside)
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = shutil.copytree(tiny_bert, snapshot.parents[1] / "blobs")
    snapshot.mkdir(parents=True)
    for path in Path(blobs).iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    for folder in (inside, tmp_path / "link", snapshot):
        check_folder(folder)
