"""Folders of images: which are parts, which are classes, and which files are images.

Links are followed; a link to a folder that holds it is left out. Hidden and system files and
folders do not count, at any depth. What can be read in two ways is refused with both of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmark.api.dataset import PARTS, Images
from benchmark.api.errors import InputError
from benchmark.api.handed.names import (
    SUFFIXES,
    counted,
    is_hidden,
    is_missing,
    is_unsure,
    looks_like_part,
    order,
    part_of,
    parts_of,
    some,
    unite_classes,
)

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
_KINDS = frozenset(("image", "images", "imgs", "label", "labels", "mask", "masks", "annotations"))


@dataclass
class Found:
    """What else lies in a folder.

    Attributes:
        unnamed: images without an ending, known by their first bytes.
        others: endings of files that are no images, with how many there are.
        hidden: hidden and system files and folders.
        loops: links that lead to a folder above them.
    """

    unnamed: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    loops: list[Path] = field(default_factory=list)

    def notes(self, top: Path) -> list[str]:
        """Sentences on it."""
        notes = []
        if self.unnamed:
            first = self.unnamed[0].relative_to(top).as_posix()
            number = counted(len(self.unnamed), "file")
            notes.append(f"{number} without an ending (such as {first}) read as images: they are")
        if self.others:
            told = some(f"{number} {end or 'without ending'}" for end, number in
                        self.others.most_common())  # fmt: skip
            total = counted(sum(self.others.values()), "file")
            notes.append(f"left out: {total} no images by their ending ({told})")
        if self.hidden:
            notes.append(f"left out: {counted(self.hidden, 'hidden or system item')}")
        if self.loops:
            told = some(path.relative_to(top).as_posix() for path in self.loops)
            notes.append(f"left out: links that lead to a folder above them ({told})")
        return notes


@dataclass
class Tree:
    """A folder with what counts in it."""

    path: Path
    folders: list[Tree]
    files: list[Path]

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path.name

    @property
    def filled(self) -> list[Tree]:
        """Its folders that hold images, at any depth."""
        return [tree for tree in self.folders if any(tree.walk())]

    def walk(self) -> Iterator[Path]:
        """Its images, at any depth."""
        yield from self.files
        for tree in self.folders:
            yield from tree.walk()


def scan(path: Path, found: Found, above: tuple[str, ...] = ()) -> Tree:
    """All images below a folder."""
    here = (*above, os.path.realpath(path))
    tree = Tree(path, [], [])
    for child in sorted(path.iterdir()):
        if is_hidden(child.name):
            found.hidden += 1
        elif child.is_dir():
            if os.path.realpath(child) in here:
                found.loops.append(child)
            else:
                tree.folders.append(scan(child, found, here))
        elif child.suffix.lower() in SUFFIXES:
            tree.files.append(child)
        elif child.suffix == "" and _begins_as_image(child):
            found.unnamed.append(child)
            tree.files.append(child)
        else:
            found.others[child.suffix.lower()] += 1
    return tree


def _begins_as_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    return start.startswith(_SIGNATURES) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


@dataclass
class _Layout:
    """Folders that are a class each, with the part they are in, and how that was understood."""

    classes: list[tuple[str, str, Tree]]
    notes: list[str]


def read_folder(folder: Path, layout: str = "", similar: str = "") -> Images:
    """The images of a folder of class folders, or of parts that hold these.

    Args:
        folder: where they are.
        layout: ``classes``: the outermost folders are the classes; ``parts``: they are parts;
            ``inner``: the classes are the folders in them. Empty: as far as that is certain.
        similar: see :func:`~benchmark.api.handed.names.unite_classes`.

    Raises:
        InputError: there are no images, or they can be read in two ways.
    """
    found = Found()
    tree = scan(folder, found)
    while not layout and len(tree.folders) == 1 and not tree.files and tree.folders[0].folders:
        tree = tree.folders[0]
    understood = _understand(tree, layout)
    rows = [
        (part, name, path)
        for part, name, inner in understood.classes
        for path in sorted(inner.walk())
    ]
    left = some(f"{number} {end or 'without ending'}" for end, number in found.others.items())
    but = f" (other files there: {left})" if left else ""
    empty = sorted({n for _, n, _ in understood.classes} - {n for _, n, _ in rows})
    if empty:
        raise InputError(
            f"no images in class folders {empty} of {folder}{but}: fill or delete them"
        )
    unknown = sorted({name for _, name, _ in rows if is_missing(name)})
    if unknown:
        raise InputError(
            f"the folder {some(unknown)} says that the class is not known: move it away, or rename "
            "it if it is a class"
        )
    names, notes = unite_classes([name for _, name, _ in rows], similar)
    classes = order(names)
    parts = [part for part, _, _ in rows]
    used = {path for _, _, path in rows}
    stray = [path.relative_to(folder).as_posix() for path in tree.walk() if path not in used]
    if stray:
        notes.append(
            f"left out: {counted(len(stray), 'image')} in no class folder ({some(stray, 2)})"
        )
    number = {name: label for label, name in enumerate(classes)}
    where = tree.path.relative_to(folder).as_posix()
    within = "" if where == "." else f" in {where}"
    return Images(
        inputs=tuple(path for _, _, path in rows),
        labels=np.array([number[name] for name in names], dtype=np.int64),
        classes=tuple(classes),
        ids=np.array([path.relative_to(folder).as_posix() for _, _, path in rows]),
        split=np.array(parts) if any(parts) else None,
        notes=(
            f"{len(classes)} classes, named by folders{within}: {some(classes, 30)}",
            *understood.notes,
            "no groups: each image stands for itself (a table can name patients or slides)",
            *notes,
            *found.notes(folder),
        ),
    )


def _understand(tree: Tree, layout: str) -> _Layout:
    tops = tree.folders
    if layout not in ("", "classes", "parts", "inner"):
        raise InputError(f"layout={layout}: none of classes, parts, inner")
    if not tops:
        raise InputError(f"no class folders in {tree.path}: one folder of images per class")
    outer = _Layout([("", top.name, top) for top in tops], ["no parts: no folder is named so"])
    if layout == "classes":
        return outer
    if layout == "inner":
        notes = [f"the folders {some(t.name for t in tops)} are neither classes nor parts"]
        return _Layout([("", c.name, c) for top in tops for c in top.folders], notes)
    parts = {top.name: part_of(top.name) for top in tops}
    if all(top.filled and not top.files for top in tops):
        parts = parts_of([*parts])
    if layout == "parts" or (all(parts.values()) and len(tops) > 1):
        unknown = [name for name, part in parts.items() if part is None]
        if unknown:
            raise InputError(
                f"layout=parts, but {some(unknown)} in {tree.path} are no names of parts: call "
                "them train, val and test"
            )
        return _parts(tree, parts)
    looks = {top.name: part for top in tops if (part := looks_like_part(top.name))}
    plain_train = [top for top in tops if parts[top.name] == "train" and not top.folders]
    certain = [name for name in looks if parts[name] or is_unsure(name)]
    alone = len(looks) == 1 and (plain_train or not certain)
    if looks and not alone and (len(set(looks.values())) > 1 or certain):
        raise _two_readings(
            tree, f"{some(looks)} look like parts of the data, and not all folders are",
            "parts, then call all of them train, val or test: rename or move away "
            f"{_rest(tops, parts)}",
        )  # fmt: skip
    within = _parts_in_classes(tops)
    if within is not None:
        return within
    kinds = [top.name for top in tops if top.name.lower() in _KINDS]
    if len(kinds) == len(tops):
        raise _two_readings(
            tree,
            "they are called after kinds of files",
            "not, then hand in the one that holds the class folders",
        )
    if _same_folders(tops):
        raise _two_readings(
            tree,
            f"all of them hold the same folders ({some(t.name for t in tops[0].filled)})",
            "those inner folders, then add [layout=inner]; if the outer ones are parts, call "
            "them train, val and test",
        )
    _refuse_parts_within(outer, tree)
    if plain_train:
        outer.notes.append(f"the folder {plain_train[0].name} is read as a class, not as a part")
    return outer


def _rest(tops: Sequence[Tree], parts: dict[str, str | None]) -> str:
    return some(top.name for top in tops if parts[top.name] is None) or "others"


def _two_readings(tree: Tree, why: str, other: str) -> InputError:
    return InputError(
        f"the folders {some(t.name for t in tree.folders)} in {tree.path} can be read in two "
        f"ways: {why}. If they are the classes, add [layout=classes]; if they are {other}"
    )


def _parts(tree: Tree, part: Mapping[str, str | None]) -> _Layout:
    """The tops are parts, which hold class folders, perhaps in a folder of their own each."""
    tops = {top.name: top for top in tree.filled}
    inner = dict(tops)
    while inner and all(
        len(t.folders) == 1 and not t.files and t.folders[0].folders for t in inner.values()
    ):
        inner = {name: t.folders[0] for name, t in inner.items()}
    bare = [name for name, t in inner.items() if not t.filled]
    if bare or not inner:
        raise InputError(
            f"no class folders in {some(bare) or 'any part'} of {tree.path}: images in no class "
            "folder have no label; move them away, or if these folders are the classes, add "
            "[layout=classes]"
        )
    classes = [(part[name] or "", c.name, c) for name, t in inner.items() for c in t.folders]
    learnt = {c.name.casefold() for name, t in inner.items() for c in t.filled
              if part[name] == "train"}  # fmt: skip
    for name, t in inner.items():
        if learnt and not learnt & {c.name.casefold() for c in t.filled}:
            raise InputError(
                f"{name} of {tree.path} holds other classes ({some(c.name for c in t.filled)}) "
                f"than train ({some(sorted(learnt))}): which are the classes? Name the class "
                "folders alike in every part"
            )
        if _same_folders(t.filled):
            raise _two_readings(
                t, f"all hold the same folders ({some(x.name for x in t.filled[0].filled)})",
                "those inner folders, then move them up by one",
            )  # fmt: skip
    told = ", ".join(
        f"{one} from {some(names)}"
        for one in PARTS if (names := [name for name in inner if part[name] == one])
    )  # fmt: skip
    notes = [f"parts, named by folders: {told}"]
    notes += [f"the part {t.name} is empty" for t in tree.folders if t.name not in tops]
    out = _Layout(classes, notes)
    _refuse_parts_within(out, tree)
    return out


def _parts_in_classes(tops: Sequence[Tree]) -> _Layout | None:
    """The classes hold the parts: ``CLASS/train``, ``CLASS/test``."""
    inner = [(top, t, part_of(t.name)) for top in tops for t in top.filled]
    if any(top.files for top in tops) or len({part for _, _, part in inner}) < 2:
        return None
    if not all(part for _, _, part in inner) or _same_folders([t for _, t, _ in inner]):
        return None
    classes = [(part or "", top.name, t) for top, t, part in inner]
    classes += [("", top.name, top) for top in tops if not top.filled]
    return _Layout(classes, ["parts, named by the folders in each class folder"])


def _same_folders(tops: Sequence[Tree]) -> bool:
    """Whether all hold (mostly) the same folders of images, two or more."""
    names = [{t.name.casefold() for t in top.filled} for top in tops]
    if len(names) < 2 or not all(names):
        return False
    common, union = set.intersection(*names), set.union(*names)
    return len(common) > 1 and 2 * len(common) >= len(union)


def _refuse_parts_within(layout: _Layout, tree: Tree) -> None:
    """Folders named as parts below the classes: their images would be mixed."""
    for _, name, top in layout.classes:
        dirs = {d for path in top.walk() for d in path.relative_to(top.path).parts[:-1]}
        named = sorted(d for d in dirs if part_of(d))
        if len({part_of(d) for d in named}) > 1:
            raise InputError(
                f"the folder {name} in {tree.path} holds folders named as parts ({some(named)}) "
                f"beside or below others: if {name} is a class, and they mean nothing, add "
                "[layout=classes]; if they are parts, put them outermost: PART/CLASS/IMAGE"
            )
