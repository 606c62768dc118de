"""The leaderboard of a block as values: what every file of the report shows, in which order."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from operator import itemgetter
from typing import Any, TypeVar

import pandas as pd

from benchmark import api
from benchmark.api import BlockKey, Quantity, fold_scheme
from benchmark.report.words import (
    ABSENT,
    ARROWS,
    DOUBTFUL,
    INSIDE_FLOOR,
    column_head,
    file_name,
    in_order,
    interval,
    number,
    percent,
    quantity,
    ratio,
    sensible_digits,
    significant,
)
from benchmark.statistics import Tables, charges, cheapest
from benchmark.statistics.blocks import KEY

NAN = math.nan
T = TypeVar("T")


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

    @property
    def mark(self) -> str:
        """The sign of a value inside the noise floor."""
        return INSIDE_FLOOR * self.inside_floor


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
class Charge:
    """A cost and its ratio to the reference on the same hardware (NaN where it is not there).

    Attributes:
        doubt: why it cannot be compared; empty where it can.
    """

    value: float = NAN
    ratio: float = NAN
    ratio_low: float = NAN
    ratio_high: float = NAN
    doubt: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One method of a block.

    Attributes:
        method: its name.
        rank: mean of its ranks of accuracy, ECE and NLL, with the interval of the replicates.
        group: letters; methods that share one cannot be told apart.
        chance_best: how often it comes out best.
        values: its metrics: the same for all methods of a block.
        costs: its costs, by (cost, hardware).
        differences: to the reference and to the best method, by (metric, other method).
    """

    method: str
    rank: Value
    group: str = ""
    chance_best: float = NAN
    values: Mapping[str, Value] = field(default_factory=dict)
    costs: Mapping[tuple[str, str], Charge] = field(default_factory=dict)
    differences: Mapping[tuple[str, str], Difference] = field(default_factory=dict)

    @property
    def letters(self) -> frozenset[str]:
        """The letters of its group; beyond z they carry a number."""
        return frozenset(re.findall(r"[a-z]\d*", self.group))

    @property
    def few_errors(self) -> bool:
        """Whether it errs too seldom for its intervals to be trusted."""
        return any(value.few_errors for value in self.values.values())


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """A metric or cost of a method as it is printed, in parts; together ``1.86° [0.00, 2.70]``.

    Attributes:
        value: what is printed, unrounded.
        text: the number.
        mark: a sign that refers to the small print.
        extra: its interval, or a cost's ratio.
        floor: the noise floor, its mean and the point that a value is held against: ``1.2 (1.9)``.
        p: of perfect calibration.
    """

    value: float
    text: str
    mark: str = ""
    extra: str = ""
    floor: str = ""
    p: float = NAN

    def __str__(self) -> str:
        return f"{self.text}{self.mark} {self.extra}".rstrip()


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """A metric or cost of all methods of a board, as it is printed.

    Attributes:
        quantity: what is declared of it.
        cells: by method.
        main: whether it stands in the short tables.
        hardware: what it was measured on; empty where the board has no choice of it.
        has_floor: whether a noise floor was measured.
        best: the method with the best value; empty where there is no winner, and for costs.
    """

    quantity: Quantity
    cells: Mapping[str, TableCell]
    main: bool
    hardware: str = ""
    has_floor: bool = False
    best: str = ""

    @property
    def head(self) -> str:
        """Short name, unit, arrow of the better direction, and the machine."""
        head = column_head(self.quantity.name)
        return f"{head} ({self.hardware})" if self.hardware else head

    @property
    def hint(self) -> str:
        """Unit, machine and direction, for a small line under the name."""
        q = self.quantity
        better = f"{ARROWS[q.direction]} better" if q.direction else ""
        return ", ".join(part for part in (q.printed_unit, self.hardware, better) if part)


