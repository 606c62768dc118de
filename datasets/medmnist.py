"""Any single-label 2-D MedMNIST set, from its npz file."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.api import PART_NAMES, Archive, Dataset, Images, InputError, require

FILES = "https://zenodo.org/records/10519652/files"
PARTS = ("train", "val", "test")
ORGANS = "bladder femur-left femur-right heart kidney-left kidney-right liver lung-left lung-right "
ORGANS += "pancreas spleen"
CLASSES = {
    "bloodmnist": "basophil eosinophil erythroblast ig lymphocyte monocyte neutrophil platelet",
    "breastmnist": "malignant normal-or-benign",
    "dermamnist": "akiec bcc bkl df mel nv vasc",
    "octmnist": "choroidal-neovascularization diabetic-macular-edema drusen normal",
    **dict.fromkeys(("organamnist", "organcmnist", "organsmnist"), ORGANS),
    "pathmnist": "adipose background debris lymphocytes mucus muscle normal stroma adenocarcinoma",
    "pneumoniamnist": "normal pneumonia",
}


@dataclass(frozen=True, kw_only=True)
class MedMNIST(Dataset):
    """The argument is the set's name; ``NAME_224`` and the like are its larger versions."""

    def __post_init__(self) -> None:
        """The file of the set that the argument names."""
        if self.argument:
            archive = Archive(f"{FILES}/{self.argument}.npz", unpack=False)
            object.__setattr__(self, "archive", archive)

    def read(self, root: Path) -> Images:
        """The official parts; classes without a known name are numbered."""
        file = self._find(root)
        try:
            with np.load(file, allow_pickle=False) as stored:
                images = [stored[f"{part}_images"] for part in PARTS]
                labels = np.concatenate([stored[f"{part}_labels"] for part in PARTS])
            pixels = np.concatenate(images)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{file} is not a MedMNIST file ({error}): get it anew") from error
        pixels = pixels[..., None] if pixels.ndim == 3 else pixels
        flat = pixels.ndim == 4 and pixels.shape[3] in (1, 3) and labels.size == len(labels)
        require(flat, f"{file} does not hold 2-D images with one label each")
        known = CLASSES.get(self.argument.split("_")[0], "").split()
        parts = np.repeat([PART_NAMES[part] for part in PARTS], [len(part) for part in images])
        number = np.concatenate([np.arange(len(part)) for part in images])
        return Images(
            inputs=pixels,
            labels=labels.reshape(-1).astype(np.int64),
            classes=tuple(known or map(str, range(labels.max() + 1))),
            ids=np.array([f"{part}/{i:06d}" for part, i in zip(parts, number)]),
            split=parts,
        )

    def _find(self, root: Path) -> Path:
        name = self.argument
        require(name != "", "which set? write medmnist/NAME, such as medmnist/bloodmnist")
        own = root / "medmnist"
        folders = (own, own / name, root, root / name, Path.home() / ".medmnist")
        for file in [f / f"{name}.npz" for f in folders if (f / f"{name}.npz").is_file()]:
            return file
        raise InputError(f"no {folders[0] / name}.npz. {self.access}")


DATASETS = (
    MedMNIST(
        name="medmnist/",
        summary="any single-label 2-D set of MedMNIST, such as medmnist/pneumoniamnist",
        paper="Yang et al. 2023, MedMNIST v2, doi:10.1038/s41597-022-01721-8",
        licence="CC BY 4.0 (DermaMNIST: CC BY-NC 4.0)",
        access="Put NAME.npz from https://medmnist.com into medmnist/ in the data root, or run "
        "`data prepare medmnist/NAME`.",
    ),
)
