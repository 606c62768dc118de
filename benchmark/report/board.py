"""The leaderboard as values: what every file of the report shows, and in which order."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from benchmark.api import fold_scheme
from benchmark.report.words import (
    column_head,
    file_name,
    in_order,
    main_metrics,
    percent,
    quantity,
    sensible_digits,
)
from benchmark.statistics import Tables
from benchmark.statistics.blocks import KEY

REFERENCE = "cross-entropy"
"""What costs are compared to, wherever it was run."""

NAN = math.nan


@dataclass(frozen=True, order=True)
class Block:
    """Methods are compared within a block: the same images, network and settings.

    Attributes:
        preset: the settings of training.
        dataset: name of the data set.
        backbone: name of the network.
        folds: the scheme of the replicates: ``5 folds``, ``draws`` or ``official``.
    """

    preset: str
    dataset: str
    backbone: str
    folds: str

    @property
    def title(self) -> str:
        """For headings."""
        return " · ".join(p for p in (self.dataset, self.backbone, self.scheme, self.preset) if p)

    @property
    def scheme(self) -> str:
        """The replicates in words."""
        return {"official": "official split", "draws": "independent draws"}.get(
            self.folds, self.folds
        )

    @property
    def file_name(self) -> str:
        """For the files that show it alone."""
        parts = (self.dataset, self.backbone, self.folds.replace(" ", "-"), self.preset)
        return file_name(*(p for p in parts if p))


@dataclass(frozen=True, kw_only=True)
class Value:
    """One number of the table with all that is said about it; NaN where nothing is."""

    value: float = NAN
    low: float = NAN
    high: float = NAN
    mean_of_folds: float = NAN
    training_low: float = NAN
    training_high: float = NAN
    floor_mean: float = NAN
    floor_high: float = NAN
    p_calibrated: float = NAN
    inside_floor: bool = False
    few_errors: bool = False


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A method's paired difference to another one."""

    difference: float = NAN
    low: float = NAN
    high: float = NAN
    effect_size: float = NAN
    p: float = NAN
    p_holm: float = NAN


