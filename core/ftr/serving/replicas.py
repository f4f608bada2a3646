"""Models in replicas of Ray Serve, on this machine, on a cluster, or as KubeRay deploys them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from ftr.errors import RequestError, RunError
from ftr.model.folder import read_card
from ftr.registry.registry import registry_for_record
from ftr.runs.predictor import model_folder
from ftr.serving.app import Service
from ftr.serving.batching import Answered
from ftr.serving.model import LocalModel
from ftr.serving.requests import Limits, Options, RefusedError
from ftr.terminal import quiet_libraries, show

if TYPE_CHECKING:
    from ftr.serving.model import Backend

START_SECONDS = 600.0
"""How long replicas may take to come up; an autoscaler may have to add nodes first."""
TELL_SECONDS = 30.0
TRIES = 3
"""How often a request is sent to a replica when the replica dies."""
LOGGING = {"log_level": "ERROR", "enable_access_log": False}
HTTP = "http"
"""The deployment that takes HTTP requests where Ray Serve does that too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Replicas of a model, and what each of them gets."""

    smallest: int = 1
    largest: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    overlap: bool = False
    """Whether replicas reserve half of their cores: a Ray of this machine alone has nothing but
    them, and then has room for a model and for the one that replaces it."""

    def options(self, limits: Limits) -> dict[str, Any]:
        """Return the options of a deployment, as Ray Serve names them."""
        actor: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        if self.overlap:
            # Ray derives the threads of a process from its cores.
            threads = {"OMP_NUM_THREADS": str(max(1, int(self.cpus)))}
            actor |= {"num_cpus": self.cpus / 2, "runtime_env": {"env_vars": threads}}
        if self.memory_gb is not None:
            actor["memory"] = int(self.memory_gb * 1e9)
        if self.resources:
            actor["resources"] = dict(self.resources)
        # A replica joins the requests that it has: those of two batches at a time, the second while
        # the first is computed.
        found = {
            "max_ongoing_requests": 2 * limits.batch_rows,
            "ray_actor_options": actor,
            "graceful_shutdown_timeout_s": limits.seconds,
            "logging_config": dict(LOGGING),
        }
        if self.smallest == self.largest:
            return {**found, "num_replicas": self.smallest}
        scaling = {
            "min_replicas": self.smallest,
            "max_replicas": self.largest,
            "target_ongoing_requests": limits.batch_rows / 2,
        }
        return {**found, "autoscaling_config": scaling}


class Replica:
    """One replica: a model in a process of its own."""

    def __init__(
        self, name: str, folder: str, limits: Limits, backend: str, precision: str
    ) -> None:
        """Load and warm up the model."""
        quiet_libraries()
        self.model = LocalModel(name, model_folder(folder), limits, backend, precision)

    async def answer(self, rows: Sequence[Any], options: Options) -> Answered | tuple[int, str]:
        """Return the answer, or status and reason: an exception would be logged with its texts."""
        try:
            return await self.model.answer(rows, options)
        except RefusedError as error:
            return error.status, error.reason
        except Exception as error:
            return 500, f"the model failed: {type(error).__name__}"

    async def about(self) -> dict[str, Any]:
        """Return what `GET /models` says."""
        return self.model.about


class Replicas:
    """The replicas of one model, as the HTTP interface sees them."""

    waiting = None

    def __init__(self, handle: Any, about: dict[str, Any], app: str | None = None) -> None:
        """Call them by a handle of Ray Serve; `app` is the application that ends with them."""
        self.handle, self.about, self.app = handle, about, app

    async def answer(self, rows: Sequence[Any], options: Options) -> Answered:
        """Return the answer of a replica; where it dies, that of another."""
        from ray.exceptions import RayActorError
        from ray.serve.exceptions import RayServeException

        for attempt in range(TRIES):
            try:
                reply = await self.handle.answer.remote(list(rows), options)
            except (RayActorError, RayServeException):
                await asyncio.sleep(0.1 * 2**attempt)
                continue
            if isinstance(reply, Answered):
                return reply
            raise RefusedError(*reply)
        raise RefusedError(503, f"{TRIES} replicas were lost while they had this request")

    async def close(self) -> None:
        """End the replicas, after the requests they have."""
        if self.app is not None:
            from ray import serve

            await asyncio.to_thread(serve.delete, self.app)


def deployment(name: str, folder: str, limits: Limits, backend: str, precision: str) -> Any:
    """Return the deployment of a model, bound to its arguments but without options."""
    from ray import serve

    return serve.deployment(Replica).options(name=name), (name, folder, limits, backend, precision)


class Deployer:
    """Deploys models, each as an application of its own: a model that does not load leaves the
    others as they are, and can be replaced on its own.
    """

    def __init__(self, limits: Limits, scaling: Scaling, backend: str, precision: str) -> None:
        self.limits, self.scaling = limits, scaling
        self.backend, self.precision = backend, precision
        self.count = 0

    def start(self) -> None:
        """Start Ray Serve without its own HTTP proxies: this process has the interface."""
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled", logging_config=LOGGING)

    def stop(self) -> None:
        """Stop Ray Serve too, unless it has applications of others: a later one may want its
        proxies.
        """
        from ray import serve

        if not serve.status().applications:
            serve.shutdown()

    async def load(self, name: str, run: str) -> Replicas:
        """Deploy a run and wait for its replicas.

        Raises `ModelError`, `RequestError` for a plugin file that the model names and this user
        does not trust, which replicas would run, and `RunError` when they do not come up.
        """
        folder = str(model_folder(run).resolve())
        registry_for_record(read_card(Path(folder)).plugins)
        self.count += 1
        app = f"ftr-{os.getpid()}-{name}-{self.count}"
        made, given = deployment(name, folder, self.limits, self.backend, self.precision)
        bound = made.options(**self.scaling.options(self.limits)).bind(*given)
        try:
            handle = await asyncio.to_thread(_deploy, app, bound)
            await _until_running(app, name, folder)
            return Replicas(handle, await handle.about.remote(), app)
        except BaseException:  # to be stopped too
            with contextlib.suppress(Exception):
                await asyncio.to_thread(_delete, app)
            raise


def _deploy(app: str, bound: Any) -> Any:
    from ray import serve

    target = serve.RunTarget(bound, name=app, route_prefix=None)
    return serve.run_many([target], wait_for_applications_running=False)[0]


def _delete(app: str) -> None:
    from ray import serve

    serve.delete(app)


async def _until_running(app: str, name: str, folder: str) -> None:
    """Wait until all replicas of an application are up. Raises `RunError` with the reason."""
    from ray import serve

    loop = asyncio.get_running_loop()
    began, told = loop.time(), False
    while True:
        found = (await asyncio.to_thread(serve.status)).applications[app]
        if found.status == "RUNNING":
            return
        deployed = found.deployments.get(name)
        message = deployed.message if deployed is not None else found.message
        if found.status == "DEPLOY_FAILED":
            errors = re.findall(r"^[\w.]*(?:Error|Exception): .*$", message, re.MULTILINE)
            reason = " ".join((errors or [message])[-1].split())
            raise RunError(f"no replica of `{folder}` comes up: {reason}")
        spent = loop.time() - began
        if spent > START_SECONDS:
            raise RunError(
                f"the replicas of `{folder}` are not up after {START_SECONDS:g} s. A model that "
                "replaces another needs room beside it: take fewer `--replicas` or `compute.cpus`."
            )
        if spent > TELL_SECONDS and not told and message:
            told = True
            show(f"`{name}` is not up yet: {' '.join(message.split())}")
        await asyncio.sleep(0.1)


class ServeArguments(BaseModel):
    """`args` of the application in `serve.yaml`."""

    model_config = ConfigDict(extra="forbid")

    models: dict[str, str] = Field(min_length=1)
    """Path of the run or of its model directory, by the name of the model."""
    backend: str = "torch"
    precision: str = "fp32"
    limits: Limits = Limits()
    token: bool = True
    """Whether callers send the token in `FTR_SERVE_TOKEN`, an environment variable of the pods."""
    access_log: bool = True
    log_texts: bool = False


def build(args: ServeArguments) -> Any:
    """Return the application for Ray Serve: the HTTP interface and a deployment for each model."""
    from ray import serve

    models = []
    for name, folder in args.models.items():
        made, given = deployment(name, folder, args.limits, args.backend, args.precision)
        models.append(made.bind(*given))

    def interface() -> Any:
        return _interface(args)

    http = serve.deployment(serve.ingress(interface)()).options(name=HTTP)
    return http.bind(*models)


def _interface(args: ServeArguments) -> Any:
    from ftr.serving.server import TOKEN

    token = os.environ.get(TOKEN) or None
    if args.token and token is None:
        raise RequestError(
            f"`{TOKEN}` is not set in the container: set it from a Secret, or write `token: false` "
            "below `args` where a gateway checks callers."
        )
    service = Service(
        args.limits,
        token=token if args.token else None,
        access_log=args.access_log,
        log_texts=args.log_texts,
    )

    async def start() -> None:
        from ray import serve

        app = serve.get_replica_context().app_name
        loaded: dict[str, Backend] = {}
        for name in args.models:
            handle = serve.get_deployment_handle(name, app_name=app)
            loaded[name] = Replicas(handle, await handle.about.remote())
        service.models, service.state = loaded, "ready"

    return service.app(start)


def serve_config(
    models: Mapping[str, Path],
    limits: Limits,
    scaling: Scaling,
    backend: str,
    precision: str,
    *,
    host: str,
    port: int,
    token: bool,
    access_log: bool,
    log_texts: bool,
) -> dict[str, Any]:
    """Return `serve.yaml`: what `serve deploy` and the `serveConfigV2` of a RayService take."""
    arguments = ServeArguments(
        models={name: str(folder) for name, folder in models.items()},
        backend=backend,
        precision=precision,
        limits=limits,
        token=token,
        access_log=access_log,
        log_texts=log_texts,
    )
    http = {"name": HTTP, "num_replicas": 1, "max_ongoing_requests": limits.waiting + 64}
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port},
        "logging_config": dict(LOGGING),
        "applications": [
            {
                "name": "ftr",
                "route_prefix": "/",
                "import_path": f"{__name__}:build",
                "args": arguments.model_dump(),
                "deployments": [
                    {**http, "ray_actor_options": {"num_cpus": 0}},
                    *({"name": name, **scaling.options(limits)} for name in models),
                ],
            }
        ],
    }
