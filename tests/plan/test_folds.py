"""Folds: disjoint, stratified, repeatable, groups never divided."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.api import Images, InputError
from benchmark.plan import folds

KVASIR = [41, 53, 646, 1148, 1009, 1002, 989, 403, 260, 6, 9, 131, 1028, 999, 391, 764, 35, 201]
KVASIR += [11, 443, 28, 133, 932]


def make(labels, groups=None, split=None, classes=None):
    labels = np.asarray(labels)
    return Images(
        inputs=np.zeros((len(labels), 1, 1, 1), np.uint8),
        labels=labels,
        classes=tuple(f"c{i}" for i in range(classes or labels.max() + 1)),
        ids=np.array([str(i) for i in range(len(labels))]),
        groups=None if groups is None else np.array([f"g{g}" for g in groups]),
        split=None if split is None else np.asarray(split),
    )


def rng(seed=0):
    return np.random.default_rng(seed)


def everything(parts):
    return np.concatenate([parts.train, parts.calibration, parts.test])


@st.composite
def grouped(draw):
    seed = draw(st.integers(0, 2**31))
    generator = rng(seed)
    classes = draw(st.integers(2, 5))
    labels = np.r_[np.repeat(np.arange(classes), 3), generator.integers(classes, size=60)]
    sizes = draw(st.sampled_from([12, 25, 75]))
    groups = generator.integers(sizes, size=len(labels)) if draw(st.booleans()) else None
    return make(labels, groups), draw(st.integers(2, 5)), seed


@given(grouped())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_parts_are_disjoint_cover_everything_and_keep_groups_whole(case):
    samples, k, seed = case
    cut = folds.split(samples, k, rng(seed)).folds
    assert len(cut) == k
    tested = np.sort(np.concatenate([fold.test for fold in cut]))
    np.testing.assert_array_equal(tested, np.arange(len(samples.labels)))
    for fold in cut:
        np.testing.assert_array_equal(np.sort(everything(fold)), np.arange(len(samples.labels)))
        assert len(fold.train) > len(fold.calibration) > 0
        if samples.groups is not None:
            named = [set(samples.groups[p]) for p in (fold.train, fold.calibration, fold.test)]
            assert sum(map(len, named)) == len(set.union(*named))


@given(grouped())
@settings(max_examples=20, deadline=None, derandomize=True)
def test_same_generator_same_folds_and_another_seed_other_folds(case):
    samples, k, seed = case
    one, two, other = (folds.split(samples, k, rng(s)).folds for s in (seed, seed, seed + 1))
    for a, b in zip(one, two):
        np.testing.assert_array_equal(a.train, b.train)
        np.testing.assert_array_equal(a.calibration, b.calibration)
    assert any(len(a.test) != len(b.test) or (a.test != b.test).any() for a, b in zip(one, other))


def test_without_groups_every_class_is_shared_out_to_within_one_image():
    labels = rng().choice(4, size=1003, p=[0.55, 0.3, 0.1, 0.05])
    samples = make(labels)
    total = np.bincount(labels)
    for fold in folds.split(samples, 5, rng(1)).folds:
        tested = np.bincount(labels[fold.test], minlength=4)
        assert (np.abs(tested - total / 5) < 1).all()
        kept_back = np.bincount(labels[fold.calibration], minlength=4)
        assert (np.abs(kept_back - (total - tested) / 5) < 1).all()


def test_with_many_groups_class_shares_stay_close():
    generator = rng(3)
    groups = generator.integers(300, size=3000)
    favourite = generator.integers(3, size=300)
    labels = np.where(
        generator.random(3000) < 0.7, favourite[groups], generator.integers(3, size=3000)
    )
    total = np.bincount(labels) / 3000
    for fold in folds.split(make(labels, groups), 5, rng(1)).folds:
        for part in (fold.train, fold.calibration, fold.test):
            assert np.abs(np.bincount(labels[part]) / len(part) - total).max() < 0.02
        assert abs(len(fold.test) - 600) < 30


@pytest.mark.parametrize("seed", range(3))
def test_kvasirs_class_of_six_is_in_every_part_of_five_folds(seed):
    labels = np.repeat(np.arange(23), KVASIR)
    cut = folds.split(make(labels), 5, rng(seed))
    assert cut.notes == ()
    for fold in cut.folds:
        for part in (fold.train, fold.calibration, fold.test):
            assert np.bincount(labels[part], minlength=23).min() >= 1


def test_a_class_too_small_for_every_part_is_named_not_crashed_on():
    labels = np.r_[np.zeros(50, int), np.ones(50, int), [2, 2, 2]]
    cut = folds.split(make(labels), 5, rng())
    (note,) = [n for n in cut.notes if "test" in n]
    assert "'c2' (3 images) is absent from the test part of fold" in note
    assert note.count("/5") == 2
    for fold in cut.folds:  # what is left of it can still be learnt and calibrated
        assert (labels[fold.train] == 2).any()
        assert (labels[fold.calibration] == 2).any()


def test_fewer_images_of_a_class_than_parts_is_refused_by_name():
    with pytest.raises(InputError, match=r"'c1' has 2.*'c2' has 0.*merge"):
        folds.split(make([0] * 30 + [1] * 2, classes=3), 5, rng())
    with pytest.raises(InputError, match="'c1' has 2"):
        folds.official(make([0, 0, 0, 1, 1], split=["train"] * 3 + ["test"] * 2), rng())


def test_more_folds_than_groups_is_refused_with_the_remedy():
    samples = make([0, 1] * 20, groups=np.arange(40) % 4)
    with pytest.raises(InputError, match="4 groups do not fill 5 folds: choose 4 folds or fewer"):
        folds.split(samples, 5, rng())
    with pytest.raises(InputError, match="2 groups do not fill 2 folds: at least 4"):
        folds.split(make([0, 1] * 20, groups=np.arange(40) % 2), 2, rng())
    with pytest.raises(InputError, match="at least two"):
        folds.split(samples, 1, rng())


def test_official_parts_are_kept_exactly_and_calibration_is_cut_from_train_by_group():
    labels = np.tile([0, 0, 1], 40)
    split = np.array(["train"] * 90 + ["test"] * 30, dtype="U11")
    samples = make(labels, groups=np.arange(120) // 3, split=split)
    cut = folds.official(samples, rng())
    (fold,) = cut.folds
    np.testing.assert_array_equal(fold.test, np.arange(90, 120))
    np.testing.assert_array_equal(np.sort(everything(fold)), np.arange(120))
    assert len(fold.calibration) == 18
    assert not set(samples.groups[fold.train]) & set(samples.groups[fold.calibration])
    assert cut.notes == ()

    split[80:90] = "calibration"
    (fold,) = folds.official(make(labels, split=split), rng()).folds
    np.testing.assert_array_equal(fold.calibration, np.arange(80, 90))


def test_the_official_cut_does_not_look_at_test_labels():
    labels = np.tile([0, 0, 1], 40)
    split = np.array(["train"] * 90 + ["test"] * 30, dtype="U11")
    one = folds.official(make(labels, split=split), rng()).folds[0]
    labels[90:] = 1 - labels[90:]
    two = folds.official(make(labels, split=split), rng()).folds[0]
    np.testing.assert_array_equal(one.calibration, two.calibration)


def test_an_official_split_that_divides_groups_is_reported():
    samples = make([0, 1] * 10, groups=np.arange(20) % 5, split=["train"] * 10 + ["test"] * 10)
    assert "100.0 % of the official test images" in folds.official(samples, rng()).notes[0]


def test_no_official_split_is_refused():
    with pytest.raises(InputError, match="no official split: choose how many folds"):
        folds.official(make([0, 1] * 10), rng())
    with pytest.raises(InputError, match="has no test images"):
        folds.official(make([0, 1] * 10, split=["train"] * 20), rng())


def test_classes_that_live_in_too_few_groups_are_reported():
    # Class 1 lives in two groups only: in each of five folds some part lacks it.
    labels = np.r_[np.zeros(100, int), np.ones(20, int)]
    groups = np.r_[np.arange(100) // 4, 100 + np.arange(20) // 10]
    cut = folds.split(make(labels, groups), 5, rng())
    assert any("'c1' (20 images) is absent from the test part" in n for n in cut.notes)
    assert not any("'c1'" in n and "train" in n for n in cut.notes)


def test_large_groups_go_where_they_distort_the_shares_least():
    # Of 100 images a class, train wants 80 and calibration 20. The group of 50 goes to train;
    # that of 40 leaves train 10 over there, and would leave calibration 20 over.
    labels = np.arange(200) // 100
    groups = np.tile(np.r_[np.zeros(50, int), np.ones(40, int), np.arange(2, 12)], 2)
    groups[190:] += 10
    samples = make(np.r_[labels, 0, 1], np.r_[groups, 98, 99], ["train"] * 200 + ["test"] * 2)
    (fold,) = folds.official(samples, rng()).folds
    assert sorted(groups[fold.calibration]) == list(range(2, 22))
