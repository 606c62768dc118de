"""What is said of each data set in short: what the tests say of its methods, and at what cost."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.api import BlockKey, Quantity
from benchmark.plan.presets import REFERENCE
from benchmark.report import words
from benchmark.report.board import Board, make_boards
from benchmark.report.sentences import footnotes, heading, headline
from benchmark.report.tables import name_cell
from benchmark.statistics import Tables
from benchmark.terminal import printable

if TYPE_CHECKING:
    from benchmark.library import Results

KEY = list(BlockKey._fields)
_NO_ROWS = pd.DataFrame()


@dataclass(frozen=True, eq=False)
class CardColumn:
    """A column of a card's table.

    Attributes:
        head: what it holds.
        unit: its unit, and the arrow of the better direction.
        cells: one for each method.
        intervals: beside the cells; with the letters of the methods' groups.
        best: places of the best cells.
    """

    head: str
    unit: str
    cells: Sequence[str]
    intervals: Sequence[str]
    best: frozenset[int] = frozenset()

    @property
    def whole(self) -> list[str]:
        """The cells with their intervals."""
        return [f"{c} {i}".rstrip() for c, i in zip(self.cells, self.intervals, strict=True)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Card:
    """What is shown of the methods that may be compared with each other, best rank first.

    Attributes:
        title: data set, network, folds and preset.
        differ: whether any two methods can be told apart in a ranked metric.
        sentences: what was found, each after what it is about.
        methods: the names, with the sign of few errors; what has no rank stands last.
        alike: places of the first method and of those that cannot be told apart from it.
        ranks: the mean ranks.
        metrics: those by which methods are ranked.
        costs: those of short tables, of each hardware.
        reading: what the intervals and letters mean.
        signs: which occur, with their meaning.
    """

    title: str
    differ: bool
    sentences: Sequence[tuple[str, str]]
    methods: Sequence[str]
    alike: frozenset[int]
    ranks: CardColumn
    metrics: Sequence[CardColumn]
    costs: Sequence[CardColumn]
    reading: str
    signs: Sequence[tuple[str, str]]

    def html(self) -> str:
        """The whole table."""
        numbers = (*self.metrics, *self.costs)
        columns = {"Rank ↓": self.ranks.whole, "Method": self.methods}
        table = pd.DataFrame(columns | {f"{c.head} {c.unit}": c.whole for c in numbers})
        title, reading = html.escape(self.title), html.escape(self.reading)
        return f"<h4>{title}</h4>{table.to_html(index=False, border=0)}<p>{reading}</p>"


def cards(results: Results) -> list[Card]:
    """One for each data set, network and preset; those on which methods differ come first."""
    costs = results.mean_costs()
    tables = Tables(
        values=results.intervals, ranks=results.ranks, pairs=results.pairs,
        detectable=results.detectable, overall=_NO_ROWS, mean_ranks=_NO_ROWS, scores=_NO_ROWS,
        notes=(),
    )  # fmt: skip
    made = [
        _card(board, costs[(costs[KEY] == list(board.block)).all(axis=1)])
        for board in make_boards(tables, results.costs, "", cost_reference=REFERENCE)
    ]
    return sorted(made, key=lambda card: not card.differ)


def _card(board: Board, costs: pd.DataFrame) -> Card:
    names = [row.method for row in board.all_rows]
    alike = frozenset(i for i, row in enumerate(board.rows) if row in board.alike)
    ranks = CardColumn(
        "Rank",
        "↓",
        [words.number(row.rank.value, 1) for row in board.all_rows],
        [words.interval(row.rank.low, row.rank.high, 1) for row in board.all_rows],
    )
    said = [(label, _printed(pieces)) for label, pieces in headline(board)]
    metrics = []
    for shown in (c for c in board.columns if c.quantity.name in board.ranked):
        cells = [shown.cells[name] for name in names]
        metrics.append(
            CardColumn(
                shown.quantity.short,
                _unit(shown.quantity),
                [cell.text + cell.mark for cell in cells],
                [f"{cell.extra} {cell.letters}".strip() for cell in cells],
                frozenset(i for i, name in enumerate(names) if name in shown.best),
            )
        )
    paid = _costs(costs, names)
    if paid:
        said.append(("Its cost", "; ".join(f"{c.head} {_with_unit(c, 0)}" for c, _ in paid)))
    if board.cheapest is not None:
        method, equal = board.cheapest
        cost = f"{paid[0][0].head} {_with_unit(paid[0][0], names.index(method))}"
        others = words.no_difference([printable(name) for name in equal], len(alike) - 1)
        said.append(("Cheapest not told apart", f"{printable(method)}: {cost}{others}"))
    methods = [printable(name_cell(row)) for row in board.all_rows]
    columns = (*metrics, *(column for column, _ in paid))
    everything = "".join((*methods, *(cell for column in columns for cell in column.cells)))
    return Card(
        title=printable(board.title),
        differ=board.differ,
        sentences=said,
        methods=methods,
        alike=alike,
        ranks=ranks,
        metrics=metrics,
        costs=[column for column, _ in paid],
        reading=printable(heading(board)),
        signs=[(sign, meaning) for sign, meaning in footnotes([board]) if sign in everything],
    )


def _printed(pieces: Sequence[str]) -> str:
    """A sentence whose names bring no control characters."""
    return "".join(map(printable, pieces))


def _costs(costs: pd.DataFrame, names: list[str]) -> list[tuple[CardColumn, pd.Series[float]]]:
    """The costs of short tables with their values; hardware is never mixed in a column."""
    several = costs["hardware"].nunique() > 1
    found = []
    for (name, hardware), rows in costs.groupby(["metric", "hardware"], sort=True):
        kind = words.quantity(str(name))
        value, doubt = (rows.set_index("method")[c].reindex(names) for c in ("value", "doubt"))
        if kind.main:
            head = f"{kind.short} ({printable(hardware)})" if several else kind.short
            marks = [words.DOUBTFUL * bool(d) for d in doubt.fillna("")]
            cells = [words.significant(v) + m for v, m in zip(value, marks)]
            column = CardColumn(head, _unit(kind), cells, [""] * len(names), _places(value, kind))
            found.append((kind.main, column, value))
    return [(column, value) for _, column, value in sorted(found, key=lambda cost: cost[0])]


def _places(value: pd.Series[float], kind: Quantity) -> frozenset[int]:
    """Where the best values stand."""
    best = value.max() if kind.direction == "higher" else value.min()
    return frozenset(i for i, v in enumerate(value) if v == best and kind.direction)


def _unit(kind: Quantity) -> str:
    return " ".join(part for part in (kind.printed_unit, words.ARROWS[kind.direction]) if part)


def _with_unit(column: CardColumn, i: int) -> str:
    return " ".join(part for part in (column.cells[i], column.unit.rstrip(" ↑↓")) if part)
