"""What a fit costs: seconds, images per second, latency, memory, FLOPs, parameters, energy."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.api import IntArray
from benchmark.batches import Batches
from benchmark.network import Network
from benchmark.predict import log_probs, views

PREDICT_BATCH = 256
_SECONDS = 0.15


class Stopwatch:
    """Adds up the seconds spent inside its ``with`` blocks, with the device synchronised."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> None:
        synchronise(self.device)
        self._started = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        synchronise(self.device)
        self.seconds += time.perf_counter() - self._started


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PeakMemory:
    """Peak memory since the object was made, in MiB: of this process and of the GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        try:  # Linux: forget the peak of earlier work in this process
            Path("/proc/self/clear_refs").write_text("5")
            self._host = True
        except OSError:
            self._host = False
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> dict[str, float]:
        """Peaks by metric name; what the machine does not report is absent."""
        peaks = {}
        if self._host:
            status = Path("/proc/self/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            peaks["host_memory_mib"] = int(line.split()[1]) / 1024
        if self.device.type == "cuda":
            peaks["device_memory_mib"] = torch.cuda.max_memory_allocated(self.device) / 2**20
        return peaks


class Energy:
    """Energy that the GPU used since the object was made, where its driver counts it."""

    def __init__(self, device: torch.device) -> None:
        self._handle = None
        if device.type == "cuda":
            try:
                import pynvml

                pynvml.nvmlInit()
                uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
                self._start = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
            except Exception:  # no driver library, or a device that does not count
                self._handle = None

    def read(self) -> dict[str, float]:
        """Joules, or nothing where they are not counted."""
        if self._handle is None:
            return {}
        import pynvml

        end = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        return {"train_energy_joules": (end - self._start) / 1000}


def inference(network: Network, batches: Batches, index: IntArray, passes: int) -> dict[str, float]:
    """Throughput at a fixed large batch and latency at batch 1, warm and synchronised."""
    device = batches.device
    many = np.resize(index, PREDICT_BATCH)
    large = _repeat(
        lambda: log_probs(network, batches, many, passes=passes, batch=PREDICT_BATCH, seed=0),
        device,
    )
    single = _repeat(
        lambda: log_probs(network, batches, index[:1], passes=passes, batch=1, seed=0), device
    )
    return {
        "predict_images_per_second": PREDICT_BATCH / float(np.median(large)),
        "latency_ms": 1000 * float(np.median(single)),
        "latency_95_ms": 1000 * float(np.percentile(single, 95)),
    }


def _repeat(work: Callable[[], object], device: torch.device) -> list[float]:
    work()  # warm-up
    synchronise(device)
    seconds: list[float] = []
    while not seconds or (sum(seconds) < _SECONDS and len(seconds) < 50):
        started = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return seconds


def size(network: Network, batches: Batches, index: IntArray, passes: int) -> dict[str, float]:
    """Parameters, and floating-point operations to predict one image."""
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        views(network, batches(index[:1]), passes)
    return {
        "parameters": float(sum(p.numel() for p in network.parameters())),
        "predict_flops_per_image": float(counter.get_total_flops()),
    }


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
