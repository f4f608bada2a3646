"""Expressions: what they draw, how they are written, and the errors of wrong ones."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ftr.config.parse import Setting, parse_mapping, parse_words
from ftr.config.space import (
    Dimension,
    grid_points,
    grid_size,
    looks_like_expression,
    read_dimension,
    split_space,
)
from ftr.config.values import read_value, split_values, write_value
from ftr.errors import ConfigError

RANGES = [
    "uniform(0,0.2)",
    "uniform(-3,5)",
    "loguniform(1e-5,1e-4)",
    "loguniform(1e-8,1000)",
    "quniform(0,0.3,0.1)",
    "quniform(8,32,8)",
    "quniform(-0.5,1,0.25)",
    "qloguniform(8,512,8)",
    "qloguniform(0.001,0.1,0.001)",
    "randint(1,4)",
    "randint(-2,9000000)",
    "lograndint(1,1000)",
    "normal(0,1)",
    "normal(3e-5,1e-6)",
]
LISTS = [
    "choice(8,16,32)",
    "grid(1,2.5,3e-5)",
    "choice(linear,cosine)",
    "choice(true,false,null)",
    'choice("a,b",[1,2],{rank: 4, "on": [a, {b: ~}]})',
    "choice('it''s','true',\"7\",\"\",' padded ')",
    "choice(data(1).csv,it's,a: b,hub:owner/name,C:\\x)",
]


def dimension(text: object, key: str = "learning_rate") -> Dimension:
    found = read_dimension(key, text, "command line")
    assert found is not None
    return found


def draws(text: str, count: int = 2000, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    one = dimension(text)
    return [one.sample(rng) for _ in range(count)]


@pytest.mark.parametrize("text", RANGES + LISTS)
def test_the_text_of_a_dimension_reads_as_an_equal_one(text: str) -> None:
    first = dimension(text)
    again = dimension(first.text)
    assert again == first
    assert again.text == first.text
    assert [type(value) for value in again.corners()] == [type(value) for value in first.corners()]


def test_any_values_survive_being_written() -> None:
    rng = random.Random(7)
    alphabet = "ab1 ,;:.'\"()[]{}#&*!|>%@`~-+=\\/\n\t\x85\u2028é😀\ufeff"

    def value(depth: int) -> object:
        kind = rng.randrange(8 if depth else 6)
        if kind == 0:
            return rng.choice([None, True, False])
        if kind == 1:
            return rng.randint(-(10**12), 10**12)
        if kind == 2:
            return rng.choice([rng.uniform(-5, 5), 10.0 ** rng.randint(-30, 30), -1.5e-7, 0.0, 3.0])
        if kind == 6:
            return [value(depth - 1) for _ in range(rng.randrange(4))]
        if kind == 7:
            return {text(): value(depth - 1) for _ in range(rng.randrange(4))}
        return rng.choice(
            [text(), rng.choice(["yes", "null", "1e5", "true", "2024", "<<", "~", "=", ""])]
        )

    def text() -> str:
        return "".join(rng.choice(alphabet) for _ in range(rng.randrange(6)))

    for _ in range(400):
        values = [value(2) for _ in range(rng.randint(1, 4))]
        written = ",".join(map(write_value, values))
        assert [read_value(part) for part in split_values(written)] == values, written


def test_the_yaml_form_is_the_same_dimension() -> None:
    assert dimension({"choice": [8, 16]}) == dimension("choice(8,16)")
    assert dimension({"loguniform": (1e-5, 1e-4)}) == dimension(" loguniform( 1e-5 , 1e-4 ) ")
    assert dimension({"choice": [[1, 2], {"a": 1}]}) == dimension("choice([1,2],{a: 1})")


@pytest.mark.parametrize(
    "value",
    [
        "data(1).csv",
        "choice(1).csv",
        "choice",
        "a choice(1,2)",
        "other(1,2)",
        "Choice(1,2)",
        3,
        None,
        ["choice(1)"],
    ],
)
def test_everything_else_is_itself(value: object) -> None:
    assert read_dimension("dataset", value, "here") is None


@pytest.mark.parametrize(
    "value", [{"choice": 1}, {"choice": "a"}, {"rank": [1]}, {"choice": [1], "grid": [2]}, {}]
)
def test_a_mapping_of_an_option_is_itself(value: object) -> None:
    assert read_dimension("model.lora", value, "here") is None


def test_names_of_components_stay_text() -> None:
    assert dimension("choice(2024,007,minilm)", "model").values == ("2024", "007", "minilm")
    assert dimension("choice(2024,007)", "data.limit").values == (2024, 7)


@pytest.mark.parametrize("text", RANGES)
def test_draws_stay_within_the_ends_and_on_the_steps(text: str) -> None:
    one = dimension(text)
    for value in draws(text):
        assert one.low <= value <= one.high
        if one.step:
            assert math.isclose(value / one.step, round(value / one.step), abs_tol=1e-9)
    assert one.at(0.0) == pytest.approx(one.low)
    assert one.at(1.0) == pytest.approx(one.high, rel=1e-9)
    assert all(one.low <= corner <= one.high for corner in corners(one))


def corners(one: Dimension) -> list[float]:
    found = one.corners()
    assert all(isinstance(corner, int | float) for corner in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("text", RANGES + LISTS)
def test_the_same_generator_draws_the_same(text: str) -> None:
    assert draws(text, 20, seed=5) == draws(text, 20, seed=5)
    if dimension(text).size != 1:
        assert draws(text, 20, seed=5) != draws(text, 20, seed=6)


def test_whole_numbers_stay_whole() -> None:
    for text in ("randint(1,4)", "lograndint(1,100)", "quniform(8,32,8)", "qloguniform(8,512,8)"):
        assert {type(value) for value in draws(text, 50)} == {int}
    assert {type(value) for value in draws("uniform(8,32)", 50)} == {float}
    assert set(draws("quniform(0,0.3,0.1)", 200)) == {0.0, 0.1, 0.2, 0.3}


def test_high_is_not_drawn_by_randint_and_is_by_quniform() -> None:
    assert set(draws("randint(1,4)", 300)) == {1, 2, 3}
    assert set(draws("lograndint(1,4)", 300)) == {1, 2, 3}
    assert set(draws("quniform(8,32,8)", 300)) == {8, 16, 24, 32}


def kolmogorov(shares: Sequence[float]) -> float:
    """Return the largest distance of the empirical distribution of `shares` to the uniform one on
    [0, 1].
    """
    ordered, count = sorted(shares), len(shares)
    return max(
        max(share - at / count, (at + 1) / count - share) for at, share in enumerate(ordered)
    )


COUNT = 4000
LIMIT = 1.95 / math.sqrt(COUNT)  # one fair draw in a thousand lies further away


def test_uniform_and_loguniform_are_what_they_say() -> None:
    low, high = math.log(1e-6), math.log(1e-2)
    logarithms = [
        (math.log(value) - low) / (high - low) for value in draws("loguniform(1e-6,1e-2)", COUNT)
    ]
    assert kolmogorov(logarithms) < LIMIT
    assert kolmogorov([value / 0.2 for value in draws("uniform(0,0.2)", COUNT)]) < LIMIT
    # The test can tell: what is uniform is not log-uniform.
    assert (
        kolmogorov([value / 1e-2 for value in draws("loguniform(1e-6,1e-2)", COUNT)]) > 10 * LIMIT
    )


def test_normal_is_normal_up_to_three_sd() -> None:
    values = draws("normal(3,0.5)", COUNT)
    assert np.mean(values) == pytest.approx(3, abs=0.03)
    assert np.std(values) == pytest.approx(
        0.5 * 0.9866, abs=0.02
    )  # that of a normal distribution cut at three sd
    assert min(values) >= 1.5 and max(values) <= 4.5


@pytest.mark.parametrize("text", ["choice(8,16,32)", "randint(1,4)", "quniform(0,1,0.5)"])
def test_counted_values_are_equally_likely(text: str) -> None:
    counts = Counter(draws(text, 3000))
    assert len(counts) == 3 == dimension(text).size
    assert all(900 < count < 1100 for count in counts.values())


def test_logarithmic_whole_numbers_favour_the_small() -> None:
    counts = Counter(len(str(value)) for value in draws("lograndint(1,1000)", 3000))
    assert all(900 < counts[digits] < 1100 for digits in (1, 2, 3))


def test_corners_and_sizes() -> None:
    assert dimension("uniform(0,0.2)").corners() == [0, 0.2]
    assert dimension("choice(8,32,16)").corners() == [8, 32, 16]
    assert dimension("randint(1,4)").corners() == [1, 3]
    assert dimension("randint(3,4)").corners() == [3]
    assert dimension("normal(5,1)").corners() == [5, 2, 8]
    sizes = [
        "uniform(0,1)",
        "normal(0,1)",
        "randint(0,10)",
        "quniform(0,0.3,0.1)",
        "qloguniform(8,64,8)",
        "choice(a,b)",
    ]
    assert [dimension(text).size for text in sizes] == [None, None, 10, 4, 8, 2]
    assert dimension("uniform(8,32)").probes()[2] not in (8, 20, 32)
    assert dimension("quniform(1,2,0.5)").probes() == [1, 2, 1.5]


def test_a_grid_goes_through_every_combination_the_last_key_fastest() -> None:
    space = {
        "a": dimension("grid(x,y)", "a"),
        "b": dimension("randint(1,3)", "b"),
        "c": dimension("quniform(0,0.1,0.1)", "c"),
    }
    points = list(grid_points(space))
    assert points[:3] == [
        {"a": "x", "b": 1, "c": 0.0},
        {"a": "x", "b": 1, "c": 0.1},
        {"a": "x", "b": 2, "c": 0.0},
    ]
    assert len(points) == grid_size(space) == 8
    endless = {**space, "d": dimension("uniform(0,1)")}
    assert grid_size(endless) is None
    with pytest.raises(ValueError, match=r"`uniform\(0,1\)`"):
        list(grid_points(endless))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("choice()", "it holds no value: write for example `choice(8,16,32)`"),
        ("grid( )", "it holds no value: write for example `grid(8,16,32)`"),
        (
            "choice(8,,16)",
            "a value between two commas is missing",
        ),
        ("choice(8,)", "a value between two commas is missing"),
        ("choice(8,16,8)", "it holds `8` twice: keep one"),
        ("choice([1,2)", "one of its values is not a YAML list, mapping or string"),
        (
            "choice(8",
            "its parenthesis is not closed",
        ),
        ("uniform(0.2,0)", "its range is reversed: write `uniform(0,0.2)`"),
        ("quniform(32,8,8)", "its range is reversed: write `quniform(8,32,8)`"),
        ("loguniform(1e-4,1e-5)", "its range is reversed: write `loguniform(1e-5,1e-4)`"),
        ("uniform(2,2)", "its range is empty; write `batch_size=2`"),
        ("randint(3,3)", "its range is empty; `high` itself is not drawn, write `randint(3,4)`"),
        ("loguniform(0,1)", "`low` must be above 0"),
        ("lograndint(-1,5)", "`low` must be above 0"),
        ("qloguniform(0,64,8)", "`low` must be above 0"),
        ("quniform(0,1,0)", "`q`, "),
        ("quniform(0,1,-1)", "`q`, "),
        ("quniform(0,1,0.3)", "1 is not a multiple of 0.3"),
        ("normal(1,0)", "`sd`, the standard deviation, must be above 0"),
        ("uniform(1)", "write `uniform(low,high)`, 2 numbers instead of 1"),
        ("quniform(0,1)", "write `quniform(low,high,q)`, 3 numbers instead of 2"),
        ("normal(0,1,2)", "write `normal(mean,sd)`, 2 numbers instead of 3"),
        ("uniform(a,2)", "'a' is not a number"),
        ("uniform(true,2)", "true is not a number"),
        ("uniform(0,.inf)", "inf is not a number"),
        ("randint(1,2.5)", "`randint` takes whole numbers; `uniform` takes others"),
        ({"choice": []}, "it holds no value"),
        ({"uniform": [1, 0]}, "its range is reversed: write `uniform(0,1)`"),
        ({"choice": [object()]}, "a `object` is not a number"),
    ],
)
def test_a_wrong_expression_names_key_origin_and_fix(text: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_dimension("batch_size", text, "command line")
    assert str(caught.value).startswith("`batch_size` is `")
    assert f"(command line): {message}" in str(caught.value)


def test_dimensions_are_taken_out_of_nested_options() -> None:
    settings = parse_mapping(
        {
            "model": {
                "lora": {"rank": "choice(2,4)", "alpha": 2},
                "drop": {"share": {"uniform": [0, 1]}},
            },
            "epochs": 3,
        },
        "a.yaml",
    )
    space, fixed = split_space(settings)
    assert {key: one.text for key, one in space.items()} == {
        "model.lora.rank": "choice(2,4)",
        "model.drop.share": "uniform(0,1)",
    }
    assert fixed == {"model.lora": Setting({"alpha": 2}, "a.yaml"), "epochs": Setting(3, "a.yaml")}


def test_what_holds_no_expression_is_left_as_it_was() -> None:
    settings = parse_words(["output=2024", "model.lora={rank: 2}", "model.more={}"])
    assert split_space(settings) == ({}, settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("choice(1,2)", True), (" uniform( )", True), ("a(1)", False), ("choice", False), (3, False)],
)
def test_expressions_are_recognized(text: object, expected: bool) -> None:
    assert looks_like_expression(text) is expected
