"""The figures: small multiples and intervals that two methods fill and twenty-one still fit.

Every figure is a value (:class:`Drawing`): its title, a caption, a text for those who cannot see
it, and the few numbers that its picture is drawn from. The same input gives the same bytes, so a
picture whose numbers have not changed is not drawn again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd

from benchmark.api import FloatArray
from benchmark.inference import comparison
from benchmark.measures.costs import ELSEWHERE
from benchmark.measures.declared import ranked
from benchmark.report import curves
from benchmark.report.board import Board, Row, Value
from benchmark.report.curves import BoolArray, MethodCurves, Number
from benchmark.report.words import (
    INSIDE_FLOOR,
    SAME_TIME,
    file_name,
    listed,
    number,
    percent,
    quantity,
)
from benchmark.results.processes import on_all_cores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIGESTS = ".digests.json"
"""Beside the figures: what each was drawn from, and what came out."""

_SLOW = ("critical", "diagrams")
"""The pictures that take longest."""

_MANY = 8
"""So many pictures are worth the start of processes."""


@dataclass(kw_only=True, eq=False)
class Drawing:
    """A figure with its words.

    Attributes:
        name: of its files, without ending.
        title: heading in plain words.
        caption: how to read it.
        alt: what it shows, for those who do not see it.
        picture: the function of :mod:`benchmark.report.drawing` that draws it.
        values: what that is given: names and small arrays.
        files: as PNG and as SVG, once they are there.
    """

    name: str
    title: str
    caption: str
    alt: str
    picture: str
    values: Mapping[str, Any]
    files: tuple[bytes, bytes] | None = field(default=None, repr=False)

    @cached_property
    def figure(self) -> Figure:
        """The picture, as matplotlib knows it."""
        from benchmark.report import drawing

        return drawing.paint(self.picture, self.values)

    @property
    def png(self) -> bytes:
        """As pixels; the same bytes every time."""
        return self._rendered[0]

    @property
    def svg(self) -> bytes:
        """As vector graphics; the same bytes every time."""
        return self._rendered[1]

    @property
    def _rendered(self) -> tuple[bytes, bytes]:
        if self.files is None:
            self.files = _render(self.picture, self.values)
        return self.files

    @cached_property
    def digest(self) -> str:
        """Of all that its bytes follow from."""
        return str(joblib.hash((_code(), self.picture, self.values)))


def _render(picture: str, values: Mapping[str, Any]) -> tuple[bytes, bytes]:
    from benchmark.report import drawing  # matplotlib is not loaded where nothing is drawn

    return drawing.render(picture, values)


@cache
def _code() -> str:
    """What draws: this package's modules, and the versions of those that they rest on."""
    sources = [Path(__file__).with_name(name).read_bytes() for name in ("drawing.py", "words.py")]
    libraries = ("matplotlib", "scikit-posthocs", "pillow", "numpy", "pandas", "scipy")
    versions = [importlib.metadata.version(name) for name in libraries]
    return hashlib.sha256(b"".join(sources) + repr(versions).encode()).hexdigest()


def render(drawings: Sequence[Drawing], folder: Path | None = None) -> bytes:
    """Make the files of all drawings; in a folder, only of those that changed.

    Args:
        drawings: their ``files`` are filled in.
        folder: where earlier figures lie, with their digests.

    Returns:
        The digests, to be put beside the figures under the name :data:`DIGESTS`.
    """
    known = digests(folder) if folder else {}
    for d in drawings:
        paths = [folder / f"{d.name}.{form}" for form in ("png", "svg")] if folder else []
        if d.name in known and all(path.is_file() for path in paths):
            png, svg = (path.read_bytes() for path in paths)
            if known[d.name] == [d.digest, _sha(png), _sha(svg)]:
                d.files = png, svg
    todo = [d for d in drawings if d.files is None]
    todo.sort(key=lambda d: d.picture not in _SLOW)  # last, they would keep the others waiting
    tasks = [(d.picture, d.values) for d in todo]
    files = on_all_cores(_render, tasks) if len(todo) >= _MANY else [_render(*t) for t in tasks]
    for d, drawn in zip(todo, files, strict=True):
        d.files = drawn
    new = {d.name: [d.digest, _sha(d.png), _sha(d.svg)] for d in drawings}
    return (json.dumps(new, indent=1) + "\n").encode()


