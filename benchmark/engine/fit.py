"""Make one fit: build, train, predict, measure. What a worker process runs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmark import __version__
from benchmark.api import FloatArray, IntArray, StrArray
from benchmark.engine import cost
from benchmark.engine.batches import Batches
from benchmark.engine.network import build
from benchmark.engine.predict import log_probs
from benchmark.engine.train import DivergedError, train
from benchmark.plan.cells import Fit
from benchmark.plan.folds import Parts
from benchmark.results.store import Record, Store


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """The images of one task: what a worker needs besides the fit.

    Attributes:
        images: ``(n, channels, height, width)`` uint8, in memory or memory-mapped.
        labels: ``(n,)``.
        classes: names of the classes.
        ids: ``(n,)``.
        groups: ``(n,)`` or None.
        posterior: ``(n, classes)`` or None.
        parts: indices of the train, calibration and test part.
        weights_file: local pretrained weights, if any.
        decode_seconds: that decoding the images took in this run, or finding them decoded.
    """

    images: npt.NDArray[np.uint8]
    labels: IntArray
    classes: tuple[str, ...]
    ids: StrArray
    groups: StrArray | None
    posterior: FloatArray | None
    parts: Parts
    weights_file: Path | None
    decode_seconds: float = 0.0


def make(fit: Fit, material: Material, store: Store, device_name: str, share: int) -> str | None:
    """Make a fit and store its record.

    Args:
        fit: what to train.
        material: the images.
        store: where the record goes.
        device_name: ``cpu`` or ``cuda``.
        share: up to how many fits run on the machine at once; recorded beside the costs.

    Returns:
        None, or why the fit failed.
    """
    torch.set_num_threads(1 if device_name == "cpu" else torch.get_num_threads())
    device = torch.device(device_name)
    try:
        with cost.precisely(device, fit.task.settings.precision):
            record = _record(fit, material, device, share)
    except DivergedError as error:
        reason = f"training diverged: {error}"
    except Exception as error:  # a plug-in's own, or no memory: the other fits go on
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    else:
        store.write(fit.key, record)
        return None
    store.fail(fit.key, reason)
    return reason


def _record(fit: Fit, material: Material, device: torch.device, share: int) -> Record:
    settings, parts = fit.task.settings, material.parts
    images = material.images
    seed = fit.task.seed("member", fit.member)
    network = build(
        settings.backbone,
        weights=settings.weights,
        weights_file=material.weights_file,
        classes=len(material.classes),
        channels=images.shape[1],
        size=images.shape[-1],
        recipe=fit.recipe,
        seed=seed,
    ).to(device)
    batches = Batches(images, network.normalisation, device, settings.precision, share)
    resident = 0 if batches.resident is None else batches.resident.nbytes
    memory = cost.PeakMemory(device, resident)
    stopwatch, warming = cost.Stopwatch(device), cost.Stopwatch(device)
    step = train(
        network,
        batches,
        material.labels,
        parts.train,
        parts.calibration,
        len(material.classes),
        recipe=fit.recipe,
        settings=settings,
        seed=seed,
        stopwatch=stopwatch,
        warming=warming,
    )
    batch = min(settings.batch, len(parts.train))
    trained = len(parts.train) // batch * batch * settings.epochs
    costs = {
        "train_seconds": stopwatch.seconds,
        "train_images_per_second": trained / stopwatch.seconds,
        "warm_up_seconds": warming.seconds,
        "decode_seconds": material.decode_seconds,
        "train_flops_per_image": step.flops_per_image,
    }
    if stopwatch.joules and share == 1:  # counted for the whole device
        costs["train_energy_joules"] = stopwatch.joules
    costs |= {f"{where}_memory_mib": peak for where, peak in memory.read().items()}
    mode = step.mode
    del step  # its gradients are no part of what prediction needs
    network.zero_grad(set_to_none=True)
    memory = cost.PeakMemory(device, resident)
    arrays: dict[str, Any] = {}
    for part in ("calibration", "test"):
        index = getattr(parts, part)
        arrays[f"{part}_log_probs"] = log_probs(
            network,
            batches,
            index,
            passes=fit.passes,
            batch=cost.predict_batch(batches),
            seed=fit.task.seed("member", fit.member, part),
        )
        arrays[f"{part}_labels"] = material.labels[index].astype(np.int64)
        arrays[f"{part}_ids"] = material.ids[index]
        if material.groups is not None:
            arrays[f"{part}_groups"] = material.groups[index]
        if material.posterior is not None:
            arrays[f"{part}_posterior"] = material.posterior[index].astype(np.float32)
    costs |= {f"predict_{where}_memory_mib": peak for where, peak in memory.read().items()}
    costs |= cost.size(network, batches, parts.test, fit.passes)
    costs |= cost.throughput(network, batches, parts.test, fit.passes)
    costs |= cost.latency(network, batches, parts.test, fit.passes)
    if not all(np.isfinite(a).all() for n, a in arrays.items() if n.endswith("log_probs")):
        raise DivergedError("the last steps left predictions that are not finite")
    info = {
        "fit": fit.describe(),
        "classes": list(material.classes),
        "train_counts": np.bincount(
            material.labels[parts.train], minlength=len(material.classes)
        ).tolist(),
        "seed": seed,
        "environment": environment(device),
        "step": mode,
        "images_on_device": resident > 0,
        "predict_batch": cost.predict_batch(batches),
        "costs": costs,
        "fits_at_once": share,
        "train_cpu_share": stopwatch.cpu_seconds / stopwatch.seconds,
    }
    return Record(arrays, info)


def environment(device: torch.device) -> dict[str, str]:
    """Versions and hardware that a fit was made with."""
    return {
        "hardware": cost.hardware(device),
        "device": device.type,
        "cores": str(os.cpu_count()),
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "timm": version("timm"),
        "numpy": np.__version__,
        "benchmark": __version__,
    }
