"""Vector scaling: each class's logit gets its own factor and offset."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from benchmark.api import Calibration, Calibrator, FloatArray, IntArray, finite_logits


@dataclass(frozen=True, kw_only=True)
class Vector(Calibrator):
    """Maximum a posteriori, with unit normal priors around factor 1 and offset 0.

    The prior keeps absent classes and separable logits finite; many images outweigh it.
    """

    def fit(self, log_probs: FloatArray, labels: IntArray) -> Calibration:
        """Minimise a convex function with its gradient."""
        # netcal differentiates numerically: 2001 passes over the images a step at 1000 classes.
        logits = finite_logits(log_probs)
        one_hot = np.arange(logits.shape[1]) == labels[:, None]

        def objective(change: FloatArray) -> tuple[float, FloatArray]:
            factor, offset = change.reshape(2, -1)
            scaled = log_softmax(logits * (1 + factor) + offset, 1)
            error = np.exp(scaled) - one_hot
            gradient = np.concatenate([(error * logits).sum(0), error.sum(0)]) + change
            return float(change @ change / 2 - scaled[one_hot].sum()), gradient

        fitted = minimize(objective, np.zeros(2 * logits.shape[1]), jac=True, method="L-BFGS-B")
        factor, offset = fitted.x.reshape(2, -1)
        return lambda new: log_softmax(finite_logits(new) * (1 + factor) + offset, 1)


_PAPER = "Guo et al., On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599"
_TEXT = "A factor and an offset for each class's logit, fitted on the calibration part."
CALIBRATORS = (Vector(name="vector", summary=_TEXT, paper=_PAPER),)
