"""Temperature scaling: divide the logits by one number, fitted on the calibration part."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from benchmark.api import Calibration, Calibrator, FloatArray, IntArray, Method

SMALLEST = np.log(np.finfo(np.float64).smallest_subnormal)  # stands for the log of a zero


@dataclass(frozen=True, kw_only=True)
class Temperature(Calibrator):
    """The temperature with the least NLL between ``lowest`` and ``highest``."""

    lowest: float = 0.01
    highest: float = 10_000.0

    def fit(self, log_probs: FloatArray, labels: IntArray) -> Calibration:
        """Find the root of the NLL's slope: it is convex in 1 / temperature."""
        # netcal's optimiser returns its input for float32 and clips logits at 1e-16.
        logits = np.maximum(log_probs.astype(np.float64), SMALLEST)
        true = np.take_along_axis(logits, labels[:, None], 1)

        def slope(log_t: float) -> float:
            return float((softmax(logits / np.exp(log_t), 1) * (logits - true)).sum(1).mean())

        low, high = np.log(self.lowest), np.log(self.highest)
        at_low, at_high = slope(low) <= 0, slope(high) >= 0  # the optimum is at or beyond an end
        log_t = low if at_low else high if at_high else brentq(slope, low, high, xtol=1e-12)
        return lambda new: log_softmax(np.maximum(new, SMALLEST) / np.exp(log_t), 1)


_PAPER = "Guo et al., On Calibration, ICML 2017, https://arxiv.org/abs/1706.04599"
_TEXT = "The logits divided by one number that is fitted on the calibration part."
CALIBRATORS = (Temperature(name="temperature", summary=_TEXT, paper=_PAPER),)
_NAME = "temperature-scaling"
METHODS = (Method(name=_NAME, summary=_TEXT, paper=_PAPER, calibrator="temperature"),)
