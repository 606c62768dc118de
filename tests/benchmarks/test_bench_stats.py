"""Speed of the statistics: ``pytest tests/benchmarks/test_bench_stats.py --benchmark-only``."""

from __future__ import annotations

import numpy as np
from scipy import special

from benchmark import statistics as stats
from benchmark.api import Origin, Predictions

IMAGES, CLASSES, METHODS, RESAMPLES = 2139, 23, 20, 2000


def made(dataset: int, folds: int) -> list[Predictions]:
    """Twenty methods of five folds on one data set."""
    generator = np.random.default_rng(dataset)
    truth = special.log_softmax(2.5 * generator.normal(size=(IMAGES, CLASSES)), axis=1)
    labels = np.argmax(truth + generator.gumbel(size=truth.shape), axis=1)
    ids = np.array([f"{i:05}" for i in range(IMAGES)])
    out = []
    for method in range(METHODS):
        noisy = truth * generator.uniform(0.7, 1.8) + 0.3 * generator.normal(size=truth.shape)
        log_probs = special.log_softmax(noisy, axis=1).astype(np.float32)
        for fold in range(folds):
            mine = np.arange(IMAGES) % folds == fold
            out.append(
                Predictions(
                    origin=Origin(
                        preset="standard",
                        dataset=f"data-{dataset}",
                        backbone="resnet50",
                        method="cross-entropy" if method == 0 else f"method-{method}",
                        fold=f"{fold + 1}/{folds}",
                        seed=0,
                    ),
                    classes=tuple(map(str, range(CLASSES))),
                    ids=ids[mine],
                    labels=labels[mine],
                    log_probs=log_probs[mine],
                )
            )
    return out


def test_all_tables_of_twenty_methods(benchmark) -> None:  # type: ignore[no-untyped-def]
    predictions = made(0, 5) + made(1, 5)
    tables = benchmark.pedantic(stats.summarise, (predictions,), rounds=1)
    assert len(tables.ranks) == 2 * METHODS
    assert benchmark.stats.stats.max <= 60
