"""`ftr doctor`: check an installation, one line for each part and what to do."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Literal
from urllib.parse import urlsplit

from ftr.cli.main import Answer
from ftr.errors import FtrError, counted, did_you_mean, in_one_line
from ftr.registry.discovery import OWN
from ftr.tables import table
from ftr.terminal import masked

EXAMPLES = ("ftr doctor", "ftr doctor --json")
SHOWN = (
    "torch",
    "transformers",
    "datasets",
    "ray",
    "accelerate",
    "tokenizers",
    "pydantic",
    "numpy",
)
LITTLE = 2e9
"""Bytes of memory or disk below which a training is likely to fail."""
HUB_SECONDS = 3.0
_NAMES = "BASES CACHE CONFIG CONTAINER_IMAGE DATA IMPORTS NOTICES_PRINTED ORIGINS PLUGINS"
_MORE = "PLUGIN_FILES SERVE_TOKEN SETTINGS STRICT_PLUGINS TRACEBACK VERBOSITY TRUST_CHECKED"
VARIABLES = tuple(f"FTR_{name}" for name in f"{_NAMES} {_MORE}".split())
"""The variables of ftr that set no key."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was checked, how it is, and what to do if it is not `ok`."""

    name: str
    status: Literal["ok", "warn", "problem"]
    text: str
    fix: str = ""

    def row(self) -> tuple[str, str, str]:
        """Return the row that a person reads."""
        return self.status, self.name, f"{self.text}{f'. {self.fix}' if self.fix else ''}"


Checks = Iterator[Check]


def configure(parser: ArgumentParser) -> None:
    """Say what the exit codes mean."""
    parser.description = (
        f"{parser.description} Each line is ok, warn or problem. Exit code 0: no problem, 1: at "
        "least one."
    )


def execute(args: Namespace) -> Answer:
    """Run every check; one that fails is a problem itself."""
    found: list[Check] = []
    for check in (versions, variables, settings, plugins, devices, memory, disks, hub, cluster):
        name = check.__name__
        try:
            found += check()
        except Exception as error:  # the doctor goes on to the other checks
            text = str(error) if isinstance(error, FtrError) else in_one_line(error)
            found.append(Check(name, "problem", " ".join(text.split()).rstrip(".")))
    problems = sum(one.status == "problem" for one in found)
    warnings = sum(one.status == "warn" for one in found)
    lines = table([("status", "part", "found"), *(one.row() for one in found)])
    lines += ["", f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}"]
    data = {"checks": [asdict(one) for one in found], "problems": problems, "warnings": warnings}
    return Answer(masked(data), "\n".join(lines), 1 if problems else 0)


def versions() -> Checks:
    """Versions, and each that the requirements of ftr exclude."""
    from packaging.requirements import Requirement

    yield Check("python", "ok", f"{platform.python_version()} ({sys.executable})")
    known = {OWN: metadata.version(OWN)}
    for text in metadata.requires(OWN) or ():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        wanted = f"`pip install '{needed}'`"
        try:
            version = known[needed.name] = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            yield Check(needed.name, "problem", "is not installed", wanted)
            continue
        if not needed.specifier.contains(version, prereleases=True):
            fault = f"{version} does not work with ftr {known[OWN]}, which needs {needed.specifier}"
            yield Check(needed.name, "problem", fault, wanted)
    for name in SHOWN:
        if name not in known:
            known[name] = _version(name) or "not installed"
    shown = ", ".join(f"{name} {known[name]}" for name in (OWN, *SHOWN))
    yield Check("packages", "ok", shown)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def variables() -> Checks:
    """Variables that look like keys and are none."""
    from ftr.config.found import PREFIX
    from ftr.config.known import keys

    names = {f"{PREFIX}{key.upper().replace('.', '__')}": key for key in keys()}
    for name in sorted(os.environ):
        if not name.startswith("FTR_") or name.startswith(PREFIX) or name in VARIABLES:
            continue
        squeezed = {one.replace("__", "_"): one for one in names}
        meant = squeezed.get(name)
        fix = f"Write `{meant}`" if meant else did_you_mean(name, VARIABLES).strip()
        yield Check("environment", "warn", f"`{name}` is not a variable of ftr", fix)


def settings() -> Checks:
    """The files and variables that set keys, and whether they can be used."""
    from ftr.config.found import FILE, found_files, from_environment, with_found
    from ftr.config.keys import check_keys

    places = [*found_files(), from_environment()]
    with_found([])
    for one in places:
        check_keys(one.plain, sweep=True)
        if keys := [*one.plain, *(f"sweep: {key}" for key in one.sweep)]:
            yield Check("settings", "ok", f"{one.origin}: {', '.join(keys)}")
        elif one.origin != "environment":
            yield Check("settings", "ok", f"{one.origin} is empty")
    if not any(one.plain or one.sweep for one in places):
        yield Check("settings", "ok", f"none found; `ftr init FILE` writes `{FILE}`")


def plugins() -> Checks:
    """Each plugin from outside, and those that did not load."""
    from ftr.config.found import with_found
    from ftr.config.parse import registry_for

    own = 0
    for record in registry_for(with_found([])).plugins:
        if record.status == "loaded" and record.builtin and not record.notes and not record.lacks:
            own += 1
            continue
        text = f"{record.described}: {record.status}"
        if record.status == "loaded":
            faults = [*record.notes, *([record.lacks] if record.lacks else [])]
            yield Check("plugin", "warn" if faults else "ok", "; ".join([text, *faults]))
        else:
            problem: Literal["warn", "problem"] = "problem" if record.cause else "warn"
            fix = f"`ftr plugins --traceback {record.name}`" if record.traceback else ""
            yield Check("plugin", problem, f"{text}, {record.cause}".rstrip(", ."), fix)
    fix = "" if own else "Install ftr again"
    yield Check("plugins", "ok" if own else "problem", f"{own} built-in loaded", fix)


