"""What methods are charged: mean costs, their ratios with intervals, and which is the cheapest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.api import BlockKey, Floats, fold_scheme
from benchmark.inference.intervals import t_quantile
from benchmark.measures.costs import ELSEWHERE
from benchmark.measures.declared import costs as declared_costs


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
