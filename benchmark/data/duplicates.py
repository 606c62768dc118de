"""Images that occur more than once: byte for byte, or nearly (another size or encoding)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmark.api import PARTS, Images, InputError, IntArray
from benchmark.data import Advance, decode
from benchmark.data.images import file_hashes, in_threads

_SHOWN = 3
_NEAR_LIMIT = 60_000
_NEAR_MEAN = 2.5
_NEAR_SHAPE = 0.995
_FLAT = 4.0


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Sets of images that are the same.

    Attributes:
        sets: rows of the images of each set, two or more.
        images: that they are rows of.
        word: ``identical``, or how alike they are.
    """

    sets: tuple[IntArray, ...]
    images: Images
    word: str = "identical"

    def conflicting(self) -> list[IntArray]:
        """The sets with several labels."""
        return [rows for rows in self.sets if len(np.unique(self.images.labels[rows])) > 1]

    def across(self) -> list[IntArray]:
        """The sets in several official parts."""
        split = self.images.split
        return [] if split is None else [r for r in self.sets if len(np.unique(split[r])) > 1]

    def notes(self, shown: int | None = _SHOWN) -> list[str]:
        """Sentences with files: across parts, with several labels, and within a class."""
        if not self.sets:
            return []
        split, labels = self.images.split, self.images.labels
        number = sum(map(len, self.sets))
        notes = [
            f"{number} of {len(labels)} images are {self.word} to others ({len(self.sets)} sets)"
        ]
        across, conflicting = self.across(), self.conflicting()
        if split is not None and across:
            leaked = sum((split[rows] == "test").sum() for rows in across)
            tested = (split == "test").sum()
            effect = "no test image is among them"
            if leaked:
                effect = f"{leaked} of {tested} test images are among them: as long as they stay "
                effect += "there, results on the official test part are too good"
            notes.append(
                f"{len(across)} sets of {self.word} images lie in several parts; {effect}. "
                f"{self._files(across, shown)}"
            )
        if conflicting:
            notes.append(
                f"{len(conflicting)} sets of {self.word} images have several labels: "
                f"{self._files(conflicting, shown, with_class=True)}"
            )
        told = {id(rows) for rows in (*across, *conflicting)}
        rest = [rows for rows in self.sets if id(rows) not in told]
        if rest:
            notes.append(
                f"{len(rest)} sets of {self.word} images lie within a class"
                f"{'' if split is None else ' and part'}: {self._files(rest, shown)}"
            )
        return notes

    def _files(self, sets: Sequence[IntArray], shown: int | None, with_class: bool = False) -> str:
        def name(row: int) -> str:
            label = self.images.classes[self.images.labels[row]]
            return f"{self.images.ids[row]}{f' ({label})' if with_class else ''}"

        told = "; ".join(" = ".join(map(name, rows)) for rows in sets[:shown])
        more = 0 if shown is None else len(sets) - shown
        return told + (f"; and {more} more sets" if more > 0 else "")


def identical(
    images: Images, cache: Path | None = None, progress: Advance | None = None
) -> Duplicates:
    """Images with the same bytes (files) or pixels (arrays).

    Raises:
        InputError: files cannot be read.
    """
    if isinstance(images.inputs, np.ndarray):
        hashes = [hashlib.sha256(np.ascontiguousarray(x).data).hexdigest() for x in images.inputs]
    else:
        hashes = file_hashes(images.inputs, cache, progress)
    first: dict[str, int] = {}
    pairs = [(first.setdefault(key, row), row) for row, key in enumerate(hashes)]
    return Duplicates(_joined(len(hashes), [pair for pair in pairs if pair[0] != pair[1]]), images)


def treat(
    images: Images, how: str, cache: Path | None = None, progress: Advance | None = None
) -> Images:
    """Images with what is to be done with identical ones done, and notes on it.

    Args:
        images: as they were read.
        how: ``group``: identical images, and the groups they are in, become one group; ``drop``:
            of each set one stays, of the test part if there is one there, and none if their labels
            differ; ``error``; ``ignore``.
        cache: where hashes of files are remembered.
        progress: told how many files are read.

    Raises:
        InputError: there are identical images, and how is ``error``; or files cannot be read.
    """
    return treated(identical(images, cache, progress), how)


def treated(found: Duplicates, how: str) -> Images:
    """As :func:`treat`, of identical images that are known."""
    images = found.images
    if not found.sets:
        return dataclasses.replace(images, notes=(*images.notes, "no two images are identical"))
    notes = found.notes()
    if how == "error":
        raise InputError("\n".join([*found.notes(None), "on_duplicates=error refuses them"]))
    if how == "ignore":
        done = "nothing is done about identical images (on_duplicates=ignore)"
        return dataclasses.replace(images, notes=(*images.notes, *notes, done))
    if how == "drop":
        return _dropped(images, found, (*images.notes, *notes))
    names = (images.ids if images.groups is None else images.groups).tolist()
    unit = np.unique(names, return_inverse=True)[1].reshape(-1)
    links = [(unit[a], unit[b]) for rows in found.sets for a, b in pairwise(rows)]
    united = _joined(int(unit.max()) + 1, links)
    lowest = {u: min(units) for units in united for u in units}
    first: dict[int, str] = {}
    groups = [first.setdefault(lowest.get(u, u), name) for u, name in zip(unit, names)]
    done = "identical images share a group, so that no fold divides them (on_duplicates=group)"
    if found.across():
        done += "; the official parts stay as they are: [on_duplicates=drop] mends them"
    return dataclasses.replace(images, groups=np.array(groups), notes=(*images.notes, *notes, done))


