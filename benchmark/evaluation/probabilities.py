"""When numbers are probabilities: how far from one rounding may leave the sum of an image's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmark.api import Floats

TOLERANCE = 1e-4
"""How far from one they may always be; then they are divided by their sum."""

DECIMALS = (3, 4)
"""To so many decimals they may be rounded, each by half of the last one."""

HALF = 2.0**-11
"""How far rounding to float16 moves a number, relative to it; softmax rounds a few times."""

EXACT = float(np.finfo(np.float64).eps)
"""Up to this for each class, a sum is one but for the rounding of double precision."""

SINGLE = float(np.finfo(np.float32).eps)
"""The same for numbers that were single precision."""


class Rounding(NamedTuple):
    """How numbers were rounded, in words, and how far that may move the sum of a row."""

    words: str
    tolerance: float


def rounding(values: Floats, logarithms: bool = False) -> Rounding:
    """How probabilities, or their logarithms, were rounded, and the sums of ``(n, classes)``."""
    classes, finite = values.shape[1], values[np.isfinite(values)]
    for decimals in DECIMALS:
        scaled = finite * 10.0**decimals
        if np.abs(scaled - np.rint(scaled)).max(initial=0) < 1e-4:
            # An error of a logarithm is one relative to the probability, and these sum to one.
            each = 0.5 * 10.0**-decimals * (1 if logarithms else classes)
            return Rounding(f"rounded to {decimals} decimals", max(TOLERANCE, each) * (1 + 1e-9))
    with np.errstate(over="ignore"):
        half = finite.astype(np.float16).astype(np.float64)
    if np.array_equal(half, finite):
        spread = 1 + np.log(classes) if logarithms else 1
        return Rounding("of half precision", float(4 * HALF * spread + classes * 2.0**-25))
    return Rounding("", TOLERANCE)


def sums(values: Floats) -> Floats:
    """Of each row, whatever the order of its columns."""
    return np.asarray(np.sort(values, axis=1).sum(1))


def sums_to_one(values: Floats) -> bool:
    """Whether all rows are probabilities."""
    fits = np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + TOLERANCE
    return bool(fits and (np.abs(sums(values) - 1) <= rounding(values).tolerance).all())


def percent(values: Floats) -> bool:
    """Whether all rows are probabilities in percent."""
    return bool(values.max() > 1 + TOLERANCE and sums_to_one(values / 100))


def rounding_of_one(values: Floats) -> float:
    """Within which a row's sum is one but for the rounding of its numbers."""
    single = np.array_equal(values.astype(np.float32).astype(np.float64), values)
    return float((values.shape[1] + 4) * (SINGLE if single else EXACT))
