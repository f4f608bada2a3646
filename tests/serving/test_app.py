"""The HTTP interface: the answers of `ftr predict`, and a reason for all that it refuses."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr
from browser import Page
from ftr.errors import ModelError
from ftr.serving.batching import Answered
from ftr.serving.requests import Limits, Options
from trainings import NO_ROOM, with_windows

pytest.importorskip("starlette", reason="needs ftr[serve]")
pytest.importorskip("prometheus_client", reason="needs ftr[serve]")

import httpx
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from ftr.serving.app import Service
from ftr.serving.model import Loader, LocalModel

if TYPE_CHECKING:
    from ftr.runs.run import RunResult

QUESTION = {"question": "who built the mill ?", "context": "the mill was built by two brothers ."}
JSON = {"Content-Type": "application/json"}
LIMITS = Limits(body=20_000, rows=8, tokens=1000, waiting=4)


@pytest.fixture(scope="module")
def sentiment(classifier: RunResult) -> LocalModel:
    return LocalModel("reviews", classifier.path / "model", LIMITS, "torch", "fp32")


@pytest.fixture(scope="module")
def answers(reader: RunResult) -> LocalModel:
    return LocalModel("answers", reader.path / "model", LIMITS, "torch", "fp32")


def service(*models: LocalModel, **given: Any) -> Service:
    made = Service(LIMITS, **given)
    made.models = {model.about["name"]: model for model in models}
    made.state = "ready"
    for model in models:  # it belongs to the event loop of the test before
        model.batcher = type(model.batcher)(model._answer, max_rows=64, max_tokens=8192)
    return made


@contextmanager
def calling(made: Service) -> Iterator[TestClient]:
    with TestClient(made.app(), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def client(sentiment: LocalModel) -> Iterator[TestClient]:
    """A caller of a service with one model."""
    with calling(service(sentiment)) as client:
        yield client


@pytest.fixture
def both(sentiment: LocalModel, answers: LocalModel) -> Iterator[TestClient]:
    """A caller of a service with two models."""
    with calling(service(sentiment, answers)) as client:
        yield client


def close(found: Any, expected: Any) -> None:
    """Assert that two answers are the same: numbers depend on the padding of a batch."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            close(found[key], value)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-4)
    else:
        assert found == expected


def test_the_answers_are_those_of_predict(
    both: TestClient, classifier: RunResult, reader: RunResult
) -> None:
    texts = ["a good film", "a very long and boring movie with a bad ending", "<b>funny</b>  story"]
    rows = [*({"text": text, "id": f"r{n}", "label": "good"} for n, text in enumerate(texts))]
    expected = ftr.load(classifier.path).predict(rows)
    found = both.post("/models/reviews/predict", json=rows)
    assert found.status_code == 200
    for one, other in zip(found.json(), expected, strict=True):
        close(one, other)
    asked = {**QUESTION, "id": 7}
    (expected_answer,) = ftr.load(reader.path).predict([asked])
    close(both.post("/predict?model=answers", json=asked).json(), expected_answer)


def test_a_row_that_the_head_cannot_encode_is_refused_alone(
    classifier: RunResult, tmp_path: Path
) -> None:
    folder = with_windows(classifier.model, tmp_path / "model")
    model = LocalModel("windows", folder, LIMITS, "torch", "fp32")
    with calling(service(model)) as client:
        mixed = client.post("/predict?top_k=1", json=[{"text": "a good film"}, NO_ROOM])
        assert mixed.status_code == 200
        good, bad = mixed.json()
        assert good["label"] and bad["id"] == "7" and "leaves 0 of" in bad["error"]
        assert client.post("/predict", json=NO_ROOM).status_code == 422


def test_a_row_may_be_a_text_or_have_the_names_that_a_file_may_have(both: TestClient) -> None:
    plain = both.post("/models/reviews/predict", json="a good film").json()
    named = both.post("/models/reviews/predict", json=[{"Review": "a good film"}]).json()
    close(named, [plain])
    passage = {"query": QUESTION["question"], "passage": QUESTION["context"]}
    one, other = (
        both.post("/models/answers/predict", json=row).json() for row in (QUESTION, passage)
    )
    close(one, other)