def _dropped(images: Images, found: Duplicates, notes: tuple[str, ...]) -> Images:
    keep = np.ones(len(images.labels), dtype=bool)
    conflicting = {id(rows) for rows in found.conflicting()}
    for rows in found.sets:
        keep[rows] = False
        if id(rows) not in conflicting:
            parts = ["test"] * len(rows) if images.split is None else images.split[rows].tolist()
            keep[max(zip(rows, parts), key=lambda pair: (PARTS.index(pair[1]), -pair[0]))[0]] = True
    done = (
        f"{(~keep).sum()} images are dropped (on_duplicates=drop): of each set one stays, of the "
        "test part if it is there; of sets with several labels none"
    )
    columns = {
        name: None if (column := getattr(images, name)) is None else column[keep]
        for name in ("labels", "ids", "groups", "split", "posterior")
    }
    inputs = images.inputs
    kept = inputs[keep] if isinstance(inputs, np.ndarray) else tuple(
        path for path, stays in zip(inputs, keep) if stays
    )  # fmt: skip
    return dataclasses.replace(images, inputs=kept, notes=(*notes, done), **columns)  # type: ignore[arg-type]


def look(
    images: Images, progress: Advance | None = None
) -> tuple[list[InputError], list[str], Duplicates | None]:
    """Decode everything.

    Returns:
        What is wrong with each file that cannot be used; sentences on what the others are; and the
        images that look the same though their bytes differ, if there are not too many to compare.
    """
    inputs = images.inputs
    if isinstance(inputs, np.ndarray):
        pixels = (Image.fromarray(x.squeeze(-1) if x.shape[2] == 1 else x) for x in inputs)
        small = np.array([decode.thumbnail(image) for image in pixels])
        return (
            [],
            [f"an array of {inputs.shape[1]} x {inputs.shape[2]} pixels"],
            near(images, small),
        )
    looks = list(in_threads(_look, inputs, progress))
    problems = [one for one in looks if isinstance(one, InputError)]
    good = [one for one in looks if not isinstance(one, InputError)]
    return problems, _kinds([h for h, _ in good]), (
        None if problems or not good else near(images, np.array([small for _, small in good]))
    )  # fmt: skip


def _look(path: Path) -> tuple[decode.Header, npt.NDArray[np.float32]] | InputError:
    try:
        header = decode.header(path)
        with decode.decoded(path, "RGB") as image:
            return header, decode.thumbnail(image)
    except InputError as error:
        return error


def _kinds(headers: Sequence[decode.Header]) -> list[str]:
    """What the files are: kinds of pixels, sizes, and what was turned."""
    if not headers:
        return []
    modes, counts = np.unique([header.mode for header in headers], return_counts=True)
    told = ", ".join(f"{n} {mode}" for n, mode in sorted(zip(counts, modes), reverse=True))
    grey = all(header.mode in decode.GREY_MODES for header in headers)
    sizes = np.array([header.size for header in headers])
    low, high = sizes.min(0), sizes.max(0)
    size = f"{low[0]} x {low[1]}" + ("" if (low == high).all() else f" to {high[0]} x {high[1]}")
    notes = [f"pixels: {told}, read as {'grey' if grey else 'RGB'}; {size} pixels"]
    if hidden := sum(header.mode in ("RGBA", "LA", "PA") for header in headers):
        notes.append(f"{hidden} images with transparency, which is ignored")
    if turned := sum(header.turned != 1 for header in headers):
        notes.append(f"{turned} images are turned upright, as their EXIF data say")
    return notes


def near(images: Images, small: npt.NDArray[np.float32]) -> Duplicates | None:
    """Images whose 8 x 8 thumbnails are the same but for what another encoding changes.

    Args:
        images: the images.
        small: ``(n, 64)`` their thumbnails.
    """
    if len(small) > _NEAR_LIMIT:
        return None
    centred = small - small.mean(1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1)
    rows = np.flatnonzero(norm / 8 > _FLAT)  # what is nearly flat looks like all that is
    unit = (centred[rows] / norm[rows, None]).astype(np.float32)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(rows), 1024):
        close = unit[start : start + 1024] @ unit[start:].T > _NEAR_SHAPE
        for a, b in zip(*np.nonzero(np.triu(close, 1))):
            one, other = rows[start + a], rows[start + b]
            if np.abs(small[one] - small[other]).mean() < _NEAR_MEAN:
                pairs.append((int(one), int(other)))
    return Duplicates(_joined(len(small), pairs), images, "nearly identical")


def without(found: Duplicates, others: Duplicates) -> Duplicates:
    """The sets that are not among others."""
    known = [set(rows.tolist()) for rows in others.sets]
    kept = [rows for rows in found.sets if not any(set(rows.tolist()) <= other for other in known)]
    return dataclasses.replace(found, sets=tuple(kept))


def _joined(n: int, pairs: Sequence[tuple[int, int]]) -> tuple[IntArray, ...]:
    """Numbers that pairs connect, each set in order."""
    if not pairs:
        return ()
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = np.array(pairs).T
    number, member = connected_components(coo_array((np.ones(len(one)), (one, other)), (n, n)))
    order = np.argsort(member, kind="stable")
    sets = np.split(order, np.cumsum(np.bincount(member, minlength=number))[:-1])
    return tuple(sorted((rows for rows in sets if len(rows) > 1), key=lambda rows: int(rows[0])))
