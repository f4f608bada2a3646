"""Encoding on a cluster of three nodes: the files of one machine, also where a node is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr.data.encode
import ftr.runs.encode
from clusters import Cluster, Size, ray_cluster
from ftr.atomic import sha256
from ftr.cluster import pipeline
from ftr.config.resolve import resolve
from ftr.errors import DataError
from ftr.registry import plugin_files, trust
from ftr.registry.registry import get_registry
from ftr.runs.prepare import prepare
from trainings import write_reviews

if TYPE_CHECKING:
    from ftr.data.encode import StoredSplit

PLUGIN = """
import time
import ftr
from ftr_plugins.classification.head import SequenceClassificationHead


class Slow(SequenceClassificationHead):
    def encode(self, rows, tokenizer, settings):
        time.sleep(0.02)
        columns = super().encode(rows, tokenizer, settings)
        if "lost" in rows["text"]:
            return {name: cells[1:] for name, cells in columns.items()}
        return columns


@ftr.hookimpl
def ftr_heads():
    return [ftr.HeadSpec(name="slow", target="slow_head:Slow")]
"""


@pytest.fixture
def words(tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is prepared: 900 reviews, in blocks of 20, by a head that a plugin file has."""
    file = tmp_path / "slow_head.py"
    file.write_text(PLUGIN, encoding="utf-8")
    trust.remember([trust.plugin(sha256(file))])
    for name, value in (("MANY", 500), ("TOGETHER", 2)):
        monkeypatch.setattr(ftr.runs.encode, name, value)
    monkeypatch.setattr(ftr.data.encode, "ROWS_PER_CALL", 10)
    data = write_reviews(tmp_path / "reviews.csv", 900)
    before = plugin_files.given()
    plugin_files.add([file])
    get_registry.cache_clear()
    yield ["task=sentiment", "head=slow", f"dataset={data}", f"model={tiny_bert}"]
    plugin_files.forget(before)
    get_registry.cache_clear()


def encoded(words: list[str], cache: Path, *more: str) -> dict[str, StoredSplit]:
    """Prepare the data with a cache of its own."""
    registry = get_registry()
    config = resolve([*words, f"data.cache={cache}", *more], registry).config
    return prepare(config, registry).splits


def files(splits: dict[str, StoredSplit]) -> dict[str, tuple[str, str, dict[str, int]]]:
    return {
        name: (sha256(Path(one.rows)), sha256(Path(one.features)), one.notes)
        for name, one in splits.items()
    }


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_cluster_that_loses_a_node_writes_the_files_of_one_machine(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alone = encoded(words, tmp_path / "alone")
    with ray_cluster(*[Size(cpus=1)] * 3) as cluster:
        monkeypatch.setattr(ftr.runs.encode, "results", losing(cluster))
        address = f"compute.address={cluster.address}"
        together = encoded(words, tmp_path / "together", address)
        assert len(cluster.nodes) == 2
        assert files(together) == files(alone)
        assert not any(one.from_cache for one in together.values())
        err = capsys.readouterr().err
        assert "rows on 3 cores of the cluster" in err and err.count("of the cluster") == 1
        monkeypatch.setattr(ftr.runs.encode, "results", pipeline.results)
        with (tmp_path / "reviews.csv").open("a", encoding="utf-8") as data:
            data.write("lost,good\n")
        with pytest.raises(DataError, match=r"one feature, in order: rows 720 to 720\."):
            encoded(words, tmp_path / "failed", address)
        assert not list((tmp_path / "failed" / "encoded").iterdir())


def losing(cluster: Cluster) -> Any:
    """Return `results` that kills a node once a third of the blocks are there."""

    def results(*asked: Any) -> Iterator[Any]:
        for number, block in enumerate(pipeline.results(*asked)):
            if number == 12:
                cluster.kill(cluster.nodes[-1])
            yield block

    return results
