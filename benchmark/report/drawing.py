"""How every figure looks and is kept: colours, fonts, small multiples, the same bytes each time."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import matplotlib as mpl
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from benchmark.report.words import broken, shortened

BLUE, ORANGE, GREEN, RED, PURPLE, *_ = sns.color_palette("colorblind").as_hex()
INK, GREY, PALE, BAND = "#1f2430", "#6b7280", "#c9ced6", "#e4e7ec"
WIDTH = 10.0
_DPI = 160
_STYLE = {
    **sns.axes_style("ticks"),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.parse_math": False,  # a method may be called `$x$`
    "svg.fonttype": "path",
    "svg.hashsalt": "calibration-benchmark",
    "path.simplify": True,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """A figure with its words.

    Attributes:
        name: of its files, without ending.
        title: heading in plain words.
        caption: how to read it.
        alt: what it shows, for those who do not see it.
        figure: the picture.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure

    @cached_property
    def svg(self) -> bytes:
        """As vector graphics; the same bytes every time."""
        return _render(self.figure, "svg", {"Date": None, "Creator": None})

    @cached_property
    def png(self) -> bytes:
        """As pixels; the same bytes every time."""
        return _render(self.figure, "png", {"Software": None})


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, for as long as they are drawn."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A name in a script that DejaVu lacks is drawn as boxes; that is no reason to stop.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _render(figure: Figure, form: str, metadata: dict[str, None]) -> bytes:
    stream = io.BytesIO()
    with style():
        figure.savefig(stream, format=form, metadata=metadata, dpi=_DPI)
    return stream.getvalue()


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """An empty figure, unknown to pyplot; sizes in inches."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panels(methods: Sequence[str], ratio: float) -> tuple[Figure, GridSpec, list[str]]:
    """A figure for small multiples, with room for a legend, titles and the outer labels.

    Args:
        methods: one panel each.
        ratio: height of a panel by its width.

    Returns:
        The figure, the places of the panels, and their titles.
    """
    columns = _columns(len(methods))
    lines = math.ceil(len(methods) / columns)
    left, gap = 0.62, 0.16
    wide = (WIDTH - left - 0.1 - gap * (columns - 1)) / columns if columns > 3 else 2.9
    titles = [_wrapped(m, int(wide * 10.5)) for m in methods]
    title = 0.32 + 0.17 * max(t.count("\n") for t in titles)
    high = wide * ratio
    width = max(left + 0.1 + (wide + gap) * columns - gap, 7.2)
    height = 0.35 + lines * (high + title) + 0.5
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        lines, columns, left=left / width,
        right=(left + (wide + gap) * columns - gap) / width,
        top=1 - (0.35 + title) / height, bottom=0.5 / height, wspace=gap / wide,
        hspace=title / high,
    )  # fmt: skip
    return figure, grid, titles


def _columns(panels: int) -> int:
    """Columns of small multiples: few empty places, panels no smaller than readable."""
    if panels <= 3:
        return panels
    return min(range(4, 8), key=lambda c: (-panels % c + abs(math.ceil(panels / c) - 3), c))


def share_axis(ax: Axes, start: float = 0.0) -> None:
    """``start`` to 100 %, the outer labels turned inwards so that neighbours do not collide."""
    ax.set_xlim(start, 1)
    ticks = (start, (start + 1) / 2, 1)
    ax.set_xticks(ticks, [f"{tick * 100:.10g}" for tick in ticks])
    first, _, last = ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


def _wrapped(name: str, width: int) -> str:
    """A name on at most two lines."""
    if len(name) <= width:
        return name
    first, *rest = (part for piece in broken(name) for part in re.findall(r"\S*\s|\S+", piece))
    while rest and len(first + rest[0]) <= width:
        first += rest.pop(0)
    if len(first) > width:
        first, rest = first[:width], [first[width:], *rest]  # a hyphen might be the name's own
    return f"{first}\n{shortened(''.join(rest), width)}"


def counted(names: Sequence[str]) -> str:
    """``7 methods``, or the one's name."""
    return names[0] if len(names) == 1 else f"{len(names)} methods"


def legend(figure: Figure, handles: Sequence[Artist], constrained: bool = False) -> None:
    """One line of keys above everything; ``constrained`` where the layout makes room for it."""
    figure.legend(
        handles=handles,
        loc="outside upper left" if constrained else "upper left",
        ncols=len(handles),
        handletextpad=0.5,
        columnspacing=1.6,
        borderaxespad=0.3,
    )


def patch(colour: str, label: str) -> Artist:
    """A key for an area."""
    return Patch(color=colour, label=label)


def dot(colour: str, marker: str, label: str, edge: str | None = None) -> Artist:
    """A key for a point."""
    return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5.5,
                  markeredgecolor=edge or colour, markeredgewidth=1.2, label=label)  # fmt: skip


def line(colour: str, label: str, dashed: bool = False) -> Artist:
    """A key for a line."""
    return Line2D([], [], color=colour, linestyle=(0, (4, 2)) if dashed else "-", linewidth=1.6,
                  label=label)  # fmt: skip