def test_abstaining_and_the_numbers_of_rows(client: TestClient) -> None:
    rows = ["a good film", {"text": "bad", "id": "mine"}, "boring"]
    top = client.post("/predict?top_k=2", json=rows).json()
    assert [len(one["probabilities"]) for one in top] == [2, 2, 2]
    found = client.post("/predict?abstain_below=1", json=rows).json()
    assert [one["id"] for one in found] == ["0", "mine", "2"]
    assert all(one["abstained"] and one["label"] is None and one["best_guess"] for one in found)


def test_an_unusable_row_has_its_error_in_its_place(client: TestClient) -> None:
    rows = ["a good film", {"text": " ", "id": "x"}, {"txt": "a"}, None, {"text": "bad"}]
    answer = client.post("/predict", json=rows)
    assert answer.status_code == 200
    found = answer.json()
    assert [one["id"] for one in found] == ["0", "x", "2", "3", "4"]
    assert [one.get("error") for one in found] == [
        None,
        "empty text",
        "unknown key `txt`. Did you mean `text`?",
        "a row is an object or a text, not null",
        None,
    ]
    none_usable = client.post("/predict", json=[{"text": ""}, {"text": None}])
    assert none_usable.status_code == 422
    assert [one["error"] for one in none_usable.json()] == ["empty text", "empty text"]


BAD = {
    "empty": (b"", 400, "empty"),
    "blank": (b" \n", 400, "empty"),
    "null": (b"null", 422, "not null"),
    "number": (b"3", 422, "not a number"),
    "boolean": (b"true", 422, "not a boolean"),
    "no row": (b"[]", 422, "empty"),
    "no columns": (b"{}", 422, "empty question"),
    "no JSON": (b"text=a+good+film", 400, "not JSON"),
    "cut off": (b'{"question": "who', 400, "not JSON"),
    "two values": (b'{"question": "a"} {}', 400, "not JSON"),
    "invalid UTF-8": (b'{"question": "\xff"}', 400, "not UTF-8"),
    "byte order mark": (b'\xef\xbb\xbf{"question": "a"}', 400, "not JSON"),
    "UTF-16": ('{"question": "a"}'.encode("utf-16"), 400, "not UTF-8"),
    "NaN": (b'{"question": NaN}', 400, "`NaN`"),
    "infinity": (b'{"question": -Infinity}', 400, "`-Infinity`"),
    "a key twice": (b'{"question": "a", "question": "b"}', 400, "twice"),
    "a key twice by another name": (b'{"question": "a", "query": "b"}', 422, "two keys"),
    "deep nesting": (b"[" * 9_000 + b"]" * 9_000, 400, "deep"),
    "deep objects": (b'{"a":' * 3_000 + b"1" + b"}" * 3_000, 400, "deep"),
    "long number": (b'{"question": ' + b"9" * 5_000 + b"}", 400, "digits"),
    "half a surrogate pair": (b'{"question": "\\ud800", "context": "a"}', 422, "surrogate"),
    "surrogate key": (b'{"\\ud800": "a"}', 422, "unknown key"),
    "surrogate id": (b'{"id": "\\udc00", "question": "", "context": "a"}', 422, "surrogate"),
    "passage without question": (b'{"context": "the mill"}', 422, "empty question"),
    "question without passage": (b'{"question": "who ?"}', 422, "empty context"),
    "a plain text": (b'"who ?"', 422, "`question` and `context`"),
    "unknown key": (b'{"questoin": "who ?", "context": "a"}', 422, "Did you mean `question`"),
    "list for a text": (b'{"question": ["who"], "context": "a"}', 422, "not a text"),
    "object for a text": (b'{"question": {"a": 1}, "context": "a"}', 422, "not a text"),
    "list of lists": (b"[[1]]", 422, "not a list"),
    "too many rows": (json.dumps([QUESTION] * 9).encode(), 413, "more than the 8"),
    "too many tokens": (
        json.dumps({"question": "who ?", "context": "a " * 2_000}).encode(),
        413,
        "more than the 1000",
    ),
    "too many bytes": (json.dumps({"context": "a" * 30_000}).encode(), 413, "20000 bytes"),
    "10 MB of text": (json.dumps({"context": "a " * 5_000_000}).encode(), 413, "20000 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_is_refused_with_a_reason(name: str, answers: LocalModel) -> None:
    body, status, reason = BAD[name]
    with calling(service(answers)) as client:
        answer = client.post("/predict", content=body, headers=JSON)
        found = answer.json()
        errors = [one["error"] for one in found] if isinstance(found, list) else [found["error"]]
        assert answer.status_code == status
        assert all(reason in error for error in errors)
        assert client.post("/predict", json=QUESTION).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"Content-Type": "text/plain"}, 415, "application/json"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        ({}, 415, "application/json"),
        ({"Content-Type": "application/json; charset=latin-1"}, 415, "UTF-8"),
        ({**JSON, "Content-Encoding": "gzip"}, 415, "compression"),
        ({"Content-Type": 'Application/JSON; charset="utf-8"'}, 200, ""),
    ],
)
def test_the_type_of_a_body(
    headers: dict[str, str], status: int, reason: str, client: TestClient
) -> None:
    answer = client.post("/predict", content=b'"a good film"', headers=headers)
    assert answer.status_code == status
    assert reason in answer.json().get("error", "")


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/predict", 400, "one of answers, reviews"),
        ("/predict?model=nobody", 404, "There are: answers, reviews"),
        ("/models/nobody/predict", 404, "There are: answers, reviews"),
        ("/predict?model=answers&model=reviews", 400, "twice"),
        ("/predict?model=reviews&abstain=1", 400, "Did you mean `abstain_below`"),
        ("/predict?model=reviews&abstain_below=high", 400, "not a number"),
        ("/predict?model=reviews&abstain_below=nan", 422, "0 to 1"),
        ("/predict?model=reviews&abstain_below=7", 422, "0 to 1"),
        ("/predict?model=reviews&top_k=0", 422, "1 or more"),
        ("/predict?model=reviews&top_k=all", 400, "not a number"),
        ("/predict?model=answers&top_k=2", 422, "no probabilities of classes"),
        ("/predict/", 404, "no such path"),
        ("/models", 405, "method"),
        ("/ready", 405, "method"),
    ],
)
def test_a_bad_address_is_refused_with_a_reason(
    path: str, status: int, reason: str, both: TestClient
) -> None:
    answer = both.post(path, json="a good film")
    assert answer.status_code == status
    assert reason in answer.json()["error"]


