"""What the statistics give: rows of one block, and the frames of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.api import BlockKey

Rows = list[dict[str, object]]


@dataclass(frozen=True, eq=False)
class Tables:
    """All that the report shows.

    Attributes:
        values: one row per preset, dataset, backbone, folds, method, metric.
        ranks: one row per block and method.
        pairs: one row per block, metric, method and reference.
        overall: one row per metric over all blocks.
        mean_ranks: one row per metric and method over all blocks.
        scores: one row per replicate and metric, and per seed and metric of all folds together.
        notes: small print, in sentences.
    """

    values: pd.DataFrame
    ranks: pd.DataFrame
    pairs: pd.DataFrame
    overall: pd.DataFrame
    mean_ranks: pd.DataFrame
    scores: pd.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BlockTables:
    """All rows of one block, as plain values.

    Attributes:
        key: of the block.
        methods: the complete ones; none where no method has every replicate.
        posterior: whether the true probabilities are known.
        scores: rows of :func:`benchmark.statistics.scores`, of incomplete methods too.
        values: as in :class:`Tables`, like ranks and pairs.
        left_out: sentences on methods and replicates that are left out.
        notes: other sentences.
    """

    key: BlockKey
    methods: tuple[str, ...]
    posterior: bool
    scores: list[tuple[object, ...]]
    values: Rows
    ranks: Rows
    pairs: Rows
    left_out: list[str]
    notes: list[str]

    def to_plain(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> BlockTables:
        """From what :meth:`to_plain` gave, perhaps by way of a file."""
        values = dict(plain) | {
            "key": BlockKey(*plain["key"]),
            "methods": tuple(plain["methods"]),
            "scores": [tuple(row) for row in plain["scores"]],
        }
        return cls(**values)
