"""Encoded rows reach nodes that share no folder: sent once, fetched once a node, the same to the
byte.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftr.cluster.ship import local_splits, share_splits
from ftr.cluster.storage import Storage
from ftr.data.encode import StoredSplit, store_split
from ftr.errors import RequestError, RunError
from ftr.registry.protocols import EncodeSettings
from ftr.testing.tiny import tiny_tokenizer
from ftr_plugins.classification.head import SequenceClassificationHead
from s3 import CREDENTIALS, S3, s3_server

SETTINGS = EncodeSettings(max_length=8, stride=2, labels=("x", "y"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for key, value in CREDENTIALS.items():
            patch.setenv(key, value)
        yield server


@pytest.fixture
def storage(server: S3, tmp_path: Path) -> Storage:
    return Storage.of(server.uri(tmp_path.name))


def encode(folder: Path, **counts: int) -> dict[str, StoredSplit]:
    """Encode splits of so many rows into the cache folder of the driver."""
    tokenizer = tiny_tokenizer("bert")
    return {
        name: store_split(
            [
                {"id": str(n), "text": f"the old mill {'river ' * n}", "label": n % 2}
                for n in range(count)
            ],
            SequenceClassificationHead(),
            tokenizer,
            SETTINGS,
            folder,
            "one",
        )
        for name, count in counts.items()
    }


def over_the_wire(places: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What arrives at a node."""
    arrived: dict[str, dict[str, Any]] = json.loads(json.dumps(places))
    return arrived


def rows(splits: dict[str, Any]) -> dict[str, Any]:
    opened = {name: StoredSplit(**split).open() for name, split in splits.items()}
    return {
        name: (stored.to_list(), features.to_list()) for name, (stored, features) in opened.items()
    }


def test_a_node_without_the_drivers_folder_gets_the_same_rows(
    storage: Storage, server: S3, tmp_path: Path
) -> None:
    splits = encode(tmp_path / "driver", train=5, validation=3)
    places = over_the_wire(share_splits(storage, splits))
    beside_driver = local_splits(storage, places, tmp_path / "unused")
    expected = rows(beside_driver)
    assert (
        not (tmp_path / "unused").exists()
        and beside_driver["train"]["rows"] == splits["train"].rows
    )
    (tmp_path / "driver").rename(tmp_path / "elsewhere")
    found = local_splits(storage, places, tmp_path / "node")
    assert rows(found) == expected and [len(stored) for stored, _ in expected.values()] == [5, 3]
    assert Path(found["train"]["rows"]).is_relative_to(tmp_path / "node")
    assert {
        key: value for key, value in found["train"].items() if key not in {"rows", "features"}
    } == {
        key: value
        for key, value in beside_driver["train"].items()
        if key not in {"rows", "features"}
    }
    before = server.requests("GET", tmp_path.name)
    assert local_splits(storage, places, tmp_path / "node") == found
    assert server.requests("GET", tmp_path.name) == before


def test_an_encoding_is_sent_once_for_all_splits_and_runs_that_use_it(
    storage: Storage, server: S3, tmp_path: Path
) -> None:
    splits = encode(tmp_path / "driver", train=5, again=5)
    first = share_splits(storage, splits)
    assert first["train"]["shared"] == first["again"]["shared"]
    assert server.requests("PUT", tmp_path.name, "features.arrow") == 1
    sent = server.requests("PUT", tmp_path.name)
    assert (
        share_splits(storage, encode(tmp_path / "other driver", train=5))["train"]["shared"]
        == first["train"]["shared"]
    )
    assert server.requests("PUT", tmp_path.name) == sent


FETCHES = """
import json, sys
from pathlib import Path
from ftr.cluster.ship import local_splits
from ftr.cluster.storage import Storage
print(json.dumps(local_splits(Storage.of(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))))
"""


@pytest.mark.slow
def test_the_processes_of_a_node_fetch_once_between_them(
    storage: Storage, server: S3, tmp_path: Path
) -> None:
    places = share_splits(storage, encode(tmp_path / "driver", train=40))
    (tmp_path / "driver").rename(tmp_path / "elsewhere")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FETCHES, storage.uri, json.dumps(places), str(tmp_path / node)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for node in ("node-1", "node-1", "node-1", "node-2")
    ]
    answers = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4 and answers[0] == answers[
        1
    ] == answers[2]
    assert [
        len(stored) for stored, _ in (rows(json.loads(answer))["train"] for answer in answers)
    ] == [40] * 4
    assert server.requests("GET", f"{places['train']['shared']}/rows.arrow") == 2, (
        "one for each node"
    )


def test_a_damaged_copy_and_one_that_is_gone_are_named_and_leave_nothing(
    storage: Storage, tmp_path: Path
) -> None:
    places = share_splits(storage, encode(tmp_path / "driver", train=5))
    (tmp_path / "driver").rename(tmp_path / "elsewhere")
    name = places["train"]["shared"]
    storage.location.write(f"{name}/features.arrow", b"x")
    with pytest.raises(
        RunError, match=rf"`{name}/features.arrow` in `compute.storage=.*` is damaged"
    ):
        local_splits(storage, places, tmp_path / "node")
    storage.delete(name)
    with pytest.raises(RequestError, match="has no complete mirror `encoded/"):
        local_splits(storage, places, tmp_path / "node")
    assert [path.suffix for path in (tmp_path / "node/encoded").iterdir()] == [".lock"]


def test_a_cache_folder_that_cannot_be_made_is_named(storage: Storage, tmp_path: Path) -> None:
    places = share_splits(storage, encode(tmp_path / "driver", train=5))
    (tmp_path / "driver").rename(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write `.*/file/.*`data.cache="):
        local_splits(storage, places, tmp_path / "file")