@dataclass(frozen=True, kw_only=True, eq=False)
class Board:
    """The leaderboard of one block, best rank first.

    Attributes:
        block: what it is about.
        rows: the methods by rank, then by name.
        unranked: what stands beneath them for comparison, with values alone: the class shares.
        images: how many test images each value is made of.
        replicates: how many replicates each method has.
        against: the reference of the paired differences.
        leaders: the best method of each metric, which is the other reference.
        cost_reference: the reference of the costs' ratios.
        alpha: one minus the coverage of the intervals.
        cheapest: of the methods that cannot be told apart from the best, the one that trains
            quickest, and those that are not seen to take longer; None where times cannot be
            compared.
    """

    block: BlockKey
    rows: tuple[Row, ...]
    images: int
    replicates: int
    against: str
    leaders: Mapping[str, str]
    cost_reference: str
    alpha: float
    cheapest: tuple[str, tuple[str, ...]] | None = None
    unranked: tuple[Row, ...] = ()

    # --- what it is called ---------------------------------------------------------------

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The methods, and what stands beneath them."""
        return (*self.rows, *self.unranked)

    @property
    def scheme(self) -> str:
        """The replicates in words."""
        folds = self.block.folds
        return {"official": "official split", "draws": "independent draws"}.get(folds, folds)

    @property
    def title(self) -> str:
        """For headings."""
        parts = (self.block.dataset, self.block.backbone, self.scheme, self.block.preset)
        return " · ".join(part for part in parts if part)

    @property
    def file_name(self) -> str:
        """For the files that show it alone."""
        preset, dataset, backbone, folds = self.block
        parts = (dataset, backbone, folds.replace(" ", "-"), preset)
        return file_name(*(part for part in parts if part))

    # --- its columns ---------------------------------------------------------------------

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Metrics in the order of the columns."""
        return in_order(self.rows[0].values)

    @cached_property
    def main_metrics(self) -> tuple[str, ...]:
        """Those of the short tables: the primary ones, or all where none of these was asked for."""
        return tuple(m for m in self.metrics if quantity(m).main) or self.metrics

    @cached_property
    def costs(self) -> tuple[tuple[str, str], ...]:
        """Costs by hardware, in the order of the columns: hardware is never mixed in one."""
        keys = sorted({key for row in self.rows for key in row.costs})
        names = in_order(name for name, _ in keys)
        return tuple(sorted(keys, key=lambda key: names.index(key[0])))

    @cached_property
    def hardware(self) -> tuple[str, ...]:
        """Machines that costs were measured on."""
        return tuple(sorted({hardware for _, hardware in self.costs}))

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Metrics, then costs."""
        return (*map(self._metric_column, self.metrics), *map(self._cost_column, self.costs))

    def _metric_column(self, metric: str) -> Column:
        def cell(v: Value) -> TableCell:
            text, bounds = self.printed(metric, v.value, v.low, v.high)
            floor = ""
            if not math.isnan(v.floor_high):
                mean, high = (self.printed(metric, end)[0] for end in (v.floor_mean, v.floor_high))
                floor = f"{mean} ({high})"
            return TableCell(value=v.value, text=text, mark=v.mark, extra=bounds, floor=floor,
                        p=v.p_calibrated)  # fmt: skip

        best = self.best(metric)
        return Column(
            quantity=quantity(metric),
            cells={row.method: cell(row.values[metric]) for row in self.all_rows},
            main=metric in self.main_metrics,
            has_floor=self.has_floor(metric),
            best=best.method if best else "",
        )

    def _cost_column(self, key: tuple[str, str]) -> Column:
        q = quantity(key[0])

        def cell(cost: Charge) -> TableCell:
            text = ABSENT if math.isnan(cost.value) else significant(cost.value)
            times = ratio(cost.ratio, cost.ratio_low, cost.ratio_high)
            shown = isinstance(q, api.Cost) and q.ratio and times
            return TableCell(value=cost.value, text=text, mark=DOUBTFUL if cost.doubt else "",
                             extra=f"({times})" if shown else "")  # fmt: skip

        cells = {row.method: cell(row.costs.get(key, Charge())) for row in self.all_rows}
        hardware = key[1] if len(self.hardware) > 1 else ""
        return Column(quantity=q, cells=cells, main=bool(q.main), hardware=hardware)

    # --- what is said of its numbers -----------------------------------------------------

    def digits(self, metric: str) -> int:
        """Decimals of a metric's printed values that its intervals justify."""
        return self._digits[metric]

    @cached_property
    def _digits(self) -> dict[str, int]:
        found = {}
        for q in map(quantity, self.metrics):
            values = (row.values[q.name] for row in self.rows)
            widths = [(v.high - v.low) / 2 * q.scale for v in values]
            found[q.name] = sensible_digits(widths, q.digits)
        return found

    def printed(
        self, metric: str, value: float, low: float = NAN, high: float = NAN
    ) -> tuple[str, str]:
        """A number of a metric, and its interval (empty where there is none)."""
        scale, digits = quantity(metric).scale, self.digits(metric)
        return number(value * scale, digits), interval(low * scale, high * scale, digits)

    def best(self, metric: str) -> Row | None:
        """The method with the best value, of equals the better ranked; None without a winner."""
        better = quantity(metric).direction
        known = [row for row in self.rows if not math.isnan(row.values[metric].value)]
        if better is None or not known:
            return None
        sign = -1 if better == "higher" else 1
        return min(known, key=lambda row: sign * row.values[metric].value)

    def has_floor(self, metric: str) -> bool:
        """Whether a noise floor was measured for a metric."""
        return not all(math.isnan(row.values[metric].floor_high) for row in self.rows)

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

    @property
    def tied(self) -> tuple[Row, ...]:
        """The best ranked method and all that cannot be told apart from it."""
        first, *others = self.rows
        return (first, *(row for row in others if first.letters & row.letters))


