"""Whether a plugin was made for this ftr: read from its metadata, before anything of it is imported."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

OWN = "ftr"
_UNKNOWN_VERSION = "0+unknown"
_OWN_REQUIREMENT = re.compile(r"\s*ftr(?![\w.-]*\w)", re.IGNORECASE)


@cache
def own_version() -> str:
    """Return the version of the installed `ftr`, or `0+unknown` when it runs from files that were never installed."""
    try:
        return version(OWN)
    except PackageNotFoundError:
        return _UNKNOWN_VERSION


def unmet(requires: Iterable[str], extras: Iterable[str]) -> str | None:
    """Return why this ftr is not one that a distribution was made for, from what it requires (`Requires-Dist`), or None."""
    own = own_version()
    lines = [line for line in requires if _OWN_REQUIREMENT.match(line)]
    if not lines or own == _UNKNOWN_VERSION:
        return None
    # Not at the top: it takes longer than everything else `ftr list` does, and most plugins bound nothing.
    from packaging.requirements import Requirement

    for requirement in map(Requirement, lines):
        applies = requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        if applies and not requirement.specifier.contains(own, prereleases=True):
            return f"it requires `{OWN}{requirement.specifier}` and this is {OWN} {own}; install a version of it made for {OWN} {own}"
    return None
