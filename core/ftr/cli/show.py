"""`ftr show key=value ...`: print the resolved configuration and the origin of each value."""

import json
from argparse import ArgumentParser, Namespace

from ftr.cli.main import Answer
from ftr.config.found import with_found
from ftr.config.parse import registry_for
from ftr.config.resolve import flat, resolve
from ftr.data.infer import settings_with_task
from ftr.tables import table
from ftr.terminal import masked, show

EXAMPLES = (
    "ftr show task=qa",
    "ftr show task=sentiment learning_rate=3e-5 train",
)


def configure(parser: ArgumentParser) -> None:
    """Add settings."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key=value",
        help="the settings of `ftr run`, for example task=qa data.limit=100",
    )


def execute(args: Namespace) -> Answer:
    """Return every value and its origin. Raises what `ftr.config.resolve.resolve` raises."""
    given = with_found(args.settings)
    registry = registry_for(given)
    resolved = resolve(settings_with_task(given, registry, show), registry)
    values = masked(flat(resolved.config))
    rows = [(key, _text(value), resolved.origins[key]) for key, value in values.items()]
    data = {
        "config": masked(resolved.config.model_dump(mode="json")),
        "values": values,
        "origins": resolved.origins,
    }
    return Answer(data, "\n".join(table([("key", "value", "origin"), *rows])))


def _text(value: object) -> str:
    """Return a value as a user can type it: a string bare, everything else as JSON, which is YAML
    too.
    """
    bare = isinstance(value, str) and value.strip() == value != ""
    return str(value) if bare else json.dumps(value, ensure_ascii=False)
