"""The two kinds of calibration error: of bins, and of what has to be measured label by label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.api import Floats, Metric, Predictions
from benchmark.measures.bins import Bins

SLOW_DRAWS = 100
"""Label draws behind the noise floor of the estimators that are slow to compute."""


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

    bins: Callable[[Predictions], Bins]
    of: Callable[[Floats, Bins], Floats]
    truth: Callable[[Floats, Bins], Floats] | None = None
    floor_removed: bool = False
    interval: bool = True

    def value(self, predictions: Predictions) -> float:
        """The error of the observed hits."""
        bins = self.bins(predictions)
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

    of: Callable[[Predictions, npt.NDArray[Any]], Floats]
    by_class: bool = False

    def value(self, predictions: Predictions) -> float:
        """The error of the observed labels."""
        observed = predictions.labels if self.by_class else predictions.correct
        return float(self.of(predictions, observed[None])[0])

    def floor(self, predictions: Predictions) -> Floats:
        """Errors under perfect calibration, ``(SLOW_DRAWS,)``."""
        uniform = _uniform(predictions)
        if not self.by_class:
            return self.of(predictions, (uniform < predictions.confidence).astype(float))
        below = np.cumsum(predictions.probs, axis=1)[:, :-1] / predictions.probs.sum(
            1, keepdims=True
        )
        labels = np.zeros(uniform.shape, dtype=np.intp)
        for column in below.T:
            labels += uniform >= column
        return self.of(predictions, labels)


def _uniform(predictions: Predictions) -> Floats:
    """One uniform number an image and label draw, ``(SLOW_DRAWS, n)``."""
    generator = np.random.default_rng([predictions.draw_seed, 3])
    return generator.random((SLOW_DRAWS, len(predictions)))