def digests(folder: Path) -> dict[str, Any]:
    """What is known of the figures that lie in a folder, by name; empty where nothing is."""
    try:
        known = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- which figures there are -------------------------------------------------------------------


def draw_block(
    board: Board,
    methods: Mapping[str, MethodCurves],
    scores: pd.DataFrame,
    definitions: Sequence[Mapping[str, Any]] = (),
) -> list[Drawing]:
    """All figures of one block that its data allow.

    Args:
        board: its leaderboard.
        methods: the curves of its methods.
        scores: tidy scores of all replicates; without the ranked ones, ranks are not drawn.
        definitions: ``name`` and ``parameters`` of the methods: they tell which are a family.
    """
    drawings = [
        reliability(board, methods),
        intervals(board),
        *cost(board),
        *families(board, definitions),
        risk_coverage(board, methods),
        replicate_ranks(board, scores),
    ]
    return [d for d in drawings if d is not None]


def draw_overall(boards: Sequence[Board]) -> list[Drawing]:
    """The figures over all blocks: critical differences, where there are two blocks or more."""
    drawing = block_ranks(boards)
    return [] if drawing is None else [drawing]


def reliability(board: Board, known: Mapping[str, MethodCurves]) -> Drawing | None:
    """Accuracy against confidence, one panel a method, with the band of perfect calibration."""
    rows = [row for row in board.rows if row.method in known]
    if not rows:
        return None
    methods = [row.method for row in rows]
    binned = [known[m].reliability for m in methods]
    errors = [row.values.get("ece", Value()) for row in rows]
    notes = [
        "" if math.isnan(v.networks_value) else (
            f"ECE {board.printed('ece', v.networks_value)[0]} %{INSIDE_FLOOR * v.all_inside}"
        )
        for v in errors
    ]  # fmt: skip
    largest = max(float(r.share.max()) for r in binned)
    said = [
        f"{m}: {int(r.outside.sum())} of {len(r.share)} bins outside the band"
        for m, r in zip(methods, binned, strict=True)
    ]
    some = [s for s, r in zip(said, binned, strict=True) if r.outside.any()]
    return Drawing(
        name=f"reliability--{board.file_name}",
        title="Reliability diagrams",
        caption="Where the points lie on the diagonal, confidence is honest: of the images "
        "predicted with 80 % confidence, 80 % are right. Below the diagonal the method is "
        "over-confident. The grey band is where a perfectly calibrated model's points would fall "
        f"in {board.coverage} of cases, bin by bin; the bars beneath show the share of the images "
        f"that has that confidence, in all panels on one scale up to {number(largest * 100, 0)} %. "
        "All networks of a method are shown together, in which those that are too sure and those "
        "that are not sure enough may cancel; the ECE is the mean of each one's own, noise "
        "and all. "
        f"{INSIDE_FLOOR} behind it: every one is inside its noise floor, a perfectly calibrated "
        "network would score as high by chance.",
        alt=f"Reliability diagrams of {_counted(methods)}. {'; '.join(some or said)}.",
        picture="diagrams",
        values={
            "methods": methods, "binned": binned, "notes": notes, "coverage": board.coverage,
        },
    )  # fmt: skip


