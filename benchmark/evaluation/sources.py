"""Where predictions come from: files, arrays, or the benchmark's own values."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.api import InputError, Predictions
from benchmark.evaluation.agree import in_one_order
from benchmark.evaluation.check import Checked, check
from benchmark.evaluation.read import Columns, read
from benchmark.evaluation.understand import understand

ONLY = "predictions"
"""What a method is called that was given as an array without a name."""


def from_files(paths: Sequence[Path]) -> dict[str, Checked]:
    """Methods by name: the files' stems, the whole path as it was typed where two are the same.

    Raises:
        InputError: a file is given twice, or cannot be right.
    """
    for path, count in Counter(paths).items():
        if count > 1:
            raise InputError(f"{path} is given {count} times: give each file once")
    stems = Counter(path.stem for path in paths)
    methods = {p.stem if stems[p.stem] == 1 else p.as_posix(): from_file(p) for p in paths}
    return _joined_folds(in_one_order(methods))


_FOLD = re.compile(r"[_.\- ]*(?:fold|cv|split)[_.\- ]*\d+(?:[_.\- ]*of[_.\- ]*\d+)?", re.IGNORECASE)


def _joined_folds(methods: dict[str, Checked]) -> dict[str, Checked]:
    """Files whose names differ in the number of a fold, and that share no image, are one method."""
    members: dict[str, list[str]] = {}
    for name in methods:
        members.setdefault(_without_fold(name), []).append(name)
    joined: dict[str, Checked] = {}
    stems = Counter(Path(name).stem for name in members if "/" in name)
    for name, own in members.items():
        parts = [methods[one] for one in own]
        if "/" in name and stems[stem := Path(name).stem] == 1 and stem not in members:
            name = stem
        if len(parts) > 1 and _share_nothing(parts):
            joined[name] = _joined(parts, own)
        else:
            joined |= dict(zip(own, parts))
    return joined


def _without_fold(name: str) -> str:
    """A name without the number of its fold."""
    rest = _FOLD.sub("", name, count=1)
    return name if rest == name else rest.replace("//", "/").strip("_.- ") or "folds"


def _share_nothing(parts: Sequence[Checked]) -> bool:
    named = [set(part.test.ids.tolist()) for part in parts]
    if all(named):
        return len(set().union(*named)) == sum(map(len, named))
    first = parts[0].test.labels
    return not any(named) and not any(np.array_equal(first, p.test.labels) for p in parts[1:])


def _joined(parts: Sequence[Checked], names: Sequence[str]) -> Checked:
    """One method of several folds; a calibrator is fitted and applied within each."""
    tests, others = [p.test for p in parts], [p.calibration for p in parts]
    if len({(t.log_probs.shape[1], t.classes, t.groups is None) for t in tests}) > 1:
        raise InputError(
            f"{parts[0].where} and {parts[1].where} are named as folds, but differ in their "
            "classes, or one has no groups"
        )
    held_out = [p for p in others if p is not None]
    same = len(held_out) == len(parts)
    folds = np.repeat(names, [len(t) for t in tests])
    return dataclasses.replace(
        parts[0],
        test=_stacked(tests),
        calibration=_stacked(held_out) if same else None,
        unread={},
        said=(
            *parts[0].said,
            f"the images of {len(parts)} folds are put together: {', '.join(names)}",
        ),
        folds=(folds, np.repeat(names, [len(p) for p in held_out]) if same else None),
        files=tuple(file for p in parts for file in p.files),
    )


def _stacked(parts: Sequence[Predictions]) -> Predictions:
    grouped = all(p.groups is not None for p in parts)
    return dataclasses.replace(
        parts[0],
        log_probs=np.concatenate([p.log_probs for p in parts]),
        labels=np.concatenate([p.labels for p in parts]),
        ids=np.concatenate([p.ids for p in parts]),
        groups=np.concatenate([p.groups for p in parts if p.groups is not None])
        if grouped
        else None,
    )


def from_file(path: Path) -> Checked:
    """Read a file of predictions, understand it and check it.

    Raises:
        InputError: the file cannot be read, lacks something, or holds what cannot be right; the
            message names the file, the key or column, and the row.
    """
    with _named(path):
        try:
            return check(path, understand(read(path)))
        except OSError as error:
            raise InputError(error.strerror or "cannot be read") from error


def from_arrays(kind: str, scores: Any, calibration: Any, **others: Any) -> dict[str, Checked]:
    """Methods by name, from arrays (or what numpy makes an array of).

    Args:
        kind: of the predictions: ``logits``, ``probs`` or ``log_probs``.
        scores: ``(n, classes)``, or such arrays by the names of methods.
        calibration: the like, and labels, of the calibration part; or None.
        others: what all methods share, by the names that it has in an archive: ``labels``, ...

    Raises:
        InputError: something is missing, or cannot be right.
    """
    methods = scores if isinstance(scores, Mapping) else {ONLY: scores}
    if not methods:
        raise InputError("no method: give the predictions of at least one")
    held_out, others["calibration_labels"] = calibration or (None, None)
    if not isinstance(held_out, Mapping):
        held_out = dict.fromkeys(methods, held_out)
    checked = {}
    for name, own in methods.items():
        given = {kind: own, f"calibration_{kind}": held_out.get(name), **others}
        arrays = {key: _array(value) for key, value in given.items() if value is not None}
        with _named(name):
            columns = Columns(tuple(arrays), arrays.__getitem__)
            checked[name] = check(name, understand(columns))
    return checked


def _array(values: Any) -> Any:
    array = np.asarray(values)
    return np.array(array.tolist()) if array.dtype.kind == "O" else array  # text of pandas


def from_predictions(predictions: Mapping[str, Predictions]) -> dict[str, Checked]:
    """Methods by name, from the benchmark's own values, whose numbers stay as they are.

    Raises:
        InputError: something cannot be right.
    """
    checked = {}
    for name, p in predictions.items():
        [method] = from_arrays(
            "log_probs",
            {name: p.log_probs},
            None,
            labels=p.labels,
            ids=p.ids if len(p.ids) else None,
            groups=p.groups,
            classes=p.classes or None,
        ).values()
        test = dataclasses.replace(
            method.test, log_probs=p.log_probs, posterior=p.posterior, resolution=p.resolution
        )
        checked[name] = dataclasses.replace(method, test=test)
    return checked


@contextmanager
def _named(where: Path | str) -> Iterator[None]:
    """Say in messages what they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
