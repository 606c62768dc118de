"""Every metric against hand-worked values, other libraries, and published numbers."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from benchmark.api import InputError, PerImage, Predictions, Weighted
from benchmark.api.temperature import inverse_temperature
from benchmark.measures.bins import equal_mass_bins, equal_width, equal_width_bins
from benchmark.measures.declared import metrics as declared
from benchmark.measures.declared import score
from benchmark.measures.kinds import CalibrationMeasure
from benchmark.measures.smooth import smooth_ece

PUBLISHED = Path(__file__).parents[1] / "data" / "published"

few = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def simulated(
    seed: int, n: int = 300, classes: int = 5, sharpness: float = 2.0, scale: float = 1.0
) -> Predictions:
    """Labels drawn from a model's probabilities, which the sample then raises to a power."""
    generator = np.random.default_rng(seed)
    log_probs = special.log_softmax(sharpness * generator.normal(size=(n, classes)), axis=1)
    gumbel = generator.gumbel(size=(n, classes))
    labels = np.argmax(log_probs + gumbel, axis=1)
    return made(special.log_softmax(scale * log_probs, axis=1), labels)


def made(log_probs: np.ndarray, labels: np.ndarray, **more: Any) -> Predictions:
    return Predictions(log_probs=log_probs, labels=labels, **more)


def predictions(sample: Predictions, posterior: np.ndarray | None = None) -> Predictions:
    return replace(sample, posterior=posterior)


def value(name: str, sample: Predictions) -> float:
    return declared()[name].value(sample)


# Three images of three classes, worked by hand: right with 0.5, right with 0.8, wrong with 0.6.
HAND = Predictions(
    log_probs=np.log([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2]]),
    labels=np.array([0, 1, 2]),
    draw_seed=0,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 2 / 3),
        ("balanced_accuracy", 2 / 3),
        ("nll", -(np.log(0.5) + np.log(0.8) + np.log(0.2)) / 3),
        ("brier", (0.25 + 0.09 + 0.04 + 0.01 + 0.04 + 0.01 + 0.36 + 0.04 + 0.64) / 3),
        ("ece", (0.5 + 0.2 + 0.6) / 3),
        ("mce", 0.6),
        ("overconfidence", 0.6 / 3),
        ("underconfidence", 0.7 / 3),
        # From the most confident: right, wrong, right: risks 0, 1/2, 1/3.
        ("aurc", (0 + 1 / 2 + 1 / 3) / 3),
        # The wrong one, second of three, counts half a step and then one step.
        ("augrc", (0.5 + 1) / 9),
        # Class 0: 0.5 against 0.1 and 0.6; class 1: 0.8 against both; class 2: 0.2 ties, beats.
        ("auc", (0.5 + 1 + 0.75) / 3),
    ],
)
def test_hand_worked_values(name: str, expected: float) -> None:
    assert value(name, HAND) == pytest.approx(expected, abs=1e-12)


def test_bins_are_right_closed_and_hold_a_confidence_of_one() -> None:
    edges = np.arange(1, 16) / 15
    assert equal_width(edges).tolist() == list(range(15))
    assert equal_width(edges[:-1] + 1e-5).tolist() == list(range(1, 15))
    # A stored logarithm gives an edge back with a rounding error.
    assert equal_width(np.exp(np.log(edges))).tolist() == list(range(15))
    stored = np.log(edges).astype(np.float32).astype(np.float64)
    assert equal_width(np.exp(stored)).tolist() == list(range(15))
    assert equal_width(np.array([0.0, 1.0])).tolist() == [0, 14]


def test_logits_published_for_cifar10_give_the_published_numbers(shared_data: Path) -> None:
    with np.load(shared_data / "logits/cifar10_resnet110_nncal.npz", allow_pickle=False) as file:
        data = {name: file[name] for name in file}
    test = special.log_softmax(data["test_logits"].astype(float), axis=1)
    sample = made(test, data["test_labels"])
    assert 1 - value("accuracy", sample) == pytest.approx(0.0644, abs=1e-9)
    assert value("ece", sample) == pytest.approx(0.047504, abs=5e-7)
    assert value("nll", sample) == pytest.approx(0.358274, abs=5e-7)
    # In that literature the sum over the ten classes is printed.
    assert 10 * value("ece_classwise", sample) == pytest.approx(0.098, abs=5e-4)
    val = special.log_softmax(data["val_logits"].astype(float), axis=1)
    scale = inverse_temperature(val, data["val_labels"])
    scaled = Predictions(
        log_probs=special.log_softmax(scale * test, axis=1), labels=data["test_labels"]
    )
    assert value("ece", scaled) == pytest.approx(0.011321, abs=2e-5)
    assert value("nll", scaled) == pytest.approx(0.209261, abs=5e-7)


