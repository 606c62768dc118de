"""``evaluate`` as a library: arrays, Predictions and files give the same frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax

from benchmark.api import InputError, Predictions
from benchmark.evaluation.evaluate import evaluate
from benchmark.evaluation.show import as_json

GENERATOR = np.random.default_rng(5)
LABELS = GENERATOR.integers(3, size=200)
LOGITS = 2 * np.eye(3)[LABELS] + GENERATOR.normal(size=(200, 3))
OTHER = np.eye(3)[LABELS] + GENERATOR.normal(size=(200, 3))
METRICS = ("nll", "ece", "accuracy")
FRAMES = ("scores", "intervals", "pairs", "ranks")


def values(result: Any, metric: str) -> dict[str, float]:
    """Of each method."""
    rows = result.intervals[result.intervals["metric"] == metric]
    return dict(zip(rows["method"], rows["value"]))


def test_arrays_predictions_and_files_give_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=LOGITS, labels=LABELS)
    np.savez(tmp_path / "b.npz", probs=softmax(OTHER, 1), labels=LABELS)
    files = evaluate([tmp_path / "a.npz", str(tmp_path / "b.npz")], metrics=METRICS)
    arrays = evaluate(
        probs={"a": softmax(LOGITS, 1), "b": softmax(OTHER, 1).tolist()},
        labels=LABELS,
        metrics=METRICS,
    )
    own = evaluate(
        {
            name: Predictions(log_probs=log_softmax(logits, 1), labels=LABELS)
            for name, logits in (("a", LOGITS), ("b", OTHER))
        },
        metrics=METRICS,
    )
    assert files.methods == arrays.methods == own.methods == ("a", "b")
    assert files.images == 200
    assert files.against == "a"
    for frame in FRAMES:
        for other in (arrays, own):
            pd.testing.assert_frame_equal(
                getattr(files, frame), getattr(other, frame), rtol=1e-9, atol=1e-12
            )
    assert values(own, "nll")["a"] == -log_softmax(LOGITS, 1)[np.arange(200), LABELS].mean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]
    assert files.report is None
    assert json.loads(as_json(files))["report"] is None


def test_frames_are_tidy() -> None:
    result = evaluate(logits={"a": LOGITS, "b": OTHER}, labels=LABELS, metrics=METRICS)
    assert list(result.scores.columns[-2:]) == ["metric", "value"]
    assert not result.intervals.duplicated(["method", "metric"]).any()
    assert {"value", "low", "high", "floor_mean", "floor_high"} <= set(result.intervals)
    assert not result.pairs.duplicated(["metric", "method", "reference"]).any()
    assert list(result.ranks["method"]) == ["a", "b"]
    assert all(isinstance(note, str) for note in result.notes)
    score = result.scores.set_index(["fold", "method", "metric"])["value"]
    wrong = np.mean(LOGITS.argmax(1) != LABELS)
    assert score["official", "a", "accuracy"] == pytest.approx(1 - wrong)
    assert set(result.intervals["question"]) == set(result.ranks["question"]) == {"networks"}
    assert result.intervals["value"].equals(result.intervals["networks_value"])
    assert set(result.intervals["inside_floor"].dropna()) <= {0.0, 1.0}


def test_scores_are_those_that_were_asked_for() -> None:
    result = evaluate(logits=LOGITS, labels=LABELS, metrics=["brier"])
    assert set(result.scores["metric"]) == {"brier"}
    assert set(result.intervals["metric"]) == {"brier", *METRICS}


def test_names_groups_and_a_calibration_part() -> None:
    ids, groups = [f"image {i}" for i in range(200)], np.arange(200) // 4
    result = evaluate(
        logits={"net": LOGITS[:100]},
        labels=pd.Series(np.array(["x", "y", "z"], dtype=object)[LABELS[:100]]),
        classes=["x", "y", "z"],
        ids=ids[:100],
        groups=groups[:100],
        calibration=({"net": LOGITS[100:]}, LABELS[100:]),
        calibrate=["temperature"],
        metrics=METRICS,
    )
    assert result.methods == ("net", "net+temperature")
    assert any("in 25 groups" in note for note in result.notes)
    plain = values(evaluate(logits=LOGITS[:100], labels=LABELS[:100], metrics=METRICS), "nll")
    assert values(result, "nll")["net"] == pytest.approx(plain["predictions"])
    only = evaluate(
        logits=LOGITS[:100],
        labels=LABELS[:100],
        calibration=(LOGITS[100:], LABELS[100:]),
        calibrate="temperature",
        metrics=METRICS,
    )
    assert values(only, "nll")["predictions+temperature"] == pytest.approx(
        values(result, "nll")["net+temperature"]
    )


def test_the_reference() -> None:
    def against(**choices: Any) -> str:
        both = {"a": LOGITS, "b": OTHER}
        return evaluate(logits=both, labels=LABELS, metrics=METRICS, **choices).against

    assert against() == "a"
    assert against(preferred="b") == "b"
    assert against(preferred="c") == "a"
    assert against(preferred="b", against="a") == "a"


def test_true_probabilities_are_kept() -> None:
    p = Predictions(log_probs=log_softmax(LOGITS, 1), labels=LABELS, posterior=softmax(LOGITS, 1))
    metrics = set(evaluate({"true": p}).intervals["metric"])
    assert metrics > set(evaluate(logits=LOGITS, labels=LABELS).intervals["metric"])


def test_a_report_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    result = evaluate(logits=LOGITS, labels=LABELS, metrics=METRICS, out=tmp_path / "out")
    assert result.report == tmp_path / "out" / "report.html"
    assert result.report.is_file()
    assert (tmp_path / "out" / "leaderboard.md").is_file()
    stored = pd.read_csv(tmp_path / "out" / "scores.csv")
    pd.testing.assert_frame_equal(stored, result.scores, check_dtype=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"probs": softmax(LOGITS, 1)}, "give predictions in one way"),
        ({"logits": None}, "give predictions in one way"),
        ({"logits": None, "predictions": "net.npz"}, "labels: only with arrays"),
        ({"logits": {}}, "no method: give the predictions of at least one"),
        ({"labels": None}, "predictions: logits without labels"),
        ({"labels": LABELS[:9]}, "predictions: 9 labels for 200 rows in logits"),
        ({"logits": {"net": LOGITS * np.nan}}, "net: logits: nan in row 0"),
        ({"logits": {"a": LOGITS, "b": LOGITS[:, :2]}}, "a and b have|b: labels: 2 in row"),
        ({"calibrate": "temperature"}, "calibrators need a part to fit on: give the predictions"),
        ({"calibrate": []}, "no calibrator is named; there are"),
        ({"calibration": (LOGITS, LABELS[:5])}, "5 calibration_labels for 200 rows in calib"),
        ({"against": "other"}, "no method is called other; there are predictions"),
        ({"metrics": ["ecee"]}, "unknown metric ecee"),
        ({"name": ""}, "the name of the data set is empty"),
        ({"ids": ["a"] * 200}, "predictions: ids: 'a' in row 1"),
    ],
)
def test_what_cannot_be_right(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        evaluate(**({"logits": LOGITS, "labels": LABELS} | changes))
    assert "--" not in str(caught.value)


def test_neither_torch_nor_a_plug_in_is_imported(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", logits=LOGITS, labels=LABELS)
    code = (
        "import sys; from benchmark.evaluation.evaluate import evaluate; "
        "evaluate(sys.argv[1], metrics=['nll']); "
        "names = [n for n in sys.modules if n == 'torch' or n.startswith('benchmark.methods')]; "
        "assert not names, names"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "net.npz")]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
