"""The material of fits, laid out in files: what travels to a worker is where they are.

A worker opens the files by itself, each once; images are mapped into memory, so that all workers
of a machine share them.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from benchmark.api import FloatArray, Images, IntArray, StrArray
from benchmark.plan.cells import Fit
from benchmark.plan.folds import Parts


@dataclass(frozen=True)
class Place:
    """Where the material of one task lies.

    Attributes:
        images: an ``.npy`` file, ``(n, channels, height, width)`` uint8.
        columns: an ``.npz`` file of labels, ids, groups, posterior, classes and parts.
    """

    images: Path
    columns: Path


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """All that a worker needs to make a fit: a few kilobytes, for arrays lie in files.

    Attributes:
        fit: what to train.
        place: of the images.
        weights_file: local pretrained weights, if any.
        device: ``cpu`` or ``cuda``.
        fits_at_once: up to how many fits share the machine; recorded beside the costs.
        decode_seconds: that decoding the images took in this run, or finding them decoded.
    """

    fit: Fit
    place: Place
    weights_file: Path | None
    device: str
    fits_at_once: int
    decode_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """The images of one task, opened.

    Attributes:
        images: ``(n, channels, height, width)`` uint8, memory-mapped.
        labels: ``(n,)``.
        classes: names of the classes.
        ids: ``(n,)``.
        groups: ``(n,)`` or None.
        posterior: ``(n, classes)`` or None.
        parts: indices of the train, calibration and test part.
    """

    images: npt.NDArray[np.uint8]
    labels: IntArray
    classes: tuple[str, ...]
    ids: StrArray
    groups: StrArray | None
    posterior: FloatArray | None
    parts: Parts


def lay_out(
    folder: Path, name: str, pixels: npt.NDArray[np.uint8], images: Images, parts: Parts
) -> Place:
    """Write the material of a task into a folder; images that lie in a file already stay there.

    Args:
        folder: of this run.
        name: of the files.
        pixels: ``(n, channels, height, width)`` uint8.
        images: their labels, ids, groups and posterior.
        parts: of this task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    where = getattr(pixels, "filename", None)
    if where is None:
        where = folder / f"{name}.npy"
        np.save(where, pixels)
    columns: dict[str, Any] = {
        "labels": images.labels,
        "classes": np.array(images.classes),
        "ids": images.ids,
        "train": parts.train,
        "calibration": parts.calibration,
        "test": parts.test,
    }
    columns |= {
        column: values
        for column in ("groups", "posterior")
        if (values := getattr(images, column)) is not None
    }
    np.savez(folder / f"{name}.npz", **columns)
    return Place(Path(where), folder / f"{name}.npz")


@functools.lru_cache(maxsize=2)
def opened(place: Place) -> Material:
    """The material of a place; the last ones stay open in this process."""
    with np.load(place.columns, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files}
    parts = Parts(*(columns[part] for part in ("train", "calibration", "test")))
    return Material(
        images=np.load(place.images, mmap_mode="r", allow_pickle=False),
        labels=columns["labels"],
        classes=tuple(columns["classes"].tolist()),
        ids=columns["ids"],
        groups=columns.get("groups"),
        posterior=columns.get("posterior"),
        parts=parts,
    )


RUN = "run-"
"""How the folders of runs begin, within a cache."""


@contextlib.contextmanager
def run_folder(cache: Path) -> Iterator[Path]:
    """A folder for the material of one run, locked and at the end removed.

    What killed runs left in the cache is removed, too: nobody locks it.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as run:
        # One at a time: a folder that is not locked yet looks like one that was left.
        with FileLock(cache / ".runs.lock"):
            for left in cache.glob(f"{RUN}*"):
                with contextlib.suppress(OSError, Timeout), FileLock(left / _LOCK, timeout=0):
                    shutil.rmtree(left)
            made = tempfile.TemporaryDirectory(prefix=RUN, dir=cache.absolute())
            folder = Path(run.enter_context(made))
            run.enter_context(FileLock(folder / _LOCK))
        yield folder


_LOCK = ".lock"
