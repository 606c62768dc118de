"""The one training loop."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from benchmark.api import IntArray, Recipe
from benchmark.engine.batches import Batches
from benchmark.engine.cost import Stopwatch
from benchmark.engine.network import Network, seeded
from benchmark.engine.predict import log_probs
from benchmark.engine.step import Mode, Step, modes
from benchmark.plan.presets import Settings
from benchmark.plan.seeding import derive


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
    warming: Stopwatch | None = None,
    ways: Sequence[Mode] | None = None,
) -> Step:
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
        stopwatch: runs while steps are made, and while a checkpoint is chosen.
        warming: runs during the warm-up and compilation before them, which leaves no trace.
        ways: how to run a step, the first that works; what suits the device by default.

    Returns:
        The step, which knows how it was run and what it costs.

    Raises:
        DivergedError: the loss became infinite or not a number.
    """
    order, augment, mixing, heads = (
        torch.Generator().manual_seed(derive(seed, purpose))
        for purpose in ("order", "augment", "mixing", "heads")
    )
    device = batches.device
    targets = nn.functional.one_hot(torch.tensor(labels).long(), classes).float().to(device)
    weights = recipe.head_weights(classes, heads).to(device)
    batch = min(settings.batch, len(train_index))
    steps = len(train_index) // batch
    cycle = settings.epochs // settings.cycles * steps
    augmented = settings.augment == "trivial"
    made = 0
    best_auc, best_state = -math.inf, None

    network.train()
    step = Step(network, recipe, weights, settings, batches.autocast)
    with warming or Stopwatch(device):
        # As many as are augmented at once, so that this too is warm.
        first = torch.tensor(np.resize(train_index, (batches.ahead(batch), batch)))
        (images,) = deque(batches.epoch(first, torch.Generator() if augmented else None), maxlen=1)
        step.warm_up(images, targets[first[-1]], ways or modes(device, settings.epochs * steps))

    with seeded(derive(seed, "dropout")):
        for epoch in range(settings.epochs):
            network.train()
            step.total.zero_()
            shuffled = torch.randperm(len(train_index), generator=order).numpy()
            rows = torch.from_numpy(train_index[shuffled[: steps * batch]]).view(steps, batch)
            with stopwatch:
                drawn = zip(
                    batches.epoch(rows, augment if augmented else None), targets[rows.to(device)]
                )
                for images, mixed in drawn:
                    images, mixed = recipe.mix(images, mixed, mixing)
                    cosine = 0.5 * (1 + math.cos(math.pi * (made % cycle) / cycle))
                    step(images, mixed, settings.learning_rate * cosine)
                    made += 1
                total = step.total.item()  # the epoch's one synchronisation
            if not math.isfinite(total):
                raise DivergedError(
                    f"the loss is {total} in epoch {epoch + 1} of {settings.epochs}"
                )
            ends_cycle = (epoch + 1) % (settings.epochs // settings.cycles) == 0
            if settings.select == "auc" and ends_cycle:
                with stopwatch:
                    auc = _auc(network, batches, labels, calibration_index, settings.batch)
                    if auc > best_auc:
                        best_auc, best_state = auc, copy.deepcopy(network.state_dict())
    if best_state is not None:
        network.load_state_dict(best_state)
    return step


def _auc(
    network: Network, batches: Batches, labels: IntArray, index: IntArray, batch: int
) -> float:
    """Macro one-vs-rest AUC of a part, over the classes present, predicted without dropout."""
    from sklearn.metrics import roc_auc_score  # slow to import, and few fits need it

    predicted = np.exp(log_probs(network, batches, index, passes=1, batch=4 * batch, seed=0))
    if not np.isfinite(predicted).all():
        raise DivergedError("predictions at the end of a cycle are not finite")
    present = np.unique(labels[index])
    if len(present) < 2:
        return -math.inf
    return float(roc_auc_score(labels[index, None] == present, predicted[:, present]))
