"""The figures: small multiples and intervals that two methods fill and twenty-one still fit.

Every figure is a value (:class:`Drawing`): its title, a caption, a text for those who cannot see
it, and a matplotlib figure of its own, apart from pyplot's. Colours are seaborn's colour-blind
palette; shape or position always says the same as colour. The same input gives the same bytes.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import scikit_posthocs
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from benchmark.api import FloatArray, Predictions
from benchmark.measures.declared import ranked
from benchmark.report import curves
from benchmark.report.board import Board, Row, Value
from benchmark.report.curves import BoolArray
from benchmark.report.drawing import (
    BAND,
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    WIDTH,
    Drawing,
    counted,
    dot,
    legend,
    line,
    new_figure,
    panels,
    patch,
    share_axis,
    style,
)
from benchmark.report.words import (
    ARROWS,
    INSIDE_FLOOR,
    SAME_TIME,
    file_name,
    listed,
    number,
    percent,
    quantity,
    shortened,
)
from benchmark.statistics import comparison


def draw_block(board: Board, predictions: Sequence[Predictions]) -> list[Drawing]:
    """All figures of one block that its data allow."""
    shown = {row.method for row in board.rows}
    found = {m: r for m, r in curves.by_method(predictions, board.block).items() if m in shown}
    with style():
        drawings = [
            reliability(board, found),
            intervals(board),
            *cost(board),
            heads(board),
            risk_coverage(board, found),
            replicate_ranks(board, found),
        ]
    return [d for d in drawings if d is not None]


def draw_overall(boards: Sequence[Board]) -> list[Drawing]:
    """The figures over all blocks: critical differences, where there are two blocks or more."""
    with style():
        drawing = block_ranks(boards)
    return [] if drawing is None else [drawing]


# --- reliability ---------------------------------------------------------------------------


def reliability(board: Board, found: Mapping[str, Sequence[Predictions]]) -> Drawing | None:
    """Accuracy against confidence, one panel a method, with the band of perfect calibration."""
    methods = [row.method for row in board.rows if row.method in found]
    if not methods:
        return None
    binned = {m: curves.reliability(found[m]) for m in methods}
    figure, grid, titles = panels(methods, ratio=1.3)
    columns = grid.ncols
    largest = max(float(r.share.max()) for r in binned.values())
    for i, method in enumerate(methods):
        inner = grid[i // columns, i % columns].subgridspec(2, 1, height_ratios=(4, 1), hspace=0.06)
        main, below = figure.add_subplot(inner[0]), figure.add_subplot(inner[1])
        _reliability_panel(main, below, binned[method])
        value = next(r for r in board.rows if r.method == method).values.get("ece", Value())
        said = "" if math.isnan(value.value) else (
            f"ECE {number(value.value * 100, board.digits('ece'))} %"
            f"{INSIDE_FLOOR if value.inside_floor else ''}"
        )  # fmt: skip
        main.set_title(titles[i], loc="left", pad=3, fontweight="bold")
        main.text(0.97, 0.05, said, transform=main.transAxes, ha="right", fontsize=8)
        below.set_ylim(0, largest)
        first, last = i % columns == 0, i + columns >= len(methods)
        main.tick_params(labelleft=first, labelbottom=False)
        below.tick_params(labelleft=False, labelbottom=last, left=False)
        if first:
            main.set_ylabel("Accuracy, %")
            below.set_ylabel("Images", rotation=0, ha="right", va="center", labelpad=4, fontsize=8)
        if last:
            below.set_xlabel("Confidence, %")
    legend(
        figure,
        [
            patch(BAND, "expected under perfect calibration (95 % of cases)"),
            dot(BLUE, "o", "inside"),
            dot(ORANGE, "D", "outside"),
        ],
    )
    many = [m for m in methods if binned[m].outside.any()]
    return Drawing(
        name=f"reliability--{board.file_name}",
        title="Reliability diagrams",
        caption="Where the points lie on the diagonal, confidence is honest: of the images "
        "predicted with 80 % confidence, 80 % are right. Below the diagonal the method is "
        "over-confident. The grey band is where a perfectly calibrated model's points would fall "
        "in 95 % of cases, bin by bin; the bars beneath show the share of the images that has that "
        f"confidence, in all panels on one scale up to {number(largest * 100, 0)} %. "
        f"{INSIDE_FLOOR} behind an ECE: inside the noise floor, a perfectly calibrated model "
        "would score as high by chance.",
        alt=f"Reliability diagrams of {counted(methods)}. "
        + "; ".join(
            f"{m}: {int(binned[m].outside.sum())} of {len(binned[m].share)} bins outside the band"
            for m in (many or methods)
        )
        + ".",
        figure=figure,
    )


def _reliability_panel(main: Axes, below: Axes, r: curves.Reliability) -> None:
    main.plot([0, 1], [0, 1], color=GREY, lw=0.8, zorder=1)
    main.bar(r.edges[:, 0], r.high - r.low, np.diff(r.edges)[:, 0], r.low, align="edge",
             color=BAND, lw=0, zorder=0)  # fmt: skip
    main.plot(r.confidence, r.accuracy, color=PALE, lw=1, zorder=2)
    for outside, colour, marker in ((False, BLUE, "o"), (True, ORANGE, "D")):
        chosen = r.outside == outside
        if not chosen.any():
            continue
        main.plot(r.confidence[chosen], r.accuracy[chosen], marker, color=colour, ms=4,
                  mec="white", mew=0.5, zorder=3, clip_on=False)  # fmt: skip
    below.bar(r.edges[:, 0], r.share, np.diff(r.edges)[:, 0], align="edge", color=GREY,
              ec="white", lw=0.4)  # fmt: skip
    for ax in (main, below):
        share_axis(ax)
        sns.despine(ax=ax)
    main.set_ylim(0, 1)
    main.set_yticks([0, 0.5, 1], ["0", "50", "100"])
    below.set_yticks([])


# --- intervals -----------------------------------------------------------------------------


def intervals(board: Board) -> Drawing | None:
    """ECE and NLL with their intervals, methods by rank."""
    metrics = [m for m in ("ece", "nll") if m in board.metrics]
    if not metrics or not board.rows:
        return None
    figure = new_figure(WIDTH, 1.25 + 0.27 * max(len(board.rows), 3), layout="constrained")
    axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for ax, metric in zip(axes, metrics, strict=True):
        _forest(ax, board, metric)
    axes[0].set_yticks(range(len(board.rows)), [shortened(r.method, 38) for r in board.rows])
    for label, row in zip(axes[0].get_yticklabels(), board.rows, strict=True):
        label.set_fontweight("bold" if row.method == board.against else "normal")
    axes[0].set_ylim(len(board.rows) - 0.4, -0.6)
    handles = [dot(BLUE, "o", f"value with {board.coverage} interval")]
    if "ece" in metrics:
        handles += [
            dot("white", "o", "inside the noise floor", edge=BLUE),
            patch(BAND, "noise floor: what perfect calibration would score"),
        ]
    against = next((r for r in board.rows if r.method == board.against), None)
    if against and any(math.isfinite(against.values.get(m, Value()).value) for m in metrics):
        handles.append(line(GREY, f"value of {shortened(board.against, 24)}", dashed=True))
    if any(math.isinf(r.values[m].value) for r in board.rows for m in metrics if m in r.values):
        handles.append(dot(ORANGE, ">", "infinite"))
    legend(figure, handles, constrained=True)
    said = []
    for metric in metrics:
        best = board.best(metric)
        if best is not None:
            q = quantity(metric)
            value = number(best.values[metric].value * q.scale, board.digits(metric))
            sign = INSIDE_FLOOR if best.values[metric].inside_floor else ""
            unit = " %" if q.printed_unit == "%" else ""
            said.append(f"lowest {q.short}: {best.method} ({value}{sign}{unit})")
    return Drawing(
        name=f"intervals--{board.file_name}",
        title="Calibration error and likelihood with intervals",
        caption="Each dot is the value in the leaderboard, each line its "
        f"{board.coverage} interval, for other test images of the same kind, {board.covers}; "
        f"methods by rank, {board.against} in bold with a dashed line at its value. Intervals of "
        "two methods may overlap although the methods differ: the paired differences decide.",
        alt=f"Intervals of {counted([r.method for r in board.rows])}; {'; '.join(said)}.",
        figure=figure,
    )


_OUTLYING = 8.0
"""Times the median: one value beyond would squash all the others on a linear axis."""


def _forest(ax: Axes, board: Board, metric: str) -> None:
    q = quantity(metric)
    values = [row.values.get(metric, Value()) for row in board.rows]
    ends = [e * q.scale for v in values for e in (v.value, v.high) if math.isfinite(e)]
    right = max(ends, default=1.0)
    points = [v.value * q.scale for v in values if 0 < v.value < math.inf]
    log = q.unit == "nats" and bool(points) and right > _OUTLYING * float(np.median(points))
    edge = right * (1.15 if log else 1.04)
    for y, (row, v) in enumerate(zip(board.rows, values, strict=True)):
        if y % 2:
            ax.axhspan(y - 0.5, y + 0.5, color="#f6f7f9", lw=0, zorder=-2)
        if math.isfinite(v.floor_high):
            ax.barh(y, v.floor_high * q.scale, 0.62, color=BAND, lw=0, zorder=-1)
        low, high = v.low * q.scale, v.high * q.scale
        if math.isfinite(low):
            ax.plot([low, high if math.isfinite(high) else edge], [y, y], color=BLUE,
                    lw=1.6, solid_capstyle="round")  # fmt: skip
        if math.isfinite(v.value):
            ax.plot(v.value * q.scale, y, "o", ms=5, mec=BLUE, mew=1.2,
                    mfc="white" if v.inside_floor else BLUE)  # fmt: skip
            if row.method == board.against:
                ax.axvline(v.value * q.scale, color=GREY, lw=1, ls=(0, (4, 3)), zorder=0.5)
        elif math.isinf(v.value):
            ax.plot(edge, y, ">", color=ORANGE, ms=6, mec="white", mew=0.5)
    kind = f"{q.better}; logarithmic axis" if log else q.better
    ax.set_xlabel(f"{q.short}{', %' if q.unit == '%' else ''} {ARROWS[q.direction]} ({kind})")
    if log:
        ax.set_xscale("log")
        ax.set_xlim(left=min(e for v in values for e in (v.value, v.low) if e > 0) / 1.2)
        _log_ticks(ax)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6))
    if q.printed_unit == "%":
        ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#eceef2", lw=0.7, zorder=-3)
    ax.set_axisbelow(True)
    sns.despine(ax=ax, left=True)


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


# --- costs ---------------------------------------------------------------------------------


def cost(board: Board) -> list[Drawing]:
    """ECE against training time, one figure for each machine; the Pareto front marked."""
    drawings = []
    for key in (k for k in board.costs if k[0] == "train_seconds"):
        points = [
            (row, row.costs[key].value, row.values["ece"])
            for row in board.rows
            if key in row.costs
            and "ece" in row.values
            and row.costs[key].value > 0
            and math.isfinite(row.values["ece"].value)
        ]
        if len(points) >= 2:
            drawings.append(_cost(board, key[1], points))
    return drawings


def _cost(board: Board, hardware: str, points: Sequence[tuple[Row, float, Value]]) -> Drawing:
    names = [row.method for row, _, _ in points]
    x = np.array([seconds for _, seconds, _ in points])
    y = np.array([v.value * 100 for _, _, v in points])
    front = pareto(x, y)
    figure = new_figure(WIDTH, max(4.2, 1.3 + 0.19 * len(points)))
    tall = figure.get_figheight()
    ax = figure.add_axes((0.065, 0.55 / tall, 0.66, 1 - 1.0 / tall))
    wide = x.max() / x.min() > 3
    ax.set_xscale("log" if wide else "linear")
    steps = np.array(sorted((x[i], y[i]) for i in np.flatnonzero(front)))
    ax.step(steps[:, 0], steps[:, 1], where="post", color=ORANGE, lw=1.4, zorder=2)
    inside = np.array([v.inside_floor for _, _, v in points])
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
    ax.set_ylabel("ECE, % ↓ (lower is better)")
    if wide:
        _log_ticks(ax)
    else:  # some width, lest a percent of difference look like much
        room = max(0.08 * np.ptp(x), 0.15 * x.max() - np.ptp(x) / 2)
        ax.set_xlim(x.min() - room, x.max() + room)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))
    sns.despine(ax=ax)
    _labels_beside(ax, names, x, y, front)
    chosen = [n for n, on in zip(names, front, strict=True) if on]
    hollow = [n for n, i in zip(names, inside, strict=True) if i]
    handles = [
        dot(ORANGE, "D", "Pareto front of the point values (times within 5 % are equal)"),
        dot(GREY, "o", "other methods"),
    ]
    if inside.any():
        handles.append(dot("white", "o", "hollow: inside its own noise floor", edge=GREY))
    legend(figure, handles)
    suffix = [hardware] if len(board.hardware) > 1 else []
    return Drawing(
        name="--".join(
            ["ece-cost", board.file_name, *(file_name(h) for h in suffix)],
        ),
        title="Calibration error against training cost" + "".join(f" ({h})" for h in suffix),
        caption="No method was found to be both cheaper and better calibrated than one on the "
        "Pareto front; times within 5 % count as equal. These are point values, without their "
        "intervals: between methods inside their noise floors (hollow) a difference in ECE means "
        "nothing, and the paired differences decide on the others. A method pays for every network "
        "that it uses."
        f"{f' Measured on {hardware}.' if hardware else ''}",
        alt=f"Scatter plot of ECE against training seconds of {counted(names)}. On the Pareto "
        f"front: {listed(chosen)}."
        + (f" Inside their noise floors: {listed(hollow)}." if hollow else ""),
        figure=figure,
    )


def pareto(seconds: FloatArray, errors: FloatArray) -> BoolArray:
    """Whether no other method is as cheap and as good, and cheaper or better: ``(n,)``."""
    x, y = np.asarray(seconds), np.asarray(errors)
    no_worse = (x[None] <= SAME_TIME * x[:, None]) & (y[None] <= y[:, None])
    better = (SAME_TIME * x[None] < x[:, None]) | (y[None] < y[:, None])
    return np.logical_not((no_worse & better).any(axis=1))


def _labels_beside(
    ax: Axes, names: Sequence[str], x: FloatArray, y: FloatArray,
    front: BoolArray,
) -> None:  # fmt: skip
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
    over = placed[-1] - (high - gap / 2) if len(placed) else 0.0
    if over > 0:
        placed[-1] -= over
        for i in range(len(placed) - 2, -1, -1):
            placed[i] = min(placed[i], placed[i + 1] - gap)
    return placed


# --- number of heads -----------------------------------------------------------------------

_SHAPES = ((BLUE, "o"), (ORANGE, "D"), (GREEN, "s"), (PURPLE, "^"))
_HEADS = re.compile(r"(?P<family>mh[a-z]*)-(?P<heads>\d+)")


def heads(board: Board) -> Drawing | None:
    """ECE and NLL against the number of heads; None without two methods called ``mhml-N``."""
    families: dict[str, list[tuple[int, int]]] = {}
    for i, row in enumerate(board.rows):
        if match := _HEADS.fullmatch(row.method):
            families.setdefault(match["family"], []).append((int(match["heads"]), i))
    metrics = [m for m in ("ece", "nll") if m in board.metrics]
    if len(families.get("mhml", ())) < 2 or not metrics:
        return None
    figure = new_figure(WIDTH, 3.9, layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    others = sorted(set(families) - {"mhml"})[: len(_SHAPES) - 1]
    shapes = dict(zip(["mhml", *others], _SHAPES))
    counts = sorted({n for found in families.values() for n, _ in found})
    single = next((r for r in board.rows if r.method == board.cost_reference), None)
    for ax, metric in zip(axes, metrics, strict=True):
        q = quantity(metric)
        for offset, (family, (colour, marker)) in enumerate(shapes.items()):
            found = sorted(families[family])
            values = [board.rows[i].values.get(metric, Value()) for _, i in found]
            x = np.array([n for n, _ in found]) + 0.14 * offset
            y = np.array([v.value for v in values]) * q.scale
            ends = np.array([(v.low, v.high) for v in values]) * q.scale
            ax.plot(x, y, color=colour, lw=1.3, alpha=0.6)
            ax.vlines(x, ends[:, 0], ends[:, 1], color=colour, lw=1.4)
            filled = [("white" if v.inside_floor else colour) for v in values]
            for a, b, fill in zip(x, y, filled, strict=True):
                ax.plot(a, b, marker, ms=5.5, mec=colour, mew=1.2, mfc=fill)
            floor = np.array([v.floor_high for v in values]) * q.scale
            if family == "mhml" and np.isfinite(floor).any():
                ax.fill_between(x, 0, floor, color=BAND, lw=0, zorder=-1)
        if single is not None and metric in single.values:
            level = single.values[metric].value * q.scale
            if math.isfinite(level):
                ax.axhline(level, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=0)
        ax.set_xticks(counts)
        ax.set_xlabel("Number of heads")
        unit = ", %" if q.printed_unit == "%" else ""
        ax.set_ylabel(f"{q.short}{unit} {ARROWS[q.direction]} ({q.better})")
        if q.printed_unit == "%":
            ax.set_ylim(bottom=0)
        ax.grid(axis="y", color="#eceef2", lw=0.7, zorder=-3)
        sns.despine(ax=ax)
    handles = [dot(c, m, f"{f}-N") for f, (c, m) in shapes.items()]
    if single is not None:
        handles.append(line(GREY, f"{single.method} (one head)", dashed=True))
    if "ece" in metrics:
        handles += [dot("white", "o", "inside the noise floor", edge=BLUE),
                    patch(BAND, "noise floor")]  # fmt: skip
    legend(figure, handles, constrained=True)
    ece = {n: board.rows[i].values["ece"] for n, i in families["mhml"] if "ece" in metrics}
    said = "; ".join(f"{n} heads {number(v.value * 100, board.digits('ece'))} %"
                     for n, v in sorted(ece.items()))  # fmt: skip
    return Drawing(
        name=f"heads--{board.file_name}",
        title="How many heads?",
        caption="Calibration error and likelihood of multi-head methods against the number of "
        f"heads, with {board.coverage} intervals. Intervals of two methods may overlap although "
        "the methods differ: the paired differences in the tables decide.",
        alt=f"ECE of mhml by number of heads: {said}." if said else "NLL by number of heads.",
        figure=figure,
    )


# --- risk and coverage ---------------------------------------------------------------------


def risk_coverage(board: Board, found: Mapping[str, Sequence[Predictions]]) -> Drawing | None:
    """Error rate among the most confident images, one panel a method over all the others."""
    methods = [row.method for row in board.rows if row.method in found]
    if not methods:
        return None
    lines = {m: curves.risk_coverage(found[m]) for m in methods}
    figure, grid, titles = panels(methods, ratio=0.9)
    columns = grid.ncols
    curve = np.array([lines[m][1] for m in methods])
    coverage = lines[methods[0]][0]
    highest = float(curve[:, len(coverage) // 10 :].max())
    start = _first_errors(coverage, curve.max(0))
    reference = board.against if board.against in lines else None
    for i, method in enumerate(methods):
        ax = figure.add_subplot(grid[i // columns, i % columns])
        ax.fill_between(coverage, curve.min(0), curve.max(0), color=BAND, lw=0, zorder=1)
        if reference and method != reference:
            ax.plot(*lines[reference], color=INK, lw=1, ls=(0, (4, 2)), zorder=2)
        ax.plot(*lines[method], color=BLUE, lw=1.8, zorder=3)
        ax.set_title(titles[i], loc="left", pad=3, fontweight="bold")
        ax.set_ylim(0, max(highest * 1.1, 1e-3))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v * 100:.3g}"))
        share_axis(ax, start)
        first, last = i % columns == 0, i + columns >= len(methods)
        ax.tick_params(labelbottom=last, labelleft=first)
        if first:
            ax.set_ylabel("Error rate, % ↓")
        if last:
            ax.set_xlabel("Images kept, %")
        sns.despine(ax=ax)
    handles = [line(BLUE, "this method"), patch(BAND, "range of all methods")]
    if reference:
        handles.insert(1, line(INK, reference, dashed=True))
    legend(figure, handles)
    half = {m: float(np.interp(0.5, *lines[m])) for m in methods}
    best = min(methods, key=lambda m: half[m])
    return Drawing(
        name=f"risk-coverage--{board.file_name}",
        title="Error rate when only confident predictions are kept",
        caption="Keep the most confident share of the images (to the left: fewer) and count the "
        "errors among them. A lower curve means that confidence tells right from wrong; whether "
        "its level is honest is not shown here."
        + (
            f" The axis begins at {percent(start)}: hardly an error is among fewer images."
            if start
            else ""
        ),
        alt=f"Risk-coverage curves of {counted(methods)}. Keeping the most confident half, "
        f"{best} errs least: {number(half[best] * 100, 1)} %.",
        figure=figure,
    )


def _first_errors(coverage: FloatArray, risk: FloatArray) -> float:
    """Where an axis of coverage may begin: 0, or half and more where there is no error before.

    Args:
        coverage: ``(n,)`` ascending shares of the images.
        risk: ``(n,)`` the largest error rate of any method there.
    """
    notable = coverage[risk > 0.1 * risk[-1]]
    start = math.floor(float(notable[0]) * 10 - 1e-9) / 10 if len(notable) else 0.0
    return min(start, 0.9) if start >= 0.5 else 0.0


# --- critical differences ------------------------------------------------------------------


def replicate_ranks(board: Board, found: Mapping[str, Sequence[Predictions]]) -> Drawing | None:
    """Critical differences of mean ranks over the replicates of one block."""
    scores = {m: curves.replicate_scores(found, m) for m in ranked()} if found else {}
    if not scores or min(s.shape[0] for s in scores.values()) < 2 or len(found) < 3:
        return None
    count = len(scores["ece"])
    shared = []
    if board.block.folds.endswith("folds"):
        shared.append("folds share most of their training images")
    if scores["ece"].index.get_level_values(1).has_duplicates:
        shared.append("seeds share all their images")
    caution = (
        f" The test takes replicates for independent, but {listed(shared)}: it calls too many "
        "methods different, so read this as a description."
        if shared
        else ""
    )
    return _critical(
        scores,
        name=f"critical-differences--{board.file_name}",
        title="Critical differences over the replicates",
        over=f"{count} replicates",
        alpha=board.alpha,
        caution=caution,
    )


def block_ranks(boards: Sequence[Board]) -> Drawing | None:
    """Critical differences of mean ranks over blocks; None with fewer than two."""
    scores = {}
    for metric in ranked():
        frame = pd.DataFrame(
            {
                board.title: {
                    r.method: r.values[metric].value for r in board.rows if metric in r.values
                }
                for board in boards
            }
        ).T.dropna(axis=1)
        if frame.shape[0] >= 2 and frame.shape[1] >= 3:
            scores[metric] = frame
    if not scores:
        return None
    return _critical(
        scores,
        name="critical-differences",
        title="Critical differences over all blocks",
        over=f"{len(boards)} blocks",
        alpha=boards[0].alpha,
    )


def _critical(
    scores: Mapping[str, pd.DataFrame],
    *,
    name: str,
    title: str,
    over: str,
    alpha: float,
    caution: str = "",
) -> Drawing:
    methods = max(s.shape[1] for s in scores.values())
    lines = math.ceil(methods / 2)
    figure = new_figure(WIDTH, len(scores) * (1.15 + 0.19 * lines), layout="constrained")
    axes = figure.subplots(len(scores), 1, squeeze=False)[:, 0]
    said, weak = [], False
    for ax, (metric, frame) in zip(axes, scores.items(), strict=True):
        higher = quantity(metric).direction == "higher"
        test = comparison.friedman(frame.to_numpy(), higher, alpha)
        mean = pd.Series(test.mean_ranks, frame.columns).sort_index().sort_values(kind="stable")
        k = len(mean)
        weak |= not test.powered
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ranks = comparison.ranks(frame.to_numpy(), higher)
            p = scikit_posthocs.posthoc_nemenyi_friedman(pd.DataFrame(ranks, columns=frame.columns))
        # Under numbers: sets of names, which the library walks through, have no fixed order.
        numbers = range(k)
        p = p.loc[mean.index, mean.index].set_axis(numbers).set_axis(numbers, axis=1)
        drawn = scikit_posthocs.critical_difference_diagram(
            mean.set_axis(numbers),
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
            method, rank = shortened(mean.index[place], 30), f"{mean.iloc[place]:.1f}"
            left = text.get_horizontalalignment() == "right"
            text.set_text(f"{method}  {rank} " if left else f" {rank}  {method}")
            text.set_color(INK)
        ax.set_xlim(0.5, k + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        ax.set_title(
            f"{quantity(metric).short}: mean rank over {over} (1 is best); "
            f"critical difference {test.critical_difference:.1f}"
            + ("" if test.powered else " (underpowered)"),
            loc="left", pad=14, fontweight="bold",
        )  # fmt: skip
        said.append(
            f"{quantity(metric).short}: best mean rank {mean.index[0]} ({mean.iloc[0]:.1f})"
        )
    note = ""
    if weak:
        note = (
            f" Underpowered: over {over}, mean ranks must differ by more than "
            f"{test.critical_difference:.1f} of at most {k - 1} to be told apart"
            + (", so that none could be." if test.critical_difference >= k - 1 else ".")
        )
    return Drawing(
        name=name,
        title=title,
        caption="Methods by their mean rank. A bar joins methods that the Nemenyi test after "
        f"Friedman's cannot tell apart at {percent(alpha)}.{note}{caution}",
        alt=f"{'; '.join(said)}.{note}",
        figure=figure,
    )
