"""What must hold whatever the scores, on tiny trainings of the guard's methods, from end to end.

Some mistakes improve a score (test labels that leak), others hardly change it. That parts are
disjoint, probabilities sum to one, ensembles are means of their members and head weights are as
published is tested beside the code that sees to it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from benchmark.api import Images, Recipe
from benchmark.engine.batches import Batches
from benchmark.engine.network import build, seeded
from benchmark.engine.predict import log_probs, views
from benchmark.guard.matrix import METHODS
from benchmark.plan import registry
from benchmark.results import manifest
from benchmark.results.load import load
from benchmark.running.execute import execute
from benchmark.running.prepare import prepare
from benchmark.running.request import Request

SMALL = [name if name != "deep-ensemble" else "deep-ensemble[members=2]" for name in METHODS]

NEUTRAL = {
    "label-smoothing": "label-smoothing[smoothing=0]",
    "focal": "focal[gamma=0]",
    "mixup": "mixup[alpha=0]",
    "mc-dropout": "mc-dropout[dropout=0]",
    "deep-ensemble[members=2]": "deep-ensemble[members=1]",
}
"""Methods with the parameter at which they are plain cross-entropy."""

WITHOUT = dict.fromkeys((*NEUTRAL, "temperature-scaling"), "cross-entropy") | {"mhml-4": "mhsl-4"}
"""Methods, and what they are without what makes them special."""

ROUNDING = 1e-4
"""Two ways to the same probability may differ by so much in float32, after a short training."""

EFFECT = 1e-3
"""A method that changes no probability by more than this has no effect."""


def trained(folder, names):
    """Probabilities by the names as typed, and all that is stored that they are made from."""
    request = Request(
        methods=",".join(names),
        datasets=registry.select_datasets("simulated[train=128,calibration=64,test=96]"),
        preset="quick[epochs=2,cycles=2,select=auc]",  # checkpoints are not to see the test part
        folds=1,
        jobs=1,
        device="cpu",
        results=folder,
        cache=folder / "cache",
    )
    work = prepare(request)
    outcome = execute(request, work)
    assert not outcome.failed
    content = load(folder, manifest.read(folder))
    probs = {p.origin.method: p.probs for p in content.predictions}
    store, stored = request.store, {}
    for cell in work.cells:
        records = [store.fit(fit.key) for fit in cell.fits]
        parts = [part.log_probs for record in records for part in (record.calibration, record.test)]
        if cell.calibration is not None:
            parts.append(store.calibration(cell.calibration).log_probs)
        stored[cell.method.name] = [part.tobytes() for part in parts]
    typed = {name: registry.select_methods(name)[0].name for name in names}
    return {name: probs[method] for name, method in typed.items()}, {
        name: stored[method] for name, method in typed.items()
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    names = [*SMALL, *NEUTRAL.values(), "mhsl-4"]
    return trained(tmp_path_factory.mktemp("plain"), names)


@pytest.fixture(scope="module")
def permuted(tmp_path_factory):
    """The same, with the test labels in another order."""
    (dataset,) = registry.select_datasets("simulated")
    kind = type(dataset)
    draw = kind.draw

    def other(self, number) -> Images:
        images = draw(self, number)
        test = np.flatnonzero(images.split == "test")
        labels = images.labels.copy()
        labels[test] = np.random.default_rng(0).permutation(labels[test])
        return dataclasses.replace(images, labels=labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "draw", other)
        return trained(tmp_path_factory.mktemp("permuted"), SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_permuted_test_labels_change_no_prediction(name, plain, permuted):
    assert plain[1][name] == permuted[1][name]
    assert plain[0][name].tobytes() == permuted[0][name].tobytes()


@pytest.mark.parametrize("name", NEUTRAL.values())
def test_a_method_with_its_neutral_parameter_predicts_what_cross_entropy_does(name, plain):
    np.testing.assert_allclose(plain[0][name], plain[0]["cross-entropy"], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_method_predicts_something_else_than_without_what_makes_it_special(name, plain):
    assert np.abs(plain[0][name] - plain[0][WITHOUT[name]]).max() > EFFECT


def test_temperature_leaves_calibrated_predictions_as_they_are():
    counts = np.array([[5, 2, 1], [1, 1, 6], [3, 4, 1]])  # of images of each class, among 8
    given = np.log(np.repeat(counts, 8, axis=0) / 8)
    labels = np.concatenate([np.repeat(np.arange(3), row) for row in counts])
    calibrated = registry.calibrators()["temperature"].fit(given, labels)(given)
    np.testing.assert_allclose(np.exp(calibrated), np.exp(given), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    ("recipe", "passes"), [(Recipe(heads=4), 1), (Recipe(dropout=0.2), 30)], ids=["heads", "passes"]
)
def test_a_prediction_is_the_mean_of_the_probabilities_of_heads_and_passes(recipe, passes):
    network = build("small", weights="none", weights_file=None, classes=4, channels=1, size=8,
                    recipe=recipe, seed=0)  # fmt: skip
    with torch.no_grad():
        network.weight.mul_(20)  # views that disagree: means of logits would differ
    images = np.random.default_rng(0).integers(0, 256, (32, 1, 8, 8), dtype=np.uint8)
    batches = Batches(images, network.normalisation, torch.device("cpu"))
    index = np.arange(len(images))
    predicted = log_probs(network, batches, index, passes=passes, batch=len(images), seed=0)
    with seeded(0), torch.inference_mode():
        logits = views(network, batches(index), passes).double().numpy()
    assert logits.shape[1] == recipe.heads * passes
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    mean = (odds / odds.sum(-1, keepdims=True)).mean(1)
    np.testing.assert_allclose(np.exp(predicted), mean, rtol=0, atol=ROUNDING)
