"""Ratios of costs: known answers, what cannot be compared, and what is called cheapest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from benchmark import statistics
from benchmark.statistics.charges import cost_ratio

ALPHA = 0.05


def row(method: str, value: float, seed: int = 0, **more: object) -> dict[str, object]:
    where = {"preset": "p", "dataset": "d", "backbone": "b", "fold": "official", "seed": seed}
    cost = {"method": method, "metric": "train_seconds", "hardware": "cpu", "value": value}
    return where | cost | {"doubt": ""} | more


def charged(*rows: dict[str, object]) -> pd.DataFrame:
    found = statistics.charges(pd.DataFrame(rows), "a")
    return found.set_index(["method", "metric", "hardware"])


def test_known_ratios() -> None:
    ratio, low, high = cost_ratio(np.array([2.0, 4.0, 8.0]), np.array([1.0, 2.0, 2.0]), ALPHA)
    logs = np.log([2, 2, 4])
    expected = distributions.t.interval(0.95, 2, logs.mean(), distributions.sem(logs))
    assert ratio == pytest.approx(np.cbrt(16))
    assert (low, high) == pytest.approx(np.exp(expected))
    # A count has no noise, one replicate tells nothing of it, and nothing is no part of anything.
    assert cost_ratio(np.full(3, 5.0), np.full(3, 1.0), ALPHA) == (5, 5, 5)
    single = cost_ratio(np.array([2.0, np.nan]), np.array([1.0, 3.0]), ALPHA)
    assert single[0] == 2
    assert np.isnan(single[1:]).all()
    for costs, others in (([np.nan, 1.0], [1.0, np.nan]), ([1.0, 2.0], [0.0, 1.0]), ([], [])):
        assert np.isnan(cost_ratio(np.array(costs), np.array(others), ALPHA)).all()


times = st.lists(st.tuples(*2 * [st.floats(0.1, 100)]), min_size=2, max_size=6)


@given(times)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_other_way_round_it_is_the_inverse(pairs: list[tuple[float, float]]) -> None:
    costs, others = np.array(pairs).T
    ratio, low, high = cost_ratio(costs, others, ALPHA)
    assert low <= ratio <= high
    inverse = cost_ratio(others, costs, ALPHA)
    assert (1 / ratio, 1 / high, 1 / low) == pytest.approx(inverse, rel=1e-9)


def test_the_interval_covers() -> None:
    generator = np.random.default_rng(0)
    logs = generator.normal(np.log(1.1), 0.1, (2000, 5, 2)) - [0, np.log(1.1)]
    found = np.array([cost_ratio(*np.exp(each).T, ALPHA) for each in logs])
    assert 0.935 <= ((found[:, 1] <= 1.1) & (found[:, 2] >= 1.1)).mean() <= 0.965


def test_what_cannot_be_compared_has_no_ratio() -> None:
    found = charged(
        row("a", 1.0), row("b", 2.0), row("c", 9.0, doubt="disturbed"), row("d", 3.0, hardware="x"),
        row("d", 3.0, hardware="x", metric="train_flops_per_image"),
        row("a", 3.0, metric="train_flops_per_image"),
    )  # fmt: skip
    assert found["doubt"].to_dict() == {
        ("a", "train_seconds", "cpu"): "", ("b", "train_seconds", "cpu"): "",
        ("c", "train_seconds", "cpu"): "disturbed", ("d", "train_seconds", "x"): "elsewhere",
        ("d", "train_flops_per_image", "x"): "",  # a count is the same everywhere
        ("a", "train_flops_per_image", "cpu"): "",
    }  # fmt: skip
    ratios = found.xs("train_seconds", level="metric")["ratio"].droplevel("hardware")
    assert ratios[["a", "b"]].tolist() == [1, 2]
    assert ratios[["c", "d"]].isna().all()


def test_ratios_are_formed_on_the_replicates_that_can_be_compared() -> None:
    found = charged(
        *(row("a", 1.0, seed) for seed in range(3)),
        row("b", 2.0, 0), row("b", 2.0, 1), row("b", 50.0, 2, doubt="disturbed"),
    ).loc["b"].iloc[0]  # fmt: skip
    assert found[["value", "ratio", "doubt"]].tolist() == [18.0, 2.0, "disturbed"]


def test_cheapest() -> None:
    noisy = {"best": (10, 11, 12), "slow": (50, 55, 59), "equal": (9, 11, 11.5)}
    rows = [row(m, v, seed) for m, values in noisy.items() for seed, v in enumerate(values)]
    rows += [row("disturbed", 1.0, seed, doubt="disturbed") for seed in range(3)]
    costs = pd.DataFrame(rows)
    assert statistics.cheapest(costs, ["best", "slow", "equal", "disturbed"]) == (
        "equal",
        ("best",),
    )
    assert statistics.cheapest(costs, ["best", "slow"]) == ("best", ())
    assert statistics.cheapest(costs, ["best", "disturbed"]) is None
    single = costs[costs["seed"] == 0]  # one replicate shows no difference
    assert statistics.cheapest(single, ["best", "slow"]) == ("best", ("slow",))
    elsewhere = pd.DataFrame([row("best", 1.0), row("slow", 2.0, hardware="x")])
    assert statistics.cheapest(elsewhere, ["best", "slow"]) is None
