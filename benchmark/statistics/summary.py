"""All tables of a set of predictions: every block by itself, then over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from benchmark.api import Floats, InputError, Predictions
from benchmark.measures.declared import ranked, select
from benchmark.plan.seeding import derive
from benchmark.statistics.blocks import Block, build, ordered
from benchmark.statistics.estimates import (
    FEW_ERRORS,
    FEW_GROUPS,
    estimate,
    few_errors,
    invert,
)
from benchmark.statistics.intervals import Bootstrap
from benchmark.statistics.over_blocks import over_blocks
from benchmark.statistics.ranks import RANK_COLUMNS, rank_rows
from benchmark.statistics.rows import PAIR_COLUMNS, VALUE_COLUMNS, pair_rows, value_rows
from benchmark.statistics.scores import Known, known_scores, measure


@dataclass(frozen=True, eq=False)
class Tables:
    """All that the report shows.

    Attributes:
        values: one row per preset, dataset, backbone, folds, method, metric.
        ranks: one row per block and method.
        pairs: one row per block, metric, method and reference.
        overall: one row per metric over all blocks.
        mean_ranks: one row per metric and method over all blocks.
        notes: small print, in sentences.
    """

    values: pd.DataFrame
    ranks: pd.DataFrame
    pairs: pd.DataFrame
    overall: pd.DataFrame
    mean_ranks: pd.DataFrame
    notes: tuple[str, ...]


Rows = list[dict[str, object]]


@dataclass(eq=False)
class BlockRows:
    """The rows of one block."""

    values: Rows = field(default_factory=list)
    ranks: Rows = field(default_factory=list)
    pairs: Rows = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def summarise(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None = None,
    against: str = "cross-entropy",
    alpha: float = 0.05,
    seed: int = 0,
    scores: pd.DataFrame | None = None,
) -> Tables:
    """All tables of a set of predictions.

    Only methods that have every replicate of their block are shown and compared; the others, and
    the replicates that most methods lack, are named in the notes.

    Args:
        predictions: of any methods, data sets and replicates.
        metrics: names; None means all that can be computed. The ranked ones (accuracy, ECE, NLL)
            are always included.
        against: the method that the others are compared with, besides the best.
        alpha: one minus the coverage of the intervals, and the level of the tests.
        seed: of all random draws.
        scores: of the same predictions and seed, as :func:`benchmark.statistics.scores` gives
            them: what they hold is not measured again.

    Raises:
        InputError: a metric or fold is unknown, a replicate occurs twice, alpha is not between 0
            and 1, or methods of a block were tested on different images.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha={alpha}: choose a level between 0 and 1, such as 0.05")
    if metrics is not None:
        metrics = [*metrics, *ranked()]
        select(metrics, True)
    arranged = ordered(predictions, seed)
    blocks, notes = build(arranged)
    known = {} if scores is None else known_scores(scores)
    # Where replicates are left out, the folds of a seed together are other ones.
    kept = {p for block in blocks for parts in block.parts.values() for p in parts}
    joined_otherwise = {replace(p.origin, fold="pooled") for p in arranged if p not in kept}
    known = {key: value for key, value in known.items() if key[0] not in joined_otherwise}
    tables = [block_rows(block, known, metrics, against, alpha, seed) for block in blocks]
    values = pd.DataFrame([row for t in tables for row in t.values], columns=list(VALUE_COLUMNS))
    overall, mean_ranks, more = over_blocks(values, blocks, metrics, alpha)
    return Tables(
        values=values,
        ranks=pd.DataFrame([row for t in tables for row in t.ranks], columns=list(RANK_COLUMNS)),
        pairs=pd.DataFrame([row for t in tables for row in t.pairs], columns=list(PAIR_COLUMNS)),
        overall=overall,
        mean_ranks=mean_ranks,
        notes=(*notes, *(note for t in tables for note in t.notes), *more),
    )


def block_rows(
    block: Block,
    known: Known,
    metrics: Sequence[str] | None,
    against: str,
    alpha: float,
    seed: int,
) -> BlockRows:
    """All rows of one block: a pure function, apart from all other blocks.

    Args:
        block: the methods.
        known: values that need not be measured again.
        metrics: names; None means all that can be computed.
        against: the reference.
        alpha: one minus the coverage.
        seed: of all random draws.
    """
    generator = np.random.default_rng(derive(seed, *block.key))
    boot = Bootstrap.draw(block.units, generator)
    chosen = select(metrics, block.posterior)
    names = [metric.name for metric in chosen]
    by_replicate = _values(block.parts, names, known)
    by_seed = _values(block.samples, names, known)
    inverted = invert(block, chosen, alpha)
    few = [few_errors(block, method) for method in block.methods]
    # Replicates are in the order of seeds, and of folds within each.
    shaped = {
        name: values.reshape(len(block.methods), block.seeds, -1)
        for name, values in by_replicate.items()
    }
    rows = BlockRows(notes=_notes(block, against, few))
    estimates = {}
    for metric in chosen:
        name = metric.name
        estimates[name] = estimate(block, metric, boot, inverted, alpha, by_seed[name])
        rows.values += value_rows(block, metric, estimates[name], shaped[name], few, alpha)
        rows.pairs += pair_rows(block, metric, estimates[name], against, alpha)
    rows.ranks = rank_rows(block, estimates, shaped, boot, generator, alpha)
    return rows


def _values(
    samples: dict[str, tuple[Predictions, ...]], names: Sequence[str], known: Known
) -> dict[str, Floats]:
    """By metric, ``(methods, predictions)``."""
    values = measure([p for listed in samples.values() for p in listed], names, known)
    return {
        name: np.array([[values[p.origin, name] for p in listed] for listed in samples.values()])
        for name in names
    }


def _notes(block: Block, against: str, few: Sequence[bool]) -> list[str]:
    notes = []
    if against not in block.methods:
        notes.append(
            f"{block.label}: {against} is missing or incomplete, so methods are compared with the "
            "best one only."
        )
    if any(few):
        listed = ", ".join(method for method, is_few in zip(block.methods, few) if is_few)
        groups = "" if block.groups is None else f" (or errors in fewer than {FEW_GROUPS} groups)"
        notes.append(
            f"{block.label}: fewer than {FEW_ERRORS} errors{groups} of {listed}; "
            "intervals may cover less than they say."
        )
    if block.groups is not None:
        number = len(set(block.units.tolist()))
        notes.append(
            f"{block.label}: {block.images} images in {number} groups; intervals resample whole "
            "groups. The noise floors of the sweep, class-wise and smooth errors take images for "
            "independent."
        )
    return notes
