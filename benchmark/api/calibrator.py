"""What a post-hoc calibrator is, and what many of them need."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.api.arrays import FloatArray, IntArray

Calibration = Callable[[FloatArray], FloatArray]
"""A fitted post-hoc map: log-probabilities ``(n, classes)`` to log-probabilities."""


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """A post-hoc map of predictions, fitted on the calibration part.

    Attributes:
        name: the suffix on the command line (``focal+temperature``).
        summary: one sentence on what it does.
        paper: citation with an address.
    """

    name: str
    summary: str
    paper: str

    @abstractmethod
    def fit(self, log_probs: FloatArray, labels: IntArray) -> Calibration:
        """Fit the map; it must never return a probability of exactly zero.

        Args:
            log_probs: ``(n, classes)``, natural logarithms of rows that sum to one.
            labels: ``(n,)``, integers below ``classes``; some classes may be absent.
        """


def finite_logits(log_probs: FloatArray) -> npt.NDArray[np.float64]:
    """Log-probabilities in double precision, that of a zero being that of the smallest double."""
    return np.maximum(log_probs, np.log(np.finfo(np.float64).smallest_subnormal), dtype=np.float64)


def one_vs_rest(
    log_probs: FloatArray,
    labels: IntArray,
    fit: Callable[[FloatArray, IntArray], Callable[[FloatArray], FloatArray]],
) -> Calibration:
    """Make a multi-class map of a binary one: a map for each class against the rest.

    Each class's mapped probability q becomes ``n q + 1 / classes``, n being the number of
    calibration images, and the row is normalised: one pseudo-image, shared evenly among the
    classes, so that none gets probability zero. A class that all calibration images belong to,
    or none, teaches a binary map nothing: there q is that share, one or zero.

    Source: Zadrozny & Elkan, KDD 2002, https://doi.org/10.1145/775047.775151 (the pseudo-image
    is ours).

    Args:
        log_probs: ``(n, classes)`` of the calibration part.
        labels: ``(n,)``.
        fit: takes the probabilities of one class, ``(n,)``, and whether each image belongs to
            it (0 or 1), and returns the map of such probabilities.
    """
    n, classes = log_probs.shape
    members = np.eye(classes, dtype=np.int64)[labels]
    shares = members.mean(0)
    maps = {
        index: fit(_probabilities(log_probs[:, index]), members[:, index])
        for index in np.flatnonzero((shares > 0) & (shares < 1))
    }

    def calibrate(new: FloatArray) -> FloatArray:
        mapped = np.tile(shares, (len(new), 1))
        for index, binary in maps.items():
            mapped[:, index] = binary(_probabilities(new[:, index]))
        smoothed = n * mapped + 1 / classes
        calibrated: FloatArray = np.log(smoothed / smoothed.sum(1, keepdims=True))
        return calibrated

    return calibrate


def _probabilities(log_probs: FloatArray) -> npt.NDArray[np.float64]:
    """Probabilities of at most one: rounding can leave a logarithm just above zero."""
    return np.minimum(np.exp(log_probs, dtype=np.float64), 1.0)
