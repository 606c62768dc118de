"""One's own images: a table that names each with its label (docs/data.md)."""

import os
from dataclasses import dataclass
from pathlib import Path

from benchmark.api import HandedInDataset, Images, InputError
from benchmark.api.handed.tables import read_images


@dataclass(frozen=True, kw_only=True)
class Table(HandedInDataset):
    """``csv:PATH[group=lesion_id]``: image files are named relative to the table, or to ``root``.

    Columns: ``file``; ``label``; ``group``, what must not be divided (patient, lesion); ``split``,
    the official part. By default those of the usual names, and what is said before a run
    (``none`` ignores a group or split). ``similar`` (``merge``, ``keep``) says what classes are
    whose names are alike; ``encoding`` and ``separator`` how the table is written.
    """

    file: str = ""
    label: str = ""
    group: str = ""
    split: str = ""
    root: str = ""
    similar: str = ""
    encoding: str = ""
    separator: str = ""

    def short(self, argument: str) -> str:
        """The table's name, and that of its folder."""
        return "/".join(Path(os.path.abspath(Path(argument).expanduser())).parts[-2:])

    def read(self, root: Path) -> Images:
        """The path is looked up as it is, then in the data root; classes are sorted."""
        path = self.place(root)
        if not path.is_file():
            raise InputError(f"no file {self.argument!r}. {self.access}")
        return read_images(
            path,
            {name: getattr(self, name) for name in ("file", "label", "group", "split")},
            root=self.root,
            similar=self.similar,
            encoding=self.encoding,
            separator=self.separator,
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
