"""The leaderboard as Markdown, CSV and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from benchmark.report.board import Board, Charge, Difference, Row, Value
from benchmark.report.markdown import bullets, escape_markdown, markdown_table
from benchmark.report.sentences import (
    detectable_note,
    difference_note,
    heading,
    needed,
    networks_note,
    over_all_blocks,
    small_print,
    subtitle,
)
from benchmark.report.words import (
    ABSENT,
    DOUBTFUL,
    FEW_ERRORS,
    INFINITE,
    INSIDE_FLOOR,
    UNSTABLE,
    column_head,
    interval,
    number,
    p_equation,
    p_value,
    percent,
    quantity,
)
from benchmark.statistics import Tables
from benchmark.statistics.rows import POWER


class DetailTable(NamedTuple):
    """A table of text, and what is said above it."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str


def leaderboard(board: Board) -> tuple[list[str], list[list[str]]]:
    """The short table of a block: its head and its rows."""
    columns = [column for column in board.columns if column.main]
    head = ["Rank ↓", "Method"]
    for column in columns:
        head += [column.head, *["letters"] * column.has_letters]
        if column.has_floor:
            head += _floor_heads(board, column.quantity.name)[-1 if board.of_methods else 0 :]
    rows = []
    for row in board.all_rows:
        rank = f"{number(row.rank.value, 1)} {interval(row.rank.low, row.rank.high, 1)}".rstrip()
        line = [rank, name_cell(row)]
        for column in columns:
            cell = column.cells[row.method]
            line += [str(cell), *[cell.letters] * column.has_letters]
            if column.has_floor and not board.of_methods:
                line += [cell.floor or ABSENT, p_value(cell.p)]
            if column.has_floor:
                line.append(cell.inside)
        rows.append(line)
    return head, rows


def name_cell(row: Row) -> str:
    """The method, with a sign where its intervals are doubtful."""
    return row.method + f" {FEW_ERRORS}" * row.few_errors


def _floor_heads(board: Board, metric: str) -> list[str]:
    q = quantity(metric)
    name = f"{q.short} floor {q.printed_unit}".rstrip()
    return [f"{name} ({board.floor_point})", "p calibrated", "inside floor"]


def details(board: Board) -> list[DetailTable]:
    """All that stands beneath a leaderboard; no table without rows."""
    found = [
        *_differences(board, board.question),
        _detectable(board),
        *([_networks(board), *_differences(board, "networks")[:1]] if board.of_methods else []),
    ]
    return [part for part in found if part.rows]


def _differences(board: Board, question: str) -> list[DetailTable]:
    """Paired differences in the primary metrics: to the reference, and to the best."""
    metrics = board.main_metrics
    whose = "These trained networks: differences" if question != board.question else "Differences"
    compared = [
        row for row in board.rows
        if any(q == question and other == board.against for q, _, other in row.differences)
    ]  # fmt: skip
    to_reference = [
        [row.method, *(_difference(board, row, (question, m, board.against)) for m in metrics)]
        for row in compared
    ]

    def to_best(row: Row, metric: str) -> str:
        best = board.leaders.get((question, metric), "")
        if row.method == best:
            return "best"
        if best == board.against:  # those do not hold for all pairs at once
            return ABSENT
        return _difference(board, row, (question, metric, best))

    chosen = {board.leaders.get((question, m), board.against) for m in metrics} - {board.against}
    best = [[row.method, *(to_best(row, m) for m in metrics)] for row in board.rows if chosen]
    head = ["Method", *map(column_head, metrics)]
    return [
        DetailTable(f"{whose} to {board.against}", head, to_reference,
                    difference_note(board, question, to_best=False)),
        DetailTable(f"{whose} to the best", head, best,
                    difference_note(board, question, to_best=True)),
    ]  # fmt: skip


