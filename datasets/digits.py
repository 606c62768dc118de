"""Handwritten digits, real and bundled with scikit-learn: a data set that is always at hand."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.api import Dataset, Images


@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """8x8 grey digits of 13 writers; the 17 grey levels are spread over 0 to 255."""

    def read(self, root: Path) -> Images:
        """All 1797 images; the set has no official split and does not name the writers."""
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        return Images(
            inputs=images,
            labels=labels.astype(np.int64),
            classes=tuple("0123456789"),
            ids=np.array([f"{i:04d}" for i in range(len(labels))]),
        )


DATASETS = (
    Digits(
        name="digits",
        summary="1797 handwritten digits of 8x8 pixels, bundled with scikit-learn",
        paper="Kaynak 1995, Methods of Combining Multiple Classifiers and Their Applications to "
        "Handwritten Digit Recognition; Alpaydin & Kaynak 1998, doi:10.24432/C50P49",
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        access="bundled with scikit-learn: nothing to do",
        preset="quick",
        known_counts={"all": (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)},
    ),
)
