"""The image cache: decoded once, right, checked, safe."""

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmark.api import Images, InputError
from benchmark.data import images


def write(folder, n=5, mode="RGB", size=(20, 12), suffix=".png"):
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    paths = []
    for i in range(n):
        pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        paths.append(folder / f"{i}{suffix}")
        Image.fromarray(pixels).convert(mode).save(paths[-1])
    return tuple(paths)


def samples_of(source, **changes):
    n = len(source)
    columns = {
        "inputs": source,
        "labels": np.arange(n) % 2,
        "classes": ("no", "yes"),
        "ids": np.array([f"i{k}" for k in range(n)]),
    }
    return Images(**(columns | changes))


def array(n=6, size=8, channels=1):
    return np.random.default_rng(1).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def read(samples, size, cache, **options):
    return images.load(samples, images.fingerprint(samples, cache), size, cache, **options)


@pytest.mark.parametrize("in_memory", [True, False])
def test_arrays_at_their_own_size_keep_every_pixel(tmp_path, monkeypatch, in_memory):
    if not in_memory:
        monkeypatch.setattr(images, "IN_MEMORY_BYTES", 10)
    source = array(channels=3)
    for size in (None, 8):
        pixels = read(samples_of(source), size, tmp_path)
        assert pixels.shape == (6, 3, 8, 8)
        assert pixels.flags.c_contiguous
        assert isinstance(pixels, np.memmap) != in_memory
        np.testing.assert_array_equal(pixels.transpose(0, 2, 3, 1), source)
        with pytest.raises(ValueError, match="read-only"):
            pixels[0] = 0


def test_files_are_resized_as_torchvision_resizes_them(tmp_path):
    transforms = pytest.importorskip("torchvision.transforms.v2")
    paths = write(tmp_path / "in")
    pixels = read(samples_of(paths), 7, tmp_path / "cache")
    assert isinstance(pixels, np.memmap)
    assert pixels.shape == (5, 3, 7, 7)
    assert not pixels.flags.writeable
    for row, path in zip(pixels, paths):
        expected = transforms.Resize((7, 7))(Image.open(path))
        np.testing.assert_array_equal(row.transpose(1, 2, 0), np.asarray(expected))


def test_arrays_are_resized_and_grey_stays_one_channel(tmp_path):
    source = array()
    pixels = read(samples_of(source), 4, tmp_path)
    expected = Image.fromarray(source[2, :, :, 0]).resize((4, 4), Image.Resampling.BILINEAR)
    assert pixels.shape == (6, 1, 4, 4)
    np.testing.assert_array_equal(pixels[2, 0], np.asarray(expected))


def test_files_are_grey_only_if_all_are(tmp_path):
    grey, colour = write(tmp_path / "g", mode="L"), write(tmp_path / "c", mode="RGB")
    alpha = write(tmp_path / "a", mode="RGBA")
    assert read(samples_of(grey), 6, tmp_path / "cache").shape[1] == 1
    assert read(samples_of(grey[:2] + colour[:1] + alpha[:1]), 6, tmp_path / "cache").shape[1] == 3


def test_native_size_wants_one_size(tmp_path):
    one, two = write(tmp_path / "a"), write(tmp_path / "b", size=(9, 9))
    assert read(samples_of(one), None, tmp_path / "cache").shape == (5, 3, 12, 20)
    with pytest.raises(InputError, match=r"differ in size.*choose a size"):
        read(samples_of(one[:1] + two[:1]), None, tmp_path / "cache")


def test_the_second_load_decodes_nothing(tmp_path):
    samples = samples_of(write(tmp_path / "in"))
    done = []
    first = read(samples, 6, tmp_path / "cache", progress=lambda *of: done.append(of))
    assert done == [(5, 5)]
    key = images.fingerprint(samples, tmp_path / "cache")
    for path in samples.inputs:
        path.unlink()
    again = images.load(samples, key, 6, tmp_path / "cache", progress=lambda *of: done.append(of))
    np.testing.assert_array_equal(first, again)
    assert len(done) == 1


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign"])
def test_a_damaged_cache_file_is_made_again(tmp_path, damage):
    samples = samples_of(write(tmp_path / "in"))
    good = np.array(read(samples, 6, tmp_path / "cache"))
    (path,) = (tmp_path / "cache").glob("*.npy")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-60] ^= 1
    path.write_bytes(
        {"flip": content, "truncate": content[:-9], "empty": b"", "foreign": b"x" * 99}[damage]
    )
    np.testing.assert_array_equal(read(samples, 6, tmp_path / "cache"), good)


