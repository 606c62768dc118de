"""The smooth calibration error of many label draws at once."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from benchmark.api import Floats, IntArray


def smooth_ece(confidence: Floats, correct: Floats) -> Floats:
    """Smooth ECE, as relplot's smECE, of many label draws at once: the kernel densities are shared.

    Args:
        confidence: ``(n,)``.
        correct: ``(draws, n)``.
    """
    residuals = confidence - correct

    def smooth(values: Floats, width: float, at: Floats) -> Floats:
        """Spread ``(draws, n)`` over a grid on [0, 1], convolve, interpolate.

        The Gaussian is reflected at 0 and 1: a circular convolution of the mirrored grid.
        """
        points = max(2000, round(20 / width)) // 2 + 1
        cell = np.clip((confidence * (points - 1)).astype(int), 0, points - 2)
        share = confidence * (points - 1) - cell
        images = np.arange(len(confidence))
        spread = values @ sparse.csr_array((1 - share, (images, cell)), (len(images), points))
        spread += values @ sparse.csr_array((share, (images, cell + 1)), (len(images), points))
        mirrored = np.concatenate([spread, spread[:, -2:0:-1]], axis=1)
        offsets = np.linspace(0, 1, points) - 0.5
        kernel = np.exp(-(offsets**2) / (2 * width**2)) / (np.sqrt(2 * np.pi) * width)
        size = mirrored.shape[1]
        product = np.fft.rfft(mirrored) * np.fft.rfft(kernel, size)
        curve = np.roll(np.fft.irfft(product, size), -(points // 2), axis=1)[:, :points]
        cell = np.clip((at * (points - 1)).astype(int), 0, points - 2)
        share = at * (points - 1) - cell
        between: Floats = curve[:, cell] * (1 - share) + curve[:, cell + 1] * share
        return between

    def error(rows: IntArray, width: float) -> Floats:
        at = np.linspace(0, 1, max(round(10 / width), 200))
        density = smooth(np.ones((1, len(confidence))), width, at) + 1e-4
        gaps = smooth(residuals[rows], width, at)
        values: Floats = np.abs(gaps).sum(1) / density.sum()
        return values

    # Each draw looks for the width that equals its own error; draws with equal widths go together.
    draws = len(correct)
    everyone = np.arange(draws)
    settled = error(everyone, 1.0) > 1.0
    upper, lower = np.ones(draws), np.zeros(draws)
    for _ in range(10):
        middle = (upper + lower) / 2
        for width in np.unique(middle[~settled]):
            rows = np.flatnonzero((middle == width) & ~settled)
            fits = np.full(len(rows), True) if width < 1e-3 else error(rows, width) > width
            lower[rows[fits]] = width
            upper[rows[~fits]] = width
    values = np.empty(draws)
    for width in np.unique(upper):
        rows = np.flatnonzero(upper == width)
        values[rows] = error(rows, width)
    return values
