"""What a data set is, and the images that it gives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.api.arrays import FloatArray, IntArray, StrArray
from benchmark.api.errors import InputError, require

PARTS = ("train", "calibration", "test")

PART_NAMES = {part: part for part in PARTS} | dict.fromkeys(
    ("val", "validation", "valid", "cal", "dev"), "calibration"
)
"""What the parts are called elsewhere, in lower case, and which part that is."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images with their labels: what a data set gives.

    Attributes:
        inputs: image files, or one uint8 array ``(n, height, width, channels)`` with one or
            three channels.
        labels: ``(n,)`` integers, indices into ``classes``.
        classes: the names of the classes.
        ids: ``(n,)`` names of the images, unique: stored with each prediction.
        groups: ``(n,)`` names of what must never be split across parts (a slide, a patient), or
            None where every image stands for itself.
        split: ``(n,)`` the official part of each image (``train``, ``calibration`` or ``test``),
            or None. Where no image is official calibration, it is cut from train.
        posterior: ``(n, classes)`` the true p(class | image), where it is known, or None.
    """

    inputs: tuple[Path, ...] | npt.NDArray[np.uint8]
    labels: IntArray
    classes: tuple[str, ...]
    ids: StrArray
    groups: StrArray | None = None
    split: StrArray | None = None
    posterior: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check that the columns fit together."""
        n = len(self.labels)
        require(n > 0, "no images: the data set is empty")
        require(len(self.classes) >= 2, f"{len(self.classes)} class: a classifier needs two")
        columns = {
            "images": self.inputs,
            "ids": self.ids,
            "groups": self.groups,
            "split": self.split,
            "posterior": self.posterior,
        }
        for name, column in columns.items():
            if column is not None:
                require(len(column) == n, f"{len(column)} {name} for {n} labels")
        bad = (self.labels < 0) | (self.labels >= len(self.classes))
        if bad.any():
            first = int(np.argmax(bad))
            raise InputError(
                f"label {self.labels[first]} of image {str(self.ids[first])!r} does not fit the "
                f"{len(self.classes)} classes: labels are integers from 0 to "
                f"{len(self.classes) - 1}"
            )
        ids, counts = np.unique(self.ids, return_counts=True)
        if len(ids) < n:
            raise InputError(f"the image id {str(ids[np.argmax(counts)])!r} occurs more than once")
        if self.split is not None:
            unknown = sorted(set(self.split.tolist()) - set(PARTS))
            require(not unknown, f"unknown parts {unknown} in the official split; use {PARTS}")


@dataclass(frozen=True)
class Archive:
    """A public archive that ``data prepare`` downloads and unpacks.

    Attributes:
        url: where it is.
        bytes: its size, if the publisher states one.
        sha256: its checksum, if the publisher states one.
    """

    url: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A source of labelled images.

    Attributes:
        name: as on the command line. A name that ends in ``:`` or ``/`` takes an argument
            (``folder:PATH``), which reaches the plug-in as :attr:`argument`.
        summary: one sentence on what it shows.
        paper: citation with an address.
        licence: on what terms it may be used.
        access: how to get it and where to put it, shown when it is missing.
        preset: the preset it runs with unless the user names one.
        archive: what ``data prepare`` downloads, if it may.
        known_counts: images of each class in each part (``all`` for the whole set), in the order
            of the classes, as published: ``data check`` compares.
        argument: what followed the name on the command line.
    """

    name: str
    summary: str
    paper: str
    licence: str
    access: str
    preset: str = "standard"
    archive: Archive | None = None
    known_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    argument: str = ""

    @abstractmethod
    def read(self, root: Path) -> Images:
        """Read the list of images under the data root, without decoding them.

        Raises:
            InputError: the data are missing (naming what to get, where, and where to put it) or
                not as expected.
        """


@dataclass(frozen=True, kw_only=True)
class SimulatedDataset(Dataset):
    """A data set without end: each fold is an independent fresh draw with its own parts."""

    @abstractmethod
    def draw(self, number: int) -> Images:
        """Draw number 0, 1, ... of train, calibration and test part; ``split`` is set."""

    def read(self, root: Path) -> Images:
        """The first draw."""
        return self.draw(0)
