"""`ftr schema [key=value ...]`: print the configuration as JSON Schema, for editors."""

from argparse import ArgumentParser, Namespace

from ftr.cli.main import Answer
from ftr.terminal import show

EXAMPLES = (
    "ftr schema",
    "ftr schema task=qa --sweep",
)


def configure(parser: ArgumentParser) -> None:
    """Add settings and the kind of schema."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="a task (task=qa), whose values are the defaults of the schema",
    )
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="print the schema of `ftr sweep`: search expressions as values, and the sweep's keys",
    )


def execute(args: Namespace) -> Answer:
    """Return the schema, which is JSON without `--json` too.

    Raises what `ftr.config.resolve.resolve` raises.
    """
    from ftr.config.found import with_found
    from ftr.config.json_schema import json_schema, sweep_schema
    from ftr.config.parse import registry_for
    from ftr.config.resolve import resolve
    from ftr.data.infer import settings_with_task

    given = with_found(args.settings)
    registry = registry_for(given)
    settings = settings_with_task(given, registry, show)
    # Found settings alone may name no task.
    known = bool(args.settings) or "task" in settings
    schema = json_schema(registry, resolve(settings, registry) if known else None)
    answer = Answer(sweep_schema(schema) if args.sweep else schema, "")
    return Answer(answer.data, answer.json())
