"""`ftr doctor`: check an installation, one line for each part and what to do."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

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
FILES = 1024
"""Open files of a process, where the limit is lower a Ray of a few processes reaches it."""
SHARED = 1e9
"""Bytes of `/dev/shm`; a container has 64 MB unless it is asked for more."""
LONGEST = 107 - len("/ray/session_2026-01-01_00-00-00_000000_1000000/sockets/plasma_store")
"""Letters of a folder below which Ray can make its sockets, whose paths have at most 107."""
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
    for check in CHECKS:
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
    yield from _conflicts()
    yield from _places()
    for name in SHOWN:
        if name not in known:
            known[name] = _version(name) or "not installed"
    shown = ", ".join(f"{name} {known[name]}" for name in (OWN, *SHOWN))
    yield Check("packages", "ok", shown)


def _conflicts() -> Checks:
    """Packages that ftr needs, directly or not, and that need another version of a package."""
    from packaging.requirements import Requirement

    waiting, seen = [(OWN, frozenset({""}))], set()
    while waiting:
        name, extras = waiting.pop()
        if (name.lower(), extras) in seen or _version(name) is None:
            continue
        seen.add((name.lower(), extras))
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            marker, version = needed.marker, _version(needed.name)
            if marker and not any(marker.evaluate({"extra": extra}) for extra in extras):
                continue
            waiting.append((needed.name, frozenset({"", *needed.extras})))
            if version and name != OWN and not needed.specifier.contains(version, prereleases=True):
                fault = f"{version} does not work with {name} {_version(name)}, which needs"
                fix = f"`pip install '{needed.name}{needed.specifier}'`, or another {name}"
                yield Check(needed.name, "problem", f"{fault} {needed.specifier}", fix)


def _places() -> Checks:
    """Packages that are installed twice, or hidden by a file of the same name."""
    for name in (OWN, *SHOWN):
        copies = {
            str(Path(str(one.locate_file(""))).resolve()): one.version
            for one in metadata.distributions(name=name)
        }
        if len(copies) > 1:
            listed = ", ".join(f"{version} in {place}" for place, version in copies.items())
            fix = f"`pip uninstall {name}` until none is left, then install it once"
            yield Check(name, "warn", f"is installed {len(copies)} times: {listed}", fix)
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found is None or not copies or _is_installed(name, found, copies):
            continue
        fix = "Unset `PYTHONPATH`, rename the file, or run ftr in another folder"
        text = f"is imported from {found}, not from where it is installed ({next(iter(copies))})"
        yield Check(name, "warn", text, fix)


def _is_installed(name: str, module: Path, copies: Iterable[str]) -> bool:
    """Whether a module is that of a distribution, also of an editable one."""
    direct = metadata.distribution(name).read_text("direct_url.json")
    url = str(json.loads(direct).get("url", "")) if direct else ""
    editable = [url2pathname(urlsplit(url).path)] if url.startswith("file:") else []
    return any(module.is_relative_to(Path(place).resolve()) for place in (*copies, *editable))


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

    from ftr.config.found import with_found
    from ftr.config.schema import TrainConfig
    from ftr.train.hardware import choose_numerics, describe_hardware, matmul_speeds

    hardware, numerics = describe_hardware(), choose_numerics(TrainConfig())
    gpus = ", ".join(hardware["gpus"])
    name = gpus or f"{hardware['processor']} ({hardware['instructions']})"
    yield Check("device", "ok", f"{numerics.device}: {name}")
    if numerics.device == "cpu" and shutil.which("nvidia-smi"):
        text = f"torch {torch.__version__} sees no GPU, and this machine has NVIDIA's driver"
        yield Check("device", "warn", text, "Install torch for the CUDA version of the driver")
    speeds = matmul_speeds(numerics.device)
    measured = ", ".join(f"{kind} {speed:,.0f} GFLOP/s" for kind, speed in speeds.items())
    text = f"{measured}; `auto` is {numerics.precision}: {numerics.reasons['precision']}"
    asked = with_found([]).get("train.precision")
    slow = asked is not None and asked.value == "bf16" and speeds["bf16"] < speeds["fp32"]
    if asked is not None and slow:
        text = f"{measured}, and `train.precision` is bf16 ({asked.origin})"
    fix = "Set it to `auto`" if slow else ""
    yield Check("precision", "warn" if slow else "ok", text, fix)
    if asked is not None and asked.value in ("bf16", "fp16", "fp32"):
        choose_numerics(TrainConfig(precision=asked.value))
    threads, cores = hardware["threads"], hardware["cores"]
    wrong = numerics.device == "cpu" and threads != cores
    text = f"{threads} of {counted(cores, 'core')}"
    fix = "Unset `OMP_NUM_THREADS`, or set it to the number of cores" if wrong else ""
    yield Check("threads", "warn" if wrong else "ok", text, fix)


def system() -> Checks:
    """Limits of the operating system that stop Ray or hide files, each only where it is so."""
    if sys.getfilesystemencoding() != "utf-8":
        text = f"file names are read as {sys.getfilesystemencoding()}"
        yield Check("locale", "warn", text, "Set `PYTHONUTF8=1`, or `LC_ALL=C.UTF-8`")
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if 0 <= files < FILES:
            text = f"a process may open {files} files, and Ray needs more"
            yield Check("files", "warn", text, f"`ulimit -n {4 * FILES}`")
    shared = Path("/dev/shm")  # noqa: S108 (Ray keeps its objects there)
    if shared.is_dir() and (size := shutil.disk_usage(shared).total) < SHARED:
        text = f"`{shared}` has {size / 1e6:,.0f} MB, so Ray keeps its objects on the disk"
        yield Check("shared memory", "warn", text, "Start the container with `--shm-size=2g`")
    name = next((one for one in ("RAY_TMPDIR", "TMPDIR") if one in os.environ), "")
    if len(os.fsencode(os.environ.get(name, ""))) > LONGEST:
        text = f"Ray cannot start: `{name}` has more than {LONGEST} letters"
        yield Check("ray", "warn", text, "Set `RAY_TMPDIR` to a folder with a short path")


def memory() -> Checks:
    """Free memory."""
    from ftr.train.costs import memory_free, memory_here, size

    free, total = memory_free(), memory_here()
    little = free is not None and free < LITTLE
    text = f"{f'{size(free)} free of ' if free is not None else ''}{size(total)}"
    fix = "Close other programs; `ftr plan` tells what a run needs" if little else ""
    yield Check("memory", "warn" if little else "ok", text, fix)


def disks() -> Checks:
    """Free disk, and the right to write, of each folder that ftr writes to."""
    from huggingface_hub import constants

    from ftr.config.found import with_found
    from ftr.data.encode import cache_folder
    from ftr.paths import expanded, folder_of, writable
    from ftr.train.costs import disk_free, size

    given = with_found([])
    output = str(given["output"].text or "runs") if "output" in given else "runs"
    cache = given["data.cache"].text if "data.cache" in given else None
    places: dict[str, tuple[str, Callable[[], Path]]] = {
        "runs": ("output", lambda: expanded(output, "`output`:")),
        "cache": ("data.cache", lambda: cache_folder(cache, output)),
        "temporary": ("TMPDIR", lambda: folder_of("TMPDIR") or Path(tempfile.gettempdir())),
        "weights": ("HF_HOME", lambda: Path(constants.HF_HUB_CACHE)),
    }
    for name, (key, find) in places.items():
        try:
            folder = find()
        except FtrError as error:
            yield Check(name, "problem", str(error).rstrip("."))
            continue
        if not writable(folder) or (key == "TMPDIR" and not folder.is_dir()):
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
        if lacking := _not_cached():
            fix = "Unset it for the first run, or name a local directory"
            yield Check("hub", "problem", f"`HF_HUB_OFFLINE` is set, and {lacking}", fix)
        else:
            yield Check(
                "hub", "ok", "not asked: `HF_HUB_OFFLINE` is set, so only local models work"
            )
        return
    from ftr.model.hub import hub_address

    address = host, _ = hub_address()
    cause = _within(
        HUB_SECONDS, lambda: socket.create_connection(address, timeout=HUB_SECONDS).close()
    )
    if cause is None:
        yield Check("hub", "ok", f"{host} answers")
    else:
        fix = "Without it, use `model=minilm` with `ftr[offline]`, or a local directory"
        yield Check("hub", "warn", f"{host} cannot be reached ({cause})", fix)


def _not_cached() -> str | None:
    """Return that the model of the found settings is one of the Hub, and not in the cache here."""
    from huggingface_hub import try_to_load_from_cache

    from ftr.config.components import HUB_ID
    from ftr.config.found import with_found
    from ftr.config.parse import registry_for
    from ftr.paths import present

    given = with_found([])
    setting = given.get("model")
    name = setting.text if setting else None
    if setting is None or not name or not HUB_ID.fullmatch(name) or present(name):
        return None
    if registry_for(given).has("model", name):
        return None
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return None
    return f"`model={name}` ({setting.origin}) is not in the cache of this machine"


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


CHECKS = (
    versions,
    variables,
    settings,
    plugins,
    system,
    devices,
    memory,
    disks,
    hub,
    cluster,
)
