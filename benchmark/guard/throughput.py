"""Has anything become slower? Ratios of times, by a rank test and a factor, as asv does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats as distributions

from benchmark.guard.verdicts import Row, Verdict

FACTOR = 1.12
"""A ratio whose median grew by less is never called slower."""

ALPHA = 0.001
"""Level of the rank test."""

ATTEMPTS = 3
"""A slowdown counts only if this many measurements, one after the other, all show it."""

Ratios = Mapping[str, Sequence[float]]


def compare(old: Ratios, new: Ratios, again: Callable[[Sequence[str]], Ratios]) -> list[Row]:
    """A row for each ratio.

    Args:
        old: the baseline's rounds by name.
        new: the rounds now.
        again: measures the ratios of some names anew: who looks slower gets another chance.
    """
    measured = [dict(new)]
    while len(measured) < ATTEMPTS:
        suspect = [n for n in measured[-1] if n in old and slower(old[n], measured[-1][n])]
        if not suspect:
            break
        measured.append(dict(again(suspect)))
    rows = []
    for name in dict.fromkeys((*old, *new)):
        if name not in old or name not in new:
            why = "it was not measured" if name in old else "the baseline does not hold it"
            rows.append(_row(name, None, None, "not compared", why))
            continue
        last = next(m[name] for m in reversed(measured) if name in m)
        attempts = sum(name in m for m in measured)
        verdict: Verdict = "unchanged"
        if slower(old[name], last):
            verdict = "regressed"
        elif slower(last, old[name]):
            verdict = "improved"
        p = min(_p(old[name], last), _p(last, old[name]))
        rows.append(
            _row(
                name,
                float(np.median(old[name])),
                float(np.median(last)),
                verdict,
                f"factor {FACTOR}, rank test p = {p:.2g}, measured {attempts} times"
                if attempts > 1
                else f"factor {FACTOR}, rank test p = {p:.2g}",
            )
        )
    return rows


def slower(old: Sequence[float], new: Sequence[float]) -> bool:
    """Whether the new rounds are both statistically and by the factor above the old ones."""
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        return True
    return bool(np.median(new) > FACTOR * np.median(old) and _p(old, new) < ALPHA)


def _p(old: Sequence[float], new: Sequence[float]) -> float:
    return float(distributions.mannwhitneyu(new, old, alternative="greater").pvalue)


def _row(name: str, old: float | None, new: float | None, verdict: Verdict, note: str) -> Row:
    return Row(kind="throughput", what=name, old=old, new=new, verdict=verdict, note=note)
