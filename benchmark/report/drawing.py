"""How every figure looks: a picture is drawn from small values alone, the same bytes each time.

Colours are seaborn's colour-blind palette; shape or position always says the same as colour.
"""

from __future__ import annotations

import gc
import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from benchmark.api import FloatArray
from benchmark.report.curves import BoolArray, Measured, Number, Reliability
from benchmark.report.words import broken, shortened

BLUE, ORANGE, GREEN, _, PURPLE, *_ = sns.color_palette("colorblind").as_hex()
INK, GREY, PALE, BAND, GRID = "#1f2430", "#6b7280", "#c9ced6", "#e4e7ec", "#eceef2"
WIDTH = 10.0
_DPI = 160
_DASHED = (0, (4, 3))
_STYLE: dict[Any, Any] = {
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


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, for as long as they are drawn."""
    collecting = gc.isenabled()
    gc.disable()  # a figure is very many objects: to walk through them takes a tenth of the time
    try:
        with mpl.rc_context(_STYLE), warnings.catch_warnings():
            # A name in a script that DejaVu lacks is drawn as boxes; that is no reason to stop.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            yield
    finally:
        if collecting:
            gc.enable()


def paint(picture: str, values: Mapping[str, Any]) -> Figure:
    """Draw the picture of that name from its values."""
    with style():
        return _PICTURES[picture](**values)


def render(picture: str, values: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The picture of that name as PNG and as SVG, without dates and versions."""
    png, svg = io.BytesIO(), io.BytesIO()
    with style():  # in this order: a layout comes out a hair different the second time
        figure = _PICTURES[picture](**values)
        figure.savefig(png, format="png", metadata={"Software": None}, dpi=_DPI)
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None}, dpi=_DPI)
    return png.getvalue(), svg.getvalue()


# --- pictures --------------------------------------------------------------------------------


def _diagrams(
    methods: Sequence[str], binned: Sequence[Reliability], notes: Sequence[str], coverage: str
) -> Figure:
    """Reliability diagrams, one panel a method, with the band of perfect calibration."""
    figure, grid, titles = _panels(methods, ratio=1.3)
    largest = max(float(r.share.max()) for r in binned)
    for i, place in enumerate(_places(grid, len(methods))):
        inner = place.subgridspec(2, 1, height_ratios=(4, 1), hspace=0.06)
        main, below = figure.add_subplot(inner[0]), figure.add_subplot(inner[1])
        _reliability_panel(main, below, binned[i])
        _title(main, titles[i])
        main.text(0.97, 0.05, notes[i], transform=main.transAxes, ha="right", fontsize=8)
        below.set_ylim(0, largest)
        first, last = _outer(grid, i, len(methods))
        main.tick_params(labelleft=first, labelbottom=False)
        below.tick_params(labelleft=False, labelbottom=last, left=False)
        if first:
            main.set_ylabel("Accuracy, %")
            below.set_ylabel("Images", rotation=0, ha="right", va="center", labelpad=4, fontsize=8)
        if last:
            below.set_xlabel("Confidence, %")
    _legend(
        figure,
        _patch(BAND, f"expected under perfect calibration ({coverage} of cases)"),
        _dot(BLUE, "o", "inside"),
        _dot(ORANGE, "D", "outside"),
    )
    return figure


def _reliability_panel(main: Axes, below: Axes, r: Reliability) -> None:
    left, widths = r.edges[:, 0], np.diff(r.edges)[:, 0]
    main.plot([0, 1], [0, 1], color=GREY, lw=0.8, zorder=1)
    main.bar(left, r.high - r.low, widths, r.low, align="edge", color=BAND, lw=0, zorder=0)
    main.plot(r.confidence, r.accuracy, color=PALE, lw=1, zorder=2)
    for outside, colour, marker in ((False, BLUE, "o"), (True, ORANGE, "D")):
        chosen = r.outside == outside
        if chosen.any():
            main.plot(r.confidence[chosen], r.accuracy[chosen], marker, color=colour, ms=4,
                      mec="white", mew=0.5, zorder=3, clip_on=False)  # fmt: skip
    below.bar(left, r.share, widths, align="edge", color=GREY, ec="white", lw=0.4)
    for ax in (main, below):
        _share_axis(ax)
        _open(ax)
    main.set_ylim(0, 1)
    main.set_yticks([0, 0.5, 1], ["0", "50", "100"])
    below.set_yticks([])


