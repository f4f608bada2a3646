"""`ftr push`: a model directory as a repository of the Hugging Face Hub.

Only what belongs to a model is sent: no predictions, no rows, and no path of this machine.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from ftr.atomic import read_json
from ftr.config.components import HUB_ID
from ftr.errors import FtrError, ModelError, RequestError, RunError, in_one_line
from ftr.model.adapters import ADAPTER_CONFIG
from ftr.model.folder import CONFIGS, FTR_JSON, check_folder
from ftr.runs.card import PLACE, README, USAGE, model_card
from ftr.runs.directory import RECORD, RunDirectory, named, run_or_winner
from ftr.runs.predictor import model_folder

ENSEMBLE_JSON, EXPORT_JSON = "ensemble.json", "export.json"
FILES = (
    *("*.safetensors", "*.safetensors.index.json", *CONFIGS, FTR_JSON, README, USAGE),
    *("tokenizer.json", "tokenizer.model", "*.spm", "*.bpe.model", "vocab.txt", "vocab.json"),
    *("merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    ENSEMBLE_JSON,
)
"""Files of a model and of each member of an ensemble; `onnx/` has `ONNX`."""
ONNX = ("*.onnx", "*.onnx?data", EXPORT_JSON)
SETTINGS = (*CONFIGS, FTR_JSON, ENSEMBLE_JSON, EXPORT_JSON)
"""Files that are searched for paths of this machine."""
LABELS = ("id2label", "label2id", "labels")
"""Keys of settings whose text is of the data: a label may look like a path."""
NAMES = ("_name_or_path", "name_or_path")
"""Keys that only say where a model came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What is sent: for each name in the repository a file, or its bytes where they are not those
    of the file; `notes` say what was changed and what is left out.
    """

    folder: Path
    files: dict[str, Path | bytes]
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of each file."""
        return {
            name: len(one) if isinstance(one, bytes) else one.stat().st_size
            for name, one in self.files.items()
        }

    @property
    def front_matter(self) -> str:
        """The metadata of the card, as YAML."""
        from huggingface_hub import ModelCard

        content = self.files[README]
        text = content if isinstance(content, bytes) else content.read_bytes()
        return str(ModelCard(text.decode("utf-8")).data.to_yaml())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A push: the address of the repository, its newest commit, whether that is of this push, and
    whether the repository is private.
    """

    url: str
    commit: str
    changed: bool
    private: bool


def pack(run: str | Path, repository: str) -> Package:
    """Return what a push of `run`, a run, a sweep (its best run) or a model directory, would send
    to `repository` (`owner/name`).

    Raises `RequestError` for a run that is not done and for a malformed name, `ModelError` for a
    model that would be useless elsewhere, or has a path of this machine in its settings.
    """
    if not HUB_ID.fullmatch(repository) or repository.count("/") != 1:
        raise RequestError(
            f"`{repository}` is no name of a repository: write `owner/name`, with letters, digits, "
            "`-`, `_` and `.`."
        )
    folder = _folder(run)
    package, record = Package(folder=folder, files={}), _record(folder)
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        check_folder(place)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if not _belongs(PurePosixPath(name)):
            package.notes.append(f"`{name}` is left out: it is no file of a model")
        elif path.name in SETTINGS:
            package.files[name] = _settings(path, name, package.notes)
        else:
            package.files[name] = path
    package.files[README] = _card(folder, record, repository)
    return package


def push(
    package: Package,
    repository: str,
    *,
    public: bool = False,
    revision: str | None = None,
    message: str | None = None,
) -> Pushed:
    """Send a package in one commit to a repository, which is created, private unless `public`.

    Files of an earlier push that the package lacks are removed; where nothing differs, nothing is
    committed. Raises `RequestError` without a token, where the Hub refuses, and for a public
    repository without `public`; `RunError` where the Hub cannot be reached or fails.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    if get_token() is None:
        raise RequestError(
            "there is no token for the Hub: run `hf auth login`, or set `HF_TOKEN`, with a token "
            "that may write, from the settings of your account on the Hub."
        )
    api = HfApi(library_name="ftr")
    with _explained(repository):
        private = _open(api, repository, public)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        head = api.repo_info(repository, revision=revision).sha
        there = api.list_repo_files(repository, revision=revision)
        stale = [
            name for name in there if _belongs(PurePosixPath(name)) and name not in package.files
        ]
        done = api.create_commit(
            repository,
            [
                *(CommitOperationDelete(path_in_repo=name) for name in stale),
                *(
                    CommitOperationAdd(
                        path_in_repo=name,
                        path_or_fileobj=one if isinstance(one, bytes) else str(one),
                    )
                    for name, one in package.files.items()
                ),
            ],
            commit_message=message or "Push a model trained with ftr",
            revision=revision,
        )
    return Pushed(
        url=f"{api.endpoint}/{repository}",
        commit=done.oid,
        changed=done.oid != head,
        private=private,
    )


