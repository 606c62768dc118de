"""Predictions made anywhere else, measured and compared like those of the benchmark's own runs."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark import __version__
from benchmark import statistics as stats
from benchmark.api import (
    BoolArray,
    Calibrator,
    Floats,
    InputError,
    Origin,
    Predictions,
)
from benchmark.api import (
    calibrate as fit_and_apply,
)
from benchmark.evaluation import sources
from benchmark.evaluation.agree import (
    apart,
    by_position,
    in_one_spelling,
    same_classes,
    same_images,
)
from benchmark.evaluation.check import Checked
from benchmark.measures.declared import metrics as declared

PRESET, BACKBONE, FOLD = "evaluate", "external", "official"
"""What stands in the tables where nothing is known of how the predictions were made."""

FEW = 5
"""Below so many errors the calibration part teaches a calibrator little."""

Files: TypeAlias = str | Path | Sequence[str | Path]
Scores: TypeAlias = npt.ArrayLike | Mapping[str, npt.ArrayLike]


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """What is known of some methods on one set of test images, given these trained networks.

    Attributes:
        methods: names, each one's before those of its calibrated versions.
        images: how many test images.
        against: the method that the others are compared with.
        alpha: one minus the confidence of the intervals.
        scores: the metrics alone, one row for each method and metric.
        intervals: one row for each method and metric, and at the end, where there is a calibration
            part, those of its class shares: ``value``, ``low``, ``high``, noise floor
            (``floor_mean``, ``floor_high``), ``p_calibrated``, ``inside_floor`` (0 or 1) and more.
        pairs: one row for each metric, method and reference (``against``, and the best method of
            the metric): ``difference`` with its interval, effect size and p-values.
        ranks: one row for each method, best first: ``rank``, ``against_first``; and of each
            ranked metric, such as ECE, ``rank_ece``, ``group_ece`` (methods that share a letter
            cannot be told apart) and ``best_ece`` (whether it cannot be excluded as the best).
        notes: small print, in sentences.
        unused: what was not read of a file, by its name.
        understood: how each file was read, and what was fitted, in sentences.
        calibrations: of each calibrated method, ``images`` and ``errors`` of the calibration part,
            and the fitted ``parameters``, where the calibrator says them.
        report: the page with everything, if it was asked for.
    """

    methods: tuple[str, ...]
    images: int
    against: str
    alpha: float
    scores: pd.DataFrame
    intervals: pd.DataFrame
    pairs: pd.DataFrame
    ranks: pd.DataFrame
    notes: tuple[str, ...]
    unused: Mapping[str, tuple[str, ...]]
    understood: tuple[str, ...]
    calibrations: Mapping[str, Mapping[str, Any]]
    report: Path | None


def evaluate(
    predictions: Files | Mapping[str, Predictions] = (),
    *,
    probs: Scores | None = None,
    logits: Scores | None = None,
    log_probs: Scores | None = None,
    labels: npt.ArrayLike | None = None,
    ids: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    classes: Sequence[str] | None = None,
    calibration: tuple[Scores, npt.ArrayLike] | None = None,
    calibrate: str | Sequence[str] | None = None,
    name: str = "predictions",
    metrics: Sequence[str] | None = None,
    against: str | None = None,
    preferred: str | None = None,
    alpha: float = 0.05,
    out: str | Path | None = None,
    command: str = "",
) -> Evaluation:
    """Measure predictions, compare them, and write a report if it is asked for.

    Predictions come from files, from the benchmark's own values, or from arrays: ``probs``,
    ``logits`` or ``log_probs``, each one array or one for each method, by name. All are about the
    same test images.

    Args:
        predictions: one or more ``.npz`` or ``.csv`` files, each a method, or Predictions by the
            names of methods.
        probs: ``(n, classes)`` probabilities.
        logits: ``(n, classes)``.
        log_probs: ``(n, classes)`` natural logarithms of probabilities.
        labels: ``(n,)`` indices or names of the true classes, or ``(n, classes)`` one-hot rows.
        ids: ``(n,)`` names of the images.
        groups: ``(n,)`` what images hang together (slide, patient): intervals resample groups.
        classes: names of the classes.
        calibration: predictions, of the same kind, and labels of the calibration part.
        calibrate: names or globs of calibrators, fitted on the calibration part; each adds a
            method for each method.
        name: of the data set, for the headings.
        metrics: names of the metrics to show; all by default.
        against: the method that the others are compared with; the first by default.
        preferred: what ``against`` is by default if there is a method of that name.
        alpha: one minus the confidence of the intervals.
        out: folder for the report; by default nothing is written.
        command: how it was called, for the report.

    Raises:
        InputError: predictions cannot be right, two are not about the same images, a calibrator,
            metric or method is unknown, or the part is missing that calibrators are fitted on.
    """
    if not name.strip():
        raise InputError("the name of the data set is empty: name it")
    chosen = [] if calibrate is None else _calibrators(calibrate)
    given = _methods(
        predictions,
        {"probs": probs, "logits": logits, "log_probs": log_probs},
        labels=labels,
        ids=ids,
        groups=groups,
        classes=classes,
        calibration=calibration,
    )
    methods = in_one_spelling(given)
    measured, definitions, fitted = _predictions(methods, chosen, name)
    understood = _understood(methods.values(), chosen, measured, fitted)
    names = tuple(p.origin.method for p in measured)
    if against is None:
        against = next((n for n in names if n == preferred), names[0])
    if against not in names:
        raise InputError(f"no method is called {against}; there are {', '.join(names)}")
    if measured[0].posterior is None:
        unknown = [m for m in metrics or () if m in declared() and declared()[m].needs_posterior]
        if unknown:
            raise InputError(
                f"{', '.join(unknown)}: only where the true probabilities are known, which no "
                "file holds"
            )
    folder = None if out is None else _folder(out)
    stats.check(metrics, alpha)
    rows = stats.tabulate(measured, metrics, against, alpha)
    rows = _with_calibration_part(rows, list(methods.values()), measured, metrics, alpha)
    tables = stats.gather([rows], metrics, alpha)
    if folder is not None:
        from benchmark import report  # nothing of it is needed for the numbers
        from benchmark.report.curves import of_methods
        from benchmark.results.files import write_atomically

        table = tables.scores.to_csv(index=False, lineterminator="\n")
        write_atomically(folder / "scores.csv", table.encode())
        provenance, no_costs = _provenance(command, methods.values()), pd.DataFrame()
        block, _ = stats.build(stats.ordered(measured))
        curves = {measured[0].origin.block: of_methods(block, alpha)}
        shown = dataclasses.replace(tables, notes=(*tables.notes, *understood))
        report.write(
            folder, shown, curves, no_costs, definitions, provenance, against, alpha,
            cost_reference=preferred or "",
        )  # fmt: skip
    return Evaluation(
        methods=names,
        images=len(measured[0]),
        against=against,
        alpha=alpha,
        scores=tables.scores,
        intervals=tables.values,
        pairs=tables.pairs,
        ranks=tables.ranks,
        notes=tables.notes,
        unused={str(m.where): m.unused for m in methods.values() if m.unused},
        understood=tuple(understood),
        calibrations={f.method: f.plain() for f in fitted},
        report=None if folder is None else folder / "report.html",
    )


# --- from what was given to methods ----------------------------------------------------------


def _methods(
    predictions: Files | Mapping[str, Predictions], scores: Mapping[str, Any], **others: Any
) -> dict[str, Checked]:
    kinds = [kind for kind, value in scores.items() if value is not None]
    beside = [name for name, value in others.items() if value is not None]
    if isinstance(predictions, (str, Path)):
        predictions = [predictions]
    if len(kinds) + bool(predictions) != 1:
        raise InputError(
            "give predictions in one way: files, or Predictions by name, or arrays as one of "
            "probs, logits and log_probs"
        )
    if kinds:
        return sources.from_arrays(kinds[0], scores[kinds[0]], **others)
    if beside:
        raise InputError(f"{', '.join(beside)}: only with arrays; files hold their own")
    if isinstance(predictions, Mapping):
        return sources.from_predictions(predictions)
    return sources.from_files([Path(path) for path in predictions])


def _calibrators(names: str | Sequence[str]) -> list[Calibrator]:
    from benchmark.plan import registry  # imports every plug-in, so only if it is needed

    text = names if isinstance(names, str) else ",".join(names)
    known = registry.calibrators()
    chosen = registry.select_glob(text, known, "calibrator")
    if not chosen:
        raise InputError(f"no calibrator is named; there are {', '.join(known)}")
    return chosen


def _predictions(
    methods: Mapping[str, Checked], calibrators: Sequence[Calibrator], dataset: str
) -> tuple[list[Predictions], list[dict[str, Any]], list[CalibrationFit]]:
    """Predictions of each method and its calibrated versions, definitions, and what was fitted."""
    for method in methods.values():
        if calibrators:
            _check_calibration(method)
    classes = same_classes(list(methods.values()))
    ids, groups = same_images(list(methods.values()))
    predictions, definitions, fitted = [], [], []

    def add(new: Predictions, summary: str, paper: str = "") -> None:
        predictions.append(new)
        name = new.origin.method
        definitions.append({"name": name, "summary": summary, "paper": paper, "parameters": {}})

    for (name, method), own_ids in zip(methods.items(), ids):
        plain = dataclasses.replace(
            method.test,
            origin=Origin(
                preset=PRESET, dataset=dataset, backbone=BACKBONE, method=name, fold=FOLD
            ),
            classes=classes,
            ids=own_ids,
            groups=None if groups is None else np.array([groups[i] for i in own_ids.tolist()]),
        )
        read = " and ".join(map(str, method.files))
        add(plain, f"Predictions read from {read}." if read else "Predictions in memory.")
        for calibrator in calibrators:
            new = f"{name}+{calibrator.name}"
            log_probs, fit = _calibrated(method, calibrator, new)
            fitted.append(fit)
            add(
                dataclasses.replace(plain.at(method=new), log_probs=log_probs),
                f"{name}, then: {calibrator.summary} Fitted on {fit.images} "
                f"images of the calibration part{fit.values}.",
                calibrator.paper,
            )
    counts = Counter(p.origin.method for p in predictions)
    again = [name for name, count in counts.items() if count > 1]
    if again:
        raise InputError(f"two methods would be called {again}: rename one of the files")
    # Methods are compared image by image.
    by_name = [p.take(np.argsort(p.ids, kind="stable")) for p in predictions]
    return by_name, definitions, fitted


@dataclass(frozen=True)
class CalibrationFit:
    """What is known of a calibrator after it was fitted."""

    method: str
    images: int
    errors: int
    parameters: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def values(self) -> str:
        """The parameters, in words."""
        return "".join(f"; {name} {value:.5g}" for name, value in self.parameters.items())

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {
            "images": self.images,
            "errors": self.errors,
            "parameters": dict(self.parameters),
            "notes": list(self.notes),
        }

    def said(self) -> list[str]:
        """In sentences."""
        few = f" (fewer than {FEW}: they teach little)" if self.errors < FEW else ""
        first = f"{self.images} images of the calibration part, {self.errors} errors{few}"
        return [f"{self.method}: {text}" for text in (first + self.values, *self.notes)]


def _calibrated(
    method: Checked, calibrator: Calibrator, name: str
) -> tuple[Floats, CalibrationFit]:
    """Calibrated log-probabilities of the test part; within each fold where there are several."""
    test, other = method.test, method.calibration
    assert other is not None
    result: Floats = np.empty(test.log_probs.shape)
    parameters: dict[str, float] = {}
    notes: dict[str, None] = {}
    for fold, rows, fitted_on in _by_fold(method):
        if not fitted_on.any():
            raise InputError(f"{method.where}: no image of the calibration part is of fold {fold}")
        result[rows], fitted = fit_and_apply(
            calibrator, other.log_probs[fitted_on], other.labels[fitted_on], test.log_probs[rows]
        )
        values = getattr(fitted, "parameters", {})
        parameters |= {f"{key} of {fold}" if fold else key: v for key, v in values.items()}
        notes |= dict.fromkeys(f"{fold}: {n}" if fold else n for n in getattr(fitted, "notes", ()))
    errors = int((other.predicted != other.labels).sum())
    return result, CalibrationFit(name, len(other), errors, parameters, tuple(notes))


def _by_fold(method: Checked) -> Iterator[tuple[str, BoolArray, BoolArray]]:
    """Each fold's name, and which images of the test and of the calibration part are of it."""
    assert method.calibration is not None
    here, there = method.folds or (None, None)
    if here is None or there is None:
        yield "", np.ones(len(method.test), bool), np.ones(len(method.calibration), bool)
        return
    for fold in dict.fromkeys(here.tolist()):
        yield fold, here == fold, there == fold


