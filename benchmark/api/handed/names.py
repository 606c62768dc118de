"""What names mean: of parts, of files that are no data, of what is missing, of what is alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from benchmark.api.dataset import PART_NAMES
from benchmark.api.errors import InputError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif",
     ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf", ".avif")
)  # fmt: skip
"""Endings of image files, in lower case."""

MISSING = frozenset(("", "nan", "<na>", "n/a", "#n/a", "null", "nat"))
"""How tables write that a value is not known, in lower case."""

_SYSTEM = frozenset(
    ("__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "__pycache__", "thumbs.db",
     "ehthumbs.db", "desktop.ini", "icon\r", "system volume information")
)  # fmt: skip
_FILLERS = frozenset(
    ("set", "sets", "data", "dataset", "images", "image", "imgs", "img", "split", "part",
     "subset", "folder", "files", "samples")
)  # fmt: skip
_UNSURE = frozenset(("eval", "evaluation", "holdout", "trainval", "trainvalid", "unlabeled"))
_OWNERS = frozenset(
    ("patient", "case", "slide", "lesion", "subject", "smear", "specimen", "person", "individual",
     "participant", "donor", "wsi", "animal")
)  # fmt: skip
_MERGED = frozenset(("trainval", "trainvalid", "trainvalidation", "trainingvalidation"))
_MAX_SHOWN = 5


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the system's own, or hidden."""
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM


def part_of(name: str) -> str | None:
    """The part that a name is for certain: ``Training``, ``TRAIN``, ``test_set``, ``1-val``."""
    words = _words(re.sub(r"^\s*\d+[\W_]*", "", name))
    parts = [PART_NAMES[word] for word in words if word in PART_NAMES]
    others = [word for word in words if word not in PART_NAMES and word not in _FILLERS]
    return parts[0] if len(parts) == 1 and not others and not re.search(r"\d\s*$", name) else None


def parts_of(names: Sequence[str]) -> dict[str, str | None]:
    """The part of each name, if need be without the words that all share: ``chest-train``.

    ``train_val`` beside nothing but test is train: calibration is then cut from it.
    """
    found = {name: part_of(name) for name in names}
    if all(found.values()) or len({tuple(re.findall(r"\d+", name)) for name in names}) > 1:
        return found
    words = {name: _words(name) for name in names}
    shared = set.intersection(*map(set, words.values())) - set(PART_NAMES)
    rest = {name: [w for w in own if w not in shared] for name, own in words.items()}
    parts = {name: part_of(" ".join(own)) for name, own in rest.items()}
    merged = [name for name, own in rest.items() if "".join(own) in _MERGED]
    if len(merged) == 1 and set(parts.values()) == {None, "test"}:
        parts[merged[0]] = "train"
    return parts if None not in parts.values() and len({*parts.values()}) == len(names) else found


def parts_in(cells: Iterable[str]) -> set[str]:
    """The parts that cells name, if all of them do; else none."""
    parts = set()
    for cell in {*cells}:
        part = part_of(cell)
        if part is None:
            return set()
        parts.add(part)
    return parts


def looks_like_part(name: str) -> str | None:
    """The part of which a name reminds, as ``seg_train`` or ``test 2`` does."""
    found = [PART_NAMES.get(w, "?") for w in _words(name) if w in PART_NAMES or w in _UNSURE]
    return found[0] if found else None


def is_unsure(name: str) -> bool:
    """Whether a name is all of a part that it may be or not be, such as ``eval``."""
    return name.strip().lower() in _UNSURE


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[\W\d_]+", spaced.lower()) if word]
    ends = re.compile(rf"({'|'.join(PART_NAMES)})({'|'.join(_FILLERS)})")
    return [match[1] if (match := ends.fullmatch(word)) else word for word in words]


def is_owner(column: str) -> bool:
    """Whether a column is called like a person or a specimen, or its number."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower())
    text = re.sub(r"(id|ids|no|nr|number|name|code|key)$", "", "".join(words))
    return text in _OWNERS


def is_missing(value: str) -> bool:
    """Whether a cell of a table says that its value is not known."""
    return value.strip().lower() in MISSING


def plain(name: str) -> str:
    """A name without case, spaces and leading zeros: equal for names that are alike."""
    text = unicodedata.normalize("NFC", re.sub(r"[\s_-]+", " ", name.strip()).casefold())
    return str(float(text)) if re.fullmatch(r"\d{1,12}(\.\d*)?", text) else text


def alike(names: Iterable[str]) -> list[list[str]]:
    """Names that differ in nothing but case, spaces or leading zeros, together."""
    together: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        together.setdefault(plain(name), []).append(name)
    return [several for several in together.values() if len(several) > 1]


def unite_classes(names: Sequence[str], similar: str) -> tuple[list[str], list[str]]:
    """Class names of which none are alike, or all as they are.

    Args:
        names: of each image.
        similar: ``merge`` makes one class of those that are alike, ``keep`` leaves them; empty
            refuses them.

    Returns:
        The names, and sentences on what was done.
    """
    if similar not in ("", "merge", "keep"):
        raise InputError(f"similar={similar}: none of merge, keep")
    groups = alike(names)
    if not groups:
        return list(names), []
    told = "; ".join(" and ".join(map(repr, several)) for several in groups)
    if not similar:
        raise InputError(
            f"classes that differ in case, spaces or zeros only: {told}. If each such set is one "
            "class, write them alike or add [similar=merge]; if they differ, [similar=keep]"
        )
    if similar == "keep":
        return list(names), [f"classes that are alike are kept apart: {told}"]
    first = {name: several[0] for several in groups for name in several}
    return [first.get(name, name) for name in names], [f"one class each was made of {told}"]


def some(values: Iterable[object], limit: int = _MAX_SHOWN) -> str:
    """A few values, and how many more there are."""
    shown = list(map(str, values))
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more


def counted(number: int, what: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def order(classes: Iterable[str]) -> list[str]:
    """Each class once; numbers by their size."""
    names = set(classes)
    return sorted(names, key=int if all(map(str.isdecimal, names)) else str)
