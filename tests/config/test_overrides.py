"""Words, mappings and files become flat settings."""

from pathlib import Path

import pytest

from ftr.config.parse import Layer, merge, parse_mapping, parse_words, read_file
from ftr.errors import ConfigError


def values(layer: Layer) -> dict[str, object]:
    return {key: setting.value for key, setting in layer.items()}


def test_a_word_is_split_at_the_first_equals_sign() -> None:
    assert values(parse_words(["dataset=a=b.csv", "dataset.text=x=y"])) == {
        "dataset": "a=b.csv",
        "dataset.text": "x=y",
    }


@pytest.mark.parametrize("word", ["epochs", "=3", ""])
def test_a_word_without_key_or_value_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="is not `key=value`"):
        parse_words([word])


@pytest.mark.parametrize(
    "words",
    [["seed=1", "seed=2"], ["dataset=a", "dataset.name=b"], ["data={limit: 1}", "data.limit=2"]],
)
def test_a_key_given_twice_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"is given twice \(command line\)"):
        parse_words(words)


def test_a_broken_list_names_its_key() -> None:
    with pytest.raises(ConfigError, match=r"`metrics` \(command line\): `\[f1` is not a YAML list"):
        parse_words(["metrics=[f1"])


def test_a_number_keeps_the_word_it_was_written_as() -> None:
    assert parse_words(["dataset=007"])["dataset"].text == "007"
    assert parse_mapping({"dataset": 7})["dataset"].text is None


def test_nested_and_dotted_keys_mix() -> None:
    layer = parse_mapping(
        {
            "dataset": {"name": "x", "text": "review"},
            "data": {"limit": 5},
            "data.stride": 3,
            "trainer": {"lr_scheduler_kwargs": {"num_cycles": 2}},
            "model": Path("m"),
        }
    )
    assert values(layer) == {
        "dataset": "x",
        "dataset.text": "review",
        "data.limit": 5,
        "data.stride": 3,
        "trainer.lr_scheduler_kwargs": {"num_cycles": 2},
        "model": "m",
    }


def test_a_file_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "\ufefflearning_rate: 3e-5\ndataset: {name: a.csv, text: review}\n", encoding="utf-8"
    )
    layer = read_file(path)
    assert values(layer) == {"learning_rate": 3e-5, "dataset": "a.csv", "dataset.text": "review"}
    assert layer["learning_rate"].origin == f"config file {path}"


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("# nothing\n")
    assert read_file(path) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "holds a list, not keys"),
        (b"a: [1\n", "is not YAML: line 2"),
        (b"a: 1\na: 2\n", "line 2, column 1: `a` is given twice"),
        (b"data: {limit: 1}\ndata.limit: 2\n", "`data.limit` is given twice"),
        (b"a: \xff\n", r"is not UTF-8 \(byte 3\)"),
        (b"config: other.yaml\n", r"config=\[a.yaml,b.yaml\]"),
        (b"1: 2\n", "`1` .* is not a key"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_file(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file `.*nowhere.yaml`"):
        read_file(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="is a folder, not a file"):
        read_file(tmp_path)


def test_a_later_value_replaces_what_lay_below_its_key() -> None:
    first = parse_mapping({"model.lora.rank": 8, "dataset": "a", "dataset.text": "t"})
    merged = merge([first, parse_words(["model.lora={alpha: 2}", "dataset=b"])])
    assert values(merged) == {"model.lora": {"alpha": 2}, "dataset": "b", "dataset.text": "t"}