def intervals(board: Board) -> Drawing | None:
    """ECE and NLL with their intervals, methods by rank."""
    metrics = _main_losses(board)
    if not metrics or not board.rows:
        return None
    methods = [row.method for row in board.rows]
    said = []
    for metric in metrics:
        leading = board.leading(metric)
        if leading is not None:
            q = quantity(metric)
            value, _ = board.printed(metric, leading.values[metric].value)
            unit = " %" if q.printed_unit == "%" else ""
            said.append(
                f"lowest {q.short}: {leading.method} ({value}{leading.values[metric].mark}{unit})"
            )
    return Drawing(
        name=f"intervals--{board.file_name}",
        title="Calibration error and likelihood with intervals",
        caption="Each dot is the value in the leaderboard, each line its "
        f"{board.coverage} interval {board.covers}; "
        f"methods by rank, {board.against} in bold with a dashed line at its value. Intervals of "
        "two methods may overlap although the methods differ: the paired differences decide.",
        alt=f"Intervals of {_counted(methods)}; {'; '.join(said)}.",
        picture="forest",
        values={
            "methods": methods,
            "reference": board.against,
            "coverage": board.coverage,
            "metrics": [curves.measured(board.rows, m, not board.of_methods) for m in metrics],
        },
    )


def cost(board: Board) -> list[Drawing]:
    """ECE against training time, one figure for each machine; the Pareto front marked."""
    drawings = []
    for key in (k for k in board.costs if k[0] == "train_seconds"):
        timed = [
            row
            for row in board.rows
            if key in row.costs
            and "ece" in row.values
            and row.costs[key].value > 0
            and math.isfinite(row.values["ece"].value)
        ]
        # What was measured elsewhere than the reference can be compared with its like here.
        rows = [row for row in timed if row.costs[key].doubt in ("", ELSEWHERE)]
        if len(rows) >= 2:
            left_out = [row.method for row in timed if row not in rows]
            drawings.append(_cost(board, key, rows, left_out))
    return drawings


def _cost(
    board: Board, key: tuple[str, str], rows: Sequence[Row], left_out: Sequence[str]
) -> Drawing:
    hardware = key[1]
    seconds = np.array([row.costs[key].value for row in rows])
    names = [row.method for row in rows]
    errors = curves.measured(rows, "ece")
    front = pareto(seconds, errors.value)
    chosen = [n for n, on in zip(names, front, strict=True) if on]
    hollow = [n for n, inside in zip(names, errors.inside, strict=True) if inside]
    suffix = [hardware] if len(board.hardware) > 1 else []
    return Drawing(
        name="--".join(["ece-cost", board.file_name, *(file_name(h) for h in suffix)]),
        title="Calibration error against training cost" + "".join(f" ({h})" for h in suffix),
        caption="No method was found to be both cheaper and better calibrated than one on the "
        "Pareto front; times within 5 % count as equal. These are point values, without their "
        "intervals: the paired differences decide. Hollow: all networks of the method are inside "
        "their noise floors. A method pays for every network "
        "that it uses."
        f"{f' Measured on {hardware}.' if hardware else ''}"
        + (
            f" Left out, for times that cannot be compared: {listed(left_out)}." if left_out else ""
        ),
        alt=f"Scatter plot of ECE against training seconds of {_counted(names)}. On the Pareto "
        f"front: {listed(chosen)}."
        + (f" Inside their noise floors: {listed(hollow)}." if hollow else ""),
        picture="scatter",
        values={"methods": names, "seconds": seconds, "errors": errors, "front": front},
    )


def pareto(seconds: FloatArray, errors: FloatArray) -> BoolArray:
    """Whether no other method is as cheap and as good, and cheaper or better: ``(n,)``."""
    x, y = np.asarray(seconds), np.asarray(errors)
    no_worse = (x[None] <= SAME_TIME * x[:, None]) & (y[None] <= y[:, None])
    better = (SAME_TIME * x[None] < x[:, None]) | (y[None] < y[:, None])
    return np.logical_not((no_worse & better).any(axis=1))