def _load_in_process(samples, cache):
    return int(images.load(samples, "f" * 64, 16, cache).sum())


def test_two_processes_may_build_at_once(tmp_path):
    samples = samples_of(write(tmp_path / "in", n=40, size=(60, 60)))
    expected = int(images.load(samples, "f" * 64, 16, tmp_path / "alone").sum())
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        jobs = [(samples, tmp_path / "cache")] * 2
        assert pool.starmap(_load_in_process, jobs) == [expected] * 2
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_who_waited_for_a_file_need_not_wait_until_its_builder_is_through(tmp_path):
    samples = samples_of(write(tmp_path / "in"))
    waiting = []

    def load_in_parallel(*_):
        waiting.append(pool.submit(images.load, samples, "f" * 64, 6, tmp_path / "cache"))
        time.sleep(0.2)  # so that it waits

    with ThreadPoolExecutor(1) as pool:
        mine = images.load(samples, "f" * 64, 6, tmp_path / "cache", load_in_parallel)
        try:
            assert waiting[0].result(timeout=5).shape == mine.shape
        finally:
            del mine


def test_a_missing_or_corrupt_image_is_named_and_leaves_no_debris(tmp_path):
    paths = write(tmp_path / "in", suffix=".jpg", size=(90, 90))
    paths[3].write_bytes(paths[3].read_bytes()[:2000])
    with pytest.raises(InputError, match=r"3\.jpg cannot be read"):
        read(samples_of(paths), 6, tmp_path / "cache")
    paths[3].write_text("not an image")
    with pytest.raises(InputError, match=r"3\.jpg cannot be read"):
        read(samples_of(paths), 6, tmp_path / "cache")
    paths[3].unlink()
    with pytest.raises(InputError, match=r"3\.jpg is missing"):
        read(samples_of(paths), 6, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_sixteen_bit_images_are_refused_not_clipped(tmp_path):
    Image.fromarray(np.full((5, 5), 3000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep\.png has more than 8 bits"):
        read(samples_of((tmp_path / "deep.png",)), 4, tmp_path / "cache")


def test_no_space_is_one_clear_message(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"No space left on device.*free some space"):
        images.load(samples_of(array()), "f" * 64, 4, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_oldest_files_leave_when_the_limit_is_reached(tmp_path):
    samples = samples_of(array(n=50))
    for age, size in enumerate((4, 5, 6)):
        images.load(samples, "f" * 64, size, tmp_path)
        (path,) = tmp_path.glob(f"*-{size}.npy")
        os.utime(path, (1000 + age, 1000 + age))
    images.load(samples, "f" * 64, 4, tmp_path)  # used again: now the youngest
    images.load(samples, "f" * 64, 7, tmp_path, limit_bytes=5000)
    assert sorted(p.name[-5] for p in tmp_path.glob("*.npy")) == ["4", "7"]


def test_clear_empties_the_cache(tmp_path):
    samples = samples_of(write(tmp_path / "in"))
    read(samples, 6, tmp_path / "cache")
    size = sum(p.stat().st_size for p in (tmp_path / "cache").iterdir())
    assert images.clear(tmp_path / "cache") == size > 0
    assert not list((tmp_path / "cache").iterdir())
    assert images.clear(tmp_path / "nowhere") == 0


# --- two runs, one cache ------------------------------------------------------------------------

OTHER_RUN = """
import sys
from pathlib import Path

import joblib
import numpy as np

from benchmark.data import images
from benchmark.api import Images

def say_and_wait(*_):
    print("ready", flush=True)
    sys.stdin.readline()

if __name__ == "__main__":
    cache, when = Path(sys.argv[1]), sys.argv[2]
    source = np.full((50, 8, 8, 1), 7, np.uint8)
    samples = Images(inputs=source, labels=np.arange(50) % 2, classes=("no", "yes"),
                      ids=np.arange(50).astype(str))
    wait = say_and_wait if when == "decoding" else None
    pixels = images.load(samples, "a" * 64, 6, cache, progress=wait)
    if when == "training":
        say_and_wait()
    work = (joblib.delayed(np.sum)(pixels) for _ in range(2))
    print([int(total) for total in joblib.Parallel(n_jobs=2, max_nbytes=None)(work)])
"""


@contextmanager
def another_run(cache, when):
    """A process that stands still while it is decoding, or before its workers open the cache."""
    command = [sys.executable, "-c", OTHER_RUN, str(cache), when]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_what_another_run_works_on_stays_until_that_ends(tmp_path):
    samples = samples_of(array(n=50))
    with another_run(tmp_path, "training") as other:
        images.load(samples, "f" * 64, 7, tmp_path, limit_bytes=0)
        images.clear(tmp_path)
        assert [path.name[0] for path in tmp_path.glob("*.npy")] == ["a"]
        assert other.communicate("\n")[0] == f"{[50 * 6 * 6 * 7] * 2}\n"
    images.load(samples, "f" * 64, 7, tmp_path, limit_bytes=0)
    assert not list(tmp_path.glob("a*.npy"))


def test_a_killed_run_leaves_nothing_that_stays(tmp_path):
    for when in ("training", "decoding"):
        with another_run(tmp_path, when) as other:
            other.kill()
        assert list(tmp_path.glob({"training": "a*.npy", "decoding": "*.tmp"}[when]))
        images.load(samples_of(array(n=50)), "f" * 64, 7, tmp_path, limit_bytes=0)
        assert [path.name[0] for path in tmp_path.iterdir()] == ["f"]
        images.clear(tmp_path)


def test_the_cache_may_be_cleared_while_it_is_filled(tmp_path):
    samples = samples_of(write(tmp_path / "in"))
    cache = tmp_path / "cache"
    pixels = read(samples, 6, cache, progress=lambda *_: images.clear(cache))
    assert images.clear(cache) == 0  # the array is still in use
    assert pixels.shape == (5, 3, 6, 6)


def test_another_process_may_be_first_to_delete_a_file(tmp_path, monkeypatch):
    listed = type(tmp_path).glob

    def with_one_that_is_gone(folder, pattern):
        return [*listed(folder, pattern), folder / pattern.replace("*", "gone")]

    monkeypatch.setattr(type(tmp_path), "glob", with_one_that_is_gone)
    images.load(samples_of(array(n=50)), "f" * 64, 7, tmp_path, limit_bytes=0)
    assert images.clear(tmp_path) > 0
    assert not list(tmp_path.iterdir())


def test_runs_that_fill_and_clear_one_cache_at_once_do_not_disturb_each_other(tmp_path):
    samples = samples_of(array(n=50))

    def fill(number):
        for round_ in range(30):
            size = 4 + (number + round_) % 4
            pixels = images.load(samples, "f" * 64, size, tmp_path, limit_bytes=3000)
            again = np.memmap(pixels.filename, np.uint8, "r", pixels.offset, pixels.shape)
            assert pixels.any()
            np.testing.assert_array_equal(again, pixels)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(4)))
    images.clear(tmp_path)
    assert not list(tmp_path.iterdir())


# --- the fingerprint ----------------------------------------------------------------------------


def test_fingerprint_sees_every_column_and_every_pixel():
    base = samples_of(array())
    other_pixels = array()
    other_pixels[5, 7, 7, 0] ^= 1
    changed = [
        replace(base, labels=1 - base.labels),
        replace(base, classes=("no", "maybe")),
        replace(base, ids=base.ids[::-1].copy()),
        replace(base, groups=base.ids),
        replace(base, split=np.array(["train"] * 5 + ["test"])),
        replace(base, inputs=other_pixels),
        replace(base, inputs=array().reshape(6, 4, 16, 1)),
    ]
    prints = [images.fingerprint(s) for s in (base, *changed)]
    assert len(set(prints)) == len(prints)
    assert images.fingerprint(samples_of(array())) == prints[0]


def test_fingerprint_of_files_follows_content_not_place(tmp_path):
    here, there = write(tmp_path / "here"), write(tmp_path / "there")
    cache = tmp_path / "cache"
    first = images.fingerprint(samples_of(here), cache)
    assert images.fingerprint(samples_of(there), cache) == first
    assert images.fingerprint(samples_of(here)) == first
    Image.new("RGB", (20, 12)).save(here[2])
    os.utime(here[2], (1, 1))
    assert images.fingerprint(samples_of(here), cache) != first


def test_files_that_did_not_change_are_not_read_again(tmp_path, monkeypatch):
    paths = write(tmp_path / "in")
    first = images.fingerprint(samples_of(paths), tmp_path)
    monkeypatch.setattr(type(paths[0]), "read_bytes", None)
    assert images.fingerprint(samples_of(paths), tmp_path) == first


def test_a_damaged_memory_of_hashes_is_ignored(tmp_path):
    paths = write(tmp_path / "in")
    first = images.fingerprint(samples_of(paths), tmp_path)
    (memo,) = tmp_path.glob("hashes-*.json")
    memo.write_text("{")
    assert images.fingerprint(samples_of(paths), tmp_path) == first
