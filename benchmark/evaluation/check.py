"""Checks predictions that are understood: everything fits together, or is refused with a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from benchmark.api import Floats, InputError, IntArray, Predictions, StrArray
from benchmark.api.handed.names import is_missing, plain
from benchmark.evaluation.probabilities import (
    TOLERANCE,
    percent,
    rounding,
    rounding_of_one,
    sums,
)
from benchmark.evaluation.read import Column
from benchmark.evaluation.understand import Named, PartColumns, Understood

LARGEST = 1e30
"""Beyond this no number is taken for a logit: its square would be infinite."""

EDGE = {True: 1e-12, False: 1e-7}
"""Within which a confidence is the edge of a bin, by whether it was double precision."""


@dataclass(frozen=True, eq=False)
class Checked:
    """The predictions of one method, checked.

    Attributes:
        where: the file that they come from; what messages call them, if they come from memory.
        test: what is measured; ids and classes are empty where they have no names.
        calibration: what calibrators are fitted on, or None.
        unused: keys, columns or rows that were not read.
        unread: of those, the values of the test part's images.
        said: how they were understood, in a few words each.
        folds: of the test part's and of the calibration part's images; None if there is one.
        files: all that they come from; none if they come from memory.
    """

    where: Path | str
    test: Predictions
    calibration: Predictions | None
    unused: tuple[str, ...] = ()
    unread: Mapping[str, Column] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    folds: tuple[StrArray, StrArray | None] | None = None
    files: tuple[Path, ...] = ()


def check(where: Path | str, given: Understood) -> Checked:
    """Check all that was given of one method.

    Raises:
        InputError: it cannot be right; the message names the key or column, and the row.
    """
    said = list(given.said)
    test = check_part(given.test, said)
    calibration = None
    if given.calibration is not None:
        calibration = check_part(given.calibration, said, by_fold=True)
    if (test.labels == test.labels[0]).all():
        raise InputError(
            f"labels of the test part: one class only, all {len(test.labels)} images are of class "
            f"{test.labels[0]}; predictions are measured on images of at least two classes"
        )
    if calibration is not None:
        width, other = test.log_probs.shape[1], calibration.log_probs.shape[1]
        if width != other:
            raise InputError(f"{width} classes in the test part, {other} in the calibration part")
    folds = _folds(given.test, len(test))
    both = None
    if folds is not None and len(set(folds.tolist())) > 1:
        others = None
        if given.calibration is not None and calibration is not None:
            others = _folds(given.calibration, len(calibration))
        both = folds, others
        said.append(f"the images of {len(set(folds.tolist()))} folds are put together")
    files = (where,) if isinstance(where, Path) else ()
    unique = tuple(dict.fromkeys(said))
    return Checked(where, test, calibration, given.unused, given.unread, unique, both, files)


def check_part(given: PartColumns, said: list[str], by_fold: bool = False) -> Predictions:
    """A part of which everything fits together.

    Args:
        given: the part.
        said: what was understood is added to it.
        by_fold: an image may occur in each fold.

    Raises:
        InputError: something does not fit.
    """
    log_probs = _log_probs(given, said)
    images, width = log_probs.shape
    for classes in given.namings[:1]:
        if len(set(classes)) < len(classes):
            raise InputError("two classes have the same name")
        if len(classes) != width:
            raise InputError(
                f"{len(classes)} names of classes for {width} columns in {given.scores.name}"
            )
    labels = _labels(given, images, width, log_probs, said)
    ids, groups = _names(given, given.ids, images), _names(given, given.groups, images)
    if ids is not None and given.ids is not None:
        folds = _folds(given, images) if by_fold else None
        names = ids if folds is None else np.char.add(np.char.add(folds, " "), ids)
        again = np.setdiff1d(np.arange(images), np.unique(names, return_index=True)[1])
        if len(again):
            first = int(again[0])
            raise InputError(
                f"{given.ids.name}: {str(ids[first])!r} in {given.place(first)} occurs a second "
                "time"
            )
    return Predictions(
        log_probs=log_probs,
        labels=labels,
        classes=given.namings[0] if given.namings else (),
        ids=np.array([], dtype=str) if ids is None else ids,
        groups=groups,
        resolution=EDGE[given.scores.values.dtype.kind != "f" or _double(given.scores.values)],
    )


def _double(values: Column) -> bool:
    return values.dtype.itemsize >= 8


def _folds(given: PartColumns, images: int) -> StrArray | None:
    """The fold of each image, if that is known; what is no name of a fold is not read."""
    if given.folds is None or given.folds.values.shape != (images,):
        return None
    return given.folds.values.astype(str)


def _refuse(given: PartColumns, named: Named, bad: Any, why: str, form: str = "") -> None:
    """Refuse the first value that is bad, if one is."""
    if np.any(bad):
        first = tuple(np.argwhere(bad)[0].tolist())
        value = format(named.values[first], form)
        raise InputError(f"{named.name}: {value} in {given.place(*first)} {why}")


# --- predictions ---------------------------------------------------------------------------


def _log_probs(given: PartColumns, said: list[str]) -> Floats:
    """Natural logarithms of probabilities that sum to one, with exact zeros kept."""
    kind, (name, scores) = given.kind, given.scores
    if scores.dtype.kind not in "fiu":
        raise InputError(f"{name} holds {scores.dtype}, not numbers")
    if scores.size == 0:
        raise InputError(f"{name} is empty, its shape {scores.shape}")
    if scores.ndim != 2:
        raise InputError(
            f"{name} has the shape {scores.shape}: give a row for each image, a column for each "
            "class"
        )
    values = scores.astype(np.float64)
    numbers = Named(name, values)
    bad = np.isnan(values) | (values == np.inf) if kind == "log_probs" else ~np.isfinite(values)
    hint = " (a probability of zero can be given as a probability)" if kind == "logits" else ""
    _refuse(given, numbers, bad, f"is not a finite number{hint}")
    if kind == "logits":
        _refuse(given, numbers, np.abs(values) > LARGEST, "cannot be a logit", "g")
        for whole, what in ((1, "probabilities"), (100, "percent")):
            if values.min() >= 0 and (np.abs(values.sum(1) / whole - 1) <= 0.01).all():
                raise InputError(
                    f"{name}: all rows are {what} (not below 0, with a sum of {whole}); call them "
                    "test_probs, in a table p_0, p_1, ..."
                )
        # Logits further apart than any double: zero is right.
        with np.errstate(over="ignore", divide="ignore"):
            values = values - values.max(1, keepdims=True)
            return np.asarray(values - np.log(sums(np.exp(values)))[:, None])
    if kind == "probs" and percent(values):
        values = values / 100
        said.append("percent, so divided by 100")
    if kind == "probs":
        bad, what = (values < 0) | (values > 1 + TOLERANCE), "a probability"
    else:
        bad, what = values > np.log1p(TOLERANCE), "the logarithm of a probability"
    remedy = "if these are logits, call them so"
    if kind == "probs" and values.min() >= 0 and values.max() <= 100:
        remedy = "and the rows are not percent, since they do not sum to 100"
    _refuse(given, Named(name, values), bad, f"is not {what}; {remedy}", "g")
    probs = values if kind == "probs" else np.exp(values)
    words, tolerance = rounding(probs)
    if kind == "log_probs" and not words:
        words, tolerance = rounding(values, logarithms=True)
    total = sums(probs)
    far = np.abs(total - 1) > tolerance
    if far.any():
        row = int(np.argmax(far))
        more = f" (and {far.sum() - 1} more)" if far.sum() > 1 else ""
        raise InputError(
            f"{name}: the probabilities in {given.place(row)}{more} sum to {total[row]:.8g}, not "
            f"to one (within {tolerance:.4g}); if they were rounded, give more digits, or logits"
        )
    off = np.abs(total - 1) > rounding_of_one(scores.astype(np.float64))
    if off.any() and (words or np.abs(total - 1).max() > 1e-6):
        said.append(
            f"probabilities {words or 'that are rounded'}: {off.sum()} rows that sum to "
            f"{total.min():.6g}-{total.max():.6g} are divided by their sum"
        )
    if kind == "log_probs":
        return np.asarray(values - np.where(off, np.log(total), 0)[:, None])
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.where(off[:, None], values / total[:, None], values)))


# --- labels and names ----------------------------------------------------------------------


def _labels(
    given: PartColumns, images: int, width: int, log_probs: Floats, said: list[str]
) -> IntArray:
    """Indices of the true classes, from names, numbers, places or one-hot rows."""
    (name, labels), scores = given.labels, given.scores.name
    if labels.size == 0:
        raise InputError(f"{name} is empty")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape == (images, width) and labels.dtype.kind in "biuf":
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()):
            raise InputError(f"{name} has the shape of one-hot rows, but is not one-hot")
        said.append(f"{name}: one-hot rows")
        one_hot: IntArray = labels.argmax(1)
        return one_hot
    if labels.ndim != 1:
        raise InputError(
            f"{name} has the shape {labels.shape}: give one whole number for each image"
        )
    if len(labels) != images:
        raise InputError(f"{len(labels)} {name} for {images} rows in {scores}: they must agree")
    text = labels.dtype.kind == "U"
    if text:
        for naming in given.namings:
            index = {c: i for i, c in enumerate(naming)}
            numbers_alone = all(_number(c) is not None for c in naming)  # then by value, below
            if not numbers_alone and set(labels.tolist()) <= set(index):
                said.append(f"{name}: matched to classes by name")
                return np.array([index[label] for label in labels.tolist()])
        for naming in given.namings:  # none is matched as it is written
            index = {plain(c): i for i, c in enumerate(naming)}
            spoken = {label: plain(label) for label in {*labels.tolist()}}
            apart = len(index) == len(naming) and len({*spoken.values()}) == len(spoken)
            if apart and {*spoken.values()} <= {*index} and None in map(_number, naming):
                said.append(f"{name}: matched to classes by name, whatever its case and spaces")
                return np.array([index[spoken[label]] for label in labels.tolist()])
        labels = _label_numbers(given, labels)
    if labels.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {labels.dtype}, not whole numbers")
    fractional = labels.dtype.kind == "f" and ~(np.isfinite(labels) & (np.floor(labels) == labels))
    _refuse(given, Named(name, labels), fractional, "is not a whole number")
    numbers = labels.astype(np.float64)
    for naming in given.namings:
        known = [_number(c) for c in naming]
        values = {value: i for i, value in enumerate(known) if value is not None}
        if len(values) < width:
            continue
        if set(numbers.tolist()) <= set(values):
            said.append(f"{name}: matched to classes by number")
            matched = np.array([values[label] for label in numbers.tolist()])
            if list(values) != list(range(width)):  # else its name and its place are the same
                _agrees(given, numbers.astype(np.int64), log_probs, matched)
            return matched
        usual = sorted(values) == list(range(width))
        if not usual and (text or given.lines is not None):
            why = f"has no column; the columns are of the classes {', '.join(naming)}"
            _refuse(given, Named(name, numbers), ~np.isin(numbers, list(values)), why, ".15g")
    if given.unclear:
        raise InputError(f"{name}: {given.unclear}")
    from_one = numbers.min() == 1 and numbers.max() == width
    hint = "; if they count from 1, say so with classes" if from_one else ""
    _refuse(
        given,
        Named(name, numbers),
        (labels < 0) | (labels >= width),
        f"does not fit {scores}, {width} columns for {width} classes: labels are whole numbers "
        f"from 0 to {width - 1}{hint}",
        ".15g",
    )
    places = labels.astype(np.int64)
    _agrees(given, places, log_probs)
    said.append(f"{name}: whole numbers, the first column being 0")
    return places


_CLASS_NUMBER = re.compile(r"(?:class|cls|label|category)[ _.:\-]*(\d+)", re.IGNORECASE)


def _number(text: str) -> float | None:
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return float(text)
    except ValueError:
        return None


def _agrees(
    given: PartColumns, numbers: IntArray, log_probs: Floats, matched: IntArray | None = None
) -> None:
    """Refuse a reading of numbers where another one agrees better with the predictions.

    Args:
        given: the part.
        numbers: the labels.
        log_probs: the predictions.
        matched: the labels' classes, where their names are numbers; else the numbers are places.
    """
    width, predicted = log_probs.shape[1], log_probs.argmax(1)
    if len(set(numbers.tolist())) == 1:
        return
    places = "the places of columns, from 0"
    readings = {} if matched is None else {"the names of the classes": matched}
    if numbers.min() >= 0 and numbers.max() < width:
        readings[places] = numbers
    if numbers.min() >= 1 and numbers.max() <= width and (matched is None or given.lines is None):
        readings["the places of columns, from 1"] = numbers - 1
    shares = {what: float((read == predicted).mean()) for what, read in readings.items()}
    if given.lines is not None and given.namings and _number(given.namings[0][0]) is None:
        pairs = np.zeros((width, width))
        np.add.at(pairs, (numbers, predicted), 1)
        best = pairs[linear_sum_assignment(pairs, maximize=True)].sum() / len(numbers)
        shares["the names in another order"] = float(best)
    elif matched is None and given.namings and width == len(given.namings[0]) > numbers.max():
        order = np.argsort(np.array(given.namings[0]), kind="stable")  # of its place, the column
        shares["the names in alphabetical order"] = float((order[numbers] == predicted).mean())
    [first, *others] = shares.items()
    for what, share in others:
        if share > first[1] + 1e-9:
            raise InputError(
                f"{given.labels.name}: numbers that may be {first[0]} (then "
                f"{100 * first[1]:.3g} % of the predictions are right), or {what} "
                f"({100 * share:.3g} %): say which, with classes, or with names as labels"
            )


def _label_numbers(given: PartColumns, labels: StrArray) -> npt.NDArray[Any]:
    """Labels written as text, but not as names of classes."""
    name = given.labels.name
    numbers = [_number(label) for label in labels.tolist()]
    if None not in numbers:
        return np.array(numbers, dtype=np.float64)
    for row, label in enumerate(labels.tolist()):
        if is_missing(label):
            raise InputError(f"{name}: {label!r} in {given.place(row)} is no class: leave it out")
    worded = [_CLASS_NUMBER.fullmatch(label) for label in labels.tolist()]
    if all(worded):
        return np.array([match[1] for match in worded if match], dtype=np.float64)
    known = {c for naming in given.namings for c in naming}
    classes = given.namings[0] if given.namings else ()
    nor = f", nor one of the classes {', '.join(classes)}" if classes else ""
    for row, (label, number) in enumerate(zip(labels.tolist(), numbers)):
        if label not in known and number is None:
            raise InputError(f"{name}: {label!r} in {given.place(row)} is not a whole number{nor}")
    raise InputError(f"{name}: write all as names of classes, or all as numbers")


def _names(given: PartColumns, named: Named | None, images: int) -> StrArray | None:
    """Names of images or groups: text or whole numbers."""
    if named is None:
        return None
    name, values = named
    if values.shape != (images,):
        raise InputError(f"{name} has the shape {values.shape} for {images} predictions")
    if values.dtype.kind == "f":
        _refuse(given, named, ~np.isfinite(values), "names nothing")
    if values.dtype.kind not in "iufU":
        raise InputError(f"{name} holds {values.dtype}: give names or numbers")
    return values.astype(str)