def families(board: Board, definitions: Sequence[Mapping[str, Any]]) -> list[Drawing]:
    """ECE and NLL against the parameter in which methods of a family differ: one figure for each.

    Args:
        board: the leaderboard.
        definitions: ``name`` and ``parameters`` of the methods.
    """
    found = curves.families(definitions, [row.method for row in board.rows])
    by_name = {d["name"]: d["parameters"] for d in definitions}
    of_reference = by_name.get(board.cost_reference, {})
    return [
        _family(board, parameter, stems, of_reference.get(parameter))
        for parameter, stems in found.items()
        if _main_losses(board)
    ]


def _family(
    board: Board,
    parameter: str,
    stems: Mapping[str, Mapping[Number, str]],
    of_reference: Number | None,
) -> Drawing:
    rows = {row.method: row for row in board.rows}
    shown = {s: [rows[m] for m in members.values()] for s, members in list(stems.items())[:4]}
    largest, members = next(iter(stems.items()))
    metrics, floors = _main_losses(board), not board.of_methods
    reference = rows.get(board.cost_reference)
    dashed = None
    if reference is not None and of_reference is not None:
        dashed = (
            f"{reference.method} ({_amount(parameter, of_reference)})",
            [float(curves.measured([reference], m).value[0]) for m in metrics],
        )
    count = _is_count(parameter, next(iter(members)))
    noun = parameter.replace("_", " ")
    axis = f"number of {noun}" if count else noun
    said = "; ".join(
        f"{_amount(parameter, n)} {number(value, board.digits('ece'))} %"
        for n, value in zip(members, curves.measured(shown[largest], "ece").value, strict=True)
    )
    return Drawing(
        name=f"{file_name(parameter)}--{board.file_name}",
        title=f"How many {noun}?" if count else f"Which {noun}?",
        caption="Calibration error and likelihood of "
        f"{f'multi-{_singular(noun)} ' if count else ''}methods against the {axis}, "
        f"with {board.coverage} intervals {board.covers}. Intervals of two methods may overlap "
        "although the methods differ: the paired differences in the tables decide.",
        alt=f"ECE of {largest} by {axis}: {said}." if "ece" in metrics else f"NLL by {axis}.",
        picture="family",
        values={
            "xlabel": axis[:1].upper() + axis[1:],
            "members": {stem: list(stems[stem]) for stem in shown},
            "metrics": [
                {stem: curves.measured(of_stem, m, floors) for stem, of_stem in shown.items()}
                for m in metrics
            ],
            "reference": dashed,
        },
    )


def _is_count(parameter: str, value: Number) -> bool:
    """Whether a parameter says how many: ``heads``, ``members``."""
    return parameter.endswith("s") and isinstance(value, int)


def _amount(parameter: str, value: Number) -> str:
    """``one head``, ``4 heads``, ``gamma 0.5``."""
    noun = parameter.replace("_", " ")
    if not _is_count(parameter, value):
        return f"{noun} {value}"
    return f"one {_singular(noun)}" if value == 1 else f"{value} {noun}"


def _singular(noun: str) -> str:
    return re.sub(r"(?<=ss)es$|s$", "", noun)


def risk_coverage(board: Board, known: Mapping[str, MethodCurves]) -> Drawing | None:
    """Error rate among the most confident images, one panel a method over all the others."""
    methods = [row.method for row in board.rows if row.method in known]
    if not methods:
        return None
    coverage, risks = curves.COVERAGE, np.array([known[m].risk for m in methods])
    start = _first_errors(coverage, risks.max(0))
    half = [float(np.interp(0.5, coverage, risk)) for risk in risks]
    best = int(np.argmin(half))
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
        alt=f"Risk-coverage curves of {_counted(methods)}. Keeping the most confident half, "
        f"{methods[best]} errs least: {number(half[best] * 100, 1)} %.",
        picture="selective",
        values={
            "methods": methods, "coverage": coverage, "risks": risks, "start": start,
            "reference": board.against,
        },
    )  # fmt: skip


