"""Run the service on a port of this machine until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from ftr import atomic
from ftr.data.encode import cache_folder
from ftr.errors import RequestError, RunError
from ftr.serving.app import LOOPBACK, Load, Service
from ftr.serving.requests import Limits
from ftr.terminal import show

if TYPE_CHECKING:
    from ftr.serving.model import Backend

TOKEN = "FTR_SERVE_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the service listens, and how callers are checked."""

    host: str = "127.0.0.1"
    port: int = 8000
    no_token: bool = False

    @property
    def loopback(self) -> bool:
        """Whether only this machine can call."""
        with contextlib.suppress(ValueError):
            return ip_address(self.host).is_loopback
        return self.host == "localhost"

    def url(self, port: int) -> str:
        """Return the address for a caller on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a service runs besides its models."""

    address: Address = field(default_factory=Address)
    limits: Limits = field(default_factory=Limits)
    drain: float = 1.0
    access_log: bool = True
    log_texts: bool = False


def listen(address: Address) -> socket.socket:
    """Return a socket that listens. Raises `RequestError` where the port or the host is wrong."""
    where = f"{address.host}:{address.port}"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(place)
            listening.listen(1024)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(
            f"cannot listen on {where}: {reason}. Another port: `--port 8001` (0: any free one)."
        ) from error
    return listening


def run(
    listening: socket.socket, names: Mapping[str, str], load: Load, settings: Settings
) -> dict[str, Any]:
    """Serve runs, by the names of their models, until SIGTERM or Ctrl-C; return what was served.

    `/health` answers while `load` loads the models. Raises what `load` raises.
    """
    port = listening.getsockname()[1]
    url = settings.address.url(port)
    service = make_service(settings, load)
    with _known(port, {"url": url, "token": service.admin, "models": sorted(names)}):
        asyncio.run(_serve(service, listening, names, settings, url))
    return {"url": url, "models": sorted(names)}


def make_service(settings: Settings, load: Load) -> Service:
    """Return a service without models yet, with its tokens; a new one is printed."""
    address = settings.address
    token = os.environ.get(TOKEN) or None
    if token is None and not address.loopback and not address.no_token:
        token = secrets.token_urlsafe(32)
        show(f"token (set {TOKEN} to choose it; shown once): {token}", level=-1)
    return Service(
        settings.limits,
        token=None if address.no_token else token,
        admin=secrets.token_urlsafe(32),
        load=load,
        hosts=tuple(dict.fromkeys((*LOOPBACK, address.host))) if address.loopback else None,
        access_log=settings.access_log,
        log_texts=settings.log_texts,
    )


async def _serve(
    service: Service,
    listening: socket.socket,
    names: Mapping[str, str],
    settings: Settings,
    url: str,
) -> None:
    config = uvicorn.Config(
        service.app(),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.limits.seconds) + 5,
    )
    server = _Server(config, service, settings.drain)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    loading = asyncio.create_task(_load_all(service, names))
    await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if loading.done():
            loading.result()
            show(f"ftr serves {', '.join(names)} at {url} (Ctrl-C stops it)", level=-1)
            await serving
    finally:
        loading.cancel()
        server.should_exit = True
        await asyncio.gather(serving, loading, return_exceptions=True)
        for model in service.models.values():
            await model.close()


async def _load_all(service: Service, names: Mapping[str, str]) -> None:
    if service.load is None:
        raise RunError("nothing loads the models")
    loaded: dict[str, Backend] = {}
    for name, run in names.items():
        loaded[name] = await service.load(name, run)
    service.models = loaded
    if service.state == "starting":
        service.state = "ready"


class _Server(uvicorn.Server):
    """Stops in two steps: `/ready` turns 503, and `drain` seconds later no connection is accepted
    any more and the requests in flight are answered. A second signal skips the wait.
    """

    def __init__(self, config: uvicorn.Config, service: Service, drain: float) -> None:
        super().__init__(config)
        self.service, self.drain = service, drain
        self.loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. The signal is not raised again at the end: the exit code is 0."""
        again, self.service.state = self.service.state == "stopping", "stopping"
        if again or not self.service.models:
            self.should_exit = True
            self.force_exit = again and sig == signal.SIGINT
        else:
            self.loop.call_soon_threadsafe(self.loop.call_later, self.drain, self._end)

    def _end(self) -> None:
        self.should_exit = True


@contextlib.contextmanager
def _known(port: int, known: dict[str, Any]) -> Iterator[None]:
    """Keep the token for `ftr serve --replace` where this user alone can read it."""
    place = _place(port)
    with contextlib.suppress(OSError):
        place.unlink(missing_ok=True)
    try:
        atomic.replace_file(place, json.dumps(known).encode(), mode=0o600)
    except OSError as error:
        show(f"`ftr serve --replace` will not work: cannot write `{place}` ({error.strerror})")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)


def _place(port: int) -> Path:
    return cache_folder(None, "runs") / "serve" / f"{port}.json"


def replace(name: str | None, run: str, port: int) -> dict[str, Any]:
    """Let the service on a port of this machine answer with another run; return what it says of
    the model.

    `name` may be None where the service has one model. Raises `RequestError`.
    """
    place = _place(port)
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RequestError(
            f"no service of yours runs on port {port} of this machine (`{place}` does not name "
            "one): start it with `ftr serve`, or give its `--port`."
        ) from None
    url, headers = known["url"], {"Authorization": f"Bearer {known['token']}"}
    if name is None:
        if len(models := known["models"]) != 1:
            raise RequestError(f"which model? Give NAME=RUN; the service has {', '.join(models)}.")
        name = models[0]
    request = urllib.request.Request(  # noqa: S310 - the address is our own
        f"{url}/models/{name}",
        json.dumps({"run": run}).encode(),
        {**headers, "Content-Type": "application/json"},
        method="PUT",
    )
    try:
        # A proxy of the environment would get the token.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        reason = json.loads(error.read()).get("error", str(error))
        raise RequestError(f"the service keeps its model: {reason}") from None
    except OSError as error:
        raise RequestError(f"the service at {url} does not answer: {error}.") from None
