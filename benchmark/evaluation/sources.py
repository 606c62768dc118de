"""Where predictions come from: files, arrays, or the benchmark's own values."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.api import InputError, Predictions
from benchmark.evaluation.check import Checked, check
from benchmark.evaluation.read import Columns, read
from benchmark.evaluation.understand import Named, PartColumns, Understood, understand

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
    return {p.stem if stems[p.stem] == 1 else p.as_posix(): from_file(p) for p in paths}


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


def from_arrays(
    kind: str,
    scores: Any,
    labels: Any,
    ids: Any = None,
    groups: Any = None,
    classes: Any = None,
    calibration: tuple[Any, Any] | None = None,
) -> dict[str, Checked]:
    """Methods by name, from arrays (or what numpy makes an array of).

    Args:
        kind: of the predictions: ``logits``, ``probs`` or ``log_probs``.
        scores: ``(n, classes)``, or such arrays by the names of methods.
        labels: ``(n,)``, the same for all methods, like all below.
        ids: ``(n,)`` names of the images.
        groups: ``(n,)`` what images hang together.
        classes: their names.
        calibration: scores, of the same kind, and labels of the calibration part.

    Raises:
        InputError: something is missing, or cannot be right.
    """
    methods = scores if isinstance(scores, Mapping) else {ONLY: scores}
    held_out, held_out_labels = calibration or (None, None)
    if not isinstance(held_out, Mapping):
        held_out = dict.fromkeys(methods, held_out)
    checked = {}
    for name, own in methods.items():
        given = {
            kind: own,
            "labels": labels,
            "ids": ids,
            "groups": groups,
            "classes": classes,
            f"calibration_{kind}": held_out.get(name),
            "calibration_labels": held_out_labels,
        }
        arrays = {key: _array(value) for key, value in given.items() if value is not None}
        with _named(name):
            columns = Columns(tuple(arrays), arrays.__getitem__)
            checked[str(name)] = check(name, understand(columns))
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
        part = PartColumns(
            kind="log_probs",
            scores=Named("log_probs", p.log_probs),
            labels=Named("labels", np.asarray(p.labels)),
            ids=Named("ids", np.asarray(p.ids)) if len(p.ids) else None,
            groups=None if p.groups is None else Named("groups", np.asarray(p.groups)),
        )
        with _named(name):
            result = check(name, Understood(part, None, p.classes or None, ()))
        test = dataclasses.replace(result.test, log_probs=p.log_probs, posterior=p.posterior)
        checked[name] = dataclasses.replace(result, test=test)
    return checked


@contextmanager
def _named(where: Path | str) -> Iterator[None]:
    """Say in messages what they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
