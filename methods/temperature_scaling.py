"""Temperature scaling: divide the logits by one number, fitted on the calibration part."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from benchmark.api import Calibration, Calibrator, FloatArray, IntArray, Method, finite_logits

LOWEST, HIGHEST = np.log(0.01), np.log(10_000)  # separable logits want 0, useless ones infinity


@dataclass(frozen=True, kw_only=True)
class Temperature(Calibrator):
    """The temperature from 0.01 to 10 000 with the least NLL on the calibration part."""

    def fit(self, log_probs: FloatArray, labels: IntArray) -> Calibration:
        """Find the root of the NLL's slope: the NLL is convex in 1 / temperature."""
        # Not netcal's: that returns its input for float32, and T < 0 for worse than chance.
        logits = finite_logits(log_probs)
        above_true = logits - np.take_along_axis(logits, labels[:, None], 1)

        def slope(log_temperature: float) -> float:
            probs = softmax(logits / np.exp(log_temperature), 1)
            return float((probs * above_true).sum(1).mean())

        if slope(LOWEST) <= 0 or slope(HIGHEST) >= 0:
            best = LOWEST if slope(LOWEST) <= 0 else HIGHEST
        else:
            best = brentq(slope, LOWEST, HIGHEST, xtol=1e-12)
        return lambda new: log_softmax(finite_logits(new) / np.exp(best), 1)


_PAPER = "Guo et al., On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599"
_TEXT = "The logits divided by one number that is fitted on the calibration part."
_NAME = "temperature"
CALIBRATORS = (Temperature(name=_NAME, summary=_TEXT, paper=_PAPER),)
METHODS = (Method(name="temperature-scaling", summary=_TEXT, paper=_PAPER, calibrator=_NAME),)
