"""Every measure of the benchmark: its name, direction, unit, formula, source and computation.

A metric is one of five kinds, by what the statistics can do with it:

- :class:`PerImage`: a mean of values of the images, so that a bootstrap is a matrix product;
- :class:`Weighted`: a function of weighted images (ranks, ratios);
- :class:`Binned`: an error of bins, with a noise floor and an inversion interval;
- :class:`Relabelled`: another calibration error, with a noise floor;
- :class:`Derived`: computed from other parts, a point value.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse, special

from benchmark.api import FloatArray, InputError, IntArray
from benchmark.measures.floor import Bins, Floats
from benchmark.results.predictions import Predictions

BINS = 15
"""Bins of every binned calibration error, as in the paper and in most of the literature."""

MINIMUM_SUPPORT = 10
"""A class counts in the class-wise error if at least so many test images show it."""

SLOW_DRAWS = 100
"""Label draws behind the noise floor of the estimators that are slow to compute."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """Predictions prepared for measuring: what several metrics need is computed once.

    Attributes:
        log_probs: ``(n, classes)`` natural logarithms, float64.
        labels: ``(n,)`` indices of the true classes.
        groups: ``(n,)`` codes 0, 1, ... of what hangs together, or None.
        posterior: ``(n, classes)`` the true p(class | image), or None.
        seed: where random draws (of the noise floors) start.
    """

    log_probs: Floats
    labels: IntArray
    groups: IntArray | None = None
    posterior: FloatArray | None = None
    seed: int = 0

    @classmethod
    def of(cls, predictions: Predictions, seed: int = 0) -> Sample:
        """Prepare one set of predictions."""
        groups = predictions.groups
        return cls(
            predictions.log_probs.astype(np.float64),
            predictions.labels,
            None if groups is None else np.unique(groups, return_inverse=True)[1],
            predictions.posterior,
            seed,
        )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def probs(self) -> Floats:
        """Predicted probabilities, ``(n, classes)``."""
        return np.exp(self.log_probs)

    @cached_property
    def predicted(self) -> IntArray:
        """The most probable class of each image (the first, where several are)."""
        indices: IntArray = np.argmax(self.log_probs, axis=1)
        return indices

    @cached_property
    def confidence(self) -> Floats:
        """Probability of the predicted class."""
        values: Floats = np.minimum(np.exp(self.log_probs.max(1)), 1.0)
        return values

    @cached_property
    def correct(self) -> Floats:
        """1 where the prediction is right, 0 where it is wrong."""
        values: Floats = (self.predicted == self.labels).astype(float)
        return values

    @cached_property
    def nll(self) -> Floats:
        """Negative log-probability of the true class; infinite where that is 0."""
        return -self.log_probs[np.arange(len(self)), self.labels]

    @cached_property
    def equal_width(self) -> Bins:
        """Images in bins of equal width of their confidence."""
        return self._bins(equal_width(self.confidence))

    @cached_property
    def equal_mass(self) -> Bins:
        """Images in bins of (nearly) equal numbers, by confidence."""
        edges = np.quantile(self.confidence, np.linspace(0, 1, BINS + 1))[1:-1]
        # Bins are closed on the left, as netcal's are; equal confidences stay together.
        return self._bins(np.searchsorted(edges, self.confidence, side="right"))

    @cached_property
    def refined_nll(self) -> Floats:
        """NLL of each image after temperature scaling fitted on the other four fifths."""
        units = np.arange(len(self)) if self.groups is None else self.groups
        number = int(units.max()) + 1
        parts = min(5, number)
        part = np.random.default_rng(0).permutation(number)[units] % parts
        refined = np.empty(len(self))
        for held_out in range(parts):
            test = part == held_out
            scale = 1.0
            if not test.all():
                scale = inverse_temperature(self.log_probs[~test], self.labels[~test])
            scaled = scale * self.log_probs[test]
            true = scaled[np.arange(len(scaled)), self.labels[test]]
            refined[test] = special.logsumexp(scaled, axis=1) - true
        return refined

    def _bins(self, index: IntArray) -> Bins:
        return Bins(index, self.confidence, self.correct, self.groups, BINS, self.seed)

    def draw_uniform(self) -> Floats:
        """One uniform number an image and label draw, ``(SLOW_DRAWS, n)``."""
        return np.random.default_rng([self.seed, 3]).random((SLOW_DRAWS, len(self)))


def equal_width(confidence: Floats) -> IntArray:
    """Bin of each confidence: 15 bins of equal width, right-closed, 1.0 in the last one."""
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    # A stored (float32) logarithm gives 0.6 back as 0.60000002: still the edge.
    return np.searchsorted(edges + 1e-6, confidence, side="left")


def inverse_temperature(log_probs: Floats, labels: IntArray) -> float:
    """The factor on the log-probabilities (one over the temperature) that minimises the NLL.

    The NLL is convex in this factor, so that safeguarded Newton steps on its derivative find the
    optimum. It is kept within 0.001 and 1000: separable predictions have theirs at infinity.

    Args:
        log_probs: ``(n, classes)``; -inf is allowed. Images whose true class has probability 0
            keep an infinite loss at every temperature and are left out.
        labels: ``(n,)``.
    """
    shifted = log_probs - log_probs.max(1, keepdims=True)
    true = shifted[np.arange(len(labels)), labels]
    shifted, true = shifted[np.isfinite(true)], true[np.isfinite(true)]
    if not len(true):
        return 1.0
    finite = np.where(np.isfinite(shifted), shifted, 0.0)
    low, high, scale = 1e-3, 1e3, 1.0
    for _ in range(100):
        odds = np.exp(scale * shifted)
        total = odds.sum(1)
        mean = (odds * finite).sum(1) / total
        slope = float(np.mean(mean - true))
        curvature = float(np.mean((odds * finite**2).sum(1) / total - mean**2))
        low, high = (low, scale) if slope > 0 else (scale, high)
        step = scale - slope / curvature if curvature > 0 else np.inf
        new = step if low < step < high else float(np.sqrt(low * high))
        if abs(new - scale) <= 1e-10 * scale:
            break
        scale = new
    return float(scale)


# --- kinds of metric -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measure of predictions.

    Attributes:
        name: as on the command line and in the tables.
        title: as in headings.
        direction: whether ``higher`` or ``lower`` is better.
        unit: ``fraction`` (of 1, shown in percent) or ``nats``.
        formula: its definition in plain text, printed in the documentation.
        source: where it comes from.
        needs_posterior: whether the true probabilities must be known.
        range: the smallest and the largest value that is possible.
    """

    name: str
    title: str
    direction: Literal["higher", "lower"]
    unit: Literal["fraction", "nats"]
    formula: str
    source: str
    needs_posterior: bool = False
    range: tuple[float, float] = (0.0, 1.0)

    @abstractmethod
    def value(self, sample: Sample) -> float:
        """The measure of one set of predictions."""


