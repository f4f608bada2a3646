"""Shards: the files of one split, by their numbers, by a pattern or as a list."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftr.config.schema import SUFFIXES, FileOptions
from ftr.data.files import bare_name
from ftr.data.rows import Table
from ftr.data.text_files import is_labels_file, visible
from ftr.errors import DataError
from ftr.paths import expanded


@dataclass(frozen=True, slots=True)
class Source:
    """What a split is read from: a file or its shards, or a folder of `save_to_disk`.

    With `classes` it is a path for each class.
    """

    paths: tuple[Path, ...]
    classes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in messages."""
        if self.classes:
            return f"{self.paths[0].parent.name}/"
        more = len(self.paths) - 1
        return self.paths[0].name + (f" and {more} more shards" if more else "")


_OF = re.compile(r"(?P<stem>.*?)[-_.]?(?P<number>\d+)-of-(?P<total>\d+)(?P<rest>.*)", re.DOTALL)
_PART = re.compile(
    r"(?P<stem>(?:.*[-_.])?(?:part|shard|chunk)[-_.]?(?:[mr]-)?)(?P<number>\d+)(?P<rest>.*)",
    re.DOTALL,
)
_NUMBERED = re.compile(r"(?P<stem>(?:.*[-_.])?)(?P<number>\d{3,})(?P<rest>\.[a-z]\w*)", re.DOTALL)
"""A number of three digits or more may be one of a row, or a year: see `_is_row`."""
_PIECE = re.compile(r"[-.]c(\d+)(?=\.)")
"""The number of a file among those that one task of Spark wrote."""
_NOT_DATA = {"readme", "license", "licence", "citation", "changelog"}
_DIGITS = re.compile(r"(\d+)")


def natural(path: Path) -> list[tuple[int, str]]:
    """Return a key to sort paths by, numbers in them by their value."""
    return [
        (int(part), "") if part.isdigit() and len(part) < 30 else (-1, part)
        for part in _DIGITS.split(str(path))
    ]


def data_files(folder: Path) -> list[Path]:
    """Return the files in a folder whose endings tell a format, sorted."""
    return [path for path in visible(folder) if path.is_file() and _is_data(path)]


def _is_data(path: Path) -> bool:
    bare = Path(bare_name(path))
    return bare.suffix in SUFFIXES and bare.stem not in _NOT_DATA and not is_labels_file(path)


def joined(files: Sequence[Path], *, whole: bool = True) -> list[Source]:
    """Return the files, those that are numbered (`-00000-of-00003`, `part-00000`) as one.

    Raises `DataError` for a shard that is there twice and, if they are to be `whole`, for one that
    is missing.
    """
    groups: dict[tuple[str, ...], dict[tuple[int, int], Path]] = {}
    for path in sorted(files, key=natural):
        key, number = _key(path)
        other = groups.setdefault(key, {}).setdefault(number, path)
        if other is not path:
            raise DataError(f"`{other}` and `{path.name}` are the same shard: remove one of them")
    found = []
    for (kind, *_, total), shards in groups.items():
        if kind == "numbered" and not _is_row(shards):
            found += [Source((path,)) for path in shards.values()]
            continue
        if whole and (kind == "of" or len(shards) > 1):
            check_whole({number: path for (number, _), path in shards.items()}, int(total))
        found.append(Source(tuple(shards[number] for number in sorted(shards))))
    return sorted(found, key=lambda source: files.index(source.paths[0]))


def _key(path: Path) -> tuple[tuple[str, ...], tuple[int, int]]:
    """Return what the shards of a row have in common, with their total (0: unknown), and the number
    of this one.
    """
    name = bare_name(path)
    folder = str(path.parent)
    if match := _OF.fullmatch(name):
        ending = Path(match["rest"]).suffix
        return ("of", folder, match["stem"], ending, match["total"]), (int(match["number"]), 0)
    for kind, pattern in (("part", _PART), ("numbered", _NUMBERED)):
        if match := pattern.fullmatch(name):
            piece = _PIECE.search(match["rest"])
            rest = _PIECE.sub("", match["rest"])
            number = int(match["number"]), int(piece[1]) if piece else 0
            return (kind, folder, match["stem"], rest, "0"), number
    return ("file", folder, path.name, "", "0"), (0, 0)


def _is_row(shards: Iterable[tuple[int, int]]) -> bool:
    """Whether numbers begin as those of shards do, and not as years or ids do."""
    return min(shards)[0] in (0, 1)


def check_whole(shards: Mapping[int, Path], total: int = 0) -> None:
    """Raise `DataError` for a gap in shards that are numbered from 0 or 1; `total` 0: as many as
    the last number says.
    """
    first = 1 if min(shards) == 1 and total in (0, len(shards)) else 0
    total = total or max(shards) + 1 - first
    missing = next((n for n in range(first, first + total) if n not in shards), None)
    if missing is not None:
        one = shards[min(shards)]
        pattern = _DIGITS.sub("*", one.name, count=1)
        raise DataError(
            f"of `{one.name}` {len(shards)} of {total} shards are there: number {missing} is "
            f"missing from `{one.parent}`. Fetch it; or, to use those that are there, give them "
            f"as a list: `dataset.train=[{one.parent / pattern}]`"
        )


def one_of_shards(path: Path, notes: list[str]) -> Source:
    """Return a file; that it is one of several shards is noted."""
    match = _OF.fullmatch(bare_name(path))
    if match is not None and int(match["total"]) > 1:
        notes.append(
            f"{path.name}: one of {int(match['total'])} shards; the folder as `dataset=` reads all"
        )
    return Source((path,))


