"""Intervals of calibration errors, by inverting the noise-floor test.

A candidate truth is in the interval if the observed error lies between the 2.5 % and 97.5 %
points of those drawn under it. Candidate 0 is the noise floor itself, so that "the interval
contains 0" and "the value is inside the floor" cannot disagree. (A percentile bootstrap, the
usual choice, covers a true error of 0 in 0 % of cases.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmark.api import Floats
from benchmark.measures.bins import Bins

SHIFTS = np.concatenate([[-12, -8, -6, -5], np.arange(-4, 3.01, 0.25), [4, 6, 12]])
"""Candidate truths: how far each bin's gap lies from the observed one, in standard deviations."""

Error = Callable[[Floats, "Bins"], Floats]
"""An estimator: hits ``(draws, bins)`` to the calibration error of each draw ``(draws,)``."""


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


def path(bins: Bins, stretch: float, deviation: Floats | None = None) -> Floats:
    """Gaps of a candidate truth, ``(bins,)``, in hits.

    Args:
        bins: what was observed.
        stretch: below 0, the observed gaps are soft-thresholded by that many standard
            deviations; above 0, stretched along them.
        deviation: ``(bins,)`` these; by default those of the observed hits.
    """
    if deviation is None:
        deviation = bins.deviation
    gaps = bins.hits - bins.expected
    size = np.maximum(np.abs(gaps) + stretch * deviation, 0)
    values: Floats = np.clip(np.sign(gaps) * size, -bins.expected, bins.counts - bins.expected)
    return values


def inversion_intervals(
    seeds: Sequence[Bins], errors: Sequence[tuple[Error, Error]], alpha: float
) -> Floats:
    """Intervals for true calibration errors, by inverting the noise-floor test.

    The true gaps that are tried lie on one path through the observed ones (:func:`path`). Each end
    is found by bisection along it, and by interpolation between the last two candidates. An
    interval always contains the observed value, which is biased upwards and can lie above all
    plausible truths.

    Args:
        seeds: one set of bins a seed; the errors are averaged over seeds.
        errors: pairs of an estimator and what it estimates, the same of gaps without noise.
        alpha: one minus the coverage.

    Returns:
        ``(errors, 2)`` lower and upper ends.
    """
    levels = (1 - alpha / 2, alpha / 2)

    @cache
    def points_under(number: int) -> Floats:
        """Points of the drawn errors under one candidate, ``(errors, levels)``."""
        points = np.zeros((len(errors), len(levels)))
        for bins in seeds:
            hits = bins.draw(path(bins, SHIFTS[number]))
            drawn = [error(hits, bins) for error, _ in errors]
            points += np.quantile(drawn, levels, axis=1).T
        return points / len(seeds)

    ends = np.empty((len(errors), len(levels)))
    for e, (error, truth) in enumerate(errors):
        value = np.mean([error(bins.hits[None], bins)[0] for bins in seeds])
        drawn = floor_draws(seeds, error)
        for column, level in enumerate(levels):
            below, above = 0, len(SHIFTS) - 1
            # Hits are whole: of candidates that all reach the value, the outermost is the end.
            reached = value + (1e-12 if level < 0.5 else -1e-12)
            while above - below > 1:
                middle = (below + above) // 2
                if points_under(middle)[e, column] <= reached:
                    below = middle
                else:
                    above = middle
            points = [points_under(below)[e, column], points_under(above)[e, column]]
            stretch = float(np.interp(value, points, SHIFTS[[below, above]]))
            true = np.mean([truth((b.expected + path(b, stretch))[None], b)[0] for b in seeds])
            if level < 0.5:
                ends[e, column] = max(true, value)
            else:
                inside = value <= np.quantile(drawn, level)
                ends[e, column] = 0.0 if inside else min(true, value)
    return ends
