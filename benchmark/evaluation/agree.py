"""Brings methods together: they must be about the same images, classes, labels and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmark.api import InputError, StrArray
from benchmark.evaluation.check import Checked


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
                f"{named[0].where} and {other.where} name their classes differently, or in "
                "another order"
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
