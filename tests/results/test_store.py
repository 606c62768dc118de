import os

import numpy as np
import pytest

from benchmark.results.store import Record, Store, UnreadableRecordError, write_atomically

RECORD = Record(
    {"test_log_probs": np.log(np.full((3, 2), 0.5, np.float32)), "test_ids": np.array(["a", "é"])},
    {"costs": {"train_seconds": 1.5}},
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_a_record_comes_back_as_it_was_written(store):
    store.write("key", RECORD)
    read = store.read("key")
    assert read.info["costs"] == {"train_seconds": 1.5}
    for name, array in RECORD.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array)
        assert read.arrays[name].dtype == array.dtype


def test_every_damage_is_noticed(store):
    store.write("key", RECORD)
    whole = store.path("key").read_bytes()
    generator = np.random.default_rng(0)
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        store.path("key").write_bytes(whole[:cut])
        assert not store.holds("key")
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole))] ^= 1 << int(generator.integers(8))
        store.path("key").write_bytes(bytes(damaged))
        assert not store.holds("key")


def test_a_record_under_a_wrong_name_is_refused(store):
    store.write("key", RECORD)
    other = store.path("other")
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(store.path("key").read_bytes())
    with pytest.raises(UnreadableRecordError):
        store.read("other")


def test_a_pickle_is_refused(store):
    objects = Record({"test_ids": np.array([{}], dtype=object)}, {})
    store.write("key", objects)
    with pytest.raises(UnreadableRecordError, match="allow_pickle=False"):
        store.read("key")


def test_a_failure_is_remembered_until_the_record_is_written(store):
    assert store.failure("key") is None
    store.fail("key", "the loss is nan")
    assert store.failure("key") == "the loss is nan"
    assert not store.holds("key")
    store.write("key", RECORD)
    assert store.failure("key") is None


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
