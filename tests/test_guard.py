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
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from guard_plants import PLANTS, plant
from scipy.special import log_softmax

from benchmark import cli, guard, registry
from benchmark.api import InputError
from benchmark.guard import baseline, invariants, matrix, scores, throughput
from benchmark.guard.matrix import METHODS, SETS, Predicted
from benchmark.guard.verdicts import Report, Row
from benchmark.metrics import METRICS, Sample

ROOT = Path(__file__).resolve().parents[1]
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

    def pair(self, new=None, seeds=10, number=2, **how):
        old = [self.network() for _ in range(seeds)]
        values = {m: [scores.value(m, p, self.labels) for p in old] for m in scores.MARGINS}
        new = [self.network(**how) for _ in range(number)] if new is None else new(old[:number])
        return scores.Pair("hard", "focal", self.labels, old[:number], new, values)


def verdicts(*pairs):
    return {row.what.split()[0]: row.verdict for row in scores.compare(pairs)}


@pytest.mark.parametrize("metric", list(scores.MARGINS))
def test_the_permuted_loss_is_the_metric(metric):
    world = World()
    sample = Sample(world.network().astype(float), world.labels)
    loss = scores._loss(scores._contributions(metric, sample.log_probs, world.labels).sum(0))
    value = METRICS[metric].value(sample)
    expected = 1 - value if metric == "accuracy" else value
    assert loss / len(world.labels) == pytest.approx(expected, abs=1e-12)


def test_bit_equal_predictions_are_identical():
    assert set(verdicts(World().pair(new=lambda old: old)).values()) == {"identical"}


def test_an_overconfident_method_is_a_regression_and_the_way_back_an_improvement():
    world = World()
    found = verdicts(world.pair(sharpness=2.5))
    assert found["ece"] == found["nll"] == "regressed"
    assert found["accuracy"] == "unchanged"
    old = [world.network(sharpness=2.5) for _ in range(10)]
    values = {m: [scores.value(m, p, world.labels) for p in old] for m in scores.MARGINS}
    new = [world.network() for _ in range(2)]
    better = scores.Pair("hard", "focal", world.labels, old[:2], new, values)
    assert verdicts(better) == {"ece": "improved", "nll": "improved", "accuracy": "unchanged"}


def test_a_loss_of_accuracy_is_a_regression():
    assert verdicts(World().pair(noise=4.0))["accuracy"] == "regressed"


def with_seeds(pair, distance):
    """The pair with ten seeds whose mean lies so many of their t-units below the new losses."""
    pattern = np.linspace(-1, 1, 10) / np.linspace(-1, 1, 10).std(ddof=1)
    seeds = {}
    for metric in scores.MARGINS:
        old, new = (
            np.mean([scores.value(metric, p, pair.labels) for p in side])
            for side in (pair.old, pair.new)
        )
        spread = (new - old) / distance / np.sqrt(1 / len(pair.new) + 1 / 10)
        seeds[metric] = list(old + spread * pattern)
    return dataclasses.replace(pair, seeds=seeds)


def wrong_on(world, number):
    """A pair in which so many right predictions have become wrong, and seeds hardly differ."""

    def change(old):
        new = [p.copy() for p in old]
        for p in new:
            chosen = np.flatnonzero(p.argmax(1) == world.labels)[:number]
            p[chosen] = np.roll(p[chosen], 1, axis=1)
        return new

    return with_seeds(world.pair(new=change, number=1), 50)


def test_a_clear_but_small_difference_is_none():
    world = World(n=6000)
    small = wrong_on(world, 50)
    assert scores.p_values(small, "accuracy")[0] < 1e-3
    assert verdicts(small)["accuracy"] == "unchanged"
    assert verdicts(wrong_on(world, 80))["accuracy"] == "regressed"


def test_a_difference_that_few_images_make_is_none():
    world = World(n=600)
    assert verdicts(wrong_on(world, 7))["accuracy"] == "unchanged"  # more than the margin
    assert verdicts(wrong_on(world, 30))["accuracy"] == "regressed"


def test_an_infinite_or_undefined_loss_is_a_regression():
    def broken(value):
        def change(old):
            new = [p.copy() for p in old]
            new[0][0] = value
            return new

        return change

    assert verdicts(World().pair(new=broken(-np.inf)))["nll"] == "regressed"
    assert verdicts(World().pair(new=broken(np.nan)))["nll"] == "regressed"


@pytest.mark.parametrize(
    ("distance", "verdict"), [(1, "unchanged"), (3.2, "unchanged"), (9, "regressed")]
)
def test_a_shift_within_the_spread_of_seeds_is_no_regression(distance, verdict):
    pair = World().pair(new=lambda old: [log_softmax(1.5 * p, 1) for p in old])
    assert scores._on_images(pair, "nll")[0] < 1e-3  # on these images it is clear
    assert verdicts(with_seeds(pair, distance))["nll"] == verdict


def test_retrained_networks_raise_no_alarm():
    alarms = 0
    for seed in range(25):
        world = World(seed)
        alarms += "regressed" in verdicts(*(world.pair() for _ in range(4))).values()
    assert alarms == 0


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


