"""Scores: every metric of every replicate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from benchmark.api import ORIGIN, Origin, Predictions
from benchmark.measures.declared import select
from benchmark.statistics.blocks import ordered

SCORE_COLUMNS = (*ORIGIN, "metric", "value")

Known = Mapping[tuple[Origin, str], float]
"""Values by origin and name of the metric."""


def scores(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    known: Known | None = None,
) -> pd.DataFrame:
    """Tidy scores: one row per replicate and metric.

    Args:
        predictions: of any methods, data sets and replicates.
        metrics: names; None means all that can be computed.
        seed: where the noise floors' label draws start.
        known: values measured earlier, of the same predictions and with the same seed: only what
            is missing there is measured.

    Returns:
        Columns preset, dataset, backbone, method, fold, seed, metric, value, in a fixed order.

    Raises:
        InputError: a metric or fold is unknown, or a replicate occurs twice.
    """
    values = measure(ordered(predictions, seed), metrics, known or {})
    rows = [
        (*(getattr(origin, column) for column in ORIGIN), metric, value)
        for (origin, metric), value in values.items()
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def measure(
    predictions: Iterable[Predictions], metrics: Sequence[str] | None, known: Known
) -> dict[tuple[Origin, str], float]:
    """The metrics of each set of predictions that can be computed, in order.

    Args:
        predictions: each with another origin.
        metrics: names; None means all.
        known: values that need not be measured again.
    """
    chosen = {posterior: select(metrics, posterior) for posterior in (False, True)}
    values = {}
    for p in predictions:
        for metric in chosen[p.posterior is not None]:
            key = (p.origin, metric.name)
            values[key] = known[key] if key in known else metric.value(p)
    return values
