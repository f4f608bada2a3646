"""Which files are which split: named by option, found in a folder by their names, or one file for all."""

import re
from collections.abc import Mapping
from pathlib import Path

from ftr.data.files import bare_name
from ftr.data.formats import SUFFIXES
from ftr.data.options import FileOptions
from ftr.data.rows import SPLITS
from ftr.data.text_labels import is_labels_file
from ftr.errors import ConfigError, DataError
from ftr.paths import expanded

FILES = "files"
_WORDS = {
    "train": {"train", "training"},
    "validation": {"dev", "val", "valid", "validation"},
    "test": {"test", "testing"},
}
_NOT_DATA = {"readme", "license", "licence", "citation", "changelog"}


def find_files(name: str, options: FileOptions, notes: list[str]) -> dict[str, Path]:
    """Return split -> file for a dataset that is a file, a folder, or `files` (then every file is an option).

    Files of a folder that are not used are noted. Raises `DataError` when none is found or two could be one split.
    """
    given = {split: value for split in SPLITS if (value := getattr(options, split)) is not None}
    base = expanded(name, "dataset")
    if name == FILES and not base.exists():
        if "train" not in given and not given:
            raise ConfigError("`dataset=files` needs the files: give `dataset.train=...` (and `dataset.validation=`, `dataset.test=`)")
        found: dict[str, Path] = {}
    elif base.is_dir():
        found = _in_folder(base, given, notes)
    else:
        if "train" in given:
            raise ConfigError(f"`dataset={name}` is the training file, so `dataset.train={given['train']}` contradicts it")
        found = {"train": base}
    for split, value in given.items():
        if value.lower() == "none":
            found.pop(split, None)
        else:
            found[split] = _resolve(value, base)
    return {split: found[split] for split in SPLITS if split in found}


def split_of(path: Path) -> str | None:
    """Return the split that the file's name tells, if it tells one."""
    words = set(re.split(r"[^a-z0-9]+", bare_name(path)))
    matches = [split for split, names in _WORDS.items() if words & names]
    return matches[0] if len(matches) == 1 else None


def _in_folder(folder: Path, given: Mapping[str, str], notes: list[str]) -> dict[str, Path]:
    files = sorted(path for path in folder.iterdir() if _is_data(path))
    if not files:
        raise DataError(f"folder `{folder}` holds no data files (known endings: {', '.join(SUFFIXES)}, each also with .gz)")
    by_split = {split: [path for path in files if split_of(path) == split] for split in SPLITS}
    found: dict[str, Path] = {}
    for split, candidates in by_split.items():
        if len(candidates) > 1 and split not in given:
            several = " and ".join(f"`{path.name}`" for path in candidates)
            raise DataError(f"folder `{folder}` has several files for {split}: {several}. Choose with `dataset.{split}=FILE` (or `none`)")
        if candidates:
            found[split] = candidates[0]
    if not found and not given:
        if len(files) > 1:
            names = ", ".join(f"`{path.name}`" for path in files)
            raise DataError(f"folder `{folder}`: no file name says train, validation or test: {names}. Give `dataset.train=FILE`")
        found = {"train": files[0]}
    chosen = {path for split, path in found.items() if split not in given}
    unused = [path.name for path in files if path not in chosen and path.name not in {Path(value).name for value in given.values()}]
    if unused:
        notes.append(f"{folder.name}: files not used: {', '.join(unused)}")
    return found


def _is_data(path: Path) -> bool:
    bare = Path(bare_name(path))
    hidden = path.name.startswith(".") or bare.stem in _NOT_DATA
    return path.is_file() and not hidden and bare.suffix in SUFFIXES and not is_labels_file(path)


def _resolve(value: str, base: Path) -> Path:
    path = expanded(value, "file")
    inside = base / path
    return inside if not path.exists() and base.is_dir() and inside.exists() else path
