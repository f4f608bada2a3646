"""Plain text: one text per line, a folder per class, or words and tags in columns (CoNLL)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftr.config.schema import FileOptions
from ftr.data.files import bare_name, decode, lines_of, read_lines
from ftr.data.rows import PREDICT, SourceFile, Table
from ftr.data.tables import few_values, reject
from ftr.errors import DataError
from ftr.paths import expanded
from ftr.registry.schema import Column, RowSchema

_TAG = re.compile(r"O|[BIESLU]-\S+")
_SAMPLE = 2000
"""Lines that are looked at to tell CoNLL from other text."""
CONLL = (
    "words and tags in columns, with a blank line between sentences: each sentence is a list of "
    "words, for a head that reads such lists (`task=ner`)"
)


def words_column(schema: RowSchema) -> Column | None:
    """Return the column of words that rows of the schema need, if there is one."""
    return next(
        (column for column in schema.columns if column.type == "tokens" and column.required), None
    )


def looks_conll(text: str) -> bool:
    """Whether lines have a word first and its tag last, and a blank line between sentences."""
    lines = text.split("\n", _SAMPLE)[:_SAMPLE]
    delimiter = _delimiter(lines)
    cells = [line for line in (_cells(line, delimiter) for line in lines) if line]
    tags = [
        line[-1]
        for line in cells
        if len(line) > 1
        and _TAG.fullmatch(line[-1])
        and (delimiter or not any(char.isspace() for char in line[0]))
    ]
    return (
        len(tags) >= 0.9 * len(cells)
        and any(len(line) > 1 and line[-1] != "O" for line in cells)
        and any(not line.strip() for line in lines[:-1])
    )


def read_conll(text: str, name: str, split: str, options: FileOptions, schema: RowSchema) -> Table:
    """Return a row for each sentence: column 0 as its words, and the last column as its tags.

    Lines that begin with `#` and `-DOCSTART-` are skipped. A sentence with a line of another width
    is rejected. Raises `DataError` where the schema has no list of words.
    """
    words, tags = words_column(schema), schema.classes
    if words is None:
        needed = ", ".join(f"`{column.name}`" for column in schema.columns if column.required)
        raise DataError(f"file `{name}` has {CONLL}; this head reads {needed}")
    lines = text.removesuffix("\n").split("\n")
    delimiter = options.delimiter or _delimiter(lines)
    widths = Counter(len(_cells(line, delimiter)) for line in lines if line.strip())
    width = widths.most_common(1)[0][0] if widths else 0
    table = Table(list(map(str, range(width))))
    for number, sentence, ragged in _sentences(lines, delimiter, width):
        if ragged:
            row = {"line": lines[ragged - 1][:200], "expected": width}
            reject(table, f"{name}:{ragged}", split, "wrong number of columns", row)
        else:
            table.records.append([list(column) for column in zip(*sentence, strict=True)])
            table.places.append(f"{name}:{number}")
    if not table.records and not table.rejected:
        raise DataError(f"file `{name}` holds no sentences")
    first = 1 if width > 2 and _are_numbered(table.records) else 0
    if width:
        table.columns[first] = words.name
    if tags is not None and width > first + 1:
        table.columns[-1] = tags.name
        table.notes.append(
            f"{name}: words in column {first}, {tags.name} in column {width - 1} (others: "
            f"`dataset.{tags.name}=NUMBER`)"
        )
    return table


def _are_numbered(sentences: Sequence[Sequence[object]]) -> bool:
    """Whether the first column numbers the words of each sentence from 1, as CoNLL-U does."""
    return bool(sentences) and all(
        one[0] == [str(number) for number in range(1, len(one[0]) + 1)]
        for one in sentences
        if isinstance(one[0], list)
    )


def _sentences(
    lines: list[str], delimiter: str, width: int
) -> Iterator[tuple[int, list[list[str]], int]]:
    """Yield the first line of each sentence, its cells, and its line of another width (0: none)."""
    start, ragged = 0, 0
    sentence: list[list[str]] = []
    for number, line in enumerate([*lines, ""], start=1):
        cells = _cells(line, delimiter)
        if not line.strip() or cells[0].startswith("-DOCSTART-"):
            if sentence:
                yield start, sentence, ragged
            start, sentence, ragged = 0, [], 0
        elif len(cells) == width or not line.startswith("#"):
            start = start or number
            ragged = ragged or (number if len(cells) != width else 0)
            sentence.append(cells)


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter in ("", " ") or not line.strip():
        return line.split()
    return [cell.strip() for cell in line.rstrip().split(delimiter)]


def _delimiter(lines: list[str]) -> str:
    """Return the tab where most lines have one, else nothing: any white space."""
    full = [line for line in lines if line.strip()]
    return "\t" if sum("\t" in line for line in full) > len(full) / 2 else ""


_UNLABELLED = {"unsup", "unsupervised", "unlabeled", "unlabelled"}
_POLAR = {"pos", "neg", "neu", "positive", "negative", "neutral", "ham", "spam"}
_POLAR |= {"true", "false", "fake", "real", "yes", "no"}
"""Words that are a label where they begin or end nearly every line."""
_CLASS_WORDS = _POLAR | {"toxic", "clean", "subjective", "objective", "subj", "obj"}
_CLASS_WORDS |= {"quote", "plot"}
"""Words that are a class in the name of a file."""


def visible(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted, without hidden entries."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder that may hold data."""
    return [path for path in visible(folder) if path.is_dir() and not path.name.startswith("__")]


