"""Which files belong to which split, and one file to one table by its format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ftr.config.components import FILES, column_choices, flag_choices
from ftr.config.schema import SUFFIXES, FileOptions, Format
from ftr.data.columns import ID
from ftr.data.delimited import guess_delimiter, read_delimited
from ftr.data.files import bare_name, decode, read_bytes
from ftr.data.rows import PREDICT, SPLITS, SourceFile, Table
from ftr.data.shards import (
    Source,
    check_overlap,
    check_whole,
    data_files,
    joined,
    of_pattern,
    one_of_shards,
)
from ftr.data.squad import unnested
from ftr.data.tables import (
    is_saved,
    read_arrow,
    read_json,
    read_jsonl,
    read_parquet,
    saved_splits,
)
from ftr.data.text_files import (
    CONLL,
    class_files,
    class_folders,
    labelled_text,
    looks_conll,
    read_conll,
    subfolders,
    words_column,
)
from ftr.errors import ConfigError, DataError, NoRowsError
from ftr.paths import expanded, is_pattern, present
from ftr.registry.schema import RowSchema


def read_table(
    path: Path, split: str, options: FileOptions, schema: RowSchema
) -> tuple[Table, list[SourceFile]]:
    """Return the file's table and the record of each file read for it. Raises `DataError`."""
    content, source, inner = read_bytes(path)
    if form_of(path, inner, options) in _BINARY:
        table, more = table_of(content, inner, path, split, options, schema)
    else:
        text = decode(content, path, options.encoding, by_row=split == PREDICT)
        del content  # as large as the text
        table, more = _text_table(text, inner, path, split, options, schema)
    return table, [source, *more]


def may_lack_columns(path: Path, options: FileOptions) -> bool:
    """Whether rows of a file name their cells, and may leave some out."""
    ending = Path(bare_name(path)).suffix
    form = options.format if options.format != "auto" else SUFFIXES.get(ending)
    return form in ("json", "jsonl", "squad")


def table_of(
    content: bytes, inner: str, path: Path, split: str, options: FileOptions, schema: RowSchema
) -> tuple[Table, list[SourceFile]]:
    """Return the table in the unpacked content of a file (see `read_bytes`), and the record of
    each further file read for it. Raises `DataError`.
    """
    form = form_of(path, inner, options)
    if form in _BINARY:
        read = read_parquet if form == "parquet" else read_arrow
        return unnested(read(content, path), split), []
    text = decode(content, path, options.encoding, by_row=split == PREDICT)
    return _text_table(text, inner, path, split, options, schema)


_BINARY = ("parquet", "arrow")


def form_of(path: Path, inner: str, options: FileOptions) -> Format:
    """Return the format that is given, else that by the name. Raises `DataError`."""
    return options.format if options.format != "auto" else format_of(path, inner)


def _text_table(
    text: str, inner: str, path: Path, split: str, options: FileOptions, schema: RowSchema
) -> tuple[Table, list[SourceFile]]:
    form = form_of(path, inner, options)
    if form == "text":
        form = text_form(text, options, schema)
    if form == "text":
        return labelled_text(text, path, split, options, schema)
    table = parse(text, path.name, split, options, schema, form)
    if not table.records and not table.rejected:
        raise NoRowsError(f"file `{path}` holds no rows")
    return table, []


def text_form(text: str, options: FileOptions, schema: RowSchema) -> Format:
    """Return the format of a `.txt` file whose text begins so."""
    unsaid = options.format == "auto" and options.labels_file in (None, "none")
    if unsaid and _has_header(text, schema):
        return "csv"
    return "conll" if words_column(schema) and looks_conll(text) else "text"