def devices() -> Checks:
    """The device, measured precision and threads."""
    import torch

    from ftr.config.schema import TrainConfig
    from ftr.train.hardware import choose_numerics, describe_hardware

    hardware, numerics = describe_hardware(), choose_numerics(TrainConfig())
    gpus = ", ".join(hardware["gpus"])
    name = gpus or f"{hardware['processor']} ({hardware['instructions']})"
    yield Check("device", "ok", f"{numerics.device}: {name}")
    if numerics.device == "cpu" and shutil.which("nvidia-smi"):
        text = f"torch {torch.__version__} sees no GPU, and this machine has NVIDIA's driver"
        yield Check("device", "warn", text, "Install torch for the CUDA version of the driver")
    speeds = {kind: _speed(numerics.device, kind) for kind in ("float32", "bfloat16")}
    measured = ", ".join(f"{kind} {speed:,.0f} GFLOP/s" for kind, speed in speeds.items())
    text = f"{measured}; `auto` is {numerics.precision}: {numerics.reasons['precision']}"
    yield Check("precision", "ok", text)
    threads, cores = hardware["threads"], hardware["cores"]
    few = numerics.device == "cpu" and threads < cores
    text = f"{threads} of {counted(cores, 'core')}"
    fix = "Unset `OMP_NUM_THREADS`, or set it to the number of cores" if few else ""
    yield Check("threads", "warn" if few else "ok", text, fix)


def _speed(device: str, kind: str) -> float:
    """Return the GFLOP/s of a matrix product: the best of those in a tenth of a second."""
    import torch

    size = 768
    left = torch.ones((size, size), dtype=getattr(torch, kind), device=device)
    best, ended = float("inf"), time.perf_counter() + 0.1
    for turn in range(1000):
        began = time.perf_counter()
        (left @ left)[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - began)
        if turn >= 2 and time.perf_counter() > ended:
            break
    return 2 * size**3 / best / 1e9


def memory() -> Checks:
    """Free memory."""
    from ftr.train.costs import memory_free, memory_here, size

    free, total = memory_free(), memory_here()
    little = free is not None and free < LITTLE
    text = f"{f'{size(free)} free of ' if free is not None else ''}{size(total)}"
    fix = "Close other programs; `ftr plan` tells what a run needs" if little else ""
    yield Check("memory", "warn" if little else "ok", text, fix)


def disks() -> Checks:
    """Free disk, and the right to write, of the output folder and of the cache."""
    from ftr.config.found import with_found
    from ftr.data.encode import cache_folder
    from ftr.paths import expanded, writable
    from ftr.train.costs import disk_free, size

    given = with_found([])
    output = str(given["output"].text or "runs") if "output" in given else "runs"
    cache = given["data.cache"].text if "data.cache" in given else None
    places = {"runs": expanded(output, "`output`:"), "cache": cache_folder(cache, output)}
    for name, folder in places.items():
        key = "output" if name == "runs" else "data.cache"
        if not writable(folder):
            fix = f"Give another folder with `{key}=`"
            yield Check(name, "problem", f"`{folder}` cannot be written", fix)
            continue
        free = disk_free(folder)
        fix = f"Free space, or set `{key}` to another disk" if free < LITTLE else ""
        text = f"{size(free)} free for `{folder}`"
        yield Check(name, "warn" if fix else "ok", text, fix)


def hub() -> Checks:
    """Whether the Hugging Face Hub answers."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true"):
        yield Check("hub", "ok", "not asked: `HF_HUB_OFFLINE` is set, so only local models work")
        return
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    cause = _within(
        HUB_SECONDS, lambda: socket.create_connection((host, port), timeout=HUB_SECONDS).close()
    )
    if cause is None:
        yield Check("hub", "ok", f"{host} answers")
    else:
        fix = "Without it, use `model=minilm` with `ftr[offline]`, or a local directory"
        yield Check("hub", "warn", f"{host} cannot be reached ({cause})", fix)


def _within(seconds: float, action: Callable[[], object]) -> str | None:
    """Return why an action fails, or that it took too long (a resolver has no time limit)."""
    ended: list[str | None] = []

    def work() -> None:
        try:
            action()
            ended.append(None)
        except FtrError as error:
            ended.append(str(error))
        except OSError as error:
            ended.append(error.strerror or str(error))
        except Exception as error:  # of Ray, for instance
            ended.append(in_one_line(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return ended[0] if ended else f"no answer in {seconds:g} s"


def cluster() -> Checks:
    """Whether the cluster of `compute.address` can be joined, if that is set."""
    from ftr.config.found import with_found

    setting = with_found([]).get("compute.address")
    if setting is None or not setting.text:
        yield Check("cluster", "ok", "none is set (`compute.address`): trainings run here")
        return
    from ftr.cluster.connect import probe

    address = setting.text
    cause = _within(2 * HUB_SECONDS, lambda: probe(address))
    if cause is None:
        yield Check("cluster", "ok", f"`compute.address={address}` ({setting.origin}) answers")
    else:
        text = f"{' '.join(cause.split()).rstrip('.')} ({setting.origin})"
        yield Check("cluster", "problem", text)