def class_folders(folder: Path, *, known: bool) -> list[tuple[str, Path]]:
    """Return the folders with texts, by name: two or more, unless they are `known` classes."""
    found = [(path.name, path) for path in subfolders(folder) if _holds_texts(path)]
    labelled = [name for name, _ in found if name.lower() not in _UNLABELLED]
    return found if known or len(labelled) > 1 else []


def class_files(folder: Path, endings: Collection[str], *, known: bool) -> list[tuple[str, Path]]:
    """Return the files of one class each: `x.pos` and `x.neg`, `pos.txt` and `neg.txt`.

    Where they are `known` to be classes, any names do. `endings` are those that tell a format.
    """
    suffixes = {
        path: Path(bare_name(path)).suffix
        for path in visible(folder)
        if path.is_file() and "readme" not in path.name.lower()
    }
    texts = [path for path, suffix in suffixes.items() if suffix == ".txt"]
    if len(texts) > 1 and (known or all(_class_word(path) in _CLASS_WORDS for path in texts)):
        return [(_stem(path) if known else _class_word(path), path) for path in texts]
    others = {path: suffix for path, suffix in suffixes.items() if suffix and suffix not in endings}
    if len(set(others.values())) > 1 and (
        known or all(path.suffix[1:].lower() in _CLASS_WORDS for path in others)
    ):
        return [(path.suffix[1:], path) for path in others]
    return []


def read_classes(
    classes: Sequence[tuple[str, Path]], split: str, options: FileOptions, schema: RowSchema
) -> tuple[Table, list[SourceFile]]:
    """Return the texts of all classes, each with its path, as a table.

    A file in a folder is one text; a file by itself has one a line. Raises `DataError` when the
    schema wants more than one text, or no single class.
    """
    needed = [column for column in schema.columns if column.required and column.type != "label"]
    label, first = schema.classes, classes[0][1]
    if [column.type for column in needed] != ["text"] or label is None or label.type != "label":
        names = ", ".join(f"`{column.name}`" for column in needed)
        raise DataError(
            f"`{first.parent}` holds a text a file or a line, with its class, but a row needs "
            f"{names}. Give CSV, JSON or JSONL"
        )
    table, sources, labelled = Table([needed[0].name, label.name]), [], 0
    for name, path in classes:
        if name.lower() in _UNLABELLED:
            table.notes.append(
                f"{split}: the texts in `{path.name}` have no labels, so they are set aside"
            )
            continue
        labelled += 1
        if path.is_dir():
            sources.append(_add_folder(table, name, path, split, options))
        else:
            lines, source = read_lines(path, options.encoding)
            sources.append(source)
            table.records += [[line, name] for line in lines]
            table.places += [f"{path.name}:{number}" for number in range(1, len(lines) + 1)]
    table.notes.append(
        f"{split}: classes from the names of {labelled} {'folders' if first.is_dir() else 'files'} "
        "(otherwise: `dataset.label_from=column`)"
    )
    return table, sources


