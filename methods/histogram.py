"""Histogram binning: a probability becomes the class's share in its bin."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmark.api import Calibration, Calibrator, FloatArray, IntArray, one_vs_rest, require


@dataclass(frozen=True, kw_only=True)
class Histogram(Calibrator):
    """netcal's histogram binning of each class against the rest.

    Attributes:
        bins: of equal width; an empty bin maps to its centre.
    """

    bins: int = 15

    def __post_init__(self) -> None:
        require(self.bins >= 1, f"bins={self.bins}: a histogram needs at least one")

    def fit(self, log_probs: FloatArray, labels: IntArray) -> Calibration:
        """One histogram per class; smoothing as in ``one_vs_rest``."""
        from netcal.binning import HistogramBinning

        def fit(probs: FloatArray, member: IntArray) -> Callable[[FloatArray], FloatArray]:
            model = HistogramBinning(bins=self.bins).fit(probs, member)
            return lambda new: np.asarray(model.transform(new))

        return one_vs_rest(log_probs, labels, fit)


_PAPER = "Zadrozny & Elkan, Obtaining Calibrated Probability Estimates, ICML 2001, "
_PAPER += "https://dl.acm.org/doi/10.5555/645530.655658"
_SUMMARY = "Each class's probability becomes the class's share among the images of its bin."
CALIBRATORS = (Histogram(name="histogram", summary=_SUMMARY, paper=_PAPER),)
