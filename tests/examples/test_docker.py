"""The steps of `examples/docker/Dockerfile`, without a container: a new environment gets the wheel
and `model/` alone, predicts as the run does, and serves.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from editable import new_python
from networks import free_port
from pages import PROJECT

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

DOCKERFILE = PROJECT / "examples" / "docker" / "Dockerfile"
KNOWN = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE", "HEALTHCHECK", "CMD"}
PIP = """#!{python}
import subprocess, sys
words = [one.removesuffix("[serve]") for one in sys.argv[1:] if one != "torch"]
if "torch" not in sys.argv:  # it is here already
    words += ["--no-deps", "--no-index", "--quiet"]
    sys.exit(subprocess.call([{ours!r}, "-m", "pip", "--python", {python!r}, *words]))
"""


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with what follows each."""
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    found = [line.partition(" ") for line in lines if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in found]


def test_the_dockerfile_has_instructions_that_docker_knows() -> None:
    found = instructions()
    assert found[0][0] == "FROM" and found[-1][0] == "CMD" and {name for name, _ in found} <= KNOWN
    for name, rest in found:
        if name in ("CMD", "HEALTHCHECK"):
            words = json.loads(rest[rest.index("[") :])
            assert all(isinstance(word, str) for word in words)
    ports = {word for _, rest in found for word in re.findall(r"\b8\d\d\d\b", rest)}
    assert ports == {"8000"}


def image(folder: Path, model: Path) -> tuple[Path, dict[str, str], list[str]]:
    """Carry out the instructions in `folder`; return the work directory, the environment and the
    command of the image.
    """
    context = folder / "context"
    shutil.copytree(model, context / "model")
    build = ["--no-build-isolation"] if find_spec("hatchling") else []
    wheel = [*("wheel", "--quiet", "--no-deps", *build, "--wheel-dir"), str(context / "wheels")]
    subprocess.run([sys.executable, "-m", "pip", *wheel, str(PROJECT)], check=True)
    python = new_python(folder, own=False)
    programs = python.parent
    (programs / "pip").write_text(PIP.format(python=str(python), ours=sys.executable))
    (programs / "useradd").write_text("#!/bin/sh\n")
    for name in ("pip", "useradd"):
        (programs / name).chmod(0o755)
    place = folder / "srv"
    clean = ("FTR_", "PYTHON", "HF_", "PYTEST_")
    environment = {name: one for name, one in os.environ.items() if not name.startswith(clean)}
    environment |= {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        "FTR_CACHE": str(folder / "cache"),
    }
    command: list[str] = []
    place.mkdir()
    for name, rest in instructions():
        if name == "COPY":
            source, target = rest.split()
            shutil.copytree(context / source, place / target)
        elif name == "RUN":
            subprocess.run(["sh", "-ec", rest], cwd=place, env=environment, check=True)
        elif name == "ENV":
            environment |= dict(word.split("=", 1) for word in shlex.split(rest))
        elif name == "CMD":
            command = json.loads(rest)
    return place, environment, command


def asked(url: str, row: object = None, token: str = "") -> tuple[int, Any]:
    body = None if row is None else json.dumps(row).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None
    except OSError:
        return 0, None


@pytest.mark.slow
def test_a_new_environment_with_the_wheel_and_a_model_predicts_and_serves(
    classifier: RunResult, tmp_path: Path
) -> None:
    import ftr

    place, environment, command = image(tmp_path, classifier.model)
    where = "import ftr, ftr_plugins; print(ftr.__file__, ftr_plugins.__file__)"
    run: dict[str, Any] = {"cwd": place, "env": environment, "capture_output": True, "text": True}
    said = subprocess.run(["python", "-c", where], **run, check=True)
    assert said.stdout.count(str(tmp_path / "venv")) == 2, said
    texts = ["a great and funny film", "a boring film", "the acting"]
    expected = ftr.load(classifier.path).predict(texts)
    rows = "".join(json.dumps({"text": one}) + "\n" for one in texts)
    done = subprocess.run(
        ["ftr", "predict", "model"],
        cwd=place,
        env=environment,
        input=rows,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["label"] for one in found] == [one["label"] for one in expected]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in expected])
    pytest.importorskip("uvicorn", reason="serving needs ftr[serve]")
    url = f"http://127.0.0.1:{(port := free_port())}"
    words = [word.replace("8000", str(port)) for word in command]
    environment["FTR_SERVE_TOKEN"] = "secret"
    with subprocess.Popen(words, cwd=place, env=environment) as service:
        try:
            deadline = time.monotonic() + 120
            while asked(f"{url}/ready")[0] != 200:
                assert service.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            assert asked(f"{url}/predict", {"text": texts[0]})[0] == 401
            status, answer = asked(f"{url}/predict", {"text": texts[0]}, "secret")
        finally:
            service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    assert status == 200 and expected[0]["label"] in json.dumps(answer)
