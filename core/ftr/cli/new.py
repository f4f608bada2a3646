"""`ftr new NAME`: create a plugin package from the templates in `_template`."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from ftr import atomic
from ftr.cli.answer import Answer
from ftr.config.values import read_value
from ftr.errors import RequestError, RunError, did_you_mean
from ftr.paths import expanded
from ftr.registry.discovery import own_version
from ftr.registry.registry import get_registry
from ftr.registry.specs import Kind

if TYPE_CHECKING:
    from ftr.registry.registry import Registry


LONGEST = 40
"""Characters of a name: the lines of the templates are short enough for so many."""
# What a spec may be called, less what a distribution may not: it must end with a letter or digit.
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")

# The folders of `_template` that a package is made of. Where two have a file of one name, the later
# one's is taken.
LAYERS: Mapping[Kind, tuple[str, ...]] = {
    "task": ("every", "dataset", "head", "metric", "task"),
    "dataset": ("every", "dataset"),
    "head": ("every", "head"),
    "metric": ("every", "metric"),
    "model": ("every", "model"),
}
# How a training is asked for that uses the component.
USES: Mapping[Kind, str] = {
    "task": "task=$name",
    "dataset": "task=sentiment dataset=$name",
    "head": "task=sentiment head=$name",
    "metric": "task=sentiment metrics=$name",
    "model": "task=sentiment model=$name",
}
SUMMARIES: Mapping[Kind, str] = {
    "task": "A fine-tuning task for ftr.",
    "dataset": "A dataset for ftr.",
    "head": "A head for ftr.",
    "metric": "A metric for ftr.",
    "model": "A pretrained model for ftr.",
}
TEMPLATES = Path(__file__).parent.with_name("_template")
PACKAGE = "PACKAGE"
SUFFIX = ".tmpl"
# Parts of files rather than files: what a folder puts into `__init__.py` and into the README.
PARTS = ("hooks.py", "about.md")


@dataclass(frozen=True, slots=True)
class NewPackage:
    """A package that was written: its folder, its files (relative to it), and the commands to type
    next.
    """

    name: str
    kind: Kind
    folder: Path
    files: tuple[str, ...]
    steps: tuple[str, ...]


def new_package(name: str, kind: Kind, into: Path, registry: Registry) -> NewPackage:
    """Write the package `ftr-NAME` into the folder `into`: whole, or not at all.

    Raises `RequestError` for a name that is illegal or taken and for a folder that is there,
    `RunError` when the disk refuses.
    """
    check_name(name, registry)
    folder = into / f"ftr-{name}"
    if folder.exists() or folder.is_symlink():
        raise RequestError(
            f"`{folder}` exists: remove it, or give another name, or another place with `--output "
            "FOLDER`."
        )
    contents = render(name, kind)
    try:
        with atomic.new_folder(folder) as fresh:
            for path, content in contents.items():
                (fresh / path).parent.mkdir(parents=True, exist_ok=True)
                (fresh / path).write_bytes(content)
    except OSError as error:
        raise RunError(
            f"cannot write `{folder}`: {error.strerror or error}. Give another place with "
            "`--output FOLDER`."
        ) from error
    return NewPackage(name, kind, folder, tuple(contents), _steps(name, kind, folder))


def render(name: str, kind: Kind) -> dict[str, bytes]:
    """Return the files of the package by path, in order: templates filled in, everything else as it
    is.
    """
    values = _values(name, kind)
    found: dict[str, bytes] = {}
    for layer in LAYERS[kind]:
        for source in filter(Path.is_file, (TEMPLATES / layer).rglob("*")):
            path = (
                source.relative_to(TEMPLATES / layer)
                .as_posix()
                .replace(PACKAGE, values["package"])
                .removesuffix(SUFFIX)
            )
            if path not in PARTS:
                found[path] = (
                    _filled(source, values).encode()
                    if source.suffix == SUFFIX
                    else source.read_bytes()
                )
    return dict(sorted(found.items()))


def check_name(name: str, registry: Registry) -> None:
    """Raise `RequestError` when no package can be called `ftr-NAME`, or when the name is taken
    already.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        near = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("._-")[:LONGEST].rstrip("._-")
        hint = f" Try `{near}`." if near else ""
        raise RequestError(
            f"`{name}` cannot be the name of a plugin: it must be lower-case letters, digits, `.`, "
            f"`_` and `-`, start and end with a letter or digit, and have at most {LONGEST} "
            f"characters.{hint}"
        )
    if not isinstance(read_value(name), str):
        raise RequestError(
            f"`{name}` cannot be the name of a plugin: in `task={name}` it is no word but a value. "
            "Choose another name."
        )
    for plugin in registry.plugins:
        taken = [f"the {kind} `{name}`" for kind, spec in plugin.specs if spec.name == name]
        taken += ["that name"] if plugin.answers_to(name) else []
        if taken:
            whose = "built in" if plugin.builtin else f"registered by plugin {plugin.described}"
            raise RequestError(f"`{name}` is taken: {taken[0]} is {whose}. Choose another name.")
    package = package_name(name)
    if find_spec(package) is not None:
        raise RequestError(
            f"`{name}` is taken: a module `{package}` is installed, and the new one would hide it. "
            "Choose another name."
        )


