"""The one training loop."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from benchmark.api import IntArray, Recipe
from benchmark.batches import Batches
from benchmark.cost import Stopwatch
from benchmark.network import Network, seeded
from benchmark.predict import log_probs
from benchmark.presets import Settings


class DivergedError(Exception):
    """The training loss is not finite."""


def train(
    network: Network,
    batches: Batches,
    labels: IntArray,
    train_index: IntArray,
    calibration_index: IntArray,
    classes: int,
    *,
    recipe: Recipe,
    settings: Settings,
    seed: int,
    stopwatch: Stopwatch,
) -> None:
    """Train a network in place.

    Args:
        network: with its initial weights, on the device.
        batches: where the images come from.
        labels: ``(n,)`` of all images; only those of the two parts are read.
        train_index: which images are trained on.
        calibration_index: which images choose the checkpoint, where the settings say so.
        classes: number of classes.
        recipe: how a batch is mixed and what the loss is.
        settings: everything else.
        seed: of the data order, the augmentation, mixing and dropout: each has its own stream,
            so a method that draws more does not change what the others see.
        stopwatch: runs while steps are made.

    Raises:
        DivergedError: the loss became infinite or not a number.
    """
    order, augment, mixing, heads = (torch.Generator().manual_seed(seed + k) for k in range(4))
    device = batches.device
    targets = nn.functional.one_hot(torch.from_numpy(labels).long(), classes).float().to(device)
    weights = recipe.head_weights(classes, heads).to(device)
    batch = min(settings.batch, len(train_index))
    steps = len(train_index) // batch
    cycle = settings.epochs // settings.cycles * steps
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * (step % cycle) / cycle))
    )
    best_auc, best_state = -math.inf, None
    with seeded(seed):
        for epoch in range(settings.epochs):
            network.train()
            total = torch.zeros((), device=device)
            shuffled = train_index[torch.randperm(len(train_index), generator=order).numpy()]
            with stopwatch:
                for start in range(0, steps * batch, batch):
                    index = shuffled[start : start + batch]
                    images = batches(index, augment if settings.augment == "trivial" else None)
                    images, mixed = recipe.mix(images, targets[torch.from_numpy(index)], mixing)
                    with batches.autocast():
                        logits = network(images)
                    loss = recipe.loss(logits.float(), mixed, weights)
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                    total += loss.detach()
                if not math.isfinite(total.item()):  # the epoch's one synchronisation
                    raise DivergedError(
                        f"the loss is {total.item()} in epoch {epoch + 1} of {settings.epochs}"
                    )
            ends_cycle = (epoch + 1) % (settings.epochs // settings.cycles) == 0
            if settings.select == "auc" and ends_cycle:
                auc = _auc(network, batches, labels, calibration_index, settings.batch)
                if auc > best_auc:
                    best_auc, best_state = auc, copy.deepcopy(network.state_dict())
    if best_state is not None:
        network.load_state_dict(best_state)


def _auc(
    network: Network, batches: Batches, labels: IntArray, index: IntArray, batch: int
) -> float:
    """Macro one-vs-rest AUC of a part, over the classes present, predicted without dropout."""
    predicted = np.exp(log_probs(network, batches, index, passes=1, batch=4 * batch, seed=0))
    present = np.unique(labels[index])
    if len(present) < 2:
        return -math.inf
    return float(roc_auc_score(labels[index, None] == present, predicted[:, present]))