@dataclass(frozen=True, kw_only=True)
class PerImage(Metric):
    """A mean over images.

    Attributes:
        of: the value of each image, ``(n,)``.
    """

    of: Callable[[Sample], Floats]

    def value(self, sample: Sample) -> float:
        """The mean."""
        return float(self.of(sample).mean())


@dataclass(frozen=True, kw_only=True)
class Weighted(Metric):
    """A function of weighted images.

    Attributes:
        of: weights ``(resamples, n)`` (how often each image was drawn) to values
            ``(resamples,)``.
    """

    of: Callable[[Sample, Floats], Floats]

    def value(self, sample: Sample) -> float:
        """The value with every image once."""
        return float(self.of(sample, np.ones((1, len(sample))))[0])


@dataclass(frozen=True, kw_only=True)
class Binned(Metric):
    """An error of the bins of a reliability diagram.

    Attributes:
        bins: which bins.
        of: the estimator: hits ``(draws, bins)`` to errors ``(draws,)``.
        truth: what it estimates, of hits without noise; the same function unless it corrects
            for noise.
        floor_removed: whether the mean of the noise floor is taken off the value.
        interval: whether the inversion interval holds its coverage for it (it was measured).
    """

    bins: Callable[[Sample], Bins]
    of: Callable[[Floats, Bins], Floats]
    truth: Callable[[Floats, Bins], Floats] | None = None
    floor_removed: bool = False
    interval: bool = True

    def value(self, sample: Sample) -> float:
        """The error of the observed hits."""
        bins = self.bins(sample)
        floor = self.of(bins.floor, bins).mean() if self.floor_removed else 0.0
        return float(self.of(bins.hits[None], bins)[0] - floor)


