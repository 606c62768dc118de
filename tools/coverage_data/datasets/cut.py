"""Independent samples of the simulated images without a split, to be cut into folds."""

from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.datasets.simulated import DATASETS as SIMULATED

from benchmark.api import Dataset, Images


@dataclass(frozen=True, kw_only=True)
class Cut(Dataset):
    """One of them.

    Attributes:
        number: which.
        images: how many.
    """

    number: int
    images: int = 1875

    def read(self, root: Path) -> Images:
        """Draws that no other data set shows."""
        source = replace(SIMULATED[0], train=self.images - 2, calibration=1, test=1)
        images: Images = source.draw(10_000 + self.number)
        return replace(images, split=None)


DATASETS = tuple(
    Cut(
        name=f"cut-{number:02}",
        summary="a sample of the simulated images, to be cut into folds",
        paper=SIMULATED[0].paper,
        licence=SIMULATED[0].licence,
        access=SIMULATED[0].access,
        preset="quick",
        number=number,
    )
    for number in range(40)
)
