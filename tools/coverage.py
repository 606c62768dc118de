"""Do the intervals cover what they say? Simulated truth, set against the project's own code.

    python -m tools.coverage --sets 4000 --jobs 1

Each simulated set holds two methods' predictions for the same images, from a model of which the
true values of every measure are known by integration. The table is written to
``docs/coverage.md``. Finished parts are kept in ``build/coverage``; a run picks up where the last
one stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy import special
from scipy import stats as distributions
from scipy.optimize import brentq

from benchmark.api import BlockKey, Floats, Origin, Predictions
from benchmark.inference.intervals import Bootstrap
from benchmark.measures.bins import Bins, equal_width, equal_width_bins
from benchmark.measures.declared import metrics
from benchmark.measures.inversion import floor_draws, noise_floor
from benchmark.measures.kinds import Binned
from benchmark.statistics.apart import measure_apart
from benchmark.statistics.blocks import Block
from benchmark.statistics.networks import FEW_ERRORS, estimate

CLASSES = 10
GROUPS = 40
CHUNK = 250
MEASURES = ("accuracy", "nll", "brier", "ece")
METHODS = ("a", "b")

BETWEEN_GROUPS = 0.5
"""Standard deviation between groups of the log-odds of being right, unknown to the model."""

SHARED = 0.3
"""Correlation between images of a group of what the model knows."""

Distortion = Callable[[Floats, float], Floats]


def _temperature(probability: Floats, amount: float) -> Floats:
    values: Floats = special.expit(special.logit(probability) * np.exp(amount))
    return values


def _constant(probability: Floats, amount: float) -> Floats:
    return probability + amount


def _wave(probability: Floats, amount: float) -> Floats:
    return probability + amount * np.cos(7 * np.pi * probability)


@dataclass(frozen=True)
class Side:
    """One simulated method.

    Attributes:
        spread: standard deviation of the log-odds of being right that the model knows.
        distortion: what it makes of the true probability.
        direction: the sign of the distortion's amount.
        ece: its true ECE; the amount follows from it.
    """

    spread: float
    distortion: Distortion = _temperature
    direction: int = 0
    ece: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One setting of the simulation.

    Attributes:
        images: test images in a set.
        accuracy: true accuracy of both methods.
        grouped: whether images hang together in 40 unequal groups.
        scenario: name of the pair of methods.
    """

    images: int
    accuracy: float
    grouped: bool
    scenario: str

    @property
    def name(self) -> str:
        """For files."""
        groups = "groups" if self.grouped else "images"
        return f"{self.images}-{self.accuracy}-{groups}-{self.scenario}"

    @property
    def sides(self) -> tuple[Side, Side]:
        """The two methods."""
        a, b = SCENARIOS[self.scenario]
        # Of 2 % errors no more than 2 % over-confidence can be made.
        limit = (1 - self.accuracy) / 2
        return tuple(  # type: ignore[return-value]
            replace(s, ece=min(s.ece, limit)) if s.direction > 0 else s for s in (a, b)
        )

    @property
    def guaranteed(self) -> bool:
        """Whether so many errors are expected that the intervals are to hold."""
        return self.images * (1 - self.accuracy) >= FEW_ERRORS - 1e-9


SCENARIOS: dict[str, tuple[Side, Side]] = {
    "equal": (Side(1.5), Side(1.5)),
    "sharp-flat": (Side(1.5), Side(0.3)),
    "one-over": (Side(1.5), Side(1.5, _temperature, 1, 0.04)),
    "both-off": (Side(1.5, _constant, -1, 0.10), Side(1.5, _wave, -1, 0.03)),
    "far-apart": (Side(1.5, _constant, -1, 0.25), Side(1.5, _temperature, -1, 0.05)),
}


def cells() -> list[Cell]:
    """All settings."""
    grid = product(SCENARIOS, (350, 2139), (0.8, 0.9, 0.98), (False, True))
    return [Cell(n, accuracy, grouped, scenario) for scenario, n, accuracy, grouped in grid]


