"""Which files belong to which split, and one file to one table by its format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftr.config.components import SUFFIXES, column_choices
from ftr.config.schema import FileOptions, Format
from ftr.data.columns import ID
from ftr.data.files import bare_name, decode, read_bytes
from ftr.data.rows import PREDICT, SPLITS, SourceFile, Table
from ftr.data.squad import unnested
from ftr.data.tables import (
    guess_delimiter,
    is_saved,
    read_arrow,
    read_delimited,
    read_json,
    read_jsonl,
    read_parquet,
    read_saved,
    saved_splits,
)
from ftr.data.text_files import (
    WAY_OUT,
    class_files,
    class_folders,
    is_labels_file,
    labelled_text,
    looks_conll,
    read_classes,
    read_conll,
    reads_tokens,
)
from ftr.errors import ConfigError, DataError
from ftr.paths import expanded
from ftr.registry.schema import RowSchema


def read_source(
    paths: Sequence[Path],
    classes: Sequence[str],
    split: str,
    options: FileOptions,
    schema: RowSchema,
) -> Iterator[tuple[Path, Table, list[SourceFile]]]:
    """Yield each file of a split, or its classes together, as a table, with the record of each file
    that was read for it.
    """
    if classes:
        yield paths[0], *read_classes(classes, paths, split, options, schema)
        return
    for path in paths:
        yield (
            path,
            *(read_saved(path) if path.is_dir() else read_table(path, split, options, schema)),
        )


def read_table(
    path: Path, split: str, options: FileOptions, schema: RowSchema
) -> tuple[Table, list[SourceFile]]:
    """Return the file's table and the record of each file that was read for it.

    Raises `DataError`.
    """
    content, source, inner = read_bytes(path)
    form = options.format if options.format != "auto" else format_of(path, inner)
    if form in ("parquet", "arrow"):
        return unnested(
            (read_parquet if form == "parquet" else read_arrow)(content, path), split
        ), [source]
    text = decode(content, path, options.encoding, by_row=split == PREDICT)
    if (
        form == "text"
        and options.format == "auto"
        and options.labels_file in (None, "none")
        and _has_header(text, schema)
    ):
        form = "csv"
    if form == "text" and not (reads_tokens(schema) and looks_conll(text)):
        table, more = labelled_text(text, path, split, options, schema)
        return table, [source, *more]
    table = parse(text, path.name, split, options, schema, "conll" if form == "text" else form)
    if not table.records and not table.rejected:
        raise DataError(f"file `{path}` holds no rows")
    return table, [source]


def parse(
    text: str, name: str, split: str, options: FileOptions, schema: RowSchema, form: Format
) -> Table:
    """Return the table in `text`, which is of the textual format `form`."""
    if form in ("json", "squad"):
        return read_json(text, name, split)
    if form == "jsonl":
        return read_jsonl(text, name, split)
    if form == "tsv" and looks_conll(text):
        raise DataError(
            f"file `{name}` has {WAY_OUT}"
            + (": give `dataset.format=conll`" if reads_tokens(schema) else "")
        )
    if form == "conll":
        return read_conll(text, name, split, options, schema)
    return read_delimited(
        text, name, split, options, known_names(schema, options), tabs=form == "tsv"
    )


def format_of(path: Path, inner: str = "") -> Format:
    """Return the format that the name tells, or that of the file packed in it.

    Raises `DataError` when it tells none.
    """
    for name in (inner, path.name):
        suffix = Path(bare_name(Path(name))).suffix
        if suffix in SUFFIXES:
            return SUFFIXES[suffix]
    raise DataError(
        f"file `{path}`: the ending `{suffix}` tells no format. Known endings: "
        f"{', '.join(SUFFIXES)} (each also packed with .gz, .bz2, .xz or .zip); or give "
        "`dataset.format=csv` (tsv, json, jsonl, parquet, arrow, squad, text, conll)"
    )


def _has_header(text: str, schema: RowSchema) -> bool:
    """Whether a text file is a table: its first line names the text, and another column."""
    top = text.split("\n", 1)[0]
    cells = {cell.strip().strip('"').lower() for cell in top.split(guess_delimiter(text))}
    names = [
        {name.lower() for name in (column.name, *column.aliases)}
        for column in (*schema.columns, ID)
    ]
    needed = [
        known
        for known, column in zip(names, schema.columns, strict=False)
        if column.required and not column.target
    ]
    return sum(bool(known & cells) for known in names) > 1 and all(
        known & cells for known in needed
    )


def known_names(schema: RowSchema, options: FileOptions) -> frozenset[str]:
    """Return the names, in lower case, that a header row for this schema may hold."""
    names = {name for column in schema.columns for name in (column.name, *column.aliases)}
    names |= {
        str(choice)
        for choice in column_choices(options, schema).values()
        if isinstance(choice, str) and not choice.isdigit()
    }
    return frozenset(name.lower() for name in names)


FILES = "files"
_WORDS = {
    "train": {"train", "training"},
    "validation": {"dev", "val", "valid", "validation"},
    "test": {"test", "testing"},
}
_NOT_DATA = {"readme", "license", "licence", "citation", "changelog"}
_SHARD = re.compile(r"(?P<stem>.*?)[-_.]?(?P<number>\d+)-of-(?P<total>\d+)(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Source:
    """What a split is read from: a file or its shards, a folder of `save_to_disk`, or, with
    `classes`, a path for each class.
    """

    paths: tuple[Path, ...]
    classes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How messages name it."""
        if self.classes:
            return f"{self.paths[0].parent.name}/"
        more = len(self.paths) - 1
        return self.paths[0].name + (f" and {more} more shards" if more else "")


