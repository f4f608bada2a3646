"""The pictures of a report: SVG elements for inside a page, which take their colours from it.

matplotlib draws them; its inline styles become attributes, because the page allows no style but its
own. Text stays text and is never read as a formula.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

from ftr.results.report.blocks import Picture, one_line

WIDTH, HEIGHT = 460, 290
"""CSS pixels; a phone shows a picture at three quarters of it."""
INK, MUTED, GRID, ACCENT, SECOND = "#000001", "#000002", "#000003", "#000004", "#000005"
COLOURS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
}
"""What stands for the colours of the page while matplotlib draws."""
KEPT = frozenset({"svg", "g", "defs", "clipPath", "path", "rect", "use", "text", "tspan"})
STYLES = frozenset(
    {
        *("fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity"),
        *("stroke-dasharray", "stroke-dashoffset", "stroke-linejoin", "stroke-linecap"),
        *("stroke-miterlimit", "opacity", "text-anchor", "font-size", "font-weight"),
    }
)
"""Declarations of a style that an attribute of the same name says too."""
LONGEST = 22
SETTINGS: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11.5,
    "axes.labelsize": 11.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 6),
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.fontsize": 11,
    "figure.facecolor": "none",
    "figure.dpi": 72,
}


def short(text: object, longest: int = LONGEST) -> str:
    """Return a name for a picture, with its middle left out where it is long."""
    name = one_line(text)
    return name if len(name) <= longest else f"{name[: longest // 2]}…{name[1 - longest // 2 :]}"


@contextmanager
def drawing(title: str, width: float = WIDTH, height: float = HEIGHT) -> Iterator[Canvas]:
    """Yield the axes of a new figure, as a `Canvas` whose `picture` is there afterwards.

    The settings of matplotlib's files have no effect.
    """
    # Of a home folder that cannot be written, which does no harm.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        # A letter that matplotlib's font lacks has a wrong width in its layout; the browser has it.
        warnings.filterwarnings("ignore", message="Glyph")
        mpl.rcdefaults()
        mpl.rcParams.update({**SETTINGS, "svg.hashsalt": title})
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        canvas = Canvas(figure.add_subplot())
        yield canvas
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg")
    canvas.picture = Picture(title=title, svg=_inline(drawn.getvalue(), title))


class Canvas:
    """Axes to draw on, and the picture that they became."""

    picture: Picture

    def __init__(self, axes: Any) -> None:
        self.axes = axes


def _inline(drawn: bytes, title: str) -> str:
    """Return what matplotlib wrote as an element for a page: without styles, and with ids that no
    other picture has.
    """
    root = ET.fromstring(drawn)  # noqa: S314 - matplotlib's own output, of a moment ago
    width = root.attrib["viewBox"].split()[2]
    prefix = f"p{zlib.crc32(title.encode()):08x}"
    _clean(root, prefix)
    for name in ("height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"width": width, "role": "img", "aria-label": title, "stroke-linejoin": "round"}
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def _clean(element: ET.Element, prefix: str) -> None:
    element.tag = element.tag.partition("}")[2]
    style = dict(
        part.strip().split(": ", 1) for part in element.attrib.pop("style", "").split(";") if part
    )
    if "font" in style:
        style["font-size"] = next(
            word for word in style["font"].split() if word.endswith(("px", "pt"))
        )
    found = {name.partition("}")[2] or name: value for name, value in element.attrib.items()}
    found |= {name: COLOURS.get(value, value) for name, value in style.items() if name in STYLES}
    if element.tag == "text":
        found.setdefault("fill", "currentColor")
    for name, value in found.items():
        if name == "id":
            found[name] = f"{prefix}-{value}"
        elif value.startswith("#") and name == "href":
            found[name] = f"#{prefix}-{value[1:]}"
        elif value.startswith("url(#"):
            found[name] = f"url(#{prefix}-{value[5:]}"
    element.attrib.clear()
    element.attrib.update(found)
    for child in list(element):
        if child.tag.partition("}")[2] in KEPT:
            _clean(child, prefix)
        else:
            element.remove(child)


def line(
    title: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    x: str,
    y: str,
    *,
    marked: tuple[float, float, str] | None = None,
) -> Picture:
    """Return curves over `x`, each a sequence of points, with one point `marked` by a word."""
    with drawing(title) as canvas:
        axes = canvas.axes
        for (name, points), colour in zip(curves.items(), (ACCENT, SECOND, MUTED), strict=False):
            few = "o" if len(points) <= 12 else None
            axes.plot(
                *zip(*points, strict=True),
                color=colour,
                linewidth=2,
                marker=few,
                markersize=4.5,
                label=one_line(name),
            )
        if marked:
            axes.plot(*marked[:2], "o", color=INK, markersize=7, fillstyle="none", mew=1.5)
            axes.annotate(
                marked[2], marked[:2], xytext=(0, 9), textcoords="offset points", ha="center"
            )
        axes.margins(y=0.14)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.grid(axis="y")
        axes.set(xlabel=one_line(x), ylabel=one_line(y))
        if len(curves) > 1:
            axes.legend(loc="best")
    return canvas.picture


def dots(
    title: str,
    rows: Sequence[tuple[str, float, float | None, float | None]],
    x: str,
    *,
    digits: int = 3,
) -> Picture:
    """Return a point for each row (name, value, low, high), with a line from low to high; the
    first row is on top, in the colour of the model.
    """
    with drawing(title, height=70 + 30 * len(rows)) as canvas:
        axes = canvas.axes
        for place, (_, value, low, high) in enumerate(reversed(rows)):
            colour = ACCENT if place == len(rows) - 1 else MUTED
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=colour, linewidth=2.2)
            axes.plot(value, place, "o", color=colour, markersize=7)
            axes.annotate(
                f"{value:.{digits}f}",
                (value, place),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=10.5,
            )
        axes.set_yticks(range(len(rows)), [short(row[0]) for row in reversed(rows)])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set(ylim=(-0.5, len(rows) - 0.3), xlabel=one_line(x))
        axes.margins(x=0.08)
        axes.grid(axis="x")
    return canvas.picture


def confusion(title: str, counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Picture:
    """Return a square for each pair of classes, true ones in rows: the share of its row as
    darkness, its count as a number.
    """
    size = len(labels)
    side = min(max(54.0, 34.0 * size), 400.0) + 110
    with drawing(title, width=min(side * 1.12, WIDTH + 140), height=side) as canvas:
        axes = canvas.axes
        for row, line_ in enumerate(counts):
            total = sum(line_) or 1
            for column, count in enumerate(line_):
                colour = ACCENT if row == column else SECOND
                axes.add_patch(_square(column, row, colour, count / total))
                if count and size <= 15:
                    axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=10.5)
        names = [short(label, 14) for label in labels]
        axes.set_xticks(range(size), names, rotation=0 if size <= 4 else 90)
        axes.set_yticks(range(size), names)
        axes.tick_params(length=0, labelcolor=INK)
        axes.spines["bottom"].set_visible(False)
        axes.set(
            xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="predicted", ylabel="true"
        )
        axes.set_aspect("equal")
    return canvas.picture


def _square(x: float, y: float, colour: str, share: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (x - 0.48, y - 0.48), 0.96, 0.96, facecolor=colour, alpha=0.05 + 0.75 * share, linewidth=0
    )


def reliability(title: str, bins: Sequence[tuple[float, float, int]]) -> Picture:
    """Return the share of right predictions over the mean confidence of each bin (confidence,
    share right, count); the area of a point is its count.
    """
    with drawing(title) as canvas:
        axes = canvas.axes
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        most = max(count for *_, count in bins)
        axes.plot(
            [one[0] for one in bins], [one[1] for one in bins], color=ACCENT, linewidth=1, alpha=0.5
        )
        for confidence, right, count in bins:
            axes.plot(
                confidence,
                right,
                "o",
                color=ACCENT,
                markersize=4 + 10 * math.sqrt(count / most),
                alpha=0.75,
                mew=0,
            )
        axes.grid()
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.06))
        axes.set(xlabel="confidence", ylabel="share that is right")
    return canvas.picture


def bars(title: str, shares: Mapping[str, float], x: str) -> Picture:
    """Return a bar for each share, the largest on top."""
    rows = sorted(shares.items(), key=lambda pair: pair[1])
    with drawing(title, height=60 + 30 * len(rows)) as canvas:
        axes = canvas.axes
        drawn = axes.barh(range(len(rows)), [share for _, share in rows], height=0.55, color=ACCENT)
        axes.bar_label(drawn, [f"{share:.0%}" for _, share in rows], padding=5)
        axes.set_yticks(range(len(rows)), [short(name, 30) for name, _ in rows])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.spines["bottom"].set_visible(False)
        axes.set(xlim=(0, max(1e-9, *shares.values()) * 1.15), xticks=[], xlabel=one_line(x))
    return canvas.picture


def expected(title: str, values: Sequence[float], curve: Sequence[float], y: str) -> Picture:
    """Return the score of each configuration in the order it was tried, and the best to expect of
    so many.
    """
    with drawing(title) as canvas:
        axes = canvas.axes
        tried = range(1, len(values) + 1)
        axes.plot(tried, values, "o", color=MUTED, alpha=0.6, mew=0, label="each configuration")
        axes.plot(tried, curve, color=ACCENT, linewidth=2.4, label="expected best")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.margins(y=0.1)
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderaxespad=0)
        axes.set(xlabel="configurations tried", ylabel=one_line(y))
    return canvas.picture


def parallel(title: str, axes_of: Mapping[str, Sequence[tuple[float, str]]], best: int) -> Picture:
    """Return a line for each configuration through its place (0 to 1) on the axis of each key; the
    text of a place is printed for the ends of the axis. The last axis is the score, and colours the
    lines; `best` is the number of the line drawn on top.
    """
    names = list(axes_of)
    lines = [list(places) for places in zip(*axes_of.values(), strict=True)]
    with drawing(title, width=max(WIDTH, 130 * len(names)), height=330) as canvas:
        axes = canvas.axes
        for number, line_ in enumerate(lines):
            top, score = number == best, line_[-1][0]
            axes.plot(
                range(len(names)),
                [place for place, _ in line_],
                color=SECOND if top else ACCENT,
                alpha=1.0 if top else 0.12 + 0.55 * score,
                linewidth=2.8 if top else 1.3,
                zorder=3 if top else 2,
            )
        for x, places in enumerate(axes_of.values()):
            axes.axvline(x, color=MUTED, linewidth=0.9)
            for end, text in _ticks(places):
                axes.annotate(
                    short(text, 16),
                    (x, end),
                    xytext=(5 if x < len(names) - 1 else -5, 0),
                    textcoords="offset points",
                    ha="left" if x < len(names) - 1 else "right",
                    va="center",
                    fontsize=10,
                    color=MUTED,
                )
        axes.set_xticks(range(len(names)), [short(name, 18) for name in names])
        axes.tick_params(axis="x", length=0, labelcolor=INK)
        axes.spines["bottom"].set_visible(False)
        axes.set(yticks=[], ylim=(-0.06, 1.06), xlim=(-0.15, len(names) - 0.85))
    return canvas.picture


def _ticks(places: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return all places of an axis with few, else its ends."""
    distinct = sorted(dict(places).items())
    return distinct if len(distinct) <= 5 else [distinct[0], distinct[-1]]
