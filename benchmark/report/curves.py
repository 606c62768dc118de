"""What the figures draw from stored predictions: reliability, risk and coverage, replicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.api import BlockKey, FloatArray, Predictions
from benchmark.measures.bins import equal_width_bins
from benchmark.measures.declared import metrics
from benchmark.statistics.blocks import join_folds, ordered

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reliability:
    """Accuracy against confidence in equal-width bins, right-closed; empty bins are left out.

    Attributes:
        edges: ``(bins, 2)`` the bounds of each bin.
        confidence: ``(bins,)`` mean confidence.
        accuracy: ``(bins,)`` share of correct images.
        share: ``(bins,)`` share of all images.
        low: ``(bins,)`` 2.5 % point of the accuracy that a perfectly calibrated model shows.
        high: ``(bins,)`` its 97.5 % point.
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


def by_method(predictions: Sequence[Predictions], block: BlockKey) -> dict[str, list[Predictions]]:
    """The replicates of each method of a block, in a fixed order."""
    found: dict[str, list[Predictions]] = {}
    for p in ordered(predictions):
        if p.origin.block == block:
            found.setdefault(p.origin.method, []).append(p)
    return found


def samples(replicates: Sequence[Predictions]) -> list[Predictions]:
    """One a seed, its folds pooled."""
    seeds = sorted({p.origin.seed for p in replicates})
    return [join_folds([p for p in replicates if p.origin.seed == seed]) for seed in seeds]


def reliability(replicates: Sequence[Predictions]) -> Reliability:
    """Accuracy against confidence in the bins of the ECE.

    The band comes from the draws of the ECE's noise floor, so it heeds groups. Seeds are averaged;
    as they show the same images, their draws are taken to err together.
    """
    bins = [sample.once(equal_width_bins) for sample in samples(replicates)]
    counts = np.sum([b.counts for b in bins], axis=0)
    used = counts > 0
    drawn = np.sum([np.sort(b.floor, axis=0) for b in bins], axis=0)[:, used] / counts[used]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0, method="nearest")
    grid = np.arange(bins[0].bins + 1) / bins[0].bins
    return Reliability(
        edges=np.stack([grid[:-1], grid[1:]], 1)[used],
        confidence=np.sum([b.expected for b in bins], axis=0)[used] / counts[used],
        accuracy=np.sum([b.hits for b in bins], axis=0)[used] / counts[used],
        share=counts[used] / counts.sum(),
        low=low,
        high=high,
    )


def risk_coverage(replicates: Sequence[Predictions]) -> tuple[FloatArray, FloatArray]:
    """Coverage and the error rate among the most confident images, the mean over the seeds.

    Images of equal confidence enter together, so their order does not matter.
    """
    curves = []
    grid = np.linspace(0, 1, 201)[1:]
    for sample in samples(replicates):
        score = sample.log_probs.max(1)  # confidences beyond 1 - 1e-16 still differ here
        order = np.argsort(-score, kind="stable")
        score, wrong = score[order], 1 - sample.correct[order]
        last = np.append(score[1:] < score[:-1], True)
        kept = (np.arange(len(wrong)) + 1)[last]
        curves.append(np.interp(grid, kept / len(wrong), np.cumsum(wrong)[last] / kept))
    return grid, np.mean(curves, axis=0)


def replicate_scores(found: Mapping[str, Sequence[Predictions]], metric: str) -> pd.DataFrame:
    """A metric of each method on each replicate: rows (seed, fold), columns methods.

    Only replicates that all methods have.
    """
    score = metrics()[metric].value
    columns = {
        method: {(p.origin.seed, p.origin.fold): score(p) for p in replicates}
        for method, replicates in found.items()
    }
    frame = pd.DataFrame(columns)
    return frame.loc[sorted(frame.index)].dropna()
