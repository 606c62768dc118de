"""An interval has a width, or there is none, and a note says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import special

from benchmark import statistics as stats
from benchmark.api import Floats, IntArray, Origin, Predictions
from benchmark.measures.declared import metrics as declared

KINDS = ("constant", "certain", "varying", "flat")
LABELS = ("right", "one wrong", "wrong", "random")


def predictions(
    images: int, classes: int, kind: str, right: str, seed: int, method: str = "a"
) -> Predictions:
    generator = np.random.default_rng(seed)
    labels: IntArray = generator.integers(0, classes, images)
    shift = {
        "right": np.zeros(images, int),
        "one wrong": (np.arange(images) == 0).astype(int),
        "wrong": np.ones(images, int),
        "random": generator.integers(0, classes, images),
    }[right]
    predicted = np.eye(classes)[(labels + shift) % classes]
    if kind == "certain":
        logits: Floats = np.where(predicted > 0, 0.0, -40.0)
    else:
        sure = {"constant": np.log(0.7 / 0.3 * (classes - 1)), "flat": 0.0}.get(kind)
        logits = predicted * (generator.exponential(3, (images, 1)) if sure is None else sure)
    return Predictions(
        origin=Origin(preset="p", dataset="d", backbone="b", method=method, fold="official"),
        classes=tuple(map(str, range(classes))),
        ids=np.array([f"image {i:04}" for i in range(images)]),
        labels=labels,
        log_probs=special.log_softmax(logits, axis=1),
    )


@given(
    images=st.sampled_from([1, 2, 3, 5, 20, 100]),
    classes=st.integers(2, 4),
    kind=st.sampled_from(KINDS),
    right=st.sampled_from(LABELS),
    seed=st.integers(0, 20),
)
@example(images=20, classes=2, kind="constant", right="right", seed=0)
@example(images=100, classes=3, kind="flat", right="random", seed=0)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_no_interval_is_without_width_and_none_is_missing_without_a_reason(
    images: int, classes: int, kind: str, right: str, seed: int
) -> None:
    one = predictions(images, classes, kind, right, seed)
    other = predictions(images, classes, "constant", right, seed, "b")
    tables = stats.summarise([one, other], None, "a")
    values = tables.values[np.isfinite(tables.values["value"])]
    known = values.dropna(subset=["low"])
    assert (known["high"] - known["low"] >= 1e-9).all()
    assert (known["low"] <= known["value"] + 1e-9).all()
    assert (known["value"] <= known["high"] + 1e-9).all()
    for _, row in values[values["low"].isna()].iterrows():
        short = declared()[str(row["metric"])].short
        reasons = [note for note in tables.notes if "no interval for" in note.lower()]
        assert any(short in note for note in reasons), (short, reasons)
    pairs = tables.pairs.dropna(subset=["low"])
    assert ((pairs["high"] - pairs["low"] >= 1e-9) | (pairs["difference"] == 0)).all()
    # A difference that nothing contradicts for lack of variation is no proof.
    assert (
        tables.pairs.loc[tables.pairs["low"].isna() & ~tables.pairs["simultaneous"], "p"]
        .isna()
        .all()
    )


def test_reasons() -> None:
    tables = stats.summarise([predictions(20, 2, "constant", "right", 0)], ["nll", "mce"])
    notes = "\n".join(tables.notes)
    assert "Given the networks no interval for MCE: none is known to cover." in notes
    assert "no interval for NLL of a: nothing in the test images shows" in notes
    one = stats.summarise([predictions(1, 2, "varying", "right", 0)], ["nll"]).notes
    assert any("one image, or one group, does not tell" in note for note in one)
    rare = predictions(100, 2, "varying", "random", 0)
    labels = np.r_[np.zeros(96, int), np.ones(4, int)]
    notes = "\n".join(stats.summarise([replace(rare, labels=labels)], ["auc"]).notes)
    assert "no interval for Macro AUC of a: too few images of a class" in notes


@pytest.mark.parametrize("images", [20, 100])
def test_the_interval_of_a_calibration_error_without_an_error_is_that_of_the_accuracy(
    images: int,
) -> None:
    """All right at a confidence of 0.7: the accuracy may be as low as Clopper and Pearson's."""
    values = stats.summarise([predictions(images, 2, "constant", "right", 0)], ["ece"]).values
    ece = values[values["metric"] == "ece"].iloc[0]
    assert ece["high"] == pytest.approx(0.3)
    assert ece["low"] == pytest.approx(0.025 ** (1 / images) - 0.7, abs=0.02)
