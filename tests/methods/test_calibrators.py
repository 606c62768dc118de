"""Post-hoc calibrators: known answers, hard cases, and what must hold for every one of them."""

from __future__ import annotations

import inspect
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from benchmark.api import (
    Calibrator,
    FloatArray,
    InputError,
    IntArray,
    calibrate,
    finite_logits,
    one_vs_rest,
)
from benchmark.methods import beta, histogram, isotonic, temperature_scaling, vector

MODULES = (temperature_scaling, vector, isotonic, histogram, beta)
CALIBRATORS: list[Calibrator] = [one for module in MODULES for one in module.CALIBRATORS]
TEMPERATURE = temperature_scaling.CALIBRATORS[0]

every_calibrator = pytest.mark.parametrize("calibrator", CALIBRATORS, ids=lambda one: one.name)
thorough = settings(max_examples=25, deadline=None, derandomize=True)


def nll(log_probs: FloatArray, labels: IntArray) -> float:
    return float(-log_probs[np.arange(len(labels)), labels].mean())


def ece(log_probs: FloatArray, labels: IntArray, bins: int = 15) -> float:
    """Top-label, equal-width, right-closed bins."""
    confidence = np.exp(log_probs).max(1)
    gap = (log_probs.argmax(1) == labels) - confidence
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(bin_of, gap, bins)).sum() / len(labels))


