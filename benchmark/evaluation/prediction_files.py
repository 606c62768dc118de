"""Predictions made anywhere else: ``.npz`` and ``.csv`` files, read and checked.

What may stand in them is described in ``docs/evaluate.md``.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp

from benchmark.api import InputError, IntArray, StrArray, require

TOLERANCE = 1e-4
"""How far from one the probabilities of an image may sum; then they are divided by their sum."""

LARGEST = 1e30
"""Beyond this no number is taken for a logit: its square would be infinite."""

SCORES = {
    "logits": ("logits",),
    "probs": ("probs", "probabilities"),
    "log_probs": ("log_probs", "log_probabilities"),
}
"""Under which names an archive holds logits, probabilities or their natural logarithms."""

LABELS, IDS, GROUPS = ("labels", "label", "targets"), ("ids", "id"), ("groups", "group")
CLASSES = ("classes", "class_names")
PREFIXES = {
    "test": ("test_", ""),
    "calibration": ("calibration_", "val_", "validation_", "valid_", "cal_"),
}
"""What stands before those names, for each part."""

COLUMNS = {
    "logit_": "logits",
    "p_": "probs",
    "prob_": "probs",
    "log_p_": "log_probs",
    "log_prob_": "log_probs",
}
"""What the columns of a table start with; columns named as classes alone hold probabilities."""

PART_NAMES = {
    "test": "test",
    "calibration": "calibration",
    "val": "calibration",
    "validation": "calibration",
    "train": "train",
}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Part:
    """The test or the calibration part of a file, checked.

    Attributes:
        log_probs: ``(n, classes)`` natural logarithms; minus infinity for a probability of zero.
        labels: ``(n,)`` indices of the true classes.
        ids: ``(n,)`` names of the images, or None.
        groups: ``(n,)`` what images hang together, or None.
    """

    log_probs: Floats
    labels: IntArray
    ids: StrArray | None
    groups: StrArray | None


@dataclass(frozen=True, eq=False)
class PredictionFile:
    """What a file holds.

    Attributes:
        path: where it is.
        test: what is measured.
        calibration: what calibrators are fitted on, or None.
        classes: names of the classes, or None.
        unused: keys or columns that were not read.
    """

    path: Path
    test: Part
    calibration: Part | None
    classes: tuple[str, ...] | None
    unused: tuple[str, ...]


def read(path: Path) -> PredictionFile:
    """Read a file of predictions.

    Raises:
        InputError: the file cannot be read, lacks something, or holds what cannot be right; the
            message names the file, the key or column, and the row.
    """
    readers = {".npz": _read_npz, ".csv": _read_csv}
    try:
        require(
            path.suffix.lower() in readers,
            "neither .npz nor .csv; write one with numpy.savez or as a table",
        )
        require(path.stat().st_size > 0, "the file is empty")
        return readers[path.suffix.lower()](path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'cannot be read'}") from error


# --- archives ------------------------------------------------------------------------------

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

Get = Callable[[str], npt.NDArray[Any]]


def _read_npz(path: Path) -> PredictionFile:
    with path.open("rb") as stream:  # numpy itself would leave a file that is no archive open
        try:
            archive = np.load(stream, allow_pickle=False)
        except _DAMAGED:
            archive = None
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(
                "not an .npz archive (pickles are never read); write one with "
                "numpy.savez(FILE, test_logits=..., test_labels=...)"
            )
        keys = tuple(archive.files)

        def get(key: str) -> npt.NDArray[Any]:
            try:
                array = archive[key]
            except _DAMAGED as error:
                raise InputError(f"{key} cannot be read: {error}") from error
            require(isinstance(array, np.ndarray), f"{key} is not a numpy array")
            return np.asarray(array)

        used: set[str] = set()
        class_key = _key(keys, CLASSES, ("",))
        classes = None if class_key is None else _class_names(get(class_key), class_key)
        test = _npz_part("test", keys, get, classes, used)
        calibration = _npz_part("calibration", keys, get, classes, used)
        if test is None:
            raise InputError(f"no predictions of a test part; {_expected(keys)}")
        unused = tuple(key for key in keys if key not in used | {class_key})
        return _together(path, test, calibration, classes, unused)


def _npz_part(
    part: str, keys: Sequence[str], get: Get, classes: tuple[str, ...] | None, used: set[str]
) -> Part | None:
    prefixes = PREFIXES[part]
    scores = {k: key for k, names in SCORES.items() if (key := _key(keys, names, prefixes))}
    labels, ids, groups = (_key(keys, names, prefixes) for names in (LABELS, IDS, GROUPS))
    used |= {key for key in (*scores.values(), labels, ids, groups) if key is not None}
    if not scores and (part == "calibration" and labels is None):
        return None
    require(
        len(scores) == 1,
        f"both {' and '.join(scores.values())}: keep one"
        if scores
        else f"no predictions of the {part} part; {_expected(keys)}",
    )
    kind, key = next(iter(scores.items()))
    if labels is None:
        names = " or ".join(f"{prefix}labels" for prefix in prefixes)
        raise InputError(f"{key} without labels: add {names}; keys found: {', '.join(keys)}")

    def at(row: int, column: int | None = None) -> str:
        return f"row {row}" + ("" if column is None else f", column {column}") + " (from 0)"

    return _check(
        kind,
        (key, get(key)),
        (labels, get(labels)),
        (ids or "", None if ids is None else get(ids)),
        (groups or "", None if groups is None else get(groups)),
        classes,
        at,
    )


def _key(keys: Sequence[str], names: Iterable[str], prefixes: Iterable[str]) -> str | None:
    """The one key among the spellings of a thing."""
    found = [p + name for name in names for p in prefixes if p + name in keys]
    require(len(found) <= 1, f"both {' and '.join(found)}: keep one")
    return found[0] if found else None


def _expected(keys: Sequence[str]) -> str:
    return (
        "expected test_logits, test_probs or test_log_probs (or without test_), and test_labels; "
        f"keys found: {', '.join(keys) or 'none'}"
    )


def _class_names(names: npt.NDArray[Any], key: str) -> tuple[str, ...]:
    require(names.ndim == 1 and names.dtype.kind in "iuU", f"{key}: give a list of names")
    return tuple(map(str, names.tolist()))


# --- tables --------------------------------------------------------------------------------


def _read_csv(path: Path) -> PredictionFile:
    header, rows, lines = _cells(path)
    special = {
        name: _key(header, aliases, ("",))
        for name, aliases in (
            ("label", LABELS),
            ("id", IDS),
            ("group", GROUPS),
            ("part", ("part", "split")),
        )
    }
    label = special["label"]
    found = ", ".join(map(repr, header))
    if label is None:
        raise InputError(
            "no column label; expected label, one column for each class (p_0, p_1, ... or "
            "logit_0, logit_1, ..., or the classes' names for probabilities), and perhaps id, "
            f"group and part, separated by commas; columns found: {found}"
        )
    kind, columns, unused = _score_columns([c for c in header if c not in special.values()])
    require(bool(columns), f"no predictions: expected p_0, p_1, ...; columns found: {found}")
    classes = tuple(columns)
    places = [header.index(column) for column in columns.values()]
    values = _numbers(rows, places, header, lines)
    texts = {
        name: np.array([row[header.index(column)].strip() for row in rows], dtype=str)
        for name, column in special.items()
        if column is not None
    }
    for name, cells in texts.items():
        if (cells == "").any():
            raise InputError(f"column {special[name]}, line {lines[np.argmax(cells == '')]}: empty")
    parts = _parts(texts.get("part"), lines)

    def part(name: str) -> Part | None:
        index = np.flatnonzero(parts == name)
        if not len(index):
            return None

        def at(row: int, column: int | None = None) -> str:
            line = f"line {lines[index[row]]}"
            return line if column is None else f"{line}, column {header[places[column]]}"

        def column(name: str) -> tuple[str, Any]:
            return (special[name] or "", texts[name][index] if name in texts else None)

        scores = (f"columns {header[places[0]]} to {header[places[-1]]}", values[index])
        return _check(kind, scores, column("label"), column("id"), column("group"), classes, at)

    test = part("test")
    if test is None:
        raise InputError("no row of the test part; the column part says test or calibration")
    if (parts == "train").any():
        unused += (f"{np.count_nonzero(parts == 'train')} rows whose part is train",)
    return _together(path, test, part("calibration"), classes, unused)


def _cells(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and the line in the file at which each row ends."""
    rows, lines = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [cell.strip() for cell in next(reader, [])]
            for row in reader:
                if row:
                    require(
                        len(row) == len(header),
                        f"line {reader.line_num} has {len(row)} cells, the header {len(header)}",
                    )
                    rows.append(row)
                    lines.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"not a table in UTF-8: {error}") from error
    require(bool(rows), "the table is empty: no row below the header")
    again = [name for name in header if header.count(name) > 1]
    require(not again, f"the column {again[0] if again else ''!r} occurs more than once")
    return header, rows, lines