def plain_ece(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """Fifteen bins, one after the other."""
    confidence, correct = np.exp(log_probs.max(1)), log_probs.argmax(1) == labels
    total = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


def plain_nll(log_probs: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([-row[label] for row, label in zip(log_probs, labels)]))


def test_a_part_of_the_published_logits_against_plain_numpy() -> None:
    # In the repository: it is missing nowhere, and the test fails where it is.
    with np.load(PUBLISHED / "cifar10_resnet110.npz", allow_pickle=False) as file:
        data = {name: file[name] for name in file}
    logits, labels = data["test_logits"].astype(float), data["test_labels"].astype(int)
    assert logits.shape == (2000, 10)
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    sample = made(log_probs, labels)
    assert value("accuracy", sample) == 1 - 125 / 2000 == (logits.argmax(1) == labels).mean()
    assert value("ece", sample) == pytest.approx(plain_ece(log_probs, labels), abs=1e-12)
    assert value("ece", sample) == pytest.approx(0.0470, abs=0.0005)
    assert value("nll", sample) == pytest.approx(plain_nll(log_probs, labels), abs=1e-12)
    assert value("nll", sample) == pytest.approx(0.376897, abs=5e-7)
    # The temperature that a search over 10,000 of them finds best on the validation images.
    val, val_labels = data["val_logits"].astype(float), data["val_labels"].astype(int)
    assert len(val) == 1000
    scales = np.geomspace(0.2, 1, 10_000)
    chosen = val[np.arange(1000), val_labels]
    losses = [np.mean(np.log(np.exp(s * val).sum(1)) - s * chosen) for s in scales]
    best = scales[np.argmin(losses)]
    found = inverse_temperature(val - np.log(np.exp(val).sum(1, keepdims=True)), val_labels)
    assert found == pytest.approx(best, rel=2e-4)
    scaled = found * logits - np.log(np.exp(found * logits).sum(1, keepdims=True))
    calibrated = made(scaled, labels)
    assert value("ece", calibrated) == pytest.approx(plain_ece(scaled, labels), abs=1e-12)
    assert value("ece", calibrated) < value("ece", sample) / 2
    assert value("nll", calibrated) == pytest.approx(plain_nll(scaled, labels), abs=1e-12)


@pytest.mark.parametrize(
    ("file", "ece"),
    [("cifar100_resnet20_ferrer.npz", 0.103), ("pneumoniamnist_resnet50_ferrer.npz", 0.077)],
)
def test_other_published_logits(shared_data: Path, file: str, ece: float) -> None:
    with np.load(shared_data / "logits" / file, allow_pickle=False) as data:
        logits, labels = data["test_logits"].astype(float), data["test_labels"]
    sample = made(special.log_softmax(logits, axis=1), labels)
    assert value("ece", sample) == pytest.approx(ece, abs=5e-4)


# --- against other libraries ---------------------------------------------------------------


@pytest.fixture(scope="module")
def netcal():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import netcal.metrics as netcal_metrics
    return netcal_metrics


@few
@given(seed=seeds, n=st.integers(40, 600), classes=st.integers(3, 12))
def test_binned_errors_agree_with_netcal(netcal, seed: int, n: int, classes: int) -> None:
    sample = simulated(seed, n, classes, scale=1.5)
    if len(np.unique(sample.labels)) < 3:
        return  # netcal takes it for a binary problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ece = netcal.ECE(15).measure(sample.probs, sample.labels)
        mce = netcal.MCE(15).measure(sample.probs, sample.labels)
        mass = netcal.ECE(15, equal_intervals=False).measure(sample.probs, sample.labels)
    assert value("ece", sample) == pytest.approx(ece, abs=1e-9)
    assert value("mce", sample) == pytest.approx(mce, abs=1e-9)
    assert value("ece_equal_mass", sample) == pytest.approx(mass, abs=1e-9)


@few
@given(seed=seeds, classes=st.integers(2, 12))
def test_agreement_with_torchmetrics(seed: int, classes: int) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    sample = simulated(seed, 300, classes, scale=1.5)
    probs, labels = torch.tensor(sample.probs), torch.tensor(sample.labels)
    calibration = functional.multiclass_calibration_error
    for name, norm in (("ece", "l1"), ("mce", "max")):
        theirs = calibration(probs, labels, classes, n_bins=15, norm=norm)
        assert value(name, sample) == pytest.approx(float(theirs), abs=1e-6)
    accuracy = functional.multiclass_accuracy(probs, labels, classes, average="micro")
    assert value("accuracy", sample) == pytest.approx(float(accuracy), abs=1e-6)


@few
@given(seed=seeds)
def test_agreement_with_scikit_learn(seed: int) -> None:
    sample = simulated(seed, 200, 4)
    # Few distinct scores, so that ties occur.
    rounded = np.round(sample.probs, 1) + 1e-3
    sample = Predictions(
        log_probs=np.log(rounded / rounded.sum(1, keepdims=True)), labels=sample.labels
    )
    if len(np.unique(sample.labels)) < 4:
        return
    auc = np.mean([roc_auc_score(sample.labels == c, sample.log_probs[:, c]) for c in range(4)])
    assert value("auc", sample) == pytest.approx(auc, abs=1e-9)
    balanced = balanced_accuracy_score(sample.labels, sample.predicted)
    assert value("balanced_accuracy", sample) == pytest.approx(balanced, abs=1e-9)
    loss = log_loss(sample.labels, sample.probs, labels=range(4))
    assert value("nll", sample) == pytest.approx(loss, abs=1e-9)


@few
@given(seed=seeds, scale=st.floats(0.3, 4))
def test_smooth_error_of_many_draws_agrees_with_relplot(seed: int, scale: float) -> None:
    from relplot.metrics import smECE

    sample = simulated(seed, 150, 4, scale=scale)
    uniform = np.random.default_rng(seed).random((4, 150))
    correct = (uniform < 0.7).astype(float)
    theirs = [smECE(sample.confidence, row) for row in correct]
    assert smooth_ece(sample.confidence, correct) == pytest.approx(theirs, abs=1e-9)
    assert value("ece_smooth", sample) == smECE(sample.confidence, sample.correct)


# --- against slow and plain versions -------------------------------------------------------


@few
@given(seed=seeds, n=st.integers(5, 120))
def test_sweep_takes_the_last_monotone_binning(seed: int, n: int) -> None:
    sample = simulated(seed, n)
    order = np.argsort(sample.confidence)
    confidence, correct = sample.confidence[order], sample.correct[order]
    for bins in range(1, n + 1):
        parts = np.split(np.arange(n), np.arange(1, bins) * n // bins)
        rates = [correct[part].mean() for part in parts]
        if any(later < earlier for earlier, later in itertools.pairwise(rates)):
            break
        gaps = [abs(correct[part].sum() - confidence[part].sum()) for part in parts]
        expected = sum(gaps) / n
    assert value("ece_sweep", sample) == pytest.approx(expected, abs=1e-12)


@few
@given(seed=seeds)
def test_debiased_rms_is_kumars(seed: int) -> None:
    sample = simulated(seed, 200, scale=2)
    total = 0.0
    for b in range(15):
        inside = sample.once(equal_mass_bins).index == b
        rate, said, count = sample.correct[inside].mean(), sample.confidence[inside].mean(), inside
        noise = rate * (1 - rate) / (count.sum() - 1)
        total += inside.mean() * ((rate - said) ** 2 - noise)
    assert value("rms_debiased", sample) == pytest.approx(np.sqrt(max(total, 0)), abs=1e-12)


@few
@given(seed=seeds)
def test_selective_risks(seed: int) -> None:
    sample = simulated(seed, 80)
    wrong = 1 - sample.correct[np.argsort(-sample.confidence)]
    risks = np.cumsum(wrong) / np.arange(1, 81)
    assert value("aurc", sample) == pytest.approx(risks.mean(), abs=1e-12)
    right = sample.correct.mean()
    separation = roc_auc_score(sample.correct, sample.confidence)
    # Traub et al. 2024, equation 7.
    expected = (1 - separation) * right * (1 - right) + (1 - right) ** 2 / 2
    assert value("augrc", sample) == pytest.approx(expected, abs=1e-12)


def test_ties_in_confidence_are_averaged_over_their_orders() -> None:
    log_probs = np.log([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    labels = np.array([0, 1, 0, 1])
    orders = itertools.permutations([0.0, 1.0, 0.0])
    rates = [np.cumsum([*order, 1.0]) / np.arange(1, 5) for order in orders]
    assert value("aurc", made(log_probs, labels)) == pytest.approx(np.mean(rates), abs=1e-12)


# --- invariants ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric", [m for m in declared().values() if isinstance(m, Weighted)], ids=lambda m: m.name
)
@few
@given(seed=seeds)
def test_weighting_an_image_is_repeating_it(metric: Weighted, seed: int) -> None:
    sample = simulated(seed, 60, 3)
    weights = np.random.default_rng(seed).integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), weights)
    explicit = made(sample.log_probs[repeated], sample.labels[repeated])
    assert metric.of(sample, weights[None].astype(float))[0] == pytest.approx(
        metric.value(explicit), abs=1e-10
    )


@pytest.mark.parametrize("name", [m for m in declared() if not declared()[m].needs_posterior])
def test_order_of_images_does_not_matter(name: str) -> None:
    sample = simulated(1, 150, 4)
    rounded = np.round(sample.probs, 1) + 1e-3  # with ties
    sample = Predictions(
        log_probs=np.log(rounded / rounded.sum(1, keepdims=True)), labels=sample.labels
    )
    order = np.random.default_rng(0).permutation(150)
    other = made(sample.log_probs[order], sample.labels[order])
    # The fifths of the cross-fitting, and the draws of the floor, follow the order.
    tolerance = 0.02 if name in ("nll_refinement", "nll_calibration", "ece_debiased") else 1e-9
    assert value(name, other) == pytest.approx(value(name, sample), abs=tolerance)


def test_parts_add_up() -> None:
    sample = simulated(2, scale=2)
    assert value("overconfidence", sample) + value("underconfidence", sample) == pytest.approx(
        value("ece", sample)
    )
    assert value("nll_refinement", sample) + value("nll_calibration", sample) == pytest.approx(
        value("nll", sample)
    )


# --- noise floors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric",
    [m for m in declared().values() if isinstance(m, CalibrationMeasure) and m.name != "mce"],
    ids=lambda m: m.name,
)
def test_a_floor_is_what_calibrated_models_score(metric: CalibrationMeasure) -> None:
    draws, observed = [], []
    for seed in range(15):
        sample = simulated(seed, 400)
        draws.append(metric.floor(sample).mean())
        observed.append(metric.observed(sample))
    error = np.std(observed, ddof=1) / np.sqrt(len(observed))
    assert np.mean(observed) == pytest.approx(np.mean(draws), abs=3.5 * error)


