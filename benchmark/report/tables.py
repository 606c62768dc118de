"""The leaderboard as Markdown, CSV and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd

from benchmark.measures.declared import costs, ranked
from benchmark.report.board import Board, Cost, Difference, Row, Value
from benchmark.report.markdown import bullets, escape_markdown, markdown_table
from benchmark.report.words import (
    ABSENT,
    FEW_ERRORS,
    FOOTNOTES,
    INFINITE,
    INSIDE_FLOOR,
    column_head,
    interval,
    letter_ranges,
    number,
    p_equation,
    p_value,
    percent,
    quantity,
    significant,
)
from benchmark.statistics import Tables
from benchmark.statistics.blocks import KEY


def reading(boards: Sequence[Board]) -> list[str]:
    """What every reader must know, before the small print."""
    coverage = boards[0].coverage if boards else percent(0.95)
    return [
        "Methods are sorted by rank: the mean of their ranks of accuracy, ECE and NLL (1 is best). "
        "Its interval comes from the ranks on the single replicates.",
        "Methods that share a letter cannot be told apart. Best in: how often the method has the "
        "best mean rank when the test images are drawn again.",
        "Each value is that of all test images together: pooled over folds, averaged over seeds. "
        f"In brackets is its {coverage} interval for other test images of the same kind, "
        f"{_scope(boards)}. It is Wilson's for accuracy, a bootstrap for most others. That of a "
        "calibration error inverts the noise-floor test: it is for the true error, which the value "
        "overstates, and always holds the value too.",
        *_floor_lines(boards),
    ]


def _scope(boards: Sequence[Board]) -> str:
    """What the values' intervals cover, for each scheme where that differs."""
    said = dict.fromkeys((board.block.scheme, board.covers) for board in boards)
    if len({covers for _, covers in said}) == 1:
        return boards[0].covers
    return "; ".join(f"{scheme}: {covers}" for scheme, covers in said)


def _floor_lines(boards: Sequence[Board]) -> list[str]:
    measured = [b for b in boards if any(map(b.has_floor, b.metrics))]
    if not measured:
        return []
    board = measured[0]
    low, high = number(board.alpha / 2, 3), number(board.alpha, 3)
    return [
        "The noise floor is what a perfectly calibrated model would score on as many images: its "
        f"mean, and in brackets its {board.floor_point} point. p calibrated is how often such a "
        "model would score as high.",
        f"A value is marked {INSIDE_FLOOR} up to the {board.floor_point} point, a two-sided test "
        f"at {percent(board.alpha)}; p is one-sided, so a marked value can have a p between "
        f"{low} and {high}.",
    ]


# --- cells ---------------------------------------------------------------------------------


def mark(value: Value) -> str:
    """The sign of a value inside the noise floor."""
    return INSIDE_FLOOR * value.inside_floor


def metric_cell(board: Board, row: Row, metric: str) -> str:
    """Value, signs and interval: ``1.86° [0.00, 2.70]``."""
    value = row.values.get(metric, Value())
    scale, digits = quantity(metric).scale, board.digits(metric)
    bounds = interval(value.low * scale, value.high * scale, digits)
    return f"{number(value.value * scale, digits)}{mark(value)} {bounds}".rstrip()


def floor_cell(board: Board, row: Row, metric: str) -> str:
    """Noise floor, its mean and the point that a value is held against: ``1.20 (1.93)``."""
    value = row.values.get(metric, Value())
    if math.isnan(value.floor_high):
        return ABSENT
    scale, digits = quantity(metric).scale, board.digits(metric)
    mean, high = (number(v * scale, digits) for v in (value.floor_mean, value.floor_high))
    return f"{mean} ({high})"


def chance_cell(row: Row) -> str:
    """How often it comes out best, in percent."""
    return number(row.chance_best * 100, 0)


def name_cell(row: Row) -> str:
    """The method, with a sign where its intervals are doubtful."""
    return row.method + f" {FEW_ERRORS}" * row.few_errors


def training_cell(board: Board, row: Row, metric: str) -> str:
    """Mean of the replicates' values, with the interval over training too."""
    value = row.values.get(metric, Value())
    scale, digits = quantity(metric).scale, board.digits(metric)
    bounds = interval(value.training_low * scale, value.training_high * scale, digits)
    # Of several seeds the mean is the value itself; of folds or draws it has another floor.
    sign = mark(value) if board.block.folds == "official" else ""
    return f"{number(value.mean_of_folds * scale, digits)}{sign} {bounds}".rstrip()


