"""Read the data sets, and cut them into the replicates of a plan."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmark.api import PARTS, Dataset, HandedInDataset, Images, InputError, SimulatedDataset
from benchmark.data import images as decoded
from benchmark.data.duplicates import treat
from benchmark.plan import folds
from benchmark.plan.presets import Preset
from benchmark.plan.seeding import derive
from benchmark.running.request import Request


@dataclass(frozen=True, eq=False)
class Cut:
    """One replicate of a data set: its images, and which are for what.

    Attributes:
        fold: its name.
        seed: its number.
        images: of all parts.
        fingerprint: of the data.
        parts: which images are for what.
        notes: what was understood, and what a reader must know of the split.
    """

    fold: str
    seed: int
    images: Images
    fingerprint: str
    parts: folds.Parts
    notes: tuple[str, ...]


def replicates(request: Request, dataset: Dataset, preset: Preset) -> list[Cut]:
    """All replicates of a data set.

    Raises:
        InputError: the data are missing, wrong, or cannot be cut as asked for.
    """
    fingerprints: dict[int, str] = {}
    cuts = []
    try:
        for fold, seed, images, split in _splits(request, dataset, preset):
            if id(images) not in fingerprints:
                fingerprints[id(images)] = decoded.fingerprint(images, request.cache)
            fingerprint = fingerprints[id(images)]
            notes = (*images.notes, *split.notes)
            cuts.append(Cut(fold, seed, images, fingerprint, split.folds[0], notes))
    except InputError as error:
        raise InputError(f"data set {dataset.name}: {error}") from error
    except (ValueError, LookupError, OSError, zlib.error) as error:
        raise InputError(
            f"data set {dataset.name} cannot be read: {type(error).__name__}: {error}"
        ) from error
    return cuts


def _splits(
    request: Request, dataset: Dataset, preset: Preset
) -> Iterator[tuple[str, int, Images, folds.Split]]:
    scheme = request.folds or preset.folds
    seeds = range(request.seeds or preset.seeds)
    if isinstance(dataset, SimulatedDataset):
        for number in range(scheme if isinstance(scheme, int) else 1):
            drawn = dataset.draw(number)
            split = folds.official(drawn, np.random.default_rng(0))
            yield from ((f"draw-{number + 1}", seed, drawn, split) for seed in seeds)
        return
    images = dataset.read(request.data_root)
    if isinstance(dataset, HandedInDataset):
        images = treat(images, dataset.on_duplicates, request.cache)
        images = _with_note_on_split(images, scheme)
    name = dataset.seed_name or decoded.fingerprint(images, request.cache)
    for seed in seeds:
        if isinstance(scheme, int):
            generator = np.random.default_rng(derive(name, scheme, seed))
            split = folds.split(images, scheme, generator)
            for number, parts in enumerate(split.folds, 1):
                yield f"{number}/{scheme}", seed, images, folds.Split((parts,), split.notes)
        else:
            generator = np.random.default_rng(derive(name, "official"))
            yield "official", seed, images, folds.official(images, generator)


def _with_note_on_split(images: Images, scheme: int | str) -> Images:
    """Images with a sentence on whether the split that came with them is used."""
    if images.split is None:
        return images
    sizes = ", ".join(f"{(images.split == part).sum()} {part}" for part in PARTS)
    note = f"the split that came with the data is used: {sizes}"
    if not (images.split == "calibration").any():
        note += "; calibration is cut from train"
    if isinstance(scheme, int):
        how = "choose the folds `official` to use it"
        if not (images.split == "test").any():
            how = "it has no test part; call the part that is for testing so to use it"
        note = (
            f"the split that came with the data ({sizes}) is NOT used: {scheme} folds mix its "
            f"parts; {how}"
        )
    return dataclasses.replace(images, notes=(*images.notes, note))
