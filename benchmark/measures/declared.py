"""All metrics and costs: ours, and those that a folder of plug-ins brings in ``metrics/``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmark.api import Cost, InputError, Metric, Predictions, Quantity
from benchmark.api.plugins import cached, entries, unique
from benchmark.measures.costs import COSTS
from benchmark.measures.metrics import METRICS


@cached
def metrics() -> dict[str, Metric]:
    """Every metric by name, in the order of the tables."""
    return unique("metric", [*METRICS, *entries("metrics", "METRICS", Metric)])


@cached
def costs() -> dict[str, Cost]:
    """Every cost by name, in the order of the tables."""
    return unique("cost", [*COSTS, *entries("metrics", "COSTS", Cost)])


@cached
def quantities() -> dict[str, Quantity]:
    """Metrics and costs by name, in the order of columns: those of the short tables first.

    Raises:
        InputError: a metric and a cost have one name.
    """

    def main_first(declared: Iterable[Quantity]) -> list[Quantity]:
        return sorted(declared, key=lambda quantity: quantity.main or math.inf)

    return unique("quantity", [*main_first(metrics().values()), *main_first(costs().values())])


def ranked() -> tuple[str, ...]:
    """The metrics by which methods are ranked: the mean of the ranks in these is their rank."""
    return tuple(q.name for q in quantities().values() if isinstance(q, Metric) and q.ranked)


def select(names: Iterable[str] | None, posterior: bool) -> tuple[Metric, ...]:
    """The metrics of these names, in the order of the tables.

    Args:
        names: which; None means all that can be computed.
        posterior: whether the true probabilities are known; metrics that need them are left out
            otherwise.

    Raises:
        InputError: a name is unknown.
    """
    wanted = None if names is None else list(names)
    unknown = sorted(set(wanted or ()) - set(metrics()))
    if unknown:
        known = ", ".join(metrics())
        raise InputError(f"unknown metric {', '.join(unknown)}: choose among {known}")
    return tuple(
        metric
        for metric in metrics().values()
        if (wanted is None or metric.name in wanted) and (posterior or not metric.needs_posterior)
    )


def score(predictions: Predictions, names: Sequence[str] | None = None) -> dict[str, float]:
    """Measure one set of predictions.

    Args:
        predictions: of one method on one replicate.
        names: which metrics; None means all. Those that need the true posterior are left out
            where it is unknown.

    Returns:
        Value of each metric, in the order of the tables.

    Raises:
        InputError: a name is unknown.
    """
    chosen = select(names, predictions.posterior is not None)
    return {metric.name: metric.value(predictions) for metric in chosen}
