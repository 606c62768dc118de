"""Tables on simulated and published numbers: scores, intervals, floors, pairs, ranks, notes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy import stats as distributions
from statsmodels.stats.multitest import multipletests

from benchmark import statistics as stats
from benchmark.api import ORIGIN, InputError, Origin, PerImage, Predictions, plugins
from benchmark.inference import comparison, intervals
from benchmark.measures.bins import Groups, equal_width_bins
from benchmark.measures.declared import metrics as declared
from benchmark.measures.declared import ranked, score
from benchmark.measures.kinds import Binned


def summarise(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None = None,
    against: str = "cross-entropy",
    **more: float,
) -> stats.Tables:
    return stats.summarise(predictions, metrics, against, **more)


few = settings(max_examples=20, deadline=None, derandomize=True)
QUICK = ("accuracy", "nll", "ece")


def made(
    methods: dict[str, float],
    folds: Sequence[str] = ("official",),
    seeds: Sequence[int] = (0,),
    n: int = 200,
    classes: int = 4,
    groups: int | None = None,
    dataset: str = "data",
    start: int = 0,
) -> list[Predictions]:
    """Predictions whose log-probabilities are those of a calibrated model times a factor.

    Args:
        methods: name and factor: 1 is calibrated, 2 over-confident.
    """
    generator = np.random.default_rng(start)
    truth = special.log_softmax(2 * generator.normal(size=(n, classes)), axis=1)
    labels = np.argmax(truth + generator.gumbel(size=truth.shape), axis=1)
    group = generator.integers(0, groups or n, n)
    folds_of = (np.arange(n) if groups is None else group) % len(folds)
    out = []
    for method, factor in methods.items():
        for seed in seeds:
            noise = 0.05 * seed * np.random.default_rng(seed).normal(size=truth.shape)
            log_probs = special.log_softmax(factor * truth + noise, axis=1)
            for number, fold in enumerate(folds):
                mine = folds_of == number
                out.append(
                    Predictions(
                        origin=Origin(
                            preset="standard",
                            dataset=dataset,
                            backbone="resnet50",
                            method=method,
                            fold=fold,
                            seed=seed,
                        ),
                        classes=tuple(map(str, range(classes))),
                        ids=np.array([f"image {i:04}" for i in np.flatnonzero(mine)]),
                        labels=labels[mine],
                        log_probs=log_probs[mine],
                        groups=None if groups is None else group[mine].astype(str),
                    )
                )
    return out


FIVE = tuple(f"{i}/5" for i in range(1, 6))
THREE = {"cross-entropy": 2.0, "good": 1.0, "other": 1.5}


def row(frame: pd.DataFrame, **where: object) -> pd.Series:
    for column, wanted in where.items():
        frame = frame[frame[column] == wanted]
    assert len(frame) == 1, frame
    return frame.iloc[0]


# --- scores --------------------------------------------------------------------------------


def test_scores_are_tidy() -> None:
    frame = stats.scores(made(THREE, FIVE, (0, 1)), QUICK)
    columns = ["preset", "dataset", "backbone", "method", "fold", "seed", "metric", "value"]
    assert list(frame.columns) == columns
    assert len(frame) == 3 * 2 * 5 * 3


def test_independent_draws_are_other_images_although_they_share_names() -> None:
    first = made(THREE, ("draw-0",), n=100)
    second = [p.at(fold="draw-1") for p in made(THREE, ("draw-0",), n=100, start=1)]
    tables = summarise(first + second, QUICK)
    assert set(tables.values["images"]) == {200}
    assert set(tables.values["folds"]) == {"draws"}


def test_trainings_that_are_off_to_both_sides_do_not_cancel() -> None:
    """The error of pooled predictions is that of no network."""
    factors = (1.6, 0.6, 1.6, 0.6)
    predictions = [
        p
        for number, factor in enumerate(factors)
        for p in made({"cross-entropy": factor}, (f"draw-{number}",), n=1000, start=number)
    ]
    ece = row(summarise(predictions, QUICK).values, metric="ece")
    each = [score(p, ["ece"])["ece"] for p in predictions]
    assert min(each) > 0.06
    assert ece["networks_value"] == pytest.approx(np.mean(each))
    assert ece["value"] == pytest.approx(np.mean(each), abs=0.01)
    assert ece["networks_low"] > 0.06
    assert ece["inside_floor"] == 0
    pooled = replace(
        predictions[0],
        labels=np.concatenate([p.labels for p in predictions]),
        log_probs=np.concatenate([p.log_probs for p in predictions]),
    )
    assert score(pooled, ["ece"])["ece"] < 0.5 * min(each)


# --- what summarise promises ---------------------------------------------------------------


def test_tables_do_not_depend_on_the_order_of_the_predictions() -> None:
    predictions = made(THREE, FIVE, groups=30)
    order = np.random.default_rng(0).permutation(len(predictions))
    one = summarise(predictions, QUICK)
    other = summarise([predictions[i] for i in order], QUICK)
    for name in ("values", "ranks", "pairs", "detectable", "overall", "mean_ranks"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.notes == other.notes


def test_all_metrics_in_all_designs() -> None:
    designs = [
        made(THREE, FIVE, n=120),
        made(THREE, seeds=(0, 1), n=120, dataset="seeds"),
        made(THREE, n=150, groups=20, dataset="groups"),
        made(THREE, FIVE, (0, 1), n=120, groups=30, dataset="all"),
    ]
    tables = summarise([p for design in designs for p in design])
    values = tables.values
    assert len(values) == 4 * 3 * sum(not m.needs_posterior for m in declared().values())
    known = values.dropna(subset=["low"])
    assert (known["low"] <= known["value"] + 1e-12).all()
    assert (known["value"] <= known["high"] + 1e-12).all()
    pairs = tables.pairs.dropna(subset=["low"])
    assert (pairs["low"] <= pairs["difference"] + 1e-12).all()
    assert (pairs["difference"] <= pairs["high"] + 1e-12).all()
    assert (pairs["p"] <= pairs["p_holm"]).all()
    outside = (pairs["low"] > 0) | (pairs["high"] < 0)
    alone = ~pairs["simultaneous"]
    assert (outside == (pairs["p"] < 0.05))[alone].all()
    assert (outside <= (pairs["p"] < 0.05))[~alone].all()


@few
@given(start=st.integers(0, 1000), factor=st.floats(0.7, 1.6), design=st.integers(0, 2))
def test_contains_zero_exactly_where_inside_the_floor(
    start: int, factor: float, design: int
) -> None:
    seeds, groups = [((0,), None), ((0, 1, 2), None), ((0,), 25)][design]
    tables = summarise(
        made({"cross-entropy": factor}, seeds=seeds, groups=groups, start=start), ["ece_equal_mass"]
    )
    for metric in ("ece", "ece_equal_mass"):
        ece = row(tables.values, metric=metric)
        inside = ece["networks_value"] <= ece["floor_high"] + 1e-12
        assert (ece["networks_low"] <= 0) == inside
        assert (ece["p_calibrated"] < 0.024) <= (not inside)
        if len(seeds) == 1:
            assert ece["inside_floor"] == inside


def test_an_obvious_miscalibration_is_seen_and_a_calibrated_model_left_alone() -> None:
    tables = summarise(made({"cross-entropy": 3.0, "good": 1.0}, n=1000), QUICK)
    off, good = (row(tables.values, method=m, metric="ece") for m in ("cross-entropy", "good"))
    assert not off["inside_floor"]
    assert off["p_calibrated"] < 0.001
    assert off["low"] > 0.05
    assert good["inside_floor"]
    assert good["low"] == 0
    pair = row(tables.pairs, method="good", metric="ece", reference="cross-entropy")
    assert pair["high"] < 0
    assert pair["p_holm"] < 0.001
    first, second = (row(tables.ranks, method=m) for m in ("good", "cross-entropy"))
    assert (first["group_ece"], second["group_ece"]) == ("a", "b")
    assert (first["best_ece"], second["best_ece"]) == (True, False)
    assert (first["against_first"], second["against_first"]) == ("first", "behind")
    assert first["question"] == "networks"


def test_equal_methods_cannot_be_told_apart() -> None:
    tables = summarise(made({"cross-entropy": 1.0, "copy": 1.0}, FIVE), QUICK)
    assert (tables.pairs["difference"] == 0).all()
    assert (tables.pairs["p"] == 1).all()
    for metric in ranked():
        assert tables.ranks[f"group_{metric}"].tolist() == ["a", "a"]
        assert tables.ranks[f"best_{metric}"].all()
    assert tables.ranks["rank"].tolist() == [1.5, 1.5]
    assert tables.ranks["against_first"].tolist() == ["first", "not told apart"]


def test_the_ensemble_is_compared_replicate_by_replicate() -> None:
    single = made(THREE, seeds=(0, 1, 2))
    once = [
        p.at(method="ensemble") for p in single if p.origin.method == "good" and p.origin.seed == 0
    ]
    tables = summarise(single + once, QUICK)
    assert "ensemble" not in set(tables.values["method"])
    assert any("ensemble" in note and "1 of 3 replicates" in note for note in tables.notes)


def test_values_of_methods_are_means_over_trainings() -> None:
    predictions = made({"cross-entropy": 2.0, "good": 1.0}, seeds=(0, 10, 20))
    tables = summarise(predictions, QUICK)
    frame = stats.scores(predictions, QUICK)
    alone = summarise([p for p in predictions if p.origin.seed != 20], QUICK).values
    for metric in QUICK:
        found = row(tables.values, method="good", metric=metric)
        own = frame[(frame["method"] == "good") & (frame["metric"] == metric)]["value"]
        assert found["networks_value"] == pytest.approx(own.mean())
        assert found["replicates"] == 3
        assert found["question"] == "methods"
        few = row(alone, method="good", metric=metric)
        assert few["question"] == "networks"
        assert few[["value", "low", "high"]].tolist() == pytest.approx(
            few[["networks_value", "networks_low", "networks_high"]].tolist()
        )
    spread = row(tables.values, method="good", metric="nll")
    own = frame[(frame["method"] == "good") & (frame["metric"] == "nll")]["value"]
    between = distributions.t.ppf(0.975, 2) * own.std() / np.sqrt(3)
    # All seeds are tested on the same images, whose draw comes on top.
    assert (spread["high"] - spread["low"]) / 2 > 1.1 * between


def test_too_few_replicates_are_said(recwarn: pytest.WarningsRecorder) -> None:
    tables = summarise(made(THREE, ("1/2", "2/2")), QUICK)
    assert any("takes at least 3 folds" in note for note in tables.notes)
    assert tables.ranks["low"].isna().all()
    assert set(tables.pairs["question"]) == {"networks"}
    assert tables.detectable.empty
    assert not any("takes at least" in note for note in summarise(made(THREE, FIVE), QUICK).notes)


def test_groups_widen_intervals_when_errors_cluster() -> None:
    predictions = made(THREE, n=600, groups=None)
    clustered = np.argsort(predictions[0].labels)
    lumps = [
        replace(
            p,
            labels=p.labels[clustered],
            log_probs=p.log_probs[clustered] + np.r_[np.zeros(300), np.ones(300)][:, None] * 0,
            groups=np.repeat(np.arange(30), 20).astype(str),
        )
        for p in predictions
    ]
    hard = np.isin(np.arange(600) // 20, np.arange(0, 30, 3))
    worse = [replace(p, labels=np.where(hard, (p.labels + 1) % 4, p.labels)) for p in lumps]
    with_groups = summarise(worse, QUICK)
    without = summarise([replace(p, groups=None) for p in worse], QUICK)
    for metric in QUICK:
        wide = row(with_groups.values, method="good", metric=metric)
        narrow = row(without.values, method="good", metric=metric)
        assert wide["high"] - wide["low"] > 1.3 * (narrow["high"] - narrow["low"])
    assert any("30 groups" in note for note in with_groups.notes)


def test_an_infinite_loss_is_shown_and_ranked_last() -> None:
    predictions = made(THREE, FIVE)
    spoiled = []
    for p in predictions:
        if p.origin.method == "good" and p.origin.fold == "1/5":
            log_probs = p.log_probs.copy()
            log_probs[0, p.labels[0]] = -np.inf
            p = replace(p, log_probs=log_probs)
        spoiled.append(p)
    tables = summarise(spoiled, [*QUICK, "nll_refinement", "brier"])
    for question in ("methods", "networks"):
        where = {"question": question, "metric": "nll", "reference": "cross-entropy"}
        pair = row(tables.pairs, method="good", **where)
        assert pair["difference"] == np.inf
        assert np.isnan(pair[["low", "high", "p", "p_holm", "effect_size"]].astype(float)).all()
    assert row(tables.values, method="good", metric="nll")["value"] == np.inf
    assert row(tables.ranks, method="good")["rank_nll"] == 3
    assert np.isfinite(row(tables.values, method="good", metric="brier")["high"])
    assert np.isfinite(row(tables.values, method="other", metric="nll")["high"])


def test_intervals_stay_in_the_metrics_range() -> None:
    predictions = made({"cross-entropy": 4.0, "good": 2.0}, FIVE, n=100)
    sure = [
        replace(p, log_probs=special.log_softmax(40.0 * np.eye(4)[p.labels], axis=1))
        if p.origin.fold in ("1/5", "2/5", "3/5", "4/5")
        else p
        for p in predictions
    ]
    values = summarise(sure).values.dropna(subset=["low"])
    lowest, highest = (values["metric"].map(lambda m, e=e: declared()[m].range[e]) for e in (0, 1))
    assert (values["low"] >= lowest).all()
    assert (values["high"] <= highest).all()
    accuracy = values[values["metric"] == "accuracy"]
    assert (accuracy["high"] == 1).all()


def test_groups_without_an_error_count_as_one_image_each() -> None:
    first = made({"cross-entropy": 1.0}, n=400)[0]
    right = replace(first, labels=first.log_probs.argmax(1))
    grouped = replace(right, groups=np.repeat(np.arange(10), 40).astype(str))
    found = row(summarise([grouped], QUICK).values, metric="accuracy")
    low, _ = intervals.wilson(1.0, np.nan, 10, 9, 0.05)
    assert found["low"] == pytest.approx(low)
    alone = row(summarise([right], QUICK).values, metric="accuracy")
    assert alone["low"] > 0.99


def test_one_group_gives_no_interval() -> None:
    tables = summarise(made(THREE, n=60, groups=1), QUICK)
    assert tables.values["low"].isna().all()
    assert tables.pairs["p"].isna().all()


def test_few_errors_are_marked() -> None:
    tables = summarise(made({"cross-entropy": 1.0}, n=60), QUICK)
    assert tables.values["few_errors"].all()
    assert any("fewer than 30 errors" in note for note in tables.notes)
    plenty = summarise(made({"cross-entropy": 1.0}, n=600), QUICK)
    assert not plenty.values["few_errors"].any()


def test_errors_in_few_groups_are_marked() -> None:
    predictions = made({"cross-entropy": 1.0}, n=1600, groups=80)[0]
    right, group = predictions.log_probs.argmax(1), predictions.groups
    assert group is not None
    few, spread = group.astype(int) < 3, np.arange(1600) % 9 == 0
    for hard, marked in ((few, True), (spread, False)):
        assert hard.sum() >= 30
        labels = np.where(hard, (right + 1) % 4, right)
        tables = summarise([replace(predictions, labels=labels)], QUICK)
        assert tables.values["few_errors"].all() == marked


def test_few_groups_are_marked_whatever_the_errors_are() -> None:
    for groups, marked in ((40, True), (80, False)):
        tables = summarise(made({"cross-entropy": 1.0}, n=1600, groups=groups), QUICK)
        assert tables.values["few_errors"].all() == marked


def test_incomplete_and_missing_methods_are_named() -> None:
    predictions = [
        p for p in made(THREE, FIVE) if not (p.origin.method == "other" and p.origin.fold == "2/5")
    ]
    tables = summarise(predictions, QUICK, against="absent")
    assert set(tables.values["method"]) == {"cross-entropy", "good"}
    assert tables.notes[0].startswith("other is left out of data, resnet50")
    assert "4 of 5 replicates" in tables.notes[0]
    assert any("absent is missing or incomplete" in note for note in tables.notes)
    assert set(tables.pairs["reference"]) <= {"cross-entropy", "good"}
    nothing = summarise([p for p in made(THREE, FIVE) if p.origin.fold == "1/5"], QUICK)
    assert nothing.values.empty
    assert len(nothing.notes) == 3


def test_an_extra_or_unfinished_fit_costs_no_method() -> None:
    predictions = made(THREE, FIVE, (0, 1))
    begun = [p for p in predictions if p.origin.seed == 0]
    begun += [
        p
        for p in predictions
        if p.origin.seed == 1 and p.origin.method == "good" and p.origin.fold == "1/5"
    ]
    extra = [p for p in predictions if p.origin.seed == 0 or p.origin.method == "good"]
    alone = summarise([p for p in predictions if p.origin.seed == 0], QUICK)
    for some, folds in ((begun, 1), (extra, 5)):
        tables = summarise(some, QUICK)
        pd.testing.assert_frame_equal(tables.values, alone.values)
        pd.testing.assert_frame_equal(tables.ranks, alone.ranks)
        assert tables.notes[0].count("of seed 1") == folds
        assert "left out, since most methods lack it" in tables.notes[0]
    both = summarise(predictions, QUICK)
    assert set(both.values["replicates"]) == {10}
    # What all but one method have stays, and that one goes.
    most = [p for p in predictions if p.origin.method != "other" or p.origin.seed == 0]
    tables = summarise(most, QUICK)
    assert set(tables.values["method"]) == {"cross-entropy", "good"}
    assert set(tables.values["replicates"]) == {10}
    begun += [p.at(method="late") for p in begun if p.origin.seed == 1]
    notes = summarise(begun, QUICK).notes
    assert any("late is left out" in note and "0 of 5 replicates" in note for note in notes)
    # Two methods with a seed of their own each: the seed in common stays.
    two = [p for p in made(THREE, seeds=(0, 1, 2)) if p.origin.method != "other"]
    two = [p for p in two if p.origin.seed != {"cross-entropy": 1, "good": 2}[p.origin.method]]
    assert set(summarise(two, QUICK).values["method"]) == {"cross-entropy", "good"}


def test_an_extra_draw_costs_no_method() -> None:
    draws = made(THREE, ("draw-0",), n=100)
    draws += [p.at(fold="draw-1") for p in made(THREE, ("draw-0",), n=100, start=1)]
    extra = draws[0].at(fold="draw-2")
    tables = summarise([*draws, extra], QUICK)
    assert len(set(tables.values["method"])) == 3
    assert set(tables.values["images"]) == {200}


def test_what_cannot_be_compared_is_refused() -> None:
    predictions = made(THREE)
    with pytest.raises(InputError, match="two predictions of cross-entropy"):
        summarise([*predictions, predictions[0]], QUICK)
    other = [replace(predictions[0], ids=np.char.add(predictions[0].ids, "x")), *predictions[1:]]
    with pytest.raises(InputError, match="different images"):
        summarise(other, QUICK)
    labels = predictions[0].labels.copy()
    labels[3] = (labels[3] + 1) % 4
    with pytest.raises(InputError, match="'image 0003' different labels"):
        summarise([replace(predictions[0], labels=labels), *predictions[1:]], QUICK)
    with pytest.raises(InputError, match="unknown fold 'x'"):
        summarise([predictions[0].at(fold="x")], QUICK)
    with pytest.raises(InputError, match="alpha=2"):
        summarise(predictions, QUICK, alpha=2)
    twice = [p.at(fold=f"{i}/2") for p in predictions for i in (1, 2)]
    with pytest.raises(InputError, match="more than one test part"):
        summarise(twice, QUICK)


def test_tests_over_blocks_say_when_they_have_no_power() -> None:
    blocks = [p for i in range(2) for p in made(THREE, dataset=f"data{i}", start=i, n=400)]
    tables = summarise(blocks, QUICK)
    nll = row(tables.overall, metric="nll")
    assert nll["blocks"] == 2
    assert not nll["powered"]
    assert "no difference could be significant" in nll["note"]
    assert any("Tests over blocks" in note for note in tables.notes)
    assert row(tables.mean_ranks, metric="nll", method="good")["mean_rank"] == 1
    many = [p for i in range(12) for p in made(THREE, dataset=f"data{i}", start=i, n=200)]
    assert row(summarise(many, QUICK).overall, metric="nll")["powered"]


def test_holm_counts_all_pairs_where_the_best_is_chosen_from_the_data() -> None:
    factors = {"cross-entropy": 1.25, "near": 1.1, "other": 1.15, "good": 1.05, "more": 1.2}
    predictions = made(factors, n=300)
    found = {m: summarise(predictions, QUICK, against=m).pairs for m in factors}
    for metric in QUICK:
        own = {m: f[(f["metric"] == metric) & (f["reference"] == m)] for m, f in found.items()}
        for pairs in own.values():
            assert len(pairs) == 4
            assert pairs["p_holm"].to_numpy() == pytest.approx(comparison.holm(pairs["p"]))
        every = {
            frozenset((m, other)): p
            for m, pairs in own.items()
            for other, p in zip(pairs["method"], pairs["p"])
        }
        assert len(every) == 10
        adjusted = dict(zip(every, comparison.holm(list(every.values()))))
        chosen = found["cross-entropy"]
        chosen = chosen[(chosen["metric"] == metric) & (chosen["reference"] != "cross-entropy")]
        assert len(chosen) in (0, 4)
        for _, pair in chosen.iterrows():
            both = frozenset((pair["method"], pair["reference"]))
            assert pair["p_holm"] == pytest.approx(adjusted[both])
    best = found["cross-entropy"].query("metric == 'nll' and reference != 'cross-entropy'")
    assert len(best) == 4


def test_an_infinite_loss_is_worse_than_a_finite_one_in_letters() -> None:
    first = made({"cross-entropy": 1.0})[0]
    log_probs = first.log_probs.copy()
    wrong = int(np.argmax(log_probs.argmax(1) != first.labels))
    log_probs[wrong, first.labels[wrong]] = -np.inf
    infinite = replace(first, log_probs=log_probs).at(method="infinite")
    tables = summarise([first, infinite, infinite.at(method="too")], QUICK)
    shown = dict(zip(tables.ranks["method"], tables.ranks["group_nll"]))
    assert shown == {"cross-entropy": "a", "infinite": "b", "too": "b"}


def test_effect_sizes() -> None:
    predictions = made({"cross-entropy": 1.5, "good": 1.0}, groups=30)
    pairs = summarise(predictions, [*QUICK, "auc"]).pairs
    one, other = (
        -p.log_probs[np.arange(200), p.labels]
        for p in sorted(predictions, key=lambda p: p.origin.method)
    )
    nll = row(pairs, metric="nll", method="good", reference="cross-entropy")
    expected = (other - one).mean() / (other - one).std(ddof=1)
    assert nll["effect_size"] == pytest.approx(expected)
    assert np.isnan(row(pairs, metric="accuracy", reference="cross-entropy")["effect_size"])
    assert pairs[pairs["metric"] == "ece"]["effect_size"].isna().all()
    auc = pairs[pairs["metric"] == "auc"].iloc[0]
    assert np.sign(auc["effect_size"]) == np.sign(auc["difference"])
    assert abs(auc["effect_size"]) < 1


def test_letters_of_equal_methods_seldom_differ() -> None:
    generator = np.random.default_rng(0)
    false = 0
    for _ in range(400):
        value = generator.normal(size=5)
        z = (value[:, None] - value) / np.sqrt(2)
        better = comparison.better(value, 2 * distributions.norm.sf(abs(z)), True, 0.05)
        false += len(set(comparison.letters(better != 0, -value))) > 1
    assert 0 < false <= distributions.binom.ppf(0.9999, 400, 0.05)


# --- published ranks -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    # In the repository: it is missing nowhere, and the tests fail where it is.
    return pd.read_csv(Path(__file__).parents[1] / "data" / "published" / "mhml_tables.csv")


def test_published_ranks_are_given_back(published: pd.DataFrame) -> None:
    for _, block in published.groupby(["dataset", "backbone"]):
        found = comparison.mean_rank({m: block[f"{m}_percent"].to_numpy() for m in ranked()})
        assert found.round(1).tolist() == block["rank"].tolist()
    assert len(published) == 54


def test_published_tests_over_blocks(published: pd.DataFrame) -> None:
    def over(metric: str) -> tuple[comparison.Friedman, pd.Series]:
        table = published.pivot(
            index=["dataset", "backbone"], columns="method", values=f"{metric}_percent"
        )
        test = comparison.friedman(table.to_numpy(), higher_is_better=False)
        return test, pd.Series(test.mean_ranks, table.columns)

    ece, mean_ranks = over("ece")
    assert ece.statistic == pytest.approx(18.31, abs=0.005)
    assert ece.p == pytest.approx(0.019, abs=5e-4)
    assert ece.critical_difference == pytest.approx(4.90, abs=0.006)
    assert mean_ranks["4HML"] == pytest.approx(1.83, abs=0.005)
    assert mean_ranks["D-Ens"] == pytest.approx(4.17, abs=0.005)
    assert mean_ranks["D-Ens"] - mean_ranks["4HML"] < ece.critical_difference
    assert over("nll")[0].statistic == pytest.approx(39.47, abs=0.005)


# --- small parts ---------------------------------------------------------------------------


@few
@given(p=st.lists(st.floats(1e-6, 1), min_size=1, max_size=8))
def test_holm_agrees_with_statsmodels(p: list[float]) -> None:
    assert comparison.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_does_not_count_what_is_unknown() -> None:
    assert comparison.holm([0.01, np.nan, 0.04]).tolist() == pytest.approx(
        [0.02, np.nan, 0.04], nan_ok=True
    )


@few
@given(seed=st.integers(0, 1000), number=st.integers(1, 9), share=st.floats(0, 1))
def test_letters_are_shared_exactly_by_what_cannot_be_told_apart(
    seed: int, number: int, share: float
) -> None:
    different = np.random.default_rng(seed).random((number, number)) < share
    different = np.triu(different, 1)
    different = different | different.T
    merit = np.random.default_rng(seed).permutation(number).astype(float)
    found = comparison.letters(different, merit)
    assert "a" in found[int(np.argmin(merit))]
    for i in range(number):
        for j in range(number):
            assert bool(set(found[i]) & set(found[j])) == (i == j or not different[i, j])


def test_methods_that_win_in_one_metric_and_lose_in_another_are_not_ordered() -> None:
    generator = np.random.default_rng(0)
    predictions = made({"cross-entropy": 1.0, "sharp": 1.0}, FIVE, n=2000)
    changed = []
    for p in predictions:
        if p.origin.method == "sharp":  # right more often, and far too sure
            right = generator.random(len(p)) < 0.3
            better = np.where(right[:, None], 3 * np.eye(4)[p.labels], 0) + p.log_probs
            p = replace(p, log_probs=special.log_softmax(4 * better, axis=1))
        changed.append(p)
    ranks = summarise(changed, QUICK).ranks
    assert set(ranks["against_first"]) == {"first", "not ordered"}
    assert row(ranks, method="sharp")["best_accuracy"]
    assert not row(ranks, method="sharp")["best_ece"]


@few
@given(difference=st.floats(-1, 1), below=st.floats(0.01, 1), above=st.floats(0.01, 1))
def test_p_falls_below_alpha_where_the_interval_excludes_zero(
    difference: float, below: float, above: float
) -> None:
    low, high = np.array(difference - below), np.array(difference + above)
    p = comparison.p_value(np.array(difference), low, high, 0.05)
    assert (p < 0.05) == (low > 0 or high < 0)


def test_p_of_a_normal_interval_is_the_normal_p() -> None:
    p = comparison.p_value(np.array(0.3), np.array(0.3 - 0.196), np.array(0.3 + 0.196), 0.05)
    z = 0.3 / (0.196 / distributions.norm.ppf(0.975))
    assert p == pytest.approx(2 * distributions.norm.sf(z))


def test_p_of_a_t_interval_is_the_t_p() -> None:
    half = distributions.t.ppf(0.975, 2)
    p = comparison.p_value(np.array(5.0), np.array(5 - half), np.array(5 + half), 0.05, 2.0)
    assert p == pytest.approx(2 * distributions.t.sf(5.0, 2))


def test_wilsons_interval() -> None:
    # Agresti & Coull 1998: ten of ten gives (0.722, 1).
    low, high = intervals.wilson(1.0, np.nan, 10, np.inf, 0.05)
    assert (low, high) == pytest.approx((0.7225, 1.0), abs=5e-5)
    low, high = intervals.wilson(0.5, np.nan, 100, np.inf, 0.05)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=5e-5)
    # A standard error of twice the binomial one is a quarter of the images.
    assert intervals.wilson(0.5, 0.1, 100, np.inf, 0.05) == pytest.approx(
        intervals.wilson(0.5, np.nan, 25, np.inf, 0.05)
    )


def boot_of(units: np.ndarray) -> intervals.Bootstrap:
    return intervals.Bootstrap.draw(units, np.random.default_rng(0))


def test_bootstrap_t_stays_sane_with_hardly_any_error() -> None:
    # Three equal losses: a count of errors, whose exact upper ends are 8.8 and 11.
    losses = np.r_[np.ones(3), 1e-6 * np.arange(197) / 197][:, None]
    for alpha, upper in ((0.05, 8.8), (0.01, 11.0)):
        low, high = boot_of(np.arange(200)).means(losses, alpha)
        assert -1 < 200 * low[0] < 3
        assert 0.9 * upper < 200 * high[0] < 1.7 * upper
    constant = np.full((200, 1), 0.1)
    low, high = boot_of(np.arange(200)).means(constant, 0.05)
    assert (low[0], high[0]) == pytest.approx((0.1, 0.1))


def test_bootstrap_t_of_errors_in_few_groups() -> None:
    generator = np.random.default_rng(0)
    units = np.repeat(np.arange(40), 50)
    losses = 0.05 * generator.random(2000)
    wrong = np.r_[np.arange(13), np.arange(50, 63), np.arange(100, 112)]
    losses[wrong] = 3.0
    _, high = boot_of(units).means(losses[:, None], 0.05)
    assert high[0] < 0.4


def test_bootstrap_t_follows_the_skew() -> None:
    losses = np.random.default_rng(0).exponential(size=100)[:, None] ** 2
    boot = boot_of(np.arange(100))
    low, high = boot.means(losses, 0.05)
    drawn = boot.weights @ losses / 100
    below, above = np.quantile(drawn, [0.025, 0.975])
    assert high[0] - losses.mean() > 1.1 * (above - losses.mean())
    assert losses.mean() - low[0] < 1.1 * (losses.mean() - below)


def test_degrees_of_freedom_of_groups() -> None:
    groups = Groups(np.repeat(np.arange(10), 6))
    same = np.repeat(np.random.default_rng(0).normal(size=10), 6)[:, None]
    # Groups of equal size count fully, whatever they share.
    assert groups.degrees(same) == pytest.approx(9)
    uneven = Groups(np.repeat(np.arange(10), [60, *[2] * 9]))
    shared = np.repeat(np.random.default_rng(0).normal(size=10), [60, *[2] * 9])[:, None]
    assert uneven.degrees(shared)[0] < 1.5


def test_few_groups_widen_draws_more_for_a_surer_interval() -> None:
    """Student's t with few degrees of freedom leaves the normal further behind in the tails."""
    groups = Groups(np.repeat(np.arange(6), 20))
    values = np.repeat(np.random.default_rng(0).normal(size=6), 20)
    factors = [groups.few_groups_factor(values, alpha) for alpha in (0.2, 0.05, 0.01)]
    for alpha, factor in zip((0.2, 0.05, 0.01), factors):
        quantiles = distributions.t.ppf(1 - alpha / 2, 5), distributions.norm.ppf(1 - alpha / 2)
        assert factor == pytest.approx(quantiles[0] / quantiles[1])
    [p] = made({"cross-entropy": 1.0}, groups=6)
    bins = p.once(equal_width_bins)
    surer = bins.at_level(0.01)
    assert surer.at_level(0.05).floor.std() == bins.floor.std()
    # Of floors, of candidate truths, and of all that is made of them.
    assert surer.floor.std(0).sum() > 1.1 * bins.floor.std(0).sum()
    gaps = np.zeros(bins.bins)
    assert surer.draw(gaps).std(0).sum() > 1.1 * bins.draw(gaps).std(0).sum()
    for metric in declared().values():
        if isinstance(metric, Binned):
            assert metric.floor(p, 0.01).mean() > 1.05 * metric.floor(p, 0.05).mean(), metric.name
            # A score is no interval.
            assert metric.value(p) == metric.value(replace(p))


