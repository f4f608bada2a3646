"""`ftr push`: send a model to the Hugging Face Hub."""

from __future__ import annotations

import argparse

from ftr.cli.main import Answer
from ftr.terminal import quiet_libraries, show

EXAMPLES = (
    "ftr push RUN owner/name --dry-run",
    "ftr push RUN owner/name --public",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the run, the repository, and what to do with it."""
    parser.add_argument(
        "run",
        help="a finished run, its name under runs/, a sweep, which means its best run, or a model "
        "directory written by ftr",
    )
    parser.add_argument("repository", metavar="owner/name", help="a repository of the Hub")
    parser.add_argument(
        "--public", action="store_true", help="let everybody see it (default: private)"
    )
    parser.add_argument(
        "--revision", metavar="BRANCH", help="push to this branch, created if needed"
    )
    parser.add_argument("--message", metavar="TEXT", help="the message of the commit")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="list the files with their sizes and the metadata of the card; send nothing",
    )
    parser.epilog = (
        "The token is that of `hf auth login`, or `HF_TOKEN`. Nothing but `model/` is sent: no "
        "predictions, no rows, no paths of this machine."
    )


def execute(args: argparse.Namespace) -> Answer:
    """Push, or show what would be pushed."""
    from ftr.export.hub import pack, push
    from ftr.results.listing import about

    quiet_libraries()
    package = pack(args.run, args.repository)
    for note in package.notes:
        show(note)
    sizes = package.sizes
    data = {
        **about(args.run),
        "repository": args.repository,
        "files": sizes,
        "notes": package.notes,
    }
    if args.dry_run:
        width = max(len(f"{size:,}") for size in sizes.values())
        lines = [f"{size:>{width},}  {name}" for name, size in sizes.items()]
        text = [*lines, "", "---", package.front_matter, "---", "", "nothing was sent"]
        return Answer({**data, "card": package.front_matter, "sent": False}, "\n".join(text))
    done = push(
        package,
        args.repository,
        public=args.public,
        revision=args.revision,
        message=args.message,
    )
    if args.public and done.private:
        show(f"`{args.repository}` existed and is private: its settings on the Hub make it public")
    data |= {"url": done.url, "commit": done.commit, "sent": done.changed, "private": done.private}
    kind = "private" if done.private else "public"
    said = f"{len(sizes)} files pushed" if done.changed else "nothing changed since the last push"
    branch = f"@{args.revision}" if args.revision else ""
    lines = [
        f"{said}: {done.url} ({kind}), commit {done.commit[:12]}",
        f"next: ftr predict hub:{args.repository}{branch} FILE",
    ]
    return Answer(data, "\n".join(lines))
