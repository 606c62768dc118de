"""The guard's verdicts against made-up and simulated truth, and the committed baseline.

That planted regressions are caught in real runs, and that unchanged trees raise no alarm, is
measured by ``python -m tools.guard_plants`` and ``python -m tools.guard_false_alarms``.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from benchmark import cli, guard
from benchmark.api import InputError, Predictions
from benchmark.guard import baseline, engine, matrix, scores, throughput
from benchmark.guard.matrix import METHODS, SEEDS, SETS, Trained
from benchmark.guard.verdicts import Comparison, Report
from benchmark.measures.declared import metrics
from benchmark.plan import registry
from tools import guard_digest
from tools.guard_plants import PLANTS, TESTS, plant, run_python

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
        networks = [
            Predictions(log_probs=self.network(**how), labels=self.labels) for _ in range(number)
        ]
        return {m: [scores.value(m, p) for p in networks] for m in scores.MARGINS}

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

    work = timing._training(registry.methods()[METHODS[0]])
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


# --- the engine ------------------------------------------------------------------------------

OLD = engine.Engine(2, "why", {"engine/train.py": "a", "engine/step.py": "b"})
NEW = engine.Engine(2, "", {"engine/train.py": "c", "engine/step.py": "b"})


def judged(old=OLD, new=NEW, same=True, elsewhere=()):
    row = engine.compare(old, new, same, elsewhere)
    assert row.kind == "engine"
    return row.verdict, row.note


def test_an_engine_may_change_if_all_predictions_are_bit_equal():
    assert judged(new=OLD, same=False) == ("identical", "")
    verdict, note = judged()
    assert verdict == "unchanged"
    assert "engine/train.py changed, all predictions are bit-equal" in note
    assert "step.py" not in note
    assert "tools.guard_digest" in note


def test_an_engine_that_predicts_something_else_must_raise_its_format():
    verdict, note = judged(same=False)
    assert verdict == "regressed"
    assert "engine/train.py changed" in note
    assert "FORMAT is still 2" in note
    raised = dataclasses.replace(NEW, format=3)
    for same in (True, False, None):
        verdict, note = judged(new=raised, same=same)
        assert verdict == "not compared"  # until there is a baseline of the new format
        assert "from 2 to 3: make a new baseline" in note
    assert judged(old=raised, new=NEW)[0] == "regressed"


def test_where_bit_equality_cannot_be_known_nothing_passes_in_silence():
    verdict, note = judged(same=None, elsewhere=["torch 2 -> 3"])
    assert verdict == "not compared"
    assert "(torch 2 -> 3)" in note
    assert judged(new=OLD, same=None)[0] == "identical"
    assert judged(old=None)[0] == "not compared"


def test_bit_equality_is_known_where_it_is_seen_or_where_nothing_else_differs(repeated):
    old, new = repeated
    pairs, missing = guard.pair_up(old, new)
    assert guard.bit_equal(pairs, missing, []) is True
    assert guard.bit_equal(pairs, missing, ["torch 2 -> 3"]) is True
    assert guard.bit_equal(pairs, rows(), []) is None
    changed = [dataclasses.replace(pairs[0], identical=False), *pairs[1:]]
    assert guard.bit_equal(changed, missing, []) is False
    assert guard.bit_equal(changed, missing, ["torch 2 -> 3"]) is None


SOURCE = '''
"""A file."""
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

RATE: float = 0.9
"""Of something."""


def step(values: Sequence[float], rate: float = 1.0) -> float:
    """Make a step."""
    if not values:
        raise ValueError(f"no values but {values}")
    require(rate > 0, f"rate={rate}: not above 0")
    total: float = 0.0  # so far
    return total + rate * sum(values)
'''


def test_only_code_that_can_change_a_prediction_counts(tmp_path):
    def digest(*changes):
        text = SOURCE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "engine").mkdir(exist_ok=True)
        for pattern in engine.DECIDES:
            file, _, name = pattern.partition(":")
            path = tmp_path / file.replace("*", "step")
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"class {name}: pass\n" if name else text)
        return engine.digests(tmp_path)["engine/step.py"]

    known = digest()
    for same in (
        (("A file.", "The file."), ("Make a step.", "Do."), ("Of something.", "Of it.")),
        (("  # so far", ""), ("return total + rate", "return (\n        total + rate"),
         ("sum(values)", "sum(values)\n    )")),
        (("Sequence[float]", "list[float]"), (" -> float", ""),
         ("from collections.abc import Sequence\n", "")),
        (("RATE: float", "RATE"), ("total: float", "total")),
        (("no values but {values}", "nothing"), ("not above 0", "it is to be positive")),
        (("    import torch", "    import numpy"),),
    ):  # fmt: skip
        assert digest(*same) == known, same
    for other in (
        ("RATE: float = 0.9", "RATE: float = 0.8"),
        ("rate > 0", "rate >= 0"),
        ("rate: float = 1.0", "rate: float = True"),
        ("if not values", "if values"),
        ("ValueError", "KeyError"),
        ("total + rate", "total - rate"),
    ):
        assert digest(other) != known, other


def test_code_that_decides_cannot_leave_unseen(tmp_path):
    with pytest.raises(InputError, match=r"engine/\*.py any more"):
        engine.digests(tmp_path)


def test_the_committed_baseline_states_this_tree_s_engine(committed):
    now = engine.current()
    assert engine.changed(committed.engine, now) == "", (
        'python -m tools.guard_digest --reason "..." states it, if predictions are bit-equal; '
        "otherwise raise FORMAT and make a new baseline"
    )
    assert committed.engine.format == now.format
    assert committed.engine.reason


def test_a_new_digest_is_stated_only_for_bit_equal_predictions(
    repeated, tmp_path, monkeypatch, capsys
):
    old, new = repeated
    baseline.write(tmp_path, dataclasses.replace(old, engine=OLD))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    words = ["--reason", "faster", "--baseline", str(tmp_path)]
    monkeypatch.setattr(engine, "FORMAT", OLD.format)
    other = new["easy"].predictions["mixup", 0].log_probs
    trained = altered(new, "easy", ("focal", 0), log_probs=other)
    monkeypatch.setattr(guard, "train", lambda *_: trained)
    assert guard_digest.main(words) == 1
    assert "not bit-equal: focal on easy" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    monkeypatch.setattr(guard, "train", lambda *_: new)
    assert guard_digest.main(words) == 0
    made = baseline.read(tmp_path)
    assert made.engine.digests == engine.digests()
    assert made.engine.reason.startswith("faster (16 predictions bit-equal")
    baseline.state_engine(tmp_path, OLD)  # nothing else has changed
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    monkeypatch.setattr(engine, "FORMAT", OLD.format + 1)
    assert guard_digest.main(words) == 2
    assert "FORMAT was changed" in capsys.readouterr().err


# --- the report ------------------------------------------------------------------------------


def rows(**changed):
    listed = {
        "score": Comparison(kind="score", what="ece of a|b", old=0.1, new=0.1, verdict="identical"),
        "engine": Comparison(kind="engine", what="c <d>", verdict="identical"),
        "throughput": Comparison(
            kind="throughput", what="d", old=1.0, new=1.1, verdict="unchanged"
        ),
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
        ({"engine": "regressed"}, 1),
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
        assert ("make a new baseline" in text) == (code != 0)
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
    assert all(row.verdict == "identical" for row in guard.measured_rows(old))


def test_an_empty_or_partial_report_is_never_a_pass():
    assert Report([]).exit_code == 2
    for kept in ([0, 1], [0, 2], [1, 2]):
        report = Report([rows()[i] for i in kept])
        assert report.exit_code == 2
        assert "PASS" not in report.render("table")


def test_json_says_all_and_markdown_escapes():
    content = json.loads(Report(rows(throughput="regressed"), ["note"]).render("json"))
    assert content["exit_code"] == 1
    assert [row["verdict"] for row in content["rows"]] == ["identical", "identical", "regressed"]
    assert content["rows"][2]["difference"] == pytest.approx(0.1)
    text = Report(rows()).render("markdown")
    assert "a\\|b" in text
    assert "c \\<d>" in text


# --- the baseline ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    return baseline.read(COMMITTED)


@pytest.fixture(scope="module")
def repeated(committed):
    """A baseline whose first seeds are all like the one it keeps, and predictions like these."""
    new = {}
    for s in SETS:
        of = committed.predictions[s.name]
        new[s.name] = Trained({(m, seed): of[m] for m in METHODS for seed in range(SEEDS)})
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
    assert {row.verdict for row in guard.measured_rows(committed)} == {"identical"}
    for s in SETS:
        for of in committed.scores[s.name].values():
            assert {len(values) for values in of.values()} == {guard.BASELINE_SEEDS}


def altered(new, name, key, **changes):
    """The same, but for one method's predictions with one seed."""
    old = new[name].predictions
    predictions = {**old, key: dataclasses.replace(old[key], **changes)}
    return new | {name: Trained(predictions)}


