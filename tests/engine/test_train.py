import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from benchmark.api import Recipe
from benchmark.engine.batches import Batches
from benchmark.engine.cost import Stopwatch
from benchmark.engine.network import Normalisation, build
from benchmark.engine.predict import log_probs
from benchmark.engine.train import DivergedError, train
from benchmark.plan import presets, registry

CLASSES = 4
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    (simulated,) = registry.select_datasets("simulated[train=320,calibration=80,test=400]")
    samples = simulated.draw(0)
    images = np.ascontiguousarray(samples.inputs.transpose(0, 3, 1, 2))
    parts = {p: np.flatnonzero(samples.split == p) for p in ("train", "calibration", "test")}
    return images, samples.labels, parts


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def fitted(data, recipe, *, seed=5, passes=1, labels=None, **settings):
    images, own_labels, parts = data
    settings = dataclasses.replace(presets.QUICK.settings, **({"epochs": 3} | settings))
    network = build("small", weights="none", weights_file=None, classes=CLASSES, channels=1,
                    size=12, recipe=recipe, seed=seed)  # fmt: skip
    batches = Batches(images, Normalisation(), CPU)
    train(network, batches, own_labels if labels is None else labels, parts["train"],
          parts["calibration"], CLASSES, recipe=recipe, settings=settings, seed=seed,
          stopwatch=Stopwatch(CPU))  # fmt: skip
    predicted = log_probs(network, batches, parts["test"], passes=passes, batch=256, seed=0)
    return network, predicted


def recipe(text):
    (method,) = registry.select_methods(text)
    return method.recipe


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(data):
    first, second = (fitted(data, Recipe())[1] for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert fitted(data, Recipe(), seed=6)[1].tobytes() != first.tobytes()


def test_global_randomness_neither_matters_nor_changes(data):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = fitted(data, recipe("mc-dropout"), passes=3)[1]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert fitted(data, recipe("mc-dropout"), passes=3)[1].tobytes() == first.tobytes()


@pytest.mark.parametrize(
    "neutral",
    [
        "label-smoothing[smoothing=0]",
        "focal[gamma=0]",
        "focal-adaptive[gamma_hard=0,gamma_easy=0]",
        "mixup[alpha=0]",
        "mbls[weight=0]",
        "dca[weight=0]",
        "mc-dropout[dropout=0]",
    ],
)
def test_a_method_at_its_neutral_value_is_cross_entropy(data, neutral):
    (method,) = registry.select_methods(neutral)
    expected = fitted(data, Recipe())[1]
    predicted = fitted(data, method.recipe, passes=method.passes)[1]
    np.testing.assert_allclose(predicted, expected, atol=2e-3)
    away = neutral.partition("[")[0]
    (method,) = registry.select_methods(away)
    assert np.abs(fitted(data, method.recipe, passes=method.passes)[1] - expected).max() > 0.02


@pytest.mark.parametrize("method", ["mhsl-2", "mhml-2", "mhml-10"])
def test_heads_differ_before_and_after_one_step(data, method):
    images, labels, parts = data
    few = images, labels, parts | {"train": parts["train"][:32]}
    network, _ = fitted(few, recipe(method), epochs=1)
    weights = network.weight.detach()
    for a in range(len(weights)):
        for b in range(a):
            assert (weights[a] - weights[b]).abs().max() > 1e-3


def test_the_training_loss_of_mhml_uses_its_weights(data):
    @dataclass(frozen=True, kw_only=True)
    class Unweighted(Recipe):
        heads: int = 4

    weighted = fitted(data, recipe("mhml-4"))[1]
    unweighted = fitted(data, Unweighted())[1]
    assert np.abs(weighted - unweighted).max() > 0.05


def test_weights_that_do_not_depend_on_test_labels(data):
    _, labels, parts = data
    permuted = labels.copy()
    permuted[parts["test"]] = np.random.default_rng(0).permutation(labels[parts["test"]])
    for method in ("cross-entropy", "mhml-4", "mixup"):
        first = fitted(data, recipe(method))[1]
        assert fitted(data, recipe(method), labels=permuted)[1].tobytes() == first.tobytes()


def test_a_loss_that_is_not_finite_ends_the_training(data):
    with pytest.raises(DivergedError, match="epoch 1 of 3"):
        fitted(data, Recipe(), learning_rate=1e20)


def test_the_best_checkpoint_is_chosen_on_the_calibration_part(data, monkeypatch):
    from benchmark.engine import train as module

    seen = []

    def auc(network, batches, labels, index, batch):
        seen.append((network.weight.detach().clone(), index))
        return [0.5, 0.9, 0.7][len(seen) - 1]

    monkeypatch.setattr(module, "_auc", auc)
    network, _ = fitted(data, Recipe(), epochs=6, cycles=3, select="auc")
    assert len(seen) == 3
    assert torch.equal(network.weight, seen[1][0])
    for _, index in seen:
        np.testing.assert_array_equal(index, data[2]["calibration"])


def test_the_learning_rate_falls_by_a_cosine_and_restarts(data, monkeypatch):
    rates = []
    step = torch.optim.SGD.step

    def spy(self, *arguments):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    fitted(data, Recipe(), epochs=4, cycles=2, learning_rate=0.1)
    half = len(rates) // 2
    expected = 0.05 * (1 + np.cos(np.pi * np.arange(half) / half))
    np.testing.assert_allclose(rates, np.r_[expected, expected], rtol=1e-6)


def test_a_part_smaller_than_a_batch_is_still_trained_on(data):
    images, labels, parts = data
    few = images, labels, parts | {"train": parts["train"][:10]}
    assert np.isfinite(fitted(few, Recipe(), batch=64)[1]).all()


def test_trivial_augmentation_changes_the_training(data):
    plain = fitted(data, Recipe())[1]
    assert np.abs(fitted(data, Recipe(), augment="trivial")[1] - plain).max() > 0.02


def test_every_method_sees_the_same_order_of_the_data(data, monkeypatch):
    seen = []
    epoch = Batches.epoch

    def spy(self, rows, *arguments):
        seen.append(np.asarray(rows))
        return epoch(self, rows, *arguments)

    monkeypatch.setattr(Batches, "epoch", spy)
    orders = []
    for method in ("cross-entropy", "mhml-10", "mixup", "mc-dropout"):
        seen.clear()
        fitted(data, recipe(method), epochs=2)
        orders.append(np.concatenate([rows.ravel() for rows in seen]))
    assert len(orders[0]) > 500
    for order in orders[1:]:
        np.testing.assert_array_equal(order, orders[0])


def test_macro_auc_chooses_the_better_checkpoint(data):
    from benchmark.engine.train import _auc

    network, _ = fitted(data, Recipe(), epochs=4)
    batches = Batches(data[0], network.normalisation, CPU)
    part = data[2]["calibration"]
    assert _auc(network, batches, data[1], part, 32) > 0.6
    shifted = (data[1] + 1) % CLASSES
    assert _auc(network, batches, shifted, part, 32) < 0.55
