"""Time the engine and a bare PyTorch loop, in turns, in one process.

A ratio of two times measured in turns does not depend on the machine, nor much on what else it
is doing. Of each piece the time that the thread spent waiting for a core is taken off, where the
system tells it (Linux): what remains is computing, sleeping and waiting for anything else. The
one module of the guard that imports torch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.api import Calibration, FloatArray, Method, Recipe
from benchmark.engine.batches import Batches
from benchmark.engine.cost import Stopwatch
from benchmark.engine.network import Network, build
from benchmark.engine.predict import log_probs
from benchmark.engine.train import train
from benchmark.guard.matrix import METHODS
from benchmark.plan import registry
from benchmark.plan.presets import QUICK, Settings
from benchmark.results.members import mean_over_members

ROUNDS = 16
"""Pieces of work timed for each comparison, the two sides in turns."""

STEPS = 3
"""Training steps in one piece."""

_CLASSES, _SIDE, _BATCH = 4, 24, 32
_PREDICT_BATCH = 64
"""Small enough that thirty passes of dropout stay in the processor's cache."""

_PREDICTED = 2 * _PREDICT_BATCH
_IMAGES = np.random.default_rng(0).integers(0, 256, (_PREDICTED, 1, _SIDE, _SIDE), dtype=np.uint8)
_LABELS = np.random.default_rng(1).integers(0, _CLASSES, _PREDICTED)
_CPU = torch.device("cpu")

_WAITING = Path("/proc/thread-self/schedstat")
"""Its second number is the nanoseconds that the thread was ready to run but had no core."""

Clock = Callable[[], float]
Work = Callable[[Clock], float]
"""Does a piece of work, and returns the seconds that it took."""


@dataclasses.dataclass(frozen=True)
class Timed:
    """Seconds of two pieces of work, one value for each round: ``work`` and what it is held to."""

    work: Sequence[float]
    reference: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """Of each round."""
        return [a / b for a, b in zip(self.work, self.reference)]


def seconds(timed: Mapping[str, Timed]) -> dict[str, Sequence[float]]:
    """Seconds of each round of the engine and of the bare loop, where they were timed."""
    found = {}
    for part in ("training", "prediction"):
        pair = timed.get(f"{part}: engine to bare loop")
        if pair is not None:
            found[f"{part}: seconds of the engine"] = pair.work
            found[f"{part}: seconds of the bare loop"] = pair.reference
    return found


def measure(names: Sequence[str] | None = None) -> dict[str, Timed]:
    """Time the comparisons of these names, or all.

    Names read ``training: METHOD to METHOD``, ``training: engine to bare loop`` and the
    same with ``prediction``; augmentation is held to training without it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {
            name: _in_turns(*pair)
            for name, pair in _comparisons().items()
            if names is None or name in names
        }
    finally:
        torch.set_num_threads(threads)


def _comparisons() -> dict[str, tuple[Work, Work]]:
    """What is timed in turns, by name; the second piece of work is the reference."""
    plain, *others = (registry.select_methods(name)[0] for name in METHODS)
    ours = partial(_network, Recipe())
    pairs: dict[str, tuple[Work, Work]] = {
        "training: engine to bare loop": (_training(plain), _bare_training(ours())),
        "training: our network to plain torch": (
            _bare_training(ours()),
            _bare_training(_plain_network()),
        ),
        "prediction: engine to bare loop": (_prediction(plain), _bare_prediction(ours())),
        "prediction: our network to plain torch": (
            _bare_prediction(ours()),
            _bare_prediction(_plain_network()),
        ),
        "training: TrivialAugment to none": (_training(plain, "trivial"), _training(plain)),
    }
    for method in others:
        name = f"{method.name} to {plain.name}"
        if method.recipe != plain.recipe:  # the others train the same fits
            pairs[f"training: {name}"] = _training(method), _training(plain)
        if method.passes == 1:
            pairs[f"prediction: {name}"] = _prediction(method), _prediction(plain)
        else:  # random numbers and convolutions slow down differently on a busy machine
            name = f"prediction: {method.name} to bare loop"
            pairs[name] = _prediction(method), _bare_passes(method)
    return pairs


def _in_turns(work: Work, reference: Work) -> Timed:
    """Time two pieces of work in turns; who is first alternates."""
    seconds: tuple[list[float], list[float]] = ([], [])
    with _clock() as now:
        for piece in (work, reference):  # warm up
            piece(now)
        for number in range(ROUNDS):
            for side in (0, 1) if number % 2 else (1, 0):
                seconds[side].append((work, reference)[side](now))
    return Timed(*seconds)


@contextmanager
def _clock() -> Iterator[Clock]:
    """Seconds that do not pass while this thread waits for a core."""
    if not _WAITING.is_file():  # not Linux: seconds on the wall
        yield time.perf_counter
        return
    with _WAITING.open("rb", buffering=0) as file:

        def waited() -> int:
            file.seek(0)
            return int(file.read().split()[1])

        def now() -> float:
            before, wall, after = waited(), time.perf_counter(), waited()
            while before != after:  # the thread was stopped between the two clocks
                before, wall, after = after, time.perf_counter(), waited()
            return wall - after / 1e9

        yield now


# --- the pieces of work --------------------------------------------------------------------


def _network(recipe: Recipe, seed: int = 0) -> Network:
    return build(
        "small",
        weights="none",
        weights_file=None,
        classes=_CLASSES,
        channels=1,
        size=_SIDE,
        recipe=recipe,
        seed=seed,
    )


def _settings(augment: Literal["none", "trivial"] = "none") -> Settings:
    return dataclasses.replace(QUICK.settings, epochs=1, batch=_BATCH, augment=augment)


class _Laps(Stopwatch):
    """A stopwatch of the training loop's that goes by another clock."""

    def __init__(self, now: Clock) -> None:
        super().__init__(_CPU)
        self._now = now

    def __enter__(self) -> None:
        self._started = self._now()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._now() - self._started


