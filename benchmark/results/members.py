"""The members of an ensemble: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmark.api import FloatArray


def mean_over_members(members: Sequence[FloatArray]) -> FloatArray:
    """Log of the mean probability over members, each ``(n, classes)`` log-probabilities.

    Members are averaged first and calibrated then (Rahaman & Thiery 2021, arXiv 2007.08792).
    """
    stacked: FloatArray = np.stack([np.asarray(m, dtype=np.float64) for m in members])
    if len(stacked) == 1:
        only: FloatArray = stacked[0]
        return only
    combined: FloatArray = np.logaddexp.reduce(stacked, axis=0) - math.log(len(stacked))
    return combined