def parse(
    text: str, name: str, split: str, options: FileOptions, schema: RowSchema, form: Format
) -> Table:
    """Return the table in `text`, which is of the textual format `form`."""
    if form in ("json", "squad"):
        return read_json(text, name, split)
    if form == "jsonl":
        return read_jsonl(text, name, split)
    if form == "tsv":
        form = tabs_form(text, name, options, schema)
    if form == "conll":
        return read_conll(text, name, split, options, schema)
    known = known_names(schema, options)
    return read_delimited(text, name, split, options, known, tabs=form == "tsv")


def tabs_form(text: str, name: str, options: FileOptions, schema: RowSchema) -> Format:
    """Return whether a TSV file whose text begins so is one, or CoNLL. Raises `DataError`."""
    if not looks_conll(text):
        return "tsv"
    if words_column(schema) and options.format == "auto":
        return "conll"
    fix = ": give `dataset.format=conll`" if words_column(schema) else ""
    raise DataError(f"file `{name}` has {CONLL}{fix}")


def format_of(path: Path, inner: str = "") -> Format:
    """Return the format by the name of the file, or of the file in it. Raises `DataError`."""
    for name in (inner, path.name):
        suffix = Path(bare_name(Path(name))).suffix
        if suffix in SUFFIXES:
            return SUFFIXES[suffix]
    raise DataError(
        f"file `{path}`: the ending `{suffix}` tells no format. Known endings: "
        f"{', '.join(SUFFIXES)} (each also packed with .gz, .bz2, .xz or .zip); or give "
        "`dataset.format=csv` (tsv, json, jsonl, parquet, arrow, squad, text, conll)"
    )


def is_conll(text: str, path: Path, options: FileOptions) -> bool:
    """Whether a file whose text begins so has words and tags in columns, by its name or content."""
    form = options.format if options.format != "auto" else format_of(path)
    return form == "conll" or (
        options.format == "auto" and form in ("text", "tsv") and looks_conll(text)
    )


def _has_header(text: str, schema: RowSchema) -> bool:
    """Whether a text file is a table: its first line names the text, and another column."""
    top = text.split("\n", 1)[0]
    cells = {cell.strip().strip('"').lower() for cell in top.split(guess_delimiter(text))}
    named = {
        column.name
        for column in (*schema.columns, ID)
        if cells & {name.lower() for name in (column.name, *column.aliases)}
    }
    needed = {column.name for column in schema.columns if column.required and not column.target}
    return len(named) > 1 and needed <= named


def known_names(schema: RowSchema, options: FileOptions) -> frozenset[str]:
    """Return the names, in lower case, that a header row for this schema may hold."""
    names = {name for column in schema.columns for name in (column.name, *column.aliases)}
    choices = column_choices(options, schema).values()
    several = [*choices, *flag_choices(options, schema)]
    names |= {choice for choice in several if isinstance(choice, str) and not choice.isdigit()}
    return frozenset(name.lower() for name in names)


_SPLIT_WORDS = {
    "train": {"train", "training"},
    "validation": {"dev", "val", "valid", "validation"},
    "test": {"test", "testing"},
}


def find_files(name: str, options: FileOptions, notes: list[str]) -> dict[str, Source]:
    """Return the source of each split, of a dataset that is a file, a folder, or `files`.

    Files of a folder that are not used are noted. A file is one split: where an option takes the
    file that was found for another split, that split is left out. Raises `DataError` when none is
    found or two could be one split.
    """
    given = {split: value for split in SPLITS if (value := getattr(options, split)) is not None}
    base = expanded(name, "dataset")
    found: dict[str, Source] = {}
    if name == FILES and not base.exists():
        if not given:
            raise ConfigError(
                "`dataset=files` needs the files: give `dataset.train=...` (and "
                "`dataset.validation=`, `dataset.test=`)"
            )
    elif base.is_dir():
        found = _in_folder(base, given, options, notes)
    elif "train" in given:
        raise ConfigError(
            f"`dataset={name}` is the training file, so `dataset.train={given['train']}` "
            "contradicts it"
        )
    else:
        found = {"train": _named(name, base, options, notes)}
    for split, value in given.items():
        if isinstance(value, str) and value.lower() == "none":
            found.pop(split, None)
        elif isinstance(value, str):
            found[split] = _named(value, base, options, notes)
        else:
            found[split] = _listed(split, value, base, options, notes)
    for source in found.values():
        for path in source.paths:
            expanded(path, "file")  # the record of a run has its name
    check_overlap(found, given, notes)
    return {split: found[split] for split in SPLITS if split in found}