@dataclass(frozen=True)
class Cost:
    """A cost and its ratio to the reference on the same hardware (NaN where it is not there)."""

    value: float = NAN
    ratio: float = NAN


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One method of a block.

    Attributes:
        method: its name.
        rank: mean of its ranks of accuracy, ECE and NLL, with the interval of the replicates.
        group: letters; methods that share one cannot be told apart.
        chance_best: how often it comes out best.
        values: its metrics.
        costs: its costs, by (cost, hardware).
        differences: to the reference method, by metric.
        to_best: to the method that is best in a metric, by metric.
    """

    method: str
    rank: Value
    group: str = ""
    chance_best: float = NAN
    values: Mapping[str, Value] = field(default_factory=dict)
    costs: Mapping[tuple[str, str], Cost] = field(default_factory=dict)
    differences: Mapping[str, Difference] = field(default_factory=dict)
    to_best: Mapping[str, Difference] = field(default_factory=dict)

    @property
    def letters(self) -> frozenset[str]:
        """The letters of its group; beyond z they carry a number."""
        return frozenset(re.findall(r"[a-z]\d*", self.group))

    @property
    def few_errors(self) -> bool:
        """Whether it errs too seldom for its intervals to be trusted."""
        return any(value.few_errors for value in self.values.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class Board:
    """The leaderboard of one block, best rank first.

    Attributes:
        block: what it is about.
        rows: the methods by rank, then by name.
        images: how many test images each value is made of.
        replicates: how many replicates each method has.
        against: the reference of the paired differences.
        leaders: the best method of each metric, which is the other reference.
        cost_reference: the reference of the costs' ratios.
        alpha: one minus the coverage of the intervals.
    """

    block: Block
    rows: tuple[Row, ...]
    images: int
    replicates: int
    against: str
    leaders: Mapping[str, str]
    cost_reference: str
    alpha: float

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Metrics in the order of the columns."""
        return in_order(m for row in self.rows for m in row.values)

    @cached_property
    def main_metrics(self) -> tuple[str, ...]:
        """Those of the short tables: the primary ones, or all where none of these was asked for."""
        return tuple(m for m in main_metrics() if m in self.metrics) or self.metrics

    @cached_property
    def costs(self) -> tuple[tuple[str, str], ...]:
        """Costs by hardware, in the order of the columns: hardware is never mixed in one."""
        keys = {key for row in self.rows for key in row.costs}
        return tuple(
            (name, hardware)
            for name in in_order(name for name, _ in keys)
            for hardware in sorted(h for n, h in keys if n == name)
        )

    @cached_property
    def main_costs(self) -> tuple[tuple[str, str], ...]:
        """Those of the short tables."""
        return tuple(key for key in self.costs if quantity(key[0]).main)

    @cached_property
    def hardware(self) -> tuple[str, ...]:
        """Machines that costs were measured on."""
        return tuple(sorted({hardware for _, hardware in self.costs}))

    def cost_head(self, key: tuple[str, str]) -> str:
        """Head of a cost's column; names the machine where there are several."""
        name, hardware = key
        column = column_head(name)
        return f"{column} ({hardware})" if len(self.hardware) > 1 else column

    def digits(self, metric: str) -> int:
        """Decimals of a metric's printed values that its intervals justify."""
        kind = quantity(metric)
        values = [row.values[metric] for row in self.rows if metric in row.values]
        return sensible_digits([(v.high - v.low) / 2 * kind.scale for v in values], kind.digits)

    def best(self, metric: str) -> Row | None:
        """The method with the best value, of equals the better ranked; None without a winner."""
        better = quantity(metric).direction
        rows = [
            row
            for row in self.rows
            if metric in row.values and not math.isnan(row.values[metric].value)
        ]
        if better is None or not rows:
            return None
        sign = -1 if better == "higher" else 1
        return min(rows, key=lambda row: sign * row.values[metric].value)

    @property
    def coverage(self) -> str:
        """Of the intervals, as ``95 %``."""
        return percent(1 - self.alpha)

    @property
    def covers(self) -> str:
        """What the intervals of the values cover besides the draw of the test images."""
        if self.block.folds == "draws":  # nothing here says how many there are
            return "given these trained models, or over seeds too where there are several"
        once = 1 if self.block.folds == "official" else int(self.block.folds.split()[0])
        if self.replicates > once:
            return "and for other seeds of training: the variance between seeds is added"
        return "given these trained models"

    @property
    def floor_point(self) -> str:
        """Of the noise floor, as ``97.5 %``: below it lie as many values by chance."""
        return percent(1 - self.alpha / 2)

    def has_floor(self, metric: str) -> bool:
        """Whether a noise floor was measured for a metric."""
        return any(
            not math.isnan(row.values[metric].floor_high)
            for row in self.rows
            if metric in row.values
        )

    @property
    def tied(self) -> tuple[Row, ...]:
        """The best ranked method and all that cannot be told apart from it."""
        if not self.rows:
            return ()
        letters = self.rows[0].letters
        return self.rows[:1] + tuple(r for r in self.rows[1:] if letters & r.letters)

    @property
    def inside_floor(self) -> tuple[str, ...]:
        """Methods whose ECE a perfectly calibrated model would reach by chance."""
        return tuple(
            r.method for r in self.rows if "ece" in r.values and r.values["ece"].inside_floor
        )


def make_boards(
    tables: Tables, costs: pd.DataFrame, against: str, alpha: float = 0.05
) -> tuple[Board, ...]:
    """The leaderboards of all blocks, by data set, backbone, folds and preset."""
    paid = _with_folds(costs)
    boards = []
    for key, ranks in tables.ranks.groupby(list(KEY), sort=True, observed=True):
        block = Block(*(str(k) for k in key))
        values = _within(tables.values, block)
        pairs = _within(tables.pairs, block)
        leaders = _leaders(pairs, against)
        methods = [str(m) for m in ranks["method"]]
        reference = REFERENCE if REFERENCE in methods else against
        charged = _charged(_within(paid, block), reference)
        rows = [
            Row(
                method=method,
                rank=Value(value=_number(rank, "rank"), low=_number(rank, "low"),
                           high=_number(rank, "high")),
                group=_text(rank, "group"),
                chance_best=_number(rank, "chance_best"),
                values={
                    str(v["metric"]): _value(v) for v in _records(values, method)
                },
                costs=charged.get(method, {}),
                differences={
                    str(p["metric"]): _difference(p)
                    for p in _records(pairs, method)
                    if p["reference"] == against
                },
                to_best={
                    str(p["metric"]): _difference(p)
                    for p in _records(pairs, method)
                    if p["reference"] == leaders[str(p["metric"])]
                },
            )
            for method, rank in zip(methods, ranks.to_dict("records"), strict=True)
        ]  # fmt: skip
        rows.sort(key=lambda r: (math.isnan(r.rank.value), _nan_last(r.rank.value), r.method))
        boards.append(
            Board(
                block=block,
                rows=tuple(rows),
                images=_most(values, "images"),
                replicates=_most(values, "replicates"),
                against=against,
                leaders=leaders,
                cost_reference=reference,
                alpha=alpha,
            )
        )
    order = sorted(boards, key=lambda b: (b.block.dataset, b.block.backbone, b.block))
    return tuple(order)


