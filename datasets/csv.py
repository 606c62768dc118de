"""One's own images: a CSV file that names each with its label, and perhaps group and split."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.api import PART_NAMES, Dataset, Images, InputError, require

FILE = ("file", "filename", "file_name", "image", "image_id", "path", "name")
LABEL = ("class_name", "label", "class", "target", "category")


@dataclass(frozen=True, kw_only=True)
class Table(Dataset):
    """``csv:PATH[group=lesion_id]``: image files are named relative to the CSV file.

    Columns: ``file``; ``label``; ``group``, what must not be divided (patient, lesion); ``split``,
    the official part. By default the first of the usual names above, and a column ``group`` or
    ``split`` if there is one (``none`` ignores it).
    """

    file: str = ""
    label: str = ""
    group: str = ""
    split: str = ""

    def read(self, root: Path) -> Images:
        """The path is looked up as it is, then in the data root; classes are sorted."""
        path = Path(self.argument).expanduser()
        path = path if path.is_file() else root / path
        require(path.is_file(), f"no file {self.argument!r}. {self.access}")
        try:
            with path.open(newline="", encoding="utf-8-sig") as lines:
                rows = list(csv.DictReader(lines))
            require(len(rows) > 0, f"{path} has no rows")
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path} is not a CSV file in UTF-8: {error}") from error

        def column(what: str, chosen: str, *usual: str) -> list[str]:
            wanted = (chosen,) if chosen else usual
            names = [name for name in wanted if name in rows[0]]
            if not names and usual == (what,) and chosen in ("", "none"):
                return []
            write = f"write csv:PATH[{what}=COLUMN] with one of {[*rows[0]]}"
            require(bool(names), f"{path} has no column {' or '.join(wanted)}: {write}")
            values = [(row[names[0]] or "").strip() for row in rows]
            empty = [row for row, value in enumerate(values, 2) if not value]
            require(not empty, f"{path}: no {what} in row {empty[:1]}: fill in column {names[0]}")
            return values

        files = column("file", self.file, *FILE)
        names = column("label", self.label, *LABEL)
        groups = column("group", self.group, "group")
        parts = column("split", self.split, "split")
        unknown = sorted({part for part in parts if part.lower() not in PART_NAMES})
        require(not unknown, f"{path}: {unknown} in the split are none of {', '.join(PART_NAMES)}")
        classes = sorted(set(names), key=int if all(map(str.isdecimal, names)) else str)
        return Images(
            inputs=tuple(path.parent / file for file in files),
            labels=np.array([classes.index(name) for name in names]),
            classes=tuple(classes),
            ids=np.array(files),
            groups=np.array(groups) if groups else None,
            split=np.array([PART_NAMES[part.lower()] for part in parts]) if parts else None,
        )


DATASETS = (
    Table(
        name="csv:",
        summary="your own images, listed in a CSV file with their labels",
        paper="your own",
        licence="your own",
        access="Write csv:PATH: a CSV file with columns for file and label.",
    ),
)