def _score_columns(
    header: Sequence[str],
) -> tuple[str, dict[str, str], tuple[str, ...]]:
    """Kind of the predictions, columns by class in order, and the columns that are neither."""
    starts: dict[str, list[str]] = {}
    for column in header:
        matching = [start for start in COLUMNS if column.startswith(start)]
        if matching:
            starts.setdefault(max(matching, key=len), []).append(column)
    require(
        len(starts) <= 1, f"columns that start with {' and '.join(starts)}: keep one kind of them"
    )
    if not starts:  # an empty name is that of the index which pandas writes
        columns = {column: column for column in header if column}
        kind = "probs"
    else:
        start, names = next(iter(starts.items()))
        columns = {column.removeprefix(start): column for column in names}
        kind = COLUMNS[start]
    unused = tuple(c for c in header if c and c not in columns.values())
    if set(columns) == {str(i) for i in range(len(columns))}:
        columns = {str(i): columns[str(i)] for i in range(len(columns))}
    return kind, columns, unused


def _numbers(
    rows: list[list[str]], places: list[int], header: list[str], lines: list[int]
) -> Floats:
    try:
        return np.array([[float(row[place]) for place in places] for row in rows])
    except ValueError:
        for row, line in zip(rows, lines):
            for place in places:
                where = f"column {header[place]}, line {line}"
                require(bool(row[place].strip()), f"{where}: empty")
                try:
                    float(row[place])
                except ValueError:
                    text = row[place]
                    raise InputError(f"{where}: {text!r} is not a number") from None
        raise


