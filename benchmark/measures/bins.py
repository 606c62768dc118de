"""Images in bins of their confidence, and what a calibrated model would show there by chance.

A binned calibration error sums the absolute gaps between correctness and confidence of its bins,
so that noise alone makes it positive: a *perfectly* calibrated model scores about 2 % on 2000
images. That noise floor is drawn here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy import sparse, special

from benchmark.api import FloatArray, Floats, IntArray, Predictions

BINS = 15
"""Bins of every binned calibration error, as in the paper and in most of the literature."""

DRAWS = 2000
"""How many sets of labels are drawn for the noise floor."""

TRUTH_DRAWS = 1000
"""How many of them under each of the candidate truths other than 0."""

MOST_SHARED = 8192
"""Up to so many images, models share the stream of random numbers that their labels come from."""

ALPHA = 0.05
"""One minus the coverage, where nobody asks for another."""


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
        alpha: one minus the coverage that the draws serve: few groups widen them accordingly.
        networks: the bins of each network, where those of several stand side by side.
    """

    index: IntArray
    confidence: Floats
    hit: Floats
    groups: IntArray | None
    bins: int
    seed: int
    alpha: float = ALPHA
    networks: tuple[Bins, ...] = ()

    @classmethod
    def beside(cls, networks: Sequence[Bins], groups: IntArray | None) -> Bins:
        """The bins of several networks side by side, each tested on images of its own.

        Args:
            networks: one or more; where they have groups, the same group may be in several.
            groups: ``(n,)`` codes of the groups of all images, network after network.
        """
        if len(networks) == 1:
            return networks[0]
        starts = np.cumsum([0, *(bins.bins for bins in networks)])
        return cls(
            np.concatenate([b.index + start for b, start in zip(networks, starts)]),
            np.concatenate([b.confidence for b in networks]),
            np.concatenate([b.hit for b in networks]),
            groups,
            int(starts[-1]),
            networks[0].seed,
            networks[0].alpha,
            tuple(networks),
        )

    def at_level(self, alpha: float) -> Bins:
        """The same for intervals of another coverage; these themselves where it is no matter."""
        return self if self.groups is None or alpha == self.alpha else replace(self, alpha=alpha)

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
        """Accuracy of each bin, smoothed by one image that is right as often as the model says."""
        return (self.hits + self._mean_confidence) / (self.counts + 1)

    @cached_property
    def deviation(self) -> Floats:
        """Standard deviation of the hits of each bin, given the truth that was observed."""
        return np.asarray(self.spread * np.sqrt(self.accuracy * (1 - self.accuracy)))

    @cached_property
    def spread(self) -> Floats:
        """Standard deviation of the hits of each bin, over that of a single image."""
        return np.sqrt(self.counts if self.groups is None else np.diag(self._hit_covariance))

    @cached_property
    def count_deviation(self) -> Floats:
        """Standard deviation of how many images each bin has in another sample."""
        if self.groups is None:
            return np.sqrt(self.counts * (1 - self.counts / self.images))
        return np.asarray(self._count_changes.std(0))

    @cached_property
    def floor(self) -> Floats:
        """Hits of each bin if the model were perfectly calibrated, ``(DRAWS, bins)``.

        The labels are drawn from the model's own probabilities. Images of a group do not err
        independently, so with groups the hits are drawn from a normal distribution with the
        variance of such labels and the correlation that is seen within groups.
        """
        if self.groups is not None:
            variance = self._sums(self.confidence * (1 - self.confidence))
            return self._clustered_hits(np.zeros(self.bins), variance)
        stream = None
        if self.images <= MOST_SHARED:
            stream = _uniform(self.seed, 2048 if self.images <= 2048 else MOST_SHARED)
        generator = np.random.default_rng([self.seed, 0])
        hits = np.zeros((DRAWS, self.bins))
        used = 0
        for b in range(self.bins):
            confidence = self.confidence[self.index == b].astype(np.float32)
            number = DRAWS * len(confidence)
            if stream is None:
                uniform = generator.random(number, dtype=np.float32)
            else:
                uniform = stream[used : used + number]
            used += number
            below = uniform.reshape(DRAWS, len(confidence)) < confidence
            hits[:, b] = np.count_nonzero(below, axis=1)
        return hits

    def draw(self, gaps: Floats) -> Floats:
        """Hits of each bin, ``(TRUTH_DRAWS, bins)``, if the true gaps are these.

        Args:
            gaps: ``(bins,)`` how many more hits are to be expected than the model says.
        """
        share = np.clip(self._mean_confidence + gaps / np.maximum(self.counts, 1), 0, 1)
        # A bin with a gap also adds to the error by how many images fall into it.
        moved = self._count_changes * (share - self._mean_confidence)
        if self.groups is not None:
            variance = self.counts * share * (1 - share)
            return self._clustered_hits(gaps, variance)[:TRUTH_DRAWS] + moved
        generator = np.random.default_rng([self.seed, 1])
        counts = self.counts.astype(int)
        # One row a bin: numpy sets its binomial sampler up once for each pair of arguments.
        hits = generator.binomial(counts[:, None], share[:, None], (self.bins, TRUTH_DRAWS))
        return hits.T + moved

    @cached_property
    def _mean_confidence(self) -> Floats:
        """Mean confidence of each bin, 0 where it is empty."""
        return self._sums(self.confidence) / np.maximum(self.counts, 1)

    @cached_property
    def _count_changes(self) -> Floats:
        """How many more images each bin has in another sample, ``(TRUTH_DRAWS, bins)``."""
        if self.groups is None:
            generator = np.random.default_rng([self.seed, 4])
            drawn = generator.multinomial(self.images, self.counts / self.images, TRUTH_DRAWS)
            return drawn - self.counts
        counts = self._by_group
        numbers = _group_weights(self.seed, len(counts)) @ counts
        numbers *= self.images / numbers.sum(1, keepdims=True)
        factor = Groups(self.groups).few_groups_factor(self.confidence, self.alpha)
        return np.asarray((numbers - self.counts) * factor)

    # --- groups ----------------------------------------------------------------------------

    @cached_property
    def _by_group(self) -> Floats:
        """Images of each group in each bin, ``(groups, bins)``."""
        assert self.groups is not None
        number = int(self.groups.max()) + 1
        cells = self.groups * self.bins + self.index
        counts = np.bincount(cells, minlength=number * self.bins)
        return counts.reshape(number, self.bins).astype(np.float64)

    @cached_property
    def _hit_covariance(self) -> Floats:
        """Covariance of the hits of two bins, over the deviations of one image of each.

        Two images of a group err together with one correlation, estimated from all such pairs.
        It is widened for how few groups there are.
        """
        assert self.groups is not None
        groups = Groups(self.groups)
        accuracy = self.accuracy[self.index]
        residuals, deviations = self.hit - accuracy, np.sqrt(accuracy * (1 - accuracy))
        sums = np.bincount(self.groups, residuals)[:, None].astype(np.float64)
        seen = (groups.residuals(sums) ** 2).sum() - (residuals**2).sum()
        possible = (np.bincount(self.groups, deviations) ** 2).sum() - (deviations**2).sum()
        correlation = min(max(seen / max(possible, 1e-9), 0.0), 1.0)
        covariance: Floats = correlation * self._by_group.T @ self._by_group
        covariance += (1 - correlation) * np.diag(self.counts)
        return covariance * groups.few_groups_factor(residuals, self.alpha) ** 2

    @cached_property
    def _correlated_draws(self) -> Floats:
        """Normal draws with that covariance, ``(DRAWS, bins)``."""
        weights, vectors = np.linalg.eigh(self._hit_covariance)
        root = vectors * np.sqrt(np.maximum(weights, 0))
        normal = np.random.default_rng([self.seed, 2]).standard_normal((DRAWS, self.bins))
        draws: Floats = normal @ root.T
        return draws

    def _sums(self, values: Floats) -> Floats:
        return np.bincount(self.index, values, self.bins).astype(np.float64)

    def _clustered_hits(self, gaps: Floats, variance: Floats) -> Floats:
        """Draws around these gaps, with the variance that independent images would have."""
        single = np.sqrt(
            np.divide(variance, self.counts, where=self.counts > 0, out=np.zeros(self.bins))
        )
        hits: Floats = self.expected + gaps + self._correlated_draws * single
        return np.clip(hits, 0, self.counts)


