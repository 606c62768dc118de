"""Numbers that can be believed: scores, intervals, noise floors, paired comparisons, ranks.

Everything here works on stored predictions alone, and gives data frames.
"""

from benchmark.statistics.apart import scores
from benchmark.statistics.blocks import build, by_block, ordered
from benchmark.statistics.charges import charges, cheapest
from benchmark.statistics.networks import FEW_ERRORS, FEW_GROUPS
from benchmark.statistics.rows import BlockTables, Tables
from benchmark.statistics.shares import SHARES, class_shares, unlike, with_shares
from benchmark.statistics.summary import check, gather, summarise, tabulate, unmeasured

__all__ = [
    "FEW_ERRORS",
    "FEW_GROUPS",
    "SHARES",
    "BlockTables",
    "Tables",
    "build",
    "by_block",
    "charges",
    "cheapest",
    "check",
    "class_shares",
    "gather",
    "ordered",
    "scores",
    "summarise",
    "tabulate",
    "unlike",
    "unmeasured",
    "with_shares",
]