def _parts(names: StrArray | None, lines: list[int]) -> StrArray:
    if names is None:
        return np.full(len(lines), "test")
    for name, line in zip(names, lines):
        require(
            name.lower() in PART_NAMES,
            f"part {str(name)!r} in line {line}: write test or calibration",
        )
    return np.array([PART_NAMES[name.lower()] for name in names])


# --- checks --------------------------------------------------------------------------------

At = Callable[..., str]
Named = tuple[str, Any]


def _together(
    path: Path,
    test: Part,
    calibration: Part | None,
    classes: tuple[str, ...] | None,
    unused: tuple[str, ...],
) -> PredictionFile:
    width = test.log_probs.shape[1]
    if (test.labels == test.labels[0]).all():
        raise InputError(
            f"labels of the test part: one class only, all {len(test.labels)} images are of class "
            f"{test.labels[0]}; predictions are measured on images of at least two classes"
        )
    if calibration is not None:
        other = calibration.log_probs.shape[1]
        require(
            other == width, f"{width} classes in the test part, {other} in the calibration part"
        )
    return PredictionFile(path, test, calibration, classes, unused)


def _check(
    kind: str,
    scores: Named,
    labels: Named,
    ids: Named,
    groups: Named,
    classes: tuple[str, ...] | None,
    at: At,
) -> Part:
    """A part of which everything fits together, or an error that says where it does not."""
    log_probs = _log_probs(kind, *scores, at)
    number, width = log_probs.shape
    if classes is not None:
        require(len(set(classes)) == len(classes), "two classes have the same name")
        require(
            len(classes) == width,
            f"{len(classes)} names of classes for {width} columns in {scores[0]}",
        )
    found = _labels(*labels, scores[0], number, width, classes, at)
    names = _names(*ids, number, at)
    if names is not None:
        distinct, first = np.unique(names, return_index=True)
        again = np.setdiff1d(np.arange(number), first)
        if len(distinct) < number:
            raise InputError(
                f"{ids[0]}: {str(names[again[0]])!r} in {at(int(again[0]))} occurs a second time"
            )
    return Part(log_probs, found, names, _names(*groups, number, at))


def _log_probs(kind: str, name: str, scores: npt.NDArray[Any], at: At) -> Floats:
    """Natural logarithms of probabilities that sum to one, with exact zeros kept."""
    require(scores.dtype.kind in "fiu", f"{name} holds {scores.dtype}, not numbers")
    require(scores.size > 0, f"{name} is empty, its shape {scores.shape}")
    require(
        scores.ndim == 2,
        f"{name} has the shape {scores.shape}: give a row for each image, a column for each class",
    )
    require(
        scores.shape[1] >= 2,
        f"{name} has one column, so one class only: give a column for each class, for two "
        "classes both",
    )
    values = scores.astype(np.float64)
    bad = np.isnan(values) | (values == np.inf) if kind == "log_probs" else ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        hint = " (a probability of zero can be given as a probability)" if kind == "logits" else ""
        raise InputError(
            f"{name}: {values[row, column]} in {at(row, column)} is not a finite number{hint}"
        )
    if kind == "logits":
        if np.abs(values).max() > LARGEST:
            row, column = np.argwhere(np.abs(values) > LARGEST)[0]
            raise InputError(
                f"{name}: {values[row, column]:g} in {at(row, column)} cannot be a logit"
            )
        if values.min() >= 0 and (np.abs(values.sum(1) - 1) <= 0.01).all():
            raise InputError(
                f"{name}: all rows are probabilities (not below 0, with a sum of one); call them "
                "test_probs, in a table p_0, p_1, ..."
            )
        with np.errstate(over="ignore"):  # logits further apart than any double: zero is right
            normal: Floats = log_softmax(values, 1)
        return normal
    if kind == "probs":
        bad = (values < 0) | (values > 1 + TOLERANCE)
    else:
        bad = values > np.log1p(TOLERANCE)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        what = "a probability" if kind == "probs" else "the logarithm of a probability"
        raise InputError(
            f"{name}: {values[row, column]:g} in {at(row, column)} is not {what}; if these are "
            "logits, call them so"
        )
    sums = values.sum(1) if kind == "probs" else np.exp(values).sum(1)
    far = np.abs(sums - 1) > TOLERANCE
    if far.any():
        row = int(np.argmax(far))
        more = f" (and {far.sum() - 1} more)" if far.sum() > 1 else ""
        raise InputError(
            f"{name}: the probabilities in {at(row)}{more} sum to {sums[row]:.6g}, not to one "
            f"(within {TOLERANCE:g}); if they were rounded, give more digits, or logits"
        )
    if kind == "log_probs":
        return np.asarray(values - logsumexp(values, axis=1, keepdims=True))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values / sums[:, None]))