@dataclass(frozen=True)
class Model:
    """The distribution that one simulated method's predictions come from.

    What the model knows of an image is a standard normal number, ``known``; its true probability
    of being right is a logistic function of it, and of its group.
    """

    side: Side
    accuracy: float
    grouped: bool

    @cached_property
    def grid(self) -> tuple[Floats, Floats]:
        """Points and weights of a fine integration over ``known``."""
        points = np.linspace(-8, 8, 200_001)
        weights = distributions.norm.pdf(points)
        return points, weights / weights.sum()

    @cached_property
    def centre(self) -> float:
        """Mean log-odds, such that the accuracy is right."""
        points, weights = self.grid

        def excess(centre: float) -> float:
            return float(weights[::20] @ self._probability(points[::20], centre)) * 20 - (
                self.accuracy
            )

        return float(brentq(excess, -5, 20))

    def _probability(self, known: Floats, centre: float) -> Floats:
        """P(right | known), averaged over groups."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(15)
        deviation = BETWEEN_GROUPS * self.grouped
        odds = centre + self.side.spread * known[:, None] + deviation * nodes
        values: Floats = special.expit(odds) @ (weights / weights.sum())
        return values

    def right(self, known: Floats, group: Floats) -> Floats:
        """P(right | known, group)."""
        return special.expit(self.centre + self.side.spread * known + BETWEEN_GROUPS * group)

    def confidence(self, known: Floats) -> Floats:
        """What the model says."""
        return self._said(self._probability(known, self.centre), self.amount)

    def _said(self, probability: Floats, amount: float) -> Floats:
        return np.clip(self.side.distortion(probability, amount), 0.12, 0.9999)

    @cached_property
    def amount(self) -> float:
        """How strong the distortion is, for the ECE that is wanted."""
        if not self.side.direction:
            return 0.0
        points, weights = self.grid
        probability = self._probability(points, self.centre)

        def excess(amount: float) -> float:
            said = self._said(probability, self.side.direction * amount)
            return _true_ece(said, probability, weights) - self.side.ece

        return self.side.direction * float(brentq(excess, 0, 3, xtol=1e-5))

    @cached_property
    def truth(self) -> dict[str, float]:
        """The value of every measure on an unlimited draw."""
        points, weights = self.grid
        p = self._probability(points, self.centre)
        said = self._said(p, self.amount)
        rest = (1 - said) / (CLASSES - 1)
        nll = -(p * np.log(said) + (1 - p) * np.log(rest))
        squares = said**2 + (CLASSES - 1) * rest**2
        brier = squares + 1 - 2 * (p * said + (1 - p) * rest)
        return {
            "accuracy": float(weights @ p),
            "nll": float(weights @ nll),
            "brier": float(weights @ brier),
            "ece": _true_ece(said, p, weights),
        }


def _true_ece(said: Floats, probability: Floats, weights: Floats) -> float:
    gaps = np.bincount(equal_width(said), weights * (probability - said))
    return float(np.abs(gaps).sum())


def draw(
    cell: Cell, models: Sequence[Model], generator: np.random.Generator
) -> dict[str, tuple[Predictions, ...]]:
    """One simulated set: the predictions of both methods."""
    n = cell.images
    groups = None
    group_effect = np.zeros(n)
    known = generator.standard_normal(n)
    if cell.grouped:
        shares = generator.gamma(1.5, size=GROUPS)
        groups = np.unique(
            generator.choice(GROUPS, n, p=shares / shares.sum()), return_inverse=True
        )[1]
        group_effect = generator.standard_normal(GROUPS)[groups]
        common = generator.standard_normal(GROUPS)[groups]
        known = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * known
    names = None if groups is None else np.char.mod("%02d", groups)
    luck = generator.standard_normal(n)
    samples: dict[str, tuple[Predictions, ...]] = {}
    for method, model in zip(METHODS, models):
        own = np.sqrt(0.8) * known + np.sqrt(0.2) * generator.standard_normal(n)
        own_luck = np.sqrt(0.6) * luck + np.sqrt(0.4) * generator.standard_normal(n)
        right = distributions.norm.cdf(own_luck) < model.right(own, group_effect * cell.grouped)
        said = model.confidence(own)
        log_probs = np.repeat(np.log((1 - said) / (CLASSES - 1))[:, None], CLASSES, axis=1)
        # All labels are 0; a wrong prediction names class 1.
        log_probs[np.arange(n), np.where(right, 0, 1)] = np.log(said)
        samples[method] = (
            Predictions(
                log_probs=log_probs,
                labels=np.zeros(n, dtype=int),
                groups=names,
                origin=Origin(method=method),
            ),
        )
    return samples


def simulate(cell: Cell, sets: int, seed: int) -> dict[str, float]:
    """Count, over simulated sets, how often each interval covers the truth.

    Returns:
        For each measure and method, and for the difference (``d``): how many intervals covered
        the truth (``cover``) and how many tests rejected equality (``reject``); for calibrated
        methods a histogram of the noise floor's p-values in tenths.
    """
    models = [Model(side, cell.accuracy, cell.grouped) for side in cell.sides]
    ece = metrics()["ece"]
    assert isinstance(ece, Binned)
    counts: dict[str, float] = {"sets": 0}

    def add(name: str, amount: float) -> None:
        counts[name] = counts.get(name, 0) + float(amount)

    weights: dict[int, Floats] = {}
    for number in range(sets):
        generator = np.random.default_rng([seed, number])
        samples = draw(cell, models, generator)
        block = Block(
            key=BlockKey("simulated", cell.name, "", "official"),
            methods=METHODS,
            replicates=(("official", 0),),
            parts=samples,
        )
        # The resamples do not depend on the data: one set of them serves all.
        units = np.bincount(block.units)
        if len(units) not in weights:
            boot = Bootstrap.draw(block.units, np.random.default_rng(seed))
            weights[len(units)] = boot.weights
        boot = Bootstrap(weights[len(units)], block.units, units.astype(np.float64))
        apart = measure_apart(block, [metrics()[name] for name in MEASURES], boot, 0.05, {})
        counts["sets"] += 1
        for name in MEASURES:
            truth = [model.truth[name] for model in models]
            found = estimate(block, metrics()[name], boot, apart, 0.05)
            for column, method in enumerate(METHODS):
                covered = found.low[column] <= truth[column] <= found.high[column]
                add(f"cover {name} {method}", covered)
            difference = truth[0] - truth[1]
            add(f"cover {name} d", found.pair_low[0, 1] <= difference <= found.pair_high[0, 1])
            add(f"reject {name} d", found.p[0, 1] < 0.05)
        for model, method in zip(models, METHODS):
            if not model.side.ece:
                bins: Bins = samples[method][0].once(equal_width_bins)
                p = noise_floor(floor_draws([bins], ece.of), ece.value(samples[method][0])).p
                add(f"p {method} {min(int(p * 10), 9)}", 1)
                add(f"p05 {method}", p <= 0.05)
    return counts


# --- running and reporting -----------------------------------------------------------------


def _chunk(cell: Cell, number: int, folder: Path) -> None:
    file = folder / f"{cell.name}-{number}.json"
    if not file.exists():
        seed = cells().index(cell) * 1000 + number
        counts = simulate(cell, CHUNK, seed)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(counts))
        part.replace(file)


def collect(cell: Cell, folder: Path) -> dict[str, float]:
    """The counts of all finished chunks of a cell."""
    total: dict[str, float] = {}
    for file in sorted(folder.glob(f"{cell.name}-*.json")):
        for name, count in json.loads(file.read_text()).items():
            total[name] = total.get(name, 0) + count
    return total


def table(folder: Path) -> str:
    """The report, in Markdown."""
    lines = [
        "# Do the intervals cover what they say?",
        "",
        "Written by `python -m tools.coverage`. Each row is one setting: two methods with the",
        "same images, from a model of which the true values are known. Numbers are the percentage",
        "of simulated sets whose 95 % interval covers the truth: for the first and second method,",
        "and for their paired difference (that of two ECEs is another study: see below). *Sets* is",
        "how many were simulated; with 4000, chance alone moves a coverage of 95 % by 0.7.",
        "Settings with fewer than 30 expected errors are marked (*): nothing is promised there,",
        "and the tables mark such values too.",
        "",
        "Simulated, with one seed each:",
        f"{_names(MEASURES)}. Not simulated:",
        f"{_names(m for m in metrics() if m not in MEASURES)};",
        "for differences of two ECEs see [paired-coverage.md](paired-coverage.md), for what is",
        "said of methods [method-coverage.md](method-coverage.md). With groups the noise",
        "floor's p-values are conservative: p ≤ 0.05 in under 5 % of sets, where unmarked.",
        "",
        "| scenario | first method | second method |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {_words(a)} | {_words(b)} |" for name, (a, b) in SCENARIOS.items()]
    for scenario in SCENARIOS:
        lines += ["", f"## {scenario}", ""]
        lines += [
            "| images | accuracy | units | sets | true ECE | accuracy | NLL | Brier | ECE "
            "| called different (accuracy, NLL, Brier) | p ≤ 0.05 if calibrated |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for cell in cells():
            if cell.scenario == scenario and (counts := collect(cell, folder)):
                lines.append(_row(cell, counts))
    return "\n".join(lines) + "\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _words(side: Side) -> str:
    if not side.direction:
        return "calibrated, " + ("sharp" if side.spread > 1 else "flat")
    if side.distortion is _wave:
        return f"gap of changing sign, ECE {side.ece:.2f}"
    kind = "temperature" if side.distortion is _temperature else "constant gap"
    return f"{kind}, {'over' if side.direction > 0 else 'under'}-confident, ECE {side.ece:.2f}"


def _row(cell: Cell, counts: dict[str, float]) -> str:
    sets = counts["sets"]
    models = [Model(side, cell.accuracy, cell.grouped) for side in cell.sides]

    def percent(name: str) -> str:
        return f"{100 * counts.get(name, 0) / sets:.1f}"

    cover = [
        " / ".join(percent(f"cover {name} {who}") for who in (*METHODS, "d")[: 3 - (name == "ece")])
        for name in MEASURES
    ]
    proper = MEASURES[:-1]
    equal = [abs(models[0].truth[name] - models[1].truth[name]) < 1e-6 for name in proper]
    rejected = " / ".join(
        percent(f"reject {name} d") if same else "–" for name, same in zip(proper, equal)
    )
    calibrated = " / ".join(
        percent(f"p05 {method}") if not model.side.ece else "–"
        for model, method in zip(models, METHODS)
    )
    cells_of_row = [
        f"{cell.images}{'' if cell.guaranteed else ' (*)'}",
        f"{cell.accuracy}",
        f"{GROUPS} groups" if cell.grouped else "images",
        f"{sets:.0f}",
        " / ".join(f"{model.truth['ece']:.3f}" for model in models),
        *cover,
        rejected,
        calibrated,
    ]
    return "| " + " | ".join(cells_of_row) + " |"


def main(arguments: Iterable[str] | None = None) -> None:
    """Simulate what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=4000, help="simulated sets a setting")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/coverage"))
    parser.add_argument("--output", type=Path, default=Path("docs/coverage.md"))
    options = parser.parse_args(None if arguments is None else list(arguments))
    options.folder.mkdir(parents=True, exist_ok=True)
    chunks = range(-(-options.sets // CHUNK))
    Parallel(n_jobs=options.jobs)(
        delayed(_chunk)(cell, number, options.folder) for number in chunks for cell in cells()
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(table(options.folder), encoding="utf-8")


if __name__ == "__main__":
    main()
