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
from benchmark.measures.declared import metrics as declared
from benchmark.measures.declared import ranked
from benchmark.measures.kinds import CalibrationMeasure
from benchmark.report.words import (
    ABSENT,
    ARROWS,
    DOUBTFUL,
    INSIDE_FLOOR,
    UNSTABLE,
    column_head,
    file_name,
    in_order,
    interval,
    letter_ranges,
    number,
    percent,
    quantity,
    ratio,
    sensible_digits,
    significant,
)
from benchmark.statistics import Tables, charges, cheapest
from benchmark.statistics.blocks import KEY
from benchmark.statistics.ranks import ALIKE, FIRST

NAN = math.nan
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Value:
    """One metric of a method with all that is said about it; NaN where nothing is.

    Attributes:
        value: what the block's question asks for, with the ends of its interval.
        networks_value: of these trained networks, with the ends of its interval; the noise floor
            belongs to it.
        inside_floor: how many of these networks are inside their own noise floor.
        replicates: how many networks there are.
        few_errors: whether they err too seldom for the intervals to be trusted.
        unstable: whether the scatter between trainings is an outlier.
    """

    value: float = NAN
    low: float = NAN
    high: float = NAN
    networks_value: float = NAN
    networks_low: float = NAN
    networks_high: float = NAN
    floor_mean: float = NAN
    floor_high: float = NAN
    p_calibrated: float = NAN
    inside_floor: float = NAN
    replicates: int = 1
    few_errors: bool = False
    unstable: bool = False

    @property
    def all_inside(self) -> bool:
        """Whether every network is inside its noise floor."""
        return self.inside_floor == self.replicates

    @property
    def inside(self) -> str:
        """How many networks are inside their noise floor: ``2 of 3``."""
        known = not math.isnan(self.inside_floor)
        return f"{self.inside_floor:.0f} of {self.replicates}" if known else ABSENT

    @property
    def mark(self) -> str:
        """The signs of all networks inside the noise floor, and of unstable training."""
        return INSIDE_FLOOR * self.all_inside + UNSTABLE * self.unstable


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A method's paired difference to another one."""

    difference: float = NAN
    low: float = NAN
    high: float = NAN
    simultaneous: bool = False
    effect_size: float = NAN
    p: float = NAN
    p_holm: float = NAN


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a method stands in a ranked metric.

    Attributes:
        rank: among the methods; 1 is best.
        group: letters; methods that share one cannot be told apart in this metric.
        best: whether it cannot be excluded as the best.
    """

    rank: float = NAN
    group: str = ""
    best: bool = False

    @property
    def letters(self) -> frozenset[str]:
        """The letters of its group; beyond z they carry a number."""
        return frozenset(re.findall(r"[a-z]\d*", self.group))


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """What difference in a metric could have been found.

    Attributes:
        detectable: the difference.
        first: the best method in this metric.
        second: the next one.
        difference: between these two.
        needed: replicates that would find it; infinite for too many, NaN where it is not known.
    """

    detectable: float
    first: str
    second: str
    difference: float
    needed: float


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
        rank: mean of its ranks of accuracy, ECE and NLL, with its interval.
        against_first: what the tests say of it beside the first ranked method.
        places: where it stands in each ranked metric.
        values: its metrics: the same for all methods of a block.
        costs: its costs, by (cost, hardware).
        differences: by (question, metric, other method): to the reference and to the best one.
    """

    method: str
    rank: Value
    against_first: str = ""
    places: Mapping[str, Standing] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    costs: Mapping[tuple[str, str], Charge] = field(default_factory=dict)
    differences: Mapping[tuple[str, str, str], Difference] = field(default_factory=dict)

    @property
    def few_errors(self) -> bool:
        """Whether it errs too seldom for its intervals to be trusted."""
        return any(value.few_errors for value in self.values.values())

    def place(self, metric: str) -> Standing:
        """Where it stands in a metric; nowhere where that is not ranked."""
        return self.places.get(metric, Standing())

    def compared(self, other: Row) -> dict[str, bool]:
        """The ranked metrics in which the tests tell it apart: whether it is the better one."""
        return {
            metric: self.places[metric].rank < other.places[metric].rank
            for metric in self.places
            if not self.places[metric].letters & other.places[metric].letters
        }


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """A metric or cost of a method as it is printed, in parts; together ``1.86° [0.00, 2.70]``.

    Attributes:
        value: what is printed, unrounded.
        text: the number.
        mark: signs that refer to the small print.
        extra: its interval, or a cost's ratio.
        letters: of its group in this metric.
        inside: how many networks are inside their noise floor: ``2 of 3``.
        floor: the noise floor, its mean and the point that a value is held against: ``1.2 (1.9)``.
        p: of perfect calibration.
    """

    value: float
    text: str
    mark: str = ""
    extra: str = ""
    letters: str = ""
    inside: str = ""
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
        note: the machine that it was measured on where the board has a choice of it; what was
            taken off.
        has_floor: whether a noise floor was measured.
        has_letters: whether methods are compared by it.
        best: the methods that cannot be excluded as the best.
    """

    quantity: Quantity
    cells: Mapping[str, TableCell]
    main: bool
    note: str = ""
    has_floor: bool = False
    has_letters: bool = False
    best: frozenset[str] = frozenset()

    @property
    def head(self) -> str:
        """Short name, unit, arrow of the better direction, and the note."""
        head = column_head(self.quantity.name)
        return f"{head} ({self.note})" if self.note else head

    @property
    def hint(self) -> str:
        """Unit, direction and note, for a small line under the name."""
        q = self.quantity
        better = f"{ARROWS[q.direction]} better" if q.direction else ""
        return ", ".join(part for part in (q.printed_unit, better, self.note) if part)


@dataclass(frozen=True, kw_only=True, eq=False)
class Board:
    """The leaderboard of one block, best rank first.

    Attributes:
        block: what it is about.
        question: "methods", over other trainings; "networks" with too few replicates for that.
        rows: the methods by rank, then by name.
        unranked: what stands beneath them for comparison, with values alone: the class shares.
        images: how many test images there are.
        replicates: how many replicates each method has.
        against: the reference of the paired differences.
        leaders: the best method by (question, metric), which is the other reference.
        detectable: what difference in each ranked metric could have been found.
        cost_reference: the reference of the costs' ratios.
        alpha: one minus the coverage of the intervals.
        cheapest: of the methods that cannot be told apart from the first, the one that trains
            quickest, and those that are not seen to take longer; None where times cannot be
            compared.
    """

    block: BlockKey
    question: str
    rows: tuple[Row, ...]
    images: int
    replicates: int
    against: str
    leaders: Mapping[tuple[str, str], str]
    detectable: Mapping[str, Detectable]
    cost_reference: str
    alpha: float
    cheapest: tuple[str, tuple[str, ...]] | None = None
    unranked: tuple[Row, ...] = ()

    @property
    def of_methods(self) -> bool:
        """Whether it speaks of methods, and not of these trained networks alone."""
        return self.question == "methods"

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
        # What it says of methods has its noise removed: the floor is that of the networks.
        floors = self.has_floor(metric) and not self.of_methods
        removed = self.of_methods and isinstance(declared()[metric], CalibrationMeasure)
        return Column(
            quantity=quantity(metric),
            cells={row.method: self._cell(row, metric, floors) for row in self.all_rows},
            main=metric in self.main_metrics,
            note="noise removed" if removed else "",
            has_floor=self.has_floor(metric),
            has_letters=any(row.place(metric).group for row in self.rows),
            best=frozenset(row.method for row in self.rows if row.place(metric).best),
        )

    def _cell(self, row: Row, metric: str, floors: bool) -> TableCell:
        v = row.values[metric]
        text, bounds = self.printed(metric, v.value, v.low, v.high)
        return TableCell(
            value=v.value,
            text=text,
            mark=v.mark,
            extra=bounds,
            letters=letter_ranges(row.place(metric).group),
            inside=v.inside if self.has_floor(metric) else "",
            floor=self.floor(metric, v) if floors else "",
            p=v.p_calibrated if floors else NAN,
        )

    def floor(self, metric: str, value: Value) -> str:
        """A noise floor: its mean, and the point that a value is held against: ``1.2 (1.9)``."""
        mean, high = (self.printed(metric, end)[0] for end in (value.floor_mean, value.floor_high))
        return ABSENT if math.isnan(value.floor_high) else f"{mean} ({high})"

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
        return Column(quantity=q, cells=cells, main=bool(q.main), note=hardware)

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
        """A number of a metric, and its interval.

        That is empty where there is none, and where it is all of the metric's range.
        """
        q, digits = quantity(metric), self.digits(metric)
        least, most = declared()[metric].range
        whole = math.isfinite(most) and low <= least and high >= most
        bounds = "" if whole else interval(low * q.scale, high * q.scale, digits)
        return number(value * q.scale, digits), bounds

    def leading(self, metric: str) -> Row | None:
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
        """What the intervals of the values are for."""
        if not self.of_methods:
            return "for other test images, given these trained networks"
        if self.block.folds == "official":
            return "for other seeds of training on the same images, and for other test images"
        return "for other trainings and other test images"

    @property
    def floor_point(self) -> str:
        """Of the noise floor, as ``97.5 %``: below it lie as many values by chance."""
        return percent(1 - self.alpha / 2)

    @cached_property
    def ranked(self) -> tuple[str, ...]:
        """The metrics by which methods are ranked."""
        return tuple(m for m in ranked() if m in self.metrics)

    def beside_first(self, relation: str) -> tuple[Row, ...]:
        """The methods of which the tests say this beside the first ranked one."""
        return tuple(row for row in self.rows if row.against_first == relation)

    @cached_property
    def alike(self) -> tuple[Row, ...]:
        """The first ranked method and all that cannot be told apart from it."""
        return (*self.beside_first(FIRST), *self.beside_first(ALIKE))

    @property
    def differ(self) -> bool:
        """Whether any two methods can be told apart in a ranked metric."""
        return any(len({row.place(m).group for row in self.rows}) > 1 for m in self.ranked)


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
    found = _by_block(tables.detectable)
    boards = []
    for block, ranks in _by_block(tables.ranks).items():
        shown, paired = values.get(block, _NOTHING), pairs.get(block, _NOTHING)
        # Pairs are formed with the best method and with the reference alone.
        leaders = dict.fromkeys(zip(paired["question"], paired["metric"]), against)
        others = paired[paired["reference"] != against]
        leaders |= dict(
            zip(zip(others["question"], others["metric"]), others["reference"], strict=True)
        )
        base = cost_reference if cost_reference in set(ranks["method"]) else against
        by_method = _by_method(Value, shown, "metric")
        differences = _by_method(Difference, paired, "question", "metric", "reference")
        possible = found.get(block, _NOTHING).set_index("metric")
        paid = every.get(block)
        charged = (
            {}
            if paid is None
            else _by_method(Charge, charges(paid, base, alpha), "metric", "hardware")
        )
        rows = [
            Row(
                method=(method := rank["method"]),
                rank=_rank(rank, len(ranks)),
                against_first=rank["against_first"],
                places=_places(rank),
                values=by_method.get(method, {}),
                costs=charged.get(method, {}),
                differences=differences.get(method, {}),
            )
            for rank in ranks.sort_values(["rank", "method"]).to_dict("records")
        ]
        board = Board(
            block=block,
            question=str(ranks["question"].iloc[0]),
            rows=tuple(rows),
            unranked=tuple(
                Row(method=m, rank=Value(), values=by_method[m])
                for m in by_method
                if m not in set(ranks["method"])
            ),
            images=int(shown["images"].max()) if len(shown) else 0,
            replicates=int(shown["replicates"].max()) if len(shown) else 0,
            against=against,
            leaders=leaders,
            detectable={
                str(metric): Detectable(**{f.name: line[f.name] for f in fields(Detectable)})
                for metric, line in possible.iterrows()
            },
            cost_reference=base,
            alpha=alpha,
        )
        if paid is not None:
            board = replace(board, cheapest=cheapest(paid, [r.method for r in board.alike], alpha))
        boards.append(board)
    return tuple(sorted(boards, key=lambda b: (b.block.dataset, b.block.backbone, b.block)))


_NOTHING = pd.DataFrame(columns=["question", "method", "metric", "reference"])


def _rank(record: Mapping[Any, Any], methods: int) -> Value:
    """The mean rank; of one method alone an interval would say nothing."""
    low, high = (record[end] if methods > 1 else NAN for end in ("low", "high"))
    return Value(value=record["rank"], low=low, high=high)


def _places(record: Mapping[Any, Any]) -> dict[str, Standing]:
    """Where a method stands in each ranked metric."""
    return {
        metric: Standing(**{f.name: record[f"{f.name}_{metric}"] for f in fields(Standing)})
        for metric in ranked()
        if f"group_{metric}" in record
    }


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
