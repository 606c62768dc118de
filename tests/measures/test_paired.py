"""Intervals of differences between two calibration errors on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from benchmark.api import Floats, IntArray, Predictions
from benchmark.measures import paired
from benchmark.measures.bins import Bins, equal_mass_bins, equal_width_bins
from benchmark.measures.declared import metrics
from benchmark.measures.metrics import _ece, classwise_bins

ALPHA = 0.05
OF = (_ece, _ece)


def world(seed: int, n: int = 400, classes: int = 4) -> tuple[Floats, IntArray]:
    """True log-odds of each class, and labels drawn from them."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2.2, (n, classes))
    return logits, np.argmax(logits + generator.gumbel(size=(n, classes)), axis=1)


def said(logits: Floats, labels: IntArray, groups: IntArray | None = None) -> Predictions:
    names = None if groups is None else np.char.mod("%03d", groups)
    return Predictions(log_probs=special.log_softmax(logits, axis=1), labels=labels, groups=names)


def compare(methods: Sequence[Sequence[Bins]], units: IntArray) -> tuple[Floats, Floats, Floats]:
    found = [paired.candidates(m, [units] * len(m), [OF])[0] for m in methods]
    return paired.differences(found, ALPHA)


def test_a_difference_that_all_images_share_is_known_almost_exactly() -> None:
    """Where all bins are over-confident, ECE differs by the mean confidences: no label enters."""
    logits, labels = world(0, 3000)
    sharp, sharper = said(1.6 * logits, labels), said(1.7 * logits, labels)
    expected = sharper.confidence.mean() - sharp.confidence.mean()
    bins = [[equal_width_bins(p)] for p in (sharper, sharp)]
    low, high, p = compare(bins, np.arange(3000))
    assert low[0, 1] <= expected <= high[0, 1]
    assert high[0, 1] - low[0, 1] < 0.02
    assert low[0, 1] > 0
    assert p[0, 1] < 0.01


def test_equal_predictions_do_not_differ() -> None:
    logits, labels = world(1)
    bins = equal_width_bins(said(1.5 * logits, labels))
    low, high, p = compare([[bins], [bins]], np.arange(400))
    np.testing.assert_allclose(low, -high, atol=1e-6)
    assert low[0, 1] <= 0 <= high[0, 1]
    np.testing.assert_array_equal(p, 1)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.floats(0.5, 2), st.floats(0.5, 2), st.booleans())
def test_antisymmetric_around_the_observed_and_p_agrees(
    seed: int, one: float, other: float, grouped: bool
) -> None:
    logits, labels = world(seed, 200)
    units = np.arange(200) % 25 if grouped else np.arange(200)
    groups = units if grouped else None
    methods = [[equal_mass_bins(said(scale * logits, labels, groups))] for scale in (one, other)]
    low, high, p = compare(methods, units)
    np.testing.assert_array_equal(low, -high.T)
    np.testing.assert_array_equal(p, p.T)
    turned = compare(methods[::-1], units)
    np.testing.assert_allclose(turned[0], low[::-1, ::-1], atol=2e-4)
    (first,), (second,) = methods
    observed = _ece(first.hits[None], first)[0] - _ece(second.hits[None], second)[0]
    assert low[0, 1] - 1e-9 <= observed <= high[0, 1] + 1e-9
    assert (p[0, 1] < ALPHA) == (low[0, 1] > 0 or high[0, 1] < 0)
    np.testing.assert_array_equal(compare(methods, units), (low, high, p))


def test_another_seed_of_the_same_predictions_changes_nothing() -> None:
    """The mean over networks of an error, not more images: the same images are the same units."""
    logits, labels = world(2)
    a, b = (equal_width_bins(said(scale * logits, labels)) for scale in (1.5, 1.0))
    once = compare([[a], [b]], np.arange(400))
    twice = compare([[a, a], [b, b]], np.arange(400))
    np.testing.assert_allclose(once, twice, atol=1e-4)


def test_copies_of_images_are_no_new_images() -> None:
    """Each image four times over, as a group, tells no more than once."""
    logits, labels = world(3, 300)
    copies = np.repeat(np.arange(300), 4)
    scales = (1.5, 0.8)
    once = compare([[equal_width_bins(said(s * logits, labels))] for s in scales], np.arange(300))
    grouped = compare(
        [[equal_width_bins(said(s * logits[copies], labels[copies], copies))] for s in scales],
        copies,
    )
    width, width_of_groups = (high[0, 1] - low[0, 1] for low, high, _ in (once, grouped))
    assert 0.8 < width_of_groups / width < 1.4


def test_without_an_error_there_is_still_noise() -> None:
    """60 images, all right: if 90 % were true, such a model would still show an error of 3 %."""
    labels = np.zeros(60, dtype=int)
    bins = equal_width_bins(said(np.tile(np.log([0.9, 0.1]), (60, 1)), labels))
    (found,) = paired.candidates([bins], [np.arange(60)], [OF])
    deviation = np.sqrt(0.9 * 0.1 / 60)
    assert found.truths[0] == 0
    assert found.drawn[0].mean() == pytest.approx(deviation * np.sqrt(2 / np.pi), rel=0.1)
    assert found.p[0] < 0.05 < found.p[np.argmin(np.abs(found.true - 0.09))]


def test_class_wise_bins_give_the_class_wise_error() -> None:
    logits, labels = world(4, 300, 6)
    labels[labels == 5] = 0
    p = said(logits, labels)
    bins = classwise_bins(p)
    assert _ece(bins.hits[None], bins)[0] == pytest.approx(metrics()["ece_classwise"].value(p))
    other = classwise_bins(said(2.5 * logits, labels))
    low, _, significance = compare([[other], [bins]], np.repeat(np.arange(300), 5))
    assert low[0, 1] > 0
    assert significance[0, 1] < 0.01


def covered(sets: int) -> tuple[float, float]:
    """Share of intervals of a small difference that hold it, and their mean width."""

    def pair(seed: int, n: int) -> list[Predictions]:
        logits, labels = world(seed, n)
        noisy = logits + np.random.default_rng(seed + 1).normal(0, 0.6, logits.shape)
        return [said(scale * noisy, labels) for scale in (1.5, 1.4)]

    large = [metrics()["ece"].value(p) for p in pair(10**6, 200_000)]
    hold, widths = [], []
    for seed in range(sets):
        bins = [[replace(equal_width_bins(p), seed=0)] for p in pair(10 * seed, 500)]
        low, high, _ = compare(bins, np.arange(500))
        hold.append(low[0, 1] <= large[0] - large[1] <= high[0, 1])
        widths.append(high[0, 1] - low[0, 1])
    return float(np.mean(hold)), float(np.mean(widths))


def test_shared_noise_cancels_and_coverage_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    share, width = covered(40)
    assert share >= 0.9
    assert width < 0.07

    def alone(bins: Bins, units: IntArray, number: int) -> Floats:
        generator = np.random.default_rng([int(1e6 * bins.expected.sum()), 1])
        return generator.standard_normal((paired.DRAWS, bins.bins))

    monkeypatch.setattr(paired, "_noise", alone)
    _, without = covered(5)
    assert without > 1.5 * width