def _leaders(pairs: pd.DataFrame, against: str) -> dict[str, str]:
    """The best method of each metric: pairs are formed with it and with ``against`` alone."""
    if pairs.empty:
        return {}
    references = pairs.groupby("metric", sort=False)["reference"].unique()
    return {
        str(metric): next((str(m) for m in found if m != against), against)
        for metric, found in references.items()
    }


def _with_folds(costs: pd.DataFrame) -> pd.DataFrame:
    if costs.empty:
        return pd.DataFrame(columns=[*KEY, "method", "seed", "fold", "metric", "value"])
    return costs.assign(folds=[fold_scheme(str(fold)) for fold in costs["fold"]])


def _charged(costs: pd.DataFrame, reference: str) -> dict[str, dict[tuple[str, str], Cost]]:
    """Mean cost of a replicate; its ratio is formed on the replicates that both have."""
    if costs.empty:
        return {}
    costs = costs.dropna(subset=["value"])
    if "hardware" not in costs:
        costs = costs.assign(hardware="")
    charged: dict[str, dict[tuple[str, str], Cost]] = {}
    for (metric, hardware), part in costs.groupby(["metric", "hardware"], sort=True):
        wide = part.pivot_table(index=["fold", "seed"], columns="method", values="value")
        for method in wide.columns:
            ratio = NAN
            if reference in wide:
                both = wide.dropna(subset=sorted({reference, method}))
                ratio = _ratio(float(both[method].mean()), float(both[reference].mean()))
            charged.setdefault(str(method), {})[str(metric), str(hardware)] = Cost(
                float(wide[method].mean()), ratio
            )
    return charged


def _ratio(value: float, base: float) -> float:
    return value / base if base else NAN


def _within(frame: pd.DataFrame, block: Block) -> pd.DataFrame:
    if frame.empty:
        return frame
    mask = pd.Series(True, index=frame.index)
    for key in KEY:
        mask &= frame[key].astype(str) == getattr(block, key)
    return frame[mask]


def _records(frame: pd.DataFrame, method: str) -> list[dict[Hashable, Any]]:
    if frame.empty:
        return []
    return frame[frame["method"] == method].to_dict("records")


def _value(row: Mapping[Any, Any]) -> Value:
    numbers = {n: _number(row, n) for n in _NUMBERS}
    flags = {n: bool(row.get(n, False)) and not pd.isna(row[n]) for n in _FLAGS}
    return Value(**numbers, **flags)  # type: ignore[arg-type]


def _difference(row: Mapping[Any, Any]) -> Difference:
    return Difference(**{n: _number(row, n) for n in Difference.__dataclass_fields__})


_FLAGS = ("inside_floor", "few_errors")
_NUMBERS = tuple(n for n in Value.__dataclass_fields__ if n not in _FLAGS)


def _number(row: Mapping[Any, Any], name: str) -> float:
    value = row.get(name, NAN)
    return NAN if value is None or pd.isna(value) else float(value)


def _text(row: Mapping[Any, Any], name: str) -> str:
    value = row.get(name, "")
    return value if isinstance(value, str) else ""


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _most(frame: pd.DataFrame, name: str) -> int:
    return int(frame[name].max()) if name in frame and not frame.empty else 0
