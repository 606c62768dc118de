"""From the store to predictions and costs: all that the tables are made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.api import ORIGIN, BlockKey, Predictions
from benchmark.measures.costs import DISTURBED, SHORT, SHORTEST
from benchmark.measures.declared import costs
from benchmark.results.manifest import Entry, Manifest
from benchmark.results.members import mean_over_members
from benchmark.results.records import CalibrationRecord, FitRecord, PartPredictions
from benchmark.results.store import Store, UnreadableRecordError

STORE = "store"

COST_COLUMNS = (*ORIGIN, "hardware", "metric", "value", "doubt")


@dataclass(frozen=True)
class Content:
    """What a results folder holds.

    Attributes:
        predictions: of every cell whose records are all there.
        train_counts: images of each class that were trained on, by block, fold and seed.
        parts: of each block, what networks predict of the calibration and of the test part, before
            any calibrator; once where methods share them.
        costs: tidy, with the hardware: each method is charged for every fit that it uses. Its
            ``doubt`` says why it cannot be compared; it is empty where it can.
        missing: a sentence for each cell that lacks something.
        notes: sentences on how calibrators were fitted and times taken.
        environment: what the fits were made with.
    """

    predictions: list[Predictions]
    train_counts: dict[BlockKey, dict[tuple[str, int], tuple[int, ...]]]
    parts: dict[BlockKey, list[tuple[Predictions, Predictions]]]
    costs: pd.DataFrame
    missing: list[str]
    notes: list[str]
    environment: dict[str, str]


def load(folder: Path, listing: Manifest) -> Content:
    """Read the records of every cell of a manifest; average members, take what was calibrated."""
    store = Store(folder / STORE)
    fits: dict[str, FitRecord] = {}
    predictions: list[Predictions] = []
    train_counts: dict[BlockKey, dict[tuple[str, int], tuple[int, ...]]] = {}
    parts: dict[tuple[BlockKey, tuple[str, ...]], tuple[Predictions, Predictions]] = {}
    charged: list[dict[str, Any]] = []
    missing: list[str] = []
    environments: dict[str, dict[str, None]] = {}
    unlearnt: dict[tuple[str, str], list[str]] = {}
    disturbed: dict[tuple[str, str], set[str]] = {}
    for entry in sorted(listing.entries, key=_order):
        try:
            for key in entry.fits:
                if key not in fits:
                    fits[key] = store.fit(key)
            calibration = store.calibration(entry.calibration) if entry.calibration else None
        except UnreadableRecordError:
            missing.append(_missing(store, entry))
            continue
        members = [fits[key] for key in entry.fits]
        origin = entry.origin
        plain = _mean(entry, members, [record.test for record in members])
        predictions.append(
            plain
            if calibration is None
            else dataclasses.replace(plain, log_probs=calibration.log_probs)
        )
        train_counts.setdefault(origin.block, {})[origin.replicate] = members[0].train_counts
        if (origin.block, entry.fits) not in parts:
            other = _mean(entry, members, [record.calibration for record in members])
            parts[origin.block, entry.fits] = other, plain
        charged += _costs(entry, members, calibration)
        if calibration is not None and calibration.calibration_errors == 0:
            unlearnt.setdefault((origin.method, origin.dataset), []).append(origin.fold)
        for key, record in zip(entry.fits, members, strict=True):
            if record.disturbed:
                disturbed.setdefault((origin.dataset, origin.backbone), set()).add(key)
            for name, value in record.environment.items():
                environments.setdefault(name, {})[value] = None
    by_block: dict[BlockKey, list[tuple[Predictions, Predictions]]] = {}
    for (block, _), pair in parts.items():
        by_block.setdefault(block, []).append(pair)
    return Content(
        predictions,
        train_counts,
        by_block,
        pd.DataFrame(charged, columns=list(COST_COLUMNS)),
        missing,
        [
            f"{method} on {dataset} ({', '.join(folds)}): no calibration image is misclassified, "
            "so the calibrator could only learn to be surer."
            for (method, dataset), folds in unlearnt.items()
        ]
        + [
            f"{dataset}, {backbone}: other programs used the processor while {len(keys)} of the "
            "fits trained, so that their times are too long: they are marked and have no ratio."
            for (dataset, backbone), keys in disturbed.items()
        ],
        {name: ", ".join(sorted(values)) for name, values in sorted(environments.items())},
    )


def _order(entry: Entry) -> tuple[str, str, str, int]:
    origin = entry.origin
    return origin.preset, origin.dataset, origin.backbone, origin.seed


def _mean(
    entry: Entry, members: Sequence[FitRecord], parts: Sequence[PartPredictions]
) -> Predictions:
    """What the members of a cell predict together of one part."""
    first = parts[0]
    return Predictions(
        origin=entry.origin,
        classes=members[0].classes,
        ids=first.ids,
        labels=first.labels,
        log_probs=mean_over_members([part.log_probs for part in parts]),
        groups=first.groups,
        posterior=first.posterior,
    )


def _costs(
    entry: Entry, members: Sequence[FitRecord], calibration: CalibrationRecord | None
) -> list[dict[str, Any]]:
    """What the cell is charged: every fit that it uses, shared or not."""
    charged: dict[str, float] = {"fits": len(members)}
    for name in members[0].costs:
        if all(name in record.costs for record in members):
            charged[name] = costs()[name].combine([record.costs[name] for record in members])
    charged["calibrate_seconds"] = calibration.costs["calibrate_seconds"] if calibration else 0.0
    hardware = " + ".join(sorted({record.hardware for record in members}))
    where = dataclasses.asdict(entry.origin) | {"hardware": hardware}
    return [
        where | {"metric": name, "value": value, "doubt": _doubt(name, members)}
        for name, value in charged.items()
    ]


def _doubt(cost: str, members: Sequence[FitRecord]) -> str:
    """Why a cost of these fits cannot be compared; nothing where it can."""
    timed = costs()[cost].timed
    if timed and any(record.disturbed for record in members):
        return DISTURBED
    seconds = [record.costs.get("train_seconds", SHORTEST) for record in members]
    return SHORT if timed == "training" and min(seconds) < SHORTEST else ""


def _missing(store: Store, entry: Entry) -> str:
    keys = [*entry.fits, *([entry.calibration] if entry.calibration else [])]
    reasons = {reason for key in keys if (reason := store.failure(key))}
    why = "; ".join(sorted(reasons)) or "not finished"
    o = entry.origin
    return f"{o.method} on {o.dataset} {o.fold}, seed {o.seed}, is missing: {why}."
