"""Calibration errors: noise alone makes them positive, so that each comes with its noise floor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.api import Floats, Metric, Predictions
from benchmark.measures.bins import ALPHA, Bins
from benchmark.measures.denoise import UNWIDENED, noise_beside_a_shift, without_noise

SLOW_DRAWS = 100
"""Label draws behind the noise floor of the estimators that are slow to compute."""


@dataclass(frozen=True, kw_only=True)
class CalibrationMeasure(Metric):
    """An error that a perfectly calibrated model has too, by chance.

    Attributes:
        removable: whether taking the noise off comes nearer to the true error (it was measured).
    """

    removable: bool = True

    @abstractmethod
    def observed(self, predictions: Predictions) -> float:
        """The error as the noise floor draws it: without anything taken off."""

    @abstractmethod
    def floor(self, predictions: Predictions, alpha: float = ALPHA) -> Floats:
        """Errors under perfect calibration, ``(draws,)``.

        Args:
            predictions: of one method.
            alpha: one minus the coverage that few groups of images widen the draws for.
        """

    def denoised(self, predictions: Predictions) -> float:
        """An estimate of the true error, below 0 at times: for means over replicates."""
        if not self.removable:
            return self.value(predictions)
        return without_noise(self.observed(predictions), self.floor(predictions, UNWIDENED))


@dataclass(frozen=True, kw_only=True)
class Binned(CalibrationMeasure):
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
        floor = self.floor(predictions).mean() if self.floor_removed else 0.0
        return float(self.observed(predictions) - floor)

    def observed(self, predictions: Predictions) -> float:
        """The error of the observed hits."""
        bins = predictions.once(self.bins)
        return float(self.of(bins.hits[None], bins)[0])

    def floor(self, predictions: Predictions, alpha: float = ALPHA) -> Floats:
        """Errors of the bins' hits under perfect calibration, ``(DRAWS,)``."""
        bins = predictions.once(self.bins).at_level(alpha)
        return self.of(bins.floor, bins)

    def denoised(self, predictions: Predictions) -> float:
        """An estimate of the true error; the value itself where the floor's mean is taken off."""
        if self.floor_removed or not self.removable:
            return self.value(predictions)
        error = self.truth or self.of
        bins = predictions.once(self.bins).at_level(UNWIDENED)
        observed = float(error(bins.hits[None], bins)[0])
        return without_noise(observed, error(bins.floor, bins), noise_beside_a_shift(bins, error))


@dataclass(frozen=True, kw_only=True)
class Relabelled(CalibrationMeasure):
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
        return self.observed(predictions)

    def observed(self, predictions: Predictions) -> float:
        """The error of the observed labels."""
        return predictions.once(self._observed)

    def _observed(self, predictions: Predictions) -> float:
        outcomes = predictions.labels if self.by_class else predictions.correct
        return float(self.of(predictions, outcomes[None])[0])

    def floor(self, predictions: Predictions, alpha: float = ALPHA) -> Floats:
        """Errors of drawn labels, ``(SLOW_DRAWS,)``; images are taken for independent."""
        return predictions.once(self._floor)

    def _floor(self, predictions: Predictions) -> Floats:
        uniform = predictions.once(_uniform)
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
