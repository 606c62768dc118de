"""The report: tables, figures and one page, made from the statistics' data frames alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmark.predictions import Predictions
from benchmark.report.board import REFERENCE, Board, Tables

if TYPE_CHECKING:
    from benchmark.report.drawing import Drawing

__all__ = ["write"]


def write(
    folder: Path,
    tables: Tables,
    predictions: Sequence[Predictions],
    costs: pd.DataFrame,
    methods: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, str],
    against: str = REFERENCE,
) -> list[Path]:
    """Write ``leaderboard.md``, ``.csv``, ``.tex``, ``figures/`` and ``report.html``.

    The same input gives the same bytes: no time, no random number, no order by chance.

    Args:
        folder: where to; made if it is missing.
        tables: values, ranks, differences and notes.
        predictions: what the figures are drawn from.
        costs: tidy, one row for each method, replicate and cost, with the hardware; may be empty.
        methods: ``name``, ``summary``, ``paper`` and ``parameters`` of each method.
        provenance: how it was made, shown in this order; ``command`` as code.
        against: the reference of the paired differences.

    Returns:
        The files written, in a fixed order.
    """
    # Here and not above: the command line must answer --help before matplotlib is loaded.
    from benchmark.report import figures, page
    from benchmark.report.board import make_boards
    from benchmark.report.tables import FILES

    folder.mkdir(parents=True, exist_ok=True)
    boards = make_boards(tables, costs, against)
    written = []
    for name, make in FILES.items():
        written.append(_put(folder / name, make(boards, tables).encode()))
    drawn: dict[Board | None, list[Drawing]] = {
        board: figures.draw_block(board, predictions) for board in boards
    }
    drawn[None] = figures.draw_overall(boards, tables)
    for drawing in (d for part in drawn.values() for d in part):
        written.append(_put(folder / "figures" / f"{drawing.name}.png", drawing.png))
        written.append(_put(folder / "figures" / f"{drawing.name}.svg", drawing.svg))
    html = page.render(boards, tables, methods, provenance, drawn)
    written.append(_put(folder / "report.html", html.encode()))
    return written


def _put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
