import dataclasses
import gc
import weakref

import pytest
import torch

from benchmark.api import Recipe
from benchmark.engine.network import build
from benchmark.engine.step import COMPILED_STEPS, Step, modes
from benchmark.plan import registry
from benchmark.plan.presets import QUICK

SETTINGS = dataclasses.replace(QUICK.settings, momentum=0.9, weight_decay=1e-4)


def network(recipe):
    return build("small", weights="none", weights_file=None, classes=3, channels=1, size=12,
                 recipe=recipe, seed=0)  # fmt: skip


def step(net, recipe=None):
    recipe = recipe or Recipe()
    weights = recipe.head_weights(3, torch.Generator().manual_seed(0))
    return Step(net, recipe, weights, SETTINGS, lambda: torch.autocast("cpu", enabled=False))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 1, 12, 12, generator=generator), torch.eye(3)[[0, 2, 1, 2]]


def state(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_step_is_sgd_with_momentum_and_weight_decay():
    ours, plain = network(Recipe()), network(Recipe())
    made = step(ours)
    optimizer = torch.optim.SGD(plain.parameters(), lr=1.0, momentum=0.9, weight_decay=1e-4)
    losses = 0.0
    for k, rate in enumerate((0.1, 0.05, 0.01)):
        images, targets = batch(k)
        made(images, targets, rate)
        loss = torch.nn.functional.cross_entropy(plain(images)[:, 0], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        losses += loss.item()
    torch.testing.assert_close(state(ours), state(plain))
    assert made.total.item() == pytest.approx(losses, rel=1e-5)


def test_warming_up_leaves_no_trace():
    (method,) = registry.select_methods("mc-dropout")
    cold, warm = network(method.recipe), network(method.recipe)
    first, second = step(cold, method.recipe), step(warm, method.recipe)
    before, randomness = state(warm), torch.get_rng_state()
    second.warm_up(*batch(5), ["eager"])
    assert same(state(warm), before)
    assert torch.equal(torch.get_rng_state(), randomness)
    assert second.total.item() == 0
    for k in range(3):
        for made in (first, second):
            torch.manual_seed(k)
            made(*batch(k), 0.1)
    assert same(state(cold), state(warm))


def test_warming_up_counts_the_operations_of_an_image():
    made = step(network(Recipe()))
    made.warm_up(*batch(), ["eager"])
    forward = 2 * (144 * 9 * 16 + 36 * 9 * 16 * 32 + 9 * 9 * 32 * 64 + 576 * 3)
    images_need_no_gradient = 2 * 144 * 9 * 16
    assert made.costs == {"train_flops_per_image": 3 * forward - images_need_no_gradient}


def test_what_cannot_be_done_falls_back_to_the_next_way(monkeypatch):
    net = network(Recipe())
    made, before, tried = step(net), state(net), []

    def prepare(images, targets):
        tried.append(made.mode)
        if made.mode != "eager":
            made._work(images, targets)  # as far as it gets
            raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(made, "_prepare", prepare)
    made.warm_up(*batch(), ["compiled", "graph", "eager"])
    assert tried == ["compiled", "graph", "eager"]
    assert made.mode == "eager"
    assert made.total.item() == 0
    assert same(state(net), before)
    cold = network(Recipe())
    plain = step(cold)
    for k in range(2):
        plain(*batch(k), 0.1)
        made(*batch(k), 0.1)
    torch.testing.assert_close(state(net), state(cold))


def test_the_last_way_must_work(monkeypatch):
    made = step(network(Recipe()))

    def prepare(images, targets):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(made, "_prepare", prepare)
    with pytest.raises(RuntimeError, match="no such luck"):
        made.warm_up(*batch(), ["graph", "eager"])


def test_a_lack_of_memory_is_not_taken_for_a_lack_of_ways(monkeypatch):
    made = step(network(Recipe()))

    def prepare(images, targets):
        if made.mode == "graph":
            raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(made, "_prepare", prepare)
    with pytest.raises(torch.OutOfMemoryError):
        made.warm_up(*batch(), ["graph", "eager"])


def test_long_fits_on_a_gpu_are_compiled():
    assert modes(torch.device("cpu"), 10**9) == ("eager",)
    assert modes(torch.device("cuda"), 100) == ("graph", "eager")
    assert modes(torch.device("cuda"), COMPILED_STEPS) == ("compiled", "graph", "eager")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("text", ["cross-entropy", "mhml-4", "dca", "mc-dropout", "focal"])
def test_a_graph_steps_as_eager_operations_do(text):
    (method,) = registry.select_methods(text)
    recipe = dataclasses.replace(method.recipe, dropout=0.0)
    device = torch.device("cuda")
    networks = [network(recipe).to(device) for _ in range(2)]
    weights = recipe.head_weights(3, torch.Generator().manual_seed(0)).to(device)
    steps = [Step(net, recipe, weights, SETTINGS, lambda: torch.autocast("cuda", enabled=False))
             for net in networks]  # fmt: skip
    for made, way in zip(steps, ("eager", "graph")):
        made.warm_up(*(part.to(device) for part in batch()), [way])
        for k, rate in enumerate((0.1, 0.05, 0.01)):
            made(*(part.to(device) for part in batch(k)), rate)
    torch.testing.assert_close(state(networks[1]), state(networks[0]), rtol=1e-3, atol=1e-5)
    assert steps[1].total.item() == pytest.approx(steps[0].total.item(), rel=1e-3)


def test_a_step_that_is_done_with_keeps_nothing_alive():
    net = network(Recipe())
    made = step(net)
    made.warm_up(*batch(), ["eager"])
    made(*batch(), 0.1)
    momentum = weakref.ref(next(iter(made.optimizer.state.values()))["momentum_buffer"])
    gc.disable()
    try:
        del made
        assert momentum() is None
    finally:
        gc.enable()
