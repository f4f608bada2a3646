"""Values mean what people mean by them."""

import math

import pytest
import yaml

from ftr.config.values import read_value, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("010", 10),
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1.5e-3", 1.5e-3),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("[f1, accuracy]", ["f1", "accuracy"]),
        ("[1e-5,no]", [1e-5, "no"]),
        ("{a: 1}", {"a": 1}),
        ('"2024"', "2024"),
        ("'true'", "true"),
        (";", ";"),
        ("|", "|"),
        (",", ","),
        ("a: b.csv", "a: b.csv"),
        ("@x", "@x"),
        ("*x", "*x"),
        ("!x", "!x"),
        ("#x", "#x"),
        ("<<", "<<"),
        ("\t", "\t"),
        (" ", " "),
        ("e5", "e5"),
        ("1e", "1e"),
        ("3.1.4", "3.1.4"),
        ("truely", "truely"),
    ],
)
def test_a_word_is_read_as_meant(text: str, value: object) -> None:
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


def test_infinity_is_a_number_for_the_range_check_to_refuse() -> None:
    assert read_value("-.inf") == -math.inf
    assert isinstance(read_value(".nan"), float)


def test_files_read_scalars_as_words_do() -> None:
    text = "a: 1e-5\nb: no\nc: 2024-01-01\nd: 010\ne: true\nf:\n"
    assert read_yaml(text) == {
        "a": 1e-5,
        "b": "no",
        "c": "2024-01-01",
        "d": 10,
        "e": True,
        "f": None,
    }


def test_a_duplicated_key_is_an_error_with_its_line() -> None:
    with pytest.raises(yaml.MarkedYAMLError, match="`epochs` is given twice") as caught:
        read_yaml("epochs: 1\nseed: 2\nepochs: 3\n")
    assert caught.value.problem_mark is not None
    assert caught.value.problem_mark.line == 2


def test_python_tags_are_refused() -> None:
    with pytest.raises(yaml.YAMLError):
        read_yaml("a: !!python/object/apply:os.getcwd []")
