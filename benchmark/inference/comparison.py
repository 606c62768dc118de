"""Comparing methods: p-values, groups that cannot be told apart, ranks, many data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from string import ascii_lowercase

import numpy as np
import numpy.typing as npt
from scipy import special

from benchmark.api import Floats
from benchmark.inference.intervals import t_quantile
from benchmark.measures.declared import metrics


def p_value(
    difference: Floats, low: Floats, high: Floats, alpha: float, degrees: Floats | float = np.inf
) -> Floats:
    """The p-value of "no difference" that belongs to an interval.

    The distance from the difference to the end of its interval that faces 0 is taken for the
    quantile ``1 - alpha / 2`` of Student's t, in standard errors, so that p falls below alpha
    exactly where the interval excludes 0. NaN where the interval is unknown.

    Args:
        difference: of any shape.
        low: its lower ends.
        high: its upper ends.
        alpha: one minus the coverage of the intervals.
        degrees: of freedom of the standard errors; infinite for a normal distribution.
    """
    difference = np.asarray(difference, dtype=float)
    reach = np.where(difference > 0, difference - low, high - difference)
    quantile = t_quantile(alpha, degrees)
    with np.errstate(invalid="ignore", divide="ignore"):
        steps = np.where(difference == 0, 0.0, quantile * np.abs(difference) / reach)
    p = np.asarray(2 * special.stdtr(degrees, -np.where(reach < 0, np.inf, steps)))
    return np.where(np.isfinite(low) & np.isfinite(high), p, np.nan)


def holm(p: Sequence[float] | Floats) -> Floats:
    """Holm's step-down adjustment; NaN stays NaN and does not count."""
    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def better(value: Floats, p: Floats, higher_is_better: bool, alpha: float) -> Floats:
    """Which methods are surely better than which in a metric, by Holm's correction over all pairs.

    Args:
        value: ``(methods,)``; an infinite loss is worse than a finite one, without any test.
        p: ``(methods, methods)`` of "no difference".
        higher_is_better: the metric's direction.
        alpha: chance that any two equal methods are told apart.

    Returns:
        ``(methods, methods)``: 1 where the row's method is surely better than the column's, -1
        where it is surely worse, 0 where they cannot be told apart.
    """
    above = np.triu_indices(len(value), 1)
    sign = np.zeros(p.shape)
    with np.errstate(invalid="ignore"):
        gap = value[above[0]] - value[above[1]]
    ahead = np.nan_to_num(np.sign(gap)) * (1 if higher_is_better else -1)
    sign[above] = np.where((holm(p[above]) < alpha) | np.isinf(gap), ahead, 0)
    return sign - sign.T


def letters(different: npt.NDArray[np.bool_], merit: Floats) -> list[str]:
    """Compact letter display: methods that share a letter cannot be told apart.

    Piepho 2004 (insert and absorb): the letters are the largest sets without a difference.

    Args:
        different: ``(methods, methods)``, symmetric.
        merit: ``(methods,)`` ranks: the best method has the letter a.

    Returns:
        Of each method.
    """
    order = np.argsort(merit, kind="stable")
    sorted_letters = _letters(different[np.ix_(order, order)])
    return [sorted_letters[place] for place in np.argsort(order, kind="stable")]


def _letters(different: npt.NDArray[np.bool_]) -> list[str]:
    number = len(different)
    sets = [frozenset(range(number))]
    for i, j in combinations(range(number), 2):
        if different[i, j]:
            split = [s - {k} for s in sets if {i, j} <= s for k in (i, j)]
            candidates = [s for s in sets if not {i, j} <= s] + split
            unique = list(dict.fromkeys(candidates))
            sets = [s for s in unique if not any(s < other for other in unique)]
    sets.sort(key=sorted)
    names = [_letter(i) for i in range(len(sets))]
    return ["".join(name for name, s in zip(names, sets) if i in s) for i in range(number)]


def _letter(number: int) -> str:
    """a, b, ..., z, a1, b1, ..."""
    turn, letter = divmod(number, len(ascii_lowercase))
    return ascii_lowercase[letter] + (str(turn) if turn else "")


def ranks(values: Floats, higher_is_better: bool) -> Floats:
    """Rank 1 is best; ties share their mean rank; infinite losses and NaN come last.

    Args:
        values: ``(..., methods)``.
        higher_is_better: the metric's direction.
    """
    # Means over seeds of equal counts may differ in their last digit.
    losses = np.round(-values if higher_is_better else values, 12)
    losses = np.where(np.isnan(losses), np.inf, losses)
    one, other = losses[..., :, None], losses[..., None, :]
    better, equal = (other < one).sum(-1), (other == one).sum(-1)
    return np.asarray(better + (equal + 1) / 2)


def mean_rank(values: Mapping[str, Floats]) -> Floats:
    """Mean of the ranks in several metrics (the paper's: accuracy, ECE, NLL), ``(..., methods)``.

    Args:
        values: by name of the metric, ``(..., methods)``.
    """
    ranked = [ranks(v, metrics()[name].direction == "higher") for name, v in values.items()]
    return np.asarray(np.sum(ranked, axis=0) / len(ranked))


@dataclass(frozen=True)
class Friedman:
    """Do methods differ over many blocks?

    Attributes:
        blocks: how many.
        mean_ranks: ``(methods,)``.
        statistic: Friedman's, corrected for ties; NaN with fewer than three methods or two
            blocks.
        p: from its chi-square distribution.
        critical_difference: of mean ranks, by Nemenyi's test.
        powered: whether half of the largest possible difference would be seen.
    """

    blocks: int
    mean_ranks: Floats
    statistic: float
    p: float
    critical_difference: float
    powered: bool


def friedman(values: Floats, higher_is_better: bool, alpha: float = 0.05) -> Friedman:
    """Friedman's test and Nemenyi's critical difference (Demsar 2006).

    Args:
        values: ``(blocks, methods)``.
        higher_is_better: the metric's direction.
        alpha: level of the critical difference.
    """
    blocks, methods = values.shape
    ranked = ranks(values, higher_is_better)
    if methods < 2:
        return Friedman(blocks, ranked.mean(0), np.nan, np.nan, np.nan, False)
    critical = float(
        _nemenyi_quantile(alpha, methods) * np.sqrt(methods * (methods + 1) / (6 * blocks))
    )
    statistic = p = np.nan
    if methods >= 3 and blocks >= 2:
        if np.ptp(ranked) == 0:
            statistic, p = 0.0, 1.0
        else:
            from scipy import stats as distributions  # slow to import

            statistic, p = map(float, distributions.friedmanchisquare(*ranked.T))
    powered = blocks >= 2 and critical <= (methods - 1) / 2
    return Friedman(blocks, ranked.mean(0), statistic, p, critical, powered)


@cache
def _nemenyi_quantile(alpha: float, methods: int) -> float:
    """Of the studentized range: slow to find, and the same for all metrics."""
    from scipy import stats as distributions

    return float(distributions.studentized_range.ppf(1 - alpha, methods, np.inf) / np.sqrt(2))
