"""Predictions made anywhere else, measured and compared like those of the benchmark's own runs."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark import __version__, report
from benchmark import statistics as stats
from benchmark.api import InputError, Origin, Predictions, StrArray, require
from benchmark.evaluation.prediction_files import PredictionFile, read
from benchmark.measures.declared import metrics
from benchmark.report.board import Board, make_boards
from benchmark.report.words import (
    FEW_ERRORS,
    FOOTNOTES,
    INSIDE_FLOOR,
    column_head,
    interval,
    number,
    p_value,
    quantity,
    sensible_digits,
)
from benchmark.results import manifest
from benchmark.results.files import write_atomically
from benchmark.statistics import Tables

REFERENCE = "cross-entropy"
PRESET, BACKBONE, FOLD = "evaluate", "external", "official"
"""What stands in the tables where nothing is known of how the predictions were made."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is known of the files' methods.

    Attributes:
        methods: names, each file's before those of its calibrators.
        images: how many test images.
        against: the method that the others are compared with.
        alpha: one minus the confidence of the intervals.
        tables: all numbers.
        unused: keys or columns that were not read, by file.
        folder: where the report is.
    """

    methods: tuple[str, ...]
    images: int
    against: str
    alpha: float
    tables: Tables
    unused: Mapping[Path, tuple[str, ...]]
    folder: Path


def evaluate(
    paths: Sequence[Path],
    folder: Path,
    *,
    calibrate: str | None = None,
    name: str = "predictions",
    metric_names: Sequence[str] | None = None,
    against: str | None = None,
    alpha: float = 0.05,
    command: str = "",
) -> Evaluation:
    """Measure files of predictions, compare them, and write the report.

    Args:
        paths: the files; each is a method, all on the same test images.
        folder: where the report goes.
        calibrate: names or globs of calibrators; each adds a method for each file.
        name: of the data set, for the headings.
        metric_names: metrics to show; all by default.
        against: the method that the others are compared with; cross-entropy if there is one,
            else the first.
        alpha: one minus the confidence of the intervals.
        command: the command line, for the report.

    Raises:
        InputError: a file cannot be right, two files are not about the same images, a calibrator,
            metric or method is unknown, or a file lacks the part that calibrators are fitted on.
    """
    require(bool(name.strip()), "--name is empty: name the data set")
    predictions, definitions, unused = _methods(paths, calibrate, name)
    methods = tuple(p.origin.method for p in predictions)
    if against is None:
        against = REFERENCE if REFERENCE in methods else methods[0]
    require(
        against in methods, f"--against {against}: no such method; there are {', '.join(methods)}"
    )
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        own = not (folder / manifest.NAME).exists()
    require(own, f"--out {folder}: that folder holds the results of a run; choose another")
    unknown_truth = [
        n for n in metric_names or () if n in metrics() and metrics()[n].needs_posterior
    ]
    require(
        not unknown_truth,
        f"--metrics {','.join(unknown_truth)}: only where the true probabilities are known, which "
        "no file holds",
    )
    tables = stats.summarise(predictions, metrics=metric_names, against=against, alpha=alpha)
    scores = stats.scores(predictions, metric_names)
    made_of = {f"file {path}": _digest(path) for path in paths}
    provenance = {"command": command, **made_of, **_environment()}
    with _writing(folder):
        _write_scores(folder / "scores.csv", scores)
        no_costs = pd.DataFrame()
        report.write(
            folder, tables, predictions, no_costs, definitions, provenance, against, alpha,
            REFERENCE, scores,
        )  # fmt: skip
    images = len(predictions[0].labels)
    return Evaluation(methods, images, against, alpha, tables, unused, folder)


# --- from files to methods -----------------------------------------------------------------


def _methods(
    paths: Sequence[Path], calibrate: str | None, name: str
) -> tuple[list[Predictions], list[dict[str, Any]], dict[Path, tuple[str, ...]]]:
    """Predictions of each file and calibrator, their definitions, and what was not read."""
    if calibrate is not None:
        from benchmark.plan import registry  # imports every plug-in, so only if it is needed

        chosen = registry.select_glob(calibrate, registry.calibrators(), "calibrator")
        require(bool(chosen), "--calibrate: name at least one (see `list calibrators`)")
    else:
        chosen = []
    names = _method_names(paths)
    files = [read(path) for path in paths]
    for file in files:
        if chosen and file.calibration is None:
            raise InputError(
                f"{file.path}: --calibrate needs a part to fit on: add val_logits (or val_probs) "
                "and val_labels, in a table rows whose part is calibration"
            )
        if chosen and file.calibration is not None and len(set(file.calibration.labels)) == 1:
            raise InputError(
                f"{file.path}: --calibrate: all {len(file.calibration.labels)} images of the "
                f"calibration part are of class {file.calibration.labels[0]}; calibrators are "
                "fitted on images of at least two classes"
            )
    classes = _classes(files)
    ids, groups = _images(files)
    predictions, definitions = [], []
    for file, method, own_ids in zip(files, names, ids):
        predicted = Predictions(
            origin=Origin(preset=PRESET, dataset=name, backbone=BACKBONE, method=method, fold=FOLD),
            classes=classes,
            ids=own_ids,
            labels=file.test.labels,
            log_probs=file.test.log_probs,
            groups=None if groups is None else np.array([groups[i] for i in own_ids.tolist()]),
        )
        predictions.append(predicted)
        summary = f"Predictions read from {file.path}."
        definitions.append({"name": method, "summary": summary, "paper": "", "parameters": {}})
        for calibrator in chosen:
            assert file.calibration is not None
            fitted = calibrator.fit(file.calibration.log_probs, file.calibration.labels)
            label = f"{method}+{calibrator.name}"
            log_probs = fitted(file.test.log_probs)
            origin = dataclasses.replace(predicted.origin, method=label)
            predictions.append(dataclasses.replace(predicted, origin=origin, log_probs=log_probs))
            fitted_on = f"{len(file.calibration.labels)} images of the calibration part"
            definitions.append(
                {
                    "name": label,
                    "summary": f"{method}, then: {calibrator.summary} Fitted on {fitted_on}.",
                    "paper": calibrator.paper,
                    "parameters": {},
                }
            )
    counts = Counter(p.origin.method for p in predictions)
    again = [method for method, count in counts.items() if count > 1]
    require(not again, f"two methods would be called {again}: rename one of the files")
    return predictions, definitions, {f.path: f.unused for f in files if f.unused}


def _method_names(paths: Sequence[Path]) -> list[str]:
    """The files' stems; the whole path as it was typed where two stems are the same."""
    for path, count in Counter(paths).items():
        require(count == 1, f"{path} is given {count} times: give each file once")
    stems = Counter(path.stem for path in paths)
    return [path.stem if stems[path.stem] == 1 else path.as_posix() for path in paths]


