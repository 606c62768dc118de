"""The data sets read official layouts as they are, and say what is missing."""

import numpy as np
from benchmark.datasets.digits import DATASETS as DIGITS
from benchmark.datasets.simulated import DATASETS as SIMULATED

(digits,) = DIGITS
(simulated,) = SIMULATED


def test_digits_are_scikit_learns(tmp_path):
    samples = digits.samples(tmp_path)
    assert samples.images.shape == (1797, 8, 8, 1)
    assert samples.images.dtype == np.uint8
    assert set(np.unique(samples.images)) == {round(k * 255 / 16) for k in range(17)}
    assert tuple(np.bincount(samples.labels)) == digits.known_counts["all"]
    assert digits.preset == simulated.preset == "quick"


# --- simulated -----------------------------------------------------------------------------


def test_the_posterior_is_calibrated_against_drawn_labels():
    # Where the posterior says p, the class occurs with frequency p: for every class, in each of
    # ten bins of p, the standardised difference is that of chance.
    draws = [simulated.draw(number) for number in range(6)]
    posterior = np.concatenate([d.posterior for d in draws])
    labels = np.concatenate([d.labels for d in draws])
    hits = np.eye(4)[labels].ravel()
    p = posterior.ravel()
    bins = np.minimum((p * 10).astype(int), 9)
    variance = np.bincount(bins, p * (1 - p))
    z = np.bincount(bins, hits - p) / np.sqrt(variance)
    assert np.abs(z).max() < 3.5
    np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-12)


def test_the_posterior_of_stored_pixels_equals_one_worked_by_hand(monkeypatch):
    # One pixel, two prototypes a class, noise 10: the mass of each stored value, ends included,
    # is counted from a million draws made in the way that images are made.
    from benchmark.datasets import simulated as module

    monkeypatch.setattr(module, "CLASSES", 2)
    monkeypatch.setattr(module, "PROTOTYPES", 2)
    prototypes = np.array([[240.0], [250.3], [247.0], [262.0]])
    values = np.array([[238], [250], [255]], dtype=np.uint8)
    posterior = module._posterior(values, prototypes, 10.0)
    noise = np.random.default_rng(0).normal(0, 10, 1_000_000)
    stored = [np.clip(np.rint(m + noise), 0, 255) for m in prototypes[:, 0]]
    mass = np.array([[(s == v).mean() for s in stored] for v in values[:, 0]])
    by_class = mass.reshape(3, 2, 2).sum(2)
    np.testing.assert_allclose(posterior, by_class / by_class.sum(1, keepdims=True), atol=0.006)


def test_the_best_possible_accuracy_is_about_ninety_percent():
    accuracies = []
    for number in range(3):
        draw = simulated.draw(number)
        test = draw.split == "test"
        assert test.sum() == 2500
        assert (draw.split == "calibration").sum() == 500
        accuracies.append((draw.posterior[test].argmax(1) == draw.labels[test]).mean())
    assert 0.88 < np.mean(accuracies) < 0.92


def test_draws_are_independent_and_repeatable_around_fixed_prototypes(tmp_path):
    one, again, other = simulated.draw(1), simulated.draw(1), simulated.draw(2)
    np.testing.assert_array_equal(one.images, again.images)
    assert not (one.images == other.images).all((1, 2, 3)).any()
    assert not set(one.ids) & set(other.ids)
    np.testing.assert_array_equal(simulated.samples(tmp_path).images, simulated.draw(0).images)
    # With 4000 images each class mean is known to 37 / sqrt(1000) = 1.2 grey levels.
    for c in range(4):
        means = [d.images[d.labels == c].mean(0) for d in (one, other)]
        assert np.abs(means[0] - means[1]).mean() < 2.5
