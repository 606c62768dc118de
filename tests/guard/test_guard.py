"""The guard's verdicts against made-up and simulated truth, and the committed baseline.

That planted regressions are caught in real runs, and that unchanged trees raise no alarm, is
measured by the scripts ``guard_plants.py`` and ``guard_false_alarms.py``.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from guard_plants import PLANTS, plant
from scipy.special import log_softmax

from benchmark import cli, guard
from benchmark.api import InputError
from benchmark.guard import baseline, invariants, matrix, scores, throughput
from benchmark.guard.matrix import METHODS, SEEDS, SETS, Predicted
from benchmark.guard.verdicts import Report, Row
from benchmark.measures.metrics import METRICS
from benchmark.plan import registry

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "results" / "guard"


# --- scores ----------------------------------------------------------------------------------


class World:
    """Networks that differ from seed to seed, all tested on the same images."""

    def __init__(self, seed=0, n=600, classes=4):
        self.generator = np.random.default_rng(seed)
        truth = 2 * self.generator.normal(size=(n, classes))
        probs = np.exp(log_softmax(truth, 1))
        self.labels = np.array([self.generator.choice(classes, p=p) for p in probs])
        self.truth = truth

    def network(self, sharpness=1.0, noise=0.3):
        """Log-probabilities of one training: its own errors and its own sharpness."""
        errors = noise * self.generator.normal(size=self.truth.shape)
        sharpness *= np.exp(0.05 * self.generator.normal())
        return log_softmax(sharpness * (self.truth + errors), 1).astype(np.float32)

    def trained(self, number, **how):
        networks = [self.network(**how) for _ in range(number)]
        return {m: [scores.value(m, p, self.labels) for p in networks] for m in scores.MARGINS}

    def pair(self, old=None, new=None, method="focal", identical=False):
        old, new = self.trained(guard.BASELINE_SEEDS, **old or {}), self.trained(SEEDS, **new or {})
        return scores.Pair("hard", method, old, new, identical)


def verdicts(*pairs):
    return {row.what.split()[0]: row.verdict for row in scores.compare(pairs)}


def test_predictions_that_are_identical_need_no_test():
    rows = scores.compare([World().pair(new={"sharpness": 3}, identical=True)])
    assert {row.verdict for row in rows} == {"identical"}


def test_identical_rows_show_no_difference():
    pair = World().pair()
    new = {metric: values[:SEEDS] for metric, values in pair.old.items()}
    pair = dataclasses.replace(pair, new=new, identical=True)
    assert all(row.difference == 0 for row in scores.compare([pair]))


def test_an_overconfident_method_is_a_regression_and_the_way_back_an_improvement():
    found = verdicts(World().pair(new={"sharpness": 1.5}))
    assert found == {"ece": "regressed", "nll": "regressed", "accuracy": "unchanged"}
    found = verdicts(World().pair(old={"sharpness": 1.5}))
    assert found == {"ece": "improved", "nll": "improved", "accuracy": "unchanged"}


def test_a_loss_of_accuracy_is_a_regression():
    assert verdicts(World().pair(new={"noise": 2.0}))["accuracy"] == "regressed"


def test_trainings_that_collapse_are_a_regression_however_few():
    pair = World().pair()
    good = dict(pair.new)
    for collapsed, verdict in ((1, "unchanged"), (2, "regressed")):
        losses = [2.3] * collapsed + list(good["nll"][collapsed:])
        assert verdicts(dataclasses.replace(pair, new=good | {"nll": losses}))["nll"] == verdict


def test_a_change_after_training_is_seen_through_the_spread_of_trainings():
    generator, margin = np.random.default_rng(0), scores.MARGINS["nll"]
    values = 0.5 + 3 * margin * generator.standard_normal(guard.BASELINE_SEEDS)
    old, same = (dict.fromkeys(scores.MARGINS, v) for v in (values, values[:SEEDS]))
    worse = values[:SEEDS] + 1.2 * margin + 0.01 * margin * generator.standard_normal(SEEDS)
    pair = scores.Pair("hard", "temperature-scaling", old, same | {"nll": worse}, False)
    assert verdicts(pair) == {"ece": "unchanged", "nll": "regressed", "accuracy": "unchanged"}
    row = scores.compare([pair])[list(scores.MARGINS).index("nll")]
    assert row.difference == pytest.approx(1.2 * margin, rel=0.02)
    retrained = dataclasses.replace(pair, new=same | {"nll": np.roll(worse, 1)})
    assert verdicts(retrained)["nll"] == "unchanged"


def made_up(shift, spread=0.03, metric="nll"):
    """A pair whose new scores are like the old ones, but by so much higher."""
    generator = np.random.default_rng(0)
    values = 0.5 + spread * generator.standard_normal(guard.BASELINE_SEEDS)
    typical = np.quantile(values, (np.arange(SEEDS) + 0.5) / SEEDS) + shift
    flat = {m: list(values) for m in scores.MARGINS}
    pair = scores.Pair("hard", "focal", flat, flat | {metric: list(typical)}, False)
    return next(row for row in scores.compare([pair]) if row.what.startswith(metric))


def test_the_row_says_from_which_difference_on_it_regresses():
    row = made_up(0.0)
    assert row.least > scores.MARGINS["nll"]
    wide = row.least + 1e-6
    assert made_up(1.05 * wide).verdict == "regressed"
    assert made_up(0.9 * wide).verdict == "unchanged"
    assert made_up(-1.05 * wide).verdict == "improved"


def test_a_clear_but_small_difference_is_none():
    margin = scores.MARGINS["nll"]
    for shift in (0.9 * margin, -0.9 * margin):
        assert made_up(shift, spread=1e-4).verdict == "unchanged"
    row = made_up(1.1 * margin, spread=1e-4)
    assert (row.verdict, row.least) == ("regressed", margin)


def test_lower_accuracy_is_worse_and_higher_is_not():
    assert made_up(0.1, metric="accuracy").verdict == "improved"
    assert made_up(-0.1, metric="accuracy").verdict == "regressed"


def test_shifts_of_two_of_the_seeds_deviations_are_seen():
    assert made_up(0.0, spread=0.1).least < 0.2


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_an_infinite_or_undefined_loss_is_a_regression(value):
    pair = World().pair()
    pair.new["nll"][3] = value
    assert verdicts(pair)["nll"] == "regressed"


def test_retrained_networks_raise_no_alarm():
    alarms = 0
    for seed in range(10):
        world = World(seed)
        alarms += "regressed" in verdicts(*(world.pair() for _ in range(4))).values()
    assert alarms == 0


def test_the_level_holds_for_trainings_like_the_baselines(committed):
    """Old and new seeds drawn anew from the baseline's, all 48 scores of a seed together.

    Accuracies keep their ties.
    """
    losses = np.array(
        [scores._losses(m, of) for s in SETS for of in committed.scores[s.name].values()
         for m in scores.MARGINS]
    )  # fmt: skip
    generator = np.random.default_rng(0)
    noise = 0.2 * losses.std(1, ddof=1, keepdims=True)
    noise[list(scores.MARGINS).index("accuracy") :: len(scores.MARGINS)] = 0
    alarms, runs, number = 0, 300, losses.shape[1]
    for _ in range(runs):
        drawn = losses[:, generator.integers(0, number, number + SEEDS)]
        drawn = drawn + noise * generator.standard_normal(drawn.shape)
        p = scores.p_higher(drawn[:, number:], drawn[:, :number])
        alarms += min(p) * len(losses) < scores.ALPHA
    assert alarms <= 8  # of 3 expected at most: more by chance in 4 of 1000 tries


# --- throughput ------------------------------------------------------------------------------


def rounds(median, generator, noise=0.05):
    return list(median * np.exp(noise * generator.standard_normal(24)))


def test_a_quarter_slower_is_a_regression_and_a_quarter_faster_an_improvement():
    generator = np.random.default_rng(0)
    old = {name: rounds(1.1, generator) for name in ("a", "b", "c")}

    def measure(names):
        medians = {"a": 1.1 * 1.25, "b": 1.1, "c": 1.1 / 1.25}
        return {name: rounds(medians[name], generator) for name in names}

    rows = throughput.compare(old, measure("abc"), measure)
    assert [row.verdict for row in rows] == ["regressed", "unchanged", "improved"]
    assert rows[0].difference == pytest.approx(0.25, abs=0.05)
    assert rows[0].least == pytest.approx(throughput.FACTOR - 1)
    assert "12.0%" in Report(rows).render("table")


def test_one_slow_measurement_is_measured_again():
    generator = np.random.default_rng(0)
    asked = []

    def again(names):
        asked.append(list(names))
        return {name: rounds(1.0, generator) for name in names}

    old = {name: rounds(1.0, generator) for name in ("a", "b")}
    new = {"a": rounds(1.5, generator), "b": rounds(1.0, generator)}
    rows = throughput.compare(old, new, again)
    assert [row.verdict for row in rows] == ["unchanged", "unchanged"]
    assert asked == [["a"]]


def test_noise_alone_is_never_slower():
    generator = np.random.default_rng(0)
    pairs = [(rounds(1, generator, 0.1), rounds(1, generator, 0.1)) for _ in range(500)]
    assert not any(throughput.slower(old, new) for old, new in pairs)


def test_a_ratio_that_one_side_lacks_is_not_compared():
    rows = throughput.compare({"a": [1.0] * 5}, {"b": [1.0] * 5}, lambda names: {})
    assert {row.what: row.verdict for row in rows} == {"a": "not compared", "b": "not compared"}


@pytest.mark.parametrize("old", [[], [1.0, 1.1, 1.2], [1.0] * 23 + [np.nan]])
def test_a_damaged_baseline_of_times_blames_nobody(old):
    (row,) = throughput.compare({"a": old}, {"a": [2.0] * 16}, lambda names: {})
    assert row.verdict == "not compared"
    assert "rounds" in row.note
    (row,) = throughput.compare({"a": [1.0] * 24}, {"a": [np.nan] * 16}, lambda names: {})
    assert row.verdict == "regressed"


def test_sleeping_counts_as_work():
    from benchmark.guard import timing

    def sleeps(seconds):
        def work(now):
            started = now()
            time.sleep(seconds)
            return now() - started

        return work

    timed = timing._in_turns(sleeps(0.003), sleeps(0.001))
    assert np.median(timed.ratios) > 1.5


def test_the_plain_network_is_the_built_in_one():
    import torch

    from benchmark.api import Recipe
    from benchmark.guard import timing

    ours, plain = timing._network(Recipe()), timing._plain_network()
    own = [*ours.trunk.parameters(), ours.weight, ours.bias]
    with torch.no_grad():
        for a, b in zip(plain.parameters(), own, strict=True):
            a.copy_(b.view_as(a))
        images = torch.randn(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(plain.eval()(images), ours.eval()(images)[:, 0])
    layouts = [
        [p.stride() for p in network.parameters() if p.ndim == 4] for network in (plain, ours)
    ]
    assert layouts[0] == layouts[1]


def test_all_of_a_training_but_its_warm_up_counts(monkeypatch):
    from benchmark.engine import train
    from benchmark.engine.step import Step
    from benchmark.guard import timing

    images, labels = timing._images()
    work = timing._training(registry.methods()["cross-entropy"], images, labels)
    work(time.perf_counter)
    slow = 0.5

    def sleeping(function):
        def wrapped(*args, **kwargs):
            time.sleep(slow)
            return function(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(Step, "warm_up", sleeping(Step.warm_up))
        assert work(time.perf_counter) < slow
    monkeypatch.setattr(train, "derive", sleeping(train.derive))  # outside its own stopwatch
    assert work(time.perf_counter) > slow


def test_augmentation_is_timed():
    from benchmark.guard import timing

    assert "training: TrivialAugment to none" in timing._comparisons()


# --- invariants ------------------------------------------------------------------------------


def broken(rows):
    return [row.what for row in rows if row.verdict == "broken"]


def test_weights_and_loss_of_the_heads_are_as_published(monkeypatch):
    import torch

    recipe = type(registry.methods()["mhml-4"].recipe)
    assert broken(invariants._heads()) == []
    weigh, loss = recipe.head_weights, recipe.loss

    def unowned(self, classes, generator):  # one class for each head, even if there are more
        if classes < 4:
            return weigh(self, classes, generator)
        return torch.where(torch.eye(4, classes, dtype=torch.bool), 4.0, 0.25)

    def lopsided(self, classes, generator):  # the first head has all that is left
        weights = unowned(self, classes, generator)
        weights[0, 4:] = 4.0
        return weights

    def idle(self, classes, generator):  # heads without a class, if there are few
        weights = weigh(self, classes, generator)
        weights[classes:] = 0.25
        return weights

    for wrong in (
        idle,
        unowned,
        lopsided,
        lambda self, classes, generator: weigh(self, classes, generator).clamp_min(1.0),
        lambda self, classes, generator: weigh(self, classes, generator) / 2,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(recipe, "head_weights", wrong)
            (name,) = broken(invariants._heads())
            assert name == "heads of mhml-4 weigh their own classes M, the others 1/M"
    monkeypatch.setattr(recipe, "loss", lambda *args: 1.01 * loss(*args))
    assert len(broken(invariants._heads())) == 2


def test_a_temperature_that_is_not_one_breaks_the_invariant(monkeypatch):
    assert invariants._temperature().verdict == "holds"
    kind = type(registry.calibrators()["temperature"])
    monkeypatch.setattr(kind, "fit", lambda *_: lambda new: log_softmax(new / 1.01, 1))
    assert invariants._temperature().verdict == "broken"


def test_pooling_logits_breaks_the_invariant(monkeypatch):
    from benchmark.engine import predict

    assert [row.verdict for row in invariants._views()] == ["holds", "holds"]
    monkeypatch.setattr(predict, "mean_over_views", lambda logits: logits.mean(1).log_softmax(-1))
    assert [row.verdict for row in invariants._views()] == ["broken", "broken"]


def test_an_image_in_two_parts_breaks_the_invariant():
    def trained(test):
        parts = SimpleNamespace(
            train=np.arange(5), calibration=np.arange(5, 8), test=np.array(test)
        )
        return SimpleNamespace(work=SimpleNamespace(sources={"task": SimpleNamespace(parts=parts)}))

    assert invariants._disjoint("easy", trained([8, 9])).verdict == "holds"
    assert invariants._disjoint("easy", trained([4, 9])).verdict == "broken"


@pytest.fixture
def tiny(monkeypatch):
    """Made-up predictions of the tiny trainings, on which everything holds."""
    small = ["deep-ensemble[members=2]" if name == "deep-ensemble" else name for name in METHODS]
    neutral = invariants.NEUTRAL.values()
    names = [*small, *neutral, *invariants.ABLATION.values()]

    def predictions(sharpness):
        return log_softmax(sharpness * np.random.default_rng(0).normal(size=(5, 3)), 1)

    plain = {"cross-entropy", *neutral}
    found = [
        (
            {name: predictions(1 if name in plain else 2 + number)
             for number, name in enumerate(names)},
            {name: [predictions(1)] for name in names},
        )
        for _ in range(2)
    ]  # fmt: skip
    monkeypatch.setattr(invariants, "_tiny", lambda folder, *_: found[folder.name == "permuted"])
    return found


def test_each_mistake_of_a_training_breaks_its_own_invariant(tiny):
    (first, _), (second, again) = tiny
    assert broken(invariants._trainings()) == []
    right = first["mixup[alpha=0]"]
    first["mixup[alpha=0]"] = log_softmax(right + 1e-2 * np.eye(5, 3), 1)
    assert broken(invariants._trainings()) == ["mixup[alpha=0] equals cross-entropy"]
    first["mixup[alpha=0]"] = right * np.nan
    assert broken(invariants._trainings()) == ["mixup[alpha=0] equals cross-entropy"]
    first["mixup[alpha=0]"] = right
    for name, other in (
        ("mixup", "cross-entropy"),
        ("temperature-scaling", "cross-entropy"),
        ("mhml-4", "mhsl-4"),
    ):
        own, theirs = first[name], second[name]
        first[name] = second[name] = first[other]
        assert broken(invariants._trainings()) == [f"{name} differs from {other}"]
        first[name], second[name] = own, theirs
    leak = "permuted test labels leave focal's predictions as they are"
    again["focal"] = [np.nextafter(again["focal"][0], 0)]
    assert broken(invariants._trainings()) == [leak]
    again["focal"] = tiny[0][1]["focal"]
    second["focal"] = np.nextafter(second["focal"], 0)
    assert broken(invariants._trainings()) == [leak]


def test_the_ensemble_is_held_to_its_members(tmp_path):
    members = [log_softmax(np.random.default_rng(k).normal(size=(4, 3)), 1) for k in range(2)]
    ids = np.array(list("abcd"))

    def trained(pooled, cells=True):
        record = {k: SimpleNamespace(arrays={"test_log_probs": p, "test_ids": ids})
                  for k, p in enumerate(members)}  # fmt: skip
        cell = SimpleNamespace(
            method=SimpleNamespace(name="deep-ensemble", members=2),
            fits=[SimpleNamespace(key=k) for k in record],
            task=SimpleNamespace(replicate=SimpleNamespace(seed=0)),
        )
        predicted = Predicted(ids, np.zeros(4, int), {("deep-ensemble", 0): pooled}, {})
        return SimpleNamespace(
            request=SimpleNamespace(
                store=SimpleNamespace(holds=record.__contains__, read=record.__getitem__)
            ),
            work=SimpleNamespace(cells=[cell] * cells),
            predicted=predicted,
        )

    mean = np.log(np.mean(np.exp(members), axis=0))
    logits = log_softmax(np.mean(members, axis=0), 1)
    for found, verdict in (
        (trained(mean), "holds"),
        (trained(logits), "broken"),
        (trained(mean * np.nan), "broken"),
        (trained(mean, cells=False), "not compared"),
    ):
        assert invariants._ensemble("easy", found).verdict == verdict


def test_an_invariant_that_nothing_checks_any_more_is_not_compared(committed):
    assert "deep-ensemble[members=1] equals cross-entropy" in committed.invariants
    made = [Row(kind="invariant", what=name, verdict="holds") for name in committed.invariants]
    assert guard._unchecked(committed.invariants, made) == []
    (row,) = guard._unchecked(committed.invariants, made[1:])
    assert (row.what, row.verdict) == (committed.invariants[0], "not compared")


def test_tiny_trainings_that_fail_are_not_compared(monkeypatch):
    def failing(folder, **_):
        missing = {("focal", 0): "training diverged"}
        return SimpleNamespace(predicted=SimpleNamespace(missing=missing))

    monkeypatch.setattr(invariants, "train", failing)
    (row,) = invariants._trainings()
    assert row.verdict == "not compared"
    assert "focal could not be trained: training diverged" in row.note


def test_probabilities_that_do_not_sum_to_one_break_the_invariant():
    probs = np.array([[0.5, 0.5], [0.5, 0.49]])
    good = probs / probs.sum(1, keepdims=True)
    for value, verdict in ((good, "holds"), (probs, "broken"), (good * np.nan, "broken")):
        both = {("x", 0): np.log(value), ("y", 0): np.log([[0.5, 0.5]] * 2)}
        predicted = Predicted(np.array(["a", "b"]), np.zeros(2, int), both, {})
        found = invariants._sums("easy", SimpleNamespace(predicted=predicted))
        assert found.verdict == verdict


# --- the report ------------------------------------------------------------------------------


def rows(**changed):
    listed = {
        "score": Row(kind="score", what="ece of a|b", old=0.1, new=0.1, verdict="identical"),
        "invariant": Row(kind="invariant", what="c <holds>", verdict="holds"),
        "throughput": Row(kind="throughput", what="d", old=1.0, new=1.1, verdict="unchanged"),
    }
    for kind, verdict in changed.items():
        listed[kind] = dataclasses.replace(listed[kind], verdict=verdict, note="why")
    return list(listed.values())


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, 0),
        ({"score": "improved"}, 0),
        ({"score": "regressed"}, 1),
        ({"invariant": "broken"}, 1),
        ({"throughput": "regressed", "score": "not compared"}, 1),
        ({"throughput": "not compared"}, 2),
    ],
)
def test_exit_codes(changed, code):
    report = Report(rows(**changed))
    assert report.exit_code == code
    for form in ("table", "markdown"):
        text = report.render(form)
        assert ("PASS" in text) == (code == 0)
        assert ("--update" in text) == (code != 0)
        assert all(f"{v}: " in text for v in changed.values())


def test_the_headline_says_when_predictions_changed():
    assert Report(rows()).headline == "PASS: 3 comparisons, none worse than the baseline"
    changed = Report(rows(score="unchanged")).headline
    assert changed.endswith(", but 1 scores are of predictions that changed")


def test_a_set_that_the_baseline_lacks_is_not_compared(repeated):
    old, new = repeated
    old = dataclasses.replace(old, scores={"easy": {}, "hard": old.scores["hard"]})
    found = compared(old, new)
    assert sum(row.verdict == "not compared" for row in found) == 24
    assert all(row.verdict == "holds" for row in guard.measured_rows(old))


def test_an_empty_or_partial_report_is_never_a_pass():
    assert Report([]).exit_code == 2
    for kept in ([0, 1], [0, 2], [1, 2]):
        report = Report([rows()[i] for i in kept])
        assert report.exit_code == 2
        assert "PASS" not in report.render("table")


def test_json_says_all_and_markdown_escapes():
    content = json.loads(Report(rows(throughput="regressed"), ["note"]).render("json"))
    assert content["exit_code"] == 1
    assert [row["verdict"] for row in content["rows"]] == ["identical", "holds", "regressed"]
    assert content["rows"][2]["difference"] == pytest.approx(0.1)
    text = Report(rows()).render("markdown")
    assert "a\\|b" in text
    assert "c &lt;holds>" in text


# --- the baseline ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    return baseline.read(COMMITTED)


@pytest.fixture(scope="module")
def repeated(committed):
    """A baseline whose first seeds are all like the one it keeps, and predictions like these."""
    new = {}
    for s in SETS:
        of = committed.predicted[s.name]
        log_probs = {(m, seed): of.log_probs[m, 0] for m in METHODS for seed in range(SEEDS)}
        new[s.name] = dataclasses.replace(of, log_probs=log_probs)
    stated = json.loads(json.dumps(committed.scores))
    for values in (
        v for methods in stated.values() for of in methods.values() for v in of.values()
    ):
        values[:SEEDS] = [values[0]] * SEEDS
    return dataclasses.replace(committed, scores=stated), new


def compared(old, new):
    pairs, missing = guard.pair_up(old, new)
    return scores.compare(pairs) + missing


def test_the_committed_baseline_is_of_this_matrix_small_and_says_why(committed):
    assert matrix.changes(committed.matrix, matrix.describe()) == []
    assert committed.reason
    assert sum(file.stat().st_size for file in COMMITTED.iterdir()) < 2**20
    assert {row.verdict for row in guard.measured_rows(committed)} == {"holds"}
    for s in SETS:
        for of in committed.scores[s.name].values():
            assert {len(values) for values in of.values()} == {guard.BASELINE_SEEDS}


def test_equal_predictions_are_identical_and_a_rounding_is_not(repeated):
    old, new = repeated
    found = compared(old, new)
    assert len(found) == len(METHODS) * len(SETS) * len(scores.MARGINS) == 48
    assert {row.verdict for row in found} == {"identical"}
    rounded = dict(new["hard"].log_probs)
    rounded["mixup", 0] = np.nextafter(rounded["mixup", 0], np.float32(0))
    found = compared(old, new | {"hard": dataclasses.replace(new["hard"], log_probs=rounded)})
    differ = [row.what for row in found if row.verdict == "unchanged"]
    assert differ == [f"{metric} of mixup on hard" for metric in scores.MARGINS]
    assert sum(row.verdict == "identical" for row in found) == 45


def test_another_score_of_a_later_seed_is_not_identical(repeated):
    old, new = repeated
    other = dict(new["easy"].log_probs)
    other["focal", SEEDS - 1] = other["mixup", 0]
    found = compared(old, new | {"easy": dataclasses.replace(new["easy"], log_probs=other)})
    assert {r.what for r in found if r.verdict != "identical"} == {
        f"{metric} of focal on easy" for metric in scores.MARGINS
    }


def test_reading_gives_what_was_written(committed, tmp_path):
    baseline.write(tmp_path, committed)
    again = baseline.read(tmp_path)
    for name in ("reason", "environment", "matrix", "scores", "ratios", "invariants"):
        assert getattr(again, name) == getattr(committed, name)
    for name, kept in committed.predicted.items():
        assert np.array_equal(again.predicted[name].ids, kept.ids)
        for key, log_probs in kept.log_probs.items():
            assert np.array_equal(again.predicted[name].log_probs[key], log_probs)


def test_a_missing_method_seed_or_image_is_not_compared(repeated):
    old, new = repeated
    easy = new["easy"]
    for gone in (("focal", 0), ("focal", SEEDS - 1)):
        without = {k: v for k, v in easy.log_probs.items() if k != gone}
        lacking = new | {"easy": dataclasses.replace(easy, log_probs=without)}
        found = compared(old, lacking)
        missing = [row.what for row in found if row.verdict == "not compared"]
        assert missing == [f"{metric} of focal on easy" for metric in scores.MARGINS]
        assert Report([*found, *rows()]).exit_code == 2
    other = new | {"hard": dataclasses.replace(new["hard"], labels=1 - new["hard"].labels)}
    found = compared(old, other)
    assert sum(row.verdict == "not compared" for row in found) == 24


def test_a_metric_that_the_baseline_lacks_is_not_compared(repeated):
    old, new = repeated
    scores_without = json.loads(json.dumps(old.scores))
    del scores_without["hard"]["mixup"]["ece"]
    scores_without["hard"]["focal"]["ece"].pop()  # with fewer seeds less would be seen
    scores_without["hard"]["mhml-4"]["ece"][-1] = float("nan")  # would never be called worse
    found = compared(dataclasses.replace(old, scores=scores_without), new)
    assert [r.what for r in found if r.verdict == "not compared" and "ece" in r.note] == [
        f"{metric} of {method} on hard"
        for method in ("focal", "mixup", "mhml-4")
        for metric in scores.MARGINS
    ]


def test_a_metric_that_is_gone_is_not_compared(repeated, monkeypatch):
    others = {name: metric for name, metric in METRICS.items() if name != "ece"}
    monkeypatch.setattr(guard, "METRICS", others)
    old, new = repeated
    found = compared(old, new)
    assert {row.verdict for row in found} == {"not compared"}
    assert "no metric 'ece' any more" in found[0].note
    assert len(list(guard.measured_rows(old))) == 2


def test_a_method_that_is_gone_stops_the_guard(monkeypatch, capsys):
    known = registry.methods()
    monkeypatch.setattr(registry, "methods", lambda: {k: known[k] for k in known if k != "focal"})
    assert cli.main(["guard", "--baseline", str(COMMITTED)]) == 2
    assert "unknown method 'focal'" in capsys.readouterr().err


def test_a_tree_that_fails_is_not_compared(monkeypatch, capsys):
    def broken(*_):
        raise TypeError("a bug")

    monkeypatch.setattr(guard, "check", broken)
    assert cli.main(["guard", "--baseline", str(COMMITTED)]) == 2
    said = capsys.readouterr().err
    assert "in broken" in said  # where the bug is
    assert said.splitlines()[-1] == "error: this tree cannot be compared, it fails (TypeError)"
    for form in ("json", "markdown"):
        assert cli.main(["guard", "--format", form]) == 2
        assert "this tree cannot be compared, it fails (TypeError)" in capsys.readouterr().out


@pytest.mark.parametrize("verdict", ["holds", "broken", "not compared"])
def test_a_baseline_is_written_only_if_all_invariants_hold(
    verdict, committed, tmp_path, monkeypatch, capsys
):
    @contextmanager
    def trained(s, seeds):
        kept = committed.predicted[s.name]
        log_probs = {(m, k): kept.log_probs[m, 0] for m in METHODS for k in range(seeds)}
        yield SimpleNamespace(predicted=dataclasses.replace(kept, log_probs=log_probs))

    row = Row(kind="invariant", what="it", verdict=verdict)
    monkeypatch.setattr(matrix, "trained", trained)
    monkeypatch.setattr(guard, "_timed", lambda names: ({"a": [1.0]}, {"a": [1.0]}))
    monkeypatch.setattr(invariants, "on_matrix", lambda new: [row])
    monkeypatch.setattr(invariants, "on_tiny_trainings", list)
    code = cli.main(["guard", "--update", "--reason", "why", "--baseline", str(tmp_path)])
    assert code == {"holds": 0, "broken": 1, "not compared": 2}[verdict]
    assert (tmp_path / baseline.TOML).exists() == (verdict == "holds")
    assert ("A new baseline is in" in capsys.readouterr().out) == (verdict == "holds")
    if verdict == "holds":
        made = baseline.read(tmp_path)
        assert (made.reason, made.invariants, made.ratios) == ("why", ["it"], {"a": [1.0] * 3})


def test_a_changed_measure_breaks_the_invariant(committed, monkeypatch):
    for value in (0.5, np.nan):
        monkeypatch.setattr(scores, "value", lambda metric, p, labels, value=value: value)
        assert {row.verdict for row in guard.measured_rows(committed)} == {"broken"}


def test_the_notes_say_versions_bit_equality_and_margins(repeated):
    old, new = repeated
    pairs, _ = guard.pair_up(old, new)
    same = old.environment
    note, margins = guard._notes(same, same, pairs)
    assert "same versions" in note
    assert "All 16 predictions are bit-equal" in note
    assert all(f"{metric} {margin}" in margins for metric, margin in scores.MARGINS.items())
    changed = [dataclasses.replace(pairs[0], identical=False), *pairs[1:]]
    note, _ = guard._notes(same, same, changed)
    assert "1 of 16 predictions are NOT bit-equal to the baseline's (cross-entropy on easy)" in note
    assert "update the baseline" in note
    note, _ = guard._notes(same, {**same, "torch": "9.9"}, changed)
    assert f"torch {same['torch']} -> 9.9" in note
    assert "1 of 16 predictions are not bit-equal" in note
    assert "the statistical verdict stands alone" in note


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mixup", {"recipe": {"alpha": 0.08}}, "alpha of mixup 0.2 -> 0.08"),
        ("mc-dropout", {"passes": 3}, "passes of mc-dropout 30 -> 3"),
        (
            "temperature-scaling",
            {"calibrator": None},
            "calibrator of temperature-scaling temperature -> none",
        ),
    ],
)
def test_changed_parameters_are_named(name, change, message, monkeypatch, capsys):
    known = registry.methods()
    method = known[name]
    if "recipe" in change:
        change = {"recipe": dataclasses.replace(method.recipe, **change["recipe"])}
    changed = known | {name: dataclasses.replace(method, **change)}
    monkeypatch.setattr(registry, "methods", lambda: changed)
    assert cli.main(["guard", "--baseline", str(COMMITTED)]) == 2
    said = capsys.readouterr().err
    assert f"the baseline is of another matrix: {message}. If that was meant" in said


def test_changed_settings_and_missing_methods_are_named():
    new = matrix.describe()
    old = {name: dict(of) for name, of in new.items() if name != "focal"}
    old["the easy set"]["learning_rate"] = 0.1
    found = matrix.changes(old, new)
    assert found[0] == "learning_rate of the easy set 0.1 -> 0.05"
    assert "gamma of focal absent -> 3.0" in found


# --- the command -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--update"], "needs a reason"),
        (["--reason", "because"], "go together"),
        (["--baseline", "absent"], "there is no baseline"),
        (["--format", "xml"], "invalid choice"),
    ],
)
def test_bad_input_is_one_message(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["guard", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_or_foreign_baseline_is_one_message(committed, tmp_path):
    baseline.write(tmp_path, dataclasses.replace(committed, matrix={"methods": {}}))
    with pytest.raises(InputError, match="another matrix"):
        guard.check(tmp_path)
    (tmp_path / baseline.NPZ).write_bytes(b"no archive")
    with pytest.raises(InputError, match="damaged"):
        guard.check(tmp_path)


def test_judging_needs_no_torch():
    code = "import benchmark.guard, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# --- plants and workflow ---------------------------------------------------------------------


@pytest.mark.parametrize("change", PLANTS, ids=lambda change: change.name)
def test_every_plant_fits_the_source(change, tmp_path):
    plant(change, tmp_path, version=0)
    file = tmp_path / change.file
    compile(file.read_text(encoding="utf-8"), str(file), "exec")


def test_the_workflow_is_valid():
    pytest.importorskip("check_jsonschema", reason="it is in the extra `test`")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    command += ["vendor.github-workflows", str(ROOT / ".github" / "workflows" / "ci.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
