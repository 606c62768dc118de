"""What a post-hoc calibrator is, and what many of them need."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.api.arrays import FloatArray, IntArray
from benchmark.api.errors import InputError

Calibration = Callable[[FloatArray], FloatArray]
"""A fitted post-hoc map: log-probabilities ``(n, classes)`` to log-probabilities.

It may carry what was fitted as ``parameters`` (numbers by name), and ``notes`` (sentences), as
:class:`Fitted` does.
"""

_ROUNDING = 1e-4
"""How far what a calibrator returns may be from probabilities that sum to one."""


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


@dataclass(frozen=True)
class Fitted:
    """A fitted map that says what was fitted.

    Attributes:
        function: log-probabilities ``(n, classes)`` to log-probabilities.
        parameters: numbers by name.
        notes: what a reader should know, in sentences.
    """

    function: Calibration
    parameters: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def __call__(self, new: FloatArray) -> FloatArray:
        """Apply it."""
        return self.function(new)


def finite_logits(log_probs: FloatArray) -> npt.NDArray[np.float64]:
    """Log-probabilities in double precision; that of a zero is at most the smallest double's.

    What is finite stays as it is, and a zero's is not above any other of its image.
    """
    values = np.asarray(log_probs, dtype=np.float64)
    zero = np.isneginf(values)
    if not zero.any():
        return values
    smallest = np.log(np.finfo(np.float64).smallest_subnormal)
    lowest = np.where(zero, smallest, values).min(1, keepdims=True)
    return np.where(zero, np.minimum(lowest, smallest), values)


def calibrate(
    calibrator: Calibrator, fitted_on: FloatArray, labels: IntArray, new: FloatArray
) -> tuple[FloatArray, Calibration]:
    """Fit a calibrator and apply it, which may be anybody's: what it returns is checked.

    Args:
        calibrator: what is fitted.
        fitted_on: ``(n, classes)`` log-probabilities of the calibration part.
        labels: ``(n,)`` of the calibration part.
        new: ``(m, classes)`` log-probabilities of other images.

    Returns:
        Calibrated log-probabilities of the other images, and the fitted map.

    Raises:
        InputError: they are no logarithms of probabilities that sum to one.
    """
    fitted = calibrator.fit(fitted_on, labels)
    result = np.asarray(fitted(new))
    wrong = None
    if result.shape != new.shape:
        wrong = f"the shape {result.shape}, not {new.shape}"
    elif result.dtype.kind != "f":
        wrong = f"{result.dtype}, not floating-point numbers"
    elif not (result <= _ROUNDING).all():
        wrong = "NaN" if np.isnan(result).any() else f"{result.max():.6g}, above 0"
    elif np.abs(np.exp(result, dtype=np.float64).sum(1) - 1).max() > _ROUNDING:
        sums = np.exp(result, dtype=np.float64).sum(1)
        wrong = f"rows that sum to {sums[np.argmax(np.abs(sums - 1))]:.6g}, not to one"
    if wrong is not None:
        module = type(calibrator).__module__
        raise InputError(
            f"calibrator {calibrator.name} ({module}) returned {wrong}: its map must give natural "
            "logarithms of probabilities, a row for each image"
        )
    return result, fitted


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
