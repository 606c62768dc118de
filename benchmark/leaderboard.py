"""From a results folder to its tables, figures and page: without torch or a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmark import report, statistics
from benchmark.api import InputError
from benchmark.plan.presets import REFERENCE
from benchmark.plan.registry import select_glob
from benchmark.results import manifest
from benchmark.results.files import write_atomically
from benchmark.results.load import load
from benchmark.statistics import Tables


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """What a results folder says.

    Attributes:
        tables: values with intervals, ranks, differences, tests over blocks, notes.
        scores: tidy, of each replicate and of all test images of a seed together.
        costs: tidy, with the hardware.
        missing: a sentence for each cell that lacks something.
    """

    tables: Tables
    scores: pd.DataFrame
    costs: pd.DataFrame
    missing: list[str]


def regenerate(
    folder: Path,
    *,
    datasets: str | None = None,
    metric_names: Sequence[str] | None = None,
    against: str | None = None,
    alpha: float = 0.05,
) -> Leaderboard:
    """Write scores, costs, tables, figures and the page of a results folder.

    Args:
        folder: with a manifest and a store.
        datasets: names or globs to restrict the tables to.
        metric_names: metrics to show; all that the data allow by default.
        against: the method that the others are compared with; by default the usual reference, and
            the best alone where that is missing.
        alpha: one minus the confidence of the intervals.

    Raises:
        InputError: nothing is stored there, or an unknown data set, metric or method.
    """
    listing = manifest.read(folder)
    if not listing.entries:
        raise InputError(f"{folder} holds no results yet; make some with `run`")
    if datasets is not None:
        names = {entry.origin.dataset: entry.origin.dataset for entry in listing.entries}
        listing = listing.restrict(set(select_glob(datasets, names, "data set")))
    content = load(folder, listing)
    if not content.predictions:
        raise InputError(
            f"{folder}: no cell is complete. {' '.join(content.missing[:3])} Run it again"
        )
    _check_reference(against, {p.origin.method for p in content.predictions})
    reference = against or REFERENCE
    scores = statistics.scores(content.predictions, metric_names)
    tables = statistics.summarise(
        content.predictions, metric_names, reference, alpha, scores=scores
    )
    _check_reference(against, set(tables.ranks["method"]))
    for name, frame in (("scores", scores), ("costs", content.costs)):
        text = frame.to_csv(index=False, lineterminator="\n")
        write_atomically(folder / f"{name}.csv", text.encode())
    notes = [p["note"] for p in listing.presets.values() if p["note"]] + content.notes
    notes += [f"{name}: {note}" for name, listed in listing.notes.items() for note in listed]
    tables = dataclasses.replace(tables, notes=(*content.missing, *tables.notes, *notes))
    report.write(
        folder,
        tables,
        content.predictions,
        content.costs,
        listing.definitions(),
        {"command": "; ".join(listing.commands), **content.environment},
        reference,
        alpha,
        REFERENCE,
        scores,
    )
    return Leaderboard(tables, scores, content.costs, content.missing)


def _check_reference(against: str | None, methods: set[str]) -> None:
    if against is not None and against not in methods:
        known = ", ".join(sorted(methods)) or "none"
        raise InputError(
            f"no method of the name {against!r} is complete in any block; there are {known}"
        )
