"""Speed of the statistics: ``pytest tests/benchmarks/test_bench_stats.py --benchmark-only``."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from scipy import special

from benchmark import statistics as stats
from benchmark.api import Origin, Predictions
from benchmark.inference.intervals import Bootstrap
from benchmark.statistics.apart import resampled

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
    assert benchmark.statistics.stats.max <= 60


@pytest.mark.benchmark(group="ECE of every resample, 20 methods")
def test_bootstrap_of_the_ece_against_netcal(benchmark) -> None:  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from netcal.metrics import ECE
    samples = made(0, 1)
    generator = np.random.default_rng(0)

    def ours() -> np.ndarray:
        boot = Bootstrap.draw(np.arange(IMAGES), generator)
        return resampled("ece", [samples], boot)[0]

    found = benchmark.pedantic(ours, rounds=3, warmup_rounds=1)
    assert found.shape == (METHODS, RESAMPLES)

    # netcal, on some of the resamples: it takes as long for each.
    boot = Bootstrap.draw(np.arange(IMAGES), generator)
    [[found]] = resampled("ece", [samples[:1]], boot)
    some = 20
    started = time.perf_counter()
    for number in range(some):
        drawn = np.repeat(np.arange(IMAGES), boot.weights[number].astype(int))
        theirs = ECE(15).measure(samples[0].probs[drawn], samples[0].labels[drawn])
        assert found[number] == pytest.approx(theirs, abs=1e-9)
    netcal_seconds = (time.perf_counter() - started) / some * RESAMPLES * METHODS
    speed_up = netcal_seconds / benchmark.statistics.stats.mean
    benchmark.extra_info |= {"netcal_seconds": netcal_seconds, "speed_up": speed_up}
    print(
        f"\nnetcal {netcal_seconds:.0f} s, ours {benchmark.statistics.stats.mean:.2f} s: "
        f"{speed_up:.0f} times as fast"
    )
    assert speed_up >= 100
