"""One fit: build, train, predict, measure. A pure function of a small value."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import numpy as np
import torch

from benchmark import __version__
from benchmark.api import IntArray
from benchmark.data.material import Material, WorkItem, opened
from benchmark.engine import cost
from benchmark.engine.batches import Batches
from benchmark.engine.network import Network, build
from benchmark.engine.predict import log_probs
from benchmark.engine.train import DivergedError, train
from benchmark.plan.cells import Fit
from benchmark.results.records import FitRecord, PartPredictions


def make(item: WorkItem) -> FitRecord:
    """Train a network, and record what it predicts and what it costs.

    Raises:
        DivergedError: the loss or the predictions are not finite.
    """
    device = torch.device(item.device)
    if item.device == "cpu":
        torch.set_num_threads(1)
    with cost.precisely(device, item.fit.task.settings.precision):
        return _record(item, opened(item.place), device)


def _record(item: WorkItem, material: Material, device: torch.device) -> FitRecord:
    fit, parts = item.fit, material.parts
    settings, classes = fit.task.settings, len(material.classes)
    seed = fit.task.derive("member", fit.member)
    network = build(
        settings.backbone,
        weights=settings.weights,
        weights_file=item.weights_file,
        classes=classes,
        channels=material.images.shape[1],
        size=material.images.shape[-1],
        recipe=fit.recipe,
        seed=seed,
    ).to(device)
    batches = Batches(
        material.images, network.normalisation, device, settings.precision, item.fits_at_once
    )
    resident = 0 if batches.resident is None else batches.resident.nbytes
    memory = cost.PeakMemory(device, resident)
    stopwatch, warming = cost.Stopwatch(device), cost.Stopwatch(device)
    step = train(
        network,
        batches,
        material.labels,
        parts.train,
        parts.calibration,
        classes,
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
        "decode_seconds": item.decode_seconds,
        **step.costs,
    }
    if stopwatch.joules and item.fits_at_once == 1:  # counted for the whole device
        costs["train_energy_joules"] = stopwatch.joules
    costs |= {f"{where}_memory_mib": peak for where, peak in memory.read().items()}
    mode = step.mode
    del step  # its gradients are no part of what prediction needs
    network.zero_grad(set_to_none=True)
    memory = cost.PeakMemory(device, resident)
    calibration, test = (
        _predicted(fit, part, index, network, batches, material)
        for part, index in (("calibration", parts.calibration), ("test", parts.test))
    )
    costs |= {f"predict_{where}_memory_mib": peak for where, peak in memory.read().items()}
    costs |= cost.size(network, batches, parts.test, fit.passes)
    costs |= cost.throughput(network, batches, parts.test, fit.passes)
    costs |= cost.latency(network, batches, parts.test, fit.passes)
    costs |= cost.declared_costs(network, batches, parts.test)
    if not all(np.isfinite(part.log_probs).all() for part in (calibration, test)):
        raise DivergedError("the last steps left predictions that are not finite")
    return FitRecord(
        stated=fit.stated(),
        classes=material.classes,
        train_counts=tuple(np.bincount(material.labels[parts.train], minlength=classes).tolist()),
        calibration=calibration,
        test=test,
        costs=costs,
        environment=environment(device),
        seed=seed,
        step=mode,
        images_on_device=resident > 0,
        predict_batch=cost.predict_batch(batches),
        fits_at_once=item.fits_at_once,
        train_cpu_share=stopwatch.cpu_seconds / stopwatch.seconds,
    )


def _predicted(
    fit: Fit, part: str, index: IntArray, network: Network, batches: Batches, material: Material
) -> PartPredictions:
    predicted = log_probs(
        network,
        batches,
        index,
        passes=fit.passes,
        batch=cost.predict_batch(batches),
        seed=fit.task.derive("member", fit.member, part),
    )
    groups, posterior = material.groups, material.posterior
    return PartPredictions(
        log_probs=predicted,
        labels=material.labels[index].astype(np.int64),
        ids=material.ids[index],
        groups=None if groups is None else groups[index],
        posterior=None if posterior is None else posterior[index].astype(np.float32),
    )


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
