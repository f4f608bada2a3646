"""`ftr runs`: the lab book. List runs and sweeps, show one, tag and remove them."""

import argparse
from pathlib import Path

from ftr.cli.main import Answer
from ftr.errors import RequestError, did_you_mean
from ftr.paths import expanded, shown_path
from ftr.terminal import columns_of, fitted

EXAMPLES = (
    "ftr runs --sort accuracy",
    "ftr runs RUN",
)

USUAL = "runs"
NAMES = ("task", "dataset", "model", "status")
ACTIONS = {"rm": "RUN", "tag": "RUN NAME", "untag": "RUN NAME", "sync": "RUN"}
"""Options that do something with runs, and the words that each needs."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder or run, filters, and what to do."""
    parser.epilog = (
        "RUN is a run directory or sweep, its name under runs/, or the start of its name."
    )
    parser.add_argument(
        "of",
        nargs="?",
        metavar="RUN|FOLDER",
        help=f"show all of one run or sweep, or list another folder (default: {USUAL})",
    )
    for name in NAMES:
        parser.add_argument(f"--{name}", help=f"list those of this {name}; a pattern may have `*`")
    parser.add_argument("--tagged", metavar="NAME", help="list those with this tag")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="list those for which a score or setting is so: 'accuracy>0.8', epochs=3; repeatable",
    )
    parser.add_argument(
        "--sort", metavar="KEY", help="sort by a score (best first), a setting or a column"
    )
    parser.add_argument("--reverse", action="store_true", help="list in the opposite order")
    parser.add_argument(
        "--rm", nargs="*", metavar="RUN", help="remove runs and sweeps, without asking"
    )
    parser.add_argument("--tag", nargs="*", metavar="WORD", help="RUN NAME…: add tags to a run")
    parser.add_argument("--untag", nargs="*", metavar="WORD", help="RUN NAME…: remove tags")
    parser.add_argument(
        "--sync",
        nargs="*",
        metavar="WORD",
        help="RUN: send to its trackers what they do not have; names of other trackers may follow",
    )


def execute(args: argparse.Namespace) -> Answer:
    """List, show or change runs."""
    from ftr.runs.directory import named

    asked = [name for name in ACTIONS if getattr(args, name) is not None]
    if len(asked) > 1:
        raise RequestError(f"`--{asked[0]}` and `--{asked[1]}`: give one of them at a time.")
    if asked:
        return _act(asked[0], [*([args.of] if args.of else []), *getattr(args, asked[0])])
    given = USUAL if args.of is None else args.of
    if not given.strip():
        raise RequestError("the name is empty: give a run, or a folder of run directories.")
    folder = expanded(given, "folder")
    if args.of is not None and not _is_folder_of_runs(folder) and named(given) is not None:
        return _show(given)
    if args.of is not None:
        _check_folder(given, folder)
    return _list(args, given, folder)


def _act(action: str, words: list[str]) -> Answer:
    if len(words) < len(ACTIONS[action].split()):
        hint = " `--tagged NAME` lists the runs with a tag." if action == "tag" else ""
        raise RequestError(f"`--{action}` needs {ACTIONS[action]}.{hint}")
    from ftr.results import keeping

    if action == "rm":
        removed = [shown_path(path) for path in keeping.remove(words)]
        return Answer({"removed": removed}, "\n".join(f"removed {path}" for path in removed))
    path = keeping.found(words[0])
    about = {"id": path.name, "path": shown_path(path)}
    if action == "sync":
        from ftr.runs.trackers import sync

        sent = sync(path, trackers=words[1:])
        return Answer({**about, "trackers": sent}, f"{path.name}: sent to {', '.join(sent)}")
    tags = keeping.tag(path, words[1:], remove=action == "untag")
    return Answer({**about, "tags": tags}, f"{path.name}: {', '.join(tags) or 'no tags'}")


def _show(given: str) -> Answer:
    from ftr.results.details import details, lines
    from ftr.study.directory import open_directory

    directory = open_directory(given)
    found = details(directory)
    return Answer(found, fitted("\n".join(lines(found, directory))))


def _list(args: argparse.Namespace, given: str, folder: Path) -> Answer:
    from ftr.results.listing import LISTED, matching, ordered, rows_of, shown

    rows = rows_of(folder)
    if not rows:
        return Answer([], f"no runs or sweeps under `{given}`")
    names = {name: getattr(args, name) for name in NAMES}
    found = matching(rows, names, args.where, args.tagged)
    if args.sort is not None:
        found = ordered(found, args.sort, reverse=args.reverse)
    elif args.reverse:
        found.reverse()
    data = [{key: row[key] for key in LISTED if key in row} for row in found]
    if not found:
        return Answer(data, f"no such run or sweep under `{given}`, which has {len(rows)}")
    scores = {name for row in found for name in row["scores"] if isinstance(name, str)}
    columns = [key for key in (args.sort, *map(_key, args.where)) if key in scores]
    return Answer(data, "\n".join(shown(found, columns, columns_of())))


def _key(condition: str) -> str:
    return condition.translate(str.maketrans("><=", "   ")).split()[0] if condition else ""


def _is_folder_of_runs(folder: Path) -> bool:
    from ftr.runs.directory import RECORD, SWEEP

    return folder.is_dir() and not any((folder / name).is_file() for name in (RECORD, SWEEP))


def _check_folder(given: str, folder: Path) -> None:
    from ftr.runs.directory import near_run

    if folder.is_dir():
        return
    problem = "is a file" if folder.exists() else "does not exist"
    beside = sorted(entry.name for entry in folder.parent.glob("*") if entry.is_dir())
    near = did_you_mean(folder.name, beside) or near_run(given)
    raise RequestError(
        f"the folder `{given}` {problem}.{near} No run has this name either: give a run, or a "
        "folder of run directories."
    )