def test_random_bodies_never_make_it_fail(both: TestClient) -> None:
    rng = random.Random(5)
    whole = json.dumps([QUESTION, {"text": "a good film", "n": [1, 2.5, None, True, {}]}]).encode()
    for _ in range(300):
        body = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(body))
            body[place : place + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        name = rng.choice(("answers", "reviews"))
        answer = both.post(f"/models/{name}/predict", content=bytes(body), headers=JSON)
        assert answer.status_code in (200, 400, 422), (body, answer.text)
        assert answer.json() is not None
    assert both.get("/ready").status_code == 200


class Slow:
    """A model that answers when it may."""

    def __init__(self, word: str = "old") -> None:
        self.about: dict[str, Any] = {"name": "slow", "word": word}
        self.word, self.waiting, self.closed = word, 0, False
        self.may_go_on = asyncio.Event()

    async def answer(self, rows: Sequence[Any], options: Options) -> Answered:
        await self.may_go_on.wait()
        assert not self.closed
        return Answered([{"id": str(n), "word": self.word} for n in range(len(rows))], [len(rows)])

    async def close(self) -> None:
        self.closed = True


Body = Callable[[Service, httpx.AsyncClient, Slow], Awaitable[None]]


def with_slow_model(body: Body, **given: Any) -> None:
    """Run a test within one event loop, with a service that has a slow model."""

    @asynccontextmanager
    async def caller(made: Service) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(made.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client

    async def inside() -> None:
        slow = Slow()
        made = Service(LIMITS, **given)
        made.models, made.state = {"slow": slow}, "ready"
        async with caller(made) as client:
            await asyncio.wait_for(body(made, client, slow), 30)

    asyncio.run(inside())


def test_one_request_too_many_is_told_to_try_again() -> None:
    async def body(made: Service, client: httpx.AsyncClient, slow: Slow) -> None:
        waiting = [asyncio.create_task(client.post("/predict", json="a")) for _ in range(4)]
        while made.in_flight < 4:
            await asyncio.sleep(0.001)
        refused = await client.post("/predict", json="a")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "4 requests wait" in refused.json()["error"]
        assert (await client.get("/ready")).status_code == 200
        slow.may_go_on.set()
        assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
        assert (await client.post("/predict", json="a")).status_code == 200

    with_slow_model(body)


def test_a_request_that_takes_too_long_is_given_up() -> None:
    async def body(made: Service, client: httpx.AsyncClient, slow: Slow) -> None:
        made.limits = Limits(seconds=0.05)
        refused = await client.post("/predict", json="a")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert made.in_flight == 0

    with_slow_model(body)


def test_it_is_not_ready_before_the_models_are_there_and_when_it_stops() -> None:
    async def body(made: Service, client: httpx.AsyncClient, slow: Slow) -> None:
        models, made.models, made.state = made.models, {}, "starting"
        for path in ("/ready", "/models", "/openapi.json"):
            assert (await client.get(path)).status_code == 503
        assert (await client.post("/predict", json="a")).status_code == 503
        assert (await client.get("/health")).status_code == 200
        made.models, made.state = models, "stopping"
        slow.may_go_on.set()
        assert (await client.get("/ready")).status_code == 503
        assert (await client.post("/predict", json="a")).status_code == 200

    with_slow_model(body)


def test_a_model_is_replaced_without_losing_a_request() -> None:
    fresh = Slow("new")
    fresh.may_go_on.set()
    fails = False

    async def load(name: str, run: str) -> Slow:
        if fails:
            raise ModelError(f"`{run}` has no model")
        assert (name, run) == ("slow", "runs/next")
        return fresh

    async def body(made: Service, client: httpx.AsyncClient, slow: Slow) -> None:
        nonlocal fails
        admin = {"Authorization": "Bearer boss"}
        before = [asyncio.create_task(client.post("/predict", json="a")) for _ in range(3)]
        while made.in_flight < 3:
            await asyncio.sleep(0.001)
        put = asyncio.create_task(
            client.put("/models/slow", json={"run": "runs/next"}, headers=admin)
        )
        while made.models["slow"] is slow:
            await asyncio.sleep(0.001)
        assert (await client.post("/predict", json="a")).json()["word"] == "new"
        again = await client.put("/models/slow", json={"run": "runs/next"}, headers=admin)
        assert again.status_code == 409
        assert not slow.closed and not put.done()
        slow.may_go_on.set()
        assert {(await one).json()["word"] for one in before} == {"old"}
        assert (await put).json()["word"] == "new"
        assert slow.closed
        fails = True
        failed = await client.put("/models/slow", json={"run": "runs/bad"}, headers=admin)
        assert (failed.status_code, failed.json()["error"]) == (422, "`runs/bad` has no model")
        assert (await client.post("/predict", json="a")).json()["word"] == "new"
        other = await client.put("/models/fast", json={"run": "runs/next"}, headers=admin)
        assert other.status_code == 404
        for wrong in ({}, {"Authorization": "Bearer caller"}):
            refused = await client.put("/models/slow", json={"run": "runs/next"}, headers=wrong)
            assert refused.status_code == 401

    with_slow_model(body, admin="boss", load=load)


def test_no_request_replaces_a_model_where_nothing_loads_one(client: TestClient) -> None:
    assert client.put("/models/reviews", json={"run": "runs/next"}).status_code == 403


def test_a_token_is_asked_for_but_not_by_probes_and_the_page(sentiment: LocalModel) -> None:
    with calling(service(sentiment, token="s3cret-token")) as client:
        for path in ("/health", "/ready", "/", "/page.js", "/page.css"):
            assert client.get(path).status_code == 200
        for path in ("/models", "/metrics", "/openapi.json", "/nothing"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        for wrong in ("", "Bearer", "Bearer wrong", "Basic s3cret-token", "Bearer é"):
            answer = client.post("/predict", json="a", headers={b"Authorization": wrong.encode()})
            assert answer.status_code == 401
            assert "s3cret" not in answer.text
        # `Request.url` is made of this header, and would have the path of the probe.
        fooled = client.post("/predict", json="a", headers={"Host": "x/health?"})
        assert fooled.status_code in (400, 401)
        right = {"Authorization": "Bearer s3cret-token"}
        assert client.post("/predict", json="a good film", headers=right).status_code == 200
        assert client.get("/openapi.json", headers=right).json()["security"] == [{"token": []}]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ],
)
def test_another_name_for_this_machine_is_refused(
    host: str, status: int, sentiment: LocalModel
) -> None:
    with calling(service(sentiment, hosts=("localhost", "127.0.0.1", "::1"))) as client:
        assert client.get("/health", headers={"Host": host}).status_code == status


def test_texts_are_printed_only_where_that_is_asked_for(
    sentiment: LocalModel, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fail(rows: object, options: object) -> Answered:
        raise ValueError("cannot read my secret text")

    for log_texts in (False, True):
        lines: list[str] = []
        made = service(sentiment, log=lines.append, log_texts=log_texts)
        with calling(made) as client:
            client.post("/predict?abstain_below=0.5&x=secret", json="my secret text")
            client.post("/predict?abstain_below=0.5", json=[{"text": "my secret text"}])
            client.post("/predict/secret", json={"secret": 1})
            client.post("/predict", content=b'"my secret \xff"', headers=JSON)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sentiment, "answer", fail)
                failed = client.post("/predict", json="my secret text")
            assert failed.status_code == 500
            assert "secret" not in failed.text
        printed = capfd.readouterr()
        everything = "\n".join([*lines, printed.out, printed.err])
        assert ("secret" in everything) is log_texts
        assert any(line.startswith("POST /predict 200 ") for line in lines)
        assert any(line.startswith("POST (unknown path) 404 ") for line in lines)
        assert "ValueError" in printed.err


def test_what_prometheus_reads(both: TestClient) -> None:
    for row in ("a good film", "bad", {"txt": "a"}):
        both.post("/models/reviews/predict", json=row)
    both.post("/models/answers/predict", json=[QUESTION, QUESTION, {}])
    both.post("/models/nobody/predict", json=1)
    text = both.get("/metrics").text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["ftr_requests_total", "200", "reviews"] == 2
    assert samples["ftr_requests_total", "422", "reviews"] == 1
    assert samples["ftr_requests_total", "", "404"] == 1
    assert samples["ftr_rows_total", "answers", "predicted"] == 2
    assert samples["ftr_rows_total", "answers", "unusable"] == 1
    assert samples["ftr_request_seconds_count", "reviews"] == 3
    assert samples["ftr_batch_rows_sum", "answers"] == 3
    assert samples["ftr_requests_in_flight",] == 0
    assert samples["ftr_requests_waiting", "answers"] == 0


def test_the_openapi_document_is_valid_and_fits_the_answers(
    both: TestClient, client: TestClient
) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    jsonschema = pytest.importorskip("jsonschema")
    for caller, path, rows in (
        (both, "/models/answers/predict", [QUESTION, {}]),
        (client, "/predict", ["a good film", {"text": "bad", "id": 3}]),
    ):
        document = caller.get("/openapi.json").json()
        validator.validate(document)
        operation = document["paths"][path]["post"]
        answer = caller.post(path, json=rows)
        for content, value in (
            (operation["requestBody"], rows[:1]),
            (operation["responses"]["200"], answer.json()),
        ):
            schema = content["content"]["application/json"]["schema"]
            components = {"components": document["components"]}
            jsonschema.validate(value, {**schema, **components})
        row = operation["requestBody"]["content"]["application/json"]["schema"]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([3], row)


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    page = Page(answer.text)
    assert {value for _, name, value in page.attributes if name in ("src", "href")} == {
        "page.js",
        "page.css",
    }
    script = client.get("/page.js").text
    assert not [
        word
        for word in ("innerHTML", "eval(", "document.write", "http:", "https:")
        if word in script
    ]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_run_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    loader = Loader(LIMITS, backend="torch", precision="fp32")
    with pytest.raises(ModelError, match="neither a run directory"):
        asyncio.run(loader.load("reviews", str(tmp_path)))
