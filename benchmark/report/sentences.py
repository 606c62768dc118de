"""What the report says beneath and beside its numbers, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmark.inference.moderated import MIN_REPLICATES
from benchmark.measures.declared import ranked
from benchmark.report.board import Board, Row
from benchmark.report.words import (
    CLASS_SHARES,
    DOUBTFUL,
    FEW_ERRORS,
    FOOTNOTES,
    INSIDE_FLOOR,
    interval,
    listed,
    number,
    p_equation,
    percent,
    quantity,
    some,
)
from benchmark.statistics import Tables
from benchmark.statistics.ranks import AHEAD, ALIKE, BEHIND, CONFLICT
from benchmark.statistics.rows import MOST, POWER

# --- in short --------------------------------------------------------------------------------


class Name(str):
    """The name of a method within a sentence: the page makes a link of it."""


class Finding(NamedTuple):
    """A sentence in pieces, and what it is about."""

    label: str
    said: tuple[str, ...]


def headline(board: Board) -> list[Finding]:
    """What the tests say of a board: not more, and in the order of the metrics."""
    first = board.rows[0]
    others = len(board.rows) - 1
    found = (
        [Finding("Speaks of", (f"these trained networks. {too_few(board)}",))]
        if not board.of_methods
        else []
    )
    bounds = interval(first.rank.low, first.rank.high, 1)
    text = f": {number(first.rank.value, 1)} {bounds}".rstrip() + f", of {len(board.rows)} methods"
    found.append(Finding("First in mean rank", (Name(first.method), text)))
    if not first.against_first:
        return found
    for label, relation in (
        ("Ahead of", BEHIND),
        ("Not told apart from", ALIKE),
        ("Not ordered with", CONFLICT),
        ("Behind", AHEAD),
    ):
        rows = board.beside_first(relation)
        if rows:
            said = _names(rows, first if relation == CONFLICT else None)
            meaning = _MEANING.get(relation, "")
            found.append(Finding(label, (f"{len(rows)} of {others}{meaning}: ", *said)))
    if others:
        found += [_may_be_best(board, metric) for metric in board.ranked]
    return found


_MEANING = {
    BEHIND: " (told apart as better in a ranked metric, in none as worse)",
    AHEAD: " (told apart as worse in a ranked metric, in none as better)",
}


def too_few(board: Board) -> str:
    """Why nothing is said of methods, and what it takes."""
    # Whatever has fewer folds has so many replicates, or folds repeated by seeds.
    independent = min(board.replicates, MIN_REPLICATES - 1)
    return (
        "To say which method is better there are too few independent replicates: "
        f"{independent}; at least {MIN_REPLICATES} are needed."
    )


def _names(rows: Sequence[Row], beside: Row | None = None) -> list[str]:
    """Methods, of many the first ones; and in what another one is better and worse."""
    names = some([row.method for row in rows])
    said: list[str] = []
    for place, name in enumerate(names):
        said += ["" if place == 0 else " and " if place == len(names) - 1 else ", "]
        named = place < len(rows) and name == rows[place].method
        said += [Name(name) if named else name]
        said += [_conflict(beside, rows[place])] if beside and named else []
    return said[1:]


def _conflict(first: Row, other: Row) -> str:
    apart = first.compared(other)
    better, worse = (
        listed(_short(metric) for metric, ahead in apart.items() if ahead == which)
        for which in (True, False)
    )
    return f" (it is better in {better}, worse in {worse})"


def _may_be_best(board: Board, metric: str) -> Finding:
    """The methods that no test excludes as the best in a metric, and the leading one's value."""
    rows = sorted(
        (row for row in board.rows if row.place(metric).best),
        key=lambda row: row.place(metric).rank,
    )
    label = f"May be best in {_short(metric)}"
    if not rows:
        return Finding(label, ("not known",))
    q, value = quantity(metric), rows[0].values[metric]
    text, bounds = board.printed(metric, value.value, value.low, value.high)
    unit = " %" if q.printed_unit == "%" else ""
    extreme = "highest" if q.direction == "higher" else "lowest"
    said = f" ({extreme} value: {text}{value.mark}{unit} {bounds}".rstrip() + ")"
    if len(rows) == len(board.rows):
        return Finding(label, (f"any of the {len(rows)}; first ", Name(rows[0].method), said))
    lead, *more = _names(rows)
    return Finding(label, (lead, said, *more))


def _short(metric: str) -> str:
    short = quantity(metric).short
    return short if short[:2].isupper() else short[:1].lower() + short[1:]


# --- how to read it ----------------------------------------------------------------------------