def _first_errors(coverage: FloatArray, risk: FloatArray) -> float:
    """Where an axis of coverage may begin: 0, or half and more where there is no error before.

    Args:
        coverage: ``(n,)`` ascending shares of the images.
        risk: ``(n,)`` the largest error rate of any method there.
    """
    notable = coverage[risk > 0.1 * risk[-1]]
    start = math.floor(float(notable[0]) * 10 - 1e-9) / 10 if len(notable) else 0.0
    return min(start, 0.9) if start >= 0.5 else 0.0


def replicate_ranks(board: Board, scores: pd.DataFrame) -> Drawing | None:
    """Critical differences of mean ranks over the replicates of one block."""
    if not set(ranked()) <= set(scores["metric"]):
        return None
    methods = [row.method for row in board.rows]
    wide = {m: curves.replicate_scores(scores, board.block, methods, m) for m in ranked()}
    fewest = np.min([frame.shape for frame in wide.values()], axis=0)
    if fewest[0] < 2 or fewest[1] < 3:
        return None
    replicates = next(iter(wide.values())).index
    shared = []
    if board.block.folds.endswith("folds"):
        shared.append("folds share most of their training images")
    if replicates.get_level_values("fold").has_duplicates:
        shared.append("seeds share all their images")
    caution = (
        f" The test takes replicates for independent, but {listed(shared)}: it calls too many "
        "methods different, so read this as a description."
        if shared
        else ""
    )
    return _critical(
        wide,
        name=f"critical-differences--{board.file_name}",
        title="Critical differences over the replicates",
        over=f"{len(replicates)} replicates",
        alpha=board.alpha,
        caution=caution,
    )


def block_ranks(boards: Sequence[Board]) -> Drawing | None:
    """Critical differences of mean ranks over blocks; None with fewer than two."""
    scores = {}
    for metric in ranked():
        columns = {
            board.title: {
                r.method: r.values[metric].value for r in board.rows if metric in r.values
            }
            for board in boards
        }
        frame = pd.DataFrame(columns).T.dropna(axis=1)
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
    said, note, drawn = [], "", {}
    for metric, frame in scores.items():
        short, higher = quantity(metric).short, quantity(metric).direction == "higher"
        test = comparison.friedman(frame.to_numpy(), higher, alpha)
        critical = test.critical_difference
        ranks = pd.DataFrame(comparison.ranks(frame.to_numpy(), higher), columns=frame.columns)
        mean = pd.Series(test.mean_ranks, frame.columns).sort_index().sort_values(kind="stable")
        heading = (
            f"{short}: mean rank over {over} (1 is best); critical difference {critical:.1f}"
            + ("" if test.powered else " (underpowered)")
        )
        drawn[heading] = {str(method): ranks[method].tolist() for method in mean.index}
        said.append(f"{short}: lowest mean rank {mean.index[0]} ({mean.iloc[0]:.1f})")
        if not test.powered:
            reach = len(mean) - 1
            note = (
                f" Underpowered: over {over}, mean ranks must differ by more than "
                f"{critical:.1f} of at most {reach} to be told apart"
                + (", so that none could be." if critical >= reach else ".")
            )
    return Drawing(
        name=name,
        title=title,
        caption="Methods by their mean rank. A bar joins methods that the Nemenyi test after "
        f"Friedman's cannot tell apart at {percent(alpha)}.{note}{caution}",
        alt=f"{'; '.join(said)}.{note}",
        picture="critical",
        values={"ranks": drawn, "alpha": alpha},
    )


def _main_losses(board: Board) -> list[str]:
    return [metric for metric in ("ece", "nll") if metric in board.metrics]


def _counted(names: Sequence[str]) -> str:
    """``7 methods``, or the one's name."""
    return names[0] if len(names) == 1 else f"{len(names)} methods"
