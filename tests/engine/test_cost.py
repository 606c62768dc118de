import math
import mmap
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.api import Cost, Recipe
from benchmark.engine import cost
from benchmark.engine.batches import Batches
from benchmark.engine.network import Normalisation, build

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pair():
    images = np.random.default_rng(0).integers(0, 256, (300, 1, 12, 12), dtype=np.uint8)
    network = build("small", weights="none", weights_file=None, classes=3, channels=1, size=12,
                    recipe=Recipe(dropout=0.5), seed=0)  # fmt: skip
    return network, Batches(images, Normalisation(), CPU)


def test_a_stopwatch_adds_up_what_is_inside():
    stopwatch = cost.Stopwatch(CPU)
    for _ in range(2):
        with stopwatch:
            time.sleep(0.02)
        time.sleep(0.05)
    assert 0.04 <= stopwatch.seconds < 0.09
    assert stopwatch.cpu_seconds < 0.01  # asleep
    assert stopwatch.joules is None


def test_energy_is_counted_inside_only(monkeypatch):
    joules = iter([100.0, 130.0, 500.0, 505.0])
    monkeypatch.setattr(cost, "_energy_meter", lambda device: lambda: next(joules))
    stopwatch = cost.Stopwatch(CPU)
    for _ in range(2):
        with stopwatch:
            pass
    assert stopwatch.joules == 35.0


def held(mib):
    """Memory straight from the system: malloc would hand out what it kept of earlier tests."""
    memory = mmap.mmap(-1, mib * 2**20)
    np.frombuffer(memory, np.uint8).fill(1)
    return memory


def test_the_peak_of_memory_is_that_of_the_work_since():
    first = cost.PeakMemory(CPU)
    if not first.read():
        pytest.skip("this system does not report a process's peak")
    big = held(200)
    high = first.read()["host"]
    big.close()
    second = cost.PeakMemory(CPU)
    low = second.read()["host"]
    assert low < high - 150
    small = held(64)
    assert second.read()["host"] > low + 40
    small.close()


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(8, 12, 3, stride=2), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 12, 3, groups=4),
     nn.ConvTranspose2d(8, 12, 3), nn.ConvTranspose2d(8, 12, 3, groups=4)],
)  # fmt: skip
@pytest.mark.parametrize("images_need_gradient", [True, False])
def test_each_gradient_of_a_convolution_takes_as_many_operations_as_itself(
    layer, images_need_gradient
):
    images = torch.rand(2, 8, 9, 9, requires_grad=images_need_gradient)
    with cost.flop_counter() as forward:
        out = layer(images)
    inside = out if isinstance(layer, nn.Conv2d) else images
    positions = inside[:, 0].numel()
    assert forward.get_total_flops() == 2 * positions * layer.weight.numel()
    with cost.flop_counter() as backward:
        out.sum().backward()
    gradients = 1 + images_need_gradient
    assert backward.get_total_flops() == gradients * forward.get_total_flops()


def test_flops_and_parameters_are_those_of_the_layers(pair):
    forward = 2 * (144 * 9 * 16 + 36 * 9 * 16 * 32 + 9 * 9 * 32 * 64 + 576 * 3)
    convolutions = 9 * (16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64)
    sizes = cost.size(*pair, np.arange(3), passes=1)
    assert sizes == {"parameters": convolutions + 576 * 3 + 3, "predict_flops_per_image": forward}
    many = cost.size(*pair, np.arange(3), passes=30)
    assert many["predict_flops_per_image"] == forward + 29 * 2 * 576 * 3  # the features once


