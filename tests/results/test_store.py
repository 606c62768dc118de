import dataclasses
import os

import numpy as np
import pytest

from benchmark.api import InputError
from benchmark.plan import presets, registry
from benchmark.plan.cells import Fit, Task
from benchmark.results.files import write_atomically
from benchmark.results.records import CalibrationRecord, FitRecord, PartPredictions
from benchmark.results.store import Store, UnreadableRecordError

FIT = Fit(
    task=Task(preset="quick", dataset="d", data="f", settings=presets.QUICK.settings, fold="1/3",
              seed=0),
    recipe=registry.select_methods("focal")[0].recipe,
)  # fmt: skip


def record(fit=FIT, **changes):
    part = PartPredictions(
        log_probs=np.log(np.full((3, 2), 0.5, np.float32)), labels=np.array([0, 1, 1]),
        ids=np.array(["a", "é", "c"]),
    )  # fmt: skip
    values = {
        "stated": fit.stated(), "classes": ("no", "yes"), "train_counts": (3, 4),
        "calibration": part, "test": dataclasses.replace(part, groups=np.array(["x", "x", "y"])),
        "costs": {"train_seconds": 1.5}, "environment": {"hardware": "machine", "device": "cpu"},
        "seed": 3, "step": "eager", "images_on_device": False, "predict_batch": 256,
        "fits_at_once": 1,
    }  # fmt: skip
    return FitRecord(**values | changes)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_a_record_comes_back_as_it_was_written(store):
    written = record()
    store.write(FIT.key, written)
    read = store.fit(FIT.key)
    assert read.costs == {"train_seconds": 1.5}
    assert (read.classes, read.train_counts) == (("no", "yes"), (3, 4))
    for part in ("calibration", "test"):
        for name in ("log_probs", "labels", "ids", "groups", "posterior"):
            one, other = (getattr(getattr(r, part), name) for r in (written, read))
            if one is None:
                assert other is None
            else:
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype


def test_a_calibration_comes_back_as_it_was_written(store):
    written = CalibrationRecord(
        log_probs=np.float32([[-0.1, -2.4], [-0.7, -0.69]]), calibrator="t", fits=("a", "b"),
        source="s", calibration_errors=4, costs={"calibrate_seconds": 0.1},
    )  # fmt: skip
    store.write("key", written)
    read = store.calibration("key")
    for name, value in vars(written).items():
        np.testing.assert_array_equal(getattr(read, name), value)
    with pytest.raises(UnreadableRecordError, match="not the record of a fit"):
        store.fit("key")


def test_every_damage_is_noticed(store):
    store.write(FIT.key, record())
    assert store.holds(FIT)
    path = store.path(FIT.key)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert not store.holds(FIT)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole))] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(damaged))
        assert not store.holds(FIT)


def test_a_record_under_a_wrong_name_is_refused(store):
    store.write(FIT.key, record())
    other = store.path("other")
    other.write_bytes(store.path(FIT.key).read_bytes())
    with pytest.raises(UnreadableRecordError):
        store.fit("other")


@pytest.mark.parametrize("change", ["settings", "recipe", "format"])
def test_a_record_made_with_other_values_is_not_used(store, change):
    stated = FIT.stated()
    if change == "settings":
        stated["settings"] = stated["settings"] | {"momentum": 0.5}
    elif change == "recipe":
        stated["recipe"] = stated["recipe"] | {"heads": 2}
    else:
        stated["format"] -= 1
    store.write(FIT.key, record(stated=stated))
    assert not store.holds(FIT)


def test_a_record_older_than_a_setting_agrees_at_the_setting_s_default(store):
    stated = FIT.stated()
    stated["recipe"] = {k: v for k, v in stated["recipe"].items() if k != "dropout_at"}
    store.write(FIT.key, record(stated=stated))
    assert store.holds(FIT)


def test_a_cost_that_nobody_declares_is_an_error():
    with pytest.raises(InputError, match="costs that nobody declares: made_up_seconds"):
        record(costs={"made_up_seconds": 1.0})


def test_a_pickle_is_refused(store):
    part = record().test
    objects = dataclasses.replace(part, ids=np.array([{}, {}, {}], dtype=object))
    store.write(FIT.key, record(test=objects))
    with pytest.raises(UnreadableRecordError, match="allow_pickle=False"):
        store.fit(FIT.key)


def test_a_failure_is_remembered_until_the_record_is_written(store):
    assert store.failure(FIT.key) is None
    store.fail(FIT.key, "the loss is nan")
    assert store.failure(FIT.key) == "the loss is nan"
    assert not store.holds(FIT)
    store.write(FIT.key, record())
    assert store.failure(FIT.key) is None


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
