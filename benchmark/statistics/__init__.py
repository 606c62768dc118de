"""Numbers that can be believed: scores, intervals, noise floors, paired comparisons, ranks.

Everything here works on stored predictions alone, and gives data frames.
"""

from benchmark.statistics.estimates import FEW_ERRORS, FEW_GROUPS
from benchmark.statistics.scores import known_scores, scores
from benchmark.statistics.summary import Tables, summarise

__all__ = ["FEW_ERRORS", "FEW_GROUPS", "Tables", "known_scores", "scores", "summarise"]
