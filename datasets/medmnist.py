"""Any single-label 2-D MedMNIST set, from its npz file or through the medmnist package."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.api import Dataset, InputError, Samples, require

PARTS = {"train": "train", "val": "calibration", "test": "test"}
ORGANS = "bladder, left femur, right femur, heart, left kidney, right kidney, liver, left lung, "
ORGANS += "right lung, pancreas, spleen"
CLASSES = {
    "bloodmnist": "basophil, eosinophil, erythroblast, immature granulocyte, lymphocyte, monocyte, "
    "neutrophil, platelet",
    "breastmnist": "malignant, normal or benign",
    "dermamnist": "akiec, bcc, bkl, df, mel, nv, vasc",
    "octmnist": "choroidal neovascularisation, diabetic macular oedema, drusen, normal",
    "organamnist": ORGANS,
    "organcmnist": ORGANS,
    "organsmnist": ORGANS,
    "pathmnist": "adipose, background, debris, lymphocytes, mucus, smooth muscle, normal mucosa, "
    "cancer-associated stroma, adenocarcinoma epithelium",
    "pneumoniamnist": "normal, pneumonia",
}


@dataclass(frozen=True, kw_only=True)
class MedMNIST(Dataset):
    """The argument is the set's name; ``NAME_224`` and the like are its larger versions."""

    def samples(self, root: Path) -> Samples:
        """The official parts; classes without a known name are numbered."""
        file = self._find(root)
        try:
            with np.load(file, allow_pickle=False) as stored:
                images = [stored[f"{part}_images"] for part in PARTS]
                columns = [stored[f"{part}_labels"] for part in PARTS]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{file} is not a MedMNIST file ({error}): get it anew") from error
        pixels, labels = np.concatenate(images), np.concatenate(columns)
        if pixels.ndim == 3:
            pixels = pixels[..., None]
        shape = pixels.shape[1:]
        require(len(shape) == 3 and shape[2] in (1, 3), f"{file}: {shape} is no 2-D image")
        require(labels.size == len(labels), f"{file} has several labels an image; one is needed")
        labels = labels.reshape(-1).astype(np.int64)
        known = CLASSES.get(self.argument.split("_")[0])
        numbered = tuple(map(str, range(int(labels.max()) + 1)))
        parts = np.repeat(list(PARTS.values()), [len(part) for part in images])
        number = np.concatenate([np.arange(len(part)) for part in images])
        return Samples(
            images=pixels,
            labels=labels,
            classes=tuple(known.split(", ")) if known else numbered,
            ids=np.array([f"{part}/{i:06d}" for part, i in zip(parts, number)]),
            split=parts,
        )

    def _find(self, root: Path) -> Path:
        name = self.argument
        require(name != "", "which MedMNIST set? write medmnist/NAME, such as medmnist/bloodmnist")
        folders = (root / "medmnist", root, root / name, Path.home() / ".medmnist")
        for file in (folder / f"{name}.npz" for folder in folders):
            if file.is_file():
                return file
        try:
            import medmnist

            base, _, size = name.partition("_")
            download = getattr(medmnist, medmnist.INFO[base]["python_class"])
            folders[0].mkdir(parents=True, exist_ok=True)
            download(split="train", download=True, root=str(folders[0]), size=int(size or 28))
        except (ImportError, KeyError, OSError, RuntimeError, ValueError) as error:
            here = folders[0].absolute()
            raise InputError(f"no {name}.npz in {here} ({error!r}). {self.access}") from error
        return folders[0] / f"{name}.npz"


DATASETS = (
    MedMNIST(
        name="medmnist/",
        summary="any single-label 2-D set of MedMNIST, such as medmnist/pneumoniamnist",
        paper="Yang et al. 2023, MedMNIST v2, doi:10.1038/s41597-022-01721-8",
        licence="CC BY 4.0 (DermaMNIST: CC BY-NC 4.0)",
        access="Download NAME.npz from https://medmnist.com and put it into medmnist/ in the data "
        "root, or `pip install medmnist`, which downloads it.",
    ),
)
