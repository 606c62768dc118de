"""What the report says beneath and beside its numbers, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmark.measures.declared import ranked
from benchmark.report.board import Board
from benchmark.report.words import (
    CLASS_SHARES,
    DOUBTFUL,
    FEW_ERRORS,
    FOOTNOTES,
    INSIDE_FLOOR,
    number,
    p_equation,
    percent,
    quantity,
)
from benchmark.statistics import Tables


def reading(boards: Sequence[Board]) -> list[str]:
    """What every reader must know, before the small print; nothing where there are no values."""
    if not boards:
        return []
    return [
        "Methods are sorted by rank: the mean of their ranks of accuracy, ECE and NLL (1 is best). "
        "Its interval comes from the ranks on the single replicates.",
        "Methods that share a letter cannot be told apart. Best in: how often the method has the "
        "best mean rank when the test images are drawn again.",
        "Each value is that of all test images together: pooled over folds, averaged over seeds. "
        f"In brackets is its {boards[0].coverage} interval for other test images of the same kind, "
        f"{_scope(boards)}. It is Wilson's for accuracy, a bootstrap for most others. That of a "
        "calibration error inverts the noise-floor test: it is for the true error, which the value "
        "overstates, and always holds the value too.",
        *_floor_lines(boards),
        *[CLASS_SHARES] * any(board.unranked for board in boards),
    ]


def _scope(boards: Sequence[Board]) -> str:
    """What the values' intervals cover, for each scheme where that differs."""
    said = dict.fromkeys((board.scheme, board.covers) for board in boards)
    if len({covers for _, covers in said}) == 1:
        return boards[0].covers
    return "; ".join(f"{scheme}: {covers}" for scheme, covers in said)


def _floor_lines(boards: Sequence[Board]) -> list[str]:
    board = next((b for b in boards if any(map(b.has_floor, b.metrics))), None)
    if board is None:
        return []
    low, high = number(board.alpha / 2, 3), number(board.alpha, 3)
    return [
        "The noise floor is what a perfectly calibrated model would score on as many images: its "
        f"mean, and in brackets its {board.floor_point} point. p calibrated is how often such a "
        "model would score as high.",
        f"A value is marked {INSIDE_FLOOR} up to the {board.floor_point} point, a two-sided test "
        f"at {percent(board.alpha)}; p is one-sided, so a marked value can have a p between "
        f"{low} and {high}.",
    ]


def subtitle(board: Board) -> str:
    """What the numbers are made of."""
    parts = [f"{board.images:,} test images" if board.images else ""]
    if board.replicates:
        parts.append(
            f"{board.replicates} replicate{'s' if board.replicates > 1 else ''} of each method"
        )
    if any(board.hardware):
        parts.append("costs measured on " + ", ".join(h for h in board.hardware if h))
    return "; ".join(p for p in parts if p)


def footnotes(boards: Sequence[Board]) -> tuple[tuple[str, str], ...]:
    """The signs that occur, with their meaning."""
    rows = [row for board in boards for row in board.all_rows]
    used = {value.mark for row in rows for value in row.values.values()}
    used |= {FEW_ERRORS for row in rows if row.few_errors}
    used |= {DOUBTFUL for row in rows if any(cost.doubt for cost in row.costs.values())}
    return tuple((sign, meaning) for sign, meaning in FOOTNOTES if sign in used)


def ratio_note(board: Board) -> str:
    """What ``×`` refers to."""
    if all(math.isnan(cost.ratio) for row in board.rows for cost in row.costs.values()):
        return ""
    return (
        f"(×) is the ratio to {board.cost_reference} on the same hardware, with as many fits at "
        "once: the geometric mean over the replicates that can be compared, with its "
        f"{board.coverage} interval over them (Student's t on the logarithms). One that holds 1 "
        "shows no difference."
    )


def difference_note(board: Board, what: str, family: str) -> str:
    """What a table of differences shows, and for how many comparisons p is corrected."""
    return (
        f"{what}, paired on the same images, with its {board.coverage} interval, effect size d "
        "(the difference in standard deviations of one image's), and p after Holm's correction "
        f"for {family}."
    )


def training_note(board: Board) -> str:
    """What the table over training shows."""
    note = f"Mean of the {board.replicates} replicates' own values, with its {board.coverage} "
    if board.block.folds == "official":
        return note + (
            "interval between seeds alone: all have the same training and test images, so it says "
            "nothing of others."
        )
    if board.block.folds == "draws":
        note += "interval over training too: for other draws of training and test images."
    else:
        note += (
            "interval over training too: wider than that of independent replicates, for folds "
            "share training images (Nadeau and Bengio)."
        )
    return note + (
        " Calibration errors of small test parts are larger than those of all images together, "
        "and so are their noise floors: the floors above are not theirs, and none is marked."
    )


def small_print(boards: Sequence[Board], tables: Tables) -> list[str]:
    """All that must be said beneath the tables."""
    ratios = dict.fromkeys(note for note in map(ratio_note, boards) if note)
    signs = [f"{sign} {meaning}" for sign, meaning in footnotes(boards)]
    return [*reading(boards), *signs, *ratios, *other_notes(tables)]


def other_notes(tables: Tables) -> list[str]:
    """The statistics' notes but for those that stand with the tests over all blocks."""
    said = over_all_blocks(tables)
    return [note for note in tables.notes if not any(line in note for line in said)]


def over_all_blocks(tables: Tables) -> list[str]:
    """What the tests over all blocks say; nothing where there is one block only."""
    tests: dict[str, Any] = {row["metric"]: row for row in tables.overall.to_dict("records")}
    said, notes = [], []
    for metric in ranked():
        test = tests.get(metric)
        if test is None or test["blocks"] < 2:
            continue
        ranks = tables.mean_ranks[tables.mean_ranks["metric"] == metric]
        best = ranks.sort_values(["mean_rank", "method"]).to_dict("records")[0]
        line = (
            f"{quantity(metric).short}: best mean rank {best['method']} "
            f"({number(best['mean_rank'], 1)})"
        )
        if not math.isnan(test["p"]):
            friedman = number(test["friedman"], 2)
            line += f"; Friedman's test gives {friedman}, {p_equation(test['p'])}"
        said.append(line + ".")
        notes.append(test["note"])
    return [*said, *dict.fromkeys(notes)]
