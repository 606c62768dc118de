"""What every registered plug-in must do: a new one is picked up without a word here."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from benchmark.api import InputError
from benchmark.measures.declared import score
from benchmark.plan import folds, registry
from benchmark.results import manifest
from benchmark.results.load import load
from benchmark.running.execute import execute
from benchmark.running.prepare import prepare
from benchmark.running.request import Request

REPOSITORY = Path(__file__).resolve().parents[2]
METHODS = registry.methods()
CALIBRATORS = registry.calibrators()
DATASETS = registry.datasets()
EFFECT = 1e-3
"""Two methods that give no class of any image another probability by so much are one."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """All methods and all calibrators on one draw of `simulated`, as in the default run."""
    folder = tmp_path_factory.mktemp("contract")
    words = ["all", *(f"cross-entropy+{name}" for name in CALIBRATORS)]
    request = Request(
        methods=",".join(words),
        datasets=registry.select_datasets("simulated"),
        folds=1,
        jobs=1,
        device="cpu",
        results=folder,
        cache=folder / "cache",
    )
    outcome = execute(request, prepare(request))
    assert not outcome.failed
    content = load(folder, manifest.read(folder))
    assert not content.missing
    return {p.origin.method: p for p in content.predictions}


@pytest.fixture(scope="module")
def scores(results):
    return {name: score(p, ["accuracy", "ece", "nll"]) for name, p in results.items()}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_and_predicts_probabilities(name, results, scores):
    probs = np.exp(results[name].log_probs.astype(float))
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert probs.min() > 0
    assert scores[name]["accuracy"] > 0.5  # chance is 0.25
    assert scores[name]["nll"] < np.log(4)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name):
    method = METHODS[name]
    assert method.summary.endswith(".")
    assert re.search(r"https?://|arXiv|doi", method.paper)
    assert registry.select_methods(name) == [method]


def test_cross_entropy_is_overconfident_and_an_ensemble_less_so(results, scores):
    assert scores["cross-entropy"]["ece"] > 0.1
    assert scores["deep-ensemble"]["ece"] < scores["cross-entropy"]["ece"] - 0.03
    assert scores["deep-ensemble"]["nll"] < scores["cross-entropy"]["nll"]
    confidence = np.exp(results["cross-entropy"].log_probs.max(1)).mean()
    assert confidence > scores["cross-entropy"]["accuracy"] + 0.1


def test_methods_differ_from_each_other(results):
    alike = [
        f"{one} and {other}"
        for one, other in itertools.combinations(METHODS, 2)
        if np.abs(results[one].probs - results[other].probs).max() < EFFECT
    ]
    assert not alike


@pytest.mark.parametrize("name", CALIBRATORS)
def test_a_calibrator_improves_an_overconfident_model(name, results, scores):
    method = "temperature-scaling" if name == "temperature" else f"cross-entropy+{name}"
    probs = np.exp(results[method].log_probs.astype(float))
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert probs.min() > 0
    assert scores[method]["nll"] < scores["cross-entropy"]["nll"]
    assert scores[method]["ece"] < scores["cross-entropy"]["ece"]


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_says_what_it_is_and_on_what_terms(name):
    dataset = DATASETS[name]
    for field in ("summary", "paper", "licence", "access"):
        assert getattr(dataset, field).strip(), field
    registry.select_preset(dataset.preset)


@pytest.mark.parametrize("name", [name for name in DATASETS if name[-1] not in ":/"])
def test_a_data_set_can_be_read_and_cut_or_says_what_is_missing(name, tmp_path):
    try:
        samples = DATASETS[name].read(tmp_path)
    except InputError as error:
        missing = str(error)
    else:
        _check_cut(samples)
        return
    assert str(tmp_path) in missing
    assert "http" in missing


def _check_cut(samples):
    for cut in folds.split(samples, 3, np.random.default_rng(0)).folds:
        parts = [cut.train, cut.calibration, cut.test]
        assert sorted(np.concatenate(parts)) == list(range(len(samples.labels)))


def test_the_example_of_the_contributing_guide_is_a_method(tmp_path, monkeypatch):
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len(code.splitlines()) <= 40
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "confidence_penalty.py").write_text(code)
    results = ["--results", str(tmp_path / "results"), "--data-root", str(tmp_path / "data")]
    words = ["run", "--plugins", str(tmp_path), "--methods", "cross-entropy,confidence-penalty",
             "--datasets", "simulated[train=128,calibration=50,test=60]", "--folds", "1",
             "--preset", "quick[epochs=2]", "--device", "cpu"]  # fmt: skip
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *words, *results], cwd=REPOSITORY, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "confidence-penalty" in (tmp_path / "results" / "leaderboard.md").read_text()