def test_ece_minus_its_floor_is_near_zero_for_a_calibrated_model() -> None:
    values = [value("ece_debiased", simulated(seed, 400)) for seed in range(40)]
    assert abs(np.mean(values)) < 3 * np.std(values, ddof=1) / np.sqrt(40)
    assert np.mean([value("ece", simulated(seed, 400)) for seed in range(40)]) > 0.03


# --- temperature ---------------------------------------------------------------------------


def nll_at(scale: float, log_probs: np.ndarray, labels: np.ndarray) -> float:
    scaled = special.log_softmax(scale * log_probs, axis=1)
    return float(-scaled[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize(
    ("n", "classes", "scale"), [(500, 2, 3.0), (200, 1000, 0.4), (5, 3, 1.0), (400, 5, 8.0)]
)
def test_temperature_reaches_the_optimum_of_a_fine_search(
    n: int, classes: int, scale: float
) -> None:
    sample = simulated(3, n, classes, scale=scale)
    found = inverse_temperature(sample.log_probs, sample.labels)
    best = min(nll_at(s, sample.log_probs, sample.labels) for s in np.exp(np.linspace(-4, 4, 401)))
    assert nll_at(found, sample.log_probs, sample.labels) <= best + 1e-9


def test_temperature_on_hard_cases() -> None:
    separable = special.log_softmax(np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]]), axis=1)
    found = inverse_temperature(separable, np.array([0, 1, 0]))
    assert nll_at(found, separable, np.array([0, 1, 0])) < 1e-9
    with np.errstate(divide="ignore"):
        one_hot = np.log(np.eye(3))
    assert np.isfinite(inverse_temperature(one_hot, np.array([0, 1, 1])))
    missing = simulated(4, 200, 5, scale=2)
    kept = missing.labels != 4
    found = inverse_temperature(missing.log_probs[kept], missing.labels[kept])
    for other in (0.99 * found, 1.01 * found):
        assert nll_at(found, missing.log_probs[kept], missing.labels[kept]) < nll_at(
            other, missing.log_probs[kept], missing.labels[kept]
        )


