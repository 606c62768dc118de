"""Understands columns: which are predictions, labels, names, groups, and of which part.

What may stand in a file is described in ``docs/evaluate.md``. What can be read in one way only is
read, and said; what can be read in two is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from benchmark.api import PART_NAMES, Floats, InputError, IntArray, StrArray
from benchmark.api.handed.names import is_missing, is_owner, part_of, parts_in
from benchmark.evaluation.probabilities import percent, sums_to_one
from benchmark.evaluation.read import Column, Columns

SCORES = {
    "logits": ("logits", "logit"),
    "probs": ("probs", "probabilities", "prob", "probability"),
    "log_probs": ("log_probs", "log_probabilities"),
}
"""Under which names an archive holds logits, probabilities or their natural logarithms."""

OTHERS = {
    "labels": ("labels", "label", "targets"),
    "ids": ("ids", "id"),
    "groups": ("groups", "group"),
    "folds": (),
}
"""Under which names archives and tables hold the rest; only one of a kind may be there."""

ELSE: dict[str, tuple[str, ...]] = {
    "labels": ("target", "y", "y_true", "true_label", "ground_truth"),
    "ids": (
        *("image_id", "filename", "filenames", "file", "file_name", "image", "image_name"),
        *("image_path", "path", "paths"),
    ),
    "groups": (),
    "folds": ("fold", "folds"),
}
"""The first of these that is there, where none of the others is; ids only if they are unique."""

CLASSES, PART = ("classes", "class_names"), ("part", "split")
PREFIXES = {
    part: tuple(f"{name}_" for name, its in PART_NAMES.items() if its == part)
    for part in ("test", "calibration")
}
PREFIXES["test"] += ("",)
"""What stands before the names of an archive, for each part."""

_PROBS = r"(?:p|prob|probs|proba|probability|probabilities)"
_START = {
    kind: re.compile(rf"^{start}(?:[ _.:\-]+?(?=-\d+$)|[ _.:\-]+|(?=\d)|$)", re.IGNORECASE)
    for kind, start in (("log_probs", f"log_?{_PROBS}"), ("logits", "logits?"), ("probs", _PROBS))
}
"""What the columns of a table start with, before a number or a sign between words."""

_END = {
    kind: re.compile(rf"(?:^|[ _.:\-]+){end}$", re.IGNORECASE)
    for kind, end in (("log_probs", f"log_?{_PROBS}"), ("logits", "logits?"), ("probs", _PROBS))
}
"""What they may end with instead."""

POSITIVE = {"", "1", "pos", "positive", "true", "y"}
"""What a single column of probabilities may be of, beside the name of a class."""

NO_CLASS = re.compile(
    r"(unnamed.*|seed|folds?|index|idx|row|no|nr|run|epoch|step|batch|max|conf|confidence|entropy|"
    r"pred|preds|predicted|prediction|predictions|y_pred|correct|loss|weight|score)?",
    re.IGNORECASE,
)
"""Columns that are no class, unless a label names them."""


class Named(NamedTuple):
    """Values, and the name that they have in the file, for messages."""

    name: str
    values: Column


@dataclass(frozen=True, eq=False)
class PartColumns:
    """What is taken for what in one part of a file; nothing is checked yet.

    Attributes:
        kind: of the predictions: ``logits``, ``probs`` or ``log_probs``.
        scores: the predictions, a row for each image.
        labels: of the images.
        ids: names of the images, if there are any.
        groups: what images hang together, if that is known.
        folds: of a cross-validation, where the rows come from several.
        lines: of a table, the line of each image.
        columns: of a table, the column of each class.
        namings: names of the classes, as labels may say them; the first is how they are shown.
        unclear: why whole numbers cannot be taken for the places of columns; empty if they can.
    """

    kind: str
    scores: Named
    labels: Named
    ids: Named | None = None
    groups: Named | None = None
    folds: Named | None = None
    lines: IntArray | None = None
    columns: tuple[str, ...] = ()
    namings: tuple[tuple[str, ...], ...] = ()
    unclear: str = ""

    def place(self, row: int, column: int | None = None) -> str:
        """Where in the file a value stands."""
        if self.lines is not None:
            return f"line {self.lines[row]}" + (
                "" if column is None else f", column {self.columns[column]}"
            )
        return f"row {row}" + ("" if column is None else f", column {column}") + " (from 0)"


@dataclass(frozen=True, eq=False)
class Understood:
    """What is taken for what in a file.

    Attributes:
        test: what is measured.
        calibration: what calibrators are fitted on, or None.
        unused: keys, columns or rows that nothing was made of.
        unread: of those, the values of the test part's images.
        said: how the file was understood, in a few words each.
    """

    test: PartColumns
    calibration: PartColumns | None
    unused: tuple[str, ...]
    unread: dict[str, Column]
    said: tuple[str, ...]


def understand(columns: Columns) -> Understood:
    """Find out what the columns of a file hold.

    Raises:
        InputError: something is missing, there twice, or can be read in two ways.
    """
    return _arrays(columns) if columns.lines is None else _table(columns)


def _present(names: Sequence[str], spellings: Iterable[str], prefixes: Iterable[str]) -> list[str]:
    """The names that are a spelling of a thing, in upper or lower case."""
    lower = {name.lower(): name for name in names} | {name: name for name in names}
    return [lower[p + s] for s in spellings for p in prefixes if p + s in lower]


def _one(names: Sequence[str], spellings: Iterable[str], prefixes: Iterable[str] = ("",)) -> str:
    """The one name among the spellings of a thing; empty where there is none."""
    present = _present(names, spellings, prefixes)
    if len(present) > 1:
        raise InputError(f"both {' and '.join(present)}: keep one")
    return present[0] if present else ""


def _others(columns: Columns, prefixes: Sequence[str] = ("",)) -> dict[str, str]:
    """The names of labels, ids, groups and folds, of those that are there."""
    found: dict[str, str] = {}
    for what, spellings in OTHERS.items():
        name = _one(columns.names, spellings, prefixes)
        for other in [] if name else _present(columns.names, ELSE[what], prefixes):
            if what != "ids" or _names_images(columns.peek(other)):
                name = other
                break
        if what == "groups" and not name and columns.lines is not None:
            owners = [n for n in columns.names if is_owner(n) and n not in found.values()]
            owners = [n for n in owners if not any(map(is_missing, columns.peek(n).tolist()))]
            name = owners[0] if len(owners) == 1 else ""
        if name:
            found[what] = name
    return found


def _names_images(values: Column) -> bool:
    if values.ndim != 1 or values.dtype.kind not in "iuU" or "" in values:
        return False
    return len(set(values.tolist())) == len(values)


def _joined(names: Sequence[str]) -> str:
    """A few of them."""
    return ", ".join(names if len(names) <= 6 else [*names[:3], "...", names[-1]])


# --- arrays --------------------------------------------------------------------------------


def _arrays(columns: Columns) -> Understood:
    namings: tuple[tuple[str, ...], ...] = ()
    key = _one(columns.names, CLASSES)
    if key:
        names = columns[key]
        if names.ndim != 1 or names.dtype.kind not in "biufU":
            raise InputError(f"{key}: give a list of names")
        whole = names.dtype.kind == "f" and (names == np.floor(names)).all()
        namings = (tuple(map(str, (names.astype(np.int64) if whole else names).tolist())),)
    parts = [_arrays_of(part, columns, namings) for part in ("test", "calibration")]
    test, calibration = parts
    assert test is not None
    said = [_of_arrays(part, name) for part, name in zip(parts, ("test", "calibration")) if part]
    if key:
        said.append(f"classes {_joined(namings[0])} from {key}")
    unread = {n: columns.peek(n) for n in columns.unread if _for_each(columns, n, test)}
    return Understood(test, calibration, columns.unread, unread, tuple(said))


def _for_each(columns: Columns, name: str, test: PartColumns) -> bool:
    """Whether there is a value for each image of the test part; pixels are not loaded for it."""
    images = test.scores.values.shape[0] if test.scores.values.ndim else 0
    if columns.sizes.get(name, 0) > 1000 * (images + 1):
        return False
    try:
        return columns.peek(name).shape == test.scores.values.shape[:1]
    except (InputError, TypeError):  # what nobody asked for may be unreadable
        return False


def _of_arrays(part: PartColumns, name: str) -> str:
    others = [part.ids, part.groups, part.folds]
    listed = [other.name for other in (part.scores, part.labels, *others) if other]
    return f"{name} part: {', '.join(listed)}"


def _arrays_of(
    part: str, columns: Columns, namings: tuple[tuple[str, ...], ...]
) -> PartColumns | None:
    names, prefixes, listed = columns.names, PREFIXES[part], ", ".join(columns.names) or "none"
    keys = {kind: _one(names, spellings, prefixes) for kind, spellings in SCORES.items()}
    scores = {kind: key for kind, key in keys.items() if key}
    if part == "calibration" and not scores and not _one(names, OTHERS["labels"], prefixes):
        return None
    if not scores:
        raise InputError(
            f"no predictions of the {part} part; expected test_logits, test_probs or "
            f"test_log_probs (or without test_), and test_labels; keys found: {listed}"
        )
    if len(scores) > 1:
        raise InputError(f"both {' and '.join(scores.values())}: keep one")
    [(kind, key)] = scores.items()
    found = _others(columns, prefixes)
    if "labels" not in found:
        wanted = " or ".join(f"{prefix}labels" for prefix in prefixes)
        raise InputError(f"{key} without labels: add {wanted}; keys found: {listed}")
    others = {what: Named(name, columns[name]) for what, name in found.items()}
    given = PartColumns(
        kind,
        Named(key, columns[key]),
        lines=None,
        columns=(),
        namings=namings,
        unclear="",
        **others,
    )
    values = given.scores.values
    single = values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)
    if single and values.dtype.kind in "fiu" and values.size:
        given = _binary_array(given, values.reshape(-1))
    return given


def _binary_array(given: PartColumns, values: Column) -> PartColumns:
    """One number for each image is of the second of two classes."""
    labels, namings = given.labels.values, given.namings
    known = set(namings[0]) if namings else {"0", "1"}
    spoken = {_spoken(label) for label in np.unique(labels).tolist()}
    if len(known) != 2 or not spoken <= known | {"0", "1"}:
        shown = _joined(sorted(spoken))
        raise InputError(
            f"{given.scores.name} has the shape {given.scores.values.shape}, one number for each "
            f"image and so one class only, which is enough where labels are 0 and 1; they are "
            f"{shown}: give a column for each class"
        )
    return replace(given, scores=Named(given.scores.name, _both(given.kind, values)))


def _spoken(label: object) -> str:
    return str(int(label)) if isinstance(label, (bool, float)) and label in (0, 1) else str(label)


def _both(kind: str, values: Column) -> Column:
    """Scores of both classes, from those of the second."""
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    if kind == "probs":
        other = (100 if values.min() >= 0 and 50 < values.max() <= 100 else 1) - values  # percent
    elif kind == "logits":
        other = np.zeros_like(values)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            other = np.log1p(-np.exp(values))
    return np.stack([other, values], 1)


# --- tables --------------------------------------------------------------------------------


def _table(columns: Columns) -> Understood:
    header, lines = columns.names, columns.lines
    assert lines is not None
    listed = ", ".join(map(repr, header))
    special = _others(columns)
    if part_column := _one(header, PART) or _of_parts(columns, special.values()):
        special["part"] = part_column
    if "labels" not in special:
        raise InputError(
            "no column label; expected label, one column for each class (p_0, p_1, ... or "
            "logit_0, logit_1, ..., or the classes' names for probabilities), and perhaps id, "
            f"group and part, separated by commas; columns found: {listed}"
        )
    texts = {what: Named(name, columns[name]) for what, name in special.items()}
    for name, cells in texts.values():
        if (cells == "").any():
            raise InputError(f"column {name}, line {lines[np.argmax(cells == '')]}: empty")
    labels = texts["labels"].values
    rest = [name for name in header if name not in special.values()]
    found = _score_columns(rest, columns, labels)
    if found is None:
        raise InputError(f"no predictions: expected p_0, p_1, ...; columns found: {listed}")
    kind, chosen, namings, doubtful = found
    values = np.stack([_numbers(columns[name], name, lines) for name in chosen], 1)
    said = [f"{len(chosen)} columns of {kind}: {_joined(chosen)}", *columns.form]
    if len(chosen) == 1:
        [column], name = chosen, namings[0][0]
        values, namings = _binary_column(kind, column, values[:, 0], name, labels)
        chosen = (f"1 - {column}", column)[:: -1 if name == "0" else 1]
        own = chosen.index(column)
        said[0] = f"{column} is of the class {namings[0][own]}, the rest of {namings[0][1 - own]}"
    unclear = _unclear(labels, namings, doubtful)
    parts = np.full(len(lines), "test")
    if "part" in texts:
        parts = _parts(texts.pop("part").values, lines)

    def part(wanted: str) -> PartColumns | None:
        rows = np.flatnonzero(parts == wanted)
        if not len(rows):
            return None
        scores = Named(f"columns {chosen[0]} to {chosen[-1]}", values[rows])
        others = {what: Named(name, cells[rows]) for what, (name, cells) in texts.items()}
        return PartColumns(
            kind, scores, lines=lines[rows], columns=chosen, namings=namings, unclear=unclear,
            **others,
        )  # fmt: skip

    test = part("test")
    if test is None:
        raise InputError("no row of the test part; the column part says test or calibration")
    train = np.count_nonzero(parts == "train")
    unused = columns.unread + ((f"{train} rows whose part is train",) if train else ())
    names = [name for name in header if name not in (*special.values(), *chosen)]
    unread = {name: columns.peek(name)[parts == "test"] for name in names}
    said += [f"{what} from {name}" for what, name in special.items()]
    return Understood(test, part("calibration"), unused, unread, tuple(said))


Found = tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...], bool]


def _score_columns(rest: Sequence[str], columns: Columns, labels: StrArray) -> Found | None:
    """Kind and columns of the predictions, in order; names of the classes; whether in doubt."""
    said = set(labels.tolist())
    starts: dict[str, list[str]] = {}
    for name in rest:
        kind = next((kind for kind, start in _START.items() if start.match(name)), None)
        if kind is not None:
            starts.setdefault(kind, []).append(name)
    cells = {name: columns.peek(name) for name in rest}
    numeric = {name: array for name in rest if (array := _floats(cells[name])) is not None}
    if len(starts) > 1:
        shown = [_START[kind].match(names[0]) for kind, names in starts.items()]
        listed = " and ".join(match[0] for match in shown if match)
        raise InputError(f"columns that start with {listed}: keep one kind of them")
    kind, names = next(iter(starts.items()), ("probs", []))
    if len(names) == 1 and not _of_positive(_START[kind].sub("", names[0]), said):
        others = [name for name in numeric if name != names[0] and not NO_CLASS.fullmatch(name)]
        if len(others) > 1:  # it is a p_value, say, beside the columns of classes
            kind, names, numeric = "probs", [], {name: numeric[name] for name in others}
    bare = not names
    every = _candidates(names or list(numeric), numeric, cells, said, bare)
    candidates = list(dict.fromkeys(every))
    fitting: list[tuple[str, ...]] = []
    for some in candidates:
        if kind != "probs" or not set(some) <= set(numeric) or len(some) < 2:
            continue
        values = np.stack([numeric[name] for name in some], 1)
        if (sums_to_one(values) or percent(values)) and some not in fitting:
            fitting.append(some)
    disjoint = [names for names in fitting if not set(names) & set(fitting[0])]
    if disjoint:
        raise InputError(
            f"two sets of columns are probabilities, {_joined(fitting[0])} and "
            f"{_joined(disjoint[0])}: keep one, or call it p_..."
        )
    if bare and not fitting and (ending := _by_end(numeric, said)) is not None:
        return ending
    if not (fitting or candidates):
        return None
    chosen = (fitting or candidates)[0]
    if kind != "probs" and len({_START[kind].sub("", n).isdecimal() for n in chosen}) > 1:
        raise InputError(
            f"columns {_joined(chosen)}: some are numbered and others are not; keep those of the "
            "classes"
        )
    left_out = [name for name in numeric if name not in chosen and not NO_CLASS.fullmatch(name)]
    doubtful = bare and any(_fits(numeric[name]) for name in left_out)
    return kind, *_in_order(chosen, "" if bare else kind, said), doubtful


def _by_end(numeric: Iterable[str], labels: set[str]) -> Found | None:
    """The columns that end alike, such as ``cat_logit`` and ``dog_logit``, or ``y_prob``."""
    for kind, end in _END.items():
        names = tuple(name for name in numeric if end.search(name))
        if len(names) > 1:
            return kind, *_in_order(names, "", labels), False
        if names and _of_positive(end.sub("", names[0]), labels):
            return kind, names, ((end.sub("", names[0]),),), False
    return None


def _of_positive(name: str, labels: set[str]) -> bool:
    return name.lower() in POSITIVE | {"0"} or name in labels


def _floats(cells: StrArray) -> Floats | None:
    try:
        return cells.astype(np.float64)
    except ValueError:
        return None


def _fits(values: Floats) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)


def _candidates(
    names: list[str],
    numeric: dict[str, Floats],
    cells: dict[str, StrArray],
    labels: set[str],
    bare: bool,
) -> Iterator[tuple[str, ...]]:
    """Sets of columns that may be the classes, the likeliest first."""
    if bare:
        whole = {name for name in names if all(map(str.isdecimal, cells[name].tolist()))}
        still = {name for name in whole if np.ptp(numeric[name]) == 0}
        no_class = {name for name in names if NO_CLASS.fullmatch(name)}
        no_class |= {name for name in names if not _fits(numeric[name] / 100)}
        no_class |= still if set(names) - whole - no_class else set()
        kept = [name for name in names if name not in no_class - labels]
        within = [name for name in kept if _fits(numeric[name]) or name in labels]
        yield from (tuple(some) for some in (within, kept, names) if len(some) > 1)
    elif names:
        yield tuple(names)
    sets = {"": [name for name in names if name in labels]}
    for alike in _ALIKE:
        for name in names:
            if match := alike.fullmatch(name):
                sets.setdefault(repr((alike.pattern, match.groups())), []).append(name)
    yield from (tuple(some) for some in sets.values() if len(some) > 1)


def _in_order(
    chosen: tuple[str, ...], kind: str, labels: set[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns in the order of their numbers, if they have such; and names of their classes."""
    stripped = tuple(_START[kind].sub("", name) for name in chosen) if kind else chosen
    matches = [_NUMBERED.fullmatch(name) for name in stripped]
    stems = {(match[1], match[3]) for match in matches if match}
    if all(matches) and len(stems) == 1:
        numbers = [int(match[2]) for match in matches if match]
        order = np.argsort(numbers, kind="stable").tolist()
        chosen, stripped = (tuple(some[i] for i in order) for some in (chosen, stripped))
        by_number = tuple(str(numbers[i]) for i in order)
        spoken = labels <= set(stripped)
        return chosen, ((stripped, by_number) if spoken else (by_number, stripped, chosen))
    prefix, suffix = _shared(stripped), _shared([name[::-1] for name in stripped])[::-1]
    words = re.sub(rf"[^{_BETWEEN}]*$", "", prefix), re.sub(rf"^[^{_BETWEEN}]*", "", suffix)
    shortened = [
        tuple(name.removeprefix(start).removesuffix(end) for name in stripped)
        for start, end in ((words[0], ""), (prefix, ""), words)
    ]
    namings = (stripped, *shortened, chosen)
    told_apart = [naming for naming in namings if len(set(naming)) == len(naming)] or [chosen]
    return chosen, tuple(sorted(told_apart, key=lambda naming: not labels <= set(naming)))


