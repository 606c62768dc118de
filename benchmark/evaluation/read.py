"""Reads a file of predictions, an ``.npz`` archive or a ``.csv`` table, into named columns."""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.api import InputError, IntArray

Column = npt.NDArray[Any]

_DAMAGED = (
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""All that numpy and zipfile raise for bytes that are not a whole archive of plain arrays."""


@dataclass(frozen=True, eq=False)
class Columns:
    """What a file holds, before anything is understood of it.

    Attributes:
        names: keys of an archive, or the header of a table.
        load: the array of that name; text, with white space around it removed, if from a table.
        lines: ``(rows,)`` line of the file in which each row of a table ends; None for arrays.
    """

    names: tuple[str, ...]
    load: Callable[[str], Column]
    lines: IntArray | None = None
    _read: set[str] = field(default_factory=set, init=False)

    def __getitem__(self, name: str) -> Column:
        self._read.add(name)
        return self.load(name)

    @property
    def unread(self) -> tuple[str, ...]:
        """Those that nobody asked for, without the nameless one that pandas writes."""
        return tuple(name for name in self.names if name and name not in self._read)


def read(path: Path) -> Columns:
    """Read a file; arrays of an archive are read when they are asked for.

    Raises:
        InputError: it is neither an archive nor a table, or is damaged.
        OSError: it cannot be opened.
    """
    readers = {".npz": _archive, ".csv": _table}
    if path.suffix.lower() not in readers:
        raise InputError("neither .npz nor .csv; write one with numpy.savez or as a table")
    if path.stat().st_size == 0:
        raise InputError("the file is empty")
    return readers[path.suffix.lower()](path)


def _archive(path: Path) -> Columns:
    with path.open("rb") as stream:  # numpy itself would leave a file that is no archive open
        try:
            names = tuple(np.load(stream, allow_pickle=False).files)
        except (*_DAMAGED, AttributeError):  # the array of an .npy file names no files
            raise InputError(
                "not an .npz archive (pickles are never read); write one with "
                "numpy.savez(FILE, test_logits=..., test_labels=...)"
            ) from None

    def load(name: str) -> Column:
        try:
            with np.load(path, allow_pickle=False) as archive:
                array = archive[name]
        except _DAMAGED as error:
            raise InputError(f"{name} cannot be read: {error}") from error
        if not isinstance(array, np.ndarray):
            raise InputError(f"{name} is not a numpy array")
        return array

    return Columns(names, load)


def _table(path: Path) -> Columns:
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = tuple(cell.strip() for cell in next(reader, []))
            for row in filter(None, reader):
                if len(row) != len(header):
                    raise InputError(
                        f"line {reader.line_num} has {len(row)} cells, the header {len(header)}"
                    )
                rows.append(row)
                lines.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"not a table in UTF-8: {error}") from error
    if not rows:
        raise InputError("the table is empty: no row below the header")
    for name in header:
        if header.count(name) > 1:
            raise InputError(f"the column {name!r} occurs more than once")
    cells = dict(zip(header, zip(*rows)))

    def load(name: str) -> Column:
        return np.array([cell.strip() for cell in cells[name]])

    return Columns(header, load, np.array(lines))