def test_refinement_never_sees_the_image_that_it_scores() -> None:
    sample = simulated(5, 400, scale=3)
    best = nll_at(
        inverse_temperature(sample.log_probs, sample.labels),
        sample.log_probs,
        sample.labels,
    )
    assert best < value("nll_refinement", sample) < best + 0.02
    assert value("nll_calibration", sample) > 0.1


# --- zeros, missing classes, truth, errors -------------------------------------------------


def test_a_zero_for_the_true_class_is_infinite_and_not_clipped() -> None:
    with np.errstate(divide="ignore"):
        log_probs = np.log([[1.0, 0.0], [0.7, 0.3], [0.2, 0.8]])
    sample = made(log_probs, np.array([1, 0, 1]))
    assert value("nll", sample) == np.inf
    assert value("nll_refinement", sample) == np.inf
    assert np.isfinite(value("nll_calibration", sample))
    assert value("brier", sample) == pytest.approx((2 + 0.18 + 0.08) / 3)
    assert all(np.isfinite(value(name, sample)) for name in ("ece", "auc", "aurc", "ece_smooth"))


def test_classes_without_images_do_not_count() -> None:
    sample = simulated(6, 100, 3)
    padded = np.concatenate([sample.log_probs - 1e-9, np.full((100, 1), -20.0)], axis=1)
    wider = made(padded, sample.labels)
    for name in ("balanced_accuracy", "auc", "ece_classwise"):
        assert value(name, wider) == pytest.approx(value(name, sample), abs=1e-6)


