"""All tables of a set of predictions: every block by itself, then over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace

import numpy as np
import pandas as pd

from benchmark.api import InputError, Metric, Predictions
from benchmark.inference.intervals import Bootstrap
from benchmark.inference.moderated import MIN_REPLICATES
from benchmark.measures.declared import ranked, select
from benchmark.plan.seeding import derive
from benchmark.statistics.apart import SCORE_COLUMNS, Apart, Known, measure, measure_apart
from benchmark.statistics.blocks import Block, build, by_block, ordered
from benchmark.statistics.methods import over_trainings
from benchmark.statistics.networks import FEW_ERRORS, FEW_GROUPS, estimate, few_errors, no_intervals
from benchmark.statistics.over_blocks import over_blocks
from benchmark.statistics.ranks import RANK_COLUMNS, rank_rows
from benchmark.statistics.rows import (
    DETECTABLE_COLUMNS,
    PAIR_COLUMNS,
    VALUE_COLUMNS,
    BlockTables,
    Tables,
    detectable_row,
    pair_rows,
    value_rows,
)


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
    return Tables(
        values=values,
        ranks=frame("ranks", RANK_COLUMNS),
        pairs=frame("pairs", PAIR_COLUMNS),
        detectable=frame("detectable", DETECTABLE_COLUMNS),
        overall=overall,
        mean_ranks=mean_ranks,
        scores=pd.DataFrame(
            [row for block in blocks for row in block.scores], columns=list(SCORE_COLUMNS)
        ),
        notes=(
            *(note for block in blocks for note in block.left_out),
            *dict.fromkeys(note for block in blocks for note in block.notes),
            *more,
        ),
    )


def with_ranked(metrics: Sequence[str] | None) -> list[str] | None:
    """These metrics and those that methods are ranked by; None means all."""
    return None if metrics is None else [*metrics, *ranked()]


Numbers = tuple[Known, Apart | None]
"""Of some methods: the scores of all replicates, and the numbers of the complete ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Unmeasured:
    """A block, or some of its methods, and what is to be said of it: picklable.

    Attributes:
        predictions: of all methods and replicates, in the fixed order.
        block: the complete methods, or None where there are none.
        left_out: sentences on methods and replicates that are left out.
        metrics: names of the scores to give; None means all that can be computed.
        against: the reference.
        alpha: one minus the coverage.
        seed: of all random draws.
    """

    predictions: Sequence[Predictions]
    block: Block | None
    left_out: list[str]
    metrics: Sequence[str] | None
    against: str
    alpha: float
    seed: int

    def divide(self, parts: int) -> list[Unmeasured]:
        """Shares of the methods, in their order: at most so many."""
        methods = list(dict.fromkeys(p.origin.method for p in self.predictions))
        shares = []
        for some in np.array_split(np.array(methods, object), min(parts, len(methods))):
            predictions = [p for p in self.predictions if p.origin.method in some]
            complete = [m for m in self.block.methods if m in some] if self.block else []
            block = self.block.only(complete) if self.block and complete else None
            shares.append(replace(self, predictions=predictions, block=block))
        return shares

    def measure(self, known: Known | None = None) -> Numbers:
        """Whatever follows from each method apart from the others.

        Args:
            known: values that need not be measured again.
        """
        scores = measure(self.predictions, self.metrics, known or {})
        if self.block is None:
            return scores, None
        boot, _ = self._draw(self.block)
        metrics = self._metrics(self.block)
        return scores, measure_apart(self.block, metrics, boot, self.alpha, scores)

    def tabulate(self, parts: Sequence[Numbers]) -> BlockTables:
        """All rows of the block, from what was measured of all shares of it."""
        scores = [item for part, _ in parts for item in part.items()]
        first = self.predictions[0]
        empty = BlockTables(
            key=first.origin.block, methods=(), posterior=first.posterior is not None,
            scores=[(*astuple(origin), metric, v) for (origin, metric), v in scores],
            values=[], ranks=[], pairs=[], detectable=[], left_out=self.left_out, notes=[],
        )  # fmt: skip
        block = self.block
        if block is None:
            return empty
        together = Apart.join([apart for _, apart in parts if apart is not None])
        boot, generator = self._draw(block)
        few = [few_errors(block, method) for method in block.methods]
        metrics = self._metrics(block)
        with ThreadPoolExecutor(2) as threads:  # products of large matrices, mostly
            each = threads.map(lambda m: estimate(block, m, boot, together, self.alpha), metrics)
            networks = dict(zip([metric.name for metric in metrics], each, strict=True))
        trainings = {
            metric.name: found
            for metric in metrics
            if (found := over_trainings(
                block, metric, networks[metric.name], together, self.alpha
            ))
        }  # fmt: skip
        value, pair, detectable = [], [], []
        for metric in metrics:
            given, over = networks[metric.name], trainings.get(metric.name)
            value += value_rows(block, metric, given, over, together, few)
            pair += pair_rows(block, metric, given, over, self.against, self.alpha)
            if over and metric.ranked and len(block.methods) > 1:
                detectable.append(detectable_row(block, metric, over, self.alpha))
        return replace(
            empty,
            methods=block.methods,
            values=value,
            ranks=rank_rows(block, networks, trainings, together.replicates, generator, self.alpha),
            pairs=pair,
            detectable=detectable,
            notes=_notes(block, self.against, few)
            + no_intervals(block, metrics, networks, together),
        )

    def _metrics(self, block: Block) -> tuple[Metric, ...]:
        return select(with_ranked(self.metrics), block.posterior)

    def _draw(self, block: Block) -> tuple[Bootstrap, np.random.Generator]:
        """The resamples, the same for all shares, and what draws after them."""
        generator = np.random.default_rng(derive(self.seed, *block.key))
        return Bootstrap.draw(block.units, generator), generator


def unmeasured(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None,
    against: str,
    alpha: float,
    seed: int = 0,
) -> Unmeasured:
    """Arrange the predictions of one block; nothing is computed yet.

    Args:
        predictions: of the block, of all methods and replicates.
        metrics: names of the scores to give; None means all that can be computed.
        against: the reference.
        alpha: one minus the coverage.
        seed: of all random draws.

    Raises:
        InputError: a replicate occurs twice, or methods were tested on different images.
    """
    arranged = ordered(predictions, seed)
    block, left_out = build(arranged)
    return Unmeasured(
        predictions=arranged, block=block, left_out=left_out, metrics=metrics, against=against,
        alpha=alpha, seed=seed,
    )  # fmt: skip


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
        predictions: as the others, of :func:`unmeasured`.
        metrics: names of the scores to give.
        against: the reference.
        alpha: one minus the coverage.
        seed: of all random draws.
        known: values that need not be measured again.
    """
    block = unmeasured(predictions, metrics, against, alpha, seed)
    return block.tabulate([block.measure(known)])


def _notes(block: Block, against: str, few: Sequence[bool]) -> list[str]:
    notes = []
    if block.independent < MIN_REPLICATES:
        what = "seeds" if block.folds == 1 else "folds"
        notes.append(
            f"{block.label}: {len(block.replicates)} replicate"
            f"{'s' * (len(block.replicates) > 1)}: all that is said holds for these trained "
            f"networks. What it says of the methods takes at least {MIN_REPLICATES} {what}."
        )
    if against not in block.methods:
        notes.append(
            f"{block.label}: {against} is missing or incomplete, so methods are compared with the "
            "best one only."
        )
    if any(few):
        listed = ", ".join(method for method, is_few in zip(block.methods, few) if is_few)
        groups = "" if block.groups is None else f" (or fewer than {FEW_GROUPS} groups)"
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
