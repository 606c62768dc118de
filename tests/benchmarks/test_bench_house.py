"""This tree against an earlier one, side by side in one run.

``CALIBRATION_EARLIER_TREE`` names a checkout of the earlier tree, such as one made by
``git worktree add ../earlier 6723b7f``; its own ``results/`` and sources are used. Both run with
the same interpreter and libraries, in turns; the ratio of the median times is reported.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import special

HERE = Path(__file__).resolve().parents[2]
EARLIER = os.environ.get("CALIBRATION_EARLIER_TREE")
pytestmark = pytest.mark.skipif(not EARLIER, reason="CALIBRATION_EARLIER_TREE names no checkout")


def seconds(tree, *words):
    """That ``python -m benchmark WORDS`` takes in a tree."""
    command = [sys.executable, "-m", "benchmark", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    subprocess.run(command, cwd=tree, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


def in_turns(benchmark, now, earlier, rounds=2):
    """Report the ratio of two pieces of work, each a function that gives its seconds."""
    taken = {"now": [], "earlier": []}

    def both():
        taken["now"].append(now())
        taken["earlier"].append(earlier())

    benchmark.pedantic(both, rounds=rounds)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    benchmark.extra_info |= medians | {"ratio": medians["now"] / medians["earlier"]}
    return medians["now"] / medians["earlier"]


def copied(tree, folder):
    """The committed default results of a tree, without tables and figures."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(Path(tree) / "results" / "default" / "manifest.json", folder)
    shutil.copytree(Path(tree) / "results" / "default" / "store", folder / "store")
    return folder


@pytest.mark.benchmark(group="leaderboard of the default results, from nothing")
def test_leaderboard_from_nothing(benchmark, tmp_path):
    def work(tree, name):
        folder = copied(tree, tmp_path / name)
        return lambda: seconds(tree, "leaderboard", "--results", folder)

    def now():
        return work(HERE, "now")()

    def earlier():
        return work(EARLIER, "earlier")()

    assert in_turns(benchmark, now, earlier) < 0.6


@pytest.mark.benchmark(group="leaderboard of the default results, nothing new")
def test_leaderboard_with_nothing_new(benchmark, tmp_path):
    folders = {tree: copied(tree, tmp_path / str(i)) for i, tree in enumerate((HERE, EARLIER))}
    for tree, folder in folders.items():
        seconds(tree, "leaderboard", "--results", folder)

    def again(tree):
        return lambda: seconds(tree, "leaderboard", "--results", folders[tree])

    assert in_turns(benchmark, again(HERE), again(EARLIER)) < 0.15


@pytest.mark.benchmark(group="evaluate a file of 10,000 images and 10 classes")
def test_evaluate(benchmark, tmp_path):
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(10_000, 10))
    labels = np.argmax(special.log_softmax(logits, 1) + generator.gumbel(size=logits.shape), 1)
    np.savez(tmp_path / "net.npz", test_logits=logits, test_labels=labels)

    def once(tree, name):
        words = ("evaluate", tmp_path / "net.npz", "--out", tmp_path / name)
        return lambda: seconds(tree, *words)

    assert in_turns(benchmark, once(HERE, "now"), once(EARLIER, "earlier")) < 1.0
