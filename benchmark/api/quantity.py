"""What is measured: each metric and each cost is declared once, with all that is said of it.

Tables, footnotes, the page, the documentation and ``list metrics`` follow from the declaration.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmark.api.arrays import Floats
from benchmark.api.predictions import Predictions

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One thing that is measured.

    Attributes:
        name: as on the command line and in the tidy files.
        short: for the head of a column.
        title: in plain words, for headings; the short one where it is empty.
        meaning: one sentence for readers who do not know it.
        unit: as printed; a ``fraction`` (of 1) is printed in percent.
        direction: which is better; None where neither is.
        range: the smallest and the largest value that is possible.
        formula: its definition in plain text, printed in the documentation.
        source: where it comes from.
        main: its place in the short tables, from 1; 0 where it does not stand there.
    """

    name: str
    short: str
    title: str = ""
    meaning: str = ""
    unit: str = ""
    direction: Direction | None = None
    range: tuple[float, float] = (0.0, math.inf)
    formula: str = ""
    source: str = ""
    main: int = 0

    @property
    def scale(self) -> float:
        """Factor from the stored to the printed value."""
        return 100.0 if self.unit == "fraction" else 1.0

    @property
    def printed_unit(self) -> str:
        """The unit of the printed value."""
        return "%" if self.unit == "fraction" else self.unit

    @property
    def digits(self) -> int:
        """Decimals where no interval says how many are sensible."""
        return 2 if self.unit == "fraction" else 3

    @property
    def better(self) -> str:
        """The better direction in words, empty where there is none."""
        return f"{self.direction} is better" if self.direction else ""

    @property
    def heading(self) -> str:
        """Its title in plain words."""
        return self.title or self.short


@dataclass(frozen=True, kw_only=True)
class Metric(Quantity):
    """A measure of predictions.

    What the statistics can do with it follows from its kind: the subclasses.

    Attributes:
        needs_posterior: whether the true probabilities must be known.
        ranked: whether methods are ranked by it.
    """

    needs_posterior: bool = False
    ranked: bool = False
    unit: str = "fraction"
    direction: Direction | None = "lower"
    range: tuple[float, float] = (0.0, 1.0)

    @abstractmethod
    def value(self, predictions: Predictions) -> float:
        """The measure of one set of predictions."""


@dataclass(frozen=True, kw_only=True)
class PerImage(Metric):
    """A mean over images, so that a bootstrap is a matrix product.

    Attributes:
        of: the value of each image, ``(n,)``.
        proportion: whether each is 0 or 1, so that the mean is a proportion with an interval of
            its own (Wilson's).
    """

    of: Callable[[Predictions], Floats]
    proportion: bool = False

    def value(self, predictions: Predictions) -> float:
        """The mean."""
        return float(predictions.once(self.of).mean())


@dataclass(frozen=True, kw_only=True)
class Weighted(Metric):
    """A function of weighted images (ranks, ratios).

    Attributes:
        of: weights ``(resamples, n)`` (how often each image was drawn) to values
            ``(resamples,)``.
    """

    of: Callable[[Predictions, Floats], Floats]

    def value(self, predictions: Predictions) -> float:
        """The value with every image once."""
        return float(self.of(predictions, np.ones((1, len(predictions))))[0])


@dataclass(frozen=True, kw_only=True)
class PointValue(Metric):
    """Computed from other parts: a value without an interval.

    Attributes:
        of: the value.
    """

    of: Callable[[Predictions], float]

    def value(self, predictions: Predictions) -> float:
        """The value itself."""
        return float(self.of(predictions))


@dataclass(frozen=True, kw_only=True)
class Cost(Quantity):
    """What a method costs; a replicate of it is charged for every network that it uses.

    Over replicates a cost is averaged.

    Attributes:
        members: how those of the networks combine: their ``sum``, the ``largest``, their
            ``mean``, or as speeds of networks that work ``in turn``.
        ratio: whether a ratio to the reference method is worth a place beside it.
        timed: what runs while a clock is read; other programs make it slower. None for a count or
            an amount, and where nothing tells whether they did.
        measure: of a plug-in: takes the trained network, the batches and the indices of the test
            images, and gives the value. The engine measures its own.
    """

    members: Literal["sum", "largest", "mean", "in turn"]
    direction: Direction | None = "lower"
    ratio: bool = False
    timed: Literal["training", "prediction"] | None = None
    measure: Callable[[Any, Any, Any], float] | None = None

    def combine(self, values: list[float]) -> float:
        """The cost of an ensemble, from those of its members."""
        if self.members == "sum":
            return sum(values)
        if self.members == "largest":
            return max(values)
        if self.members == "mean":
            return sum(values) / len(values)
        return 1 / sum(1 / value for value in values)
