"""Predictions of one method on one test part, and where they come from."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np

from benchmark.api.arrays import BoolArray, FloatArray, Floats, IntArray, StrArray
from benchmark.api.errors import InputError

T = TypeVar("T")


class BlockKey(NamedTuple):
    """What may be compared: the same images, network, settings and scheme of folds."""

    preset: str
    dataset: str
    backbone: str
    folds: str


@dataclass(frozen=True, kw_only=True, order=True)
class Origin:
    """Where a prediction, a score or a cost comes from: the columns of every tidy table.

    Attributes:
        preset: the settings of training.
        dataset: name of the data set.
        backbone: name of the network.
        method: name of the method.
        fold: ``1/5`` (a fold of five), ``draw-1`` (an independent draw), or ``official``.
        seed: number of the seed.
    """

    preset: str = ""
    dataset: str = ""
    backbone: str = ""
    method: str = ""
    fold: str = "official"
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.method} ({self.dataset}, {self.backbone}, {self.fold}, seed {self.seed})"

    @property
    def block(self) -> BlockKey:
        """Within what it may be compared.

        Raises:
            InputError: the fold's name follows no known form.
        """
        return BlockKey(self.preset, self.dataset, self.backbone, fold_scheme(self.fold))

    @property
    def replicate(self) -> tuple[str, int]:
        """The fold and the seed."""
        return self.fold, self.seed


ORIGIN = tuple(f.name for f in dataclasses.fields(Origin))
"""The columns that say where a row comes from."""


def fold_scheme(fold: str) -> str:
    """Of what kind a fold is: ``1/5`` is one of ``5 folds``, ``draw-1`` one of the ``draws``.

    Raises:
        InputError: the name follows no known form.
    """
    if match := re.fullmatch(r"\d+/(\d+)", fold):
        return f"{match[1]} folds"
    if re.fullmatch(r"draw-\d+", fold):
        return "draws"
    if fold == "official":
        return fold
    raise InputError(f"unknown fold {fold!r}: folds are named 1/5, draw-1 or official")


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What one method predicts for the test part of one replicate.

    Attributes:
        log_probs: ``(n, classes)`` natural logarithms of the predicted probabilities; kept as
            float64.
        labels: ``(n,)`` indices of the true classes.
        origin: where they come from.
        classes: names of the classes.
        ids: ``(n,)`` names of the images.
        groups: ``(n,)`` what images hang together (slide, lesion), or None.
        posterior: ``(n, classes)`` the true p(class | image), where known, or None.
        draw_seed: where random draws (of the noise floors) start.
        resolution: how little above an edge of bins a confidence is still the edge itself; stored
            (float32) logarithms give 0.6 back as 0.60000002.
    """

    log_probs: FloatArray
    labels: IntArray
    origin: Origin = field(default_factory=Origin)
    classes: tuple[str, ...] = ()
    ids: StrArray = field(default_factory=lambda: np.empty(0, dtype=np.str_))
    groups: StrArray | None = None
    posterior: FloatArray | None = None
    draw_seed: int = 0
    resolution: float = 1e-6
    _results: dict[Callable[..., Any], Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Predict in double precision."""
        object.__setattr__(self, "log_probs", np.asarray(self.log_probs, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, **changes: Any) -> Predictions:
        """The same under another origin: with another ``method``, ``fold`` or ``seed``, say."""
        return dataclasses.replace(self, origin=dataclasses.replace(self.origin, **changes))

    def take(self, rows: IntArray | BoolArray) -> Predictions:
        """Some of the images, or all in another order."""
        columns = ("log_probs", "labels", "ids", "groups", "posterior")
        present = {name: values for name in columns if (values := getattr(self, name)) is not None}
        # Without names there are none to take.
        return dataclasses.replace(
            self, **{name: values[rows] for name, values in present.items() if len(values)}
        )

    def once(self, function: Callable[[Predictions], T]) -> T:
        """What a function makes of these predictions; it is called the first time only."""
        if function not in self._results:
            self._results[function] = function(self)
        result: T = self._results[function]
        return result

    @cached_property
    def group_codes(self) -> IntArray | None:
        """``(n,)`` codes 0, 1, ... of the groups, or None."""
        if self.groups is None:
            return None
        codes: IntArray = np.unique(self.groups, return_inverse=True)[1].reshape(-1)
        return codes

    @cached_property
    def probs(self) -> Floats:
        """Predicted probabilities, ``(n, classes)``."""
        return np.exp(self.log_probs)

    @cached_property
    def predicted(self) -> IntArray:
        """The most probable class of each image (the first, where several are)."""
        indices: IntArray = np.argmax(self.log_probs, axis=1)
        return indices

    @cached_property
    def confidence(self) -> Floats:
        """Probability of the predicted class."""
        values: Floats = np.minimum(np.exp(self.log_probs.max(1)), 1.0)
        return values

    @cached_property
    def correct(self) -> Floats:
        """1 where the prediction is right, 0 where it is wrong."""
        values: Floats = (self.predicted == self.labels).astype(float)
        return values

    @cached_property
    def nll(self) -> Floats:
        """Negative log-probability of the true class; infinite where that is 0."""
        return np.asarray(-self.log_probs[np.arange(len(self)), self.labels], dtype=np.float64)
