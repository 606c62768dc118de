"""Has anything become slower? Ratios of times, by a rank test and a factor, as asv does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import comb

import numpy as np
from scipy import stats as distributions

from benchmark.guard.verdicts import Comparison, Verdict

FACTOR = 1.12
"""A ratio whose median grew by less is never called slower."""

SECONDS_FACTOR = 2.5
"""The same for seconds on the same runner, which may have other guests: only a landslide shows."""

ALPHA = 0.001
"""Level of the rank test."""

NOISE = 0.9
"""The new median must lie above this quantile of the baseline's rounds."""

ATTEMPTS = 3
"""A change counts only if this many measurements, one after the other, all show it."""

Rounds = Mapping[str, Sequence[float]]


def compare(
    old: Rounds,
    new: Rounds,
    again: Callable[[Sequence[str]], Rounds],
    factor: float = FACTOR,
) -> list[Comparison]:
    """A row for each ratio (or time).

    Args:
        old: the baseline's rounds by name.
        new: the rounds now.
        again: measures some names anew: who looks slower, or faster, is asked twice more.
        factor: what is never called slower.
    """
    measured = [dict(new)]
    while len(measured) < ATTEMPTS:
        suspect = [
            name
            for name, rounds in measured[-1].items()
            if not _why_not(old.get(name), rounds)
            and (slower(old[name], rounds, factor) or slower(rounds, old[name], factor))
        ]
        if not suspect:
            break
        measured.append(dict(again(suspect)))
    rows = []
    for name in dict.fromkeys((*old, *new)):
        why = _why_not(old.get(name), new.get(name))
        if why:
            rows.append(Comparison(kind="throughput", what=name, verdict="not compared", note=why))
            continue
        last = next(m[name] for m in reversed(measured) if name in m)
        attempts = sum(name in m for m in measured)
        verdict: Verdict = "unchanged"
        if slower(old[name], last, factor):
            verdict = "regressed"
        elif slower(last, old[name], factor):
            verdict = "improved"
        p = min(_p(old[name], last), _p(last, old[name]))
        rows.append(
            Comparison(
                kind="throughput",
                what=name,
                old=float(np.median(old[name])),
                new=float(np.median(last)),
                verdict=verdict,
                least=_threshold(old[name], factor) / float(np.median(old[name])) - 1,
                note=f"factor {factor}, rank test p = {p:.2g}, measured {attempts} times"
                if attempts > 1
                else f"factor {factor}, rank test p = {p:.2g}",
            )
        )
    return rows


def _why_not(old: Sequence[float] | None, new: Sequence[float] | None) -> str | None:
    """Why two sides cannot be compared, if they cannot."""
    if old is None or new is None:
        return "the baseline does not hold it" if old is None else "it was not measured"
    if not np.isfinite(old).all():
        return "the baseline's rounds are not finite"
    if 1 / comb(len(old) + len(new), len(old)) >= ALPHA:  # what the rank test can reach at best
        return f"{len(old)} old and {len(new)} new rounds are too few to tell"
    return None


def slower(old: Sequence[float], new: Sequence[float], factor: float = FACTOR) -> bool:
    """Whether the new rounds are slower: by the rank test, by the factor, and beyond the noise.

    The noise is what the baseline's own rounds show: most of them lie below the new median.
    """
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        return True
    return bool(np.median(new) > _threshold(old, factor) and _p(old, new) < ALPHA)


def _threshold(old: Sequence[float], factor: float) -> float:
    """A median above this is slower, if the rank test says so too."""
    return float(max(factor * np.median(old), np.quantile(old, NOISE)))


def _p(old: Sequence[float], new: Sequence[float]) -> float:
    return float(distributions.mannwhitneyu(new, old, alternative="greater").pvalue)
