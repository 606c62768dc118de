"""What the figures draw from stored predictions: reliability, risk and coverage, replicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from benchmark.api import FloatArray
from benchmark.predictions import Predictions
from benchmark.report.board import Block, folds_scheme

BINS = 15
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


def by_method(predictions: Sequence[Predictions], block: Block) -> dict[str, list[Predictions]]:
    """The replicates of each method of a block, in a fixed order."""
    found: dict[str, list[Predictions]] = {}
    for p in sorted(predictions, key=lambda p: (p.method, p.seed, p.fold)):
        if (p.preset, p.dataset, p.backbone, folds_scheme(p.fold)) == (
            block.preset,
            block.dataset,
            block.backbone,
            block.folds,
        ):
            found.setdefault(p.method, []).append(p)
    return found


def top_label(p: Predictions) -> tuple[FloatArray, FloatArray]:
    """Confidence of the most probable class, and whether it is the true one: both ``(n,)``."""
    chosen = p.log_probs.argmax(1)
    confidence = np.exp(np.take_along_axis(p.log_probs, chosen[:, None], 1)[:, 0])
    return confidence.astype(float), (chosen == p.labels).astype(float)


def reliability(replicates: Sequence[Predictions], bins: int = BINS) -> Reliability:
    """Pool the replicates and bin them by confidence.

    The band is that of ``Binomial(images, mean confidence)`` in each bin. Several seeds show the
    same images: the band is then that of one seed's number of images.
    """
    confidence, correct = (np.concatenate(c) for c in zip(*map(top_label, replicates), strict=True))
    seeds = len({p.seed for p in replicates})
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    used = count > 0
    mean = np.bincount(index, confidence, bins)[used] / count[used]
    images = np.maximum(np.round(count[used] / seeds), 1)
    low, high = (stats.binom.ppf(q, images, np.clip(mean, 0, 1)) / images for q in (0.025, 0.975))
    grid = np.arange(bins + 1) / bins
    return Reliability(
        edges=np.stack([grid[:-1], grid[1:]], 1)[used],
        confidence=mean,
        accuracy=np.bincount(index, correct, bins)[used] / count[used],
        share=count[used] / count.sum(),
        low=low,
        high=high,
    )


def risk_coverage(replicates: Sequence[Predictions]) -> tuple[FloatArray, FloatArray]:
    """Coverage and the error rate among the most confident images, the mean over the seeds.

    Within a seed the folds are pooled. Images of equal confidence enter together, so their order
    does not matter.
    """
    curves = []
    grid = np.linspace(0, 1, 201)[1:]
    for seed in sorted({p.seed for p in replicates}):
        parts = [top_label(p) for p in replicates if p.seed == seed]
        confidence, correct = (np.concatenate(c) for c in zip(*parts, strict=True))
        order = np.argsort(-confidence, kind="stable")
        confidence, wrong = confidence[order], 1 - correct[order]
        last = np.append(confidence[1:] < confidence[:-1], True)
        kept = (np.arange(len(wrong)) + 1)[last]
        risk = np.cumsum(wrong)[last] / kept
        curves.append(np.interp(grid, kept / len(wrong), risk))
    return grid, np.mean(curves, axis=0)


def replicate_scores(found: Mapping[str, Sequence[Predictions]], metric: str) -> pd.DataFrame:
    """A metric of each method on each replicate: rows (seed, fold), columns methods.

    Only replicates that all methods have.
    """
    score = {"accuracy": _accuracy, "ece": _ece, "nll": _nll}[metric]
    columns = {
        method: {(p.seed, p.fold): score(p) for p in replicates}
        for method, replicates in found.items()
    }
    frame = pd.DataFrame(columns)
    return frame.loc[sorted(frame.index)].dropna()


def _accuracy(p: Predictions) -> float:
    return float(top_label(p)[1].mean())


def _ece(p: Predictions) -> float:
    r = reliability([p])
    return float(np.sum(r.share * np.abs(r.accuracy - r.confidence)))


def _nll(p: Predictions) -> float:
    return float(-np.take_along_axis(p.log_probs, p.labels[:, None], 1).mean())
