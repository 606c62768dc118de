"""What a record says, and what of it reaches the tables."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmark.api import Origin
from benchmark.measures.declared import costs
from benchmark.plan import registry
from benchmark.report.board import make_boards
from benchmark.results import manifest
from benchmark.results.load import _costs, load
from benchmark.results.manifest import Entry
from benchmark.results.records import FitRecord, PartPredictions
from benchmark.running.execute import execute
from benchmark.running.prepare import prepare
from benchmark.running.request import Request

HEAD = {"preset": "quick", "dataset": "d", "backbone": "small"}
TINY = "simulated[train=64,calibration=40,test=50]"


def request(folder, **changes):
    options = {
        "methods": "cross-entropy", "datasets": registry.select_datasets(TINY), "folds": 1,
        "preset": "quick[epochs=1]", "jobs": 1, "device": "cpu", "results": folder, "cache": folder,
    }  # fmt: skip
    return Request(**options | changes)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    asked = request(folder, preset="quick[epochs=2]")
    work = prepare(asked)
    assert execute(asked, work).trained == 1
    (wanted,) = work.fits
    return asked.store.fit(wanted.key)


def test_a_fit_records_its_costs(recorded):
    costs = recorded.costs
    assert set(costs) >= {
        "train_seconds", "train_images_per_second", "warm_up_seconds", "decode_seconds",
        "train_flops_per_image", "parameters", "predict_flops_per_image",
        "predict_images_per_second", "latency_ms", "latency_95_ms",
    }  # fmt: skip
    assert "train_energy_joules" not in costs  # absent, never 0
    assert all(math.isfinite(value) for value in costs.values())
    assert costs["train_seconds"] * costs["train_images_per_second"] == pytest.approx(2 * 64)
    assert costs["warm_up_seconds"] > 0
    assert 2 < costs["train_flops_per_image"] / costs["predict_flops_per_image"] < 3
    assert costs["latency_ms"] <= costs["latency_95_ms"]


def test_a_fit_says_how_it_was_timed(recorded):
    assert recorded.fits_at_once == 1
    assert 0 < recorded.train_cpu_share < 1.1
    assert recorded.step == "eager"
    assert recorded.predict_batch == 256
    assert recorded.environment["hardware"]


def record(hardware="machine", at_once=1, **costs):
    part = PartPredictions(log_probs=np.zeros((1, 2)), labels=np.zeros(1), ids=np.array(["a"]))
    return FitRecord(
        stated={}, classes=("a", "b"), train_counts=(1, 1), calibration=part, test=part,
        costs={"train_seconds": 10.0, "predict_images_per_second": 100.0, **costs},
        environment={"hardware": hardware, "device": "cpu"}, seed=0, step="eager",
        images_on_device=False, predict_batch=256, fits_at_once=at_once,
    )  # fmt: skip


def charged(*fits, method="m", fold="1/2", calibration=None):
    entry = Entry(origin=Origin(**HEAD, fold=fold, method=method), settings="s", data="d",
                  fits=("k",) * len(fits), calibration=None)  # fmt: skip
    return _costs(entry, list(fits), calibration)


def values(rows):
    return {row["metric"]: row["value"] for row in rows}


def test_a_method_is_charged_for_every_fit():
    costs = {"parameters": 7.0, "latency_ms": 2.0, "host_memory_mib": 500.0, "decode_seconds": 4.0,
             "warm_up_seconds": 1.0}  # fmt: skip
    other = {**costs, "host_memory_mib": 600.0, "decode_seconds": 0.5}
    got = values(charged(record(**costs), record(**other, train_energy_joules=3.0)))
    assert got == {
        "fits": 2, "train_seconds": 20.0, "predict_images_per_second": 50.0, "parameters": 14.0,
        "latency_ms": 4.0, "warm_up_seconds": 2.0,
        "host_memory_mib": 600.0, "decode_seconds": 4.0,  # one after the other; once for all
        "calibrate_seconds": 0.0,
    }  # fmt: skip
    assert "train_energy_joules" not in got  # not counted for all of them


def test_every_recorded_cost_reaches_the_tables_and_is_explained_there(recorded):
    shown = set(values(charged(recorded)))
    assert shown - {"fits", "calibrate_seconds"} == set(recorded.costs)
    assert shown <= set(costs())


@pytest.mark.parametrize(
    "other",
    [record("another machine", train_seconds=30.0), record(at_once=4, train_seconds=30.0)],
    ids=["hardware", "fits at once"],
)
def test_times_taken_differently_are_never_compared(other):
    rows = [
        *charged(record(train_seconds=10.0), method="cross-entropy"),
        *charged(other, method="cross-entropy", fold="2/2"),
        *charged(record(train_seconds=20.0)),
        *charged(other, method="other"),
        *charged(record(), other, method="both"),
    ]
    ranks = pd.DataFrame([
        {**HEAD, "folds": "2 folds", "method": m, "rank": 1.0, "low": 1.0, "high": 1.0,
         "question": "methods", "against_first": "first"}
        for m in ("cross-entropy", "m", "other", "both")
    ])  # fmt: skip
    empty = pd.DataFrame()
    tables = SimpleNamespace(values=empty, ranks=ranks, pairs=empty, detectable=empty,
                             overall=empty, mean_ranks=empty, notes=())  # fmt: skip
    [board] = make_boards(tables, pd.DataFrame(rows), "cross-entropy")
    assert len(board.hardware) == 3  # the one, the other, and a method that used both
    cells = {row.method: {h: c for (name, h), c in row.costs.items() if name == "train_seconds"}
             for row in board.rows}  # fmt: skip
    assert cells["m"]["machine"].ratio == 2.0
    (where,) = cells["other"]
    assert where != "machine"
    assert math.isnan(cells["other"][where].ratio)  # the reference's other fold was timed there
    assert {h: c.value for h, c in cells["cross-entropy"].items()} == {"machine": 10.0, where: 30.0}
    (mixed,) = cells["both"]
    assert " + " in mixed
    assert math.isnan(cells["both"][mixed].ratio)


def test_times_of_a_busy_processor_are_named(tmp_path):
    asked = request(tmp_path)
    work = prepare(asked)
    execute(asked, work)
    (key,) = (wanted.key for wanted in work.fits)
    for share, said in ((0.99, False), (0.7, True)):
        asked.store.write(key, replace(asked.store.fit(key), train_cpu_share=share))
        content = load(tmp_path, manifest.read(tmp_path))
        assert any("other programs used the processor" in n for n in content.notes) == said
        assert ("disturbed" in set(content.costs["doubt"])) == said


def doubts(*fits):
    return {row["metric"]: row["doubt"] for row in charged(*fits) if row["doubt"]}


def test_costs_that_cannot_be_compared_say_why():
    costs = {"parameters": 7.0, "host_memory_mib": 500.0, "latency_ms": 2.0}
    assert doubts(record(**costs)) == {}
    busy = replace(record(**costs), train_cpu_share=0.7)
    disturbed = dict.fromkeys(
        ("train_seconds", "predict_images_per_second", "latency_ms"), "disturbed"
    )
    # An ensemble is charged for all of its members; counts and memory are the same in any case.
    assert doubts(busy) == doubts(record(**costs), busy) == disturbed
    short = record(**costs, train_seconds=0.1)
    assert doubts(short) == doubts(record(**costs), short) == {"train_seconds": "too short"}


def test_training_counts_and_parts_are_read_once_for_each_fit(tmp_path):
    asked = request(tmp_path, methods="cross-entropy,cross-entropy+temperature")
    work = prepare(asked)
    execute(asked, work)
    content = load(tmp_path, manifest.read(tmp_path))
    (record,) = (asked.store.fit(fit.key) for fit in work.fits)
    (block,) = content.parts
    assert content.train_counts == {block: {("draw-1", 0): record.train_counts}}
    ((calibration, test),) = content.parts[block]
    for part, recorded in ((calibration, record.calibration), (test, record.test)):
        np.testing.assert_array_equal(part.log_probs, recorded.log_probs)
        np.testing.assert_array_equal(part.labels, recorded.labels)
    assert len(content.predictions) == 2


def test_shared_timing_is_named():
    assert charged(record())[0]["hardware"] == "machine"
    assert charged(record(at_once=4))[0]["hardware"] == "machine, up to 4 fits at once"


def test_a_run_records_how_many_fits_may_run_at_once(tmp_path):
    asked = request(tmp_path, jobs=3)
    work = prepare(asked)
    execute(asked, work)
    assert asked.store.fit(work.fits[0].key).fits_at_once == 3
