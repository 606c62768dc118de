"""Tables that list images: encoding, separator, what each column is, and where the files are."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from benchmark.api.dataset import PART_NAMES, Images
from benchmark.api.errors import InputError
from benchmark.api.handed.names import (
    SUFFIXES,
    counted,
    is_hidden,
    is_missing,
    is_owner,
    order,
    part_of,
    parts_in,
    plain,
    some,
    unite_classes,
)

FILE = (
    *("file", "filename", "file_name", "image", "image_id", "path", "name", "filepath"),
    *("file_path", "image_name", "image_path", "img", "img_name", "img_path"),
)
LABEL = ("class_name", "label", "class", "target", "category", "dx", "diagnosis")
SPLIT = ("split", "set", "subset", "partition", "part")
GROUP = ("group",)
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_NAMED_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}


@dataclass
class TextTable:
    """The cells of a table.

    Attributes:
        path: where it lies.
        header: names of the columns.
        rows: cells, as many in each row as there are columns.
        lines: number of the line of each row.
        notes: sentences on how it was read.
    """

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    notes: list[str] = field(default_factory=list)

    def column(self, name: str) -> list[str]:
        """The cells of a column, without spaces around them."""
        place = self.header.index(name)
        return [row[place].strip() for row in self.rows]

    def find(self, names: Sequence[str]) -> list[str]:
        """The columns of these names, whatever their case; the same name written alike first."""
        wanted = [n for name in names for n in (name, *self._other_case(name)) if n in self.header]
        return list(dict.fromkeys(wanted))

    def _other_case(self, name: str) -> list[str]:
        return [n for n in self.header if n.lower() == name.lower()]

    def refuse(self, message: str) -> InputError:
        """An error about this table."""
        return InputError(f"{self.path}: {message}")


def read_images(
    path: Path, chosen: Mapping[str, str], *, root: str = "", similar: str = "",
    encoding: str = "", separator: str = "",
) -> Images:  # fmt: skip
    """The images that a table lists.

    Args:
        path: of the table.
        chosen: columns for ``file``, ``label``, ``group`` and ``split``; empty where the usual
            names decide, ``none`` where there is to be none.
        root: folder of the images, if that is not the table's; relative to the table's.
        similar: see :func:`~benchmark.api.handed.names.unite_classes`.
        encoding: of the text; UTF-8, or UTF-16 with its mark, unless said.
        separator: ``comma``, ``semicolon``, ``tab`` or ``bar``; recognised unless said.

    Raises:
        InputError: it is no such table, or can be read in two ways.
    """
    table = read_table(path, encoding, separator)
    base = Path(os.path.expanduser(root)) if root else Path()
    places = _Places(path.parent / base if root else path.parent)
    files, ids, inputs = _files(table, chosen["file"], places)
    names, label = _labels(table, chosen["label"], files)
    names, notes = unite_classes(names, similar)
    groups, group = _groups(table, chosen["group"], {files, label})
    parts, split = _parts(table, chosen["split"], {files, label, group})
    keep = _once(table, inputs, names, groups, parts)
    classes = order(names)
    number = {name: place for place, name in enumerate(classes)}
    told = f"columns: {files} is the file, {label} the label"
    told += f", {group} the group (never divided between parts)" if group else ", no group"
    told += f", {split} the official split" if split else ", no split"
    if group and not chosen["group"] and group.lower() not in GROUP:
        told += f"; [group=none] ignores {group}"
    unread = [n for n in table.header if n not in (files, label, group, split, *classes, "")]
    told += f"; not read: {some(unread, 12)}" if unread else ""
    return Images(
        inputs=tuple(inputs[row] for row in keep),
        labels=np.array([number[names[row]] for row in keep], dtype=np.int64),
        classes=tuple(classes),
        ids=np.array([ids[row] for row in keep]),
        groups=np.array([groups[row] for row in keep]) if groups else None,
        split=np.array([parts[row] for row in keep]) if parts else None,
        notes=(
            told,
            f"{len(classes)} classes: {some(classes, 30)}",
            *notes,
            *table.notes,
            *places.notes(),
        ),
    )


# --- the text ------------------------------------------------------------------------------


def read_table(path: Path, encoding: str = "", separator: str = "") -> TextTable:
    """The cells of a text table with a header.

    Raises:
        InputError: its encoding or its separator is not certain, or rows differ in length.
    """
    content = path.read_bytes()
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    used = encoding or ("utf-16" if marked else "utf-8-sig")
    try:
        text = content.decode(used)
    except (UnicodeDecodeError, LookupError) as error:
        raise InputError(
            f"{path} is not a CSV file in {encoding or 'UTF-8'}: {error}. Save it as UTF-8, or say "
            "what it is, such as [encoding=cp1252] (Windows) or [encoding=mac_roman]"
        ) from error
    if "\0" in text:
        raise InputError(f"{path} is not a CSV file in UTF-8: it holds zero bytes")
    if separator:
        if separator not in (*_NAMED_SEPARATORS, *_SEPARATORS):
            raise InputError(f"separator={separator}: none of {', '.join(_NAMED_SEPARATORS)}")
        chosen = [_NAMED_SEPARATORS.get(separator, separator)]
    else:
        chosen = list(_SEPARATORS)
    try:
        tables = [_cells(path, text, sign) for sign in chosen]
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file in UTF-8: {error}") from error
    table, sign = _likeliest(tables, chosen)
    if not table.rows:
        raise InputError(f"{path} has no rows")
    ragged = [
        f"{line} ({len(row)})"
        for line, row in zip(table.lines, table.rows)
        if len(row) != len(table.header)
    ]
    if ragged:
        raise table.refuse(
            f"{counted(len(ragged), 'row')} with other than {len(table.header)} cells, by line: "
            f"{some(ragged)}; put quotes around cells that hold {_SEPARATORS[sign]}, or fill up"
        )
    if sign != ",":
        table.notes.append(f"the table's cells are separated by {_SEPARATORS[sign]}")
    if used not in ("utf-8-sig",):
        table.notes.append(f"the table is read as {used}")
    return table


def _cells(path: Path, text: str, sign: str) -> TextTable:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign, skipinitialspace=True)
    numbered = [(reader.line_num, row) for row in reader]
    numbered = [(line, row) for line, row in numbered if any(cell.strip() for cell in row)]
    header = [name.strip() for name in numbered[0][1]] if numbered else []
    return TextTable(path, header, [row for _, row in numbered[1:]], [n for n, _ in numbered[1:]])


def _likeliest(tables: Sequence[TextTable], signs: Sequence[str]) -> tuple[TextTable, str]:
    """The one with known columns; of several, the one with rows of one length and more cells."""

    def rank(table: TextTable) -> tuple[int, bool, int]:
        known = sum(bool(table.find(names)) for names in (FILE, LABEL))
        even = all(len(row) == len(table.header) for row in table.rows)
        return known, even and len(table.header) > 1, len(table.header)

    ranks = [rank(table) for table in tables]
    best = max(range(len(tables)), key=lambda i: ranks[i])
    return tables[best], signs[best]


# --- the columns ---------------------------------------------------------------------------


def _named(
    table: TextTable, what: str, chosen: str, usual: Sequence[str], needed: bool
) -> list[str]:
    """The columns that may be meant."""
    if chosen == "none" and not needed:
        return []
    found = table.find((chosen,) if chosen else usual)
    twice = [name for name in found if table.header.count(name) > 1]
    if twice:
        raise table.refuse(f"several columns are called {twice[0]!r}: rename all but one")
    if not found and (needed or chosen):
        cell = table.header[0] if table.header else ""
        headless = PureWindowsPath(cell).suffix.lower() in SUFFIXES
        raise InputError(
            f"{table.path} has no column {' or '.join((chosen,) if chosen else usual)}: write "
            f"csv:PATH[{what}=COLUMN] with one of {table.header}"
            + ("; or has it no header? Then add one: file,label" if headless else "")
        )
    return found


def _labels(table: TextTable, chosen: str, files: str) -> tuple[list[str], str]:
    """The label of each row, and the column that it is from (of one-hot columns, a sentence)."""
    found = _named(table, "label", chosen, LABEL, needed=bool(chosen))
    if not found:
        return _one_hot(table, files)
    values = table.column(found[0])
    for other in found[1:]:
        both = set(zip(values, table.column(other)))
        if not len(both) == len(set(values)) == len({second for _, second in both}):
            raise table.refuse(
                f"the columns {found[0]} and {other} both may be the label, and differ: write "
                f"[label={found[0]}] or [label={other}]"
            )
    _refuse_missing(table, "label", found[0], values)
    known = set(values)
    several = [
        f"{value!r} (line {line})"
        for line, value in zip(table.lines, values)
        if len(pieces := re.split(r"\s*[|;,&+]\s*", value)) > 1 and known >= {*pieces}
    ]
    if several:
        raise table.refuse(
            f"{counted(len(several), 'row')} with several labels, such as {some(several, 3)}: an "
            "image has one label here; leave these rows out, or give each combination its own name"
        )
    return values, found[0]


def _one_hot(table: TextTable, files: str) -> tuple[list[str], str]:
    """The label where there is a column of zeros and ones for each class."""
    ones: dict[str, list[bool]] = {}
    for name in table.header:
        cells = table.column(name) if table.header.count(name) == 1 else []
        if name and name != files and cells and {*cells} <= {"0", "1", "0.0", "1.0"}:
            ones[name] = [float(cell) == 1 for cell in cells]
    if len(ones) < 2:
        _named(table, "label", "", LABEL, needed=True)
    hits = np.array(list(ones.values())).T
    wrong = np.flatnonzero(hits.sum(1) != 1)
    if len(wrong):
        raise table.refuse(
            f"no column {' or '.join(LABEL)}: {some(ones)} look like a column for each class, but "
            f"{counted(len(wrong), 'row')} do not have exactly one 1, by line: "
            f"{some(table.lines[i] for i in wrong)}; leave these rows out, or write "
            "[label=COLUMN]"
        )
    names = list(ones)
    return [names[place] for place in hits.argmax(1)], f"one of {some(names, 30)}"


def _groups(table: TextTable, chosen: str, taken: set[str]) -> tuple[list[str], str]:
    """The group of each row: equal for names that are alike; who is unknown stands alone."""
    found = _named(table, "group", chosen, GROUP, needed=False)
    if not found and not chosen:
        found = [n for n in table.header if n not in taken and is_owner(n)]
        found = [n for n in found if not all(map(is_missing, table.column(n)))]
    if not found:
        return [], ""
    values = {name: list(map(plain, table.column(name))) for name in found}

    def within(inner: str, outer: str) -> bool:
        return len(set(zip(values[inner], values[outer]))) == len(set(values[inner]))

    widest = [n for n in found if all(within(other, n) for other in found)]
    if not widest:
        raise table.refuse(
            f"the columns {some(found)} all may be the group, and none holds the others' groups "
            f"whole: write {' or '.join(f'[group={n}]' for n in found)}"
        )
    name = widest[0]
    cells, first = table.column(name), dict[str, str]()
    groups, alone = [], 0
    for line, cell in zip(table.lines, cells):
        if is_missing(cell):
            alone += 1
            groups.append(f"(line {line})")
        else:
            groups.append(first.setdefault(plain(cell), cell))
    if alone:
        table.notes.append(f"{counted(alone, 'image')} without {name}: each is a group of its own")
    united = len({c for c in cells if not is_missing(c)}) - len(first)
    if united:
        table.notes.append(
            f"{united} spellings in {name} that differ in case, spaces or zeros only are the same "
            "groups"
        )
    return groups, name


def _parts(table: TextTable, chosen: str, taken: set[str]) -> tuple[list[str], str]:
    """The official part of each row."""
    found = _named(table, "split", chosen, SPLIT[:1], needed=False)
    if not found and not chosen:
        rest = [n for n in table.header if n not in taken and table.header.count(n) == 1]
        named = {n: own for n in rest if (own := parts_in(table.column(n)))}
        found = [n for n in table.find(SPLIT[1:]) if n in named]
        found = found or [n for n, own in named.items() if len(own) > 1]
    if not found:
        return [], ""
    values = [table.column(name) for name in found]
    _refuse_missing(table, "split", found[0], values[0])
    parts = [[part_of(value) for value in column] for column in values]
    unknown = sorted({value for value, part in zip(values[0], parts[0]) if part is None})
    if unknown:
        raise table.refuse(
            f"{unknown} in the split are none of {', '.join(PART_NAMES)}; [split=none] ignores "
            f"the column {found[0]}"
        )
    if any(other != parts[0] for other in parts[1:]):
        raise table.refuse(
            f"the columns {some(found)} all may be the split, and differ: write "
            f"{' or '.join(f'[split={n}]' for n in found)}"
        )
    return [str(part) for part in parts[0]], found[0]


def _refuse_missing(table: TextTable, what: str, column: str, values: Sequence[str]) -> None:
    lines = [line for line, value in zip(table.lines, values) if is_missing(value)]
    if lines:
        raise table.refuse(
            f"no {what} in row {lines[:8]}{' and more' if len(lines) > 8 else ''} "
            f"({counted(len(lines), 'row')}): fill in column {column}, or leave these rows out"
        )


def _once(
    table: TextTable, inputs: Sequence[Path], names: Sequence[str], groups: Sequence[str],
    parts: Sequence[str],
) -> list[int]:  # fmt: skip
    """The rows, each file once; who lists a file twice says the same of it."""
    first: dict[str, int] = {}
    for row, path in enumerate(inputs):
        other = first.setdefault(os.path.normpath(path), row)
        same = names[other] == names[row] and (not parts or parts[other] == parts[row])
        if not same or (groups and groups[other] != groups[row]):
            raise table.refuse(
                f"the file {path.name!r} occurs more than once, with different labels, groups or "
                f"parts (lines {table.lines[other]} and {table.lines[row]}): keep the right row"
            )
    if len(first) < len(inputs):
        again = len(inputs) - len(first)
        table.notes.append(f"{counted(again, 'row')} that list a file again are left out")
    return list(first.values())


# --- the files -----------------------------------------------------------------------------


@dataclass
class _Places:
    """Where files lie, and how many were found otherwise than as written."""

    base: Path
    windows: int = 0
    moved: str = ""
    searched: int = 0
    index: dict[str, list[Path]] | None = None

    def notes(self) -> list[str]:
        """Sentences on that."""
        notes = []
        if self.windows:
            notes.append(f"{counted(self.windows, 'path')} with backslashes read as folders")
        if self.moved:
            notes.append(f"paths that begin with {self.moved} are looked up in the images' folder")
        if self.searched:
            notes.append(
                f"{counted(self.searched, 'file')} found by name, without regard to ending or case"
            )
        return notes

    def search(self, name: str) -> Path | None:
        """The one image file below that is meant by a name without folder, ending or case.

        Raises:
            InputError: several files may be meant.
        """
        if self.index is None:
            self.index = {}
            for top, folders, files in os.walk(self.base):
                folders[:] = sorted(f for f in folders if not is_hidden(f))
                for file in files:
                    path = Path(top, file)
                    if path.suffix.lower() in SUFFIXES and not is_hidden(file):
                        for key in {file.casefold(), path.stem.casefold()}:
                            self.index.setdefault(key, []).append(path)
        wanted = PurePosixPath(name)
        above = [part.casefold() for part in wanted.parts[:-1] if part not in (".", "/")]
        found = [
            path
            for path in self.index.get(wanted.name.casefold(), [])
            if [p.casefold() for p in path.relative_to(self.base).parts[:-1]][-len(above) :]
            == above
            or not above
        ]
        if len(found) > 1:
            raise InputError(
                f"{name!r} may be {some(p.relative_to(self.base).as_posix() for p in found)}: "
                "write the whole path in the table"
            )
        return found[0] if found else None


def _files(table: TextTable, chosen: str, places: _Places) -> tuple[str, list[str], list[Path]]:
    """The column of files; the id and the place of each."""
    found = _named(table, "file", chosen, FILE, needed=True)
    whole = [name for name in found if _exists(places.base, table.column(name))]
    if len(whole) > 1:
        places_of = {tuple(places.base / cell for cell in table.column(name)) for name in whole}
        if len(places_of) > 1:
            raise table.refuse(
                f"the columns {some(whole)} all name image files, and differ: write "
                f"{' or '.join(f'[file={n}]' for n in whole)}"
            )
    name = (whole or found)[0]
    cells = table.column(name)
    _refuse_missing(table, "file", name, cells)
    ids, inputs = [], []
    for cell in cells:
        path = places.base / cell
        if not path.is_file() and "\\" in cell:
            places.windows += 1
            cell = PureWindowsPath(cell).as_posix()
            path = places.base / cell
        ids.append(cell)
        inputs.append(path)
    if _absolute(ids[0]):
        ids, inputs = _below(ids, inputs, places)
    for row, path in enumerate(inputs):
        if not path.is_file():
            there = places.search(ids[row])
            if there is not None:
                inputs[row] = there
                places.searched += 1
    return name, ids, inputs


def _exists(base: Path, cells: Sequence[str]) -> bool:
    return all((base / cell).is_file() for cell in cells if cell) and any(cells)


def _absolute(name: str) -> bool:
    return name.startswith("/") or PureWindowsPath(name).is_absolute()


def _below(
    ids: Sequence[str], inputs: Sequence[Path], places: _Places
) -> tuple[list[str], list[Path]]:
    """Absolute paths: ids without what they share, so that they stay when all is moved."""
    if not all(map(_absolute, ids)):
        return list(ids), list(inputs)
    parts = [PurePosixPath(name).parts for name in ids]
    shared = parts[0][:-1]
    for part in parts:
        same = (a == b for a, b in zip(shared, part[:-1], strict=False))
        shared = shared[: sum(itertools.takewhile(bool, same))]
    if inputs[0].is_file():
        depth = len(shared)
        return ["/".join(part[depth:]) for part in parts], list(inputs)
    for depth in range(1, len(parts[0])):
        if parts[0][:depth] == shared[:depth] and places.base.joinpath(*parts[0][depth:]).is_file():
            places.moved = "/".join(shared[:depth]).replace("//", "/")
            rest = ["/".join(part[depth:]) for part in parts]
            return rest, [places.base / name for name in rest]
    return ["/".join(part[len(shared) :]) for part in parts], list(inputs)
