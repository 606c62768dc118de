"""Numbers that can be believed: scores, intervals, noise floors, paired comparisons, ranks.

Everything here works on stored predictions alone, and gives data frames.
"""

from benchmark.statistics.tables import Tables, scores, summarise

__all__ = ["Tables", "scores", "summarise"]