def test_speed_and_latency_come_from_the_clock(pair, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    index = np.arange(300)
    speed = cost.throughput(*pair, index, passes=1)
    assert speed == {"predict_images_per_second": 256.0}  # a second between two looks
    assert cost.latency(*pair, index, passes=1) == {"latency_ms": 1000, "latency_95_ms": 1000}


def test_latency_is_the_median_and_the_95_percent_point(pair, monkeypatch):
    lasting = [*range(1, 20), 100.0]
    ticks = iter(np.cumsum([[0.0, seconds] for seconds in lasting]).tolist())
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    measured = cost.latency(*pair, np.arange(3), passes=1)
    assert measured["latency_ms"] == pytest.approx(1000 * np.median(lasting))
    assert measured["latency_95_ms"] == pytest.approx(1000 * np.percentile(lasting, 95))


@pytest.mark.parametrize(("channels", "size", "batch"), [(1, 28, 256), (3, 112, 256), (3, 224, 64)])
def test_large_images_are_predicted_in_smaller_batches_on_the_cpu(channels, size, batch):
    images = np.zeros((1, channels, size, size), np.uint8)
    batches = Batches(images, Normalisation(), CPU)
    assert cost.predict_batch(batches) == batch
    batches.on_gpu = True
    assert cost.predict_batch(batches) == 256


def test_throughput_is_the_median_of_several_warm_batches(pair, monkeypatch):
    lasting = [1.0, 100.0, 2.0, 1.0, 1.0]
    ticks = iter(np.cumsum([[0.0, seconds] for seconds in lasting]).tolist())
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    predicted = []
    log_probs = cost.log_probs

    def count(network, batches, index, **options):
        predicted.append(len(index))
        return log_probs(network, batches, index, **options)

    monkeypatch.setattr(cost, "log_probs", count)
    assert cost.throughput(*pair, np.arange(300), passes=1) == {"predict_images_per_second": 256.0}
    assert predicted == 6 * [256]  # full batches only, the first for warming up


def test_a_plug_in_measures_its_own_cost_and_its_failure_loses_no_other(pair, monkeypatch, caplog):
    def fails(*_):
        raise RuntimeError("no such counter")

    def declare(name, measure):
        return Cost(name=name, short=name, members="sum", measure=measure)

    declared = [
        declare("before", lambda network, batches, index: network.heads + len(index)),
        declare("broken", fails),
        declare("endless", lambda *_: math.inf),
        declare("after", lambda network, batches, index: batches.images.shape[0]),
        declare("the engine's", None),
    ]
    monkeypatch.setattr(cost, "costs", lambda: {c.name: c for c in declared})
    measured = cost.declared_costs(*pair, np.arange(3))
    assert measured == {"before": 4.0, "after": 300.0}
    assert all(isinstance(value, float) for value in measured.values())
    assert [record.getMessage() for record in caplog.records] == [
        "cost broken is left out: RuntimeError: no such counter",
        "cost endless is left out: ValueError: it is inf",
    ]


@pytest.mark.parametrize("gradient", [False, True])
def test_attention_on_the_cpu_is_counted_by_every_torch_that_is_allowed(gradient, monkeypatch):
    from torch.utils import flop_counter

    aten = torch.ops.aten
    for name in ("", "_backward"):  # as up to torch 2.13
        operation = getattr(aten, f"_scaled_dot_product_flash_attention_for_cpu{name}")
        monkeypatch.delitem(flop_counter.flop_registry, operation, raising=False)
    query, key, value = (torch.rand(2, 3, n, 8, requires_grad=gradient) for n in (5, 7, 7))

    def attend():
        out = nn.functional.scaled_dot_product_attention(query, key, value)
        return out.sum().backward() if gradient else out

    products = 2 + 5 * gradient  # q k, a v; again q k, and two gradients of each
    assert cost.flops(attend) == products * 2 * 2 * 3 * 5 * 7 * 8


def test_flops_are_counted_where_modules_are_called_with_parameters(pair):
    network, batches = pair

    class Token(nn.Module):
        def forward(self, token):
            return token * 1

    class Trunk(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.inner, self.use = nn.Parameter(torch.ones(1)), network.trunk, Token()

        def forward(self, images):
            return self.inner(images) * self.use(self.token)

    other = build("small", weights="none", weights_file=None, classes=3, channels=1, size=12,
                  recipe=Recipe(), seed=0)  # fmt: skip
    expected = cost.size(other, batches, np.arange(3), passes=1)["predict_flops_per_image"]
    other.trunk = Trunk()
    given = cost.size(other, batches, np.arange(3), passes=1)
    assert given["predict_flops_per_image"] == expected


def test_what_the_counter_cannot_count_is_absent_and_the_rest_is_kept(pair, monkeypatch, caplog):
    def fails():
        raise RuntimeError("no formula")

    monkeypatch.setattr(cost, "flop_counter", fails)
    assert set(cost.size(*pair, np.arange(3), passes=1)) == {"parameters"}
    assert "predict_flops_per_image is left out: RuntimeError: no formula" in caplog.text
