"""What the terminal shows: progress, sentences, and of each data set a card and a table.

Names come from users and files: they are never markup, and their control characters stay out.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from benchmark.cards import Card, CardColumn
    from benchmark.running.execute import Progress as RunProgress

PLAIN_WIDTH = 160
"""Columns where the output is no terminal."""


def printable(text: object, but: str = "") -> str:
    """Text whose control characters are replaced, except ``but``."""
    return "".join(c if c.isprintable() or c in but else "\ufffd" for c in str(text))


def console(stderr: bool = False) -> Console:
    """Standard output or error, as wide as the terminal; names in it are no markup."""
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not (made.is_terminal or made.is_jupyter or "COLUMNS" in os.environ):
        made.width = PLAIN_WIDTH
    return made


def say(text: str) -> None:
    """Print a sentence on standard error, or in the notebook."""
    console(stderr=True).print(Text(printable(text)), soft_wrap=True)


@contextlib.contextmanager
def progress(
    visible: bool = True,
) -> Iterator[tuple[Callable[[RunProgress], None], Callable[[int, int], None]]]:
    """A bar on standard error, or in the notebook; gives what moves it: fits, decoded images."""
    from rich import progress as rich

    where = console(stderr=True)
    bar = rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=24),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TextColumn("gone,"),
        rich.TimeRemainingColumn(elapsed_when_finished=False),
        rich.TextColumn("left"),
        rich.TextColumn("{task.fields[running]}", markup=False),
        console=where,
        disable=not visible or not (where.is_terminal or where.is_jupyter),  # a log needs no bar
    )
    decoding = bar.add_task("images", visible=False, running="")
    training = bar.add_task("fits", total=None, visible=False, running="")
    shown: Any = None

    def update(task: rich.TaskID, done: int, total: int, running: str = "") -> None:
        bar.update(task, completed=done, total=total, running=running, visible=True)
        if shown is not None:
            shown.update(bar)

    def show(state: RunProgress) -> None:
        running = printable("; ".join(state.running))[: max(0, where.width - 80)]
        update(training, state.done, state.total, running)

    def show_decoding(done: int, total: int) -> None:
        update(decoding, done, total)

    if visible and where.is_jupyter:
        from IPython.display import display  # rich's own live display would need ipywidgets

        shown = display(bar, display_id=True)  # type: ignore[no-untyped-call]
        yield show, show_decoding
    else:
        with bar:
            yield show, show_decoding


# --- cards ---------------------------------------------------------------------------------


def show(cards: Sequence[Card], where: Console) -> None:
    """Print all cards, and what their signs mean."""
    for card in cards:
        body = Table.grid(padding=(0, 2))
        body.add_column(style="bold", no_wrap=True)
        body.add_column(overflow="fold")
        room = where.width - 6 - max(cell_len(label) for label, _ in card.sentences)
        for label, sentence in card.sentences:
            body.add_row(label, " ".join(_broken(word, room) for word in sentence.split(" ")))
        title = Text(card.title, style="bold")
        where.print(Panel(Group(title, body), border_style="green" if card.differ else "dim"))
        where.print(*_table(card, where), Text(card.reading, style="dim"), sep="\n")
        where.print()
    for sign, meaning in dict(sign for card in cards for sign in card.signs).items():
        where.print(f"{sign} {meaning}", style="dim")


def _table(card: Card, where: Console) -> tuple[Table, Text]:
    """The table with all that fits, and a sentence on what does not: first the intervals go."""
    number = len(card.costs)
    for intervals, costs in ((True, number), *((False, n) for n in range(number, -1, -1))):
        table = _grid(card, intervals, card.costs[:costs], card.methods)
        width = where.measure(table, options=where.options.update(width=10_000)).maximum
        if width <= where.width:
            break
    else:
        room = where.width - width + max(map(cell_len, card.methods))
        names = [_broken(name, max(room, 12)) for name in card.methods]
        table = _grid(card, False, (), names)
    left_out = ["intervals"] * (not intervals) + [c.head for c in card.costs[costs:]]
    without = f"without {', '.join(left_out)} at this width; " if left_out else ""
    return table, Text(f"{without}full table: leaderboard.md, report.html", style="dim")


def _grid(
    card: Card, intervals: bool, costs: Sequence[CardColumn], methods: Sequence[str]
) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    columns = (card.ranks, *card.metrics, *costs)
    for column in columns:
        table.add_column(f"{column.head}\n{column.unit}", justify="right", no_wrap=True)
        if column is card.ranks:
            table.add_column("Method", no_wrap=True)
    cells = [column.whole if intervals else column.cells for column in columns]
    for i, (rank, *numbers) in enumerate(zip(*cells, strict=True)):
        name = Text(methods[i], style="green" if i in card.alike else "")
        best = ("bold" if i in column.best else "" for column in columns[1:])
        table.add_row(rank, name, *map(Text, numbers, best))
    return table


def _broken(name: str, width: int) -> str:
    """A name in lines that end where its parts do."""
    lines = [""]
    for part in re.findall(r".[^-+_,/\[ ]*[-+_,/\[ ]?", name):
        if cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line for line in lines if line)