def rank_cell(row: Row) -> str:
    """Mean rank and its interval."""
    return f"{number(row.rank.value, 1)} {interval(row.rank.low, row.rank.high, 1)}".rstrip()


def cost_cell(row: Row, key: tuple[str, str]) -> str:
    """A cost and, where it says something, the ratio to the reference: ``412 (1.05×)``."""
    cost = row.costs.get(key, Cost())
    if math.isnan(cost.value):
        return ABSENT
    return f"{significant(cost.value)} {ratio(cost, key[0])}".rstrip()


def ratio(cost: Cost, name: str) -> str:
    """``(1.05×)``, or nothing where there is no ratio."""
    if math.isnan(cost.ratio) or not costs()[name].ratio:
        return ""
    return f"({cost.ratio:.2f}×)"


def difference_cell(board: Board, found: Difference | None, metric: str) -> str:
    """Paired difference, interval, effect size, p: ``−1.2 [−2.1, −0.3], d = −0.06, p < 0.001``."""
    if found is None:
        return ABSENT
    scale, digits = quantity(metric).scale, board.digits(metric)
    bounds = interval(found.low * scale, found.high * scale, digits)
    effect = found.effect_size
    parts = [
        f"{number(found.difference * scale, digits)} {bounds}".rstrip(),
        f"d = {number(effect, 2)}" if math.isfinite(effect) else "",
        p_equation(found.p_holm),
    ]
    return ", ".join(p for p in parts if p)


def subtitle(board: Board) -> str:
    """What the numbers are made of."""
    parts = [f"{board.images:,} test images" if board.images else ""]
    if board.replicates:
        parts.append(
            f"{board.replicates} replicate{'s' if board.replicates > 1 else ''} of each method"
        )
    if board.hardware and any(board.hardware):
        parts.append("costs measured on " + ", ".join(h for h in board.hardware if h))
    return "; ".join(p for p in parts if p)


def footnotes(boards: Sequence[Board]) -> tuple[tuple[str, str], ...]:
    """The signs that occur, with their meaning."""
    rows = [row for board in boards for row in board.rows]
    used = {mark(v) for row in rows for v in row.values.values()}
    used |= {FEW_ERRORS} if any(row.few_errors for row in rows) else set()
    return tuple((sign, meaning) for sign, meaning in FOOTNOTES if sign in used)


def ratio_note(board: Board) -> str:
    """What ``×`` refers to."""
    if not any(not math.isnan(c.ratio) for r in board.rows for c in r.costs.values()):
        return ""
    return (
        f"(×) is the ratio to {board.cost_reference} on the same hardware, with as many fits at "
        "once."
    )


def small_print(boards: Sequence[Board], tables: Tables) -> list[str]:
    """All that must be said beneath the tables, in plain sentences."""
    ratios = list(dict.fromkeys(n for n in map(ratio_note, boards) if n))
    signs = [f"{sign} {meaning}" for sign, meaning in footnotes(boards)]
    return [*reading(boards), *signs, *ratios, *other_notes(tables)]


def other_notes(tables: Tables) -> list[str]:
    """The statistics' notes but for those that stand with the tests over all blocks."""
    said = overall_sentences(tables)
    return [note for note in tables.notes if not any(line in note for line in said)]


# --- grids of text -------------------------------------------------------------------------


Grid = tuple[list[str], list[list[str]]]


def _grid(board: Board) -> Grid:
    columns = ["Rank ↓", "Method", "Group", "Best in %"]
    for metric in board.main_metrics:
        kind = quantity(metric)
        columns.append(column_head(metric))
        if board.has_floor(metric):
            unit = f" {kind.printed_unit}" if kind.printed_unit else ""
            columns += [f"{kind.short} floor{unit} ({board.floor_point})", "p calibrated"]
    columns += [board.cost_head(key) for key in board.main_costs]
    rows = [
        [
            rank_cell(row),
            name_cell(row),
            letter_ranges(row.group),
            chance_cell(row),
            *(cell for m in board.main_metrics for cell in _metric_cells(board, row, m)),
            *(cost_cell(row, key) for key in board.main_costs),
        ]
        for row in board.rows
    ]
    return columns, rows


def _metric_cells(board: Board, row: Row, metric: str) -> list[str]:
    """The value, and beside it the noise floor and its p-value where there is a floor."""
    cells = [metric_cell(board, row, metric)]
    if board.has_floor(metric):
        p = row.values.get(metric, Value()).p_calibrated
        cells += [floor_cell(board, row, metric), p_value(p)]
    return cells


