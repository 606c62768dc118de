"""Differences between methods over trainings, by a moderated t.

A few replicates say little about how much each pair of methods varies between trainings, but many
pairs together say how much pairs vary in general. Each pair's variance is therefore drawn towards
what is common to all (Smyth 2004, as limma does it for genes), with the degrees of freedom that
this adds. Four things keep it honest here, where pairs share their methods and methods differ: no
variance becomes smaller by it; the common variance counts for no more degrees of freedom than the
methods give; a method whose scatter is an outlier keeps its own variance (Phipson et al. 2016);
and no variance falls below that which drawing test images alone makes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.optimize import brentq

from benchmark.api import BoolArray, Floats
from benchmark.inference.comparison import holm

MIN_REPLICATES = 3
"""With fewer nothing is said about methods: two differ by anything."""

UNSTABLE = 0.05
"""A method's scatter is an outlier where chance makes one as large in fewer tables than these."""


@dataclass(frozen=True, eq=False)
class Moderated:
    """Paired differences between methods over trainings and test images.

    Attributes:
        difference: ``(methods, methods)`` mean of the row's values minus the column's.
        error: ``(methods, methods)`` standard errors; NaN where a value is not finite.
        degrees: ``(methods, methods)`` degrees of freedom of these.
        scatter: ``(methods, methods)`` standard deviation of one replicate's difference.
        fixed: ``(methods, methods)`` the part of the errors that more replicates do not reduce.
        unstable: ``(methods,)`` whether a method's scatter between trainings is an outlier.
    """

    difference: Floats
    error: Floats
    degrees: Floats
    scatter: Floats
    fixed: Floats
    unstable: BoolArray

    def p(self) -> Floats:
        """P-values of "no difference", ``(methods, methods)``; 1 on the diagonal."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(self.difference == 0, 0.0, np.abs(self.difference) / self.error)
        return np.asarray(2 * special.stdtr(self.degrees, -t))

    def half(self, level: float) -> Floats:
        """Half-widths of two-sided intervals that miss with this probability."""
        return np.asarray(special.stdtrit(self.degrees, 1 - level / 2) * self.error)


def moderated(
    values: Floats,
    factor: float,
    of_images: Floats | None = None,
    *,
    same_images: bool = False,
    bias: Floats | float = 0.0,
) -> Moderated:
    """Compare methods by their values on the same replicates.

    Args:
        values: ``(methods, replicates)``; at least :data:`MIN_REPLICATES` of these.
        factor: the variance of a mean over the variance of one replicate.
        of_images: ``(methods, methods)`` the variance of each mean difference that drawing test
            images alone makes; NaN where it is not known, None where it is known of no pair.
        same_images: whether all replicates were tested on the same images, so that their scatter
            holds nothing of that variance: it is added then, and what is not known of it leaves
            the pair without an error.
        bias: ``(methods,)`` standard deviation of what each value may be off by in all replicates
            alike.
    """
    number, replicates = values.shape
    known = np.asarray(np.isfinite(values).all(1))
    i, j = np.triu_indices(number, 1)
    own = replicates - 1.0
    with np.errstate(invalid="ignore"):
        paired = values[i] - values[j]
        difference = paired.mean(1)
        scatter = paired.var(1, ddof=1)
    images = np.full(len(i), np.nan) if of_images is None else of_images[i, j]
    every = bool(np.isfinite(images).all()) and len(images) > 0
    variance = np.where(known[i] & known[j], scatter, np.nan) * factor
    unstable = np.zeros(number, dtype=bool)
    least = float(np.median(images)) / factor / 2 if every and not same_images else 0.0
    unstable[known] = _outliers(values[known], least)
    stable = known & ~unstable
    common = stable[i] & stable[j]
    # How much pairs vary in proportion to what images alone make of them, where that is known.
    scale = np.maximum(images, 1e-300) if every and not same_images else np.ones(len(i))
    limit = (stable.sum() - 2) * own
    varying = common & (variance > 0) & np.isfinite(scale) & (scale > 1e-18)
    prior, prior_degrees = _prior(variance[varying] / scale[varying], own, limit)
    degrees = np.full(len(i), own)
    degrees[common] += prior_degrees
    drawn_together = (prior_degrees * prior * scale + own * variance) / (prior_degrees + own)
    # Methods that scatter more than others would lose by it: no variance falls below its own.
    variance = np.where(common, np.maximum(drawn_together, variance), variance)
    if not same_images:
        variance = np.where(np.isnan(variance), np.nan, np.fmax(variance, images))
    off = np.broadcast_to(np.asarray(bias, dtype=np.float64) ** 2, number)
    fixed = off[i] + off[j] + (images if same_images else 0.0)
    variance = variance + fixed

    def matrix(of_pairs: Floats, sign: int, diagonal: float) -> Floats:
        full = np.full((number, number), diagonal)
        full[i, j], full[j, i] = of_pairs, sign * of_pairs
        return full

    return Moderated(
        difference=matrix(difference, -1, 0.0),
        error=matrix(np.sqrt(variance), 1, 0.0),
        degrees=matrix(degrees, 1, own),
        scatter=matrix(np.sqrt((variance - fixed) / factor), 1, 0.0),
        fixed=matrix(np.sqrt(fixed), 1, 0.0),
        unstable=unstable,
    )


def own_errors(
    values: Floats,
    factor: float,
    of_images: Floats,
    *,
    same_images: bool = False,
    bias: Floats | float = 0.0,
) -> Floats:
    """Standard errors of the methods' means, from the scatter of each method alone, ``(methods,)``.

    Nothing is learned from other methods: what test images make is common to all of them.

    Args:
        values: as for :func:`moderated`, like all others.
        factor: the variance of a mean over the variance of one replicate.
        of_images: ``(methods,)`` the variance of each mean that drawing test images alone makes.
        same_images: whether all replicates were tested on the same images.
        bias: standard deviation of what each value may be off by.
    """
    with np.errstate(invalid="ignore"):
        variance = values.var(1, ddof=1) * factor
    if same_images:
        variance = variance + of_images
    else:
        variance = np.where(np.isnan(variance), np.nan, np.fmax(variance, of_images))
    return np.asarray(np.sqrt(variance + np.square(bias)))


def _prior(variances: Floats, own: float, limit: float) -> tuple[float, float]:
    """The common variance of pairs and its degrees of freedom (Smyth 2004, section 6.2).

    Args:
        variances: of pairs, each with ``own`` degrees of freedom; above 0.
        own: these.
        limit: the most degrees of freedom that the common variance may count for.
    """
    if len(variances) < 2 or limit <= 0:
        return 0.0, 0.0
    return _common(_centred_logs(variances, own), special.polygamma(1, own / 2), limit)


def _centred_logs(variances: Floats, own: float) -> Floats:
    """Logarithms of variances, without what so few degrees of freedom take off on average."""
    logs = np.log(np.maximum(variances, 1e-5 * np.median(variances) + 1e-300))
    return np.asarray(logs - special.digamma(own / 2) + np.log(own / 2))


def _common(logs: Floats, chance: float, limit: float) -> tuple[float, float]:
    """What centred logarithms have in common: a variance and its degrees of freedom.

    Args:
        logs: of :func:`_centred_logs`.
        chance: the variance that these have by chance alone.
        limit: the most degrees of freedom that the common variance may count for.
    """
    spread = logs.var(ddof=1) - chance
    degrees = limit
    if spread > special.polygamma(1, limit / 2):
        degrees = 2 * _trigamma_inverse(float(spread))
    prior = np.exp(logs.mean() + special.digamma(degrees / 2) - np.log(degrees / 2))
    return float(prior), float(degrees)


def _trigamma_inverse(value: float) -> float:
    return float(
        np.exp(brentq(lambda log: np.log(special.polygamma(1, np.exp(log)) / value), -20, 20))
    )


def _outliers(values: Floats, least: float) -> BoolArray:
    """Which methods scatter more between replicates than the others do, beyond chance.

    Scatter is measured around the median method of each replicate: what a replicate does to all
    methods is left out. The common scatter is that of the typical methods: the tenth of them that
    scatter most does not count (Phipson et al. 2016, in short).

    Args:
        values: ``(methods, replicates)``, finite.
        least: the variance that every method has at least: that of drawing test images.
    """
    number, replicates = values.shape
    if number < 4:
        return np.zeros(number, dtype=bool)
    own = replicates - 1.0
    centred = values - values.mean(1, keepdims=True)
    centred = centred - np.median(centred, 0)
    variances = np.maximum(centred.var(1, ddof=1), least)
    if not (variances > 0).any():
        return np.zeros(number, dtype=bool)
    logs = _centred_logs(variances, own)
    typical = np.minimum(logs, np.sort(logs)[-1 - max(1, -(-number // 10))])
    chance = 0.8 * special.polygamma(1, own / 2)  # trimmed: less is expected
    prior, degrees = _common(typical, chance, (number - 2) * own / 2)
    return np.asarray(holm(special.fdtrc(own, degrees, variances / prior)) < UNSTABLE)
