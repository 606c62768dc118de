"""One metric of one block: values, intervals and paired differences, given the trained models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.api import Floats, IntArray, Metric, PerImage, Weighted
from benchmark.measures.bins import Groups
from benchmark.measures.kinds import Binned
from benchmark.statistics import comparison, intervals
from benchmark.statistics.apart import Apart
from benchmark.statistics.blocks import Block
from benchmark.statistics.intervals import Bootstrap, t_quantile

FEW_ERRORS = 30
"""Below so many errors the coverage of the intervals is not guaranteed (measured)."""

FEW_GROUPS = 10
"""Nor is it where the errors lie in fewer groups than these, counted as equal ones."""


NO_WIDTH = 1e-9
"""Narrower intervals come of values that do not vary but for rounding."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """One metric of all methods of a block.

    Attributes:
        value: ``(methods,)``, means over seeds.
        low: ``(methods,)`` lower ends; NaN where no interval is known to hold.
        high: ``(methods,)``.
        pair_low: ``(methods, methods)`` of the row's value minus the column's.
        pair_high: ``(methods, methods)``.
        degrees: ``(methods, methods)`` degrees of freedom of these intervals.
        effect: ``(methods, methods)`` size of the differences, free of the number of images: for
            a mean over images Cohen's d_z, the mean of the images' differences over their
            standard deviation (images averaged over seeds); for a function of weighted images the
            difference over its bootstrap standard error times the root of the number of images.
            NaN for all else, and where nothing varies.
    """

    value: Floats
    low: Floats
    high: Floats
    pair_low: Floats
    pair_high: Floats
    degrees: Floats
    effect: Floats

    def p(self, alpha: float) -> Floats:
        """P-values of "no difference", ``(methods, methods)``."""
        with np.errstate(invalid="ignore"):
            difference = self.value[:, None] - self.value
        ends = self.pair_low, self.pair_high
        return np.asarray(comparison.p_value(difference, *ends, alpha, self.degrees))


def estimate(
    block: Block,
    metric: Metric,
    boot: Bootstrap,
    apart: Apart,
    alpha: float,
) -> Estimates:
    """Values, intervals and paired differences of a metric, given the trained models.

    Intervals are cut off at the ends of the metric's range: no truth lies beyond them, so that
    their coverage stays the same.

    Args:
        block: the methods.
        metric: which measure.
        boot: the resamples shared by all methods.
        apart: the numbers of its methods.
        alpha: one minus the coverage.
    """
    seeds = apart.seeds[metric.name]
    value = seeds.mean(1)
    number = len(block.methods)
    correct = np.stack([block.samples[m][0].correct for m in block.methods], axis=1)
    fewest = float(boot.degrees(correct).min())
    if isinstance(metric, Binned) and metric.interval:
        found = _binned(metric, value, apart.inverted[metric.name], fewest)
    elif isinstance(metric, PerImage):
        images = np.ascontiguousarray(apart.images[metric.name].T)
        found = _per_image(block, metric, images, boot, value, fewest, alpha)
    elif isinstance(metric, Weighted):
        drawn = np.ascontiguousarray(apart.weighted[metric.name].T)
        found = _weighted(block, drawn, boot, value, fewest, alpha)
    else:
        unknown = np.full((number, number), np.nan)
        degrees = np.full((number, number), fewest)
        found = Estimates(value, unknown[0], unknown[0], unknown, unknown, degrees, unknown)
    low, high, pair_low, pair_high = found.low, found.high, found.pair_low, found.pair_high
    degrees = found.degrees
    with np.errstate(invalid="ignore"):  # infinite losses have no interval
        difference = value[:, None] - value
        # What is the same for all images does not tell how far it lies from the truth.
        low, high = np.where(high - low < NO_WIDTH, np.nan, [low, high])
        fixed = (pair_high - pair_low < NO_WIDTH) & (difference != 0)
        pair_low, pair_high = np.where(fixed, np.nan, [pair_low, pair_high])
    if block.seeds > 1:
        with np.errstate(invalid="ignore"):
            between_seeds = seeds[:, None] - seeds
            if not isinstance(metric, Binned):
                low, high = intervals.with_seeds(value, low, high, seeds, alpha)
                pair_low, pair_high = intervals.with_seeds(
                    difference, pair_low, pair_high, between_seeds, alpha
                )
            half = np.where(difference > 0, difference - pair_low, pair_high - difference)
            degrees = intervals.degrees_with_seeds(half, between_seeds, degrees, alpha)
    if len(boot.sizes) < 2:
        # One image, or one group: nothing tells how much another would differ.
        low, high = np.full((2, number), np.nan)
        pair_low, pair_high = np.full((2, number, number), np.nan)
    low, high = np.clip([low, high], *metric.range)
    return Estimates(value, low, high, pair_low, pair_high, degrees, found.effect)


def _binned(metric: Binned, value: Floats, inverted: Floats, fewest: float) -> Estimates:
    """From the inversion intervals; those of differences combine two of them (Bonferroni)."""
    (low, high), (bonferroni_low, bonferroni_high) = np.moveaxis(inverted, 0, 2)
    unknown = np.full((len(value), len(value)), np.nan)
    pair_low = pair_high = unknown
    if metric.floor_removed:
        # It estimates the same truth as the plain error, which the methods are compared by.
        low, high = np.minimum(low, value), np.maximum(high, value)
    else:
        pair_low = bonferroni_low[:, None] - bonferroni_high
        pair_high = bonferroni_high[:, None] - bonferroni_low
    degrees = np.full(unknown.shape, fewest)
    return Estimates(value, low, high, pair_low, pair_high, degrees, unknown)


def _per_image(
    block: Block,
    metric: PerImage,
    images: Floats,
    boot: Bootstrap,
    value: Floats,
    fewest: float,
    alpha: float,
) -> Estimates:
    """Of means over images: bootstrap-t, and intervals of their own for proportions."""
    number = len(value)
    i, j = np.triu_indices(number, 1)
    finite = np.asarray(np.isfinite(images).all(0))
    images = np.where(finite, images, 0.0)
    differences = images[:, i] - images[:, j]
    degrees = np.full((number, number), fewest)
    degrees[i, j] = degrees[j, i] = boot.degrees(differences)
    if metric.proportion:
        error = boot.standard_errors(images)
        error[error < 1e-12] = 0.0  # all right, but for rounding
        # Groups that are all right show no variance: each counts as one image then.
        effective = np.where(
            error > 0, float(block.images), boot.groups.effective(np.ones(block.images))
        )
        if block.groups is None and block.seeds == 1:
            error[:] = np.nan
        own_degrees = boot.degrees(images) if boot.grouped else np.inf
        low, high = intervals.wilson(value, error, effective, own_degrees, alpha)
        between = intervals.proportion_difference(boot, differences, alpha)
    else:
        low, high = boot.means(images, alpha)
        between = boot.means(differences, alpha, paired=True)
    pair_low, pair_high = _matrices(between, i, j, number)
    effect = np.full((number, number), np.nan)
    effect[i, j] = _ratio(differences.mean(0), differences.std(0, ddof=min(block.images - 1, 1)))
    effect[j, i] = -effect[i, j]
    low, high = np.where(finite, low, np.nan), np.where(finite, high, np.nan)
    for matrix in (pair_low, pair_high, effect):
        matrix[~(finite[:, None] & finite)] = np.nan
    return Estimates(value, low, high, pair_low, pair_high, degrees, effect)


def _weighted(
    block: Block, drawn: Floats, boot: Bootstrap, value: Floats, fewest: float, alpha: float
) -> Estimates:
    """Of functions of weighted images: the bootstrap's standard error, and t."""
    number = len(value)
    i, j = np.triu_indices(number, 1)
    width = t_quantile(alpha, fewest) * np.sqrt(len(boot.sizes) / max(len(boot.sizes) - 1, 1))
    half = width * drawn.std(0, ddof=1)
    error = (drawn[:, i] - drawn[:, j]).std(0, ddof=1)
    difference = value[i] - value[j]
    ends = difference - width * error, difference + width * error
    effect = np.full((number, number), np.nan)
    effect[i, j] = _ratio(difference, error * np.sqrt(block.images))
    effect[j, i] = -effect[i, j]
    degrees = np.full((number, number), fewest)
    return Estimates(
        value, value - half, value + half, *_matrices(ends, i, j, number), degrees, effect
    )