def test_equal_predictions_are_identical_and_a_rounding_is_not(repeated):
    old, new = repeated
    found = compared(old, new)
    assert len(found) == len(METHODS) * len(SETS) * len(scores.MARGINS) == 48
    assert {row.verdict for row in found} == {"identical"}
    exact = new["hard"].predictions["mixup", 0].log_probs.astype(np.float32)
    rounded = np.nextafter(exact, np.float32(0))
    found = compared(old, altered(new, "hard", ("mixup", 0), log_probs=rounded))
    differ = [row.what for row in found if row.verdict == "unchanged"]
    assert differ == [f"{metric} of mixup on hard" for metric in scores.MARGINS]
    assert sum(row.verdict == "identical" for row in found) == 45


def test_another_score_of_a_later_seed_is_not_identical(repeated):
    old, new = repeated
    other = new["easy"].predictions["mixup", 0].log_probs
    found = compared(old, altered(new, "easy", ("focal", SEEDS - 1), log_probs=other))
    assert {r.what for r in found if r.verdict != "identical"} == {
        f"{metric} of focal on easy" for metric in scores.MARGINS
    }


def test_reading_gives_what_was_written(committed, tmp_path):
    baseline.write(tmp_path, committed)
    again = baseline.read(tmp_path)
    for name in ("reason", "engine", "environment", "matrix", "scores", "ratios", "seconds"):
        assert getattr(again, name) == getattr(committed, name)
    for name, predictions in committed.predictions.items():
        assert list(again.predictions[name]) == list(predictions)
        for method, kept in predictions.items():
            for field in ("ids", "labels", "log_probs"):
                one, other = (getattr(p, field) for p in (again.predictions[name][method], kept))
                assert np.array_equal(one, other)
    for name in (baseline.TOML, baseline.NPZ):
        assert (tmp_path / name).read_bytes() == (COMMITTED / name).read_bytes()


