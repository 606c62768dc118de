"""Predictions of one method on one test part: all that the statistics and the report know."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.api import FloatArray, IntArray, StrArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What one method predicts for the test part of one replicate.

    Attributes:
        preset: the settings it was trained with.
        dataset: name of the data set.
        backbone: name of the network.
        method: name of the method.
        fold: ``1/5`` (a fold of five), ``draw-1`` (an independent draw) or ``official``.
        seed: number of the seed.
        classes: names of the classes.
        ids: ``(n,)`` names of the images.
        labels: ``(n,)`` indices of the true classes.
        log_probs: ``(n, classes)`` natural logarithms of the predicted probabilities.
        groups: ``(n,)`` what images hang together (slide, lesion), or None.
        posterior: ``(n, classes)`` the true p(class | image), where known, or None.
    """

    preset: str
    dataset: str
    backbone: str
    method: str
    fold: str
    seed: int
    classes: tuple[str, ...]
    ids: StrArray
    labels: IntArray
    log_probs: FloatArray
    groups: StrArray | None = None
    posterior: FloatArray | None = None