def _training(method: Method, augment: Literal["none", "trivial"] = "none") -> Work:
    """One short epoch as a fit makes it: all but the warm-up, whatever the loop itself times."""
    network = _network(method.recipe)
    batches = Batches(_IMAGES, network.normalisation, _CPU)
    index, none = np.arange(STEPS * _BATCH), np.arange(0)

    def work(now: Clock) -> float:
        warming = _Laps(now)
        started = now()
        train(
            network,
            batches,
            _LABELS,
            index,
            none,
            _CLASSES,
            recipe=method.recipe,
            settings=_settings(augment),
            seed=0,
            stopwatch=Stopwatch(_CPU),
            warming=warming,
        )
        return now() - started - warming.seconds

    return work


def _bare_training(network: nn.Module) -> Work:
    """The same steps on the same tensors, by nothing of ours but perhaps the network."""
    pixels, targets = _pixels(STEPS * _BATCH), torch.from_numpy(_LABELS)
    settings = _settings()

    def work(now: Clock) -> float:
        started = now()
        network.train()
        optimizer = torch.optim.SGD(
            network.parameters(), settings.learning_rate, settings.momentum, fused=True
        )
        for index in torch.randperm(STEPS * _BATCH).view(STEPS, _BATCH):
            loss = nn.functional.cross_entropy(_logits(network, pixels[index]), targets[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return now() - started

    return work


def _prediction(method: Method) -> Work:
    """A few batches through each member, their mean, calibrated."""
    networks = [_network(method.recipe, seed) for seed in range(method.members)]
    batches = Batches(_IMAGES, networks[0].normalisation, _CPU)
    index = np.arange(_PREDICTED)

    predict = partial(
        log_probs, batches=batches, index=index, passes=method.passes, batch=_PREDICT_BATCH, seed=0
    )

    def mean() -> FloatArray:
        return mean_over_members([predict(network) for network in networks])

    calibrate: Calibration = lambda log_probs: log_probs  # noqa: E731
    if method.calibrator is not None:
        calibrate = registry.calibrators()[method.calibrator].fit(mean(), _LABELS)

    def work(now: Clock) -> float:
        started = now()
        calibrate(mean())
        return now() - started

    return work


def _bare_prediction(network: nn.Module) -> Work:
    return _by_batches(network, lambda part: _logits(network, part).log_softmax(-1))


def _bare_passes(method: Method) -> Work:
    """Stochastic passes on the features of each batch, as one would write them with torch."""
    network = _network(method.recipe)
    weight, bias = network.weight[0], network.bias[0]

    def predict(part: Tensor) -> Tensor:
        features = network.trunk(part).unsqueeze(1).expand(-1, method.passes, -1)
        hidden = nn.functional.dropout(features, method.recipe.dropout)
        return nn.functional.linear(hidden, weight, bias).softmax(-1).mean(1).log()

    return _by_batches(network, predict)


def _by_batches(network: nn.Module, predict: Callable[[Tensor], Tensor]) -> Work:
    pixels = _pixels(_PREDICTED)

    def work(now: Clock) -> float:
        network.eval()
        started = now()
        with torch.inference_mode():
            torch.cat([predict(part) for part in torch.split(pixels, _PREDICT_BATCH)]).numpy()
        return now() - started

    return work


def _plain_network() -> nn.Module:
    """The built-in network as one would write it with torch alone: nothing of ours."""

    def block(inside: int, outside: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]

    blocks = [*block(1, 16, 1), *block(16, 32, 2), *block(32, 64, 2)]
    network = nn.Sequential(
        *blocks, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(576, _CLASSES)
    )
    return network.to(memory_format=torch.channels_last)


def _pixels(number: int) -> Tensor:
    """So many images as floats, in memory like those of the engine."""
    return (torch.from_numpy(_IMAGES[:number]).float() / 255).contiguous(
        memory_format=torch.channels_last
    )


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    """Of one head: ``(batch, classes)``."""
    logits: Tensor = network(images)
    return logits.flatten(1)
