"""`ftr serve`: answer predictions over HTTP."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftr import atomic
from ftr.cli.main import Answer, add_model_options
from ftr.errors import ConfigError, RequestError
from ftr.registry.registry import get_registry, registry_for_record
from ftr.terminal import quiet_libraries, show

if TYPE_CHECKING:
    from ftr.config.parse import Setting
    from ftr.config.schema import ComputeConfig
    from ftr.serving.app import Load
    from ftr.serving.replicas import Scaling
    from ftr.serving.requests import Limits
    from ftr.serving.server import Settings

EXAMPLES = (
    "ftr serve RUN --local",
    "ftr serve new=RUN old=OTHER --port 8080",
)

LIMITS = {
    "--max-body": ("body", "BYTES", "size of a request (default: 1048576)"),
    "--max-rows": ("rows", "N", "rows of a request (default: 256)"),
    "--max-tokens": ("tokens", "N", "tokens in the texts of a request (default: 32768)"),
    "--max-waiting": ("waiting", "N", "requests that are not answered yet (default: 256)"),
    "--batch-rows": ("batch_rows", "N", "rows of one call of the model (default: 64)"),
    "--batch-tokens": ("batch_tokens", "N", "tokens of one call, about (default: 8192)"),
}
MOST = 1e9
LOCALHOST = "127.0.0.1"
COMPUTE = ("address", "cpus", "gpus", "memory", "resources")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add runs, address, limits and replicas."""
    parser.add_argument(
        "words",
        nargs="+",
        metavar="[NAME=]RUN",
        help="runs, sweeps or model directories, as `ftr predict` takes them; NAME is that of the "
        "model (default: the name of the directory; of `model/` and `best/`, that of the one "
        "above). Settings: compute.address=, compute.cpus=, "
        "compute.gpus=, compute.memory=, compute.resources=, for each replica",
    )
    parser.add_argument(
        "--local", action="store_true", help="one process without Ray, for a laptop or a container"
    )
    parser.add_argument(
        "--host", help=f"address to listen on (default: {LOCALHOST}; 0.0.0.0 with --write)"
    )
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (default: 8000)")
    parser.add_argument(
        "--no-token",
        action="store_true",
        help="let everybody call; else callers send a token where other machines can reach the "
        "port, or where FTR_SERVE_TOKEN sets one",
    )
    parser.add_argument(
        "--replicas",
        metavar="MIN-MAX",
        default="",
        help="replicas of each model as the load changes, or one number (default: 1 to as many as "
        "fit; with --write 1-4)",
    )
    add_model_options(parser)
    _add_operation(parser)


def _add_operation(parser: argparse.ArgumentParser) -> None:
    """Add limits, logs, and what is done instead of serving."""
    for flag, (_, metavar, text) in LIMITS.items():
        parser.add_argument(flag, type=int, metavar=metavar, help=text)
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="time for a request (default: 60)"
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="after SIGTERM, time between `/ready` turning 503 and the port closing (default: 1)",
    )
    parser.add_argument("--no-access-log", action="store_true", help="print no line for a request")
    parser.add_argument("--log-texts", action="store_true", help="print the rows of requests too")
    parser.add_argument(
        "--write",
        metavar="FILE",
        help="write the configuration for Ray Serve or KubeRay (serve.yaml; -: stdout), and exit",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="let the service that runs on --port answer with RUN from now on",
    )


def execute(args: argparse.Namespace) -> Answer:
    """Serve until SIGTERM or Ctrl-C; or write the configuration; or replace a model."""
    from ftr.prediction.request import checkpoint

    _check_installed()
    settings, runs = _split(args.words)
    if args.replace:
        return _replaced(args, settings, runs)
    quiet_libraries()
    models = {name: checkpoint(run) for name, run in _named(runs).items()}
    limits, compute = _limits(args), _compute(settings)
    if args.local and (args.replicas or settings):
        raise RequestError(
            "`--local` is one process: leave `--replicas` and `compute.*` out, or `--local`."
        )
    scaling = _scaling(args, compute)
    if args.write:
        return _write(args, models, limits, scaling)
    return _serve(args, models, limits, scaling, compute)


