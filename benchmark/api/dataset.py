"""What a data set is, and the images that it gives."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.api.arrays import FloatArray, IntArray, StrArray
from benchmark.api.errors import InputError, require

PARTS = ("train", "calibration", "test")

PART_NAMES = (
    {part: part for part in PARTS}
    | dict.fromkeys(
        ("val", "validation", "valid", "cal", "dev", "calib", "development"), "calibration"
    )
    | {"training": "train", "testing": "test"}
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
        notes: sentences on what was understood and left out: shown before a run and on its page.
    """

    inputs: tuple[Path, ...] | npt.NDArray[np.uint8]
    labels: IntArray
    classes: tuple[str, ...]
    ids: StrArray
    groups: StrArray | None = None
    split: StrArray | None = None
    posterior: FloatArray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the columns fit together."""
        n = len(self.labels)
        require(n > 0, "no images: the data set is empty")
        require(len(self.classes) >= 2, f"{len(self.classes)} class: a classifier needs two")
        if isinstance(self.inputs, np.ndarray):
            _check_pixels(self.inputs)
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


def _check_pixels(pixels: npt.NDArray[Any]) -> None:
    """Other pixels than 0 to 255 could be meant in several ways, so nothing is converted."""
    require(
        pixels.ndim == 4 and pixels.shape[3] in (1, 3),
        f"images of shape {pixels.shape}: (images, height, width, 1 or 3 channels) is expected",
    )
    if pixels.dtype != np.uint8:
        low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
        raise InputError(
            f"images of type {pixels.dtype} with values from {low} to {high}: pixels are uint8, "
            "0 to 255. Convert them as they are meant: values in 0-1 (or bool) by "
            "np.rint(x * 255).astype(np.uint8), whole values in 0-255 by x.astype(np.uint8), "
            "16 bits by (x // 257).astype(np.uint8)"
        )


@dataclass(frozen=True)
class Archive:
    """A public archive that ``data prepare`` downloads into the data set's folder.

    Attributes:
        url: where it is.
        bytes: its size, if the publisher states one.
        sha256: its checksum, if the publisher states one.
        unpack: whether it is a zip archive to unpack and delete; else it stays as it is.
    """

    url: str
    bytes: int | None = None
    sha256: str | None = None
    unpack: bool = True


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

    @property
    def seed_name(self) -> str | None:
        """From what its seeds derive: its name, or None for the content of the data."""
        return self.name

    @abstractmethod
    def read(self, root: Path) -> Images:
        """Read the list of images under the data root, without decoding or downloading them.

        Raises:
            InputError: the data are missing (naming what to get, where, and where to put it) or
                not as expected.
        """


ON_DUPLICATES = ("group", "drop", "error", "ignore")


@dataclass(frozen=True, kw_only=True)
class HandedInDataset(Dataset):
    """Images that somebody hands in: the argument is the path of a folder or a table.

    It is called after the last parts of the path, or as ``[name=...]`` says. Without such a name
    its seeds derive from the content of the data, so that what is moved or renamed keeps its fits.

    Attributes:
        on_duplicates: what is done with identical images: ``group`` (they are never divided
            between parts), ``drop`` (one is kept; none if their labels differ), ``error`` or
            ``ignore``.
        named: whether the name was given.
    """

    on_duplicates: str = "group"
    named: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked at once."""
        if self.on_duplicates not in ON_DUPLICATES:
            choices = ", ".join(ON_DUPLICATES)
            raise InputError(f"on_duplicates={self.on_duplicates}: none of {choices}")

    @property
    def seed_name(self) -> str | None:
        """The name, if it was given."""
        return self.name if self.named else None

    def place(self, root: Path) -> Path:
        """Where the argument leads: as it stands if something is there, else in the data root."""
        given = Path(self.argument).expanduser()
        return given if given.exists() else root / given

    def short(self, argument: str) -> str:
        """What a path is called, however it is typed."""
        return Path(os.path.abspath(Path(argument).expanduser())).name


@dataclass(frozen=True, kw_only=True)
class SimulatedDataset(Dataset):
    """A data set without end: each fold is an independent fresh draw with its own parts."""

    @abstractmethod
    def draw(self, number: int) -> Images:
        """Draw number 0, 1, ... of train, calibration and test part; ``split`` is set."""

    def read(self, root: Path) -> Images:
        """The first draw."""
        return self.draw(0)
