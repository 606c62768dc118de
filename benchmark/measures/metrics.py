"""Every metric of the benchmark: how it is computed, and what is said of it."""

from __future__ import annotations

import numpy as np
from scipy import special

from benchmark.api import Floats, InputError, IntArray, PerImage, PointValue, Predictions, Weighted
from benchmark.api.temperature import inverse_temperature
from benchmark.measures.bins import BINS, Bins, equal_mass_bins, equal_width, equal_width_bins
from benchmark.measures.kinds import Binned, Relabelled
from benchmark.measures.smooth import smooth_ece, smooth_ece_of_one

MINIMUM_SUPPORT = 10
"""A class counts in the class-wise error if at least so many test images show it."""

# --- estimators ------------------------------------------------------------------------------


def _brier(predictions: Predictions) -> Floats:
    probs, n = predictions.probs, np.arange(len(predictions))
    values: Floats = (probs**2).sum(1) + 1 - 2 * probs[n, predictions.labels]
    return values


def _calibration_nll(predictions: Predictions) -> Floats:
    refined = predictions.once(_refined_nll)
    both = np.isinf(predictions.nll) & np.isinf(refined)
    # No temperature removes a probability of 0: nothing of such a loss is calibration.
    return np.subtract(predictions.nll, refined, where=~both, out=np.zeros(len(predictions)))


def _balanced_accuracy(predictions: Predictions, weights: Floats) -> Floats:
    member = np.eye(predictions.log_probs.shape[1])[predictions.labels]
    drawn = weights @ member
    right = weights @ (member * predictions.correct[:, None])
    recall = np.divide(right, drawn, where=drawn > 0, out=np.zeros_like(right))
    values: Floats = recall.sum(1) / (drawn > 0).sum(1)
    return values


def _auc(predictions: Predictions, weights: Floats) -> Floats:
    # Counts of images: single precision holds them, and their sums are exact in any order.
    drawn = np.ascontiguousarray(weights.T, dtype=np.float32)
    total = np.zeros(len(weights))
    defined = np.zeros(len(weights))
    below = np.zeros((len(predictions) + 1, len(weights)), dtype=np.float32)
    for c in range(predictions.log_probs.shape[1]):
        positive = predictions.labels == c
        if not positive.any() or positive.all():
            continue
        score = predictions.log_probs[:, c]
        order = np.argsort(score, kind="stable")
        negatives = drawn[order]
        negatives[positive[order]] = 0
        np.cumsum(negatives, axis=0, out=below[1:])
        in_order, of_positives = score[order], score[positive]
        left = np.searchsorted(in_order, of_positives, side="left")
        right = np.searchsorted(in_order, of_positives, side="right")
        positives = drawn[positive]
        wins = (positives * (below[left] + below[right])).sum(0, dtype=np.float64) / 2
        pairs = positives.sum(0, dtype=np.float64) * below[-1]
        total += np.divide(wins, pairs, where=pairs > 0, out=np.zeros(len(pairs)))
        defined += pairs > 0
    values: Floats = np.divide(total, defined, where=defined > 0, out=np.full(len(total), np.nan))
    return values


def _levels(predictions: Predictions) -> tuple[IntArray, IntArray]:
    """Images from the most confident on, and where each level of confidence starts."""
    order = np.argsort(-predictions.log_probs.max(1), kind="stable")
    in_order = predictions.log_probs.max(1)[order]
    return order, np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])