def _open(api: Any, repository: str, public: bool) -> bool:
    """Create the repository unless it exists; return whether it is private.

    Raises `RequestError` where it is public and that was not asked for.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        private = bool(api.repo_info(repository).private)
    except RepositoryNotFoundError:
        api.create_repo(repository, private=not public, exist_ok=True)
        private = bool(api.repo_info(repository).private)
    if not private and not public:
        raise RequestError(
            f"the repository `{repository}` is public: add `--public` if everybody may see this "
            "model, or give another name."
        )
    return private


@contextlib.contextmanager
def _explained(repository: str) -> Iterator[None]:
    """Turn what the client of the Hub raises into errors that say what to do."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except FtrError:
        raise
    except OfflineModeIsEnabled as error:
        raise RequestError("`HF_HUB_OFFLINE` is set: unset it to push to the Hub.") from error
    except Exception as error:
        refusal = error if isinstance(error, HfHubHTTPError) else error.__cause__
        status = refusal.response.status_code if isinstance(refusal, HfHubHTTPError) else None
        if status == 401:
            raise RequestError(
                f"the Hub does not accept the token for `{repository}` (401): run `hf auth login`, "
                "or set `HF_TOKEN`, with one that is valid and may write."
            ) from error
        if status in (403, 404):
            raise RequestError(
                f"the token may not write to `{repository}` ({status}): check the owner in the "
                "name, and that the token may write there."
            ) from error
        if isinstance(error, ValueError) or (status is not None and 400 <= status < 429):
            raise RequestError(
                f"the Hub refuses `{repository}`: {in_one_line(error).rstrip('.')}."
            ) from error
        below = error.__cause__
        cause = f" ({in_one_line(below)})" if below and str(below) not in str(error) else ""
        raise RunError(
            f"`{repository}` could not be pushed: {in_one_line(error).rstrip('.')}{cause}. Push "
            "again: files that are there already are not sent twice."
        ) from error


def _folder(run: str | Path) -> Path:
    if (Path(run) / FTR_JSON).is_file() or named(run) is None:
        return model_folder(run)
    return model_folder(run_or_winner(run).path)


def _record(folder: Path) -> dict[str, Any] | None:
    """Return the record of the run of a model directory, None for one that stands alone.

    Raises `RequestError` for a run that is not done, `ModelError` for other weights than its own.
    """
    directory = RunDirectory(folder.parent)
    if folder.name != "model" or not (folder.parent / RECORD).is_file():
        return None
    record = directory.read()
    if record["status"] != "done" or "heldout" not in record:
        raise RequestError(
            f"`{directory.path}` is no finished run (status `{record['status']}`): resume it, or "
            "push the best run of its sweep."
        )
    directory.check_weights()
    return record


def _card(folder: Path, record: dict[str, Any] | None, repository: str) -> bytes:
    """Return the card in a model directory, or one from the record, for a repository."""
    path = folder / README
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except ValueError as error:
            raise ModelError(f"`{path}` is not UTF-8: save it again.") from error
    elif record is not None:
        text = model_card(record, folder)
    else:
        raise ModelError(
            f"`{folder}` has no `{README}`, and no run beside it to make one from: write one, with "
            "what the model is for."
        )
    ours = text.replace(f'ftr.load("{PLACE}")', f'ftr.load("hub:{repository}")')
    return ours.replace(PLACE, repository).encode()


def _belongs(path: PurePosixPath) -> bool:
    """Whether a file of a directory is one of a model, by its name and folder."""
    folders, patterns = list(path.parts[:-1]), tuple[str, ...](FILES)
    if folders[:1] == ["members"] and len(folders) > 1 and folders[1].isdecimal():
        folders = folders[2:]
    if folders == ["onnx"]:
        folders, patterns = [], ONNX
    return not folders and any(fnmatch(path.name, pattern) for pattern in patterns)


def _settings(path: Path, name: str, notes: list[str]) -> Path | bytes:
    """Return a file of settings, or its content without paths of this machine.

    Raises `ModelError` for one that the model needs.
    """
    try:
        given = read_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"`{path}` cannot be read ({error}): restore it.") from error
    changed = _cleaned(given, (), path, name, notes)
    if changed == given:
        return path
    return (json.dumps(changed, indent=2, ensure_ascii=False) + "\n").encode()


def _cleaned(value: Any, keys: tuple[str, ...], path: Path, name: str, notes: list[str]) -> Any:
    """Return a value of settings at `keys` without paths of this machine."""
    if isinstance(value, dict):
        kept = {}
        for key, one in value.items():
            if key in LABELS:
                kept[key] = one
            elif key in NAMES and isinstance(one, str) and is_local(one, key):
                notes.append(f"`{key}` in `{name}` is a path of this machine: it is left out")
            elif keys[-1:] == ("plugins",) and is_local(key, "file"):
                notes.append(f"`plugins` in `{name}`: `{key}` is sent as `{Path(key).name}`")
                kept[Path(key).name] = one
            else:
                kept[key] = _cleaned(one, (*keys, key), path, name, notes)
        return kept
    if isinstance(value, list):
        return [_cleaned(one, keys, path, name, notes) for one in value]
    key = keys[-1] if keys else ""
    if not isinstance(value, str) or not is_local(value, key):
        return value
    if path.name in (ENSEMBLE_JSON, EXPORT_JSON):
        notes.append(f"`{key}` in `{name}`: `{value}` is sent as `{Path(value).name}`")
        return Path(value).name
    if path.name == ADAPTER_CONFIG or keys[:2] == ("base", "model"):
        raise ModelError(
            f"the adapters in `{path.parent}` are for the model in `{value}`, which nobody else "
            "has: train with `train.lora.merge=true`, which writes a plain checkpoint, or push "
            f"that model and write its name into `{path.name}` (`{'.'.join(keys)}`)."
        )
    raise ModelError(
        f"`{'.'.join(keys)}` in `{path}` is `{value}`, a path of this machine: remove it."
    )


def is_local(text: str, key: str) -> bool:
    """Whether the text of a setting is a path of this machine: an absolute one that exists, lies in
    the home folder or among temporary files, or that its `key` calls a path.
    """
    if not re.match(r"~?/.|[A-Za-z]:[/\\]", text):
        return False
    path = Path(text).expanduser()
    homes = {Path.home(), Path(tempfile.gettempdir())} - {Path("/")}
    return (
        re.search(r"(path|file|folder|dir|directory|source|origin)$", key) is not None
        or path.exists()
        or any(path.is_relative_to(home) for home in homes)
    )
