"""What a plan will cost, before it is run: from stored fits, else from a few timed steps."""

from __future__ import annotations

import time

import numpy as np

from benchmark.api import Recipe
from benchmark.plan.cells import Fit
from benchmark.running.prepare import Work
from benchmark.running.request import Request

_PROBE = 8
_Key = tuple[str, tuple[int, int, int], str]


def sentence(request: Request, work: Work) -> str:
    """The time that the missing fits will take, and what that is based on."""
    if not work.missing:
        return "nothing to train"
    known = _measured(request, work)
    probed: dict[_Key, float] = {}
    seconds, images = 0.0, 0
    for fit in work.missing:
        settings, source = fit.task.settings, work.sources[fit.task]
        steps = len(source.cut.parts.train) * settings.epochs
        images += steps
        key = (settings.backbone, source.shape, settings.precision)
        if key in known:
            seconds += steps / known[key]
        else:
            if key not in probed:
                probed[key] = _probe(fit, work, request.used_device)
            seconds += steps / probed[key]
    basis = "a few timed steps" if probed else "the speed of stored fits"
    at_once = request.fits_at_once
    return (
        f"about {duration(seconds / at_once)} with {at_once} at once ({images:,} images through "
        f"the network; from {basis})"
    )


def _measured(request: Request, work: Work) -> dict[_Key, float]:
    """Images per second of stored fits, by backbone, shape of the images and precision."""
    speeds: dict[_Key, list[float]] = {}
    missing = {fit.key for fit in work.missing}
    for fit in work.fits:
        if fit.key not in missing:
            settings = fit.task.settings
            key = (settings.backbone, work.sources[fit.task].shape, settings.precision)
            speed = request.store.fit(fit.key).costs["train_images_per_second"]
            speeds.setdefault(key, []).append(speed)
    return {key: float(np.mean(values)) for key, values in speeds.items()}


def _probe(fit: Fit, work: Work, device: str) -> float:
    """Images per second of a plain training step on random images."""
    import torch

    from benchmark.engine.network import build

    settings, source = fit.task.settings, work.sources[fit.task]
    channels, height, width = source.shape
    network = build(
        settings.backbone,
        weights="none",
        weights_file=None,
        classes=len(source.cut.images.classes),
        channels=channels,
        size=height,
        recipe=Recipe(),
        seed=0,
    ).to(device)
    batch = settings.batch if device == "cuda" else min(settings.batch, _PROBE)
    images = torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(0))
    images = images.to(device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        network(images).square().mean().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    return batch / min(seconds)


def duration(seconds: float) -> str:
    """Seconds as one says them: ``45 s``, ``12 min``, ``3 h 20 min``, ``2.4 days``."""
    minutes = round(seconds / 60)
    if round(seconds) < 120:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{seconds / 86400:.1f} days"
