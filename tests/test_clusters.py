"""The cluster files are what Ray takes, and their commands run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from networks import may_isolate

PROJECT = Path(__file__).resolve().parents[1]
CLOUD = PROJECT / "cluster.yaml"
ON_PREMISE = PROJECT / "examples" / "clusters" / "on-premise.yaml"
KUBERAY = PROJECT / "examples" / "clusters" / "kuberay.yaml"
DOCKERFILE = PROJECT / "examples" / "clusters" / "Dockerfile"
COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
)
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
RAY = next(
    line.partition("==")[2]
    for line in (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line.startswith("ray==")
)


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def shell_commands(path: Path) -> list[str]:
    """Return every command line of a file: those Ray runs on nodes, and those of the comments that
    a person types.
    """
    text = path.read_text(encoding="utf-8")
    typed = [
        line.partition("   ")[2].partition("          ")[0].strip()
        for line in text.splitlines()
        if line.startswith("#   ")
    ]
    loaded = load(path) if path != KUBERAY else {}
    return [*typed, *(command for key in (*COMMANDS, *STARTS) for command in loaded.get(key, []))]


@pytest.mark.parametrize("path", [CLOUD, ON_PREMISE], ids=lambda path: path.stem)
def test_ray_takes_the_file(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(load(path))
    validate_config(config)
    # A key that Ray does not know would have been refused, one that it knows and does not use is
    # not in the schema.
    assert set(load(path)) <= set(config)
    assert all(commands for key, commands in config.items() if key in STARTS)


def test_the_cloud_cluster_is_sized_as_it_says() -> None:
    from ray.autoscaler._private.util import prepare_config

    config = prepare_config(load(CLOUD))
    types = config["available_node_types"]
    assert (
        types["head"]["max_workers"] == 0
        and types["gpu"]["max_workers"] == config["max_workers"] == 8
    )
    assert types["gpu"]["resources"] == {"CPU": 4, "GPU": 1}


def test_images_hold_the_ray_and_python_that_ftr_is_tested_with() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (CLOUD, KUBERAY, DOCKERFILE)]
    tags = {tag for text in texts for tag in re.findall(r"rayproject/ray:(\S+?)-[cg]pu", text)}
    assert tags == {f"{RAY}-py311"}
    cluster = yaml.safe_load_all(KUBERAY.read_text(encoding="utf-8"))
    assert [
        document["spec"]["rayVersion"] for document in cluster if document["kind"] == "RayCluster"
    ] == [RAY]


@pytest.mark.parametrize("path", [CLOUD, ON_PREMISE, KUBERAY], ids=lambda path: path.stem)
def test_every_command_is_one_of_a_shell(path: Path) -> None:
    commands = shell_commands(path)
    assert len(commands) >= 5
    for command in commands:
        done = subprocess.run(
            ["bash", "-n", "-c", command], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), command


@pytest.mark.parametrize("path", [CLOUD, ON_PREMISE, KUBERAY], ids=lambda path: path.stem)
def test_commands_a_person_types_are_commands_of_their_programs(path: Path) -> None:
    from ray.scripts.scripts import cli

    from ftr.cli.main import COMMANDS as OURS
    from ftr.config.keys import check_keys
    from ftr.config.parse import parse_words

    for command in shell_commands(path):
        program, name, *words = command.split()
        if program == "ray":
            assert name in cli.commands, command
        elif program == "ftr":
            assert name == "submit" and words[0] in OURS, command
            check_keys(
                {key: value for key, value in parse_words(words[1:]).items() if key != "trials"}
            )


def test_ray_reads_the_resources_of_the_kubernetes_manifest() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,
    )

    claim, cluster = yaml.safe_load_all(KUBERAY.read_text(encoding="utf-8"))
    # Validates against Ray's schema by itself.
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    types = config["available_node_types"]
    assert config["max_workers"] == 8
    assert types["headgroup"]["resources"] == {"CPU": 0, "memory": 16 * 2**30}
    assert types["gpu"]["resources"] == {"CPU": 4, "GPU": 1, "memory": 16 * 2**30}
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    pods = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for pod in pods:
        (container,) = pod["template"]["spec"]["containers"]
        volumes = {volume["name"]: volume for volume in pod["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_start_parameters_of_the_manifest_are_options_of_ray_start() -> None:
    from ray.scripts.scripts import start

    known = {option.lstrip("-") for parameter in start.params for option in parameter.opts}
    _, cluster = yaml.safe_load_all(KUBERAY.read_text(encoding="utf-8"))
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    given = {name for group in groups for name in group["rayStartParams"]}
    assert given and given <= known


def test_the_image_is_made_of_files_that_are_there() -> None:
    lines = [
        line.split()
        for line in DOCKERFILE.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert [words[0] for words in lines] == ["FROM", "COPY", "RUN"]
    assert (PROJECT / "constraints.txt").is_file() and (PROJECT / "pyproject.toml").is_file()
    assert lines[1][-2:] == [".", "/home/ray/ftr"]
    subprocess.run(["bash", "-n", "-c", " ".join(lines[2][1:])], check=True)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The home folder of a node as `ray up` leaves it before the first command: the project and the
    token are there.
    """
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0" * 64, encoding="utf-8")
    ignored = shutil.ignore_patterns(".git", ".venv*", "runs", "__pycache__", "*.so")
    shutil.copytree(PROJECT, home / "ftr", ignore=ignored, symlinks=True)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("path", [CLOUD, ON_PREMISE], ids=lambda path: path.stem)
