"""Plain text: one text per line, a folder per class, or words and tags in columns (CoNLL)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from ftr.config.schema import FileOptions
from ftr.data.files import bare_name, decode, read_bytes
from ftr.data.rows import PREDICT, Rejected, SourceFile, Table
from ftr.data.tables import few_values
from ftr.errors import DataError
from ftr.paths import expanded
from ftr.registry.schema import Column, RowSchema

_TAG = re.compile(r"O|[BIESLU]-\S+")
_LOOKED_AT = 2000
WAY_OUT = (
    "words and tags in columns, with a blank line between sentences: each sentence is a list of "
    "words, for a head that reads such lists, such as `token-classification` of the example "
    "package `ftr-ner`"
)


def reads_tokens(schema: RowSchema) -> bool:
    """Whether rows of the schema have a list of words."""
    return _words(schema) is not None


def looks_conll(text: str) -> bool:
    """Whether lines have a word and its tag in the first and last column, and a blank line between
    sentences.
    """
    lines = text.split("\n", _LOOKED_AT)[:_LOOKED_AT]
    cells = [_cells(line, _delimiter(lines)) for line in lines]
    full = [line for line in cells if len(line) > 1]
    blanks = sum(1 for line in lines[:-1] if not line.strip())
    tags = sum(
        1
        for line in full
        if _TAG.fullmatch(line[-1]) and not any(char.isspace() for char in line[0])
    )
    return (
        bool(full)
        and blanks > 0
        and tags >= 0.9 * sum(1 for line in cells if line)
        and any(line[-1] != "O" for line in full)
    )


def read_conll(text: str, name: str, split: str, options: FileOptions, schema: RowSchema) -> Table:
    """Return a row for each sentence: the column of words, and the last column as its tags, unless
    options name others by number.

    Lines that begin with `#` and `-DOCSTART-` are no words. A sentence with a line of another width
    is rejected. Raises `DataError` where the schema has no list of words.
    """
    words, tags = _words(schema), schema.classes
    if words is None:
        needed = ", ".join(f"`{column.name}`" for column in schema.columns if column.required)
        raise DataError(f"file `{name}` has {WAY_OUT}; this head reads {needed}")
    lines = text.removesuffix("\n").split("\n")
    delimiter = options.delimiter or _delimiter(lines)
    width = Counter(len(_cells(line, delimiter)) for line in lines if line.strip()).most_common(1)[
        0
    ][0]
    columns = [str(number) for number in range(width)]
    columns[0] = words.name
    if width > 1 and tags is not None:
        columns[-1] = tags.name
    table = Table(columns)
    for number, sentence, ragged in _sentences(lines, delimiter, width):
        if ragged:
            row = {"line": lines[ragged - 1][:200], "expected": width}
            table.rejected.append(
                Rejected(
                    f"{name}:{ragged}", split, "wrong number of columns", row, len(table.records)
                )
            )
        else:
            table.records.append([list(column) for column in zip(*sentence, strict=True)])
            table.places.append(f"{name}:{number}")
    if not table.records and not table.rejected:
        raise DataError(f"file `{name}` holds no sentences")
    if width > 1 and tags is not None:
        table.notes.append(
            f"{name}: words in column 0, {tags.name} in column {width - 1} (others: "
            f"`dataset.{tags.name}=NUMBER`)"
        )
    return table


def _sentences(
    lines: list[str], delimiter: str, width: int
) -> Iterator[tuple[int, list[list[str]], int]]:
    """Yield the first line of each sentence, its words with all their columns, and the line that
    has another width (0: none).
    """
    start, ragged = 0, 0
    sentence: list[list[str]] = []
    for number, line in enumerate([*lines, ""], start=1):
        cells = _cells(line, delimiter)
        if not line.strip() or cells[0].startswith("-DOCSTART-"):
            if sentence or ragged:
                yield start, sentence, ragged
            start, sentence, ragged = 0, [], 0
        elif line.startswith("#") and len(cells) != width:
            continue
        else:
            start = start or number
            ragged = ragged or (number if len(cells) != width else 0)
            sentence.append(cells)


def _cells(line: str, delimiter: str) -> list[str]:
    line = line.removesuffix("\r")
    return (
        line.split()
        if delimiter in ("", " ")
        else [cell.strip() for cell in line.rstrip().split(delimiter)]
        if line.strip()
        else []
    )


def _delimiter(lines: list[str]) -> str:
    """Return the tab where most lines have one, else nothing: any white space."""
    full = [line for line in lines if line.strip()]
    return "\t" if sum("\t" in line for line in full) > len(full) / 2 else ""


def _words(schema: RowSchema) -> Column | None:
    return next(
        (column for column in schema.columns if column.type == "tokens" and column.required), None
    )


_UNLABELLED = {"unsup", "unsupervised", "unlabeled", "unlabelled"}
_CLASS_WORDS = {
    "pos",
    "neg",
    "positive",
    "negative",
    "neutral",
    "neu",
    "ham",
    "spam",
    "toxic",
    "clean",
    "true",
    "false",
    "fake",
    "real",
}
_CLASS_WORDS |= {"subjective", "objective", "subj", "obj", "quote", "plot", "yes", "no"}


def class_folders(folder: Path, *, known: bool) -> list[tuple[str, Path]]:
    """Return the folders in `folder` that hold texts, by their names: two or more, unless it is
    `known` that they are classes.
    """
    inner = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))
    )
    found = [(path.name, path) for path in inner if _holds_texts(path)]
    labelled = [name for name, _ in found if name.lower() not in _UNLABELLED]
    return found if len(labelled) > 1 or (known and found) else []


def class_files(folder: Path, endings: Collection[str], *, known: bool) -> list[tuple[str, Path]]:
    """Return the files of one class each: `x.pos` and `x.neg`, `pos.txt` and `neg.txt`, or any when
    it is `known` that they are.

    `endings` are those that tell a format.
    """
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and "readme" not in path.name.lower()
    )
    texts = [path for path in files if Path(bare_name(path)).suffix == ".txt"]
    if len(texts) > 1 and (known or all(_class_word(path) in _CLASS_WORDS for path in texts)):
        return [(_stem(path) if known else _class_word(path), path) for path in texts]
    others = [
        path for path in files if (suffix := Path(bare_name(path)).suffix) and suffix not in endings
    ]
    several = len({Path(bare_name(path)).suffix for path in others}) > 1
    if several and (known or all(path.suffix[1:].lower() in _CLASS_WORDS for path in others)):
        return [(path.suffix[1:], path) for path in others]
    return []


def read_classes(
    classes: Sequence[str],
    paths: Sequence[Path],
    split: str,
    options: FileOptions,
    schema: RowSchema,
) -> tuple[Table, list[SourceFile]]:
    """Return the texts of all classes as a table.

    A file in a folder is one text; a file by itself has one a line.

    Raises `DataError` when the schema wants more than one text, or no single class.
    """
    needed = [
        column.name
        for column in schema.columns
        if column.type == "text" and column.required and not column.target
    ]
    others = [
        column.name
        for column in schema.columns
        if column.required and column.type not in ("text", "label")
    ]
    if len(needed) != 1 or schema.classes is None or schema.classes.type != "label" or others:
        names = ", ".join(f"`{name}`" for name in [*needed, *others])
        raise DataError(
            f"`{paths[0].parent}` holds a text a file or a line, with its class, but a row needs "
            f"{names}. Give CSV, JSON or JSONL"
        )
    table, sources = Table([needed[0], schema.classes.name]), []
    for name, path in zip(classes, paths, strict=True):
        if name.lower() in _UNLABELLED:
            table.notes.append(
                f"{split}: the texts in `{path.name}` have no labels, so they are set aside"
            )
            continue
        if path.is_dir():
            sources.append(_folder(table, name, path, split, options))
        else:
            content, source, _ = read_bytes(path)
            sources.append(source)
            for number, line in enumerate(
                decode(content, path, options.encoding).removesuffix("\n").split("\n"), start=1
            ):
                table.records.append([line.removesuffix("\r"), name])
                table.places.append(f"{path.name}:{number}")
    what = "folders" if paths[0].is_dir() else "files"
    labelled = [name for name in classes if name.lower() not in _UNLABELLED]
    table.notes.append(
        f"{split}: classes from the names of {len(labelled)} {what} (otherwise: "
        "`dataset.label_from=column`)"
    )
    return table, sources


def _folder(table: Table, name: str, folder: Path, split: str, options: FileOptions) -> SourceFile:
    digest, size = hashlib.sha256(), 0
    for path in sorted(_texts(folder), key=lambda path: (len(path.name), path.name)):
        content = path.read_bytes()
        digest.update(f"{path.name}\n{len(content)}\n".encode(errors="surrogateescape") + content)
        size += len(content)
        place = f"{folder.name}/{path.name}:1"
        try:
            text = decode(content, path, options.encoding) if content else ""
        except DataError:
            row = {"text": content[:200]}
            table.rejected.append(
                Rejected(
                    place,
                    split,
                    f"text is not UTF-8 text: not {options.encoding}",
                    row,
                    len(table.records),
                )
            )
            continue
        table.records.append([text, name])
        table.places.append(place)
    return SourceFile(str(folder), digest.hexdigest(), size)


def _texts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]


def _holds_texts(folder: Path) -> bool:
    """Whether a folder's files are texts: `.txt`, or without an ending, or numbered as those of 20
    Newsgroups.
    """
    names = [path.name.lower() for path in _texts(folder)]
    return bool(names) and all(
        name.endswith(".txt") or "." not in name or name.rpartition(".")[2].isdigit()
        for name in names
    )


def _class_word(path: Path) -> str:
    """Return the word of a file's name that is a class, or the name."""
    words = re.split(r"[^a-z0-9]+", _stem(path).lower())
    return next((word for word in reversed(words) if word in _CLASS_WORDS), _stem(path))