@pytest.mark.parametrize("groups", [None, 20])
def test_a_surer_interval_is_wider_everywhere(groups: int | None) -> None:
    predictions = made(THREE, FIVE, groups=groups, n=400)
    usual, surer = (summarise(predictions, alpha=alpha) for alpha in (0.05, 0.01))
    one, other = usual.values, surer.values
    for low, high in (("low", "high"), ("networks_low", "networks_high")):
        known = one[low].notna()
        assert known.any()
        assert (other[low] <= one[low] + 1e-9)[known].all()
        assert (other[high] >= one[high] - 1e-9)[known].all()
        assert (other[high] - other[low])[known].sum() > (one[high] - one[low])[known].sum()
    floors = (other["floor_high"] - one["floor_high"])[one["floor_high"].notna()]
    assert (floors >= 0).all()
    assert (floors > 0).mean() > 0.8
    assert surer.values["value"].tolist() == usual.values["value"].tolist()


# --- metrics of a folder of plug-ins --------------------------------------------------------

PLUG_IN = """
import numpy as np
from benchmark.api import PerImage

METRICS = (
    PerImage(
        name="margin",
        short="Margin",
        meaning="Distance of the two largest probabilities.",
        direction="higher",
        formula="mean of p_1 - p_2",
        of=lambda p: np.diff(np.sort(p.probs, axis=1)[:, -2:], axis=1)[:, 0],
    ),
)
"""