def _labels(
    name: str,
    labels: npt.NDArray[Any],
    scores: str,
    number: int,
    width: int,
    classes: tuple[str, ...] | None,
    at: At,
) -> IntArray:
    """Indices of the true classes, from indices, names or one-hot rows."""
    require(labels.size > 0, f"{name} is empty")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.shape == (number, width) and labels.dtype.kind in "biuf":
        one_hot = np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()
        require(bool(one_hot), f"{name} has the shape of one-hot rows, but is not one-hot")
        labels = labels.argmax(1)
    require(
        labels.ndim == 1,
        f"{name} has the shape {labels.shape}: give one whole number for each image",
    )
    require(
        len(labels) == number,
        f"{len(labels)} {name} for {number} rows in {scores}: they must agree",
    )
    if labels.dtype.kind == "U":
        index = {c: i for i, c in enumerate(classes or ())}
        if set(labels.tolist()) <= set(index):
            return np.array([index[label] for label in labels.tolist()])
        labels = _label_numbers(name, labels, classes, at)
        usual = set(map(str, range(width)))
        if classes is not None and all(map(str.isdecimal, classes)) and set(classes) != usual:
            return _numbered(name, labels, classes, at)
    require(labels.dtype.kind in "biuf", f"{name} holds {labels.dtype}, not whole numbers")
    whole = np.isfinite(labels) & (np.floor(labels) == labels) if labels.dtype.kind == "f" else True
    bad = ~np.broadcast_to(whole, labels.shape)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"{name}: {labels[row]} in {at(row)} is not a whole number")
    bad = (labels < 0) | (labels >= width)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{name}: {float(labels[row]):.15g} in {at(row)} does not fit {scores}, {width} "
            f"columns for {width} classes: labels are whole numbers from 0 to {width - 1}"
        )
    return labels.astype(np.int64)


def _label_numbers(
    name: str, labels: StrArray, classes: tuple[str, ...] | None, at: At
) -> npt.NDArray[Any]:
    """Labels written as text, but not as names of classes."""
    try:
        return labels.astype(np.float64)
    except ValueError:
        known = set(classes or ())
        for row, label in enumerate(labels.tolist()):
            if label not in known and not label.lstrip("+-").replace(".", "", 1).isdecimal():
                raise InputError(
                    f"{name}: {label!r} in {at(row)} is not a whole number"
                    + (f", nor one of the classes {', '.join(classes)}" if classes else "")
                ) from None
        raise InputError(f"{name}: write all as names of classes, or all as numbers") from None


def _numbered(name: str, labels: npt.NDArray[Any], classes: tuple[str, ...], at: At) -> IntArray:
    """Indices of classes that are named by numbers, not all of which need a column."""
    index = {float(c): i for i, c in enumerate(classes)}
    for row, label in enumerate(labels.tolist()):
        if label not in index:
            raise InputError(
                f"{name}: {label:.15g} in {at(row)} has no column; the columns are of the classes "
                f"{', '.join(classes)}"
            )
    return np.array([index[label] for label in labels.tolist()])


def _names(name: str, values: npt.NDArray[Any] | None, number: int, at: At) -> StrArray | None:
    """Names of images or groups: text or whole numbers."""
    if values is None:
        return None
    require(
        values.shape == (number,), f"{name} has the shape {values.shape} for {number} predictions"
    )
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(f"{name}: {values[row]} in {at(row)} names nothing")
    require(values.dtype.kind in "iufU", f"{name} holds {values.dtype}: give names or numbers")
    return values.astype(str)
