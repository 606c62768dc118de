"""Chaoyang: patches of colon slides in four classes, with noisy training labels."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.api import Dataset, Images, InputError, IntArray, StrArray


@dataclass(frozen=True, kw_only=True)
class Chaoyang(Dataset):
    """The official test part; a stratified fifth of train is for calibration.

    It has as many images of each class as the paper's validation part, whose membership follows
    no published rule. To use that, or one's own: ``split`` is a CSV file whose column
    ``image_id`` lists them (``val_chaoyang.csv`` in https://github.com/agaldran/mhml_calibration).
    """

    split: str = ""

    def read(self, root: Path) -> Images:
        """Grouped by slide, which is the part of the file name before ``-IMG``."""
        folder = root / "chaoyang"
        train, test = self._read(folder, "train"), self._read(folder, "test")
        names, labels = (np.array(column) for column in zip(*train, *test))
        parts = np.array(["train"] * len(train) + ["test"] * len(test), dtype="U11")
        parts[self._calibration(names[: len(train)], labels[: len(train)])] = "calibration"
        return Images(
            inputs=tuple(folder / name for name in names),
            labels=labels,
            classes=("normal", "serrated", "adenocarcinoma", "adenoma"),
            ids=names,
            groups=np.array([name.split("/")[-1].rsplit("-IMG", 1)[0] for name in names]),
            split=parts,
        )

    def _read(self, folder: Path, part: str) -> list[tuple[str, int]]:
        files = [folder / f"{part}.json", folder / f"{part}_label.json"]  # as in some copies
        file = next((path for path in files if path.is_file()), None)
        if file is None:
            raise InputError(f"no {files[0].absolute()}. {self.access}")
        try:
            return [(entry["name"], int(entry["label"])) for entry in json.loads(file.read_text())]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file} is not a list of names and labels: {error!r}") from error

    def _calibration(self, names: StrArray, labels: IntArray) -> list[int]:
        from sklearn.model_selection import train_test_split

        rows = {str(name): row for row, name in enumerate(names)}
        try:
            if not self.split:
                options = {"test_size": len(names) // 5, "random_state": 0, "stratify": labels}
                return list(train_test_split(list(rows.values()), **options)[1])
            with open(self.split, newline="") as lines:
                return [rows[entry["image_id"]] for entry in csv.DictReader(lines)]
        except KeyError as error:
            raise InputError(f"{self.split}: {error} is no image_id of Chaoyang's train") from error
        except (OSError, ValueError) as error:
            raise InputError(f"cannot choose Chaoyang's calibration part: {error}") from error


DATASETS = (
    Chaoyang(
        name="chaoyang",
        summary="6160 colon patches of 512x512 in 4 classes; train labels are noisy",
        paper="Zhu et al. 2022, Hard Sample Aware Noise Robust Learning, 10.1109/TMI.2021.3125459",
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
