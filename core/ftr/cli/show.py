"""`ftr show key=value ...`: the resolved configuration, and where each value came from."""

import json
from argparse import ArgumentParser, Namespace

from ftr.cli.answer import Answer, table
from ftr.config.parse import registry_for
from ftr.config.resolve import flat, resolve
from ftr.terminal import masked


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="as for `ftr run`, for example task=qa data.limit=100",
    )


def execute(args: Namespace) -> Answer:
    """Return every value and its origin. Raises what `ftr.config.resolve.resolve` raises."""
    resolved = resolve(args.settings, registry_for(args.settings))
    values = masked(flat(resolved.config))
    data = {
        "config": masked(resolved.config.model_dump(mode="json")),
        "values": values,
        "origins": resolved.origins,
    }
    return Answer(
        data,
        table(
            ("KEY", "VALUE", "ORIGIN"),
            [(key, _shown(value), resolved.origins[key]) for key, value in values.items()],
        ),
    )


def _shown(value: object) -> str:
    """Write a value so that it can be typed again: text bare, all else as JSON, which YAML
    reads.
    """
    return (
        value
        if isinstance(value, str) and value.strip() == value != ""
        else json.dumps(value, ensure_ascii=False)
    )
