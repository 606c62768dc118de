import dataclasses
import errno
import os
import pickle
import subprocess
import sys
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.api import InputError
from benchmark.data.material import WorkItem
from benchmark.engine.fit import make
from benchmark.plan import registry
from benchmark.results import files, manifest
from benchmark.results.load import load
from benchmark.running import execute as executing
from benchmark.running.forecast import duration
from benchmark.running.prepare import prepare
from benchmark.running.request import Request

SMALL = "simulated[train=128,calibration=60,test=80]"
FAST = "quick[epochs=2]"


def request(folder, methods="cross-entropy,deep-ensemble[members=2]+temperature", **changes):
    options = {
        "datasets": registry.select_datasets(SMALL),
        "preset": FAST,
        "folds": 2,
        "jobs": 1,
        "device": "cpu",
        "results": folder,
        "cache": folder / "cache",
    }
    return Request(methods=methods, **options | changes)


def execute(asked):
    return executing.execute(asked, prepare(asked))


def records(asked):
    """Predictions by key, as bytes."""
    work, store = prepare(asked), asked.store
    found = {fit.key: store.fit(fit.key).test.log_probs for fit in work.fits}
    keys = [c.calibration for c in work.cells if c.calibration]
    found |= {key: store.calibration(key).log_probs for key in keys}
    return {key: log_probs.tobytes() for key, log_probs in found.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    asked = request(tmp_path_factory.mktemp("results"))
    return asked, execute(asked)


def test_a_second_run_trains_nothing(finished):
    asked, first = finished
    assert (first.trained, first.stored, first.failed) == (4, 0, {})
    second = execute(asked)
    assert (second.trained, second.stored) == (0, 4)


def test_a_changed_setting_trains_only_what_changed(finished):
    asked, _ = finished
    more = dataclasses.replace(asked, methods="cross-entropy,focal")
    outcome = execute(more)
    assert (outcome.trained, outcome.stored) == (2, 2)
    other = dataclasses.replace(more, preset="quick[epochs=1]")
    assert len(prepare(other).missing) == 4


def test_several_jobs_give_the_same_bytes(finished, tmp_path):
    asked, _ = finished
    several = request(tmp_path, jobs=2)
    assert execute(several).trained == 4
    assert records(several) == records(asked)


def test_force_trains_again_to_the_same_bytes(finished, tmp_path):
    asked, _ = finished
    before = records(asked)
    forced = dataclasses.replace(asked, force=True)
    assert execute(forced).trained == 4
    assert records(asked) == before


def test_an_unreadable_record_is_made_again(finished):
    asked, _ = finished
    before = records(asked)
    path = asked.store.path(prepare(asked).fits[0].key)
    path.write_bytes(path.read_bytes()[:-100])
    outcome = execute(asked)
    assert (outcome.trained, outcome.stored) == (1, 3)
    assert records(asked) == before


def test_a_diverging_fit_is_marked_and_the_others_go_on(tmp_path):
    methods = "cross-entropy,dca[weight=1e38],dca"
    asked = request(tmp_path, methods=methods, folds=1)
    outcome = execute(asked)
    assert outcome.trained == 2
    ((fit, reason),) = outcome.failed.items()
    assert fit.startswith("dca[weight=1e")
    assert "diverged" in reason
    again = execute(asked)  # it is tried again, the others are not
    assert (again.trained, again.stored, len(again.failed)) == (0, 2, 1)


def test_a_full_disk_is_one_message_and_finished_fits_stay(tmp_path, monkeypatch):
    asked = request(tmp_path)
    write, count = files.write_atomically, []

    def full(path, data):
        count.append(path)
        if len(count) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(files, "write_atomically", full)
    with pytest.raises(InputError, match="no space left"):
        execute(asked)
    monkeypatch.undo()
    outcome = execute(asked)
    assert outcome.stored >= 2
    assert outcome.stored + outcome.trained == 4


def test_permuting_the_test_labels_changes_no_prediction(finished, tmp_path, monkeypatch):
    asked, _ = finished
    kind = type(asked.datasets[0])
    draw = kind.draw

    def permuted(self, number):
        samples = draw(self, number)
        test = np.flatnonzero(samples.split == "test")
        labels = samples.labels.copy()
        labels[test] = np.random.default_rng(number).permutation(labels[test])
        return dataclasses.replace(samples, labels=labels)

    before = records(asked)
    monkeypatch.setattr(kind, "draw", permuted)
    other = request(tmp_path)
    execute(other)
    after = records(other)
    assert set(before).isdisjoint(after)  # other data, so other addresses
    assert sorted(before.values()) == sorted(after.values())


def test_a_record_holds_all_that_the_tables_need(finished):
    asked, _ = finished
    fit = prepare(asked).fits[0]
    record = asked.store.fit(fit.key)
    for part, n in ((record.calibration, 60), (record.test, 80)):
        assert part.log_probs.shape == (n, 4)
        assert part.log_probs.dtype == np.float32
        np.testing.assert_allclose(np.exp(part.log_probs).sum(1), 1, atol=1e-6)
        assert part.labels.shape == (n,)
        assert len(set(part.ids)) == n
        np.testing.assert_allclose(part.posterior.sum(1), 1, atol=1e-5)
    assert record.costs["train_seconds"] > 0
    assert record.stated["settings"]["epochs"] == 2
    assert "torch" in record.environment
    assert "train_energy_joules" not in record.costs


def test_an_ensemble_is_the_mean_of_its_members_and_then_calibrated(finished):
    asked, _ = finished
    work = prepare(asked)
    cell = next(c for c in work.cells if c.method.members == 2)
    members = [asked.store.fit(fit.key) for fit in cell.fits]
    mean = sum(np.exp(m.test.log_probs.astype(float)) for m in members) / 2
    calibration = sum(np.exp(m.calibration.log_probs.astype(float)) for m in members) / 2
    apply = cell.calibrator.fit(np.log(calibration), members[0].calibration.labels)
    stored = asked.store.calibration(cell.calibration).log_probs
    np.testing.assert_allclose(stored, apply(np.log(mean)), atol=1e-4)


def test_what_travels_to_a_worker_is_small(tmp_path, monkeypatch):
    """Images, labels and ids lie in files: a data set ten times as large sends as many bytes."""
    sizes = []
    for train in (100, 1000):
        sent = []

        def keep(_, items, __, sent=sent):
            sent += [pickle.dumps(item) for item in items]
            return iter(())

        monkeypatch.setattr(executing, "in_processes", keep)
        data = registry.select_datasets(f"simulated[train={train},calibration=60,test=80]")
        execute(request(tmp_path / str(train), datasets=data))
        sizes.append(max(map(len, sent)))
        assert len(sent) == 4
    assert max(sizes) < 10_000
    assert abs(sizes[1] - sizes[0]) < 200


def test_a_fit_is_a_pure_function(finished, tmp_path):
    """The same item gives the same record in this process, and nothing is written by it."""
    asked, _ = finished
    before = records(asked)
    other = dataclasses.replace(asked, results=tmp_path)
    work = prepare(other)
    with executing._laid_out(other, work, None) as places:
        fit = work.missing[0]
        item = WorkItem(fit=fit, place=places[fit.task].place, weights_file=None, device="cpu",
                        fits_at_once=1)  # fmt: skip
        record = make(item)
    assert record.test.log_probs.tobytes() == before[fit.key]
    assert not any(tmp_path.rglob("*.npz"))


def test_a_killed_run_s_material_is_swept_away(tmp_path):
    asked = request(tmp_path)
    left = asked.cache / "run-killed"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    execute(asked)
    assert not left.exists()
    assert not list(asked.cache.glob("run-*"))


def test_unknown_backbones_and_missing_weights_stop_before_training(tmp_path):
    for changes, message in (
        ({"backbones": ["resnet51"]}, "did you mean"),
        ({"weights": "absent.pt"}, "no such file"),
        ({"preset": "fast"}, "unknown preset"),
    ):
        with pytest.raises(InputError, match=message):
            prepare(request(tmp_path, **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_method_pays_for_every_network_it_uses(finished):
    asked, _ = finished
    content = load(asked.results, manifest.read(asked.results))
    costs = content.costs.pivot_table(index=["method", "fold"], columns="metric", values="value")
    single = costs.loc["cross-entropy"]
    several = costs.loc["deep-ensemble[members=2]+temperature"]
    assert (single["fits"] == 1).all()
    assert (several["fits"] == 2).all()
    assert (several["parameters"] == 2 * single["parameters"]).all()
    assert (several["train_seconds"] > single["train_seconds"]).all()
    assert (several["predict_images_per_second"] < single["predict_images_per_second"]).all()
    assert (several["calibrate_seconds"] > 0).all()


def test_a_calibration_follows_its_fits(finished):
    """As when a fit is made anew on other hardware: the same address, other last digits."""
    asked, _ = finished
    cell = next(c for c in prepare(asked).cells if c.calibration)
    key = cell.fits[0].key
    record, before = asked.store.fit(key), asked.store.calibration(cell.calibration)
    test = dataclasses.replace(record.test, log_probs=record.test.log_probs[::-1])
    asked.store.write(key, dataclasses.replace(record, test=test))
    execute(asked)
    changed = asked.store.calibration(cell.calibration).log_probs
    assert changed.tobytes() != before.log_probs.tobytes()
    asked.store.write(key, record)
    execute(asked)
    assert records(asked)[cell.calibration] == before.log_probs.tobytes()


RUN = """
import sys
from pathlib import Path
from benchmark.plan import registry
from benchmark.running.execute import execute
from benchmark.running.prepare import prepare
from benchmark.running.request import Request

folder, method = Path(sys.argv[1]), sys.argv[2]
asked = Request(
    methods=method, datasets=registry.select_datasets("simulated[train=64,calibration=40,test=50]"),
    preset="quick[epochs=1]", folds=2, jobs=1, device="cpu", results=folder, cache=folder / "cache",
)
work = prepare(asked)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(5):
    execute(asked, work)
"""


def test_runs_at_the_same_time_lose_no_cell(tmp_path):
    """Three processes that wait for each other, and then write one manifest again and again."""
    methods = ("cross-entropy", "focal", "mixup")
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen([*command, m], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for m in methods
        ]
        assert [process.stdout.readline() for process in processes] == [b"ready\n"] * 3
        for process in processes:
            process.stdin.write(b"go\n")
            process.stdin.flush()
        assert [process.wait() for process in processes] == [0, 0, 0]
    entries = manifest.read(tmp_path).entries
    assert sorted(entry.origin.method for entry in entries) == sorted(methods * 2)
    content = load(tmp_path, manifest.read(tmp_path))
    assert (len(content.predictions), content.missing) == (6, [])


@given(st.floats(0, 1e9))
def test_durations_are_said_as_people_say_them(seconds):
    text = duration(seconds)
    units = {"s": 1, "min": 60, "h": 3600, "days": 86400}
    words = text.split()
    numbers = [float(number) for number in words[::2]]
    value = sum(number * units[unit] for number, unit in zip(numbers, words[1::2], strict=True))
    rounding = {"s": 0.5, "min": 30, "days": 0.05 * 86400}[words[-1]]
    assert abs(value - seconds) <= rounding * 1.001
    assert all(n < 120 for n, unit in zip(numbers, words[1::2]) if unit != "days")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45, "45 s"), (89.6, "90 s"), (119.6, "2 min"), (720, "12 min"), (12_000, "3 h 20 min"),
     (86_390, "1.0 days"), (207_360, "2.4 days")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text
