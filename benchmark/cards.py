"""What is said of each data set in short: what the tests say of its methods, and at what cost."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.api import Cost, Quantity
from benchmark.plan.presets import REFERENCE
from benchmark.report import words
from benchmark.report.board import Board, Column, make_boards
from benchmark.report.sentences import footnotes, heading, headline
from benchmark.report.tables import name_cell
from benchmark.statistics import Tables
from benchmark.terminal import printable

if TYPE_CHECKING:
    from benchmark.library import Results

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
    tables = Tables(
        values=results.intervals, ranks=results.ranks, pairs=results.pairs,
        detectable=results.detectable, overall=_NO_ROWS, mean_ranks=_NO_ROWS, scores=_NO_ROWS,
        notes=(),
    )  # fmt: skip
    boards = make_boards(tables, results.costs, "", cost_reference=REFERENCE)
    made = [_card(board) for board in boards]
    return sorted(made, key=lambda card: not card.differ)


def _card(board: Board) -> Card:
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
    paid = [_cost(column, names) for column in board.columns if _is_short_cost(column)]
    if paid:
        said.append(("Its cost", "; ".join(f"{c.head} {_with_unit(c, 0)}" for c in paid)))
    if board.cheapest is not None:
        method, equal = board.cheapest
        cost = f"{paid[0].head} {_with_unit(paid[0], names.index(method))}"
        others = words.no_difference([printable(name) for name in equal], len(alike) - 1)
        said.append(("Cheapest not told apart", f"{printable(method)}: {cost}{others}"))
    methods = [printable(name_cell(row)) for row in board.all_rows]
    columns = (*metrics, *paid)
    everything = "".join((*methods, *(cell for column in columns for cell in column.cells)))
    return Card(
        title=printable(board.title),
        differ=board.differ,
        sentences=said,
        methods=methods,
        alike=alike,
        ranks=ranks,
        metrics=metrics,
        costs=paid,
        reading=printable(heading(board)),
        signs=[(sign, meaning) for sign, meaning in footnotes([board]) if sign in everything],
    )


def _printed(pieces: Sequence[str]) -> str:
    """A sentence whose names bring no control characters."""
    return "".join(map(printable, pieces))


def _is_short_cost(column: Column) -> bool:
    return column.main and isinstance(column.quantity, Cost)


def _cost(column: Column, names: list[str]) -> CardColumn:
    """A cost; hardware is never mixed in a column."""
    kind, cells = column.quantity, [column.cells[name] for name in names]
    head = f"{kind.short} ({printable(column.note)})" if column.note else kind.short
    shown, values = [cell.text + cell.mark for cell in cells], [cell.value for cell in cells]
    known = [value for value in values if not math.isnan(value)]
    best = (max if kind.direction == "higher" else min)(known, default=math.nan)
    places = frozenset(i for i, value in enumerate(values) if value == best and kind.direction)
    return CardColumn(head, _unit(kind), shown, [""] * len(names), places)


def _unit(kind: Quantity) -> str:
    return " ".join(part for part in (kind.printed_unit, words.ARROWS[kind.direction]) if part)


def _with_unit(column: CardColumn, i: int) -> str:
    return " ".join(part for part in (column.cells[i], column.unit.rstrip(" ↑↓")) if part)