def _understood(
    methods: Iterable[Checked],
    calibrators: Sequence[Calibrator],
    measured: Sequence[Predictions],
    fitted: Sequence[CalibrationFit],
) -> list[str]:
    """How everything was read, in sentences."""
    methods, first = list(methods), measured[0]
    shown = first.classes if len(first.classes) <= 8 else (*first.classes[:7], "...")
    said = [f"{len(first.classes)} classes: {', '.join(shown)}"]
    said += [f"{m.where}: {'; '.join(m.said)}" for m in methods if m.said]
    said += [f"{m.where}: not read: {', '.join(m.unused)}" for m in methods if m.unused]
    said += by_position(methods)
    if calibrators:
        said += [note for m in methods for note in apart(m)]
    return said + [sentence for fit in fitted for sentence in fit.said()]


def _check_calibration(method: Checked) -> None:
    if method.calibration is None:
        wanted = (
            "add val_logits (or val_probs) and val_labels, in a table rows whose part is "
            "calibration"
            if isinstance(method.where, Path)
            else "give the predictions and labels of a calibration part"
        )
        raise InputError(f"{method.where}: calibrators need a part to fit on: {wanted}")
    labels = method.calibration.labels
    if len(set(labels.tolist())) == 1:
        raise InputError(
            f"{method.where}: all {len(labels)} images of the calibration part are of class "
            f"{labels[0]}; calibrators are fitted on images of at least two classes"
        )


