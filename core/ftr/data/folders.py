"""Texts whose place says their class: a folder of texts for each class (the raw IMDb form), or a file with a text a line for each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ftr.data.files import bare_name, decode, read_bytes
from ftr.data.options import FileOptions
from ftr.data.rows import Rejected, SourceFile, Table
from ftr.data.schema import RowSchema
from ftr.errors import DataError

_UNLABELLED = {"unsup", "unsupervised", "unlabeled", "unlabelled"}
_CLASS_WORDS = {"pos", "neg", "positive", "negative", "neutral", "neu", "ham", "spam", "toxic", "clean", "true", "false", "fake", "real"}
_CLASS_WORDS |= {"subjective", "objective", "subj", "obj", "quote", "plot", "yes", "no"}


def class_folders(folder: Path, *, known: bool) -> list[tuple[str, Path]]:
    """Return the folders in `folder` that hold texts, by their names: two or more, unless it is `known` that they are classes."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    found = [(path.name, path) for path in inner if _holds_texts(path)]
    labelled = [name for name, _ in found if name.lower() not in _UNLABELLED]
    return found if len(labelled) > 1 or (known and found) else []


def class_files(folder: Path, endings: Collection[str], *, known: bool) -> list[tuple[str, Path]]:
    """Return the files of one class each: `x.pos` and `x.neg`, `pos.txt` and `neg.txt`, or any when it is `known` that they are.

    `endings` are those that tell a format.
    """
    files = sorted(
        path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".") and "readme" not in path.name.lower()
    )
    texts = [path for path in files if Path(bare_name(path)).suffix == ".txt"]
    if len(texts) > 1 and (known or all(_class_word(path) in _CLASS_WORDS for path in texts)):
        return [(_stem(path) if known else _class_word(path), path) for path in texts]
    others = [path for path in files if (suffix := Path(bare_name(path)).suffix) and suffix not in endings]
    several = len({Path(bare_name(path)).suffix for path in others}) > 1
    if several and (known or all(path.suffix[1:].lower() in _CLASS_WORDS for path in others)):
        return [(path.suffix[1:], path) for path in others]
    return []


def read_classes(
    classes: Sequence[str], paths: Sequence[Path], split: str, options: FileOptions, schema: RowSchema
) -> tuple[Table, list[SourceFile]]:
    """Return the texts of all classes as a table. A file in a folder is one text; a file by itself has one a line.

    Raises `DataError` when the schema wants more than one text, or no single class.
    """
    needed = [column.name for column in schema.columns if column.type == "text" and column.required and not column.target]
    others = [column.name for column in schema.columns if column.required and column.type not in ("text", "label")]
    if len(needed) != 1 or schema.classes is None or schema.classes.type != "label" or others:
        names = ", ".join(f"`{name}`" for name in [*needed, *others])
        raise DataError(
            f"`{paths[0].parent}` holds a text a file or a line, with its class, but a row needs {names}. Give CSV, JSON or JSONL"
        )
    table, sources = Table([needed[0], schema.classes.name]), []
    for name, path in zip(classes, paths, strict=True):
        if name.lower() in _UNLABELLED:
            table.notes.append(f"{split}: the texts in `{path.name}` have no labels, so they are set aside")
            continue
        if path.is_dir():
            sources.append(_folder(table, name, path, split, options))
        else:
            content, source, _ = read_bytes(path)
            sources.append(source)
            for number, line in enumerate(decode(content, path, options.encoding).removesuffix("\n").split("\n"), start=1):
                table.records.append([line.removesuffix("\r"), name])
                table.places.append(f"{path.name}:{number}")
    what = "folders" if paths[0].is_dir() else "files"
    labelled = [name for name in classes if name.lower() not in _UNLABELLED]
    table.notes.append(f"{split}: classes from the names of {len(labelled)} {what} (otherwise: `dataset.label_from=column`)")
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
            table.rejected.append(Rejected(place, split, f"text is not UTF-8 text: not {options.encoding}", row, len(table.records)))
            continue
        table.records.append([text, name])
        table.places.append(place)
    return SourceFile(str(folder), digest.hexdigest(), size)


def _texts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]


def _holds_texts(folder: Path) -> bool:
    """Whether a folder's files are texts: `.txt`, or without an ending, or numbered as those of 20 Newsgroups."""
    names = [path.name.lower() for path in _texts(folder)]
    return bool(names) and all(name.endswith(".txt") or "." not in name or name.rpartition(".")[2].isdigit() for name in names)


def _class_word(path: Path) -> str:
    """Return the word of a file's name that is a class, or the name."""
    words = re.split(r"[^a-z0-9]+", _stem(path).lower())
    return next((word for word in reversed(words) if word in _CLASS_WORDS), _stem(path))


def _stem(path: Path) -> str:
    return Path(path.name[: len(bare_name(path))]).stem
