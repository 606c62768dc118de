"""``report.html``: the whole report on one page that asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from benchmark.api import Quantity
from benchmark.report.board import Board, Cost, Row, Value
from benchmark.report.figures import Drawing
from benchmark.report.tables import (
    chance_cell,
    details,
    floor_cell,
    footnotes,
    mark,
    name_cell,
    other_notes,
    overall_sentences,
    ratio,
    ratio_note,
    reading,
    subtitle,
)
from benchmark.report.words import (
    ABSENT,
    ARROWS,
    SAME_TIME,
    broken,
    in_order,
    interval,
    letter_ranges,
    listed,
    number,
    p_equation,
    quantity,
    significant,
)
from benchmark.statistics import Tables

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Bar:
    """The interval of a cell as percentages of its column's range; NaN is not drawn."""

    low: float
    value: float
    high: float
    floor: float


@dataclass(frozen=True)
class Cell:
    """One number of the page's leaderboard.

    Attributes:
        name: metric or cost, by which columns are shown and hidden.
        sort: what to sort by, as JavaScript reads it; empty where there is nothing.
        text: the number.
        extra: its interval, or ratio.
        floor: its noise floor, and the p-value of perfect calibration.
        marks: signs that refer to the small print.
        bar: the interval as a picture.
        best: whether it is the best of its column.
    """

    name: str
    sort: str
    text: str
    extra: str = ""
    floor: str = ""
    marks: str = ""
    bar: Bar | None = None
    best: bool = False


@dataclass(frozen=True)
class Column:
    """A column of the page's leaderboard."""

    kind: Quantity
    hardware: str
    shown: bool

    @property
    def hint(self) -> str:
        """Unit, machine and direction: the small line under the column's name."""
        better = f"{ARROWS[self.kind.direction]} better" if self.kind.direction else ""
        return ", ".join(part for part in (self.kind.printed_unit, self.hardware, better) if part)


def render(
    boards: Sequence[Board],
    tables: Tables,
    methods: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, str],
    figures: Mapping[Board | None, Sequence[Drawing]],
) -> str:
    """The page as text: the same text for the same input.

    Args:
        boards: the leaderboards.
        tables: where they come from: the tests over all blocks, and the small print.
        methods: name, summary, paper and parameters of each method.
        provenance: how it was made; ``command`` is shown as code.
        figures: those of each board; those over all blocks under None.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "linked": linked,
        "data_uri": data_uri,
        "breakable": breakable,
        "labelled": labelled,
    }
    script = (_HERE / "page.js").read_text(encoding="utf-8").strip()
    shown = {str(m["name"]): m for m in methods}
    names = list(dict.fromkeys(row.method for board in boards for row in board.rows))
    definitions = [
        shown.get(name, {"name": name, "summary": "", "paper": "", "parameters": {}})
        for name in sorted(names)
    ]
    columns = _shared_columns(boards)
    return environment.get_template("page.html").render(
        boards=boards,
        answers=[answer(board) for board in boards],
        columns=columns,
        board_columns=[_columns(board) for board in boards],
        cells=[_cells(board) for board in boards],
        details=[details(board) for board in boards],
        subtitles=[subtitle(board) for board in boards],
        ratio_notes=[ratio_note(board) for board in boards],
        datasets=sorted({b.block.dataset for b in boards} - {""}),
        backbones=sorted({b.block.backbone for b in boards} - {""}),
        figures=[figures.get(board, ()) for board in boards],
        overall_figures=figures.get(None, ()),
        overall=overall_sentences(tables),
        reading=reading(boards),
        name_cell=name_cell,
        chance_cell=chance_cell,
        signs=footnotes(boards),
        notes=other_notes(tables),
        letter_ranges=letter_ranges,
        definitions=definitions,
        anchors={str(d["name"]): f"method-{i}" for i, d in enumerate(definitions)},
        command=provenance.get("command", ""),
        provenance={k: v for k, v in provenance.items() if k != "command"},
        number=number,
        interval=interval,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8").strip()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


# --- the answer ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a reader in a hurry takes away from one board."""

    best: Row
    tied: tuple[str, ...]
    chance: str
    facts: tuple[tuple[str, str, str], ...]
    floor: str


def answer(board: Board) -> Answer:
    """The headline of a board: the best method, its equals, and the best of each metric."""
    best = board.rows[0]
    facts = []
    for metric in board.main_metrics[:3]:
        row = board.best(metric)
        if row is None:
            continue
        kind, value = quantity(metric), row.values[metric]
        digits = board.digits(metric)
        unit = " %" if kind.printed_unit == "%" else ""
        text = f"{number(value.value * kind.scale, digits)}{mark(value)}{unit}"
        bounds = interval(value.low * kind.scale, value.high * kind.scale, digits)
        superlative = "Highest" if kind.direction == "higher" else "Lowest"
        facts.append(
            (f"{superlative} {_lowered(kind.short)}", row.method, f"{text} {bounds}".strip())
        )
    if cheap := _cheapest_of(board, board.tied):
        facts.append(cheap)
    chance = "" if math.isnan(best.chance_best) else f"{number(best.chance_best * 100, 0)} %"
    return Answer(
        best, tuple(r.method for r in board.tied[1:]), chance, tuple(facts), _floor_sentence(board)
    )


