"""Drivers on a real cluster: what they say when they cannot join it, and plugins that the nodes
lack.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import Cluster, Size, ray_cluster
from editable import python_with_pears
from ftr.atomic import sha256
from ftr.cluster.connect import probe
from ftr.errors import ConfigError
from networks import free_port

pytestmark = pytest.mark.slow

UNSET = "-"

DRIVER = """
import json, sys
from ftr.config.schema import ComputeConfig
from ftr.errors import FtrError
from ftr.cluster.connect import connect
from ftr.registry.registry import get_registry

said = []
try:
    connect(ComputeConfig(address=sys.argv[1]), get_registry(), said.append, {"FTR_CHECKED": "yes"})
except FtrError as error:
    print(json.dumps({"error": str(error), "code": error.exit_code}))
    sys.exit(error.exit_code)

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@ray.remote(num_cpus=0)
def used(pears):
    import os
    from ftr.registry.registry import get_registry
    metric = get_registry().target("metric", "pears") if pears else None
    files = get_registry().files
    if files:
        metric = get_registry().target("metric", "pine")
    return [metric and metric.basket, os.environ["FTR_CHECKED"], os.environ["FTR_PLUGINS"], os.environ.get("TORCH_CPP_LOG_LEVEL")]


nodes = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
found = {
    host: ray.get(used.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=number, soft=False)).remote("pears" in sys.argv))
    for host, number in nodes.items()
}
print(json.dumps({"said": said, "found": found}))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster(Size(cpus=1), Size(cpus=1)) as running:
        yield running


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has the plugin `pears` as an editable install; the nodes lack it."""
    return python_with_pears(tmp_path_factory.mktemp("driver"))


def drive(
    python: Path | str, folder: Path, *words: str, **environment: str
) -> tuple[int, dict[str, object], str]:
    """Run the driver with `python` and return its exit code, its answer and its stderr."""
    script = folder / "driver.py"
    script.write_text(DRIVER, encoding="utf-8")
    given = {name: value for name, value in {**os.environ, **environment}.items() if value != UNSET}
    done = subprocess.run(
        [python, script, *words],
        env=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_nothing_is_sent_where_all_nodes_have_it(cluster: Cluster, tmp_path: Path) -> None:
    code, answer, _ = drive(sys.executable, tmp_path, cluster.address)
    assert code == 0, answer
    hosts = {node.host for node in cluster.nodes}
    assert answer == {"said": [], "found": {host: [None, "yes", "", "ERROR"] for host in hosts}}


def test_an_editable_plugin_of_the_driver_works_on_every_node(
    cluster: Cluster, python: Path, tmp_path: Path
) -> None:
    code, answer, err = drive(python, tmp_path, cluster.address, "pears")
    assert code == 0, (answer, err)
    hosts = {node.host for node in cluster.nodes}
    assert answer["found"] == {host: ["full", "yes", "ftr-pears", "ERROR"] for host in hosts}
    assert str(answer["said"]).startswith("['sent ftr-pears 1.0 to 2 nodes: ")


def test_a_plugin_of_one_file_works_on_every_node(cluster: Cluster, tmp_path: Path) -> None:
    hooks = (
        "import ftr\n@ftr.hookimpl\ndef ftr_metrics(): return [ftr.MetricSpec(name='pine', "
        "target='my_task:Pine')]\n"
    )
    file = tmp_path / "apart" / "my_task.py"
    file.parent.mkdir()
    file.write_text(f"{hooks}class Pine:\n    basket = 'cones'\n", encoding="utf-8")
    code, answer, err = drive(sys.executable, tmp_path, cluster.address, FTR_PLUGIN_FILES=str(file))
    assert code == 0, (answer, err)
    assert answer["found"] == {node.host: ["cones", "yes", "", "ERROR"] for node in cluster.nodes}
    assert str(answer["said"]).startswith(f"['sent my_task.py {sha256(file)[:12]} to 2 nodes: ")


def test_another_version_on_one_node_is_refused(
    cluster: Cluster, python: Path, tmp_path: Path
) -> None:
    info = tmp_path / "old" / "ftr_pears-0.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: ftr-pears\nVersion: 0.9\n", encoding="utf-8"
    )
    node = cluster.add(Size(environment={"PYTHONPATH": str(info.parent)}))
    try:
        code, answer, _ = drive(python, tmp_path, cluster.address, "pears")
        assert code == 2
        assert answer["error"] == (
            f"the plugin distribution `ftr-pears` is 1.0 here and 0.9 on node {node.host}: "
            "install one version on both, or leave it out with `FTR_PLUGINS`."
        )
        assert drive(python, tmp_path, cluster.address, FTR_PLUGINS="")[0] == 0
    finally:
        cluster.kill(node)


def test_ftr_itself_is_sent_to_a_node_that_lacks_it(cluster: Cluster, tmp_path: Path) -> None:
    # A `*.pth` file brings ftr to this Python; `-S` and a path without it leave the node everything
    # else.
    bare = tmp_path / "bare"
    bare.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("ftr", "_ftr", "__editable__", "_editable_")):
            (bare / entry.name).symlink_to(entry)
    launcher = tmp_path / "python"
    launcher.write_text(
        f'#!/bin/sh\nPYTHONPATH={bare} exec {sys.executable} -S "$@"\n', encoding="utf-8"
    )
    launcher.chmod(0o755)
    if (
        subprocess.run([launcher, "-c", "import ftr"], check=False, capture_output=True).returncode
        == 0
    ):
        pytest.skip("ftr cannot be left out here")
    node = cluster.add(Size(python=str(launcher), environment={"PYTHONPATH": str(bare)}))
    try:
        code, answer, err = drive(sys.executable, tmp_path, cluster.address)
        assert code == 0, (answer, err)
        assert answer["said"] == [f"sent ftr 0.1.0 to 1 node: {node.host}"]
        assert answer["found"][node.host] == [None, "yes", "", "ERROR"]  # type: ignore[index]
    finally:
        cluster.kill(node)


class TestAddress:
    """What is wrong with an address is said within seconds, in one sentence."""

    def test_nobody_listens(self) -> None:
        port = free_port()
        with pytest.raises(
            ConfigError,
            match=rf"`compute.address=127.0.0.1:{port}`: nobody listens at .*Connection refused",
        ):
            probe(f"127.0.0.1:{port}")

    @pytest.mark.parametrize(
        ("asked", "told"),
        [
            ("head", "give `auto` or `host:port`"),
            ("head:port", "give `auto` or `host:port`"),
            ("ray://head:10001", "without a scheme.*ftr submit"),
            ("no-such-host.invalid:6379", "nobody listens"),
        ],
    )
    def test_it_is_malformed(self, asked: str, told: str) -> None:
        with pytest.raises(ConfigError, match=told):
            probe(asked)

    def test_auto_finds_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        script = "from ftr.cluster.connect import probe; probe('auto')"
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        assert done.stderr.splitlines()[-1].endswith("or leave the key out to use this machine.")
        assert "`compute.address=auto`: nobody listens at " in done.stderr

    def test_something_else_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ftr.cluster.connect.ANSWER_SECONDS", 4)
        told = (
            r"does not answer like the head of a Ray cluster\. Give the port of `ray start "
            r"--head`"
        )
        with (
            socket.create_server(("127.0.0.1", 0)) as other,
            pytest.raises(ConfigError, match=told),
        ):
            probe(f"127.0.0.1:{other.getsockname()[1]}")

    @pytest.mark.parametrize(
        ("environment", "told"),
        [
            ({"RAY_AUTH_TOKEN": "f" * 64}, "the token in `RAY_AUTH_TOKEN` is not the cluster's"),
            (
                {"RAY_AUTH_TOKEN": UNSET, "RAY_AUTH_MODE": UNSET, "HOME": "/nowhere"},
                "the cluster asks for a token, and this machine has none",
            ),
            ({"RAY_AUTH_MODE": "disabled"}, "`RAY_AUTH_MODE=disabled` turns off"),
        ],
    )
    def test_the_token_is_not_the_clusters(
        self, cluster: Cluster, tmp_path: Path, environment: dict[str, str], told: str
    ) -> None:
        code, answer, err = drive(sys.executable, tmp_path, cluster.address, **environment)
        assert code == 2 and told in str(answer["error"]), answer
        assert err == ""
