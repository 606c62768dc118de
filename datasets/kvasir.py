"""HyperKvasir's labelled images: 23 findings of the gastrointestinal tract, long-tailed."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.api import Archive, Dataset, Images, InputError, IntArray, StrArray, require

# What `data prepare` makes first, then what unpacking by hand leaves.
FOLDERS = ("kvasir/labeled-images", "kvasir", "labeled-images", "hyper-kvasir/labeled-images")
URL = "https://datasets.simula.no/downloads/hyper-kvasir/hyper-kvasir-labeled-images.zip"
COUNTS = {
    "train": (25, 31, 388, 689, 605, 602, 593, 242, 156, 4, 5, 79, 617, 599, 235, 458, 21, 121,
              7, 266, 16, 79, 560),
    "calibration": (8, 11, 129, 230, 202, 200, 198, 80, 52, 1, 2, 26, 206, 200, 78, 153, 7, 40, 2,
                    88, 6, 27, 186),
    "test": (8, 11, 129, 229, 202, 200, 198, 81, 52, 1, 2, 26, 205, 200, 78, 153, 7, 40, 2,
             89, 6, 27, 186),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Kvasir(Dataset):
    """The classes are the sorted findings; images of one patient cannot be told apart."""

    def read(self, root: Path) -> Images:
        """In the order of ``image-labels.csv``, on which the paper's split depends."""
        folders = [root / name for name in FOLDERS if (root / name / "image-labels.csv").is_file()]
        if not folders:
            raise InputError(f"no HyperKvasir in {(root / 'kvasir').absolute()}. {self.access}")
        with (table := folders[0] / "image-labels.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        header = {"Video file", "Finding"}
        require(bool(rows) and header <= set(rows[0]), f"{table} lacks rows or {header}")
        found = {path.stem: path for path in sorted(folders[0].rglob("*.jpg"))}
        names = [row["Video file"].removesuffix(".jpg") for row in rows]
        absent = [name for name in names if name not in found]
        what = f"{len(absent)} of {len(names)} images, such as {absent[:1]}, are missing"
        require(not absent, f"{what} below {folders[0]}: unpack the archive again")
        classes, labels = np.unique([row["Finding"] for row in rows], return_inverse=True)
        return Images(
            inputs=tuple(found[name] for name in names),
            labels=labels,
            classes=tuple(classes.tolist()),
            ids=np.array(names),
            split=_paper_split(labels),
        )


def _paper_split(labels: IntArray) -> StrArray:
    """A stratified fifth for testing, then as many for validation (Galdran et al. 2023)."""
    from sklearn.model_selection import train_test_split

    parts, rest = np.full(len(labels), "train", dtype="U11"), np.arange(len(labels))
    options = {"test_size": len(labels) // 5, "random_state": 0}
    try:
        for part in ("test", "calibration"):
            rest, rows = train_test_split(rest, stratify=labels[rest], **options)
            parts[rows] = part
    except ValueError as error:
        raise InputError(f"HyperKvasir cannot be split as in the paper: {error}") from error
    return parts


DATASETS = (
    Kvasir(
        name="kvasir",
        summary="10,662 endoscopic images in 23 classes, the smallest of 6 images",
        paper="Borgli et al. 2020, HyperKvasir, doi:10.1038/s41597-020-00622-y; split of Galdran "
        "et al. 2023, arXiv:2303.01099",
        licence="research and education; see https://datasets.simula.no/hyper-kvasir",
        access="Put labeled-images/ of hyper-kvasir-labeled-images.zip "
        "(https://datasets.simula.no/hyper-kvasir, about 4 GB) into kvasir/ in the data root, or "
        "run `data prepare kvasir`.",
        archive=Archive(URL),
        known_counts=COUNTS,
    ),
)
