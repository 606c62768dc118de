"""Isotonic regression: for each class, the best map that never decreases."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmark.api import Calibration, Calibrator, FloatArray, IntArray, one_vs_rest


def _fit(probs: FloatArray, member: IntArray) -> Callable[[FloatArray], FloatArray]:
    from netcal.binning import IsotonicRegression

    model = IsotonicRegression().fit(probs, member)
    return lambda new: np.asarray(model.transform(new))


@dataclass(frozen=True, kw_only=True)
class Isotonic(Calibrator):
    """netcal's isotonic regression of each class against the rest."""

    def fit(self, log_probs: FloatArray, labels: IntArray) -> Calibration:
        """One regression per class; smoothing as in ``one_vs_rest``."""
        return one_vs_rest(log_probs, labels, _fit)


CALIBRATORS = (
    Isotonic(
        name="isotonic",
        summary="A non-decreasing step map of each class's probability.",
        paper="Zadrozny & Elkan, Transforming Classifier Scores into Accurate Multiclass "
        "Probability Estimates, KDD 2002, https://doi.org/10.1145/775047.775151",
    ),
)
