"""One's own images: a CSV file that names each with its label, and perhaps group and split."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.api import Dataset, InputError, Samples, require

FILE = ("file", "filename", "file_name", "image", "image_id", "path", "name")
LABEL = ("class_name", "label", "class", "target", "category")
PARTS = {part: part for part in ("train", "calibration", "test")}
PARTS |= dict.fromkeys(("val", "valid", "validation", "dev"), "calibration")


@dataclass(frozen=True, kw_only=True)
class Table(Dataset):
    """``csv:PATH[group=lesion_id]``: image files are named relative to the CSV file.

    Attributes:
        file: column of the image files; else the first found of ``file``, ``filename``,
            ``file_name``, ``image``, ``image_id``, ``path``, ``name``.
        label: column of the classes, names or numbers; else the first found of ``class_name``,
            ``label``, ``class``, ``target``, ``category``.
        group: column of what must not be divided (patient, lesion); else ``group`` if there is
            such a column; ``none`` for no groups.
        split: column of the official part (train, val or calibration, test); else ``split`` if
            there is such a column; ``none`` for no official split.
    """

    file: str = ""
    label: str = ""
    group: str = ""
    split: str = ""

    def samples(self, root: Path) -> Samples:
        """The path is looked up as it is, then in the data root; classes are sorted."""
        require(self.argument != "", "which file? write csv:PATH")
        given = Path(self.argument).expanduser()
        path = given if given.is_file() else root / given
        require(path.is_file(), f"no file {given.absolute()}. {self.access}")
        try:
            with path.open(newline="", encoding="utf-8-sig") as lines:
                rows = list(csv.DictReader(lines))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path} is not a CSV file in UTF-8: {error}") from error
        require(len(rows) > 0, f"{path} has no rows")

        def column(what: str, chosen: str, usual: tuple[str, ...], needed: bool) -> list[str]:
            names = [name for name in ((chosen,) if chosen else usual) if name in rows[0]]
            if not names and (needed or chosen not in ("", "none")):
                raise InputError(
                    f"{path} has no column {' or '.join((chosen,) if chosen else usual)}: write "
                    f"csv:PATH[{what}=COLUMN] with one of {', '.join(map(str, rows[0]))}"
                )
            values = [(row[names[0]] or "").strip() for row in rows] if names else []
            if "" in values:
                raise InputError(f"{path}, line {values.index('') + 2}: no {what} ({names[0]})")
            return values

        files = column("file", self.file, FILE, True)
        names = column("label", self.label, LABEL, True)
        groups = column("group", self.group, ("group",), False)
        parts = column("split", self.split, ("split",), False)
        unknown = sorted({part for part in parts if part.lower() not in PARTS})
        require(not unknown, f"{path}: {unknown} in the split are none of {', '.join(PARTS)}")
        numbers = all(name.isdecimal() for name in names)
        classes = sorted(set(names), key=int if numbers else None)
        index = {name: i for i, name in enumerate(classes)}
        return Samples(
            images=tuple(path.parent / file for file in files),
            labels=np.array([index[name] for name in names]),
            classes=tuple(classes),
            ids=np.array(files),
            groups=np.array(groups) if groups else None,
            split=np.array([PARTS[part.lower()] for part in parts]) if parts else None,
        )


DATASETS = (
    Table(
        name="csv:",
        summary="your own images, listed in a CSV file with their labels",
        paper="your own",
        licence="your own",
        access="Write csv:PATH, where PATH is a CSV file with columns for file and label.",
    ),
)
