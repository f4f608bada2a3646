"""Whether a plugin was made for this ftr, and finds what it requires: read from its metadata, before anything of it is imported."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

OWN = "ftr"
_UNKNOWN_VERSION = "0+unknown"
_PLAIN = re.compile(r"\s*\w([\w.-]*\w)?\s*")
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


def lacking(requires: Iterable[str], extras: Iterable[str]) -> str:
    """Return which other distributions that one requires (`Requires-Dist`) are missing or of another version, "" for none.

    Those of an extra count where it is one of `extras`, which the entry point names.
    """
    faults = [fault for line in requires if not _OWN_REQUIREMENT.match(line) and (fault := _fault(line, ("", *extras)))]
    return f"it requires {', and '.join(faults)}" if faults else ""


def _fault(line: str, extras: Iterable[str]) -> str:
    if _PLAIN.fullmatch(line):  # needs no parser, which takes long to import
        return "" if installed(line.strip()) else f"`{line.strip()}`, which is not installed"
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import InvalidVersion

    try:
        wanted = Requirement(line)
        if wanted.marker is not None and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
            return ""
        found = installed(wanted.name)
        if found is None:
            return f"`{wanted.name}{wanted.specifier}`, which is not installed"
        met = wanted.specifier.contains(found, prereleases=True)
    except InvalidRequirement:
        return f"`{line}`, which cannot be read"
    except InvalidVersion:
        return ""
    return "" if met else f"`{wanted.name}{wanted.specifier}`, but {found} is installed"


@cache
def installed(name: str) -> str | None:
    """Return the version of a distribution, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