def _stem(path: Path) -> str:
    return Path(path.name[: len(bare_name(path))]).stem


MAPPING = "mapping.txt"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_FASTTEXT = "__label__"
_MARKED = re.compile(_FASTTEXT + r"\S+|[A-Za-z][\w-]*:[\w-]+")
_WORDS = {
    "pos",
    "neg",
    "neu",
    "positive",
    "negative",
    "neutral",
    "ham",
    "spam",
    "true",
    "false",
    "fake",
    "real",
    "yes",
    "no",
}
_SEPARATORS = ("\t", "@", "|", ";", ",", "#")
_MOST_MARKED = 200
_MATCHING = 0.95
"""Share of the lines that must have a label for it to be one."""

Cut = Callable[[str], tuple[str, str]]
"""From a line to its text and its label; both are empty where the line has none."""


def labels_beside(path: Path) -> Path | None:
    """Return `x_labels.txt` for `x_text.txt` when it stands in the same folder."""
    name = re.sub(r"(^|[_.-])texts?(?=\.)", r"\1labels", path.name, count=1)
    beside = path.with_name(name)
    return beside if name != path.name and beside.is_file() else None


def is_labels_file(path: Path) -> bool:
    """Whether this is the labels file of a text file beside it, or names the labels."""
    texts = (
        re.sub(r"(^|[_.-])labels(?=\.)", rf"\1{word}", path.name, count=1)
        for word in ("text", "texts")
    )
    return path.name == MAPPING or any(
        name != path.name and path.with_name(name).is_file() for name in texts
    )


