"""Do intervals cover what they say? Thousands of simulated sets, so that 5 % of width shows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as distributions

from benchmark.api import Floats, Predictions
from benchmark.inference import intervals
from benchmark.measures.bins import equal_width_bins
from benchmark.measures.inversion import noise_floor

ALPHA = 0.05
NARROW = 0.95


def bootstrap(units: np.ndarray) -> intervals.Bootstrap:
    return intervals.Bootstrap.draw(units, np.random.default_rng(0))


def coverage(low: Floats, high: Floats, truth: float, width: float = 1.0) -> float:
    """Share of intervals that hold the truth, if each were that much as wide."""
    middle, half = (low + high) / 2, (high - low) / 2
    return float((np.abs(truth - middle) <= width * half).mean())


def test_intervals_of_means_cover() -> None:
    # Of a skewed loss too, for which the percentile interval falls short.
    generator = np.random.default_rng(2)
    boot = bootstrap(np.arange(150))
    for losses in (generator.normal(1, 1, (150, 3000)), generator.exponential(size=(150, 3000))):
        ends = boot.means(losses, ALPHA)
        assert 0.945 <= coverage(*ends, 1.0) <= 0.958
        assert coverage(*ends, 1.0, NARROW) < 0.945


def test_intervals_of_means_of_groups_cover() -> None:
    generator = np.random.default_rng(2)
    units = np.repeat(np.arange(30), 5)
    shared = generator.normal(size=(30, 2000))[units]
    losses = shared + generator.normal(size=(150, 2000))
    ends = bootstrap(units).means(losses, ALPHA)
    # A little cautious.
    assert 0.952 <= coverage(*ends, 0.0) <= 0.968
    assert coverage(*ends, 0.0, NARROW) < 0.952
    assert coverage(*bootstrap(np.arange(150)).means(losses, ALPHA), 0.0) < 0.8


@pytest.mark.parametrize("images", [60, 350])
def test_wilsons_interval_covers(images: int) -> None:
    """Exactly: over all numbers of right predictions, averaged over accuracies."""
    right = np.arange(images + 1)
    low, high = intervals.wilson(right / images, np.full(images + 1, np.nan), images, np.inf, ALPHA)
    accuracies = np.linspace(0.6, 0.95, 701)
    chance = distributions.binom.pmf(right, images, accuracies[:, None])

    def covered(width: float) -> float:
        middle, half = (low + high) / 2, (high - low) / 2
        inside = np.abs(accuracies[:, None] - middle) <= width * half
        return float((chance * inside).sum(1).mean())

    assert 0.945 <= covered(1.0) <= 0.957
    assert covered(NARROW) < 0.945


def test_intervals_of_differences_of_accuracies_cover() -> None:
    generator = np.random.default_rng(3)
    differences = generator.choice([-1.0, 0.0, 1.0], p=[0.08, 0.8, 0.12], size=(300, 6000))
    boot = bootstrap(np.arange(300))
    *ends, _ = intervals.proportion_difference(
        differences, boot.standard_errors(differences), boot.degrees(differences), ALPHA
    )
    assert 0.945 <= coverage(*ends, 0.04) <= 0.96
    assert coverage(*ends, 0.04, NARROW) < 0.945


def test_the_noise_floor_holds_calibrated_models() -> None:
    """In 97.5 % of sets: its upper end is a one-sided point, and 0 is in the interval below it."""
    generator = np.random.default_rng(4)
    confidence = generator.uniform(0.5, 1.0, 600)
    log_probs = np.log(np.stack([confidence, 1 - confidence], axis=1))
    sample = Predictions(log_probs=log_probs, labels=np.zeros(600, dtype=int))
    bins = sample.once(equal_width_bins)

    def error(hits: Floats) -> Floats:
        return np.asarray(np.abs(hits - bins.expected).sum(1) / bins.images)

    correct = (generator.random((8000, 600)) < confidence).astype(float)
    observed = error(correct @ np.eye(bins.bins)[bins.index])
    high = noise_floor(error(bins.floor), float(observed[0]), ALPHA).high
    assert 0.97 <= (observed <= high).mean() <= 0.98
    assert (observed <= NARROW * high).mean() < 0.97
