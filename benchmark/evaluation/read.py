"""Reads a file of predictions, an ``.npz`` archive or a table of text, into named columns."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Mapping
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
        form: how a table is written, where that is not the usual way.
        sizes: bytes of each array of an archive, as it would be loaded.
    """

    names: tuple[str, ...]
    load: Callable[[str], Column]
    lines: IntArray | None = None
    form: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    _read: set[str] = field(default_factory=set, init=False)

    def __getitem__(self, name: str) -> Column:
        self._read.add(name)
        return self.peek(name)

    def peek(self, name: str) -> Column:
        """What stands there, which does not count as read; bytes as the text that they are."""
        values = self.load(name)
        try:
            values = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
        except UnicodeDecodeError:
            raise InputError(f"{name} holds bytes that are no text in UTF-8") from None
        if values.dtype.kind == "U" and not all(map(str.isascii, values.ravel().tolist())):
            flat = [unicodedata.normalize("NFC", text) for text in values.ravel().tolist()]
            return np.array(flat).reshape(values.shape)
        return values

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
    readers = {".npz": _archive, ".csv": _table, ".tsv": _table}
    if path.suffix.lower() not in readers:
        raise InputError("neither .npz nor .csv; write one with numpy.savez or as a table")
    if path.stat().st_size == 0:
        raise InputError("the file is empty")
    return readers[path.suffix.lower()](path)


def _archive(path: Path) -> Columns:
    with path.open("rb") as stream:  # numpy itself would leave a file that is no archive open
        try:
            archive = np.load(stream, allow_pickle=False)
            names = tuple(archive.files)
            sizes = {i.filename.removesuffix(".npy"): i.file_size for i in archive.zip.infolist()}
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
            remedy = (
                "; pickles are never read: save text as numpy.array(names, dtype=str)"
                if "Object arrays" in str(error)
                else ""
            )
            raise InputError(f"{name} cannot be read: {error}{remedy}") from error
        if not isinstance(array, np.ndarray):
            raise InputError(f"{name} is not a numpy array")
        return array

    return Columns(names, load, sizes=sizes)


SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,?\d+([eE][+-]?\d+)?")


def _table(path: Path) -> Columns:
    text, form = _decoded(path.read_bytes())
    text = unicodedata.normalize("NFC", text)  # macOS writes accents apart from letters
    separator, header, rows, lines = _separated(text)
    if not rows:
        raise InputError("the table is empty: no row below the header")
    for name in header:
        if header.count(name) > 1:
            raise InputError(f"the column {name!r} occurs more than once")
    cells = {name: [cell.strip() for cell in column] for name, column in zip(header, zip(*rows))}
    if separator != ",":
        form += [f"separated by {SEPARATORS[separator]}"]
        decimal = [n for n, c in cells.items() if "," in "".join(c) and _all_decimal(c)]
        cells |= {name: [cell.replace(",", ".") for cell in cells[name]] for name in decimal}
        form += ["decimal commas"] if decimal else []
    return Columns(header, lambda name: np.array(cells[name]), np.array(lines), tuple(form))


def _decoded(content: bytes) -> tuple[str, list[str]]:
    """Text, and its encoding where that is not UTF-8."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig"), ["UTF-16"] if wide else []
    except UnicodeDecodeError as error:
        raise InputError(
            f"not a table in UTF-8: {error}; if it was written in another encoding (Windows-1252, "
            "Latin-1), save it as UTF-8"
        ) from error


def _all_decimal(cells: list[str]) -> bool:
    return all(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)


def _separated(text: str) -> tuple[str, tuple[str, ...], list[list[str]], list[int]]:
    """The separator with which all rows have as many cells as the header; header, rows, lines."""
    fitting, faults = [], []
    for separator in SEPARATORS:
        rows, lines = [], []
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        try:
            header = tuple(cell.strip() for cell in next(reader, []))
            wrong = None
            for row in filter(None, reader):
                if len(row) != len(header) and wrong is None:
                    wrong = f"line {reader.line_num} has {len(row)} cells, the header {len(header)}"
                rows.append(row)
                lines.append(reader.line_num)
        except csv.Error as error:
            wrong = f"not a table: {error}"
        faults.append((len(header), wrong))
        if wrong is None and (len(header) > 1 or separator == ","):
            fitting.append((separator, header, rows, lines))
    wide = [found for found in fitting if len(found[1]) > 1]
    if len(wide) > 1:
        names = " and ".join(SEPARATORS[separator] for separator, *_ in wide)
        raise InputError(f"can be read as separated by {names}: save it with one of them, quoted")
    widest, wrong = max(faults, key=lambda fault: fault[0])
    if not wide and wrong is not None and (widest > 1 or not fitting):
        raise InputError(wrong)
    return (wide or fitting)[0]