def _difference(board: Board, row: Row, key: tuple[str, str, str]) -> str:
    """Paired difference, interval, effect size, p: ``−1.2 [−2.1, −0.3], d = −0.06, p < 0.001``."""
    found = row.differences.get(key)
    if found is None:
        return ABSENT
    text, bounds = board.printed(key[1], found.difference, found.low, found.high)
    effect = f"d = {number(found.effect_size, 2)}" if math.isfinite(found.effect_size) else ""
    parts = (f"{text} {bounds}".rstrip(), effect, p_equation(found.p_holm))
    return ", ".join(part for part in parts if part)


def _detectable(board: Board) -> DetailTable:
    """What difference could have been seen, and what it takes to settle the first place."""
    head = ["Metric", f"Found in {percent(POWER)}", "First", "Second", "Their difference", "Needed"]
    rows = [
        [
            column_head(metric),
            board.printed(metric, found.detectable)[0],
            found.first,
            found.second,
            board.printed(metric, found.difference)[0],
            needed(found.needed),
        ]
        for metric, found in ((m, board.detectable[m]) for m in board.ranked if board.detectable)
    ]
    return DetailTable("What could this table have seen?", head, rows, detectable_note(board))


def _networks(board: Board) -> DetailTable:
    """The values of these trained networks, with their noise floors."""
    head = ["Method"]
    for metric in board.main_metrics:
        head.append(column_head(metric))
        head += _floor_heads(board, metric) if board.has_floor(metric) else []
    rows = []
    for row in board.all_rows:
        line = [row.method]
        for metric in board.main_metrics:
            v = row.values[metric]
            shown = board.printed(metric, v.networks_value, v.networks_low, v.networks_high)
            mark = INSIDE_FLOOR * v.all_inside
            line.append(f"{shown[0]}{mark} {shown[1]}".rstrip())
            if board.has_floor(metric):
                line += [board.floor(metric, v), p_value(v.p_calibrated), v.inside]
        rows.append(line)
    return DetailTable("These trained networks", head, rows, networks_note(board))


# --- Markdown ------------------------------------------------------------------------------


def markdown(boards: Sequence[Board], tables: Tables) -> str:
    """A document that reads well raw and rendered."""

    def table(head: list[str], rows: list[list[str]], left: int) -> str:
        escaped = [[escape_markdown(text) for text in line] for line in (head, *rows)]
        return markdown_table(escaped[0], escaped[1:], (left,))

    parts = ["# Leaderboard"]
    for board in boards:
        parts += [f"## {escape_markdown(board.title)}", f"{subtitle(board)}. {heading(board)}"]
        parts.append(table(*leaderboard(board), left=1))
        for part in details(board):
            parts.append(f"### {escape_markdown(part.title)}")
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
        "question": board.question,
        "method": row.method,
        "rank": row.rank.value,
        "rank_low": row.rank.low,
        "rank_high": row.rank.high,
        "against_first": row.against_first,
    }
    for metric, place in row.places.items():
        line |= {f"{name}_{metric}": value for name, value in vars(place).items()}
    for metric in board.metrics:
        line |= _flat(metric, row.values[metric])
        del line[f"{metric}_replicates"]
    for metric in board.metrics:
        for question in dict.fromkeys((board.question, "networks")):
            name = metric if question == board.question else f"{metric}_networks"
            if difference := row.differences.get((question, metric, board.against)):
                line |= {"reference": board.against, **_flat(f"{name}_difference", difference)}
        if best := board.leaders.get((board.question, metric)):
            difference = row.differences.get((board.question, metric, best), Difference())
            line |= {f"{metric}_leader": best}
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
    INSIDE_FLOOR: r"$^{\circ}$", FEW_ERRORS: r"$^{\dagger}$", UNSTABLE: r"$^{\ddagger}$",
    DOUBTFUL: r"$^{\S}$",
}  # fmt: skip


def latex(boards: Sequence[Board], tables: Tables) -> str:
    r"""Tables ready for a paper; they need ``\usepackage{booktabs,graphicx}``."""
    parts = ["% Needs \\usepackage{booktabs} and \\usepackage{graphicx} (for \\resizebox)."]
    for board in boards:
        head, rows = leaderboard(board)
        columns = f"rl{'r' * (len(head) - 2)}"
        caption = f"{board.title}. {subtitle(board)}. {heading(board)}"
        label = board.file_name
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
