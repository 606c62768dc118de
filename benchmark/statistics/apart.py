"""What is computed of each method apart from the others: scores, and what intervals need.

Processes can share a block so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy import sparse

from benchmark.api import (
    ORIGIN,
    FloatArray,
    Floats,
    Metric,
    Origin,
    PerImage,
    Predictions,
    Weighted,
)
from benchmark.inference.intervals import SLOW_RESAMPLES, Bootstrap
from benchmark.measures.bins import Bins
from benchmark.measures.declared import select
from benchmark.measures.inversion import Error, inversion_intervals, noise_floor
from benchmark.measures.kinds import Binned, CalibrationMeasure
from benchmark.measures.paired import candidates
from benchmark.statistics.blocks import BinsOf, Block, ordered

SCORE_COLUMNS = (*ORIGIN, "metric", "value")

Known = Mapping[tuple[Origin, str], float]
"""Values by origin and name of the metric."""


def scores(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    known: Known | None = None,
) -> pd.DataFrame:
    """Tidy scores: one row per replicate and metric.

    Args:
        predictions: of any methods, data sets and replicates.
        metrics: names; None means all that can be computed.
        seed: where the noise floors' label draws start.
        known: values measured earlier, of the same predictions and with the same seed: only what
            is missing there is measured.

    Returns:
        Columns preset, dataset, backbone, method, fold, seed, metric, value, in a fixed order.

    Raises:
        InputError: a metric or fold is unknown, or a replicate occurs twice.
    """
    values = measure(ordered(predictions, seed), metrics, known or {})
    rows = [
        (*(getattr(origin, column) for column in ORIGIN), metric, value)
        for (origin, metric), value in values.items()
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def measure(
    predictions: Iterable[Predictions], metrics: Sequence[str] | None, known: Known
) -> dict[tuple[Origin, str], float]:
    """The metrics of each set of predictions that can be computed, in order.

    Args:
        predictions: each with another origin.
        metrics: names; None means all.
        known: values that need not be measured again.
    """
    chosen = {posterior: select(metrics, posterior) for posterior in (False, True)}
    values = {}
    for p in predictions:
        for metric in chosen[p.posterior is not None]:
            key = (p.origin, metric.name)
            values[key] = known[key] if key in known else metric.value(p)
    return values


M = TypeVar("M", bound=Metric)

NOISE_RESAMPLES = 500
"""Bootstrap resamples behind a standard error of a calibration error."""


@dataclass(frozen=True, eq=False)
class Apart:
    """Numbers of some methods of a block, by metric; methods along the first axis.

    Attributes:
        replicates: ``(methods, seeds, folds)`` the values.
        denoised: of calibration errors, ``(methods, seeds, folds)``: the values without what noise
            adds to them.
        inverted: of binned metrics, ``(methods, 2)``: inversion intervals, lower and upper ends.
        candidates: of the same, ``(methods, candidates, 1 + draws)``: true errors that are tried,
            and errors drawn under each (:mod:`benchmark.measures.paired`).
        floors: of calibration errors, ``(methods, 5)``: the observed value; mean, upper end and p
            of the noise floor, of all replicates together; and how many replicates are inside
            the floor of their own.
        images: of means over images, ``(methods, images)``: each image's, averaged over seeds.
        weighted: of functions of weighted images, ``(methods, SLOW_RESAMPLES)``, likewise.
        noise: of binned metrics, ``(methods, NOISE_RESAMPLES)``, likewise: only their spread
            counts, for resampling adds the labels' noise a second time.
    """

    replicates: dict[str, Floats]
    denoised: dict[str, Floats]
    inverted: dict[str, Floats]
    candidates: dict[str, FloatArray]
    floors: dict[str, Floats]
    images: dict[str, Floats]
    weighted: dict[str, Floats]
    noise: dict[str, Floats]

    @classmethod
    def join(cls, parts: Sequence[Apart]) -> Apart:
        """Those of all methods, in the order of the parts."""
        return cls(
            **{
                f.name: {
                    metric: np.concatenate([getattr(part, f.name)[metric] for part in parts])
                    for metric in getattr(parts[0], f.name)
                }
                for f in fields(cls)
            }
        )


def measure_apart(
    block: Block, metrics: Sequence[Metric], boot: Bootstrap, alpha: float, known: Known
) -> Apart:
    """Measure some methods of a block, or all.

    Args:
        block: with these methods alone.
        metrics: which.
        boot: the resamples shared by all methods.
        alpha: one minus the coverage.
        known: values that need not be measured again.
    """
    of_folds = np.split(boot.of_images(SLOW_RESAMPLES), np.cumsum(block.sizes)[:-1], axis=1)

    def by_metric(chosen: Iterable[M], of: Callable[[M, str], object]) -> dict[str, Floats]:
        """Of some metrics, and of each method."""
        return {
            metric.name: np.array([of(metric, m) for m in block.methods], dtype=float)
            for metric in chosen
        }

    def of_replicates(of: Callable[[Predictions], float], method: str) -> Floats:
        values = [of(p) for p in block.parts[method]]
        return np.reshape(values, (block.seeds, block.folds))

    def of_images(metric: PerImage, method: str) -> Floats:
        seeds = [
            np.concatenate([p.once(metric.of) for p in folds]) for folds in block.by_seed(method)
        ]
        return np.asarray(np.mean(seeds, axis=0))

    # A resample of few groups may leave out all images of a fold, which counts nothing then.
    counted = np.array([weights.any(1) for weights in of_folds]) * block.sizes[:, None]

    def of_resamples(metric: Weighted, method: str) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = [
                [metric.of(p, weights) for p, weights in zip(folds, of_folds, strict=True)]
                for folds in block.by_seed(method)
            ]
        each = np.where(counted > 0, np.mean(drawn, axis=0), 0.0)
        return np.asarray((each * counted).sum(0) / counted.sum(0))

    resampled: dict[tuple[str, BinsOf], list[Floats]] = {}

    def of_noise(metric: Binned, method: str) -> Floats:
        seeds = block.bins(method, metric.bins)
        if (method, metric.bins) not in resampled:
            resampled[method, metric.bins] = [_resampled(bins, boot) for bins in seeds]
        hits = resampled[method, metric.bins]
        error = over_networks(metric.of)
        return np.asarray(np.mean([error(h, b) for h, b in zip(hits, seeds)], axis=0))

    errors = [metric for metric in metrics if isinstance(metric, CalibrationMeasure)]
    names = [metric.name for metric in metrics]
    values = measure([p for parts in block.parts.values() for p in parts], names, known)
    inverted, tried = _inverted(block, metrics, alpha)
    return Apart(
        replicates=by_metric(
            metrics, lambda metric, m: of_replicates(lambda p: values[p.origin, metric.name], m)
        ),
        denoised=by_metric(errors, lambda metric, m: of_replicates(metric.denoised, m)),
        inverted=inverted,
        candidates=tried,
        floors=by_metric(errors, lambda metric, m: _floor(metric, block, m, alpha)),
        images=by_metric([m for m in metrics if isinstance(m, PerImage)], of_images),
        weighted=by_metric([m for m in metrics if isinstance(m, Weighted)], of_resamples),
        noise=by_metric([m for m in metrics if isinstance(m, Binned)], of_noise),
    )


def over_networks(error: Error) -> Error:
    """The mean of an error over networks whose bins stand side by side: each by its images."""

    def mean(hits: Floats, bins: Bins) -> Floats:
        if not bins.networks:
            return error(hits, bins)
        ends = np.cumsum([b.bins for b in bins.networks])[:-1]
        each = zip(np.split(hits, ends, axis=1), bins.networks, strict=True)
        return np.asarray(sum(error(h, b) * (b.images / bins.images) for h, b in each))

    return mean


def _floor(metric: CalibrationMeasure, block: Block, method: str, alpha: float) -> list[float]:
    """The observed error; mean, upper end and p of what calibrated models show; how many do."""
    replicates = block.parts[method]
    each = np.array([metric.observed(p) for p in replicates])
    if not np.isfinite(each).all():
        return [np.nan] * 5
    inside = 0
    drawn = []
    for observed, p in zip(each, replicates, strict=True):
        drawn.append(metric.floor(p, alpha))
        inside += observed <= noise_floor(drawn[-1], observed, alpha).high
    if isinstance(metric, Binned):
        error = over_networks(metric.of)
        seeds = [
            error(bins.at_level(alpha).floor, bins) for bins in block.bins(method, metric.bins)
        ]
    else:
        # The folds' draws share their random numbers, but their images are others.
        mixed = [np.random.default_rng(k % block.folds).permutation(d) for k, d in enumerate(drawn)]
        folds = np.reshape(mixed, (block.seeds, block.folds, -1))
        seeds = list(block.over_folds(folds.swapaxes(1, 2)))
    draws = np.mean([np.sort(seed) for seed in seeds], axis=0)
    observed = float(block.over_folds(each.reshape(block.seeds, block.folds)).mean())
    floor = noise_floor(draws, observed, alpha)
    return [observed, floor.mean, floor.high, floor.p, float(inside)]


def _inverted(
    block: Block, metrics: Sequence[Metric], alpha: float
) -> tuple[dict[str, Floats], dict[str, FloatArray]]:
    """Intervals and candidates of all binned metrics; those of the same bins share their draws."""
    binned = [m for m in metrics if isinstance(m, Binned) and m.interval]
    ends: dict[str, list[Floats]] = {m.name: [] for m in binned}
    tried: dict[str, list[FloatArray]] = {m.name: [] for m in binned}
    for method in block.methods:
        for bins_of in dict.fromkeys(m.bins for m in binned):
            together = [m for m in binned if m.bins is bins_of]
            seeds = [bins.at_level(alpha) for bins in block.bins(method, bins_of)]
            errors = [(over_networks(m.of), over_networks(m.truth or m.of)) for m in together]
            inverted = inversion_intervals(seeds, errors, alpha)
            found = candidates(seeds, [block.units] * block.seeds, errors)
            for metric, of_metric, candidate in zip(together, inverted, found, strict=True):
                ends[metric.name].append(of_metric)
                tried[metric.name].append(np.c_[candidate.truths, candidate.drawn])
    return (
        {name: np.array(values) for name, values in ends.items()},
        {name: np.array(values, dtype=np.float32) for name, values in tried.items()},
    )


def _resampled(bins: Bins, boot: Bootstrap) -> Floats:
    """Hits of resampled images, ``(NOISE_RESAMPLES, bins)``."""
    gaps = sparse.csr_array(
        (bins.hit - bins.confidence, (bins.index, boot.units)), (bins.bins, len(boot.sizes))
    )
    share = bins.images / boot.images[:NOISE_RESAMPLES]
    drawn = np.asarray(gaps @ boot.by_unit[:, :NOISE_RESAMPLES]) * share
    return np.asarray(bins.expected + drawn.T)
