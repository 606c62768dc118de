"""How large a calibration error a calibrated model shows, and the interval that follows from it.

A binned calibration error sums the absolute gaps between correctness and confidence of its bins,
so that noise alone makes it positive: a *perfectly* calibrated model scores about 2 % on 2000
images. That noise floor is drawn here. An interval for the true error is got by inverting the
test that belongs to it: a candidate truth is in the interval if the observed error lies between
the 2.5 % and 97.5 % points of those drawn under it. Candidate 0 is the noise floor itself, so
that "the interval contains 0" and "the value is inside the floor" cannot disagree. (A percentile
bootstrap, the usual choice, covers a true error of 0 in 0 % of cases.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats as distributions

from benchmark.api import IntArray

Floats = npt.NDArray[np.float64]

DRAWS = 2000
"""How many sets of labels are drawn for the noise floor."""

LADDER_DRAWS = 1000
"""How many of them under each of the candidate truths other than 0."""

LADDER = np.concatenate([[-12, -8, -6, -5], np.arange(-4, 3.01, 0.25), [4, 6, 12]])
"""Candidate truths: how far each bin's gap lies from the observed one, in standard deviations."""

Error = Callable[[Floats, "Bins"], Floats]
"""An estimator: hits ``(draws, bins)`` to the calibration error of each draw ``(draws,)``."""


@dataclass(frozen=True, eq=False)
class Bins:
    """Images sorted into bins by what a model said about them.

    Attributes:
        index: ``(n,)`` the bin of each image.
        confidence: ``(n,)`` the model's probability of a hit.
        hit: ``(n,)`` whether it was one (the prediction was correct).
        groups: ``(n,)`` codes 0, 1, ... of what hangs together, or None.
        bins: how many bins there are.
        seed: where the draws start.
    """

    index: IntArray
    confidence: Floats
    hit: Floats
    groups: IntArray | None
    bins: int
    seed: int

    @property
    def images(self) -> int:
        """How many images there are in all."""
        return len(self.index)

    @cached_property
    def counts(self) -> Floats:
        """Images in each bin."""
        return np.bincount(self.index, minlength=self.bins).astype(float)

    @cached_property
    def expected(self) -> Floats:
        """Hits that the model expects in each bin: the sum of its confidences."""
        return self._sums(self.confidence)

    @cached_property
    def hits(self) -> Floats:
        """Hits observed in each bin."""
        return self._sums(self.hit)

    @cached_property
    def accuracy(self) -> Floats:
        """Accuracy of each bin, smoothed by one image that keeps the model's word."""
        word = np.divide(self.expected, self.counts, where=self.counts > 0, out=np.zeros(self.bins))
        return (self.hits + word) / (self.counts + 1)

    @cached_property
    def deviation(self) -> Floats:
        """Standard deviation of the hits of each bin, given the truth that was observed."""
        return self._deviation(self.counts * self.accuracy * (1 - self.accuracy))

    @cached_property
    def floor(self) -> Floats:
        """Hits of each bin if the model were perfectly calibrated, ``(DRAWS, bins)``.

        The labels are drawn from the model's own probabilities. Images of a group do not err
        independently, so with groups the gaps are drawn from their covariance between groups,
        and never with less variance than independent labels have.
        """
        if self.groups is not None:
            doubt = self.confidence * (1 - self.confidence)
            return self._clustered(np.zeros(self.bins), self._sums(doubt))
        generator = np.random.default_rng([self.seed, 0])
        hits = np.zeros((DRAWS, self.bins))
        for b in range(self.bins):
            confidence = self.confidence[self.index == b].astype(np.float32)
            if len(confidence):
                uniform = generator.random((DRAWS, len(confidence)), dtype=np.float32)
                hits[:, b] = np.count_nonzero(uniform < confidence, axis=1)
        return hits

    def draw(self, gaps: Floats) -> Floats:
        """Hits of each bin, ``(LADDER_DRAWS, bins)``, if the true gaps are these.

        Args:
            gaps: ``(bins,)`` how many more hits are to be expected than the model says.
        """
        share = np.divide(
            self.expected + gaps, self.counts, where=self.counts > 0, out=np.zeros(self.bins)
        )
        share = np.clip(share, 0, 1)
        if self.groups is not None:
            return self._clustered(gaps, self.counts * share * (1 - share))[:LADDER_DRAWS]
        generator = np.random.default_rng([self.seed, 1])
        counts = self.counts.astype(int)
        # One row a bin: numpy sets its binomial sampler up once for each pair of arguments.
        hits = generator.binomial(counts[:, None], share[:, None], (self.bins, LADDER_DRAWS))
        return hits.T.astype(np.float64)

    # --- groups ----------------------------------------------------------------------------

    @cached_property
    def _covariance(self) -> Floats:
        """Covariance of the gaps over groups, widened for how few groups there are."""
        assert self.groups is not None
        cells = self.groups * self.bins + self.index
        number = int(self.groups.max()) + 1
        gaps = np.bincount(cells, self.hit - self.confidence, number * self.bins)
        gaps = gaps.reshape(number, self.bins)
        sizes = np.bincount(self.groups, minlength=number)
        residuals = gaps - sizes[:, None] / self.images * gaps.sum(0)
        covariance: Floats = residuals.T @ residuals
        return covariance * inflation(sizes)

    @cached_property
    def _correlated(self) -> Floats:
        """Standard normal draws with the correlation of the gaps, ``(DRAWS, bins)``."""
        deviation = np.sqrt(np.diag(self._covariance))
        deviation[deviation == 0] = 1
        correlation = self._covariance / np.outer(deviation, deviation)
        np.fill_diagonal(correlation, 1)
        weights, vectors = np.linalg.eigh(correlation)
        root = vectors * np.sqrt(np.maximum(weights, 0))
        normal = np.random.default_rng([self.seed, 2]).standard_normal((DRAWS, self.bins))
        values: Floats = normal @ root.T
        return values

    def _sums(self, values: Floats) -> Floats:
        return np.bincount(self.index, values, self.bins).astype(np.float64)

    def _deviation(self, independent: Floats) -> Floats:
        if self.groups is None:
            return np.sqrt(independent)
        return np.sqrt(np.maximum(np.diag(self._covariance), independent))

    def _clustered(self, gaps: Floats, independent: Floats) -> Floats:
        hits = self.expected + gaps + self._correlated * self._deviation(independent)
        return np.clip(hits, 0, self.counts)