def _images(files: Sequence[PredictionFile]) -> tuple[list[StrArray], dict[str, str] | None]:
    """Names of each file's images, and the group of each image, agreed on by all files.

    A file without names has its images in the order of the others.

    Raises:
        InputError: two files are not about the same images, labels, classes or groups.
    """
    first = files[0]
    for file in files[1:]:
        both = f"{first.path} and {file.path}"
        ours, theirs = (f.test.log_probs.shape for f in (first, file))
        require(
            ours[1] == theirs[1],
            f"{both} have {ours[1]} and {theirs[1]} classes: methods are compared on the same ones",
        )
        require(
            ours[0] == theirs[0],
            f"{both} have {ours[0]} and {theirs[0]} test images: methods are compared image by "
            "image, on the same ones",
        )
    named = [file for file in files if file.test.ids is not None]
    ids = [_ids_of(file, named) for file in files]
    labels: dict[str, int] = {}
    groups: dict[str, str] = {}
    grouped: PredictionFile | None = None
    for file, own in zip(files, ids):
        found = dict(zip(own.tolist(), file.test.labels.tolist()))
        labels = labels or found
        _agree("labels", first, file, labels, found)
        if file.test.groups is not None:
            own_groups = dict(zip(own.tolist(), file.test.groups.tolist()))
            groups, grouped = groups or own_groups, grouped or file
            _agree("groups", grouped, file, groups, own_groups)
    return ids, groups or None


def _ids_of(file: PredictionFile, named: Sequence[PredictionFile]) -> StrArray:
    if not named:
        return np.array([f"{i:08d}" for i in range(len(file.test.labels))])
    names = [f.test.ids for f in named if f.test.ids is not None]
    if file.test.ids is not None:
        return file.test.ids
    same = all(np.array_equal(names[0], other) for other in names)
    if not same:
        raise InputError(
            f"{file.path} names no images, and {named[0].path} and others have theirs in "
            "different orders: add ids to it"
        )
    return names[0]


def _classes(files: Sequence[PredictionFile]) -> tuple[str, ...]:
    """Names of the classes; their numbers where no file says more."""
    numbers = tuple(map(str, range(files[0].test.log_probs.shape[1])))
    named = [file for file in files if file.classes not in (None, numbers)]
    for file in named[1:]:
        require(
            file.classes == named[0].classes,
            f"{named[0].path} and {file.path} name their classes differently, or in another order",
        )
    return named[0].classes or numbers if named else numbers


def _agree(
    what: str,
    one: PredictionFile,
    other: PredictionFile,
    known: Mapping[str, Any],
    found: Mapping[str, Any],
) -> None:
    both = f"{one.path} and {other.path}"
    strange = next((name for name in found if name not in known), None)
    require(
        strange is None,
        f"{both} are not about the same images: {strange!r} is in the second alone",
    )
    wrong = next((name for name in found if found[name] != known[name]), None)
    if wrong is not None:
        count = sum(found[name] != known[name] for name in found)
        raise InputError(
            f"{both} give different {what} to {count} of {len(found)} images, first to "
            f"{wrong!r}: {known[wrong]} and {found[wrong]}; both must be in the same order, or "
            "name their images in ids"
        )


