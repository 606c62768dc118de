"""The true calibration error of one trained model, its noise taken off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.api import Floats, Predictions
from benchmark.measures.bins import Bins, equal_width_bins
from benchmark.measures.declared import metrics
from benchmark.measures.denoise import noise_beside_a_shift, without_noise
from benchmark.measures.inversion import noise_floor
from benchmark.measures.kinds import Binned, CalibrationMeasure

MEASURES = {m.name: m for m in metrics().values() if isinstance(m, CalibrationMeasure)}


def sample(seed: int, n: int, gap: float = 0.0, groups: int = 0) -> Predictions:
    """Two classes; the model promises ``gap`` too much, whatever the image.

    Groups differ in accuracy by 0.1 up or down, which evens out over groups.
    """
    generator = np.random.default_rng(seed)
    truth = generator.uniform(0.6, 0.9 - gap, n)
    names, effect = None, np.zeros(n)
    if groups:
        of = generator.integers(groups, size=n)
        names, effect = np.char.mod("%03d", of), generator.choice([-0.1, 0.1], groups)[of]
    probs = np.column_stack([truth + gap, 1 - truth - gap])
    labels = (generator.random(n) >= truth + effect).astype(np.intp)
    return Predictions(log_probs=np.log(probs), labels=labels, groups=names)


def means(name: str, replicates: int, n: int, gap: float, groups: int = 0) -> tuple[float, float]:
    """Of the estimates and of the plain values of so many test sets."""
    samples = [sample(seed, n, gap, groups) for seed in range(replicates)]
    metric = MEASURES[name]
    estimates = [metric.denoised(p) for p in samples]
    return float(np.mean(estimates)), float(np.mean([metric.observed(p) for p in samples]))


@pytest.mark.parametrize("name", ["ece", "ece_equal_mass", "rms_debiased", "underconfidence"])
def test_calibrated_models_have_next_to_no_error_on_average(name: str) -> None:
    estimate, plain = means(name, 60, 1000, 0.0)
    assert abs(estimate) < 0.008 < plain


def test_so_it_is_where_labels_are_drawn_anew() -> None:
    estimate, plain = means("ece_classwise", 20, 500, 0.0)
    assert abs(estimate) < 0.01 < plain


@pytest.mark.parametrize("name", ["ece_sweep", "ece_smooth", "mce"])
def test_what_noise_hardly_inflates_is_left_alone(name: str) -> None:
    estimate, plain = means(name, 3, 500, 0.0)
    assert estimate == plain


@pytest.mark.parametrize("groups", [12, 40])
def test_groups_are_noise_too(groups: int) -> None:
    estimate, plain = means("ece", 60, 1000, 0.0, groups)
    assert abs(estimate) < 0.008
    assert plain > 0.02


def test_few_groups_are_not_taken_for_more_noise_than_they_show() -> None:
    estimate, _ = means("ece", 60, 1000, 0.08, 8)  # what widens intervals would make it 0.05
    assert estimate == pytest.approx(0.08, abs=0.027)


@pytest.mark.parametrize(
    "name",
    ["ece", "ece_equal_mass", "rms_debiased", "ece_classwise", "overconfidence", "ece_smooth"],
)
def test_a_large_gap_is_found_as_it_is(name: str) -> None:
    estimate, _ = means(name, 20, 500, 0.2)
    assert estimate == pytest.approx(0.2, abs=0.01)


def test_no_noise_is_taken_off_where_a_gap_leaves_none() -> None:
    estimate, plain = means("underconfidence", 20, 1000, 0.2)
    assert plain < 0.001
    assert abs(estimate) < 0.002


@pytest.mark.parametrize("gap", [0.02, 0.04])
def test_a_gap_of_the_floors_size_is_met_where_the_plain_value_is_too_large(gap: float) -> None:
    estimate, plain = means("ece", 60, 1000, gap)
    assert estimate == pytest.approx(gap, abs=0.006)
    assert plain > gap + 0.004


def test_gaps_of_one_sign_leave_noise_less_room() -> None:
    def absolute(hits: Floats, bins: Bins) -> Floats:
        values: Floats = np.abs(hits - bins.expected).sum(1) / bins.images
        return values

    def share(gap: float) -> float:
        """Noise beside the shift over that of the floor, on average."""
        bins = [equal_width_bins(sample(seed, 1000, gap)) for seed in range(8)]
        floor = [(absolute(b.floor, b) ** 2).mean() for b in bins]
        return float(np.mean([noise_beside_a_shift(b, absolute) for b in bins]) / np.mean(floor))

    assert share(0.0) > 0.8
    assert share(0.1) < 0.6


def test_what_has_its_floor_removed_already_keeps_its_value() -> None:
    removed = [m for m in MEASURES.values() if isinstance(m, Binned) and m.floor_removed]
    assert removed
    for metric in removed:
        assert metric.denoised(sample(0, 200)) == metric.value(sample(0, 200))


def test_an_undefined_error_stays_undefined() -> None:
    few = sample(0, 8)  # no class has ten images
    assert np.isnan(MEASURES["ece_classwise"].denoised(few))


@pytest.mark.parametrize("name", MEASURES)
def test_the_same_predictions_give_the_same_estimate(name: str) -> None:
    assert MEASURES[name].denoised(sample(3, 150)) == MEASURES[name].denoised(sample(3, 150))


@pytest.mark.parametrize("name", MEASURES)
def test_the_floor_of_one_model_says_whether_it_is_inside(name: str) -> None:
    metric = MEASURES[name]

    def inside(p: Predictions) -> bool:
        observed = metric.observed(p)
        return observed <= noise_floor(metric.floor(p), observed).high

    assert sum(inside(sample(seed, 200)) for seed in range(10)) >= 7
    if name not in ("underconfidence", "mce"):
        assert sum(inside(sample(seed, 200, 0.25)) for seed in range(10)) <= 1


floors = st.lists(st.floats(0.001, 0.2), min_size=2, max_size=50).map(np.array)
errors = st.floats(0, 1)
check = settings(derandomize=True, deadline=None)


@check
@given(floors, errors, errors)
def test_it_rises_with_the_observed_error(floor: Floats, one: float, other: float) -> None:
    low, high = sorted([one, other])
    assert without_noise(low, floor) <= without_noise(high, floor) + 1e-12


@check
@given(floors, errors)
def test_far_above_the_floor_squares_are_subtracted(floor: Floats, above: float) -> None:
    observed = 0.6 + above
    root = np.sqrt(observed**2 - (floor**2).mean())
    assert without_noise(observed, floor) == pytest.approx(root)


@check
@given(floors, errors, st.floats(0.01, 100))
def test_it_does_not_depend_on_the_unit(floor: Floats, observed: float, unit: float) -> None:
    floor[0] += 0.01  # some noise
    expected = unit * without_noise(observed, floor)
    assert without_noise(unit * observed, unit * floor) == pytest.approx(expected, rel=1e-6)


def test_where_there_is_no_noise_nothing_is_taken_off() -> None:
    assert without_noise(0.1, np.zeros(100)) == 0.1