def _with_calibration_part(
    block: stats.BlockTables,
    methods: Sequence[Checked],
    measured: Sequence[Predictions],
    metrics: Sequence[str] | None,
    alpha: float,
) -> stats.BlockTables:
    """The rows with the calibration part's class shares, and whether the parts are alike."""
    first = measured[0]
    labels = [m.calibration.labels for m in methods if m.calibration is not None]
    if not labels:
        return block

    def only(p: Predictions, rows: BoolArray, fold: str) -> Predictions:
        return dataclasses.replace(
            p.take(rows), origin=dataclasses.replace(first.origin, fold=fold or FOLD)
        )

    pairs = [
        (only(method.calibration, there, fold), only(method.test, here, fold))
        for method in methods
        if method.calibration is not None
        for fold, here, there in _by_fold(method)
        if there.any()
    ]
    counts = np.bincount(labels[0], minlength=first.log_probs.shape[1]).tolist()
    block = stats.with_shares(block, measured, {first.origin.replicate: counts}, metrics, alpha)
    return dataclasses.replace(block, notes=[*block.notes, *stats.unlike(pairs, alpha)])


# --- the report ------------------------------------------------------------------------------


def _folder(path: str | Path) -> Path:
    """Make the folder, unless it is that of a run."""
    from benchmark.results import manifest

    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"no report in {folder}: {error.strerror}") from error
    if (folder / manifest.NAME).exists():
        raise InputError(
            f"{folder} holds the results of a run; choose another folder for the report"
        )
    return folder


def _provenance(command: str, methods: Iterable[Checked]) -> dict[str, str]:
    """How the numbers were made: from which bytes, with which versions."""
    said = {"command": command}
    for path in (path for m in methods for path in m.files):
        with path.open("rb") as file:
            said[f"file {path}"] = f"SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
    versions = {"numpy": np.__version__, "benchmark": __version__}
    return said | {"python": platform.python_version()} | versions