@lru_cache(maxsize=1)
def _uniform(seed: int, images: int) -> FloatArray:
    """The stream of numbers that belongs to a seed, long enough for so many images."""
    return np.random.default_rng([seed, 0]).random(DRAWS * images, dtype=np.float32)


@lru_cache(maxsize=1)
def _group_weights(seed: int, groups: int) -> Floats:
    """How often other samples draw each group, ``(TRUTH_DRAWS, groups)``, for all methods."""
    generator = np.random.default_rng([seed, 4])
    drawn = generator.multinomial(groups, np.full(groups, 1 / groups), TRUTH_DRAWS)
    return drawn.astype(np.float64)


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

    def sums(self, values: Floats) -> Floats:
        """Sums over each group of ``(n, columns)``: ``(groups, columns)``."""
        number = len(self.sizes)
        member = sparse.csr_array(
            (np.ones(len(self.codes)), (self.codes, np.arange(len(self.codes)))),
            (number, len(self.codes)),
        )
        return np.asarray(member @ values)

    def few_groups_factor(self, values: Floats, alpha: float) -> float:
        """Factor on standard deviations that are estimated from so few groups of ``(n,)``.

        Args:
            values: one an image.
            alpha: one minus the coverage that they are multiplied up to.
        """
        degrees = self.degrees(values[:, None])[0]
        quantile = 1 - alpha / 2
        return float(special.stdtrit(degrees, quantile) / special.ndtri(quantile))

    def degrees(self, values: Floats) -> Floats:
        """Degrees of freedom of the variance between groups of ``(n, columns)``.

        Satterthwaite's, from the variances within and between groups: the more the groups
        differ, the more a few large ones decide.
        """
        n, sizes = self.sizes.sum(), self.sizes[:, None]
        centred = values - values.mean(0)
        variance = (centred**2).mean(0)
        sums = self.sums(centred)
        pairs = max(float((sizes**2).sum() - n), 1e-9)
        between = np.clip(((sums**2).sum(0) - n * variance) / pairs, 0, variance)
        of_group = (variance - between) * sizes + between * sizes**2
        total = np.where(variance > 0, (of_group**2).sum(0), 1.0)
        degrees = np.where(variance > 0, of_group.sum(0) ** 2 / total, len(sizes)) - 1
        return np.asarray(np.maximum(degrees, 1.0))


def equal_width(confidence: Floats, resolution: float = 1e-6) -> IntArray:
    """Bin of each confidence: 15 bins of equal width, right-closed, 1.0 in the last one."""
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.searchsorted(edges + resolution, confidence, side="left")


def equal_width_bins(predictions: Predictions) -> Bins:
    """Images in bins of equal width of their confidence."""
    return _of(predictions, equal_width(predictions.confidence, predictions.resolution))


def equal_mass_bins(predictions: Predictions) -> Bins:
    """Images in bins of (nearly) equal numbers, by confidence."""
    edges = np.quantile(predictions.confidence, np.linspace(0, 1, BINS + 1))[1:-1]
    # Bins are closed on the left, as netcal's are; equal confidences stay together.
    return _of(predictions, np.searchsorted(edges, predictions.confidence, side="right"))


def _of(p: Predictions, index: IntArray) -> Bins:
    return Bins(index, p.confidence, p.correct, p.group_codes, BINS, p.draw_seed)
