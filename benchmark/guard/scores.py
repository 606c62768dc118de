"""Have scores become worse? The trainings of this tree against those of the baseline.

All are tested on the same images, so which images these are makes no difference: what a score
still varies by is the training. With another version of torch the same seeds train other
networks, as other seeds would; the verdict knows of no versions. A score is *regressed* if two
things hold at once:

- the means over the same seeds differ by more than a stated margin;
- the difference is clear, after Holm's correction for the number of scores.

Clear it is in one of three ways. If trainings differ, a rank test (Mann-Whitney) takes the new ones
for a second sample beside all of the baseline's, whose many seeds make it sharp; it holds its level
whatever the distribution, and now and then a training ends with several times the usual NLL. If the
change came after training, each seed is its own control: a paired t-test. And two trainings far
beyond anything in the baseline have collapsed, which ranks of so few would not tell from chance.

Each score is held to its own spread: that of the ensemble is a quarter of its members', and methods
share the streams of their seeds, so that one spread for all would be wrong for most, and less
certain than it looks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as distributions

from benchmark.api import Floats, Predictions
from benchmark.guard.verdicts import Comparison, Verdict
from benchmark.inference.comparison import holm
from benchmark.measures.declared import metrics

MARGINS = {"ece": 0.005, "nll": 0.01, "accuracy": 0.005}
"""Smaller differences are never called a regression."""

ALPHA = 0.01
"""Chance that any of the scores is called worse when none is."""

FAR = 3.0
"""A training has collapsed if it ends this many of the baseline's ranges beyond its worst."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Old and new scores of one method on one data set.

    Attributes:
        dataset: which.
        method: which.
        old: by metric, one value for each seed of the baseline.
        new: by metric, one value for each of the first seeds.
        identical: whether this tree predicts what the baseline's did.
    """

    dataset: str
    method: str
    old: Mapping[str, Sequence[float]]
    new: Mapping[str, Sequence[float]]
    identical: bool


def value(metric: str, predictions: Predictions) -> float:
    """A metric of predictions."""
    return metrics()[metric].value(predictions)


def compare(pairs: Sequence[Pair]) -> list[Comparison]:
    """A row for each method, data set and metric."""
    keys = [(pair, metric) for pair in pairs for metric in MARGINS]
    each = np.array([_p_values(pair, metric) for pair, metric in keys]).reshape(-1, 2)
    rows = []
    for (pair, metric), p_worse, p_better in zip(keys, holm(each[:, 0]), holm(each[:, 1])):
        new = np.array(pair.new[metric])
        old = np.array(pair.old[metric])[: len(new)]  # of the same seeds
        losses = _losses(metric, pair.old)
        harm = float((_losses(metric, pair.new) - losses[: len(new)]).mean())
        least = max(MARGINS[metric], clear(losses, len(new), len(keys)))
        verdict: Verdict = "unchanged"
        if pair.identical:
            verdict = "identical"
        elif not harm <= MARGINS[metric] and p_worse < ALPHA:  # NaN counts as worse
            verdict = "regressed"
        elif -harm > MARGINS[metric] and p_better < ALPHA:
            verdict = "improved"
        p = p_worse if harm > 0 else p_better
        rows.append(
            Comparison(
                kind="score",
                what=f"{metric} of {pair.method} on {pair.dataset}",
                old=float(old.mean()),
                new=float(new.mean()),
                verdict=verdict,
                least=least,
                note=f"margin {MARGINS[metric]}, p = {p:.2g} after Holm's correction for "
                f"{len(keys)} scores",
            )
        )
    return rows


def p_higher(new: npt.ArrayLike, old: npt.ArrayLike) -> Floats:
    """One-sided p-value of "new is not higher than old".

    Args:
        new: ``(..., seeds)`` losses.
        old: ``(..., more seeds)``, of the same seeds first.
    """
    new, old = np.asarray(new), np.asarray(old)
    number = new.shape[-1]
    change = new - old[..., :number]
    error = change.std(-1, ddof=1) / np.sqrt(number)
    paired = distributions.t.sf(change.mean(-1) / np.maximum(error, _TINY), number - 1)
    beyond = old.max(-1) + FAR * np.ptp(old, axis=-1)
    collapsed = (new > beyond[..., None]).sum(-1) >= 2
    return np.where(collapsed, 0.0, np.minimum(1.0, 2 * np.minimum(_p_ranks(new, old), paired)))


_TINY = float(np.finfo(np.float32).tiny)


def _p_ranks(new: Floats, old: Floats) -> Floats:
    found = distributions.mannwhitneyu(new, old, alternative="greater", axis=-1)
    return np.asarray(found.pvalue)


def clear(old: npt.ArrayLike, number: int, comparisons: int) -> float:
    """How much higher typical losses must rank to be clear by themselves, whatever the others are.

    Args:
        old: the baseline's losses by seed.
        number: of new trainings; typical are as many quantiles of the baseline's.
        comparisons: scores compared in all.
    """
    old = np.asarray(old)
    typical = np.quantile(old, (np.arange(number) + 0.5) / number)
    steps = np.unique(np.subtract.outer(old, typical)) + np.finfo(np.float32).eps
    index = bisect_left(
        steps, True, key=lambda step: 2 * float(_p_ranks(typical + step, old)) * comparisons < ALPHA
    )
    return float(steps[index]) if index < len(steps) else np.inf


def _p_values(pair: Pair, metric: str) -> tuple[float, float]:
    """Of "not worse" and "not better", before correction."""
    if pair.identical:
        return 1.0, 1.0
    if not np.isfinite(pair.new[metric]).all():
        return 0.0, 1.0
    old, new = _losses(metric, pair.old), _losses(metric, pair.new)
    return float(p_higher(new, old)), float(p_higher(-new, -old))


def _losses(metric: str, scores: Mapping[str, Sequence[float]]) -> Floats:
    """By seed; small is good."""
    return np.array(scores[metric]) * (-1 if metrics()[metric].direction == "higher" else 1)