_BETWEEN = r"_ .:\-()\[\]{}|=/"
"""Signs between words."""

_ALIKE = [
    re.compile(form.replace("SIGN", f"[{_BETWEEN}]"))
    for form in (r"(.*?)\d+(\D*)", "(.*SIGN).+", ".+?(SIGN.*)", "(.*?SIGN).+?(SIGN.*)")
]
"""What columns of one kind share: all but a number, or the words before or after their own."""

_NUMBERED = re.compile(rf"(|.*[{_BETWEEN}]|.*?)(-\d+|\d+)(\D*)")


def _shared(names: Sequence[str]) -> str:
    """What all begin with."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names))
    return "".join(letters[0] for letters in same)


def _binary_column(
    kind: str, column: str, values: Floats, name: str, labels: StrArray
) -> tuple[Floats, tuple[tuple[str, ...], ...]]:
    """Scores of both classes, and their names, from the column of one of them."""
    spoken = sorted({_plain_number(label) for label in labels.tolist()})
    if set(spoken) <= {"0", "1"}:
        both = _both(kind, values)
        return (both[:, ::-1] if name == "0" else both), (("0", "1"),)
    if len(spoken) == 2 and name in spoken:
        other = next(label for label in spoken if label != name)
        return _both(kind, values), ((other, name),)
    raise InputError(
        f"{column} is the only column of predictions, so one class only: of the labels "
        f"{_joined(spoken)} none is it for certain; give a column for each class, or name it by "
        "the class that it is of"
    )


def _plain_number(text: str) -> str:
    return text.removesuffix(".0") if re.fullmatch(r"\d+\.0", text) else text


def _unclear(labels: StrArray, namings: tuple[tuple[str, ...], ...], doubtful: bool) -> str:
    """Why whole-number labels beside named columns could mean more than one thing."""
    numbers, names = _floats(labels), [name.lower() for name in namings[0]]
    if numbers is None or any(_floats(np.array(naming)) is not None for naming in namings):
        return ""
    if any(set(labels.tolist()) <= set(naming) for naming in namings):
        return ""
    if names == sorted(names) and numbers.min() == 0 and not doubtful:
        return ""
    return (
        f"whole numbers beside columns that are named {_joined(namings[0])}: they may number the "
        "columns from 0 as they stand, or from 1, or the names in another order; write the names "
        "as labels, or number the columns (p_0, p_1, ...)"
    )


def _numbers(cells: StrArray, column: str, lines: IntArray) -> Floats:
    """Text to numbers."""
    values = _floats(cells)
    if values is not None:
        return values
    for text, line in zip(cells.tolist(), lines.tolist()):
        where = f"column {column}, line {line}"
        if not text:
            raise InputError(f"{where}: empty")
        if _floats(np.array([text])) is None:
            raise InputError(f"{where}: {text!r} is not a number")
    raise AssertionError(column)


def _parts(names: StrArray, lines: IntArray) -> StrArray:
    parts = [part_of(name) for name in names.tolist()]
    if None in parts:
        row = parts.index(None)
        raise InputError(
            f"part {str(names[row])!r} in line {lines[row]}: write test or calibration"
        )
    return np.array(parts)


def _of_parts(columns: Columns, taken: Iterable[str]) -> str:
    """The one column in which all cells name parts of the data, and not all the same one."""
    rest = [name for name in columns.names if name not in {*taken}]
    found = [name for name in rest if len(parts_in(columns.peek(name).tolist())) > 1]
    if len(found) > 1:
        raise InputError(f"both {' and '.join(found)} name parts: call the one that is meant part")
    return found[0] if found else ""
