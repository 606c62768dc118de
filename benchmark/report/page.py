"""``report.html``: the whole report on one page that asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from benchmark.report import sentences
from benchmark.report.board import Board, Column, Row, Value
from benchmark.report.figures import Drawing
from benchmark.report.tables import details, name_cell
from benchmark.report.words import (
    broken,
    in_order,
    interval,
    listed,
    no_difference,
    number,
    p_equation,
    ratio,
    significant,
    some,
)
from benchmark.statistics import Tables

_HERE = Path(__file__).parent


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
    used_in_the_page = (
        bar, breakable, data_uri, details, floor_sentence, in_short, interval, labelled, linked,
        name_cell, number, p_equation, sentences.heading, sentences.ratio_note,
        sentences.subtitle, size, sortable, worded,
    )  # fmt: skip
    environment.globals |= {function.__name__: function for function in used_in_the_page}
    style, script = (
        (_HERE / name).read_text(encoding="utf-8").strip() for name in ("page.css", "page.js")
    )
    known = {str(m["name"]): m for m in methods}
    names = sorted({row.method for board in boards for row in board.rows})
    nothing = {"summary": "", "paper": "", "parameters": {}}
    columns = {c.quantity.name: c for board in boards for c in board.columns}
    return environment.get_template("page.html").render(
        boards=boards,
        columns=[columns[name] for name in in_order(columns)],
        datasets=sorted({board.block.dataset for board in boards} - {""}),
        backbones=sorted({board.block.backbone for board in boards} - {""}),
        figures=[figures.get(board, ()) for board in boards],
        overall_figures=figures.get(None, ()),
        overall=sentences.over_all_blocks(tables),
        reading=sentences.reading(boards),
        signs=sentences.footnotes(boards),
        notes=sentences.other_notes(tables),
        definitions=[known.get(name, {"name": name, **nothing}) for name in names],
        anchors={name: f"method-{i}" for i, name in enumerate(names)},
        command=provenance.get("command", ""),
        provenance={k: v for k, v in provenance.items() if k != "command"},
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


# --- in short ----------------------------------------------------------------------------


def in_short(board: Board) -> list[sentences.Finding]:
    """What a reader in a hurry takes away from a board."""
    cheapest = _cheapest(board)
    return [*sentences.headline(board), *([cheapest] if cheapest else [])]


def _cheapest(board: Board) -> sentences.Finding | None:
    """Of the methods that are not told apart from the first, the one that trains quickest."""
    if board.cheapest is None:
        return None
    method, equal = board.cheapest
    [cost] = (
        cost
        for row in board.rows
        for (name, _), cost in row.costs.items()
        if (row.method, name) == (method, "train_seconds")
    )
    times = ratio(cost.ratio, cost.ratio_low, cost.ratio_high)
    relative = f" ({times} of {board.cost_reference})" if times else ""
    others = no_difference(equal, len(board.alike) - 1)
    text = f": {significant(cost.value)} s to train{relative}{others}"
    return sentences.Finding("Cheapest not told apart", (sentences.Name(method), text))


def worded(piece: str, anchors: Mapping[str, str]) -> Markup:
    """A piece of a sentence; a method's name leads to its definition."""
    if not isinstance(piece, sentences.Name):
        return escape(piece)
    link = Markup('<a class="method" href="#{}">{}</a>')
    return link.format(anchors[piece], breakable(piece))


def floor_sentence(board: Board) -> str:
    """Of which methods all networks are inside the noise floor of ECE."""
    values = {row.method: row.values["ece"] for row in board.rows if "ece" in row.values}
    if all(math.isnan(value.floor_high) for value in values.values()):
        return ""
    networks = " with every network" if board.replicates > 1 else ""
    inside = [method for method, value in values.items() if value.all_inside]
    if not inside:
        return f"No method is inside the noise floor of ECE{networks}."
    return (
        f"Inside the noise floor of ECE{networks}: {listed(some(inside))}. A perfectly calibrated "
        "network would score as high by chance."
    )


# --- the table -----------------------------------------------------------------------------


def bar(board: Board, column: Column, row: Row) -> tuple[float, ...]:
    """The interval of a primary metric as a picture: percentages of its column's range.

    Returns:
        The lower end, the value, the upper end and the noise floor, if that belongs to it; NaN is
        not drawn. Empty where
        there is no picture.
    """
    name = column.quantity.name
    value = row.values.get(name, Value())
    if not column.quantity.main or not math.isfinite(value.value) or row in board.unranked:
        return ()

    def ends(v: Value) -> tuple[float, ...]:
        return v.low, v.value, v.high, math.nan if board.of_methods else v.floor_high

    drawn = [end for r in board.rows for end in ends(r.values[name]) if math.isfinite(end)]
    drawn += [0.0] * column.has_floor
    least, most = min(drawn), max(drawn)

    def place(x: float) -> float:
        share = min(max((x - least) / (most - least), 0), 1)
        return math.nan if math.isnan(x) else round(share * 100, 1)

    return tuple(map(place, ends(value))) if most > least else ()


def sortable(value: float) -> str:
    """A number as JavaScript reads it; empty where there is none."""
    if math.isnan(value):
        return ""
    return ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else repr(value)


# --- pieces of text --------------------------------------------------------------------------

_ADDRESS = re.compile(r"(https?://[^\s<>\"'()\[\]{}]+[^\s<>\"'()\[\]{}.,;:])")


def linked(text: str) -> Markup:
    """Text with its web addresses as links; everything else is escaped."""
    link = Markup('<a href="{0}" rel="noopener noreferrer">{0}</a>')
    parts = enumerate(_ADDRESS.split(text))  # every other one is an address
    return Markup("").join(link.format(part) if i % 2 else escape(part) for i, part in parts)


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


def size(drawing: Drawing) -> list[int]:
    """Width and height of a picture on the page, in pixels: 120 an inch, of 72 points."""
    points = re.search(rb'width="([\d.]+)pt" height="([\d.]+)pt"', drawing.svg)
    assert points
    return [round(float(length) * 120 / 72) for length in points.groups()]
