"""Numbers that can be believed: scores, intervals, noise floors, paired comparisons, ranks.

Everything here works on stored predictions alone, and gives data frames.
"""

from benchmark.statistics.blocks import by_block
from benchmark.statistics.estimates import FEW_ERRORS, FEW_GROUPS
from benchmark.statistics.rows import BlockTables, Tables
from benchmark.statistics.scores import scores
from benchmark.statistics.shares import SHARES, class_shares, unlike, with_shares
from benchmark.statistics.summary import check, gather, summarise, tabulate, unmeasured

__all__ = [
    "FEW_ERRORS",
    "FEW_GROUPS",
    "SHARES",
    "BlockTables",
    "Tables",
    "by_block",
    "check",
    "class_shares",
    "gather",
    "scores",
    "summarise",
    "tabulate",
    "unlike",
    "unmeasured",
    "with_shares",
]
