"""Temperature scaling: divide the logits by one number, fitted on the calibration part."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from benchmark.api import Calibrator, Fitted, FloatArray, IntArray, Method, finite_logits
from benchmark.api.temperature import inverse_temperature, standard_error

BOUNDS = (1e-9, 1e9)  # of 1 / T: separable logits want infinity, useless ones 0
UNDETERMINED, PSEUDO_IMAGES = 0.5, 5  # a standard error of T above half of T; what then holds it
EQUAL = "each image's logits are equal, every temperature gives the same: 1"
FEW = "the calibration part has too few errors to determine the temperature: "
FEW += f"{PSEUDO_IMAGES} pseudo-images that follow the predictions as they are keep it near 1"


@dataclass(frozen=True, kw_only=True)
class Temperature(Calibrator):
    """The temperature with the least NLL on the calibration part.

    Where that part does not determine it (all images are right, say, so that T would be 0), five
    pseudo-images, whose classes follow the predictions as they are, keep it near 1.
    """

    def fit(self, log_probs: FloatArray, labels: IntArray) -> Fitted:
        """Newton's method, to full convergence: the NLL is convex in 1 / T."""
        # Not netcal's: that returns its input for float32, and T < 0 for worse than chance.
        logits, notes = finite_logits(log_probs), []
        scale = inverse_temperature(logits, labels, bounds=BOUNDS, tolerance=1e-15)
        if np.ptp(logits, axis=1).max() <= 1e-12:
            notes.append(EQUAL)
        elif scale > 1 and standard_error(logits, labels, scale) > UNDETERMINED:
            notes.append(FEW)
            scale = inverse_temperature(
                logits, labels, bounds=BOUNDS, tolerance=1e-15, pseudo_images=PSEUDO_IMAGES
            )
        if not 1.001 * BOUNDS[0] < scale < 0.999 * BOUNDS[1]:
            notes.append(f"the temperature ends at its bound, {1 / scale:.3g}")
        parameters = {"temperature": 1 / scale}
        return Fitted(lambda n: log_softmax(finite_logits(n) * scale, 1), parameters, (*notes,))


_PAPER = "Guo et al., On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599"
_TEXT = "The logits divided by one number that is fitted on the calibration part."
CALIBRATORS = (Temperature(name="temperature", summary=_TEXT, paper=_PAPER),)
METHODS = (
    Method(name="temperature-scaling", summary=_TEXT, paper=_PAPER, calibrator="temperature"),
)