def test_pytest_benchmark_compares_the_times(committed, tmp_path):
    baseline.write(tmp_path, committed)
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(tmp_path / baseline.JSON)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    for name in committed.seconds:
        assert name in done.stdout


def test_a_baseline_that_lists_invariants_is_read(committed, tmp_path):
    baseline.write(tmp_path, committed)
    path = tmp_path / baseline.TOML
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[engine]", 'invariants = [\n    "it",\n]\n\n[engine]', 1))
    assert baseline.read(tmp_path).engine == committed.engine


def test_a_missing_method_seed_or_image_is_not_compared(repeated):
    old, new = repeated
    why = "focal on digits 1/2, seed 0, is missing: it diverged."
    for gone in (("focal", 0), ("focal", SEEDS - 1)):
        without = {k: p for k, p in new["easy"].predictions.items() if k != gone}
        lacking = new | {"easy": Trained(without, ["mixup on digits ...", why])}
        found = compared(old, lacking)
        missing = [row for row in found if row.verdict == "not compared"]
        assert [row.what for row in missing] == [
            f"{metric} of focal on easy" for metric in scores.MARGINS
        ]
        assert missing[0].note == f"it could not be trained: {why}"
        assert Report([*found, *rows()]).exit_code == 2
    labels = 1 - new["hard"].predictions["mixup", 0].labels
    found = compared(old, altered(new, "hard", ("mixup", 0), labels=labels))
    assert sum(row.verdict == "not compared" for row in found) == 3


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
    others = {name: metric for name, metric in metrics().items() if name != "ece"}
    monkeypatch.setattr(guard, "metrics", lambda: others)
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


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("nothing", 0),
        ("bit-equal", 0),
        ("format raised", 0),
        ("predictions", 1),
        ("predictions elsewhere", 2),
        ("first", 0),
    ],
)
def test_a_baseline_is_made_anew_only_if_the_engine_may_be_another(
    change, code, repeated, tmp_path, monkeypatch, capsys
):
    old, new = repeated
    here = engine.current("before")
    stated = {"nothing": here, "format raised": dataclasses.replace(OLD, format=here.format - 1)}
    other = dataclasses.replace(OLD, format=here.format)
    if change != "first":
        baseline.write(tmp_path, dataclasses.replace(old, engine=stated.get(change, other)))

    def trained(s, seeds):
        kept = new[s.name].predictions
        predictions = {(m, k): kept[m, 0] for m in METHODS for k in range(seeds)}
        if "predictions" in change or change == "format raised":
            predictions["focal", 0] = kept["mixup", 0]
        return Trained(predictions)

    monkeypatch.setattr(matrix, "train", trained)
    monkeypatch.setattr(guard, "_timed", lambda names: ({"a": [1.0]}, {"a": [1.0, 2.0]}))
    elsewhere = {"torch": "9.9"} if "elsewhere" in change else {}
    monkeypatch.setattr(guard, "environment", lambda: {**old.environment, **elsewhere})
    code_now = cli.main(["guard", "--update", "--reason", "why", "--baseline", str(tmp_path)])
    said = capsys.readouterr().out
    assert code_now == code
    assert ("A new baseline is in" in said) == (code == 0)
    assert ("raise FORMAT" in said) == (code != 0)
    made = baseline.read(tmp_path)
    if code == 0:
        assert (made.reason, made.ratios) == ("why", {"a": [1.0] * 3})
        assert made.engine == dataclasses.replace(here, reason="why")
    else:
        assert made.engine == other


