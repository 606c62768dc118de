"""Temperature scaling: the one factor that every part of the benchmark fits in the same way."""

from __future__ import annotations

import numpy as np

from benchmark.api.arrays import Floats, IntArray


def inverse_temperature(
    log_probs: Floats,
    labels: IntArray,
    *,
    bounds: tuple[float, float] = (1e-3, 1e3),
    tolerance: float = 1e-10,
    pseudo_images: float = 0.0,
) -> float:
    """The factor on the log-probabilities (one over the temperature) that minimises the NLL.

    The NLL is convex in this factor, so that safeguarded Newton steps on its derivative find the
    optimum. Where every factor gives the same (each image's probabilities are equal) it is 1.

    Args:
        log_probs: ``(n, classes)``; -inf is allowed. Images whose true class has probability 0
            keep an infinite loss at every temperature and are left out.
        labels: ``(n,)``.
        bounds: the factor is kept within them: separable predictions have theirs at infinity.
        tolerance: relative; the search ends with a step that is not larger.
        pseudo_images: so many images more, that are like the mean image and whose classes follow
            the predictions as they are: they keep the factor near 1 where real ones say little.
    """
    shifted, finite, true = _above_true(log_probs, labels)
    if not len(true) or np.ptp(finite) <= 1e-12:
        return 1.0
    squares, weight = finite**2, pseudo_images / len(true)
    if weight:
        true = true + weight * _expectation(shifted, finite, 1.0)
    (low, high), scale = bounds, 1.0
    for _ in range(100):
        odds = np.exp(scale * shifted)
        total = odds.sum(1)
        mean = (odds * finite).sum(1) / total
        slope = float(np.mean((1 + weight) * mean - true))
        curvature = (1 + weight) * float(np.mean((odds * squares).sum(1) / total - mean**2))
        low, high = (low, scale) if slope > 0 else (scale, high)
        step = scale - slope / curvature if curvature > 0 else np.inf
        new = step if low < step < high else float(np.sqrt(low * high))
        if abs(new - scale) <= tolerance * scale:
            break
        scale = new
    return float(scale)


def standard_error(log_probs: Floats, labels: IntArray, scale: float) -> float:
    """Of the logarithm of a fitted factor, from the curvature of the NLL there.

    Infinite where the images do not determine the factor, as those do not that are all right.
    """
    shifted, finite, _ = _above_true(log_probs, labels)
    mean = _expectation(shifted, finite, scale)
    variance = _expectation(shifted, finite**2, scale) - mean**2
    information = scale**2 * float(variance.sum())
    return float(information**-0.5) if information > 0 else np.inf


def _above_true(log_probs: Floats, labels: IntArray) -> tuple[Floats, Floats, Floats]:
    """Log-probabilities below each image's largest: all, all with 0 for -inf, the true class's."""
    shifted = log_probs - log_probs.max(1, keepdims=True)
    true = shifted[np.arange(len(labels)), labels]
    shifted, true = shifted[np.isfinite(true)], true[np.isfinite(true)]
    return shifted, np.where(np.isfinite(shifted), shifted, 0.0), true


def _expectation(shifted: Floats, values: Floats, scale: float) -> Floats:
    """Of values, a row for each image, under its probabilities at that factor."""
    odds = np.exp(scale * shifted)
    return np.asarray((odds * values).sum(1) / odds.sum(1))
