"""Temperature scaling: the one factor that every part of the benchmark fits in the same way."""

from __future__ import annotations

import numpy as np

from benchmark.api import Floats, IntArray


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
    squares = finite**2
    low, high, scale = 1e-3, 1e3, 1.0
    for _ in range(100):
        odds = np.exp(scale * shifted)
        total = odds.sum(1)
        mean = (odds * finite).sum(1) / total
        slope = float(np.mean(mean - true))
        curvature = float(np.mean((odds * squares).sum(1) / total - mean**2))
        low, high = (low, scale) if slope > 0 else (scale, high)
        step = scale - slope / curvature if curvature > 0 else np.inf
        new = step if low < step < high else float(np.sqrt(low * high))
        if abs(new - scale) <= 1e-10 * scale:
            break
        scale = new
    return float(scale)
