"""Understands columns: which are predictions, labels, names, groups, and of which part.

What may stand in a file is described in ``docs/evaluate.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmark.api import PART_NAMES, InputError, IntArray, StrArray
from benchmark.evaluation.read import Column, Columns

SCORES = {
    "logits": ("logits",),
    "probs": ("probs", "probabilities"),
    "log_probs": ("log_probs", "log_probabilities"),
}
"""Under which names an archive holds logits, probabilities or their natural logarithms."""

OTHERS = {
    "labels": ("labels", "label", "targets"),
    "ids": ("ids", "id"),
    "groups": ("groups", "group"),
}
"""Under which names archives and tables hold the rest."""

CLASSES, PART = ("classes", "class_names"), ("part", "split")
PREFIXES = {
    "test": ("test_", ""),
    "calibration": tuple(f"{name}_" for name, part in PART_NAMES.items() if part == "calibration"),
}
"""What stands before the names of an archive, for each part."""

COLUMNS = {
    "": "probs",
    "logit_": "logits",
    "p_": "probs",
    "prob_": "probs",
    "log_p_": "log_probs",
    "log_prob_": "log_probs",
}
"""What the columns of a table start with; those named as classes alone hold probabilities."""


class Named(NamedTuple):
    """Values, and the name that they have in the file, for messages."""

    name: str
    values: Column


@dataclass(frozen=True, eq=False)
class PartColumns:
    """What is taken for what in one part of a file; nothing is checked yet.

    Attributes:
        kind: of the predictions: ``logits``, ``probs`` or ``log_probs``.
        scores: the predictions, a row for each image.
        labels: of the images.
        ids: names of the images, if there are any.
        groups: what images hang together, if that is known.
        lines: of a table, the line of each image.
        columns: of a table, the column of each class.
    """

    kind: str
    scores: Named
    labels: Named
    ids: Named | None = None
    groups: Named | None = None
    lines: IntArray | None = None
    columns: tuple[str, ...] = ()

    def place(self, row: int, column: int | None = None) -> str:
        """Where in the file a value stands."""
        if self.lines is not None:
            return f"line {self.lines[row]}" + (
                "" if column is None else f", column {self.columns[column]}"
            )
        return f"row {row}" + ("" if column is None else f", column {column}") + " (from 0)"


@dataclass(frozen=True, eq=False)
class Understood:
    """What is taken for what in a file.

    Attributes:
        test: what is measured.
        calibration: what calibrators are fitted on, or None.
        classes: names of the classes, or None.
        unused: keys, columns or rows that nothing was made of.
    """

    test: PartColumns
    calibration: PartColumns | None
    classes: tuple[str, ...] | None
    unused: tuple[str, ...]


def understand(columns: Columns) -> Understood:
    """Find out what the columns of a file hold.

    Raises:
        InputError: something is missing, or there twice.
    """
    return _arrays(columns) if columns.lines is None else _table(columns)


def _one(names: Sequence[str], spellings: Iterable[str], prefixes: Iterable[str] = ("",)) -> str:
    """The one name among the spellings of a thing; empty where there is none."""
    present = [p + name for name in spellings for p in prefixes if p + name in names]
    if len(present) > 1:
        raise InputError(f"both {' and '.join(present)}: keep one")
    return present[0] if present else ""


# --- arrays --------------------------------------------------------------------------------


def _arrays(columns: Columns) -> Understood:
    classes = None
    key = _one(columns.names, CLASSES)
    if key:
        names = columns[key]
        if names.ndim != 1 or names.dtype.kind not in "iuU":
            raise InputError(f"{key}: give a list of names")
        classes = tuple(map(str, names.tolist()))
    parts = [_arrays_of(part, columns) for part in ("test", "calibration")]
    assert parts[0] is not None
    return Understood(parts[0], parts[1], classes, columns.unread)


def _arrays_of(part: str, columns: Columns) -> PartColumns | None:
    names, prefixes, listed = columns.names, PREFIXES[part], ", ".join(columns.names) or "none"
    keys = {kind: _one(names, spellings, prefixes) for kind, spellings in SCORES.items()}
    scores = {kind: key for kind, key in keys.items() if key}
    keys = {what: _one(names, spellings, prefixes) for what, spellings in OTHERS.items()}
    if part == "calibration" and not scores and not keys["labels"]:
        return None
    if not scores:
        raise InputError(
            f"no predictions of the {part} part; expected test_logits, test_probs or "
            f"test_log_probs (or without test_), and test_labels; keys found: {listed}"
        )
    if len(scores) > 1:
        raise InputError(f"both {' and '.join(scores.values())}: keep one")
    [(kind, key)] = scores.items()
    if not keys["labels"]:
        wanted = " or ".join(f"{prefix}labels" for prefix in prefixes)
        raise InputError(f"{key} without labels: add {wanted}; keys found: {listed}")
    others = {what: Named(name, columns[name]) for what, name in keys.items() if name}
    return PartColumns(kind, Named(key, columns[key]), lines=None, columns=(), **others)


# --- tables --------------------------------------------------------------------------------


def _table(columns: Columns) -> Understood:
    header, lines = columns.names, columns.lines
    assert lines is not None
    listed = ", ".join(map(repr, header))
    special = {what: _one(header, names) for what, names in (*OTHERS.items(), ("part", PART))}
    if not special["labels"]:
        raise InputError(
            "no column label; expected label, one column for each class (p_0, p_1, ... or "
            "logit_0, logit_1, ..., or the classes' names for probabilities), and perhaps id, "
            f"group and part, separated by commas; columns found: {listed}"
        )
    kind, by_class = _score_columns([c for c in header if c and c not in special.values()])
    if not by_class:
        raise InputError(f"no predictions: expected p_0, p_1, ...; columns found: {listed}")
    chosen = tuple(by_class.values())
    values = _numbers(np.array([columns[name] for name in chosen]).T, chosen, lines)
    texts = {what: Named(name, columns[name]) for what, name in special.items() if name}
    for name, cells in texts.values():
        if (cells == "").any():
            raise InputError(f"column {name}, line {lines[np.argmax(cells == '')]}: empty")
    parts = np.full(len(lines), "test")
    if special["part"]:
        parts = _parts(texts.pop("part").values, lines)

    def part(wanted: str) -> PartColumns | None:
        rows = np.flatnonzero(parts == wanted)
        if not len(rows):
            return None
        scores = Named(f"columns {chosen[0]} to {chosen[-1]}", values[rows])
        others = {what: Named(name, cells[rows]) for what, (name, cells) in texts.items()}
        return PartColumns(kind, scores, lines=lines[rows], columns=chosen, **others)

    test = part("test")
    if test is None:
        raise InputError("no row of the test part; the column part says test or calibration")
    train = np.count_nonzero(parts == "train")
    unused = columns.unread + ((f"{train} rows whose part is train",) if train else ())
    return Understood(test, part("calibration"), tuple(by_class), unused)


def _score_columns(header: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Kind of the predictions, and their columns by class in order."""
    starts: dict[str, list[str]] = {}
    for column in header:
        matching = [start for start in COLUMNS if start and column.startswith(start)]
        if matching:
            starts.setdefault(max(matching, key=len), []).append(column)
    if len(starts) > 1:
        raise InputError(f"columns that start with {' and '.join(starts)}: keep one kind of them")
    [(start, names)] = starts.items() or [("", list(header))]
    columns = {column.removeprefix(start): column for column in names}
    numbers = [str(i) for i in range(len(columns))]
    if set(columns) == set(numbers):
        columns = {number: columns[number] for number in numbers}
    return COLUMNS[start], columns


def _numbers(cells: StrArray, columns: Sequence[str], lines: IntArray) -> Column:
    """Text to numbers, ``(rows, classes)``."""
    try:
        return cells.astype(np.float64)
    except ValueError:
        for (row, column), text in np.ndenumerate(cells):
            where = f"column {columns[column]}, line {lines[row]}"
            if not text:
                raise InputError(f"{where}: empty") from None
            try:
                float(text)
            except ValueError:
                raise InputError(f"{where}: {str(text)!r} is not a number") from None
        raise


def _parts(names: StrArray, lines: IntArray) -> StrArray:
    for name, line in zip(names.tolist(), lines):
        if name.lower() not in PART_NAMES:
            raise InputError(f"part {name!r} in line {line}: write test or calibration")
    return np.array([PART_NAMES[name.lower()] for name in names.tolist()])
