"""Chaoyang: patches of colon slides in four classes, with noisy training labels."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.api import Dataset, InputError, IntArray, Samples, StrArray, require


@dataclass(frozen=True, kw_only=True)
class Chaoyang(Dataset):
    """The official test part as it is; a fifth of train is for calibration, stratified.

    The paper's validation part has the same 804 images per class (222, 168, 281, 133), but which
    images they are follows no published rule.

    Attributes:
        split: a CSV file whose column ``image_id`` lists calibration images (``train/NAME.JPG``),
            such as ``val_chaoyang.csv`` in https://github.com/agaldran/mhml_calibration.
    """

    split: str = ""

    def samples(self, root: Path) -> Samples:
        """Grouped by slide, which is the part of the file name before ``-IMG``."""
        folder = root / "chaoyang"
        entries = [(part, *entry) for part in ("train", "test") for entry in _read(folder, part)]
        if not entries:
            raise InputError(f"no Chaoyang images in {folder.absolute()}. {self.access}")
        names = np.array([name for _, name, _ in entries])
        labels = np.array([label for _, _, label in entries])
        parts = np.array([part for part, _, _ in entries], dtype="U11")
        _list(Path(self.split), names, parts) if self.split else _cut(parts, labels)
        return Samples(
            images=tuple(folder / name for name in names),
            labels=labels,
            classes=("normal", "serrated", "adenocarcinoma", "adenoma"),
            ids=names,
            groups=np.array([name.split("/")[-1].rsplit("-IMG", 1)[0] for name in names]),
            split=parts,
        )


def _read(folder: Path, part: str) -> list[tuple[str, int]]:
    """Names and labels from ``train.json``, which some copies call ``train_label.json``."""
    for path in (folder / f"{part}.json", folder / f"{part}_label.json"):
        if path.is_file():
            try:
                return [(e["name"], int(e["label"])) for e in json.loads(path.read_text())]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} is not a list of names and labels: {error}") from error
    return []


def _cut(parts: StrArray, labels: IntArray) -> None:
    from sklearn.model_selection import train_test_split

    train = np.flatnonzero(parts == "train")
    options = {"test_size": len(train) // 5, "random_state": 0, "stratify": labels[train]}
    try:
        parts[train_test_split(train, **options)[1]] = "calibration"
    except ValueError as error:
        raise InputError(f"cannot cut a calibration part from Chaoyang's train: {error}") from error


def _list(path: Path, names: StrArray, parts: StrArray) -> None:
    require(path.is_file(), f"no split file {path.absolute()}")
    with path.open(newline="") as lines:
        listed = [row.get("image_id") for row in csv.DictReader(lines)]
    foreign = [name for name in listed if name not in set(names[parts == "train"])]
    require(not foreign, f"{path}: {foreign[:1]} in column image_id is no image of train")
    parts[np.isin(names, listed)] = "calibration"


DATASETS = (
    Chaoyang(
        name="chaoyang",
        summary="6160 colon patches of 512x512 in 4 classes; train labels are noisy",
        paper="Zhu et al. 2022, Hard Sample Aware Noise Robust Learning for Histopathology Image "
        "Classification, doi:10.1109/TMI.2021.3125459",
        licence="non-commercial research, no redistribution",
        access="On request: ask its authors at https://bupt-ai-cz.github.io/HSA-NRL and put "
        "train/, test/, train.json and test.json into chaoyang/ in the data root.",
        known_counts={
            "train": (889, 674, 1123, 531),
            "calibration": (222, 168, 281, 133),
            "test": (705, 321, 840, 273),
        },
    ),
)
