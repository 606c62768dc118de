"""Intervals: bootstrap over images or groups, Wilson's, and over trainings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from benchmark.api import Floats, IntArray
from benchmark.measures.bins import Groups

RESAMPLES = 2000
"""Bootstrap resamples of what is a mean over images."""

SLOW_RESAMPLES = 200
"""Bootstrap resamples of what has to be computed anew for each."""


def t_quantile(alpha: float, degrees: Floats | float) -> Floats:
    """The two-sided ``1 - alpha`` quantile of Student's t: of the normal for infinite degrees."""
    return np.asarray(special.stdtrit(degrees, 1 - alpha / 2))


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """One set of resamples of a block's images, shared by all methods and seeds.

    Attributes:
        weights: ``(resamples, units)`` how often each image, or group of images, was drawn.
        units: ``(images,)`` the unit of each image.
        sizes: ``(units,)`` images in each.
    """

    weights: Floats
    units: IntArray
    sizes: Floats

    @classmethod
    def draw(cls, units: IntArray, generator: np.random.Generator) -> Bootstrap:
        """Draw the resamples.

        Args:
            units: ``(images,)`` codes 0, 1, ... of what is resampled together.
            generator: the source of randomness.
        """
        sizes = np.bincount(units).astype(np.float64)
        number = len(sizes)
        weights = np.empty((RESAMPLES, number))
        for row, drawn in zip(weights, generator.integers(0, number, (RESAMPLES, number))):
            row[:] = np.bincount(drawn, minlength=number)
        return cls(weights, units, sizes)

    @cached_property
    def by_unit(self) -> Floats:
        """The weights as ``(units, resamples)``, laid out for products with sparse matrices."""
        return np.ascontiguousarray(self.weights.T)

    @cached_property
    def images(self) -> Floats:
        """Images in each resample."""
        return np.asarray(self.weights @ self.sizes)

    @cached_property
    def groups(self) -> Groups:
        """The units, as groups of images."""
        return Groups(self.units)

    @cached_property
    def grouped(self) -> bool:
        """Whether some unit holds several images."""
        return len(self.sizes) < len(self.units)

    def degrees(self, values: Floats) -> Floats:
        """Degrees of freedom of the standard errors of ``(images, columns)``."""
        if self.grouped:
            return self.groups.degrees(values)
        return np.full(values.shape[1], len(values) - 1.0)

    def of_images(self, resamples: int) -> Floats:
        """Weights of the images in the first resamples, ``(resamples, images)``."""
        return self.weights[:resamples][:, self.units]

    def sums(self, values: Floats) -> Floats:
        """Sums over each unit of ``(images, columns)``: ``(units, columns)``."""
        return self.groups.sums(values) if self.grouped else values

    def standard_errors(self, values: Floats) -> Floats:
        """Standard error of the mean of each column, from the variance between units."""
        residuals = self.groups.residuals(self.sums(values))
        error: Floats = np.sqrt((residuals**2).sum(0)) / len(values)
        return error

    def means(self, values: Floats, alpha: float, *, paired: bool = False) -> tuple[Floats, Floats]:
        """Intervals for the means of the columns: bootstrap-t, over units.

        Each resample's deviation is measured in its own standard errors. For skewed losses of
        few errors, and for few groups, this holds its coverage where the percentile interval
        falls to 86-90 %. A resample has at least half the standard error that one drawing of the
        most unusual unit makes: without a single error it would otherwise seem to be certain.

        Args:
            values: ``(images, columns)``.
            alpha: one minus the coverage.
            paired: whether the columns are differences between two methods.
        """
        totals = self.sums(values)
        sizes, n, number = self.sizes, self.sizes.sum(), len(self.sizes)
        mean = values.mean(0)
        totals = totals - sizes[:, None] * mean
        columns = [totals, totals**2]
        if self.grouped:
            columns.append(totals * sizes[:, None])
        products = self.weights @ np.concatenate(columns, axis=1)
        first, second, *sized = np.split(products, len(columns), axis=1)
        mixed = sized[0] if sized else first
        drawn, drawn_squares = self.images, self.weights @ sizes**2
        deviation = first / drawn[:, None]
        # Sum over units of w (total - size * mean*)^2, expanded into products of matrices.
        squares = second - 2 * deviation * mixed + deviation**2 * drawn_squares[:, None]
        scale = number / max(number - 1, 1)
        error = np.sqrt(scale * np.maximum(squares, 0)) / drawn[:, None]
        least_error = np.abs(totals).max(0) / n / 2 + 1e-300
        ratio = deviation / np.maximum(error, least_error)
        high, low = np.quantile(ratio, [1 - alpha / 2, alpha / 2], axis=0)
        if self.grouped or paired:
            # The tails of few groups, and of differences that are mostly 0, come out too short.
            least = t_quantile(alpha, self.degrees(values))
            high, low = np.maximum(high, least), np.minimum(low, -least)
        observed = self.standard_errors(values)
        return mean - high * observed, mean - low * observed


def wilson(
    share: Floats | float,
    error: Floats | float,
    images: Floats | float,
    degrees: Floats | float,
    alpha: float,
) -> tuple[Floats, Floats]:
    """Wilson's interval for proportions, with the effective number of images.

    Args:
        share: of the images, such as an accuracy; of any shape, as are the others.
        error: its standard error between groups; sets the effective number of images, at most
            ``images``. NaN where images are independent, 0 where nothing varies.
        images: how many there are; groups, where all images of groups are right or all wrong.
        degrees: degrees of freedom of that standard error; infinite for independent images.
        alpha: one minus the coverage.
    """
    share, error = np.asarray(share), np.asarray(error)
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.where(error > 0, np.minimum(images, share * (1 - share) / error**2), images)
    z = t_quantile(alpha, degrees)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def proportion_difference(
    values: Floats, error: Floats, degrees: Floats, alpha: float
) -> tuple[Floats, Floats, Floats]:
    """Interval for differences of proportions: Bonett and Price's (2012), with groups.

    One more image on which only the first is right, and one on which only the second is, keep
    the variance positive where hardly any image tells two methods apart.

    Args:
        values: ``(images, columns)`` differences in correctness.
        error: ``(columns,)`` standard errors of their means.
        degrees: degrees of freedom of these.
        alpha: one minus the coverage.

    Returns:
        Lower ends, upper ends, and the standard errors with these two images.
    """
    n = len(values)
    error = np.asarray(np.sqrt((n * error) ** 2 + 2) / (n + 2))
    centre = values.sum(0) / (n + 2)
    half = t_quantile(alpha, degrees) * error
    return centre - half, centre + half, error
