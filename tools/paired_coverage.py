"""Do the intervals for differences of calibration errors cover what they say?

    python -m tools.paired_coverage --sets 200

Each set holds two methods' predictions for the same images, made of known log-odds; the true
difference is measured on a large draw with the true probabilities in place of labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import special

from benchmark.api import Floats, Predictions
from benchmark.measures.bins import Bins
from benchmark.measures.declared import metrics
from benchmark.measures.inversion import inversion_intervals
from benchmark.measures.kinds import Binned
from benchmark.measures.paired import candidates, differences

ALPHA = 0.05
LARGE = 150_000

Pair = Callable[[Floats, np.random.Generator], tuple[Floats, Floats]]
"""From log-odds ``(n, classes)`` that can be known to the logits of two trained networks."""


class Found(NamedTuple):
    """Over all sets: the share of intervals that cover, their width, and the share without 0."""

    coverage: float
    width: float
    different: float


@dataclass(frozen=True)
class Case:
    """Two methods, and what they are tested on.

    Attributes:
        name: of the case.
        pair: the methods.
        images: test images in a set.
        classes: how many.
        sharpness: standard deviation of the log-odds: the accuracy follows.
        tail: log-odds of the first class over the last, before an image is seen.
        groups: how many groups of unequal size shift the log-odds, unknown to the methods; or 0.
        seeds: networks of each method.
    """

    name: str
    pair: Pair
    images: int
    classes: int = 4
    sharpness: float = 2.2
    tail: float = 0.0
    groups: int = 0
    seeds: int = 1

    def draw(self, seed: int, images: int, groups: int) -> tuple[list[list[Predictions]], Floats]:
        """Both methods' networks, and the true probabilities."""
        generator = np.random.default_rng([7, seed])
        shape = images, self.classes
        known = generator.normal(0, self.sharpness, shape)
        known -= self.tail * np.arange(self.classes) / self.classes
        true, names = known, None
        if groups:
            share = generator.gamma(1.5, size=groups)
            group = generator.choice(groups, images, p=share / share.sum())
            true = known + generator.normal(size=(groups, self.classes))[group]
            names = np.char.mod("%06d", group)
        labels = np.argmax(true + generator.gumbel(size=shape), axis=1)
        networks = [self.pair(known, generator) for _ in range(self.seeds)]
        methods = [
            [
                Predictions(
                    log_probs=special.log_softmax(logits, axis=1), labels=labels, groups=names
                )
                for logits in of_method
            ]
            for of_method in zip(*networks)
        ]
        return methods, special.softmax(true, axis=1)

    def truth(self, bins_of: Callable[[Predictions], Bins]) -> float:
        """The difference of the true errors."""
        methods, probs = self.draw(2**31, LARGE, LARGE // 10 if self.groups else 0)
        errors = []
        for networks in methods:
            for p in networks:
                bins = p.once(bins_of)
                gaps = probs[np.arange(LARGE), p.predicted] - p.confidence
                errors.append(np.abs(np.bincount(bins.index, gaps)).sum() / LARGE)
        first, second = np.array(errors).reshape(2, -1).mean(1)
        return float(first - second)


def network(known: Floats, generator: np.random.Generator, spread: float = 0.6) -> Floats:
    """Logits of an over-confident network."""
    return np.asarray(1.5 * (known + generator.normal(0, spread, known.shape)))


def two(known: Floats, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Two networks of equal error."""
    return network(known, generator), network(known, generator)


def calibrated(known: Floats, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Two calibrated methods; the second merges classes that the first tells apart."""
    probs = special.softmax(known, axis=1)
    kind = 2 * probs.argmax(1) + (probs.max(1) > 0.7)
    means = [np.bincount(kind, column) / np.maximum(np.bincount(kind), 1) for column in probs.T]
    return known, np.log(np.maximum(np.stack(means, axis=1)[kind], 1e-12))


def one_off(known: Floats, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """A calibrated method and an over-confident one."""
    return known, network(known, generator)


def opposite(known: Floats, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """An under-confident method and an over-confident one."""
    return 0.6 * known, network(known, generator, 0.3)


def tempered(factor: float) -> Pair:
    """A network, and the same one tempered."""

    def pair(known: Floats, generator: np.random.Generator) -> tuple[Floats, Floats]:
        raw = network(known, generator)
        return raw, factor * raw

    return pair


PAIRS = {
    "two networks": two,
    "calibrated": calibrated,
    "one off": one_off,
    "opposite": opposite,
    "tempered 0.95": tempered(0.95),
    "tempered 0.55": tempered(0.55),
}


def cases() -> list[Case]:
    """All settings."""
    found = []
    for n in (350, 2139):
        found += [Case(name, pair, n) for name, pair in PAIRS.items()]
        for name in ("two networks", "one off", "tempered 0.95"):
            pair = PAIRS[name]
            found += [
                Case(f"{name}, few errors", pair, n, sharpness=40.0),
                Case(f"{name}, 40 groups", pair, n, groups=40),
                Case(f"{name}, 100 classes", pair, n, classes=100, sharpness=3.0, tail=6.0),
                Case(f"{name}, 5 seeds", pair, n, seeds=5),
            ]
    return found


def joint(methods: Sequence[Sequence[Predictions]], metric: Binned) -> tuple[float, float]:
    """Joint inversion."""
    first = methods[0][0]
    units = np.arange(len(first)) if first.group_codes is None else first.group_codes
    errors = [(metric.of, metric.truth or metric.of)]
    found = [
        candidates([p.once(metric.bins) for p in networks], [units] * len(networks), errors)[0]
        for networks in methods
    ]
    low, high, _ = differences(found, ALPHA)
    return float(low[0, 1]), float(high[0, 1])


def bonferroni(methods: Sequence[Sequence[Predictions]], metric: Binned) -> tuple[float, float]:
    """Two inversion intervals, combined."""
    errors = [(metric.of, metric.truth or metric.of)]
    (low, high), (other_low, other_high) = (
        inversion_intervals([p.once(metric.bins) for p in networks], errors, ALPHA / 2)[0]
        for networks in methods
    )
    return float(low - other_high), float(high - other_low)


def simulate(
    case: Case,
    sets: int,
    intervals: Callable[[Sequence[Sequence[Predictions]], Binned], tuple[float, float]] = joint,
    name: str = "ece",
) -> tuple[float, Found]:
    """The true difference, and how often its interval covers it, over simulated sets."""
    metric = metrics()[name]
    assert isinstance(metric, Binned)
    truth = case.truth(metric.bins)
    drawn = (case.draw(s, case.images, case.groups)[0] for s in range(sets))
    low, high = np.array([intervals(methods, metric) for methods in drawn]).T
    covered = (low <= truth + 1e-6) & (truth - 1e-6 <= high)
    different = (low > 0) | (high < 0)
    return truth, Found(*(float(v.mean()) for v in (covered, high - low, different)))


def main(arguments: Iterable[str] | None = None) -> None:
    """Write a row a case, as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200, help="simulated sets a case")
    parser.add_argument("--metric", default="ece", help="a binned calibration error")
    parser.add_argument("--bonferroni", action="store_true", help="two intervals, combined")
    parser.add_argument("--output", type=Path, default=Path("docs/paired-coverage.md"))
    options = parser.parse_args(None if arguments is None else list(arguments))
    method = bonferroni if options.bonferroni else joint
    lines = [
        "# Differences of two calibration errors on the same images",
        "",
        "Written by `python -m tools.paired_coverage`: 95 % intervals by joint inversion, given",
        f"the trained networks, of `{options.metric}`; {options.sets} sets a case (with 200,",
        "chance alone moves a coverage of 95 % by 1.5). All numbers in percent, widths in points.",
        "Where the networks share little noise near their floors the intervals stay wide: a",
        "difference of one point is found nearly always between 12 and 11, in 42 % of sets between",
        "5 and 4, and seldom below.",
        "",
        "| case | images | true difference | covers | mean width | called different |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases():
        truth, found = simulate(case, options.sets, method, options.metric)
        row = [100 * value for value in (truth, *found)]
        numbers = f"{row[0]:.2f} | {row[1]:.1f} | {row[2]:.2f} | {row[3]:.1f}"
        lines.append(f"| {case.name} | {case.images} | {numbers} |")
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