def find_files(name: str, options: FileOptions, notes: list[str]) -> dict[str, Source]:
    """Return split -> what it is read from for a dataset that is a file, a folder, or `files` (then
    every file is an option).

    Files of a folder that are not used are noted. A file is one split: where an option takes the
    file that was found for another split, that split is left out. Raises `DataError` when none is
    found or two could be one split.
    """
    given = {split: value for split in SPLITS if (value := getattr(options, split)) is not None}
    base = expanded(name, "dataset")
    if name == FILES and not base.exists():
        if "train" not in given and not given:
            raise ConfigError(
                "`dataset=files` needs the files: give `dataset.train=...` (and "
                "`dataset.validation=`, `dataset.test=`)"
            )
        found: dict[str, Source] = {}
    elif base.is_dir():
        found = _in_folder(base, given, options, notes)
    else:
        if "train" in given:
            raise ConfigError(
                f"`dataset={name}` is the training file, so `dataset.train={given['train']}` "
                "contradicts it"
            )
        found = {"train": _one_of_shards(base, notes)}
    for split, value in given.items():
        if value.lower() == "none":
            found.pop(split, None)
        else:
            path = _resolve(value, base)
            found[split] = _whole(path, options) if path.is_dir() else _one_of_shards(path, notes)
    _check_overlap(found, given, notes)
    return {split: found[split] for split in SPLITS if split in found}


def split_of(path: Path) -> str | None:
    """Return the split that the file's name tells, if it tells one."""
    words = set(re.split(r"[^a-z0-9]+", bare_name(path)))
    matches = [split for split, names in _WORDS.items() if words & names]
    return matches[0] if len(matches) == 1 else None


