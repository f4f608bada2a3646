"""Predictions by workers: the answers of one machine for any number of files, in their order, also
where a node is lost; and what is refused before any of them starts.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
import ftr.prediction.cluster
from clusters import Cluster, Size, ray_cluster
from ftr.atomic import sha256
from ftr.cli.main import main
from ftr.config.schema import ComputeConfig
from ftr.errors import ConfigError, DataError, RequestError
from ftr.prediction.cluster import sized
from ftr.prediction.request import Request, reading_settings
from ftr.prediction.shards import Shard, check_folder, held, input_files, shards_of
from ftr.registry import plugin_files, trust
from ftr.registry.registry import get_registry

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

WORDS = ["a great and funny film", "boring , poor", "long and sweet", "the", "hated it", "fine"]
FILES = 3
ROWS = 960
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


SHOUT = """
import ftr
from ftr_plugins.classification.head import SequenceClassificationHead


class Shout(SequenceClassificationHead):
    def decode(self, row, records, state, labels):
        found = super().decode(row, records, state, labels)
        return {**found, "label": found["label"].upper()}


@ftr.hookimpl
def ftr_heads():
    return [ftr.HeadSpec(name="shout", target="shout_for_workers:Shout")]
"""


@pytest.fixture
def shouting(classifier: RunResult, tmp_path: Path) -> Iterator[Path]:
    """A model whose head is in a plugin file that its user trained with and does not name."""
    file, model = tmp_path / "shout_for_workers.py", tmp_path / "model"
    file.write_text(SHOUT, encoding="utf-8")
    trust.remember([trust.plugin(sha256(file))])
    shutil.copytree(classifier.model, model)
    card = json.loads((model / "ftr.json").read_text(encoding="utf-8"))
    card |= {"head": "shout", "head_options": {}, "plugins": {str(file): sha256(file)}}
    (model / "ftr.json").write_text(json.dumps(card), encoding="utf-8")
    before = plugin_files.given()
    yield model
    plugin_files.forget(before)
    get_registry.cache_clear()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_cluster_that_loses_a_node_gives_the_answers_of_one_machine(
    shouting: Path,
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
        ftr.predict(shouting, file, tmp_path / f"{number}.parquet")
        expected.append(records(tmp_path / f"{number}.parquet"))
    assert expected[0][0]["label"].isupper()
    # The command finds the plugin file by what the model says of it.
    plugin_files.forget()
    get_registry.cache_clear()
    output = tmp_path / "out"
    asked = ["predict", str(shouting), str(folder), "--output", str(output), "--json"]
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


@pytest.fixture
def asked(classifier: RunResult, tmp_path: Path) -> list[str]:
    """The words of a prediction of two files by two workers."""
    files = [str(write(tmp_path / f"{name}.csv", 10)) for name in "ab"]
    output = ["--output", str(tmp_path / "out")]
    return ["predict", str(classifier.path), *files, *output, "--workers", "2"]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--workers", "0"], "`workers` (`--workers`) is 0: give 1 or more"),
        (["compute.retries=3"], "`compute.retries`: predictions take `--workers` and"),
        (["epochs=3"], "`epochs`: `ftr predict` takes only `dataset.*` settings"),
        (["--format", "squad"], "workers write Parquet: leave `--format`"),
        (["--output-format", "csv"], "workers write Parquet"),
        (["--output", "-"], "give `--output FOLDER`"),
        (["-"], "workers read files: name some, a pattern or a folder"),
        (["nowhere.csv"], "there is no file `nowhere.csv`"),
        (["no*where.csv"], "there is no file `no*where.csv`"),
        (["compute.address=127.0.0.1:1"], "nobody listens at 127.0.0.1:1"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_wrong_request_is_refused_before_a_worker_starts(
    words: list[str], cause: str, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asked, *words]) == 2
    assert cause in capsys.readouterr().err


def test_several_files_without_workers_are_refused(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(asked[:-2]) == 2
    assert "2 inputs: give one, or `--workers N`" in capsys.readouterr().err


def test_a_file_that_is_no_shard_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "_predictions.json").write_text("{}", encoding="utf-8")
    (tmp_path / "00000-a.parquet").touch()
    check_folder(tmp_path, overwrite=True, resume=False)
    (tmp_path / "mine.parquet").touch()
    with pytest.raises(RequestError, match=r"files that are not of `ftr predict`"):
        check_folder(tmp_path, overwrite=True, resume=False)


def test_inputs_are_files_patterns_and_folders_in_order_and_each_once(tmp_path: Path) -> None:
    for name in ("b.csv", "a.jsonl.gz", "readme.md", "_part.csv", ".hidden.csv", "c.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    names = [Path(one).name for one in input_files([str(tmp_path)])]
    assert names == ["a.jsonl.gz", "b.csv", "c.parquet"]
    pattern = input_files([str(tmp_path / "[bc].*"), "s3://bucket/x.csv"])
    assert [Path(one).name for one in pattern] == ["b.csv", "c.parquet", "x.csv"]
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "d.csv").touch()
    below = input_files([str(tmp_path / "**" / "*.csv")])
    assert [Path(one).name for one in below] == ["_part.csv", "b.csv", "d.csv"]
    with pytest.raises(DataError, match=r"b.csv` is named twice: its rows would be predicted"):
        input_files([str(tmp_path / "b.csv"), str(tmp_path)])
    with pytest.raises(DataError, match=r"has no data files \(known endings: .csv"):
        input_files([str(tmp_path / "empty")])


def fill(shard: Shard, answers: list[dict[str, Any]], *, finish: bool = True) -> None:
    with shard.opened():
        shard.add(answers, "digest")
        if finish:
            shard.finish(["a note"])


def test_a_folder_of_shards_resumes_what_is_not_done_and_names_what_changed(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, *files = asked[1:4]
    folder = tmp_path / "out"
    identity = Request(folder=Path(run) / "model").identity()
    answers: list[dict[str, Any]] = [
        {"id": "1", "label": "good", "abstained": True},
        {"id": "2", "error": "empty text", "place": "a.csv:3"},
    ]
    with held(folder):
        first, second = shards_of(folder, files, identity, resume=False)
        fill(first, answers)
        fill(second, answers, finish=False)
        with pytest.raises(RequestError, match=r"another `ftr predict` is writing"), held(folder):
            pass
    counts = first.count()
    assert (counts.rows, counts.errors, counts.abstained, first.notes) == (2, 1, 1, ["a note"])
    assert [path.name for path in folder.glob("*.parquet")] == ["00000-a.parquet"]
    with held(folder):
        again = shards_of(folder, files, identity, resume=True)
        assert [one.done for one in again] == [True, False]
        assert [len(one.parts()) for one in again] == [0, 1]

    assert main(asked) == 2
    err = capsys.readouterr().err
    assert "has predictions already (`00000-a.parquet`, `00001-b.parquet.partial`)" in err
    assert "`--resume`" in err and "`--overwrite`" in err
    for changed, cause in (
        (["--top-k", "1"], "`--top-k` (options) was `null`, and is now `1`"),
        (["dataset.text=label"], "`dataset.text` (options) was `null`"),
    ):
        assert main([*asked, "--resume", *changed]) == 2
        assert cause in capsys.readouterr().err
    write(Path(files[1]), 12)
    assert main([*asked, "--resume"]) == 2
    assert "`00001-b.parquet` (input) was" in capsys.readouterr().err
    assert first.path.is_file()


def test_files_that_are_not_of_predictions_are_left_alone(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "mine.parquet"
    mine.write_text("data")
    for more in ([], ["--overwrite"], ["--resume"]):
        assert main([*asked, *more]) == 2
        assert "has files that are not of `ftr predict` (`mine.parquet`)" in capsys.readouterr().err
    assert mine.read_text() == "data"
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").write_text("a file")
    assert main([*asked, "--overwrite"]) == 2
    assert "is a file: several workers write a folder" in capsys.readouterr().err


def test_workers_are_asked_for_by_their_number_or_a_cluster() -> None:
    request = Request(folder=Path())
    assert request.compute(None) is None
    asked = request.compute(3)
    assert asked is not None and (asked.workers, asked.address) == (3, None)
    only = Request(folder=Path(), settings=reading_settings(["compute.cpus=2"]))
    with pytest.raises(ConfigError, match=r"needs `--workers N` or `compute.address"):
        only.compute(None)


@pytest.mark.parametrize(
    ("asked", "nodes", "workers", "cpus"),
    [
        (0, [(4, 0), (4, 0)], 2, 4),
        (0, [(8, 0), (4, 0)], 3, 4),
        (0, [(16, 2), (4, 0)], 2, 8),
        (1, [(1, 0), (1, 0)], 1, 1),
        (2, [(8, 0), (2, 0)], 2, 4),
        (9, [(2, 0), (2, 0)], 9, 1),
    ],
)
def test_workers_have_the_most_cores_that_nodes_have_room_for(
    asked: int, nodes: list[tuple[int, int]], workers: int, cpus: float
) -> None:
    found = sized(
        ComputeConfig(workers=asked), [{"CPU": float(cpu), "GPU": float(gpu)} for cpu, gpu in nodes]
    )
    assert (found.workers, found.cpus) == (workers, cpus)


def test_a_file_is_predicted_from_python_as_by_the_command(
    classifier: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "a.csv", 30)
    found = ftr.predict(classifier.path, file, tmp_path / "mine.csv", top_k=1, columns=["id"])
    words = ["--top-k", "1", "--columns", "id", "--output", str(tmp_path / "other.csv"), "--json"]
    assert main(["predict", str(classifier.path), str(file), *words]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (tmp_path / "mine.csv").read_text() == (tmp_path / "other.csv").read_text()
    assert (found.predictions, found.errors) == (answer["predictions"], answer["errors"]) == (29, 1)
    with pytest.raises(RequestError, match=r"exists: give another `--output`"):
        ftr.predict(classifier.path, file, tmp_path / "mine.csv")
