"""Models in replicas of Ray Serve, on a real cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.request
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

pytest.importorskip("uvicorn", reason="needs ftr[serve]")
pytest.importorskip("ray.serve", reason="needs ftr[serve]")

import ftr
from clusters import Node, Size, ray_cluster
from ftr.cli.main import main
from interruptions import Start, wait_for
from networks import free_port
from pages import PROJECT
from services import call, until_ready

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

TOKEN = {"Authorization": "Bearer of-the-pods"}


def replicas(node: Node) -> list[int]:
    """Return the ids of the processes with a model."""
    found = []
    for pid in node.processes():
        title = Path(f"/proc/{pid}/cmdline")
        if title.exists() and title.read_bytes().startswith(b"ray::ServeReplica:ftr-"):
            found.append(pid)
    return found


def test_the_configuration_for_kuberay_is_one_that_ray_serve_takes(
    classifier: RunResult, reader: RunResult, tmp_path: Path
) -> None:
    from ray.serve.schema import ServeDeploySchema

    file = tmp_path / "serve.yaml"
    words = [f"reviews={classifier.path}", f"answers={reader.path}", "--replicas", "2-6"]
    words += ["compute.cpus=2", "compute.gpus=0.5", "--max-rows", "9", "--write", str(file)]
    assert main(["serve", *words]) == 0
    config = ServeDeploySchema.model_validate(yaml.safe_load(file.read_text()))
    (application,) = config.applications
    assert application.args["limits"]["rows"] == 9
    assert application.args["models"]["answers"] == str(reader.path / "model")
    http, *models = application.deployments
    assert (http.name, [model.name for model in models]) == ("http", ["reviews", "answers"])
    for model in models:
        assert model.autoscaling_config["min_replicas"] == 2
        assert model.autoscaling_config["max_replicas"] == 6
        assert model.ray_actor_options.num_cpus == 2
        assert model.ray_actor_options.num_gpus == 0.5


def test_the_example_for_kuberay_is_one_that_ray_serve_takes() -> None:
    from ray.serve.schema import ServeDeploySchema

    from ftr.serving.replicas import Scaling, ServeArguments

    file = PROJECT / "examples" / "serve" / "rayservice.yaml"
    _, written = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    # Nodes of Ray 2.60 ask each other for a token.
    cluster = PROJECT / "examples" / "clusters" / "kuberay.yaml"
    known = next(
        one["spec"]
        for one in yaml.safe_load_all(cluster.read_text(encoding="utf-8"))
        if one["kind"] == "RayCluster"
    )
    for key in ("authOptions", "rayVersion"):
        assert written["spec"]["rayClusterConfig"][key] == known[key]
    config = ServeDeploySchema.model_validate(yaml.safe_load(written["spec"]["serveConfigV2"]))
    (application,) = config.applications
    arguments = ServeArguments.model_validate(application.args)
    http, model = application.deployments
    assert (http.name, model.name) == ("http", *arguments.models)
    assert callable(import_module(application.import_path.partition(":")[0]).build)
    expected = Scaling(largest=4).options(arguments.limits)
    assert model.max_ongoing_requests == expected["max_ongoing_requests"]
    assert model.autoscaling_config == expected["autoscaling_config"]


@pytest.mark.slow
def test_a_replica_is_killed_and_a_model_replaced_and_no_request_is_lost(
    classifier: RunResult, start: Start
) -> None:
    with ray_cluster(Size(cpus=4), environment={"FTR_SERVE_TOKEN": "of-the-pods"}) as cluster:
        _answers_through_the_proxies_of_ray_serve(cluster.address, classifier)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        process = start(
            *("serve", f"reviews={classifier.path}", f"compute.address={cluster.address}"),
            *("--replicas", "2", "--port", port),
        )
        until_ready(url, process)
        answers: list[tuple[int, Any]] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                answers.append(call(f"{url}/predict", "a good film"))
                time.sleep(0.02)

        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        try:
            victim, other = replicas(cluster.head)
            wait_for(lambda: len(answers) > 20, process)
            os.kill(victim, signal.SIGKILL)
            wait_for(
                lambda: victim not in (found := replicas(cluster.head)) and len(found) == 2, process
            )
            assert victim not in (now := replicas(cluster.head)) and other in now
            assert main(["serve", "--replace", str(classifier.path), "--port", str(port)]) == 0
            assert not {*now} & {*replicas(cluster.head)}
        finally:
            stop.set()
            for thread in asking:
                thread.join()
        assert len(answers) > 50
        assert {status for status, _ in answers} == {200}
        (expected,) = ftr.load(classifier.path).predict(["a good film"])
        assert {found["label"] for _, found in answers} == {expected["label"]}
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
        assert "Traceback" not in err


def _answers_through_the_proxies_of_ray_serve(address: str, classifier: RunResult) -> None:
    """Deploy what `serve.yaml` names, as KubeRay does."""
    import ray
    from ray import serve

    from ftr.serving.replicas import ServeArguments, build

    port = free_port()
    ray.init(address=address, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(ServeArguments(models={"reviews": str(classifier.path)})), name="ftr")
        url = f"http://127.0.0.1:{port}"
        assert call(f"{url}/predict", "a good film")[0] == 401
        status, found = call(f"{url}/predict", ["a good film", {"txt": ""}], **TOKEN)
        assert (status, found[0]["id"], "unknown key" in found[1]["error"]) == (200, "0", True)
        assert call(f"{url}/predict", 3, **TOKEN)[0] == 422
        request = urllib.request.Request(f"{url}/metrics", headers=TOKEN)
        with urllib.request.urlopen(request) as metrics:
            assert b'ftr_rows_total{model="reviews",result="predicted"} 1.0' in metrics.read()
        serve.delete("ftr")
    finally:
        ray.shutdown()
