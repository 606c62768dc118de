"""Which method is better? Values and differences over other trainings and other test images.

A method's value is the mean over independent trainings of the metric of *one* trained network:
never that of pooled predictions, in which over- and under-confident networks cancel. Calibration
errors enter without what noise adds to each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmark.api import Floats, Metric
from benchmark.inference.intervals import t_quantile
from benchmark.inference.moderated import MIN_REPLICATES, Moderated, moderated, own_errors
from benchmark.plan.folds import CALIBRATION_SHARE
from benchmark.statistics.apart import Apart
from benchmark.statistics.blocks import Block
from benchmark.statistics.networks import Estimates

SHARED_TRAINING = 0.5
"""How much of Nadeau and Bengio's correction paired differences of folds need (measured)."""

BIAS = 0.15
"""What taking the noise off a calibration error may be off by, in means of its noise floor: with it
the intervals of differences cover (measured)."""


@dataclass(frozen=True, eq=False)
class OverTrainings:
    """One metric of all methods of a block, over trainings and test images.

    Attributes:
        value: ``(methods,)`` means over replicates; of calibration errors that are next to none
            they may lie a little below 0, where noise was taken off.
        low: ``(methods,)`` lower ends; NaN where a value is not finite.
        high: ``(methods,)``.
        compared: the differences.
    """

    value: Floats
    low: Floats
    high: Floats
    compared: Moderated


def over_trainings(
    block: Block, metric: Metric, networks: Estimates, apart: Apart, alpha: float
) -> OverTrainings | None:
    """Values and differences of the methods; None with too few replicates.

    Args:
        block: the methods.
        metric: which measure.
        networks: the same given the trained networks: what drawing test images alone makes.
        apart: the numbers of the methods.
        alpha: one minus the coverage.
    """
    if block.independent < MIN_REPLICATES:
        return None
    values = independent(block, apart.denoised.get(metric.name, apart.replicates[metric.name]))
    same_images = block.folds == 1
    single, paired = variance_factors(block)
    mean = values.mean(1)
    bias = np.zeros(len(mean))
    if metric.name in apart.denoised:
        bias = BIAS * np.nan_to_num(apart.floors[metric.name][:, 1])
    error = own_errors(values, single, networks.error**2, same_images=same_images, bias=bias)
    half = t_quantile(alpha, block.independent - 1) * error
    possible = np.clip(mean, *metric.range)
    low, high = np.clip([mean - half, possible + half], *metric.range)
    images = networks.pair_error**2
    compared = moderated(values, paired, images, same_images=same_images, bias=bias)
    if same_images and block.groups is not None:
        # What few groups tell of other images is less certain than what trainings scatter by.
        degrees = np.minimum(compared.degrees, networks.degrees)
        compared = replace(compared, degrees=degrees)
    return OverTrainings(mean, low, high, compared)


def independent(block: Block, values: Floats) -> Floats:
    """The values of independent replicates: folds, seeds averaged; of one test part its seeds.

    Args:
        block: whose.
        values: ``(methods, seeds, folds)``.
    """
    return values.mean(1) if block.folds > 1 else values[:, :, 0]


def variance_factors(block: Block) -> tuple[float, float]:
    """Variance of a mean over that of one replicate: of values, and of paired differences.

    Folds share training images, so that their values rise and fall together unseen. Nadeau and
    Bengio (2003) add ``n_test / n_train`` for that (what calibrates does not train). Differences
    of methods that train on the same images need less of it.
    """
    number = block.independent
    if not block.key.folds.endswith(" folds"):
        return 1 / number, 1 / number
    shared = 1 / ((number - 1) * (1 - CALIBRATION_SHARE))
    return 1 / number + shared, 1 / number + SHARED_TRAINING * shared
