"""Have scores become worse? Paired on the images, and against what another seed would do.

A score is *regressed* if three things hold at once:

- the difference is larger than a stated margin;
- it is clear on these images: a paired permutation test, which swaps old and new prediction of
  images at random. It makes no assumption on the score, so it holds for a calibration error too,
  where a bootstrap does not;
- it is clear over trainings: another version of torch trains other networks from the same seeds,
  as other seeds would. The baseline knows the spread over its seeds, and a t-test asks whether the
  new networks may be more of them.

The larger of the two p-values counts (an intersection-union test), corrected by Holm for the
number of scores compared. Bit-equal predictions pass all this by themselves: the verdict does
not know of versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as distributions

from benchmark.api import FloatArray, IntArray
from benchmark.floor import Floats
from benchmark.guard.verdicts import Row, Verdict
from benchmark.metrics import BINS, METRICS, Sample
from benchmark.stats.comparison import holm

MARGINS = {"ece": 0.01, "nll": 0.02, "accuracy": 0.01}
"""Smaller differences are never called a regression."""

ALPHA = 0.01
"""Chance that any of the scores is called worse when none is."""

SWAPS = 10_000
"""Random swaps of the permutation test: its smallest p-value must survive Holm's correction."""

_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Pair:
    """Old and new predictions of one method on one data set.

    Attributes:
        dataset: which.
        method: which.
        labels: ``(n,)`` of the test images.
        old: log-probabilities ``(n, classes)`` for each seed, from the baseline.
        new: the same seeds and images now.
        seeds: scores of the baseline's seeds, at least two, by metric.
    """

    dataset: str
    method: str
    labels: IntArray
    old: Sequence[FloatArray]
    new: Sequence[FloatArray]
    seeds: Mapping[str, Sequence[float]]

    @property
    def identical(self) -> bool:
        """Whether old and new are equal to the last bit."""
        return all(np.array_equal(a, b) for a, b in zip(self.old, self.new, strict=True))


def value(metric: str, log_probs: FloatArray, labels: IntArray) -> float:
    """A metric of predictions ``(n, classes)``."""
    return METRICS[metric].value(Sample(log_probs.astype(np.float64), labels))


def compare(pairs: Sequence[Pair]) -> list[Row]:
    """A row for each method, data set and metric."""
    keys = [(pair, metric) for pair in pairs for metric in MARGINS]
    worse, better = np.array([p_values(pair, metric) for pair, metric in keys]).T
    rows = []
    for (pair, metric), p_worse, p_better in zip(keys, holm(worse), holm(better)):
        old = float(np.mean([value(metric, p, pair.labels) for p in pair.old]))
        new = float(np.mean([value(metric, p, pair.labels) for p in pair.new]))
        margin = MARGINS[metric]
        harm = (old - new) if METRICS[metric].direction == "higher" else (new - old)
        verdict: Verdict = "unchanged"
        if pair.identical:
            verdict = "identical"
        elif not harm <= margin and p_worse < ALPHA:  # NaN counts as worse
            verdict = "regressed"
        elif -harm > margin and p_better < ALPHA:
            verdict = "improved"
        p = p_worse if harm > 0 else p_better
        rows.append(
            Row(
                kind="score",
                what=f"{metric} of {pair.method} on {pair.dataset}",
                old=old,
                new=new,
                verdict=verdict,
                note=f"margin {margin}, p = {p:.2g} after Holm's correction for {len(keys)} scores",
            )
        )
    return rows


def p_values(pair: Pair, metric: str) -> tuple[float, float]:
    """One-sided p-values of "not worse" and "not better", before correction."""
    if pair.identical:
        return 1.0, 1.0
    sign = -1 if METRICS[metric].direction == "higher" else 1
    new = np.array([value(metric, p, pair.labels) for p in pair.new])
    if not np.isfinite(new).all():
        return 0.0, 1.0
    training = _over_training(sign * new, sign * np.array(pair.seeds[metric]))
    if min(training) > ALPHA:  # the larger p-value counts
        return training
    images = _on_images(pair, metric)
    return max(images[0], training[0]), max(images[1], training[1])


def _over_training(new: Floats, seeds: Floats) -> tuple[float, float]:
    """Whether the new losses may come from trainings like the baseline's."""
    spread = seeds.std(ddof=1) * np.sqrt(1 / len(new) + 1 / len(seeds))
    distance = new.mean() - seeds.mean()
    t = distance / spread if spread > 0 else np.sign(distance) * np.inf if distance else 0.0
    degrees = len(seeds) - 1
    return float(distributions.t.sf(t, degrees)), float(distributions.t.cdf(t, degrees))


def _on_images(pair: Pair, metric: str) -> tuple[float, float]:
    """Paired permutation test: images swap their old and new predictions at random."""
    old = [_contributions(metric, p, pair.labels) for p in pair.old]
    new = [_contributions(metric, p, pair.labels) for p in pair.new]
    observed = np.mean([_loss(b.sum(0)) - _loss(a.sum(0)) for a, b in zip(old, new)])
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(SWAPS // _AT_ONCE):
        swap = generator.integers(0, 2, (_AT_ONCE, len(pair.labels))).astype(np.float64)
        differences = []
        for a, b in zip(old, new):
            moved = swap @ (b - a)
            differences.append(_loss(b.sum(0) - moved) - _loss(a.sum(0) + moved))
        drawn.append(np.mean(differences, axis=0))
    swapped = np.concatenate(drawn)
    above = 1 + np.count_nonzero(swapped >= observed - 1e-9)
    below = 1 + np.count_nonzero(swapped <= observed + 1e-9)
    return above / (1 + SWAPS), below / (1 + SWAPS)


def _loss(sums: Floats) -> Floats:
    """Sum of absolute sums over bins: every guarded metric's loss, times the images."""
    loss: Floats = np.abs(sums).sum(-1)
    return loss


def _contributions(metric: str, log_probs: FloatArray, labels: IntArray) -> Floats:
    """What each image adds to the sums that the loss is made of, ``(n, bins)``.

    One bin for errors and for NLL; for the calibration error the gap in the image's bin.
    """
    sample = Sample(log_probs.astype(np.float64), labels)
    if metric == "accuracy":
        return 1 - sample.correct[:, None]
    if metric == "nll":
        return sample.nll[:, None]
    bins = sample.equal_width
    inside = np.arange(BINS) == bins.index[:, None]
    gaps: Floats = inside * (bins.hit - bins.confidence)[:, None]
    return gaps
