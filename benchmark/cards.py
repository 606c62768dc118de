"""What is said of each data set in short: what is best, what equals it, and at what cost."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from benchmark import statistics
from benchmark.api import BlockKey, Quantity, fold_scheme
from benchmark.measures.declared import ranked
from benchmark.report import words
from benchmark.terminal import printable

if TYPE_CHECKING:
    from benchmark.library import Results

KEY = list(BlockKey._fields)


@dataclass(frozen=True, eq=False)
class CardColumn:
    """A column of a card's table.

    Attributes:
        head: what it holds.
        unit: its unit, and the arrow of the better direction.
        cells: one for each method.
        intervals: beside the cells.
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
        differ: whether any two methods can be told apart.
        sentences: what was found, each after what it is about.
        methods: the names, with the sign of few errors; what has no rank stands last.
        equal: places of the methods that cannot be told apart from the best.
        ranks: the mean ranks.
        metrics: those by which methods are ranked.
        costs: those of short tables, of each hardware.
        signs: which occur, with their meaning.
    """

    title: str
    differ: bool
    sentences: Sequence[tuple[str, str]]
    methods: Sequence[str]
    equal: frozenset[int]
    ranks: CardColumn
    metrics: Sequence[CardColumn]
    costs: Sequence[CardColumn]
    signs: Sequence[tuple[str, str]]

    def html(self) -> str:
        """The whole table."""
        numbers = (*self.metrics, *self.costs)
        columns = {"Rank ↓": self.ranks.whole, "Method": self.methods}
        table = pd.DataFrame(columns | {f"{c.head} {c.unit}": c.whole for c in numbers})
        return f"<h4>{html.escape(self.title)}</h4>{table.to_html(index=False, border=0)}"


def cards(results: Results) -> list[Card]:
    """One for each data set, network and preset; those on which methods differ come first."""
    costs = results.mean_costs()
    every = results.costs.assign(folds=results.costs["fold"].astype(str).map(fold_scheme))
    made = []
    for key, ranks in results.ranks.groupby(KEY, sort=True):
        values, paid, single = (
            frame[(frame[KEY] == list(key)).all(axis=1)]
            for frame in (results.intervals, costs, every)
        )
        preset, dataset, backbone, folds = map(str, key)
        title = printable(" · ".join(p for p in (dataset, backbone, folds, preset) if p))
        card = _card(title, ranks.sort_values(["rank", "method"]), values, paid, single)
        made.append(((not card.differ, dataset, backbone), card))
    return [card for _, card in sorted(made, key=lambda pair: pair[0])]


def _card(
    title: str,
    ranks: pd.DataFrame,
    values: pd.DataFrame,
    costs: pd.DataFrame,
    single: pd.DataFrame,
) -> Card:
    """Of one block; ``costs`` are means over replicates, ``single`` those of each."""
    names = ranks["method"].tolist()
    everyone = [*names, *(n for n in dict.fromkeys(values["method"]) if n not in names)]
    shown = [printable(name) for name in everyone]
    letters = [set(re.findall(r"[a-z]\d*", str(group))) for group in ranks["group"]]
    equal = [i for i in range(len(names)) if i == 0 or letters[i] & letters[0]]
    without = len(everyone) - len(names)
    rank = CardColumn(
        "Rank",
        "↓",
        [words.number(value, 1) for value in ranks["rank"]] + [words.ABSENT] * without,
        [words.interval(*ends, 1) for ends in zip(ranks["low"], ranks["high"])] + [""] * without,
    )
    chance = words.number(ranks["chance_best"].iloc[0] * 100, 0)
    said = [
        ("Best rank", f"{shown[0]}: {rank.whole[0]}; best in {chance} % of redrawn test images")
    ]
    metrics = []
    for name in ranked():
        of_metric = values[values["metric"] == name].set_index("method")
        column = _metric(of_metric.reindex(everyone), words.quantity(name), len(names))
        metrics.append(column)
        if column.best:
            said.append(_best(column, words.quantity(name), shown))
    if len(equal) > 1:
        count = f"{len(equal) - 1} of {len(names) - 1}"
        others = ", ".join(shown[i] for i in equal[1:])
        said.append(("Equals", f"{count} cannot be told apart from it: {others}"))
    elif len(names) > 1:
        said.append(("Equals", "none: it can be told apart from every other method"))
    paid = _costs(costs, everyone)
    if paid:
        said.append(("Its cost", "; ".join(f"{c.head} {_with_unit(c, 0)}" for c, _ in paid)))
    cheap = statistics.cheapest(single, [names[i] for i in equal]) if len(equal) > 1 else None
    if cheap is not None:
        place = names.index(cheap[0])
        cost = f"{paid[0][0].head} {_with_unit(paid[0][0], place)}"
        equals = words.no_difference([printable(name) for name in cheap[1]], len(equal) - 1)
        said.append(("Cheapest equal", f"{shown[place]}: {cost}{equals}"))
    few = set(values.loc[values["few_errors"].eq(True), "method"])
    occurring = {words.INSIDE_FLOOR: values["inside_floor"].any(), words.FEW_ERRORS: bool(few)}
    occurring[words.DOUBTFUL] = (costs["doubt"] != "").any()
    return Card(
        title=title,
        differ=any(not one & other for one, other in itertools.combinations(letters, 2)),
        sentences=said,
        methods=[s + f" {words.FEW_ERRORS}" * (n in few) for s, n in zip(shown, everyone)],
        equal=frozenset(equal),
        ranks=rank,
        metrics=metrics,
        costs=[column for column, _ in paid],
        signs=[(sign, meaning) for sign, meaning in words.FOOTNOTES if occurring[sign]],
    )


def _metric(values: pd.DataFrame, kind: Quantity, ranked_methods: int) -> CardColumn:
    """Values with the digits that the intervals justify, the same as in all tables."""
    low, high, value = (values[name] * kind.scale for name in ("low", "high", "value"))
    digits = words.sensible_digits((high - low)[:ranked_methods] / 2, kind.digits)
    marks = values["inside_floor"].eq(True)
    return CardColumn(
        kind.short,
        _unit(kind),
        [words.number(v, digits) + words.INSIDE_FLOOR * m for v, m in zip(value, marks)],
        [words.interval(*ends, digits) for ends in zip(low, high)],
        _places(value[:ranked_methods], kind),
    )


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


def _best(column: CardColumn, kind: Quantity, shown: Sequence[str]) -> tuple[str, str]:
    first = min(column.best)
    head = kind.short if kind.short[:2].isupper() else kind.short.lower()
    superlative = "Highest" if kind.direction == "higher" else "Lowest"
    who = ", ".join(shown[i] for i in sorted(column.best))
    text = f"{who}: {_with_unit(column, first)} {column.intervals[first]}"
    return f"{superlative} {head}", text.rstrip()


def _unit(kind: Quantity) -> str:
    return " ".join(part for part in (kind.printed_unit, words.ARROWS[kind.direction]) if part)


def _with_unit(column: CardColumn, i: int) -> str:
    return " ".join(part for part in (column.cells[i], column.unit.rstrip(" ↑↓")) if part)
