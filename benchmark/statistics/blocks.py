"""Blocks: which predictions may be compared, paired image by image."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import numpy as np

from benchmark.api import BlockKey, Floats, InputError, IntArray, Predictions, fold_scheme
from benchmark.measures.bins import Bins

KEY = BlockKey._fields

Replicate = tuple[str, int]
BinsOf = Callable[[Predictions], Bins]
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
        replicates: fold and seed of each replicate: all folds of the first seed, then of the next.
        parts: for each method its predictions of each replicate, in their order.
    """

    key: BlockKey
    methods: tuple[str, ...]
    replicates: tuple[Replicate, ...]
    parts: dict[str, tuple[Predictions, ...]]
    _bins: dict[tuple[str, BinsOf], list[Bins]] = field(default_factory=dict, repr=False)

    def only(self, methods: Sequence[str]) -> Block:
        """The same with fewer methods."""
        parts = {method: self.parts[method] for method in methods}
        return replace(self, methods=tuple(methods), parts=parts, _bins={})

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
    def folds(self) -> int:
        """How many folds, or independent draws, there are."""
        return len(self.replicates) // self.seeds

    @property
    def independent(self) -> int:
        """How many replicates are independent: folds; seeds where all are tested on one part."""
        return self.folds if self.folds > 1 else self.seeds

    def by_seed(self, method: str) -> list[tuple[Predictions, ...]]:
        """For each seed a method's predictions of all folds: together every test image once."""
        parts = self.parts[method]
        return [parts[i : i + self.folds] for i in range(0, len(parts), self.folds)]

    def bins(self, method: str, of: BinsOf) -> list[Bins]:
        """For each seed the bins of a method's networks, those of all folds side by side."""
        if (method, of) not in self._bins:
            self._bins[method, of] = [
                Bins.beside([p.once(of) for p in folds], self.groups)
                for folds in self.by_seed(method)
            ]
        return self._bins[method, of]

    def over_folds(self, values: Floats) -> Floats:
        """The mean over folds ``(..., folds)``, each counted by its test images."""
        return np.asarray(values @ (self.sizes / self.images))

    @cached_property
    def sizes(self) -> IntArray:
        """``(folds,)`` test images of each."""
        return np.array([len(p) for p in self.by_seed(self.methods[0])[0]])

    @property
    def images(self) -> int:
        """How many test images there are, of all folds."""
        return int(self.sizes.sum())

    @cached_property
    def groups(self) -> IntArray | None:
        """``(images,)`` codes 0, 1, ... of what hangs together, fold after fold, or None.

        Independent draws are other images, and other groups, under the same names.
        """
        draws = self.key.folds == "draws"
        names = []
        for p in self.by_seed(self.methods[0])[0]:
            if p.groups is None:
                return None
            own = p.groups.astype(str)
            names.append(np.char.add(f"{p.origin.fold}:", own) if draws else own)
        codes: IntArray = np.unique(np.concatenate(names), return_inverse=True)[1].reshape(-1)
        return codes

    @cached_property
    def units(self) -> IntArray:
        """``(images,)`` the unit that each image is resampled with: its group, or itself."""
        return np.arange(self.images) if self.groups is None else self.groups

    @property
    def posterior(self) -> bool:
        """Whether the true probabilities are known."""
        return self.parts[self.methods[0]][0].posterior is not None


def by_block(predictions: Iterable[Predictions]) -> dict[BlockKey, list[Predictions]]:
    """The predictions of each block, blocks in the order of the tables.

    Raises:
        InputError: a fold's name is unknown.
    """
    blocks: dict[BlockKey, list[Predictions]] = {}
    for p in predictions:
        blocks.setdefault(p.origin.block, []).append(p)
    return dict(sorted(blocks.items()))


def build(predictions: Sequence[Predictions]) -> tuple[Block | None, list[str]]:
    """The complete methods of one block.

    Args:
        predictions: of the block, in the fixed order.

    Returns:
        The block, or None where no method is complete; and a sentence on every method that is
        left out because it lacks replicates, and on the replicates that most methods lack.

    Raises:
        InputError: methods differ in their test images or labels, or folds share images.
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
    first = next(iter(parts.values()))
    _check_once(first)
    seeds = len({p.origin.seed for p in first})
    once = first[: len(first) // seeds]
    for others in parts.values():
        for one, other in zip(once * seeds, others, strict=True):
            _check_paired(one, other)
    needed_in_order = tuple(p.origin.replicate for p in first)
    return Block(key=key, methods=tuple(parts), replicates=needed_in_order, parts=parts), notes


def _check_once(replicates: Sequence[Predictions]) -> None:
    first = replicates[0].origin
    if fold_scheme(first.fold) == "draws":
        return  # other images under the same names
    ids = np.sort(np.concatenate([p.ids for p in replicates if p.origin.seed == first.seed]))
    again = ids[1:][ids[1:] == ids[:-1]]
    if len(again):
        raise InputError(
            f"image {str(again[0])!r} is in more than one test part of {first.method}, "
            f"{first.dataset}, seed {first.seed}: folds must not overlap"
        )


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
