"""All tables of a set of predictions: every block by itself, then over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace

import numpy as np
import pandas as pd

from benchmark.api import ORIGIN, Floats, InputError, Predictions
from benchmark.measures.declared import ranked, select
from benchmark.plan.seeding import derive
from benchmark.statistics.blocks import Block, build, by_block, joined_seeds, ordered
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
from benchmark.statistics.scores import SCORE_COLUMNS, Known, measure
from benchmark.statistics.tables import BlockTables, Tables


def summarise(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None = None,
    against: str = "",
    alpha: float = 0.05,
    seed: int = 0,
) -> Tables:
    """All tables of a set of predictions.

    Only methods that have every replicate of their block are shown and compared; the others, and
    the replicates that most methods lack, are named in the notes.

    Args:
        predictions: of any methods, data sets and replicates.
        metrics: names; None means all that can be computed. The ranked ones (accuracy, ECE, NLL)
            are always compared.
        against: the method that the others are compared with, besides the best.
        alpha: one minus the coverage of the intervals, and the level of the tests.
        seed: of all random draws.

    Raises:
        InputError: a metric or fold is unknown, a replicate occurs twice, alpha is not between 0
            and 1, or methods of a block were tested on different images.
    """
    check(metrics, alpha)
    blocks = by_block(predictions)
    return gather(
        [tabulate(block, metrics, against, alpha, seed) for block in blocks.values()],
        metrics,
        alpha,
    )


def check(metrics: Sequence[str] | None, alpha: float) -> None:
    """Refuse what no table can be made of.

    Raises:
        InputError: a metric is unknown, or alpha is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha={alpha}: choose a level between 0 and 1, such as 0.05")
    select(metrics, True)


def gather(blocks: Sequence[BlockTables], metrics: Sequence[str] | None, alpha: float) -> Tables:
    """The tables of all blocks, with the tests over blocks.

    Args:
        blocks: in the order of the tables.
        metrics: names; None means all.
        alpha: level of the tests.
    """
    complete = [block for block in blocks if block.methods]

    def frame(name: str, columns: Sequence[str]) -> pd.DataFrame:
        rows = [row for block in complete for row in getattr(block, name)]
        return pd.DataFrame(rows, columns=list(columns))

    values = frame("values", VALUE_COLUMNS)
    overall, mean_ranks, more = over_blocks(values, complete, with_ranked(metrics), alpha)
    scores = [row for block in blocks for row in block.scores]
    pooled = [row for row in scores if row[ORIGIN.index("fold")] == "pooled"]
    single = [row for row in scores if row[ORIGIN.index("fold")] != "pooled"]
    return Tables(
        values=values,
        ranks=frame("ranks", RANK_COLUMNS),
        pairs=frame("pairs", PAIR_COLUMNS),
        overall=overall,
        mean_ranks=mean_ranks,
        scores=pd.DataFrame(single + pooled, columns=list(SCORE_COLUMNS)),
        notes=(
            *(note for block in blocks for note in block.left_out),
            *(note for block in blocks for note in block.notes),
            *more,
        ),
    )


def with_ranked(metrics: Sequence[str] | None) -> list[str] | None:
    """These metrics and those that methods are ranked by; None means all."""
    return None if metrics is None else [*metrics, *ranked()]


def tabulate(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None,
    against: str,
    alpha: float,
    seed: int = 0,
    known: Known | None = None,
) -> BlockTables:
    """All rows of one block: a pure function, apart from all other blocks.

    Args:
        predictions: of the block, of all methods and replicates.
        metrics: names of the scores to give; None means all that can be computed.
        against: the reference.
        alpha: one minus the coverage.
        seed: of all random draws.
        known: values that need not be measured again.
    """
    arranged = ordered(predictions, seed)
    measured = measure([*arranged, *joined_seeds(arranged)], metrics, known or {})
    scores = [(*astuple(origin), metric, value) for (origin, metric), value in measured.items()]
    block, left_out = build(arranged)
    first = arranged[0]
    empty = BlockTables(
        key=first.origin.block, methods=(), posterior=first.posterior is not None, scores=scores,
        values=[], ranks=[], pairs=[], left_out=left_out, notes=[],
    )  # fmt: skip
    if block is None:
        return empty
    # Where replicates are left out, the folds of a seed together are other ones.
    kept = {p for parts in block.parts.values() for p in parts}
    otherwise = {replace(p.origin, fold="pooled") for p in arranged if p not in kept}
    measured = {key: value for key, value in measured.items() if key[0] not in otherwise}
    generator = np.random.default_rng(derive(seed, *block.key))
    boot = Bootstrap.draw(block.units, generator)
    chosen = select(with_ranked(metrics), block.posterior)
    names = [metric.name for metric in chosen]
    by_replicate = _values(block.parts, names, measured)
    by_seed = _values(block.samples, names, measured)
    inverted = invert(block, chosen, alpha)
    few = [few_errors(block, method) for method in block.methods]
    # Replicates are in the order of seeds, and of folds within each.
    shaped = {
        name: values.reshape(len(block.methods), block.seeds, -1)
        for name, values in by_replicate.items()
    }
    value, pair, estimates = [], [], {}
    for metric in chosen:
        name = metric.name
        estimates[name] = estimate(block, metric, boot, inverted, alpha, by_seed[name])
        value += value_rows(block, metric, estimates[name], shaped[name], few, alpha)
        pair += pair_rows(block, metric, estimates[name], against, alpha)
    return replace(
        empty,
        methods=block.methods,
        values=value,
        ranks=rank_rows(block, estimates, shaped, boot, generator, alpha),
        pairs=pair,
        notes=_notes(block, against, few),
    )


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