def labelled_text(
    text: str, path: Path, split: str, options: FileOptions, schema: RowSchema
) -> tuple[Table, list[SourceFile]]:
    """Return texts and labels as a table, and the records of the files beside.

    Raises `DataError` naming both line counts.
    """
    texts = [
        column for column in schema.columns if column.type in ("text", "tokens") and column.required
    ]
    if len(texts) != 1:
        names = ", ".join(f"`{column.name}`" for column in texts)
        raise DataError(
            f"file `{path}` is plain text, but a row needs {names}. Give CSV, JSON or JSONL"
        )
    table = text_table(text, path.name, texts[0].name)
    if split == PREDICT or schema.label is None or (options.labels_file or "").lower() == "none":
        return table, []
    labels = (
        expanded(options.labels_file, "`dataset.labels_file`:")
        if options.labels_file
        else labels_beside(path)
    )
    if labels is None:
        single = schema.classes is not None and schema.classes.type == "label"
        return (
            _with_labels(table, path.name, split, options, schema.label) if single else table
        ), []
    return table, _add_labels(table, path, labels, schema.label, options.encoding)


def text_table(text: str, name: str, column: str) -> Table:
    """Return one record per line; a last line end begins no row."""
    lines = text.removesuffix("\n").split("\n")
    places = [f"{name}:{number}" for number in range(1, len(lines) + 1)]
    return Table([column], [[line.removesuffix("\r")] for line in lines], places)


def named_classes(path: Path, encoding: str) -> tuple[dict[str, str], SourceFile] | None:
    """Return key -> name of the classes, in id order, that `mapping.txt` beside a file gives
    (`0<TAB>negative`), and its record.
    """
    mapping = path.with_name(MAPPING)
    if not mapping.is_file():
        return None
    lines, source = _read_lines(mapping, encoding)
    pairs = [line.strip().split(None, 1) for line in lines]
    names = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
    if all(_NUMBER.fullmatch(key) for key in names):
        names = dict(sorted(names.items(), key=lambda item: float(item[0])))
    return (names, source) if names else None


