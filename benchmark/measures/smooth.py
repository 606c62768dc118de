"""The smooth calibration error (Blasiok & Nakkiran 2023), of many label draws at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from benchmark.api import Floats, IntArray

COARSE = 2000
"""Points of the grid on [0, 1] that kernels wider than 0.01 are spread over."""

NARROWEST = 1e-3
"""No narrower kernel is tried."""

STEPS = 10
"""Bisections of the kernel's width."""


def smooth_ece(confidence: Floats, correct: Floats) -> Floats:
    """Smooth ECE of many label draws: what depends on the confidences alone is shared.

    Each draw looks, by bisection, for the width of the kernel that equals its own error. Curves
    are convolved by fast Fourier transforms.

    Args:
        confidence: ``(n,)``.
        correct: ``(draws, n)``.
    """
    widths, error = _widths(confidence, correct)
    values = np.empty(len(correct))
    for width in np.unique(widths):
        rows = np.flatnonzero(widths == width)
        values[rows] = error(rows, width)
    return values


def smooth_ece_of_one(confidence: Floats, correct: Floats) -> float:
    """Smooth ECE of the observed labels, to the last digit the value of the library relplot.

    The width is found as in :func:`smooth_ece`; the error there is summed in relplot's order.

    Args:
        confidence: ``(n,)``.
        correct: ``(n,)``.
    """
    widths, _ = _widths(confidence, correct[None])
    return _plain_error(confidence, correct, float(widths[0]))


def _widths(
    confidence: Floats, correct: Floats
) -> tuple[Floats, Callable[[IntArray, float], Floats]]:
    """The width of each draw's kernel, and the function that gives the errors of some draws."""
    draws, n = correct.shape
    # The density of the images comes first, and goes along with every draw.
    spread_out = np.concatenate([np.ones((1, n)), confidence - correct])

    def spectrum(values: Floats, points: int) -> npt.NDArray[np.complex128]:
        """Spread ``(rows, n)`` over a grid on [0, 1] that is mirrored at its ends; transform."""
        cell = np.clip((confidence * (points - 1)).astype(int), 0, points - 2)
        share = confidence * (points - 1) - cell
        ends = np.arange(n + 1)  # one entry an image
        spread = values @ sparse.csr_array((1 - share, cell, ends), (n, points))
        spread += values @ sparse.csr_array((share, cell + 1, ends), (n, points))
        return np.fft.rfft(np.concatenate([spread, spread[:, -2:0:-1]], axis=1))

    coarse_spectrum = spectrum(spread_out, COARSE // 2 + 1)

    def error(chosen: IntArray, width: float) -> Floats:
        """Convolve with a Gaussian, reflected at 0 and 1; interpolate; integrate."""
        points, at = _grid(width)
        rows = np.r_[0, chosen + 1]
        coarse = points == COARSE // 2 + 1
        spectra = coarse_spectrum[rows] if coarse else spectrum(spread_out[rows], points)
        kernel = _kernel(width, points)
        size = 2 * points - 2
        curves = np.fft.irfft(spectra * np.fft.rfft(kernel, size), size)
        cell = np.clip((at * (points - 1)).astype(int), 0, points - 2)
        share = at * (points - 1) - cell
        moved = (cell + points // 2) % size
        smooth = curves[:, moved] * (1 - share) + curves[:, (moved + 1) % size] * share
        return np.asarray(np.abs(smooth[1:]).sum(1) / (smooth[0] + 1e-4).sum())

    settled = error(np.arange(draws), 1.0) > 1.0
    upper, lower = np.ones(draws), np.zeros(draws)
    for _ in range(STEPS):
        middle = (upper + lower) / 2
        for width in np.unique(middle[~settled]):
            rows = np.flatnonzero((middle == width) & ~settled)
            larger = np.full(len(rows), True) if width < NARROWEST else error(rows, width) > width
            lower[rows[larger]] = width
            upper[rows[~larger]] = width
    return upper, error


def _grid(width: float) -> tuple[int, Floats]:
    """Points of the grid for a kernel's width, and where its curve is evaluated."""
    points = max(COARSE, round(20 / width)) // 2 + 1
    return points, np.linspace(0, 1, max(round(10 / width), 200))


def _kernel(width: float, points: int) -> Floats:
    offsets = np.linspace(0, 1, points) - 0.5
    return np.asarray(np.exp(-(offsets**2) / (2 * width**2)) / (np.sqrt(2 * np.pi) * width))


def _plain_error(confidence: Floats, correct: Floats, width: float) -> float:
    """The error with a kernel of this width, by direct convolution."""
    points, at = _grid(width)
    kernel = _kernel(width, points)
    cell = np.clip((confidence * (points - 1)).astype(int), 0, points - 2)
    share = confidence * (points - 1) - cell
    step = 1 / (points - 1)
    before = np.clip((at * (points - 1)).astype(int), 0, points - 2)
    between = (at - before * step) / step
    half = points // 2

    def smooth(values: Floats) -> Floats:
        parts = np.concatenate([(1 - share) * values, share * values])
        spread = np.bincount(np.concatenate([cell, cell + 1]), parts, points)
        # Only the middle third of the mirrored curve is wanted.
        mirrored = np.concatenate([spread[half:0:-1], spread, spread[-2 : -half - 2 : -1]])
        curve = np.convolve(mirrored, kernel, "valid")[:points]
        return np.asarray(curve[before] * (1 - between) + curve[before + 1] * between)

    density = smooth(np.ones(len(confidence))) + 1e-4
    gaps = smooth(confidence - correct) / density
    return float(np.sum(np.abs(gaps) * density) / np.sum(density))