def of_pattern(
    given: str, options: FileOptions, notes: list[str], base: Path | None = None, *, whole: bool
) -> Source:
    """Return the files that a pattern matches, also below the folder `base`, in the order of their
    numbers; hidden ones, and those of Spark that begin with `_`, are left out.

    Raises `DataError` where there are none, and if they are to be `whole`, for a gap.
    """
    pattern = str(expanded(given, "file"))
    found = _matching(pattern)
    if not found and base is not None:
        found = _matching(str(Path(glob.escape(str(base))) / pattern))
    if not found:
        raise DataError(f"`{given}` matches no file. Give a pattern such as `data/part-*.parquet`")
    files = [path for path in found if options.format != "auto" or _is_data(path)] or found
    if unused := [path.name for path in found if path not in files]:
        notes.append(f"{given}: files not used: {', '.join(sorted(unused)[:20])}")
    paths = [path for source in joined(files, whole=whole) for path in source.paths]
    return Source(tuple(sorted(paths, key=natural)))


def _matching(pattern: str) -> list[Path]:
    asked = Path(pattern).parts
    return [
        path
        for path in map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207 (it knows `**`)
        if path.is_file()
        and not any(part.startswith("_") and part not in asked for part in path.parts)
    ]


def check_overlap(
    found: dict[str, Source], given: Mapping[str, Sequence[str]], notes: list[str]
) -> None:
    """Leave out a split whose file an option gives to another split.

    Raises `DataError` where options give both.
    """
    owners: dict[tuple[int, int], str] = {}
    for split in sorted(found, key=lambda split: split not in given):
        for path in found[split].paths:
            if not path.exists():
                continue
            status = path.stat()
            owner = owners.setdefault((status.st_dev, status.st_ino), split)
            if owner == split:
                continue
            if split in given or owner not in given:
                raise DataError(
                    f"`{path}` is given for {owner} and for {split}: a file is one split. Give "
                    f"another, or `dataset.{split}=none`"
                )
            notes.append(
                f"{split}: `{path.name}` is used for {owner} (`dataset.{owner}`), so it is not "
                f"{split} as well"
            )
            del found[split]
            break


class SameColumns:
    """Checks that the shards of a split have the columns of the first, with values of one kind.

    `known` are names in lower case: of JSON, where an object may lack keys, only these count.
    """

    def __init__(self, known: frozenset[str]) -> None:
        self.known = known
        self.first: tuple[Path, Table] | None = None

    def check(self, path: Path, table: Table, *, optional: bool) -> None:
        """Raise `DataError` naming the shard and how it differs; with `optional` rows may lack
        columns.
        """
        if self.first is None:
            like = Table(table.columns, header=table.header, types=table.types)
            like.classes = table.classes
            self.first = path, like
            return
        other, like = self.first
        difference = (
            self._of_names(table, like, other.name, optional)
            or _of_header(table, like, other.name)
            or _of_types(table, like, other.name)
        )
        if difference:
            raise DataError(
                f"`{path}` {difference}. The shards of a split have the same columns: write it "
                "again, or leave it out with a list (`dataset.train=[FILE,FILE]`)"
            )

    def _of_names(self, table: Table, like: Table, other: str, optional: bool) -> str:
        if not (table.header and like.header):
            same = len(table.columns) == len(like.columns) or table.header != like.header
            width = f"has {len(table.columns)} columns, and `{other}` has {len(like.columns)}"
            return "" if same else width
        here, there = (
            [name for name in one.columns if not optional or name.lower() in self.known]
            for one in (table, like)
        )
        more = [name for name in here if name not in there]
        less = [name for name in there if name not in here]
        parts = [f"lacks {_quoted(less)}"] if less else []
        parts += [f"adds {_quoted(more)}"] if more else []
        return f"has other columns than `{other}`: it {' and '.join(parts)}" if parts else ""


def _of_header(table: Table, like: Table, other: str) -> str:
    if table.header == like.header:
        return ""
    has, lacks = ("has", "has none") if table.header else ("has no", "has one")
    return f"{has} header row, and `{other}` {lacks} (`dataset.header=true` or `false` decides)"


def _of_types(table: Table, like: Table, other: str) -> str:
    if not (table.types and like.types):
        return ""
    known = dict(zip(like.columns, like.types, strict=True))
    for name, kind in zip(table.columns, table.types, strict=True):
        if name not in known:
            continue
        here, there = _kind(kind), _kind(known[name])
        if here != there and "null" not in (here, there):
            return f"has `{name}` as {kind}, and `{other}` as {known[name]}"
        if (name in table.classes) != (name in like.classes) and "null" not in (here, there):
            what = ("names", "none") if name in table.classes else ("no names", "some")
            return f"has {what[0]} for the classes of `{name}`, and `{other}` has {what[1]}"
    return ""


def _kind(kind: object) -> str:
    """Return what values of an Arrow type are; types of one kind mean the same."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _kind(kind.value_type)  # type: ignore[attr-defined]
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if str(kind).removeprefix("large_") in ("string", "binary", "string_view", "binary_view"):
        return "text"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return f"list of {_kind(kind.value_type)}"  # type: ignore[attr-defined]
    if types.is_timestamp(kind):
        return "time"
    if types.is_struct(kind):
        fields = sorted((field.name, _kind(field.type)) for field in kind)  # type: ignore[attr-defined]
        return f"object of {fields}"
    return str(kind)


def _quoted(names: Sequence[str]) -> str:
    more = ", …" if len(names) > 6 else ""
    return ", ".join(f"`{name[:60]}`" for name in names[:6]) + more