def _cheapest_of(board: Board, rows: Sequence[Row]) -> tuple[str, str, str] | None:
    keys = [key for key in board.costs if key[0] == "train_seconds"]
    if len(keys) != 1 or len(rows) < 2:
        return None
    priced = [row for row in rows if not math.isnan(row.costs.get(keys[0], Cost()).value)]
    if not priced:
        return None
    least = min(row.costs[keys[0]].value for row in priced)
    row = next(row for row in priced if row.costs[keys[0]].value <= SAME_TIME * least)
    cost = row.costs[keys[0]]
    relative = "" if math.isnan(cost.ratio) else f" ({cost.ratio:.2f}× {board.cost_reference})"
    return "Cheapest of the best to train", row.method, f"{significant(cost.value)} s{relative}"


def _floor_sentence(board: Board) -> str:
    measured = [r for r in board.rows if not math.isnan(r.values.get("ece", Value()).floor_high)]
    if not measured:
        return ""
    inside = board.inside_floor
    images = f" on {board.images:,} images" if board.images else ""
    if not inside:
        return f"No method is inside the noise floor: every ECE is more than chance{images}."
    if len(inside) == len(measured):
        who = "Every method is" if len(inside) > 1 else "The method is"
    elif len(inside) <= 4:
        who = f"{listed(inside)} {'are' if len(inside) > 1 else 'is'}"
    else:
        who = f"{len(inside)} of {len(measured)} methods are"
    return (
        f"{who} inside the noise floor of ECE: {'their' if len(inside) > 1 else 'its'} "
        f"miscalibration is no more than chance would show{images}."
    )


def _lowered(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


# --- the table -----------------------------------------------------------------------------


def _columns(board: Board) -> list[Column]:
    several = len(board.hardware) > 1
    metrics = [Column(quantity(m), "", m in board.main_metrics) for m in board.metrics]
    costs = [
        Column(quantity(n), h if several else "", bool(quantity(n).main)) for n, h in board.costs
    ]
    return metrics + costs


def _shared_columns(boards: Sequence[Board]) -> list[Column]:
    """Each metric and cost once, for the choice of columns."""
    found = {c.kind.name: c for board in boards for c in _columns(board)}
    return [found[name] for name in in_order(found)]


def _cells(board: Board) -> list[list[Cell]]:
    ranges = {m: _range(board, m) for m in board.metrics}
    best = {m: row.method for m in board.metrics if (row := board.best(m)) is not None}
    return [
        [
            *(_metric(board, row, m, ranges[m], best.get(m) == row.method) for m in board.metrics),
            *(_cost(row, key) for key in board.costs),
        ]
        for row in board.rows
    ]


def _metric(
    board: Board, row: Row, metric: str, span: tuple[float, float], best: bool
) -> Cell:  # fmt: skip
    value = row.values.get(metric, Value())
    kind, digits = quantity(metric), board.digits(metric)
    return Cell(
        name=metric,
        sort=_sortable(value.value),
        text=number(value.value * kind.scale, digits),
        extra=interval(value.low * kind.scale, value.high * kind.scale, digits),
        floor=_floor(board, row, metric),
        marks=mark(value),
        bar=_bar(value, span) if quantity(metric).main else None,
        best=best,
    )


def _floor(board: Board, row: Row, metric: str) -> str:
    value = row.values.get(metric, Value())
    if math.isnan(value.floor_high):
        return ""
    return f"floor {floor_cell(board, row, metric)}, {p_equation(value.p_calibrated)}"


def _cost(row: Row, key: tuple[str, str]) -> Cell:
    cost = row.costs.get(key, Cost())
    text = ABSENT if math.isnan(cost.value) else significant(cost.value)
    return Cell(key[0], _sortable(cost.value), text, ratio(cost, key[0]))


def _sortable(value: float) -> str:
    if math.isnan(value):
        return ""
    return ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else repr(value)


def _range(board: Board, metric: str) -> tuple[float, float]:
    ends = [
        end
        for row in board.rows
        if (v := row.values.get(metric)) is not None
        for end in (v.value, v.low, v.high, v.floor_high)
        if math.isfinite(end)
    ]
    if board.has_floor(metric):
        ends.append(0.0)
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _bar(value: Value, span: tuple[float, float]) -> Bar | None:
    if not math.isfinite(value.value) or span[1] <= span[0]:
        return None

    def place(x: float) -> float:
        share = (x - span[0]) / (span[1] - span[0])
        return round(min(max(share, 0), 1) * 100, 1) if not math.isnan(x) else math.nan

    return Bar(place(value.low), place(value.value), place(value.high), place(value.floor_high))


# --- filters -------------------------------------------------------------------------------

_ADDRESS = re.compile(r"https?://[^\s<>\"'()\[\]{}]+[^\s<>\"'()\[\]{}.,;:]")


def linked(text: str) -> Markup:
    """Text with its web addresses as links; everything else is escaped."""
    parts, end = [], 0
    for match in _ADDRESS.finditer(text):
        address = escape(match[0])
        parts += [
            escape(text[end : match.start()]),
            Markup('<a href="{0}" rel="noopener noreferrer">{0}</a>').format(address),
        ]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def breakable(name: str) -> Markup:
    """A name that may go on in the next line after a hyphen or plus."""
    return Markup("<wbr>").join(broken(name))


def labelled(key: str) -> str:
    """A key of the provenance in words; ``file NAME`` keeps the name as it is."""
    words = key if key.startswith("file ") else key.replace("_", " ")
    return words[:1].upper() + words[1:]


def data_uri(drawing: Drawing) -> str:
    """The picture itself in the place of an address."""
    return "data:image/svg+xml;base64," + base64.b64encode(drawing.svg).decode()