def reading(boards: Sequence[Board]) -> list[str]:
    """What every reader must know, before the small print; nothing where there are no values."""
    if not boards:
        return []
    coverage, level = boards[0].coverage, percent(boards[0].alpha)
    of_methods = [board for board in boards if board.of_methods]
    networks = [board for board in boards if not board.of_methods]
    said = ["Methods are sorted by rank: the mean of their ranks of accuracy, ECE and NLL (1 is "
            "best)."]  # fmt: skip
    if of_methods:
        said += [
            "Values are of methods: the mean over the replicates of the metric of one trained "
            "network (or one ensemble). In brackets is the " + _scope(of_methods, coverage) + ", "
            "each by itself. What noise adds to each network's calibration error is estimated and "
            "taken off: with few test images too much where gaps are small and change their sign "
            "(half of the noise floor at most, in simulations).",
            f"The interval of a rank, at {coverage}, is for the rank of the methods' expected "
            "values, each by itself.",
            "Within a metric, methods that share a letter cannot be told apart (moderated t over "
            "replicates, Holm over all pairs of that metric: where methods scatter alike between "
            f"trainings the chance of any false separation is at most about {level} a metric; "
            "where some scatter two or three times as much it was up to 15 % in simulations).",
        ]
    if networks:
        where = "" if not of_methods else "; ".join(b.title for b in networks) + ": "
        said += [
            f"{where}values, intervals ({coverage}, each by itself) and tests are for other test "
            "images of the same kind, given these trained networks: they say nothing of other "
            "trainings, and ranks have no intervals.",
            f"{where}within a metric, networks that share a letter cannot be told apart (paired "
            "on the same images, Holm over all pairs of that metric: the chance of any false "
            f"separation is at most {level} a metric).",
        ]
    said += [
        "An infinite loss is worse than a finite one without any test. May be best: no other "
        "method is told apart as better in that metric. Ahead: better in one or more of accuracy, "
        "ECE and NLL and worse in none, as far as the tests tell; not ordered: better in some and "
        "worse in others. No interval is shown where it would be all of the metric's range.",
        *_floor_lines(boards),
        *[CLASS_SHARES] * any(board.unranked for board in boards),
    ]
    return said


def _scope(boards: Sequence[Board], coverage: str) -> str:
    """What the values' intervals are for, for each scheme where that differs."""
    said = dict.fromkeys((board.scheme, board.covers) for board in boards)
    if len({covers for _, covers in said}) == 1:
        return f"{coverage} interval {boards[0].covers}"
    each = "; ".join(f"{scheme}: {covers}" for scheme, covers in said)
    return f"{coverage} interval ({each})"


def _floor_lines(boards: Sequence[Board]) -> list[str]:
    board = next((b for b in boards if any(map(b.has_floor, b.metrics))), None)
    if board is None:
        return []
    low, high = number(board.alpha / 2, 3), number(board.alpha, 3)
    return [
        "The noise floor is what perfectly calibrated networks would score on as many images: its "
        f"mean, and in brackets its {board.floor_point} point. p calibrated is how often such "
        "networks would score as high.",
        f"A network is inside its floor up to its own {board.floor_point} point, a two-sided test "
        f"at {percent(board.alpha)}, which does not show that it is calibrated; p is one-sided, so "
        f"that one inside can have a p between {low} and {high}. {INSIDE_FLOOR} stands where all "
        "networks of a method are inside.",
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


def heading(board: Board) -> str:
    """What the main table is about, and what its intervals are for."""
    if not board.of_methods:
        return (
            f"These trained networks. {too_few(board)} Intervals are {board.covers}; networks that "
            "share a letter cannot be told apart in that metric."
        )
    return (
        f"Intervals are {board.covers}; methods that share a letter cannot be told apart in that "
        "metric; noise is removed from calibration errors."
    )


def footnotes(boards: Sequence[Board]) -> tuple[tuple[str, str], ...]:
    """The signs that occur, with their meaning."""
    rows = [row for board in boards for row in board.all_rows]
    used = set("".join(value.mark for row in rows for value in row.values.values()))
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


def difference_note(board: Board, question: str, to_best: bool) -> str:
    """What a table of differences shows, and for how many comparisons p is corrected."""
    scope = board.covers if question == board.question else "for other test images alone"
    unit = "one replicate's" if question == "methods" else "one image's"
    said = (
        f"Method minus {'the best one of the column' if to_best else board.against}, paired by "
        f"replicate and image. In brackets: the {board.coverage} interval {scope}, "
        f"{'for all pairs at once' if to_best else 'each by itself'}. d: the difference in "
        f"standard deviations of {unit} difference. p: after Holm's correction for all "
        f"{'pairs, as the best was chosen from the same data' if to_best else 'methods'}."
    )
    leaders = {board.leaders.get((question, metric)) for metric in board.main_metrics}
    if to_best and board.against in leaders:
        said += f" Where {board.against} is the best, see the differences to it."
    return said


def networks_note(board: Board) -> str:
    """What the table of the trained networks shows."""
    return (
        f"For who deploys one of these {board.replicates} networks of each method: the mean of "
        f"each one's own value, noise and all, with its {board.coverage} interval for other test "
        "images only. It says nothing of other trainings."
    )


def detectable_note(board: Board) -> str:
    """What a table could have found, and what more replicates would find."""
    kind = {"official": "seeds", "draws": "draws"}.get(board.block.folds)
    more = (
        f"how many {kind} would find a true difference of that size with the same chance: the "
        "observed one is uncertain, and so is this number."
        if kind
        else "how many folds would find it is not known, for folds share images."
    )
    return (
        "Found: the true difference between two methods that is found in about "
        f"{percent(POWER)} of tables like this one, for the typical pair, with all pairs compared, "
        "if replicates scatter as they do here. Beside it the first two methods of each metric and "
        "their observed difference. Needed: "
        f"{more} What is stored is kept when {kind or 'seeds'} are added to a run."
    )


def needed(replicates: float) -> str:
    """How many replicates would settle it."""
    return f"more than {MOST:,}" if math.isinf(replicates) else number(replicates, 0)


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
            f"{quantity(metric).short}: lowest mean rank {best['method']} "
            f"({number(best['mean_rank'], 1)})"
        )
        if not math.isnan(test["p"]):
            friedman = number(test["friedman"], 2)
            line += f"; Friedman's test gives {friedman}, {p_equation(test['p'])}"
        said.append(line + ".")
        notes.append(test["note"])
    return [*said, *dict.fromkeys(notes)]
