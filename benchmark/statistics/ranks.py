"""Ranks of a block's methods: with intervals, the chance of being best, and letters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmark.api import IntArray
from benchmark.measures.declared import metrics, ranked
from benchmark.statistics import comparison, intervals
from benchmark.statistics.apart import Apart
from benchmark.statistics.blocks import KEY, Block
from benchmark.statistics.estimates import Estimates
from benchmark.statistics.intervals import RESAMPLES

RANK_COLUMNS = (
    *KEY,
    "method",
    "rank",
    "low",
    "high",
    *(f"rank_{name}" for name in ranked()),
    "chance_best",
    "group",
)


def rank_rows(
    block: Block,
    estimates: Mapping[str, Estimates],
    apart: Apart,
    generator: np.random.Generator,
    alpha: float,
) -> list[dict[str, object]]:
    """A row for each method, the best first.

    Args:
        block: the methods.
        estimates: of the ranked metrics, among others.
        apart: the numbers of its methods, of the ranked metrics among others.
        generator: draws the seeds of each resample.
        alpha: one minus the coverage of the intervals over training, and the level of the letters.
    """
    number = len(block.methods)
    values = {name: estimates[name].value for name in ranked()}
    rank = comparison.mean_rank(values)
    by_replicate = comparison.mean_rank({name: apart.replicates[name].T for name in ranked()}).T
    mean, lower, upper = intervals.over_training(by_replicate, block.key.folds, alpha)
    low = np.maximum(rank - (mean - lower), 1)
    high = np.minimum(rank + (upper - mean), number)

    chosen = generator.multinomial(block.seeds, np.full(block.seeds, 1 / block.seeds), RESAMPLES)
    share = chosen.T / block.seeds
    drawn = {name: (apart.resampled[name] * share).sum(1).T for name in ranked()}
    chance = comparison.chance_of_best(comparison.mean_rank(drawn))
    order = np.argsort(rank, kind="stable")
    group = letters(estimates, order, alpha)
    single = {
        f"rank_{name}": comparison.ranks(v, metrics()[name].direction == "higher")
        for name, v in values.items()
    }
    return [
        {
            **block.key._asdict(),
            "method": block.methods[m],
            "rank": rank[m],
            "low": low[m],
            "high": high[m],
            **{column: ranks[m] for column, ranks in single.items()},
            "chance_best": chance[m],
            "group": group[m],
        }
        for m in order
    ]


def letters(estimates: Mapping[str, Estimates], order: IntArray, alpha: float) -> dict[int, str]:
    """Letters of the methods, by Holm-adjusted comparisons of all pairs in all ranked metrics."""
    number = len(order)
    above = np.triu_indices(number, 1)
    raw = [estimates[name].p(alpha)[above] for name in ranked()]
    adjusted = comparison.holm(np.concatenate(raw)).reshape(len(raw), -1)
    better = []
    for name, p in zip(ranked(), adjusted):
        sign = np.zeros((number, number))
        value = estimates[name].value
        with np.errstate(invalid="ignore"):
            gap = value[above[0]] - value[above[1]]
        ahead = np.nan_to_num(np.sign(gap)) * (1 if metrics()[name].direction == "higher" else -1)
        # An infinite loss is worse than a finite one, without any test.
        sign[above] = np.where((p < alpha) | np.isinf(gap), ahead, 0)
        better.append(sign - sign.T)
    different = comparison.told_apart(better)
    return dict(zip(order.tolist(), comparison.letters(different[np.ix_(order, order)])))
