"""How many trials fit a cluster, and what is said when none does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusters import Size, ray_cluster
from ftr.cluster.capacity import GB, MANY, Capacity, Kind, from_settings, trials_at_once
from ftr.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
SMALL = Kind("node", {"CPU": 2.0, "memory": 8 * GB}, 2, 2)
LARGE = Kind("node", {"CPU": 8.0, "GPU": 2.0, "memory": 64 * GB, "disk": 1.0}, 1, 1)
MIXED = Capacity([SMALL, LARGE])


@pytest.mark.parametrize(
    ("workers", "need", "trials"),
    [
        (1, {"CPU": 1.0}, 12),
        (1, {"CPU": 2.0}, 6),
        (1, {"CPU": 3.0}, 2),
        (1, {"CPU": 1.0, "GPU": 0.25}, 8),
        # In binary, a tenth is a little more than a tenth.
        (1, {"GPU": 0.1}, 20),
        (1, {"CPU": 1.0, "memory": 5 * GB}, 2 + 8),
        (1, {"CPU": 1.0, "disk": 1.0}, 1),
        (2, {"CPU": 2.0}, 3),
        (6, {"CPU": 2.0}, 1),
    ],
)
def test_trials_that_fit_at_once(workers: int, need: dict[str, float], trials: int) -> None:
    assert trials_at_once(workers, need, MIXED) == trials


@pytest.mark.parametrize(
    ("workers", "need", "told"),
    [
        (
            1,
            {"CPU": 1.0, "GPU": 3.0},
            "`compute.gpus=3`: one trial needs 3 GPUs, the largest node has 2 GPUs (2 nodes with "
            "2 CPUs, 0 GPUs; 1 node with 8 CPUs, 2 GPUs). Lower `compute.gpus`, or add a node "
            "that has enough.",
        ),
        (
            1,
            {"CPU": 1.0, "tape": 1.0},
            "`compute.resources.tape=1`: one trial needs 1 `tape`, no node has any (2 nodes with "
            "2 CPUs, 0 `tape`; 1 node with 8 CPUs, 2 GPUs, 0 `tape`). Lower "
            "`compute.resources.tape`, or add a node that has enough.",
        ),
        (
            7,
            {"CPU": 2.0},
            "`compute.workers=7` with `compute.cpus=2`: one trial needs 7 times 2 CPUs, the "
            "cluster has room for 6 such workers (2 on 2 nodes with 2 CPUs; 4 on 1 node with 8 "
            "CPUs, 2 GPUs). Lower `compute.workers` or what each of them gets.",
        ),
        (
            1,
            {"CPU": 1.0, "memory": 100 * GB},
            "`compute.memory=100`: one trial needs 100 GB of memory, the largest node has 64 GB "
            "of memory (2 nodes with 2 CPUs, 8 GB of memory; 1 node with 8 CPUs, 2 GPUs, 64 GB of "
            "memory). Lower `compute.memory`, or add a node that has enough.",
        ),
    ],
)
def test_the_arithmetic_of_a_trial_that_does_not_fit(
    workers: int, need: dict[str, float], told: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        trials_at_once(workers, need, MIXED)
    assert str(raised.value) == told


@pytest.fixture
def settings() -> dict[str, Any]:
    """What `ray up cluster.yaml` leaves on the head."""
    from ray.autoscaler._private.util import prepare_config

    prepared: dict[str, Any] = prepare_config(
        yaml.safe_load((PROJECT / "cluster.yaml").read_text(encoding="utf-8"))
    )
    return prepared


class TestAutoscaler:
    """Nodes that are not there yet count, up to the maximum."""

    def test_the_maximum_of_the_configuration(self, settings: dict[str, Any]) -> None:
        head = Kind("node", {"memory": 8 * GB}, 1, 1)
        have = from_settings(settings, [head])
        assert trials_at_once(1, {"CPU": 1.0, "GPU": 0.5}, have) == 16
        assert trials_at_once(2, {"GPU": 1.0}, have) == 4
        with pytest.raises(
            ConfigError,
            match=r"the largest node has 1 GPU \(up to 8 `gpu` nodes with 4 CPUs, 1 GPU; 1 node "
            r"with 0 GPUs\)",
        ):
            trials_at_once(1, {"GPU": 2.0}, have)

    def test_a_node_that_runs_is_not_counted_twice_and_tells_its_memory(
        self, settings: dict[str, Any]
    ) -> None:
        running = Kind("node", {"CPU": 4.0, "GPU": 1.0, "memory": 14 * GB}, 2, 2)
        have = from_settings(settings, [running])
        assert trials_at_once(1, {"GPU": 1.0}, have) == 8
        with pytest.raises(ConfigError, match="the largest node has 14 GB of memory"):
            trials_at_once(1, {"memory": 15 * GB}, have)

    def test_types_of_unknown_size_leave_the_answer_open(self) -> None:
        settings = {
            "max_workers": 3,
            "head_node_type": "head",
            "available_node_types": {"head": {}, "any": {"resources": {}}},
        }
        assert trials_at_once(1, {"GPU": 8.0}, from_settings(settings, [SMALL])) == 1

    def test_no_limit_is_counted_as_many(self) -> None:
        kind = Kind("gpu", {"GPU": 1.0}, 0, MANY)
        assert trials_at_once(1, {"GPU": 1.0}, Capacity([kind])) == MANY
        assert trials_at_once(1, {"GPU": 1.0}, Capacity([kind], limits={"GPU": 20})) == 20


DRIVER = """
import json, ray, sys
from pathlib import Path
from ftr.errors import ConfigError
from ftr.cluster.capacity import check_capacity
ray.init("auto", logging_level="ERROR")
answers = [check_capacity(0, 1, 0, None, {}), check_capacity(1, 1, 1, None, {}), check_capacity(2, 1, 0, None, {})]
try:
    check_capacity(1, 1, 2, None, {})
except ConfigError as error:
    answers.append(str(error))
Path(sys.argv[1]).write_text(json.dumps(answers), encoding="utf-8")
"""


@pytest.mark.slow
def test_the_maximum_of_a_running_autoscaler(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own autoscaler, with the provider that Ray tests it with: it pretends to have a
    cloud.
    """
    file = tmp_path / "autoscaler.yaml"
    file.write_text(
        json.dumps({**settings, "provider": {"type": "fake_multinode"}, "file_mounts": {}}),
        encoding="utf-8",
    )
    with ray_cluster(
        Size(cpus=1),
        environment={"RAY_FAKE_CLUSTER": "1"},
        options=[f"--autoscaling-config={file}"],
    ) as cluster:
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(tmp_path / "answers.json")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    cpus, gpus, pairs, refused = json.loads((tmp_path / "answers.json").read_text("utf-8"))
    assert (cpus, gpus, pairs) == (1 + 8 * 4, 8, 16)
    assert refused.startswith(
        "`compute.gpus=2`: one trial needs 2 GPUs, the largest node has 1 GPU (up to 8 `gpu` nodes "
        "with 4 CPUs, 1 GPU;"
    )