def _selective(predictions: Predictions, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Numbers of images and errors in, and before, each level of confidence, from the top."""
    order, starts = predictions.once(_levels)
    drawn = np.take(weights, order, axis=1)  # in rows, as they are summed
    wrong = drawn * (1 - predictions.correct[order])
    if len(starts) < len(order):
        drawn, wrong = (np.add.reduceat(counts, starts, axis=1) for counts in (drawn, wrong))
    return drawn, wrong, drawn.cumsum(1) - drawn, wrong.cumsum(1) - wrong


def _aurc(predictions: Predictions, weights: Floats) -> Floats:
    drawn, wrong, before, wrong_before = _selective(predictions, weights)
    # Images of equal confidence come in random order; the sum of their expected risks is closed.
    first = before.astype(np.intp)
    last = first + drawn.astype(np.intp)
    digamma = special.digamma(np.arange(1.0, last.max() + 2))
    harmonic = digamma[last] - digamma[first]
    share = np.divide(wrong, drawn, where=drawn > 0, out=np.zeros_like(wrong))
    risk = wrong + (wrong_before - share * before) * harmonic
    values: Floats = risk.sum(1) / weights.sum(1)
    return values


def _augrc(predictions: Predictions, weights: Floats) -> Floats:
    drawn, wrong, _, wrong_before = _selective(predictions, weights)
    values: Floats = (drawn * (wrong_before + wrong / 2)).sum(1) / weights.sum(1) ** 2
    return values


def _gaps(hits: Floats, bins: Bins) -> Floats:
    return (hits - bins.expected) / bins.images


def _ece(hits: Floats, bins: Bins) -> Floats:
    values: Floats = np.abs(_gaps(hits, bins)).sum(1)
    return values


def _mce(hits: Floats, bins: Bins) -> Floats:
    used = bins.counts > 0
    values: Floats = (np.abs(hits - bins.expected)[:, used] / bins.counts[used]).max(1)
    return values


def _overconfidence(hits: Floats, bins: Bins) -> Floats:
    values: Floats = np.maximum(-_gaps(hits, bins), 0).sum(1)
    return values


def _underconfidence(hits: Floats, bins: Bins) -> Floats:
    values: Floats = np.maximum(_gaps(hits, bins), 0).sum(1)
    return values


def _squared(hits: Floats, bins: Bins, debiased: bool) -> Floats:
    # A bin of one image gives no estimate of its noise; it counts 0, as in Kumar's library.
    used = bins.counts > (1 if debiased else 0)
    counts = bins.counts[used]
    share = hits[:, used] / counts
    squared = (share - bins.expected[used] / counts) ** 2
    if debiased:
        squared = squared - share * (1 - share) / (counts - 1)
    values: Floats = np.sqrt(np.maximum((squared * counts).sum(1) / bins.images, 0))
    return values


def _rms_debiased(hits: Floats, bins: Bins) -> Floats:
    return _squared(hits, bins, debiased=True)


def _rms(hits: Floats, bins: Bins) -> Floats:
    return _squared(hits, bins, debiased=False)


def _sweep(predictions: Predictions, correct: Floats) -> Floats:
    n = len(predictions)
    order = np.argsort(predictions.confidence, kind="stable")
    confidence, correct = predictions.confidence[order], correct[:, order]
    starts = np.flatnonzero(np.r_[True, confidence[1:] != confidence[:-1]])
    if len(starts) < n:
        # Equal confidences share their outcomes: the value does not depend on the order of files.
        sizes = np.diff(np.r_[starts, n])
        correct = np.repeat(np.add.reduceat(correct, starts, axis=1) / sizes, sizes, axis=1)
    hits = np.pad(np.cumsum(correct, axis=1), ((0, 0), (1, 0)))
    expected = np.r_[0.0, np.cumsum(confidence)]
    error: Floats = np.abs(hits[:, -1] - expected[-1]) / n
    monotone = np.arange(len(correct))
    for bins in range(2, n + 1):
        edges = np.arange(bins + 1) * n // bins
        inside = np.diff(hits[np.ix_(monotone, edges)], axis=1)
        rates = inside / np.diff(edges)
        kept = (np.diff(rates, axis=1) >= -1e-12).all(1)
        monotone = monotone[kept]
        if not len(monotone):
            break
        error[monotone] = np.abs(inside[kept] - np.diff(expected[edges])).sum(1) / n
    return error


def _smooth(predictions: Predictions, correct: Floats) -> Floats:
    if len(correct) == 1:
        return np.array([smooth_ece_of_one(predictions.confidence, correct[0])])
    return smooth_ece(predictions.confidence, correct)


def _classwise(predictions: Predictions, labels: IntArray) -> Floats:
    n, classes = predictions.log_probs.shape
    counted = np.bincount(predictions.labels, minlength=classes) >= MINIMUM_SUPPORT
    if not counted.any():
        return np.full(len(labels), np.nan)
    index = equal_width(predictions.probs, predictions.resolution)
    cells = index + BINS * np.arange(classes)
    expected = np.bincount(cells.ravel(), predictions.probs.ravel(), BINS * classes)
    drawn = cells[np.arange(n), labels] + BINS * classes * np.arange(len(labels))[:, None]
    hits = np.bincount(drawn.ravel(), minlength=BINS * classes * len(labels))
    gaps = np.abs(hits.reshape(len(labels), classes, BINS) - expected.reshape(classes, BINS))
    values: Floats = gaps.sum(2)[:, counted].mean(1) / n
    return values


def classwise_bins(predictions: Predictions) -> Bins:
    """The bins of the class-wise error: rows are the counted classes of each image in turn.

    Their ``ece`` is the class-wise error; of no class, where none counts.
    """
    support = np.bincount(predictions.labels, minlength=predictions.log_probs.shape[1])
    counted = np.flatnonzero(support >= MINIMUM_SUPPORT)
    probs = predictions.probs[:, counted]
    cells = equal_width(probs, predictions.resolution) + BINS * np.arange(len(counted))
    hit = (predictions.labels[:, None] == counted).astype(np.float64)
    codes = predictions.group_codes
    groups = None if codes is None else np.repeat(codes, len(counted))
    bins, seed = BINS * len(counted), predictions.draw_seed
    return Bins(cells.ravel(), probs.ravel(), hit.ravel(), groups, bins, seed)


def _posterior(predictions: Predictions) -> Floats:
    if predictions.posterior is None:
        raise InputError("this data set does not know the true probabilities: leave the metric out")
    return predictions.posterior.astype(np.float64)


def _true_confidence(predictions: Predictions) -> Floats:
    return _posterior(predictions)[np.arange(len(predictions)), predictions.predicted]


def _ece_true(predictions: Predictions) -> float:
    gaps = _true_confidence(predictions) - predictions.confidence
    return float(
        np.abs(np.bincount(equal_width(predictions.confidence, predictions.resolution), gaps)).sum()
        / len(predictions)
    )


def _gap_true(predictions: Predictions) -> Floats:
    return np.abs(_true_confidence(predictions) - predictions.confidence)


def _kl(predictions: Predictions) -> Floats:
    true = _posterior(predictions)
    log_ratio = np.subtract(
        np.log(np.maximum(true, 1e-300)),
        predictions.log_probs,
        where=true > 0,
        out=np.zeros(true.shape),
    )
    values: Floats = (true * log_ratio).sum(1)
    return values


def _refined_nll(p: Predictions) -> Floats:
    """NLL of each image after temperature scaling fitted on the other four fifths."""
    units = np.arange(len(p)) if p.group_codes is None else p.group_codes
    number = int(units.max()) + 1
    parts = min(5, number)
    part = np.random.default_rng(0).permutation(number)[units] % parts
    refined = np.empty(len(p))
    for held_out in range(parts):
        test = part == held_out
        scale = 1.0
        if not test.all():
            scale = inverse_temperature(p.log_probs[~test], p.labels[~test])
        scaled = scale * p.log_probs[test]
        true = scaled[np.arange(len(scaled)), p.labels[test]]
        refined[test] = special.logsumexp(scaled, axis=1) - true
    return refined


# --- the declarations -----------------------------------------------------------------------

_GUO = "Guo et al. 2017, arXiv 1706.04599"
_BINS = "15 bins B_b of confidence c, n images, acc and conf the means over a bin"

METRICS = (
    PerImage(
        name="accuracy",
        short="Accuracy",
        meaning="Share of the images whose most probable class is the true one.",
        ranked=True,
        proportion=True,
        main=1,
        direction="higher",
        formula="mean of [argmax p = y]",
        of=lambda predictions: predictions.correct,
    ),
    Weighted(
        name="balanced_accuracy",
        short="Balanced accuracy",
        meaning="Accuracy with every class counting the same.",
        direction="higher",
        formula="mean over the classes present of the recall of each",
        source="Brodersen et al. 2010",
        of=_balanced_accuracy,
    ),
    Weighted(
        name="auc",
        short="Macro AUC",
        title="Macro area under the ROC curve (AUC)",
        meaning="How well each class is told from the others.",
        direction="higher",
        formula="mean over the classes present of P(p_c of an image of c > p_c of another) "
        "(ties count half), one class against the rest",
        source="Hanley & McNeil 1982",
        of=_auc,
    ),
    PerImage(
        name="nll",
        short="NLL",
        title="Negative log-likelihood (NLL)",
        meaning="Small where the true class was given a high probability; infinite once it was "
        "called impossible.",
        ranked=True,
        main=3,
        unit="nats",
        formula="mean of -ln p_y; never clipped: infinite where a true class has p = 0",
        range=(0.0, np.inf),
        source=_GUO,
        of=lambda predictions: predictions.nll,
    ),
    PerImage(
        name="brier",
        short="Brier score",
        meaning="Squared distance between the predicted probabilities and the true class.",
        main=4,
        unit="",
        formula="mean of the sum over classes of (p_c - [y = c])^2, from 0 to 2",
        range=(0.0, 2.0),
        source="Brier 1950",
        of=_brier,
    ),
    Binned(
        name="ece",
        short="ECE",
        title="Expected calibration error (ECE)",
        meaning="How far confidence and accuracy lie apart, on average over bins of confidence.",
        ranked=True,
        main=2,
        formula=f"sum over b of |B_b|/n |acc(B_b) - conf(B_b)|; {_BINS}, of equal width, "
        "right-closed, c = 1 in the last",
        source=_GUO,
        bins=equal_width_bins,
        of=_ece,
    ),
    Binned(
        name="ece_debiased",
        short="ECE minus floor",
        meaning="ECE without the part that noise alone explains.",
        formula="ece minus the mean of the ece of labels drawn from p (can be negative)",
        range=(-1.0, 1.0),
        source="Broecker & Smith 2007; Vaicenavicius et al. 2019, arXiv 1902.06977",
        bins=equal_width_bins,
        of=_ece,
        floor_removed=True,
    ),
    Binned(
        name="ece_equal_mass",
        short="ECE, equal mass",
        meaning="ECE with bins that hold equally many images.",
        formula="as ece; bins between the i/15 quantiles of c, left-closed",
        source="Nguyen & O'Connor 2015, arXiv 1508.05154",
        bins=equal_mass_bins,
        of=_ece,
    ),
    Binned(
        name="rms_debiased",
        short="RMS calibration error, debiased",
        meaning="Root mean square of the gaps, without the part that noise explains.",
        formula="square root of max(0, sum over b of |B_b|/n ((acc - conf)^2 "
        "- acc (1 - acc) / (|B_b| - 1))); bins as in ece_equal_mass",
        source="Kumar et al. 2019, arXiv 1909.10155",
        bins=equal_mass_bins,
        of=_rms_debiased,
        truth=_rms,
    ),
    Relabelled(
        name="ece_sweep",
        short="ECE, monotone sweep",
        meaning="ECE with as many bins as the data bear.",
        formula="as ece; the largest number of equal-mass bins such that acc rises with conf "
        "for it and for every smaller number",
        source="Roelofs et al. 2022, arXiv 2012.08668",
        of=_sweep,
        removable=False,
    ),
    Relabelled(
        name="ece_classwise",
        short="Class-wise ECE",
        meaning="ECE of the probability of each class, not of the predicted one alone.",
        formula="mean over classes of the ece of p_c and [y = c] over all images; classes with "
        f"at least {MINIMUM_SUPPORT} test images",
        source="Kull et al. 2019, arXiv 1910.12656",
        of=_classwise,
        by_class=True,
    ),
    Binned(
        name="mce",
        short="MCE",
        title="Maximum calibration error (MCE)",
        meaning="The largest gap in any bin.",
        formula="max over b of |acc(B_b) - conf(B_b)|; bins as in ece",
        source="Naeini et al. 2015",
        bins=equal_width_bins,
        of=_mce,
        interval=False,
        removable=False,
    ),
    Relabelled(
        name="ece_smooth",
        short="Smooth ECE",
        meaning="ECE with a smooth curve in place of bins.",
        formula="mean absolute residual c - [argmax p = y], smoothed over c by a reflected "
        "Gaussian kernel whose width equals the result",
        source="Blasiok & Nakkiran 2023, arXiv 2309.12236 (relplot)",
        of=_smooth,
        removable=False,
    ),
    Binned(
        name="overconfidence",
        short="Over-confidence",
        meaning="The part of ECE where the model promises too much.",
        formula="sum over b of |B_b|/n max(conf(B_b) - acc(B_b), 0); bins as in ece, of which "
        "it is a part",
        source="Thulasidasan et al. 2019, arXiv 1905.11001",
        bins=equal_width_bins,
        of=_overconfidence,
    ),
    Binned(
        name="underconfidence",
        short="Under-confidence",
        meaning="The part of ECE where the model promises too little.",
        formula="sum over b of |B_b|/n max(acc(B_b) - conf(B_b), 0); the other part of ece",
        source="Thulasidasan et al. 2019, arXiv 1905.11001",
        bins=equal_width_bins,
        of=_underconfidence,
    ),
    PerImage(
        name="nll_refinement",
        short="NLL, refinement",
        meaning="The part of NLL that no temperature can mend.",
        unit="nats",
        formula="nll of p^(1/T), T fitted to the other four fifths of the test images "
        "(whole groups)",
        range=(0.0, np.inf),
        source="Ashukha et al. 2020, arXiv 2002.06470",
        of=_refined_nll,
    ),
    PerImage(
        name="nll_calibration",
        short="NLL, calibration",
        meaning="The part of NLL that a temperature would mend.",
        unit="nats",
        formula="nll minus nll_refinement: what a temperature would gain",
        range=(-np.inf, np.inf),
        source="Ashukha et al. 2020, arXiv 2002.06470",
        of=_calibration_nll,
    ),
    Weighted(
        name="aurc",
        short="AURC",
        title="Area under the risk-coverage curve (AURC)",
        meaning="Errors among the most confident images, over all shares kept.",
        formula="mean over k of the error rate among the k most confident images",
        source="Geifman et al. 2019, arXiv 1805.08206",
        of=_aurc,
    ),
    Weighted(
        name="augrc",
        short="AUGRC",
        title="Generalised area under the risk-coverage curve (AUGRC)",
        meaning="Undetected errors, over all shares kept.",
        formula="integral over coverage of P(wrong and among the most confident)",
        source="Traub et al. 2024, arXiv 2407.01032",
        of=_augrc,
    ),
    PointValue(
        name="ece_true",
        short="ECE to the truth",
        meaning="ECE against the true probabilities of the simulation.",
        formula="as ece, with the true p(argmax p | image) in place of correctness",
        source="Vaicenavicius et al. 2019, arXiv 1902.06977",
        needs_posterior=True,
        of=_ece_true,
    ),
    PerImage(
        name="gap_true",
        short="Gap to the truth",
        meaning="Distance of the confidence from the true probability.",
        formula="mean of |c - true p(argmax p | image)|",
        source="Vaicenavicius et al. 2019, arXiv 1902.06977",
        needs_posterior=True,
        of=_gap_true,
    ),
    PerImage(
        name="kl_true",
        short="KL to the truth",
        meaning="Distance of the prediction from the true probabilities.",
        unit="nats",
        formula="mean of the sum over classes of q_c ln(q_c / p_c), q the true posterior",
        range=(0.0, np.inf),
        source="Kullback & Leibler 1951",
        needs_posterior=True,
        of=_kl,
    ),
)