# --- from the statistics' frames -------------------------------------------------------------


def make_boards(
    tables: Tables,
    costs: pd.DataFrame,
    against: str,
    alpha: float = 0.05,
    cost_reference: str = "",
) -> tuple[Board, ...]:
    """The leaderboards of all blocks, by data set, backbone, folds and preset.

    Args:
        tables: values, ranks and differences.
        costs: tidy, with the hardware; may be empty.
        against: the reference of the paired differences.
        alpha: one minus the coverage of the intervals.
        cost_reference: what costs are compared to, wherever it was run; elsewhere, and by default,
            it is ``against``.
    """
    values, pairs = _by_block(tables.values), _by_block(tables.pairs)
    if len(costs):
        costs = costs.assign(folds=costs["fold"].astype(str).map(fold_scheme))
    every = _by_block(costs)
    boards = []
    for block, ranks in _by_block(tables.ranks).items():
        shown, paired = values.get(block, _NOTHING), pairs.get(block, _NOTHING)
        references = dict.fromkeys(paired["metric"], against)
        others = paired[paired["reference"] != against]
        base = cost_reference if cost_reference in set(ranks["method"]) else against
        by_method = _by_method(Value, shown, "metric")
        differences = _by_method(Difference, paired, "metric", "reference")
        paid = every.get(block)
        charged = (
            {}
            if paid is None
            else _by_method(Charge, charges(paid, base, alpha), "metric", "hardware")
        )
        rows = [
            Row(
                method=(method := rank["method"]),
                rank=Value(value=rank["rank"], low=rank["low"], high=rank["high"]),
                group=rank["group"],
                chance_best=rank["chance_best"],
                values=by_method.get(method, {}),
                costs=charged.get(method, {}),
                differences=differences.get(method, {}),
            )
            for rank in ranks.sort_values(["rank", "method"]).to_dict("records")
        ]
        board = Board(
            block=block,
            rows=tuple(rows),
            unranked=tuple(
                Row(method=m, rank=Value(), values=by_method[m])
                for m in by_method
                if m not in set(ranks["method"])
            ),
            images=int(shown["images"].max()) if len(shown) else 0,
            replicates=int(shown["replicates"].max()) if len(shown) else 0,
            against=against,
            # Pairs are formed with the best method and with the reference alone.
            leaders=references | dict(zip(others["metric"], others["reference"], strict=True)),
            cost_reference=base,
            alpha=alpha,
        )
        if paid is not None:
            board = replace(board, cheapest=cheapest(paid, [r.method for r in board.tied], alpha))
        boards.append(board)
    return tuple(sorted(boards, key=lambda b: (b.block.dataset, b.block.backbone, b.block)))


_NOTHING = pd.DataFrame(columns=["method", "metric", "reference"])


def _by_block(frame: pd.DataFrame) -> dict[BlockKey, pd.DataFrame]:
    if frame.empty:
        return {}
    return {BlockKey(*map(str, key)): part for key, part in frame.groupby(list(KEY))}


def _by_method(kind: type[T], frame: pd.DataFrame, *key: str) -> dict[str, dict[Any, T]]:
    """What is said of each method, by the key."""
    said: dict[str, dict[Any, T]] = {}
    names = [f.name for f in fields(kind) if f.name in frame]  # type: ignore[arg-type]
    for record in frame.to_dict("records"):
        place = itemgetter(*key)(record)
        said.setdefault(record["method"], {})[place] = kind(**{n: record[n] for n in names})
    return said
