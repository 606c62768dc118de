"""The fixed small matrix: eight methods, one of each kind, on an easy and a hard set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.api import FloatArray, InputError, IntArray, StrArray

if TYPE_CHECKING:
    from benchmark.api import Predictions
    from benchmark.running.prepare import Work
    from benchmark.running.request import Request

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


@dataclass(frozen=True, kw_only=True)
class Set:
    """One of the two data sets and how it is trained on.

    On the easy one methods are nearly calibrated, some underconfident; on the hard one they are
    overconfident: what makes a method worse on neither is no regression.

    Attributes:
        name: ``easy`` or ``hard``.
        dataset: as on the command line.
        preset: as on the command line.
        folds: replicates whose test parts are pooled.
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
class Predicted:
    """What the methods predict for one set.

    Attributes:
        ids: ``(n,)`` names of the test images, ascending.
        labels: ``(n,)``.
        log_probs: ``(n, classes)`` float32 by method and seed.
        missing: why a method and seed is not there.
    """

    ids: StrArray
    labels: IntArray
    log_probs: Mapping[tuple[str, int], FloatArray]
    missing: Mapping[tuple[str, int], str]


@dataclass(frozen=True, eq=False)
class Trained:
    """One set, trained.

    Attributes:
        request: what was asked for; its store holds the records.
        work: the plan with its cells and parts.
        predicted: pooled over folds and members, calibrated.
    """

    request: Request
    work: Work
    predicted: Predicted


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


@contextmanager
def trained(chosen: Set, seeds: int) -> Iterator[Trained]:
    """Train the matrix's methods on one set, in a folder that is gone afterwards."""
    from benchmark.plan import registry

    with TemporaryDirectory(prefix="guard-") as folder:
        datasets = registry.select_datasets(chosen.dataset)
        yield train(
            Path(folder),
            methods=",".join(METHODS),
            datasets=datasets,
            preset=chosen.preset,
            folds=chosen.folds,
            seeds=seeds,
        )


def train(folder: Path, **choices: Any) -> Trained:
    """Train what a request says, on the CPU, and read what was stored as the leaderboard does."""
    from benchmark.results import manifest
    from benchmark.results.load import load
    from benchmark.running.execute import execute
    from benchmark.running.prepare import prepare
    from benchmark.running.request import Request

    request = Request(device="cpu", results=folder, cache=folder / "cache", **choices)
    work = prepare(request)
    outcome = execute(request, work)
    content = load(folder, manifest.read(folder))
    pooled: dict[tuple[str, int], list[Predictions]] = {}
    for p in content.predictions:
        pooled.setdefault((p.origin.method, p.origin.seed), []).append(p)
    wanted = {(c.method.name, c.task.seed) for c in work.cells}
    folds = len({c.task.fold for c in work.cells})
    complete = {key: found for key, found in pooled.items() if len(found) == folds}
    if not complete:
        raise InputError(f"no method could be trained: {'; '.join(content.missing[:3])}")
    why = "; ".join(sorted(set(outcome.failed.values()))) or "it is not in the store"
    columns = {key: _in_order(found) for key, found in complete.items()}
    ids, labels, _ = next(iter(columns.values()))
    return Trained(
        request,
        work,
        Predicted(
            ids,
            labels,
            {key: log_probs for key, (_, _, log_probs) in columns.items()},
            dict.fromkeys(sorted(wanted - set(complete)), why),
        ),
    )


def _in_order(folds: list[Predictions]) -> tuple[StrArray, IntArray, FloatArray]:
    """Ids, labels and log-probabilities of all folds' test images, by ascending id."""
    ids = np.concatenate([p.ids for p in folds])
    order = np.argsort(ids)
    labels = np.concatenate([p.labels for p in folds])[order]
    log_probs = np.concatenate([p.log_probs for p in folds])[order].astype(np.float32)
    return ids[order], labels, log_probs
