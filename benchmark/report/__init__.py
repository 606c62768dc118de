"""The report: tables, figures and one page, made from the statistics' data frames alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.api import Predictions

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.report.board import Board
    from benchmark.report.figures import Drawing
    from benchmark.statistics import Tables

__all__ = ["write"]

KINDS = ("reliability", "intervals", "ece-cost", "heads", "risk-coverage", "critical-differences")


def write(
    folder: Path,
    tables: Tables,
    predictions: Sequence[Predictions],
    costs: pd.DataFrame,
    methods: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, str],
    against: str = "cross-entropy",
    alpha: float = 0.05,
    scores: pd.DataFrame | None = None,
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
        alpha: one minus the coverage of the intervals.
        scores: tidy scores of all replicates; measured again where they are not given.

    Returns:
        The files written, in a fixed order.
    """
    # Here and not above: the command line must answer --help before matplotlib is loaded.
    from benchmark.report import figures, page
    from benchmark.report.board import make_boards
    from benchmark.report.tables import FILES

    folder.mkdir(parents=True, exist_ok=True)
    boards = make_boards(tables, costs, against, alpha)
    written = []
    for name, make in FILES.items():
        written.append(_put(folder / name, make(boards, tables).encode()))
    drawn: dict[Board | None, list[Drawing]] = {
        board: figures.draw_block(board, predictions, scores=scores, definitions=methods)
        for board in boards
    }
    drawn[None] = figures.draw_overall(boards)
    pictures = [d for part in drawn.values() for d in part]
    before = set(figures.digests(folder / "figures"))
    digests = figures.render(pictures, folder / "figures")
    _remove_others(folder / "figures", {d.name for d in pictures}, before)
    for drawing in pictures:
        written.append(_put(folder / "figures" / f"{drawing.name}.png", drawing.png))
        written.append(_put(folder / "figures" / f"{drawing.name}.svg", drawing.svg))
    written.append(_put(folder / "figures" / figures.DIGESTS, digests))
    html = page.render(boards, tables, methods, provenance, drawn)
    written.append(_put(folder / "report.html", html.encode()))
    return written


def _put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _remove_others(folder: Path, names: set[str], before: set[str]) -> None:
    """Remove figures of an earlier report that this one does not have, and nothing else."""
    for path in folder.glob("*--*"):
        ours = path.stem in before or path.stem.partition("--")[0] in KINDS
        if ours and path.suffix in {".png", ".svg"} and path.stem not in names:
            path.unlink()
