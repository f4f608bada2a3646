"""Run as a program of its own: loads the plugins as any `ftr` command does, and writes as JSON what
that did to the process.
"""

import json
import sys

from ftr.registry.discovery import discover

HEAVY = (
    *(
        "torch",
        "transformers",
        "datasets",
        "evaluate",
        "ray",
        "pydantic",
        "numpy",
        "pandas",
        "pyarrow",
        "scipy",
        "sklearn",
    ),
    *("tensorflow", "jax", "matplotlib", "nltk", "spacy"),
)
"""What no `ftr list` may wait for."""


def main() -> None:
    """Write one line: which heavy packages were imported, and of each plugin its notes and what
    changes from call to call.
    """
    before = set(sys.modules)
    first = discover()
    imported = {name.partition(".")[0] for name in set(sys.modules) - before}
    second = discover()
    plugins = [
        {
            "name": one.name,
            "distribution": one.distribution,
            "notes": one.notes,
            "steady": one.specs == two.specs,
        }
        for one, two in zip(first, second, strict=True)
    ]
    print(json.dumps({"heavy": [name for name in HEAVY if name in imported], "plugins": plugins}))


if __name__ == "__main__":
    main()