def test_a_method_that_cannot_be_trained_makes_no_baseline(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "_timed", lambda names: ({}, {}))
    monkeypatch.setattr(matrix, "train", lambda *_: Trained({}, ["focal on digits is missing: x."]))
    with pytest.raises(InputError, match=r"easy: focal on digits is missing: x\. Mend that first"):
        guard.update(tmp_path, "why")
    assert not list(tmp_path.iterdir())


def test_a_changed_measure_is_a_regression(committed, monkeypatch):
    for value in (0.5, np.nan):
        monkeypatch.setattr(scores, "value", lambda metric, p, value=value: value)
        assert {row.verdict for row in guard.measured_rows(committed)} == {"regressed"}


def test_the_notes_say_versions_bit_equality_and_margins(repeated, monkeypatch):
    old, new = repeated
    pairs, _ = guard.pair_up(old, new)
    note, margins = guard._notes([], pairs)
    assert "same versions" in note
    assert "All 16 predictions are bit-equal" in note
    assert all(f"{metric} {margin}" in margins for metric, margin in scores.MARGINS.items())
    changed = [dataclasses.replace(pairs[0], identical=False), *pairs[1:]]
    note, _ = guard._notes([], changed)
    assert "1 of 16 predictions are NOT bit-equal to the baseline's (cross-entropy on easy)" in note
    assert "update the baseline" in note
    monkeypatch.setattr(guard, "environment", lambda: {**old.environment, "torch": "9.9"})
    note, _ = guard._notes(guard.environment_changes(old), changed)
    assert f"torch {old.environment['torch']} -> 9.9" in note
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
    for test in change.expected if change.kinds == TESTS else ():
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


SMALL_CHECK = """
from pathlib import Path
from benchmark import guard
from benchmark.guard import baseline, matrix
for module in (guard, matrix):
    module.METHODS, module.SETS, module.SEEDS = module.METHODS[:1], module.SETS[:1], 1
guard.read = baseline.read
(row,) = guard.check(Path("results/guard"), kinds=["engine"]).rows
print(row.verdict, row.note)
"""


def test_a_changed_constant_of_the_training_loop_needs_a_new_format(committed, tmp_path):
    (change,) = [change for change in PLANTS if "momentum" in change.name]
    plant(change, tmp_path)
    done = run_python(tmp_path, "-c", SMALL_CHECK)
    assert "engine/step.py" in done.stdout, done.stderr
    if guard.environment_changes(committed):
        assert done.stdout.startswith("not compared")
    else:
        assert done.stdout.startswith("regressed")
        assert "FORMAT is still" in done.stdout


def test_the_workflow_is_valid():
    pytest.importorskip("check_jsonschema", reason="it is in the extra `test`")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    command += ["vendor.github-workflows", str(ROOT / ".github" / "workflows" / "ci.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