def _check_overlap(found: dict[str, Source], given: Mapping[str, str], notes: list[str]) -> None:
    """Leave out a split that was found in a file which an option gives to another.

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


def _in_folder(
    folder: Path, given: Mapping[str, str], options: FileOptions, notes: list[str]
) -> dict[str, Source]:
    """Return what the folder holds for each split, from its own files, else from its folders."""
    if is_saved(folder):
        names = saved_splits(folder)
        return (
            _by_split(folder, [Source((folder / name,)) for name in names], given, notes)
            if names
            else {"train": Source((folder,))}
        )
    inner = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))
    )
    named = [path for path in inner if split_of(path)]
    files = (
        []
        if options.label_from in ("file", "folder")
        else sorted(path for path in folder.iterdir() if _is_data(path))
    )
    units = _units(files)
    if named and not any(split_of(unit.paths[0]) for unit in units):
        found: dict[str, list[Source]] = {split: [] for split in SPLITS}
        for path in named:
            found[split_of(path) or ""] += _wholes(path, options)
        for split, several in found.items():
            _check_one(folder, split, several, given)
        if any(found.values()):
            if files:
                notes.append(
                    f"{folder.name}: files not used: {', '.join(path.name for path in files)}"
                )
            return {split: several[0] for split, several in found.items() if several}
    if units and not _are_classes(files):
        return _by_split(folder, units, given, notes)
    by_class = _classes(folder, options)
    if by_class:
        return _classes_by_split(by_class)
    below = (
        inner[0] if len(inner) == 1 else next((path for path in inner if path.name == "data"), None)
    )
    if below is not None and not below.is_symlink():
        notes.append(f"{folder.name}: read from its folder `{below.name}`")
        return _in_folder(below, given, options, notes)
    raise DataError(
        f"folder `{folder}` holds no data files (known endings: {', '.join(SUFFIXES)}, each also "
        "packed), and no folders that are classes. Give a file, or say with "
        "`dataset.label_from=file` or `=folder` that each file or folder is a class"
    )


def _by_split(
    folder: Path, units: Sequence[Source], given: Mapping[str, str], notes: list[str]
) -> dict[str, Source]:
    by_split = {
        split: [unit for unit in units if split_of(unit.paths[0]) == split] for split in SPLITS
    }
    found: dict[str, Source] = {}
    for split, candidates in by_split.items():
        _check_one(folder, split, candidates, given)
        if candidates:
            found[split] = candidates[0]
    if not found and not given:
        if len(units) > 1:
            names = ", ".join(f"`{unit.paths[0].name}`" for unit in units)
            raise DataError(
                f"folder `{folder}`: no file name says train, validation or test: {names}. Give "
                "`dataset.train=FILE`, or, where each file is a class, `dataset.label_from=file`"
            )
        found = {"train": units[0]}
    chosen = {path for split, unit in found.items() if split not in given for path in unit.paths}
    named = {Path(value).name for value in given.values()}
    unused = [
        path.name
        for unit in units
        for path in unit.paths
        if path not in chosen and path.name not in named
    ]
    if unused:
        notes.append(
            f"{folder.name}: files not used: {', '.join(unused)} (to use one: `dataset.test=FILE`)"
        )
    return found


def _check_one(
    folder: Path, split: str, candidates: Sequence[Source], given: Mapping[str, str]
) -> None:
    if len(candidates) > 1 and split not in given:
        several = " and ".join(f"`{unit.paths[0].relative_to(folder)}`" for unit in candidates)
        raise DataError(
            f"folder `{folder}` has several files for {split}: {several}. Choose with "
            f"`dataset.{split}=FILE` (or `none`)"
        )


def _units(files: Sequence[Path]) -> list[Source]:
    """Return the files, those that are shards of one (`-00000-of-00003`) together.

    Raises `DataError` where a shard is missing.
    """
    groups: dict[tuple[str, str, str], dict[int, Path]] = {}
    for path in files:
        match = _SHARD.fullmatch(bare_name(path))
        if match is None:
            groups[path.name, "", ""] = {0: path}
            continue
        shards = groups.setdefault((match["stem"], match["total"], Path(match["rest"]).suffix), {})
        if int(match["number"]) in shards:
            raise DataError(
                f"`{shards[int(match['number'])]}` and `{path.name}` are the same shard: remove "
                "one of them"
            )
        shards[int(match["number"])] = path
    return [_joined(shards, total) for (_, total, _), shards in groups.items()]


def _joined(shards: Mapping[int, Path], total: str) -> Source:
    paths = tuple(shards[number] for number in sorted(shards))
    if total:
        first = 1 if min(shards) == 1 and len(shards) == int(total) else 0
        missing = next(
            (number for number in range(first, first + int(total)) if number not in shards), None
        )
        if missing is not None:
            raise DataError(
                f"of `{paths[0].name}` {len(shards)} of {int(total)} shards are there: number "
                f"{missing} is missing. Fetch it, or give one of them alone: `dataset={paths[0]}`"
            )
    return Source(paths)


def _one_of_shards(path: Path, notes: list[str]) -> Source:
    match = _SHARD.fullmatch(bare_name(path))
    if match is not None and int(match["total"]) > 1:
        notes.append(
            f"{path.name}: one of {int(match['total'])} shards; the folder as `dataset=` reads all"
        )
    return Source((path,))


def _wholes(folder: Path, options: FileOptions) -> list[Source]:
    """Return what a folder that is one split holds: classes, a saved dataset, shards, or files."""
    if is_saved(folder):
        return [Source((folder,))]
    by_class = _classes(folder, options)
    if by_class:
        return [Source(tuple(path for _, path in by_class), tuple(name for name, _ in by_class))]
    files = sorted(path for path in folder.iterdir() if _is_data(path))
    if len(files) > 1 and all(Path(bare_name(path)).stem.isdigit() for path in files):
        numbers = {int(Path(bare_name(path)).stem): path for path in files}
        return [
            _joined(
                {number - min(numbers): path for number, path in numbers.items()},
                str(max(numbers) - min(numbers) + 1),
            )
        ]
    return _units(files)


def _whole(folder: Path, options: FileOptions) -> Source:
    several = _wholes(folder, options)
    if len(several) != 1:
        raise DataError(
            f"folder `{folder}` holds {len(several) or 'no'} data files for one split: give the "
            "file itself"
        )
    return several[0]


def _classes(folder: Path, options: FileOptions) -> list[tuple[str, Path]]:
    """Return class -> its folder of texts, or its file with a text a line, where the folder is
    clearly of that form or said to be.
    """
    if options.label_from == "column":
        return []
    found = (
        []
        if options.label_from == "file"
        else class_folders(folder, known=options.label_from == "folder")
    )
    found = [
        (name, path)
        for name, path in found
        if options.label_from == "folder" or split_of(path) is None
    ]
    return found or (
        []
        if options.label_from == "folder"
        else class_files(folder, SUFFIXES, known=options.label_from == "file")
    )


def _are_classes(files: Sequence[Path]) -> bool:
    """Whether data files are texts of a class each."""
    return all(Path(bare_name(path)).suffix == ".txt" for path in files) and bool(
        class_files(files[0].parent, SUFFIXES, known=False)
    )


def _classes_by_split(by_class: Sequence[tuple[str, Path]]) -> dict[str, Source]:
    groups: dict[str, list[tuple[str, Path]]] = {}
    for name, path in by_class:
        groups.setdefault((None if path.is_dir() else split_of(path)) or "train", []).append(
            (name, path)
        )
    return {
        split: Source(tuple(path for _, path in pairs), tuple(name for name, _ in pairs))
        for split, pairs in groups.items()
    }


def _is_data(path: Path) -> bool:
    bare = Path(bare_name(path))
    hidden = path.name.startswith(".") or bare.stem in _NOT_DATA
    return path.is_file() and not hidden and bare.suffix in SUFFIXES and not is_labels_file(path)


def _resolve(value: str, base: Path) -> Path:
    path = expanded(value, "file")
    inside = base / path
    return inside if not path.exists() and base.is_dir() and inside.exists() else path
