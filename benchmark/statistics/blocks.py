"""Blocks: which predictions may be compared, paired image by image."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from benchmark.api import BlockKey, InputError, IntArray, Predictions, fold_scheme

KEY = BlockKey._fields

Replicate = tuple[str, int]
T = TypeVar("T", str, int)


def place(predictions: Predictions) -> tuple[BlockKey, str, int, tuple[int, str]]:
    """Sort key: block, method, seed, fold in its natural order."""
    origin = predictions.origin
    numbers = re.findall(r"\d+", origin.fold)
    first = int(numbers[0]) if numbers else 0
    return (origin.block, origin.method, origin.seed, (first, origin.fold))


def ordered(predictions: Iterable[Predictions], seed: int = 0) -> list[Predictions]:
    """In the fixed order of every table.

    Args:
        predictions: of any methods, data sets and replicates.
        seed: where the random draws of their noise floors start.

    Raises:
        InputError: the same replicate of a method occurs twice, or a fold's name is unknown.
    """
    arranged = sorted(predictions, key=place)
    for one, other in pairwise(arranged):
        if place(one) == place(other):
            raise InputError(f"there are two predictions of {one.origin}: give each once")
    return [p if p.draw_seed == seed else replace(p, draw_seed=seed) for p in arranged]


def join_folds(folds: Sequence[Predictions]) -> Predictions:
    """All test images of one method and seed, every image once, sorted by name.

    The same folds give the same object, so that nothing is measured twice.

    Raises:
        InputError: an image occurs in two folds.
    """
    joined = folds[0].once(_joined)
    key = tuple(folds)
    if key not in joined:
        joined[key] = _join(key)
    return joined[key]


def _joined(first: Predictions) -> dict[tuple[Predictions, ...], Predictions]:
    """What was joined with these predictions."""
    return {}


def _join(folds: tuple[Predictions, ...]) -> Predictions:
    first = folds[0]
    draws = fold_scheme(first.origin.fold) == "draws"

    def named(p: Predictions, names: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
        # Independent draws are other images, and other groups, under the same names.
        return np.char.add(f"{p.origin.fold}:", names) if draws else names

    ids = np.concatenate([named(p, p.ids.astype(str)) for p in folds])
    order = np.argsort(ids, kind="stable")
    again = ids[order][1:] == ids[order][:-1]
    if again.any():
        raise InputError(
            f"image {str(ids[order][1:][again][0])!r} is in more than one test part of "
            f"{first.origin.method}, {first.origin.dataset}, seed {first.origin.seed}: folds must "
            "not overlap"
        )
    pooled = replace(first.origin, fold="pooled")
    if len(folds) == 1 and np.array_equal(order, np.arange(len(ids))) and not draws:
        # The same in all but its name: it shares what was computed already.
        alone = copy.copy(first)
        object.__setattr__(alone, "origin", pooled)
        return alone
    groups = None
    if first.groups is not None:
        parts = [named(p, p.groups.astype(str)) for p in folds if p.groups is not None]
        groups = np.concatenate(parts)[order]
    posterior = None
    if first.posterior is not None:
        parts_known = [p.posterior for p in folds if p.posterior is not None]
        posterior = np.concatenate(parts_known)[order]
    return replace(
        first,
        origin=pooled,
        ids=ids[order],
        labels=np.concatenate([p.labels for p in folds])[order],
        log_probs=np.concatenate([p.log_probs for p in folds])[order],
        groups=groups,
        posterior=posterior,
    )


def expected(present: Iterable[Replicate]) -> set[Replicate]:
    """The replicates of a complete method: every fold of the scheme for every seed seen."""
    present = set(present)
    folds = {fold for fold, _ in present}
    for fold in list(folds):
        if match := re.fullmatch(r"\d+/(\d+)", fold):
            folds |= {f"{i}/{match[1]}" for i in range(1, int(match[1]) + 1)}
    return {(fold, seed) for fold in folds for seed in {seed for _, seed in present}}


def shared(present: Mapping[str, set[Replicate]]) -> set[Replicate]:
    """The replicates that are compared: those of a method that has what most methods have.

    Folds are all of their scheme; of independent draws those that most methods have. Seeds join,
    the commonest first, as long as more than half of the methods have every fold of all of them.

    Args:
        present: what each method has.
    """
    folds = {fold for fold, _ in expected(set().union(*present.values()))}
    if fold_scheme(min(folds)) == "draws":
        folds = _most(folds, {m: {fold for fold, _ in has} for m, has in present.items()})
    complete = {
        method: {seed for _, seed in has if all((fold, seed) in has for fold in folds)}
        for method, has in present.items()
    }
    complete = {method: seeds for method, seeds in complete.items() if seeds}
    if not complete:
        return expected(set().union(*present.values()))
    return {
        (fold, seed) for seed in _most(set().union(*complete.values()), complete) for fold in folds
    }


def _most(items: set[T], present: Mapping[str, set[T]]) -> set[T]:
    """The commonest item, and all others that leave more than half of the methods with all."""
    count = {item: sum(item in has for has in present.values()) for item in items}
    order = sorted(items, key=lambda item: (-count[item], item))
    kept = set(order[:1])
    for item in order[1:]:
        if 2 * sum(kept | {item} <= has for has in present.values()) > len(present):
            kept.add(item)
    return kept


@dataclass(frozen=True, eq=False)
class Block:
    """Complete methods on one data set and backbone, with the same replicates and images.

    Attributes:
        key: preset, data set, backbone, scheme of folds.
        methods: the complete ones, in order.
        replicates: fold and seed of each replicate, in order.
        samples: for each method its predictions of all folds together, one a seed, images in
            the same order.
        images: how many test images (of all folds).
        groups: ``(images,)`` codes of what hangs together, or None.
        posterior: whether the true probabilities are known.
        parts: for each method its predictions of each replicate, in their order.
    """

    key: BlockKey
    methods: tuple[str, ...]
    replicates: tuple[Replicate, ...]
    samples: dict[str, tuple[Predictions, ...]]
    images: int
    groups: IntArray | None
    posterior: bool
    parts: dict[str, tuple[Predictions, ...]] = field(default_factory=dict)

    def only(self, methods: Sequence[str]) -> Block:
        """The same with fewer methods."""
        samples = {method: self.samples[method] for method in methods}
        parts = {method: self.parts[method] for method in methods}
        return replace(self, methods=tuple(methods), samples=samples, parts=parts)

    @property
    def label(self) -> str:
        """Data set and backbone, for sentences."""
        preset, dataset, backbone, folds = self.key
        return f"{dataset}, {backbone} ({preset}, {folds})"

    @cached_property
    def seeds(self) -> int:
        """How many seeds there are."""
        return len({seed for _, seed in self.replicates})

    @cached_property
    def units(self) -> IntArray:
        """``(images,)`` the unit that each image is resampled with: its group, or itself."""
        return np.arange(self.images) if self.groups is None else self.groups


def by_block(predictions: Iterable[Predictions]) -> dict[BlockKey, list[Predictions]]:
    """The predictions of each block, blocks in the order of the tables.

    Raises:
        InputError: a fold's name is unknown.
    """
    blocks: dict[BlockKey, list[Predictions]] = {}
    for p in predictions:
        blocks.setdefault(p.origin.block, []).append(p)
    return dict(sorted(blocks.items()))


def joined_seeds(arranged: Sequence[Predictions]) -> Iterator[Predictions]:
    """All test images together of each method and seed of which no fold is missing.

    Args:
        arranged: of one block or several, in the fixed order.
    """

    def place(p: Predictions) -> tuple[object, ...]:
        return (p.origin.block, p.origin.method, p.origin.seed)

    for _, folds in groupby(arranged, place):
        together = list(folds)
        present = {p.origin.replicate for p in together}
        if present == expected(present):
            yield join_folds(together)


def build(predictions: Sequence[Predictions]) -> tuple[Block | None, list[str]]:
    """The complete methods of one block.

    Args:
        predictions: of the block, in the fixed order.

    Returns:
        The block, or None where no method is complete; and a sentence on every method that is
        left out because it lacks replicates, and on the replicates that most methods lack.

    Raises:
        InputError: methods differ in their test images or labels.
    """
    key = predictions[0].origin.block
    present: dict[str, set[Replicate]] = {}
    for p in predictions:
        present.setdefault(p.origin.method, set()).add(p.origin.replicate)
    needed = shared(present)
    where = f"{key.dataset}, {key.backbone} ({key.preset}, {key.folds})"
    extra = [p for p in predictions if p.origin.replicate not in needed]
    notes = []
    if extra:
        names = sorted({f"fold {p.origin.fold} of seed {p.origin.seed}" for p in extra})
        notes.append(f"{where}: {', '.join(names)} left out, since most methods lack it.")
    parts: dict[str, tuple[Predictions, ...]] = {}
    for method in present:
        replicates = tuple(
            p for p in predictions if p.origin.method == method and p.origin.replicate in needed
        )
        if len(replicates) == len(needed):
            parts[method] = replicates
        else:
            notes.append(
                f"{method} is left out of {where}: it has {len(replicates)} of {len(needed)} "
                "replicates."
            )
    if not parts:
        return None, notes
    samples = {
        method: tuple(
            join_folds(list(folds)) for _, folds in groupby(listed, lambda p: p.origin.seed)
        )
        for method, listed in parts.items()
    }
    first = next(iter(samples.values()))[0]
    for seeds in samples.values():
        for p in seeds:
            _check_paired(first, p)
    block = Block(
        key=key,
        methods=tuple(parts),
        replicates=tuple(p.origin.replicate for p in next(iter(parts.values()))),
        samples=samples,
        images=len(first.labels),
        groups=first.group_codes,
        posterior=first.posterior is not None,
        parts=parts,
    )
    return block, notes


def _check_paired(one: Predictions, other: Predictions) -> None:
    where = f"{one.origin} and {other.origin}"
    if not np.array_equal(one.ids, other.ids):
        raise InputError(
            f"{where} were tested on different images: methods are compared image by image, so "
            "make both from the same test parts, or name the data sets differently"
        )
    if not np.array_equal(one.labels, other.labels):
        wrong = int(np.argmax(one.labels != other.labels))
        raise InputError(f"{where} give image {str(one.ids[wrong])!r} different labels: mend one")
    groups = [np.zeros(0) if p.groups is None else p.groups for p in (one, other)]
    if not np.array_equal(groups[0], groups[1]) or (one.posterior is None) != (
        other.posterior is None
    ):
        raise InputError(f"{where} disagree on groups or true probabilities: give both the same")
