"""`ftr serve --local`: a real process, its port, its signals, its page in a browser."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("uvicorn", reason="needs ftr[serve]")

from browser import Browser
from ftr.cli.main import main
from ftr.serving.model import Loader
from ftr.serving.requests import Limits
from ftr.serving.server import Address, Settings, make_service
from interruptions import Process, Start, command
from networks import free_port
from services import call, until_ready

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

PASSAGE = "😀 the mill was built by two brothers . <b>nobody</b> knows more ."


@pytest.fixture(scope="module")
def served(
    classifier: RunResult, reader: RunResult, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Process]]:
    """The address of a service with two models, and its process; one always gives an answer."""
    answers = tmp_path_factory.mktemp("served") / "answers"
    shutil.copytree(reader.path / "model", answers)
    card = json.loads((answers / "ftr.json").read_text())
    (answers / "ftr.json").write_text(json.dumps({**card, "state": {"no_answer_threshold": 1e9}}))
    port = free_port()
    process = command(
        *("serve", "--local", f"reviews={classifier.path}", f"answers={answers}"),
        *("--port", port),
    )
    try:
        until_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_port_in_use_is_found_before_a_model_is_loaded(
    served: tuple[str, Process], classifier: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    port = served[0].rpartition(":")[2]
    assert main(["serve", "--local", str(classifier.path), "--port", port]) == 2
    assert re.search(
        rf"127.0.0.1:{port}: Address already in use. .*--port", capsys.readouterr().err
    )


def test_a_running_service_gets_another_model_and_keeps_the_old_one_when_it_fails(
    served: tuple[str, Process],
    classifier: RunResult,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, _ = served
    port = url.rpartition(":")[2]
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            statuses.append(call(f"{url}/models/reviews/predict", "a good film")[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert main(["serve", "--replace", f"reviews={classifier.path}", "--port", port]) == 0
        broken = tmp_path / "broken" / "model"
        broken.mkdir(parents=True)
        (broken / "ftr.json").write_text((classifier.path / "model" / "ftr.json").read_text())
        assert main(["serve", "--replace", f"reviews={broken.parent}", "--port", port]) == 2
    finally:
        stop.set()
        asking.join()
    assert "the service keeps its model" in capsys.readouterr().err
    assert len(statuses) > 3 and set(statuses) == {200}
    assert main(["serve", "--replace", str(classifier.path), "--port", port]) == 2
    assert "which model? Give NAME=RUN" in capsys.readouterr().err


def test_no_other_user_can_replace_a_model(served: tuple[str, Process]) -> None:
    url, _ = served
    request = urllib.request.Request(
        f"{url}/models/reviews",
        b'{"run": "/tmp/mine"}',
        {"Content-Type": "application/json", "Authorization": "Bearer guess"},
        method="PUT",
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request)


def test_a_person_types_a_question_and_sees_the_answer_marked(
    served: tuple[str, Process], tmp_path: Path
) -> None:
    with Browser(tmp_path) as browser:
        browser.open(served[0])
        browser.wait("document.querySelectorAll('#model option').length === 2")
        browser.do(
            "const list = document.getElementById('model'); list.value = 'answers';"
            "list.dispatchEvent(new Event('change'))"
        )
        for name, text in (("question", "who built the mill ?"), ("context", PASSAGE)):
            browser.do(f"document.getElementById('column-{name}').value = {json.dumps(text)}")
        browser.do("document.getElementById('send').click()")
        browser.wait("document.querySelector('#result .passage') !== null")
        found = json.loads(browser.do("document.querySelector('#result pre').textContent"))
        assert browser.do("document.querySelector('#result .passage').textContent") == PASSAGE
        assert browser.do("document.querySelectorAll('#result b').length") == 0
        marked = browser.do("Array.from(document.querySelectorAll('mark')).map(m => m.textContent)")
        assert marked == [found["answer"]] and found["start"] > 0
        assert PASSAGE[found["start"] : found["end"]] == found["answer"]
        browser.do(
            "const list = document.getElementById('model'); list.value = 'reviews';"
            "list.dispatchEvent(new Event('change'))"
        )
        browser.do("document.getElementById('column-text').value = '<img src=x onerror=alert(1)>'")
        browser.do("document.getElementById('send').click()")
        browser.wait("document.querySelectorAll('#result progress').length === 3")
        assert browser.do("document.images.length") == 0
        browser.do("document.getElementById('column-text').value = ''")
        browser.do("document.getElementById('send').click()")
        browser.wait("document.querySelector('#result .error') !== null")
        assert "empty text" in browser.do("document.getElementById('result').textContent")
        assert browser.problems == [problem for problem in browser.problems if "422" in problem]


def test_it_answers_what_it_has_when_it_is_told_to_stop(
    classifier: RunResult, start: Start
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = start("serve", "--local", classifier.path, "--port", port, "--drain", "1")
    until_ready(url, process)
    rows = ["a very long and boring movie with a bad ending "] * 200
    statuses: list[tuple[int, Any]] = []
    asking = [
        threading.Thread(target=lambda: statuses.append(call(f"{url}/predict", rows)))
        for _ in range(8)
    ]
    for thread in asking:
        thread.start()
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 10
    while (status := call(f"{url}/ready")[0]) == 200:
        assert time.monotonic() < deadline
    assert status == 503
    for thread in asking:
        thread.join()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [status for status, _ in statuses] == [200] * 8
    assert all(len(answers) == 200 for _, answers in statuses)
    with socket.socket() as gone:
        assert gone.connect_ex(("127.0.0.1", port)) != 0
    assert "boring" not in out + err


def test_a_model_that_does_not_load_ends_it(
    tmp_path: Path, classifier: RunResult, start: Start
) -> None:
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder / "ftr.json").write_text((classifier.path / "model" / "ftr.json").read_text())
    process = start("serve", "--local", folder, "--port", free_port())
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "ftr: error:" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["runs/nothing"], "runs/nothing"),
        (["RUN", "--port", "70000"], "0 to 65535"),
        (["RUN", "--port", "http"], "invalid int"),
        (["RUN", "--host", "256.1.1.1"], "cannot listen on 256.1.1.1"),
        (["RUN", "--replicas", "4-2"], "MIN-MAX"),
        (["RUN", "--replicas", "0"], "MIN-MAX"),
        (["RUN", "--local", "--replicas", "2"], "one process"),
        (["RUN", "--local", "compute.cpus=2"], "one process"),
        (["RUN", "compute.workers=2"], "`compute.workers`"),
        (["RUN", "compute.cpus=-1"], "compute.cpus"),
        (["compute.cpus=1"], "no run to serve"),
        (["RUN", "--max-rows", "0"], "--max-rows"),
        (["RUN", "--timeout", "nan"], "--timeout"),
        (["RUN", "--timeout", "inf"], "--timeout"),
        (["RUN", "--drain", "-1"], "--drain"),
        (["a b=RUN"], "cannot be the name of a model"),
        (["http=RUN"], "cannot be the name of a model"),
        (["one=RUN", "one=RUN"], "two models are called `one`"),
        (["RUN", "--replace", "--port", "1"], "no service of yours"),
        (["RUN", "one=RUN", "--replace"], "takes one run"),
    ],
)
def test_a_wrong_command_is_refused_with_a_reason(
    words: list[str], reason: str, classifier: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.replace("RUN", str(classifier.path)) for word in words]
    assert main(["serve", *given]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "no_token", "given", "printed", "asked"),
    [
        ("127.0.0.1", False, None, False, False),
        ("localhost", False, "mine", False, True),
        ("::1", False, None, False, False),
        ("0.0.0.0", False, None, True, True),
        ("::", False, "mine", False, True),
        ("0.0.0.0", True, "mine", False, False),
    ],
)
def test_a_token_is_made_where_other_machines_can_call(
    host: str,
    no_token: bool,
    given: str | None,
    printed: bool,
    asked: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("FTR_SERVE_TOKEN", raising=False)
    if given is not None:
        monkeypatch.setenv("FTR_SERVE_TOKEN", given)
    settings = Settings(address=Address(host=host, no_token=no_token))
    service = make_service(settings, Loader(Limits(), "torch", "fp32").load)
    found = re.search(r"token .*: (\S{40,})$", capsys.readouterr().err.strip())
    assert (found is not None) is printed
    assert (service.token is not None) is asked
    if asked:
        assert service.token == (given if given is not None else found and found[1])
    assert (service.hosts is None) is (host in ("0.0.0.0", "::"))
    assert service.admin and service.admin != service.token
