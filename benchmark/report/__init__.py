"""The report: tables, figures and one page, made from the statistics' data frames alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.api import BlockKey

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.report.board import Board
    from benchmark.report.curves import MethodCurves
    from benchmark.report.figures import Drawing
    from benchmark.statistics import Tables

__all__ = ["write"]

KINDS = ("reliability", "intervals", "ece-cost", "heads", "risk-coverage", "critical-differences")
"""What figures are called that were drawn before there were digests of them."""


def write(
    folder: Path,
    tables: Tables,
    curves: Mapping[BlockKey, Mapping[str, MethodCurves]],
    costs: pd.DataFrame,
    methods: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, str],
    against: str,
    alpha: float,
    cost_reference: str = "",
) -> list[Path]:
    """Write ``leaderboard.md``, ``.csv``, ``.tex``, ``figures/`` and ``report.html``.

    The same input gives the same bytes: no time, no random number, no order by chance. Nothing is
    written before everything is made.

    Args:
        folder: where to; made if it is missing.
        tables: values, ranks, differences, scores and notes.
        curves: of each block's methods: what the figures are drawn from.
        costs: tidy, one row for each method, replicate and cost, with the hardware; may be empty.
        methods: ``name``, ``summary``, ``paper`` and ``parameters`` of each method.
        provenance: how it was made, shown in this order; ``command`` as code.
        against: the reference of the paired differences.
        alpha: one minus the coverage of the intervals.
        cost_reference: what costs are compared to, wherever it was run; elsewhere, and by default,
            it is ``against``.

    Returns:
        The files written, in a fixed order.
    """
    # Here and not above: the command line must answer --help before pandas is loaded.
    from benchmark.report import figures, page
    from benchmark.report.board import make_boards
    from benchmark.report.tables import FILES
    from benchmark.results.files import write_atomically

    boards = make_boards(tables, costs, against, alpha, cost_reference)
    drawn: dict[Board | None, list[Drawing]] = {
        board: figures.draw_block(board, curves.get(board.block, {}), tables.scores, methods)
        for board in boards
    }
    drawn[None] = figures.draw_overall(boards)
    pictures = [drawing for part in drawn.values() for drawing in part]
    place = folder / "figures"
    earlier = figures.digests(place)
    digests = figures.render(pictures, place)
    files = {folder / name: make(boards, tables).encode() for name, make in FILES.items()}
    for drawing in pictures:
        files[place / f"{drawing.name}.png"] = drawing.png
        files[place / f"{drawing.name}.svg"] = drawing.svg
    files[place / figures.DIGESTS] = digests
    files[folder / "report.html"] = page.render(boards, tables, methods, provenance, drawn).encode()
    for path in place.glob("*--*"):
        ours = path.stem in earlier or path.stem.partition("--")[0] in KINDS
        if ours and path.suffix in {".png", ".svg"} and path not in files:
            path.unlink()
    for path, content in files.items():
        write_atomically(path, content)
    return list(files)
