"""What a fit costs: seconds, images per second, latency, memory, FLOPs, parameters, energy."""

from __future__ import annotations

import gc
import logging
import math
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.api import FloatArray, IntArray
from benchmark.engine.batches import Batches
from benchmark.engine.network import Network, seeded
from benchmark.engine.predict import batch_views, log_probs, mean_over_views
from benchmark.measures.declared import costs

_log = logging.getLogger(__name__)

PREDICT_BATCH = 256
PREDICT_BYTES = 2**26  # of floats at once on the CPU: larger batches take memory and gain nothing
_SECONDS = 0.03  # what is quicker is timed repeatedly


class Stopwatch:
    """Adds up the seconds, and a GPU's joules, of its ``with`` blocks, the device synchronised.

    Attributes:
        seconds: so far.
        cpu_seconds: that this process computed meanwhile, in all its threads.
        joules: that the whole GPU used meanwhile, or None where its driver does not count them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = self.cpu_seconds = 0.0
        self._energy = _energy_meter(device)
        self.joules = None if self._energy is None else 0.0

    def __enter__(self) -> None:
        synchronise(self.device)
        if self._energy is not None:
            self._joules_before = self._energy()
        self._started, self._cpu_before = time.perf_counter(), time.process_time()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        synchronise(self.device)
        self.seconds += time.perf_counter() - self._started
        self.cpu_seconds += time.process_time() - self._cpu_before
        if self._energy is not None and self.joules is not None:
            self.joules += self._energy() - self._joules_before


def _energy_meter(device: torch.device) -> Callable[[], float] | None:
    """Reads the joules that a GPU has used since its driver was loaded, where this is counted."""
    if device.type != "cuda":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # no driver library, or a device that does not count
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PeakMemory:
    """Peak memory since the object was made, in MiB: of this process and of the GPU.

    Args:
        device: what computes.
        images: bytes of images that are kept on the GPU; no method needs them there.
    """

    def __init__(self, device: torch.device, images: int = 0) -> None:
        self.device, self.images = device, images
        try:  # Linux: forget the peak of earlier work in this process
            Path("/proc/self/clear_refs").write_text("5")
            self._host = True
        except OSError:
            self._host = False
        if device.type == "cuda":
            gc.collect()  # what earlier work left in cycles is none of this one's
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> dict[str, float]:
        """Peaks of ``host`` and ``device``; what the machine does not report is absent."""
        peaks = {}
        if self._host:
            status = Path("/proc/self/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            peaks["host"] = int(line.split()[1]) / 1024
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device) - self.images
            peaks["device"] = peak / 2**20
        return peaks


def precisely(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """What ``float32`` stands for on a GPU: the same sums, in full precision, every time.

    Otherwise convolutions may take the fastest algorithm, and round as it likes.
    """
    if device.type != "cuda":
        return nullcontext()
    exact = precision == "float32"
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=not exact, deterministic=exact, allow_tf32=not exact
    )
    return flags


def throughput(
    network: Network, batches: Batches, index: IntArray, passes: int
) -> dict[str, float]:
    """Images predicted per second, warm, from indices to results on the host.

    Args:
        network: trained.
        batches: where the images come from.
        index: ``(n,)`` which images; one large batch of them is predicted again and again.
        passes: stochastic passes with dropout.
    """
    index = index[: predict_batch(batches)]

    def work() -> FloatArray:
        return log_probs(network, batches, index, passes=passes, batch=len(index), seed=0)

    work()  # warm-up
    seconds = _repeat(work, 5, 50)
    return {"predict_images_per_second": len(index) / float(np.median(seconds))}


def predict_batch(batches: Batches) -> int:
    """Images predicted at once: 256, or on the CPU the power of two that a limit allows."""
    fitting = int(PREDICT_BYTES // (4 * batches.images[0].size))
    if batches.on_gpu or fitting >= PREDICT_BATCH:
        return PREDICT_BATCH
    return 1 << max(0, fitting.bit_length() - 1)


def latency(network: Network, batches: Batches, index: IntArray, passes: int) -> dict[str, float]:
    """Milliseconds to predict one image alone, warm: the median and the 95 % point."""
    network.eval()
    with seeded(0), torch.inference_mode():

        def work() -> torch.Tensor:
            return mean_over_views(batch_views(network, batches, index[:1], passes)).cpu()

        work()  # warm-up
        seconds = _repeat(work, 20, 50)
    return {
        "latency_ms": 1000 * float(np.median(seconds)),
        "latency_95_ms": 1000 * float(np.percentile(seconds, 95)),
    }


def _repeat(work: Callable[[], object], at_least: int, at_most: int) -> list[float]:
    """Seconds of some work, whose result is on the host, as often as a stable median needs."""
    seconds: list[float] = []
    while len(seconds) < at_least or (sum(seconds) < _SECONDS and len(seconds) < at_most):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return seconds


def flop_counter() -> FlopCounterMode:
    """Torch's counter of floating-point operations.

    By itself it takes the backward pass of a grouped convolution for that of a full one: for a
    depthwise one, too many by a factor of its channels. Up to torch 2.13 it counts nothing of
    attention on the CPU.
    """
    aten = torch.ops.aten
    mapping = {
        aten.convolution_backward: _convolution_backward,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _attention(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    """Two products of matrices: of queries with keys, and of the result with values."""
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_backward(
    _: Sequence[int], query: Sequence[int], key: Sequence[int], value: Sequence[int],
    *__: Any, **___: Any,
) -> int:  # fmt: skip
    """Five products: the first is made again, and both have two gradients."""
    return 2 * math.prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])


def _convolution_backward(
    out: Sequence[int], images: Sequence[int], weight: Sequence[int], *rest: Any, **_: Any
) -> int:
    """As many operations as the forward pass for each of the gradients of images and weight."""
    transposed, wanted = rest[4], rest[7]
    positions = math.prod((images if transposed else out)[2:])
    forward = 2 * images[0] * positions * math.prod(weight)
    return forward * sum(map(bool, wanted[:2]))


def flops(work: Callable[[], object]) -> float:
    """Floating-point operations of some work."""
    with flop_counter() as counter:
        work()
    return float(counter.get_total_flops())


def size(network: Network, batches: Batches, index: IntArray, passes: int) -> dict[str, float]:
    """Parameters, and floating-point operations to predict one image."""
    network.eval()
    numbers = float(sum(p.numel() for p in network.parameters()))
    # Not in inference mode: there the counter fails on modules that are called with parameters.
    counted = measured(
        "predict_flops_per_image",
        lambda: flops(lambda: batch_views(network, batches, index[:1], passes)),
    )
    return {"parameters": numbers, **counted}


def declared_costs(network: Network, batches: Batches, index: IntArray) -> dict[str, float]:
    """Costs that plug-ins declare and measure themselves; what fails is absent.

    Args:
        network: trained.
        batches: where the images come from.
        index: ``(n,)`` the test images.
    """
    values: dict[str, float] = {}
    for name, declared in costs().items():
        if declared.measure is not None:
            values |= measured(name, partial(declared.measure, network, batches, index))
    return values


def measured(name: str, measure: Callable[[], float]) -> dict[str, float]:
    """A cost by its name, or nothing: one that fails is no reason to lose a fit, and is logged."""
    try:
        value = float(measure())
        if not math.isfinite(value):
            raise ValueError(f"it is {value}")
    except Exception as error:  # a plug-in's own, or the counter's
        _log.warning("cost %s is left out: %s: %s", name, type(error).__name__, error)
        return {}
    return {name: value}


def hardware(device: torch.device) -> str:
    """The name of what computes: the GPU's, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line for line in lines if line.startswith("model name"))
        return model.partition(":")[2].strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
