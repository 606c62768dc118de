"""Try a network on half a step, so that what cannot work is said before anything is trained."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmark.api import InputError, Recipe
from benchmark.engine import network
from benchmark.plan.presets import Settings


def check_network(
    settings: Settings, shape: tuple[int, int, int], classes: int, weights_file: Path | None
) -> None:
    """Build a network, and send a gradient through it.

    Args:
        settings: name the backbone and its weights.
        shape: of an image as the network sees it, ``(channels, height, width)``.
        classes: how many.
        weights_file: local initial weights.

    Raises:
        InputError: it cannot be built, or not be trained on such images.
    """
    channels, height, width = shape
    built = network.build(
        settings.backbone,
        weights=settings.weights,
        weights_file=weights_file,
        classes=classes,
        channels=channels,
        size=height,
        recipe=Recipe(),
        seed=0,
    )
    try:
        built(torch.zeros(min(settings.batch, 2), *shape)).sum().backward()
    except (RuntimeError, ValueError, AssertionError) as error:
        raise InputError(
            f"backbone {settings.backbone} cannot be trained on batches of {settings.batch} images "
            f"of {height}x{width} pixels: {str(error).splitlines()[0]}"
        ) from error
