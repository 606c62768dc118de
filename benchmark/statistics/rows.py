"""What the statistics give: rows of one block, and the frames of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from benchmark.api import BlockKey, Floats, Metric
from benchmark.inference import comparison, intervals
from benchmark.inference.moderated import MIN_REPLICATES, Moderated
from benchmark.measures.kinds import Binned
from benchmark.statistics.apart import Apart
from benchmark.statistics.blocks import KEY, Block
from benchmark.statistics.methods import OverTrainings
from benchmark.statistics.networks import Estimates

VALUE_COLUMNS = (
    *KEY,
    "method",
    "metric",
    "question",
    "value",
    "low",
    "high",
    "networks_value",
    "networks_low",
    "networks_high",
    "replicates",
    "images",
    "floor_mean",
    "floor_high",
    "p_calibrated",
    "inside_floor",
    "few_errors",
    "unstable",
)
PAIR_COLUMNS = (
    *KEY,
    "question",
    "metric",
    "method",
    "reference",
    "difference",
    "low",
    "high",
    "simultaneous",
    "effect_size",
    "p",
    "p_holm",
)
DETECTABLE_COLUMNS = (
    *KEY,
    "metric",
    "independent",
    "detectable",
    "first",
    "second",
    "difference",
    "needed",
)

Rows = list[dict[str, object]]


@dataclass(frozen=True, eq=False)
class Tables:
    """All that the report shows.

    Attributes:
        values: one row per preset, dataset, backbone, folds, method, metric; those of the class
            shares, which are no method, are last.
        ranks: one row per block and method.
        pairs: one row per block, question, metric, method and reference.
        detectable: one row per block and metric: what difference could have been seen.
        overall: one row per metric over all blocks.
        mean_ranks: one row per metric and method over all blocks.
        scores: one row per replicate and metric.
        notes: small print, in sentences.
    """

    values: pd.DataFrame
    ranks: pd.DataFrame
    pairs: pd.DataFrame
    detectable: pd.DataFrame
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
        values: as in :class:`Tables`, like ranks, pairs and detectable.
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
    detectable: Rows
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
    networks: Estimates,
    trainings: OverTrainings | None,
    apart: Apart,
    few_errors: Sequence[bool],
) -> Rows:
    """A row for each method: values, intervals, noise floor.

    Args:
        block: the methods.
        metric: which measure.
        networks: of that metric, given the trained networks.
        trainings: over trainings; None with too few replicates.
        apart: the numbers of its methods.
        few_errors: of each method, whether they are too few to promise coverage.
    """
    shown = trainings or networks
    unknown = np.full((len(block.methods), 5), np.nan)
    floors = apart.floors.get(metric.name, unknown)
    return [
        {
            **block.key._asdict(),
            "method": method,
            "metric": metric.name,
            "question": "methods" if trainings else "networks",
            "value": np.clip(shown.value[m], *metric.range),
            "low": shown.low[m],
            "high": shown.high[m],
            "networks_value": networks.value[m],
            "networks_low": networks.low[m],
            "networks_high": networks.high[m],
            "replicates": len(block.replicates),
            "images": block.images,
            **_floor(floors[m], networks.value[m]),
            "few_errors": few_errors[m],
            "unstable": bool(trainings and trainings.compared.unstable[m]),
        }
        for m, method in enumerate(block.methods)
    ]


def _floor(floor: Floats, value: float) -> dict[str, object]:
    """What perfectly calibrated networks would show in this metric, and how many do."""
    observed, mean, high, p, inside = floor.tolist()
    removed = observed - value
    return {
        "floor_mean": mean - removed,
        "floor_high": high - removed,
        "p_calibrated": p,
        "inside_floor": inside,
    }


@dataclass(frozen=True, eq=False)
class _Paired:
    """Differences of all pairs to one question, ``(methods, methods)``.

    Attributes:
        wider: whether the intervals may be widened to hold for all pairs at once.
    """

    question: str
    value: Floats
    difference: Floats
    p: Floats
    degrees: Floats
    low: Floats
    high: Floats
    effect: Floats
    wider: bool = True


def pair_rows(
    block: Block,
    metric: Metric,
    networks: Estimates,
    trainings: OverTrainings | None,
    against: str,
    alpha: float,
) -> Rows:
    """Differences to the reference and to the best method of this metric, for both questions.

    Holm's correction counts the comparisons with the reference. The best is chosen from the same
    data: all pairs are counted there, and its intervals hold for all of them at once
    (Bonferroni).

    Args:
        block: the methods.
        metric: which measure.
        networks: of that metric, given the trained networks.
        trainings: over trainings; None with too few replicates.
        against: the reference.
        alpha: one minus the coverage.
    """
    questions = []
    if trainings:
        t = trainings.compared
        half = t.half(alpha)
        with np.errstate(divide="ignore", invalid="ignore"):
            effect = np.where(t.scatter > 0, t.difference / t.scatter, np.nan)
        questions.append(
            _Paired("methods", trainings.value, t.difference, t.p(), t.degrees,
                    t.difference - half, t.difference + half, effect)
        )  # fmt: skip
    with np.errstate(invalid="ignore"):
        difference = networks.value[:, None] - networks.value
    questions.append(
        _Paired("networks", networks.value, difference, networks.p, networks.degrees,
                networks.pair_low, networks.pair_high, networks.effect,
                wider=not isinstance(metric, Binned))
    )  # fmt: skip
    return [
        {**block.key._asdict(), "question": paired.question, "metric": metric.name, **row}
        for paired in questions
        for row in _pairs(block.methods, metric, paired, against, alpha)
    ]


def _pairs(
    methods: Sequence[str], metric: Metric, paired: _Paired, against: str, alpha: float
) -> Rows:
    order = comparison.ranks(paired.value, metric.direction == "higher")
    best = methods[int(np.argmin(order))]
    above = np.triu_indices(len(methods), 1)
    all_pairs = np.full(paired.p.shape, np.nan)
    all_pairs[above] = all_pairs.T[above] = comparison.holm(paired.p[above])
    each, at_once = (
        intervals.t_quantile(level, paired.degrees)
        for level in (alpha, alpha / max(len(above[0]), 1))
    )
    # No two values lie further apart than the ends of the metric's range.
    span = metric.range[1] - metric.range[0]
    rows: Rows = []
    for reference in dict.fromkeys((against, best)):
        if reference not in methods:
            continue
        r = methods.index(reference)
        simultaneous = reference != against
        others = [m for m in range(len(methods)) if m != r]
        adjusted = all_pairs[others, r] if simultaneous else comparison.holm(paired.p[others, r])
        for m, p_holm in zip(others, adjusted):
            with np.errstate(invalid="ignore"):
                difference = paired.difference[m, r]
                wider = at_once[m, r] / each[m, r] if simultaneous else 1.0
                if simultaneous and not paired.wider:
                    wider = np.nan  # joint inversion's are no multiples of an error
                low = difference - wider * (difference - paired.low[m, r])
                high = difference + wider * (paired.high[m, r] - difference)
            rows.append(
                {
                    "method": methods[m],
                    "reference": reference,
                    "difference": difference,
                    "low": np.clip(low, -span, span),
                    "high": np.clip(high, -span, span),
                    "simultaneous": simultaneous,
                    "effect_size": paired.effect[m, r],
                    "p": paired.p[m, r],
                    "p_holm": p_holm,
                }
            )
    return rows


POWER = 0.8
"""Chance with which a difference is to be found that is called detectable."""


def detectable_row(
    block: Block, metric: Metric, trainings: OverTrainings, alpha: float
) -> dict[str, object]:
    """What difference of two methods would be found, and what it takes to settle the first place.

    Args:
        block: the methods.
        metric: which measure.
        trainings: of that metric.
        alpha: level of the tests, of all pairs by Bonferroni's correction.
    """
    found = trainings.compared
    above = np.triu_indices(len(block.methods), 1)
    tests = len(above[0])
    smallest = (_steps(found.degrees, alpha / tests) * found.error)[above]
    smallest = smallest[np.isfinite(smallest)]
    order = np.argsort(
        comparison.ranks(trainings.value, metric.direction == "higher"), kind="stable"
    )
    first, second = order[:2]
    difference = abs(float(found.difference[first, second]))
    return {
        **block.key._asdict(),
        "metric": metric.name,
        "independent": block.independent,
        "detectable": float(np.median(smallest)) if len(smallest) else np.nan,
        "first": block.methods[first],
        "second": block.methods[second],
        "difference": difference,
        "needed": _needed(block, found, int(first), int(second), tests, alpha),
    }


def _steps(degrees: Floats, level: float) -> Floats:
    """Standard errors of a difference that a t-test at this level finds with chance `POWER`."""
    critical = intervals.t_quantile(level, degrees)
    return np.asarray(special.nctdtrinc(degrees, 1 - POWER, critical))


MOST = 1000
"""More replicates nobody trains."""


def _needed(
    block: Block, found: Moderated, first: int, second: int, tests: int, alpha: float
) -> float:
    """How many replicates would find the observed difference; infinite for more than `MOST`.

    NaN where it is not known: folds are as many as they are.
    """
    difference = abs(found.difference[first, second])
    if block.key.folds.endswith(" folds") or not np.isfinite(difference):
        return np.nan
    fixed, scatter = found.fixed[first, second], found.scatter[first, second]
    numbers = np.arange(MIN_REPLICATES, MOST + 1)
    # What was learned of the scatter from other pairs is learned again.
    degrees = found.degrees[first, second] * (numbers - 1) / (block.independent - 1)
    steps = _steps(degrees, alpha / tests)
    enough = steps * np.sqrt(scatter**2 / numbers + fixed**2) <= difference
    return float(numbers[enough][0]) if enough.any() else np.inf