def _add_labels(
    table: Table, path: Path, labels: Path, column: str, encoding: str
) -> list[SourceFile]:
    values, source = _read_lines(labels, encoding)
    if len(values) != len(table.records):
        raise DataError(
            f"`{path}` has {len(table.records)} lines and its labels file `{labels}` has "
            f"{len(values)}: they must agree"
        )
    table.columns.append(column)
    for record, value in zip(table.records, values, strict=True):
        record.append(value.removesuffix("\r"))
    table.notes.append(
        f"{path.name}: labels from {labels.name} (others: `dataset.labels_file=FILE`)"
    )
    return [source]


def _with_labels(table: Table, name: str, split: str, options: FileOptions, column: str) -> Table:
    """Return texts and the labels on their lines, where it is clear which part of a line the label
    is. Raises `DataError` where not.
    """
    lines = [str(record[0]) for record in table.records]
    full = [line for line in lines if line.strip()]
    if looks_conll("\n".join(lines)):
        raise DataError(f"file `{name}` has {WAY_OUT}")
    chosen = _clear_cut(full, options.delimiter)
    if chosen is None:
        raise DataError(
            f"file `{name}` has one text a line, and no label on each line that is clear. Give a "
            "file with one label a line as `dataset.labels_file=FILE`, or what stands between "
            "text and label as `dataset.delimiter=` (`tab`, `space` or a character); a table with "
            "named columns is read with `dataset.format=csv` or `tsv`"
        )
    what, cut = chosen
    found = Table([*table.columns, column], header=True, notes=list(table.notes))
    for line, place in zip(lines, table.places, strict=True):
        text, label = cut(line)
        if label and text:
            found.records.append([text, label.removeprefix(_FASTTEXT)])
            found.places.append(place)
        else:
            found.rejected.append(
                Rejected(
                    place,
                    split,
                    "no label on the line" if line.strip() else "empty text",
                    {"line": line},
                    len(found.records),
                )
            )
    found.notes.append(
        f"{name}: {what} is taken as its label (otherwise: `dataset.labels_file=FILE`, or "
        "`dataset.delimiter=`)"
    )
    return found


def _clear_cut(lines: Sequence[str], delimiter: str | None) -> tuple[str, Cut] | None:
    """Return the one way to cut the lines into text and label that gives few labels, each of them
    often.
    """
    cuts: list[tuple[str, Cut]] = []
    if delimiter is None:
        cuts += [("the first word of a line", _first_word), ("the last word of a line", _last_word)]
    for mark in _SEPARATORS if delimiter is None else (delimiter,):
        shown = {"\t": "tab", " ": "blank"}.get(mark, f"`{mark}`")
        cuts += [
            (f"the text after the last {shown}", _after(mark)),
            (f"the text before the first {shown}", _before(mark)),
        ]
    words = (_first_word, _last_word)
    clear = [
        (what, cut)
        for what, cut in cuts
        if _is_clear([cut(line) for line in lines], word=cut in words)
    ]
    return clear[0] if len(clear) == 1 else None


def _is_clear(parts: Sequence[tuple[str, str]], *, word: bool) -> bool:
    """Whether labels look like labels: nearly every line has one, each is there often, and a word
    among others looks like no word.
    """
    found = [label for text, label in parts if label and text]
    if not found or len(found) < _MATCHING * len(parts):
        return False
    counts = Counter(found)
    if len(counts) < 2 or len(found) < 2 * len(counts):
        return False
    if word:
        if all(_MARKED.fullmatch(label) for label in counts):
            return len(counts) <= _MOST_MARKED and not any(
                text.startswith(_FASTTEXT) for text, _ in parts
            )
        plain = all(_NUMBER.fullmatch(label) for label in counts) or all(
            label.lower() in _WORDS for label in counts
        )
        return plain and few_values(found)
    return few_values(found) and all(len(label.split()) <= 3 for label in counts)


def _first_word(line: str) -> tuple[str, str]:
    label, _, text = line.strip().partition(" ")
    return ("", "") if "\t" in label else (text.strip(), label.strip())


def _last_word(line: str) -> tuple[str, str]:
    text, _, label = line.strip().rpartition(" ")
    return ("", "") if "\t" in label else (text.strip(), label.strip())


def _after(mark: str) -> Cut:
    def cut(line: str) -> tuple[str, str]:
        text, _, label = line.strip("\r\n").rpartition(mark)
        return text.strip(), label.strip()

    return cut


def _before(mark: str) -> Cut:
    def cut(line: str) -> tuple[str, str]:
        label, _, text = line.strip("\r\n").partition(mark)
        return text.strip(), label.strip()

    return cut


def _read_lines(path: Path, encoding: str) -> tuple[list[str], SourceFile]:
    content, source, _ = read_bytes(path)
    return decode(content, path, encoding).removesuffix("\n").split("\n"), source