@dataclass(frozen=True, kw_only=True)
class Relabelled(Metric):
    """A calibration error whose noise floor is got by drawing labels and measuring again.

    Attributes:
        of: ``outcomes`` to errors ``(draws,)``. An outcome is whether the prediction is correct
            or, if ``by_class``, the label, ``(draws, n)``.
        by_class: which of the two it takes.
    """

    of: Callable[[Sample, npt.NDArray[Any]], Floats]
    by_class: bool = False

    def value(self, sample: Sample) -> float:
        """The error of the observed labels."""
        observed = sample.labels if self.by_class else sample.correct
        return float(self.of(sample, observed[None])[0])

    def floor(self, sample: Sample) -> Floats:
        """Errors under perfect calibration, ``(SLOW_DRAWS,)``."""
        uniform = sample.draw_uniform()
        if not self.by_class:
            return self.of(sample, (uniform < sample.confidence).astype(float))
        below = np.cumsum(sample.probs, axis=1)[:, :-1] / sample.probs.sum(1, keepdims=True)
        labels = np.zeros(uniform.shape, dtype=np.intp)
        for column in below.T:
            labels += uniform >= column
        return self.of(sample, labels)


@dataclass(frozen=True, kw_only=True)
class Derived(Metric):
    """A point value.

    Attributes:
        of: the value.
    """

    of: Callable[[Sample], float]

    def value(self, sample: Sample) -> float:
        """The value itself."""
        return float(self.of(sample))


# --- estimators ------------------------------------------------------------------------------


def _brier(sample: Sample) -> Floats:
    probs, n = sample.probs, np.arange(len(sample))
    values: Floats = (probs**2).sum(1) + 1 - 2 * probs[n, sample.labels]
    return values


def _calibration_nll(sample: Sample) -> Floats:
    both = np.isinf(sample.nll) & np.isinf(sample.refined_nll)
    # No temperature removes a probability of 0: nothing of such a loss is calibration.
    return np.subtract(sample.nll, sample.refined_nll, where=~both, out=np.zeros(len(sample)))


def _balanced_accuracy(sample: Sample, weights: Floats) -> Floats:
    member = np.eye(sample.log_probs.shape[1])[sample.labels]
    drawn = weights @ member
    right = weights @ (member * sample.correct[:, None])
    recall = np.divide(right, drawn, where=drawn > 0, out=np.zeros_like(right))
    values: Floats = recall.sum(1) / (drawn > 0).sum(1)
    return values


def _auc(sample: Sample, weights: Floats) -> Floats:
    total = np.zeros(len(weights))
    defined = np.zeros(len(weights))
    below = np.zeros((len(weights), len(sample) + 1))
    for c in range(sample.log_probs.shape[1]):
        positive = sample.labels == c
        if not positive.any() or positive.all():
            continue
        score = sample.log_probs[:, c]
        order = np.argsort(score, kind="stable")
        negative = weights[:, order] * ~positive[order]
        np.cumsum(negative, axis=1, out=below[:, 1:])
        ranked, own = score[order], score[positive]
        left = np.searchsorted(ranked, own, side="left")
        right = np.searchsorted(ranked, own, side="right")
        wins = weights[:, positive] * (below[:, left] + below[:, right]) / 2
        pairs = weights[:, positive].sum(1) * below[:, -1]
        total += np.divide(wins.sum(1), pairs, where=pairs > 0, out=np.zeros(len(pairs)))
        defined += pairs > 0
    values: Floats = np.divide(total, defined, where=defined > 0, out=np.full(len(total), np.nan))
    return values


