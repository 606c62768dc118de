"""Markdown that reads well raw and rendered."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

_MARKUP = re.compile(r"[\\`*|~$]|(?<![^\W_])_|_(?![^\W_])|<(?=[^\s\d])|\](?=[(\[:])")


def escape_markdown(text: str) -> str:
    """Escape what would be markup, and no more: the file is also read raw."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def bullets(lines: Sequence[str]) -> str:
    """A list of plain sentences."""
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def markdown_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,)
) -> str:
    """A table whose columns are also aligned where it is read raw.

    Args:
        head: of each column; Markdown, as the cells are: see :func:`escape_markdown`.
        rows: the cells of each line.
        left: which columns are aligned to the left; the others are to the right.
    """
    lines = [head, *rows]
    widths = [max(3, *map(_width, column)) for column in zip(*lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            space = " " * (width - _width(cell))
            padded.append(cell + space if place in left else space + cell)
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if i in left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def _width(text: str) -> int:
    return len(text) + sum(unicodedata.east_asian_width(c) in "WF" for c in text)
