"""Predictions by workers: the answers of one machine for any number of files, in their order, also
where a node is lost; and what is refused before any of them starts.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
import ftr.prediction.cluster
from clusters import Cluster, Size, ray_cluster
from ftr.cli.main import main

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

WORDS = ["a great and funny film", "boring , poor", "long and sweet", "the", "hated it", "fine"]
FILES = 3
ROWS = 1500
SMALL = 64


def write(path: Path, rows: int, first: int = 0) -> Path:
    """Write reviews with ids and a column that the output has too; some rows have no text."""
    lines = ["id,text,label"]
    for number in range(first, first + rows):
        text = "" if number % 97 == 5 else f"{WORDS[number % 6]} {WORDS[number % 5]}"
        lines.append(f'{number},"{text}",given')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def records(path: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def assert_alike(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Compare records; blocks of another size are padded otherwise, which changes the last digits
    of a probability.
    """
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(other)
        for key, value in one.items():
            same = (
                pytest.approx(other[key], abs=1e-5)
                if key in ("score", "probabilities")
                else other[key]
            )
            assert value == same, (key, one)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_cluster_that_loses_a_node_gives_the_answers_of_one_machine(
    classifier: RunResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ftr.prediction.cluster, "BLOCK", SMALL)
    folder = tmp_path / "in"
    folder.mkdir()
    files = [write(folder / f"{name}.csv", ROWS, ROWS * n) for n, name in enumerate("cab")]
    files = sorted(files)
    expected = []
    for number, file in enumerate(files):
        ftr.predict(classifier.path, file, tmp_path / f"{number}.parquet")
        expected.append(records(tmp_path / f"{number}.parquet"))
    output = tmp_path / "out"
    asked = ["predict", str(classifier.path), str(folder), "--output", str(output), "--json"]
    with ray_cluster(Size(cpus=1), Size(cpus=1), Size(cpus=1)) as cluster:
        asked.append(f"compute.address={cluster.address}")
        killed = killer(cluster, output)
        assert main(asked) == 0
        killed.join()
        assert len(cluster.nodes) == 2
        out, err = capsys.readouterr()
        answer = json.loads(out)
        shards = sorted(output.glob("*.parquet"))
        assert [path.name for path in shards] == [
            f"0000{n}-{f.stem}.parquet" for n, f in enumerate(files)
        ]
        assert answer["files"] == list(map(str, shards)), err
        assert "3 workers, each with CPU 1" in err and "`label` is `input_label`" in err
        for path, known in zip(shards, expected, strict=True):
            assert_alike(records(path), known)
        errors = sum("text" in (row["error"] or "") for rows in expected for row in rows)
        assert (answer["predictions"], answer["errors"]) == (FILES * ROWS - errors, errors)
        shards[1].unlink()
        assert main([*asked, "--resume", "--workers", "1"]) == 0
        assert "2 of 3 files are done already" in capsys.readouterr().err
        assert_alike(records(shards[1]), expected[1])


def killer(cluster: Cluster, output: Path) -> threading.Thread:
    """Kill the last node once a third of the blocks of the first file are there."""

    def wait_and_kill() -> None:
        while not list(output.glob(f"*.partial/{ROWS // SMALL // 3:06d}.parquet")):
            time.sleep(0.05)
        cluster.kill(cluster.nodes[-1])

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread
