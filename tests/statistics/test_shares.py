"""The class shares beside a block's methods, and whether calibration and test part are alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from benchmark import statistics
from benchmark.api import Origin, Predictions
from benchmark.statistics import SHARES, class_shares, unlike, with_shares

ORIGIN = Origin(preset="standard", dataset="data", backbone="net", fold="official")
SHARE = (0.7, 0.2, 0.1)
QUICK = ("accuracy", "nll", "brier", "ece")


def predictions(
    method: str, signal: float, labels: np.ndarray, fold: str = "official", start: int = 0
) -> Predictions:
    """Logits that know the class by ``signal``; at 0 they know nothing but how common each is."""
    noise = np.random.default_rng(start).normal(size=(len(labels), 3))
    logits = np.log(SHARE) + signal**2 * np.eye(3)[labels] + max(signal, 0.5) * noise
    return Predictions(
        origin=replace(ORIGIN, method=method, fold=fold),
        classes=("a", "b", "c"),
        ids=np.array([f"{fold} {i:05}" for i in range(len(labels))]),
        labels=labels,
        log_probs=special.log_softmax(logits, axis=1),
    )


def drawn(images: int = 600, start: int = 0) -> np.ndarray:
    return np.random.default_rng(start).choice(3, images, p=SHARE)


def tabulated(
    made: list[Predictions], counts: dict[tuple[str, int], tuple[int, ...]]
) -> statistics.BlockTables:
    plain = statistics.tabulate(made, QUICK, made[0].origin.method, 0.05)
    return with_shares(plain, made, counts, QUICK, 0.05)


# --- the row -------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=9))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_every_image_gets_the_shares_after_one_is_added(counts: list[int]) -> None:
    like = Predictions(log_probs=np.zeros((4, len(counts))), labels=np.zeros(4, dtype=int))
    made = class_shares(like, counts)
    expected = (np.array(counts) + 1) / (sum(counts) + len(counts))
    np.testing.assert_allclose(made.probs, np.tile(expected, (4, 1)))
    assert np.isfinite(made.log_probs).all()
    np.testing.assert_allclose(made.probs.sum(1), 1)
    assert made.origin.method == SHARES


def test_values_are_those_of_each_fold_s_own_training_part() -> None:
    folds = {"1/2": (699, 199, 99), "2/2": (0, 9, 9)}
    made = [
        predictions(method, 2.0, drawn(200, i), fold)
        for i, fold in enumerate(folds)
        for method in ("a", "b")
    ]
    tables = tabulated(made, {(fold, 0): counts for fold, counts in folds.items()})
    values = {row["metric"]: row for row in tables.values if row["method"] == SHARES}
    labels = np.stack([drawn(200, 0), drawn(200, 1)])
    shares = np.array([[0.7, 0.2, 0.1], [1 / 21, 10 / 21, 10 / 21]])
    assert values["nll"]["value"] == pytest.approx(
        -np.log(np.stack([shares[i][labels[i]] for i in (0, 1)])).mean()
    )
    assert values["accuracy"]["value"] == pytest.approx(
        np.mean([(labels[0] == 0).mean(), (labels[1] == 1).mean()])  # the first of equals
    )
    assert values["nll"]["low"] < values["nll"]["value"] < values["nll"]["high"]


def test_the_class_shares_are_neither_ranked_nor_compared() -> None:
    """All but the row and its notes is as without them; of several blocks, too."""
    made = [
        predictions(m, s, drawn(), start=i) for i, (m, s) in enumerate({"a": 1, "b": 2}.items())
    ]
    plain = statistics.tabulate(made, QUICK, "a", 0.05)
    tables = tabulated(made, {("official", 0): (700, 200, 100)})
    for name in ("key", "methods", "ranks", "pairs", "scores", "left_out"):
        assert repr(getattr(tables, name)) == repr(getattr(plain, name)), name
    assert repr(tables.values[: len(plain.values)]) == repr(plain.values)
    assert {row["method"] for row in tables.values[len(plain.values) :]} == {SHARES}
    blocks = [
        replace(
            t,
            key=t.key._replace(dataset=name),
            values=[row | {"dataset": name} for row in t.values],
        )
        for t in (plain, tables)
        for name in "xy"
    ]
    one, other = (statistics.gather(pair, QUICK, 0.05) for pair in (blocks[:2], blocks[2:]))
    assert one.overall.equals(other.overall)
    assert one.mean_ranks.equals(other.mean_ranks)


def test_a_method_of_that_name_stands_alone() -> None:
    made = [predictions(SHARES, 1.0, drawn())]
    plain = statistics.tabulate(made, QUICK, SHARES, 0.05)
    assert with_shares(plain, made, {("official", 0): (1, 1, 1)}, QUICK, 0.05) is plain


# --- a winner that knows nothing -----------------------------------------------------------


def notes(signal: float, images: int = 600, start: int = 0) -> list[str]:
    made = [predictions("a", signal, drawn(images, start), start=start)]
    tables = tabulated(made, {("official", 0): (700, 200, 100)})
    return [note for note in tables.notes if "class shares" in note]


def test_a_winner_that_knows_nothing_of_an_image_is_named() -> None:
    named = notes(0.0)
    start = "data, net (standard, official): a (best rank, highest Accuracy"
    assert all(note.startswith(start) for note in named)
    not_shown, worse = (
        "is not shown to beat the class shares in",
        "is worse than the class shares in",
    )
    assert all(not_shown in note or worse in note for note in named)
    together = " ".join(named)
    assert all(f"{short} (difference" in together for short in ("Accuracy", "NLL", "Brier score"))
    few = " ".join(notes(0.0, images=30))
    assert not_shown in few


def test_a_good_winner_is_not_named() -> None:
    assert notes(2.0) == []


def test_a_winner_that_is_right_but_far_too_sure_is_named_for_that_alone() -> None:
    made = predictions("a", 1.3, drawn(2000))
    sure = replace(made, log_probs=special.log_softmax(8 * made.log_probs, axis=1))
    tables = tabulated([sure], {("official", 0): (700, 200, 100)})
    (note,) = [note for note in tables.notes if "class shares" in note]
    assert "NLL (difference" in note
    assert "Accuracy (difference" not in note


def test_an_infinite_loss_beats_nothing() -> None:
    made = predictions("a", 2.0, drawn())
    log_probs = made.log_probs.copy()
    log_probs[0] = np.where(np.arange(3) == made.labels[0], -np.inf, np.log(0.5))
    tables = tabulated([replace(made, log_probs=log_probs)], {("official", 0): (700, 200, 100)})
    (note,) = [note for note in tables.notes if "class shares" in note]
    assert "NLL (difference inf nats)" in note


# --- calibration and test part -------------------------------------------------------------


def part(
    right: np.ndarray, groups: np.ndarray | None = None, fold: str = "official"
) -> Predictions:
    """Of one class, of which these images are classified rightly."""
    sure = np.log([[0.1, 0.9], [0.9, 0.1]])[right.astype(int)]
    origin = replace(ORIGIN, fold=fold)
    named = None if groups is None else groups.astype(str)
    return Predictions(
        log_probs=sure, labels=np.zeros(len(right), int), origin=origin, groups=named
    )


def first(number: int, images: int) -> np.ndarray:
    return np.arange(images) < number


def test_without_groups_it_is_the_chi_square_test_with_yates_s_correction() -> None:
    for right, other in ((93, 340), (94, 340), (70, 340), (85, 340)):  # p = 0.053, 0.027, ...
        table = [[right, 100 - right], [other, 400 - other]]
        p = stats.chi2_contingency(table, correction=True).pvalue
        pair = (part(first(right, 100)), part(first(other, 400)))
        # The variance of one part alone may be larger than that of both together.
        assert bool(unlike([pair], 0.05)) == (p < 0.05)


def test_a_shifted_test_part_is_named() -> None:
    pair = (part(first(180, 200)), part(first(420, 600)))
    (note,) = unlike([pair], 0.05)
    assert note.startswith("data, net: 90.0 % of the images of the calibration part")
    assert "but 70.0 % of the test part (p < 0.001)" in note
    assert unlike([pair[::-1]], 0.05)  # better on the test part is as strange


def test_a_part_without_errors_is_not_taken_for_perfect() -> None:
    assert unlike([(part(first(20, 20)), part(first(940, 1000)))], 0.05) == []


def test_more_methods_are_no_more_images_but_more_folds_are() -> None:
    def pair(fold: str) -> tuple[Predictions, Predictions]:
        return part(first(77, 100), fold=fold), part(first(340, 400), fold=fold)

    assert unlike([pair("1/2")] * 4, 0.05) == []
    assert unlike([pair("1/2"), pair("2/2")], 0.05)


def test_images_of_few_groups_say_less() -> None:
    groups = np.repeat(np.arange(4), 50), np.repeat(np.arange(12), 50)
    pair = part(first(180, 200), groups[0]), part(first(420, 600), groups[1])
    assert unlike([pair], 0.05) == []


@pytest.mark.parametrize("images", [1, 20])
def test_nothing_is_said_where_nothing_can_be_known(images: int) -> None:
    everything = np.ones(images, bool)
    assert unlike([], 0.05) == []
    assert unlike([(part(everything), part(everything))], 0.05) == []
    one_group = np.zeros(images)
    assert unlike([(part(everything, one_group), part(~everything, one_group))], 0.05) == []


def alarms(
    generator: np.random.Generator, sizes: tuple[int, int], share: float, groups: int
) -> float:
    """How often alike parts are called unlike; groups of about so many images, 1 for none."""
    found, repetitions = 0, 300
    for _ in range(repetitions):
        pair = []
        for images in sizes:
            group = np.arange(images) // groups
            chance = share
            if groups > 1:
                chance = generator.beta(3 * share, 3 * (1 - share), images)[group]
            right = generator.random(images) < chance
            pair.append(part(right, group if groups > 1 else None))
        found += bool(unlike([(pair[0], pair[1])], 0.05))
    return found / repetitions


@pytest.mark.parametrize(
    ("sizes", "share", "groups"),
    [((20, 600), 0.98, 1), ((200, 600), 0.9, 1), ((200, 600), 0.6, 1), ((200, 600), 0.85, 10)],
)
def test_alike_parts_are_seldom_called_unlike(
    sizes: tuple[int, int], share: float, groups: int
) -> None:
    generator = np.random.default_rng(0)
    assert alarms(generator, sizes, share, groups) <= 0.075  # 5 % and two standard errors
