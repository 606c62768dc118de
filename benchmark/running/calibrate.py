"""Fit each cell's calibrator on the calibration part, and store what it predicts."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmark import api
from benchmark.plan.cells import Cell
from benchmark.results.members import mean_over_members
from benchmark.results.records import CalibrationRecord
from benchmark.results.store import Store, UnreadableRecordError


def calibrate(cells: Sequence[Cell], store: Store, force: bool) -> Iterator[tuple[Cell, str]]:
    """Calibrate the cells whose fits are all there; the labels of the test part are not used.

    Args:
        cells: those without a calibrator are passed over.
        store: of the fits, and of what is made here.
        force: fit again what is stored.

    Returns:
        Each cell whose calibrator failed, and why; the others go on.
    """
    for cell in cells:
        key = cell.calibration
        if key is None or cell.calibrator is None:
            continue
        try:
            records = [store.fit(fit.key) for fit in cell.fits]
        except UnreadableRecordError:
            continue
        fitted_on = mean_over_members([record.calibration.log_probs for record in records])
        test = mean_over_members([record.test.log_probs for record in records])
        source = hashlib.sha256(fitted_on.tobytes() + test.tobytes()).hexdigest()
        if not force and _stored_source(store, key) == source:
            continue
        labels = records[0].calibration.labels
        started = time.perf_counter()
        try:
            calibrated, _ = api.calibrate(cell.calibrator, fitted_on, labels, test)
        except Exception as error:  # a plug-in's own
            reason = f"{cell.calibrator.name}: {type(error).__name__}: {error}"
            store.fail(key, reason)
            yield cell, reason
            continue
        seconds = time.perf_counter() - started
        record = CalibrationRecord(
            log_probs=calibrated.astype(np.float32),
            calibrator=cell.calibrator.name,
            fits=tuple(fit.key for fit in cell.fits),
            source=source,
            calibration_errors=int((fitted_on.argmax(1) != labels).sum()),
            costs={"calibrate_seconds": seconds},
        )
        store.write(key, record)


def _stored_source(store: Store, key: str) -> str | None:
    try:
        return store.calibration(key).source
    except UnreadableRecordError:
        return None