def test_commands_of_the_nodes_run(path: Path, node: Path) -> None:
    """Set up a node, start a head and a worker in a machine of their own: `ray stop` there ends
    nobody else's Ray.
    """
    if not may_isolate():
        pytest.skip("namespaces may not be made here, and `ray stop` would end the Ray of others")
    config = load(path)
    shadow = node / "bin"
    shadow.mkdir()
    for name in ("python", "python3.11"):
        # The Python of the node; it sees the packages of this one, so that pip finds all but ftr
        # installed.
        (shadow / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
        (shadow / name).chmod(0o755)
    (node / "ray_bootstrap_config.yaml").write_text(
        yaml.safe_dump(prepared(path)), encoding="utf-8"
    )
    short = Path(tempfile.mkdtemp(prefix="fr", dir="/tmp"))
    # A network of one machine, with a way out: Ray takes the address of that for its own.
    script = [
        "set -ex",
        "ip link set lo up",
        "ip link add wire type veth peer name end",
        "ip addr add 10.9.9.1/24 dev wire",
    ]
    script += ["ip link set wire up", "ip link set end up", "ip route add default dev wire"]
    script += [f"( {command} )" for command in config["head_start_ray_commands"]]
    script += ["export RAY_HEAD_IP=10.9.9.1", f"( {config['worker_start_ray_commands'][-1]} )"]
    script += [
        "export RAY_AUTH_MODE=token",
        "ray status --address=10.9.9.1:6379",
        "ray job list --address=http://127.0.0.1:8265",
    ]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "PIP_CONSTRAINT"))
    }
    environment |= {
        "HOME": str(node),
        "RAY_TMPDIR": str(short),
        "PATH": f"{shadow}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    # pip builds ftr and stops there: what ftr needs is here already.
    setup = [
        command.replace("pip install", "pip install --dry-run --no-deps")
        for command in config["setup_commands"]
    ]
    set_up = subprocess.run(
        ["bash", "-c", "\n".join(["set -e", *setup])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    if "No matching distribution found for hatchling" in set_up.stdout + set_up.stderr:
        pytest.skip("no package index can be reached to build ftr")
    assert set_up.returncode == 0, set_up.stdout + set_up.stderr
    assert "Would install ftr-" in set_up.stdout
    words = [
        "unshare",
        "--net",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "bash",
        "-c",
        "\n".join(script),
    ]
    try:
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
    finally:
        shutil.rmtree(short, ignore_errors=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("Ray runtime started.") == 2


def prepared(path: Path) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config

    config: dict[str, Any] = prepare_config(load(path))
    return config