def test_a_plug_in_brings_a_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "margin.py").write_text(PLUG_IN)
    monkeypatch.setenv("BENCHMARK_PLUGINS", "")
    try:
        plugins.mount(str(tmp_path))
        predictions = made(THREE)
        top = np.sort(predictions[0].probs, axis=1)
        margin = (top[:, -1] - top[:, -2]).mean()
        frame = stats.scores(predictions, ["margin"])
        name = predictions[0].origin.method
        scores = frame[frame["method"] == name]
        assert scores["value"].tolist() == pytest.approx([margin])
        tables = summarise(predictions, ["margin"], against="good")
        found = row(tables.values, method=name, metric="margin")
        assert found["value"] == pytest.approx(margin)
        assert found["low"] < found["value"] < found["high"]
        pair = row(tables.pairs, method=name, metric="margin", reference="good")
        assert pair["p"] < 0.001
        assert pair["low"] < pair["difference"] < pair["high"]
        assert "margin" in summarise(predictions).values["metric"].tolist()
    finally:
        monkeypatch.undo()
        for folder in plugins.FOLDERS:
            importlib.reload(importlib.import_module(f"benchmark.{folder}"))
        plugins.clear()
    assert "margin" not in declared()


# --- scores that are known already ----------------------------------------------------------


def test_what_is_known_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = made(THREE, FIVE, n=100)
    first = stats.tabulate(predictions, QUICK, "cross-entropy", 0.05)
    known = {(Origin(**dict(zip(ORIGIN, row))), row[-2]): row[-1] for row in first.scores}
    assert len(known) == len(first.scores)
    missing = predictions[0].origin, "nll"
    some = {key: value for key, value in known.items() if key != missing}
    measured = []

    def value(metric: PerImage, p: Predictions) -> float:
        measured.append((p.origin, metric.name))
        return float(metric.of(p).mean())

    monkeypatch.setattr(PerImage, "value", value)
    again = stats.tabulate(predictions, QUICK, "cross-entropy", 0.05, known=some)
    for name in ("values", "ranks", "pairs", "scores"):
        one, other = (pd.DataFrame(getattr(rows, name)) for rows in (again, first))
        pd.testing.assert_frame_equal(one, other)
    assert measured == [missing]
    # What was handed on is believed.
    told = dict.fromkeys(known, 0.25)
    tables = stats.tabulate(predictions, QUICK, "cross-entropy", 0.05, known=told)
    assert {row["networks_value"] for row in tables.values} == {0.25}
    assert len(measured) == 1