# --- what is written -----------------------------------------------------------------------


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"--out {folder}: {error.strerror}") from error


def _write_scores(path: Path, scores: pd.DataFrame) -> None:
    write_atomically(path, scores.to_csv(index=False, lineterminator="\n").encode())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "benchmark": __version__,
    }


# --- what is printed -----------------------------------------------------------------------


def as_json(result: Evaluation) -> str:
    """All numbers for programs; null where there is none, ``"Infinity"`` for an infinite loss."""
    tables, [board] = result.tables, _boards(result)
    methods = []
    for method in result.methods:
        rank = _rows(tables.ranks, method=method)[0]
        metrics = {
            row["metric"]: {key: row[key] for key in _VALUE_KEYS}
            for row in _rows(tables.values, method=method)
        }
        for row in _rows(tables.pairs, method=method, reference=result.against):
            metrics[row["metric"]]["difference"] = {key: row[key] for key in _PAIR_KEYS}
        for row in _rows(tables.pairs, method=method):
            if row["reference"] == board.leaders[row["metric"]]:
                keys = ("reference", *_PAIR_KEYS)
                metrics[row["metric"]]["difference_to_best"] = {key: row[key] for key in keys}
        methods.append(
            {"method": method, **{key: rank[key] for key in _RANK_KEYS}, "metrics": metrics}
        )
    content = {
        "images": result.images,
        "alpha": result.alpha,
        "against": result.against,
        "methods": methods,
        "notes": list(tables.notes),
        "report": str(result.folder / "report.html"),
    }
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)


_VALUE_KEYS = (
    *("value", "low", "high", "floor_mean", "floor_high"),
    *("p_calibrated", "inside_floor", "few_errors"),
)
_RANK_KEYS = ("rank", "chance_best", "group")
_PAIR_KEYS = ("difference", "low", "high", "effect_size", "p", "p_holm")


def _boards(result: Evaluation) -> tuple[Board, ...]:
    return make_boards(result.tables, pd.DataFrame(), result.against, result.alpha)


def _rows(frame: pd.DataFrame, **where: str) -> list[dict[str, Any]]:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    """The same in JSON's own types."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def as_table(result: Evaluation, width: int | None = None) -> str:
    """For the terminal: every metric of every method with its interval, floor and difference."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    several = len(result.methods) > 1
    [board] = _boards(result)
    covered, point = (f"{100 * share:.4g} %" for share in (1 - result.alpha, 1 - result.alpha / 2))
    heads = ["value", f"{covered} interval", f"noise floor\nmean, {point}", "p\ncalibrated"]
    if several:
        heads += [f"difference to\n{result.against}", "p\n(Holm)"]
        heads += ["difference to\nthe best", "p\n(Holm)"]
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("method" if several else "metric", overflow="fold")
    for head in heads:
        table.add_column(head, justify="right", overflow="fold")
    signs: set[str] = set()
    for name in metrics():
        rows = {row["method"]: row for row in _rows(result.tables.values, metric=name)}
        pairs = [
            {row["method"]: row for row in _rows(result.tables.pairs, metric=name, reference=to)}
            for to in (result.against, board.leaders.get(name, ""))
        ]
        kind = quantity(name)
        scale = kind.scale
        digits = sensible_digits([(r["high"] - r["low"]) / 2 * scale for r in rows.values()], 3)
        title = column_head(name)
        if several and rows:
            table.add_row(title, style="bold")
        for method in (m for m in result.methods if m in rows):
            row = rows[method]
            marks = INSIDE_FLOOR * row["inside_floor"] + FEW_ERRORS * row["few_errors"]
            signs |= set(marks)
            cells = [
                f"  {method}" if several else title,
                number(row["value"] * scale, digits) + marks,
                interval(row["low"] * scale, row["high"] * scale, digits),
                ", ".join(
                    number(row[k] * scale, digits)
                    for k in ("floor_mean", "floor_high")
                    if not math.isnan(row[k])
                ),
                "" if math.isnan(row["p_calibrated"]) else p_value(row["p_calibrated"]),
            ]
            if several:
                cells += [c for to in pairs for c in _difference(to.get(method), scale, digits)]
            table.add_row(*cells, end_section=several and method == result.methods[-1])
    text = io.StringIO()
    console = Console(file=text, width=width, markup=False, emoji=False, highlight=False)
    console.print(table, end="\n\n")
    said = [f"{sign} {meaning}" for sign, meaning in FOOTNOTES if sign in signs]
    for sentence in (f"{result.images:,} test images.", *said, *result.tables.notes):
        console.print(sentence)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _difference(pair: Mapping[str, Any] | None, scale: float, digits: int) -> list[str]:
    if pair is None:
        return ["", ""]
    bounds = interval(pair["low"] * scale, pair["high"] * scale, digits)
    p = "" if math.isnan(pair["p_holm"]) else p_value(pair["p_holm"])
    return [f"{number(pair['difference'] * scale, digits)} {bounds}".rstrip(), p]