def _forest(
    methods: Sequence[str], reference: str, coverage: str, metrics: Sequence[Measured]
) -> Figure:
    """Values with their intervals, one line a method and one panel a metric."""
    figure = _new_figure(WIDTH, 1.25 + 0.27 * max(len(methods), 3), layout="constrained")
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    is_reference = np.array([m == reference for m in methods])
    for ax, metric in zip(axes, metrics, strict=True):
        _forest_panel(ax, metric, is_reference)
    axes[0].set_yticks(range(len(methods)), [shortened(m, 38) for m in methods])
    for label, bold in zip(axes[0].get_yticklabels(), is_reference, strict=True):
        label.set_fontweight("bold" if bold else "normal")
    axes[0].set_ylim(len(methods) - 0.4, -0.6)
    handles = [_dot(BLUE, "o", f"value with {coverage} interval")]
    handles += _floor_keys(metrics)
    if any(np.isfinite(m.value[is_reference]).any() for m in metrics):
        handles.append(_line(GREY, f"value of {shortened(reference, 24)}", dashed=True))
    if any(np.isinf(m.value).any() for m in metrics):
        handles.append(_dot(ORANGE, ">", "infinite"))
    _legend(figure, *handles, constrained=True)
    return figure


_OUTLYING = 8.0
"""Times the median: one value beyond would squash all the others on a linear axis."""


def _forest_panel(ax: Axes, m: Measured, is_reference: BoolArray) -> None:
    ends = np.concatenate([m.value, m.high])
    right = max(ends[np.isfinite(ends)], default=1.0)
    positive = m.value[(m.value > 0) & np.isfinite(m.value)]
    log = m.skewed and len(positive) > 0 and bool(right > _OUTLYING * np.median(positive))
    edge = right * (1.15 if log else 1.04)
    for y, (value, low, high, floor) in enumerate(
        zip(m.value, m.low, m.high, m.floor, strict=True)
    ):
        if y % 2:
            ax.axhspan(y - 0.5, y + 0.5, color="#f6f7f9", lw=0, zorder=-2)
        if math.isfinite(floor):
            ax.barh(y, floor, 0.62, color=BAND, lw=0, zorder=-1)
        if math.isfinite(low):
            ax.plot([low, high if math.isfinite(high) else edge], [y, y], color=BLUE,
                    lw=1.6, solid_capstyle="round")  # fmt: skip
        if math.isfinite(value):
            ax.plot(value, y, "o", ms=5, mec=BLUE, mew=1.2, mfc="white" if m.inside[y] else BLUE)
            if is_reference[y]:
                ax.axvline(value, color=GREY, lw=1, ls=_DASHED, zorder=0.5)
        elif math.isinf(value):
            ax.plot(edge, y, ">", color=ORANGE, ms=6, mec="white", mew=0.5)
    ax.set_xlabel(f"{m.label} ({m.better}{'; logarithmic axis' if log else ''})")
    if log:
        ax.set_xscale("log")
        ends = np.concatenate([m.value, m.low])
        ax.set_xlim(left=ends[ends > 0].min() / 1.2)
        _log_ticks(ax)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6))
    if m.percent:
        ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID, lw=0.7, zorder=-3)
    ax.set_axisbelow(True)
    _open(ax, "left")


