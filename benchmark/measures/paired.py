"""Intervals for differences of calibration errors on the same images, by joint inversion.

Both methods meet the same easy and hard images, so that most of the noise of their errors is
shared: two intervals, one a method, know nothing of that. Here the noise of all methods comes from
the same weights of the test images (a Gaussian multiplier bootstrap), and what is shared cancels.
The true gaps of each method lie on a path through the observed ones, as in
:mod:`benchmark.measures.inversion`; a pair of candidates, one a method, is kept if the difference
that was observed is likely under it.

The statements are about these trained networks, over other test images: training is not redone.
They are sharp where both errors are well above their noise floors; near it, where signs of gaps
are unknown, hardly any noise cancels, and they are no sharper than two intervals. Where nearly all
images lie in one bin and err so little that its sign is unknown, they can be too short.

References: Chuang & Lai 2000 (hybrid resampling: resampled noise around candidate truths); Berger
& Boos 1994 (what is known of a nuisance bounds the p-value).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import sparse, special

from benchmark.api import FloatArray, Floats, IntArray
from benchmark.measures.bins import Bins
from benchmark.measures.inversion import Error, path

DRAWS = 1000
"""Sets of weights; the second half is the first with its signs turned."""

STRETCHES = np.concatenate([[-1e9, -12, -8, -6, -5], np.arange(-4, 3.01, 0.25), [4, 6]])
"""Candidates: how far each true gap lies from the observed one, in standard deviations. Under the
first one the method is perfectly calibrated."""

BETWEEN = 8
"""Steps from one candidate to the next, by interpolation: a coarse grid misses the truth."""

OWN = 0.05
"""Share of the level that is spent on what each method's error alone says about its truth."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Truths that are tried for one method, and what the estimator shows under each.

    Attributes:
        value: the observed error, averaged over networks.
        truths: ``(STRETCHES,)`` the true errors.
        drawn: ``(STRETCHES, DRAWS)`` the drawn ones; a column is the same noise in all methods.
    """

    value: float
    truths: Floats
    drawn: FloatArray

    @cached_property
    def _centred(self) -> FloatArray:
        centred: FloatArray = self.drawn - self.drawn.mean(1, keepdims=True)
        return centred

    def covariance(self, other: Candidates) -> Floats:
        """Of the drawn errors, between all candidates of two methods, interpolated."""
        product = np.asarray(self._centred @ other._centred.T, dtype=np.float64) / DRAWS
        return np.asarray(_BETWEEN @ product @ _BETWEEN.T)

    @cached_property
    def true(self) -> Floats:
        """The true errors, interpolated."""
        return np.asarray(_BETWEEN @ self.truths)

    @cached_property
    def mean(self) -> Floats:
        """Means of the drawn errors, interpolated."""
        return np.asarray(_BETWEEN @ self.drawn.mean(1, dtype=np.float64))

    @cached_property
    def step(self) -> Floats:
        """How far the means of neighbouring candidates lie apart."""
        return np.asarray(np.abs(np.gradient(self.mean)))

    @cached_property
    def variance(self) -> Floats:
        """Their variances, interpolated."""
        return np.asarray(np.diag(self.covariance(self)))

    @cached_property
    def p(self) -> Floats:
        """How likely the observed error is under each candidate (two-sided p-values)."""
        return _two_sided(np.abs(self.value - self.mean), self.variance)


def candidates(
    networks: Sequence[Bins], units: Sequence[IntArray], errors: Sequence[tuple[Error, Error]]
) -> list[Candidates]:
    """Draw one method's errors under all candidates.

    Equal seeds and units draw equal noise, in any process: each method's candidates may be drawn
    apart, and :func:`differences` compares those of one estimator.

    A method's value is the mean over its trained networks of each one's own error; for the mean
    over the folds' own errors, give one set of bins a seed and fold. An error from which the
    floor's mean is taken (``floor_removed``) estimates the same truth, and so has the interval of
    the plain one. The class-wise error is the plain ECE of
    :func:`benchmark.measures.metrics.classwise_bins`, with units repeated once a counted class.

    Args:
        networks: the bins of each trained network of the method.
        units: for each network the unit of each of its rows: codes 0, 1, ... of images, or of
            groups of images, that mean the same in all networks and methods.
        errors: pairs of an estimator and what it estimates, of the same bins.
    """
    number = 1 + max(int(codes.max()) for codes in units)
    truths = np.zeros((len(errors), len(STRETCHES)))
    drawn = np.zeros((len(errors), len(STRETCHES), DRAWS), dtype=np.float32)
    for bins, codes in zip(networks, units):
        noise = _noise(bins, codes, number)
        for s, (true, hits) in enumerate(_hits(bins, noise)):
            for e, (error, truth) in enumerate(errors):
                truths[e, s] += truth((bins.expected + true)[None], bins)[0] / len(networks)
                drawn[e, s] += error(hits, bins) / len(networks)
    values = [float(np.mean([e(b.hits[None], b)[0] for b in networks])) for e, _ in errors]
    return [Candidates(*of_error) for of_error in zip(values, truths, drawn)]


def differences(methods: Sequence[Candidates], alpha: float) -> tuple[Floats, Floats, Floats]:
    """Intervals and p-values for the differences of the methods' true errors.

    The level of a pair of candidates is the largest at which nothing speaks against it: the
    difference of the observed errors is likely among the drawn ones (whose mean and variance
    are theirs, and whose tails are taken for normal) at all of the level but ``2 OWN``, and each
    error alone at ``OWN`` of it. The interval spans the differences of the truths of all pairs
    with a level above ``alpha``, and the observed one.

    Args:
        methods: candidates of one estimator.
        alpha: one minus the coverage.

    Returns:
        Lower ends, upper ends (of the row's error minus the column's) and p-values, each
        ``(methods, methods)``. The p-value of "no difference" is the smallest level whose
        interval excludes 0: the largest level of a pair of candidates that lies at 0 or beyond,
        seen from the observed difference.
    """
    low, high = np.zeros((2, len(methods), len(methods)))
    p = np.ones((len(methods), len(methods)))
    for i, one in enumerate(methods):
        for j, other in enumerate(methods[:i]):
            observed = one.value - other.value
            variance = one.variance[:, None] + other.variance - 2 * one.covariance(other)
            off = np.abs(observed - (one.mean[:, None] - other.mean))
            # The truth lies between two candidates: half a step is no evidence against one.
            off -= np.maximum(one.step[:, None], other.step) / 2
            level = _two_sided(off, variance)
            level = np.minimum(level / (1 - 2 * OWN), np.minimum(one.p[:, None], other.p) / OWN)
            true = one.true[:, None] - other.true
            kept = true[level > alpha]
            low[i, j] = kept.min(initial=observed)
            high[i, j] = kept.max(initial=observed)
            if observed:
                beyond = level[true <= 0 if observed > 0 else true >= 0]
                p[i, j] = min(beyond.max(initial=0.0), 1.0)
            low[j, i], high[j, i], p[j, i] = -high[i, j], -low[i, j], p[i, j]
    return low, high, p


def _interpolation(number: int) -> Floats:
    """Weights of so many candidates in those between them, ``(fine, number)``."""
    fine = np.linspace(0, number - 1, (number - 1) * BETWEEN + 1)
    return np.asarray(np.maximum(1 - np.abs(fine[:, None] - np.arange(number)), 0))


_BETWEEN = _interpolation(len(STRETCHES))


def _two_sided(distance: Floats, variance: Floats) -> Floats:
    """Two-sided p-values of distances from the mean of a normal distribution; 1 below 0."""
    deviation = np.sqrt(np.maximum(variance, 1e-18))  # the variance of what never varies is rounded
    return np.asarray(2 * special.ndtr(-np.maximum(distance, 0) / deviation))


def _hits(bins: Bins, noise: FloatArray) -> list[tuple[Floats, Floats]]:
    """Of each candidate the true gaps ``(bins,)``, in hits, and drawn hits ``(DRAWS, bins)``.

    The noise has the deviation that hits have under the candidate, not that of the observed
    ones (a bin without an error shows none), and a binomial distribution's skewness (its
    Cornish-Fisher expansion).
    """
    counts = np.maximum(bins.counts, 1)
    said = bins.expected / counts
    likely = np.maximum(bins.accuracy * (1 - bins.accuracy), said * (1 - said))
    deviation = bins.spread * np.sqrt(likely)
    bent = (noise**2 - 1) / 6
    found = []
    for stretch in STRETCHES:
        true = path(bins, stretch, deviation)
        share = np.clip(said + true / counts, 0, 1)
        single = bins.spread * np.sqrt(share * (1 - share))
        skewed = noise * single + bent * ((1 - 2 * share) * bins.spread**2 / counts)
        hits = np.clip(bins.expected + true + skewed, 0, bins.counts)
        # A bin with a gap also adds to the error by how many images fall into it.
        moved = np.hypot(single, bins.count_deviation * (share - said)) - single
        found.append((true, hits + noise * moved))
    return found


def _noise(bins: Bins, units: IntArray, number: int) -> FloatArray:
    """Noise of each bin's gap, ``(DRAWS, bins)``, with standard deviation 1.

    Args:
        bins: what was observed.
        units: ``(rows,)`` the unit of each row.
        number: how many units there are.
    """
    residual = (bins.hit - bins.confidence).astype(np.float32)
    sums = sparse.csr_array((residual, (bins.index, units)), (bins.bins, number))
    share = np.bincount(units, minlength=number).astype(np.float32) / len(units)
    # A large unit draws the mean to itself (CR2, as in :class:`benchmark.measures.bins.Groups`).
    weights = _weights(bins.seed, number) / np.sqrt(np.maximum(1 - share, 1e-6))[:, None]
    # How many images a bin has adds up to all; whether they are right does not.
    gaps = (bins.counts * bins.accuracy - bins.expected).astype(np.float32)
    noise = sums @ weights - np.outer(gaps, share @ weights)
    deviation = np.sqrt((noise**2).mean(1, keepdims=True))
    noise = np.divide(noise, deviation, where=deviation > 1e-6, out=np.zeros_like(noise))
    return np.ascontiguousarray(np.concatenate([noise.T, -noise.T]))


@lru_cache(maxsize=1)
def _weights(seed: int, units: int) -> FloatArray:
    """Standard normal weights of the units, ``(units, DRAWS / 2)``, for all methods."""
    generator = np.random.default_rng([seed, 5])
    return generator.standard_normal((units, DRAWS // 2), dtype=np.float32)