# --- invariants ------------------------------------------------------------------------------


def test_pooling_logits_breaks_the_invariant(monkeypatch):
    from benchmark import predict

    assert [row.verdict for row in invariants._views()] == ["holds", "holds"]
    monkeypatch.setattr(predict, "pool", lambda logits: logits.mean(1).log_softmax(-1))
    assert [row.verdict for row in invariants._views()] == ["broken", "broken"]


def test_an_image_in_two_parts_breaks_the_invariant():
    def trained(test):
        parts = SimpleNamespace(
            train=np.arange(5), calibration=np.arange(5, 8), test=np.array(test)
        )
        return SimpleNamespace(work=SimpleNamespace(sources={"task": SimpleNamespace(parts=parts)}))

    assert invariants._disjoint("easy", trained([8, 9])).verdict == "holds"
    assert invariants._disjoint("easy", trained([4, 9])).verdict == "broken"


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
    for value, verdict in ((probs / probs.sum(1, keepdims=True), "holds"), (probs, "broken")):
        predicted = Predicted(np.array(["a", "b"]), np.zeros(2, int), {("x", 0): np.log(value)}, {})
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


def predicted(old):
    return {s.name: old.predicted[s.name] for s in SETS}


def test_the_committed_baseline_is_of_this_matrix_small_and_says_why(committed):
    assert committed.matrix == matrix.describe()
    assert committed.reason
    assert sum(file.stat().st_size for file in COMMITTED.iterdir()) < 2**20
    assert {row.verdict for row in guard.measured_rows(committed)} == {"holds"}
    found = guard.score_rows(committed, predicted(committed))
    assert len(found) == len(METHODS) * len(SETS) * len(scores.MARGINS) == 48
    assert {row.verdict for row in found} == {"identical"}


def test_reading_gives_what_was_written(committed, tmp_path):
    baseline.write(tmp_path, committed)
    again = baseline.read(tmp_path)
    for name in ("reason", "environment", "matrix", "scores", "ratios"):
        assert getattr(again, name) == getattr(committed, name)
    for name, kept in committed.predicted.items():
        assert np.array_equal(again.predicted[name].ids, kept.ids)
        for key, log_probs in kept.log_probs.items():
            assert np.array_equal(again.predicted[name].log_probs[key], log_probs)


def test_a_missing_method_seed_or_image_is_not_compared(committed):
    new = predicted(committed)
    easy = new["easy"]
    without = {k: v for k, v in easy.log_probs.items() if k[0] != "focal"}
    lacking = new | {"easy": dataclasses.replace(easy, log_probs=without)}
    found = guard.score_rows(committed, lacking)
    missing = [row.what for row in found if row.verdict == "not compared"]
    assert missing == [f"{metric} of focal on easy" for metric in scores.MARGINS]
    assert Report([*found, *rows()]).exit_code == 2
    other = new | {"hard": dataclasses.replace(new["hard"], labels=1 - new["hard"].labels)}
    found = guard.score_rows(committed, other)
    assert sum(row.verdict == "not compared" for row in found) == 24


def test_a_metric_that_the_baseline_lacks_is_not_compared(committed):
    scores_without = json.loads(json.dumps(committed.scores))
    del scores_without["hard"]["mixup"]["ece"]
    poorer = dataclasses.replace(committed, scores=scores_without)
    found = guard.score_rows(poorer, predicted(committed))
    assert [r.what for r in found if r.verdict == "not compared" and "ece" in r.note] == [
        f"{metric} of mixup on hard" for metric in scores.MARGINS
    ]


def test_a_metric_that_is_gone_is_not_compared(committed, monkeypatch):
    others = {name: metric for name, metric in METRICS.items() if name != "ece"}
    monkeypatch.setattr(guard, "METRICS", others)
    found = guard.score_rows(committed, predicted(committed))
    assert {row.verdict for row in found} == {"not compared"}
    assert "no metric 'ece' any more" in found[0].note
    assert len(list(guard.measured_rows(committed))) == 2


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


def test_a_changed_measure_breaks_the_invariant(committed, monkeypatch):
    monkeypatch.setattr(scores, "value", lambda metric, p, labels: 0.5)
    assert {row.verdict for row in guard.measured_rows(committed)} == {"broken"}


def test_other_versions_are_said_to_be_so(committed):
    found = guard.score_rows(committed, predicted(committed))
    same = committed.environment
    (note,) = guard._notes(same, same, found)
    assert "same versions" in note
    assert "bit-equal" in note
    (note,) = guard._notes(same, {**same, "torch": "9.9"}, found)
    assert f"torch {same['torch']} -> 9.9" in note
    changed = [dataclasses.replace(found[0], verdict="unchanged"), *found[1:]]
    (note,) = guard._notes(same, same, changed)
    assert "47 of 48" in note
    assert "Something in this tree changed" in note


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
    baseline.write(tmp_path, dataclasses.replace(committed, matrix={"methods": []}))
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
