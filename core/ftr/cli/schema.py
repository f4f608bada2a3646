"""`ftr schema [key=value ...]`: the configuration as JSON Schema, for editors and for other
programs.
"""

from argparse import ArgumentParser, Namespace

from ftr.cli.answer import Answer, dumps
from ftr.config.json_schema import json_schema, sweep_schema
from ftr.config.parse import registry_for
from ftr.config.resolve import resolve


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="a task (task=qa): its values are the defaults of the schema",
    )
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="what `ftr sweep` takes: expressions for values too, and the sweep's own keys",
    )


def execute(args: Namespace) -> Answer:
    """Return the schema; as text and with `--json` it is the same.

    Raises what `ftr.config.resolve.resolve` raises.
    """
    registry = registry_for(args.settings)
    schema = json_schema(registry, resolve(args.settings, registry) if args.settings else None)
    if args.sweep:
        schema = sweep_schema(schema)
    return Answer(schema, dumps(schema))
