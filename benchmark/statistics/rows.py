"""What the statistics give: rows of one block, and the frames of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.api import BlockKey, Floats, Metric
from benchmark.statistics import comparison, intervals
from benchmark.statistics.apart import Apart
from benchmark.statistics.blocks import KEY, Block
from benchmark.statistics.estimates import Estimates

VALUE_COLUMNS = (
    *KEY,
    "method",
    "metric",
    "value",
    "low",
    "high",
    "mean_of_folds",
    "training_low",
    "training_high",
    "replicates",
    "images",
    "floor_mean",
    "floor_high",
    "p_calibrated",
    "inside_floor",
    "few_errors",
)
PAIR_COLUMNS = (
    *KEY,
    "metric",
    "method",
    "reference",
    "difference",
    "low",
    "high",
    "effect_size",
    "p",
    "p_holm",
)

Rows = list[dict[str, object]]


@dataclass(frozen=True, eq=False)
class Tables:
    """All that the report shows.

    Attributes:
        values: one row per preset, dataset, backbone, folds, method, metric; those of the class
            shares, which are no method, are last.
        ranks: one row per block and method.
        pairs: one row per block, metric, method and reference.
        overall: one row per metric over all blocks.
        mean_ranks: one row per metric and method over all blocks.
        scores: one row per replicate and metric, and per seed and metric of all folds together.
        notes: small print, in sentences.
    """

    values: pd.DataFrame
    ranks: pd.DataFrame
    pairs: pd.DataFrame
    overall: pd.DataFrame
    mean_ranks: pd.DataFrame
    scores: pd.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BlockTables:
    """All rows of one block, as plain values.

    Attributes:
        key: of the block.
        methods: the complete ones; none where no method has every replicate.
        posterior: whether the true probabilities are known.
        scores: rows of :func:`benchmark.statistics.scores`, of incomplete methods too.
        values: as in :class:`Tables`, like ranks and pairs.
        left_out: sentences on methods and replicates that are left out.
        notes: other sentences.
    """

    key: BlockKey
    methods: tuple[str, ...]
    posterior: bool
    scores: list[tuple[object, ...]]
    values: Rows
    ranks: Rows
    pairs: Rows
    left_out: list[str]
    notes: list[str]

    def to_plain(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> BlockTables:
        """From what :meth:`to_plain` gave, perhaps by way of a file."""
        values = dict(plain) | {
            "key": BlockKey(*plain["key"]),
            "methods": tuple(plain["methods"]),
            "scores": [tuple(row) for row in plain["scores"]],
        }
        return cls(**values)


def value_rows(
    block: Block,
    metric: Metric,
    estimates: Estimates,
    apart: Apart,
    few_errors: Sequence[bool],
    alpha: float,
) -> Rows:
    """A row for each method: value, intervals, noise floor.

    Args:
        block: the methods.
        metric: which measure.
        estimates: of that metric.
        apart: the numbers of its methods.
        few_errors: of each method, whether they are too few to promise coverage.
        alpha: one minus the coverage.
    """
    mean, *ends = intervals.over_training(apart.replicates[metric.name], block.key.folds, alpha)
    training_low, training_high = np.clip(ends, *metric.range)
    unknown = np.full((len(block.methods), 4), np.nan)
    floors = apart.floors.get(metric.name, unknown)
    return [
        {
            **block.key._asdict(),
            "method": method,
            "metric": metric.name,
            "value": estimates.value[m],
            "low": estimates.low[m],
            "high": estimates.high[m],
            "mean_of_folds": mean[m],
            "training_low": training_low[m],
            "training_high": training_high[m],
            "replicates": len(block.replicates),
            "images": block.images,
            **_floor(floors[m], estimates.value[m]),
            "few_errors": few_errors[m],
        }
        for m, method in enumerate(block.methods)
    ]


def _floor(floor: Floats, value: float) -> dict[str, object]:
    """What a perfectly calibrated model would show in this metric."""
    observed, mean, high, p = floor.tolist()
    removed = observed - value
    return {
        "floor_mean": mean - removed,
        "floor_high": high - removed,
        "p_calibrated": p,
        "inside_floor": observed <= high,
    }


def pair_rows(
    block: Block, metric: Metric, estimates: Estimates, against: str, alpha: float
) -> Rows:
    """Differences to the reference and to the best method of this metric.

    Holm's correction counts the comparisons with the reference. The best is chosen from the same
    data, so that all pairs are counted there.

    Args:
        block: the methods.
        metric: which measure.
        estimates: of that metric.
        against: the reference.
        alpha: one minus the coverage.
    """
    order = comparison.ranks(estimates.value, metric.direction == "higher")
    best = block.methods[int(np.argmin(order))]
    p = estimates.p(alpha)
    above = np.triu_indices(len(block.methods), 1)
    all_pairs = np.full(p.shape, np.nan)
    all_pairs[above] = all_pairs.T[above] = comparison.holm(p[above])
    # No two values lie further apart than the ends of the metric's range.
    span = metric.range[1] - metric.range[0]
    low, high = np.clip([estimates.pair_low, estimates.pair_high], -span, span)
    with np.errstate(invalid="ignore"):
        difference = estimates.value[:, None] - estimates.value
    rows: Rows = []
    for reference in dict.fromkeys((against, best)):
        if reference not in block.methods:
            continue
        r = block.methods.index(reference)
        others = [m for m in range(len(block.methods)) if m != r]
        adjusted = comparison.holm(p[others, r]) if reference == against else all_pairs[others, r]
        rows += [
            {
                **block.key._asdict(),
                "metric": metric.name,
                "method": block.methods[m],
                "reference": reference,
                "difference": difference[m, r],
                "low": low[m, r],
                "high": high[m, r],
                "effect_size": estimates.effect[m, r],
                "p": p[m, r],
                "p_holm": p_holm,
            }
            for m, p_holm in zip(others, adjusted)
        ]
    return rows
