"""Prediction: features once, all heads and passes on them, and the one place of softmax."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from benchmark.api import FloatArray, IntArray
from benchmark.engine.batches import Batches
from benchmark.engine.network import Network, seeded


def log_probs(
    network: Network, batches: Batches, index: IntArray, *, passes: int, batch: int, seed: int
) -> FloatArray:
    """Predictions: the logarithm of the mean softmax over all views.

    Args:
        network: put into evaluation mode here.
        batches: where the images come from.
        index: ``(n,)`` which images.
        passes: stochastic passes with dropout; 1 is a deterministic prediction.
        batch: images at once.
        seed: of the dropout masks.

    Returns:
        ``(n, classes)`` float32.
    """
    network.eval()
    with seeded(seed), torch.inference_mode():
        predicted = [
            mean_over_views(batch_views(network, batches, index[start : start + batch], passes))
            for start in range(0, len(index), batch)
        ]
    return torch.cat(predicted).float().cpu().numpy() if predicted else np.empty((0, 0), np.float32)


def batch_views(network: Network, batches: Batches, index: IntArray, passes: int) -> Tensor:
    """Logits ``(k, passes * heads, classes)`` of ``k`` images, in evaluation mode."""
    images = batches(index)
    with batches.autocast():
        return views(network, images, passes)


def views(network: Network, images: Tensor, passes: int) -> Tensor:
    """Logits ``(batch, passes * heads, classes)`` in evaluation mode."""
    inside = list(network.trunk.modules())
    if passes == 1 or not any(isinstance(m, _DropoutNd) and m.p > 0 for m in inside):
        return network.classify(network.trunk(images), passes, stochastic=passes > 1)
    for module in inside:  # attention drops out by its own switch, not by that of its layer
        module.training = not isinstance(module, _BatchNorm)
    logits = [network.classify(network.trunk(images), 1, stochastic=True) for _ in range(passes)]
    network.eval()
    return torch.cat(logits, 1)


def mean_over_views(logits: Tensor) -> Tensor:
    """Log of the mean over views of their softmax: ``(n, views, classes)`` to ``(n, classes)``."""
    separate = logits.double().log_softmax(-1)
    return separate.logsumexp(1) - math.log(logits.shape[1])