def _ratio(difference: Floats, deviation: Floats) -> Floats:
    unknown = np.full(len(difference), np.nan)
    return np.asarray(np.divide(difference, deviation, where=deviation > 1e-12, out=unknown))


def _matrices(
    ends: tuple[Floats, Floats], i: IntArray, j: IntArray, number: int
) -> tuple[Floats, Floats]:
    """Intervals of the pairs i < j as antisymmetric matrices; 0 on the diagonal."""
    low, high = np.zeros((2, number, number))
    low[i, j], high[i, j] = ends
    low[j, i], high[j, i] = -ends[1], -ends[0]
    return low, high


def few_errors(block: Block, method: str) -> bool:
    """Whether a method's errors, or the groups they lie in, are too few to promise coverage."""
    wrong = [1 - p.correct for p in block.samples[method]]
    few = min(w.sum() for w in wrong) < FEW_ERRORS
    if block.groups is not None:
        few |= min(Groups(block.groups).effective(w) for w in wrong) < FEW_GROUPS
    return bool(few)


def no_intervals(
    block: Block, metrics: Sequence[Metric], estimates: Mapping[str, Estimates], apart: Apart
) -> list[str]:
    """Which finite values have no interval, and why, in sentences.

    Args:
        block: the methods.
        metrics: which measures.
        estimates: by metric.
        apart: the numbers of the methods.
    """
    said: list[str] = []
    never = [m for m in metrics if not _has_interval(m)]
    if never:
        said.append(f"No interval for {_listed(never)}: none is known to hold its coverage.")
    reasons: dict[tuple[str, str], list[Metric]] = {}
    for metric in (m for m in metrics if _has_interval(m)):
        found, drawn = estimates[metric.name], apart.weighted.get(metric.name)
        for m, method in enumerate(block.methods):
            if np.isfinite(found.value[m]) and np.isnan(found.low[m]):
                if len(set(block.units.tolist())) < 2:
                    why = "one image, or one group, does not tell how much another would differ"
                elif drawn is not None and np.isnan(drawn[m]).any():
                    why = "too few images of a class: some resamples hold none"
                else:
                    why = "nothing in the test images shows how much it could vary"
                reasons.setdefault((method, why), []).append(metric)
    methods: dict[tuple[str, str], list[str]] = {}
    for (method, why), lacking in reasons.items():
        methods.setdefault((_listed(lacking), why), []).append(method)
    said += [
        f"{block.label}: no interval for {lacking} of {', '.join(names)}: {why}."
        for (lacking, why), names in methods.items()
    ]
    return said


def _has_interval(metric: Metric) -> bool:
    return (
        metric.interval if isinstance(metric, Binned) else isinstance(metric, PerImage | Weighted)
    )


def _listed(metrics: Sequence[Metric]) -> str:
    return ", ".join(f'"{m.short}"' if "," in m.short else m.short for m in metrics)
