"""Checks predictions that are understood: everything fits together, or is refused with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp

from benchmark.api import Floats, InputError, IntArray, Predictions, StrArray
from benchmark.evaluation.understand import Named, PartColumns, Understood

TOLERANCE = 1e-4
"""How far from one the probabilities of an image may sum; then they are divided by their sum."""

LARGEST = 1e30
"""Beyond this no number is taken for a logit: its square would be infinite."""

Classes = tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class Checked:
    """The predictions of one method, checked.

    Attributes:
        where: the file that they come from; what messages call them, if they come from memory.
        test: what is measured; ids and classes are empty where they have no names.
        calibration: what calibrators are fitted on, or None.
        unused: keys, columns or rows that were not read.
    """

    where: Path | str
    test: Predictions
    calibration: Predictions | None
    unused: tuple[str, ...]


def check(where: Path | str, given: Understood) -> Checked:
    """Check all that was given of one method.

    Raises:
        InputError: it cannot be right; the message names the key or column, and the row.
    """
    test = check_part(given.test, given.classes)
    calibration = None
    if given.calibration is not None:
        calibration = check_part(given.calibration, given.classes)
    if (test.labels == test.labels[0]).all():
        raise InputError(
            f"labels of the test part: one class only, all {len(test.labels)} images are of class "
            f"{test.labels[0]}; predictions are measured on images of at least two classes"
        )
    if calibration is not None:
        width, other = test.log_probs.shape[1], calibration.log_probs.shape[1]
        if width != other:
            raise InputError(f"{width} classes in the test part, {other} in the calibration part")
    return Checked(where, test, calibration, given.unused)


def check_part(given: PartColumns, classes: Classes) -> Predictions:
    """A part of which everything fits together.

    Raises:
        InputError: something does not.
    """
    log_probs = _log_probs(given)
    images, width = log_probs.shape
    if classes is not None:
        if len(set(classes)) < len(classes):
            raise InputError("two classes have the same name")
        if len(classes) != width:
            raise InputError(
                f"{len(classes)} names of classes for {width} columns in {given.scores.name}"
            )
    labels = _labels(given, images, width, classes)
    ids, groups = _names(given, given.ids, images), _names(given, given.groups, images)
    if ids is not None and given.ids is not None:
        again = np.setdiff1d(np.arange(images), np.unique(ids, return_index=True)[1])
        if len(again):
            first = int(again[0])
            raise InputError(
                f"{given.ids.name}: {str(ids[first])!r} in {given.place(first)} occurs a second "
                "time"
            )
    return Predictions(
        log_probs=log_probs,
        labels=labels,
        classes=classes or (),
        ids=np.array([], dtype=str) if ids is None else ids,
        groups=groups,
    )


def _refuse(given: PartColumns, named: Named, bad: Any, why: str, form: str = "") -> None:
    """Refuse the first value that is bad, if one is."""
    if np.any(bad):
        first = tuple(np.argwhere(bad)[0].tolist())
        value = format(named.values[first], form)
        raise InputError(f"{named.name}: {value} in {given.place(*first)} {why}")


# --- predictions ---------------------------------------------------------------------------


def _log_probs(given: PartColumns) -> Floats:
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
    if scores.shape[1] < 2:
        raise InputError(
            f"{name} has one column, so one class only: give a column for each class, for two "
            "classes both"
        )
    values = scores.astype(np.float64)
    numbers = Named(name, values)
    bad = np.isnan(values) | (values == np.inf) if kind == "log_probs" else ~np.isfinite(values)
    hint = " (a probability of zero can be given as a probability)" if kind == "logits" else ""
    _refuse(given, numbers, bad, f"is not a finite number{hint}")
    if kind == "logits":
        _refuse(given, numbers, np.abs(values) > LARGEST, "cannot be a logit", "g")
        if values.min() >= 0 and (np.abs(values.sum(1) - 1) <= 0.01).all():
            raise InputError(
                f"{name}: all rows are probabilities (not below 0, with a sum of one); call them "
                "test_probs, in a table p_0, p_1, ..."
            )
        with np.errstate(over="ignore"):  # logits further apart than any double: zero is right
            return np.asarray(log_softmax(values, 1))
    if kind == "probs":
        bad, what = (values < 0) | (values > 1 + TOLERANCE), "a probability"
    else:
        bad, what = values > np.log1p(TOLERANCE), "the logarithm of a probability"
    _refuse(given, numbers, bad, f"is not {what}; if these are logits, call them so", "g")
    sums = (values if kind == "probs" else np.exp(values)).sum(1)
    far = np.abs(sums - 1) > TOLERANCE
    if far.any():
        row = int(np.argmax(far))
        more = f" (and {far.sum() - 1} more)" if far.sum() > 1 else ""
        raise InputError(
            f"{name}: the probabilities in {given.place(row)}{more} sum to {sums[row]:.6g}, not "
            f"to one (within {TOLERANCE:g}); if they were rounded, give more digits, or logits"
        )
    if kind == "log_probs":
        return np.asarray(values - logsumexp(values, axis=1, keepdims=True))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values / sums[:, None]))


# --- labels and names ----------------------------------------------------------------------


def _labels(given: PartColumns, images: int, width: int, classes: Classes) -> IntArray:
    """Indices of the true classes, from indices, names or one-hot rows."""
    (name, labels), scores = given.labels, given.scores.name
    if labels.size == 0:
        raise InputError(f"{name} is empty")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape == (images, width) and labels.dtype.kind in "biuf":
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all()):
            raise InputError(f"{name} has the shape of one-hot rows, but is not one-hot")
        labels = labels.argmax(1)
    if labels.ndim != 1:
        raise InputError(
            f"{name} has the shape {labels.shape}: give one whole number for each image"
        )
    if len(labels) != images:
        raise InputError(f"{len(labels)} {name} for {images} rows in {scores}: they must agree")
    if labels.dtype.kind == "U":
        index = {c: i for i, c in enumerate(classes or ())}
        if set(labels.tolist()) <= set(index):
            return np.array([index[label] for label in labels.tolist()])
        labels = _label_numbers(given, labels, classes)
        usual = set(map(str, range(width)))
        if classes is not None and all(map(str.isdecimal, classes)) and set(classes) != usual:
            return _numbered(given, labels, classes)
    if labels.dtype.kind not in "biuf":
        raise InputError(f"{name} holds {labels.dtype}, not whole numbers")
    fractional = labels.dtype.kind == "f" and ~(np.isfinite(labels) & (np.floor(labels) == labels))
    _refuse(given, Named(name, labels), fractional, "is not a whole number")
    _refuse(
        given,
        Named(name, labels.astype(np.float64)),
        (labels < 0) | (labels >= width),
        f"does not fit {scores}, {width} columns for {width} classes: labels are whole numbers "
        f"from 0 to {width - 1}",
        ".15g",
    )
    return labels.astype(np.int64)


def _label_numbers(given: PartColumns, labels: StrArray, classes: Classes) -> npt.NDArray[Any]:
    """Labels written as text, but not as names of classes."""
    name = given.labels.name
    try:
        return labels.astype(np.float64)
    except ValueError:
        known = set(classes or ())
        nor = f", nor one of the classes {', '.join(classes)}" if classes else ""
        for row, label in enumerate(labels.tolist()):
            if label not in known and not label.lstrip("+-").replace(".", "", 1).isdecimal():
                raise InputError(
                    f"{name}: {label!r} in {given.place(row)} is not a whole number{nor}"
                ) from None
        raise InputError(f"{name}: write all as names of classes, or all as numbers") from None


def _numbered(given: PartColumns, labels: npt.NDArray[Any], classes: tuple[str, ...]) -> IntArray:
    """Indices of classes that are named by numbers, not all of which need a column."""
    index = {float(c): i for i, c in enumerate(classes)}
    _refuse(
        given,
        Named(given.labels.name, labels),
        ~np.isin(labels, list(index)),
        f"has no column; the columns are of the classes {', '.join(classes)}",
        ".15g",
    )
    return np.array([index[label] for label in labels.tolist()])


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
