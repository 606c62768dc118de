"""Beta calibration: the map that is right if each class's probabilities are Beta distributed."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmark.api import Calibration, Calibrator, FloatArray, IntArray, one_vs_rest


def _fit(probs: FloatArray, member: IntArray) -> Callable[[FloatArray], FloatArray]:
    with warnings.catch_warnings():  # netcal calls what its dependency pyro deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        from netcal.scaling import BetaCalibration

        model = BetaCalibration().fit(probs, member, tensorboard=False)
    return lambda new: np.asarray(model.transform(new))


@dataclass(frozen=True, kw_only=True)
class Beta(Calibrator):
    """netcal's beta calibration of each class against the rest."""

    def fit(self, log_probs: FloatArray, labels: IntArray) -> Calibration:
        """Three numbers per class; smoothing as in ``one_vs_rest``."""
        return one_vs_rest(log_probs, labels, _fit)


CALIBRATORS = (
    Beta(
        name="beta",
        summary="A log-odds map of three numbers for each class's probability.",
        paper="Kull et al., Beta Calibration, AISTATS 2017, "
        "https://proceedings.mlr.press/v54/kull17a.html",
    ),
)