def test_the_minimum_support_of_the_classwise_error() -> None:
    log_probs = np.log(np.full((20, 2), 0.5))
    labels = np.r_[np.zeros(11, dtype=int), np.ones(9, dtype=int)]
    # Class 1 has nine images, one short: only class 0 counts, |11 - 10| of 20.
    assert value("ece_classwise", made(log_probs, labels)) == pytest.approx(1 / 20)
    assert np.isnan(value("ece_classwise", made(log_probs[:5], labels[:5])))


def test_measures_against_the_truth() -> None:
    probs = np.array([[0.7, 0.3], [0.4, 0.6]])
    truth = np.array([[0.9, 0.1], [0.5, 0.5]])
    sample = predictions(made(np.log(probs), np.array([0, 1])), truth)
    found = score(sample, ["ece_true", "gap_true", "kl_true"])
    assert found["ece_true"] == pytest.approx((0.2 + 0.1) / 2)
    assert found["gap_true"] == pytest.approx(0.15)
    expected = (0.9 * np.log(9 / 7) + 0.1 * np.log(1 / 3) + 0.5 * np.log(5 / 4 * 5 / 6)) / 2
    assert found["kl_true"] == pytest.approx(expected)
    zero = np.array([[1.0, 0.0], [0.5, 0.5]])
    exact = predictions(made(np.log(np.maximum(zero, 1e-300)), np.array([0, 1])), zero)
    assert score(exact, ["kl_true"])["kl_true"] == pytest.approx(0)


def test_score_gives_all_metrics_that_can_be_computed() -> None:
    found = score(predictions(simulated(7)))
    assert list(found) == [name for name, m in declared().items() if not m.needs_posterior]
    assert all(np.isfinite(list(found.values())))
    assert list(score(predictions(simulated(7)), ["nll", "accuracy"])) == [
        "accuracy",
        "nll",
    ]
    with pytest.raises(InputError, match="unknown metric eec: choose among accuracy"):
        score(predictions(simulated(7)), ["eec"])


def test_every_metric_is_described() -> None:
    for name, metric in declared().items():
        assert metric.name == name
        assert metric.heading
        assert metric.meaning
        assert metric.formula
        assert metric.range[0] < metric.range[1]
        assert metric.source or name == "accuracy"
    per_image = [m.name for m in declared().values() if isinstance(m, PerImage)]
    assert {"accuracy", "nll", "brier"} <= set(per_image)


def test_nothing_here_imports_torch() -> None:
    code = (
        "import sys, benchmark.statistics, benchmark.measures.metrics; "
        "assert 'torch' not in sys.modules and 'netcal' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("grouped", [False, True])
def test_drawn_hits_are_those_that_the_model_expects(grouped: bool) -> None:
    sample = simulated(8, 1000, scale=0.6)
    codes = np.arange(1000) // 20 if grouped else None
    bins = made(sample.log_probs, sample.labels, groups=codes).once(equal_width_bins)
    for drawn, gaps in ((bins.floor, 0 * bins.counts), (bins.draw(0.1 * bins.counts), 0.1)):
        middle = bins.expected + (gaps if np.ndim(gaps) else gaps * bins.counts)
        inside = (bins.counts > 20) & (middle < 0.9 * bins.counts)
        error = drawn.std(0) / np.sqrt(len(drawn))
        assert (np.abs(drawn.mean(0) - middle) < 4.5 * error + 1e-9)[inside].all()
        assert inside.sum() > 3
