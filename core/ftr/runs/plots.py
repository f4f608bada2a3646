"""The two pictures of a sweep, each with its numbers beside it: what mattered, and what more trials bring."""

from __future__ import annotations

import io
import itertools
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftr import atomic
from ftr.runs.expected import expected_best

INK, BLUE, GREY = "#222222", "#1f6fb2", "#8a8f98"
LONGEST = 34
"""Letters of a name in a picture; the numbers beside it have it whole."""
MOST_BARS = 15


def write_importance(folder: Path, shares: Mapping[str, float], primary: str) -> None:
    """Write `importance.json` and `importance.png` into `folder`: the share of each swept key, the largest first.

    Raises `RunError` naming the file when the disk refuses.
    """
    atomic.write_json(folder / "importance.json", {"primary": primary, "importance": dict(shares)})
    shown = sorted(shares.items(), key=lambda pair: pair[1])[-MOST_BARS:]
    figure, axes = _canvas()
    bars = axes.barh(range(len(shown)), [share for _, share in shown], height=min(0.6, 0.13 * len(shown)), color=BLUE)
    axes.bar_label(bars, [f"{share:.0%}" for _, share in shown], padding=5, color=INK, fontsize=11)
    axes.set_yticks(range(len(shown)), [_short(key) for key, _ in shown], fontsize=11, parse_math=False)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlim(0, max([1e-9, *shares.values()]) * 1.12)
    axes.tick_params(axis="both", length=0)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    _title(axes, f"What decided {_short(primary)}", "share of each parameter in reaching the better half of scores")
    _save(figure, folder / "importance.png")


def write_expected(folder: Path, values: Sequence[float], primary: str, mode: str) -> None:
    """Write `expected.json` and `expected.png` into `folder`: the best score to expect of 1, 2, ... n configurations.

    `values` are the scores in the order the configurations were tried; each is a point. Those that are not finite are left out,
    and with fewer than two nothing is written.

    Raises `RunError` naming the file when the disk refuses.
    """
    values = [value for value in values if math.isfinite(value)]
    if len(values) < 2:
        return
    curve = expected_best(values, mode)
    atomic.write_json(folder / "expected.json", {"primary": primary, "mode": mode, "values": values, "expected_best": curve})
    figure, axes = _canvas()
    tried = range(1, len(values) + 1)
    axes.plot(tried, values, "o", color=GREY, alpha=0.55, markersize=6 if len(values) <= 100 else 3, mew=0, label="each configuration")
    axes.plot(tried, _best_so_far(values, mode), drawstyle="steps-post", color=GREY, linewidth=1.2, label="best so far")
    axes.plot(tried, curve, color=BLUE, linewidth=2.6, label="expected best (any order)")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.yaxis.get_major_formatter().set_useOffset(False)
    axes.grid(axis="y", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(y=0.08)
    space = max(0.5, 0.03 * len(values))
    axes.set_xlim(1 - space, len(values) + space)
    axes.set_xlabel("configurations tried", fontsize=11, color=INK)
    axes.set_ylabel(_short(primary), fontsize=11, color=INK, parse_math=False)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=3, fontsize=10.5, frameon=False, borderaxespad=0, columnspacing=1.6)
    _title(axes, "Best score to expect from so many configurations")
    _save(figure, folder / "expected.png")


def _best_so_far(values: Sequence[float], mode: str) -> list[float]:
    return list(itertools.accumulate(values, max if mode == "max" else min))


def _canvas() -> tuple[Any, Any]:
    """Return a figure of 800 x 500 pixels and its axes, outside of pyplot's global state."""
    # Of a home folder that cannot be written, which does no harm.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(8, 5), dpi=100, layout=ConstrainedLayoutEngine(w_pad=0.16, h_pad=0.16), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=10)
    return figure, axes


def _title(axes: Any, title: str, subtitle: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=14, color=INK, pad=26, parse_math=False)
    axes.text(0, 1.025, subtitle, transform=axes.transAxes, fontsize=10.5, color="#5b6168", parse_math=False)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"


def _save(figure: Any, path: Path) -> None:
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # A letter the font lacks becomes a box; the numbers beside the picture have it.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(drawn, format="png")
    atomic.write_bytes(path, drawn.getvalue())
