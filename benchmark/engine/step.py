"""One training step: as it is on the CPU, replayed as a CUDA graph on a GPU.

A small batch leaves a GPU waiting for Python: hundreds of kernels, each launched by itself. A
graph launches them together. What it reads must stay where it is, so that images, targets and
the learning rate are copied to fixed tensors, and nothing in a step may wait for the device.
"""

from __future__ import annotations

import functools
import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import Tensor

from benchmark.api import Recipe
from benchmark.engine.cost import flops, measured
from benchmark.engine.network import Network, seeded
from benchmark.plan.presets import Settings

Mode = Literal["eager", "graph", "compiled"]
"""How a step runs: operation by operation, as one CUDA graph, or compiled and then as a graph."""

COMPILED_STEPS = 20_000
"""From here on a fit on a GPU is long enough for a minute of compilation."""


def modes(device: torch.device, steps: int) -> Sequence[Mode]:
    """How to run so many steps on a device: the best way first, the others if that fails."""
    if device.type != "cuda":
        return ("eager",)
    return ("compiled", "graph", "eager") if steps >= COMPILED_STEPS else ("graph", "eager")


@functools.cache
def _side_stream() -> torch.cuda.Stream:
    """One for all fits of a process: each stream keeps memory of its own."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


@contextmanager
def _beside(device: torch.device) -> Iterator[None]:
    """Work on another stream of a GPU than the default one, which a graph must not touch."""
    if device.type != "cuda":
        yield
        return
    current, side = torch.cuda.current_stream(), _side_stream()
    side.wait_stream(current)
    try:
        with torch.cuda.stream(side):
            yield
    finally:
        current.wait_stream(side)


@contextmanager
def _never_waiting() -> Iterator[None]:
    """Raise where the GPU is waited for: to learn it from a failed graph spoils torch's dropout."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode")  # "is a prototype"
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Step:
    """Forward, loss, backward, and SGD's update.

    Args:
        network: in training mode whenever a step is made.
        recipe: gives the loss.
        weights: of the classes in each head, ``(heads, classes)``, on the device.
        settings: of the optimiser.
        autocast: makes the context in which the network runs.

    Attributes:
        total: sum of the losses since it was last zeroed, on the device.
        mode: how the steps run; set by :meth:`warm_up`.
        costs: ``train_flops_per_image`` of forward and backward, where torch can count them; set
            by :meth:`warm_up`.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        weights: Tensor,
        settings: Settings,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.network, self.recipe, self.weights, self.autocast = network, recipe, weights, autocast
        self._compiled: Callable[[Tensor, Tensor], Tensor] | None = None
        self.total = torch.zeros((), device=weights.device)
        self.mode: Mode = "eager"
        self.costs: dict[str, float] = {}
        # A graph would keep a plain number as it was when the graph was made.
        self._rate = torch.zeros((), device=weights.device) if weights.is_cuda else None
        self.parameters = list(network.parameters())
        self.optimizer = torch.optim.SGD(
            self.parameters,
            lr=0.0 if self._rate is None else self._rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._replay: Callable[[], None] | None = None

    def __call__(self, images: Tensor, targets: Tensor, learning_rate: float) -> None:
        """Make a step.

        Args:
            images: ``(batch, channels, height, width)``, normalised, on the device.
            targets: ``(batch, classes)``, on the device.
            learning_rate: of this step.
        """
        if self._rate is None:
            self.optimizer.param_groups[0]["lr"] = learning_rate
        else:
            self._rate.fill_(learning_rate)
        if self._replay is None:
            self._work(images, targets)
        else:
            self._images.copy_(images)
            self._targets.copy_(targets)
            self._replay()

    def warm_up(self, images: Tensor, targets: Tensor, ways: Sequence[Mode]) -> None:
        """Make ready for steps on batches like this one; the network is left as it was.

        Args:
            images: a batch.
            targets: its targets.
            ways: modes to try in turn: a loss that reads the device cannot be part of a graph.
        """
        saved = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        with seeded(0), _beside(self.weights.device):
            self.costs = measured(
                "train_flops_per_image",
                lambda: flops(lambda: self._differentiate(images, targets)) / len(images),
            )
            for self.mode in ways:
                try:
                    self._prepare(images, targets)
                    break
                except torch.OutOfMemoryError:
                    raise
                except Exception:
                    self._compiled = self._replay = None
                    if self.mode == ways[-1]:
                        raise
                    if self.weights.is_cuda:  # a generator may still be in the failed graph
                        generator = torch.cuda.default_generators[torch.cuda.current_device()]
                        generator.graphsafe_set_state(generator.clone_state())
        self.network.load_state_dict(saved)
        for state in self.optimizer.state.values():  # only a graph's preparation has made any
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"].zero_()
        self.total.zero_()

    def _prepare(self, images: Tensor, targets: Tensor) -> None:
        if self.mode == "eager":
            return
        if self.mode == "compiled":
            torch.compiler.reset()  # or the ninth method of a process would not be compiled
            self._compiled = torch.compile(self._loss, dynamic=False)
        self._images, self._targets = images.clone(), targets.clone()
        for _ in range(3):  # a graph is made of work that has run before
            self._work(self._images, self._targets)
        with _never_waiting():
            self._work(self._images, self._targets)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        gc.collect()
        gc.disable()  # what it would free while the graph is recorded could spoil that
        try:
            with torch.cuda.graph(graph):
                self._work(self._images, self._targets)
        finally:
            gc.enable()
        self._replay = graph.replay

    def _work(self, images: Tensor, targets: Tensor) -> None:
        loss = self._differentiate(images, targets)
        self.optimizer.step()
        self.total += loss

    def _differentiate(self, images: Tensor, targets: Tensor) -> Tensor:
        loss = (self._compiled or self._loss)(images, targets)
        for parameter in self.parameters:  # the optimiser's zero_grad takes ten times as long
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _loss(self, images: Tensor, targets: Tensor) -> Tensor:
        with self.autocast():
            logits: Tensor = self.network(images)
        return self.recipe.loss(logits.float(), targets, self.weights)
