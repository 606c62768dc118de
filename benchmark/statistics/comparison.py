"""Comparing methods: p-values, groups that cannot be told apart, ranks, data sets, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from string import ascii_lowercase

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from benchmark.api import BlockKey, Floats, fold_scheme
from benchmark.measures.costs import ELSEWHERE
from benchmark.measures.declared import costs as declared_costs
from benchmark.measures.declared import metrics
from benchmark.statistics.intervals import t_quantile


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


def letters(different: npt.NDArray[np.bool_]) -> list[str]:
    """Compact letter display: methods that share a letter cannot be told apart.

    Piepho 2004 (insert and absorb): the letters are the largest sets without a difference.

    Args:
        different: ``(methods, methods)``, symmetric; methods in order of merit.
    """
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


def told_apart(better: Sequence[Floats]) -> npt.NDArray[np.bool_]:
    """Which methods differ in rank: one is better in some metric and worse in none.

    Args:
        better: for each metric ``(methods, methods)``: 1 where the row's method is surely better
            than the column's, -1 where surely worse, 0 where they cannot be told apart.
    """
    stacked = np.stack(better)
    ahead = (stacked > 0).any(0) & ~(stacked < 0).any(0)
    return np.logical_or(ahead, ahead.T)


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


def chance_of_best(resampled: Floats) -> Floats:
    """Share of the resamples in which each method ranks first; ties are shared.

    Args:
        resampled: ``(resamples, methods)`` mean ranks.
    """
    best = resampled <= resampled.min(1, keepdims=True) + 1e-9
    chance: Floats = (best / best.sum(1, keepdims=True)).mean(0)
    return chance


# --- costs -----------------------------------------------------------------------------------


def cost_ratio(costs: Floats, others: Floats, alpha: float) -> tuple[float, float, float]:
    """Ratio of two methods' costs: the geometric mean of the replicates', with its interval.

    It is Student's t for the mean of the logarithms. Replicates count as independent: the time that
    a fit takes depends on the machine, not on which images it shares with another.

    Args:
        costs: ``(replicates,)``; NaN where it is not known or cannot be compared.
        others: those of the other method, on the same replicates.
        alpha: one minus the coverage.

    Returns:
        The ratio, lower and upper end: all NaN without a common replicate, or where a cost is 0;
        the ends are NaN for one replicate, and the ratio where all replicates agree, as counts do.
    """
    both = ~(np.isnan(costs) | np.isnan(others))
    costs, others = costs[both], others[both]
    number = len(costs)
    if not number or (costs <= 0).any() or (others <= 0).any():
        return np.nan, np.nan, np.nan
    logs = np.log(costs / others)
    if np.ptp(logs) < 1e-12:
        ratio = float(costs[0] / others[0])
        return (ratio, ratio, ratio) if number > 1 else (ratio, np.nan, np.nan)
    half = float(t_quantile(alpha, number - 1) * logs.std(ddof=1) / np.sqrt(number))
    middle = float(logs.mean())
    low, ratio, high = np.exp([middle - half, middle, middle + half]).tolist()
    return ratio, low, high


def charges(costs: pd.DataFrame, reference: str, alpha: float = 0.05) -> pd.DataFrame:
    """Mean costs over replicates, with their ratios to a reference on the same hardware.

    A ratio is formed on the replicates of which both costs can be compared.

    Args:
        costs: tidy, with ``hardware`` and ``doubt``.
        reference: the method whose ratio is 1.
        alpha: one minus the coverage.

    Returns:
        One row for each block, method, metric and hardware: ``value``, ``ratio``, ``ratio_low``,
        ``ratio_high``, and ``doubt`` if the cost of any replicate cannot be compared, or not with
        the reference's.
    """
    costs = costs.assign(folds=costs["fold"].astype(str).map(fold_scheme))
    known, rows = costs.dropna(subset=["value"]), []
    for place, part in known.groupby([*BlockKey._fields, "metric"], sort=False):
        timed = declared_costs()[str(place[-1])].timed
        for hardware, here in part.groupby("hardware", sort=False):
            values, comparable = _replicates(here)
            unknown = np.full(len(values), np.nan)
            other = comparable[reference].to_numpy() if reference in values else unknown
            away = timed and reference in set(part["method"]) - set(values)
            for method in values:
                doubts = here.loc[(here["method"] == method) & (here["doubt"] != ""), "doubt"]
                doubt = next(iter(doubts), ELSEWHERE if away else "")
                ratio, low, high = cost_ratio(comparable[method].to_numpy(), other, alpha)
                rows.append(
                    dict(zip((*BlockKey._fields, "metric"), place))
                    | {"method": method, "hardware": hardware, "value": values[method].mean()}
                    | {"ratio": ratio, "ratio_low": low, "ratio_high": high, "doubt": doubt}
                )
    columns = ("method", "metric", "hardware", "value", "ratio", "ratio_low", "ratio_high", "doubt")
    return pd.DataFrame(rows, columns=[*BlockKey._fields, *columns])


def cheapest(
    costs: pd.DataFrame, methods: Sequence[str], alpha: float = 0.05
) -> tuple[str, tuple[str, ...]] | None:
    """Of some methods the one that trains quickest, and those that are not seen to take longer.

    Args:
        costs: tidy, of one block.
        methods: which, the better ones first; those whose times cannot be compared are left out.
        alpha: one minus the coverage of the ratios: one that holds 1 shows no difference.

    Returns:
        Nothing where fewer than two can be compared, or on several machines.
    """
    costs = costs[costs["metric"] == "train_seconds"].dropna(subset=["value"])
    values, comparable = _replicates(costs)
    clear = [m for m in methods if m in values and comparable[m].count() == values[m].count()]
    if len(clear) < 2 or costs["hardware"].nunique() > 1:
        return None
    least = min(clear, key=lambda method: values[method].mean())
    lows = {m: cost_ratio(values[m].to_numpy(), values[least].to_numpy(), alpha)[1] for m in clear}
    return least, tuple(m for m, low in lows.items() if m != least and not low > 1)


def _replicates(costs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Costs of each replicate by method, and the same with NaN where one cannot be compared."""
    clear = costs.assign(clear=costs["value"].where(costs["doubt"] == ""))
    index = ["fold", "seed"]
    return (
        clear.pivot(index=index, columns="method", values="value"),
        clear.pivot(index=index, columns="method", values="clear"),
    )
