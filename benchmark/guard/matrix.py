"""The fixed small matrix: eight methods, one of each kind, on an easy and a hard set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmark.api import InputError, Predictions

METHODS = (
    "cross-entropy",
    "label-smoothing",
    "focal",
    "mixup",
    "mc-dropout",
    "deep-ensemble",
    "temperature-scaling",
    "mhml-4",
)
"""The first is what the others' times are held to."""


@dataclass(frozen=True, kw_only=True)
class Set:
    """One of the two data sets and how it is trained on.

    On the easy one methods are nearly calibrated, some underconfident; on the hard one they are
    overconfident: what makes a method worse on neither is no regression.

    Attributes:
        name: ``easy`` or ``hard``.
        dataset: as on the command line.
        preset: as on the command line.
        folds: replicates whose test parts are joined.
    """

    name: str
    dataset: str
    preset: str
    folds: int


SETS = (
    Set(name="easy", dataset="digits", preset="quick[epochs=8]", folds=2),
    Set(
        name="hard",
        dataset="simulated[train=600,calibration=300,test=1000]",
        preset="quick[epochs=12]",
        folds=1,
    ),
)

SEEDS = 8
"""Trainings of each method on each set in one run of the guard."""


@dataclass(frozen=True, eq=False)
class Trained:
    """One set, trained.

    Attributes:
        predictions: by method and seed, of all folds, by ascending id, in single precision.
        missing: why others are not there, in sentences that begin with the method.
    """

    predictions: Mapping[tuple[str, int], Predictions]
    missing: Sequence[str] = ()


def describe() -> dict[str, dict[str, Any]]:
    """All that the baseline must agree with, as plain values: of each set and each method."""
    from benchmark.plan import registry

    described = {}
    for s in SETS:
        preset = registry.select_preset(s.preset)
        described[f"the {s.name} set"] = {
            **dataclasses.asdict(s),
            **dataclasses.asdict(preset.settings),
            **preset.parameters,
        }
    for name in METHODS:
        (method,) = registry.select_methods(name)
        calibrator = {"calibrator": method.calibrator or "none"}
        described[name] = registry.parameters_of(method) | calibrator
    return described


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What two descriptions differ in, as ``passes of mc-dropout 30 -> 3``."""
    return [
        f"{key} of {name} {one.get(key, 'absent')} -> {other.get(key, 'absent')}"
        for name in dict.fromkeys((*old, *new))
        for one, other in [(old.get(name, {}), new.get(name, {}))]
        for key in dict.fromkeys((*one, *other))
        if one.get(key) != other.get(key)
    ]


def train(chosen: Set, seeds: int) -> Trained:
    """Train the methods on one set, on the CPU, and read what was stored as the leaderboard does.

    Raises:
        InputError: no method could be trained.
    """
    from benchmark.plan import registry
    from benchmark.results import manifest
    from benchmark.results.load import load
    from benchmark.running.execute import execute
    from benchmark.running.prepare import prepare
    from benchmark.running.request import Request

    with TemporaryDirectory(prefix="guard-") as name:
        folder = Path(name)
        request = Request(
            methods=",".join(METHODS),
            datasets=registry.select_datasets(chosen.dataset),
            preset=chosen.preset,
            folds=chosen.folds,
            seeds=seeds,
            device="cpu",
            results=folder,
            cache=folder / "cache",
        )
        execute(request, prepare(request))
        content = load(folder, manifest.read(folder))
    folds: dict[tuple[str, int], list[Predictions]] = {}
    for p in content.predictions:
        folds.setdefault((p.origin.method, p.origin.seed), []).append(p)
    joined = {key: _join(parts) for key, parts in folds.items() if len(parts) == chosen.folds}
    if not joined:
        raise InputError(f"no method could be trained: {'; '.join(content.missing[:3])}")
    return Trained(joined, content.missing)


def _join(folds: Sequence[Predictions]) -> Predictions:
    """All folds' test images, by ascending id; rounded to what the baseline keeps."""
    ids, labels, log_probs = (
        np.concatenate([getattr(p, name) for p in folds]) for name in ("ids", "labels", "log_probs")
    )
    order = np.argsort(ids)
    return Predictions(
        ids=ids[order], labels=labels[order], log_probs=log_probs[order].astype(np.float32)
    )