def test_a_block_whose_methods_are_measured_in_shares_gives_the_same_rows() -> None:
    predictions = made(THREE, FIVE, n=100)
    last = max(p.origin.method for p in predictions)
    few = [p for p in predictions if p.origin.method != last or p.origin.fold == "1/5"]
    for listed in (predictions, few):
        block = stats.unmeasured(listed, QUICK, "cross-entropy", 0.05)
        whole = block.tabulate([block.measure()])
        shares = block.divide(len(predictions))
        assert len(shares) == len({p.origin.method for p in listed})
        assert len(block.divide(2)) == 2
        for divided in (shares, block.divide(2)):
            assert repr(block.tabulate([share.measure() for share in divided])) == repr(whole)


def test_rows_come_back_from_plain_values() -> None:
    rows = stats.tabulate(made(THREE, FIVE, n=100), QUICK, "cross-entropy", 0.05)
    again = stats.BlockTables.from_plain(json.loads(json.dumps(rows.to_plain())))
    one, other = (stats.gather([r], QUICK, 0.05) for r in (rows, again))
    for name in ("values", "ranks", "pairs", "scores"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.notes == other.notes


def test_scores_of_the_tables_are_the_scores() -> None:
    """Also where replicates are left out, and all of a seed together are other images."""
    predictions = made(THREE, FIVE, (0, 1), n=120)
    predictions.append(predictions[0].at(seed=2))
    draws = made(THREE, ("draw-0",), n=100, dataset="other")
    draws += [
        p.at(fold="draw-1") for p in made(THREE, ("draw-0",), n=100, dataset="other", start=1)
    ]
    draws.append(made(THREE, ("draw-0",), n=100, dataset="other", start=2)[0].at(fold="draw-2"))
    for listed in (predictions, draws, predictions + draws):
        tables = summarise(listed, QUICK)
        pd.testing.assert_frame_equal(tables.scores, stats.scores(listed, QUICK))
        alone = [p for p in listed if p.origin.fold != "draw-2" and p.origin.seed != 2]
        pd.testing.assert_frame_equal(tables.values, summarise(alone, QUICK).values)


# --- equal methods in designs with several seeds --------------------------------------------


def trained(
    start: int, folds: int, seeds: int, methods: int = 4, n: int = 300
) -> list[Predictions]:
    """Methods that are equal by construction: each network is off by chance alone."""
    generator = np.random.default_rng(start)
    truth = special.log_softmax(2 * generator.normal(size=(n, 4)), axis=1)
    labels = np.argmax(truth + generator.gumbel(size=truth.shape), axis=1)
    out = []
    for method in range(methods):
        for seed in range(seeds):
            scale = 1.3 * np.exp(0.15 * generator.normal())
            logits = scale * (truth + 0.4 * generator.normal(size=truth.shape))
            for fold in range(folds):
                mine = np.flatnonzero(np.arange(n) % folds == fold)
                name = "official" if folds == 1 else f"{fold + 1}/{folds}"
                out.append(
                    Predictions(
                        origin=Origin(dataset="d", method=f"m{method}", fold=name, seed=seed),
                        ids=np.array([f"{i:04}" for i in mine]),
                        labels=labels[mine],
                        log_probs=special.log_softmax(logits[mine], axis=1),
                    )
                )
    return out


@pytest.mark.parametrize(("folds", "seeds"), [(1, 4), (3, 2)], ids=["one split", "folds"])
def test_equal_methods_with_several_seeds_seldom_differ(folds: int, seeds: int) -> None:
    small, separated = [], 0
    for start in range(12):
        tables = summarise(trained(start, folds, seeds), QUICK, against="m0")
        pairs = tables.pairs.query("question == 'methods' and reference == 'm0'")
        small += (pairs["p"] < 0.05).tolist()
        separated += any(tables.ranks[f"group_{m}"].nunique() > 1 for m in ranked())
    assert np.mean(small) <= 0.12
    assert separated <= 2