def simulate(
    n: int, classes: int, temperature: float = 2.0, seed: int = 0, scale: float = 4.0
) -> tuple[FloatArray, IntArray]:
    """Predictions, and labels that follow them at the given temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * scale
    labels = np.array(
        [rng.choice(classes, p=np.exp(row)) for row in log_softmax(logits / temperature, 1)]
    )
    return log_softmax(logits, 1), labels


def best_nll(log_probs: FloatArray, labels: IntArray) -> float:
    """The least NLL that a fine search over temperatures from 0.01 to 10,000 finds."""
    logits = np.maximum(log_probs.astype(float), math.log(5e-324))

    def search(logs: FloatArray) -> tuple[float, float]:
        found = [(nll(log_softmax(logits / math.exp(log), 1), labels), log) for log in logs]
        return min(found)

    low, high = math.log(0.01), math.log(10_000)
    width = (high - low) / 1000
    _, coarse = search(np.linspace(low, high, 1001))
    fine = np.linspace(max(low, coarse - width), min(high, coarse + width), 1001)
    return search(fine)[0]


# --- known answers -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet110(shared_data: Path) -> tuple[FloatArray, IntArray, FloatArray, IntArray]:
    """ResNet-110 on CIFAR-10: calibration and test log-probabilities with labels."""
    file = shared_data / "logits" / "cifar10_resnet110_nncal.npz"
    with np.load(file, allow_pickle=False) as data:
        return (
            log_softmax(data["val_logits"].astype(float), 1),
            data["val_labels"].ravel(),
            log_softmax(data["test_logits"].astype(float), 1),
            data["test_labels"].ravel(),
        )


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_temperature_scaling_of_resnet110_is_as_published(resnet110, precision):
    calibration, calibration_labels, test, labels = resnet110
    assert nll(test, labels) == pytest.approx(0.358274, abs=1e-6)
    assert ece(test, labels) == pytest.approx(0.047504, abs=1e-6)
    calibrated = TEMPERATURE.fit(calibration.astype(precision), calibration_labels)(test)
    assert nll(calibrated, labels) == pytest.approx(0.209261, abs=1e-6)
    assert ece(calibrated, labels) == pytest.approx(0.011321, abs=1e-6)


@every_calibrator
def test_every_calibrator_helps_resnet110(resnet110, calibrator):
    calibration, calibration_labels, test, labels = resnet110
    calibrated = calibrator.fit(calibration, calibration_labels)(test)
    assert ece(calibrated, labels) < 0.4 * ece(test, labels)
    # Equal-width bins lump the many probabilities near 0 and 1 together.
    if calibrator.name != "histogram":
        assert nll(calibrated, labels) < 0.65 * nll(test, labels)


def test_temperature_by_hand():
    # Two classes, logit 2 for the first, right in three of four images: the optimum has
    # sigmoid(2 / T) = 3 / 4, that is T = 2 / log 3.
    log_probs = log_softmax(np.array([[2.0, 0.0]] * 4), 1)
    calibrated = TEMPERATURE.fit(log_probs, np.array([0, 0, 0, 1]))(log_probs)
    np.testing.assert_allclose(np.exp(calibrated[0]), [0.75, 0.25], rtol=1e-9)


def test_histogram_by_hand():
    # Bins at 1/2 and two classes. Class 1 has shares 1/3 (of 0.1, 0.2, 0.3) and 1/2 (of 0.6,
    # 0.9); with one pseudo-image, 1/2 for each class, at n = 5: (5 q + 1/2) / 6.
    positive = np.array([0.1, 0.2, 0.3, 0.6, 0.9])
    log_probs = np.log(np.stack([1 - positive, positive], 1))
    labels = np.array([0, 1, 0, 0, 1])
    calibrated = histogram.Histogram(name="", summary="", paper="", bins=2).fit(log_probs, labels)
    low, high = (5 / 3 + 1 / 2) / 6, (5 / 2 + 1 / 2) / 6
    np.testing.assert_allclose(
        np.exp(calibrated(log_probs)[:, 1]), [low, low, low, high, high], rtol=1e-9
    )


def test_isotonic_by_hand():
    # Sorted by probability the labels are 0 1 0 1 1: the middle two violate the order and share
    # their mean, 1/2; then one pseudo-image.
    positive = np.array([0.1, 0.2, 0.3, 0.6, 0.9])
    log_probs = np.log(np.stack([1 - positive, positive], 1))
    calibrated = isotonic.CALIBRATORS[0].fit(log_probs, np.array([0, 1, 0, 1, 1]))(log_probs)
    expected = (5 * np.array([0, 0.5, 0.5, 1, 1]) + 0.5) / 6
    np.testing.assert_allclose(np.exp(calibrated[:, 1]), expected, rtol=1e-9)


def test_one_vs_rest_normalises_and_adds_one_pseudo_image():
    # A map that halves: shares 0.3, 0.1, 0.1, of which n = 2 and one third each.
    log_probs = np.log([[0.6, 0.2, 0.2]] * 2)
    calibrate = one_vs_rest(log_probs, np.array([0, 1]), lambda probs, member: lambda new: new / 2)
    # Class 2 has no image: its share is 0, whatever is predicted.
    smoothed = 2 * np.array([0.3, 0.1, 0.0]) + 1 / 3
    np.testing.assert_allclose(np.exp(calibrate(log_probs)[0]), smoothed / smoothed.sum())


def test_beta_recovers_the_curve_that_made_the_labels():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.01, 0.99, 20_000)
    truth = 1 / (1 + np.exp(-(0.7 * np.log(p) - 1.4 * np.log(1 - p) + 0.3)))
    labels = (rng.random(len(p)) < truth).astype(int)
    log_probs = np.log(np.stack([1 - p, p], 1))
    calibrated = np.exp(beta.CALIBRATORS[0].fit(log_probs, labels)(log_probs)[:, 1])
    np.testing.assert_allclose(calibrated, truth, atol=0.02)


def test_vector_scaling_by_hand():
    # One image, probabilities 1/2 and 1/2, of class 0. Setting the gradient of NLL plus prior to
    # zero gives offsets e and -e, factors 1 - e log 2 and 1 + e log 2, where e = 1 - p.
    log_probs = np.log([[0.5, 0.5]])
    p = math.exp(vector.CALIBRATORS[0].fit(log_probs, np.array([0]))(log_probs)[0, 0])
    assert math.log(p / (1 - p)) == pytest.approx(2 * (1 - p) * (1 + math.log(2) ** 2), abs=1e-4)


def test_vector_scaling_reaches_its_optimum():
    log_probs, labels = simulate(2000, 3, temperature=2.5)
    log_probs[:, 0] -= 1.0  # class 0 is predicted too rarely
    log_probs = log_softmax(log_probs, 1)
    fitted = nll(vector.CALIBRATORS[0].fit(log_probs, labels)(log_probs), labels)
    true_map = log_softmax((log_probs + np.array([1.0, 0, 0])) / 2.5, 1)
    assert fitted < nll(true_map, labels)
    assert fitted < nll(TEMPERATURE.fit(log_probs, labels)(log_probs), labels) - 0.005
    # No small change of what it returns, by a factor or an offset of any class, is better.
    calibrated = vector.CALIBRATORS[0].fit(log_probs, labels)(log_probs)
    for index in range(3):
        for factor, offset in [(1.01, 0), (0.99, 0), (1, 0.02), (1, -0.02)]:
            changed = calibrated.copy()
            changed[:, index] = changed[:, index] * factor + offset
            assert nll(log_softmax(changed, 1), labels) > fitted - 1e-4


# --- hard cases ----------------------------------------------------------------------------------


def one_hot_case(classes: int, right: float) -> tuple[FloatArray, IntArray]:
    """Predictions of exactly zero and one, of which a share is right."""
    rng = np.random.default_rng(1)
    predicted = rng.integers(classes, size=300)
    other = (predicted + rng.integers(1, classes, size=300)) % classes
    labels = np.where(rng.random(300) < right, predicted, other)
    with np.errstate(divide="ignore"):
        return np.log(np.eye(classes)[predicted]), labels


def hard_cases() -> dict[str, tuple[FloatArray, IntArray]]:
    separable, _ = simulate(200, 4)
    absent, labels = simulate(300, 5)
    kept = labels != 2
    rounded, rounded_labels = simulate(300, 4, scale=60)
    with np.errstate(divide="ignore"):
        rounded = np.log(np.exp(rounded).astype(np.float32))  # zeros and ones by rounding
    return {
        "overconfident": simulate(500, 5),
        "underconfident": simulate(500, 5, temperature=0.2, scale=1),
        "separable": (separable, separable.argmax(1)),
        "always wrong": (separable, separable.argmin(1)),
        "one-hot": one_hot_case(4, right=0.7),
        "one-hot, two classes": one_hot_case(2, right=0.6),
        "one-hot, all right": one_hot_case(3, right=1.0),
        "rounded to zero": (rounded, rounded_labels),
        "class absent": (absent[kept], labels[kept]),
        "one class only": (absent, np.full(len(absent), 3)),
        "two classes": simulate(300, 2),
        "five images": simulate(5, 4),
        "one image": simulate(1, 3),
        "uniform": (np.full((50, 4), -math.log(4)), np.arange(50) % 4),
        "five images of 1000 classes": simulate(5, 1000),
        "a thousand classes": simulate(400, 1000),
    }


HARD = hard_cases()
hard_case = pytest.mark.parametrize("case", HARD)


@hard_case
def test_temperature_reaches_the_nll_optimum(case):
    log_probs, labels = HARD[case]
    if log_probs.shape == (400, 1000):
        log_probs, labels = log_probs[:60], labels[:60]  # for the search's sake
    fit = TEMPERATURE.fit(log_probs, labels)
    fitted = nll(fit(log_probs), labels)
    if any("too few errors" in note for note in fit.notes):
        assert (log_probs.argmax(1) != labels).sum() < 2
        assert fitted <= nll(log_probs, labels)
    else:
        assert fitted <= best_nll(log_probs, labels) + 1e-9


def test_equal_logits_keep_the_temperature_at_one():
    fit = TEMPERATURE.fit(np.full((50, 4), -math.log(4)), np.arange(50) % 3)
    assert fit.parameters == {"temperature": 1.0}
    assert "every temperature gives the same" in fit.notes[0]


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 1e3, 1e5])
def test_the_size_of_the_logits_does_not_matter_to_temperature_scaling(scale):
    log_probs, labels = simulate(400, 5)
    plain = TEMPERATURE.fit(log_probs, labels)
    scaled = log_softmax(scale * log_probs, 1)
    fit = TEMPERATURE.fit(scaled, labels)
    np.testing.assert_allclose(fit(scaled), plain(log_probs), rtol=1e-7, atol=1e-9)
    ratio = fit.parameters["temperature"] / plain.parameters["temperature"]
    assert ratio == pytest.approx(scale, rel=1e-7)
    assert fit.notes == ()


def test_a_bound_that_is_hit_is_said():
    log_probs, _ = simulate(400, 4)
    fit = TEMPERATURE.fit(log_probs, log_probs.argmin(1))  # always wrong: best is to say nothing
    assert "ends at its bound" in fit.notes[0]
    np.testing.assert_allclose(fit(log_probs), -math.log(4), atol=1e-6)


@pytest.mark.parametrize("n", [5, 10, 20, 50])
@pytest.mark.parametrize("wrong", [0, 1])
def test_a_calibration_part_with_few_errors_does_no_great_harm(n, wrong):
    """Whatever the few images are: a test NLL is at most doubled, and it is said."""
    said = 0
    for seed in range(12):
        log_probs, labels = simulate(4000, 4, 1.0, seed, 5.0)
        right = np.flatnonzero(log_probs.argmax(1) == labels)[: n - wrong]
        close = np.flatnonzero(log_probs.argmax(1) != labels)
        margin = np.sort(log_probs[close], 1)[:, -1] - log_probs[close, labels[close]]
        part = np.concatenate([right, close[np.argsort(margin)[:wrong]]])
        fit = TEMPERATURE.fit(log_probs[part], labels[part])
        test = np.setdiff1d(np.arange(len(labels)), part)
        assert nll(fit(log_probs[test]), labels[test]) <= 2.5 * nll(log_probs[test], labels[test])
        said += any("too few errors" in note for note in fit.notes)
    assert said >= 8


def test_finite_logits_are_never_cut():
    log_probs = log_softmax(np.array([[3000.0, 0.0, -5000.0], [0.0, 1.0, 2.0]]), 1)
    np.testing.assert_array_equal(finite_logits(log_probs), log_probs)
    log_probs[0, 1] = -np.inf
    assert finite_logits(log_probs)[0].tolist() == [0.0, -8000.0, -8000.0]
    assert finite_logits(np.array([[0.0, -np.inf]]))[0, 1] == np.log(5e-324)


@hard_case
@every_calibrator
def test_hard_cases_give_finite_normalised_predictions_in_silence(calibrator, case, capsys):
    log_probs, labels = HARD[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrate = calibrator.fit(log_probs, labels)
        calibrated = calibrate(log_probs)
        unseen = calibrate(simulate(40, log_probs.shape[1], seed=9)[0])
    for result in (calibrated, unseen):
        assert np.isfinite(result).all()
        np.testing.assert_allclose(np.exp(result).sum(1), 1, atol=1e-9)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("case", ["one-hot", "rounded to zero", "overconfident", "class absent"])
def test_vector_scaling_does_at_least_what_one_temperature_does(case):
    log_probs, labels = HARD[case]
    fitted = nll(vector.CALIBRATORS[0].fit(log_probs, labels)(log_probs), labels)
    prior = log_probs.shape[1] / 2 / len(labels)  # of shrinking every factor to zero
    assert fitted < nll(TEMPERATURE.fit(log_probs, labels)(log_probs), labels) + prior


@pytest.mark.parametrize("calibrator", [isotonic, histogram, beta])
def test_no_probability_is_below_its_part_of_the_pseudo_image(calibrator):
    log_probs, labels = HARD["class absent"]
    calibrated = np.exp(calibrator.CALIBRATORS[0].fit(log_probs, labels)(log_probs))
    n, classes = log_probs.shape
    # Rows sum to at most `classes` before they are normalised.
    assert calibrated.min() >= 1 / classes / (classes * n + 1)
    assert calibrated[:, 2].max() < 0.05  # no calibration image is of class 2


# --- what holds for every calibrator ----------------------------------------------------------


@every_calibrator
def test_the_signature_admits_no_test_label(calibrator):
    assert list(inspect.signature(calibrator.fit).parameters) == ["log_probs", "labels"]
    calibrate = calibrator.fit(*simulate(50, 3))
    assert len(inspect.signature(calibrate).parameters) == 1


@every_calibrator
def test_each_prediction_is_mapped_by_itself(calibrator):
    """What a test image gets depends on no other test image."""
    calibrate = calibrator.fit(*simulate(200, 4))
    test, _ = simulate(30, 4, seed=5)
    together = calibrate(test)
    np.testing.assert_allclose(calibrate(test[::-1])[::-1], together, rtol=1e-12)
    np.testing.assert_allclose(calibrate(test[:1]), together[:1], rtol=1e-12)


@every_calibrator
def test_the_order_of_the_calibration_images_does_not_matter(calibrator):
    log_probs, labels = simulate(200, 4)
    order = np.random.default_rng(3).permutation(200)
    test, _ = simulate(30, 4, seed=5)
    one = calibrator.fit(log_probs, labels)(test)
    np.testing.assert_allclose(
        calibrator.fit(log_probs[order], labels[order])(test), one, atol=2e-3
    )


@every_calibrator
def test_renaming_the_classes_renames_the_result(calibrator):
    log_probs, labels = simulate(200, 4)
    names = np.array([2, 0, 3, 1])
    one = calibrator.fit(log_probs, labels)(log_probs)
    renamed = calibrator.fit(log_probs[:, names], np.argsort(names)[labels])(log_probs[:, names])
    np.testing.assert_allclose(renamed, one[:, names], atol=2e-3)


@every_calibrator
def test_fitting_again_gives_the_same_bytes_and_touches_no_global_randomness(calibrator):
    log_probs, labels = simulate(100, 3)
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    one = calibrator.fit(log_probs, labels)(log_probs)
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index] # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert calibrator.fit(log_probs, labels)(log_probs).tobytes() == one.tobytes()


@every_calibrator
def test_inputs_are_left_as_they_were(calibrator):
    log_probs, labels = HARD["rounded to zero"]
    kept, kept_labels = log_probs.copy(), labels.copy()
    calibrator.fit(log_probs, labels)(log_probs)
    np.testing.assert_array_equal(log_probs, kept)
    np.testing.assert_array_equal(labels, kept_labels)


@every_calibrator
def test_overconfident_predictions_become_calibrated(calibrator):
    calibration, test = simulate(3000, 4, seed=1), simulate(3000, 4, seed=2)
    calibrated = calibrator.fit(*calibration)(test[0])
    assert ece(*test) > 0.1
    assert ece(calibrated, test[1]) < 0.05
    assert nll(calibrated, test[1]) < nll(*test)


@thorough
@given(
    n=st.integers(1, 60),
    classes=st.integers(2, 12),
    temperature=st.floats(0.3, 20),
    scale=st.floats(0.1, 50),
    seed=st.integers(0, 1000),
)
def test_temperature_is_never_worse_than_leaving_it_and_keeps_the_ranking(
    n, classes, temperature, scale, seed
):
    log_probs, labels = simulate(n, classes, temperature, seed, scale)
    fit = TEMPERATURE.fit(log_probs, labels)
    calibrated = fit(log_probs)
    assert nll(calibrated, labels) <= nll(log_probs, labels) + 1e-12
    if not fit.notes:
        assert nll(calibrated, labels) <= best_nll(log_probs, labels) + 1e-9
    np.testing.assert_array_equal(calibrated.argmax(1), log_probs.argmax(1))


# --- what anybody's calibrator returns is checked -------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Anybodys(Calibrator):
    """Returns what it is told to."""

    result: Any

    def fit(self, log_probs, labels):
        """Ignore everything."""
        return lambda new: self.result


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (np.zeros((5, 3)), r"the shape \(5, 3\), not \(5, 2\)"),
        (np.zeros((4, 2)), r"the shape \(4, 2\), not \(5, 2\)"),
        (np.full((5, 2), 0.5), "0.5, above 0"),
        (np.full((5, 2), np.nan), "NaN"),
        (np.full((5, 2), -2.0), "rows that sum to 0.270671, not to one"),
        (np.zeros((5, 2), int), "int64, not floating-point numbers"),
        (None, r"the shape \(\)"),
    ],
)
def test_what_a_calibrator_may_not_return(result, words):
    one = Anybodys(name="mine", summary="", paper="", result=result)
    log_probs, labels = simulate(5, 2)
    with pytest.raises(InputError, match=rf"calibrator mine \(.*\) returned {words}"):
        calibrate(one, log_probs, labels, log_probs)
