import dataclasses
import json

import numpy as np
import pytest

from benchmark.api import BlockKey, Origin, Predictions
from benchmark.report.curves import (
    COVERAGE,
    families,
    from_plain,
    of_methods,
    replicate_scores,
    risk_coverage,
    to_plain,
)
from benchmark.statistics import build, ordered, scores


def make(confidence, correct, fold="official", seed=0, method="m"):
    """Two classes: the first is always predicted."""
    confidence = np.asarray(confidence, float)
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.stack([confidence, 1 - confidence], 1))
    return Predictions(
        origin=Origin(preset="p", dataset="d", backbone="b", method=method, fold=fold, seed=seed),
        classes=("x", "y"), ids=np.arange(len(confidence)).astype(str),
        labels=1 - np.asarray(correct, int), log_probs=log_probs,
    )  # fmt: skip


def reliability(made, alpha=0.05):
    """That of one method."""
    return of_methods(build(ordered(made))[0], alpha)["m"].reliability


def test_bins_by_hand():
    r = reliability([make([0.6, 0.6, 0.9, 1.0], [1, 0, 1, 1])])
    assert r.confidence == pytest.approx([0.6, 0.9, 1.0])
    assert r.accuracy == pytest.approx([0.5, 1.0, 1.0])
    assert r.share == pytest.approx([0.5, 0.25, 0.25])
    assert r.edges[0] == pytest.approx([8 / 15, 9 / 15])  # right-closed: 0.6 is in the ninth bin
    assert r.edges[-1] == pytest.approx([14 / 15, 1])  # 1.0 is in the last


def test_band_is_that_of_drawn_labels():
    # 100 images at 0.9: the 2.5 % and 97.5 % points of Binomial(100, 0.9) are 84 and 95.
    r = reliability([make([0.9] * 100, [1] * 90 + [0] * 10)])
    assert r.low[0] == pytest.approx(0.84, abs=0.011)
    assert r.high[0] == pytest.approx(0.95, abs=0.011)
    assert not r.outside[0]
    assert reliability([make([0.9] * 100, [1] * 82 + [0] * 18)]).outside[0]


def test_band_heeds_groups():
    """Images of a group that err together say less than as many independent ones."""
    rng = np.random.default_rng(0)
    wrong = np.repeat(rng.random(40) < 0.2, 25)
    alone = make(np.full(1000, 0.8), ~wrong)
    grouped = dataclasses.replace(alone, groups=np.repeat(np.arange(40), 25).astype(str))
    widths = [float(r.high[0] - r.low[0]) for r in map(reliability, ([alone], [grouped]))]
    assert widths[1] > 2 * widths[0]


def test_calibrated_points_fall_outside_the_band_in_at_most_five_percent():
    rng = np.random.default_rng(0)
    outside = []
    for _ in range(100):
        confidence = rng.uniform(0.5, 1, 400)
        outside.append(reliability([make(confidence, rng.random(400) < confidence)]).outside.mean())
    assert 0.015 < np.mean(outside) < 0.065


def test_seeds_on_the_same_images_do_not_narrow_the_band():
    one = reliability([make([0.9] * 100, [1] * 90 + [0] * 10)])
    three = reliability([make([0.9] * 100, [1] * 90 + [0] * 10, seed=s) for s in range(3)])
    assert three.low[0] == pytest.approx(one.low[0], abs=0.011)
    assert three.high[0] == pytest.approx(one.high[0], abs=0.011)


def test_risk_coverage_by_hand():
    risk = risk_coverage([make([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0])])
    assert np.interp([0.25, 0.5, 0.75, 1.0], COVERAGE, risk) == pytest.approx([0, 0.5, 1 / 3, 0.5])


def test_equal_confidences_enter_together():
    a = risk_coverage([make([0.9, 0.8, 0.8], [1, 0, 1])])
    b = risk_coverage([make([0.9, 0.8, 0.8], [1, 1, 0])])
    assert a == pytest.approx(b)


def test_replicate_scores_keep_common_replicates():
    made = [make([0.8] * 4, [1, 1, 1, 0], f, method="a") for f in ("1/2", "2/2")]
    made += [make([0.6] * 4, [1, 1, 0, 0], "1/2", method="b")]
    others = [make([0.7] * 4, [1] * 4, f, method="b") for f in ("2/3", "official")]
    others += [make([0.7] * 4, [1] * 4, "1/2", method="c")]
    made = [dataclasses.replace(p, ids=np.char.add(p.origin.fold, p.ids)) for p in [*made, *others]]
    frame = scores(made)
    block = BlockKey("p", "d", "b", "2 folds")

    def wide(metric):
        return replicate_scores(frame, block, ["a", "b"], metric)

    assert wide("accuracy").to_dict("list") == {"a": [0.75], "b": [0.5]}
    assert wide("ece").to_numpy()[0] == pytest.approx([0.05, 0.1])
    nll = -(3 * np.log(0.8) + np.log(0.2)) / 4
    assert wide("nll").loc[(0, "1/2"), "a"] == pytest.approx(nll)


def test_band_holds_as_many_draws_as_alpha_says():
    one = [make([0.9] * 100, [1] * 90 + [0] * 10)]
    wide, narrow = reliability(one, 0.01), reliability(one, 0.5)
    # Points of Binomial(100, 0.9): 0.5 % and 99.5 %; 25 % and 75 %.
    assert (wide.low[0], wide.high[0]) == pytest.approx((0.81, 0.97), abs=0.011)
    assert (narrow.low[0], narrow.high[0]) == pytest.approx((0.88, 0.92), abs=0.011)


def test_families_are_declared_by_parameter_and_name():
    definitions = [
        {"name": name, "parameters": {"heads": heads, "weight": 0.5, "calibrator": "none"}}
        for name, heads in (("b-3", 3), ("a-10", 10), ("a-2", 2), ("a-9", 2), ("c", 1), ("a-7", 7))
    ]
    found = families(definitions, ["b-3", "a-10", "a-2", "a-9", "c"])
    assert found == {"heads": {"a": {2: "a-2", 10: "a-10"}, "b": {3: "b-3"}}}
    assert list(found["heads"]) == ["a", "b"]
    assert list(found["heads"]["a"]) == [2, 10]
    assert families(definitions, ["b-3", "a-2", "c"]) == {}


def test_curves_come_back_from_plain_values_to_the_last_bit():
    made = [make([0.91, 0.7, 0.6], [1, 0, 1], f"{i}/2", method="m") for i in (1, 2)]
    made = [dataclasses.replace(p, ids=np.char.add(p.origin.fold, p.ids)) for p in made]
    curves = of_methods(build(ordered(made))[0], 0.05)
    again = from_plain(json.loads(json.dumps(to_plain(curves))))
    assert again["m"].risk.tobytes() == curves["m"].risk.tobytes()
    for name, values in vars(curves["m"].reliability).items():
        assert getattr(again["m"].reliability, name).tobytes() == values.tobytes()