def differences(board: Board) -> Grid:
    """Paired differences to the reference, of the primary metrics."""
    metrics = [m for m in board.main_metrics if any(m in r.differences for r in board.rows)]
    head = ["Method", *(column_head(m) for m in metrics)]
    rows = [
        [row.method, *(difference_cell(board, row.differences.get(m), m) for m in metrics)]
        for row in board.rows
        if row.differences
    ]
    return head, rows


def differences_to_best(board: Board) -> Grid:
    """Paired differences to the best method of each column, of the primary metrics."""
    metrics = [m for m in board.main_metrics if m in board.leaders]
    head = ["Method", *(column_head(m) for m in metrics)]

    def cell(row: Row, metric: str) -> str:
        if row.method == board.leaders[metric]:
            return "best"
        return difference_cell(board, row.to_best.get(metric), metric)

    return head, [[row.method, *(cell(row, m) for m in metrics)] for row in board.rows if metrics]


def details(board: Board) -> list[tuple[str, Grid, str]]:
    """Title, table and note of all that stands beneath a leaderboard; none without rows."""
    found = (
        (f"Paired differences to {board.against}", differences(board),
         difference_note(board, f"Method minus {board.against}", "all methods")),
        ("Paired differences to the best", differences_to_best(board),
         difference_note(board, "Method minus the best one of the column",
                         "all pairs, as the best was chosen from the same data")),
        ("Replicates and training", over_training(board), training_note(board)),
    )  # fmt: skip
    return [part for part in found if part[1][1]]


def over_training(board: Board) -> Grid:
    """Means of the replicates' values, of the primary metrics; no rows for one replicate."""
    metrics = board.main_metrics
    head = ["Method", *(column_head(m) for m in metrics)]
    if board.replicates < 2:
        return head, []
    return head, [
        [row.method, *(training_cell(board, row, m) for m in metrics)] for row in board.rows
    ]


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


# --- Markdown ------------------------------------------------------------------------------


def markdown(boards: Sequence[Board], tables: Tables) -> str:
    """A document that reads well raw and rendered."""
    parts = ["# Leaderboard"]
    for board in boards:
        parts += [f"## {escape_markdown(board.block.title)}", subtitle(board) + "."]
        parts.append(_table(*_grid(board), left=(1,)))
        for _, (head, rows), note in details(board):
            parts += [escape_markdown(note), _table(head, rows, left=(0,))]
    overall = overall_sentences(tables)
    if overall:
        parts += ["## Over all blocks", bullets(overall)]
    parts += ["## Small print", bullets(small_print(boards, tables))]
    return "\n\n".join(parts) + "\n"


def overall_sentences(tables: Tables) -> list[str]:
    """What the tests over all blocks say; nothing where there is one block only."""
    overall = tables.overall[tables.overall["metric"].isin(ranked())]
    said, notes = [], []
    several = overall[overall["blocks"] > 1].to_dict("records")
    for row in sorted(several, key=lambda r: ranked().index(r["metric"])):
        ranks = tables.mean_ranks[tables.mean_ranks["metric"] == row["metric"]]
        best = ranks.sort_values(["mean_rank", "method"]).iloc[0]
        line = (
            f"{quantity(row['metric']).short}: best mean rank {best['method']} "
            f"({number(best['mean_rank'], 1)})"
        )
        if not math.isnan(row["p"]):
            line += f"; Friedman's test gives {number(row['friedman'], 2)}, {p_equation(row['p'])}"
        said.append(line + ".")
        notes.append(row["note"])
    return [*said, *dict.fromkeys(notes)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: tuple[int, ...]) -> str:
    escaped = [[escape_markdown(text) for text in line] for line in (head, *rows)]
    return markdown_table(escaped[0], escaped[1:], left)


# --- CSV -----------------------------------------------------------------------------------


