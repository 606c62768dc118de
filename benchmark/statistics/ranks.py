"""Ranks of a block's methods, with intervals, letters for each metric, and what orders them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmark.api import Floats
from benchmark.inference import comparison
from benchmark.measures.declared import metrics, ranked
from benchmark.statistics.blocks import KEY, Block
from benchmark.statistics.methods import OverTrainings, independent
from benchmark.statistics.networks import Estimates

RANK_COLUMNS = (
    *KEY,
    "method",
    "question",
    "rank",
    "low",
    "high",
    "against_first",
    *(f"rank_{name}" for name in ranked()),
    *(f"group_{name}" for name in ranked()),
    *(f"best_{name}" for name in ranked()),
)

RANK_DRAWS = 2000
"""Draws of the methods' values behind the intervals of their ranks."""


def rank_rows(
    block: Block,
    networks: Mapping[str, Estimates],
    trainings: Mapping[str, OverTrainings],
    replicates: Mapping[str, Floats],
    generator: np.random.Generator,
    alpha: float,
) -> list[dict[str, object]]:
    """A row for each method, the best first.

    Args:
        block: the methods.
        networks: of the ranked metrics, given the trained networks.
        trainings: the same over trainings; empty with too few replicates, and the ranks speak of
            the trained networks then.
        replicates: of the ranked metrics, ``(methods, seeds, folds)``.
        generator: draws the methods' values.
        alpha: one minus the coverage of the intervals, and the level of the letters.
    """
    names = ranked()
    trainings = {name: trainings[name] for name in names if name in trainings}
    value = {name: (trainings.get(name) or networks[name]).value for name in names}
    p = {
        name: trainings[name].compared.p() if name in trainings else networks[name].p
        for name in names
    }
    higher = {name: metrics()[name].direction == "higher" for name in names}
    single = {name: comparison.ranks(value[name], higher[name]) for name in names}
    better = {name: comparison.better(value[name], p[name], higher[name], alpha) for name in names}
    rank = comparison.mean_rank(value)
    low = high = np.full(len(rank), np.nan)
    if trainings:
        each = {name: independent(block, replicates[name]) for name in names}
        low, high = rank_intervals(rank, trainings, each, generator, alpha)
    order = np.argsort(rank, kind="stable")
    letters = {name: comparison.letters(better[name] != 0, single[name]) for name in names}
    relation = _relation(np.stack([better[name] for name in names]), order[0])
    return [
        {
            **block.key._asdict(),
            "method": block.methods[m],
            "question": "methods" if trainings else "networks",
            "rank": rank[m],
            "low": low[m],
            "high": high[m],
            "against_first": relation[m],
            **{f"rank_{name}": single[name][m] for name in names},
            **{f"group_{name}": letters[name][m] for name in names},
            **{f"best_{name}": not (better[name][m] < 0).any() for name in names},
        }
        for m in order
    ]


FIRST, BEHIND, AHEAD = "first", "behind", "ahead"
ALIKE, CONFLICT = "not told apart", "not ordered"


def _relation(better: Floats, first: int) -> list[str]:
    """What the tests in all ranked metrics say of each method beside the first ranked one.

    Args:
        better: ``(metrics, methods, methods)``, as :func:`comparison.better` gives them.
        first: its place.
    """
    gains, losses = (better[:, :, first] > 0).any(0), (better[:, :, first] < 0).any(0)
    words = np.where(
        gains & losses, CONFLICT, np.where(gains, AHEAD, np.where(losses, BEHIND, ALIKE))
    )
    words[first] = FIRST
    return [str(word) for word in words]


def rank_intervals(
    rank: Floats,
    trainings: Mapping[str, OverTrainings],
    replicates: Mapping[str, Floats],
    generator: np.random.Generator,
    alpha: float,
) -> tuple[Floats, Floats]:
    """Intervals of mean ranks: values of the methods are drawn anew, as uncertain as they are.

    Draws scatter ranks twice, for the observed values are draws themselves, and they pull every
    rank to the middle; so does the reflection of their quantiles at the observed rank, to the
    other side. The union of both covers the rank of the methods' expected values.

    Args:
        rank: ``(methods,)`` the observed ones.
        trainings: of each ranked metric.
        replicates: of each, ``(methods, replicates)``.
        generator: source of randomness.
        alpha: one minus the coverage.
    """
    methods = len(rank)
    if methods < 2:
        return rank, rank
    correlation = _correlation(list(replicates.values()))
    normal = generator.standard_normal((RANK_DRAWS, methods, len(trainings)))
    normal = normal @ np.linalg.cholesky(correlation).T
    drawn = {}
    for column, (name, found) in enumerate(trainings.items()):
        degrees = np.median(found.compared.degrees[np.triu_indices(methods, 1)])
        scale = np.sqrt(degrees / generator.chisquare(degrees, RANK_DRAWS))
        noise = normal[:, :, column] * _own_errors(found.compared.error) * scale[:, None]
        drawn[name] = found.value + noise
    low, high = np.quantile(comparison.mean_rank(drawn), [alpha / 2, 1 - alpha / 2], axis=0)
    low, high = np.minimum(low, 2 * rank - high), np.maximum(high, 2 * rank - low)
    return np.clip(np.minimum(low, rank), 1, methods), np.clip(np.maximum(high, rank), 1, methods)


def _own_errors(pairs: Floats) -> Floats:
    """Errors of single methods whose sums of squares come nearest to those of all pairs."""
    errors = np.zeros(len(pairs))
    known = np.isfinite(pairs).sum(1) > 1  # with another one than itself
    squares = pairs[np.ix_(known, known)] ** 2
    number = len(squares)
    if number == 2:
        errors[known] = np.sqrt(squares.sum(1) / 2)
    elif number > 2:
        mean = squares.sum() / (2 * (number - 1))
        errors[known] = np.sqrt(np.maximum((squares.sum(1) - mean) / (number - 2), 0))
    return errors


def _correlation(replicates: list[Floats]) -> Floats:
    """Between metrics, of what is left of the values without methods and replicates."""
    residuals = []
    for values in replicates:
        finite = np.where(np.isfinite(values).all(1, keepdims=True), values, 0.0)
        centred = finite - finite.mean(1, keepdims=True)
        residual = centred - centred.mean(0)
        residuals.append(residual.ravel() / max(float(residual.std()), 1e-300))
    products = np.array(residuals) @ np.array(residuals).T / len(residuals[0])
    return np.asarray(0.99 * products + np.diag(1 - 0.99 * np.diag(products)))
