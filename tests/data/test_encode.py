"""Encoding once per content: what makes another key, several processes at once, and folders that
refuse.
"""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ftr.data.encode
from disks import small_disk
from ftr.data.encode import StoredSplit, cache_folder, code_identity, store_split
from ftr.errors import ConfigError, DataError, RunError
from ftr.registry.protocols import EncodeSettings
from ftr.registry.registry import get_registry
from ftr.testing.tiny import tiny_tokenizer
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr_plugins.extractive_qa.head import ExtractiveQAHead

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS: list[dict[str, Any]] = [
    {"id": str(n), "text": f"the old mill {'river ' * n}", "label": n % 2} for n in range(5)
]
SETTINGS = EncodeSettings(max_length=8, stride=2, labels=("x", "y"))


class CountingHead(SequenceClassificationHead):
    """Counts the rows it tokenised."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def encode(
        self,
        rows: dict[str, list[Any]],
        tokenizer: PreTrainedTokenizerBase,
        settings: EncodeSettings,
    ) -> dict[str, list[Any]]:
        self.rows += len(rows["text"])
        return super().encode(rows, tokenizer, settings)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return tiny_tokenizer("bert")


def store(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]] = ROWS,
    settings: EncodeSettings = SETTINGS,
    head: SequenceClassificationHead | None = None,
    identity: str = "one",
) -> StoredSplit:
    """Store rows of the classification head."""
    return store_split(
        rows, head or SequenceClassificationHead(), tokenizer, settings, folder, identity
    )


def test_the_same_content_is_found_again_and_not_tokenised_again(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    head = CountingHead()
    first = store(tmp_path, tokenizer, head=head)
    again = store(tmp_path, tokenizer, head=head)
    assert head.rows == len(ROWS) and (first.from_cache, again.from_cache) == (False, True)
    assert dataclasses.replace(again, from_cache=False) == first
    assert (first.row_count, first.feature_count, first.notes) == (
        5,
        5,
        {"text cut (`head.windows=true` reads it whole)": 1},
    )
    rows, features = again.open()
    assert rows.to_list() == ROWS
    assert (
        features["row"][:] == [0, 1, 2, 3, 4]
        and features["length"][:] == [5, 6, 7, 8, 8]
        and features["labels"][:] == [0, 1, 0, 1, 0]
    )


def test_what_a_tokenizer_did_before_makes_no_other_key(tmp_path: Path) -> None:
    fresh, used = tiny_tokenizer("bert"), tiny_tokenizer("bert")
    used("the old mill", truncation=True, max_length=3, padding="max_length")
    assert not store(tmp_path, fresh).from_cache
    assert store(tmp_path, used).from_cache


def test_anything_that_changes_the_features_is_another_key(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    other = tiny_tokenizer("bert")
    other.add_tokens(["millstone"])
    stored = [
        store(tmp_path, tokenizer),
        store(tmp_path, tokenizer, rows=[*ROWS[:-1], {**ROWS[-1], "label": 1}]),
        store(tmp_path, tokenizer, rows=ROWS[:-1]),
        store(tmp_path, tokenizer, rows=[*ROWS[1:], ROWS[0]]),
        store(tmp_path, tokenizer, settings=dataclasses.replace(SETTINGS, max_length=9)),
        store(tmp_path, tokenizer, settings=dataclasses.replace(SETTINGS, targets=False)),
        store(tmp_path, tokenizer, identity="two"),
        store(tmp_path, other),
        store(tmp_path, tiny_tokenizer("roberta")),
    ]
    assert not any(split.from_cache for split in stored)
    assert len({split.features for split in stored}) == len(stored)


def test_the_identity_of_the_code_has_options_version_and_source() -> None:
    one = code_identity(SequenceClassificationHead, {"dropout": None}, "0.1")
    assert one == code_identity(SequenceClassificationHead, {"dropout": None}, "0.1")
    others = [
        code_identity(SequenceClassificationHead, {"dropout": 0.5}, "0.1"),
        code_identity(SequenceClassificationHead, {"dropout": None}, "0.2"),
        code_identity(ExtractiveQAHead, {"dropout": None}, "0.1"),
    ]
    assert len({one, *others}) == 4


PACKAGES = {
    "grove/__init__.py": "",
    "grove/heads/__init__.py": "",
    "grove/heads/own.py": "from trunk import Base\nclass Own(Base): pass\n",
    "grove/text/__init__.py": "",
    "grove/text/clean.py": "",
    "grove/text/words.txt": "the\n",
    "trunk/__init__.py": "from trunk.base import Base\n",
    "trunk/base.py": "class Base: pass\n",
    "trunk/deep/__init__.py": "",
    "strange/__init__.py": "",
}


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("grove/heads/own.py", True),
        ("grove/text/clean.py", True),
        ("grove/text/words.txt", True),
        ("grove/text/more.py", True),
        ("trunk/base.py", True),
        ("trunk/deep/__init__.py", True),
        ("strange/__init__.py", False),
    ],
)
def test_an_edit_anywhere_in_the_package_of_a_head_or_of_its_base_makes_another_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, counts: bool
) -> None:
    for name, source in PACKAGES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    head = importlib.import_module("grove.heads.own").Own
    before = code_identity(head, {}, "1")
    (tmp_path / file).write_text("# more\n", encoding="utf-8")
    assert (code_identity(head, {}, "1") != before) is counts
    for name in [name for name in sys.modules if name.partition(".")[0] in ("grove", "trunk")]:
        del sys.modules[name]


def test_a_plugin_that_changed_since_it_was_loaded_has_an_identity_in_this_process_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugin = get_registry().find("head", "sequence-classification").plugin
    whole = code_identity(SequenceClassificationHead, {}, "1", plugin)
    assert whole == code_identity(SequenceClassificationHead, {}, "1", plugin)
    monkeypatch.setattr("ftr.registry.registry.BEGAN", 0.0)
    assert code_identity(SequenceClassificationHead, {}, "1", plugin) != whole


@pytest.mark.slow
def test_several_processes_may_store_the_same_rows_at_once(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from ftr.data.encode import store_split
from ftr.registry.protocols import EncodeSettings
from ftr_plugins.classification.head import SequenceClassificationHead
from ftr.testing.tiny import tiny_tokenizer
tokenizer = tiny_tokenizer("bert")
rows = [{{"id": str(n), "text": "the old mill " * (n % 9 + 1), "label": n % 2}} for n in range(1500)]
Path(sys.argv[1]).touch()
deadline = time.monotonic() + 60
while len(list(Path({str(tmp_path)!r}).glob("ready-*"))) < 2 and time.monotonic() < deadline:
    time.sleep(0.001)
split = store_split(rows, SequenceClassificationHead(), tokenizer, EncodeSettings(max_length=8, stride=2), Path({str(tmp_path)!r}), "one")
print(split.features, sum(split.open()[1]["length"]))
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / f"ready-{n}")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in "ab"
    ]
    told = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert told[0] == told[1] and told[0].split()[1].isdigit()
    (place,) = (tmp_path / "encoded").iterdir()
    assert sorted(path.name for path in place.iterdir()) == [
        "features.arrow",
        "rows.arrow",
        "split.json",
    ]


@pytest.mark.parametrize("damage", ["empty", "torn", "missing", "one byte"])
@pytest.mark.parametrize("name", ["split.json", "rows.arrow", "features.arrow"])
def test_a_damaged_split_is_discarded_aloud_and_encoded_again(
    name: str,
    damage: str,
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerBase,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = store(tmp_path, tokenizer)
    path = Path(first.rows).with_name(name)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        place = (
            content.index(b'"rows.arrow": [') + 15 if name == "split.json" else len(content) // 2
        )
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        path.write_bytes(
            {"empty": b"", "torn": content[: len(content) // 2], "one byte": changed}[damage]
        )
    again = store(tmp_path, tokenizer)
    assert again == first and again.open()[0].to_list() == ROWS
    assert capsys.readouterr().err == f"ftr: `{path.parent}` is damaged, and is encoded again\n"
    assert store(tmp_path, tokenizer).from_cache
    assert list((tmp_path / "encoded").iterdir()) == [path.parent]


def test_a_folder_that_cannot_be_written_is_an_error_naming_the_key(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(
        ConfigError,
        match=r"cannot write encoded rows to `.*cache/encoded/.*`: Not a directory.*`data.cache=",
    ):
        store(tmp_path / "cache", tokenizer)


@pytest.mark.parametrize("tried", [4, 0], ids=["refused beforehand", "full half-way"])
def test_a_disk_that_is_too_small_is_an_error_with_numbers_and_keeps_nothing(
    tried: int,
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ftr.data.encode, "ROWS_PER_CALL", 100)
    monkeypatch.setattr(ftr.data.encode, "TRIED", tried)
    head, rows = CountingHead(), [{**ROWS[n % 5], "id": str(n)} for n in range(2000)]
    expected: tuple[type[Exception], str] = (
        ConfigError,
        r"the encoding of 2,000 rows needs about 0\.\d MB, and the disk of `.*/encoded` has 0.1 MB "
        r"free.*`data.cache=`",
    )
    if not tried:  # as where others fill the disk meanwhile
        expected = RunError, r"cannot write encoded rows to `.*`: .*No space left on device"
    with small_disk(tmp_path, 128) as disk:
        with pytest.raises(expected[0], match=expected[1]):
            store(disk, tokenizer, rows=rows, head=head)
        assert list((disk / "encoded").iterdir()) == []
    assert head.rows == 400 if tried else 0 < head.rows < 2000


def test_a_head_that_fails_leaves_nothing_half_written(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    class Forgetful(SequenceClassificationHead):
        def encode(
            self,
            rows: dict[str, list[Any]],
            tokenizer: PreTrainedTokenizerBase,
            settings: EncodeSettings,
        ) -> dict[str, list[Any]]:
            columns = super().encode(rows, tokenizer, settings)
            return {name: values[1:] for name, values in columns.items()}

    with pytest.raises(
        DataError, match="must give every row at least one feature, in order: rows 0 to 4"
    ):
        store(tmp_path, tokenizer, head=Forgetful())
    qa = [
        {
            "id": "1",
            "question": "who ?",
            "context": "the mill",
            "answers": {"text": [], "answer_start": []},
        }
    ]
    with pytest.raises(ConfigError, match=r"data\.max_length"):
        store_split(qa, ExtractiveQAHead(), tokenizer, SETTINGS, tmp_path, "one")
    assert list((tmp_path / "encoded").iterdir()) == []


def test_the_cache_lies_where_the_key_or_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FTR_CACHE", str(tmp_path / "env"))
    assert (
        cache_folder(None, "runs") == tmp_path / "env"
        and cache_folder(str(tmp_path / "key"), "runs") == tmp_path / "key"
    )
    monkeypatch.delenv("FTR_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (
        cache_folder(None, "runs") == tmp_path / ".cache" / "ftr"
        and cache_folder("~/x", "runs") == tmp_path / "x"
    )
