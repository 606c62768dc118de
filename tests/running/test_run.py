import dataclasses
import errno

import numpy as np
import pytest

from benchmark.api import InputError
from benchmark.plan import registry
from benchmark.results import leaderboard, manifest, store
from benchmark.running import run

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
    return run.Request(methods=methods, **options | changes)


def execute(asked):
    return run.execute(asked, run.prepare(asked))


def records(asked):
    """Predictions by key, as bytes."""
    work = run.prepare(asked)
    keys = [fit.key for fit in work.fits]
    keys += [c.calibration for c in work.cells if c.calibration]
    return {key: asked.store.read(key).arrays["test_log_probs"].tobytes() for key in keys}


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
    assert len([f for f in run.prepare(other).fits if not other.store.holds(f.key)]) == 4


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
    path = asked.store.path(run.prepare(asked).fits[0].key)
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
    write, count = store.write_atomically, []

    def full(path, data):
        count.append(path)
        if len(count) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(store, "write_atomically", full)
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
    fit = run.prepare(asked).fits[0]
    record = asked.store.read(fit.key)
    for part, n in (("calibration", 60), ("test", 80)):
        log_probs = record.arrays[f"{part}_log_probs"]
        assert log_probs.shape == (n, 4)
        assert log_probs.dtype == np.float32
        np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, atol=1e-6)
        assert record.arrays[f"{part}_labels"].shape == (n,)
        assert len(set(record.arrays[f"{part}_ids"])) == n
        np.testing.assert_allclose(record.arrays[f"{part}_posterior"].sum(1), 1, atol=1e-5)
    assert record.info["costs"]["train_seconds"] > 0
    assert record.info["fit"]["settings"]["epochs"] == 2
    assert "torch" in record.info["environment"]
    assert "train_energy_joules" not in record.info["costs"]


def test_an_ensemble_is_the_mean_of_its_members_and_then_calibrated(finished):
    asked, _ = finished
    work = run.prepare(asked)
    cell = next(c for c in work.cells if c.method.members == 2)
    members = [asked.store.read(fit.key).arrays for fit in cell.fits]
    mean = sum(np.exp(m["test_log_probs"].astype(float)) for m in members) / 2
    calibration = sum(np.exp(m["calibration_log_probs"].astype(float)) for m in members) / 2
    apply = cell.calibrator.fit(np.log(calibration), members[0]["calibration_labels"])
    stored = asked.store.read(cell.calibration).arrays["test_log_probs"]
    np.testing.assert_allclose(stored, apply(np.log(mean)), atol=1e-4)


def test_unknown_backbones_and_missing_weights_stop_before_training(tmp_path):
    for changes, message in (
        ({"backbones": ["resnet51"]}, "did you mean"),
        ({"weights": "absent.pt"}, "no such file"),
        ({"preset": "fast"}, "unknown preset"),
    ):
        with pytest.raises(InputError, match=message):
            run.prepare(request(tmp_path, **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_method_pays_for_every_network_it_uses(finished):
    asked, _ = finished
    content = leaderboard.load(asked.results, manifest.read(asked.results))
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
    cell = next(c for c in run.prepare(asked).cells if c.calibration)
    key = cell.fits[0].key
    record, before = asked.store.read(key), asked.store.read(cell.calibration)
    arrays = {**record.arrays, "test_log_probs": record.arrays["test_log_probs"][::-1]}
    asked.store.write(key, store.Record(arrays, record.info))
    execute(asked)
    changed = asked.store.read(cell.calibration).arrays["test_log_probs"]
    assert changed.tobytes() != before.arrays["test_log_probs"].tobytes()
    asked.store.write(key, record)
    execute(asked)
    assert records(asked)[cell.calibration] == before.arrays["test_log_probs"].tobytes()


def test_runs_at_the_same_time_lose_no_cell(tmp_path):
    first, second = (request(tmp_path, methods=m, folds=1) for m in ("cross-entropy", "focal"))
    works = [run.prepare(asked) for asked in (first, second)]
    for asked, work in zip((first, second), works):
        run.execute(asked, work)
    methods = {entry.method for entry in manifest.read(tmp_path).entries}
    assert methods == {"cross-entropy", "focal"}