def frame(boards: Sequence[Board]) -> pd.DataFrame:
    """One row for each block and method, unrounded, for programs."""
    rows = []
    for board in boards:
        for row in board.rows:
            line: dict[str, object] = {key: getattr(board.block, key) for key in KEY}
            line |= {"images": board.images, "replicates": board.replicates}
            line |= {"method": row.method, "rank": row.rank.value, "rank_low": row.rank.low,
                     "rank_high": row.rank.high, "group": row.group,
                     "chance_best": row.chance_best}  # fmt: skip
            for metric in board.metrics:
                line |= _flat(metric, row.values.get(metric, Value()))
            for metric in board.metrics:
                if found := row.differences.get(metric):
                    line["reference"] = board.against
                    line |= {f"{metric}_difference{_suffix(n)}": getattr(found, n)
                             for n in Difference.__dataclass_fields__}  # fmt: skip
                if metric in board.leaders:
                    line[f"{metric}_best"] = board.leaders[metric]
                    best = row.to_best.get(metric, Difference())
                    line |= {f"{metric}_difference_to_best{_suffix(n)}": getattr(best, n)
                             for n in Difference.__dataclass_fields__}  # fmt: skip
            for name, hardware in board.costs:
                cost = row.costs.get((name, hardware), Cost())
                label = f"{name} ({hardware})" if len(board.hardware) > 1 else name
                line["hardware"] = ", ".join(board.hardware)
                line |= {label: cost.value, f"{label}_ratio": cost.ratio}
            rows.append(line)
    columns: dict[str, None] = {}
    for line in rows:
        columns |= dict.fromkeys(line)
    table = pd.DataFrame(rows, columns=list(columns))
    return table.dropna(axis=1, how="all") if len(table) else table


def _flat(metric: str, value: Value) -> dict[str, object]:
    names = [n for n in Value.__dataclass_fields__ if n != "value"]
    flat = {f"{metric}_{n}": getattr(value, n) for n in names}
    if math.isnan(value.floor_high):
        del flat[f"{metric}_inside_floor"]
    return {metric: value.value, **flat}


def _suffix(name: str) -> str:
    return "" if name == "difference" else f"_{name}"


def csv(boards: Sequence[Board]) -> str:
    """:func:`frame` as text."""
    table = frame(boards)
    floats = table.select_dtypes("float").columns
    table[floats] += 0.0  # no minus zero
    return str(table.to_csv(index=False, lineterminator="\n"))


# --- LaTeX ---------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    INFINITE: r"$\infty$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "×": r"$\times$",
    "−": "$-$", "–": "--", "·": r"$\cdot$",
    INSIDE_FLOOR: r"$^{\circ}$", FEW_ERRORS: r"$^{\dagger}$",
}  # fmt: skip


def latex(boards: Sequence[Board], tables: Tables) -> str:
    r"""Tables ready for a paper; they need ``\usepackage{booktabs,graphicx}``."""
    parts = [
        "% Needs \\usepackage{booktabs} and \\usepackage{graphicx} (for \\resizebox).",
        *(table for board in boards for table in _latex_tables(board, tables)),
    ]
    return "\n\n".join(parts) + "\n"


def _latex_tables(board: Board, tables: Tables) -> list[str]:
    """The leaderboard, and what stands beneath it."""
    title, label = board.block.title, board.block.file_name
    head, rows = _grid(board)
    columns = rf"rl@{{\hspace{{0.6em}}}}l{'r' * (len(head) - 3)}"
    caption = f"{title}. {subtitle(board)}."
    parts = [_latex_table(head, rows, columns, caption, label, small_print([board], tables))]
    for place, (name, (head, rows), note) in enumerate(details(board), 1):
        columns = "l" + "r" * (len(head) - 1)
        caption = f"{title}. {name}."
        parts.append(_latex_table(head, rows, columns, caption, f"{label}:{place}", [note]))
    return parts


def _latex_table(
    head: list[str], rows: list[list[str]], columns: str, caption: str, label: str,
    notes: Sequence[str],
) -> str:  # fmt: skip
    body = [" & ".join(map(escape_latex, row)) + r" \\" for row in rows]
    return "\n".join([
        r"\begin{table}[t]",
        r"  \centering",
        rf"  \caption{{{escape_latex(caption)}}}",
        rf"  \label{{tab:{label}}}",
        r"  \resizebox{\linewidth}{!}{%",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        "    " + " & ".join(map(escape_latex, head)) + r" \\",
        r"    \midrule",
        *("    " + line for line in body),
        r"    \bottomrule",
        r"  \end{tabular}}",
        r"  \par\medskip\begin{minipage}{\linewidth}\footnotesize",
        *("    " + escape_latex(line) for line in notes),
        r"  \end{minipage}",
        r"\end{table}",
    ])  # fmt: skip


def escape_latex(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))


FILES: dict[str, Callable[[Sequence[Board], Tables], str]] = {
    "leaderboard.md": markdown,
    "leaderboard.csv": lambda boards, _: csv(boards),
    "leaderboard.tex": latex,
}
