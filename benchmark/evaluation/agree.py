"""Brings methods together: they must be about the same images, classes, labels and groups.

And the parts of one method apart: what calibrates must not be what is measured.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmark.api import InputError, IntArray, Predictions, StrArray
from benchmark.api.handed.names import plain
from benchmark.evaluation.check import Checked


def in_one_order(methods: Mapping[str, Checked]) -> dict[str, Checked]:
    """Methods whose columns are in the order of the first that names its classes.

    Only where all name the same ones; else they stay as they are.
    """
    numbers = tuple(map(str, range(next(iter(methods.values())).test.log_probs.shape[1])))
    named = [m.test.classes for m in methods.values() if m.test.classes not in ((), numbers)]
    wanted = named[0] if named else numbers

    def ordered(p: Predictions, order: IntArray) -> Predictions:
        return dataclasses.replace(
            p,
            log_probs=p.log_probs[:, order],
            labels=np.argsort(order)[p.labels],
            classes=wanted,
            posterior=None if p.posterior is None else p.posterior[:, order],
        )

    result = {}
    for name, method in methods.items():
        own = method.test.classes or numbers
        if own != wanted and sorted(own) == sorted(wanted):
            order = np.array([own.index(c) for c in wanted])
            other = method.calibration
            method = dataclasses.replace(
                method,
                test=ordered(method.test, order),
                calibration=None if other is None else ordered(other, order),
                said=(*method.said, "columns brought into the order of the other files' classes"),
            )
        result[name] = method
    return result


def in_one_spelling(methods: Mapping[str, Checked]) -> dict[str, Checked]:
    """Methods whose images are called as by the first one that names them.

    Files are named with more or fewer folders before them, with backslashes, in another case or
    without their ending. Images are the same if one name ends with the other, and each fits one.
    """
    named = {name: m for name, m in methods.items() if len(m.test.ids)}
    result = dict(methods)
    for name, method in list(named.items())[1:]:
        first = next(iter(named.values())).test.ids.tolist()
        known, how = _matched(method.test.ids.tolist(), first)
        if how:
            result[name] = dataclasses.replace(
                method,
                test=_renamed(method.test, known),
                calibration=method.calibration and _renamed(method.calibration, known),
                said=(*method.said, f"images matched to those of the first file by {how}"),
            )
    return result


def _renamed(p: Predictions, names: Mapping[str, str]) -> Predictions:
    return dataclasses.replace(p, ids=np.array([names.get(i, i) for i in p.ids.tolist()]))


def _matched(names: Sequence[str], first: Sequence[str]) -> tuple[dict[str, str], str]:
    """What the first calls each image, and how that was found; empty where it need or can not."""
    if {*names} == {*first} or len(names) != len(first):
        return {}, ""
    for spelt, spell in {"path": _slashed, "name, whatever its case and ending": _bare}.items():
        own, theirs = ([spell(n).split("/") for n in some] for some in (names, first))
        shared = min(len(parts) for parts in own + theirs)
        for depth in range(shared, 0, -1):  # the last folders of it, and the file
            index = {tuple(parts[-depth:]): i for i, parts in enumerate(theirs)}
            places = [index.get(tuple(parts[-depth:])) for parts in own]
            if len(index) == len(theirs) and None not in places and len({*places}) == len(places):
                found = [i for i in places if i is not None]
                pairs = [(one, theirs[i]) for one, i in zip(own, found)]
                if all(one[-len(two) :] == two or two[-len(one) :] == one for one, two in pairs):
                    return {name: first[i] for name, i in zip(names, found)}, spelt
    return {}, ""


def _slashed(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/"))


def _bare(name: str) -> str:
    return "/".join(map(plain, posixpath.splitext(_slashed(name))[0].split("/")))


def same_classes(methods: Sequence[Checked]) -> tuple[str, ...]:
    """Names of the classes; their numbers where nobody says more.

    Raises:
        InputError: two name them differently.
    """
    numbers = tuple(map(str, range(methods[0].test.log_probs.shape[1])))
    named = [m for m in methods if m.test.classes not in ((), numbers)]
    for other in named[1:]:
        if other.test.classes != named[0].test.classes:
            raise InputError(
                f"{named[0].where} and {other.where} name their classes differently: "
                f"{', '.join(named[0].test.classes)} and {', '.join(other.test.classes)}"
            )
    return named[0].test.classes if named else numbers


def same_images(methods: Sequence[Checked]) -> tuple[list[StrArray], dict[str, str] | None]:
    """Names of each method's images, and the group of each image, agreed on by all.

    Predictions without names have their images in the order of the others.

    Raises:
        InputError: two are not about the same images, labels, classes or groups.
    """
    first = methods[0]
    for other in methods[1:]:
        both = f"{first.where} and {other.where}"
        (images, classes), (others, other_classes) = (
            m.test.log_probs.shape for m in (first, other)
        )
        if classes != other_classes:
            raise InputError(
                f"{both} have {classes} and {other_classes} classes: methods are compared on the "
                "same ones"
            )
        if images != others:
            raise InputError(
                f"{both} have {images} and {others} test images: methods are compared image by "
                "image, on the same ones"
            )
    ids = _ids(methods)
    _same("labels", methods, [_by_image(i, m.test.labels) for i, m in zip(ids, methods)])
    grouped = [(i, m) for i, m in zip(ids, methods) if m.test.groups is not None]
    groups = [_by_image(i, m.test.groups) for i, m in grouped]
    _same("groups", [m for _, m in grouped], groups)
    return ids, groups[0] if groups else None


def by_position(methods: Sequence[Checked]) -> list[str]:
    """What is to be said of methods whose images have no names.

    Raises:
        InputError: two hold the same column that was not read, in another order.
    """
    notes, plain = [], [m for m in methods if not len(m.test.ids)]
    if plain and len(methods) > 1:
        listed = ", ".join(str(m.where) for m in plain)
        notes.append(f"{listed}: no names of images, so they are compared by their position")
    for other in plain[1:]:
        first, both = plain[0], f"{plain[0].where} and {other.where}"
        for name in first.unread.keys() & other.unread.keys():
            one, two = (_as_names(m.unread[name]) for m in (first, other))
            if one is None or two is None or one == two:
                continue
            if sorted(one) == sorted(two):
                raise InputError(
                    f"{both} have the same {name!r} in different orders; it is not read, so that "
                    "their images would be compared by position: call it id if it names them, or "
                    "remove it"
                )
            notes.append(f"{both} differ in {name!r}, which is not read")
    return sorted(notes)


def _as_names(values: Any) -> list[str] | None:
    """What may name images: text or whole numbers."""
    if values.dtype.kind in "iu":
        return [str(value) for value in values.tolist()]
    if values.dtype.kind != "U":
        return None
    try:
        numbers = values.astype(np.float64)
    except ValueError:
        return [str(value) for value in values.tolist()]
    whole = bool((numbers == np.floor(numbers)).all())
    return [str(value) for value in values.tolist()] if whole else None


def apart(method: Checked) -> list[str]:
    """What calibration and test part share, in sentences.

    Raises:
        InputError: they share images, so that what is measured would have been fitted on.
    """
    test, other = method.test, method.calibration
    if other is None:
        return []
    here, there = method.folds or (None, None)
    by_fold = there is not None  # one fold's test image may calibrate another's
    both = _rows(test, here if by_fold else None), _rows(other, there)
    known, held_out = (Counter(rows) for rows in both)
    same = [row for row, n in held_out.items() if n == 1 and known[row] == 1]
    notes = []
    if same and len(same) >= 0.5 * min(len(known), len(held_out)):
        raise InputError(
            f"{method.where}: {len(same)} of the {len(other)} images of the calibration part have "
            "the predictions and label of one of the test part: calibrators must be fitted on "
            "other images than those that are measured"
        )
    if same:
        notes.append(
            f"{method.where}: {len(same)} images of the calibration part have exactly the "
            "predictions and label of one of the test part: they may be the same"
        )
    for what, one, two in (("names", test.ids, other.ids), ("groups", test.groups, other.groups)):
        if one is None or two is None or by_fold:
            continue
        shared = sorted(set(one.tolist()) & set(two.tolist()))
        if shared:
            notes.append(
                f"{method.where}: {len(shared)} {what} of images are in the calibration and the "
                f"test part, first {shared[0]!r}: what is calibrated may be measured too well"
            )
    return notes


def _rows(p: Predictions, folds: StrArray | None) -> list[tuple[bytes, int, str]]:
    """Each image's predictions, label and fold."""
    names = np.full(len(p), "") if folds is None else folds
    rows = np.ascontiguousarray(p.log_probs)
    return [(row.tobytes(), *more) for row, *more in zip(rows, p.labels.tolist(), names.tolist())]