def package_name(name: str) -> str:
    """Return the name of the Python package of `ftr-NAME`."""
    return "ftr_" + re.sub(r"[.-]", "_", name)


def requirement() -> str:
    """Return what a plugin made for this ftr must require of it: this minor version, as in
    `ftr>=0.1,<0.2`.
    """
    from packaging.version import InvalidVersion, Version

    try:
        version = Version(own_version())
    except InvalidVersion:
        return "ftr"
    if version.release == (0,):  # ftr was never installed, so nobody knows
        return "ftr"
    # 0.2.dev1 is less than 0.2.
    lowest = version.public if version.is_prerelease else f"{version.major}.{version.minor}"
    return f"ftr>={lowest},<{version.major}.{version.minor + 1}"


def _values(name: str, kind: Kind) -> dict[str, str]:
    values = {
        "name": name,
        "kind": kind,
        "package": package_name(name),
        "distribution": f"ftr-{name}",
        "key": f'"{name}"' if "." in name else name,
        "summary": SUMMARIES[kind],
        "requirement": requirement(),
        "use": Template(USES[kind]).substitute(name=name),
    }
    layers = [TEMPLATES / layer for layer in LAYERS[kind][1:]]
    hooks = [_filled(layer / f"hooks.py{SUFFIX}", values).strip() for layer in layers]
    about = _filled(layers[-1] / f"about.md{SUFFIX}", values).strip()
    return {**values, "hooks": "\n\n\n".join(hooks), "about": about}


def _filled(template: Path, values: Mapping[str, str]) -> str:
    return Template(template.read_text(encoding="utf-8")).substitute(values)


def _steps(name: str, kind: Kind, folder: Path) -> tuple[str, ...]:
    use = Template(USES[kind]).substitute(name=name)
    extra = "" if find_spec("pytest") else "[test]"
    return (
        f"pip install -e {shlex.quote(f'{folder}{extra}')}",
        f"pytest {shlex.quote(str(folder))}",
        f"ftr run {use}",
        f"ftr sweep {use} trials=4",
    )


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "name",
        metavar="NAME",
        help="what the task (or other component) is to be called; the package is called `ftr-NAME`",
    )
    parser.add_argument(
        "--kind", default="task", help=f"what to begin: {', '.join(LAYERS)} (default: task)"
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        default=Path(),
        help="where to put the package's folder (default: here)",
    )


def execute(args: Namespace) -> Answer:
    """Write the package, and answer with its files and what to do next.

    Raises `RequestError` and `RunError`.
    """
    made = new_package(
        args.name, _kind(args.kind), expanded(args.output, "`--output`:"), get_registry()
    )
    data = {
        "name": made.name,
        "kind": made.kind,
        "folder": str(made.folder),
        "files": list(made.files),
        "next": list(made.steps),
    }
    return Answer(data, _text(made))


def _kind(word: str) -> Kind:
    for kind in LAYERS:
        if word.lower() == kind:
            return kind
    raise RequestError(
        f"unknown kind `{word}`.{did_you_mean(word, LAYERS)} The kinds are "
        f"{', '.join(f'`{kind}`' for kind in LAYERS)}."
    )


def _text(made: NewPackage) -> str:
    lines = [
        f"wrote {made.folder}",
        *(f"  {name}" for name in made.files),
        "",
        "next:",
        *(f"  {step}" for step in made.steps),
    ]
    return "\n".join(lines)