def _named(
    given: str, base: Path, options: FileOptions, notes: list[str], *, whole: bool = True
) -> Source:
    """Return what a path or a pattern names, as it is or below the folder `base`."""
    folder = base if base.is_dir() else None
    if is_pattern(given) and not (folder and present(str(folder / given))):
        return of_pattern(given, options, notes, folder, whole=whole)
    path = expanded(given, "file")
    if not path.exists() and folder and (folder / path).exists():
        path = folder / path
    return _whole(path, options) if path.is_dir() else one_of_shards(path, notes)


def _listed(
    split: str, given: Sequence[str], base: Path, options: FileOptions, notes: list[str]
) -> Source:
    """Return the files of a list, in its order. Raises `DataError` for one that is there twice."""
    sources = [_named(one, base, options, [], whole=False) for one in given]
    if any(source.classes or source.paths[0].is_dir() for source in sources):
        raise DataError(f"`dataset.{split}`: a list names files, not folders")
    paths = [path for source in sources for path in source.paths]
    twice = next((path for path, count in Counter(paths).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"`dataset.{split}` has `{twice}` twice: keep one")
    return Source(tuple(paths))


def split_of(path: Path) -> str | None:
    """Return the split that the file's name tells, if it tells one."""
    # A number may stand before the word, as in `wnut17train.conll`.
    words = set(re.split(r"[^a-z0-9]+|(?<=[0-9])(?=[a-z])", bare_name(path)))
    matches = [split for split, names in _SPLIT_WORDS.items() if words & names]
    return matches[0] if len(matches) == 1 else None


def _in_folder(
    folder: Path, given: Mapping[str, Sequence[str]], options: FileOptions, notes: list[str]
) -> dict[str, Source]:
    """Return what the folder holds for each split, from its own files, else from its folders."""
    if is_saved(folder):
        names = saved_splits(folder)
        if not names:
            return {"train": Source((folder,))}
        return _by_split(folder, [Source((folder / name,)) for name in names], given, notes)
    inner = subfolders(folder)
    files = [] if options.label_from in ("file", "folder") else data_files(folder)
    units = joined(files)
    if not any(split_of(unit.paths[0]) for unit in units):
        named = {
            split: [
                source
                for path in inner
                if split_of(path) == split
                for source in _sources(path, options)
            ]
            for split in SPLITS
        }
        if found := _only(folder, named, given):
            if files:
                unused = ", ".join(path.name for path in files)
                notes.append(f"{folder.name}: files not used: {unused}")
            return found
    if units and not _are_classes(files):
        return _by_split(folder, units, given, notes)
    if by_class := _classes(folder, options):
        return _classes_by_split(by_class)
    below = inner if len(inner) == 1 else [path for path in inner if path.name == "data"]
    if below and not below[0].is_symlink():
        notes.append(f"{folder.name}: read from its folder `{below[0].name}`")
        return _in_folder(below[0], given, options, notes)
    raise DataError(
        f"folder `{folder}` holds no data files (known endings: {', '.join(SUFFIXES)}, each also "
        "packed), and no folders that are classes. Give a file, or say with "
        "`dataset.label_from=file` or `=folder` that each file or folder is a class"
    )


def _by_split(
    folder: Path, units: Sequence[Source], given: Mapping[str, Sequence[str]], notes: list[str]
) -> dict[str, Source]:
    """Return the unit that names each split; the only unit is the training split."""
    named = {
        split: [unit for unit in units if split_of(unit.paths[0]) == split] for split in SPLITS
    }
    found = _only(folder, named, given)
    if not found and not given:
        if len(units) > 1:
            names = ", ".join(f"`{unit.paths[0].name}`" for unit in units)
            raise DataError(
                f"folder `{folder}`: no file name says train, validation or test: {names}. Give "
                "`dataset.train=FILE`, or, where each file is a class, `dataset.label_from=file`"
            )
        found = {"train": units[0]}
    used = {path for split, unit in found.items() if split not in given for path in unit.paths}
    used_names = {Path(one).name for several in given.values() for one in _list(several)}
    unused = [
        path.name
        for unit in units
        for path in unit.paths
        if path not in used and path.name not in used_names
    ]
    if unused:
        notes.append(
            f"{folder.name}: files not used: {', '.join(unused)} (to use one: `dataset.test=FILE`)"
        )
    return found


def _list(value: Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _only(
    folder: Path, candidates: Mapping[str, Sequence[Source]], given: Mapping[str, Sequence[str]]
) -> dict[str, Source]:
    """Return the one source of each split. Raises `DataError` for several, unless one is given."""
    for split, several in candidates.items():
        if len(several) > 1 and split not in given:
            names = " and ".join(f"`{unit.paths[0].relative_to(folder)}`" for unit in several)
            raise DataError(
                f"folder `{folder}` has several files for {split}: {names}. Choose with "
                f"`dataset.{split}=FILE` (or `none`)"
            )
    return {split: several[0] for split, several in candidates.items() if several}


def _sources(folder: Path, options: FileOptions) -> list[Source]:
    """Return what a folder that is one split holds: classes, a saved dataset, shards, or files."""
    if is_saved(folder):
        return [Source((folder,))]
    if by_class := _classes(folder, options):
        return [_of_classes(by_class)]
    files = data_files(folder)
    stems = [Path(bare_name(path)).stem for path in files]
    if len(files) > 1 and all(map(str.isdigit, stems)):
        numbers = dict(zip(map(int, stems), files, strict=True))
        first = min(numbers)
        check_whole({number - first: path for number, path in numbers.items()})
        return [Source(tuple(numbers[number] for number in sorted(numbers)))]
    return joined(files)


def _whole(folder: Path, options: FileOptions) -> Source:
    several = _sources(folder, options)
    if len(several) != 1:
        raise DataError(
            f"folder `{folder}` holds {len(several) or 'no'} data files for one split: give the "
            f"file itself, or all by a pattern such as `{folder}/*.csv`"
        )
    return several[0]


def _classes(folder: Path, options: FileOptions) -> list[tuple[str, Path]]:
    """Return class -> its folder of texts, or its file with a text a line, if there are such."""
    form = options.label_from
    if form == "column":
        return []
    if form != "file":
        found = class_folders(folder, known=form == "folder")
        if form == "auto":
            found = [(name, path) for name, path in found if split_of(path) is None]
        if found or form == "folder":
            return found
    return class_files(folder, SUFFIXES, known=form == "file")


def _are_classes(files: Sequence[Path]) -> bool:
    """Whether data files are texts of a class each."""
    return all(Path(bare_name(path)).suffix == ".txt" for path in files) and bool(
        class_files(files[0].parent, SUFFIXES, known=False)
    )


def _classes_by_split(by_class: Sequence[tuple[str, Path]]) -> dict[str, Source]:
    groups: dict[str, list[tuple[str, Path]]] = {}
    for name, path in by_class:
        split = None if path.is_dir() else split_of(path)
        groups.setdefault(split or "train", []).append((name, path))
    return {split: _of_classes(pairs) for split, pairs in groups.items()}


def _of_classes(pairs: Sequence[tuple[str, Path]]) -> Source:
    return Source(tuple(path for _, path in pairs), tuple(name for name, _ in pairs))
