"""The true calibration error of one trained model: what noise adds is taken off.

Their mean over replicates estimates the mean true error of a recipe. The mean of the plain values
lies above it by the noise, and the error of pooled predictions below it, for trainings that are
over- and under-confident cancel there.
"""

from __future__ import annotations

import math

import numpy as np

from benchmark.api import Floats
from benchmark.measures.bins import Bins
from benchmark.measures.inversion import Error

UNWIDENED = 0.5
"""One minus a coverage for which few groups of images hardly widen the draws: their mean is
wanted, not a bound."""

STRAIGHT = 1.5
"""Up to so many standard deviations of the floor's squares a line takes the place of the root. This
number and the next were chosen by simulation, for bias and mean squared error."""

LIFT = 0.15
"""Where the line starts: the estimate, in roots of that standard deviation, where noise explains
the observed square. With 0, small true errors would be estimated as too small."""


def without_noise(observed: float, floor: Floats, noise: float | None = None) -> float:
    """The true error, estimated from the observed one and its noise floor.

    Noise and truth add like the sides of a right angle: the square of the observed error is on
    average that of the true one plus that of the noise. A root is steep at 0 and does not exist
    below, so that a straight line takes its place there. The line goes on below 0: where noise
    makes one replicate too small, it makes another too large. Cut means over replicates at 0, not
    single estimates.

    Args:
        observed: the error, biased upwards by noise.
        floor: ``(draws,)`` errors under perfect calibration.
        noise: mean square that noise adds; None means that of the floor. It adds less to an error
            that is there (:func:`noise_beside_a_shift`).

    Returns:
        The estimate; it rises with the observed error.
    """
    squares = floor**2
    unit = float(squares.std())
    excess = observed**2 - (float(squares.mean()) if noise is None else noise)
    if unit == 0 or excess > STRAIGHT * unit:
        return math.sqrt(max(excess, 0.0))
    slope = (math.sqrt(STRAIGHT) - LIFT) / STRAIGHT
    return math.sqrt(unit) * (LIFT + slope * excess / unit)


def noise_beside_a_shift(bins: Bins, error: Error) -> float:
    """The mean square that noise adds to the error of the nearest over- or under-confident model.

    All its log-odds are off by one number, such that it promises as many hits too many (or too
    few) as were observed. Gaps of one sign leave noise less room to add to an error; most networks
    have such. Where both signs balance, it is calibrated, and this the square of the noise floor.

    Args:
        bins: what was observed.
        error: the estimator: of noisy hits, and of true ones.
    """
    share = bins.expected / np.maximum(bins.counts, 1)
    weight = bins.expected * (1 - share)
    surplus = float((bins.hits - bins.expected).sum())
    gaps = weight * (surplus / max(float(weight.sum()), 1e-9))
    gaps = np.clip(gaps, -bins.expected, bins.counts - bins.expected)
    true = float(error((bins.expected + gaps)[None], bins)[0])
    return max(float((error(bins.draw(gaps), bins) ** 2).mean()) - true**2, 0.0)