def _selective(sample: Sample, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Numbers of images and errors in, and before, each level of confidence, from the top."""
    order = np.argsort(-sample.log_probs.max(1), kind="stable")
    ranked = sample.log_probs.max(1)[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    drawn = np.add.reduceat(weights[:, order], starts, axis=1)
    wrong = np.add.reduceat(weights[:, order] * (1 - sample.correct[order]), starts, axis=1)
    return drawn, wrong, drawn.cumsum(1) - drawn, wrong.cumsum(1) - wrong


def _aurc(sample: Sample, weights: Floats) -> Floats:
    drawn, wrong, before, wrong_before = _selective(sample, weights)
    # Images of equal confidence come in random order; the sum of their expected risks is closed.
    harmonic = special.digamma(before + drawn + 1) - special.digamma(before + 1)
    share = np.divide(wrong, drawn, where=drawn > 0, out=np.zeros_like(wrong))
    risk = wrong + (wrong_before - share * before) * harmonic
    values: Floats = risk.sum(1) / weights.sum(1)
    return values


def _augrc(sample: Sample, weights: Floats) -> Floats:
    drawn, wrong, _, wrong_before = _selective(sample, weights)
    values: Floats = (drawn * (wrong_before + wrong / 2)).sum(1) / weights.sum(1) ** 2
    return values


def _equal_width(sample: Sample) -> Bins:
    return sample.equal_width


def _equal_mass(sample: Sample) -> Bins:
    return sample.equal_mass


def _gaps(hits: Floats, bins: Bins) -> Floats:
    return (hits - bins.expected) / bins.images


def _ece(hits: Floats, bins: Bins) -> Floats:
    values: Floats = np.abs(_gaps(hits, bins)).sum(1)
    return values


def _mce(hits: Floats, bins: Bins) -> Floats:
    used = bins.counts > 0
    values: Floats = (np.abs(hits - bins.expected)[:, used] / bins.counts[used]).max(1)
    return values


def _overconfidence(hits: Floats, bins: Bins) -> Floats:
    values: Floats = np.maximum(-_gaps(hits, bins), 0).sum(1)
    return values


def _underconfidence(hits: Floats, bins: Bins) -> Floats:
    values: Floats = np.maximum(_gaps(hits, bins), 0).sum(1)
    return values


def _squared(hits: Floats, bins: Bins, debiased: bool) -> Floats:
    # A bin of one image gives no estimate of its noise; it counts 0, as in Kumar's library.
    used = bins.counts > (1 if debiased else 0)
    counts = bins.counts[used]
    share = hits[:, used] / counts
    squared = (share - bins.expected[used] / counts) ** 2
    if debiased:
        squared = squared - share * (1 - share) / (counts - 1)
    values: Floats = np.sqrt(np.maximum((squared * counts).sum(1) / bins.images, 0))
    return values


def _rms_debiased(hits: Floats, bins: Bins) -> Floats:
    return _squared(hits, bins, debiased=True)


def _rms(hits: Floats, bins: Bins) -> Floats:
    return _squared(hits, bins, debiased=False)


def _sweep(sample: Sample, correct: Floats) -> Floats:
    n = len(sample)
    order = np.argsort(sample.confidence, kind="stable")
    confidence, correct = sample.confidence[order], correct[:, order]
    starts = np.flatnonzero(np.r_[True, confidence[1:] != confidence[:-1]])
    if len(starts) < n:
        # Equal confidences share their outcomes: the value does not depend on the order of files.
        sizes = np.diff(np.r_[starts, n])
        correct = np.repeat(np.add.reduceat(correct, starts, axis=1) / sizes, sizes, axis=1)
    hits = np.pad(np.cumsum(correct, axis=1), ((0, 0), (1, 0)))
    expected = np.r_[0.0, np.cumsum(confidence)]
    error: Floats = np.abs(hits[:, -1] - expected[-1]) / n
    monotone = np.arange(len(correct))
    for bins in range(2, n + 1):
        edges = np.arange(bins + 1) * n // bins
        inside = np.diff(hits[np.ix_(monotone, edges)], axis=1)
        rates = inside / np.diff(edges)
        kept = (np.diff(rates, axis=1) >= -1e-12).all(1)
        monotone = monotone[kept]
        if not len(monotone):
            break
        error[monotone] = np.abs(inside[kept] - np.diff(expected[edges])).sum(1) / n
    return error


def _smooth(sample: Sample, correct: Floats) -> Floats:
    if len(correct) == 1:
        from relplot.metrics import smECE

        return np.array([smECE(sample.confidence, correct[0])])
    return smooth_ece(sample.confidence, correct)


def smooth_ece(confidence: Floats, correct: Floats) -> Floats:
    """Smooth ECE, as relplot's smECE, of many label draws at once: the kernel densities are shared.

    Args:
        confidence: ``(n,)``.
        correct: ``(draws, n)``.
    """
    residuals = confidence - correct

    def smooth(values: Floats, width: float, at: Floats) -> Floats:
        """Spread ``(draws, n)`` over a grid on [0, 1], convolve, interpolate.

        The Gaussian is reflected at 0 and 1: a circular convolution of the mirrored grid.
        """
        points = max(2000, round(20 / width)) // 2 + 1
        cell = np.clip((confidence * (points - 1)).astype(int), 0, points - 2)
        share = confidence * (points - 1) - cell
        images = np.arange(len(confidence))
        spread = values @ sparse.csr_array((1 - share, (images, cell)), (len(images), points))
        spread += values @ sparse.csr_array((share, (images, cell + 1)), (len(images), points))
        mirrored = np.concatenate([spread, spread[:, -2:0:-1]], axis=1)
        offsets = np.linspace(0, 1, points) - 0.5
        kernel = np.exp(-(offsets**2) / (2 * width**2)) / (np.sqrt(2 * np.pi) * width)
        size = mirrored.shape[1]
        product = np.fft.rfft(mirrored) * np.fft.rfft(kernel, size)
        curve = np.roll(np.fft.irfft(product, size), -(points // 2), axis=1)[:, :points]
        cell = np.clip((at * (points - 1)).astype(int), 0, points - 2)
        share = at * (points - 1) - cell
        between: Floats = curve[:, cell] * (1 - share) + curve[:, cell + 1] * share
        return between

    def error(rows: IntArray, width: float) -> Floats:
        at = np.linspace(0, 1, max(round(10 / width), 200))
        density = smooth(np.ones((1, len(confidence))), width, at) + 1e-4
        gaps = smooth(residuals[rows], width, at)
        values: Floats = np.abs(gaps).sum(1) / density.sum()
        return values

    # Each draw looks for the width that equals its own error; draws with equal widths go together.
    draws = len(correct)
    everyone = np.arange(draws)
    settled = error(everyone, 1.0) > 1.0
    upper, lower = np.ones(draws), np.zeros(draws)
    for _ in range(10):
        middle = (upper + lower) / 2
        for width in np.unique(middle[~settled]):
            rows = np.flatnonzero((middle == width) & ~settled)
            fits = np.full(len(rows), True) if width < 1e-3 else error(rows, width) > width
            lower[rows[fits]] = width
            upper[rows[~fits]] = width
    values = np.empty(draws)
    for width in np.unique(upper):
        rows = np.flatnonzero(upper == width)
        values[rows] = error(rows, width)
    return values


def _classwise(sample: Sample, labels: IntArray) -> Floats:
    n, classes = sample.log_probs.shape
    counted = np.bincount(sample.labels, minlength=classes) >= MINIMUM_SUPPORT
    if not counted.any():
        return np.full(len(labels), np.nan)
    index = equal_width(sample.probs)
    cells = index + BINS * np.arange(classes)
    expected = np.bincount(cells.ravel(), sample.probs.ravel(), BINS * classes)
    drawn = cells[np.arange(n), labels] + BINS * classes * np.arange(len(labels))[:, None]
    hits = np.bincount(drawn.ravel(), minlength=BINS * classes * len(labels))
    gaps = np.abs(hits.reshape(len(labels), classes, BINS) - expected.reshape(classes, BINS))
    values: Floats = gaps.sum(2)[:, counted].mean(1) / n
    return values


def _posterior(sample: Sample) -> Floats:
    if sample.posterior is None:
        raise InputError("this data set does not know the true probabilities: leave the metric out")
    return sample.posterior.astype(np.float64)


def _true_confidence(sample: Sample) -> Floats:
    return _posterior(sample)[np.arange(len(sample)), sample.predicted]


def _ece_true(sample: Sample) -> float:
    gaps = _true_confidence(sample) - sample.confidence
    return float(np.abs(np.bincount(equal_width(sample.confidence), gaps)).sum() / len(sample))


def _gap_true(sample: Sample) -> Floats:
    return np.abs(_true_confidence(sample) - sample.confidence)


def _kl(sample: Sample) -> Floats:
    true = _posterior(sample)
    log_ratio = np.subtract(
        np.log(np.maximum(true, 1e-300)), sample.log_probs, where=true > 0, out=np.zeros(true.shape)
    )
    values: Floats = (true * log_ratio).sum(1)
    return values


# --- the registry ----------------------------------------------------------------------------

_GUO = "Guo et al. 2017, arXiv 1706.04599"
_BINS = "15 bins B_b of confidence c, n images, acc and conf the means over a bin"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        PerImage(
            name="accuracy",
            title="Accuracy",
            direction="higher",
            unit="fraction",
            formula="mean of [argmax p = y]",
            source="",
            of=lambda sample: sample.correct,
        ),
        Weighted(
            name="balanced_accuracy",
            title="Balanced accuracy",
            direction="higher",
            unit="fraction",
            formula="mean over the classes present of the recall of each",
            source="Brodersen et al. 2010",
            of=_balanced_accuracy,
        ),
        Weighted(
            name="auc",
            title="Macro AUC",
            direction="higher",
            unit="fraction",
            formula="mean over the classes present of P(p_c of an image of c > p_c of another) "
            "(ties count half), one class against the rest",
            source="Hanley & McNeil 1982",
            of=_auc,
        ),
        PerImage(
            name="nll",
            title="NLL",
            direction="lower",
            unit="nats",
            formula="mean of -ln p_y; never clipped: infinite where a true class has p = 0",
            range=(0.0, np.inf),
            source=_GUO,
            of=lambda sample: sample.nll,
        ),
        PerImage(
            name="brier",
            title="Brier score",
            direction="lower",
            unit="fraction",
            formula="mean of the sum over classes of (p_c - [y = c])^2, from 0 to 2",
            range=(0.0, 2.0),
            source="Brier 1950",
            of=_brier,
        ),
        Binned(
            name="ece",
            title="ECE",
            direction="lower",
            unit="fraction",
            formula=f"sum over b of |B_b|/n |acc(B_b) - conf(B_b)|; {_BINS}, of equal width, "
            "right-closed, c = 1 in the last",
            source=_GUO,
            bins=_equal_width,
            of=_ece,
        ),
        Binned(
            name="ece_debiased",
            title="ECE minus floor",
            direction="lower",
            unit="fraction",
            formula="ece minus the mean of the ece of labels drawn from p (can be negative)",
            range=(-1.0, 1.0),
            source="Broecker & Smith 2007; Vaicenavicius et al. 2019, arXiv 1902.06977",
            bins=_equal_width,
            of=_ece,
            floor_removed=True,
        ),
        Binned(
            name="ece_equal_mass",
            title="ECE, equal mass",
            direction="lower",
            unit="fraction",
            formula="as ece; bins between the i/15 quantiles of c, left-closed",
            source="Nguyen & O'Connor 2015, arXiv 1508.05154",
            bins=_equal_mass,
            of=_ece,
        ),
        Binned(
            name="rms_debiased",
            title="RMS calibration error, debiased",
            direction="lower",
            unit="fraction",
            formula="square root of max(0, sum over b of |B_b|/n ((acc - conf)^2 "
            "- acc (1 - acc) / (|B_b| - 1))); bins as in ece_equal_mass",
            source="Kumar et al. 2019, arXiv 1909.10155",
            bins=_equal_mass,
            of=_rms_debiased,
            truth=_rms,
        ),
        Relabelled(
            name="ece_sweep",
            title="ECE, monotone sweep",
            direction="lower",
            unit="fraction",
            formula="as ece; the largest number of equal-mass bins such that acc rises with conf "
            "for it and for every smaller number",
            source="Roelofs et al. 2022, arXiv 2012.08668",
            of=_sweep,
        ),
        Relabelled(
            name="ece_classwise",
            title="Class-wise ECE",
            direction="lower",
            unit="fraction",
            formula="mean over classes of the ece of p_c and [y = c] over all images; classes with "
            f"at least {MINIMUM_SUPPORT} test images",
            source="Kull et al. 2019, arXiv 1910.12656",
            of=_classwise,
            by_class=True,
        ),
        Binned(
            name="mce",
            title="MCE",
            direction="lower",
            unit="fraction",
            formula="max over b of |acc(B_b) - conf(B_b)|; bins as in ece",
            source="Naeini et al. 2015",
            bins=_equal_width,
            of=_mce,
            interval=False,
        ),
        Relabelled(
            name="ece_smooth",
            title="Smooth ECE",
            direction="lower",
            unit="fraction",
            formula="mean absolute residual c - [argmax p = y], smoothed over c by a reflected "
            "Gaussian kernel whose width equals the result",
            source="Blasiok & Nakkiran 2023, arXiv 2309.12236 (relplot)",
            of=_smooth,
        ),
        Binned(
            name="overconfidence",
            title="Over-confidence",
            direction="lower",
            unit="fraction",
            formula="sum over b of |B_b|/n max(conf(B_b) - acc(B_b), 0); bins as in ece, of which "
            "it is a part",
            source="Thulasidasan et al. 2019, arXiv 1905.11001",
            bins=_equal_width,
            of=_overconfidence,
        ),
        Binned(
            name="underconfidence",
            title="Under-confidence",
            direction="lower",
            unit="fraction",
            formula="sum over b of |B_b|/n max(acc(B_b) - conf(B_b), 0); the other part of ece",
            source="Thulasidasan et al. 2019, arXiv 1905.11001",
            bins=_equal_width,
            of=_underconfidence,
        ),
        PerImage(
            name="nll_refinement",
            title="NLL, refinement",
            direction="lower",
            unit="nats",
            formula="nll of p^(1/T), T fitted to the other four fifths of the test images "
            "(whole groups)",
            range=(0.0, np.inf),
            source="Ashukha et al. 2020, arXiv 2002.06470",
            of=lambda sample: sample.refined_nll,
        ),
        PerImage(
            name="nll_calibration",
            title="NLL, calibration",
            direction="lower",
            unit="nats",
            formula="nll minus nll_refinement: what a temperature would gain",
            range=(-np.inf, np.inf),
            source="Ashukha et al. 2020, arXiv 2002.06470",
            of=_calibration_nll,
        ),
        Weighted(
            name="aurc",
            title="AURC",
            direction="lower",
            unit="fraction",
            formula="mean over k of the error rate among the k most confident images",
            source="Geifman et al. 2019, arXiv 1805.08206",
            of=_aurc,
        ),
        Weighted(
            name="augrc",
            title="AUGRC",
            direction="lower",
            unit="fraction",
            formula="integral over coverage of P(wrong and among the most confident)",
            source="Traub et al. 2024, arXiv 2407.01032",
            of=_augrc,
        ),
        Derived(
            name="ece_true",
            title="ECE to the truth",
            direction="lower",
            unit="fraction",
            formula="as ece, with the true p(argmax p | image) in place of correctness",
            source="Vaicenavicius et al. 2019, arXiv 1902.06977",
            needs_posterior=True,
            of=_ece_true,
        ),
        PerImage(
            name="gap_true",
            title="Gap to the truth",
            direction="lower",
            unit="fraction",
            formula="mean of |c - true p(argmax p | image)|",
            source="Vaicenavicius et al. 2019, arXiv 1902.06977",
            needs_posterior=True,
            of=_gap_true,
        ),
        PerImage(
            name="kl_true",
            title="KL to the truth",
            direction="lower",
            unit="nats",
            formula="mean of the sum over classes of q_c ln(q_c / p_c), q the true posterior",
            range=(0.0, np.inf),
            source="Kullback & Leibler 1951",
            needs_posterior=True,
            of=_kl,
        ),
    )
}


def select(names: Iterable[str] | None, posterior: bool) -> tuple[Metric, ...]:
    """The metrics of these names, in the registry's order.

    Args:
        names: which; None means all that can be computed.
        posterior: whether the true probabilities are known; metrics that need them are left out
            otherwise.

    Raises:
        InputError: a name is unknown.
    """
    wanted = None if names is None else list(names)
    unknown = sorted(set(wanted or ()) - set(METRICS))
    if unknown:
        raise InputError(f"unknown metric {', '.join(unknown)}: choose among {', '.join(METRICS)}")
    return tuple(
        metric
        for metric in METRICS.values()
        if (wanted is None or metric.name in wanted) and (posterior or not metric.needs_posterior)
    )


def score(
    predictions: Predictions, names: Sequence[str] | None = None, seed: int = 0
) -> dict[str, float]:
    """Measure one set of predictions.

    Args:
        predictions: of one method on one replicate.
        names: which metrics; None means all. Those that need the true posterior are left out
            where it is unknown.
        seed: where the noise floor's label draws start.

    Returns:
        Value of each metric, in the registry's order.

    Raises:
        InputError: a name is unknown.
    """
    sample = Sample.of(predictions, seed)
    return {
        metric.name: metric.value(sample)
        for metric in select(names, predictions.posterior is not None)
    }