def _check_installed() -> None:
    missing = [
        name
        for name in ("starlette", "uvicorn", "prometheus_client")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise RequestError(
            f"`ftr serve` needs {', '.join(f'`{name}`' for name in missing)}: "
            "`pip install 'ftr[serve]'`."
        )


def _split(words: list[str]) -> tuple[dict[str, Setting], list[str]]:
    """Return the settings and the runs among the words."""
    from ftr.config.parse import parse_words

    settings = [word for word in words if word.startswith("compute.") and not Path(word).exists()]
    runs = [word for word in words if word not in settings]
    if not runs:
        raise RequestError("no run to serve: give one, such as `ftr serve runs/ID`.")
    return parse_words(settings), runs


def _named(runs: list[str]) -> dict[str, str]:
    """Return the runs by the names of their models."""
    found: dict[str, str] = {}
    for word in runs:
        name, run = _name(word)
        path = Path(run).resolve()
        above = path.parent.name if path.name in ("model", "best") else ""
        name = name or above or path.name
        # The application of `serve.yaml` has a deployment `http`.
        if not _NAME.fullmatch(name) or name == "http":
            raise RequestError(
                f"`{name}` cannot be the name of a model: letters, digits, `.`, `_`, `-`, and not "
                f"`http`. Give another: `NAME={run}`."
            )
        if name in found:
            raise RequestError(f"two models are called `{name}`: name them, `NAME=RUN`.")
        found[name] = run
    return found


def _name(word: str) -> tuple[str, str]:
    name, equals, run = word.partition("=")
    return (name, run) if equals and not Path(word).exists() else ("", word)


def _limits(args: argparse.Namespace) -> Limits:
    from ftr.serving.requests import Limits

    given = {
        name: getattr(args, flag[2:].replace("-", "_")) for flag, (name, _, _) in LIMITS.items()
    }
    given["seconds"] = args.timeout
    asked = {name: value for name, value in given.items() if value is not None}
    for name, value in asked.items():
        if not 0 < value < MOST:
            flag = next((flag for flag, about in LIMITS.items() if about[0] == name), "--timeout")
            raise RequestError(f"`{flag}` is {value}: give a number above 0, below {MOST:g}.")
    if not 0 <= args.drain < MOST:
        raise RequestError(f"`--drain` is {args.drain}: give seconds, 0 or more.")
    if not 0 <= args.port < 2**16:
        raise RequestError(f"`--port` is {args.port}: give 0 to 65535.")
    return Limits(**asked)


def _compute(settings: Mapping[str, Setting]) -> ComputeConfig:
    from ftr.config.parse import validated
    from ftr.config.schema import ComputeConfig

    for key in settings:
        if key.partition(".")[2].partition(".")[0] not in COMPUTE:
            names = ", ".join(f"`compute.{name}`" for name in COMPUTE)
            raise ConfigError(f"`{key}`: `ftr serve` takes {names}.")
    values: dict[str, Any] = {}
    for key, setting in settings.items():
        _, name, *rest = key.split(".", 2)
        if rest:
            values.setdefault(name, {})[rest[0]] = setting.value
        else:
            values[name] = setting.value
    return validated(ComputeConfig, values, settings, "compute.")


def _scaling(args: argparse.Namespace, compute: ComputeConfig) -> Scaling:
    from ftr.serving.replicas import Scaling

    smallest, largest = 1, 0
    if args.replicas:
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", args.replicas)
        smallest = int(found[1]) if found else 0
        largest = int(found[2] or found[1]) if found else 0
        if not 1 <= smallest <= largest:
            raise RequestError(
                f"`--replicas` is `{args.replicas}`: give a number or MIN-MAX, from 1 on."
            )
    return Scaling(
        smallest=smallest,
        largest=largest,
        cpus=1.0 if compute.cpus is None else compute.cpus,
        gpus=compute.gpus or 0.0,
        memory_gb=compute.memory,
        resources=compute.resources,
    )


def _settings(args: argparse.Namespace, limits: Limits) -> Settings:
    from ftr.serving.server import Address, Settings

    return Settings(
        address=Address(host=args.host or LOCALHOST, port=args.port, no_token=args.no_token),
        limits=limits,
        drain=args.drain,
        access_log=not args.no_access_log,
        log_texts=args.log_texts,
    )


def _serve(
    args: argparse.Namespace,
    models: Mapping[str, Path],
    limits: Limits,
    scaling: Scaling,
    compute: ComputeConfig,
) -> Answer:
    from ftr.serving import server
    from ftr.serving.model import Loader

    settings = _settings(args, limits)
    runs = {name: str(folder) for name, folder in models.items()}
    # Before anything is loaded: a port in use is found at once.
    with server.listen(settings.address) as listening:
        if args.local:
            loader = Loader(limits, backend=args.backend, precision=args.precision)
            served = server.run(listening, runs, loader.load, settings)
        else:
            with _on_ray(args, models, limits, scaling, compute) as load:
                served = server.run(listening, runs, load, settings)
    return Answer(served, "stopped")


@contextlib.contextmanager
def _on_ray(
    args: argparse.Namespace,
    models: Mapping[str, Path],
    limits: Limits,
    scaling: Scaling,
    compute: ComputeConfig,
) -> Iterator[Load]:
    """Connect to Ray for as long as the context lasts; give what loads a model there."""
    from ftr.cluster.capacity import check_capacity
    from ftr.model.folder import read_card
    from ftr.runs.launch import connected
    from ftr.serving.replicas import Deployer

    if importlib.util.find_spec("ray.serve") is None:
        raise RequestError("Ray Serve is missing: `pip install 'ftr[serve]'`, or give `--local`.")
    registry = get_registry()
    for folder in models.values():
        registry = registry_for_record(read_card(folder).plugins)
    with connected(compute, registry, show):
        need = (scaling.cpus, scaling.gpus, scaling.memory_gb, scaling.resources)
        fitting = check_capacity(0, *need) // len(models)
        largest = scaling.largest or max(scaling.smallest, fitting)
        scaling = replace(scaling, largest=largest, overlap=compute.address is None)
        deployer = Deployer(limits, scaling, backend=args.backend, precision=args.precision)
        deployer.start()
        try:
            yield deployer.load
        finally:
            if compute.address is not None:  # else it ends with Ray
                deployer.stop()


def _write(
    args: argparse.Namespace, models: Mapping[str, Path], limits: Limits, scaling: Scaling
) -> Answer:
    """Write `serve.yaml`, for nodes that have the models under the same paths."""
    import yaml

    from ftr.serving.replicas import serve_config

    config = serve_config(
        models,
        limits,
        replace(scaling, largest=scaling.largest or max(4, scaling.smallest)),
        args.backend,
        args.precision,
        token=not args.no_token,
        access_log=not args.no_access_log,
        log_texts=args.log_texts,
        host=args.host or "0.0.0.0",  # noqa: S104 - callers come from outside of the pod
        port=args.port,
    )
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    is_file = atomic.write_output(Path(args.write), text) if args.write != "-" else False
    if args.write == "-":
        return Answer(None, text.rstrip())
    return Answer({"output": args.write}, f"configuration in {args.write}" if is_file else "")


def _replaced(args: argparse.Namespace, settings: Mapping[str, Setting], runs: list[str]) -> Answer:
    from ftr.prediction.request import checkpoint
    from ftr.serving import server

    if settings or len(runs) != 1:
        raise RequestError("`--replace` takes one run: `ftr serve --replace [NAME=]RUN`.")
    name, run = _name(runs[0])
    if name and not _NAME.fullmatch(name):
        raise RequestError(f"`{name}` is not the name of a model.")
    about = server.replace(name or None, str(checkpoint(run).resolve()), args.port)
    return Answer(about, f"`{about['name']}` answers with {run}")
