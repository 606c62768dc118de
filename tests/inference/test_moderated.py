"""Moderated t: known answers, simulated truth, and what must not depend on anything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions

from benchmark.inference.comparison import holm
from benchmark.inference.moderated import moderated

few = settings(max_examples=20, deadline=None, derandomize=True)


def test_two_methods_are_compared_by_the_paired_t_test() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5))
    found = moderated(values, 1 / 5)
    assert found.degrees[0, 1] == 4
    assert found.p()[0, 1] == pytest.approx(distributions.ttest_rel(*values).pvalue)


def test_no_variance_falls_below_that_of_drawing_images() -> None:
    values = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    found = moderated(values, 1 / 3, np.full((2, 2), 0.25))
    assert found.error[0, 1] == pytest.approx(0.5)
    assert moderated(values, 1 / 3).p()[0, 1] == 0
    unknown = moderated(values, 1 / 3, np.full((2, 2), np.nan))
    assert unknown.p()[0, 1] == 0  # the scatter between replicates holds what images make


def test_what_images_make_must_be_known_where_replicates_share_them() -> None:
    """One patient, or a class of three images, tells nothing of others."""
    values = np.random.default_rng(8).normal(size=(3, 4))
    images = np.full((3, 3), 0.1)
    images[0, 1] = images[1, 0] = np.nan
    found = moderated(values, 1 / 4, images, same_images=True)
    assert np.isnan(found.p()[0, 1])
    assert np.isfinite(found.p()[0, 2])
    assert np.isnan(moderated(values, 1 / 4, same_images=True).p()[np.triu_indices(3, 1)]).all()


def test_replicates_tested_on_the_same_images_get_their_variance_on_top() -> None:
    values = np.random.default_rng(1).normal(size=(2, 4))
    plain = moderated(values, 1 / 4)
    on_top = moderated(values, 1 / 4, np.full((2, 2), 0.3), same_images=True)
    assert on_top.error[0, 1] ** 2 == pytest.approx(plain.error[0, 1] ** 2 + 0.3)
    assert on_top.scatter[0, 1] == pytest.approx(plain.scatter[0, 1])
    assert on_top.fixed[0, 1] ** 2 == pytest.approx(0.3)


def test_a_prior_is_learned_from_many_pairs() -> None:
    """Variances of methods that scatter alike come out alike, with more degrees of freedom."""
    generator = np.random.default_rng(2)
    values = generator.normal(size=(20, 3))
    found = moderated(values, 1 / 3)
    above = np.triu_indices(20, 1)
    own = np.std([values[i] - values[j] for i, j in zip(*above)], axis=1, ddof=1) / np.sqrt(3)
    assert found.error[above].std() < 0.75 * own.std()
    # No variance becomes smaller by it: methods may scatter differently.
    assert (found.error[above] >= own - 1e-12).all()
    assert found.degrees[0, 1] > 10
    # No more than methods give, whatever the number of their pairs.
    assert found.degrees.max() <= 2 + 18 * 2


def test_a_method_that_collapses_keeps_its_own_variance() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(size=(12, 5))
    values[4, 2] += 60
    found = moderated(values, 1 / 5)
    assert found.unstable.tolist() == [m == 4 for m in range(12)]
    own = (values[4] - values[0]).std(ddof=1) / np.sqrt(5)
    assert found.error[4, 0] == pytest.approx(own)
    assert found.degrees[4, 0] == 4
    calm = moderated(np.delete(values, 4, axis=0), 1 / 5)
    assert found.error[0, 1] == pytest.approx(calm.error[0, 1], rel=1e-12)


def test_what_is_not_finite_is_not_compared_and_disturbs_nothing() -> None:
    values = np.random.default_rng(4).normal(size=(6, 4))
    with_infinite = np.vstack([values, [1.0, np.inf, 0, 0]])
    found, alone = moderated(with_infinite, 1 / 4), moderated(values, 1 / 4)
    assert np.isnan(found.p()[6, :6]).all()
    assert found.p()[:6, :6] == pytest.approx(alone.p())
    assert not found.unstable[6]


@few
@given(seed=st.integers(0, 999), methods=st.integers(2, 9), replicates=st.integers(3, 8))
def test_it_knows_neither_order_nor_unit_nor_what_is_common(
    seed: int, methods: int, replicates: int
) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(methods, replicates)) * generator.uniform(0.5, 2, (methods, 1))
    images = np.full((methods, methods), 0.05)
    found = moderated(values, 1 / replicates, images)
    order = generator.permutation(methods)
    moved = moderated(values[order], 1 / replicates, images)
    assert moved.p() == pytest.approx(found.p()[np.ix_(order, order)], rel=1e-6)
    common = generator.normal(size=replicates)
    other = moderated(1000 * (values + common), 1 / replicates, 1e6 * images)
    assert other.p() == pytest.approx(found.p(), rel=1e-4, abs=1e-9)
    assert found.difference == pytest.approx(-found.difference.T)
    assert found.p() == pytest.approx(found.p().T)


SCATTER = {"alike": 1.0, "a fifth two and a half times": 2.5}


@pytest.mark.parametrize("scatter", SCATTER)
@pytest.mark.parametrize(("methods", "replicates"), [(21, 3), (21, 5), (6, 5), (2, 3)])
def test_coverage_and_false_separations(methods: int, replicates: int, scatter: str) -> None:
    """All methods are equal in mean; what is promised is less where they scatter differently."""
    generator = np.random.default_rng(5)
    above = np.triu_indices(methods, 1)
    own = np.ones((methods, 1))
    own[: max(methods // 5, 1)] = SCATTER[scatter]
    noisy = (own[above[0]] + own[above[1]])[:, 0] > 2
    tables = 300
    covered, separated = [], 0
    for _ in range(tables):
        common = generator.normal(0, 2, replicates)
        noise = own * generator.normal(size=(methods, replicates))
        found = moderated(common + noise, 1 / replicates)
        covered.append((np.abs(found.difference) <= found.half(0.05))[above])
        separated += (holm(found.p()[above]) < 0.05).any()
    assert 0.935 <= np.mean(covered) <= 0.985
    alike = scatter == "alike"
    if not alike:
        assert np.mean(np.array(covered)[:, noisy]) >= 0.87
    assert separated <= distributions.binom.ppf(0.99, tables, 0.05 if alike else 0.15)


def test_power_beside_the_plain_paired_t() -> None:
    """With three replicates the plain test finds next to nothing among 210 pairs."""
    generator = np.random.default_rng(6)
    above = np.triu_indices(21, 1)
    ours = plain = 0.0
    for _ in range(50):
        values = np.arange(21.0)[:, None] * 0.5 + generator.normal(size=(21, 3))
        found = moderated(values, 1 / 3)
        ours += (holm(found.p()[above]) < 0.05).mean()
        pairs = values[above[0]] - values[above[1]]
        plain += (holm(distributions.ttest_1samp(pairs, 0, axis=1).pvalue) < 0.05).mean()
    assert ours > 5 * plain


def test_what_all_replicates_share_is_not_averaged_away() -> None:
    values = np.random.default_rng(7).normal(size=(3, 50)) / 100
    found = moderated(values, 1 / 50, bias=np.array([0.3, 0.4, 0.0]))
    assert found.error[0, 1] == pytest.approx(0.5, rel=0.01)
    assert found.error[1, 2] == pytest.approx(0.4, rel=0.01)
