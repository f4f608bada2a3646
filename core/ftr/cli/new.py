"""`ftr new NAME`: create a plugin package from the templates in `_template`."""

import re
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from string import Template

from ftr import atomic
from ftr.cli.main import Answer
from ftr.errors import RequestError, did_you_mean
from ftr.paths import expanded
from ftr.registry.discovery import own_version
from ftr.registry.registry import get_registry
from ftr.registry.specs import Kind

EXAMPLES = (
    "ftr new tickets",
    "ftr new my-metric --kind metric --output plugins",
)

MAX_LENGTH = 40
"""Characters of a name: the lines of the templates leave room for so many."""
# The name of a spec that a distribution can have too: it ends with a letter or digit.
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
# The folders of `_template` for each kind.
LAYERS: Mapping[Kind, tuple[str, ...]] = {
    "task": ("every", "sample", "task"),
    "dataset": ("every", "sample", "dataset"),
    "head": ("every", "head"),
    "metric": ("every", "metric"),
    "model": ("every", "model"),
}
_TITLES = {"task": "fine-tuning task", "model": "pretrained model"}
TEMPLATES = Path(__file__).parent.with_name("_template")
PACKAGE = "PACKAGE"
SUFFIX = ".tmpl"
# A fragment of the README, not a file of the package.
ABOUT = "about.md"
OPTIONS_NEED = "annotated-types>=0.6"
"""What the limits of options in the templates are written with; pydantic reads them."""


def configure(parser: ArgumentParser) -> None:
    """Add name, kind and folder."""
    parser.add_argument(
        "name",
        metavar="NAME",
        help="name of the task (or other component); the package is called `ftr-NAME`",
    )
    parser.add_argument(
        "--kind", default="task", help=f"what to create: {', '.join(LAYERS)} (default: task)"
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        default=Path(),
        help="write the package's folder into FOLDER (default: current folder)",
    )


def execute(args: Namespace) -> Answer:
    """Write the package, whole or not at all, and return its files and the commands to run next.

    Raises `RequestError` for a name that is invalid or taken and for a folder that exists,
    `RunError` when the disk refuses.
    """
    name, kind = args.name, _kind(args.kind)
    check_name(name)
    folder = expanded(args.output, "`--output`:") / f"ftr-{name}"
    if folder.exists() or folder.is_symlink():
        raise RequestError(
            f"`{folder}` exists: remove it, or give another name, or another folder with "
            "`--output FOLDER`."
        )
    contents = _render(name, kind)
    advice = "Give another folder with `--output FOLDER`."
    with atomic.writing(folder, advice), atomic.new_folder(folder) as fresh:
        for path, content in contents.items():
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            (fresh / path).write_bytes(content)
    use = _settings(name, kind)
    extra = "" if find_spec("pytest") else "[test]"
    steps = [
        f"pip install -e {shlex.quote(f'{folder}{extra}')}",
        f"pytest {shlex.quote(str(folder))}",
        f"ftr run {use}",
        f"ftr sweep {use} trials=4",
    ]
    data = {
        "name": name,
        "kind": kind,
        "folder": str(folder),
        "files": list(contents),
        "next": steps,
    }
    lines = [f"wrote {folder}", *(f"  {path}" for path in contents)]
    return Answer(data, "\n".join([*lines, "", "next:", *(f"  {step}" for step in steps)]))


def _kind(word: str) -> Kind:
    for kind in LAYERS:
        if word.lower() == kind:
            return kind
    raise RequestError(
        f"unknown kind `{word}`.{did_you_mean(word, LAYERS)} The kinds are "
        f"{', '.join(f'`{kind}`' for kind in LAYERS)}."
    )


def check_name(name: str) -> None:
    """Raise `RequestError` when no package can be called `ftr-NAME`, or when the name is taken."""
    from ftr.config.values import read_value

    if not NAME.fullmatch(name) or len(name) > MAX_LENGTH:
        near = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("._-")[:MAX_LENGTH].rstrip("._-")
        hint = f" Try `{near}`." if near else ""
        raise RequestError(
            f"`{name}` cannot be the name of a plugin: it must be lower-case letters, digits, `.`, "
            f"`_` and `-`, start and end with a letter or digit, and have at most {MAX_LENGTH} "
            f"characters.{hint}"
        )
    if not isinstance(read_value(name), str):
        raise RequestError(
            f"`{name}` cannot be the name of a plugin: `task={name}` would not read it as text. "
            "Choose another name."
        )
    for plugin in get_registry().plugins:
        taken = [f"the {kind} `{name}`" for kind, spec in plugin.specs if spec.name == name]
        taken += ["that name"] if plugin.answers_to(name) else []
        if taken:
            owner = "built in" if plugin.builtin else f"registered by plugin {plugin.described}"
            raise RequestError(f"`{name}` is taken: {taken[0]} is {owner}. Choose another name.")
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
    """Return the bound of ftr in a new plugin: this minor version of ftr, as in `ftr>=0.1,<0.2`."""
    from packaging.version import InvalidVersion, Version

    try:
        version = Version(own_version())
    except InvalidVersion:
        return "ftr"
    if version.release == (0,):  # ftr is not installed, its version unknown
        return "ftr"
    # 0.2.dev1 is less than 0.2.
    lowest = version.public if version.is_prerelease else f"{version.major}.{version.minor}"
    return f"ftr>={lowest},<{version.major}.{version.minor + 1}"


def _needs(kind: Kind) -> list[str]:
    """Return the requirements of a new plugin: a metric has no options."""
    return [*([] if kind == "metric" else [OPTIONS_NEED]), requirement()]


def _settings(name: str, kind: Kind) -> str:
    """Return the settings of a training that uses the component."""
    key = "metrics" if kind == "metric" else kind
    return f"task={name}" if kind == "task" else f"task=sentiment {key}={name}"


def _render(name: str, kind: Kind) -> dict[str, bytes]:
    """Return the contents of the package's files by path, sorted: templates filled in, other files
    unchanged.
    """
    values = {
        "name": name,
        "kind": kind,
        "package": package_name(name),
        "distribution": f"ftr-{name}",
        "key": f'"{name}"' if "." in name else name,
        "summary": f"A {_TITLES.get(kind, kind)} for ftr.",
        "requirement": requirement(),
        "dependencies": ", ".join(f'"{need}"' for need in _needs(kind)),
        "use": _settings(name, kind),
    }
    layers = [TEMPLATES / layer for layer in LAYERS[kind]]
    values["about"] = _filled(layers[-1] / f"{ABOUT}{SUFFIX}", values).strip()
    contents: dict[str, bytes] = {}
    for layer in layers:
        for source in filter(Path.is_file, layer.rglob("*")):
            template = source.relative_to(layer).as_posix()
            path = template.replace(PACKAGE, values["package"]).removesuffix(SUFFIX)
            if path != ABOUT:
                filled = source.suffix == SUFFIX
                contents[path] = _filled(source, values).encode() if filled else source.read_bytes()
    return dict(sorted(contents.items()))


def _filled(template: Path, values: Mapping[str, str]) -> str:
    return Template(template.read_text(encoding="utf-8")).substitute(values)
