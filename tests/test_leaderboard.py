"""What a leaderboard keeps, and what makes it again."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from benchmark import leaderboard, metrics
from benchmark.api import InputError
from benchmark.cards import cards
from benchmark.library import load_results
from benchmark.plan import registry
from benchmark.results import memo
from benchmark.results.load import STORE, load
from benchmark.results.manifest import read
from benchmark.results.store import Store
from benchmark.running.execute import execute
from benchmark.running.prepare import prepare
from benchmark.running.request import Request
from benchmark.statistics import SHARES

DATA = "simulated[train=64,calibration=40,test=60],digits"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    asked = Request(
        methods="cross-entropy,focal,mixup", datasets=registry.select_datasets(DATA), folds=2,
        preset="quick[epochs=1]", jobs=1, device="cpu", results=folder, cache=folder / "cache",
    )  # fmt: skip
    execute(asked, prepare(asked))
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "results")
    leaderboard.regenerate(tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def calls(monkeypatch):
    """How often blocks are measured."""
    counted = []
    tabulate = leaderboard._tabulate

    def counting(blocks, *others):
        counted.append(len(blocks))
        return tabulate(blocks, *others)

    monkeypatch.setattr(leaderboard, "_tabulate", counting)
    return counted


def frames(board):
    return {name: getattr(board.tables, name) for name in leaderboard._FRAMES}


def test_what_is_kept_is_what_was_made(folder, calls):
    kept = leaderboard.regenerate(folder)
    assert calls == []
    shutil.rmtree(folder / memo.FOLDER)
    made = leaderboard.regenerate(folder)
    assert calls == [2]
    for name, frame in frames(made).items():
        pd.testing.assert_frame_equal(frames(kept)[name], frame, check_dtype=False)
    pd.testing.assert_frame_equal(kept.costs, made.costs)
    assert (kept.tables.notes, kept.missing) == (made.tables.notes, made.missing)


@pytest.mark.parametrize(
    "options", [{"alpha": 0.2}, {"against": "focal"}, {"metric_names": ("brier",)}]
)
def test_other_options_make_other_tables(folder, options):
    before = leaderboard.regenerate(folder)
    other = leaderboard.regenerate(folder, **options)
    assert not frames(before)["pairs"].equals(frames(other)["pairs"])
    fresh = folder.with_name("fresh")
    shutil.copytree(folder, fresh)
    shutil.rmtree(fresh / memo.FOLDER)
    made = leaderboard.regenerate(fresh, **options)
    for name, frame in frames(made).items():
        pd.testing.assert_frame_equal(frames(other)[name], frame, check_dtype=False)


def test_the_class_shares_stand_beneath_the_methods_everywhere(folder):
    results = load_results(folder)
    assert SHARES not in {*results.ranks["method"], *results.pairs["method"]}
    assert SHARES not in {*results.pairs["reference"], *results.scores["method"]}
    values = results.intervals[results.intervals["method"] == SHARES]
    assert set(values["metric"]) == set(results.intervals["metric"])
    store = Store(folder / STORE)
    for dataset, own in values.groupby("dataset"):
        fits = {
            e.origin.fold: e.fits[0] for e in read(folder).entries if e.origin.dataset == dataset
        }
        records = [store.fit(key) for key in fits.values()]
        of_true_class = [
            np.log((np.array(r.train_counts) + 1) / (sum(r.train_counts) + len(r.classes)))[labels]
            for r in records
            for labels in [r.test.labels]
        ]
        nll = own.set_index("metric").loc["nll", "networks_value"]
        assert nll == pytest.approx(-np.concatenate(of_true_class).mean())
    table = pd.read_csv(folder / "leaderboard.csv")
    for _, board in table.groupby("dataset"):
        assert board["method"].tolist()[-1] == SHARES
        assert board["rank"].isna().tolist() == [False] * 3 + [True]
    page = (folder / "report.html").read_text()
    assert page.count("<tfoot>") == page.count("</tfoot>") == 2
    assert "3 methods" in page
    text = (folder / "leaderboard.md").read_text()
    assert len(re.findall(r"\| *– \| class-shares +\| [^|]+ \| +\|", text)) == 2
    assert (folder / "leaderboard.tex").read_text().count(f"    -- & {SHARES} &") == 2
    for shown in (text, page):
        assert "It shows what can be had without looking at an image" in shown
    for card in cards(results):
        assert card.methods[-1] == SHARES
        assert card.ranks.whole[-1] == "–"
        assert 3 not in card.alike.union(*(column.best for column in card.metrics))
        assert all(column.cells[-1] != "–" for column in card.metrics)
    rows = json.loads(results.to_json())["values"]
    assert sum(row["method"] == SHARES for row in rows) == len(values)


def test_a_file_that_was_changed_or_removed_is_made_again(folder):
    written = (folder / "leaderboard.md").read_bytes()
    for damage in (lambda p: p.write_text("mine"), lambda p: p.unlink()):
        damage(folder / "leaderboard.md")
        leaderboard.regenerate(folder)
        assert (folder / "leaderboard.md").read_bytes() == written


def test_a_changed_record_is_measured_again_and_the_others_are_not(folder, calls, monkeypatch):
    asked = Request(methods="focal", datasets=registry.select_datasets(DATA), results=folder)
    entry = next(e for e in read(folder).entries if e.origin.dataset == "digits")
    record = asked.store.fit(entry.fits[0])
    test = dataclasses.replace(record.test, log_probs=record.test.log_probs[::-1].copy())
    before = leaderboard.regenerate(folder).tables.scores
    asked.store.write(entry.fits[0], dataclasses.replace(record, test=test))
    after = leaderboard.regenerate(folder).tables.scores
    assert calls == [1]  # the other data set's block is kept
    moved = set(map(tuple, before[before["value"] != after["value"]][["dataset", "method"]].values))
    assert moved == {("digits", entry.origin.method)}


def test_a_failure_is_told(folder):
    asked = Request(methods="focal", datasets=registry.select_datasets(DATA), results=folder)
    entry = next(e for e in read(folder).entries if e.origin.method == "mixup")
    asked.store.path(entry.fits[0]).unlink()
    assert "not finished" in leaderboard.regenerate(folder).missing[0]
    asked.store.fail(entry.fits[0], "the loss is nan")
    assert "the loss is nan" in leaderboard.regenerate(folder).missing[0]


def test_other_code_or_libraries_make_everything_again(folder, calls, monkeypatch, tmp_path):
    monkeypatch.setattr(memo, "version", lambda name: "0")
    leaderboard.regenerate(folder)
    assert calls == [2]
    own = tmp_path / "metrics" / "inside"
    own.mkdir(parents=True)
    monkeypatch.setattr(metrics, "__path__", [str(own.parent)])
    (own / "helper.txt").write_text("1")
    leaderboard.regenerate(folder)
    (own / "helper.txt").write_text("2")
    leaderboard.regenerate(folder)
    assert calls == [2, 2, 2]


def test_restricted_tables_forget_nothing(folder, calls):
    leaderboard.regenerate(folder, datasets="digits")
    leaderboard.regenerate(folder, metric_names=("brier",))
    leaderboard.regenerate(folder)
    assert calls == [2]  # for the metric alone


def test_damaged_memory_is_no_harm(folder):
    written = (folder / "scores.csv").read_bytes()
    for path in (folder / memo.FOLDER).glob("*.json"):
        path.write_text(json.dumps({"files": {}, "frames": 3}) if "board" in path.name else "{")
    (folder / "report.html").unlink()
    leaderboard.regenerate(folder)
    assert (folder / "scores.csv").read_bytes() == written


def test_a_calibrator_that_fails_stops_nobody(folder, monkeypatch):
    calibrator = registry.calibrators()["vector"]
    monkeypatch.setattr(type(calibrator), "fit", lambda *_: 1 / 0)
    asked = Request(
        methods="cross-entropy+vector,focal", datasets=registry.select_datasets(DATA), folds=2,
        preset="quick[epochs=1]", jobs=1, device="cpu", results=folder, cache=folder / "cache",
    )  # fmt: skip
    outcome = execute(asked, prepare(asked))
    assert len(outcome.failed) == 4
    assert all("vector: ZeroDivisionError" in reason for reason in outcome.failed.values())
    missing = load(folder, read(folder)).missing
    assert any("cross-entropy+vector" in m and "ZeroDivisionError" in m for m in missing)


def test_nothing_is_said_of_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="holds no results yet"):
        leaderboard.regenerate(tmp_path)
