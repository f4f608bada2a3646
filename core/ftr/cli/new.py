"""`ftr new NAME`: a package to start from, for a task, dataset, head, metric or model of one's own."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ftr.cli.answer import Answer
from ftr.errors import RequestError
from ftr.paths import expanded
from ftr.registry import get_registry
from ftr.scaffold import LAYERS, NewPackage, new_package
from ftr.specs import Kind
from ftr.suggest import did_you_mean


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="what the task (or other component) is to be called; the package is called `ftr-NAME`")
    parser.add_argument("--kind", default="task", help=f"what to begin: {', '.join(LAYERS)} (default: task)")
    parser.add_argument("--into", metavar="FOLDER", type=Path, default=Path(), help="where to put the package's folder (default: here)")


def execute(args: Namespace) -> Answer:
    """Write the package, and answer with its files and what to do next. Raises `RequestError` and `RunError`."""
    made = new_package(args.name, _kind(args.kind), expanded(args.into, "`--into`:"), get_registry())
    data = {"name": made.name, "kind": made.kind, "folder": str(made.folder), "files": list(made.files), "next": list(made.steps)}
    return Answer(data, _text(made))


def _kind(word: str) -> Kind:
    for kind in LAYERS:
        if word.lower() == kind:
            return kind
    raise RequestError(f"unknown kind `{word}`.{did_you_mean(word, LAYERS)} The kinds are {', '.join(f'`{kind}`' for kind in LAYERS)}.")


def _text(made: NewPackage) -> str:
    lines = [f"wrote {made.folder}", *(f"  {name}" for name in made.files), "", "next:", *(f"  {step}" for step in made.steps)]
    return "\n".join(lines)
