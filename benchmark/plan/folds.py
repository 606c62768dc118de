"""Cuts a data set into train, calibration and test parts: stratified, seeded, groups kept whole.

The cut depends on the data and the generator alone, so every method sees the same parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.api import PARTS, FloatArray, Images, InputError, IntArray, require

CALIBRATION_SHARE = 0.2
"""Calibration's share of what is not test. A class of six in five folds leaves four or five
images to train and calibrate on: a fifth of those is one, a tenth would be none."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The sorted indices of the images in each part of one fold; every image is in one part."""

    train: IntArray
    calibration: IntArray
    test: IntArray


@dataclass(frozen=True, eq=False)
class Split:
    """The folds, and what a reader must know about them.

    Attributes:
        folds: the parts of each fold, in order.
        notes: plain sentences, such as which class is absent from which part of which fold.
    """

    folds: tuple[Parts, ...]
    notes: tuple[str, ...]


def split(images: Images, folds: int, generator: np.random.Generator) -> Split:
    """Cut K folds; each image is in exactly one test part. An official split is ignored.

    Args:
        images: the images; ``groups`` are never divided between parts.
        folds: how many folds, two or more.
        generator: the only source of randomness.

    Raises:
        InputError: a class with fewer images than parts, or fewer groups than needed.
    """
    require(folds >= 2, f"folds={folds}: cross-validation needs at least two folds")
    _check_classes(images)
    unit = _units(images)
    groups = int(unit.max()) + 1
    what = "images" if images.groups is None else "groups"
    # With two folds, the one that is not tested must still yield train and calibration.
    least = max(folds, 4 if folds == 2 else 3)
    require(
        groups >= least,
        f"{groups} {what} do not fill {folds} folds: choose {groups} folds or fewer"
        if groups >= 4
        else f"{groups} {what} do not fill {folds} folds: at least {least} are needed",
    )
    tested_in = _deal(images.labels, unit, np.full(folds, 1 / folds), generator)
    cut = []
    for fold in range(folds):
        rest = np.flatnonzero(tested_in != fold)
        train, calibration = _cut_calibration(images, unit, rest, generator)
        cut.append(Parts(train, calibration, np.flatnonzero(tested_in == fold)))
    return Split(tuple(cut), _absences(images, cut))


def official(images: Images, generator: np.random.Generator) -> Split:
    """The official parts as one fold; where no image is official calibration, cut it from train.

    Raises:
        InputError: there is no official split, one of its parts is empty, or a class has fewer
            images than there are parts.
    """
    if images.split is None:
        raise InputError("this data set has no official split: choose how many folds")
    _check_classes(images)
    rows: list[IntArray] = [np.flatnonzero(images.split == part) for part in PARTS]
    train, calibration, test = rows
    for part, chosen in (("train", train), ("test", test)):
        require(len(chosen) > 0, f"the official split has no {part} images: choose how many folds")
    if len(calibration) == 0:
        train, calibration = _cut_calibration(images, _units(images), train, generator)
    parts = Parts(train, calibration, test)
    return Split((parts,), _absences(images, [parts]) + _shared_groups(images, parts))


def _check_classes(images: Images) -> None:
    counts = np.bincount(images.labels, minlength=len(images.classes))
    few = [f"{images.classes[c]!r} has {counts[c]}" for c in np.flatnonzero(counts < len(PARTS))]
    require(
        not few,
        f"too few images of a class: {', '.join(few)}; train, calibration and test need one "
        "each: add images, or leave out or merge the class",
    )


def _units(images: Images) -> IntArray:
    """What may not be divided, numbered from 0: the group of each image, or the image itself."""
    names = images.ids if images.groups is None else images.groups
    return np.unique(names, return_inverse=True)[1].reshape(-1)


def _cut_calibration(
    images: Images, unit: IntArray, rows: IntArray, generator: np.random.Generator
) -> tuple[IntArray, IntArray]:
    shares = np.array([1 - CALIBRATION_SHARE, CALIBRATION_SHARE])
    part = _deal(images.labels[rows], unit[rows], shares, generator)
    train, calibration = rows[part == 0], rows[part == 1]
    require(
        len(train) > 0 and len(calibration) > 0,
        f"{len(np.unique(unit[rows]))} groups cannot be shared out between train and calibration: "
        "more groups are needed, or fewer folds",
    )
    return train, calibration


def _deal(
    labels: IntArray, unit: IntArray, shares: FloatArray, generator: np.random.Generator
) -> IntArray:
    """Deal units out to parts so that every class is shared out as wanted.

    Greedy as in iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011): the rarest class
    first, its largest units first, each to the part where it lessens most the sum over parts and
    classes of (images lacking)^2 / (images wanted). While a class has only as many units left as
    there are parts without it, those parts come first.

    Args:
        labels: ``(n,)`` class of each image.
        unit: ``(n,)`` number of the unit of each image.
        shares: ``(parts,)``, wanted shares; they sum to one.
        generator: breaks ties.

    Returns:
        ``(n,)`` number of the part of each image.
    """
    number = np.unique(unit, return_inverse=True)[1].reshape(-1)
    counts = np.zeros((number.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (number, labels), 1)
    units_of_class = (counts > 0).sum(0)
    wanted = np.outer(shares, np.maximum(counts.sum(0), 1))
    lacks = wanted.copy()
    has = np.zeros(lacks.shape, dtype=bool)
    part = np.full(len(counts), -1)
    for c in np.argsort(units_of_class, kind="stable"):
        shuffled = generator.permutation(len(counts))
        mine = shuffled[(counts[shuffled, c] > 0) & (part[shuffled] < 0)]
        mine = mine[np.argsort(-counts[mine, c], kind="stable")]
        tie = generator.permutation(len(shares))
        for left, u in zip(range(len(mine), 0, -1), mine):
            last_chance = ~has[:, c] & (left <= (~has[:, c]).sum())
            relief = ((2 * lacks - counts[u]) * counts[u] / wanted).sum(1)
            chosen = np.lexsort((tie, lacks.sum(1), relief.round(9), last_chance))[-1]
            part[u] = chosen
            lacks[chosen] -= counts[u]
            has[chosen] |= counts[u] > 0
    return part[number]


def _absences(images: Images, folds: list[Parts]) -> tuple[str, ...]:
    """One sentence for each class and part that has none of it in some fold."""
    notes = []
    total = np.bincount(images.labels, minlength=len(images.classes))
    for part in PARTS:
        counts = np.stack(
            [np.bincount(images.labels[getattr(f, part)], minlength=len(total)) for f in folds]
        )
        for c in np.flatnonzero((counts == 0).any(0)):
            where = ", ".join(f"{f + 1}/{len(folds)}" for f in np.flatnonzero(counts[:, c] == 0))
            place = f" of fold {where}" if len(folds) > 1 else ""
            notes.append(
                f"class {images.classes[c]!r} ({total[c]} images) is absent from the {part} "
                f"part{place}"
            )
    return tuple(notes)


def _shared_groups(images: Images, parts: Parts) -> tuple[str, ...]:
    """Say so if the official split divides groups: its test part is then too easy."""
    if images.groups is None:
        return ()
    learnt = np.r_[parts.train, parts.calibration]
    seen = np.isin(images.groups[parts.test], images.groups[learnt])
    if not seen.any():
        return ()
    return (
        f"{100 * seen.mean():.1f} % of the official test images come from a group that is also "
        "in train or calibration: results on it are optimistic about new groups",
    )