def _scatter(
    methods: Sequence[str], seconds: FloatArray, errors: Measured, front: BoolArray
) -> Figure:
    """A calibration error against training time."""
    x, y, inside = seconds, errors.value, errors.inside
    figure = _new_figure(WIDTH, max(4.2, 1.3 + 0.19 * len(methods)))
    tall = figure.get_figheight()
    ax = figure.add_axes((0.065, 0.55 / tall, 0.66, 1 - 1.0 / tall))
    wide = x.max() / x.min() > 3
    ax.set_xscale("log" if wide else "linear")
    steps = np.array(sorted(zip(x[front], y[front], strict=True)))
    ax.step(steps[:, 0], steps[:, 1], where="post", color=ORANGE, lw=1.4, zorder=2)
    for on, colour, marker, size in ((False, GREY, "o", 5.5), (True, ORANGE, "D", 6.5)):
        for some, fill, edge, stroke in (
            ((front == on) & ~inside, colour, "white", 0.7),
            ((front == on) & inside, "white", colour, 1.3),
        ):
            ax.plot(x[some], y[some], marker, color=fill, ms=size, mec=edge, mew=stroke, zorder=3)
    ax.set_ylim(bottom=0, top=y.max() * 1.08)
    ax.margins(x=0.06)
    kind = "; logarithmic axis" if wide else ""
    ax.set_xlabel(f"Training time of one replicate, s ↓ (lower is better{kind})")
    ax.set_ylabel(f"{errors.label} ({errors.better})")
    if wide:
        _log_ticks(ax)
    else:  # some width, lest a percent of difference look like much
        room = max(0.08 * np.ptp(x), 0.15 * x.max() - np.ptp(x) / 2)
        ax.set_xlim(x.min() - room, x.max() + room)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))
    _open(ax)
    _labels_beside(ax, methods, x, y, front)
    handles = [
        _dot(ORANGE, "D", "Pareto front of the point values (times within 5 % are equal)"),
        _dot(GREY, "o", "other methods"),
    ]
    if inside.any():
        handles.append(_dot("white", "o", "hollow: inside the noise floor", edge=GREY))
    _legend(figure, *handles)
    return figure


def _labels_beside(
    ax: Axes, names: Sequence[str], x: FloatArray, y: FloatArray, front: BoolArray
) -> None:
    """Names in a column at the right, in the order of their points, led to them by thin lines."""
    order = np.lexsort((-x, y))
    low, high = ax.get_ylim()
    places = _spread(y[order], (high - low) / max(len(names), 16), low, high)
    for i, place in zip(order, places, strict=True):
        ax.annotate(
            shortened(names[i], 30), xy=(x[i], y[i]), xytext=(1.06, place),
            textcoords=ax.get_yaxis_transform(), va="center", fontsize=8,
            fontweight="bold" if front[i] else "normal", annotation_clip=False, zorder=1,
            arrowprops={"arrowstyle": "-", "color": PALE, "lw": 0.7,
                        "shrinkA": 2, "shrinkB": 4, "relpos": (0, 0.5)},
        )  # fmt: skip


def _spread(wanted: FloatArray, gap: float, low: float, high: float) -> FloatArray:
    """Ascending positions at least ``gap`` apart, near the wanted ones, within the bounds."""
    placed = np.array(wanted, float)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    placed[-1] = min(placed[-1], high - gap / 2)
    for i in range(len(placed) - 2, -1, -1):
        placed[i] = min(placed[i], placed[i + 1] - gap)
    return placed


_SHAPES = ((BLUE, "o"), (ORANGE, "D"), (GREEN, "s"), (PURPLE, "^"))


