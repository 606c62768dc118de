"""Which of these trained networks is better? Values, intervals and differences, given them.

What they speak of is other test images of the same kind; :mod:`benchmark.statistics.methods`
speaks of other trainings too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.api import Floats, IntArray, Metric, PerImage, Weighted
from benchmark.inference import comparison, intervals
from benchmark.inference.intervals import Bootstrap, t_quantile
from benchmark.measures.bins import Groups
from benchmark.measures.kinds import Binned
from benchmark.measures.paired import Candidates, differences
from benchmark.statistics.apart import Apart
from benchmark.statistics.blocks import Block

FEW_ERRORS = 30
"""Below so many errors the coverage of the intervals is not guaranteed (measured)."""

FEW_GROUPS = 50
"""Nor is it with fewer groups than these, counted as equal ones, whatever the errors are: if groups
differ much, 20 to 40 of them leave the intervals of calibration errors at 84-89 % (measured)."""

FEW_GROUPS_WITH_ERRORS = 10
"""Nor where the errors lie in fewer groups than these, counted likewise."""


NO_WIDTH = 1e-9
"""Narrower intervals come of values that do not vary but for rounding."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """One metric of all methods of a block.

    Attributes:
        value: ``(methods,)``, means over the networks, each counted by its test images.
        low: ``(methods,)`` lower ends; NaN where no interval is known to hold.
        high: ``(methods,)``.
        pair_low: ``(methods, methods)`` of the row's value minus the column's.
        pair_high: ``(methods, methods)``.
        p: ``(methods, methods)`` p-values of "no difference"; NaN where unknown.
        degrees: ``(methods, methods)`` degrees of freedom of these intervals.
        effect: ``(methods, methods)`` size of the differences, free of the number of images: for
            a mean over images Cohen's d_z, the mean of the images' differences over their
            standard deviation (images averaged over seeds); for a function of weighted images the
            difference over its bootstrap standard error times the root of the number of images.
            NaN for all else, and where nothing varies.
        error: ``(methods,)`` standard errors that drawing test images makes; NaN where unknown.
        pair_error: ``(methods, methods)`` those of the differences.
    """

    value: Floats
    low: Floats
    high: Floats
    pair_low: Floats
    pair_high: Floats
    p: Floats
    degrees: Floats
    effect: Floats
    error: Floats
    pair_error: Floats

    @classmethod
    def unknown(cls, value: Floats, degrees: float) -> Estimates:
        """Values of which nothing more is known."""
        own = np.full(len(value), np.nan)
        pairs = np.full((len(value), len(value)), np.nan)
        of_pairs = np.full(pairs.shape, degrees)
        return cls(value, own, own, pairs, pairs, pairs, of_pairs, pairs, own, pairs)


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
    value = block.over_folds(apart.replicates[metric.name]).mean(1)
    correct = [np.concatenate([p.correct for p in block.by_seed(m)[0]]) for m in block.methods]
    nothing = Estimates.unknown(value, float(boot.degrees(np.stack(correct, axis=1)).min()))
    if isinstance(metric, Binned):
        found = _binned(metric, apart, nothing, alpha)
    elif isinstance(metric, PerImage):
        images = np.ascontiguousarray(apart.images[metric.name].T)
        found = _per_image(block, metric, images, boot, nothing, alpha)
    elif isinstance(metric, Weighted):
        drawn = np.ascontiguousarray(apart.weighted[metric.name].T)
        found = _weighted(block, drawn, boot, nothing, alpha)
    else:
        found = nothing
    if len(boot.sizes) < 2:
        # One image, or one group: nothing tells how much another would differ.
        return nothing
    low, high = np.clip([found.low, found.high], *metric.range)
    pair_low, pair_high, p = found.pair_low, found.pair_high, found.p
    with np.errstate(invalid="ignore"):  # infinite losses have no interval
        difference = value[:, None] - value
        # What is the same for all images does not tell how far it lies from the truth.
        low, high = np.where(high - low < NO_WIDTH, np.nan, [low, high])
        fixed = (pair_high - pair_low < NO_WIDTH) & (difference != 0)
        pair_low, pair_high, p = np.where(fixed, np.nan, [pair_low, pair_high, p])
    if not isinstance(metric, Binned):
        p = comparison.p_value(difference, pair_low, pair_high, alpha, found.degrees)
    return replace(found, low=low, high=high, pair_low=pair_low, pair_high=pair_high, p=p)


def _binned(metric: Binned, apart: Apart, nothing: Estimates, alpha: float) -> Estimates:
    """From inversion intervals, and joint ones for differences."""
    found = replace(nothing, **_noise(apart.noise[metric.name]))
    if not metric.interval:
        return found
    value = nothing.value
    low, high = apart.inverted[metric.name].T
    if metric.floor_removed:
        # It estimates the same truth as the plain error, which the methods are compared by.
        return replace(found, low=np.minimum(low, value), high=np.maximum(high, value))
    tried = [
        Candidates(float(v), np.asarray(c[:, 0], dtype=np.float64), c[:, 1:])
        for v, c in zip(value, apart.candidates[metric.name], strict=True)
    ]
    pair_low, pair_high, p = differences(tried, alpha)
    return replace(found, low=low, high=high, pair_low=pair_low, pair_high=pair_high, p=p)


def _noise(drawn: Floats) -> dict[str, Floats]:
    """Standard errors from resampled values ``(methods, resamples)``."""
    return {
        "error": drawn.std(1, ddof=1),
        "pair_error": (drawn[:, None] - drawn).std(2, ddof=1),
    }


def _per_image(
    block: Block,
    metric: PerImage,
    images: Floats,
    boot: Bootstrap,
    nothing: Estimates,
    alpha: float,
) -> Estimates:
    """Of means over images: bootstrap-t, and intervals of their own for proportions."""
    value, number = nothing.value, len(nothing.value)
    i, j = np.triu_indices(number, 1)
    finite = np.asarray(np.isfinite(images).all(0))
    images = np.where(finite, images, 0.0)
    differences = images[:, i] - images[:, j]
    own_error, of_pairs = boot.standard_errors(images), boot.standard_errors(differences)
    pair_degrees = boot.degrees(differences)
    if metric.proportion:
        error = np.where(own_error < 1e-12, 0.0, own_error)  # all right, but for rounding
        # Two more images that are right and two that are wrong (Agresti & Coull 1998).
        own_error = np.sqrt((block.images * own_error) ** 2 + 1) / (block.images + 4)
        # Groups that are all right show no variance: each counts as one image then.
        effective = np.where(
            error > 0, float(block.images), boot.groups.effective(np.ones(block.images))
        )
        if block.groups is None and block.seeds == 1:
            error[:] = np.nan
        own_degrees = boot.degrees(images) if boot.grouped else np.inf
        low, high = intervals.wilson(value, error, effective, own_degrees, alpha)
        *between, of_pairs = intervals.proportion_difference(
            differences, of_pairs, pair_degrees, alpha
        )
    else:
        low, high = boot.means(images, alpha)
        between = [*boot.means(differences, alpha, paired=True)]
    degrees, pair_error = nothing.degrees.copy(), np.zeros((number, number))
    degrees[i, j] = degrees[j, i] = pair_degrees
    pair_error[i, j] = pair_error[j, i] = of_pairs
    pair_low, pair_high = _matrices(between, i, j, number)
    effect = np.full((number, number), np.nan)
    effect[i, j] = _ratio(differences.mean(0), differences.std(0, ddof=min(block.images - 1, 1)))
    effect[j, i] = -effect[i, j]
    low, high = np.where(finite, low, np.nan), np.where(finite, high, np.nan)
    for matrix in (pair_low, pair_high, effect):
        matrix[~(finite[:, None] & finite)] = np.nan
    return replace(
        nothing, low=low, high=high, pair_low=pair_low, pair_high=pair_high, degrees=degrees,
        effect=effect, error=own_error, pair_error=pair_error,
    )  # fmt: skip


def _weighted(
    block: Block, drawn: Floats, boot: Bootstrap, nothing: Estimates, alpha: float
) -> Estimates:
    """Of functions of weighted images: the bootstrap's standard error, and t."""
    value, number = nothing.value, len(nothing.value)
    i, j = np.triu_indices(number, 1)
    steps = t_quantile(alpha, float(nothing.degrees[0, 0]))
    width = steps * np.sqrt(len(boot.sizes) / max(len(boot.sizes) - 1, 1))
    half = width * drawn.std(0, ddof=1)
    error = (drawn[:, i] - drawn[:, j]).std(0, ddof=1)
    difference = value[i] - value[j]
    ends = difference - width * error, difference + width * error
    effect = np.full((number, number), np.nan)
    effect[i, j] = _ratio(difference, error * np.sqrt(block.images))
    effect[j, i] = -effect[i, j]
    pair_low, pair_high = _matrices(ends, i, j, number)
    return replace(
        nothing, low=value - half, high=value + half, pair_low=pair_low, pair_high=pair_high,
        effect=effect, **_noise(drawn.T),
    )  # fmt: skip


def _ratio(difference: Floats, deviation: Floats) -> Floats:
    unknown = np.full(len(difference), np.nan)
    return np.asarray(np.divide(difference, deviation, where=deviation > 1e-12, out=unknown))


def _matrices(
    ends: Sequence[Floats], i: IntArray, j: IntArray, number: int
) -> tuple[Floats, Floats]:
    """Intervals of the pairs i < j as antisymmetric matrices; 0 on the diagonal."""
    low, high = np.zeros((2, number, number))
    low[i, j], high[i, j] = ends
    low[j, i], high[j, i] = -ends[1], -ends[0]
    return low, high


def few_errors(block: Block, method: str) -> bool:
    """Whether a method's errors, or the groups they lie in, are too few to promise coverage."""
    wrong = [1 - np.concatenate([p.correct for p in folds]) for folds in block.by_seed(method)]
    few = min(w.sum() for w in wrong) < FEW_ERRORS
    if block.groups is not None:
        groups = Groups(block.groups)
        few |= groups.effective(np.ones(block.images)) < FEW_GROUPS
        few |= min(groups.effective(w) for w in wrong) < FEW_GROUPS_WITH_ERRORS
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
        names = _listed(never)
        said.append(f"Given the networks no interval for {names}: none is known to cover.")
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
