"""The true calibration error of one trained model, its noise taken off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from benchmark.api import Predictions
from benchmark.measures.declared import metrics
from benchmark.measures.kinds import Binned, CalibrationMeasure, without_noise

MEASURES = [m for m in metrics().values() if isinstance(m, CalibrationMeasure)]


def sample(seed: int, n: int, gap: float = 0.0, groups: int = 0) -> Predictions:
    """Two classes; the model promises ``gap`` more than the truth, whatever the image."""
    generator = np.random.default_rng(seed)
    truth = generator.uniform(0.55, 0.95, n) if not gap else generator.uniform(0.55, 0.75, n)
    probs = np.column_stack([truth + gap, 1 - truth - gap])
    labels = (generator.random(n) >= truth).astype(np.intp)
    names = np.char.mod("%03d", generator.integers(groups, size=n)) if groups else None
    return Predictions(log_probs=np.log(probs), labels=labels, groups=names)


def calibration(name: str) -> CalibrationMeasure:
    metric = metrics()[name]
    assert isinstance(metric, CalibrationMeasure)
    return metric


def mean(name: str, replicates: int, n: int, gap: float, groups: int = 0) -> tuple[float, float]:
    """Of the estimates and of the plain values of so many independent test sets."""
    metric = calibration(name)
    samples = [sample(seed, n, gap, groups) for seed in range(replicates)]
    estimates = [metric.denoised(p) for p in samples]
    return float(np.mean(estimates)), float(np.mean([metric.observed(p) for p in samples]))


@pytest.mark.parametrize("name", ["ece", "ece_equal_mass", "rms_debiased", "underconfidence"])
@pytest.mark.parametrize("groups", [0, 40])
def test_perfectly_calibrated_models_have_no_error_on_average(name: str, groups: int) -> None:
    estimate, plain = mean(name, 40, 1000, 0.0, groups)
    assert abs(estimate) < 0.01
    assert abs(estimate) < 0.6 * plain


@pytest.mark.parametrize("name", ["ece_sweep", "ece_classwise", "ece_smooth"])
def test_so_it_is_where_labels_are_drawn_anew(name: str) -> None:
    estimate, plain = mean(name, 20, 500, 0.0)
    assert abs(estimate) < 0.01
    assert estimate < plain / 2


@pytest.mark.parametrize(
    "name",
    ["ece", "ece_equal_mass", "rms_debiased", "ece_classwise", "overconfidence", "ece_smooth"],
)
def test_a_large_gap_is_found_as_it_is(name: str) -> None:
    estimate, _ = mean(name, 20, 500, 0.2)
    assert estimate == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("gap", [0.02, 0.04])
def test_a_gap_of_the_floors_size_is_nearer_than_the_plain_value(gap: float) -> None:
    estimate, plain = mean("ece", 60, 1000, gap)
    assert estimate == pytest.approx(gap, abs=0.005)
    assert plain > gap + 0.006


def test_what_has_its_floor_removed_already_keeps_its_value() -> None:
    removed = [m for m in MEASURES if isinstance(m, Binned) and m.floor_removed]
    assert removed
    for metric in removed:
        assert metric.denoised(sample(0, 200)) == metric.value(sample(0, 200))


def test_an_undefined_error_stays_undefined() -> None:
    few = sample(0, 12)  # no class has ten images
    assert (
        np.isnan(calibration("ece_classwise").denoised(few)) or np.bincount(few.labels).max() >= 10
    )
    assert np.isnan(without_noise(float("nan"), np.full(100, np.nan)))


@pytest.mark.parametrize("metric", MEASURES, ids=lambda m: m.name)
def test_the_same_predictions_give_the_same_estimate(metric: CalibrationMeasure) -> None:
    assert metric.denoised(sample(3, 150)) == metric.denoised(sample(3, 150))


floors = st.lists(st.floats(0.001, 0.2), min_size=2, max_size=50).map(np.array)


@given(floors, st.floats(0, 1), st.floats(0, 1))
@settings(derandomize=True, deadline=None)
def test_it_rises_with_the_observed_error(floor: np.ndarray, one: float, other: float) -> None:
    low, high = sorted([one, other])
    assert without_noise(low, floor) <= without_noise(high, floor) + 1e-12


@given(floors, st.floats(0, 1))
@settings(derandomize=True, deadline=None)
def test_noise_never_hides_more_than_was_observed(floor: np.ndarray, observed: float) -> None:
    estimate = without_noise(observed, floor)
    assert estimate <= observed + np.sqrt((floor**2).std())


@given(floors, st.floats(0, 1), st.floats(0.01, 100))
@settings(derandomize=True, deadline=None)
def test_it_does_not_depend_on_the_unit(floor: np.ndarray, observed: float, unit: float) -> None:
    if floor.std() < 1e-6:
        return
    expected = unit * without_noise(observed, floor)
    assert without_noise(unit * observed, unit * floor) == pytest.approx(expected, abs=1e-9 * unit)
