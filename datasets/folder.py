"""One's own images: one folder per class, perhaps within parts (docs/data.md)."""

from dataclasses import dataclass
from pathlib import Path

from benchmark.api import HandedInDataset, Images, InputError
from benchmark.api.handed.folders import read_folder


@dataclass(frozen=True, kw_only=True)
class Folder(HandedInDataset):
    """``PATH/CLASS/**/IMAGE``, or ``PATH/PART/CLASS/**/IMAGE`` with an official split.

    Parts are named train, val, test, or as usual (Training, TEST, valid, dev). ``layout``
    (``classes``, ``parts``, ``inner``) says what the outermost folders are where that is not
    certain, ``similar`` (``merge``, ``keep``) what classes are whose names are alike.
    """

    layout: str = ""
    similar: str = ""

    def read(self, root: Path) -> Images:
        """The path is looked up as it is, then in the data root; classes are sorted by name."""
        if not self.argument:
            raise InputError("which folder? write folder:PATH")
        folder = self.place(root)
        if not folder.is_dir():
            raise InputError(f"no folder {Path(self.argument).absolute()}. {self.access}")
        return read_folder(folder, self.layout, self.similar)


DATASETS = (
    Folder(
        name="folder:",
        summary="your own images in one folder per class",
        paper="your own",
        licence="your own",
        access="Write folder:PATH, where PATH holds one folder of images per class.",
    ),
)
