"""What a person reads on stdout and stderr: control characters are made visible, secrets are masked."""

import re
import sys
from typing import TextIO

from ftr.masking import mask

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return text in which a terminal finds nothing to obey: escape sequences, BEL, CR and changes of direction become `\u001b`.

    Line ends and tabs stay. In JSON such characters stand only inside strings, where they read back as what they were.
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def show(text: str, stream: TextIO | None = None, *, end: str = "\n") -> None:
    """Print text for a person, at once, to stderr unless another stream is given."""
    print(visible(mask(text)), file=stream or sys.stderr, end=end, flush=True)


def answer(text: str) -> None:
    """Print what a command answers on stdout. Nothing is masked: JSON reads back exactly."""
    print(visible(text))