def _add_folder(
    table: Table, name: str, folder: Path, split: str, options: FileOptions
) -> SourceFile:
    """Add the texts of a folder, each a file, with the class `name`."""
    digest, size = hashlib.sha256(), 0
    for path in sorted(_texts(folder), key=lambda path: (len(path.name), path.name)):
        content = path.read_bytes()
        digest.update(f"{path.name}\n{len(content)}\n".encode(errors="surrogateescape") + content)
        size += len(content)
        place = f"{folder.name}/{path.name}:1"
        try:
            text = decode(content, path, options.encoding) if content else ""
        except DataError:
            cause = f"text is not UTF-8 text: not {options.encoding}"
            reject(table, place, split, cause, {"text": content[:200]})
        else:
            table.records.append([text, name])
            table.places.append(place)
    return SourceFile(str(folder), digest.hexdigest(), size)


def _texts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]


def _holds_texts(folder: Path) -> bool:
    """Whether its files end in `.txt`, have no ending, or a number as those of 20 Newsgroups."""
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
_SEPARATORS = ("\t", "@", "|", ";", ",", "#")
_MOST_MARKED = 200
_MATCHING = 0.95
"""Share of the lines that must have a label for it to be one."""


def labels_beside(path: Path) -> Path | None:
    """Return `x_labels.txt` for `x_text.txt` when it is in the same folder."""
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
    """Return texts and labels, and the records of the files beside. Raises `DataError`."""
    texts = text_columns(schema)
    if len(texts) != 1:
        names = ", ".join(f"`{name}`" for name in texts)
        raise DataError(
            f"file `{path}` is plain text, but a row needs {names}. Give CSV, JSON or JSONL"
        )
    table = text_table(text, path.name, texts[0])
    if split == PREDICT or schema.classes is None or (options.labels_file or "").lower() == "none":
        return table, []
    labels = (
        expanded(options.labels_file, "`dataset.labels_file`:")
        if options.labels_file
        else labels_beside(path)
    )
    if labels is not None:
        return table, [_add_labels(table, path, labels, schema.classes.name, options.encoding)]
    if schema.classes.type == "label":
        table = _with_labels(table, path.name, split, options, schema.classes.name)
    return table, []


def text_columns(schema: RowSchema) -> list[str]:
    """Return the columns that plain text could be: those a row needs that hold text or words."""
    return [
        column.name
        for column in schema.columns
        if column.type in ("text", "tokens") and column.required
    ]


def text_table(text: str, name: str, column: str) -> Table:
    """Return one record per line; a last line end begins no row."""
    lines = lines_of(text)
    places = [f"{name}:{number}" for number in range(1, len(lines) + 1)]
    return Table([column], [[line] for line in lines], places)


def named_classes(path: Path, encoding: str) -> tuple[dict[str, str], SourceFile] | None:
    """Return key -> class name, in id order, from `mapping.txt` beside a file, and its record.

    A line is `0<TAB>negative`.
    """
    mapping = path.with_name(MAPPING)
    if not mapping.is_file():
        return None
    lines, source = read_lines(mapping, encoding)
    pairs = [line.strip().split(None, 1) for line in lines]
    names = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
    if all(_NUMBER.fullmatch(key) for key in names):
        names = dict(sorted(names.items(), key=lambda item: float(item[0])))
    return (names, source) if names else None


