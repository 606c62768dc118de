"""The leaderboard as Markdown, CSV and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from benchmark.report.board import Board, Charge, Difference, Row, Value
from benchmark.report.markdown import bullets, escape_markdown, markdown_table
from benchmark.report.sentences import (
    difference_note,
    over_all_blocks,
    small_print,
    subtitle,
    training_note,
)
from benchmark.report.words import (
    ABSENT,
    DOUBTFUL,
    FEW_ERRORS,
    INFINITE,
    INSIDE_FLOOR,
    column_head,
    interval,
    letter_ranges,
    number,
    p_equation,
    p_value,
)
from benchmark.statistics import Tables


class DetailTable(NamedTuple):
    """A table of text, and what is said above it."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str


def leaderboard(board: Board) -> tuple[list[str], list[list[str]]]:
    """The short table of a block: its head and its rows."""
    columns = [column for column in board.columns if column.main]
    head = ["Rank ↓", "Method", "Group", "Best in %"]
    for column in columns:
        head.append(column.head)
        if column.has_floor:
            name = f"{column.quantity.short} floor {column.quantity.printed_unit}".rstrip()
            head += [f"{name} ({board.floor_point})", "p calibrated"]
    rows = []
    for row in board.all_rows:
        rank = f"{number(row.rank.value, 1)} {interval(row.rank.low, row.rank.high, 1)}".rstrip()
        line = [rank, name_cell(row), letter_ranges(row.group), chance_cell(row)]
        for column in columns:
            cell = column.cells[row.method]
            line.append(str(cell))
            if column.has_floor:
                line += [cell.floor or ABSENT, p_value(cell.p)]
        rows.append(line)
    return head, rows


def name_cell(row: Row) -> str:
    """The method, with a sign where its intervals are doubtful."""
    return row.method + f" {FEW_ERRORS}" * row.few_errors


def chance_cell(row: Row) -> str:
    """How often it comes out best, in percent."""
    return number(row.chance_best * 100, 0)


def details(board: Board) -> list[DetailTable]:
    """All that stands beneath a leaderboard, of the primary metrics; no table without rows."""
    metrics = board.main_metrics

    def table(
        title: str, note: str, cell: Callable[[Row, str], str], rows: Sequence[Row]
    ) -> DetailTable:  # fmt: skip
        lines = [[row.method, *(cell(row, metric) for metric in metrics)] for row in rows]
        return DetailTable(title, ["Method", *map(column_head, metrics)], lines, note)

    def to_reference(row: Row, metric: str) -> str:
        return _difference(board, row, metric, board.against)

    def to_best(row: Row, metric: str) -> str:
        best = board.leaders[metric]
        return "best" if row.method == best else _difference(board, row, metric, best)

    def over_training(row: Row, metric: str) -> str:
        v = row.values[metric]
        text, bounds = board.printed(metric, v.mean_of_folds, v.training_low, v.training_high)
        # Of several seeds the mean is the value itself; of folds or draws it has another floor.
        mark = v.mark if board.block.folds == "official" else ""
        return f"{text}{mark} {bounds}".rstrip()

    compared = [r for r in board.rows if any(o == board.against for _, o in r.differences)]
    found = (
        table(f"Paired differences to {board.against}",
              difference_note(board, f"Method minus {board.against}", "all methods"),
              to_reference, compared),
        table("Paired differences to the best",
              difference_note(board, "Method minus the best one of the column",
                              "all pairs, as the best was chosen from the same data"),
              to_best, board.rows if board.leaders else ()),
        table("Replicates and training", training_note(board),
              over_training, board.all_rows if board.replicates > 1 else ()),
    )  # fmt: skip
    return [part for part in found if part.rows]


def _difference(board: Board, row: Row, metric: str, other: str) -> str:
    """Paired difference, interval, effect size, p: ``−1.2 [−2.1, −0.3], d = −0.06, p < 0.001``."""
    found = row.differences.get((metric, other))
    if found is None:
        return ABSENT
    text, bounds = board.printed(metric, found.difference, found.low, found.high)
    effect = f"d = {number(found.effect_size, 2)}" if math.isfinite(found.effect_size) else ""
    parts = (f"{text} {bounds}".rstrip(), effect, p_equation(found.p_holm))
    return ", ".join(part for part in parts if part)


# --- Markdown ------------------------------------------------------------------------------