def _ids(methods: Sequence[Checked]) -> list[StrArray]:
    named = [m for m in methods if len(m.test.ids)]
    if not named:
        return [np.array([f"{i:08d}" for i in range(len(m.test))]) for m in methods]
    names = named[0].test.ids
    for method in methods:
        if method not in named and not all(np.array_equal(names, m.test.ids) for m in named):
            raise InputError(
                f"{method.where} names no images, and {named[0].where} and others have theirs in "
                "different orders: add ids to it"
            )
    return [m.test.ids if m in named else names for m in methods]


def _by_image(ids: StrArray, values: Any) -> dict[str, Any]:
    return dict(zip(ids.tolist(), values.tolist()))


def _same(what: str, methods: Sequence[Checked], values: Sequence[Mapping[str, Any]]) -> None:
    """Refuse the first method that gives an image another value than the first one does."""
    for method, given in zip(methods[1:], values[1:]):
        known, both = values[0], f"{methods[0].where} and {method.where}"
        strange = next((name for name in given if name not in known), None)
        if strange is not None:
            raise InputError(
                f"{both} are not about the same images: {strange!r} is in the second alone"
            )
        wrong = [name for name in given if given[name] != known[name]]
        if wrong:
            raise InputError(
                f"{both} give different {what} to {len(wrong)} of {len(given)} images, first to "
                f"{wrong[0]!r}: {known[wrong[0]]} and {given[wrong[0]]}; both must be in the same "
                "order, or name their images in ids"
            )
