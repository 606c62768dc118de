"""What stands beside a block's methods: the class shares, and whether the parts are alike.

The class shares are what predicts, for every image alike, how common each class is among the images
that were trained on. They are measured like a method, but not ranked, compared or counted as one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import cast

import numpy as np
from scipy import special

from benchmark.api import Predictions
from benchmark.measures.bins import Groups
from benchmark.measures.declared import metrics as declared
from benchmark.measures.declared import ranked
from benchmark.statistics.blocks import Block, Replicate, build, ordered
from benchmark.statistics.rows import BlockTables
from benchmark.statistics.summary import tabulate

SHARES = "class-shares"
"""What they are called in the place of a method."""

BEATEN = ("accuracy", "nll", "brier")
"""In these a method that knows anything of an image beats them; a calibration error cannot tell."""


def class_shares(like: Predictions, counts: Sequence[int]) -> Predictions:
    """The prediction of the class shares for the images of other predictions.

    One is added to every count (Laplace), so that no class has probability 0.

    Args:
        like: predictions of the same images.
        counts: ``(classes,)`` images of each class that were trained on.
    """
    shares = np.asarray(counts, dtype=np.float64) + 1
    log_probs = np.log(shares / shares.sum())
    return replace(like, log_probs=np.tile(log_probs, (len(like), 1))).at(method=SHARES)


def with_shares(
    tables: BlockTables,
    predictions: Sequence[Predictions],
    counts: Mapping[Replicate, Sequence[int]],
    metrics: Sequence[str] | None,
    alpha: float,
) -> BlockTables:
    """The rows of a block with the values of the class shares, which rank nowhere, at their end.

    A note says which of the best methods do not beat them. Where a method has their name, or none
    is complete, nothing is added.

    Args:
        tables: of the block.
        predictions: that they were made from.
        counts: by fold and seed, ``(classes,)`` images of each class that were trained on.
        metrics: names; None means all.
        alpha: one minus the coverage of the intervals.
    """
    if not tables.methods or SHARES in tables.methods:
        return tables
    block, _ = build(ordered(predictions))
    assert block is not None
    first = block.parts[block.methods[0]]
    shares = [class_shares(p, counts[p.origin.replicate]) for p in first]
    return replace(
        tables,
        values=[*tables.values, *tabulate(shares, metrics, "", alpha).values],
        notes=[*tables.notes, *_not_beaten(tables, block, shares, alpha)],
    )


def _not_beaten(
    tables: BlockTables, block: Block, shares: list[Predictions], alpha: float
) -> list[str]:
    """Which of the best methods do not beat the class shares, in sentences."""
    best = _best(tables)
    parts = [p for method in best for p in block.parts[method]]
    pairs = tabulate([*parts, *shares], BEATEN, SHARES, alpha).pairs
    against = {
        (p["method"], p["metric"]): p
        for p in pairs
        if p["reference"] == SHARES and p["question"] == "networks"
    }
    notes = []
    for method, why in best.items():
        equal: list[str] = []
        worse: list[str] = []
        for name in BEATEN:
            metric, pair = declared()[name], against[method, name]
            sign = 1 if metric.direction == "higher" else -1
            ends = (cast(float, pair[key]) for key in ("difference", "low", "high"))
            difference, low, high = (end * metric.scale for end in ends)
            if not min(sign * low, sign * high) > 0:
                bounds = "" if math.isnan(low) else f" [{low:.3g}, {high:.3g}]"
                said = f"difference {difference:.3g}{bounds} {metric.printed_unit}".rstrip()
                shown = worse if max(sign * low, sign * high) < 0 else equal
                shown.append(f"{metric.short} ({said})")
        if worse:
            notes.append(
                f"{block.label}: {method} ({', '.join(why)}) is worse than the class shares in "
                f"{', '.join(worse)}, given these trained networks: to say, of every image, how "
                "common each class is would be better."
            )
        if equal:
            notes.append(
                f"{block.label}: {method} ({', '.join(why)}) is not shown to beat the class "
                f"shares in {', '.join(equal)}, given these trained networks: to say, of every "
                "image, how common each class is may be as good."
            )
    return notes


def _best(tables: BlockTables) -> dict[str, list[str]]:
    """The methods that are best by rank or in a ranked metric, and in what."""
    best: dict[str, list[str]] = {}
    rank = min(cast(float, row["rank"]) for row in tables.ranks)
    for row in tables.ranks:
        if row["rank"] == rank:
            best.setdefault(str(row["method"]), []).append("best rank")
    for name in ranked():
        higher = declared()[name].direction == "higher"
        own = [row for row in tables.values if row["metric"] == name]
        values = {str(row["method"]): cast(float, row["value"]) for row in own}
        most = (max if higher else min)(values.values())
        for method, value in values.items():
            if value == most:
                words = f"{'highest' if higher else 'lowest'} {declared()[name].short}"
                best.setdefault(method, []).append(words)
    return best


# --- calibration and test part -----------------------------------------------------------------


def unlike(parts: Sequence[tuple[Predictions, Predictions]], alpha: float) -> list[str]:
    """A sentence where methods are right more or less often on one part than chance explains.

    The difference of two proportions is divided by its standard error if the parts were alike:
    from the variance between images, or groups, of both together (or of one, where that is
    larger), with Yates's correction and Welch's degrees of freedom. Over methods and seeds it is
    averaged as if they all erred on the same images, and over folds as if these were independent:
    where one fold calibrates what another tests, that too makes the error larger than it is.

    Args:
        parts: of some methods of a block, for each replicate: predictions of the calibration and
            of the test part, as the networks made them.
        alpha: level of the test.
    """
    if not parts:
        return []
    by_fold = groupby(sorted(parts, key=_fold), key=_fold)
    folds = np.array([np.mean([_difference(*pair) for pair in pairs], 0) for _, pairs in by_fold])
    calibration, test, excess = folds[:, :3].mean(0).tolist()
    variance, degrees = folds[:, 3] ** 2, folds[:, 4]
    if not variance.any() or not degrees.min() > 0:
        return []
    error = math.sqrt(variance.sum()) / len(folds)
    freedom = variance.sum() ** 2 / (variance**2 / degrees).sum()
    p = 2 * float(special.stdtr(freedom, -max(abs(test - calibration) - excess, 0) / error))
    if p >= alpha:
        return []
    origin = parts[0][0].origin
    where = ", ".join(part for part in (origin.dataset, origin.backbone) if part)
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return [
        f"{where}: {100 * calibration:.1f} % of the images of the calibration part are classified "
        f"rightly, but {100 * test:.1f} % of the test part ({chance}): more than chance explains. "
        "The two parts seem to be of different kinds of images (other patients, other devices, "
        "another mix of diseases, say). What a calibrator learns on the one then does not carry "
        "over to the other: do not rely on calibrated probabilities here."
    ]


def _fold(pair: tuple[Predictions, Predictions]) -> str:
    return pair[0].origin.fold


def _difference(calibration: Predictions, test: Predictions) -> tuple[float, ...]:
    """Accuracy of both parts, Yates's correction, standard error, degrees of freedom."""
    both = (calibration, test)
    codes = [np.arange(len(p)) if p.group_codes is None else p.group_codes for p in both]
    units = [Groups(own) for own in codes]
    images = np.array([len(p) for p in both], dtype=float)
    means = [float(p.correct.mean()) for p in both]
    together = np.concatenate([p.correct for p in both]).mean()
    squares, own, degrees = 0.0, [], []
    for p, unit in zip(both, units):
        squares += (unit.sums(p.correct[:, None] - together) ** 2).sum()
        own.append((unit.residuals(unit.sums(p.correct[:, None])) ** 2).sum() / len(p) ** 2)
        degrees.append(unit.effective(np.ones(len(p))) - 1)
    variance = np.maximum(squares / images.sum() / images, own)
    correction = (1 / images).sum() / 2
    known = variance.sum() > 0 and min(degrees) > 0
    freedom = variance.sum() ** 2 / (variance**2 / degrees).sum() if known else min(degrees)
    return (*means, correction, float(np.sqrt(variance.sum())), freedom)
