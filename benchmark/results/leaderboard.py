"""From the store to the tables: a pure function of a results folder, without torch or a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark import report
from benchmark import statistics as stats
from benchmark.api import ORIGIN, InputError, Predictions, require
from benchmark.measures.declared import costs
from benchmark.plan.registry import select_glob
from benchmark.results import manifest
from benchmark.results.combine import pool
from benchmark.results.manifest import Entry, Manifest
from benchmark.results.store import Record, Store, UnreadableRecordError, write_atomically

STORE = "store"
REFERENCE = "cross-entropy"


@dataclass(frozen=True)
class Content:
    """What a results folder holds.

    Attributes:
        predictions: of every cell whose records are all there.
        costs: tidy, with the hardware: each method is charged for every fit that it uses.
        missing: a sentence for each cell that lacks something.
        notes: sentences on how calibrators were fitted and times taken.
        environment: what the fits were made with.
    """

    predictions: list[Predictions]
    costs: pd.DataFrame
    missing: list[str]
    notes: list[str]
    environment: dict[str, str]


def load(folder: Path, listing: Manifest) -> Content:
    """Read the records of every cell of a manifest; pool members, take calibrated predictions."""
    store = Store(folder / STORE)
    records: dict[str, Record] = {}
    predictions: list[Predictions] = []
    charged: list[dict[str, Any]] = []
    missing: list[str] = []
    environments: dict[str, dict[str, None]] = {}
    unlearnt: dict[tuple[str, str], list[str]] = {}
    disturbed: dict[tuple[str, str], set[str]] = {}
    for entry in sorted(listing.entries, key=lambda e: (e.preset, e.dataset, e.backbone, e.seed)):
        keys = [*entry.fits, *([entry.calibration] if entry.calibration else [])]
        try:
            for key in keys:
                if key not in records:
                    records[key] = store.read(key)
        except UnreadableRecordError:
            missing.append(_missing(store, entry, keys))
            continue
        fits = [records[key] for key in entry.fits]
        calibration = records[entry.calibration] if entry.calibration else None
        predictions.append(_predictions(entry, fits, calibration))
        if calibration is not None and calibration.info["calibration_errors"] == 0:
            unlearnt.setdefault((entry.method, entry.dataset), []).append(entry.fold)
        charged += _costs(entry, fits, calibration)
        for fit, record in zip(entry.fits, fits, strict=True):
            if _disturbed(record):
                disturbed.setdefault((entry.dataset, entry.backbone), set()).add(fit)
            for name, value in record.info["environment"].items():
                environments.setdefault(name, {})[str(value)] = None
    columns = [*ORIGIN, "hardware", "metric", "value"]
    return Content(
        predictions,
        pd.DataFrame(charged, columns=columns),
        missing,
        [
            f"{method} on {dataset} ({', '.join(folds)}): no calibration image is misclassified, "
            "so the calibrator could only learn to be surer."
            for (method, dataset), folds in unlearnt.items()
        ]
        + [
            f"{dataset}, {backbone}: other programs used the processor while {len(fits)} of the "
            "fits trained, so that their times are too long: do not compare costs."
            for (dataset, backbone), fits in disturbed.items()
        ],
        {name: ", ".join(sorted(values)) for name, values in sorted(environments.items())},
    )


def _disturbed(record: Record) -> bool:
    """Whether training on a CPU had to wait for others for more than a tenth of its time."""
    on_cpu = record.info["environment"]["device"] == "cpu"
    return on_cpu and bool(record.info.get("train_cpu_share", 1.0) < 0.9)


def regenerate(
    folder: Path,
    *,
    datasets: str | None = None,
    metric_names: Sequence[str] | None = None,
    against: str | None = None,
    alpha: float = 0.05,
) -> list[str]:
    """Write scores, costs, tables, figures and the page of a results folder.

    Args:
        folder: with a manifest and a store.
        datasets: names or globs to restrict the tables to.
        metric_names: metrics to show; all that the data allow by default.
        against: the method that the others are compared with; by default cross-entropy, and the
            best alone where that is missing.
        alpha: one minus the confidence of the intervals.

    Returns:
        A sentence for each cell that is missing.

    Raises:
        InputError: nothing is stored there, or an unknown data set, metric or method.
    """
    listing = manifest.read(folder)
    require(bool(listing.entries), f"{folder} holds no results yet; make some with `run`")
    names = {entry.dataset: entry.dataset for entry in listing.entries}
    if datasets is not None:
        chosen = set(select_glob(datasets, names, "data set"))
        listing = listing.restrict(chosen)
    content = load(folder, listing)
    if not content.predictions:
        raise InputError(
            f"{folder}: no cell is complete. {' '.join(content.missing[:3])} Run it again"
        )
    _known(against, {p.origin.method for p in content.predictions})
    reference = against or REFERENCE
    tables = stats.summarise(
        content.predictions, metrics=metric_names, against=reference, alpha=alpha
    )
    _known(against, set(tables.ranks["method"]))
    scores = stats.scores(content.predictions, metric_names)
    _write_csv(folder / "scores.csv", scores)
    _write_csv(folder / "costs.csv", content.costs)
    notes = [p["note"] for p in listing.presets.values() if p["note"]] + content.notes
    notes += [f"{name}: {note}" for name, listed in listing.notes.items() for note in listed]
    report.write(
        folder,
        dataclasses.replace(tables, notes=(*content.missing, *tables.notes, *notes)),
        content.predictions,
        content.costs,
        listing.definitions(),
        {"command": "; ".join(listing.commands), **content.environment},
        reference,
        alpha,
    )
    return content.missing


def _known(against: str | None, methods: set[str]) -> None:
    require(
        against is None or against in methods,
        f"--against {against}: no method of that name is complete in any block; there are "
        f"{', '.join(sorted(methods)) or 'none'}",
    )


def _predictions(entry: Entry, fits: list[Record], calibration: Record | None) -> Predictions:
    first = fits[0]
    if calibration is not None:
        log_probs = calibration.arrays["test_log_probs"]
    else:
        log_probs = pool([record.arrays["test_log_probs"] for record in fits])
    return Predictions(
        origin=entry.origin,
        classes=tuple(first.info["classes"]),
        ids=first.arrays["test_ids"],
        labels=first.arrays["test_labels"],
        log_probs=log_probs,
        groups=first.arrays.get("test_groups"),
        posterior=first.arrays.get("test_posterior"),
    )


def _costs(entry: Entry, fits: list[Record], calibration: Record | None) -> list[dict[str, Any]]:
    """What the cell is charged: every fit that it uses, shared or not."""
    each = [record.info["costs"] for record in fits]
    charged: dict[str, float] = {"fits": len(fits)}
    for name in each[0]:
        require(
            name in costs(),
            f"a record holds the cost {name!r}, which nobody declares: is a folder of plug-ins "
            "missing?",
        )
        if all(name in measured for measured in each):
            charged[name] = costs()[name].combine([measured[name] for measured in each])
    charged["calibrate_seconds"] = (
        calibration.info["costs"]["calibrate_seconds"] if calibration else 0.0
    )
    hardware = " + ".join(sorted({_hardware(record) for record in fits}))
    where = dataclasses.asdict(entry.origin) | {"hardware": hardware}
    return [where | {"metric": name, "value": value} for name, value in charged.items()]


def _hardware(record: Record) -> str:
    """What a fit was timed on, and whether it may have shared it: costs differ by both."""
    name, at_once = str(record.info["environment"]["hardware"]), record.info["fits_at_once"]
    return f"{name}, up to {at_once} fits at once" if at_once > 1 else name


def _missing(store: Store, entry: Entry, keys: list[str]) -> str:
    reasons = {reason for key in keys if (reason := store.failure(key))}
    why = "; ".join(sorted(reasons)) or "not finished"
    return f"{entry.method} on {entry.dataset} {entry.fold}, seed {entry.seed}, is missing: {why}."


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    text = frame.to_csv(index=False, lineterminator="\n")
    write_atomically(path, text.encode())
