"""The secrets of a sweep reach its trials, and nothing that Ray shows or Tune writes has them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import Size, ray_cluster
from ftr.cluster.location import Location
from ftr.config.schema import ComputeConfig
from ftr.errors import RunError
from ftr.registry.registry import get_registry
from ftr.runs.launch import connected
from ftr.study.search import TUNE_SETTINGS
from interruptions import command, words
from s3 import CREDENTIALS, s3_server
from sweeps import TINY, events_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KEY = "Secret77KeyOfMine"


@contextlib.contextmanager
def collected(location: Location, found: dict[str, bytes]) -> Iterator[None]:
    """Collect all that ever lies in a place while the context lasts."""
    over = threading.Event()

    def look(folder: str) -> None:
        for name, is_folder in location.entries(folder).items():
            path = f"{folder}/{name}" if folder else name
            if is_folder:
                look(path)
            elif (content := location.read(path)) is not None:
                found[f"{path} of {len(content)}"] = content

    def watch() -> None:
        while not over.wait(0.2):
            with contextlib.suppress(RunError):  # a file that is written or removed just now
                look("")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def leaks(contents: dict[str, bytes]) -> list[str]:
    """Return where the key stands, in clear or as the hexadecimal digits of Tune's pickles."""
    forms = (KEY.encode(), KEY.encode().hex().encode())
    return [name for name, content in contents.items() if any(form in content for form in forms)]


def test_no_file_of_a_sweep_has_the_secrets_that_its_trials_use(
    tiny_bert: Path,
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Sockets of Ray have names of at most 107 bytes.
    ray_folder = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(ray_folder))
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    found: dict[str, bytes] = {}
    with s3_server(tmp_path) as server:
        uri = server.uri("kept").replace("s3://", f"s3://someone:{KEY}@")
        asked = {
            **TINY,
            "dataset": reviews,
            "model": tiny_bert,
            "output": tmp_path / "runs",
            "learning_rate": "choice(1e-3,3e-3)",
            "scheduler": "pbt",  # which has Tune store checkpoints, besides all that others store
            "trials": 2,
            "epochs": 2,
            "baselines": False,
            "compute.storage": uri,
        }
        with collected(Location.open(uri), found):
            driver = command("sweep", *words(asked))
            out, err = driver.communicate(timeout=500)
    assert driver.returncode == 0, err
    assert any("/tune/" in f"/{name}" for name in found), sorted(found)
    kept = {"stdout": out.encode(), "stderr": err.encode(), **found}
    for folder in (ray_folder, tmp_path / "runs"):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files
        kept |= {str(path): path.read_bytes() for path in files}
    shutil.rmtree(ray_folder, ignore_errors=True)
    assert leaks(kept) == []
    assert "***@" in (next((tmp_path / "runs").iterdir()) / "sweep.json").read_text()


def test_credentials_of_the_driver_reach_trials_on_a_node_by_no_runtime_environment(
    tiny_bert: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    with s3_server(tmp_path) as server, ray_cluster(Size(cpus=1)) as cluster:
        # The node was started without these: without the address no process finds the bucket.
        for name, value in {**server.environment, "AWS_SECRET_ACCESS_KEY": KEY}.items():
            monkeypatch.setenv(name, value)
        asked = {
            **TINY,
            "dataset": reviews,
            "model": tiny_bert,
            "output": tmp_path / "runs",
            "learning_rate": "choice(1e-3,3e-3)",
            "trials": 2,
            "epochs": 1,
            "baselines": False,
            "compute.storage": "s3://trials/kept",
            "compute.address": cluster.address,
        }
        driver = command("sweep", *words(asked))
        _, err = driver.communicate(timeout=400)
        assert driver.returncode == 0, err
        compute = ComputeConfig(address=cluster.address, storage="s3://trials/kept")
        with connected(compute, get_registry(), lambda line: None, TUNE_SETTINGS):
            shown = str(ray.get_runtime_context().runtime_env)
            told = ray.get(ray.remote(lambda: dict(os.environ)).remote())
    assert "env_vars" in shown and "AWS_" not in shown and KEY not in shown
    assert KEY not in told.values()
    (sweep,) = (tmp_path / "runs").iterdir()
    assert [event["status"] for event in events_of(sweep) if event["event"] == "end"] == [
        "done",
        "done",
    ]