def _add_labels(table: Table, path: Path, labels: Path, column: str, encoding: str) -> SourceFile:
    values, source = read_lines(labels, encoding)
    if len(values) != len(table.records):
        raise DataError(
            f"`{path}` has {len(table.records)} lines and its labels file `{labels}` has "
            f"{len(values)}: they must agree"
        )
    table.columns.append(column)
    for record, value in zip(table.records, values, strict=True):
        record.append(value)
    table.notes.append(
        f"{path.name}: labels from {labels.name} (others: `dataset.labels_file=FILE`)"
    )
    return source


def _with_labels(table: Table, name: str, split: str, options: FileOptions, column: str) -> Table:
    """Return texts and the labels on their lines. Raises `DataError` where these are not clear."""
    lines = [str(record[0]) for record in table.records]
    if looks_conll("\n".join(lines)):
        raise DataError(f"file `{name}` has {CONLL}")
    cut = _clear_cut([line for line in lines if line.strip()], options.delimiter)
    if cut is None:
        raise DataError(
            f"file `{name}` has one text a line, and no label on each line that is clear. Give a "
            "file with one label a line as `dataset.labels_file=FILE`, or what stands between "
            "text and label as `dataset.delimiter=` (`tab`, `space` or a character); a table with "
            "named columns is read with `dataset.format=csv` or `tsv`"
        )
    found = Table([*table.columns, column], notes=table.notes)
    for line, place in zip(lines, table.places, strict=True):
        text, label = cut(line)
        if label and text:
            found.records.append([text, label.removeprefix(_FASTTEXT)])
            found.places.append(place)
        else:
            cause = "no label on the line" if line.strip() else "empty text"
            reject(found, place, split, cause, {"line": line})
    found.notes.append(
        f"{name}: {cut} is taken as its label (otherwise: `dataset.labels_file=FILE`, or "
        "`dataset.delimiter=`)"
    )
    return found


@dataclass(frozen=True, slots=True)
class _Cut:
    """A way to divide a line into text and label: at the first or last `mark`.

    The label is before the first mark, or after the last. Without a mark it is a word.
    """

    first: bool
    mark: str = ""

    def __call__(self, line: str) -> tuple[str, str]:
        """Return the text and the label; both are empty where the line has none."""
        line = line.strip("\r\n") if self.mark else line.strip()
        mark = self.mark or " "
        label, _, text = line.partition(mark) if self.first else line.rpartition(mark)[::-1]
        if not self.mark and "\t" in label:
            return "", ""
        return text.strip(), label.strip()

    def __str__(self) -> str:
        if not self.mark:
            return f"the {'first' if self.first else 'last'} word of a line"
        shown = {"\t": "tab", " ": "blank"}.get(self.mark, f"`{self.mark}`")
        return f"the text {'before the first' if self.first else 'after the last'} {shown}"


def _clear_cut(lines: Sequence[str], delimiter: str | None) -> _Cut | None:
    """Return the one way to cut the lines that gives few labels, each of them often."""
    marks = ("", *_SEPARATORS) if delimiter is None else (delimiter,)
    cuts = [
        _Cut(first, mark)
        for mark in marks
        if sum((mark or " ") in line for line in lines) >= _MATCHING * len(lines)
        for first in (True, False)
    ]
    clear = [cut for cut in cuts if _is_clear(list(map(cut, lines)), word=not cut.mark)]
    return clear[0] if len(clear) == 1 else None


def _is_clear(parts: Sequence[tuple[str, str]], *, word: bool) -> bool:
    """Whether nearly every line has a label, each is frequent, and words look like labels."""
    found = [label for text, label in parts if label and text]
    labels = set(found)
    if len(found) < _MATCHING * len(parts) or not 2 <= len(labels) <= len(found) / 2:
        return False
    if word and all(map(_MARKED.fullmatch, labels)):
        return len(labels) <= _MOST_MARKED and not any(
            text.startswith(_FASTTEXT) for text, _ in parts
        )
    if word:
        plain = all(map(_NUMBER.fullmatch, labels)) or {one.lower() for one in labels} <= _POLAR
    else:
        plain = all(len(label.split()) <= 3 for label in labels)
    return plain and few_values(found)
