"""Try a network on half a step, so that what cannot work is said before anything is trained."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.api import InputError, Recipe
from benchmark.engine import network
from benchmark.engine.initial import first_line
from benchmark.plan.presets import Settings


def check_network(
    settings: Settings, shape: tuple[int, int, int], classes: int, weights_file: Path | None
) -> str:
    """Build a network, and send a gradient through it.

    Args:
        settings: name the backbone and its weights.
        shape: of an image as the network sees it, ``(channels, height, width)``.
        classes: how many.
        weights_file: local initial weights.

    Returns:
        A sentence where the network does not see all of an image, or nothing.

    Raises:
        InputError: it cannot be built, or not be trained on such images, or its logits are not
            those of one linear classifier.
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
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(min(settings.batch, 2), *shape, generator=generator)
    try:
        one = _ends_in_its_classifier(built, images, classes)
        if one:
            built(torch.zeros_like(images)).sum().backward()
            seen = _seen(built, images)
    except Exception as error:  # each architecture has its own reasons
        timm = isinstance(built.trunk, network.TimmTrunk)
        own = f" (it was made for {built.trunk.side})" if timm else ""
        raise InputError(
            f"backbone {settings.backbone} cannot be trained on batches of {settings.batch} images "
            f"of {height}x{width} pixels{own}: {first_line(error)}"
        ) from error
    if not one:
        raise InputError(
            f"backbone {settings.backbone}: its logits are not those of one linear classifier "
            "alone (a second head adds to them), so no head can stand for it; choose another"
        )
    if seen == (height, width):
        return ""
    return (
        f"backbone {settings.backbone} sees {seen[0]}x{seen[1]} of {height}x{width} pixels: its "
        "patches or strides leave the last rows and columns out"
    )


def _ends_in_its_classifier(built: network.Network, images: Tensor, classes: int) -> bool:
    """Whether what the whole timm model returns is what its classifier does, and nothing more."""
    trunk = built.trunk
    if not isinstance(trunk, network.TimmTrunk):
        return True
    calls: list[tuple[Tensor, Tensor]] = []
    with network.seeded(0), torch.no_grad():
        classifier = nn.Linear(built.weight.shape[-1], classes)
        classifier.register_forward_hook(lambda _, given, out: calls.append((given[0], out)))
        trunk.put(classifier)
        logits = trunk.eval()(images)
        trunk.put(nn.Identity())
        trunk.train()
    return (
        len(calls) == 1
        and calls[0][0].ndim == 2
        and isinstance(logits, Tensor)
        and torch.equal(logits, calls[0][1])
    )


def _seen(built: network.Network, images: Tensor) -> tuple[int, int]:
    """Rows and columns of an image, from the first to the last that features depend on.

    The network is of no use afterwards: what is initially zero would hide paths through it.
    """
    with torch.no_grad():
        for parameter in built.parameters():
            if not parameter.any():
                parameter.fill_(0.1)
    pixels = images.clone().requires_grad_()
    features = built.trunk.eval()(pixels)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((features * weights).sum(), pixels)
    reached = gradient.ne(0).any(1).any(0)
    height, width = images.shape[-2:]
    if not reached.any():  # weights that let nothing through tell nothing
        return height, width
    return int(reached.any(1).nonzero().max()) + 1, int(reached.any(0).nonzero().max()) + 1