def effective_groups(sizes: npt.NDArray[Any]) -> float:
    """Number of equal groups that vary as much as these unequal ones: ``(sum s)^2 / sum s^2``."""
    return float(sizes.sum() ** 2 / (sizes.astype(float) ** 2).sum())


def inflation(sizes: npt.NDArray[Any]) -> float:
    """Factor on a variance estimated between groups of these sizes, for their small number."""
    effective = max(effective_groups(sizes), 1.5)
    quantile = distributions.t.ppf(0.975, effective - 1) / distributions.norm.ppf(0.975)
    return float(quantile**2 * effective / (effective - 1))


@dataclass(frozen=True)
class Floor:
    """What the same estimator shows when the model is perfectly calibrated.

    Attributes:
        mean: the mean over draws.
        high: the upper point: what lies below it is inside the floor.
        p: probability of an error at least as large as the observed one.
    """

    mean: float
    high: float
    p: float


def noise_floor(draws: Floats, value: float, alpha: float = 0.05) -> Floor:
    """Summarise the errors drawn under perfect calibration.

    Args:
        draws: ``(draws,)`` the estimator's values.
        value: the observed one.
        alpha: the upper point is the ``1 - alpha / 2`` quantile.
    """
    p = (1 + np.count_nonzero(draws >= value - 1e-12)) / (1 + len(draws))
    return Floor(float(draws.mean()), float(np.quantile(draws, 1 - alpha / 2)), float(p))


def floor_draws(seeds: Sequence[Bins], error: Error) -> Floats:
    """Errors under perfect calibration, averaged over seeds, ``(DRAWS,)``, ascending.

    The seeds share their test images, so that their errors rise and fall together, to an unknown
    degree: the draws are averaged in their order, the most cautious assumption.
    """
    values: Floats = np.mean([np.sort(error(bins.floor, bins)) for bins in seeds], axis=0)
    return values


def path(bins: Bins, stretch: float) -> Floats:
    """Gaps of a candidate truth, ``(bins,)``, in hits.

    Args:
        bins: what was observed.
        stretch: below 0, the observed gaps are soft-thresholded by that many standard
            deviations; above 0, stretched along them.
    """
    gaps = bins.hits - bins.expected
    size = np.maximum(np.abs(gaps) + stretch * bins.deviation, 0)
    values: Floats = np.clip(np.sign(gaps) * size, -bins.expected, bins.counts - bins.expected)
    return values


def inversion_intervals(
    seeds: Sequence[Bins], errors: Sequence[tuple[Error, Error]], alphas: Sequence[float]
) -> Floats:
    """Intervals for true calibration errors, by inverting the noise-floor test.

    The true gaps that are tried lie on one path through the observed ones (:func:`path`); between
    two of them the points of the drawn errors are interpolated. An interval always contains the
    observed value, which is biased upwards and can lie above all plausible truths.

    Args:
        seeds: one set of bins a seed; the errors are averaged over seeds.
        errors: pairs of an estimator and what it estimates, the same of gaps without noise.
        alphas: one minus each coverage.

    Returns:
        ``(errors, alphas, 2)`` lower and upper ends.
    """
    tails = np.array([[alpha / 2, 1 - alpha / 2] for alpha in alphas])
    points = np.zeros((len(errors), len(LADDER), *tails.shape))
    for rung, stretch in enumerate(LADDER):
        for bins in seeds:
            hits = bins.draw(path(bins, stretch))
            for number, (error, _) in enumerate(errors):
                points[number, rung] += np.quantile(error(hits, bins), tails) / len(seeds)
    ends = np.empty((len(errors), len(alphas), 2))
    for number, (error, truth) in enumerate(errors):
        value = np.mean([error(bins.hits[None], bins)[0] for bins in seeds])
        floor = np.quantile(floor_draws(seeds, error), tails[:, 1])
        for level in range(len(alphas)):
            for side in range(2):
                drawn = np.maximum.accumulate(points[number, :, level, 1 - side])
                stretch = np.interp(value, drawn, LADDER)
                true = np.mean([truth((b.expected + path(b, stretch))[None], b)[0] for b in seeds])
                ends[number, level, side] = true
            low = 0.0 if value <= floor[level] else ends[number, level, 0]
            ends[number, level] = min(low, value), max(ends[number, level, 1], value)
    return ends
