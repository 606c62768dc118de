"""What is computed of each method apart from the others, so that processes can share a block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from scipy import sparse

from benchmark.api import Floats, Metric, PerImage, Predictions, Weighted
from benchmark.measures.declared import metrics as declared
from benchmark.measures.inversion import inversion_intervals, noise_floor
from benchmark.measures.kinds import Binned, CalibrationMeasure
from benchmark.statistics import intervals
from benchmark.statistics.blocks import Block
from benchmark.statistics.intervals import SLOW_RESAMPLES, Bootstrap
from benchmark.statistics.scores import Known, measure

M = TypeVar("M", bound=Metric)


@dataclass(frozen=True, eq=False)
class Apart:
    """Numbers of some methods of a block, by metric; methods along the first axis.

    Attributes:
        replicates: ``(methods, seeds, folds)`` the values.
        seeds: ``(methods, seeds)`` those of all folds together.
        inverted: of binned metrics, ``(methods, 2, 2)``: inversion intervals with the variance
            between seeds, at ``alpha``, then at ``alpha / 2`` (two of which hold a difference, by
            Bonferroni's inequality); their lower, then their upper ends.
        floors: of calibration errors, ``(methods, 5)``: the observed value; mean, upper end and p
            of the noise floor, averaged over seeds; the value, as :attr:`seeds` has it.
        images: of means over images, ``(methods, images)``: each image's, averaged over seeds.
        weighted: of functions of weighted images, ``(methods, SLOW_RESAMPLES)``, likewise.
        resampled: of those that methods are ranked by, ``(methods, seeds, RESAMPLES)``.
    """

    replicates: dict[str, Floats]
    seeds: dict[str, Floats]
    inverted: dict[str, Floats]
    floors: dict[str, Floats]
    images: dict[str, Floats]
    weighted: dict[str, Floats]
    resampled: dict[str, Floats]

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
        metrics: which; resamples are drawn of those among them that methods are ranked by.
        boot: the resamples shared by all methods.
        alpha: one minus the coverage.
        known: values that need not be measured again.
    """
    weights = boot.of_images(SLOW_RESAMPLES)
    replicates = _values(block.parts, metrics, known)

    def by_metric(kind: type[M], of: Callable[[M, Predictions], Floats]) -> dict[str, Floats]:
        """Of each metric of a kind and each method, the mean over seeds."""
        return {
            metric.name: np.array(
                [np.mean([of(metric, p) for p in seeds], 0) for seeds in block.samples.values()]
            )
            for metric in metrics
            if isinstance(metric, kind)
        }

    return Apart(
        # Replicates are in the order of seeds, and of folds within each.
        replicates={n: v.reshape(len(v), block.seeds, -1) for n, v in replicates.items()},
        seeds=_values(block.samples, metrics, known),
        inverted=_inverted(block, metrics, alpha),
        floors={
            metric.name: np.array(
                [_floor(metric, seeds, alpha) for seeds in block.samples.values()]
            )
            for metric in metrics
            if isinstance(metric, CalibrationMeasure)
        },
        images=by_metric(PerImage, lambda metric, p: p.once(metric.of)),
        weighted=by_metric(Weighted, lambda metric, p: metric.of(p, weights)),
        resampled={
            m.name: resampled(m.name, block.samples.values(), boot) for m in metrics if m.ranked
        },
    )


def _values(
    samples: Mapping[str, Sequence[Predictions]], metrics: Sequence[Metric], known: Known
) -> dict[str, Floats]:
    """By metric, ``(methods, predictions)``."""
    names = [metric.name for metric in metrics]
    values = measure([p for listed in samples.values() for p in listed], names, known)
    return {
        name: np.array([[values[p.origin, name] for p in listed] for listed in samples.values()])
        for name in names
    }


def _floor(metric: CalibrationMeasure, seeds: Sequence[Predictions], alpha: float) -> list[float]:
    """The observed error; mean, upper end and p of what a perfectly calibrated model shows."""
    observed = float(np.mean([metric.observed(p) for p in seeds]))
    if not np.isfinite(observed):
        return [np.nan] * 4
    draws = np.mean([np.sort(metric.floor(p, alpha)) for p in seeds], axis=0)
    floor = noise_floor(draws, observed, alpha)
    return [observed, floor.mean, floor.high, floor.p]


def _inverted(block: Block, metrics: Sequence[Metric], alpha: float) -> dict[str, Floats]:
    """Inversion intervals of all binned metrics; those of the same bins share their draws."""
    binned = [m for m in metrics if isinstance(m, Binned) and m.interval]
    inverted = {m.name: np.empty((len(block.methods), 2, 2)) for m in binned}
    levels = (alpha, alpha / 2)
    for number, method in enumerate(block.methods):
        for bins_of in dict.fromkeys(m.bins for m in binned):
            together = [m for m in binned if m.bins is bins_of]
            seeds = [p.once(bins_of).at_level(alpha) for p in block.samples[method]]
            errors = [(m.of, m.truth or m.of) for m in together]
            for metric, ends in zip(together, inversion_intervals(seeds, errors, levels)):
                values = np.array([metric.of(b.hits[None], b)[0] for b in seeds])
                for row, (level, (low, high)) in enumerate(zip(levels, ends)):
                    inverted[metric.name][number, row] = intervals.with_seeds(
                        np.asarray(values.mean()), low, high, values, level, positive=True
                    )
    return inverted


def resampled(name: str, methods: Collection[Sequence[Predictions]], boot: Bootstrap) -> Floats:
    """A metric of every resample, ``(methods, seeds, resamples)``.

    Resampling adds the labels' noise to a calibration error a second time: of such only the
    spread is used, around the observed value. What cannot be resampled stays as it is.

    Args:
        name: of the metric.
        methods: the predictions of each method, one a seed.
        boot: the resamples.
    """
    metric = declared()[name]
    samples = [p for seeds in methods for p in seeds]
    totals = boot.weights @ boot.sizes
    if isinstance(metric, PerImage):
        images = np.stack([p.once(metric.of) for p in samples], 1)
        finite = np.isfinite(images).all(0)
        sums = boot.weights @ boot.sums(np.where(finite, images, 0.0))
        drawn = np.where(finite, sums / totals[:, None], np.inf).T
    elif isinstance(metric, Weighted):
        drawn = np.stack([metric.of(p, boot.of_images(len(totals))) for p in samples])
    elif isinstance(metric, Binned):
        drawn = np.stack([_resampled_error(metric, p, boot, totals) for p in samples])
    else:
        drawn = np.repeat([[metric.value(p)] for p in samples], len(totals), axis=1)
    return drawn.reshape(len(methods), -1, len(totals))


def _resampled_error(metric: Binned, p: Predictions, boot: Bootstrap, totals: Floats) -> Floats:
    bins = p.once(metric.bins)
    gaps = sparse.csr_array(
        (bins.hit - bins.confidence, (bins.index, boot.units)), (bins.bins, len(boot.sizes))
    )
    drawn = np.asarray(gaps @ boot.by_unit) * (bins.images / totals)
    errors = metric.of(bins.expected + drawn.T, bins)
    return np.asarray(errors + (metric.observed(p) - errors.mean()))
