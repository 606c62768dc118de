"""What the figures draw, as small values: reliability, risk and coverage, scores, families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.api import BlockKey, FloatArray, Floats, Predictions, fold_scheme
from benchmark.measures.bins import BINS, Bins, equal_width_bins
from benchmark.report.board import Row, Value
from benchmark.report.words import ARROWS, quantity
from benchmark.statistics.blocks import Block

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reliability:
    """Accuracy against confidence in equal-width bins, right-closed; empty bins are left out.

    Attributes:
        edges: ``(bins, 2)`` the bounds of each bin.
        confidence: ``(bins,)`` mean confidence.
        accuracy: ``(bins,)`` share of correct images.
        share: ``(bins,)`` share of all images.
        low: ``(bins,)`` lower end of the accuracies that a perfectly calibrated model shows.
        high: ``(bins,)`` their upper end.
    """

    edges: FloatArray
    confidence: FloatArray
    accuracy: FloatArray
    share: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def outside(self) -> BoolArray:
        """``(bins,)`` whether the accuracy lies outside the expected band."""
        tolerance = 1e-9
        return (self.accuracy < self.low - tolerance) | (self.accuracy > self.high + tolerance)


class Measured(NamedTuple):
    """A metric of several methods, as printed: shares in percent.

    Attributes:
        short: the metric's short name.
        label: that with unit and arrow, for an axis.
        better: the better direction in words.
        percent: whether it is a share.
        skewed: whether single values may be many times the others, as losses are.
        value: ``(n,)``, NaN where a method has none; as the following.
        low: lower ends of the intervals.
        high: their upper ends.
        floor: upper ends of the noise floors.
        inside: ``(n,)`` whether all networks of the method are inside their noise floors.
    """

    short: str
    label: str
    better: str
    percent: bool
    skewed: bool
    value: FloatArray
    low: FloatArray
    high: FloatArray
    floor: FloatArray
    inside: BoolArray


def measured(rows: Sequence[Row], metric: str, floors: bool = False) -> Measured:
    """A metric of some methods with its intervals.

    Args:
        rows: the methods.
        metric: which.
        floors: whether the values are those that the noise floors belong to.
    """
    q = quantity(metric)
    values = [row.values.get(metric, Value()) for row in rows]
    percent = q.printed_unit == "%"

    def printed(name: str) -> FloatArray:
        return np.array([getattr(value, name) for value in values], float) * q.scale

    return Measured(
        q.short,
        f"{q.short}{', %' if percent else ''} {ARROWS[q.direction]}",
        q.better,
        percent,
        q.unit == "nats",
        printed("value"),
        printed("low"),
        printed("high"),
        printed("floor_high") if floors else np.full(len(values), np.nan),
        np.array([v.all_inside for v in values], bool),
    )


# --- from predictions ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class MethodCurves:
    """What the figures draw of one method's predictions.

    Attributes:
        reliability: accuracy against confidence.
        risk: error rates among the most confident images, at the shares :data:`COVERAGE`.
    """

    reliability: Reliability
    risk: FloatArray


def of_methods(block: Block | None, alpha: float) -> dict[str, MethodCurves]:
    """The curves of the methods of a block; none where there is no block.

    Args:
        block: their predictions.
        alpha: one minus the share of the draws that the band of perfect calibration holds.
    """
    return {
        method: MethodCurves(
            reliability(block.bins(method, equal_width_bins), alpha),
            risk_coverage(block.parts[method]),
        )
        for method in (block.methods if block else ())
        if block
    }


def to_plain(methods: Mapping[str, MethodCurves]) -> dict[str, Any]:
    """Curves as JSON values."""
    return {
        method: {
            "risk": curves.risk.tolist(),
            "reliability": {name: v.tolist() for name, v in vars(curves.reliability).items()},
        }
        for method, curves in methods.items()
    }


def from_plain(plain: Mapping[str, Any]) -> dict[str, MethodCurves]:
    """The curves that :func:`to_plain` took apart."""
    return {
        method: MethodCurves(
            Reliability(**{name: np.array(v) for name, v in curves["reliability"].items()}),
            np.array(curves["risk"]),
        )
        for method, curves in plain.items()
    }


def reliability(seeds: Sequence[Bins], alpha: float = 0.05) -> Reliability:
    """Accuracy against confidence in the bins of the ECE.

    The band comes from the draws of the ECE's noise floor, so it heeds groups. Seeds are averaged;
    as they show the same images, their draws are taken to err together.

    Args:
        seeds: the equal-width bins of each seed; networks may stand side by side in them, and
            then the bins that have the same edges are taken together.
        alpha: one minus the share of the draws that the band holds in each bin.
    """

    def together(values: Floats) -> Floats:
        return np.asarray(values.reshape(*values.shape[:-1], -1, BINS).sum(-2))

    counts = np.sum([together(b.counts) for b in seeds], axis=0)
    used = counts > 0
    drawn = np.sum([np.sort(together(b.floor), axis=0) for b in seeds], axis=0)[:, used]
    band = (alpha / 2, 1 - alpha / 2)
    low, high = np.quantile(drawn / counts[used], band, axis=0, method="nearest")
    grid = np.arange(BINS + 1) / BINS
    return Reliability(
        edges=np.stack([grid[:-1], grid[1:]], 1)[used],
        confidence=np.sum([together(b.expected) for b in seeds], axis=0)[used] / counts[used],
        accuracy=np.sum([together(b.hits) for b in seeds], axis=0)[used] / counts[used],
        share=counts[used] / counts.sum(),
        low=low,
        high=high,
    )


COVERAGE = np.linspace(0, 1, 201)[1:]
"""Shares of the images at which risk-coverage curves are known."""


def risk_coverage(replicates: Sequence[Predictions]) -> FloatArray:
    """The error rate among the most confident images, the mean over the replicates.

    Images of equal confidence enter together, so their order does not matter.
    """
    curves = []
    for sample in replicates:
        score = sample.log_probs.max(1)  # confidences beyond 1 - 1e-16 still differ here
        order = np.argsort(-score, kind="stable")
        score, wrong = score[order], 1 - sample.correct[order]
        last = np.append(score[1:] < score[:-1], True)
        kept = (np.arange(len(wrong)) + 1)[last]
        curves.append(np.interp(COVERAGE, kept / len(wrong), np.cumsum(wrong)[last] / kept))
    return np.asarray(np.mean(curves, axis=0))


def replicate_scores(
    scores: pd.DataFrame, block: BlockKey, methods: Sequence[str], metric: str
) -> pd.DataFrame:
    """A metric of each method on each replicate of a block: rows (seed, fold), columns methods.

    Only replicates that all methods have.

    Args:
        scores: tidy, with the columns of an origin, ``metric`` and ``value``.
        block: whose replicates.
        methods: the columns, if they have scores.
        metric: which.
    """
    schemes = {f: fold_scheme(str(f)) for f in scores["fold"].unique()}
    chosen = scores[
        (scores["metric"] == metric)
        & (scores["preset"] == block.preset)
        & (scores["dataset"] == block.dataset)
        & (scores["backbone"] == block.backbone)
        & (scores["fold"].map(schemes) == block.folds)
        & scores["method"].isin(methods)
    ]
    return chosen.pivot(index=["seed", "fold"], columns="method", values="value").dropna()


# --- families --------------------------------------------------------------------------------

Number = int | float


def families(
    definitions: Sequence[Mapping[str, Any]], methods: Sequence[str]
) -> dict[str, dict[str, dict[Number, str]]]:
    """Methods that differ in one parameter, which their names end with: ``smooth-0.1``, say.

    Args:
        definitions: ``name`` and ``parameters`` of methods, as the manifest has them.
        methods: those that may be members.

    Returns:
        By parameter, then by what the members' names begin with (the largest family first): the
        members by the parameter's value. A parameter without a family of two is left out.
    """
    found: dict[str, dict[str, dict[Number, str]]] = {}
    for definition in definitions:
        name = str(definition["name"])
        for parameter, value in definition.get("parameters", {}).items():
            stem = name.removesuffix(f"-{value}")
            if name in methods and stem != name and isinstance(value, int | float):
                found.setdefault(parameter, {}).setdefault(stem, {})[value] = name
    ordered_by_size = {
        parameter: dict(sorted(stems.items(), key=lambda item: (-len(item[1]), item[0])))
        for parameter, stems in sorted(found.items())
    }
    return {
        parameter: {stem: dict(sorted(members.items())) for stem, members in stems.items()}
        for parameter, stems in ordered_by_size.items()
        if len(next(iter(stems.values()))) >= 2
    }
