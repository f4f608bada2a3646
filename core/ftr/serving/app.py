"""The HTTP interface: one ASGI application for `--local` and for Ray Serve."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ftr.errors import FtrError
from ftr.serving.metrics import Metrics
from ftr.serving.openapi import document
from ftr.serving.requests import (
    RETRY_SECONDS,
    Limits,
    RefusedError,
    as_rows,
    dump,
    parse_body,
    parse_options,
)
from ftr.terminal import show

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ftr.serving.model import Backend

PAGE = Path(__file__).with_name("page")
STATIC = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
OPEN = ("/health", "/ready", *STATIC)
"""Paths without a token: they tell nothing of the models."""
PATHS = (*OPEN, "/metrics", "/openapi.json", "/models", "/predict")
DRAIN_BYTES = 64 * 2**20
"""What is read of a body that is too large: a client that is still sending reads no answer."""
BODY_SECONDS = 30.0
SAFE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
State = Literal["starting", "ready", "stopping"]
Endpoint = Callable[[Request], Awaitable[Response]]
Load = Callable[[str, str], Awaitable["Backend"]]
"""Loads a run under the name of a model. Raises `FtrError`."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Service:
    """The models by name, and what is counted and checked around them.

    `token` is what callers send, None: nothing. `admin` is what `PUT /models/NAME` takes, which
    calls `load`. `hosts` are the names by which the service may be called, None: any.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        token: str | None = None,
        admin: str | None = None,
        load: Load | None = None,
        hosts: tuple[str, ...] | None = None,
        log: Callable[[str], None] = show,
        access_log: bool = True,
        log_texts: bool = False,
    ) -> None:
        self.limits, self.token, self.admin, self.load = limits, token, admin, load
        self.hosts, self.log = hosts, log
        self.access_log, self.log_texts = access_log, log_texts
        self.models: dict[str, Backend] = {}
        self.state: State = "starting"
        self.in_flight = 0
        self.metrics = Metrics(self._waiting)
        self._users: Counter[Backend] = Counter()
        self._replacing = asyncio.Lock()

    def app(self, start: Callable[[], Awaitable[None]] | None = None) -> ASGIApp:
        """Return the application; `start` runs before its first request."""

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> Any:
            if start is not None:
                await start()
            yield

        def route(
            path: str, function: Callable[[Request], Awaitable[Response]], verb: str
        ) -> Route:
            return Route(path, partial(self._endpoint, function), methods=[verb])

        routes = [
            *(route(path, self._page, "GET") for path in STATIC),
            route("/health", self._health, "GET"),
            route("/ready", self._ready, "GET"),
            route("/metrics", self._metrics, "GET"),
            route("/openapi.json", self._openapi, "GET"),
            route("/models", self._list, "GET"),
            route("/models/{name}", self._replace, "PUT"),
            route("/predict", self._predict, "POST"),
            route("/models/{name}/predict", self._predict, "POST"),
        ]
        app = Starlette(
            routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _not_found}
        )
        app.router.redirect_slashes = False
        return _Guard(app, self)

    async def _endpoint(self, function: Endpoint, request: Request) -> Response:
        try:
            return await function(request)
        except RefusedError as error:
            return refusal(error)
        except Exception as error:
            self._print_error(error)
            return refusal(RefusedError(500, f"the service failed: {type(error).__name__}"))

    def _print_error(self, error: Exception) -> None:
        """Print where it failed; the message of an error may quote the texts of a user."""
        if self.log_texts:
            show("".join(traceback.format_exception(error)))
            return
        frame = traceback.extract_tb(error.__traceback__)[-1]
        show(f"ftr: error: {type(error).__name__} at {frame.filename}:{frame.lineno}")

    async def _page(self, request: Request) -> Response:
        found = STATIC.get(request.scope["path"])
        if found is None:  # a route matches a path with a line feed behind it too
            raise RefusedError(404, "there is no such path")
        name, kind = found
        return Response((PAGE / name).read_bytes(), media_type=kind)

    async def _health(self, request: Request) -> Response:
        return respond({"status": "alive"})

    async def _ready(self, request: Request) -> Response:
        self._check_state()
        if self.state == "stopping":
            raise RefusedError(503, "the service is stopping")
        return respond({"status": "ready"})

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self, request: Request) -> Response:
        self._check_state()
        about = {name: model.about for name, model in self.models.items()}
        return respond(document(about, self.limits, token=self.token is not None))

    async def _list(self, request: Request) -> Response:
        self._check_state()
        models = [model.about for model in self.models.values()]
        return respond({"models": models, "limits": self.limits.as_json()})

    async def _predict(self, request: Request) -> Response:
        """Answer a request for predictions, and count it."""
        began, status, name = time.perf_counter(), 500, ""
        if self.in_flight >= self.limits.waiting:
            self.metrics.requests.labels("", "429").inc()
            raise RefusedError(429, f"{self.in_flight} requests wait already")
        self.in_flight += 1
        self.metrics.in_flight.set(self.in_flight)
        try:
            name = self._chosen(request)
            body = await self._body(request)
            try:
                async with asyncio.timeout(self.limits.seconds):
                    response = await self._answer(name, body, request)
            except TimeoutError:
                raise RefusedError(503, f"no answer in {self.limits.seconds:g} s") from None
            status = response.status_code
            return response
        except RefusedError as error:
            status = error.status
            raise
        finally:
            self.in_flight -= 1
            self.metrics.in_flight.set(self.in_flight)
            self.metrics.requests.labels(name, str(status)).inc()
            self.metrics.seconds.labels(name).observe(time.perf_counter() - began)

    def _chosen(self, request: Request) -> str:
        """Return the name of the model that a request is for."""
        self._check_state()
        query = request.query_params
        if len(query.multi_items()) > len(query):
            raise RefusedError(400, "a parameter of the query is given twice")
        name: str | None = request.path_params.get("name") or query.get("model")
        if name is None and len(self.models) == 1:
            return next(iter(self.models))
        names = ", ".join(sorted(self.models))
        if name is None:
            raise RefusedError(400, f"which model? Add `?model=NAME`: one of {names}")
        if name not in self.models:
            raise RefusedError(404, f"there is no such model. There are: {names}")
        return name

    def _check_state(self) -> None:
        if not self.models:
            raise RefusedError(503, "the models are being loaded")

    async def _body(self, request: Request) -> Any:
        kind, _, parameters = request.headers.get("content-type", "").partition(";")
        charset = parameters.lower().replace('"', "").replace(" ", "")
        if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
            raise RefusedError(415, "send `Content-Type: application/json`, in UTF-8")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RefusedError(415, "send the body without compression")
        most, size, content = self.limits.body, 0, bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most + DRAIN_BYTES:
                        break
                    if size <= most:
                        content.extend(chunk)
        except TimeoutError:
            raise RefusedError(408, f"the body took more than {BODY_SECONDS:g} s") from None
        except ClientDisconnect:
            raise RefusedError(400, "the client left") from None
        if size > most:
            raise RefusedError(413, f"the body has more than {most} bytes")
        return parse_body(bytes(content))

    async def _answer(self, name: str, body: Any, request: Request) -> Response:
        rows = as_rows(body, self.limits)
        options = parse_options(request.query_params)
        if self.log_texts:
            self.log(dump({"model": name, "rows": rows}).decode())
        with self._model(name) as model:
            answered = await model.answer(rows, options)
        failed = sum("error" in record for record in answered.records)
        self.metrics.rows.labels(name, "unusable").inc(failed)
        self.metrics.rows.labels(name, "predicted").inc(len(rows) - failed)
        self.metrics.waited.labels(name).observe(answered.waited)
        for count in answered.batches:
            self.metrics.batch_rows.labels(name).observe(count)
        records = answered.records
        status = 422 if failed == len(rows) else 200
        return respond(records if isinstance(body, list) else records[0], status)

    @contextlib.contextmanager
    def _model(self, name: str) -> Iterator[Backend]:
        """Hold the model that has this name now: it is not closed meanwhile."""
        model = self.models[name]
        self._users[model] += 1
        try:
            yield model
        finally:
            self._users[model] -= 1

    async def _replace(self, request: Request) -> Response:
        """Load another run under the name of a model, then answer with it alone."""
        name = request.path_params["name"]
        if self.load is None or self.admin is None:
            raise RefusedError(403, "models of this service cannot be replaced by a request")
        if not same(_bearer(request.headers.get("authorization")), self.admin):
            raise RefusedError(401, "this takes the token that `ftr serve` keeps on its machine")
        self._check_state()
        if name not in self.models:
            names = ", ".join(sorted(self.models))
            raise RefusedError(404, f"there is no model `{name}` to replace. There are: {names}")
        body = await self._body(request)
        run = body.get("run") if isinstance(body, dict) else None
        if not isinstance(run, str):
            raise RefusedError(422, "`run` is the path of a run on the machine of the service")
        if self._replacing.locked():
            raise RefusedError(409, "a model is being replaced already")
        async with self._replacing:
            try:
                fresh = await self.load(name, run)
            except FtrError as error:
                raise RefusedError(422, str(error)) from None
            old, self.models[name] = self.models[name], fresh
            while self._users[old] > 0:
                await asyncio.sleep(0.01)
            del self._users[old]
            await old.close()
        return respond(fresh.about)

    def _waiting(self) -> dict[str, int]:
        found = {name: model.waiting for name, model in self.models.items()}
        return {name: count for name, count in found.items() if count is not None}


class _Guard:
    """Checks host and token, adds the headers that keep browsers safe, and writes the access
    log.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(key.encode(), value.encode()) for key, value in SAFE.items()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            trouble = self._trouble(Request(scope))
            await (self.app if trouble is None else refusal(trouble))(scope, receive, sent)
        finally:
            if self.service.access_log:
                spent = 1000 * (time.perf_counter() - began)
                self.service.log(f"{scope['method']} {self._path(scope)} {status} {spent:.1f} ms")

    def _path(self, scope: Scope) -> str:
        """Return the path for the log; an unknown one may be the text of a user."""
        path: str = scope["path"]
        models = {
            f"/models/{name}{end}" for name in self.service.models for end in ("", "/predict")
        }
        return path if path in PATHS or path in models else "(unknown path)"

    def _trouble(self, request: Request) -> RefusedError | None:
        """Return why a request may not come in, or None."""
        service = self.service
        # A page of another site can give its own name the address of this machine (DNS rebinding).
        if service.hosts is not None and _host(request) not in service.hosts:
            names = " or ".join(f"`{name}`" for name in service.hosts)
            return RefusedError(421, f"call this service as {names}")
        path = request.scope["path"]  # `request.url` is made of the Host header too
        if service.token is None or path in OPEN or request.method == "PUT":
            return None
        if same(_bearer(request.headers.get("authorization")), service.token):
            return None
        return RefusedError(401, "send the token: `Authorization: Bearer TOKEN`")


def _host(request: Request) -> str:
    given = request.headers.get("host", "").lower()
    name = given.rpartition(":")[0] if given.rpartition(":")[2].isdigit() else given
    return name.strip("[]")


def _bearer(header: str | None) -> str:
    kind, _, token = (header or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def same(given: str, expected: str) -> bool:
    """Compare secrets in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def respond(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    return Response(dump(value), status, headers, "application/json")


def refusal(error: RefusedError) -> Response:
    """Return the reason as JSON."""
    headers = {}
    if error.status in (429, 503):
        headers["retry-after"] = str(RETRY_SECONDS)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return respond({"error": error.reason}, error.status, headers)


async def _not_found(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    reasons = {404: "there is no such path", 405: "this path does not take this method"}
    answer = refusal(RefusedError(status, reasons.get(status, "the request is wrong")))
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer
