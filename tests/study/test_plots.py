"""The pictures of a sweep, and the numbers beside them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from ftr.errors import RunError
from ftr.study.analysis import expected_best, write_expected, write_importance

SHARES = {"learning_rate": 0.71, "batch_size": 0.2, "epochs": 0.09}


def shades(path: Path) -> set[str]:
    """Return the colours of a picture of 800 x 500 pixels, after a look at its frame: nothing is
    cut off at the edge.
    """
    pixels = (imread(path)[:, :, :3] * 255).round().astype(int)
    assert pixels.shape == (500, 800, 3)
    for edge in (pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:]):
        assert (edge == 255).all()
    red, green, blue = pixels.reshape(-1, 3).T
    return {f"#{colour:06x}" for colour in np.unique(red << 16 | green << 8 | blue)}


def test_importance_is_drawn_and_written(tmp_path: Path) -> None:
    write_importance(tmp_path, SHARES, "accuracy")
    assert json.loads((tmp_path / "importance.json").read_text()) == {
        "primary": "accuracy",
        "importance": SHARES,
    }
    assert "#1f6fb2" in shades(tmp_path / "importance.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["importance.json", "importance.png"]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_expected_best_is_drawn_and_written(tmp_path: Path, mode: str) -> None:
    values = [random.Random(1).random() for _ in range(16)]
    write_expected(tmp_path, values, "accuracy", mode)
    saved = json.loads((tmp_path / "expected.json").read_text())
    assert saved == {
        "primary": "accuracy",
        "mode": mode,
        "values": values,
        "expected_best": expected_best(values, mode),
    }
    assert "#1f6fb2" in shades(tmp_path / "expected.png")


def test_odd_names_long_lists_and_equal_values_are_drawn_without_a_warning(tmp_path: Path) -> None:
    write_importance(
        tmp_path,
        {f"head.a_very_long_name_of_an_option_{n}_$x$_日本": 0.04 for n in range(25)},
        "loss_$_{_日本",
    )
    assert len(json.loads((tmp_path / "importance.json").read_text())["importance"]) == 25
    write_expected(tmp_path, [0.5] * 300, "loss_$_{_日本" * 5, "min")
    assert shades(tmp_path / "importance.png") and shades(tmp_path / "expected.png")


def test_scores_that_are_no_numbers_are_left_out_and_of_fewer_than_two_there_is_no_curve(
    tmp_path: Path,
) -> None:
    write_expected(tmp_path, [0.5, float("nan")], "f1", "max")
    assert list(tmp_path.iterdir()) == []
    write_expected(tmp_path, [0.5, float("nan"), 0.6], "f1", "max")
    assert json.loads((tmp_path / "expected.json").read_text())["values"] == [0.5, 0.6]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "importance.png").mkdir()
    with pytest.raises(RunError, match=r"cannot write `.*importance.png`: Is a directory"):
        write_importance(tmp_path, SHARES, "f1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "importance.json",
        "importance.png",
    ], "nothing half-written is left"


def test_no_window_and_no_global_figure(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ftr.study.analysis import "
        f"write_expected\nwrite_expected(Path({str(tmp_path)!r}), [1.0, 2.0], 'f1', 'max'); assert "
        "'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={"MPLBACKEND": "tkagg", "MPLCONFIGDIR": str(tmp_path / "config")},
    )
