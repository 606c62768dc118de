"""One's own images: one folder per class."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.api import PART_NAMES, Dataset, Images, require

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}


@dataclass(frozen=True, kw_only=True)
class Folder(Dataset):
    """``PATH/CLASS/**/IMAGE``, or ``PATH/PART/CLASS/**/IMAGE`` with an official split.

    The second is understood if there are folders ``train`` and ``test`` and all others are
    ``calibration``, ``val``, ``validation``, ``valid``, ``cal`` or ``dev``.
    """

    def read(self, root: Path) -> Images:
        """The path is looked up as it is, then in the data root; classes are sorted by name."""
        require(self.argument != "", "which folder? write folder:PATH")
        given = Path(self.argument).expanduser()
        folder = given if given.is_dir() else root / given
        require(folder.is_dir(), f"no folder {given.absolute()}. {self.access}")
        tops = _folders(folder)
        official = {"train", "test"} <= {top.name for top in tops} <= set(PART_NAMES)
        where = [("", top) for top in tops]
        if official:
            where = [(PART_NAMES[part.name], top) for part in tops for top in _folders(part)]
        classes = sorted({path.name for _, path in where})
        found = [
            (part, path, classes.index(top.name))
            for part, top in where
            for path in sorted(top.rglob("*"))
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ]
        present = {label for _, _, label in found}
        empty = [name for i, name in enumerate(classes) if i not in present]
        require(not empty, f"no images in class folders {empty} of {folder}: fill or delete them")
        require(len(found) > 0, f"no class folders in {folder}. {self.access}")
        return Images(
            inputs=tuple(path for _, path, _ in found),
            labels=np.array([label for _, _, label in found]),
            classes=tuple(classes),
            ids=np.array([path.relative_to(folder).as_posix() for _, path, _ in found]),
            split=np.array([part for part, _, _ in found]) if official else None,
        )


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


DATASETS = (
    Folder(
        name="folder:",
        summary="your own images in one folder per class",
        paper="your own",
        licence="your own",
        access="Write folder:PATH, where PATH holds one folder of images per class.",
    ),
)