def markdown(boards: Sequence[Board], tables: Tables) -> str:
    """A document that reads well raw and rendered."""

    def table(head: list[str], rows: list[list[str]], left: int) -> str:
        escaped = [[escape_markdown(text) for text in line] for line in (head, *rows)]
        return markdown_table(escaped[0], escaped[1:], (left,))

    parts = ["# Leaderboard"]
    for board in boards:
        parts += [f"## {escape_markdown(board.title)}", subtitle(board) + "."]
        parts.append(table(*leaderboard(board), left=1))
        for part in details(board):
            parts += [escape_markdown(part.note), table(part.head, part.rows, left=0)]
    if overall := over_all_blocks(tables):
        parts += ["## Over all blocks", bullets(overall)]
    parts += ["## Small print", bullets(small_print(boards, tables))]
    return "\n\n".join(parts) + "\n"


# --- CSV -----------------------------------------------------------------------------------


def csv(boards: Sequence[Board], _: Tables) -> str:
    """One row for each block and method, unrounded, for programs."""
    rows = [_line(board, row) for board in boards for row in board.all_rows]
    columns = dict.fromkeys(name for line in rows for name in line)
    table = pd.DataFrame(rows, columns=list(columns)).dropna(axis=1, how="all")
    floats = table.select_dtypes("float").columns
    table[floats] += 0.0  # no minus zero
    return str(table.to_csv(index=False, lineterminator="\n"))


def _line(board: Board, row: Row) -> dict[str, object]:
    line: dict[str, Any] = board.block._asdict() | {
        "images": board.images,
        "replicates": board.replicates,
        "method": row.method,
        "rank": row.rank.value,
        "rank_low": row.rank.low,
        "rank_high": row.rank.high,
        "group": row.group,
        "chance_best": row.chance_best,
    }
    for metric, value in ((metric, row.values[metric]) for metric in board.metrics):
        line |= _flat(metric, value)
        if math.isnan(value.floor_high):
            del line[f"{metric}_inside_floor"]
    for metric in board.metrics:
        if difference := row.differences.get((metric, board.against)):
            line |= {"reference": board.against, **_flat(f"{metric}_difference", difference)}
        if best := board.leaders.get(metric):
            difference = row.differences.get((metric, best), Difference())
            line |= {f"{metric}_best": best}
            line |= _flat(f"{metric}_difference_to_best", difference)
    for name, hardware in board.costs:
        label = f"{name} ({hardware})" if len(board.hardware) > 1 else name
        line["hardware"] = ", ".join(board.hardware)
        charge = row.costs.get((name, hardware), Charge())
        line |= _flat(label, charge)
        if not charge.doubt:
            del line[f"{label}_doubt"]
    return line


def _flat(name: str, record: Value | Difference | Charge) -> dict[str, object]:
    """The fields of a record as columns: the first has the name alone."""
    (_, first), *others = vars(record).items()
    return {name: first} | {f"{name}_{key}": value for key, value in others}


# --- LaTeX ---------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    INFINITE: r"$\infty$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "×": r"$\times$",
    "−": "$-$", "–": "--", "·": r"$\cdot$",
    INSIDE_FLOOR: r"$^{\circ}$", FEW_ERRORS: r"$^{\dagger}$", DOUBTFUL: r"$^{\ddagger}$",
}  # fmt: skip


def latex(boards: Sequence[Board], tables: Tables) -> str:
    r"""Tables ready for a paper; they need ``\usepackage{booktabs,graphicx}``."""
    parts = ["% Needs \\usepackage{booktabs} and \\usepackage{graphicx} (for \\resizebox)."]
    for board in boards:
        head, rows = leaderboard(board)
        columns = rf"rl@{{\hspace{{0.6em}}}}l{'r' * (len(head) - 3)}"
        caption, label = f"{board.title}. {subtitle(board)}.", board.file_name
        notes = small_print([board], tables)
        parts.append(_latex_table(head, rows, columns, caption, label, notes))
        for place, (title, head, rows, note) in enumerate(details(board), 1):
            columns = "l" + "r" * (len(head) - 1)
            caption, label = f"{board.title}. {title}.", f"{board.file_name}:{place}"
            parts.append(_latex_table(head, rows, columns, caption, label, [note]))
    return "\n\n".join(parts) + "\n"


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
    "leaderboard.csv": csv,
    "leaderboard.tex": latex,
}
