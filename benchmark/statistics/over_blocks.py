"""Tests over blocks: do methods differ over many data sets?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmark.inference import comparison
from benchmark.measures.declared import select
from benchmark.statistics.blocks import KEY
from benchmark.statistics.rows import BlockTables

OVERALL_COLUMNS = (
    "metric",
    "blocks",
    "friedman",
    "p",
    "critical_difference",
    "powered",
    "note",
)


def over_blocks(
    values: pd.DataFrame, blocks: Sequence[BlockTables], metrics: Sequence[str] | None, alpha: float
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Friedman's tests of the methods that are complete in all blocks.

    Args:
        values: a row for each block, method and metric.
        blocks: the blocks.
        metrics: names; None means all.
        alpha: level of the critical differences.

    Returns:
        A row for each metric; a row for each metric and method, with its mean rank; notes.
    """
    common = [
        m for m in (blocks[0].methods if blocks else ()) if all(m in b.methods for b in blocks)
    ]
    rows, mean_rows, notes = [], [], []
    left_out = sorted({m for b in blocks for m in b.methods} - set(common))
    if left_out and len(blocks) > 1:
        notes.append(
            f"Over all blocks only the methods that are complete in each are ranked; without "
            f"{', '.join(left_out)}."
        )
    everywhere = all(b.posterior for b in blocks)
    if len(blocks) == 1:
        notes.append("One block says nothing about others: tests over blocks need several.")
    tested = select(metrics, everywhere) if len(common) > 1 and len(blocks) > 1 else ()
    table = values.pivot(index=list(KEY), columns=["metric", "method"], values="value")
    for metric in tested:
        test = comparison.friedman(
            table[metric.name][common].to_numpy(), metric.direction == "higher", alpha
        )
        rows.append(
            {
                "metric": metric.name,
                "blocks": test.blocks,
                "friedman": test.statistic,
                "p": test.p,
                "critical_difference": test.critical_difference,
                "powered": test.powered,
                "note": _note(test, len(common)),
            }
        )
        mean_rows += [
            {"metric": metric.name, "method": method, "mean_rank": rank}
            for method, rank in zip(common, test.mean_ranks)
        ]
    if rows and not rows[0]["powered"]:
        notes.append(f"Tests over blocks: {rows[0]['note']}")
    datasets = {b.key.dataset for b in blocks}
    if len(datasets) < len(blocks):
        notes.append(
            "Blocks that share a data set are not independent; the tests over blocks take them "
            "for it."
        )
    return (
        pd.DataFrame(rows, columns=list(OVERALL_COLUMNS)),
        pd.DataFrame(mean_rows, columns=["metric", "method", "mean_rank"]),
        notes,
    )


def _note(test: comparison.Friedman, methods: int) -> str:
    largest = methods - 1
    note = (
        f"{test.blocks} blocks, {methods} methods: mean ranks must differ by more than "
        f"{test.critical_difference:.2f} of at most {largest}"
    )
    if test.critical_difference >= largest:
        return note + "; no difference could be significant, whatever the data."
    if not test.powered:
        return note + "; low power: only very consistent differences can be significant."
    return note + "."
