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
from functools import cache, cached_property

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
        return (self.hits + self._word) / (self.counts + 1)

    @cached_property
    def deviation(self) -> Floats:
        """Standard deviation of the hits of each bin, given the truth that was observed."""
        single = np.sqrt(self.accuracy * (1 - self.accuracy))
        if self.groups is None:
            return single * np.sqrt(self.counts)
        return single * np.sqrt(np.diag(self._crowding))

    @cached_property
    def floor(self) -> Floats:
        """Hits of each bin if the model were perfectly calibrated, ``(DRAWS, bins)``.

        The labels are drawn from the model's own probabilities. Images of a group do not err
        independently, so with groups the hits are drawn from a normal distribution with the
        variance of such labels and the correlation that is seen within groups.
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
        share = np.clip(self._word + gaps / np.maximum(self.counts, 1), 0, 1)
        # A bin with a gap also adds to the error by how many images fall into it.
        moved = self._composition * (share - self._word)
        if self.groups is not None:
            doubt = self.counts * share * (1 - share)
            return self._clustered(gaps, doubt)[:LADDER_DRAWS] + moved
        generator = np.random.default_rng([self.seed, 1])
        counts = self.counts.astype(int)
        # One row a bin: numpy sets its binomial sampler up once for each pair of arguments.
        hits = generator.binomial(counts[:, None], share[:, None], (self.bins, LADDER_DRAWS))
        return hits.T + moved

    @cached_property
    def _word(self) -> Floats:
        """Mean confidence of each bin, 0 where it is empty."""
        return self._sums(self.confidence) / np.maximum(self.counts, 1)

    @cached_property
    def _composition(self) -> Floats:
        """How many more images each bin has in another sample, ``(LADDER_DRAWS, bins)``."""
        generator = np.random.default_rng([self.seed, 4])
        if self.groups is None:
            drawn = generator.multinomial(self.images, self.counts / self.images, LADDER_DRAWS)
            return drawn - self.counts
        counts = self._by_group
        weights = generator.multinomial(
            len(counts), np.full(len(counts), 1 / len(counts)), LADDER_DRAWS
        )
        numbers = weights @ counts
        numbers *= self.images / numbers.sum(1, keepdims=True)
        moved: Floats = (numbers - self.counts) * Groups(self.groups).wider(self.confidence)
        return moved

    # --- groups ----------------------------------------------------------------------------

    @property
    def _by_group(self) -> Floats:
        """Images of each group in each bin, ``(groups, bins)``."""
        assert self.groups is not None
        number = int(self.groups.max()) + 1
        cells = self.groups * self.bins + self.index
        counts = np.bincount(cells, minlength=number * self.bins)
        return counts.reshape(number, self.bins).astype(np.float64)

    @cached_property
    def _crowding(self) -> Floats:
        """Covariance of the hits of two bins, over the deviations of one image of each.

        Two images of a group err together with one correlation, estimated from all such pairs.
        It is widened for how few groups there are.
        """
        assert self.groups is not None
        groups = Groups(self.groups)
        own = self.accuracy[self.index]
        residuals, deviations = self.hit - own, np.sqrt(own * (1 - own))
        sums = np.bincount(self.groups, residuals)[:, None].astype(np.float64)
        seen = (groups.residuals(sums) ** 2).sum() - (residuals**2).sum()
        possible = (np.bincount(self.groups, deviations) ** 2).sum() - (deviations**2).sum()
        correlation = min(max(seen / max(possible, 1e-9), 0.0), 1.0)
        crowding: Floats = correlation * self._by_group.T @ self._by_group
        crowding += (1 - correlation) * np.diag(self.counts)
        return crowding * groups.wider(residuals) ** 2

    @cached_property
    def _correlated(self) -> Floats:
        """Normal draws with that covariance, ``(DRAWS, bins)``."""
        weights, vectors = np.linalg.eigh(self._crowding)
        root = vectors * np.sqrt(np.maximum(weights, 0))
        normal = np.random.default_rng([self.seed, 2]).standard_normal((DRAWS, self.bins))
        draws: Floats = normal @ root.T
        return draws

    def _sums(self, values: Floats) -> Floats:
        return np.bincount(self.index, values, self.bins).astype(np.float64)

    def _clustered(self, gaps: Floats, independent: Floats) -> Floats:
        single = np.sqrt(
            np.divide(independent, self.counts, where=self.counts > 0, out=np.zeros(self.bins))
        )
        hits: Floats = self.expected + gaps + self._correlated * single
        return np.clip(hits, 0, self.counts)


@dataclass(frozen=True, eq=False)
class Groups:
    """Images that hang together: what can be learned from few and unequal groups.

    Attributes:
        codes: ``(n,)`` the group of each image, 0, 1, ...
    """

    codes: IntArray

    @cached_property
    def sizes(self) -> Floats:
        """Images in each group."""
        return np.bincount(self.codes).astype(np.float64)

    def effective(self, values: Floats) -> float:
        """How many equal groups share the total of ``(n,)`` as unevenly; 0 where all are 0."""
        sums = np.bincount(self.codes, values)
        return float(sums.sum() ** 2 / max((sums**2).sum(), 1e-300))

    def residuals(self, sums: Floats) -> Floats:
        """Deviations of the groups' sums ``(groups, columns)`` from their shares of the total.

        A large group draws the total to itself, so that its deviation is too small; dividing by
        the root of one minus its share mends that (CR2, Bell & McCaffrey 2002). The sum of their
        squares is the variance of the total.
        """
        share = self.sizes[:, None] / self.sizes.sum()
        return np.asarray((sums - share * sums.sum(0)) / np.sqrt(np.maximum(1 - share, 1e-9)))

    def wider(self, values: Floats) -> float:
        """Factor on standard deviations that are estimated from so few groups of ``(n,)``."""
        degrees = self.degrees(values[:, None])[0]
        return float(distributions.t.ppf(0.975, degrees) / distributions.norm.ppf(0.975))

    def degrees(self, values: Floats) -> Floats:
        """Degrees of freedom of the variance between groups of ``(n, columns)``.

        Satterthwaite's, from the variances within and between groups: the more the groups
        differ, the more a few large ones decide.
        """
        n, sizes = self.sizes.sum(), self.sizes[:, None]
        centred = values - values.mean(0)
        variance = (centred**2).mean(0)
        sums = np.zeros((len(sizes), values.shape[1]))
        np.add.at(sums, self.codes, centred)
        pairs = max(float((sizes**2).sum() - n), 1e-9)
        between = np.clip(((sums**2).sum(0) - n * variance) / pairs, 0, variance)
        each = (variance - between) * sizes + between * sizes**2
        total = np.where(variance > 0, (each**2).sum(0), 1.0)
        degrees = np.where(variance > 0, each.sum(0) ** 2 / total, len(sizes)) - 1
        return np.asarray(np.maximum(degrees, 1.0))


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

    The true gaps that are tried lie on one path through the observed ones (:func:`path`). Each end
    is found by bisection along it, and by interpolation between the last two candidates. An
    interval always contains the observed value, which is biased upwards and can lie above all
    plausible truths.

    Args:
        seeds: one set of bins a seed; the errors are averaged over seeds.
        errors: pairs of an estimator and what it estimates, the same of gaps without noise.
        alphas: one minus each coverage.

    Returns:
        ``(errors, alphas, 2)`` lower and upper ends.
    """
    levels = [level for alpha in alphas for level in (1 - alpha / 2, alpha / 2)]

    @cache
    def rung(number: int) -> Floats:
        """Points of the drawn errors under one candidate, ``(errors, levels)``."""
        points = np.zeros((len(errors), len(levels)))
        for bins in seeds:
            hits = bins.draw(path(bins, LADDER[number]))
            points += [np.quantile(error(hits, bins), levels) for error, _ in errors]
        return points / len(seeds)

    ends = np.empty((len(errors), len(levels)))
    for e, (error, truth) in enumerate(errors):
        value = np.mean([error(bins.hits[None], bins)[0] for bins in seeds])
        drawn = floor_draws(seeds, error)
        for column, level in enumerate(levels):
            below, above = 0, len(LADDER) - 1
            while above - below > 1:
                middle = (below + above) // 2
                if rung(middle)[e, column] <= value:
                    below = middle
                else:
                    above = middle
            points = [rung(below)[e, column], rung(above)[e, column]]
            stretch = float(np.interp(value, points, LADDER[[below, above]]))
            true = np.mean([truth((b.expected + path(b, stretch))[None], b)[0] for b in seeds])
            if level < 0.5:
                ends[e, column] = max(true, value)
            else:
                inside = value <= np.quantile(drawn, level)
                ends[e, column] = 0.0 if inside else min(true, value)
    return ends.reshape(len(errors), len(alphas), 2)