def _family(
    xlabel: str,
    members: Mapping[str, Sequence[Number]],
    metrics: Sequence[Mapping[str, Measured]],
    reference: tuple[str, Sequence[float]] | None,
) -> Figure:
    """Metrics against the parameter in which the methods of a family differ."""
    figure = _new_figure(WIDTH, 3.9, layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    shapes = dict(zip(members, _SHAPES))
    ticks = sorted({n for numbers in members.values() for n in numbers})
    apart = 0.14 * min(1.0, *np.diff(ticks))
    for i, (ax, of_family) in enumerate(zip(axes, metrics, strict=True)):
        for offset, (name, (colour, marker)) in enumerate(shapes.items()):
            m = of_family[name]
            x = np.array(members[name]) + apart * offset
            ax.plot(x, m.value, color=colour, lw=1.3, alpha=0.6)
            ax.vlines(x, m.low, m.high, color=colour, lw=1.4)
            for a, b, inside in zip(x, m.value, m.inside, strict=True):
                ax.plot(
                    a, b, marker, ms=5.5, mec=colour, mew=1.2, mfc="white" if inside else colour
                )
            if offset == 0 and np.isfinite(m.floor).any():
                ax.fill_between(x, 0, m.floor, color=BAND, lw=0, zorder=-1)
        if reference is not None and math.isfinite(reference[1][i]):
            ax.axhline(reference[1][i], color=GREY, lw=0.9, ls=_DASHED, zorder=0)
        ax.set_xticks(ticks)
        ax.set_xlabel(xlabel)
        ax.set_ylabel(f"{m.label} ({m.better})")
        if m.percent:
            ax.set_ylim(bottom=0)
        ax.grid(axis="y", color=GRID, lw=0.7, zorder=-3)
        _open(ax)
    handles = [_dot(colour, marker, f"{name}-N") for name, (colour, marker) in shapes.items()]
    if reference is not None:
        handles.append(_line(GREY, reference[0], dashed=True))
    handles += _floor_keys([m for of_family in metrics for m in of_family.values()])
    _legend(figure, *handles, constrained=True)
    return figure


def _selective(
    methods: Sequence[str], coverage: FloatArray, risks: FloatArray, start: float, reference: str
) -> Figure:
    """Error rate among the most confident images, one panel a method over all the others."""
    figure, grid, titles = _panels(methods, ratio=0.9)
    highest = float(risks[:, len(coverage) // 10 :].max())
    for i, (place, risk) in enumerate(zip(_places(grid, len(methods)), risks, strict=True)):
        ax = figure.add_subplot(place)
        ax.fill_between(coverage, risks.min(0), risks.max(0), color=BAND, lw=0, zorder=1)
        if reference in methods and methods[i] != reference:
            ax.plot(coverage, risks[methods.index(reference)], color=INK, lw=1, ls=(0, (4, 2)),
                    zorder=2)  # fmt: skip
        ax.plot(coverage, risk, color=BLUE, lw=1.8, zorder=3)
        _title(ax, titles[i])
        ax.set_ylim(0, max(highest * 1.1, 1e-3))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v * 100:.3g}"))
        _share_axis(ax, start)
        first, last = _outer(grid, i, len(methods))
        ax.tick_params(labelbottom=last, labelleft=first)
        if first:
            ax.set_ylabel("Error rate, % ↓")
        if last:
            ax.set_xlabel("Images kept, %")
        _open(ax)
    handles = [_line(BLUE, "this method"), _patch(BAND, "range of all methods")]
    if reference in methods:
        handles.insert(1, _line(INK, reference, dashed=True))
    _legend(figure, *handles)
    return figure


def _critical(ranks: Mapping[str, Mapping[str, Sequence[float]]], alpha: float) -> Figure:
    """Critical difference diagrams, one below the other."""
    import scikit_posthocs  # slow to import, for these pictures alone

    lines = math.ceil(max(map(len, ranks.values())) / 2)
    figure = _new_figure(WIDTH, len(ranks) * (1.15 + 0.19 * lines), layout="constrained")
    axes = figure.subplots(len(ranks), 1, squeeze=False)[:, 0]
    for ax, (title, of_method) in zip(axes, ranks.items(), strict=True):
        methods = list(of_method)
        # Under numbers: sets of names, which the library walks through, have no fixed order.
        frame = pd.DataFrame(dict(enumerate(of_method.values())))
        mean = frame.mean()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            p = scikit_posthocs.posthoc_nemenyi_friedman(frame)
        drawn = scikit_posthocs.critical_difference_diagram(
            mean,
            p,
            alpha=alpha,
            ax=ax,
            label_fmt_left="{label}",
            label_fmt_right="{label}",
            label_props={"fontsize": 8},
            elbow_props={"color": GREY, "lw": 0.8},
            marker_props={"color": INK, "s": 14},
            crossbar_props={"color": BLUE, "linewidth": 3.5, "solid_capstyle": "round"},
        )
        for text in drawn["labels"]:
            place = int(text.get_text())
            method, rank = shortened(methods[place], 30), f"{mean[place]:.1f}"
            left = text.get_horizontalalignment() == "right"
            text.set_text(f"{method}  {rank} " if left else f" {rank}  {method}")
            text.set_color(INK)
        ax.set_xlim(0.5, len(methods) + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        ax.set_title(title, loc="left", pad=14, fontweight="bold")
    return figure


_PICTURES: Mapping[str, Callable[..., Figure]] = {
    "diagrams": _diagrams,
    "forest": _forest,
    "scatter": _scatter,
    "family": _family,
    "selective": _selective,
    "critical": _critical,
}

# --- parts -----------------------------------------------------------------------------------


def _new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = None
) -> Figure:
    """An empty figure, unknown to pyplot; sizes in inches."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _panels(methods: Sequence[str], ratio: float) -> tuple[Figure, GridSpec, list[str]]:
    """A figure for small multiples, with room for a legend, titles and the outer labels."""
    columns = _columns(len(methods))
    lines = math.ceil(len(methods) / columns)
    left, gap = 0.62, 0.16
    wide = (WIDTH - left - 0.1 - gap * (columns - 1)) / columns if columns > 3 else 2.9
    titles = [_wrapped(m, int(wide * 10.5)) for m in methods]
    title = 0.32 + 0.17 * max(t.count("\n") for t in titles)
    high = wide * ratio
    width = max(left + 0.1 + (wide + gap) * columns - gap, 7.2)
    height = 0.35 + lines * (high + title) + 0.5
    figure = _new_figure(width, height)
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


def _places(grid: GridSpec, count: int) -> list[SubplotSpec]:
    return [grid[i // grid.ncols, i % grid.ncols] for i in range(count)]


def _outer(grid: GridSpec, i: int, count: int) -> tuple[bool, bool]:
    """Whether a panel stands at the left of all, and whether none is below it."""
    return i % grid.ncols == 0, i + grid.ncols >= count


def _title(ax: Axes, title: str) -> None:
    """Name a panel. One line stands clear of it: to look for a free place takes long."""
    place = None if "\n" in title else 1.0
    ax.set_title(title, loc="left", y=place, pad=3, fontweight="bold")


def _open(ax: Axes, *more: str) -> None:
    """Leave the frame open at the top, at the right, and at more sides."""
    ax.spines[["top", "right", *more]].set_visible(False)


def _share_axis(ax: Axes, start: float = 0.0) -> None:
    """``start`` to 100 %, the outer labels turned inwards so that neighbours do not collide."""
    ax.set_xlim(start, 1)
    ticks = (start, (start + 1) / 2, 1)
    ax.set_xticks(ticks, [f"{tick * 100:.10g}" for tick in ticks])
    first, _, last = ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


_LOG_STEPS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, *range(2, 10)))


def _log_ticks(ax: Axes) -> None:
    """The fewest round numbers along a logarithmic axis that make four ticks or more."""
    low, high = ax.get_xlim()
    for steps in _LOG_STEPS:
        locator = LogLocator(subs=steps, numticks=40)
        if sum(low <= tick <= high for tick in locator.tick_values(low, high)) >= 4:
            break
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))


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


def _legend(figure: Figure, *handles: Artist, constrained: bool = False) -> None:
    """One line of keys above everything; ``constrained`` where the layout makes room for it."""
    figure.legend(
        handles=handles,
        loc="outside upper left" if constrained else "upper left",
        ncols=len(handles),
        handletextpad=0.5,
        columnspacing=1.6,
        borderaxespad=0.3,
    )


def _floor_keys(metrics: Sequence[Measured]) -> list[Artist]:
    """Keys for what is drawn of noise floors."""
    keys = []
    if any(m.inside.any() for m in metrics):
        keys.append(_dot("white", "o", "inside the noise floor", edge=BLUE))
    if any(np.isfinite(m.floor).any() for m in metrics):
        keys.append(_patch(BAND, "noise floor of perfect calibration"))
    return keys


def _patch(colour: str, label: str) -> Artist:
    """A key for an area."""
    return Patch(color=colour, label=label)


def _dot(colour: str, marker: str, label: str, edge: str | None = None) -> Artist:
    """A key for a point."""
    return Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5.5,
                  markeredgecolor=edge or colour, markeredgewidth=1.2, label=label)  # fmt: skip


def _line(colour: str, label: str, dashed: bool = False) -> Artist:
    """A key for a line."""
    return Line2D([], [], color=colour, linestyle=(0, (4, 2)) if dashed else "-", linewidth=1.6,
                  label=label)  # fmt: skip
